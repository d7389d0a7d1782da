"""The commands that train: prepare, train what is missing, print the results."""

import functools
import os
import pathlib
import sys
from collections.abc import Set
from typing import Any

from rich.console import Console

from jaxlth import distributed, settings, store
from jaxlth.cli import commands, results
from jaxlth.cli.commands import Training
from jaxlth.plots import figures
from jaxlth.process import paths
from jaxlth.store import Run
from jaxlth.studies import Study, running
from jaxlth.studies.config import run_label
from jaxlth.studies.imp.config import ImpConfig, stages

MOST = 3  # networks that diverged before are named up to this many


def trained(command: Training, *, strict: bool = False) -> int:
    """Train what a command asks for and its run lacks, and print the results.

    Args:
      command: what is asked for.
      strict: whether to refuse settings that nothing reads, unless they name a run that is there.

    Raises:
      KeyboardInterrupt: it was interrupted; the words it carries say what is stored and where.
    """
    if command.tensorboard is not None:
        _check_tensorboard(command.tensorboard)
    if command.profile is not None:
        paths.check_folder("profile", command.profile, writable=True)
    with running.jax_settings(command.config.training.matmul_precision):
        running.prepare_process(
            command.out, devices=command.devices, keep_programs=command.keep_programs
        )
        if command.distributed:
            _join()
        running.run_study(
            command.study,
            command.config,
            out=command.out,
            console=Console(stderr=True, quiet=not distributed.is_main()),
            conclude=functools.partial(_conclude, command=command),
            check_effects=strict,
            wait=command.wait,
            share=command.share,
            checkpoint_seconds=command.checkpoint_seconds,
            profile=command.profile,
            caller="command",
        )
    return 0


def run_study(name: str, config: Any, *, out: str) -> int:
    """Run a study by its name, as its command does with default options.

    Args:
      name: in the table of studies.
      config: settings of the study.
      out: folder of all runs.
    """
    return trained(commands.by_name()[name](config=config, out=out))


def staged(config: ImpConfig, out: str) -> pathlib.Path:
    """Run IMP in the stages of `imp.config.stages`, print each result, return the run's folder."""
    for stage in stages(config):
        run_study("imp", stage, out=out)
    return store.folder(out, config, job="imp", label=run_label(config))


def _check_tensorboard(folder: str) -> None:
    """Raise ValueError if event files cannot be written, before anything is computed."""
    paths.check_folder("tensorboard", folder, writable=True)
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "`tensorboard` needs tensorboardX: run `pip install 'jaxlth[tensorboard]'`."
        ) from error


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
        distributed.join(count, place)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            "`--distributed` found no other processes: give $JAX_COORDINATOR_ADDRESS, "
            f"$JAXLTH_PROCESSES and $JAXLTH_PROCESS, or leave it out ({str(error).strip()[:80]})."
        ) from error


def _conclude(run: Run, diverged: Set[str], *, command: Training) -> None:
    """Print table, sentence and file names of a run, draw its figure, write events if asked."""
    with run.files():
        frame = store.table([run.path])
        table = store.export_results(run.path)
        results.print_summary(frame, command.tolerance, run.path)
        files = [("figure", file) for file in last_figures(command.study, frame, run.path)]
        for label, path in [*files, ("table", table), ("run", run.path)]:
            print(f"{label + ':':8}{paths.relative(path)}")
        if run.url is not None:
            print(f"mirror: {run.url}")
        _tell_earlier_failures(frame[~frame["unit"].isin(diverged)], run.path)
        if command.tensorboard:
            store.write_events(run.path, command.tensorboard)
            print(f"events: {command.tensorboard}")


def last_figures(study: Study, frame: Any, path: pathlib.Path) -> list[pathlib.Path]:
    """Draw the figures that a run ends with, and return their files."""
    files = []
    for kind in study.figures.last(frame):
        pages = study.draw(kind, frame, path)
        files += figures.save_pages(pages, path / f"{kind}.png")
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
        f"Diverged before, in {paths.relative(path)}: {', '.join(named[:MOST])}{more}.",
        file=sys.stderr,
    )
