"""Pruning: from scores and a count to a mask, and the counts of all levels.

Weights are selected by count, never by threshold: exactly as many survive as asked for, ties go to
the lower position (order of `jax.tree.leaves`, then row-major), and what a mask has pruned stays
pruned. So the masks of successive levels are nested.
"""

import contextlib
import difflib
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxlth import masks, selection, trees


def global_topk(scores: Any, mask: masks.Mask, *, keep: int | jax.Array) -> masks.Mask:
    """Return the mask of the `keep` highest scores among all weights that `mask` keeps.

    Exactly `keep` weights survive, each of them kept by `mask`. Ties go to the lower position; NaN
    is the lowest score, below minus infinity, and 0.0 equals -0.0. Scores of weights that are
    pruned, or never pruned, do not matter. Works under jit and vmap; no new `keep` recompiles.

    Args:
      scores: Tree of floats like the parameters; float64 is compared as such in any mode of JAX.
      mask: The mask to prune, with fewer than 2**31 prunable weights.
      keep: How many weights survive, in 0..kept(mask). If it is traced, the nearest end of that
        range stands for a number outside it.

    Raises:
      ValueError: the trees do not fit, or `keep` lies outside its range.
      TypeError: `scores` are not floats, `mask` is not boolean, or `keep` is not a whole number.

    Example:
      >>> mask = masks.dense({"w": jnp.zeros((1, 3))})
      >>> global_topk({"w": jnp.array([[1.0, 3.0, 2.0]])}, mask, keep=2)
      {'w': Array([[False,  True,  True]], dtype=bool)}
    """
    values, among, structure = _pairs(scores, mask)
    _check_keep(keep, among, argument="keep", within="mask")
    return jax.tree.unflatten(structure, _largest(values, among, keep))


def layerwise_topk(
    scores: Any, mask: masks.Mask, *, keep: float | Mapping[str, int | jax.Array]
) -> masks.Mask:
    """Return the mask of the highest scores of each tensor among the weights `mask` keeps there.

    Args:
      scores: Tree of floats like the parameters, as in `global_topk`.
      mask: The mask to prune.
      keep: The count for each prunable tensor by name, in 0..kept there, as in `global_topk`; or
        one density in [0, 1] for all. A density is a share of what is prunable in a tensor, not of
        what is still kept: round(density * size) weights survive, or all that are kept there if
        those are fewer.

    Raises:
      ValueError: the trees do not fit, `keep` does not name exactly the prunable tensors, or a
        number lies outside its range.
      TypeError: `scores` are not floats, `mask` is not boolean, or a count is not a whole number.

    Example:
      >>> mask = masks.dense({"w1": jnp.zeros((1, 2)), "w2": jnp.zeros((1, 2))})
      >>> scores = {"w1": jnp.array([[1.0, 2.0]]), "w2": jnp.array([[4.0, 3.0]])}
      >>> layerwise_topk(scores, mask, keep=0.5)["w1"].tolist()
      [[False, True]]
    """
    values, among, structure = _pairs(scores, mask)
    names = trees.names(mask)
    counts = _layer_counts(dict(zip(names, among, strict=True)), keep)
    chosen = [
        _largest([value], [live], counts[name])[0]
        for name, value, live in zip(names, values, among, strict=True)
    ]
    return jax.tree.unflatten(structure, chosen)


def keep_counts(size: int, *, levels: int, fraction: float) -> list[int]:
    """Return how many weights each level keeps: round(size * (1 - fraction)**level).

    The arithmetic is exact in the decimal number that `fraction` prints as; halves go to the even
    number. Counts are of the dense network, so rounding does not build up over levels.

    Args:
      size: Number of prunable weights, at least 1.
      levels: Number of prunings, from 0.
      fraction: Share of the weights kept so far that each pruning removes, in (0, 1).

    Returns:
      levels + 1 counts, strictly falling, that of level 0 (`size`) first.

    Raises:
      ValueError: an argument lies outside its range, or there are more levels than the weights
        allow: one would keep nothing, or as much as the level before it.

    Example:
      >>> keep_counts(1000, levels=4, fraction=0.2)
      [1000, 800, 640, 512, 410]

    References:
      Frankle 2023, The Lottery Ticket Hypothesis: On Sparse, Trainable Neural Networks,
      section 3.2.
    """
    size, levels = _whole("size", size, 1), _whole("levels", levels, 0)
    stay = 1 - _share("fraction", fraction)
    return _falling((round(size * stay**level) for level in range(levels + 1)), levels)


