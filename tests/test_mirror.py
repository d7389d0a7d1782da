"""Runs at a bucket: what is stored there is whole, comes back to the bit, and is one machine's."""

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import textwrap
import time

import buckets
import jax
import numpy as np
import pytest

import jaxlth
from jaxlth import cli, store
from jaxlth.store import StoreError, artifacts, bucket, lease

SOURCE = str(pathlib.Path(jaxlth.__file__).parents[1])
OUT = "pail://bucket/runs"
UNIT = "level_01/ticket/replicate_0"
TREE = {"kernel": np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2), "mask": np.ones(9, bool)}
RECORD = {"replicate": 0, "level": 1, "control": "ticket", "curve": {"step": [1], "loss": [0.5]}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    seed: int = 0


@pytest.fixture(autouse=True)
def pail(tmp_path, monkeypatch):
    """An empty bucket, and a machine without a cache."""
    folder = tmp_path / "pail"
    folder.mkdir()
    monkeypatch.setenv("PAIL", str(folder))
    monkeypatch.setenv("JAXLTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lease, "SETTLE", 0.0)
    return folder


@pytest.fixture
def on_machine(tmp_path, monkeypatch):
    """Go on at a machine with a cache of its own."""
    return lambda name: monkeypatch.setenv("JAXLTH_CACHE", str(tmp_path / name))


def open_run(settings=None, **kwargs):
    return store.open_run(OUT, settings or Settings(), job="imp", label="digits-lenet", **kwargs)


def place(run):
    return bucket.connect(run.url)


def there(run, under=""):
    return {name for name in bucket.listing(place(run)) if name.startswith(under)}


def same(tree, expected=TREE):
    return all(tree[name].tobytes() == leaf.tobytes() for name, leaf in expected.items())


def as_if_of_another(run, **changes):
    """Make the claim one of another machine."""
    mine = json.loads(bucket.read_or_none(place(run), "lock"))
    other = mine | {"token": "other", "host": "elsewhere"} | changes
    bucket.write(place(run), "lock", json.dumps(other).encode())


def test_another_machine_finds_all_of_a_run_to_the_bit(on_machine):
    with open_run() as run:
        run.set_expected_count(3)
        run.add_facts({"shape": [28, 28, 1]})
        run.save(UNIT, {"params": TREE, "none": {}}, RECORD)
        run.checkpoint("next", 10, TREE, {"loss": 1.0})
        run.checkpoint("next", 20, TREE, {"loss": 0.5})
    on_machine("another")
    with open_run() as run:
        assert run.path.is_relative_to(os.environ["JAXLTH_CACHE"])
        assert same(run.load(UNIT, "params", TREE))
        assert run.record(UNIT) == RECORD
        step, state, notes = run.latest("next", TREE)
        assert (step, notes) == (20, {"loss": 0.5})
        assert same(state)
        story = store.about_run(run.path)
        assert (story["planned"], story["facts"]) == (3, {"shape": [28, 28, 1]})
        assert len((run.path / "results.jsonl").read_text().splitlines()) == 1


def test_the_bucket_has_what_the_folder_has():
    with open_run() as run:
        run.save(UNIT, {"params": TREE}, RECORD)
        run.checkpoint("next", 10, TREE, {})
        run.checkpoint("next", 20, TREE, {})
        run.save("next", {"params": TREE}, RECORD)
        run.save("gone", {"params": TREE}, RECORD)
        run.remove("gone")
        run.checkpoint("last", 10, TREE, {})
        inside = {path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file()}
        assert there(run) == {path.as_posix() for path in inside}
    assert there(run) == {path.as_posix() for path in inside} - {"lock"}


def test_opening_again_fetches_and_copies_nothing(monkeypatch):
    with open_run() as run:
        run.save(UNIT, {"params": TREE}, RECORD)
    calls = []
    for name in ("put_file", "get_file"):
        monkeypatch.setattr(buckets.Pail, name, lambda *args, name=name, **_: calls.append(name))
    with open_run():
        pass
    assert calls == []


def test_what_one_machine_saved_and_not_copied_is_copied_when_it_comes_back(on_machine):
    with open_run() as run:
        run.save("a", {"params": TREE}, RECORD)
    # As if killed before it was copied.
    artifacts.put(run.path / ".unfinished", run.path / "b", {"params": TREE}, RECORD)
    on_machine("another")
    with open_run() as run:
        assert [unit for unit, _ in run.records()] == ["a"]
        run.save("c", {"params": TREE}, RECORD)
    on_machine("cache")
    with open_run() as run:
        assert [unit for unit, _ in run.records()] == ["a", "b", "c"]
        assert "b/record.json" in there(run)


def test_the_newest_checkpoint_counts_and_older_ones_go(on_machine):
    with open_run() as run:
        run.checkpoint("next", 10, TREE, {})
    on_machine("another")
    with open_run() as run:
        run.checkpoint("next", 20, TREE, {})
    on_machine("cache")
    with open_run() as run:
        assert run.latest_step("next") == 20
        assert len({name.split("/")[1] for name in there(run, "next")}) == 1
        run.save("next", {}, RECORD)
    on_machine("another")
    with open_run() as run:
        assert run.latest_step("next") is None
        assert there(run, "next") == {"next/record.json"}


@pytest.mark.parametrize("stop", range(0, 36, 3))
def test_a_process_that_dies_at_any_object_leaves_only_wholes(on_machine, monkeypatch, stop):
    class Killed(BaseException):
        pass

    run = open_run()
    run.save(UNIT, {"params": TREE}, RECORD)
    run.checkpoint("next", 10, TREE, {})
    calls = itertools.count()

    def dying(real):
        def call(*args, **kwargs):
            if next(calls) >= stop:
                raise Killed
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        for name in ("put_file", "rm_file"):
            patched.setattr(buckets.Pail, name, dying(getattr(buckets.Pail, name)))
        run.checkpoint("next", 20, TREE, {})
        run.save(UNIT, {"params": {"kernel": TREE["kernel"]}}, RECORD | {"level": 2})
    on_machine("another")
    as_if_of_another(run, seen=0.0)
    with open_run() as again:
        if again.has(UNIT):
            expected = TREE if again.record(UNIT) == RECORD else {"kernel": TREE["kernel"]}
            assert same(again.load(UNIT, "params"), expected)
        assert again.latest("next", TREE).step in (10, 20)
        whole = {name.rpartition("/")[0] for name in there(again) if name.endswith("record.json")}
        folders = {name.partition("/arrays/")[0] for name in there(again) if "/arrays/" in name}
        assert folders <= whole


# Two machines


def test_a_second_machine_is_told_who_has_the_run_and_waits_if_asked(on_machine, monkeypatch):
    with open_run() as run:
        as_if_of_another(run, pid=77, command="jaxlth imp")
        on_machine("another")
        who = r"is held by process 77 on elsewhere since 20.* \(jaxlth imp\)\. Wait .*--wait"
        with pytest.raises(StoreError, match=who):
            open_run()
        assert [info.state for info in store.runs(OUT)] == ["running"]
        monkeypatch.setattr(lease, "POLL", 0.01)
        monkeypatch.setattr(lease, "STALE", 0.0)
        with open_run(wait=True) as other:
            assert other.path != run.path


def test_a_silent_claim_is_taken_over_with_a_note_and_its_holder_finds_out(
    on_machine, monkeypatch, caplog
):
    run = open_run()
    as_if_of_another(run, seen=time.time() - 601, pid=77)
    on_machine("another")
    with open_run() as other:
        assert "from process 77 on elsewhere" in caplog.text
        other.save(UNIT, {"params": TREE}, RECORD)
        monkeypatch.setattr(lease, "RENEW", 0.0)
        with pytest.raises(StoreError, match=r"was taken over by process \d+ on"):
            run.save("late", {"params": TREE}, RECORD)
        run.abandon()
        assert not there(other, "late")
        assert "lock" in there(other)


def test_a_dead_process_of_this_machine_is_not_waited_for(caplog):
    run = open_run()
    os.close(*run._descriptors)  # as the kernel does
    with open_run():
        assert "which is gone" in caplog.text


def test_a_claim_is_renewed_while_nothing_is_written(monkeypatch):
    monkeypatch.setattr(lease, "RENEW", 0.05)
    with open_run() as run:
        before = lease.holder(place(run))["seen"]
        time.sleep(0.5)
        assert lease.holder(place(run))["seen"] > before
    assert lease.holder(place(run)) is None


# Readers


def test_readers_see_a_run_at_a_bucket_and_fetch_arrays_only_to_load(on_machine):
    assert store.runs(OUT) == []
    with open_run() as run:
        run.set_expected_count(2)
        run.save(UNIT, {"params": TREE}, RECORD)
        run.checkpoint("next", 10, TREE, {})
    url = run.url
    on_machine("reader")
    (info,) = store.runs(OUT)
    assert (info.state, info.finished, info.expected) == ("interrupted", 1, 2)
    assert info.bytes > 100
    for name in (url, info.path, pathlib.PurePosixPath(url)):
        assert list(store.table(name)["unit"]) == [UNIT]
        assert list(store.curves(name)["loss"]) == [0.5]
        assert store.about_run(name)["job"] == "imp"
    assert not list(info.path.rglob("arrays"))
    assert same(store.open_readonly(url).load(UNIT, "params", TREE))
    with pytest.raises(StoreError, match="is not held"):
        store.open_readonly(url).save("x", {}, {})
    with open_run() as run:  # a reading folder is not worked in
        run.save(UNIT, {"params": {"kernel": TREE["mask"]}}, RECORD | {"level": 5})
        run.save("next", {}, RECORD)
    assert list(store.table(info.path)["level"]) == [5, 1]
    assert same(store.open_readonly(info.path).load(UNIT, "params"), {"kernel": TREE["mask"]})
    with open_run() as run:
        run.remove(UNIT)
    assert list(store.table(info.path)["unit"]) == ["next"]
    with pytest.raises(StoreError, match="pail://bucket/none is no folder of a run"):
        store.open_readonly("pail://bucket/none")


def test_every_command_works_at_a_bucket(on_machine, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = ["--model", "mlp", "--hidden", "8", "--steps", "20", "--levels", "1"]
    assert cli.main(["imp", "--out", OUT, *tiny]) == 0
    assert "mirror: pail://bucket/runs/imp-" in capsys.readouterr().out
    on_machine("reader")
    page = ["report", "--file", "a.html"]
    figure = ["figure", "--file", "a.png"]
    for command in (["list"], ["results"], figure, page, ["export", "a.npz"]):
        assert cli.main([*command, "--out", OUT]) == 0, capsys.readouterr().err
    assert "finished" in capsys.readouterr().out
    assert store.load_ticket("a.npz").metadata["level"] == 1
    (info,) = store.runs(OUT)
    assert cli.main(["results", f"{OUT}/{info.path.name}"]) == 0
    assert (tmp_path / "pail/bucket/runs" / info.path.name / "accuracy.png").exists()
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "pail").rglob("record.json")}
    on_machine("bare")
    assert cli.main(["imp", "--out", OUT, *tiny]) == 0
    assert stored == {path: path.stat().st_mtime_ns for path in stored}


# What goes wrong


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("Forbidden: https://x\nno storage.objects.create"), "Storage Object Admin"),
        (FileNotFoundError("b/bucket"), "gcloud storage buckets create pail://bucket"),
        (ConnectionError("Cannot connect to host"), "Check the network"),
        (RuntimeError("Your default credentials were not found."), "application-default login"),
    ],
)
def test_a_bucket_that_refuses_is_an_error_of_one_line(monkeypatch, error, message):
    with open_run() as run:
        run.save("a", {}, RECORD)

        def refuse(*_, **__):
            raise error

        with monkeypatch.context() as broken:
            broken.setattr(buckets.Pail, "put_file", refuse)
            with pytest.raises(StoreError, match=message) as raised:
                run.save("b", {"params": TREE}, RECORD)
        assert "\n" not in str(raised.value)
        assert str(raised.value).startswith("pail://bucket/runs/imp-")
        with monkeypatch.context() as broken:
            broken.setattr(buckets.Pail, "find", refuse)
            with pytest.raises(StoreError, match=message):
                store.runs(OUT)
    with open_run() as run:  # nothing is lost once it works again
        assert "b/record.json" in there(run)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("gs://bucket/runs", r"gs://bucket/runs cannot be used .*pip install 'jaxlth\[gcs\]'"),
        ("gx://bucket/runs", r"gs://BUCKET/FOLDER"),
        ("file:///tmp/runs", r"`out` must be a folder.*got 'file:///tmp/runs'"),
        ("gs://", r"`out` must be a folder.*got 'gs://'"),
    ],
)
def test_what_is_missing_or_misspelt_is_named(monkeypatch, out, message):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(StoreError, match=message):
        store.open_run(out, Settings(), job="imp", label="digits-lenet")


