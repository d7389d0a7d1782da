"""Network separation: does a network that is pruned fall apart along its tasks?

A network learns several tasks at once, each with inputs and outputs of its own. It is pruned by IMP
with early stopping, and looked at as a graph at each level: interconnected, separated (every
subnetwork serves one task), or degraded (a task has lost an input or an output). A replicate stops
at the level at which it is degraded.

Each trained network is a unit of the run's folder, "level_03/ticket/replicate_0", with what its
graph says in its record, and is trained only if the folder lacks it.

References:
  Burger 2024, Winning the Lottery Twice with Iterative Magnitude Pruning.
"""

import pathlib
from collections.abc import Generator

from jaxlth import settings, tickets
from jaxlth.separation.choices import SeparationConfig, units
from jaxlth.separation.job import Job, names, pruning
from jaxlth.separation.stored import Pruned, find, look
from jaxlth.store import Run
from jaxlth.tickets import Problem, Pruning, label
from jaxlth.work import Progress

__all__ = [
    "Pruned",
    "SeparationConfig",
    "complete",
    "find",
    "label",
    "look",
    "names",
    "prepare",
    "separation",
    "units",
]


def prepare(config: SeparationConfig) -> Problem[Pruning]:
    """Return the problem that settings describe, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network, or there is but one task.
    """
    settings.require(
        len(config.data.names) > 1,
        f"`data` must be sets side by side, such as moons+circles; got {config.data.name}.",
    )
    problem = tickets.posed(config, pruning)
    settings.require(
        not problem.subject.model.convolutional,
        f"`model` must be mlp or lenet-300-100, whose inputs belong to tasks; got "
        f"{config.model.name}.",
    )
    problem.check_steps("rewind_step", (config.rewind_step,))
    return problem


def separation(
    problem: Problem[Pruning], run: Run, *, checkpoint_seconds: float
) -> Generator[Progress, None, None]:
    """Prune networks level by level until they are degraded, as far as the run lacks them.

    Args:
      problem: what is wanted, as `prepare` returns it.
      run: where results are looked for and stored.
      checkpoint_seconds: time between checkpoints within a network's training.

    Yields:
      Progress, about once a second.
    """
    config, job = problem.subject.config, Job(problem, run)
    tickets.begin(problem, run, job.first_asked())
    trainings = tickets.Trainings(problem)
    for level in range(job.levels + 1):
        going = [each for each in range(config.replicates) if job.goes_on(level, each)]
        requests = [job.request(level, tickets.TICKET, replicate) for replicate in going]
        if not requests:
            break
        yield from tickets.train(
            run,
            trainings.groups(level, requests),
            later=job.missing_after(level),
            checkpoint_seconds=checkpoint_seconds,
        )
    tickets.plan(run, ())


def complete(config: SeparationConfig, path: pathlib.Path) -> bool:
    """Return whether the run in a folder has everything, as far as is known without the data.

    Args:
      config: what is wanted.
      path: folder of the run, which need not exist.
    """
    return tickets.has_all(path, lambda run: all(map(run.has, units(config))))
