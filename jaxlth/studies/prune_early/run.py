"""Prune early: by any score, before training, early in it or between trainings.

A ticket is named by its density and its method: score, schedule and what was done to it. Each
trained network is an artifact of the run's folder, "density_0.05/snip-before-rounds/replicate_0",
and is trained only if the folder lacks it; so asking for more scores, schedules, densities,
controls, initial weights, steps or replicates extends a run.

Schedules (USS, UMS, ISS, IMS in Lutz & Manai 2022, section 5.1.1; LTR in Frankle 2023, 5.2):

    before-once       before training, once
    before-rounds     before training, in rounds of scoring and pruning
    iterative-once    after each of several trainings, once, and weights rewound; by magnitude: IMP
    iterative-rounds  the same, in rounds each time
    after             after the dense training, once; the trained weights are trained again
    after-rounds      the same, in rounds of scoring and pruning
    after-rewind      the mask of `after`, on the weights of initialisation or of an early step

iterative-once and iterative-rounds train a chain of networks, each with `prune_fraction` less of
the weights. A ticket is pruned from the last network of the chain that has more weights.
"""

from collections.abc import Generator, Iterator

from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import LoadedExperiment, load_experiment
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.prune_early import artifacts
from jaxlth.studies.prune_early.config import (
    ITERATIVE,
    LEARNED,
    Method,
    PruneEarlyConfig,
    all_methods,
)
from jaxlth.studies.prune_early.counts import Kept
from jaxlth.studies.prune_early.networks import EarlyNetworks
from jaxlth.studies.train import Progress, TrainRequest


def prepare(config: PruneEarlyConfig, parts: Parts = NONE) -> LoadedExperiment:
    """Return the experiment that a config describes, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    experiment = load_experiment(config, parts)
    experiment.check_steps("rewind_steps", config.rewind_steps, last=True)
    Kept(experiment).check()
    return experiment


def prune_early(lab: Lab, config: PruneEarlyConfig) -> Generator[Progress, None, None]:
    """Train dense networks; prune by each method at each density; train what is left."""
    networks = EarlyNetworks(lab)
    expected = _expected(networks)
    lab.begin(expected)

    def train(requests: list[TrainRequest]) -> Iterator[Progress]:
        return lab.train(requests, pending=expected)

    yield from train(
        [
            networks.request_dense(weights, replicate)
            for weights, replicate in artifacts.dense_networks(config)
            if replicate in lab.replicates
        ]
    )
    methods = all_methods(config)
    learned = [method for method in methods if method.score in LEARNED]
    at_once = [method for method in methods if method.schedule not in ITERATIVE]
    yield from train(_tickets(networks, [each for each in at_once if each not in learned]))
    chains = _chains(config)
    for number in range(1, len(networks.links()) + 1 if chains else 0):
        yield from train(_of_link(networks, chains, number))
    yield from train(_tickets(networks, learned))
    lab.expect(())


def across_replicates(config: PruneEarlyConfig) -> list[str]:
    """Return the settings by which replicates depend on each other: scores learned from others."""
    return ["score"] if any(method.score in LEARNED for method in all_methods(config)) else []


def _tickets(networks: EarlyNetworks, wanted: list[Method]) -> list[TrainRequest]:
    """Return the requests for the tickets of methods, of all densities and replicates."""
    return [
        networks.request(density, method, replicate)
        for density in networks.config.densities
        for method in wanted
        for replicate in networks.replicates
        if networks.trained_before(method, replicate)
    ]


def _chains(config: PruneEarlyConfig) -> list[Method]:
    """Return the methods that prune again and again, between trainings."""
    return [method for method in all_methods(config) if method.schedule in ITERATIVE]


def _expected(networks: EarlyNetworks) -> list[str]:
    """Return the names of all networks, those between prunings included."""
    config, chains = networks.config, _chains(networks.config)
    names = artifacts.networks(config)
    if chains:
        last = max(networks.place(networks.keep(d, chains[0]), chains[0]) for d in config.densities)
        names += [
            networks.request_link(number, method, replicate).artifact
            for number in range(1, last)
            for method in dict.fromkeys(method.source for method in chains)
            for replicate in range(config.replicates)
        ]
    return list(dict.fromkeys(names))


def _of_link(networks: EarlyNetworks, chains: list[Method], number: int) -> list[TrainRequest]:
    """Return the requests for a link of all chains, and for tickets pruned from the one before."""
    config = networks.config
    places = {d: networks.place(networks.keep(d, chains[0]), chains[0]) for d in config.densities}
    requests = []
    for replicate in networks.replicates:
        if number < max(places.values()):  # a later ticket is made from it
            requests += [
                networks.request_link(number, method, replicate)
                for method in dict.fromkeys(method.source for method in chains)
                if networks.trained_before(method, replicate, number=number)
            ]
        requests += [
            networks.request(density, method, replicate)
            for density, place in places.items()
            for method in chains
            if place == number and networks.trained_before(method, replicate, number=number)
        ]
    by_artifact = {request.artifact: request for request in requests}
    in_order = sorted(by_artifact, key=lambda artifact: artifact.split("/")[0])
    return [by_artifact[artifact] for artifact in in_order]
