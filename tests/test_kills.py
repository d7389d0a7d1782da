"""Runs of all jobs that are killed again and again end with the same bits; see `kills.py`."""

import pathlib
import subprocess
import sys
import time

import pytest

import jaxlth

ROOT = pathlib.Path(jaxlth.__file__).parents[1]
KILLS = 60


@pytest.mark.slow
def test_runs_killed_at_any_moment_end_with_the_bits_of_a_run_that_was_not():
    seed = int(time.time())
    script = str(pathlib.Path(__file__).with_name("kills.py"))
    done = subprocess.run(
        [sys.executable, script, "--kills", str(KILLS), "--seed", str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)  # seed and phases; shown if the test fails
    assert done.returncode == 0
    (counts,) = [line.split() for line in done.stdout.splitlines() if line.startswith("all ")]
    phases = list(map(int, counts[1:-1]))
    assert len(phases) == 5
    assert min(phases) > 0, "a phase without a kill"
    assert int(counts[-1]) >= KILLS
