"""Names of what a run of early pruning stores, and which of them a config asks for."""

import itertools
from collections.abc import Iterable

from jaxlth.studies.prune_early.config import DENSE, Method, PruneEarlyConfig, all_methods


def networks(config: PruneEarlyConfig) -> list[str]:
    """Return the names of all networks that a config asks for, those between prunings aside."""
    return [
        *(dense(weights, replicate) for weights, replicate in dense_networks(config)),
        *(
            ticket(density, method, replicate)
            for density in config.densities
            for method in all_methods(config)
            for replicate in range(config.replicates)
        ),
    ]


def dense_networks(config: PruneEarlyConfig) -> Iterable[tuple[str, int]]:
    """Yield initial weights and replicate of each dense network."""
    return itertools.product(config.weights, range(config.replicates))


def ticket(density: float, method: Method, replicate: int) -> str:
    """Return the name of a ticket in the run's folder.

    Example:
      >>> ticket(0.05, Method("snip", "before-rounds"), 0)
      'density_0.05/snip-before-rounds/replicate_0'
    """
    return f"density_{float(density)!r}/{method}/replicate_{replicate}"


def link(number: int, method: Method, replicate: int) -> str:
    """Return the name of a network that is trained between two prunings."""
    return f"link_{number:02d}/{method}/replicate_{replicate}"


def dense(weights: str, replicate: int) -> str:
    """Return the name of a dense network."""
    return f"density_1/{dense_name(weights)}/replicate_{replicate}"


def learned(method: Method, replicate: int) -> str:
    """Return the name of the artifact that keeps what a meta-model predicts for a replicate."""
    return f"meta/{method}/replicate_{replicate}"


def snapshot(step: int, weights: str, replicate: int) -> str:
    """Return the name of the artifact that keeps a dense network at a step of its training."""
    return f"step_{step}/{dense_name(weights)}/replicate_{replicate}"


def dense_name(weights: str) -> str:
    """Return what stands for a method in the name of a dense network.

    Example:
      >>> dense_name("standard"), dense_name("bimodal")
      ('dense', 'dense-on-bimodal')
    """
    return DENSE if weights == "standard" else f"{DENSE}-on-{weights}"
