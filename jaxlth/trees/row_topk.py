"""Exact selection of the largest numbers of every row of an array, without sorting; see `topk`."""

import jax
import jax.numpy as jnp

from jaxlth.trees import bisection, floats

SHORT = 16  # numbers of a row up to which each is compared with each other one


def largest_in_rows(values: jax.Array, among: jax.Array, keep: int) -> jax.Array:
    """Return the mask of the `keep` largest values of each row, the last axis.

    Values are compared, and ties resolved, as in `topk.largest`.

    Args:
      values: (..., width) floats.
      among: (..., width) bool; only where it is True can a value be selected.
      keep: How many to select of each row; all of `among` where those are fewer.

    Example:
      >>> largest_in_rows(jnp.array([[1.0, 3.0, 3.0]]), jnp.ones((1, 3), bool), 1).tolist()
      [[False, True, False]]
    """
    images = bisection.image(values.astype(floats.widest([values])), among)
    if images.shape[-1] <= SHORT:
        return (images > 0) & (_ranks(images) < keep)
    places = jnp.minimum(keep, _count(images > 0))
    bits, unsigned = 8 * images.dtype.itemsize, images.dtype.type

    def fix_bit(step: jax.Array, number: jax.Array) -> jax.Array:
        bit = jnp.left_shift(jnp.ones_like(number), jnp.asarray(bits - 1 - step, number.dtype))
        return jnp.where(_count(images >= (number | bit)) >= places, number | bit, number)

    # The largest number that as many images reach, in each row.
    least = jax.lax.fori_loop(0, bits, fix_bit, jnp.zeros(places.shape, unsigned))
    above, ties = images > least, (images == least) & (images > 0)
    before = jnp.cumsum(ties, axis=-1, dtype=jnp.int32)
    return above | (ties & (before <= places - _count(above)))


def _ranks(images: jax.Array) -> jax.Array:
    """Return how many numbers of its row come before each: larger, or equal and to the left."""
    place = jax.lax.broadcasted_iota(jnp.int32, images.shape, images.ndim - 1)
    ranks = jnp.zeros_like(images, dtype=jnp.int32)
    for other in range(images.shape[-1]):
        number = images[..., other : other + 1]
        comes_before = (number > images) | ((number == images) & (other < place))
        ranks += comes_before.astype(jnp.int32)
    return ranks


def _count(condition: jax.Array) -> jax.Array:
    return jnp.sum(condition, axis=-1, keepdims=True, dtype=jnp.int32)
