"""The page on parts of a user's own: every block of it runs, in order."""

import itertools
import pathlib
import re
import shlex

import pytest

from jaxlth import cli, store

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "own_network.md"
BLOCK = re.compile(r"^```(python|sh)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [match.groups() for match in BLOCK.finditer(PAGE.read_text())]
ARRAYS, *EXAMPLES = [code for kind, file, code in BLOCKS if kind == "python" and file is None]
FILES = {file: code for _, file, code in BLOCKS if file is not None}
SHELL = "".join(code for kind, _, code in BLOCKS if kind == "sh")
COMMANDS = SHELL.replace("\\\n", " ").splitlines()  # a backslash goes on below
LINES = 40  # of a user's code, at most
STUDIES = ("imp", "prune-early", "instability")


def names_of(examples):
    """Return the names of the experiments of examples; one may go on with that before it."""
    return [name for example in examples for name in re.findall(r'name="(.*?)"', example)[-1:]]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_examples_of_the_page_run_through_three_studies(place):
    names = {}  # that go on from block to block
    for code in (ARRAYS, *EXAMPLES):
        exec(compile(code, str(PAGE), "exec"), names)
    runs = {(run.job, run.label) for run in store.runs("runs")}
    assert runs == set(itertools.product(STUDIES, names_of(EXAMPLES)))


def test_the_examples_of_the_page_are_short():
    assert all(len(example.strip().splitlines()) <= LINES for example in EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[1])
def test_a_command_of_the_page_runs(command, place):
    for file, code in FILES.items():
        pathlib.Path(file).write_text(code)
    assert cli.main(shlex.split(command)[1:]) == 0
