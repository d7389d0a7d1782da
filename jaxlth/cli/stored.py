"""`jaxlth results`, `list`: what is made of stored runs."""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from jaxlth import store
from jaxlth.cli.commands import List, Results
from jaxlth.early import Method
from jaxlth.report import (
    early,
    formats,
    instability,
    listing,
    sentences,
    separation,
    supermask,
    tables,
)
from jaxlth.settings import known, require


def results(command: Results) -> int:
    """Print stored results, or write them to a file."""
    paths = chosen_runs(command.runs, command.out, everything=command.all)
    if command.format == "table" and command.file is None:
        show = functools.partial(_print, command, named=len(paths) > 1)
        store.damage.of_whole(paths, show, errors=(ValueError,))
        return 0
    frame = store.curves(paths) if command.curves else store.table(paths)
    if command.file is not None:
        formats.write(frame, command.file)
        print(command.file)
        return 0
    write = formats.to_json if command.format == "json" else formats.to_csv
    print(write(frame).rstrip("\n"))
    return 0


def _print(command: Results, path: pathlib.Path, *, named: bool) -> None:
    """Print table and sentence of a run, below its name where there are several."""
    frame = trained(path)
    known_job(job(path))
    tests = None if command.baseline is None else _tests(frame, path, command.baseline)
    if named:
        print(path.name)
    print_summary(frame, command.tolerance, path)
    if tests is not None:
        Console(highlight=False).print(tests)
        print(f"Two-sided p of Welch's t-test against {command.baseline}.")


def list_runs(command: List) -> int:
    """List runs."""
    found = store.runs(command.out)
    if not found:
        print(f"No runs in {command.out}.")
        return 0
    Console(highlight=False).print(listing.render(found))
    return 0


def print_summary(frame: pd.DataFrame, tolerance: float, path: pathlib.Path) -> None:
    """Print table and sentence of the run in a folder."""
    SUMMARIES[known_job(job(path))](Console(highlight=False), frame, tolerance, path)


def _tests(frame: pd.DataFrame, path: pathlib.Path, baseline: str) -> Table:
    """Return the tests of methods of a run against the baseline."""
    require(
        job(path) in TESTED,
        f"`--baseline` is a method of `jaxlth {' or '.join(TESTED)}`; {path.name} is a run of "
        f"`jaxlth {job(path)}`.",
    )
    known("baseline", baseline, sorted(set(frame["control"])))
    return early.render_tests(early.summary(frame, tolerance=0, baseline=baseline), baseline)


def known_job(name: str) -> str:
    """Return the name of a job if it is one of a command, and not of a study of its own.

    Raises:
      ValueError: it is not.
    """
    require(
        name in SUMMARIES,
        f"Runs of the job {name} are of a study that prints them itself; `jaxlth results --format "
        "csv` shows their networks.",
    )
    return name


def _of_imp(console: Console, frame: pd.DataFrame, tolerance: float, path: pathlib.Path) -> None:
    summary = tables.summary(undilated(frame), tolerance=tolerance)
    console.print(tables.render(summary, tolerance=tolerance, width=console.width))
    print(sentences.sentence(summary, tolerance=tolerance, rewind_step=_rewind_step(path)))


def _of_early(console: Console, frame: pd.DataFrame, tolerance: float, _: pathlib.Path) -> None:
    methods = early.summary(frame, tolerance=tolerance)
    console.print(early.render(methods, tolerance=tolerance))
    print(early.sentence(methods))


def _of_instability(
    console: Console, frame: pd.DataFrame, tolerance: float, path: pathlib.Path
) -> None:
    threshold = setting(path, "threshold")
    found = instability.summary(frame, threshold=threshold, tolerance=tolerance)
    console.print(instability.render(found, threshold=threshold, tolerance=tolerance))
    print(instability.sentence(found))


def _of_separation(
    console: Console, frame: pd.DataFrame, _tolerance: float, _path: pathlib.Path
) -> None:
    console.print(separation.render(separation.summary(frame)))
    print(separation.sentence(frame))


