"""Exact selection of the largest numbers of many arrays, without sorting.

A float is mapped to an unsigned integer that orders as it does, its image. The least image that is
still selected follows by bisection: its bits are fixed one by one, from the highest, by counting
how many images reach a candidate. Counting is fast on every device, and works under vmap. Ties for
the last places go by position, by counts of ties.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

WIDTH = 1024  # images lie in rows of this many, so that counts add up in two stages
MANY = 32  # arrays from which on their parts are cut out on the host


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Let JAX compute in float64 within this context, whatever its mode is.

    Raises:
      ValueError: on a TPU, whose float64 is a pair of float32 numbers, with their range and without
        the bits that `largest` compares.
    """
    default_device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    device = default_device or jax.devices()[0]
    if getattr(device, "platform", device) == "tpu":
        raise ValueError(
            "A TPU has no float64 of full range: score and prune on the host, under "
            '`jax.default_device(jax.devices("cpu")[0])`.'
        )
    with jax.enable_x64(True):
        yield


def widest(arrays: Sequence[jax.Array]) -> jax.typing.DTypeLike:
    """Return the widest type of arrays of floats, at least float32.

    A user's `jax_numpy_dtype_promotion="strict"` would refuse to say.
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(jnp.float32, *arrays)


def largest(
    values: Sequence[jax.Array], among: Sequence[jax.Array], keep: jax.Array | int
) -> list[jax.Array]:
    """Return masks of the `keep` largest values; ties go to the lower position.

    NaN is the lowest value, below minus infinity, and 0.0 equals -0.0. All floats are compared in
    the widest of their types, at least float32; float64 needs JAX's x64 mode.

    Args:
      values: Arrays of floats; position runs through the first array in row-major order, then on
        through the next. Fewer than 2**31 elements in all.
      among: Boolean arrays of the same shapes; only where they are True can a value be selected.
      keep: How many to select; beyond 0..(number of True) the nearest end counts. It may be
        traced, and no new value of it recompiles.

    Returns:
      Boolean arrays of the same shapes, with exactly `keep` True.

    Example:
      >>> selected = largest([jnp.array([1.0, 3.0, 3.0])], [jnp.array([True, True, True])], 1)
      >>> selected[0].tolist()
      [False, True, False]
    """
    shapes = [np.shape(value) for value in values]
    if not values or len(values) < MANY or not _on_one_device([*values, *among, keep]):
        return _parts(values, among, keep)
    selected = _joined(values, among, keep)
    # XLA compiles a program for each part that is cut out, which for many is most of the time.
    parts = _cut(np.asarray(selected), shapes)
    return jax.device_put(parts, selected.sharding if selected.committed else None)


def largest_in_rows(values: jax.Array, among: jax.Array, keep: int) -> jax.Array:
    """Return the mask of the `keep` largest values of each row, the last axis, as `largest` does.

    Args:
      values: (..., width) floats.
      among: (..., width) bool.
      keep: How many to select of each row; all that `among` allows where those are fewer.

    Example:
      >>> largest_in_rows(jnp.array([[1.0, 3.0, 3.0]]), jnp.ones((1, 3), bool), 1).tolist()
      [[False, True, False]]
    """
    images = _image(values.astype(widest([values])), among)

    def count(condition: jax.Array) -> jax.Array:
        return jnp.sum(condition, axis=-1, keepdims=True, dtype=jnp.int32)

    places = jnp.minimum(keep, count(images > 0))
    bits, unsigned = 8 * images.dtype.itemsize, images.dtype.type
    zero = jnp.zeros(places.shape, unsigned)
    least = _largest_number(bits, zero, lambda number: count(images >= number) >= places)
    above, ties = images > least, (images == least) & (images > 0)
    return above | (ties & (jnp.cumsum(ties, axis=-1, dtype=jnp.int32) <= places - count(above)))


def _on_one_device(arrays: Sequence[Any]) -> bool:
    """Return whether all arrays have values now, and none is spread over several devices."""
    return not any(
        isinstance(array, jax.core.Tracer)
        or (isinstance(array, jax.Array) and len(array.sharding.device_set) > 1)
        for array in arrays
    )


@jax.jit
def _parts(
    values: Sequence[jax.Array], among: Sequence[jax.Array], keep: jax.Array | int
) -> list[jax.Array]:
    if not values:
        return []
    return _cut(_selected(values, among, keep), [np.shape(value) for value in values])


@jax.jit
def _joined(
    values: Sequence[jax.Array], among: Sequence[jax.Array], keep: jax.Array | int
) -> jax.Array:
    return _selected(values, among, keep)


def _cut(flat: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Return the arrays of these shapes that lie one after the other at the start of a flat one."""
    ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
    starts = [0, *ends[:-1]]
    return [
        flat[start:end].reshape(shape)
        for start, end, shape in zip(starts, ends, shapes, strict=True)
    ]


