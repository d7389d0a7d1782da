"""`jaxlth figure`: what is drawn of stored runs, and the figure that a job ends with."""

import functools
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from jaxlth import graphs, masks, separation, store, tickets
from jaxlth.cli import looked, stored
from jaxlth.cli.commands import TOLERANCE, Figure
from jaxlth.graphs.categories import PRUNED
from jaxlth.report import early, figures, learning, levels, pictures, pixels, twins
from jaxlth.report import separation as report
from jaxlth.report import supermask as masked
from jaxlth.settings import require

SUPERMASK = ("accuracies", "training")  # parts of the figure that a run of supermask ends with
Draw = Callable[[pd.DataFrame, pathlib.Path, Figure], Any]  # (table, folder of the run, command)


def figure(command: Figure) -> int:
    """Draw a figure."""
    if command.file is not None:
        figures.check(command.file)
    paths = stored.chosen_runs(command.runs, command.out)
    _check_kind(command, paths)
    frames = dict(store.damage.of_whole(paths, _with_table, errors=(ValueError,)))
    file = pathlib.Path(command.file or next(iter(frames)) / f"{command.kind}.png")
    figures.save(_draw(command, frames), file)
    print(file)
    return 0


def last(frame: pd.DataFrame, path: pathlib.Path) -> dict[str, Any]:
    """Return the figure that a run ends with, under its name; none of a run without tickets."""
    job = stored.job(path)
    if job == "instability":
        return {"instability": twins.instability(frame)}
    if job == "separation":
        return {"separation": levels.overview(frame)}
    if job == "supermask":
        drawable = set(SUPERMASK) & set(masked.drawable(frame))
        return {"supermask": _supermask(*SUPERMASK)(frame, path, Figure())} if drawable else {}
    if job in ("early", "train-mask"):
        return {"accuracy": early.accuracy(frame)} if (frame["level"] > 0).any() else {}
    return {"accuracy": figures.accuracy(stored.undilated(frame))}


def _with_table(path: pathlib.Path) -> tuple[pathlib.Path, pd.DataFrame]:
    return path, stored.trained(path)


def _check_kind(command: Figure, paths: list[pathlib.Path]) -> None:
    """Raise ValueError unless runs of these jobs, and so many, are drawn by the kind asked for."""
    jobs = [stored.job(path) for path in paths]
    for job in jobs:
        kinds = KINDS[stored.known_job(job)]
        others = [name for name, known in KINDS.items() if command.kind in known]
        require(
            command.kind in kinds,
            f"The kind {command.kind} draws runs of `jaxlth {' and '.join(others)}`; of "
            f"`jaxlth {job}` there are {', '.join(kinds)}.",
        )
    others = [job for job in jobs if job != "imp"] if len(paths) > 1 else []
    require(not others, f"Runs of `jaxlth {' '.join(others[:1])}` are drawn one at a time.")


def _draw(command: Figure, frames: Mapping[pathlib.Path, pd.DataFrame]) -> Any:
    if len(frames) > 1:
        tables = [stored.undilated(frame) for frame in frames.values()]
        return figures.accuracy_of(dict(zip(_names(list(frames)), tables, strict=True)))
    ((path, frame),) = frames.items()
    return KINDS[stored.job(path)][command.kind](frame, path, command)


def _dilation(frame: pd.DataFrame, path: pathlib.Path, _command: Figure) -> Any:
    require(
        frame["dilation"].nunique() > 1,
        f"The run {path.name} has no dilations; `jaxlth imp --dilations 0.5 2` trains some.",
    )
    return figures.dilation(learning.least_dilations(frame))


def _training(frame: pd.DataFrame, path: pathlib.Path, command: Figure) -> Any:
    rows, curves = stored.undilated(frame), store.curves([path])
    densities = rows.groupby("level")["density"].first().to_dict()
    curves = curves[curves["unit"].isin(rows["unit"])]
    return figures.training(curves, levels=command.levels or None, densities=densities)


def _onset(frame: pd.DataFrame, path: pathlib.Path, _command: Figure) -> Any:
    threshold = stored.setting(path, "threshold")
    return twins.onsets(frame, threshold=threshold, tolerance=TOLERANCE)


class _Pruned(NamedTuple):
    """One network of a run through its levels."""

    replicate: int
    last: int  # the level at which it separated, else its last
    params: Any  # its parameters, or their shapes
    masks: dict[int, masks.Mask]  # by level
    tasks: dict[str, graphs.Task]
    shape: tuple[int, int, int]  # of an image


def _of_separation(frame: pd.DataFrame, path: pathlib.Path) -> _Pruned:
    """Return the network of a run of separation that is shown as an example."""
    replicate = report.example(frame)
    tasks, shape, found = separation.look(path, replicate)
    rows = report.outcomes(frame).set_index("replicate").loc[replicate]
    last = int(max(found) if pd.isna(rows["level"]) else rows["level"])
    every = {level: start.mask for level, start in found.items()}
    return _Pruned(replicate, last, found[0].network.params, every, tasks, shape)


