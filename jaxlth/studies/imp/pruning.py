"""How iterative magnitude pruning prunes a trained network: by magnitude, or by another score."""

import functools
from typing import Any

from jaxlth import masks
from jaxlth.studies import score_names, score_pruning, scoring
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import Prune, TrainedNetwork


def prune_rule(lab: Lab) -> Prune:
    """Return the function that prunes a trained network as the config says."""
    if lab.config.score != ImpConfig.score:
        return by_score(lab)
    return lambda trained, keep: lab.by_magnitude(trained.network.params, trained.mask, keep)


def by_score(lab: Lab) -> Prune:
    """Return the function that prunes a trained network by the score that the config names."""
    experiment, config = lab.experiment, lab.config
    names = score_names.parts(config.score)
    score = functools.cache(lambda: experiment.score(config.score))  # not built by who reads a run
    examples = functools.cache(functools.partial(experiment.examples, per_class=config.per_class))
    sees = not {*names}.isdisjoint(score_names.SEES_DATA) or bool(score_names.batch_readers(names))

    def pruned(trained: TrainedNetwork, keep: Any) -> masks.Mask:
        batch: Any = examples(trained.replicate) if sees else None
        score_inputs = scoring.ScoreInputs(
            network=trained.network,
            initial=lab.init(trained.replicate).params,
            batch=batch,
            key=lab.key("score", trained.replicate),
            mean=experiment.mean,
        )
        return score_pruning.pruned(
            score(),
            names,
            trained.mask,
            score_inputs,
            keep=keep,
            rounds=max(map(score_names.published_rounds, names)),
            spacing="exponential",
        )

    return pruned
