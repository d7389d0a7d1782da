"""Find lottery tickets: train, prune, rewind, repeat, and train the controls beside them.

A ticket is a mask with the state it starts from, at one level; level 0 is the dense network. Each
trained network is a unit of the run's folder, "level_03/ticket/replicate_0", and is trained only if
the folder lacks it.
"""

import pathlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from jaxlth import settings, store, work
from jaxlth.store import Run
from jaxlth.tickets.benchmarks import BENCHMARKS, scaled
from jaxlth.tickets.choices import (
    LEVELS,
    ImpSettings,
    check_compact,
    check_effects,
    check_networks,
    check_training,
    dilated,
    label,
    rewound,
    stages,
    trained_at,
    unit,
    units,
)
from jaxlth.tickets.compaction import Compaction, Group, Trainings
from jaxlth.tickets.controls import CONTROLS, TICKET
from jaxlth.tickets.job import Job
from jaxlth.tickets.machine import check_memory
from jaxlth.tickets.problem import (
    Keep,
    Problem,
    Pruning,
    Subject,
    kept_by_level,
    posed,
    prepare,
    pruning,
    subject,
    total,
)
from jaxlth.tickets.stored import check_data, described, has_all, must_have
from jaxlth.work import Ask, Course, Progress, Start

__all__ = [
    "BENCHMARKS",
    "CONTROLS",
    "LEVELS",
    "TICKET",
    "Compaction",
    "Group",
    "ImpSettings",
    "Job",
    "Keep",
    "Problem",
    "Pruning",
    "Subject",
    "Trainings",
    "begin",
    "check_compact",
    "check_data",
    "check_effects",
    "check_memory",
    "check_networks",
    "check_training",
    "complete",
    "described",
    "dilated",
    "find",
    "has_all",
    "imp",
    "kept_by_level",
    "label",
    "must_have",
    "plan",
    "posed",
    "prepare",
    "pruning",
    "rewound",
    "scaled",
    "stages",
    "subject",
    "total",
    "train",
    "trained_at",
    "trains",
    "unit",
    "units",
]


def imp(
    problem: Problem[Pruning], run: Run, *, checkpoint_seconds: float
) -> Generator[Progress, None, None]:
    """Find tickets and train their controls, as far as the run lacks them.

    Args:
      problem: what is wanted, as `prepare` returns it.
      run: where results are looked for and stored.
      checkpoint_seconds: time between checkpoints within a network's training.

    Yields:
      Progress, about once a second.
    """
    chosen, job = problem.subject.chosen, Job(problem.subject, run)
    begin(problem, run, job.first_asked())
    trainings = Trainings(problem)
    for level in range(job.levels + 1):
        asks = [
            job.ask(level, control, replicate)
            for control in trained_at(level, chosen)
            for replicate in range(chosen.replicates)
            if not job.diverged_before(level, replicate)
        ]
        yield from train(
            run,
            trainings.groups(level, asks),
            later=job.missing_after(level),
            checkpoint_seconds=checkpoint_seconds,
        )
        if job.lost_too_much(level):
            break
    yield from _dilate(problem, job, checkpoint_seconds)
    plan(run, ())


def train(
    run: Run, groups: Iterable[Group], *, later: int, checkpoint_seconds: float
) -> Iterator[Progress]:
    """Train groups of networks one after another; see `work.train`.

    Args:
      run: where they are looked for and stored.
      groups: the networks wanted, and how and on what they are trained.
      later: networks that the job trains after all of these, at most.
      checkpoint_seconds: time between checkpoints within a network's training.
    """
    waiting = list(groups)
    while waiting:
        group = waiting.pop(0)
        behind = sum(not run.has(ask.unit) for each in waiting for ask in each.asks)
        yield from work.train(
            run,
            group.asks,
            group.course,
            group.placed,
            later=later + behind,
            checkpoint_seconds=checkpoint_seconds,
        )


