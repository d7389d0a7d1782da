"""`jaxlth results`, `figure`, `list`, `export`: what is made of stored runs."""

import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd
from rich.console import Console

from jaxlth import masks, store, tickets
from jaxlth.cli.commands import Export, Figure, List, Results
from jaxlth.report import early, figures, formats, learning, listing, sentences, tables
from jaxlth.settings import known, require
from jaxlth.store import RunInfo, exchange

OF_EARLY = ("layers",)  # kinds of figures that only runs of `jaxlth early` have


def results(command: Results) -> int:
    """Print stored results, or write them to a file."""
    paths = _chosen_runs(command.runs, command.out, everything=command.all)
    if command.format == "table" and command.file is None:
        for path in paths:
            if len(paths) > 1:
                print(path.name)
            print_summary(_trained(path), command.tolerance, path)
        return 0
    frame = store.curves(paths) if command.curves else store.table(paths)
    if command.file is not None:
        formats.write(frame, command.file)
        print(command.file)
        return 0
    write = formats.to_json if command.format == "json" else formats.to_csv
    print(write(frame).rstrip("\n"))
    return 0


def figure(command: Figure) -> int:
    """Draw a figure."""
    if command.file is not None:
        figures.check(command.file)
    paths = _chosen_runs(command.runs, command.out)
    file = pathlib.Path(command.file or paths[0] / f"{command.kind}.png")
    figures.save(_draw(command, paths), file)
    print(file)
    return 0


def list_runs(command: List) -> int:
    """List runs."""
    found = store.runs(command.out)
    if not found:
        print(f"No runs in {command.out}.")
        return 0
    Console(highlight=False).print(listing.render(found))
    return 0


def export(command: Export) -> int:
    """Write a ticket to a file."""
    require(
        pathlib.Path(command.file).suffix in exchange.FORMATS,
        f"A ticket's file must end in {' or '.join(exchange.FORMATS)}; got {command.file!r}.",
    )
    (path,) = _chosen_runs((command.run,) if command.run else (), command.out)
    require(
        _job(path) == "imp",
        f"{path.name} is a run of `jaxlth {_job(path)}`; tickets of `jaxlth imp` are exported.",
    )
    _check_trained(command, path)
    network, mask = tickets.find(
        store.look(path), command.level, command.control, command.replicate
    )
    about = {"run": path.name} | {
        name: getattr(command, name) for name in ("level", "control", "replicate")
    }
    counts = {"density": float(masks.density(mask)), "kept": int(masks.kept(mask))}
    store.export_ticket(
        command.file, network.params, mask, stats=network.stats, metadata=about | counts
    )
    print(command.file)
    return 0


def print_summary(frame: pd.DataFrame, tolerance: float, path: pathlib.Path) -> None:
    """Print table and sentence of the run in a folder."""
    console = Console(highlight=False)
    if _job(path) == "early":
        methods = early.summary(frame, tolerance=tolerance)
        console.print(early.render(methods, tolerance=tolerance))
        print(early.sentence(methods))
        return
    summary = tables.summary(undilated(frame), tolerance=tolerance)
    console.print(tables.render(summary, tolerance=tolerance, width=console.width))
    print(sentences.sentence(summary, tolerance=tolerance, rewind_step=_rewind_step(path)))


def accuracy(frame: pd.DataFrame, path: pathlib.Path) -> Any:
    """Return the figure of accuracy against density of the run in a folder."""
    if _job(path) == "early":
        return early.accuracy(frame)
    return figures.accuracy(undilated(frame))


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


def _job(path: pathlib.Path) -> str:
    return store.about_run(path)["job"]


def _rewind_step(path: pathlib.Path) -> int | None:
    """Return the step whose weights the tickets of a run restart from, None if they do not."""
    chosen = store.about_run(path)["settings"]
    return chosen["rewind_step"] if chosen["after_pruning"] == "rewind" else None


def _chosen_runs(names: Sequence[str], out: str, *, everything: bool = False) -> list[pathlib.Path]:
    """Return the folders of the runs named, each once, of all, or of the newest."""
    if names and all(map(store.is_remote, names)):
        return [store.look(name).path for name in names]
    found: dict[str, RunInfo] = {info.path.name: info for info in store.runs(out)}
    if not names:
        require(bool(found), f"There are no runs in {out!r}; make one with: jaxlth imp")
        infos = list(found.values())
        return [info.path for info in (infos if everything else infos[-1:])]
    paths = []
    for name in names:
        if pathlib.Path(name).is_dir():
            store.about_run(name)  # raises unless it is the folder of a run
            paths.append(pathlib.Path(name))
        else:
            require(bool(found), f"There is no folder {name!r}, and there are no runs in {out!r}.")
            paths.append(found[known("run", name, found)].path)
    return list({path.resolve(): path for path in paths}.values())


