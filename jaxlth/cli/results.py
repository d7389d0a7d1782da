"""`jaxlth results`, `list`: tables of stored runs."""

import functools
import pathlib
from collections.abc import Mapping, Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxlth import store, studies
from jaxlth.cli import formats
from jaxlth.cli.commands import List, Results
from jaxlth.settings import check_choice, require
from jaxlth.studies import STUDIES, run_info


def results(command: Results) -> int:
    """Print stored results, or write them to a file."""
    paths = run_folders(command.runs, command.out, everything=command.all)
    if command.format == "table" and command.file is None:
        names = dict(zip(paths, store.table_names(paths), strict=True)) if len(paths) > 1 else {}
        show = functools.partial(_print, command, names)
        store.damage.skip_damaged(paths, show, errors=(ValueError,))
        return 0
    frame = store.curves(paths) if command.curves else store.table(paths)
    if command.file is not None:
        formats.write(frame, command.file)
        print(command.file)
        return 0
    write = formats.to_json if command.format == "json" else formats.to_csv
    print(write(frame).rstrip("\n"))
    return 0


def _print(command: Results, names: Mapping[pathlib.Path, str], path: pathlib.Path) -> None:
    """Print table and sentence of a run, below its name where there are several."""
    frame = run_info.results(path)
    studies.of_run(path)
    tests = None if command.baseline is None else _tests(frame, path, command.baseline)
    if names:
        print(names[path])
    print_summary(frame, command.tolerance, path)
    if tests is not None:
        Console(highlight=False).print(tests)
        print(f"Two-sided p of Welch's t-test against {command.baseline}.")


def list_runs(command: List) -> int:
    """List runs."""
    runs = store.runs(command.out)
    if not runs:
        print(f"No runs in {command.out}.")
        return 0
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "results", "size", "created (UTC)"):
        table.add_column(heading, overflow="fold")
    for run in runs:
        progress = f"{run.finished}/{'?' if run.expected is None else run.expected}"
        created = run.created[:16].replace("T", " ")
        name = Text(run.path.name)  # which may hold brackets
        table.add_row(name, run.state, progress, _size(run.bytes), created)
    Console(highlight=False).print(table)
    return 0


def _size(count: int) -> str:
    """Return a number of bytes as people say it.

    Example:
      >>> _size(900), _size(52_400_000)
      ('900 B', '52.4 MB')
    """
    value, suffix = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, suffix = value / 1000, larger
    return f"{value:.0f} B" if suffix == "B" else f"{value:.1f} {suffix}"


def print_summary(frame: pd.DataFrame, tolerance: float, path: pathlib.Path) -> None:
    """Print table and sentence of the run in a folder."""
    console = Console(highlight=False)
    summarize = studies.of_run(path).summarize
    table, sentence = summarize(frame, path, tolerance=tolerance, width=console.width)
    console.print(table)
    print(sentence)
    if lacking := run_info.unfinished(path):
        print(lacking)


def _tests(frame: pd.DataFrame, path: pathlib.Path, baseline: str) -> Table:
    """Return the tests of methods of a run against the baseline."""
    tests = studies.of_run(path).baseline
    tested = " or ".join(name for name, study in STUDIES.items() if study.baseline)
    if tests is None:
        raise ValueError(
            f"`--baseline` is a method of `jaxlth {tested}`; {path.name} is a run of "
            f"`jaxlth {run_info.study_name(path)}`."
        )
    return tests(frame, baseline)


def run_folders(names: Sequence[str], out: str, *, everything: bool = False) -> list[pathlib.Path]:
    """Return the folders of the runs named, each once, of all, or of the newest.

    Damaged ones are named on stderr and left out.

    Raises:
      StoreError: all of them are damaged.
      ValueError: there are no runs, or none of such a name; or `out` is a file.
    """
    if not names:
        infos = store.runs(out)
        require(bool(infos), f"There are no runs in {out!r}; make one with: jaxlth imp")
        return [info.path for info in (infos if everything else infos[-1:])]
    paths = store.damage.skip_damaged([_named(name, out) for name in names], _undamaged)
    return list({path.resolve(): path for path in paths}.values())


def _named(name: str, out: str) -> str | pathlib.Path:
    """Return the folder or the address of the run that a word of the command line names."""
    if store.is_remote(name) or pathlib.Path(name).is_dir():
        return name
    inside = pathlib.Path(out) / name
    if not store.is_remote(out) and store.is_run(inside):
        return inside
    paths = {info.path.name: info.path for info in store.runs(out)}
    require(bool(paths), f"There is no folder {name!r}, and there are no runs in {out!r}.")
    return paths[check_choice("run", name, paths)]


def _undamaged(path: str | pathlib.Path) -> pathlib.Path:
    """Return the folder of a run; StoreError says that it is damaged, or none."""
    run = store.open_readonly(path)
    return run.path if store.is_remote(path) else pathlib.Path(path)
