"""Exact selection of the largest numbers of many arrays, without sorting.

A float is mapped to an unsigned integer that orders as it does, its image. The least image that is
still selected is fixed from its highest bits down, two at a time, by counting how many images reach
each candidate. Counting is fast on every device, copies no array, and works under vmap. Arrays are
counted one by one: of arrays spread over devices only counts are exchanged, and masks lie where
their arrays do. Ties for the last places go by position, by counts of ties.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

MANY = 32  # arrays from which on their parts are cut out on the host
JOINED = 2**25  # elements in all below which arrays on one device are joined: few programs
SMALL = 2**16  # elements of an array below which it is joined with small neighbours
FILLED = (2**12, 2**16)  # elements that few are filled up to: small networks share two programs
LARGEST = 2**32  # elements of an array from which on positions do not fit in uint32
BLOCK = 2**17  # elements of an array on one device that are counted together, which caches hold
FIELD = 10  # bits of one of the three counts of a row that are added up in one uint32
WIDTH = 512  # length of such a row


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


def total(arrays: Sequence[jax.Array]) -> Count:
    """Return how many elements of boolean arrays are True, of which there may be 2**31 and more.

    Example:
      >>> total([jnp.array([True, False]), jnp.array([True])])
      Count(high=Array(0, dtype=uint32), low=Array(2, dtype=uint32))
    """
    return _cumulative([jnp.sum(array, dtype=jnp.uint32) for array in arrays]).at(-1)


def largest(
    values: Sequence[jax.Array], among: Sequence[jax.Array], keep: jax.Array | int | Count
) -> list[jax.Array]:
    """Return masks of the `keep` largest values; ties go to the lower position.

    NaN is the lowest value, below minus infinity, and 0.0 equals -0.0. All floats are compared in
    the widest of their types, at least float32; float64 needs JAX's x64 mode.

    Args:
      values: Arrays of floats, on one device or spread over several; position runs through the
        first array in row-major order, then on through the next. Fewer than 2**32 elements each.
      among: Boolean arrays of the same shapes; only where they are True can a value be selected.
      keep: How many to select; beyond 0..(number of True) the nearest end counts. It may be
        traced, and no new value of it recompiles.

    Returns:
      Boolean arrays of the same shapes, with exactly `keep` True.

    Raises:
      ValueError: an array has 2**32 elements or more.

    Example:
      >>> selected = largest([jnp.array([1.0, 3.0, 3.0])], [jnp.array([True, True, True])], 1)
      >>> selected[0].tolist()
      [False, True, False]
    """
    shapes = [np.shape(value) for value in values]
    for shape in shapes:
        if math.prod(shape) >= LARGEST:
            raise ValueError(
                f"An array must have fewer than 2**32 elements; got the shape {shape}."
            )
    if not values:
        return []
    if not _on_one_device([*values, *among, keep]):
        return _separate(values, among, count(keep))
    places = _places([*values, *among])
    are_single = all(isinstance(place, jax.sharding.SingleDeviceSharding) for place in places)
    if sum(map(math.prod, shapes)) <= FILLED[-1] and len(places) < 2 and are_single:
        return _filled(values, among, count(keep), next(iter(places), None))
    runs = _runs([math.prod(shape) for shape in shapes])
    masks = []
    for run, part in zip(runs, _joined(values, among, count(keep), runs), strict=True):
        if isinstance(part, list):
            masks += part
        else:
            cut = _cut(np.asarray(part), [shapes[place] for place in run])
            masks += jax.device_put(cut, part.sharding if part.committed else None)
    return masks


def _on_one_device(arrays: Sequence[Any]) -> bool:
    """Return whether all arrays have values now, and none is spread over several devices."""
    return not any(
        isinstance(array, jax.core.Tracer)
        or (isinstance(array, jax.Array) and len(array.sharding.device_set) > 1)
        for array in jax.tree.leaves(arrays)
    )


def _places(arrays: Sequence[Any]) -> set[jax.sharding.Sharding]:
    """Return the places that arrays were put to by whoever made them."""
    return {array.sharding for array in arrays if isinstance(array, jax.Array) and array.committed}


def _filled(
    values: Sequence[Any],
    among: Sequence[Any],
    keep: Count,
    place: jax.sharding.Sharding | None,
) -> list[jax.Array]:
    """Return `largest` of few elements, joined on the host and filled up with what is not live.

    So all small networks share a program, whose compilation would take longest by far.

    Args:
      values: as of `largest`.
      among: likewise.
      keep: how many to select.
      place: where the masks must lie; None for the default device.
    """
    dtype = widest(values)
    shapes = [np.shape(value) for value in values]
    total = sum(map(math.prod, shapes))
    size = next(size for size in FILLED if size >= total)
    flat, live = np.zeros(size, dtype), np.zeros(size, bool)
    on_host = jax.device_get((list(values), list(among)))
    for array, parts in zip((flat, live), on_host, strict=True):
        array[:total] = np.concatenate([np.ravel(part).astype(array.dtype) for part in parts])
    ((mask,),) = _joined(*jax.device_put(([flat], [live]), place), keep, ((0,),))
    return jax.device_put(_cut(jax.device_get(mask), shapes), place)


def _runs(sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the places of arrays in order, those that are joined together."""
    if sum(sizes) < JOINED:
        return (tuple(range(len(sizes))),)
    runs: list[list[int]] = []
    for place, size in enumerate(sizes):
        if size < SMALL and runs and sizes[runs[-1][-1]] < SMALL:
            runs[-1].append(place)
        else:
            runs.append([place])
    return tuple(map(tuple, runs))


