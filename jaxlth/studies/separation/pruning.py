"""How separation prunes: which weights, how many at each level."""

from typing import Any

import numpy as np

from jaxlth import masks, prune, settings
from jaxlth.studies.imp.pruning import score_rule
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import Prune, keep_by_level
from jaxlth.studies.separation.config import SeparationConfig, imp


def prune_rule(lab: Lab) -> Prune:
    """Return the function that prunes a trained network as the config says."""
    return score_rule(
        lab,
        batch=lambda _replicate: (lab.experiment.mean, np.zeros(1, np.int32)),
        key=lambda trained: lab.key("score", trained.replicate, trained.level + 1),
    )


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