def complete(chosen: ImpSettings, path: pathlib.Path) -> bool:
    """Return whether the run in a folder has all networks, as far as is known without the data.

    Args:
      chosen: what is wanted.
      path: folder of the run, which need not exist.
    """
    if chosen.dilations or chosen.stop_density or chosen.stop_lost_accuracy:
        return False
    return has_all(path, lambda run: all(map(run.has, units(chosen, levels=chosen.levels))))


def find(run: Run, level: int, control: str, replicate: int) -> Start:
    """Return a ticket or control of a run: its mask and the state that it starts from.

    Raises:
      ValueError: the run has no such network.
    """
    chosen, images = described(run, ImpSettings)
    settings.known("control", control, (TICKET, *CONTROLS))
    name = unit(level, control, replicate)
    must_have(run, name)
    return Job(pruning(chosen, **images), run).start(level, control, replicate)


def trains(
    problem: Problem[Any],
    run: Run,
    wanted: Callable[[], Iterable[str]],
    *,
    checkpoint_seconds: float,
) -> Callable[[Sequence[Ask], Course], Iterator[Progress]]:
    """Return what trains networks of a run and tells how many of all are left; see `work.train`.

    Args:
      problem: whose data they are trained on.
      run: where they are looked for and stored.
      wanted: what the run is to hold, as far as is known by then.
      checkpoint_seconds: time between checkpoints within a network's training.
    """

    def trained(asks: Sequence[Ask], course: Course) -> Iterator[Progress]:
        others = set(wanted()) - {ask.unit for ask in asks}
        later = sum(not run.has(unit) for unit in others)
        seconds = {"checkpoint_seconds": checkpoint_seconds}
        yield from work.train(run, asks, course, problem.placed, later=later, **seconds)

    return trained


def begin(problem: Problem[Any], run: Run, asked: Iterable[str]) -> None:
    """Tell the run what its readers need to know of the data, and what is asked; see `plan`.

    Every job passes here before it trains anything.

    Raises:
      StoreError: the run is of other data.
    """
    info = problem.info
    several = len(info.tasks) > 1
    parts = {"tasks": info.tasks, "widths": info.widths} if several else {}
    shape = {"shape": info.shape, "classes": info.classes}
    run.note(shape | parts | store.facts.of_data(problem.identity))
    plan(run, asked)


def plan(run: Run, asked: Iterable[str]) -> None:
    """Tell the run how many units it is to hold: those asked for and those it has."""
    run.plan(len({*asked, *(name for name, _ in run.records())}))


def _dilate(problem: Problem[Pruning], job: Job, checkpoint_seconds: float) -> Iterator[Progress]:
    """Train every network for ever longer, until it reaches the dense accuracy.

    References:
      Frankle 2023, section 3.3.6: the least dilation is that network's learning speed.
    """
    dense = job.mean_accuracy(0, "test_accuracy")  # NaN, which nothing matches, if none trained
    waiting = [
        (level, control, replicate)
        for level in range(job.levels + 1)
        for control in trained_at(level, job.chosen)
        for replicate in range(job.chosen.replicates)
        if job.run.has(unit(level, control, replicate))
    ]
    # Dilated by 1, the networks are there already: those that match need no longer training.
    for dilation in sorted({1.0, *job.chosen.dilations} if job.chosen.dilations else ()):
        asks = [job.ask(*which, dilation=dilation) for which in waiting]
        plan(job.run, (ask.unit for ask in asks))
        yield from work.train(
            job.run,
            asks,
            problem.course(dilation=dilation),
            problem.placed,
            later=0,  # how many networks go on to the next dilation shows only then
            checkpoint_seconds=checkpoint_seconds,
        )
        accuracies = [job.run.record(ask.unit)["test_accuracy"] for ask in asks]
        waiting = [
            which
            for which, accuracy in zip(waiting, accuracies, strict=True)
            if not accuracy >= dense
        ]
