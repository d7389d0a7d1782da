"""Processes that do not talk to each other share a run by its replicates."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import kills
import pytest

from jaxlth import cli, store
from jaxlth.store import StoreError, share
from jaxlth.studies.imp.config import ImpConfig

ROOT = pathlib.Path(__file__).parents[1]
IMP = (
    "imp --model mlp --hidden 8 --steps 12 --batch-size 50 --evaluate-every 6 --train-examples 100"
)
IMP += " --levels 1 --rewind-step 5 --controls random --replicates 3 --devices 1"


def run(words, out):
    return cli.main([*words.split(), "--out", str(out)])


def contents(out):
    (info,) = store.runs(out)
    return kills.contents(info.path)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_have_each_replicate_once(count):
    shares = [share.Share(index, count).replicates(7) for index in range(1, count + 1)]
    assert sorted(replicate for own in shares for replicate in own) == list(range(7))


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(ValueError, match="`share` must be I/N"):
        share.parse(text)


def test_a_share_without_a_replicate_is_refused(tmp_path, capfd):
    assert run(f"{IMP} --share 4/4", tmp_path) == 2
    assert "`share` must have a replicate; got 4/4, and `replicates` is 3" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ("imp --stop-lost-accuracy 0.1", "stop_lost_accuracy"),
        ("imp --dilations 2", "dilations"),
        ("instability --search bisection", "search"),
        (
            "prune-early --score meta-linear synflow --schedule before-once iterative-rounds"
            " --density 0.005",
            "score",
        ),
    ],
)
def test_replicates_that_depend_on_each_other_are_not_shared(words, setting, tmp_path, capfd):
    assert run(f"{words} --replicates 3 --share 1/2", tmp_path) == 2
    assert f"`share` does not go with `{setting}`" in capfd.readouterr().err


def test_shares_of_any_number_make_the_run_of_one_process(tmp_path, capfd):
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    assert run(f"{IMP} --share 2/3", shared) == 0
    told, progress = capfd.readouterr()
    assert "level 1 done, 3/3 networks" in progress  # those of others are not waited for
    assert "Unfinished: replicates 0 (0 of 4), 2 (0 of 4) lack networks that others have." in told
    (info,) = store.runs(shared)
    assert (info.state, info.finished, info.expected) == ("interrupted", 4, 12)
    assert run(f"{IMP} --share 1/2", shared) == 0
    assert "Unfinished" not in capfd.readouterr().out
    assert run(IMP, alone) == 0
    assert contents(shared) == contents(alone)
    assert store.runs(shared)[0].state == "finished"


def test_shares_whose_replicates_end_early_make_a_finished_run(tmp_path, capfd):
    words = "separation --data moons+circles --model mlp --hidden 8 --steps 30 --batch-size 50"
    words += " --levels 5 --prune-fraction 0.5 --replicates 3"  # degraded before the last level
    for index, lacks in ((1, True), (2, False)):
        assert run(f"{words} --share {index}/2", tmp_path) == 0
        printed = capfd.readouterr().out
        assert "networks separated" in printed
        assert ("Unfinished" in printed) == lacks
    (info,) = store.runs(tmp_path)
    assert info.state == "finished"
    assert info.finished == info.expected < 3 * 6


def test_no_two_processes_write_the_same_replicate(tmp_path):
    def opened(replicates):
        how = {"job": "imp", "label": "a", "replicates": replicates}
        return store.open_run(tmp_path, ImpConfig(replicates=4), **how)

    record = {"nan_step": None}
    with opened((0, 2)) as even, opened((1, 3)) as odd:
        assert store.runs(tmp_path)[0].state == "running"
        for overlapping in ((0,), (1, 2), None):
            with pytest.raises(StoreError, match="is held by process"):
                opened(overlapping)
        with pytest.raises(StoreError, match="is of another share"):
            odd.save("a/replicate_2", {}, record)
        even.save("a/replicate_2", {}, record)
        odd.checkpoint("a/replicate_3", 1, {}, {})
        assert odd.has("a/replicate_2")
        assert even.latest_step("a/replicate_3") == 1
    with opened(None) as whole:
        with pytest.raises(StoreError, match="is held by process"):
            opened((0,))
        whole.save("a/replicate_3", {}, record)
    lines = (tmp_path.glob("*/results.jsonl").__next__()).read_text().splitlines()
    assert len(lines) == 2


@pytest.mark.slow
def test_ten_processes_and_kills_give_the_bits_of_one(tmp_path):
    words = IMP.replace("--steps 12", "--steps 500").replace("--replicates 3", "--replicates 10")
    words += " --checkpoint-seconds 0.05"
    chance = random.Random(0)

    def start(index):
        command = [*words.split(), "--share", f"{index}/10", "--out", str(tmp_path / "shared")]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", "jaxlth", *command],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    processes = {index: start(index) for index in range(1, 11)}
    for index in chance.sample(range(1, 11), 4):
        time.sleep(chance.uniform(1, 4))
        processes[index].send_signal(signal.SIGKILL)
        processes[index].communicate()
        processes[index] = start(index)
    for process in processes.values():
        _, told = process.communicate(timeout=300)
        assert process.returncode == 0, told
    assert run(words, tmp_path / "alone") == 0
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")
