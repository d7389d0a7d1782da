"""Iterative magnitude pruning: train, prune, rewind, repeat, and train the controls beside it.

A ticket is a mask with the state that it starts from, at one level; level 0 is the dense network.
Each trained network is an artifact of the run's folder, "level_03/ticket/replicate_0", and is
trained only if the folder lacks it.
"""

import pathlib
import warnings
from collections.abc import Generator
from typing import Any

from jaxlth import settings
from jaxlth.studies.controls import NEW_WEIGHTS, TICKET
from jaxlth.studies.imp.config import ImpConfig, expected_artifacts, network_names
from jaxlth.studies.imp.dilation import dilate, mean_performance, survivors
from jaxlth.studies.imp.pruning import prune_rule
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import Levels, Starts, keep_by_level
from jaxlth.studies.loading import LoadedExperiment, load_experiment
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.run_info import has_artifacts
from jaxlth.studies.train import Progress


def imp(
    lab: Lab, config: ImpConfig, keep: list[Any] | None = None
) -> Generator[Progress, None, None]:
    """Train, prune, rewind, repeat; train the controls of each ticket beside it.

    Args:
      lab: where networks are drawn, trained and read.
      config: of the study.
      keep: what each level keeps, level 0 first; as the config says, if not given.

    References:
      Frankle 2023, Algorithms 1, 2 and 4.
    """
    levels = Levels(lab, config, keep or keep_by_level(config, lab.dense_mask))
    prune = prune_rule(lab)
    lab.begin(expected_artifacts(config, levels=levels.last))
    dense = {replicate: levels.dense(replicate) for replicate in lab.replicates}
    starts: list[Starts] = [{TICKET: dense}]
    trained = unpruned = yield from levels.train(0, starts[0])
    for level in range(1, levels.last + 1):
        sources = unpruned if config.one_shot else trained
        tickets = {r: levels.ticket(level, network, prune) for r, network in sources.items()}
        starts.append(levels.with_controls(level, tickets))
        trained = yield from levels.train(level, starts[level])
        if lost_too_much(lab, config, level):
            break
    yield from dilate(levels, starts)
    lab.expect(())


def lost_too_much(lab: Lab, config: ImpConfig, level: int) -> bool:
    """Return whether the tickets of a level lose more accuracy than the config allows.

    It is the accuracy on the validation split, where there is one. Where no accuracy is defined, it
    is how far the loss exceeds that of the dense networks, as a share of it.
    """
    if config.stop_lost_accuracy is None:
        return False
    dense, tickets = survivors(lab, config, 0), survivors(lab, config, level)
    # The settings do not say whether data of one's own have a validation split; records do.
    held_out = [record.get("validation_loss") for record in dense]
    split = "validation" if any(loss is not None and loss == loss for loss in held_out) else "test"
    reached = mean_performance(dense, split)
    lost = reached - mean_performance(tickets, split)
    is_of_losses = all(record["test_accuracy"] is None for record in dense)
    return lost > config.stop_lost_accuracy * (abs(reached) if is_of_losses else 1)


def complete(config: ImpConfig, path: pathlib.Path) -> bool:
    """Return whether the run in a folder has all networks, as far as is known without the data.

    Args:
      config: what is wanted.
      path: folder of the run, which need not exist.
    """
    if config.dilations or config.stop_density or config.stop_lost_accuracy:
        return False
    names = network_names(config, levels=config.levels)
    return has_artifacts(path, lambda run: all(map(run.has, names)))


class ControlWarning(UserWarning):
    """A control is trained in a way that says little."""


def warn_of_controls(config: ImpConfig) -> None:
    """Warn of new weights that are trained at the last, usually low, learning rate only."""
    new = [control for control in config.controls if control in NEW_WEIGHTS]
    if config.after_pruning == "fine-tune" and config.optimizer.varies and new:
        warnings.warn(
            f"`controls` {settings.in_a_row(new)}: `after_pruning` fine-tune trains new weights at "
            "the last learning rate only, at which they may hardly learn. `after_pruning` "
            "learning-rate trains them at all rates, and shuffled controls keep trained weights.",
            ControlWarning,
            stacklevel=3,
        )


def prepare(config: ImpConfig, parts: Parts = NONE) -> LoadedExperiment:
    """Return the experiment that a config describes, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the config does not fit the data or the network.
    """
    warn_of_controls(config)
    experiment = load_experiment(config, parts)
    keep_by_level(config, experiment.prunable.dense)
    lengths: dict[int, float] = {}
    for dilation in sorted({1.0, *config.dilations}):
        steps = experiment.plan(dilation).steps
        dilated = "" if dilation == 1 else f" dilated by {dilation:g}"
        settings.require(
            round(config.rewind_step * dilation) < steps,
            f"`rewind_step` must lie in 0..{steps - 1}, before the end of training{dilated}; "
            f"got {config.rewind_step}.",
        )
        settings.require(
            steps not in lengths,
            f"`dilations` must differ by a step at least; {lengths.get(steps, 1):g} and "
            f"{dilation} both make {steps} steps.",
        )
        lengths[steps] = dilation
    return experiment