@jax.jit
def _separate(
    values: Sequence[jax.Array], among: Sequence[jax.Array], keep: Count
) -> list[jax.Array]:
    return _selected(values, among, keep, _counted)


@functools.partial(jax.jit, static_argnames="runs")
def _joined(
    values: Sequence[jax.Array],
    among: Sequence[jax.Array],
    keep: Count,
    runs: tuple[tuple[int, ...], ...],
) -> list[Any]:
    """Return `_selected` of flat arrays, those of a run joined: for each run its masks.

    Those of a long run come in one flat array: XLA compiles a program for each part that is cut
    out, which for many is most of the time.
    """
    dtype = widest(values)

    def join(arrays: Sequence[jax.Array], run: tuple[int, ...], dtype: Any) -> jax.Array:
        flat = [jnp.ravel(arrays[place]) for place in run]
        if not run[1:]:
            return flat[0]
        size = sum(part.size for part in flat)
        rest = jnp.zeros(-size % BLOCK if size > BLOCK else 0, dtype)  # fills the last block
        # One operation, where `jnp.concatenate` would make a tree of them.
        return jax.lax.concatenate([*(part.astype(dtype) for part in flat), rest], 0)

    joined = [join(values, run, dtype) for run in runs], [join(among, run, bool) for run in runs]
    selected = _selected(*joined, keep, _counted_in_blocks)
    return [
        part if len(run) >= MANY else _cut(part, [np.shape(values[place]) for place in run])
        for run, part in zip(runs, selected, strict=True)
    ]


def _cut(flat: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Return the arrays of these shapes that lie one after the other at the start of a flat one."""
    ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
    starts = [0, *ends[:-1]]
    return [
        flat[start:end].reshape(shape)
        for start, end, shape in zip(starts, ends, shapes, strict=True)
    ]


def _selected(
    values: Sequence[jax.Array],
    among: Sequence[jax.Array],
    keep: Count,
    count_in: Callable[..., jax.Array],
) -> list[jax.Array]:
    """Return `largest` without checks; `count_in` is `_counted`, or gives the same."""
    dtype = widest(values)
    shapes = [np.shape(value) for value in values]

    def images(value: jax.Array, active: jax.Array) -> jax.Array:
        return image(value.astype(dtype), active.astype(jnp.bool_))

    def counted(place: int, conditions: Conditions) -> jax.Array:
        return count_in(values[place], among[place], images, conditions)

    bound = _bound(len(values), counted, dtype, keep)
    ends = _ends(shapes, counted, bound, keep)

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

        totals = _cumulative([counted(place, reach) for place in range(arrays)]).at(-1)
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
    through = _cumulative(ties)
    before = Count(*(jnp.pad(part, (1, 0))[:-1] for part in through))
    left = _difference(keep, bound.above)
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


def _difference(a: Count, b: Count) -> Count:
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


def _counted(
    values: jax.Array,
    among: jax.Array,
    images: Callable[[jax.Array, jax.Array], jax.Array],
    conditions: Conditions,
) -> jax.Array:
    """Return how many elements of an array fulfil each condition, (conditions,) uint32."""
    held = conditions(images(values, among), _positions(np.shape(values)))
    return _summed(held, _short_axis(values))


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


def _counted_in_blocks(
    values: jax.Array,
    among: jax.Array,
    images: Callable[[jax.Array, jax.Array], jax.Array],
    conditions: Conditions,
) -> jax.Array:
    """Return `_counted` of a flat array, block by block: nothing of its size is stored on the way.

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
    """Return `_summed` of arrays on one device in one pass, which stores nothing on CPUs.

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


def _cumulative(counts: Sequence[jax.Array]) -> Count:
    """Return the sums of the first one, two and so on of counts in uint32; of none, 0."""
    stacked = jnp.stack([*counts] or [jnp.uint32(0)])
    high, low = (jnp.cumsum(part, 0, jnp.uint32) for part in (stacked >> 16, stacked & 0xFFFF))
    return Count(high + (low >> 16), low & 0xFFFF)
