"""The commands that train: prepare, train what is missing, print the results."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
from rich.console import Console

from jaxlth import distributed, programs, settings, store
from jaxlth.cli import commands, results, signals
from jaxlth.cli.commands import Training
from jaxlth.data import DataError, Identity, directory, identify, workers
from jaxlth.plots import figures
from jaxlth.store import Run
from jaxlth.studies import Study, progress
from jaxlth.studies.config import run_label
from jaxlth.studies.imp.config import ImpConfig, stages
from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import LoadedExperiment

GO_ON = "the same command goes on from there."
MOST = 3  # networks that diverged before are named up to this many


def trained(command: Training, *, strict: bool = False) -> int:
    """Train what a run lacks of what a command asks for, and print what was found.

    Args:
      command: what is asked for.
      strict: whether to refuse settings that nothing reads, unless they name a run that is there.

    Raises:
      KeyboardInterrupt: it was interrupted; the words it carries say what is stored and where.
    """
    workers.end_if_unguarded()
    # A run's numbers follow from its settings alone, and not from what a user has set of JAX.
    with jax.enable_x64(False), jax.threefry_partitionable(True), jax.transfer_guard("allow"):
        return _trained(command, strict=strict)


def _trained(command: Training, *, strict: bool) -> int:
    _check_places(command)
    _use_cores(command.devices)
    if command.keep_programs:
        programs.keep(programs.home("jaxlth"))
    if command.distributed:
        _join()
    console = Console(stderr=True, quiet=not distributed.is_main())
    study, config = command.study, command.job
    name = {"job": study.name, "label": run_label(config)}
    with _interrupted("interrupted; nothing was computed."):
        folder = store.folder(command.out, config, **name)
        if strict and not distributed.on_main(folder.exists):
            config.check_effects()
        experiment = None if study.is_complete(config, folder) else study.prepare(config)
        data = _identified(config, console) if experiment is None else experiment.identity
        run = store.open_run(command.out, config, **name, wait=command.wait, data=data)
    with run:
        place, told = run.url or results.relative(run.path), set()
        with _interrupted(f"interrupted; what was stored before is in {place}; {GO_ON}"):
            if experiment is not None:
                told = _watch(run, command, experiment, console)
        with _interrupted(f"interrupted; every network is stored in {place}; {GO_ON}"):
            distributed.on_main(lambda: _conclude(run, command, told))
    return 0


def _identified(config: Any, console: Console) -> Identity | None:
    """Return what tells the data of a finished run from others, if they are there to be read."""
    if directory(config.data) is None:
        return None
    try:
        return distributed.on_main(lambda: identify(config.data))
    except DataError as error:
        words = f"The run is finished; whether these are its data was not looked at: {error}"
        console.print(words, highlight=False, markup=False, soft_wrap=True)
        return None


def run_study(name: str, config: Any, *, out: str) -> int:
    """Run a study by its name, as its command does with default options.

    Args:
      name: in the table of studies.
      config: settings of the study.
      out: folder of all runs.
    """
    return trained(commands.by_name()[name](job=config, out=out))


def staged(config: ImpConfig, out: str) -> pathlib.Path:
    """Run IMP in the stages of `imp.config.stages`, print each result, return the run's folder."""
    for stage in stages(config):
        run_study("imp", stage, out=out)
    return store.folder(out, config, job="imp", label=run_label(config))


def _watch(run: Run, command: Training, experiment: LoadedExperiment, console: Console) -> set[str]:
    """Train what is missing, save and stop at a signal; return the units told to have diverged."""
    study = command.study
    finished = sum(run.has(artifact) for artifact in study.artifacts(command.job))
    lab = Lab(experiment, run, checkpoint_seconds=command.checkpoint_seconds)
    events = study.run(lab, command.job)
    told: set[str] = set()
    with signals.noted() as received, progress.shown(console, finished=finished) as show:
        for event in events:
            show(event)
            told |= _tell_failures(event, run, console)
            if distributed.any_of(bool(received)):
                _save_and_stop(events, run, in_training=not event.finished)
    if distributed.any_of(bool(received)):  # after the last network
        raise KeyboardInterrupt
    return told


