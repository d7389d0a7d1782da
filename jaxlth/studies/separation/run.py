"""Network separation: does a network that is pruned fall apart along its tasks?

A network learns several tasks at once, each with inputs and outputs of its own. It is pruned by IMP
with early stopping, and looked at as a graph at each level: interconnected, separated (every
subnetwork serves one task), or degraded (a task has lost an input or an output). A replicate stops
at the level at which it is degraded.

Each trained network is an artifact of the run's folder, "level_03/ticket/replicate_0", with what
its graph says in its record, and is trained only if the folder lacks it.

References:
  Burger 2024, Winning the Lottery Twice with Iterative Magnitude Pruning.
"""

import pathlib
from collections.abc import Generator
from typing import Any

from jaxlth import settings
from jaxlth.store import Run
from jaxlth.studies import level_artifacts
from jaxlth.studies.config import PERCEPTRONS, check_accuracy
from jaxlth.studies.controls import TICKET
from jaxlth.studies.imp.config import expected_artifacts
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import Levels, TrainedNetwork
from jaxlth.studies.loading import LoadedExperiment, load_experiment
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.run_info import has_artifacts
from jaxlth.studies.separation.config import SeparationConfig, imp
from jaxlth.studies.separation.config import levels as last_level
from jaxlth.studies.separation.measurement import Measurement
from jaxlth.studies.separation.pruning import keep_counts, prune_rule
from jaxlth.studies.train import Progress

STOPS: dict[str, tuple[str, ...]] = {
    "degraded": ("degraded",),
    "separated": ("degraded", "separated"),
    "never": (),
}


def separation(lab: Lab, config: SeparationConfig) -> Generator[Progress, None, None]:
    """Prune networks level by level until they are degraded, as far as the run lacks them."""
    measurement = Measurement(lab.experiment)
    keep = keep_counts(config, lab.dense_mask)
    levels = Levels(lab, imp(config), keep, study="separation", measure=measurement)
    prune = prune_rule(lab)
    lab.begin(expected_artifacts(levels.config, levels=levels.last))
    dense = {replicate: levels.dense(replicate) for replicate in lab.replicates}
    trained = yield from levels.train(0, {TICKET: dense})
    for level in range(1, levels.last + 1):
        tickets = {
            replicate: levels.ticket(level, network, prune)
            for replicate, network in trained.items()
            if not stops(network, config)
        }
        if not tickets:
            break
        trained = yield from levels.train(level, {TICKET: tickets})
    lab.expect(())


def stops(network: TrainedNetwork, config: SeparationConfig) -> bool:
    """Return whether a replicate is pruned no further; a state never gets better again."""
    return _has_ended(network.lab.run.record(network.artifact), config)


def _has_ended(record: dict[str, Any], config: SeparationConfig) -> bool:
    """Return whether a replicate is pruned no further, by the record of a network."""
    return record["state"] in STOPS[config.stop]


def prepare(config: SeparationConfig, parts: Parts = NONE) -> LoadedExperiment:
    """Return the experiment that a config describes, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the config does not fit the data or the network, or there is but one task.
    """
    settings.require(
        len(config.data.names) > 1,
        f"`data` must be sets side by side, such as moons+circles; got {config.data.name}.",
    )
    settings.require(
        config.model.name in PERCEPTRONS,
        f"`model` must be mlp or lenet-300-100, whose inputs belong to tasks; got "
        f"{config.model.name}.",
    )
    check_accuracy(config, "for accuracies by task")
    experiment = load_experiment(config, parts)
    keep_counts(config, experiment.prunable.dense)
    experiment.check_steps("rewind_step", (config.rewind_step,))
    return experiment


def complete(config: SeparationConfig, path: pathlib.Path) -> bool:
    """Return whether each replicate in a folder has all levels, or ended before the last."""
    return has_artifacts(
        path,
        lambda run: all(_is_complete(run, config, each) for each in range(config.replicates)),
    )


def _is_complete(run: Run, config: SeparationConfig, replicate: int) -> bool:
    for level in range(last_level(config) + 1):
        name = level_artifacts.network(level, TICKET, replicate)
        if not run.has(name):
            return False
        record = run.record(name)
        if record["nan_step"] is not None or _has_ended(record, config):
            return True
    return True
