"""Each study runs at its smallest scale, twice, the second time training nothing."""

import os
import pathlib
import re
import subprocess
import sys

import pandas as pd
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def study(name: str, *arguments: str, cwd: pathlib.Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "experiments" / name), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_lenet_mnist_draws_its_figures_and_trains_nothing_again(tmp_path):
    arguments = ("--scale", "smoke", "--results", str(tmp_path / "results"))
    first = study("lenet_mnist.py", *arguments, cwd=tmp_path)
    folder = tmp_path / "results" / "smoke"
    figures = {path.stem for path in folder.glob("*.png")}
    assert figures == {f"figure_3-{number}" for number in (1, 2, 3, 5, 7, 8, 9)}
    table = pd.read_csv(folder / "imp.csv")
    assert len(table) == 2 * (4 + 3)  # tickets of all levels, three controls at the last
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("record.json")}
    assert study("lenet_mnist.py", *arguments, cwd=tmp_path) == first
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("record.json")}
    assert again == stored


@pytest.mark.data
@pytest.mark.slow
def test_speed_prints_its_tables(tmp_path, real_data):
    arguments = ("--data-dir", str(real_data), "--steps", "60", "--rounds", "1")
    printed = study("speed.py", *arguments, cwd=tmp_path)
    assert "library, pure function" in printed
    assert "14.7 million" in printed


@pytest.mark.slow
def test_streaming_speed_prints_its_tables(tmp_path):
    small = ("--images", "8", "--steps", "3", "--batch-size", "4", "--step-seconds", "0.01")
    printed = study("streaming_speed.py", *small, cwd=tmp_path)
    for row in ("for training", "for testing", "0", "1", "2"):
        assert re.search(rf"^\| {row} \| \d+( %)? \|$", printed, re.MULTILINE)