def _of_tickets(frame: pd.DataFrame, path: pathlib.Path) -> _Pruned:
    """Return the tickets of a run of IMP of its first replicate, all its outputs one task."""
    run = store.look(path)
    chosen, images = tickets.described(run, tickets.ImpSettings)
    shape, classes = images["shape"], images["classes"]
    pruning = tickets.pruning(chosen, **images)
    require(
        not pruning.model.convolutional,
        f"The kinds network and pixels draw perceptrons; the run {path.name} is of "
        f"{chosen.model.name}.",
    )
    rows = stored.undilated(frame)
    rows = rows[
        (rows["control"] == tickets.TICKET) & (rows["replicate"] == rows["replicate"].min())
    ]
    replicate, job = int(rows["replicate"].iloc[0]), tickets.Job(pruning, run)
    every = {level: job.mask(level, replicate) for level in sorted(rows["level"])}
    task = graphs.Task(tuple(range(math.prod(shape))), tuple(range(classes)))
    tasks = {chosen.data.name: task}
    return _Pruned(replicate, max(every), pruning.like.params, every, tasks, shape)


def _network(
    look: Callable[..., _Pruned], frame: pd.DataFrame, path: pathlib.Path, command: Figure
) -> Any:
    seen = look(frame, path)
    every = _asked(seen, command)
    if not command.levels:
        until = {level: mask for level, mask in every.items() if level <= seen.last}
        chosen = pictures.drawable(seen.params, until) or [seen.last]
        every = {level: every[level] for level in chosen}
    return pictures.several(
        seen.params, every, tasks=seen.tasks, title=f"Replicate {seen.replicate}"
    )


def _pixels(
    look: Callable[..., _Pruned], frame: pd.DataFrame, path: pathlib.Path, command: Figure
) -> Any:
    seen = look(frame, path)
    kept = {
        level: graphs.categories(seen.params, mask).weights[0] != PRUNED
        for level, mask in _asked(seen, command).items()
    }
    return pixels.connections(kept, seen.shape, title=f"Replicate {seen.replicate}")


def _asked(seen: _Pruned, command: Figure) -> dict[int, masks.Mask]:
    """Return the masks of the levels asked for, of all if none are."""
    for level in command.levels:
        require(
            level in seen.masks,
            f"`levels` must be among those of replicate {seen.replicate}, 0..{max(seen.masks)}; "
            f"got {level}.",
        )
    return {level: seen.masks[level] for level in command.levels or seen.masks}


def _supermask(*parts: str) -> Draw:
    """Return what draws parts of the report of a run of supermask, those there are, in a row."""

    def draw(frame: pd.DataFrame, path: pathlib.Path, _command: Figure) -> Any:
        split, drawable = stored.setting(path, "choose_on"), masked.drawable(frame)
        there = [part for part in parts if part in drawable]
        return masked.figure(frame, store.curves([path]), *there or parts, split=split)

    return draw


def _of(draw: Callable[..., Any], **how: Any) -> Draw:
    """Return what draws the table of a run."""
    return lambda frame, _path, _command: draw(frame, **how)


def _of_imp(draw: Callable[..., Any], **how: Any) -> Draw:
    """Return what draws the table of a run of IMP: networks trained as long as the settings say."""
    return lambda frame, _path, _command: draw(stored.undilated(frame), **how)


def _looked(draw: Callable[[pd.DataFrame, pathlib.Path], Any]) -> Draw:
    """Return what draws the tickets of a run."""
    return lambda frame, path, _command: draw(frame, path)


def _steps(frame: pd.DataFrame, path: pathlib.Path, _command: Figure) -> Any:
    require(
        bool((frame["prune_step"] > 0).any()),
        f"The run {path.name} has no ticket pruned after initialisation; `jaxlth early "
        "--prune-steps 0 100` trains some.",
    )
    return early.steps(frame)


_OF_METHODS: dict[str, Draw] = {
    "accuracy": _of(early.accuracy),
    "train-accuracy": _of(early.accuracy, metric="train_accuracy"),
    "layers": _of(early.layers),
    "units": _looked(looked.units),
    "overlap": _looked(looked.overlap),
}
KINDS: Mapping[str, Mapping[str, Draw]] = {  # of each job
    "imp": {
        "accuracy": _of_imp(figures.accuracy),
        "train-accuracy": _of_imp(figures.accuracy, metric="train_accuracy"),
        "training": _training,
        "early-stopping": _of_imp(figures.early_stopping),
        "dilation": _dilation,
        "network": functools.partial(_network, _of_tickets),
        "pixels": functools.partial(_pixels, _of_tickets),
    },
    "early": _OF_METHODS | {"weights": _looked(looked.weights), "steps": _steps},
    "train-mask": _OF_METHODS,
    "instability": {
        "instability": _of(twins.instability),
        "error": _of(twins.error),
        "interpolation": lambda frame, path, _: twins.interpolation(frame, store.curves([path])),
        "throughout": _of(twins.throughout),
        "distances": _of(twins.distances),
        "start": _of(twins.start),
        "onset": _onset,
    },
    "separation": {
        "separation": _of(levels.overview),
        "accuracy": _of(levels.performance),
        "tasks": _of(levels.performance_of_tasks),
        "unused": _of(levels.unused),
        "degrees": lambda frame, _path, _command: levels.degrees(frame, report.example(frame)),
        "training": _training,
        "network": functools.partial(_network, _of_separation),
        "pixels": functools.partial(_pixels, _of_separation),
    },
    "supermask": {
        "supermask": _supermask(*SUPERMASK),
        "stopping": _supermask("long", "short"),
        "thresholds": _supermask("densities", "accuracies"),
        "sizes": _supermask("training", "sizes"),
    },
}


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
