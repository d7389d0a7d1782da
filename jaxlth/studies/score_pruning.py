"""Prune by scores, in rounds; or by how many weights each layer is to keep."""

from collections.abc import Iterable
from typing import Any, Literal

import jax
import numpy as np

from jaxlth import masks, prune, settings, trees
from jaxlth.settings import ranges
from jaxlth.studies import scoring

Spacing = Literal["exponential", "linear"]
ROUNDS = ranges.at_least(1, most=100_000, why="each round scores all weights again")


def pruned(
    score: scoring.Score,
    names: Iterable[str],
    mask: masks.Mask,
    given: scoring.ScoreInputs,
    *,
    keep: int | dict[str, int],
    rounds: int,
    spacing: Spacing,
) -> masks.Mask:
    """Return the mask that a score leaves after several rounds, in NumPy.

    Args:
      score: as `scoring.build` returns it.
      names: the scores that it is made of, of which SynFlow is compiled in float64.
      mask: the mask that is pruned.
      given: what the score looks at.
      keep: what the last round keeps.
      rounds: their number.
      spacing: how counts fall.

    Raises:
      ValueError: a score is not a number, or a stack scores all weights alike, at first.
    """
    keeps = falling(mask, keep, rounds=rounds, spacing=spacing)
    with scoring.precision(names):
        weight_scores = scoring.evaluated(score, mask, given)
        _check(weight_scores, mask, tuple(names))
        left = prune.in_rounds(_first_scores, mask, keeps=keeps[:1], args=(weight_scores,))
        return jax.device_get(prune.in_rounds(score, left, keeps=keeps[1:], args=(given,)))


def falling(
    mask: masks.Mask, keep: int | dict[str, int], *, rounds: int, spacing: Spacing
) -> list[Any]:
    """Return what is kept after each of several rounds, of the network or of each tensor.

    Args:
      mask: the mask that is pruned.
      keep: what the last round keeps.
      rounds: their number.
      spacing: how counts fall; see `prune.round_counts`.
    """

    def of(kept: int, least: int) -> list[int]:
        if not least:
            return [0] * rounds
        return prune.round_counts(kept, keep=least, rounds=rounds, spacing=spacing)

    if isinstance(keep, int):
        return of(int(masks.kept(mask)), keep)
    layers = {name: of(int(np.sum(leaf)), keep[name]) for name, leaf in trees.named(mask).items()}
    return [{name: counts[i] for name, counts in layers.items()} for i in range(rounds)]


def _first_scores(_mask: masks.Mask, weight_scores: Any) -> Any:
    """Return scores that are there: of a first round, after they have been looked at."""
    return weight_scores


def _check(weight_scores: Any, mask: masks.Mask, names: tuple[str, ...]) -> None:
    """Raise ValueError where scores do not say which weights to keep.

    A single score may be the same for all weights: training may leave a network without a path.
    Then the first weights are kept.
    """
    values = masks.kept_values(weight_scores, mask)
    lost, name = int(np.sum(np.isnan(values))), "+".join(names)
    settings.require(
        not lost,
        f"The score {name} is not a number for {lost} of {len(values)} weights, so it does not say "
        f"which to keep.{_too_large(names)}",
    )
    settings.require(
        len(names) == 1 or len(values) < 2 or bool(values.min() < values.max()),
        f"The score {name} is {values[:1].sum():g} for all {len(values)} weights, so it does not "
        f"say which to keep.{_too_large(names)}",
    )


def _too_large(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return ""
    return f" The scores of {names[0]} may be too large, or too small, to be weights here."


def counts(name: str, dense: masks.Mask, *, keep: int) -> dict[str, int]:
    """Return how many weights each tensor keeps by a rule of layers, one of `AT_RANDOM`."""
    if name == "smart-ratio":
        order = trees.names(dense)  # that of layers, but for one network
        settings.require(
            not any(each.startswith("Auxiliary") for each in order),
            "The score smart-ratio needs layers in a row; inception-v3 has an auxiliary classifier "
            "beside them.",
        )
        size, (least, most) = masks.size(dense), prune.smart_ratio_range(dense)
        settings.require(
            most < least or least <= keep <= most,
            f"`density` must lie in [{least / size:.6g}, {most / size:.6g}] for the score "
            f"smart-ratio, which keeps 30 % of each dense layer; got {keep / size:.4g}.",
        )
        return prune.smart_ratio(dense, keep=keep, order=order)
    return prune.erdos_renyi(dense, keep=keep, kernel=name == "erdos-renyi-kernel")