def _selected(
    values: Sequence[jax.Array], among: Sequence[jax.Array], keep: jax.Array | int
) -> jax.Array:
    """Return `largest` of all arrays one after the other, filled up with False."""
    dtype = widest(values)
    images = _rows(_image(_flat(values, dtype), _flat(among, jnp.bool_)))
    keep = jnp.clip(keep, 0, _count(images > 0)).astype(jnp.int32)
    least = _least(images, keep)
    end = _end_of_ties(images == least, keep - _count(images > least))
    positions = jax.lax.iota(jnp.int32, images.size).reshape(images.shape)
    return ((images > least) | ((images == least) & (positions < end))).reshape(-1)


def _flat(arrays: Sequence[jax.Array], dtype: jax.typing.DTypeLike) -> jax.Array:
    # One operation, where `jnp.concatenate` would make a tree of them.
    return jax.lax.concatenate([jnp.ravel(array).astype(dtype) for array in arrays], 0)


def _image(values: jax.Array, active: jax.Array) -> jax.Array:
    """Return unsigned integers that order as `values` do: NaN is 1, what is not live 0."""
    bits = jnp.finfo(values.dtype).bits
    unsigned = jnp.dtype(f"uint{bits}").type
    sign, infinity = unsigned(1 << (bits - 1)), np.array(np.inf, values.dtype).view(unsigned)
    image = jax.lax.bitcast_convert_type(values, unsigned)
    nan = (image & ~sign) > infinity
    # On the bits, since comparing floats takes subnormal numbers for 0 where a device flushes them.
    image = jnp.where(image == sign, unsigned(0), image)
    image = jnp.where(image >= sign, ~image, image | sign)
    return jnp.where(active, jnp.where(nan, unsigned(1), image), unsigned(0))


def _rows(images: jax.Array) -> jax.Array:
    """Return (rows, WIDTH), one row at least, filled up with 0, which is never selected."""
    rows = max(1, -(-images.size // WIDTH))
    return jnp.pad(images, (0, rows * WIDTH - images.size)).reshape(rows, WIDTH)


def _count_in_rows(condition: jax.Array) -> jax.Array:
    """Return the number of True in each row; float32 is exact up to 2**24 and fastest on CPU."""
    return jnp.sum(condition.astype(jnp.float32), axis=1).astype(jnp.int32)


def _count(condition: jax.Array) -> jax.Array:
    return jnp.sum(_count_in_rows(condition), dtype=jnp.int32)


def _least(images: jax.Array, keep: jax.Array) -> jax.Array:
    """Return the largest number that at least `keep` images reach."""
    bits, unsigned = 8 * images.dtype.itemsize, images.dtype.type
    return _largest_number(bits, unsigned(0), lambda number: _count(images >= number) >= keep)


def _end_of_ties(ties: jax.Array, places: jax.Array) -> jax.Array:
    """Return a position before which exactly `places` of the ties lie."""
    in_rows = _count_in_rows(ties)
    rows, columns = (jnp.arange(size, dtype=jnp.int32) for size in (ties.shape[0], WIDTH))

    def fits(end: jax.Array) -> jax.Array:
        row, column = end // WIDTH, end % WIDTH
        before = jnp.sum(jnp.where(rows < row, in_rows, 0), dtype=jnp.int32)
        within = jnp.sum(ties[row] & (columns < column), dtype=jnp.int32)
        return before + within <= places

    return _largest_number(ties.size.bit_length(), np.int32(0), fits)


def _largest_number(
    bits: int, zero: np.generic | jax.Array, holds: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """Return the largest number of so many bits for which `holds`, as it does for all below."""

    def fix_bit(step: jax.Array, number: jax.Array) -> jax.Array:
        place = jnp.asarray(bits - 1 - step, number.dtype)  # a Python number under `disable_jit`
        bit = jnp.left_shift(jnp.ones_like(number), place)
        return jnp.where(holds(number | bit), number | bit, number)

    return jax.lax.fori_loop(0, bits, fix_bit, jnp.asarray(zero))
