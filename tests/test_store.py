import contextlib
import dataclasses
import itertools
import json
import logging
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from flax.core import FrozenDict

import jaxlth
from jaxlth import settings as settings_lib
from jaxlth import store, trees
from jaxlth.store import StoreError, checkpointer, metadata

SOURCE = str(pathlib.Path(jaxlth.__file__).parents[1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    name: str = "adam"
    lr: float = 0.1
    sizes: tuple[int, ...] = (3, 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    optimizer: Optimizer = Optimizer()
    seed: int = 0
    levels: int = settings_lib.not_hashed(2)
    data_dir: str | None = settings_lib.not_hashed(None)


PARAMS = {
    "Dense_0": {
        "kernel": np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2),
        "bias": np.array([0.0, -0.0], np.float32),
    },
    "Dense_1": {"kernel": np.array([[np.nan], [np.inf]], np.float32)},
}
MASK = {
    "Dense_0": {"kernel": np.array([[True, False], [False, True], [True, True]]), "bias": None},
    "Dense_1": {"kernel": np.array([[False], [True]])},
}
RECORD = {
    "job": "imp",
    "replicate": 0,
    "level": 1,
    "control": "ticket",
    "test_loss": 0.25,
    "validation_loss": None,
    "stopped_step": None,
    "curve": {"step": [10, 20], "test_loss": [0.5, 0.25], "validation_loss": []},
}
UNIT = "level_01/ticket/replicate_0"


def open_run(out, settings=None, **kwargs):
    return store.open_run(out, settings or Settings(), job="imp", label="digits-lenet", **kwargs)


@pytest.fixture
def run(tmp_path):
    with open_run(tmp_path) as opened:
        yield opened


def assert_same(a, b):
    """Same structure, kinds and bits."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        left, right = np.asarray(left), np.asarray(right)
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert left.tobytes() == right.tobytes()


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


# Run folders


def test_folder_is_named_by_job_label_and_digest(tmp_path):
    with store.open_run(tmp_path, Settings(levels=9), job="imp", label="tfds:a/b lenet") as run:
        assert run.path == tmp_path / f"imp-tfds-a-b-lenet-{settings_lib.digest(Settings())}"


def test_golden_name_of_a_folder(tmp_path):
    with open_run(tmp_path, Settings(seed=3)) as run:
        assert run.path.name == "imp-digits-lenet-1391dc1f"


LONG = {
    "a path": "folder-/mnt/" + 10 * "project-with-a-long-name/" + "imagenet-lenet-300-100",
    "widths": "digits-mlp" + 200 * "-10",
    "pieces": "+".join(100 * ["moons"]) + "-mlp-4",
    "other letters": 100 * "данные",  # two bytes each
    "cut within a letter": "x" + 100 * "データ",  # three bytes each
}


@pytest.mark.parametrize("label", LONG.values(), ids=LONG)
def test_a_label_too_long_for_a_folder_is_cut_and_the_digest_tells_runs_apart(tmp_path, label):
    names = set()
    for seed in (1, 2):
        settings = Settings(seed=seed)
        with store.open_run(tmp_path, settings, job="imp", label=label) as run:
            assert run.path.parent == tmp_path
            assert 250 < len(run.path.name.encode()) <= 255
            assert run.path.name.startswith("imp-" + label[:5].replace("-/", "-"))
            assert run.path.name.endswith(f"-{settings_lib.digest(settings)}")
            assert store.about_run(run.path)["label"] == label
            names.add(run.path.name)
        assert store.folder(tmp_path, settings, job="imp", label=label) == run.path
    assert len(names) == 2


def test_the_longest_name_that_a_folder_can_have_stays_whole(tmp_path):
    whole = store.folder(tmp_path, Settings(), job="imp", label=242 * "x").name
    assert whole == f"imp-{242 * 'x'}-{settings_lib.digest(Settings())}"
    assert len(whole) == 255


def test_folder_holds_settings_and_versions(tmp_path):
    settings = Settings(optimizer=Optimizer(lr=0.5), data_dir="here")
    with open_run(tmp_path, settings) as run:
        assert settings_lib.read_toml(Settings, run.path / "settings.toml") == settings
        story = json.loads((run.path / "run.json").read_text())
    assert story["settings"] == settings_lib.to_dict(settings)
    assert story["job"] == "imp"
    assert story["environments"][0]["versions"]["jax"] == jax.__version__


def test_asking_for_more_extends_the_run_and_less_keeps_the_larger_request(tmp_path):
    for levels, kept in [(2, 2), (5, 5), (3, 5)]:
        with open_run(tmp_path, Settings(levels=levels, data_dir=str(levels))) as run:
            stored = settings_lib.read_toml(Settings, run.path / "settings.toml")
        assert stored == Settings(levels=kept, data_dir=str(levels))
    assert len(list(tmp_path.iterdir())) == 1


def test_opening_a_run_again_changes_no_file(tmp_path, run):
    run.save(UNIT, {"params": PARAMS}, RECORD)
    run.close()
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    del before[run.path / "lock"]
    with open_run(tmp_path):
        pass
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_default_that_changed_since_is_an_error_that_names_it(tmp_path):
    with open_run(tmp_path) as run:
        story = metadata.read(run.path)
    story["settings"]["optimizer"]["lr"] = 0.3
    metadata.write(run.path, story)
    with pytest.raises(StoreError, match=r"`optimizer\.lr`: 0\.3, not 0\.1.*--out"):
        open_run(tmp_path)
    with pytest.raises(StoreError, match=r"optimizer\.lr"):  # and not that it is held
        open_run(tmp_path)


def test_damaged_run_file_names_the_file_and_costs_no_results(tmp_path, run):
    run.save(UNIT, {"params": PARAMS}, RECORD)
    run.close()
    (run.path / "run.json").write_text('{"job": "im')
    for act in (lambda: open_run(tmp_path), lambda: store.runs(tmp_path)):
        with pytest.raises(StoreError, match=r"run\.json is damaged.*Delete this file"):
            act()
    (run.path / "run.json").unlink()
    with open_run(tmp_path) as again:
        assert again.has(UNIT)


@pytest.mark.parametrize("unit", ["", "/a", "../a", "a//b", "a/.b", "a/arrays", "a b"])
def test_units_are_plain_relative_paths(run, unit):
    with pytest.raises(ValueError, match="`artifact`"):
        run.has(unit)


# The lock


def test_second_opening_says_who_holds_the_run(tmp_path, run):
    with pytest.raises(StoreError, match=rf"process {os.getpid()} on .* since 20.*--wait"):
        open_run(tmp_path)
    run.close()
    open_run(tmp_path).close()


def test_waiting_ends_when_the_run_is_given_back(tmp_path, run):
    timer = threading.Timer(0.2, run.close)
    timer.start()
    start = time.monotonic()
    with open_run(tmp_path, wait=True):
        assert time.monotonic() - start > 0.1
    timer.join()


def test_waiting_can_be_interrupted(tmp_path, run):
    with pytest.raises(KeyboardInterrupt), interrupted_after(0.2):
        open_run(tmp_path, wait=True)
    run.close()
    open_run(tmp_path).close()


@contextlib.contextmanager
def interrupted_after(seconds):
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_run_that_is_not_held_can_be_read_and_not_written(tmp_path, run):
    run.save(UNIT, {"params": PARAMS}, RECORD)
    path = store.folder(tmp_path, Settings(), job="imp", label="digits-lenet")
    assert path == run.path
    looked = store.open_readonly(path)
    assert_same(looked.load(UNIT, "params", PARAMS), PARAMS)
    assert store.about_run(path)["job"] == "imp"
    for write in (
        lambda: looked.save("new", {}, RECORD),
        lambda: looked.checkpoint("new", 1, PARAMS, {}),
        lambda: looked.remove(UNIT),
        lambda: looked.set_expected_count(3),
    ):
        with pytest.raises(StoreError, match="is not held by this process"):
            write()
    with pytest.raises(StoreError, match="no folder of a run"):
        store.open_readonly(tmp_path)


# Units


TYPES = ["float16", "bfloat16", "float8_e4m3fn", "float64", "int4", "uint32", "complex64"]
TYPES += ["complex128"]


def test_a_unit_comes_back_to_the_bit(run):
    tree = {
        "none": None,
        "types": {kind: np.arange(6).reshape(2, 3).astype(np.dtype(kind)) for kind in TYPES},
        "": {"": np.ones(2), "__metadata__": np.zeros((), jnp.bfloat16)},
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "every_second": np.arange(9, dtype=jnp.bfloat16)[::2],
        "large": np.array([2**64 - 1], np.uint64),
        "scalar": np.float64(0.1),
        "empty": np.zeros((0, 3), np.float32),
        "whole": 7,
        "flag": True,
        "zeros": np.full((4, 3), -0.0, np.float32),
        "a.b": np.arange(2),
        "bits": np.arange(9).reshape(3, 3) % 2 == 0,
        "list": [np.int8(1), (np.zeros(2, np.int16),)],
    }
    run.save(UNIT, {"params": PARAMS, "mask": MASK, "other": tree, "nothing": {}}, RECORD)
    run.save("single", {"array": np.arange(3)}, RECORD)
    assert_same(run.load("single", "array"), np.arange(3))
    assert run.has(UNIT)
    assert_same(run.load(UNIT, "params", PARAMS), PARAMS)
    assert_same(run.load(UNIT, "mask", MASK), MASK)
    assert_same(run.load(UNIT, "other", tree), tree)
    assert type(run.load(UNIT, "other", tree)["whole"]) is int
    assert run.load(UNIT, "other", tree)["flag"] is True
    assert run.load(UNIT, "nothing", {}) == {}
    assert run.record(UNIT) == RECORD


def test_what_is_replaced_counts_as_unfinished_until_its_record_is_there(run, monkeypatch):
    run.save("a", {"params": {"w": np.zeros(2)}}, {"accuracy": 0.1})
    rename = os.rename

    def full(source, target):
        if pathlib.Path(target).parent == run.path / "a":
            raise OSError(28, "No space left on device", str(target))
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(StoreError):
            run.save("a", {"params": {"w": np.ones(2)}}, {"accuracy": 0.2})
    assert not run.has("a")
    run.save("a", {"params": {"w": np.ones(2)}}, {"accuracy": 0.2})
    assert run.load("a", "params", {"w": np.zeros(2)})["w"].tolist() == [1, 1]


def test_the_disk_holds_what_is_put_in_place(run, monkeypatch):
    synced, moved, fsync, rename = [], [], os.fsync, os.rename

    def sync(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def move(source, target):
        files = all_files(source) if source.is_dir() else [source]
        moved.append((source.name, {str(file) for file in files} <= set(synced)))
        rename(source, target)
        synced.clear()

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", move)
    run.save("a", {"params": PARAMS, "mask": MASK}, RECORD)
    assert moved == [("arrays", True), ("record.json", True)]
    assert str(run.path / "a") in synced  # where they are now


def test_structure_may_come_from_shapes_from_parameters_or_from_names(run):
    run.save(UNIT, {"params": jax.device_put(PARAMS), "mask": MASK}, RECORD)
    shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, PARAMS))
    assert_same(run.load(UNIT, "params", shapes), PARAMS)
    assert_same(run.load(UNIT, "params"), PARAMS)
    assert_same(run.load(UNIT, "mask", PARAMS), MASK)
    assert_same(run.load(UNIT, "mask"), MASK)


def test_masks_take_one_bit_a_weight(run):
    run.save("big", {"mask": {"kernel": np.ones((1000, 800), bool)}}, RECORD)
    size = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    assert size < 1.3 * 1000 * 800 / 8


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"Dense_0": PARAMS["Dense_0"]}, "'Dense_1/kernel', which `like` lacks"),
        (PARAMS | {"Dense_2": np.zeros(1)}, "no leaf 'Dense_2'"),
        (PARAMS | {"Dense_1": {"kernel": np.zeros((3, 1), np.float32)}}, "params/Dense_1/kernel"),
        (PARAMS | {"Dense_1": {"kernel": np.zeros((2, 1))}}, "float32 .* float64"),
        (PARAMS | {"Dense_1": {"kernel": None}}, "params/Dense_1/kernel.*None in `like`"),
    ],
)
def test_a_structure_that_differs_names_the_first_leaf(run, like, message):
    run.save(UNIT, {"params": PARAMS}, RECORD)
    with pytest.raises(ValueError, match=message):
        run.load(UNIT, "params", like)


def test_an_unknown_tree_names_those_there_are(run):
    run.save(UNIT, {"params": PARAMS, "mask": MASK}, RECORD)
    with pytest.raises(ValueError, match="'weights'; it has params, mask"):
        run.load(UNIT, "weights", PARAMS)


def test_saving_again_replaces_and_removing_removes(run):
    run.save(UNIT, {"params": PARAMS, "mask": MASK}, RECORD)
    run.save(UNIT, {"params": MASK}, RECORD | {"level": 7})
    assert run.record(UNIT)["level"] == 7
    assert_same(run.load(UNIT, "params", MASK), MASK)
    run.remove(UNIT)
    assert not run.has(UNIT)
    assert run.records() == []
    assert (run.path / "results.jsonl").read_text() == ""


def test_records_are_sorted_by_number(run):
    units = [f"level_00/ticket/replicate_{number}" for number in (10, 2, 0)]
    for unit in units:
        run.save(unit, {}, RECORD)
    assert [unit for unit, _ in run.records()] == units[::-1]


def test_numbers_of_numpy_and_jax_go_into_a_record(run):
    record = {"a": np.float32(0.5), "b": jnp.int32(3), "c": np.arange(2), "d": float("nan")}
    run.save(UNIT, {}, record)
    stored = run.record(UNIT)
    assert (stored["a"], stored["b"], stored["c"]) == (0.5, 3, [0, 1])
    assert np.isnan(stored["d"])


# Checkpoints


def train_state(step):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf) + step, PARAMS)
    optimizer = optax.chain(optax.clip(1.0), optax.adamw(optax.constant_schedule(0.1)))
    return {"params": params, "opt": optimizer.init(params), "step": step, "stats": {}}


def test_a_checkpoint_comes_back_to_the_bit_and_only_the_newest_is_kept(run):
    assert run.latest(UNIT, train_state(0)) is None
    for step in (10, 20, 20):
        run.checkpoint(UNIT, step, train_state(step), {"best": [step, None]})
    step, state, notes = run.latest(UNIT, train_state(0))
    assert (step, notes) == (20, {"best": [20, None]})
    assert_same(state, train_state(20))
    assert len(list((run.path / UNIT).iterdir())) == 1
    assert not run.has(UNIT)


def test_finishing_a_unit_removes_its_checkpoints(run):
    run.checkpoint(UNIT, 10, train_state(10), {})
    run.save(UNIT, {"params": PARAMS}, RECORD)
    assert run.latest(UNIT, train_state(0)) is None
    assert sorted(path.name for path in (run.path / UNIT).iterdir()) == ["arrays", "record.json"]


def test_an_unfinished_checkpoint_does_not_count(run):
    run.checkpoint(UNIT, 10, train_state(10), {})
    (run.path / UNIT / "checkpoint_000001" / "arrays").mkdir(parents=True)  # killed before record
    assert run.latest(UNIT, train_state(0)).step == 10
    run.checkpoint(UNIT, 20, train_state(20), {})
    assert run.latest(UNIT, train_state(0)).step == 20
    assert len(list((run.path / UNIT).iterdir())) == 1


# Damage


def damaged(path, how):
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :])


def all_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "flipped"])
def test_damage_to_any_file_is_found_and_names_the_file(run, how):
    run.save("other", {"params": PARAMS}, RECORD)
    for number in itertools.count():
        unit = f"unit_{number}"
        run.save(unit, {"params": PARAMS, "mask": MASK}, RECORD)
        present = [path for path in all_files(run.path / unit) if path.stat().st_size]
        if number >= len(present):
            break
        damaged(present[number], how)
        says = "run the same command: only this network is trained again"
        with pytest.raises(StoreError, match=f"^{re.escape(str(present[number]))} is .*{says}"):
            run.load(unit, "params", PARAMS)
    assert number == 2  # record and arrays
    assert_same(run.load("other", "params", PARAMS), PARAMS)


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "flipped"])
def test_damage_to_any_file_of_a_checkpoint_is_found_and_names_the_file(run, how):
    for number in itertools.count():
        unit = f"unit_{number}"
        run.checkpoint(unit, 10, PARAMS, {})
        present = [path for path in all_files(run.path / unit) if path.stat().st_size]
        if number >= len(present):
            break
        damaged(present[number], how)
        if present[number].name == "record.json" and how == "missing":
            assert run.latest(unit, PARAMS) is None  # it was never whole
            continue
        says = "run the same command: only this network starts again"
        with pytest.raises(StoreError, match=f"^{re.escape(str(present[number]))} is .*{says}"):
            run.latest(unit, PARAMS)
    assert number > 3


def test_damage_that_the_checksums_of_files_miss_is_found(run):
    run.save(UNIT, {"params": PARAMS}, RECORD)
    path = run.path / UNIT / "record.json"
    content = json.loads(path.read_text())["content"]
    for entry, message in [("trees", "the checksum of `params`"), ("files", r"\w+Error: ")]:
        changed = json.loads(json.dumps(content))
        if entry == "trees":
            changed["trees"]["params"]["crc32"] += 1
        else:
            changed["files"] = {}
            shutil.rmtree(run.path / UNIT / "arrays")
        text = json.dumps(changed)
        path.write_text(f'{{"crc32": {zlib.crc32(text.encode())}, "content": {text}}}')
        with pytest.raises(StoreError, match=rf"arrays is damaged \({message}.*Delete the folder"):
            run.load(UNIT, "params", PARAMS)


def test_a_lost_folder_of_arrays_says_what_to_do_and_can_be_made_again(run):
    run.save(UNIT, {"params": PARAMS}, RECORD)
    os.rename(run.path / UNIT / "arrays", run.path / "elsewhere")
    with pytest.raises(
        StoreError, match=r"arrays/[\w.]+ is missing\. Delete the folder .*replicate_0 and"
    ):
        run.load(UNIT, "params", PARAMS)
    run.remove(UNIT)
    run.save(UNIT, {"params": PARAMS}, RECORD)
    assert_same(run.load(UNIT, "params", PARAMS), PARAMS)


def test_a_changed_number_in_a_record_is_found(run):
    run.save(UNIT, {}, RECORD)
    path = run.path / UNIT / "record.json"
    path.write_text(path.read_text().replace("0.25", "0.26", 1))
    with pytest.raises(StoreError, match=r"record\.json is damaged \(its checksum"):
        run.record(UNIT)
    with pytest.raises(StoreError, match=r"record\.json is damaged"):
        store.table(run.path)


def test_a_damaged_checkpoint_is_an_error_and_not_a_silent_restart(run):
    run.checkpoint(UNIT, 10, train_state(10), {})
    data = run.path / UNIT / "checkpoint_000000" / "arrays" / "manifest.ocdbt"
    damaged(data, "truncated")
    with pytest.raises(StoreError, match=r"Delete the folder .*checkpoint_000000 and run the same"):
        run.latest(UNIT, train_state(0))


# A disk that does not cooperate


def test_a_file_where_a_folder_should_be_is_named(tmp_path, run):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/imp-.* cannot be written: Not a directory"):
        open_run(tmp_path / "file")
    run.save("level_00", {"params": PARAMS}, RECORD)
    (run.path / "level_01").write_text("")
    for store_it in (
        lambda: run.save(UNIT, {"params": PARAMS}, RECORD),
        lambda: run.checkpoint(UNIT, 1, PARAMS, {}),
    ):
        with pytest.raises(StoreError, match=r"level_01.* cannot be written"):
            store_it()
    assert_same(run.load("level_00", "params", PARAMS), PARAMS)


def test_a_full_disk_is_an_error_and_costs_nothing_stored(run):
    large = {"kernel": np.random.default_rng(0).normal(size=200_000)}
    run.save(UNIT, {"params": PARAMS}, RECORD)
    run.checkpoint("next", 10, train_state(10), {})
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        for store_it in (
            lambda: run.save(UNIT, {"params": large}, RECORD),
            lambda: run.save("new", {"params": large}, RECORD),
            lambda: run.save("new", {}, {"text": "x" * 200_000}),
            lambda: run.checkpoint("next", 20, large, {}),
        ):
            with pytest.raises(StoreError, match=r"cannot be written: .*Free disk space"):
                store_it()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert_same(run.load(UNIT, "params", PARAMS), PARAMS)
    assert run.latest("next", train_state(0)).step == 10
    assert not run.has("new")
    run.save("new", {"params": large}, RECORD)  # once there is room again
    assert_same(run.load("new", "params", large), large)


# Processes that die

CHILD = """
    import sys
    import numpy as np
    from tests_store_shared import Settings
    from jaxlth import store

    with store.open_run(sys.argv[1], Settings(), job="imp", label="digits-lenet") as run:
        for number in range(10_000):
            unit = f"unit_{len(run.records())}"
            tree = {"kernel": np.full((300, 100), number, np.float32), "mask": np.ones(9, bool)}
            for step in range(3):
                run.checkpoint(unit, step, tree, {"step": step})
            run.save(unit, {"params": tree}, {"number": number})
            print(unit, flush=True)
"""
SHARED = """
    import dataclasses

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Settings:
        seed: int = 0
"""


@pytest.fixture
def child(tmp_path):
    """Start a process that saves without end, and return it once it has begun."""
    (tmp_path / "tests_store_shared.py").write_text(textwrap.dedent(SHARED))
    (tmp_path / "child.py").write_text(textwrap.dedent(CHILD))
    started = []

    def start(out):
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "child.py"), str(out)],
            env=os.environ | {"PYTHONPATH": SOURCE, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline().startswith("unit_")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChildSettings:
    seed: int = 0


def check_after_kill(child, out, *, kills):
    like = {"kernel": np.zeros((300, 100), np.float32), "mask": np.ones(9, bool)}
    rng = random.Random(0)
    units = set()
    for _ in range(kills):
        process = child(out)
        with pytest.raises(StoreError, match=f"held by process {process.pid} on"):
            open_run(out, ChildSettings())
        assert [info.state for info in store.runs(out)] == ["running"]
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.wait()
        with open_run(out, ChildSettings()) as run:
            finished = dict(run.records())
            assert units <= set(finished)  # nothing that was finished is lost
            units = set(finished)
            for unit, record in finished.items():
                kernel = run.load(unit, "params", like)["kernel"]
                np.testing.assert_array_equal(kernel, record["number"])
            checkpoint = run.latest(f"unit_{len(units)}", like)
            assert checkpoint is None or checkpoint.notes == {"step": checkpoint.step}
            lines = (run.path / "results.jsonl").read_text().splitlines()
            assert {json.loads(line)["unit"] for line in lines} == units
            assert not list(run.path.rglob(".unfinished"))


def test_what_is_finished_survives_a_kill_and_the_lock_goes_with_the_process(child, tmp_path):
    check_after_kill(child, tmp_path / "runs", kills=1)


@pytest.mark.slow
def test_what_is_finished_survives_many_kills(child, tmp_path):
    check_after_kill(child, tmp_path / "runs", kills=4)


@pytest.mark.parametrize("stop", range(12))
def test_a_save_cut_off_at_any_call_leaves_old_or_new(tmp_path, monkeypatch, stop):
    class Killed(BaseException):
        pass

    run = open_run(tmp_path)
    run.save(UNIT, {"params": PARAMS}, RECORD)
    run.checkpoint("next", 10, PARAMS, {})
    calls = itertools.count()

    def die(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            if next(calls) >= stop:
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in ("rename", "fsync", "unlink", "rmdir"):
        die(name)
    with contextlib.suppress(Killed):
        run.save("next", {"params": MASK}, RECORD)
    monkeypatch.undo()
    run.close()
    with open_run(tmp_path) as again:
        assert_same(again.load(UNIT, "params", PARAMS), PARAMS)
        if again.has("next"):
            assert_same(again.load("next", "params", MASK), MASK)
            assert again.latest("next", PARAMS) is None
        else:
            assert again.latest("next", PARAMS).step == 10
        lines = (again.path / "results.jsonl").read_text().splitlines()
        assert len(lines) == len(again.records())
        again.save("next", {"params": MASK}, RECORD)
        assert_same(again.load("next", "params", MASK), MASK)


# Lists and tables


def test_runs_tells_state_progress_and_size(tmp_path):
    assert store.runs(tmp_path / "nowhere") == []
    (tmp_path / "stray").mkdir()
    with open_run(tmp_path) as run:
        run.set_expected_count(2)
        run.save("a", {"params": PARAMS}, RECORD)
        (info,) = store.runs(tmp_path)
        assert info[:6] == (run.path, "imp", "digits-lenet", "running", 1, 2)
        assert info.bytes > 500
    assert store.runs(tmp_path)[0].state == "interrupted"
    with open_run(tmp_path) as run:
        run.save("b", {}, RECORD)
    assert store.runs(tmp_path)[0].state == "finished"


def test_results_have_a_line_for_each_unit_as_strict_json(run):
    run.save(UNIT, {}, RECORD | {"test_loss": float("inf")})
    run.save("other", {}, RECORD)
    lines = (run.path / "results.jsonl").read_text().splitlines()
    first = json.loads(lines[0], parse_constant=pytest.fail)
    assert (first["unit"], first["test_loss"], first["level"]) == (UNIT, None, 1)
    assert "curve" not in first
    assert len(lines) == 2


def test_a_torn_line_of_results_is_mended(tmp_path, run):
    run.save("a", {}, RECORD)
    run.save("b", {}, RECORD)
    run.close()
    path = run.path / "results.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-20])
    open_run(tmp_path).close()
    assert path.read_text() == whole


def test_the_table_has_a_row_for_each_network_and_the_changed_settings(tmp_path):
    changed = Settings(optimizer=Optimizer(lr=0.5, sizes=(4,)), seed=1)
    paths = []
    for settings in (Settings(), changed):
        with open_run(tmp_path, settings) as run:
            paths.append(run.path)
            run.save("a", {}, RECORD | {"seed": 5, "stopped_step": 3, "test_loss": float("nan")})
            run.save("b", {}, RECORD | {"seed": 5})
    table = store.table(paths)
    columns = ["run", "unit", *[name for name in RECORD if name != "curve"], "seed"]
    extra = ["optimizer.lr", "optimizer.sizes", "settings.seed"]
    assert list(table.columns) == columns + extra
    assert list(table["unit"]) == ["a", "b", "a", "b"]
    assert list(table["optimizer.lr"]) == [0.1, 0.1, 0.5, 0.5]
    assert list(table["optimizer.sizes"]) == ["3, 2", "3, 2", "4", "4"]
    assert table["level"].dtype == "int64"
    assert table["stopped_step"].dtype == "Int64"
    assert table["stopped_step"].isna().tolist() == [False, True, False, True]
    assert table["validation_loss"].dtype == "float64"
    assert table["validation_loss"].isna().all()
    assert table["test_loss"].isna().tolist() == [True, False, True, False]
    assert list(store.table(paths[0]).columns) == columns


def test_the_table_goes_to_csv_and_parquet(run, tmp_path):
    run.save(UNIT, {}, RECORD)
    run.save("other", {}, RECORD | {"stopped_step": 2**53 + 1})
    table = store.table(run.path)
    assert store.export_results(run.path) == run.path / "results.csv"
    read = pd.read_csv(run.path / "results.csv", dtype={"stopped_step": "Int64"})
    assert read["stopped_step"].equals(table["stopped_step"])
    assert read["test_loss"].equals(table["test_loss"])
    pytest.importorskip("pyarrow")
    table.to_parquet(tmp_path / "table.parquet")
    parquet = pd.read_parquet(tmp_path / "table.parquet")
    assert parquet["stopped_step"].equals(table["stopped_step"])


def test_curves_have_a_row_for_each_evaluation(run):
    run.save("a", {}, RECORD)
    run.save("b", {}, RECORD | {"curve": {"step": [5], "test_loss": [None], "more": [1.5]}})
    run.save("c", {}, {"level": 0})
    curves = store.curves(run.path)
    keys = ["run", "unit", "replicate", "level", "control", "step"]
    assert list(curves.columns) == [*keys, "test_loss", "validation_loss", "more"]
    assert list(curves["unit"]) == ["a", "a", "b"]
    assert list(curves["step"]) == [10, 20, 5]
    np.testing.assert_array_equal(curves["test_loss"], [0.5, 0.25, np.nan])
    assert curves["validation_loss"].isna().all()


def test_tables_of_nothing_are_empty_and_strangers_are_refused(run, tmp_path):
    assert list(store.table(run.path).columns) == ["run", "unit"]
    assert len(store.curves([])) == 0
    (tmp_path / "stranger").mkdir()
    (tmp_path / "file").write_text("")
    strangers = {
        "stranger": "stranger is no folder of a run: it has no file run.json.",
        "nowhere": "There is no folder .*nowhere, or none any more.",
        "file": "file is a file, and no folder of a run.",
    }
    for name, says in strangers.items():
        with pytest.raises(StoreError, match=says):
            store.table(tmp_path / name)


def test_a_file_in_the_place_of_the_folder_of_runs_is_told_from_a_folder_without_runs(tmp_path):
    (tmp_path / "file").write_text("")
    assert store.runs(tmp_path) == store.runs(tmp_path / "nowhere") == []
    for out in ("file", "file/runs"):
        with pytest.raises(ValueError, match="`out` must be a folder, but .*file is a file.$"):
            store.runs(tmp_path / out)


# Exchange

ODD_TREES = {
    "slashes": {"a/b": np.arange(3.0), "a": {"c": np.ones((1, 2))}, "/": np.ones(1)},
    "a name within another": {"a": np.arange(3.0), "a/b": np.ones(1)},
    "a list": [{"w": np.arange(3.0)}, {"w": np.ones(1)}],
    "tuples": {"layers": ((np.ones(1), np.arange(3.0)), (), [np.ones(2)])},
    "whole-numbered keys": {0: np.arange(3.0), 10: np.ones(1), 9: {"w": np.zeros(2)}},
    "a key without text": {"": np.arange(3.0)},
    "None": {"w": np.arange(3.0), "b": None, "c": {"d": None}},
    "a single array": np.arange(3.0),
}


class Point(NamedTuple):
    x: Any
    y: Any


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_tickets_come_back_from_files(tmp_path, suffix):
    path = tmp_path / f"ticket{suffix}"
    metadata = {"level": 3, "density": 0.512, "run": None}
    stats = {"norm": {"mean": np.arange(3, dtype=np.float32)}}
    store.export_ticket(path, jax.device_put(PARAMS), MASK, stats=stats, metadata=metadata)
    found = store.load_ticket(path)
    assert_same(found.params, PARAMS)
    assert_same(found.mask, MASK)
    assert_same(found.stats, stats)
    assert found.metadata == metadata
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("case", ODD_TREES)
def test_trees_of_all_containers_come_back_from_files(tmp_path, case, suffix):
    params = ODD_TREES[case]
    mask = jax.tree.map(lambda leaf: leaf > 1, params)
    store.export_ticket(tmp_path / f"t{suffix}", params, mask, stats=params, metadata={"a": 1})
    loaded = store.load_ticket(tmp_path / f"t{suffix}")
    for tree, wanted in ((loaded.params, params), (loaded.mask, mask), (loaded.stats, params)):
        assert jax.tree.structure(tree) == jax.tree.structure(wanted)
        assert_same(tree, wanted)
    assert loaded.metadata == {"a": 1}


def test_named_tuples_and_modules_come_back_from_files_like_parameters(tmp_path):
    params = {"a": Point(np.ones(2, np.float32), None), "b": [FrozenDict(x=np.zeros((1, 2)))]}
    mask = {"a": Point(None, None), "b": [FrozenDict(x=np.array([[True, False]]))]}
    store.export_ticket(tmp_path / "t.npz", params, mask, metadata={})
    loaded = store.load_ticket(tmp_path / "t.npz", like=params)
    for tree, wanted in ((loaded.params, params), (loaded.mask, mask)):
        assert jax.tree.structure(tree) == jax.tree.structure(wanted)
        assert_same(tree, wanted)
    plain = store.load_ticket(tmp_path / "t.npz").params
    assert_same(plain, {"a": {"x": params["a"].x, "y": None}, "b": [{"x": params["b"][0]["x"]}]})
    with pytest.raises(ValueError, match="no leaf 'c'"):
        store.load_ticket(tmp_path / "t.npz", like={"a": {"x": np.ones(2)}, "c": np.ones(1)})


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"a/b": np.ones(1), "a": {"b": np.ones(1)}}, "two leaves of one name"),
        ({(1, 2): np.ones(1)}, r"`params` has the key \(1, 2\); a file holds keys of text"),
    ],
)
def test_trees_that_no_file_can_hold_are_refused_at_export(tmp_path, params, said):
    with pytest.raises(ValueError, match=said):
        store.export_ticket(tmp_path / "t.npz", params, {}, metadata={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("case", ODD_TREES)
def test_a_run_gives_lists_and_keys_back_as_they_were(run, case):
    run.save(UNIT, {"network": ODD_TREES[case]}, RECORD)
    assert_same(run.load(UNIT, "network"), ODD_TREES[case])


def test_anybodys_arrays_are_read_by_their_names_even_one_within_another(tmp_path):
    arrays = {"a": np.ones(1), "a/b": np.zeros(2), "c/d": np.ones(3)}
    store.export_arrays(tmp_path / "t.npz", arrays, metadata={})
    params = store.load_network(tmp_path / "t.npz").params
    assert trees.named(params).keys() == arrays.keys()


def test_names_in_a_ticket_are_those_of_the_tree(tmp_path):
    store.export_ticket(tmp_path / "t.npz", PARAMS, MASK, metadata={})
    with np.load(tmp_path / "t.npz") as file:
        names = set(file.files) - {"jaxlth"}
    kernels = {f"{kind}/Dense_{i}/kernel" for kind in ("params", "mask") for i in (0, 1)}
    assert names == kernels | {"params/Dense_0/bias"}


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_bfloat16_and_float8_go_into_safetensors_only(tmp_path, kind):
    params = {"kernel": jnp.arange(4).reshape(2, 2).astype(kind), "bias": jnp.ones(2)}
    mask = dict.fromkeys(params)
    store.export_ticket(tmp_path / "t.safetensors", params, mask, metadata={})
    loaded = store.load_ticket(tmp_path / "t.safetensors").params
    assert bits(loaded) == bits(params)
    assert loaded["kernel"].dtype == kind
    assert loaded["kernel"].shape == (2, 2)
    with pytest.raises(ValueError, match=rf"{kind}.*\.safetensors"):
        store.export_ticket(tmp_path / "t.npz", params, mask, metadata={})


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_scalars_and_turned_arrays_keep_their_shapes_in_files(tmp_path, suffix):
    turned = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    params = {"temperature": jnp.float32(3), "w": turned}
    mask = {"temperature": np.array(True), "w": turned > 1}
    path = tmp_path / f"t{suffix}"
    store.export_ticket(path, params, mask, stats={"count": np.int32(7)}, metadata={})
    for loaded in (store.load_ticket(path), store.load_ticket(path, like=params)):
        assert loaded.params["temperature"].shape == loaded.mask["temperature"].shape == ()
        assert loaded.stats["count"].shape == ()
        assert_same(loaded.params["w"], turned)


def test_a_mask_that_does_not_fit_and_an_unknown_suffix_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.safetensors or \.npz; got .*t\.pt"):
        store.export_ticket(tmp_path / "t.pt", PARAMS, MASK, metadata={})
    with pytest.raises(ValueError, match=r"\.safetensors or \.npz"):
        store.load_ticket(tmp_path / "t.pt")
    with pytest.raises(ValueError, match="'other' that `params` lacks"):
        store.export_ticket(tmp_path / "t.npz", PARAMS, {"other": np.ones(1, bool)}, metadata={})
    wrong = MASK | {"Dense_1": {"kernel": np.ones((3, 1), bool)}}
    with pytest.raises(ValueError, match=r"'Dense_1/kernel' has shape \(2, 1\)"):
        store.export_ticket(tmp_path / "t.npz", PARAMS, wrong, metadata={})


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_broken_and_missing_tickets_are_named(tmp_path, suffix):
    path = tmp_path / f"ticket{suffix}"
    with pytest.raises(StoreError, match=r"ticket\.\w+ does not exist"):
        store.load_ticket(path)
    store.export_ticket(path, PARAMS, MASK, metadata={})
    whole = path.read_bytes()
    for size in {0, 5, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(StoreError, match=r"ticket\.\w+ is damaged"):
            store.load_ticket(path)
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        store.export_ticket(path / path.name, PARAMS, MASK, metadata={})
    store.export_ticket(tmp_path / "new" / path.name, PARAMS, MASK, metadata={})
    assert_same(store.load_ticket(tmp_path / "new" / path.name).mask, MASK)


# Event files


def test_event_files_are_written_for_each_curve(run, tmp_path):
    pytest.importorskip("tensorboardX")
    run.save(UNIT, {}, RECORD)
    run.save("without", {}, {"level": 0})
    for _ in range(2):
        assert store.write_events(run.path, tmp_path / "events") == [UNIT]
    (file,) = (path for path in (tmp_path / "events").rglob("*") if path.is_file())
    assert file.parent == tmp_path / "events" / run.path.name / UNIT
    assert b"test_loss" in file.read_bytes()


def test_a_missing_extra_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(StoreError, match=r"pip install 'jaxlth\[tensorboard\]'"):
        store.write_events(run.path, tmp_path)


# Damaged runs among others


def pair(out):
    """Return the folders of a whole run and of one that a test is to damage."""
    paths = []
    for seed in (0, 1):
        with open_run(out, Settings(seed=seed, levels=60)) as opened:
            opened.save(UNIT, {}, RECORD)
            opened.set_expected_count(1)
            paths.append(opened.path)
    return paths


def rewritten(change):
    """Return what replaces `run.json` by JSON that differs, without a checksum."""

    def act(file):
        story = metadata.read(file.parent)
        change(story)
        file.write_text(json.dumps(story))

    return act


def set_to(name, value):
    return rewritten(lambda story: story.update({name: value}))


def huge(file):
    with open(file, "wb") as opened:
        opened.truncate(2**40)  # takes no room


def replaced_by(make):
    def act(file):
        file.unlink()
        make(file)

    return act


DAMAGE = {
    "empty": lambda file: file.write_text(""),
    "torn": lambda file: file.write_text(file.read_text()[:-40]),
    "no table": lambda file: file.write_text("[1, 2]"),
    "no text": lambda file: file.write_bytes(b"\xff\xfe{}"),
    "deep": lambda file: file.write_text('{"job":' * 60 + "1" + "}" * 60),
    "deeper": lambda file: file.write_text("[" * 100_000),
    "huge": huge,
    "pipe": replaced_by(os.mkfifo),
    "folder": replaced_by(lambda file: file.mkdir()),
    "link to nothing": replaced_by(lambda file: file.symlink_to("nowhere")),
    "link to itself": replaced_by(lambda file: file.symlink_to(file.name)),
    "another setting": lambda file: file.write_text(file.read_text().replace("60", "20")),
    "no job": rewritten(lambda story: story.pop("job")),
    "no label": rewritten(lambda story: story.pop("label")),
    "no date": rewritten(lambda story: story.pop("created")),
    "no plan": rewritten(lambda story: story.pop("planned")),
    "no settings": rewritten(lambda story: story.pop("settings")),
    "date of another kind": set_to("created", 2026),
    "plan of another kind": set_to("planned", "two"),
    "plan that is none": set_to("planned", True),
    "list for settings": set_to("settings", []),
    "list for what changed": set_to("changed", [1]),
    "list for facts": set_to("facts", []),
    "table for environments": set_to("environments", {}),
    "nothing for settings": set_to("settings", None),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_run_is_named_and_the_others_are_told_of(how, tmp_path, caplog):
    good, bad = pair(tmp_path)
    DAMAGE[how](bad / "run.json")
    for told in (
        lambda: [info.path for info in store.runs(tmp_path)] == [good],
        lambda: list(store.table([bad, good])["run"]) == [good.name],
        lambda: set(store.curves([bad, good])["run"]) == {good.name},
    ):
        caplog.clear()
        assert told()
        (line,) = caplog.messages
        assert line.startswith(f"left out: {bad}/run.json ")
        assert "\n" not in line
    shutil.rmtree(good)
    for request in (store.runs, lambda _: store.table(bad), lambda _: store.open_readonly(bad)):
        with pytest.raises(StoreError, match=re.escape(f"{bad}/run.json ")):
            request(tmp_path)


@pytest.mark.parametrize("name", ["run.json", ""])
def test_a_run_that_may_not_be_read_is_named(name, caplog):
    with tempfile.TemporaryDirectory() as out:  # in no folder that only its owner may enter
        os.chmod(out, 0o755)
        good, bad = pair(pathlib.Path(out))
        os.chmod(bad / name, 0)
        with unprivileged():
            (info,) = store.runs(out)
        os.chmod(bad / name, 0o700)
    assert info.path == good
    (line,) = caplog.messages
    assert line.startswith(f"left out: {bad}/run.json cannot be read: Permission denied.")


@contextlib.contextmanager
def unprivileged():
    """Be nobody for a while, if this is root, who may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_link_to_a_run_that_is_away_is_named_and_strangers_are_not(tmp_path, caplog):
    good, away = pair(tmp_path)
    shutil.rmtree(away)
    away.symlink_to(tmp_path / "unmounted")
    (tmp_path / "stray").mkdir()
    (tmp_path / "file").write_text("")
    assert [info.path for info in store.runs(tmp_path)] == [good]
    (line,) = caplog.messages
    assert line == f"left out: {away} is a link to none, and no folder of a run."


def test_a_run_with_a_damaged_record_is_left_out_of_a_table_of_several(tmp_path, caplog):
    good, bad = pair(tmp_path)
    damaged(bad / UNIT / "record.json", "flipped")
    assert list(store.table([bad, good])["run"]) == [good.name]
    assert f"left out: {bad}/{UNIT}/record.json is damaged" in caplog.text
    assert len(store.runs(tmp_path)) == 2  # a list reads no records


def test_a_run_of_an_earlier_version_opens_and_gets_its_checksums(tmp_path, caplog):
    path, _ = pair(tmp_path)
    story = json.loads((path / "run.json").read_text())
    line = json.loads((path / "results.jsonl").read_text())
    texts = [(path / name).read_text() for name in ("run.json", "results.jsonl")]
    del story["crc32"], line["crc32"]
    (path / "run.json").write_text(json.dumps(story, indent=2) + "\n")
    (path / "results.jsonl").write_text(json.dumps(line) + "\n")
    assert store.about_run(path) == story
    assert len(store.runs(tmp_path)) == 2
    with open_run(tmp_path, Settings(levels=60)) as opened:
        assert opened.has(UNIT)
    assert [(path / name).read_text() for name in ("run.json", "results.jsonl")] == texts
    assert not caplog.messages


def test_no_flipped_bit_of_run_json_changes_what_is_read(tmp_path):
    path, _ = pair(tmp_path)
    file, chance = path / "run.json", random.Random(0)
    whole, story = file.read_bytes(), metadata.read(path)
    refused = 0
    for _ in range(150):
        place, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
        file.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            # Blanks between entries say nothing; without its name the checksum is another entry.
            read = metadata.read(path)
            assert {name: read[name] for name in story} == story
        except StoreError:
            refused += 1
    assert refused > 110


@pytest.mark.parametrize("how", ["torn", "flipped", "lost", "foreign", "twice", "empty"])
def test_lines_of_results_are_made_again_from_the_records(tmp_path, run, how):
    for name in ("a", "b", "c"):
        run.save(name, {}, RECORD)
    run.close()
    path = run.path / "results.jsonl"
    whole = path.read_text()
    first, second, third = whole.splitlines(keepends=True)
    path.write_text(
        {
            "torn": whole[:-20],
            "flipped": first + second.replace("0.25", "0.75") + third,
            "lost": first + "\n" + third,
            "foreign": first + second + '{"unit": "elsewhere"}\n' + third,
            "twice": whole + third,
            "empty": "",
        }[how]
    )
    open_run(tmp_path).close()
    assert path.read_text() == whole


def test_results_that_are_no_file_are_an_error_that_says_what_to_do(tmp_path, run):
    run.close()
    (run.path / "results.jsonl").mkdir()
    with pytest.raises(StoreError, match=r"results\.jsonl is damaged.*Delete this file"):
        open_run(tmp_path)


def test_the_settings_file_of_a_run_is_checked_and_written_again(tmp_path):
    path, _ = pair(tmp_path)
    file = path / "settings.toml"
    whole = file.read_text()
    store.check_settings(file)
    for text in (whole.replace("60", "20"), whole[:-9], ""):
        file.write_text(text)
        with pytest.raises(StoreError, match=r"settings\.toml is damaged or was changed"):
            store.check_settings(file)
        copy = tmp_path / "settings.toml"
        copy.write_text(text)
        store.check_settings(copy)  # anybody's own
        open_run(tmp_path, Settings(levels=60)).close()
        assert file.read_text() == whole


def test_a_damaged_lock_names_nobody(tmp_path, run):
    lock = run.path / "lock"
    lock.write_text(lock.read_text().replace(f'"pid": {os.getpid()}', '"pid": 1'))
    with pytest.raises(StoreError, match="is held by another process"):
        open_run(tmp_path)


def test_what_a_run_of_another_version_says_is_one_error(tmp_path):
    path, _ = pair(tmp_path)
    story = metadata.read(path)
    metadata.write(path, story | {"environments": [{"versions": {"jaxlth": "7.1"}}]})
    for look_up, lacking in [
        (lambda story: story["settings"]["thaw"], "it has no entry 'thaw'"),
        (lambda story: settings_lib.from_dict(Optimizer, story["settings"]), "There is no setting"),
    ]:
        with (
            pytest.raises(StoreError, match=rf"run\.json was made by jaxlth 7\.1 .*{lacking}"),
            store.understood(path) as read,
        ):
            look_up(read)


@pytest.mark.parametrize("name", ["record.json", "arrays/_METADATA"])
def test_a_flipped_bit_in_a_checkpoint_is_found(run, name):
    run.checkpoint(UNIT, 10, train_state(10), {"best": [10, None]})
    damaged(run.path / UNIT / "checkpoint_000000" / name, "flipped")
    with pytest.raises(StoreError, match=r"is damaged.*checkpoint_000000 and run the same"):
        run.latest(UNIT, train_state(0))


# More of disks that do not cooperate


def test_too_many_open_files_and_a_lost_folder_are_one_error_each(run, capfd):
    run.save(UNIT, {"params": PARAMS}, RECORD)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    with open(os.devnull) as last:
        few = max(last.fileno() + 2, used)
        for limit, store_it in (
            (0, lambda: run.save("new", {"params": PARAMS}, RECORD)),
            (few, lambda: run.checkpoint("new", 1, PARAMS, {})),
        ):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
            try:
                with pytest.raises(StoreError, match="cannot be written: Too many open files"):
                    store_it()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert_same(run.load(UNIT, "params", PARAMS), PARAMS)
    shutil.rmtree(run.path)
    run.path.write_text("")  # whatever took its place
    for store_it in (
        lambda: run.save("new", {"params": PARAMS}, RECORD),
        lambda: run.checkpoint("new", 1, PARAMS, {}),
    ):
        with pytest.raises(StoreError, match="cannot be written: Not a directory"):
            store_it()
    assert capfd.readouterr().err == ""


def test_a_folder_that_has_become_read_only_is_one_error(capfd):
    with tempfile.TemporaryDirectory() as out:
        os.chmod(out, 0o755)
        with open_run(out) as run:
            run.save(UNIT, {"params": PARAMS}, RECORD)
            with unprivileged_in(run.path):
                for store_it in (
                    lambda: run.save("new", {"params": PARAMS}, RECORD),
                    lambda: run.checkpoint("new", 1, PARAMS, {}),
                    lambda: run.set_expected_count(7),
                ):
                    with pytest.raises(StoreError, match="cannot be written: Permission denied"):
                        store_it()
            assert_same(run.load(UNIT, "params", PARAMS), PARAMS)
    assert capfd.readouterr().err == ""


@contextlib.contextmanager
def unprivileged_in(path):
    """Have a folder that this process, root or not, may read and not write."""
    path.chmod(0o555)
    try:
        with unprivileged():
            yield
    finally:
        path.chmod(0o755)


def test_an_error_of_the_system_behind_one_of_the_checkpointer_is_said_in_its_words():
    quota = ValueError("RESOURCE_EXHAUSTED: Error writing \"w/0\" [os_error_code='122']")
    assert checkpointer._cause(quota) == "Disk quota exceeded"
    assert checkpointer._cause(OSError(30, "Read-only file system")) == "Read-only file system"
    assert checkpointer._cause(KeyError("w\nmore")) == "KeyError: 'w\\nmore'"


FULL = """
    import dataclasses, pathlib, subprocess, sys
    import numpy as np
    from jaxlth import store

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Settings:
        seed: int = 0

    out = pathlib.Path(sys.argv[1])
    chance = np.random.default_rng(0)
    tree = {f"leaf_{number}": chance.normal(size=3000) for number in range(6)}
    for size in sys.argv[2:]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", out], check=True)
        saved = 0
        try:
            with store.open_run(out, Settings(), job="imp", label="full") as run:
                while True:
                    run.save(f"unit_{saved}", {"params": tree, "more": tree}, {"number": saved})
                    saved += 1
        except store.StoreError as error:
            print("error:", error)
        for number in range(saved):
            loaded = run.load(f"unit_{number}", "params", tree)
            assert all((loaded[name] == tree[name]).all() for name in tree)
        subprocess.run(["umount", "-l", out], check=True)
"""


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_no_traceback(tmp_path):
    allowed = ["unshare", "--map-root-user", "--mount"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*allowed, "true"], check=False).returncode
    ):
        pytest.skip("mounts are not allowed here")
    (tmp_path / "full.py").write_text(textwrap.dedent(FULL))
    (tmp_path / "disk").mkdir()
    sizes = ["4k", "20k", "100k", "200k", "500k", "520k", "540k", "600k", "640k", "700k"]
    done = subprocess.run(
        [*allowed, sys.executable, str(tmp_path / "full.py"), str(tmp_path / "disk"), *sizes],
        env=os.environ | {"PYTHONPATH": SOURCE, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == len(sizes)
    for line in lines:
        assert "cannot be written: No space left on device. Free disk space" in line


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("Task exception was never retrieved\nfuture: <Task coro=<f() at orbax/a.py:1>", False),
        ("Future exception was never retrieved\nfuture: <Future tensorstore>", False),
        ("Task exception was never retrieved\nfuture: <Task coro=<f() at mine.py:1>", True),
    ],
)
def test_only_errors_that_orbax_raises_as_well_are_kept_quiet(text, is_told, caplog):
    checkpointer._orbax()  # puts the filter in place
    logging.getLogger("asyncio").error(text)
    assert (text in caplog.messages) == is_told


def test_a_run_says_what_of_its_last_environment_was_other(tmp_path, monkeypatch):
    with open_run(tmp_path) as run:
        assert run.other_bits == ()
        path = run.path
    with open_run(tmp_path) as run:
        assert run.other_bits == ()
    story = metadata.read(path)
    story["environments"][0] |= {"device": "tpu: TPU v4"}
    story["environments"][0]["versions"] |= {"jax": "0.9.9", "numpy": "1.0"}
    metadata.write(path, story)
    with open_run(tmp_path) as run:
        assert run.other_bits == (
            f"jax 0.9.9, not {jax.__version__}",
            f"device tpu: TPU v4, not cpu: {jax.devices()[0].device_kind}",
        )
    with open_run(tmp_path) as run:
        assert run.other_bits == ()
