"""Distances between two networks: of their weights, their classes and their losses."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import masks, trees
from jaxlth.trees import floats


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
    return jnp.minimum(jnp.square(_norm(difference, dtype)) / 2, 2)


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
    trees.check_numbers(a, name="a")
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
    scale = floats.divisor(_largest_magnitude(leaves, dtype))
    squares = [jnp.sum(jnp.square(jnp.abs(leaf) / scale)) for leaf in leaves]
    return scale * jnp.sqrt(sum(squares, start=jnp.zeros((), dtype)))
