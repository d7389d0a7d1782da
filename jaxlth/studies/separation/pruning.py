"""How separation prunes: which weights, how many at each level."""

import functools
from typing import Any

import numpy as np

from jaxlth import masks, prune, settings
from jaxlth.studies import score_names, score_pruning, scoring
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import Prune, TrainedNetwork, keep_by_level
from jaxlth.studies.separation.config import SeparationConfig, imp


def prune_rule(lab: Lab, config: SeparationConfig) -> Prune:
    """Return the function that prunes a trained network as the config says."""
    score = functools.cache(lab.experiment.score)

    def pruned(trained: TrainedNetwork, keep: Any) -> masks.Mask:
        mask = trained.mask
        if config.score == "magnitude":
            return lab.by_magnitude(trained.network.params, mask, keep)
        mean, replicate = lab.experiment.mean, trained.replicate
        given = scoring.ScoreInputs(
            trained.network,
            lab.init(replicate).params,
            (mean, np.zeros(1, np.int32)),
            lab.key("score", replicate, trained.level + 1),
            mean,
        )
        return score_pruning.pruned(
            score(config.score),
            (config.score,),
            mask,
            given,
            keep=keep,
            rounds=score_names.published_rounds(config.score),
            spacing="exponential",
        )

    return pruned


def keep_counts(config: SeparationConfig, dense: masks.Mask) -> list[Any]:
    """Return what each level keeps, level 0 first: a count, or counts by tensor.

    Raises:
      ValueError: the network has fewer weights than that.
    """
    size = int(masks.kept(dense))
    if config.counts:
        settings.require(
            config.counts[0] < size,
            f"`counts` must begin below the {size} weights of the network; got {config.counts[0]}.",
        )
        return [size, *config.counts]
    if config.target is not None:
        return prune.trajectory(size=size, levels=config.levels, target=config.target).counts
    return keep_by_level(imp(config), dense)
