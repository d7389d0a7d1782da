"""Scripts of the folder of experiments, run in processes of their own."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "experiments"
NAMES = sorted(path.name for path in EXPERIMENTS.glob("*.py") if '"__main__"' in path.read_text())


def process(
    path: pathlib.Path, *arguments: str, cwd: pathlib.Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, with some variables of the environment and no others."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(path), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONPATH": str(ROOT)},
    )


def printed(path: pathlib.Path, *arguments: str, cwd: pathlib.Path) -> str:
    """Return what a script prints, in the environment of this process."""
    done = process(path, *arguments, cwd=cwd, environment=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(name: str, *arguments: str, cwd: pathlib.Path) -> str:
    """Return the one line that a script ends with where it cannot run."""
    without_data = {k: v for k, v in os.environ.items() if k != "JAXLTH_DATA"}
    done = process(EXPERIMENTS / name, *arguments, cwd=cwd, environment=without_data)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line
