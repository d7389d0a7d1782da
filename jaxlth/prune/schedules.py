"""Schedules: how many weights a training keeps at each of its steps, and when its mask changes."""

import dataclasses
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth.prune.counts import check_int, share_of, spaced

Kind: TypeAlias = Literal["one-shot", "exponential", "linear", "cubic", "constant"]
KINDS = ("one-shot", "exponential", "linear", "cubic", "constant")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """When the mask of a training changes, and how many weights it keeps then.

    The mask changes at the steps begin, begin + every, ..., up to `end`. All weights are kept
    before `begin`; the last change leaves round(density * size) of them. "one-shot" changes it
    once, at `begin`. "cubic" is the schedule of Zhu & Gupta: the density falls fast at first.
    "constant" keeps as many from the start: for masks that grow as much as they lose.

    Raises:
      ValueError: a setting lies outside its range.

    Example:
      >>> schedule = Schedule(density=0.1, kind="linear", begin=10, end=30, every=10)
      >>> [int(keep_at(step, schedule, size=100)) for step in (9, 10, 19, 20, 30, 99)]
      [100, 100, 100, 55, 10, 10]

    References:
      Zhu & Gupta 2018, To Prune, or Not to Prune, equation 1; Evci et al. 2020, Rigging the
      Lottery, section 3.
    """

    density: float  # in the end, in (0, 1]
    kind: Kind = "cubic"  # how the density falls, see above
    begin: int = 0  # step of the first change
    end: int | None = None  # no change after this step; `begin` if one-shot
    every: int = 1  # steps between changes
    initial: float = 1.0  # density at `begin`, of the gradual kinds
    fraction: float = 0.3  # of the kept weights that growth exchanges first; falls to 0 at `end`

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}; got {self.kind!r}.")
        check_int("begin", self.begin, 0)
        check_int("every", self.every, 1)
        if self.end is None and self.kind != "one-shot":
            raise ValueError(
                f"`end` must be given: the last step at which a {self.kind} mask may change."
            )
        check_int("end", self.last, self.begin)
        for name in ("density", "initial", "fraction"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ValueError(f"`{name}` must lie in (0, 1]; got {value}.")
        if self.initial < self.density:
            raise ValueError(
                f"`density` must be at most `initial`, {self.initial}; got {self.density}."
            )

    @property
    def last(self) -> int:
        """The last step at which the mask may change."""
        return self.begin if self.end is None or self.kind == "one-shot" else self.end

    def counts(self, size: int, *, initial: int, final: int) -> list[int]:
        """Return the weights kept before the first change, then after each.

        Args:
          size: Number of prunable weights.
          initial: Weights kept at `begin` by the gradual kinds.
          final: Weights kept in the end.
        """
        if self.kind == "constant":
            return [final]
        if self.kind == "one-shot":
            return [size, final]
        rounds = (self.last - self.begin) // self.every
        share = float(self.density) / float(self.initial)
        between = spaced(initial, final, int(rounds), self.kind, share) if rounds else [final]
        return [size, *([initial] if rounds else []), *between]


def keep_at(step: int | jax.Array, schedule: Schedule, *, size: int) -> jax.Array:
    """Return the number of weights kept from a step on, until the next.

    Counts are exact: computed in whole numbers, rounded to the nearest, halves to the even one.

    Args:
      step: Steps before this one; it may be traced.
      schedule: When and how densities fall.
      size: Number of prunable weights, below 2**31.

    Returns:
      An int32 scalar.

    Raises:
      ValueError: `size` is 2**31 or more, which int32 does not count.

    Example:
      >>> schedule = Schedule(density=0.125, kind="cubic", end=40, every=10)
      >>> [int(keep_at(step, schedule, size=64)) for step in (0, 10, 20, 30, 40)]
      [64, 32, 15, 9, 8]
    """
    if check_int("size", size, 0) >= 2**31:
        raise ValueError(f"`size` must be below 2**31, what int32 counts; got {size}.")
    initial, final = (share_of(size, density) for density in (schedule.initial, schedule.density))
    return count_at(step, schedule, schedule.counts(size, initial=initial, final=final))


def count_at(step: int | jax.Array, schedule: Schedule, counts: list[int]) -> jax.Array:
    """Return the one of `Schedule.counts` that holds at a step."""
    place = (jnp.asarray(step, jnp.int32) - schedule.begin) // schedule.every + 1
    return jnp.asarray(np.array(counts, np.int32))[jnp.clip(place, 0, len(counts) - 1)]


def is_due(step: jax.Array, schedule: Schedule) -> jax.Array:
    """Return whether the mask changes at a step."""
    elapsed = step - schedule.begin
    return (elapsed >= 0) & (step <= schedule.last) & (elapsed % schedule.every == 0)


def fraction_at(step: jax.Array, schedule: Schedule) -> jax.Array:
    """Return the share of the kept weights that growth exchanges at a step: a cosine down to 0.

    References:
      Evci et al. 2020, section 3, "Update schedule".
    """
    share = step.astype(jnp.float32) / max(schedule.last, 1)
    return schedule.fraction / 2 * (1 + jnp.cos(jnp.pi * jnp.minimum(share, 1)))