def round_counts(
    kept: int, *, keep: int, rounds: int, spacing: Literal["exponential", "linear"] = "exponential"
) -> list[int]:
    """Return how many weights each of several rounds of scoring and pruning keeps.

    Densities fall by the same factor in each round, or by the same amount; counts are rounded to
    the nearest, so neighbouring rounds may keep as many.

    Args:
      kept: Weights kept before the first round, at least 1.
      keep: Weights kept after the last one, in 1..kept.
      rounds: Number of rounds, at least 1.
      spacing: "exponential" as SynFlow, or "linear".

    Returns:
      `rounds` counts, never rising, `keep` last.

    Raises:
      ValueError: an argument lies outside its range.

    Example:
      >>> round_counts(1000, keep=1, rounds=3), round_counts(1000, keep=100, rounds=3,
      ...                                                    spacing="linear")
      ([100, 10, 1], [700, 400, 100])

    References:
      Frankle 2023, section 5.2; Tanaka et al. 2020, Algorithm 1.
    """
    kept, keep = _whole("kept", kept, 1), _whole("keep", keep, 1)
    rounds = _whole("rounds", rounds, 1)
    if keep > kept:
        raise ValueError(f"`keep` must be at most the {kept} weights kept so far; got {keep}.")
    if spacing not in ("exponential", "linear"):
        raise ValueError(f'`spacing` must be "exponential" or "linear"; got {spacing!r}.')
    if spacing == "linear":
        return [round(kept - Fraction((kept - keep) * n, rounds)) for n in range(1, rounds + 1)]
    found = [round(kept * (keep / kept) ** (n / rounds)) for n in range(1, rounds)]
    return [*(min(max(count, keep), kept) for count in found), keep]


def in_rounds(
    score: Callable[[masks.Mask], Any],
    mask: masks.Mask,
    *,
    keeps: Sequence[Any],
    select: Callable[..., masks.Mask] = global_topk,
) -> masks.Mask:
    """Return the mask after several rounds of scoring what is left and pruning it.

    One round is compiled, once, whatever their number; convolutions are fast on CPU so.

    Args:
      score: mask -> scores of the network so masked, of the same shapes each time; jitted here.
      mask: What is kept before.
      keeps: For each round what `select` takes as `keep`: counts of `round_counts`, say.
      select: `global_topk`; or `layerwise_topk`, with a count for each tensor by name.

    Raises:
      ValueError: a count is more than what is kept before, or as for `select`.

    Example:
      >>> mask = in_rounds(lambda mask: {"w": jnp.arange(4.0)}, {"w": jnp.ones(4, bool)},
      ...                  keeps=[3, 2])
      >>> mask["w"].tolist()
      [False, False, True, True]
    """
    step = jax.jit(lambda mask, keep: select(score(mask), mask, keep=keep))
    limit: Any = None if select is not global_topk else int(masks.kept(mask))
    for keep in keeps:
        if limit is not None and not 0 <= keep <= limit:
            raise ValueError(f"`keeps` must lie in 0..{limit} and never rise; got {list(keeps)}.")
        limit = keep if limit is not None else None
        mask = step(mask, keep)
    return mask


class Trajectory(NamedTuple):
    """The numbers of prunable weights from level to level, and what fixes them."""

    size: int  # prunable weights at level 0
    levels: int  # number of prunings
    rate: float  # share of the weights kept that each pruning removes, in (0, 1)
    target: int  # weights kept after the last pruning
    counts: list[int]  # weights kept at each level, size first and target last


def trajectory(
    *,
    size: int | None = None,
    levels: int | None = None,
    rate: float | None = None,
    target: int | None = None,
) -> Trajectory:
    """Return the parameter trajectory that three of its four values fix.

    Level i keeps size * (1 - rate)**i weights, rounded down as the thesis prints them, where
    `keep_counts` rounds to the nearest. A size to be found is the least that ends in `target`.

    Args:
      size: Number of prunable weights, at least 2.
      levels: Number of prunings, at least 1.
      rate: Share of the weights kept so far that each pruning removes, in (0, 1).
      target: Number of weights kept in the end, in 1..size-1.

    Raises:
      ValueError: fewer than three values are given, one lies outside its range, no whole number of
        levels or weights fits the others, four do not agree, or a level would make no progress.

    Example:
      >>> trajectory(size=1000, levels=6, target=200).counts
      [1000, 764, 584, 447, 341, 261, 200]

    References:
      Burger 2024, sections 3.2.1 and 3.3.
    """
    size = None if size is None else _whole("size", size, 2)
    levels = None if levels is None else _whole("levels", levels, 1)
    target = None if target is None else _whole("target", target, 1)
    stay = None if rate is None else 1 - _share("rate", rate)
    if size and target and target >= size:
        raise ValueError(f"`target` must be less than `size` ({size}); got {target}.")
    if size and levels and target and rate is None:
        kept = (_root(size ** (levels - i) * target**i, levels) for i in range(levels + 1))
        solved = 1 - (target / size) ** (1 / levels)
        return Trajectory(size, levels, solved, target, _falling(kept, levels))
    if levels and stay and target and size is None:
        size = math.ceil((target - _SLACK) / stay**levels)
    if size and stay and target and levels is None:
        levels = max(1, math.floor(math.log((target + 1) / size) / math.log(stay)))
        while _floor(size * stay**levels) > target:
            levels += 1
    if size is None or levels is None or rate is None or stay is None:
        raise ValueError("Three of `size`, `levels`, `rate` and `target` must be given.")
    counts = _falling((_floor(size * stay**level) for level in range(levels + 1)), levels)
    if target not in (None, counts[-1]):
        raise ValueError(
            f"`target` {target} does not agree with `size` {size} and `rate` {rate}: "
            f"level {levels - 1} keeps {counts[-2]} and level {levels} keeps {counts[-1]}."
        )
    return Trajectory(size, levels, float(rate), counts[-1], counts)


