"""A run survives being killed, interrupted and asked for twice at once."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxlth import store
from jaxlth.process import signals

COMMAND = [sys.executable, "-c", "import sys; from jaxlth.cli import main; sys.exit(main())", "imp"]
COMMAND += ["--model", "mlp", "--hidden", "64", "--steps", "30000", "--batch-size", "20"]
COMMAND += ["--levels", "1", "--replicates", "2", "--controls", "--checkpoint-seconds", "0.05"]
PATIENCE = 240  # seconds that a busy machine may take


STARTED = []  # processes of the test that runs


def started(out, *more):
    process = subprocess.Popen(
        [*COMMAND, "--out", str(out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"},
    )
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def none_is_left():
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.communicate()


def in_training(out, process):
    """Wait until a network's training has a checkpoint."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if checkpoints(out):
            return
        time.sleep(0.01)
    pytest.fail(f"no checkpoint: {process.communicate()}")


def recorded(out):
    """Return the folders with a record; `os.walk` bears with those that a process just moves."""
    return [pathlib.Path(root) for root, _, names in os.walk(out) if "record.json" in names]


def checkpoints(out):
    return [path for path in recorded(out) if path.name.startswith("checkpoint_")]


def finished(out):
    return [path for path in recorded(out) if path.name.startswith("replicate_")]


def contents(out):
    """Return the arrays and numbers of every network, the time it took aside."""
    (info,) = store.runs(out)
    look = store.open_readonly(info.path)
    result = {}
    for name, record in look.records():
        record.pop("seconds")
        result[name] = json.dumps(record, sort_keys=True), look.load(name, "network")
    return result


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, (record, network) in a.items():
        assert record == b[name][0], name
        for one, other in zip(_leaves(network), _leaves(b[name][1]), strict=True):
            np.testing.assert_array_equal(one, other)


def _leaves(tree):
    if isinstance(tree, dict):
        return [leaf for name in sorted(tree) for leaf in _leaves(tree[name])]
    return [tree]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing interrupted, and the seconds that it took."""
    out = tmp_path_factory.mktemp("whole")
    clock = time.monotonic()
    process = started(out)
    process.communicate(timeout=2 * PATIENCE)
    assert process.returncode == 0
    return out, time.monotonic() - clock


@pytest.fixture(scope="module")
def uninterrupted(whole):
    return contents(whole[0])


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bits(whole, uninterrupted, tmp_path):
    seed = int(time.time())
    print(f"moments of the kills: random.Random({seed})")  # shown if the test fails
    moments = random.Random(seed)
    for _ in range(3):  # at startup, between levels, while storing, at the end
        process = started(tmp_path)
        time.sleep(moments.uniform(0, whole[1]))
        process.kill()
        process.communicate()
    inside = 0
    for _ in range(3):
        if len(finished(tmp_path)) == len(uninterrupted):
            shutil.rmtree(tmp_path)
        process = started(tmp_path)
        in_training(tmp_path, process)
        time.sleep(moments.uniform(0, 0.6))
        process.kill()
        process.communicate()
        inside += bool(checkpoints(tmp_path))
    assert inside, "never killed inside a training"
    process = started(tmp_path)
    _, told = process.communicate(timeout=2 * PATIENCE)
    assert process.returncode == 0, told
    assert_same(contents(tmp_path), uninterrupted)
    assert not list(tmp_path.rglob("checkpoint_*"))  # no process is left that moves them


@pytest.mark.slow
@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_saves_and_says_how_to_go_on(number, uninterrupted, tmp_path):
    process = started(tmp_path)
    in_training(tmp_path, process)
    process.send_signal(number)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "the same command goes on from there" in told
    assert "Traceback" not in told
    (info,) = store.runs(tmp_path)
    assert info.state == "interrupted"
    process = started(tmp_path)
    process.communicate(timeout=2 * PATIENCE)
    assert_same(contents(tmp_path), uninterrupted)


@pytest.mark.slow
def test_a_second_process_is_told_who_holds_the_run_or_waits(uninterrupted, tmp_path):
    holder = started(tmp_path)
    in_training(tmp_path, holder)
    second = started(tmp_path)
    _, told = second.communicate(timeout=PATIENCE)
    assert second.returncode == 2
    assert str(holder.pid) in told
    assert "--wait" in told
    assert len(told.splitlines()) == 1
    waiting = started(tmp_path, "--wait")
    time.sleep(1)
    holder.kill()  # a holder that died lets the next one in
    holder.communicate()
    _, told = waiting.communicate(timeout=2 * PATIENCE)
    assert waiting.returncode == 0, told
    assert_same(contents(tmp_path), uninterrupted)