def _trained(path: pathlib.Path) -> pd.DataFrame:
    """Return the table of results of a run, which must have some."""
    frame = store.table([path])
    require(
        not frame.empty,
        f"The run {path.name} has no finished network yet; the command that made it goes on.",
    )
    return frame


def _draw(command: Figure, paths: list[pathlib.Path]) -> Any:
    jobs = {path: _job(path) for path in paths}
    if "early" in jobs.values() or command.kind in OF_EARLY:
        return _draw_early(command, jobs)
    frames = {name: _trained(path) for name, path in zip(_names(paths), paths, strict=True)}
    runs = {name: undilated(frame) for name, frame in frames.items()}
    first, path = next(iter(frames.values())), paths[0]
    if command.kind == "dilation":
        require(
            first["dilation"].nunique() > 1,
            f"The run {path.name} has no dilations; `jaxlth imp --dilations 0.5 2` trains some.",
        )
        return figures.dilation(learning.least_dilations(first))
    single: dict[str, Callable[[pd.DataFrame], Any]] = {
        "accuracy": figures.accuracy,
        "train-accuracy": lambda run: figures.accuracy(run, metric="train_accuracy"),
        "early-stopping": figures.early_stopping,
        "training": lambda run: _training(run, path, command.levels),
    }
    if len(runs) > 1:
        return figures.accuracy_of(runs)
    return single[command.kind](undilated(first))


def _draw_early(command: Figure, jobs: dict[pathlib.Path, str]) -> Any:
    """Return a figure of a run of `jaxlth early`."""
    ((path, job), *others) = jobs.items()
    require(not others, "Runs of `jaxlth early` are drawn one at a time.")
    kinds: dict[str, Callable[[pd.DataFrame], Any]] = {
        "accuracy": early.accuracy,
        "train-accuracy": lambda frame: early.accuracy(frame, metric="train_accuracy"),
        "layers": early.layers,
    }
    require(job == "early", f"The kind {command.kind} draws runs of `jaxlth early`, not of {job}.")
    require(
        command.kind in kinds,
        f"The kind {command.kind} draws runs of `jaxlth imp`; of `jaxlth early` there are "
        f"{', '.join(kinds)}.",
    )
    return kinds[command.kind](_trained(path))


def _training(run: pd.DataFrame, path: pathlib.Path, levels: tuple[int, ...]) -> Any:
    densities = run.groupby("level")["density"].first().to_dict()
    return figures.training(store.curves([path]), levels=levels or None, densities=densities)


def _names(paths: list[pathlib.Path]) -> list[str]:
    """Return a name for each run: its folder's, with as many of those above as tell all apart.

    Example:
      >>> _names([pathlib.Path("/lab/a/run"), pathlib.Path("/lab/b/run")])
      ['a/run', 'b/run']
    """
    whole = [path.resolve().parts for path in paths]
    depth = 1
    while len({parts[-depth:] for parts in whole}) < len(whole):
        depth += 1
    return ["/".join(parts[-depth:]) for parts in whole]


def _check_trained(command: Export, path: pathlib.Path) -> None:
    """Raise ValueError unless the run has the network that is to be exported; say which it has."""
    rows = undilated(_trained(path))
    known("control", command.control, sorted(set(rows["control"]), key=_ticket_first))
    rows = rows[rows["control"] == command.control]
    _check_number("level", command.level, rows["level"], f"{command.control} of {path.name}")
    rows = rows[rows["level"] == command.level]
    of = f"{command.control} of {path.name} at level {command.level}"
    _check_number("replicate", command.replicate, rows["replicate"], of)


def _check_number(name: str, value: int, there: Iterable[int], of: str) -> None:
    numbers = sorted(set(there))
    listed = ", ".join(map(str, numbers))
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        listed = f"{numbers[0]}..{numbers[-1]}"
    require(value in numbers, f"There is no {name} {value} of the {of}; trained: {listed}.")


def _ticket_first(control: str) -> tuple[bool, str]:
    return control != tickets.TICKET, control
