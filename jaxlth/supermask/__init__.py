"""Supermask tickets: which weights to keep is decided by how good they are before training.

    1. A network is trained for long, and the step of its least validation loss noted.
    2. It is trained again from the same weights, in the same order, to that step.
    3. A mask keeps the weights whose sign(initial) * trained reaches a threshold. For each of many
       thresholds the initial network is evaluated under its mask, untrained.
    4. The most accurate of these is the ticket, which is then trained.

Beside it dense networks are trained as long: of the same widths, and of others (a search over layer
sizes). Masks act on weights only, as everywhere here; Rolfs speaks of parameters. A threshold that
empties a layer is reported and never chosen.

Each trained network, and each search for a threshold, is a unit of the run's folder,
"training_ticket/ticket/replicate_0", and is made only if the folder lacks it: asking for more sizes
or replicates extends a run.

References:
  Rolfs, Achieving results with untrained neural networks using Supermasks; Zhou et al. 2019,
  Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask.
"""

import copy
import dataclasses
import functools
import pathlib
from collections.abc import Generator

from jaxlth import masks, roles, settings, tickets, training
from jaxlth.store import Run
from jaxlth.supermask import choices, trying
from jaxlth.supermask.choices import SupermaskConfig, baseline, sizes, units
from jaxlth.supermask.job import Job, asked, least
from jaxlth.supermask.masking import best, emptied, keeping
from jaxlth.tickets import Problem, Subject, label
from jaxlth.training.execution import Layout
from jaxlth.work import CompiledTraining, Progress, Ticket

__all__ = [
    "SupermaskConfig",
    "baseline",
    "best",
    "complete",
    "emptied",
    "find",
    "keeping",
    "label",
    "least",
    "prepare",
    "sizes",
    "supermask",
    "ticket_steps",
    "units",
]


def prepare(config: SupermaskConfig) -> Problem[Subject]:
    """Return the problem that settings describe, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    problem = tickets.posed(config, subject)
    steps = problem.plan(1.0).steps
    settings.require(
        config.ticket_steps is None or config.ticket_steps <= steps,
        f"`ticket_steps` must be at most the {steps} steps of the training, whose schedule they "
        f"follow; got {config.ticket_steps}.",
    )
    for size in config.sizes:
        _resized(problem, size)
    return problem


def supermask(
    problem: Problem[Subject], run: Run, *, checkpoint_seconds: float
) -> Generator[Progress, None, None]:
    """Find tickets by masks that are tried untrained, and train them, as far as the run lacks them.

    Args:
      problem: what is wanted, as `prepare` returns it.
      run: where results are looked for and stored.
      checkpoint_seconds: time between checkpoints within a network's training.

    Yields:
      Progress, about once a second.
    """
    config, job = problem.subject.config, Job(problem.subject, run)
    tickets.begin(problem, run, units(config))
    everyone, course = range(config.replicates), problem.course()

    def wanted() -> set[str]:
        return {unit for each in everyone for unit in asked(run, config, each)}

    trained = tickets.trains(problem, run, wanted, checkpoint_seconds=checkpoint_seconds)
    yield from trained([job.request_long(each) for each in everyone], course)
    ends = {
        each: job.least(each)
        for each in everyone
        if choices.short(each) in asked(run, config, each)
    }
    for step in sorted(set(ends.values())):
        same = [job.request_short(each) for each in everyone if ends.get(each) == step]
        yield from trained(same, until(course, step, networks=len(everyone)))
    there = [each for each in everyone if choices.thresholds(each) in asked(run, config, each)]
    others = wanted() - {choices.thresholds(each) for each in there}
    later = sum(not run.has(unit) for unit in others)
    yield from trying.search(job, problem, course, there, later=later)
    with_ticket = [each for each in there if job.threshold(each) is not None]
    steps = ticket_steps(problem)
    yield from trained([job.request_ticket(each) for each in with_ticket], until(course, steps))
    for size in sizes(config):
        resized = _resized(problem, size)
        requests = [job.request_size(size, resized.subject, each) for each in everyone]
        own = course if resized is problem else resized.course()
        yield from trained(requests, until(own, steps))
    tickets.plan(run, ())


def complete(config: SupermaskConfig, path: pathlib.Path) -> bool:
    """Return whether the run in a folder has everything that settings ask for.

    Args:
      config: what is wanted.
      path: folder of the run, which need not exist.
    """
    return tickets.has_all(
        path,
        lambda run: all(
            run.has(unit)
            for replicate in range(config.replicates)
            for unit in asked(run, config, replicate)
        ),
    )


def find(run: Run, replicate: int) -> Ticket:
    """Return a ticket of a run: its mask and the network that it starts from.

    Raises:
      ValueError: the run has no such ticket.
    """
    config, images = tickets.described(run, SupermaskConfig)
    tickets.must_have(run, choices.ticket(replicate))
    return Job(subject(config, **images), run).ticket(replicate)


def subject(config: SupermaskConfig, *, shape: tuple[int, ...], classes: int) -> Subject:
    """Return the network that is masked, for images of a shape (height, width, channels).

    Raises:
      ValueError: it has no weights that may be pruned, or the images are too small for it.
    """
    weights = tickets.subject(config, shape=shape, classes=classes)
    if not config.mask_biases:
        return weights
    every = masks.dense(
        weights.zeros,
        prunable=lambda name, w: masks.is_kernel(name, w) or roles.role(name) == "bias",
    )
    return dataclasses.replace(weights, dense=masks.without(every, config.leave_out))


def until(course: CompiledTraining, step: int, *, networks: int | None = None) -> CompiledTraining:
    """Return a training that ends at a step; its programs are those of the whole one.

    Args:
      course: the whole one.
      step: to end at, at most its own end.
      networks: whose layout is taken for any number of them, as they would share a program then
        and round alike; as many as there are by default.
    """
    shorter = copy.copy(course)
    shorter.plan = training.cut(course.plan, step)
    if networks is not None:
        shorter.layout = functools.partial(_layout, course, networks)
    return shorter


def _layout(course: CompiledTraining, networks: int, _asked: int) -> Layout:
    return course.layout(networks)


def ticket_steps(problem: Problem[Subject]) -> int:
    """Return the steps that tickets, and what they are compared with, are trained for."""
    config = problem.subject.config
    return config.ticket_steps or max(1, problem.plan(1.0).steps // 4)


def _resized(problem: Problem[Subject], size: str) -> Problem[Subject]:
    """Return the problem with a network of another size, itself for its own.

    Raises:
      ValueError: `leave_out` names layers that a network of this size lacks.
    """
    config = problem.subject.config
    if size == baseline(config):
        return problem
    info, own = problem.info, choices.sized(config, size)
    tickets.check_memory(own, info, problem.placed.dataset, option="sizes")
    smaller = subject(own, shape=info.shape, classes=info.classes)
    return dataclasses.replace(problem, subject=smaller)
