"""How iterative magnitude pruning prunes a trained network: by magnitude, or by another score."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from jaxlth import masks
from jaxlth.studies import score_names, score_pruning, scoring
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import Prune, TrainedNetwork


def prune_rule(lab: Lab) -> Prune:
    """Return the function that prunes a trained network as the config says."""
    names = score_names.parts(lab.config.score)
    sees = not {*names}.isdisjoint(score_names.SEES_DATA) or bool(score_names.batch_readers(names))
    examples = functools.cache(lab.experiment.examples)
    return score_rule(
        lab,
        batch=lambda r: examples(r, per_class=lab.config.per_class) if sees else None,
        key=lambda trained: lab.key("score", trained.replicate),
    )


def score_rule(
    lab: Lab, *, batch: Callable[[int], Any], key: Callable[[TrainedNetwork], jax.Array]
) -> Prune:
    """Return the function that prunes by the config's score; see `ScoreInputs` of batch and key."""
    name = lab.config.score
    if name == ImpConfig.score:
        return lambda trained, keep: lab.by_magnitude(trained.network.params, trained.mask, keep)
    names = score_names.parts(name)
    score = functools.cache(lab.experiment.score)  # not built by who reads a run

    def pruned(trained: TrainedNetwork, keep: Any) -> masks.Mask:
        score_inputs = scoring.ScoreInputs(
            network=trained.network,
            initial=lab.init(trained.replicate).params,
            batch=batch(trained.replicate),
            key=key(trained),
            mean=lab.experiment.mean,
        )
        return score_pruning.pruned(
            score(name),
            names,
            trained.mask,
            score_inputs,
            keep=keep,
            rounds=max(map(score_names.published_rounds, names)),
            spacing="exponential",
        )

    return pruned
