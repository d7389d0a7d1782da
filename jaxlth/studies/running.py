"""How a study runs, from the command line and from Python: the same steps, the same run folder.

The settings are checked, the run is opened, the data are read if the run lacks something, and what
it lacks is trained. A signal ends this with a checkpoint; the next call goes on from there.
"""

import contextlib
import itertools
import os
import pathlib
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from typing import Any

import jax
from rich.console import Console

from jaxlth import distributed, settings, store
from jaxlth.data import DataError, Identity, directory, identify, workers
from jaxlth.process import paths, programs, signals
from jaxlth.store import Run
from jaxlth.studies import own_scores, profiling, progress, run_info
from jaxlth.studies.config import run_label
from jaxlth.studies.fingerprint import of_experiment
from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.parts import NONE, Parts, any_of
from jaxlth.studies.study import Study
from jaxlth.studies.train import Progress
from jaxlth.training.precision import Precision, products

# (run, networks that this call told to have diverged); what is done before the run is given back
Conclude = Callable[[Run, Set[str]], None]
MOST_DEVICES = 1024
_started_in: set[int] = set()  # the process that runs studies, of which a fork has a copy
_event_numbers = itertools.count(1)  # of all studies of this process, for `distributed.stop_agreed`


@contextlib.contextmanager
def jax_settings(precision: Precision = "default") -> Iterator[None]:
    """Set JAX, within this context, so that the numbers of a run follow from its config alone.

    Args:
      precision: of products of matrices.
    """
    with (
        jax.enable_x64(False),
        jax.threefry_partitionable(True),
        products(precision),
        jax.default_device(None),
        jax.transfer_guard("allow"),
    ):
        yield


def prepare_process(out: str, *, devices: int | None, keep_programs: bool) -> None:
    """Prepare this process for a study: check its folder, choose its devices, keep programs.

    Args:
      out: folder of all runs, or address of a bucket.
      devices: number of devices on a CPU; as many as there are cores if not given.
      keep_programs: whether compiled programs are kept in the user's cache folder.

    Raises:
      ValueError: `out` cannot be a folder, or this process is a fork of one that runs studies.
      StoreError: `out` is a bucket that cannot be used.
    """
    workers.end_if_unguarded()
    settings.require(
        _started_in <= {os.getpid()},
        "This process is a fork of one that runs studies, in which JAX would wait for ever: start "
        'it by multiprocessing.get_context("spawn").',
    )
    _started_in.add(os.getpid())
    if store.is_remote(out):
        store.connect(out)
    else:
        paths.check_folder("out", out)
    _use_cores(devices)
    if keep_programs:
        programs.keep(programs.home("jaxlth"))


def run_study(
    study: Study,
    config: Any,
    *,
    parts: Parts = NONE,
    out: str,
    console: Console,
    conclude: Conclude = lambda run, diverged: None,
    check_effects: bool = True,
    wait: bool = False,
    share: str | None = None,
    checkpoint_seconds: float = 60.0,
    profile: str | None = None,
    caller: str = "call",
) -> pathlib.Path:
    """Train what a run lacks, and return its folder.

    Args:
      study: which study.
      config: of the study.
      parts: of the experiment that no setting says.
      out: folder of all runs, or address of a bucket.
      console: where progress and networks that diverged are told.
      conclude: what is done with the finished run while this process holds it.
      check_effects: whether to refuse settings that nothing reads, unless the run is there.
      wait: whether to wait for another process that works on the run.
      share: which replicates this process does, as I/N; see `jaxlth.store.share`.
      checkpoint_seconds: time between checkpoints within a network's training.
      profile: folder for a trace of a part of the training; None for none.
      caller: who goes on after an interruption: the same "call" or "command".

    Raises:
      KeyboardInterrupt: it was interrupted; its message says what is stored and where.
    """
    go_on = f"the same {caller} goes on from there."
    with distributed.interrupted_together(), _interrupted("interrupted; nothing was computed."):
        experiment, run = _opened(
            study, config, parts, out, console, check_effects=check_effects, wait=wait, share=share
        )
    with run:
        place, diverged = run.url or paths.relative(run.path), set()
        with _interrupted(f"interrupted; what was stored before is in {place}; {go_on}"):
            if experiment is not None:
                _tell_other_bits(run, console)
                lab = Lab(experiment, run, checkpoint_seconds=checkpoint_seconds)
                saved = f"interrupted and saved in {place}; {go_on}"
                kept_programs = store.BucketPrograms(out)
                kept_programs.fetch()
                with profiling.Trace(profile) as trace:
                    at_events = (kept_programs.push, trace.advance)
                    diverged = _train(study, config, lab, console, saved, at_events)
                if share is not None and study.is_complete(config, run.path):
                    # Replicates of other shares may have ended before the last level.
                    run.set_expected_count(sum(1 for _ in run.records()))
        words = f"interrupted; every network is stored in {place}; {go_on}"
        with distributed.interrupted_together(), _interrupted(words):
            distributed.on_main(lambda: conclude(run, diverged))
    return run.path


