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
    ImpConfig,
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
from jaxlth.work import CompiledTraining, Progress, Ticket, TrainRequest

__all__ = [
    "BENCHMARKS",
    "CONTROLS",
    "LEVELS",
    "TICKET",
    "Compaction",
    "Group",
    "ImpConfig",
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
    config, job = problem.subject.config, Job(problem.subject, run)
    begin(problem, run, job.first_asked())
    trainings = Trainings(problem)
    for level in range(job.levels + 1):
        requests = [
            job.request(level, control, replicate)
            for control in trained_at(level, config)
            for replicate in range(config.replicates)
            if not job.diverged_before(level, replicate)
        ]
        yield from train(
            run,
            trainings.groups(level, requests),
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
        behind = sum(not run.has(request.unit) for each in waiting for request in each.requests)
        yield from work.train(
            run,
            group.requests,
            group.course,
            group.placed,
            later=later + behind,
            checkpoint_seconds=checkpoint_seconds,
        )


def complete(config: ImpConfig, path: pathlib.Path) -> bool:
    """Return whether the run in a folder has all networks, as far as is known without the data.

    Args:
      config: what is wanted.
      path: folder of the run, which need not exist.
    """
    if config.dilations or config.stop_density or config.stop_lost_accuracy:
        return False
    return has_all(path, lambda run: all(map(run.has, units(config, levels=config.levels))))


def find(run: Run, level: int, control: str, replicate: int) -> Ticket:
    """Return a ticket or control of a run: its mask and the state that it starts from.

    Raises:
      ValueError: the run has no such network.
    """
    config, images = described(run, ImpConfig)
    settings.known("control", control, (TICKET, *CONTROLS))
    name = unit(level, control, replicate)
    must_have(run, name)
    return Job(pruning(config, **images), run).start(level, control, replicate)


def trains(
    problem: Problem[Any],
    run: Run,
    wanted: Callable[[], Iterable[str]],
    *,
    checkpoint_seconds: float,
) -> Callable[[Sequence[TrainRequest], CompiledTraining], Iterator[Progress]]:
    """Return what trains networks of a run and tells how many of all are left; see `work.train`.

    Args:
      problem: whose data they are trained on.
      run: where they are looked for and stored.
      wanted: what the run is to hold, as far as is known by then.
      checkpoint_seconds: time between checkpoints within a network's training.
    """

    def trained(requests: Sequence[TrainRequest], course: CompiledTraining) -> Iterator[Progress]:
        others = set(wanted()) - {request.unit for request in requests}
        later = sum(not run.has(unit) for unit in others)
        seconds = {"checkpoint_seconds": checkpoint_seconds}
        yield from work.train(run, requests, course, problem.placed, later=later, **seconds)

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
        for control in trained_at(level, job.config)
        for replicate in range(job.config.replicates)
        if job.run.has(unit(level, control, replicate))
    ]
    # Dilated by 1, the networks are there already: those that match need no longer training.
    for dilation in sorted({1.0, *job.config.dilations} if job.config.dilations else ()):
        requests = [job.request(*which, dilation=dilation) for which in waiting]
        plan(job.run, (request.unit for request in requests))
        yield from work.train(
            job.run,
            requests,
            problem.course(dilation=dilation),
            problem.placed,
            later=0,  # how many networks go on to the next dilation shows only then
            checkpoint_seconds=checkpoint_seconds,
        )
        accuracies = [job.run.record(request.unit)["test_accuracy"] for request in requests]
        waiting = [
            which
            for which, accuracy in zip(waiting, accuracies, strict=True)
            if not accuracy >= dense
        ]
