"""Instability analysis: do copies of a network that see other SGD noise find the same minimum?

From the state of each step k of a dense training, or from a sparse network made of it, copies
(twins) are trained with different data orders and augmentations. Their instability is the error
barrier on the line between them; where it is below two points, the network is stable to SGD noise.

Each trained network and each comparison is an artifact of the run's folder, "step_500/twin_0/dense/
replicate_1", "step_500/pair_0_1-of_30/dense/replicate_1", and is made only if the folder lacks it.
So the dense training, whose states serve all steps, and the levels of IMP are trained once.

References:
  Frankle 2023, chapter 4; Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket
  Hypothesis; Bolwerk 2021, whose AdSynFlow prunes at the first stable step.
"""

import functools
import itertools
import pathlib
from collections.abc import Callable, Generator, Iterator

import numpy as np

from jaxlth.store import Run
from jaxlth.studies.instability import artifacts
from jaxlth.studies.instability.analysis import Analysis
from jaxlth.studies.instability.config import (
    InstabilityConfig,
    network_specs,
    twin_lengths,
    twin_pairs,
)
from jaxlth.studies.instability.networks import check, diverged_before
from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import LoadedExperiment, load_experiment
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.run_info import has_artifacts
from jaxlth.studies.train import Progress


def prepare(config: InstabilityConfig, parts: Parts = NONE) -> LoadedExperiment:
    """Return the experiment that a config describes, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    experiment = load_experiment(config, parts)
    experiment.check_steps("rewind_steps", config.rewind_steps)
    check(experiment)
    return experiment


def instability(lab: Lab, config: InstabilityConfig) -> Generator[Progress, None, None]:
    """Train twins from the states of a dense training, and compare them, step by step.

    References:
      Frankle 2023, Algorithm 3.
    """
    analysis = Analysis(lab)
    lab.begin(units(config) if config.search == "all" else ())
    yield from analysis.dense()
    for step in searched(lab.run, config):
        yield from analysis.at(step)
    lab.expect(())


def units(config: InstabilityConfig) -> list[str]:
    """Return the names of all twins and comparisons that settings ask for, at the end of training.

    A search among the steps makes but some of them.
    """
    return artifacts.units(config, config.rewind_steps)


def complete(config: InstabilityConfig, path: pathlib.Path) -> bool:
    """Return whether the run in a folder has everything, as far as is known without the data.

    Args:
      config: what is wanted.
      path: folder of the run, which need not exist.
    """
    if config.compare_every is not None:
        return False
    return has_artifacts(
        path, lambda run: all(_has_all(run, config, step) for step in searched(run, config))
    )


def searched(run: Run, config: InstabilityConfig) -> Iterator[int]:
    """Yield the steps to analyse; each is asked for once those before it are in the run."""
    steps, is_stable = sorted(config.rewind_steps), functools.partial(stable, run, config)
    return iter(steps) if config.search == "all" else search(steps, config.search, is_stable)


def search(steps: list[int], how: str, is_stable: Callable[[int], bool]) -> Iterator[int]:
    """Yield the steps that a search goes through.

    Args:
      steps: in increasing order.
      how: "first", in order until a network is stable; or "bisection", which assumes that it
        stays stable from some step on.
      is_stable: whether it is at a step; asked after that step was yielded.

    Example:
      >>> list(search([0, 10, 20, 40], "bisection", lambda step: step >= 40))
      [20, 40]
    """
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2 if how == "bisection" else low
        yield steps[middle]
        low, high = (low, middle) if is_stable(steps[middle]) else (middle + 1, high)


def stable(run: Run, config: InstabilityConfig, step: int) -> bool:
    """Return whether the first of the networks asked for is stable at a step, at all its sizes.

    That is so where the mean error barrier on the test split over all pairs of twins is below the
    threshold; where no error is defined, where the mean loss barrier is below the threshold as a
    share of the mean loss of the twins. A pair of which a twin, or what it starts from, diverged
    counts as unstable.
    """
    pairs = twin_pairs(config)
    for spec in network_specs(config, step):
        if spec.network != config.networks[0]:
            continue
        units = [
            artifacts.pair(config, spec, each, twin_lengths(config, step)[0], replicate)
            for each in pairs
            for replicate in range(config.replicates)
        ]
        records = [run.record(artifact) for artifact in units if run.has(artifact)]
        has_errors = any(record["test_instability"] is not None for record in records)
        barrier = "test_instability" if has_errors else "test_loss_barrier"
        barriers = [record[barrier] for record in records if record.get(barrier) is not None]
        if len(barriers) < len(units):
            return False
        scale = 1 if has_errors else abs(np.mean([record["test_loss"] for record in records]))
        if np.mean(barriers) >= config.threshold * scale:
            return False
    return True


def _has_all(run: Run, config: InstabilityConfig, step: int) -> bool:
    dense = [artifacts.dense(replicate) for replicate in range(config.replicates)]
    return all(map(run.has, dense)) and all(
        run.has(artifact)
        for spec, replicate in itertools.product(
            network_specs(config, step), range(config.replicates)
        )
        if not diverged_before(run, config, spec, replicate)
        for artifact in artifacts.of_subject(config, spec, replicate)
    )