def _opened(
    study: Study,
    config: Any,
    parts: Parts,
    out: str,
    console: Console,
    *,
    check_effects: bool,
    wait: bool,
    share: str | None,
) -> tuple[LoadedExperiment | None, Run]:
    """Return the experiment, None where the run lacks nothing, and the run; see `run_study`."""
    replicates = None
    if share is not None:
        replicates = store.share.parse(share).replicates(config.replicates)
        study.check_share(config)
    name = {"job": study.name, "label": run_label(config)}
    folder = store.folder(out, config, **name)
    if check_effects and not distributed.on_main(folder.exists):
        config.check_effects()
    # What is of somebody's own is looked at in any case: it may have changed.
    has_own_parts = any_of(config, parts) or any(map(own_scores.is_own, config.score_names()))
    finished = not has_own_parts and study.is_complete(config, folder)
    located = distributed.on_main(lambda: _located(config, folder))  # which alone has the run
    experiment = None if finished else study.prepare(located, parts)
    if experiment is None:
        data, fingerprint = _identified(located, console), {}
    else:
        data = experiment.identity
        fingerprint = of_experiment(experiment) if has_own_parts else {}
    run = store.open_run(
        out,
        config,
        **name,
        wait=wait,
        data=data,
        fingerprint=fingerprint,
        replicates=replicates,
    )
    return experiment, run


def _located(config: Any, folder: pathlib.Path) -> Any:
    """Return the config with files found again of a run that was begun in another directory."""
    return run_info.located(config, folder, here_first=True) if store.is_run(folder) else config


def _tell_other_bits(run: Run, console: Console) -> None:
    """Print a note if a run goes on under other versions or on another kind of device."""
    if run.other_bits:
        console.print(
            f"{paths.relative(run.path)} was made with {'; '.join(run.other_bits)}. What is "
            "computed from now on may differ in the last bits from what it would be there.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _train(
    study: Study,
    config: Any,
    lab: Lab,
    console: Console,
    saved: str,
    at_events: Sequence[Callable[[], None]],
) -> set[str]:
    """Train what is missing, save and stop at a signal; return the networks that diverged.

    Args:
      study: which study.
      config: of the study.
      lab: where it works.
      console: where progress is told.
      saved: message of an interruption that has saved a checkpoint.
      at_events: what else is done at each event.
    """
    finished = sum(lab.run.has(artifact) for artifact in study.artifacts(config))
    shown = progress.shown(console, finished=finished, may_skip=study.may_skip(config))
    events = study.run(lab, config)
    diverged: set[str] = set()
    with signals.noted() as received, shown as show:
        for event in events:
            show(event)
            diverged |= _tell_failures(event, lab.run, console)
            for function in at_events:
                function()
            if distributed.stop_agreed(bool(received), next(_event_numbers)):
                _save_and_stop(events, "" if event.finished else saved)
    if distributed.stop_agreed(bool(received), next(_event_numbers)):  # after the last network
        raise KeyboardInterrupt
    return diverged


def _save_and_stop(events: Generator[Progress, None, None], saved: str) -> None:
    """End a study at a signal.

    Raises:
      KeyboardInterrupt: always; it says "saved" only where a checkpoint was written in full.
    """
    stop = KeyboardInterrupt()
    try:
        events.throw(stop)
    except KeyboardInterrupt as error:
        # The study hands ours back once the checkpoint is written; a second signal raises another.
        raise KeyboardInterrupt(*filter(None, [saved if error is stop else ""])) from None


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


def _use_cores(devices: int | None) -> None:
    """Make each core a device of its own where there is no accelerator.

    Raises:
      ValueError: more devices are asked for than `MOST_DEVICES`.
    """
    decided = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    for name, count in (("`devices`", devices), ("$JAX_NUM_CPU_DEVICES", decided)):
        settings.require(
            count is None or count <= MOST_DEVICES,
            f"{name} must be at most {MOST_DEVICES}, as each has threads of its own; got {count}.",
        )
    if devices is None and decided > 0:
        return  # the program or its user has decided
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(RuntimeError):  # a backend is there already, in notebooks for instance
        jax.config.update("jax_num_cpu_devices", devices or cores or 1)


def check_devices(devices: int | None) -> None:
    """Raise ValueError where this process uses other devices than asked for, since before."""
    count = jax.device_count()
    settings.require(
        devices is None or jax.default_backend() != "cpu" or devices == count,
        f"`devices` must be {count}, as JAX is in use in this process already, or be left out; "
        f"got {devices}.",
    )


@contextlib.contextmanager
def _interrupted(words: str) -> Iterator[None]:
    """Add a message to an interruption that has none: what is stored, and where."""
    try:
        yield
    except KeyboardInterrupt as stop:
        signals.arrived()
        raise KeyboardInterrupt(str(stop) or words) from None


def _tell_failures(event: Progress, run: Run, console: Console) -> set[str]:
    """Tell which networks have just diverged, and return their names."""
    diverged = set()
    for name, record in zip(event.artifacts, event.finished, strict=False):
        if record["nan_step"] is not None:
            diverged.add(name)
            console.print(
                f"{paths.relative(run.path / name)}: the loss is not finite from step "
                f"{record['nan_step']} on; training of it ended.",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    return diverged
