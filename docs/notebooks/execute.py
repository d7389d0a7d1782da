"""Run the notebooks and store their outputs.

    python docs/notebooks/execute.py [NOTEBOOK ...]

Each runs in a fresh kernel and an empty folder, where warnings are errors. What depends on the
machine or the minute is left out: versions, times, and how often a cell was run.
"""

import pathlib
import sys
import tempfile

import nbclient
import nbformat

FOLDER = pathlib.Path(__file__).resolve().parent
STRICT = "import warnings\n\nwarnings.simplefilter('error')"
LENIENT = "warnings.simplefilter('default')"  # as the kernel warns when it ends


def execute(notebook: nbformat.NotebookNode, folder: pathlib.Path) -> nbformat.NotebookNode:
    """Run all cells of a notebook in a folder and return it with its outputs.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell raised an error, or warned.
    """
    strict, lenient = map(nbformat.v4.new_code_cell, (STRICT, LENIENT))
    whole = nbformat.v4.new_notebook(cells=[strict, *notebook.cells, lenient])
    place = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(whole, kernel_name="python3", timeout=600, resources=place)
    client.execute()
    done = nbformat.from_dict({**notebook, "cells": whole.cells[1:-1]})
    for number, cell in enumerate(done.cells):
        cell.metadata = nbformat.NotebookNode()
        cell.id = f"cell-{number:02d}"
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                output.pop("execution_count", None)
                if output.output_type == "execute_result":
                    output.execution_count = None
    return done


def main(*names: str) -> None:
    """Run notebooks, all of them if none is named, and write them."""
    for file in [pathlib.Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(file, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(execute(notebook, pathlib.Path(folder)), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
