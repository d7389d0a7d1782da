"""Supermask tickets: which weights to keep is decided by how good they are before training.

    1. A network is trained for long, and the step of its least validation loss noted.
    2. It is trained again from the same weights, in the same order, to that step.
    3. A mask keeps the weights whose sign(initial) * trained reaches a threshold. For each of many
       thresholds the initial network is evaluated under its mask, untrained.
    4. The most accurate of these is the ticket, which is then trained.

Beside it dense networks are trained as long: of the same widths, and of others (a search over layer
sizes). Masks act on weights only, as everywhere here; Rolfs speaks of parameters. A threshold that
empties a layer is reported and never chosen.

Each trained network, and each search for a threshold, is an artifact of the run's folder,
"training_ticket/ticket/replicate_0", and is made only if the folder lacks it: asking for more sizes
or replicates extends a run.

References:
  Rolfs, Achieving results with untrained neural networks using Supermasks; Zhou et al. 2019,
  Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask.
"""

import dataclasses
import pathlib
from collections.abc import Generator, Iterator

from jaxlth import masks, settings
from jaxlth.models import Model
from jaxlth.studies.compiled_training import CompiledTraining
from jaxlth.studies.config import check_accuracy
from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import LoadedExperiment, load_experiment
from jaxlth.studies.machine import check_memory
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.prunable import PrunableModel, excluding, prunable_model
from jaxlth.studies.run_info import has_artifacts
from jaxlth.studies.threshold_masks import artifacts, search
from jaxlth.studies.threshold_masks.config import (
    ThresholdMasksConfig,
    all_sizes,
    baseline_size,
    check_choice_split,
    with_size,
)
from jaxlth.studies.threshold_masks.networks import ThresholdNetworks, expected_artifacts
from jaxlth.studies.train import Progress, TrainRequest
from jaxlth.trees import roles


def prepare(config: ThresholdMasksConfig, parts: Parts = NONE) -> LoadedExperiment:
    """Return the experiment that a config describes, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    check_accuracy(config, "by which thresholds are chosen")
    experiment = load_experiment(config, parts, prunable=prunable)
    check_choice_split(config, has_split=experiment.info.validation > 0)
    steps = experiment.plan(1.0).steps
    settings.require(
        config.ticket_steps is None or config.ticket_steps <= steps,
        f"`ticket_steps` must be at most the {steps} steps of the training, whose schedule they "
        f"follow; got {config.ticket_steps}.",
    )
    for size in config.sizes:
        _resized(experiment, size)
    return experiment


def threshold_masks(lab: Lab, config: ThresholdMasksConfig) -> Generator[Progress, None, None]:
    """Train for long, find where to stop, try a mask for each threshold, train the best one."""
    networks, run = ThresholdNetworks(lab), lab.run
    replicates = lab.replicates
    lab.begin(artifacts.units(config))

    def expected() -> set[str]:
        return {name for each in replicates for name in expected_artifacts(run, config, each)}

    def train(
        requests: list[TrainRequest], compiled_training: CompiledTraining
    ) -> Iterator[Progress]:
        return lab.train(requests, compiled_training, pending=expected())

    whole = lab.compiled_training
    yield from train([networks.request_long(each) for each in replicates], whole)
    ends = {
        each: networks.least(each)
        for each in replicates
        if artifacts.short(each) in expected_artifacts(run, config, each)
    }
    for step in sorted(set(ends.values())):
        same = [networks.request_short(each) for each in replicates if ends.get(each) == step]
        yield from train(same, whole.until(step, networks=config.replicates))
    there = [each for each in replicates if artifacts.thresholds(each) in expected()]
    others = expected() - {artifacts.thresholds(each) for each in there}
    pending = sum(not run.has(name) for name in others)
    yield from search.search(networks, lab.experiment, whole, there, num_pending=pending)
    with_ticket = [each for each in there if networks.threshold(each) is not None]
    steps = ticket_steps(lab.experiment)
    yield from train([networks.request_ticket(each) for each in with_ticket], whole.until(steps))
    for size in all_sizes(config):
        resized = _resized(lab.experiment, size)
        requests = [networks.request_size(size, resized.prunable, each) for each in replicates]
        own = whole if resized is lab.experiment else resized.compile_training()
        yield from train(requests, own.until(steps))
    lab.expect(())


def complete(config: ThresholdMasksConfig, path: pathlib.Path) -> bool:
    """Return whether the run in a folder has everything that settings ask for.

    Args:
      config: what is wanted.
      path: folder of the run, which need not exist.
    """
    return has_artifacts(
        path,
        lambda run: all(
            run.has(artifact)
            for replicate in range(config.replicates)
            for artifact in expected_artifacts(run, config, replicate)
        ),
    )


def prunable(
    config: ThresholdMasksConfig,
    *,
    shape: tuple[int, ...],
    classes: int,
    model: Model | None = None,
) -> PrunableModel:
    """Return the network that is masked; see `prunable_model`.

    Raises:
      ValueError: it has no weights that may be pruned, or the images are too small for it.
    """
    weights = prunable_model(config, shape=shape, classes=classes, model=model)
    if not config.mask_biases:
        return weights
    every = masks.dense(
        weights.zeros,
        prunable=lambda name, w: masks.is_kernel(name, w) or roles.role(name) == "bias",
    )
    return dataclasses.replace(weights, dense=excluding(every, config.exclude))


def ticket_steps(experiment: LoadedExperiment) -> int:
    """Return the steps that tickets, and what they are compared with, are trained for."""
    config = experiment.prunable.config
    return config.ticket_steps or max(1, experiment.plan(1.0).steps // 4)


def _resized(experiment: LoadedExperiment, size: str) -> LoadedExperiment:
    """Return the experiment with a network of another size, itself for its own.

    Raises:
      ValueError: `exclude` names layers that a network of this size lacks.
    """
    config = experiment.prunable.config
    if size == baseline_size(config):
        return experiment
    info, own = experiment.info, with_size(config, size)
    check_memory(own, info, experiment.device_data.dataset, option="sizes")
    smaller = prunable(own, shape=info.shape, classes=info.classes)
    return dataclasses.replace(experiment, prunable=smaller)
