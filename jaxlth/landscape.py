"""Lines between networks, and other ways of telling how far apart two networks are.

A network is any tree of arrays: parameters, or parameters with batch statistics. A point of the
line from `a` to `b` is their weighted mean, at `alpha` from 0 (`a`) to 1 (`b`). Two networks are
linearly mode connected where the error along the line hardly rises above that of its ends.

References:
  Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis, section 2;
  Frankle 2023, sections 4.1.1 and 4.1.5.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import masks, trees


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
    return jax.tree.map(lambda x, y: _point(x, y, jnp.asarray(alpha)), a, b)


def _point(x: jax.Array, y: jax.Array, alpha: jax.Array) -> jax.Array:
    """Return (1 - alpha) x + alpha y of two arrays."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    nearer, dtype = alpha < 0.5, jnp.result_type(x, y)
    end = jnp.where(nearer, x, y)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return end
    x32, y32 = (trees.at_least_float32(z.astype(dtype)) for z in (x, y))
    weight, difference = alpha.astype(jnp.finfo(x32.dtype).dtype), y32 - x32
    point = jnp.where(nearer, x32 + weight * difference, y32 - (1 - weight) * difference)
    # A difference may overflow where the mean does not. Elsewhere ends and equal numbers come out
    # to the bit, but for -0, and with the gradients that they have on a line.
    overflows, is_end = ~jnp.isfinite(difference), (alpha == 0) | (alpha == 1)
    point = jnp.where(overflows, (1 - weight) * x32 + weight * y32, point).astype(dtype)
    exact = (overflows & (is_end | (x == y))) | (is_end & (end == 0) & jnp.signbit(end.real))
    return jnp.where(exact, end, point)


def alphas(points: int) -> np.ndarray:
    """Return evenly spaced places on a line, both ends included: (points,) float32.

    Raises:
      ValueError: there are fewer than 2.

    Example:
      >>> alphas(3).tolist()
      [0.0, 0.5, 1.0]
    """
    if operator.index(points) < 2:
        raise ValueError(f"`points` must be at least 2, the ends of the line; got {points}.")
    return np.linspace(0, 1, points, dtype=np.float32)


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
    trees.check_same(a, b)
    line = jnp.asarray(alphas(points))
    if batch_size is None:
        batch_size = 1 if jax.default_backend() == "cpu" else points
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
    errors = jnp.asarray(errors)
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

    def leaf_mean(leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf[0]
        mean = jnp.mean(leaf, axis=0)
        # The sum may overflow where the mean does not.
        return jnp.where(jnp.isfinite(mean), mean, jnp.sum(leaf / len(leaf), axis=0))

    return jax.tree.map(leaf_mean, trees.stack(networks))


def l2_distance(a: Any, b: Any, *, mask: masks.Mask | None = None) -> jax.Array:
    """Return the Euclidean distance between the weights of two networks.

    Numbers that are equal in both are at distance 0, infinities too; of complex numbers the
    magnitude of the difference counts. Computed in float32, or float64 where a leaf has 64 bits.

    Args:
      a: a tree of arrays.
      b: a tree like it.
      mask: a mask for both, to leave pruned weights out; None to take them as they are.

    Returns:
      A scalar, at least 0.

    Raises:
      ValueError: the trees differ; the message names the first leaf that does.

    Example:
      >>> float(l2_distance({"w": jnp.array([3.0, 0.0])}, {"w": jnp.array([0.0, 4.0])}))
      5.0

    References:
      Frankle 2023, section 4.1.5.
    """
    a, b, dtype = _masked(a, b, mask)
    return _norm([_difference(x, y, dtype) for x, y in zip(a, b, strict=True)], dtype)


def cosine_distance(a: Any, b: Any, *, mask: masks.Mask | None = None) -> jax.Array:
    """Return 1 - cosine of the angle between the weights of two networks, as vectors.

    Complex numbers count as two real ones, as in `l2_distance`, whose precision it has.

    Args:
      a: a tree of arrays, not all of them 0.
      b: a tree like it, likewise.
      mask: a mask for both, to leave pruned weights out; None to take them as they are.

    Returns:
      A scalar in [0, 2]; NaN where one of the networks has only zeros, or an infinity.

    Raises:
      ValueError: the trees differ; the message names the first leaf that does.

    Example:
      >>> a, b = {"w": jnp.array([2.0, 0.0])}, {"w": jnp.array([0.0, 4.0])}
      >>> round(float(cosine_distance(a, b)), 6)
      1.0

    References:
      Frankle 2023, section 4.1.5.
    """
    a, b, dtype = _masked(a, b, mask)
    a, b = (_in_range([_as_float(leaf, dtype) for leaf in leaves], dtype) for leaves in (a, b))
    # Half the squared distance of unit vectors: 1 - a.b would lose all digits of a small angle.
    lengths = _norm(a, dtype), _norm(b, dtype)
    difference = [x / lengths[0] - y / lengths[1] for x, y in zip(a, b, strict=True)]
    return jnp.square(_norm(difference, dtype)) / 2


def classification_differences(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the number of examples that two networks classify differently.

    Args:
      a: (n, classes) outputs of a network.
      b: (n, classes) outputs of another one on the same examples.

    Returns:
      A whole number in 0..n.

    Raises:
      ValueError: the shapes differ, or have no axis of classes.

    Example:
      >>> a, b = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[1.0, 0.0], [1.0, 0.0]])
      >>> int(classification_differences(a, b))
      1

    References:
      Frankle 2023, section 4.1.5.
    """
    if np.shape(a) != np.shape(b) or np.ndim(a) != 2:
        raise ValueError(
            f"`a` and `b` must be outputs of one shape (n, classes); got {np.shape(a)} and "
            f"{np.shape(b)}."
        )
    return jnp.sum(jnp.argmax(a, axis=1) != jnp.argmax(b, axis=1), dtype=jnp.int32)


def loss_l2_distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the Euclidean distance between the losses of two networks, example by example.

    Args:
      a: (n,) loss of a network on each example.
      b: (n,) loss of another one on the same examples.

    Returns:
      A scalar in the unit of the losses, at least 0.

    Raises:
      ValueError: the shapes differ, or have more axes.

    Example:
      >>> float(loss_l2_distance(jnp.array([3.0, 0.0]), jnp.array([0.0, 4.0])))
      5.0

    References:
      Frankle 2023, section 4.1.5.
    """
    if np.shape(a) != np.shape(b) or np.ndim(a) != 1:
        raise ValueError(
            f"`a` and `b` must be losses of one shape (n,); got {np.shape(a)} and {np.shape(b)}."
        )
    a, b = jnp.asarray(a), jnp.asarray(b)
    dtype = _precision([a, b])
    difference = _difference(a, b, dtype)
    total, tiny = jnp.sum(jnp.square(difference)), jnp.finfo(dtype).tiny / jnp.finfo(dtype).eps
    # Scaled only where squares overflow, or lose what they have below the smallest number.
    safe = jnp.isfinite(total) & (total > tiny)
    return jnp.where(safe, jnp.sqrt(total), _norm([difference], dtype))