def test_damage_at_the_bucket_is_found_and_named(pail, on_machine):
    with open_run() as run:
        run.save(UNIT, {"params": TREE}, RECORD)
    files = [path for path in (pail / "bucket").rglob("arrays/**/*") if path.is_file()]
    file = max(files, key=lambda path: path.stat().st_size)
    file.write_bytes(b"x" + file.read_bytes()[1:])
    on_machine("another")
    with pytest.raises(StoreError, match=rf"pail://.*/{UNIT}/arrays.* damaged.*Delete pail://"):
        open_run()
    shutil.rmtree(pail / "bucket/runs" / run.path.name / UNIT)
    with open_run() as run:
        assert not run.has(UNIT)


# Processes that die

CHILD = """
    import dataclasses
    import sys

    import buckets
    import numpy as np

    from jaxlth import store

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Settings:
        seed: int = 0

    with store.open_run("pail://bucket/runs", Settings(), job="imp", label="digits-lenet") as run:
        while True:
            number = len(run.records())
            unit = f"unit_{number}"
            tree = {"kernel": np.full((300, 100), number, np.float32), "mask": np.ones(9, bool)}
            for step in range(3):
                run.checkpoint(unit, step, tree, {"step": step})
            run.save(unit, {"params": tree}, {"number": number})
            print(unit, flush=True)
"""


