"""What importing the public functions brings along, and what the package says of itself."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

import jaxlth

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEAVY = ["flax", "jax", "matplotlib", "numpy", "orbax", "pandas", "tensorflow_datasets", "tyro"]
PROGRAM = """
import json, sys
{statement}
print(json.dumps(sorted(set({heavy}) & set(sys.modules))))
"""


def imported_by(statement: str) -> list[str]:
    """Return which of the heavy packages a fresh Python has imported after `statement`."""
    program = PROGRAM.format(statement=statement, heavy=HEAVY)
    return json.loads(subprocess.check_output([sys.executable, "-c", program]))


def test_public_functions_import_nothing_heavy():
    assert imported_by("from jaxlth import masks, prune, scores") == ["jax", "numpy"]


def test_the_command_answers_signals_before_it_imports_what_is_heavy():
    assert imported_by("import jaxlth.cli") == []


def test_studies_import_nothing_that_only_reports_need():
    assert {"matplotlib", "pandas"}.isdisjoint(imported_by("import jaxlth.studies"))


@pytest.mark.parametrize("heavy", HEAVY)
def test_every_heavy_package_would_be_noticed(heavy):
    assert heavy in imported_by(f"import types; sys.modules[{heavy!r}] = types.ModuleType('')")


def test_changelog_has_a_section_for_this_version():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert jaxlth.__version__ in headings


def test_package_is_marked_as_typed():
    assert (pathlib.Path(jaxlth.__file__).parent / "py.typed").exists()