_SLACK = Fraction(1, 10**6)  # weights; above what the 16 digits of a rate can miss


def _floor(number: Fraction) -> int:
    """Return the whole number below, or the one above where only the rate's digits miss it."""
    return math.floor(number + _SLACK)


def _root(number: int, degree: int) -> int:
    """Return the largest whole number whose power of `degree` does not exceed `number`."""
    low, high = 0, 1 << (number.bit_length() // degree + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**degree <= number else (low, middle)
    return low


def _falling(counts: Iterable[int], levels: int) -> list[int]:
    """Return the counts as a list if each level keeps something and less than the one before."""
    found: list[int] = []
    for level, count in enumerate(counts):
        if level and not 0 < count < found[-1]:
            keeps = f"{count}, as level {level - 1} does" if count else "nothing"
            raise ValueError(
                f"`levels` must be at most {level - 1} for a size of {found[0]}; got {levels}, "
                f"but level {level} would keep {keeps}."
            )
        found.append(count)
    return found


def _whole(argument: str, value: int, least: int) -> int:
    """Return `value` as an int if it is a whole number of at least `least`."""
    try:
        value = operator.index(value)
    except TypeError as error:
        raise TypeError(f"`{argument}` must be a whole number; got {value!r}.") from error
    if value < least:
        raise ValueError(f"`{argument}` must be at least {least}; got {value}.")
    return value


def _share(argument: str, value: float) -> Fraction:
    """Return `value` as the decimal number it prints as, if it lies in (0, 1)."""
    if not 0 < value < 1:
        raise ValueError(f"`{argument}` must lie in (0, 1), both ends excluded; got {value}.")
    return Fraction(repr(float(value)))


def _largest(values: list[Any], among: list[Any], keep: Any) -> list[Any]:
    wide = any(getattr(value, "dtype", None) == np.float64 for value in values)
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        return selection.largest(values, among, keep)


def _pairs(scores: Any, mask: masks.Mask) -> tuple[list[Any], list[Any], Any]:
    """Return scores and mask of the prunable tensors, and the structure of the mask."""
    values = jax.tree.leaves(masks.prunable(scores, mask, name="scores"))
    for name, value in zip(trees.names(mask), values, strict=True):
        if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise TypeError(f"`scores` must be floats; leaf {name!r} is {jnp.result_type(value)}.")
    among, structure = jax.tree.flatten(mask)
    return values, among, structure


def _layer_counts(
    among: Mapping[str, jax.Array], keep: float | Mapping[str, int | jax.Array]
) -> dict[str, int | jax.Array]:
    """Return the count for each tensor; one from a density may exceed what is kept there."""
    if not isinstance(keep, Mapping):
        if not 0 <= keep <= 1:
            raise ValueError(f"`keep` must be a density in [0, 1], or counts by name; got {keep}.")
        density = Fraction(repr(float(keep)))
        return {name: round(density * live.size) for name, live in among.items()}
    for name in keep:
        if name not in among:
            close = difflib.get_close_matches(name, list(among), n=1, cutoff=0.0)
            hint = f" The closest is {close[0]!r}." if close else ""
            raise ValueError(f"`keep` names {name!r}, which is no prunable tensor.{hint}")
    for name, live in among.items():
        if name not in keep:
            raise ValueError(f"`keep` must name every prunable tensor; {name!r} is missing.")
        _check_keep(keep[name], live, argument=f"keep[{name!r}]", within="tensor")
    return dict(keep)


def _check_keep(keep: Any, mask: masks.Mask, *, argument: str, within: str) -> None:
    """Raise unless `keep` is a whole number in 0..kept(mask), as far as tracing lets one see."""
    if not jnp.issubdtype(jnp.result_type(keep), jnp.integer):
        raise TypeError(f"`{argument}` must be a whole number of weights; got {keep!r}.")
    if isinstance(keep, jax.core.Tracer):
        return
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(mask))
    limit = masks.size(mask) if traced else int(masks.kept(mask))
    if not 0 <= keep <= limit:
        raise ValueError(
            f"`{argument}` must lie in 0..{limit}, what the {within} keeps; got {int(keep)}."
        )
