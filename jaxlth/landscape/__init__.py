"""Lines between networks, and other ways of telling how far apart two networks are.

A network is any tree of arrays: parameters, or parameters with batch statistics. A point of the
line from `a` to `b` is their weighted mean, at `alpha` from 0 (`a`) to 1 (`b`). Two networks are
linearly mode connected where the error along the line hardly rises above that of its ends.

References:
  Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis, section 2;
  Frankle 2023, sections 4.1.1 and 4.1.5.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import settings, trees
from jaxlth.landscape.distances import (
    classification_differences,
    cosine_distance,
    l2_distance,
    loss_l2_distance,
)
from jaxlth.settings import ranges

__all__ = [
    "alphas",
    "average",
    "barrier",
    "classification_differences",
    "cosine_distance",
    "errors_along",
    "interpolate",
    "l2_distance",
    "loss_l2_distance",
]


def interpolate(a: Any, b: Any, alpha: float | jax.Array) -> Any:
    """Return the point of the line between two networks: (1 - alpha) a + alpha b, leaf by leaf.

    It is `a` at 0 and `b` at 1 to the bit, and where both are equal their common value everywhere:
    what is pruned in both stays exactly 0, and infinities in both stay. Between finite ends all is
    finite. Types narrower than float32 are computed in it, and rounded once. Leaves of whole
    numbers are those of the nearer end.

    Args:
      a: a tree of arrays.
      b: a tree like it.
      alpha: where on the line; outside [0, 1] the line goes on.

    Raises:
      ValueError: the trees differ; the message names the first leaf that does.

    Example:
      >>> interpolate({"w": jnp.array([0.0, 4.0])}, {"w": jnp.array([1.0, 4.0])}, 0.25)
      {'w': Array([0.25, 4.  ], dtype=float32)}
    """
    trees.check_same(a, b)
    trees.check_numbers(a, name="a", keys=True)
    place = _as_array("alpha", alpha)
    return jax.tree.map(lambda x, y: _point(x, y, place), a, b)


def _as_array(name: str, value: Any) -> jax.Array:
    """Return a number or an array of numbers; TypeError for what is none."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        wanted = f"`{name}` must be a number or an array of numbers"
        raise TypeError(f"{wanted}; got {ranges.shown(value)}.") from error


def _point(x: jax.Array, y: jax.Array, alpha: jax.Array) -> jax.Array:
    """Return (1 - alpha) x + alpha y of two arrays."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    nearer, dtype = alpha < 0.5, jnp.result_type(x, y)
    end = jnp.where(nearer, x, y)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return end
    x32, y32, end32 = (trees.at_least_float32(z.astype(dtype)) for z in (x, y, end))
    weight, difference = alpha.astype(jnp.finfo(x32.dtype).dtype), y32 - x32
    point = jnp.where(nearer, x32 + weight * difference, y32 - (1 - weight) * difference)
    # A difference may overflow where the mean does not. Elsewhere ends and equal numbers come out
    # to the bit, but for -0, and with the gradients that they have on a line.
    overflows, is_end = ~jnp.isfinite(difference), (alpha == 0) | (alpha == 1)
    point = jnp.where(overflows, (1 - weight) * x32 + weight * y32, point).astype(dtype)
    exact = (overflows & (is_end | (x == y))) | (is_end & (end == 0) & jnp.signbit(end32.real))
    return jnp.where(exact, end, point)


def alphas(points: int) -> np.ndarray:
    """Return evenly spaced places on a line, both ends included: (points,) float32.

    Raises:
      ValueError: there are fewer than 2.

    Example:
      >>> alphas(3).tolist()
      [0.0, 0.5, 1.0]
    """
    if _whole("points", points) < 2:
        raise ValueError(f"`points` must be at least 2, the ends of the line; got {points}.")
    return np.linspace(0, 1, points, dtype=np.float32)


def _whole(name: str, value: Any) -> int:
    """Return a whole number as an int; TypeError for what is none."""
    fits = hasattr(value, "__index__") and not isinstance(value, bool) and np.ndim(value) == 0
    settings.check_kind(name, value, fits, "a whole number")
    try:
        return operator.index(value)
    except TypeError as error:  # an array of one float has the method too
        raise TypeError(f"`{name}` must be a whole number; got {ranges.shown(value)}.") from error


def errors_along(
    error_fn: Callable[[Any], jax.Array],
    a: Any,
    b: Any,
    *,
    points: int = 30,
    batch_size: int | None = None,
) -> jax.Array:
    """Return the error at evenly spaced points of the line between two networks, ends included.

    Args:
      error_fn: network -> its error, a scalar in [0, 1]; JAX must be able to trace it.
      a: a tree of arrays.
      b: a tree like it.
      points: number of points, at least 2.
      batch_size: networks that are evaluated side by side, by vmap. By default one after another on
        a CPU, whose caches more would overrun, and all elsewhere.

    Returns:
      (points,) errors, from `a` to `b`.

    Raises:
      ValueError: the trees differ, or there are fewer than 2 points or none side by side.

    Example:
      >>> errors_along(lambda w: jnp.abs(w - 0.5), jnp.array(0.0), jnp.array(1.0), points=3)
      Array([0.5, 0. , 0.5], dtype=float32)

    References:
      Frankle 2023, Algorithm 3 and section 4.1.1; 30 points there.
    """
    settings.check_kind("error_fn", error_fn, callable(error_fn), "a function network -> error")
    trees.check_same(a, b)
    line = jnp.asarray(alphas(points))
    if batch_size is None:
        batch_size = 1 if jax.default_backend() == "cpu" else points
    batch_size = _whole("batch_size", batch_size)
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1; got {batch_size}.")

    def error(alpha: jax.Array) -> jax.Array:
        return error_fn(interpolate(a, b, alpha))

    batch_size = None if batch_size == 1 else min(batch_size, points)
    return jax.lax.map(error, line, batch_size=batch_size)


def barrier(errors: jax.Array) -> jax.Array:
    """Return the error barrier of a path: its worst error less the mean of its ends.

    Of losses along the path it is the loss barrier.

    Args:
      errors: (points,) error in [0, 1], or loss, along the path, both ends included; two at least.

    Returns:
      A scalar in the unit of `errors`, never negative.

    Example:
      >>> float(barrier(jnp.array([0.25, 0.5, 0.25])))
      0.25

    References:
      Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis, section 2.
    """
    errors = _as_array("errors", errors)
    if errors.ndim != 1 or errors.size < 2:
        raise ValueError(f"`errors` must be of shape (points,), 2 at least; got {errors.shape}.")
    return jnp.max(errors) - (errors[0] / 2 + errors[-1] / 2)


def average(networks: Sequence[Any]) -> Any:
    """Return the mean of several networks, weight by weight.

    Whole numbers, such as counters, are those of the first network.

    Args:
      networks: trees of one structure, one at least.

    Raises:
      ValueError: there are none, or two differ.

    Example:
      >>> average([{"w": jnp.array([0.0])}, {"w": jnp.array([1.0])}])
      {'w': Array([0.5], dtype=float32)}

    References:
      Frankle 2023, section 6.2.5.
    """
    several = isinstance(networks, Iterable) and not isinstance(networks, str | Mapping)
    settings.check_kind("networks", networks, several, "a list of networks")

    def leaf_mean(leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf[0]
        mean = jnp.mean(leaf, axis=0)
        # The sum may overflow where the mean does not.
        return jnp.where(jnp.isfinite(mean), mean, jnp.sum(leaf / len(leaf), axis=0))

    return jax.tree.map(leaf_mean, trees.stack(networks))