def _masked(
    a: Any, b: Any, mask: masks.Mask | None
) -> tuple[list[jax.Array], list[jax.Array], jax.typing.DTypeLike]:
    """Return the leaves of two trees, under a mask if there is one, and the type to compute in."""
    trees.check_same(a, b)
    if mask is not None:
        a, b = masks.apply(a, mask), masks.apply(b, mask)
    a, b = ([jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)] for tree in (a, b))
    return a, b, _precision([*a, *b])


def _precision(leaves: Sequence[jax.Array]) -> jax.typing.DTypeLike:
    """Return float64 where a leaf has numbers of 64 bits, as in JAX's x64 mode, else float32."""
    kinds_of_64_bits = (jnp.float64, jnp.complex128, jnp.int64, jnp.uint64)
    return jnp.float64 if any(leaf.dtype in kinds_of_64_bits for leaf in leaves) else jnp.float32


def _difference(x: jax.Array, y: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Return the difference of two arrays up to its sign; 0 where they are equal, as infinities."""
    if x.dtype == y.dtype and jnp.issubdtype(x.dtype, jnp.integer):
        # Exact before it is rounded: the bits of a difference that wraps are those of an unsigned.
        magnitude = jnp.where(x > y, x - y, y - x)
        return magnitude.view(f"uint{8 * x.dtype.itemsize}").astype(dtype)
    float_x, float_y = _as_float(x, dtype), _as_float(y, dtype)
    return jnp.where(float_x == float_y, 0, float_x - float_y)


def _as_float(x: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Return an array in the type to compute in, or the complex one of its precision."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return x.astype(jnp.complex128 if dtype == jnp.float64 else jnp.complex64)
    return x.astype(dtype)


def _in_range(leaves: Sequence[jax.Array], dtype: jax.typing.DTypeLike) -> list[jax.Array]:
    """Return arrays times a power of two, mostly 1, so that their norm does not overflow."""
    most, power = _largest_magnitude(leaves, dtype), 2.0 ** (jnp.finfo(dtype).maxexp // 2)
    is_small = (most > 0) & (most < 1 / power)
    factor = jnp.where(most > power, 1 / power, jnp.where(is_small, power, 1)).astype(dtype)
    return [leaf * factor for leaf in leaves]


def _largest_magnitude(leaves: Sequence[jax.Array], dtype: jax.typing.DTypeLike) -> jax.Array:
    """Return the largest magnitude of all leaves, 0 where there is none."""
    return jnp.max(jnp.array([0.0, *(jnp.max(jnp.abs(x), initial=0.0) for x in leaves)], dtype))


def _norm(leaves: Sequence[jax.Array], dtype: jax.typing.DTypeLike) -> jax.Array:
    """Return the Euclidean norm of all leaves together, each scaled so that nothing overflows."""
    most = _largest_magnitude(leaves, dtype)
    scale = jnp.where((most > 0) & jnp.isfinite(most), most, 1)
    squares = [jnp.sum(jnp.square(jnp.abs(leaf) / scale)) for leaf in leaves]
    return scale * jnp.sqrt(sum(squares, start=jnp.zeros((), dtype)))
