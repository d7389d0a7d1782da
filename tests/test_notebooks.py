"""The notebooks run as they stand, without warnings, and their outputs are those committed."""

import contextlib
import importlib.util
import pathlib
import re
import runpy
import types

import nbformat
import pages
import pytest
from IPython.core.inputtransformer2 import TransformerManager

NOTEBOOKS = {path: nbformat.read(path, as_version=4) for path in pages.NOTEBOOKS}
SCRIPT = pages.ROOT / "docs" / "notebooks" / "execute.py"
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """Return what a cell puts out: streams by name, and kinds of data."""
    return [tuple(sorted(output.get("data", {output.get("name"): 0}))) for output in cell.outputs]


def test_there_are_three():
    assert len(NOTEBOOKS) == 3


@each
def test_a_notebook_begins_with_what_one_can_do_after_it_and_opens_in_colab(path):
    first, install = NOTEBOOKS[path].cells[:2]
    assert first.source.startswith("# ")
    assert "(https://colab.research.google.com/" in first.source
    assert f"`docs/notebooks/{path.name}`" in " ".join(first.source.split())
    assert "After this notebook you can" in first.source
    assert "%pip install --quiet {SOURCE}" in install.source
    assert not any("%pip" in cell.source for cell in NOTEBOOKS[path].cells[2:])


@each
@pytest.mark.parametrize("source", ["", "archive.zip"])
def test_without_jaxlth_a_notebook_installs_it_or_says_what_to_write(path, source, monkeypatch):
    cell = NOTEBOOKS[path].cells[1].source
    assert cell.count('SOURCE = ""') == 1
    code = TransformerManager().transform_cell(cell.replace('SOURCE = ""', f'SOURCE = "{source}"'))
    calls = []
    shell = types.SimpleNamespace(run_line_magic=lambda *words: calls.append(words))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused = pytest.raises(AssertionError, match="Write into SOURCE")
    with contextlib.nullcontext() if source else refused:
        exec(code, {"get_ipython": lambda: shell})
    assert (("pip", "install --quiet {SOURCE}") in calls) == bool(source)


@each
def test_a_notebook_is_short_and_has_pictures(path):
    assert path.stat().st_size < 200_000
    data = [kind for cell in code_cells(NOTEBOOKS[path]) for kind in kinds(cell)]
    assert sum("image/png" in kind for kind in data) >= 2
    assert ("stdout",) in data
    assert ("stderr",) not in data


@each
def test_a_notebook_names_no_place_time_or_count_of_the_machine_that_ran_it(path):
    text = re.sub(r'"image/png": ".*?"', "", path.read_text())
    assert not re.search(r"(?<![\w.:/-])/(work|tmp|root|home|Users|usr|opt)\b", text)
    assert not re.search(r'"execution_count": \d|"shell\.|"iopub|"version"', text)
    assert NOTEBOOKS[path].metadata.keys() == {"kernelspec", "language_info"}


@each
def test_links_of_a_notebook_lead_to_files(path):
    text = "\n".join(c.source for c in NOTEBOOKS[path].cells if c.cell_type == "markdown")
    targets = {target for target in pages.links(text) if "://" not in target}
    assert targets
    assert all((path.parent / target).exists() for target in targets)


@pytest.mark.slow
@each
def test_a_notebook_runs_and_puts_out_what_is_committed(path, tmp_path):
    execute = runpy.run_path(str(SCRIPT))["execute"]
    done = execute(NOTEBOOKS[path], tmp_path)
    for ran, committed in zip(done.cells, NOTEBOOKS[path].cells, strict=True):
        assert ran.source == committed.source
        if ran.cell_type == "code":
            assert set(kinds(ran)) == set(kinds(committed)), ran.source


@pytest.mark.slow
def test_a_warning_fails_a_notebook(tmp_path):
    execute = runpy.run_path(str(SCRIPT))["execute"]
    warns = nbformat.v4.new_code_cell("import warnings\n\nwarnings.warn('old', stacklevel=1)")
    notebook = nbformat.v4.new_notebook(cells=[warns])
    with pytest.raises(Exception, match="UserWarning"):
        execute(notebook, pathlib.Path(tmp_path))
