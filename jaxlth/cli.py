"""The command `jaxlth`: settings -> job -> progress, table, figure.

Mistakes of the user end in one line and exit code 2; $JAXLTH_TRACEBACK=1 shows where they arose.
"""

import contextlib
import dataclasses
import functools
import io
import operator
import os
import pathlib
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import jax
import pandas as pd
import tyro
from rich.console import Console

from jaxlth import masks, settings, store, tickets
from jaxlth.report import figures, formats, learning, listing, progress, sentences, tables
from jaxlth.store import Run, RunInfo
from jaxlth.tickets import ImpSettings, Problem

MISTAKES = (ValueError, TypeError, OSError, store.StoreError)
INTERRUPTED = 130


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imp:
    """Find lottery tickets by iterative magnitude pruning with rewinding.

    Trains a dense network, prunes it, rewinds the surviving weights and trains again, level by
    level, with controls beside every ticket. What is in the run's folder already is not computed
    again: asking for more levels, replicates or controls extends a run.
    """

    job: Annotated[ImpSettings, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=ImpSettings
    )
    out: str = "runs"
    """Folder of all runs."""
    settings: str | None = None
    """TOML file of settings, as every run's folder holds one; options given besides go first."""
    wait: bool = False
    """Wait while another process works on the same run."""
    devices: int | None = None
    """Devices to train on; on CPU, networks trained side by side. All, or all cores, by default."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints within a network's training."""
    tensorboard: str | None = None
    """Directory for TensorBoard event files of all training curves; needs jaxlth[tensorboard]."""
    tolerance: float = 0.002
    """A ticket matches if it loses at most this much of the dense accuracy, in [0, 1]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Print the table of results: of the newest run, of the runs named, or of all."""

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Folders or names of runs; the newest one by default."""
    out: str = "runs"
    """Folder of all runs."""
    all: bool = False
    """Take every run in the folder."""
    format: Literal["table", "json", "csv"] = "table"
    """A summary by level, or a row for each network as JSON or CSV."""
    curves: bool = False
    """With json or csv: a row for each evaluation during training instead."""
    tolerance: float = 0.002
    """A ticket matches if it loses at most this much of the dense accuracy, in [0, 1]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """Draw a figure from stored results."""

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Folders or names of runs; the newest one by default. Several are drawn over each other."""
    out: str = "runs"
    """Folder of all runs."""
    kind: Literal["accuracy", "train-accuracy", "training", "early-stopping", "dilation"] = (
        "accuracy"
    )
    """Accuracy by density, on the test or the training set; test accuracy through training; step
    and accuracy of least validation loss; dilation that reaches the dense accuracy."""
    levels: tuple[int, ...] = ()
    """Levels to draw in the kind training; about six by default."""
    file: str | None = None
    """PNG, PDF or SVG file; KIND.png in the run's folder by default."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """List runs with their state, progress and size."""

    out: str = "runs"
    """Folder of all runs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """Write a ticket, mask and weights, to a file that other frameworks read."""

    file: tyro.conf.Positional[str]
    """File to write: .safetensors or .npz."""
    run: str | None = None
    """Folder or name of a run; the newest one by default."""
    out: str = "runs"
    """Folder of all runs."""
    level: int = 1
    """Number of prunings."""
    replicate: int = 0
    """Repetition."""
    control: str = "ticket"
    """Ticket or one of its controls."""


NO_DEFAULT: Any = tyro.MISSING_NONPROP
COMMANDS = {"imp": Imp, "results": Results, "figure": Figure, "list": List, "export": Export}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for a mistake, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command = _parse(arguments)
        return RUN[type(command)](command)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 0
    except MISTAKES as error:
        if os.environ.get("JAXLTH_TRACEBACK"):
            raise
        print(f"jaxlth: {_one_line(error)}", file=sys.stderr)
        return 2


def imp(command: Imp) -> int:
    """Run IMP and print what it found."""
    _use_cores(command.devices)
    console = Console(stderr=True)
    chosen, label = command.job, tickets.label(command.job)
    folder = store.folder(command.out, chosen, job="imp", label=label)
    problem = None if tickets.complete(chosen, folder) else tickets.prepare(chosen)
    run = store.open_run(command.out, chosen, job="imp", label=label, wait=command.wait)
    with run:
        try:
            if problem is not None:
                _watch(run, problem, console, checkpoint_seconds=command.checkpoint_seconds)
        except KeyboardInterrupt:
            print(
                f"jaxlth: interrupted and saved in {_relative(run.path)}; the same command goes on "
                "from there.",
                file=sys.stderr,
            )
            return INTERRUPTED
        _conclude(run, command.tolerance, _rewind_step(run.path))
        if command.tensorboard:
            store.write_events(run.path, command.tensorboard)
            print(f"events: {command.tensorboard}")
    return 0


def _watch(run: Run, problem: Problem, console: Console, *, checkpoint_seconds: float) -> None:
    """Train what is missing; show progress and failures; save and stop at a signal."""
    chosen = problem.pruning.chosen
    wanted = tickets.units(chosen, levels=chosen.levels)
    finished = sum(run.has(unit) for unit in wanted)
    events = tickets.imp(problem, run, checkpoint_seconds=checkpoint_seconds)
    with _signals() as stop, progress.shown(console, finished=finished) as show:
        for event in events:
            show(event)
            _tell_failures(event, console)
            if stop:
                events.throw(KeyboardInterrupt)


def results(command: Results) -> int:
    """Print stored results."""
    paths = _chosen_runs(command.runs, command.out, everything=command.all)
    if command.format == "table":
        for path in paths:
            print(path.name)
            _print_summary(store.table([path]), command.tolerance, _rewind_step(path))
        return 0
    frame = store.curves(paths) if command.curves else store.table(paths)
    write = formats.to_json if command.format == "json" else formats.to_csv
    print(write(frame).rstrip("\n"))
    return 0


def figure(command: Figure) -> int:
    """Draw a figure."""
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
    (path,) = _chosen_runs((command.run,) if command.run else (), command.out)
    start = tickets.find(store.look(path), command.level, command.control, command.replicate)
    network, mask = start
    about = {"run": path.name} | {
        name: getattr(command, name) for name in ("level", "control", "replicate")
    }
    counts = {"density": float(masks.density(mask)), "kept": int(masks.kept(mask))}
    store.export_ticket(
        command.file, network.params, mask, stats=network.stats, metadata=about | counts
    )
    print(command.file)
    return 0


RUN: dict[type, Any] = {
    Imp: imp,
    Results: results,
    Figure: figure,
    List: list_runs,
    Export: export,
}


def _parse(arguments: list[str]) -> Any:
    """Return the command; a mistake is one line and exit code 2."""
    defaults = {Imp: _from_file(arguments)}
    marked: list[Any] = [
        Annotated[command, tyro.conf.subcommand(name, default=defaults.get(command, NO_DEFAULT))]
        for name, command in COMMANDS.items()
    ]
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(
                functools.reduce(operator.or_, marked),
                prog="jaxlth",
                description="Find and study lottery tickets.",
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as stopped:
        if stopped.code:
            raise ValueError(_from_box(messages.getvalue())) from None
        raise


def _from_file(arguments: list[str]) -> Any:
    """Return the defaults of imp: those of the settings file, where one is named."""
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == "--settings":
            path = value or next(iter(arguments[position + 1 :]), "")
            return Imp(job=settings.read_toml(ImpSettings, path), settings=path)
    return Imp()


def _from_box(text: str) -> str:
    """Return the message in tyro's box as one line."""
    lines = [line.strip("│╭╮╰╯─ ") for line in text.splitlines()]
    lines = [line for line in lines[1:] if line and not line.startswith("For full helptext")]
    message = " ".join(lines)
    return re.sub(r"^Error parsing \S*__tyro\S*: ", "", message) or text


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _use_cores(devices: int | None) -> None:
    """Make each core a device of its own where there is no accelerator."""
    settings.require(
        devices is None or devices >= 1, f"`devices` must be at least 1; got {devices}."
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(RuntimeError):  # a backend is there already, in tests for instance
        jax.config.update("jax_num_cpu_devices", devices or cores or 1)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one is obeyed at once."""
    received: list[int] = []

    def note(number: int, _frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell_failures(event: Any, console: Console) -> None:
    for record in event.finished:
        if record["nan_step"] is not None:
            console.print(
                f"level {record['level']} {record['control']} replicate {record['replicate']}: the "
                f"loss is not finite from step {record['nan_step']} on; training of it ended.",
                highlight=False,
            )


def _conclude(run: Run, tolerance: float, rewind_step: int | None) -> None:
    """Print table, sentence and file names of a run, and draw its figure."""
    frame = store.table([run.path])
    table = store.export_results(run.path)
    _print_summary(frame, tolerance, rewind_step)
    picture = run.path / "accuracy.png"
    figures.save(figures.accuracy(_undilated(frame)), picture)
    for what, path in (("figure", picture), ("table", table), ("run", run.path)):
        print(f"{what + ':':8}{_relative(path)}")


def _print_summary(frame: pd.DataFrame, tolerance: float, rewind_step: int | None) -> None:
    summary = tables.summary(_undilated(frame), tolerance=tolerance)
    console = Console(highlight=False)
    console.print(tables.render(summary, tolerance=tolerance, width=console.width))
    print(sentences.sentence(summary, tolerance=tolerance, rewind_step=rewind_step))


def _undilated(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["dilation"] == 1]


def _rewind_step(path: pathlib.Path) -> int | None:
    """Return the step whose weights the tickets of a run restart from, None if they do not."""
    chosen = store.about_run(path)["settings"]
    return chosen["rewind_step"] if chosen["after_pruning"] == "rewind" else None


def _relative(path: pathlib.Path) -> str:
    path = pathlib.Path(path)
    here = pathlib.Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _chosen_runs(names: Sequence[str], out: str, *, everything: bool = False) -> list[pathlib.Path]:
    """Return the folders of the runs named, of all, or of the newest."""
    found: dict[str, RunInfo] = {info.path.name: info for info in store.runs(out)}
    if not names:
        settings.require(bool(found), f"There are no runs in {out!r}; make one with: jaxlth imp")
        infos = list(found.values())
        return [info.path for info in (infos if everything else infos[-1:])]
    paths = []
    for name in names:
        if pathlib.Path(name).is_dir():
            paths.append(pathlib.Path(name))
        else:
            paths.append(found[settings.known("run", name, found)].path)
    return paths


def _draw(command: Figure, paths: list[pathlib.Path]) -> Any:
    frames = {path.name: _undilated(store.table([path])) for path in paths}
    metric = "train_accuracy" if command.kind == "train-accuracy" else "test_accuracy"
    first = frames[paths[0].name]
    if command.kind in ("accuracy", "train-accuracy"):
        if len(frames) > 1:
            return figures.accuracy_of(frames)
        return figures.accuracy(first, metric=metric)
    if command.kind == "early-stopping":
        return figures.early_stopping(first)
    if command.kind == "dilation":
        return figures.dilation(learning.least_dilations(store.table(paths[:1])))
    densities = first.groupby("level")["density"].first().to_dict()
    curves = store.curves(paths[:1])
    return figures.training(curves, levels=command.levels or None, densities=densities)
