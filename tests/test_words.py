"""The field's words: names that were nobody else's are gone from code, options and documents."""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

from jaxlth.cli import commands, options, words
from jaxlth.studies import run_info

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "jaxlth").rglob("*.py"), *(ROOT / "experiments").glob("*.py")])
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "tpu" / "README.md"]
DOCUMENTS += [ROOT / "experiments" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# As names of variables, functions, classes and arguments; in sentences some are plain English.
RETIRED = {
    *("chosen", "found", "posed", "Problem", "Subject", "Pruning", "Start", "Ask", "Course"),
    *("Placed", "Moment", "Seen", "Line", "marks", "since", "later", "judge", "norms", "wide"),
    *("slopes", "known", "outside", "by_lead", "leads", "agreed"),
}
RETIRED_MODULES = {"stored", "drawn", "looked", "exported", "find", "choices", "job", "work"}
RETIRED_MODULES |= {"tickets", "early", "supermask", "mask_training", "hosts", "selection"}


def names(tree: ast.AST) -> Iterator[str]:
    """Yield every name that a module gives to something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_names_are_those_of_the_field(file):
    assert RETIRED.isdisjoint(name.lstrip("_") for name in names(ast.parse(file.read_text())))
    assert file.stem not in RETIRED_MODULES


def test_the_check_sees_every_kind_of_name():
    source = "def found(chosen):\n    posed: int = 1\n    for marks in (): pass\n"
    source += "class Seen: pass\nimport a as since\nself.wide = [0 for later in ()]"
    assert set(names(ast.parse(source))) == {
        *("found", "chosen", "posed", "marks", "Seen", "since", "wide", "later")
    }


def test_no_command_has_a_retired_name_or_option():
    table = commands.by_name()
    assert table.keys().isdisjoint(run_info.RENAMED_STUDIES)
    for name, command in table.items():
        assert set(options.names(command)).isdisjoint(words.RENAMED_OPTIONS), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_documents_name_no_retired_command_option_or_module(document):
    text = document.read_text()
    old = [f"jaxlth {command}" for command in run_info.RENAMED_STUDIES]
    old += [*words.RENAMED_OPTIONS, *(f"jaxlth.{name}" for name in RETIRED_MODULES)]
    found = [name for name in old if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]
    assert found == []
