"""The `keep` largest of many arrays, by bisection over the bits of their numbers.

A float is mapped to an unsigned integer that orders as it does, its image. The least image that is
still selected is fixed from its highest bits down, two at a time, by counting how many images reach
each candidate. Counting is fast on every device, copies no array, and works under vmap. Ties for
the last places go by position, by counts of ties.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxlth.trees import floats

LARGEST = 2**32  # elements of an array from which on positions do not fit in uint32
BLOCK = 2**17  # elements of an array on one device that are counted together, which caches hold
FIELD = 10  # bits of one of the three counts of a row that are added up in one uint32
WIDTH = 512  # length of such a row

# (images, positions) of elements of an array -> up to three conditions on them
Conditions: TypeAlias = Callable[[jax.Array, jax.Array], Sequence[jax.Array]]
# (number of an array, conditions) -> how many of its elements fulfil each, in uint32
Counter: TypeAlias = Callable[[int, Conditions], jax.Array]


class Count(NamedTuple):
    """A whole number below 2**48, or an array of them, as high * 2**16 + low in uint32."""

    high: Any
    low: Any

    def reaches(self, other: "Count") -> jax.Array:
        """Return whether this number is at least the other."""
        return (self.high > other.high) | ((self.high == other.high) & (self.low >= other.low))

    def equals(self, other: "Count") -> jax.Array:
        """Return whether both numbers are the same."""
        return (self.high == other.high) & (self.low == other.low)

    def at(self, place: Any) -> "Count":
        """Return the number at a place of an array of them."""
        return Count(self.high[place], self.low[place])

    def minus(self, other: "Count") -> jax.Array:
        """Return the difference in uint32, right if it lies in 0..2**32-1."""
        return ((self.high - other.high) << 16) + self.low - other.low


def count(number: Any) -> Count:
    """Return a whole number, which may be traced, as a `Count`; 0 for what is negative."""
    if isinstance(number, Count):
        return number
    if isinstance(number, jax.core.Tracer):
        number = jnp.maximum(number, 0)
        return Count((number >> 16).astype(jnp.uint32), (number & 0xFFFF).astype(jnp.uint32))
    number = min(max(int(number), 0), 2**48 - 1)
    return Count(np.uint32(number >> 16), np.uint32(number & 0xFFFF))


def whole(number: Count) -> int:
    """Return a `Count` that has a value as a whole number."""
    return int(number.high) * 2**16 + int(number.low)


def total(arrays: Sequence[jax.Array]) -> Count:
    """Return how many elements of boolean arrays are True, of which there may be 2**31 and more.

    Example:
      >>> total([jnp.array([True, False]), jnp.array([True])])
      Count(high=Array(0, dtype=uint32), low=Array(2, dtype=uint32))
    """
    return cumulative([jnp.sum(array, dtype=jnp.uint32) for array in arrays]).at(-1)


def selected(
    values: Sequence[jax.Array],
    among: Sequence[jax.Array],
    keep: Count,
    count_in: Callable[..., jax.Array],
) -> list[jax.Array]:
    """Return `largest` without checks; `count_in` is `counted`, or gives the same."""
    dtype = floats.widest(values)
    shapes = [np.shape(value) for value in values]

    def images(value: jax.Array, active: jax.Array) -> jax.Array:
        return image(value.astype(dtype), active.astype(jnp.bool_))

    def counts(place: int, conditions: Conditions) -> jax.Array:
        return count_in(values[place], among[place], images, conditions)

    bound = _bound(len(values), counts, dtype, keep)
    ends = _ends(shapes, counts, bound, keep)

    def is_selected(place: int) -> jax.Array:
        image = images(values[place], among[place])
        early = _positions(shapes[place]) < ends[place]
        return (image > bound.least) | ((image == bound.least) & early)

    return [is_selected(place) for place in range(len(values))]


def image(values: jax.Array, active: jax.Array) -> jax.Array:
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


class Bound(NamedTuple):
    """The least image that is selected, with the counts of images that reach it and that pass it.

    Where exactly as many reach `least` as are selected, it need not be an image, and `above` counts
    those that reach a larger number.
    """

    least: jax.Array
    reaching: Count
    above: Count


def _bound(arrays: int, counted: Counter, dtype: jax.typing.DTypeLike, keep: Count) -> Bound:
    """Return the largest number that at least `keep` images reach, or one that just `keep` reach.

    Args:
      arrays: how many arrays there are.
      counted: counts in one of them.
      dtype: the floats that they are images of.
      keep: how many are selected, if there are as many.
    """
    bits = jnp.finfo(dtype).bits
    unsigned = jnp.dtype(f"uint{bits}")

    def unfinished(state: tuple[jax.Array, Bound]) -> jax.Array:
        shift, bound = state
        return (shift >= 0) & ~bound.reaching.equals(keep)

    def fix_two_bits(state: tuple[jax.Array, Bound]) -> tuple[jax.Array, Bound]:
        shift, bound = state
        steps = jnp.arange(1, 4, dtype=unsigned) << shift.astype(unsigned)
        candidates = bound.least + steps

        def reach(image: jax.Array, _: jax.Array) -> Sequence[jax.Array]:
            return [image >= candidate for candidate in candidates]

        totals = cumulative([counted(place, reach) for place in range(arrays)]).at(-1)
        reaching = Count(
            *(
                jnp.concatenate([low[None], between, high[None]])
                for low, between, high in zip(bound.reaching, totals, bound.above, strict=True)
            )
        )
        digit = jnp.sum(reaching.reaches(keep)[1:4], dtype=jnp.int32)
        least = bound.least + (digit.astype(unsigned) << shift.astype(unsigned))
        return shift - 2, Bound(least, reaching.at(digit), reaching.at(digit + 1))

    nothing = count(0)
    # How many reach 1 need not be known: if too few do, all are selected. None reaches the number
    # of which all bits are set.
    first = Bound(jnp.ones((), unsigned), count(2**48 - 1), nothing)
    none = Bound(jnp.full((), np.iinfo(unsigned).max, unsigned), nothing, nothing)
    start = jax.tree.map(functools.partial(jnp.where, keep.equals(nothing)), none, first)
    return jax.lax.while_loop(unfinished, fix_two_bits, (jnp.int32(bits - 2), start))[1]


def _ends(
    shapes: Sequence[tuple[int, ...]], counted: Counter, bound: Bound, keep: Count
) -> jax.Array:
    """Return for each array a position before which all its ties are selected, (arrays,) uint32."""
    places = range(len(shapes))
    ties = [counted(place, lambda image, _: [image == bound.least])[0] for place in places]
    through = cumulative(ties)
    before = Count(*(jnp.pad(part, (1, 0))[:-1] for part in through))
    left = difference(keep, bound.above)
    whole = left.reaches(through) | bound.reaching.equals(keep)
    share = jnp.where(left.reaches(before), left.minus(before), 0)
    # The first array that is not whole is the only one of which a part may be selected.
    split = jnp.minimum(jnp.sum(whole, dtype=jnp.int32), len(shapes) - 1)
    wanted = jnp.where(whole[split], 0, share[split])

    def of_array(place: int, candidates: jax.Array) -> jax.Array:
        return counted(
            place,
            lambda image, position: [(image == bound.least) & (position < c) for c in candidates],
        )

    branches = [functools.partial(of_array, place) for place in places]

    def unfinished(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        shift, _, selected = state
        return (shift >= 0) & (selected != wanted)

    def fix_two_bits(
        state: tuple[jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        shift, end, selected = state
        candidates = end + (jnp.arange(4, dtype=jnp.uint32) << shift.astype(jnp.uint32))
        numbers = jnp.append(selected, jax.lax.switch(split, branches, candidates[1:]))
        digit = jnp.sum(numbers[1:] <= wanted, dtype=jnp.int32)
        return shift - 2, candidates[digit], numbers[digit]

    bits = max(math.prod(shape) for shape in shapes).bit_length()
    start = jnp.int32(max(bits - 1, 0) // 2 * 2), jnp.uint32(0), jnp.uint32(0)
    _, end, _ = jax.lax.while_loop(unfinished, fix_two_bits, start)
    ends = jnp.where(jnp.arange(len(shapes), dtype=jnp.int32) == split, end, jnp.uint32(0))
    return jnp.where(whole, jnp.uint32(LARGEST - 1), ends)


def difference(a: Count, b: Count) -> Count:
    """Return a - b, where a is at least b; 0 elsewhere."""
    borrow = (a.low < b.low).astype(jnp.uint32)
    difference = Count(a.high - b.high - borrow, a.low - b.low + (borrow << 16))
    return jax.tree.map(functools.partial(jnp.where, a.reaches(b)), difference, count(0))


def _positions(shape: tuple[int, ...]) -> jax.Array:
    """Return the position of each element in row-major order, in uint32."""
    position, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        position += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
        stride *= shape[axis]
    return position


def counted(
    values: jax.Array,
    among: jax.Array,
    images: Callable[[jax.Array, jax.Array], jax.Array],
    conditions: Conditions,
) -> jax.Array:
    """Return how many elements of an array fulfil each condition, (conditions,) uint32."""
    held = conditions(images(values, among), _positions(np.shape(values)))

    def in_rows(*held: jax.Array) -> jax.Array:
        return _summed(held, _short_axis(values))

    if jax.device_count() > 1:  # XLA would gather an array whose sums are made in one pass
        return in_rows(*held)
    return jax.lax.platform_dependent(*held, cpu=_summed_at_once, default=in_rows)


def _short_axis(array: jax.Array) -> int | None:
    """Return the longest axis along which packed counts fit, and whose elements lie together.

    XLA may spread arrays without telling: then counts of rows are exchanged, few along a long axis.
    """
    spec = jax.typeof(array).sharding.spec
    axes = [
        axis
        for axis, length in enumerate(array.shape)
        if length < 2**FIELD and not (axis < len(spec) and spec[axis])
    ]
    return max(axes, key=lambda axis: array.shape[axis], default=None)


def counted_in_blocks(
    values: jax.Array,
    among: jax.Array,
    images: Callable[[jax.Array, jax.Array], jax.Array],
    conditions: Conditions,
) -> jax.Array:
    """Return `counted` of a flat array, block by block: nothing of its size is stored on the way.

    XLA for CPUs stores what is summed.
    """
    size = min(values.size, BLOCK)
    # As whole numbers, since XLA for CPUs widens an array of bfloat16 at once to take a part of it.
    is_narrow = values.dtype.itemsize == 2
    stored = jax.lax.bitcast_convert_type(values, jnp.uint16) if is_narrow else values
    offsets = jnp.arange(size, dtype=jnp.uint32)

    def add(block: jax.Array, counts: jax.Array) -> jax.Array:
        first = jnp.asarray(block, jnp.uint32) * jnp.uint32(size)
        start = jnp.minimum(first, values.size - size)  # the last block overlaps that before it
        part, active = (jax.lax.dynamic_slice(a, (start,), (size,)) for a in (stored, among))
        value = jax.lax.bitcast_convert_type(part, values.dtype) if is_narrow else part
        position = start + offsets
        held = conditions(images(value, active), position)
        if size and values.size % size:
            held = [array & (position >= first) for array in held]
        return counts + jax.lax.platform_dependent(
            *held, cpu=_summed_at_once, default=_summed_in_rows
        )

    shapes = jax.eval_shape(images, values, among), jax.ShapeDtypeStruct(values.shape, jnp.uint32)
    nothing = jnp.zeros(len(jax.eval_shape(conditions, *shapes)), jnp.uint32)
    return jax.lax.fori_loop(0, -(-values.size // max(size, 1)), add, nothing)


def _summed_at_once(*held: jax.Array) -> jax.Array:
    """Return `_summed` in one pass, which stores nothing on CPUs.

    XLA for CPUs stores what one reduction adds up, but not what several do together.
    """

    def add(a: Sequence[jax.Array], b: Sequence[jax.Array]) -> list[jax.Array]:
        return list(map(jnp.add, a, b))

    numbers = [array.astype(jnp.uint32) for array in held] * (2 if len(held) == 1 else 1)
    zeros = [np.uint32(0)] * len(numbers)
    return jnp.stack(jax.lax.reduce(numbers, zeros, add, range(held[0].ndim))[: len(held)])


def _summed_in_rows(*held: jax.Array) -> jax.Array:
    """Return `_summed` of flat arrays, cut into rows."""
    return _summed([jnp.pad(x, (0, -x.size % WIDTH)).reshape(-1, WIDTH) for x in held], 1)


def _summed(held: Sequence[jax.Array], axis: int | None) -> jax.Array:
    """Return how many elements are True of each of up to three arrays of one shape, in uint32.

    Args:
      held: the arrays.
      axis: one of fewer than 2**FIELD elements, along which all are added up in one pass.
    """
    if axis is None or len(held) == 1:
        return jnp.stack([jnp.sum(array, dtype=jnp.uint32) for array in held])
    shifts = FIELD * np.arange(len(held), dtype=np.uint32)
    fields = [array.astype(jnp.uint32) << s for array, s in zip(held, shifts, strict=True)]
    rows = jnp.sum(functools.reduce(jnp.add, fields), axis, dtype=jnp.uint32)
    counts = (rows[..., None] >> shifts.reshape((1,) * rows.ndim + (-1,))) & np.uint32(2**FIELD - 1)
    return jnp.sum(counts, range(rows.ndim), dtype=jnp.uint32)


def cumulative(counts: Sequence[jax.Array]) -> Count:
    """Return the sums of the first one, two and so on of counts in uint32; of none, 0."""
    stacked = jnp.stack([*counts] or [jnp.uint32(0)])
    high, low = (jnp.cumsum(part, 0, jnp.uint32) for part in (stacked >> 16, stacked & 0xFFFF))
    return Count(high + (low >> 16), low & 0xFFFF)
