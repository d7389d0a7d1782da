"""Prune early: by any score, before training, early in it or between trainings.

A ticket is named by its density and its method: score, schedule and what was done to it. Each
trained network is a unit of the run's folder, "density_0.05/snip-ums/replicate_0", and is trained
only if the folder lacks it; so asking for more scores, schedules, densities, ablations, initial
weights, steps or replicates extends a run.

Schedules (Lutz & Manai 2022, section 5.1.1; Frankle 2023, section 5.2):

    uss    before training, once
    ums    before training, in rounds of scoring and pruning
    iss    after each of several trainings, once; weights are rewound. IMP, if by magnitude
    ims    the same, in rounds each time
    after  after the dense training, once; the trained weights are trained again
    ltr    the same mask, on the weights of initialisation or of an early step

iss and ims train a chain of networks, each with `prune_fraction` less of the weights. A ticket is
pruned from the last network of the chain that has more weights.
"""

import pathlib
from collections.abc import Generator, Iterator

import numpy as np

from jaxlth import tickets, work
from jaxlth.data import DataError, Dataset, Info, Split
from jaxlth.early import choices
from jaxlth.early.choices import (
    ABLATIONS,
    LEARNED,
    REFERENCES,
    SCHEDULES,
    SCORES,
    EarlyConfig,
    Method,
    dense_name,
    dense_networks,
    methods,
    unit,
    units,
)
from jaxlth.early.choices import dense as dense_unit
from jaxlth.early.initial import WEIGHTS
from jaxlth.early.job import Job
from jaxlth.early.kept import Kept
from jaxlth.store import Run, StoreError
from jaxlth.tickets import Problem, Subject, label, scoring
from jaxlth.work import Progress, Ticket, TrainRequest

__all__ = [
    "ABLATIONS",
    "REFERENCES",
    "SCHEDULES",
    "SCORES",
    "WEIGHTS",
    "EarlyConfig",
    "Job",
    "Method",
    "complete",
    "dense_name",
    "dense_unit",
    "early",
    "find",
    "label",
    "methods",
    "prepare",
    "unit",
    "units",
]


def prepare(config: EarlyConfig) -> Problem[Subject]:
    """Return the problem that settings describe, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    problem = tickets.posed(config, tickets.subject)
    problem.check_steps("prune_steps", config.prune_steps)
    Kept(problem).check()
    return problem


def early(
    problem: Problem[Subject], run: Run, *, checkpoint_seconds: float
) -> Generator[Progress, None, None]:
    """Find tickets and train them, as far as the run lacks them.

    Args:
      problem: what is wanted, as `prepare` returns it.
      run: where results are looked for and stored.
      checkpoint_seconds: time between checkpoints within a network's training.

    Yields:
      Progress, about once a second.
    """
    config, job = problem.subject.config, Job(problem, run)
    wanted, course = methods(config), problem.course()
    tickets.begin(problem, run, units(config))
    train = tickets.trains(
        problem, run, lambda: units(config), checkpoint_seconds=checkpoint_seconds
    )

    def trained(requests: list[TrainRequest]) -> Iterator[Progress]:
        return train(requests, course)

    yield from trained([job.request_dense(*which) for which in dense_networks(config)])
    learned = [method for method in wanted if method.score in LEARNED]
    at_once = [method for method in wanted if method.schedule not in choices.ITERATIVE]
    yield from trained(_tickets(job, [method for method in at_once if method not in learned]))
    chains = [method for method in wanted if method.schedule in choices.ITERATIVE]
    for number in range(1, len(job.links()) + 1 if chains else 0):
        yield from trained(_of_link(job, chains, number))
    yield from trained(_tickets(job, learned))
    tickets.plan(run, ())


def complete(config: EarlyConfig, path: pathlib.Path) -> bool:
    """Return whether the run in a folder has all networks that settings ask for.

    Args:
      config: what is wanted.
      path: folder of the run, which need not exist.
    """
    return tickets.has_all(path, lambda run: all(map(run.has, units(config))))


def find(run: Run, density: float, method: Method, replicate: int) -> Ticket:
    """Return a ticket of a run: its mask and the network that it starts from.

    The data are read only where that network's weights are scores of training examples.

    Raises:
      DataError: the data are needed, and missing, damaged, or others than those of the run.
      ValueError: the run has no such ticket.
    """
    name = unit(density, method, replicate)
    tickets.must_have(run, name)
    problem = _again(run, method)
    job = Job(problem, run)
    network = job.network(job.keep(density, method), method, replicate)
    return Ticket(network, run.load(name, "mask", problem.subject.dense))


def _again(run: Run, method: Method) -> Problem[Subject]:
    """Return the problem of a run, with data only if a method's tickets start from scores of them.

    Raises:
      DataError: the data are needed and missing or damaged.
    """
    config, images = tickets.described(run, EarlyConfig)
    if method.weights not in scoring.SEES_DATA:
        return _without_data(config, **images)
    try:
        problem = prepare(config)
        tickets.check_data(run, problem.identity)
    except (DataError, StoreError) as error:
        raise DataError(
            f"The tickets of {method} start from scores of training examples. {error}"
        ) from error
    return problem


def _without_data(
    config: EarlyConfig, *, shape: tuple[int, int, int], classes: int
) -> Problem[Subject]:
    """Return the problem that settings describe on a data set of no examples."""
    nothing = Split(np.zeros((0, *shape), np.uint8), np.zeros(0, np.int32))
    level = np.ones(shape[-1], np.float32)
    placed = work.DeviceDataset(Dataset(nothing, None, nothing, level, level))
    name = config.data.name
    info = Info(name=name, classes=classes, shape=shape, train=0, validation=0, test=0)
    return Problem(tickets.subject(config, shape=shape, classes=classes), info, placed)


def _tickets(job: Job, wanted: list[Method]) -> list[TrainRequest]:
    """Return the requests for the tickets of methods, of all densities and replicates."""
    return [
        job.request(density, method, replicate)
        for density in job.config.densities
        for method in wanted
        for replicate in range(job.config.replicates)
        if job.trained_before(method, replicate)
    ]


def _of_link(job: Job, chains: list[Method], number: int) -> list[TrainRequest]:
    """Return the requests for a link of all chains, and for tickets pruned from the one before."""
    config = job.config
    places = {d: job.place(job.keep(d, chains[0]), chains[0]) for d in config.densities}
    requests = []
    for replicate in range(config.replicates):
        if number < max(places.values()):  # a later ticket is made from it
            requests += [
                job.request_link(number, method, replicate)
                for method in dict.fromkeys(method.source for method in chains)
                if job.trained_before(method, replicate, number=number)
            ]
        requests += [
            job.request(density, method, replicate)
            for density, place in places.items()
            for method in chains
            if place == number and job.trained_before(method, replicate, number=number)
        ]
    found = {request.unit: request for request in requests}
    return [found[unit] for unit in sorted(found, key=lambda unit: unit.split("/")[0])]
