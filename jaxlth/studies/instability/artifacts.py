"""Names of what a run of instability analysis stores, and which of them a config asks for."""

import itertools
from collections.abc import Iterable

from jaxlth.studies.controls import TICKET
from jaxlth.studies.instability.config import (
    DENSE,
    REMAINING,
    InstabilityConfig,
    NetworkSpec,
    network_specs,
    twin_lengths,
    twin_pairs,
)


def units(config: InstabilityConfig, steps: Iterable[int]) -> list[str]:
    """Return the names of all twins and comparisons that settings ask for from some steps."""
    names = [dense(replicate) for replicate in range(config.replicates)]
    for step in steps:
        for spec, replicate in itertools.product(
            network_specs(config, step), range(config.replicates)
        ):
            names += of_subject(config, spec, replicate)
    return names


def of_subject(config: InstabilityConfig, spec: NetworkSpec, replicate: int) -> list[str]:
    """Return the names of the twins of a network, of their pairs and of their mean."""
    names = []
    for length in twin_lengths(config, spec.step):
        names += [twin(spec, each, length, replicate) for each in range(config.twins)]
        names += [pair(config, spec, each, length, replicate) for each in twin_pairs(config)]
        names.append(averaged(config, spec, length, replicate))
    return names


def dense(replicate: int) -> str:
    """Return the name of a dense training from its beginning."""
    return f"density_1/{DENSE}/replicate_{replicate}"


def snapshot(step: int, replicate: int) -> str:
    """Return the name of the artifact that keeps the dense network at a step of its training."""
    return f"step_{step}/state/{DENSE}/replicate_{replicate}"


def level(step: int, number: int, replicate: int) -> str:
    """Return the name of a ticket that IMP trains on its way."""
    return NetworkSpec(step, TICKET, level=number).artifact("found", replicate)


def twin(spec: NetworkSpec, number: int, length: str, replicate: int) -> str:
    """Return the name of a twin.

    Example:
      >>> twin(NetworkSpec(500, "dense"), 2, "remaining", 0)
      'step_500/twin_2/dense/replicate_0'
    """
    return spec.artifact(f"twin_{number}{_suffix(length)}", replicate)


def at_step(spec: NetworkSpec, number: int, length: str, replicate: int, step: int) -> str:
    """Return the name of the artifact that keeps a twin at a step of its training."""
    return spec.artifact(f"twin_{number}{_suffix(length)}-at_{step}", replicate)


def pair(
    config: InstabilityConfig,
    spec: NetworkSpec,
    numbers: tuple[int, int],
    length: str,
    replicate: int,
    *,
    step: int | None = None,
) -> str:
    """Return the name of the artifact that keeps how two twins compare, at a step or at the end."""
    one, other = numbers
    at = "" if step is None else f"-at_{step}"
    how = f"-of_{config.points}" + ("-estimated" if config.estimate_statistics else "")
    return spec.artifact(f"pair_{one}_{other}{_suffix(length)}{at}{how}", replicate)


def averaged(config: InstabilityConfig, spec: NetworkSpec, length: str, replicate: int) -> str:
    """Return the name of the artifact that keeps how the mean of all twins does."""
    how = "-estimated" if config.estimate_statistics else ""
    return spec.artifact(f"mean_of_{config.twins}{_suffix(length)}{how}", replicate)


def _suffix(length: str) -> str:
    return "" if length == REMAINING else f"-{length}"