def _save_and_stop(events: Any, run: Run, *, in_training: bool) -> None:
    """End a job at a signal.

    Raises:
      KeyboardInterrupt: always; it says "saved" only where a checkpoint was written in full.
    """
    stop = KeyboardInterrupt()
    try:
        events.throw(stop)
    except KeyboardInterrupt as error:
        # The job hands ours back once the checkpoint is written; a second signal raises another.
        if error is stop and in_training:
            place = run.url or results.relative(run.path)
            raise KeyboardInterrupt(f"interrupted and saved in {place}; {GO_ON}") from None
        raise KeyboardInterrupt from None


def _check_places(command: Training) -> None:
    """Refuse places that cannot be written to, before anything is read or computed."""
    if store.is_remote(command.out):
        store.connect(command.out)
    else:
        results.check_folder("out", command.out)
    if command.tensorboard is not None:
        results.check_folder("tensorboard", command.tensorboard)
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise ValueError(
                "`tensorboard` needs tensorboardX: run `pip install jaxlth[tensorboard]`."
            ) from error


def _use_cores(devices: int | None) -> None:
    """Make each core a device of its own where there is no accelerator."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(RuntimeError):  # a backend is there already, in tests for instance
        jax.config.update("jax_num_cpu_devices", devices or cores or 1)


def _join() -> None:
    """Become one of several processes that work together.

    Raises:
      ValueError: this process is not told which one it is, or the others do not come.
    """
    named = [os.environ.get(name) for name in ("JAXLTH_PROCESSES", "JAXLTH_PROCESS")]
    settings.require(
        all(word is None or word.isdecimal() for word in named),
        f"$JAXLTH_PROCESSES and $JAXLTH_PROCESS must be whole numbers; got {named}.",
    )
    count, place = (None if word is None else int(word) for word in named)
    try:
        jax.distributed.initialize(num_processes=count, process_id=place)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            "`--distributed` found no other processes: give $JAX_COORDINATOR_ADDRESS, "
            f"$JAXLTH_PROCESSES and $JAXLTH_PROCESS, or leave it out ({str(error).strip()[:80]})."
        ) from error


@contextlib.contextmanager
def _interrupted(words: str) -> Iterator[None]:
    """Give an interruption the words that say what is stored, unless it has some."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop) or words) from None


def _tell_failures(event: Any, run: Run, console: Console) -> set[str]:
    """Tell which networks have just diverged, and return their units."""
    told = set()
    for unit, record in zip(event.units, event.finished, strict=False):
        if record["nan_step"] is not None:
            told.add(unit)
            console.print(
                f"{results.relative(run.path / unit)}: the loss is not finite from step "
                f"{record['nan_step']} on; training of it ended.",
                highlight=False,
                soft_wrap=True,
            )
    return told


def _conclude(run: Run, command: Training, told: set[str]) -> None:
    """Print table, sentence and file names of a run, draw its figure, write events if asked."""
    frame = store.table([run.path])
    table = store.export_results(run.path)
    results.print_summary(frame, command.tolerance, run.path)
    files = [("figure", file) for file in last_figures(command.study, frame, run.path)]
    for label, path in [*files, ("table", table), ("run", run.path)]:
        print(f"{label + ':':8}{results.relative(path)}")
    if run.url is not None:
        print(f"mirror: {run.url}")
    _tell_earlier_failures(frame[~frame["unit"].isin(told)], run.path)
    if command.tensorboard:
        store.write_events(run.path, command.tensorboard)
        print(f"events: {command.tensorboard}")


def last_figures(study: Study, frame: Any, path: pathlib.Path) -> list[pathlib.Path]:
    """Draw the figures that a run ends with, and return their files."""
    files = []
    for kind in study.figures.last(frame):
        file = path / f"{kind}.png"
        figures.save(study.figures.kinds[kind](frame, path, ()), file)
        files.append(file)
    return files


def _tell_earlier_failures(frame: Any, path: pathlib.Path) -> None:
    """Say in one line which networks diverged in earlier calls."""
    lost = frame[frame["nan_step"].notna()]
    if lost.empty:
        return
    each = zip(lost["unit"], lost["nan_step"], strict=True)
    named = [f"{unit} (step {step:.0f})" for unit, step in each]
    more = f" and {len(named) - MOST} more" if len(named) > MOST else ""
    print(
        f"Diverged before, in {results.relative(path)}: {', '.join(named[:MOST])}{more}.",
        file=sys.stderr,
    )