IMP = """
    import sys

    import buckets

    from jaxlth import store
    from jaxlth.models import ModelConfig
    from jaxlth.studies.imp import run as imp
    from jaxlth.studies.imp.config import ImpConfig
    from jaxlth.studies.lab import Lab
    from jaxlth.training import TrainingConfig

    config = ImpConfig(
        model=ModelConfig(name="mlp", hidden=(16,)),
        training=TrainingConfig(steps=200, batch_size=60, evaluate_every=10),
        levels=2,
        replicates=1,
        controls=("random",),
    )
    with store.open_run(sys.argv[1], config, job="imp", label="kill", wait=True) as run:
        for event in imp.imp(Lab(imp.prepare(config), run, checkpoint_seconds=0.0), config):
            print(event.artifacts[0], event.step, flush=True)
"""


@pytest.mark.slow
def test_training_killed_and_gone_on_with_elsewhere_gives_the_same_bits(tmp_path, on_machine):
    (tmp_path / "job.py").write_text(textwrap.dedent(IMP))
    paths = os.pathsep.join([SOURCE, str(pathlib.Path(__file__).parent)])
    command = [sys.executable, str(tmp_path / "job.py")]

    def start(out):
        return subprocess.Popen(
            [*command, out],
            env=os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    whole = start(str(tmp_path / "here"))
    told = whole.communicate()[0].splitlines()
    assert whole.returncode == 0
    for kill, after in enumerate((len(told) // 4, len(told) // 4)):
        on_machine(f"machine_{kill}")
        process = start(OUT)
        for _ in range(after):
            process.stdout.readline()
        process.kill()
        process.communicate()
        (lock,) = (tmp_path / "pail").rglob("lock")
        lock.write_text(json.dumps(json.loads(lock.read_text()) | {"seen": 0.0}))
    on_machine("last")
    last = start(OUT)
    assert len(last.communicate()[0].splitlines()) < len(told)
    assert last.returncode == 0
    (here,), (there,) = store.runs(tmp_path / "here"), store.runs(OUT)
    assert (there.state, there.finished) == ("finished", here.finished)
    one, other = store.open_readonly(here.path), store.open_readonly(there.path)
    for unit, record in one.records():
        assert other.record(unit)["test_accuracy"] == record["test_accuracy"]
        for name in ("network", "mask"):
            a, b = (jax.tree.leaves(run.load(unit, name)) for run in (one, other))
            assert [leaf.tobytes() for leaf in a] == [leaf.tobytes() for leaf in b]


def check_after_kill(tmp_path, on_machine, *, kills):
    (tmp_path / "child.py").write_text(textwrap.dedent(CHILD))
    paths = os.pathsep.join([SOURCE, str(pathlib.Path(__file__).parent)])
    rng, finished = random.Random(0), set()
    for kill in range(kills):
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "child.py")],
            env=os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout.readline().startswith("unit_")
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        told = set(process.stdout.read().split())
        process.wait()
        process.stdout.close()
        on_machine(f"machine_{kill}")
        url = f"{OUT}/imp-digits-lenet-{store.folder('.', Settings(), job='', label='').name[-8:]}"
        gone = json.loads(bucket.read_or_none(bucket.connect(url), "lock")) | {"seen": 0.0}
        bucket.write(bucket.connect(url), "lock", json.dumps(gone).encode())
        with open_run() as run:
            found = dict(run.records())
            assert finished | told <= set(found)
            finished = set(found)
            for unit, record in found.items():
                kernel = run.load(unit, "params")["kernel"]
                np.testing.assert_array_equal(kernel, record["number"])
            checkpoint = run.latest(f"unit_{len(found)}", None)
            assert checkpoint is None or checkpoint.notes == {"step": checkpoint.step}


def test_a_bare_machine_goes_on_after_a_kill(tmp_path, on_machine):
    check_after_kill(tmp_path, on_machine, kills=1)


@pytest.mark.slow
def test_a_bare_machine_goes_on_after_many_kills(tmp_path, on_machine):
    check_after_kill(tmp_path, on_machine, kills=5)


def test_a_damaged_run_at_a_bucket_is_named_and_the_others_are_told_of(on_machine, caplog):
    urls = []
    for seed in (0, 1):
        with open_run(Settings(seed=seed)) as run:
            run.save(UNIT, {"params": TREE}, RECORD)
        urls.append(run.url)
    good, bad = urls
    bucket.write(bucket.connect(bad), "run.json", b"{")
    on_machine("reader")
    assert [info.path.name for info in store.runs(OUT)] == [good.rpartition("/")[2]]
    (line,) = caplog.messages
    assert line.startswith("left out: ")
    assert f"{bad.rpartition('/')[2]}/run.json is damaged" in line
    assert set(store.table([bad, good])["run"]) == {good.rpartition("/")[2]}
    with pytest.raises(StoreError, match=r"run\.json is damaged"):
        store.table(bad)


def test_a_copy_that_does_not_say_of_which_bucket_it_is_is_refused(on_machine):
    with open_run() as run:
        run.save(UNIT, {"params": TREE}, RECORD)
    on_machine("reader")
    (info,) = store.runs(OUT)
    origin = info.path / "mirror"
    url = origin.read_text()
    for text in ("", url.replace("bucket", "backet"), "no address"):
        origin.write_text(text)
        with pytest.raises(StoreError, match=r"mirror is damaged.*Delete this folder"):
            store.open_readonly(info.path)
    origin.write_text(url)
    assert store.open_readonly(info.path).has(UNIT)


def test_two_machines_share_a_run_and_a_third_finds_all_of_it(on_machine):
    on_machine("one")
    with open_run(replicates=(0, 2)) as even:
        even.checkpoint("a/replicate_2", 1, TREE, {})
        on_machine("two")
        with open_run(replicates=(1,)) as odd:
            # What the other one is copying now, arrays first, is not taken for left behind.
            bucket.write(place(odd), "a/replicate_0/arrays/half", b"")
            odd.save("a/replicate_1", {"params": TREE}, RECORD)
            on_machine("three")
            for overlapping in ((1, 3), None):
                with pytest.raises(StoreError, match="is held by process"):
                    open_run(replicates=overlapping)
            with open_run(replicates=(3,)):
                assert "a/replicate_0/arrays/half" in there(odd)
        even.save("a/replicate_0", {"params": TREE}, RECORD)
    on_machine("four")
    with open_run() as whole:
        assert [name for name, _ in whole.records()] == ["a/replicate_0", "a/replicate_1"]
        assert same(whole.load("a/replicate_1", "params"))
        assert whole.latest_step("a/replicate_2") == 1
        on_machine("five")
        with pytest.raises(StoreError, match="is held by process"):
            open_run(replicates=(0,))
