"""The page on studies: its example and its commands run."""

import re

import numpy as np
import pages
import pytest

from jaxlth import cli

PAGE = pages.STUDIES


def run(start, folder, *, says, shorter=(), extra=()):
    """Run a command of the page in a folder, some of its options shorter, and look for a text."""
    arguments = pages.command(PAGE, start)
    for name, value in dict(shorter).items():
        arguments[arguments.index(name) + 1] = value
    done = pages.jaxlth(*arguments, *extra, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


SMALL = {  # commands that run as they stand: how each begins, and what it prints
    "prune-early --score": "synflow-before-rounds-shuffled",
    "dynamic": "rigl",
    "instability": "dense is stable from step",
    "separation --hidden": "networks",
    "threshold-masks --hidden": "ticket",
    "train-supermasks": "edge-popup-finetuned",
}
SHORTENED = ("imp --model gpt-mini", "imp --data mnist", "imp --benchmark", "imp --replicates")


@pytest.mark.slow
@pytest.mark.parametrize(("command", "says"), SMALL.items())
def test_the_commands_of_the_studies_run(tmp_path, command, says):
    run(command, tmp_path, says=says)


@pytest.mark.slow
def test_the_command_for_a_language_model_runs(tmp_path):
    short = {"--steps": "8", "--levels": "1", "--num-train-examples": "300"}
    told = "Below: loss in nats, and bits, per character."
    run("imp --model gpt-mini", tmp_path, says=told, shorter=short)


@pytest.mark.data
@pytest.mark.slow
def test_the_command_for_real_data_runs(tmp_path, real_data):
    short = {"--steps": "60", "--levels": "1", "--replicates": "1", "--data-dir": str(real_data)}
    run("imp --data mnist", tmp_path, says="80 %", shorter=short)


@pytest.mark.data
@pytest.mark.slow
def test_the_command_for_a_benchmark_runs(tmp_path, real_data):
    short = {"--data-dir": str(real_data)}
    run("imp --benchmark", tmp_path, says="3.5 %", shorter=short, extra=["--steps", "4"])


@pytest.mark.slow
def test_the_command_of_a_slurm_array_does_its_share(tmp_path):
    short = {"--share": "2/5", "--out": "shared"}
    small = ["--steps", "4", "--levels", "1", "--controls", "none"]
    run("imp --replicates", tmp_path, says="80 %", shorter=short, extra=small)
    replicates = {path.name for path in tmp_path.rglob("replicate_*")}
    assert replicates == {"replicate_1"}


def test_every_command_of_the_page_is_run_here():
    lines = [line for line in pages.shell_lines(PAGE.read_text()) if line.startswith("jaxlth")]
    starts = [f"jaxlth {start}" for start in (*SMALL, *SHORTENED)]
    assert [sum(line.startswith(start) for line in lines) for start in starts] == [1] * len(lines)


def example() -> str:
    (code,) = pages.blocks(PAGE.read_text(), "python")
    return code


def run_example(code, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert re.search(r"3[23]\.\d % of the weights are kept", capsys.readouterr().out)
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
    mask = names["results"].ticket(level=5).mask["Dense_0"]["kernel"]
    assert np.all(names["weights"]["Dense_0"]["kernel"][~mask] == 0)
    assert names["again"] == names["results"]
    assert cli.main(["results", "--out", "runs"]) == 0


@pytest.mark.slow
def test_the_example_has_twelve_lines_and_runs(monkeypatch, tmp_path, capsys):
    code = example()
    assert len([line for line in code.splitlines() if line]) == 12
    assert '"mnist", steps=1000' in code
    short = code.replace('"mnist", steps=1000', '"digits", steps=20')
    run_example(short, monkeypatch, tmp_path, capsys)


@pytest.mark.data
def test_the_example_runs_on_mnist(monkeypatch, tmp_path, capsys):
    run_example(example().replace("1000", "100"), monkeypatch, tmp_path, capsys)
