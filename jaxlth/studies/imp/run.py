"""Iterative magnitude pruning: train, prune, rewind, repeat, and train the controls beside it.

A ticket is a mask with the state that it starts from, at one level; level 0 is the dense network.
Each trained network is an artifact of the run's folder, "level_03/ticket/replicate_0", and is
trained only if the folder lacks it.
"""

import functools
import pathlib
from collections.abc import Callable, Generator
from typing import Any

import jax

from jaxlth import masks, settings
from jaxlth.studies import scoring
from jaxlth.studies.controls import TICKET
from jaxlth.studies.imp.config import ImpConfig, expected_artifacts, network_names
from jaxlth.studies.imp.dilation import dilate, mean_performance, survivors
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import Levels, Prune, Starts, TrainedNetwork, keep_by_level
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


def prune_rule(lab: Lab) -> Prune:
    """Return the function that prunes a trained network as the config says."""
    if lab.config.score != ImpConfig.score:
        return by_score(lab)
    select = by_magnitude(lab)
    return lambda trained, keep: select(trained.network.params, trained.mask, keep)


def by_score(lab: Lab) -> Prune:
    """Return the function that prunes a trained network by the score that the config names."""
    experiment, config = lab.experiment, lab.config
    names = scoring.parts(config.score)
    score = functools.cache(lambda: experiment.score(config.score))  # not built by who reads a run
    examples = functools.cache(functools.partial(experiment.examples, per_class=config.per_class))

    sees = not {*names}.isdisjoint(scoring.SEES_DATA) or bool(scoring.batch_readers(names))

    def pruned(trained: TrainedNetwork, keep: Any) -> masks.Mask:
        batch: Any = examples(trained.replicate) if sees else None
        score_inputs = scoring.ScoreInputs(
            network=trained.network,
            initial=lab.init(trained.replicate).params,
            batch=batch,
            key=lab.key("score", trained.replicate),
            mean=experiment.mean,
        )
        return scoring.pruned(
            score(),
            names,
            trained.mask,
            score_inputs,
            keep=keep,
            rounds=max(map(scoring.published_rounds, names)),
            spacing="exponential",
        )

    return pruned


def by_magnitude(lab: Lab) -> Callable[[Any, masks.Mask, Any], masks.Mask]:
    """Return the function (params, mask, keep) that prunes the weights of least magnitude."""
    select = jax.jit(lab.experiment.prunable.by_magnitude)  # once for all levels
    return lambda *arguments: jax.device_get(select(*arguments))


def lost_too_much(lab: Lab, config: ImpConfig, level: int) -> bool:
    """Return whether the tickets of a level lose more accuracy than the config allows.

    It is the accuracy on the validation split, where there is one. Where no accuracy is defined, it
    is how far the loss exceeds that of the dense networks, as a share of it.
    """
    if config.stop_lost_accuracy is None:
        return False
    split = "test" if config.data.validation == 0 else "validation"
    dense, tickets = survivors(lab, config, 0), survivors(lab, config, level)
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


def prepare(config: ImpConfig, parts: Parts = NONE) -> LoadedExperiment:
    """Return the experiment that a config describes, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the config does not fit the data or the network.
    """
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