def _of_supermask(
    console: Console, frame: pd.DataFrame, _tolerance: float, path: pathlib.Path
) -> None:
    curves, split = store.curves([path]), setting(path, "choose_on")
    found = supermask.summary(frame, curves, split=split)
    console.print(supermask.render(found, curves, split=split))
    print(supermask.sentence(frame, found))


TESTED = ("early", "train-mask")
SUMMARIES: dict[str, Callable[..., None]] = {  # of each job, what prints table and sentence
    "imp": _of_imp,
    "early": _of_early,
    "instability": _of_instability,
    "separation": _of_separation,
    "supermask": _of_supermask,
    "train-mask": _of_early,
}


def pruned(frame: pd.DataFrame, path: pathlib.Path) -> pd.DataFrame:
    """Return the tickets of a run of methods, of its table of results.

    Raises:
      ValueError: there are none.
    """
    rows = early.tickets(frame)
    rows = rows[rows["level"] > 0]
    require(not rows.empty, f"The run {path.name} has no ticket yet, only dense networks.")
    return rows


def method(row: Mapping[Any, Any]) -> Method:
    """Return the method of a ticket, a row of a run of `jaxlth early`."""
    names = ("score", "schedule", "ablation", "weights")
    return Method(*(row[name] for name in names), step=int(row["prune_step"]))


def undilated(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the networks that were trained as long as the settings say."""
    return frame[frame["dilation"] == 1]


def relative(path: pathlib.Path) -> str:
    """Return a path as one types it here."""
    path = pathlib.Path(path)
    here = pathlib.Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def check_folder(option: str, folder: str) -> None:
    """Raise ValueError where a folder to write to is none, or lies on no mounted disk."""
    require("://" not in folder, f"`{option}` must be a local or mounted folder; got {folder!r}.")
    path = pathlib.Path(folder).absolute()
    for place in (path, *path.parents):
        require(
            place.is_dir() or not place.exists(),
            f"`{option}` must be a folder, but {relative(place)} is a file.",
        )


def job(path: pathlib.Path) -> str:
    """Return the job of the run in a folder."""
    return store.about_run(path)["job"]


def _rewind_step(path: pathlib.Path) -> int | None:
    """Return the step whose weights the tickets of a run restart from, None if they do not."""
    return setting(path, "rewind_step") if setting(path, "after_pruning") == "rewind" else None


def setting(path: pathlib.Path, name: str) -> Any:
    """Return a setting of the run in a folder.

    Raises:
      StoreError: the run does not have it, as one of another version may not.
    """
    with store.understood(path) as about:
        return about["settings"][name]


def chosen_runs(names: Sequence[str], out: str, *, everything: bool = False) -> list[pathlib.Path]:
    """Return the folders of the runs named, each once, of all, or of the newest.

    Damaged ones are named on stderr and left out.

    Raises:
      StoreError: all of them are damaged.
      ValueError: there are no runs, or none of such a name.
    """
    if not names:
        infos = store.runs(out)
        require(bool(infos), f"There are no runs in {out!r}; make one with: jaxlth imp")
        return [info.path for info in (infos if everything else infos[-1:])]
    paths = store.damage.of_whole([_named(name, out) for name in names], _whole)
    return list({path.resolve(): path for path in paths}.values())


def _named(name: str, out: str) -> str | pathlib.Path:
    """Return the folder or the address of the run that a word of the command line names."""
    if store.is_remote(name) or pathlib.Path(name).is_dir():
        return name
    inside = pathlib.Path(out) / name
    if not store.is_remote(out) and store.is_run(inside):
        return inside
    found = {info.path.name: info.path for info in store.runs(out)}
    require(bool(found), f"There is no folder {name!r}, and there are no runs in {out!r}.")
    return found[known("run", name, found)]


def _whole(path: str | pathlib.Path) -> pathlib.Path:
    """Return the folder of a run; StoreError says that it is damaged, or none."""
    run = store.look(path)
    return run.path if store.is_remote(path) else pathlib.Path(path)


def trained(path: pathlib.Path) -> pd.DataFrame:
    """Return the table of results of a run, which must have some."""
    frame = store.table([path])
    require(
        not frame.empty,
        f"The run {path.name} has no finished network yet; the command that made it goes on.",
    )
    return frame
