"""What README says to type does what it says."""

import pathlib
import re
import subprocess
import sys

import pytest

from jaxlth.cli import commands as command_classes

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "papers").glob("*.md"))]
PAGES += [ROOT / "docs" / "speed.md"]


def commands() -> list[str]:
    """The lines of the shell blocks and the commands in the tables that call jaxlth."""
    text = "\n".join(page.read_text() for page in PAGES)
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.split("\n")
    ]
    return lines + re.findall(r"`((?:jaxlth|python) [^`]+)`", text)


def jaxlth(*arguments: str, cwd: pathlib.Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from jaxlth.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_command_that_is_named_exists():
    named = {
        match
        for line in commands()
        for match in re.findall(r"(?<!from )\bjaxlth ([a-z-]+)(?![\w/-])", line)
    }
    assert named
    assert named <= set(command_classes.by_name())


def test_every_file_that_is_named_exists():
    named = {match for line in commands() for match in re.findall(r"python (\S+\.py)", line)}
    assert named
    assert all((ROOT / name).exists() for name in named)


@pytest.mark.slow
def test_the_first_command_finds_tickets_and_the_second_time_computes_nothing(tmp_path):
    first = jaxlth("imp", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "matches the dense network" in first.stdout
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}
    assert len(files) == 3 * (1 + 10 * 3)
    second = jaxlth("imp", cwd=tmp_path)
    assert second.stdout == first.stdout
    assert "steps/s" not in second.stderr
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("prune-early --score", "synflow-before-rounds-shuffled"),
        ("instability", "dense is stable from step"),
        ("separation --hidden", "networks"),
        ("threshold-masks --hidden", "ticket"),
        ("train-supermasks", "edge-popup-finetuned"),
    ],
)
def test_the_commands_of_the_other_jobs_run(tmp_path, command, says):
    line = next(line for line in commands() if line.startswith(f"jaxlth {command}"))
    done = jaxlth(*line.split()[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


@pytest.mark.slow
def test_the_command_for_a_language_model_runs(tmp_path):
    line = next(line for line in commands() if "gpt-mini" in line)
    arguments = line.split()[1:]
    for name, value in {"--steps": "8", "--levels": "1", "--num-train-examples": "300"}.items():
        arguments[arguments.index(name) + 1] = value
    done = jaxlth(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Below: loss in nats, and bits, per character." in done.stdout


@pytest.mark.slow
def test_the_example_with_parts_of_ones_own_runs(tmp_path, monkeypatch):
    section = (ROOT / "README.md").read_text().split("## Your own network")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    weights = names["results"].table()["kept"].unique().tolist()
    assert weights == [8 * 16 + 16 * 3, 141, 113, 90]


@pytest.mark.data
@pytest.mark.slow
def test_the_command_for_real_data_runs(tmp_path, real_data):
    line = next(line for line in commands() if "--data mnist" in line)
    small = {"--steps": "60", "--levels": "1", "--replicates": "1", "--data-dir": str(real_data)}
    arguments = line.split()[1:]
    for name, value in small.items():
        arguments[arguments.index(name) + 1] = value
    done = jaxlth(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "80 %" in done.stdout


@pytest.mark.data
@pytest.mark.slow
def test_the_command_for_a_benchmark_runs(tmp_path, real_data):
    line = next(line for line in commands() if "--benchmark" in line and "--scale smoke" in line)
    arguments = line.split()[1:]
    arguments[arguments.index("--data-dir") + 1] = str(real_data)
    done = jaxlth(*arguments, "--steps", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3.5 %" in done.stdout
