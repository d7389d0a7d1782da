"""The number of weights kept: at each level, in each round, along a trajectory."""

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

_SLACK = Fraction(1, 10**6)  # weights; above what the 16 digits of a rate can miss


def keep_counts(size: int, *, levels: int, fraction: float) -> list[int]:
    """Return the number of weights that each level keeps: round(size * (1 - fraction)**level).

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
    size, levels = check_int("size", size, 1), check_int("levels", levels, 0)
    kept_share = 1 - check_share("fraction", fraction)
    return _falling((round(size * kept_share**level) for level in range(levels + 1)), levels)


Spacing: TypeAlias = Literal["exponential", "linear", "cubic"]
SPACINGS = ("exponential", "linear", "cubic")


def round_counts(
    kept: int, *, keep: int, rounds: int, spacing: Spacing = "exponential"
) -> list[int]:
    """Return the number of weights that each of several rounds of scoring and pruning keeps.

    Densities fall by the same factor in each round, by the same amount, or as the cube of the
    rounds that are left. Counts are rounded to the nearest, so neighbouring rounds may keep as
    many.

    Args:
      kept: Weights kept before the first round, at least 1.
      keep: Weights kept after the last one, in 1..kept.
      rounds: Number of rounds, at least 1.
      spacing: "exponential" as SynFlow, "linear", or "cubic" as Zhu & Gupta.

    Returns:
      `rounds` counts, never rising, `keep` last.

    Raises:
      ValueError: an argument lies outside its range.

    Example:
      >>> round_counts(1000, keep=1, rounds=3), round_counts(1000, keep=100, rounds=3,
      ...                                                    spacing="linear")
      ([100, 10, 1], [700, 400, 100])

    References:
      Frankle 2023, section 5.2; Tanaka et al. 2020, Algorithm 1; Zhu & Gupta 2018, equation 1.
    """
    kept, keep = check_int("kept", kept, 1), check_int("keep", keep, 1)
    rounds = check_int("rounds", rounds, 1)
    if keep > kept:
        raise ValueError(f"`keep` must be at most the {kept} weights kept so far; got {keep}.")
    if spacing not in SPACINGS:
        raise ValueError(f"`spacing` must be one of {', '.join(SPACINGS)}; got {spacing!r}.")
    return list(spaced(kept, keep, rounds, spacing))


@functools.lru_cache(maxsize=64)  # a loop of optax that is not jitted asks at every step
def spaced(
    kept: int, keep: int, rounds: int, spacing: Spacing, share: float = 0.0
) -> tuple[int, ...]:
    """Return `round_counts` of arguments within their ranges; 0 weights may be kept, too.

    Args:
      kept: as in `round_counts`.
      keep: as there, from 0.
      rounds: as there.
      spacing: as there.
      share: of the density before the first round, that after the last; it counts where densities
        fall by the same factor and `keep`, which is rounded, is 0.
    """
    if spacing == "exponential" and kept:
        share = keep / kept if keep else share
        counts = [round(kept * share ** (n / rounds)) for n in range(1, rounds)]
        return *(min(max(count, keep), kept) for count in counts), keep
    power = 3 if spacing == "cubic" else 1
    whole = rounds**power
    left = ((rounds - n) ** power for n in range(1, rounds + 1))
    return tuple(_rounded(keep * whole + (kept - keep) * part, whole) for part in left)


def _rounded(numerator: int, denominator: int) -> int:
    """Return the whole number nearest to a fraction, as `round` of it, in less time."""
    count, rest = divmod(numerator, denominator)
    return count + (2 * rest > denominator or (2 * rest == denominator and count % 2))


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
    `keep_counts` rounds to the nearest. Without a `size` it is the least that ends in `target`.

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
    size = None if size is None else check_int("size", size, 2)
    levels = None if levels is None else check_int("levels", levels, 1)
    target = None if target is None else check_int("target", target, 1)
    kept_share = None if rate is None else 1 - check_share("rate", rate)
    if size and target and target >= size:
        raise ValueError(f"`target` must be less than `size` ({size}); got {target}.")
    if size and levels and target and rate is None:
        counts = (_root(size ** (levels - i) * target**i, levels) for i in range(levels + 1))
        rate_for_target = 1 - (target / size) ** (1 / levels)
        return Trajectory(size, levels, rate_for_target, target, _falling(counts, levels))
    if levels and kept_share and target and size is None:
        size = math.ceil((target - _SLACK) / kept_share**levels)
    if size and kept_share and target and levels is None:
        levels = max(1, math.floor(math.log((target + 1) / size) / math.log(kept_share)))
        while _floor(size * kept_share**levels) > target:
            levels += 1
    if size is None or levels is None or rate is None or kept_share is None:
        raise ValueError("Three of `size`, `levels`, `rate` and `target` must be given.")
    counts = _falling((_floor(size * kept_share**level) for level in range(levels + 1)), levels)
    if target not in (None, counts[-1]):
        raise ValueError(
            f"`target` {target} does not agree with `size` {size} and `rate` {rate}: "
            f"level {levels - 1} keeps {counts[-2]} and level {levels} keeps {counts[-1]}."
        )
    return Trajectory(size, levels, float(rate), counts[-1], counts)


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
    falling: list[int] = []
    for level, count in enumerate(counts):
        if level and not 0 < count < falling[-1]:
            keeps = f"{count}, as level {level - 1} does" if count else "nothing"
            raise ValueError(
                f"`levels` must be at most {level - 1} for a size of {falling[0]}; got {levels}, "
                f"but level {level} would keep {keeps}."
            )
        falling.append(count)
    return falling


def share_of(size: int, density: float) -> int:
    """Return round(density * size), exact in the decimal number that `density` prints as."""
    return round(decimal(density) * size)


def decimal(number: Any) -> Fraction:
    """Return the shortest decimal number that is this one in its type, as which floats print.

    Example:
      >>> decimal(0.1), decimal(np.float32(0.1))
      (Fraction(1, 10), Fraction(1, 10))
    """
    if not hasattr(number, "dtype"):
        return Fraction(repr(float(number)))
    array = np.asarray(number)
    texts = (f"{float(array):.{digits}g}" for digits in range(1, 18))
    same = (text for text in texts if np.float64(text).astype(array.dtype) == array)
    return Fraction(next(same, repr(float(array))))


def check_int(argument: str, value: int, least: int) -> int:
    """Return `value` as an int if it is a whole number of at least `least`."""
    try:
        value = operator.index(value)
    except TypeError as error:
        raise TypeError(f"`{argument}` must be a whole number; got {value!r}.") from error
    if value < least:
        raise ValueError(f"`{argument}` must be at least {least}; got {value}.")
    return value


def check_share(argument: str, value: float) -> Fraction:
    """Return `value` as the decimal number it prints as, if it lies in (0, 1)."""
    if not 0 < value < 1:
        raise ValueError(f"`{argument}` must lie in (0, 1), both ends excluded; got {value}.")
    return decimal(value)


def extension(shape: Sequence[int], *, levels: int, rate: float) -> list[tuple[int, ...]]:
    """Return the shapes of perceptrons that, pruned i times, have as many weights as a base.

    Level i has as many inputs, outputs and hidden layers as the base, the latter of one width: the
    nearest whole number to that of size / (1 - rate)**i weights.

    Args:
      shape: widths of the base from inputs to outputs, such as (4, 8, 8, 2); its hidden layers are
        of one width.
      levels: number of extensions, at least 0.
      rate: share of the weights that each pruning removes, in (0, 1).

    Returns:
      The shapes of levels 0 to `levels`.

    Raises:
      ValueError: a width is below 1, hidden layers are missing or differ, or `levels` or `rate` lie
        outside their ranges.

    Example:
      >>> extension((4, 8, 8, 2), levels=2, rate=0.32)
      [(4, 8, 8, 2), (4, 10, 10, 2), (4, 13, 13, 2)]

    References:
      Burger 2024, section 3.3 and Table 4.1.
    """
    if len(shape) < 3:
        raise ValueError(
            f"`shape` must have inputs, hidden layers and outputs; got {tuple(shape)}."
        )
    inputs, *hidden, outputs = (check_int("shape", width, 1) for width in shape)
    if len(set(hidden)) != 1:
        raise ValueError(
            "`shape` must have hidden layers of one width between inputs and outputs; got "
            f"{tuple(shape)}."
        )
    levels = check_int("levels", levels, 0)
    check_share("rate", rate)
    inner, num_ends = len(hidden) - 1, inputs + outputs
    size = inner * hidden[0] ** 2 + num_ends * hidden[0]
    shapes = [(inputs, *hidden, outputs)]
    for level in range(1, levels + 1):
        level_size = size / (1 - rate) ** level
        # The positive root of inner * w**2 + ends * w = wanted, in a form that bears inner = 0.
        width = 2 * level_size / (num_ends + math.sqrt(num_ends**2 + 4 * inner * level_size))
        shapes.append((inputs, *[round(width)] * len(hidden), outputs))
    return shapes
