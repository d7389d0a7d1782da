"""Exact selection of the largest numbers of many arrays, without sorting.

Of arrays on the host NumPy finds the least number that is selected. Elsewhere, and in programs,
`bisection` counts arrays one by one: of arrays spread over devices only counts are exchanged, and
masks lie where their arrays do. On one device small arrays are joined, so that few programs are
compiled.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxlth.trees import bisection, floats, places
from jaxlth.trees.bisection import BLOCK, LARGEST, Count, count

MANY = 32  # arrays from which on their parts are cut out on the host
JOINED = 2**25  # elements in all below which arrays on one device are joined: few programs
SMALL = 2**16  # elements of an array below which it is joined with small neighbours
BY_NUMPY = (2**16, 2**25)  # elements in all up to which NumPy selects: on a device, on the host


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
    if not places.on_one_device([*values, *among, keep]):
        return _separate(values, among, count(keep))
    given = places.given([*values, *among])
    are_single = all(isinstance(place, jax.sharding.SingleDeviceSharding) for place in given)
    limit = BY_NUMPY[all(map(places.is_on_host, [*values, *among]))]
    if sum(map(math.prod, shapes)) <= limit and len(given) < 2 and are_single:
        values, among = jax.device_get((list(values), list(among)))
        flat, live = _flat(values, floats.widest(values)), _flat(among, bool)
        selected = _largest_on_host(flat, live, bisection.whole(count(keep)))
        return jax.device_put(_cut(selected, shapes), next(iter(given), None))
    runs = _runs([math.prod(shape) for shape in shapes])
    masks = []
    for run, part in zip(runs, _joined(values, among, count(keep), runs), strict=True):
        if isinstance(part, list):
            masks += part
        else:
            cut = _cut(np.asarray(part), [shapes[place] for place in run])
            masks += jax.device_put(cut, part.sharding if part.committed else None)
    return masks


def _flat(arrays: Sequence[Any], dtype: Any) -> np.ndarray:
    """Return the elements of arrays of NumPy one after the other, as one type."""
    return np.concatenate([np.ravel(array).astype(dtype, copy=False) for array in arrays])


def _largest_on_host(values: np.ndarray, among: np.ndarray, keep: int) -> np.ndarray:
    """Return `largest` of one flat array of NumPy, by its partition."""
    numbers = values if among.all() else values[among]
    if np.isnan(numbers.max(initial=0)):
        numbers = numbers[~np.isnan(numbers)]
    if keep >= numbers.size:
        selected, lowest = among & ~np.isnan(values), np.flatnonzero(among & np.isnan(values))
        selected[lowest[: keep - numbers.size]] = True
    elif keep == 0:
        selected = np.zeros_like(among)
    else:
        least = np.partition(numbers, numbers.size - keep)[numbers.size - keep]
        selected = (values >= least) & among
        surplus = np.count_nonzero(selected) - keep
        if surplus:
            ties = np.flatnonzero(selected & (values == least))
            selected[ties[-surplus:]] = False
    return selected


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
    return bisection.selected(values, among, keep, bisection.counted)


@functools.partial(jax.jit, static_argnames="runs")
def _joined(
    values: Sequence[jax.Array],
    among: Sequence[jax.Array],
    keep: Count,
    runs: tuple[tuple[int, ...], ...],
) -> list[Any]:
    """Return `bisection.selected` of flat arrays, those of a run joined: for each run its masks.

    Those of a long run come in one flat array: XLA compiles a program for each part that is cut
    out, which for many is most of the time.
    """
    dtype = floats.widest(values)

    def join(arrays: Sequence[jax.Array], run: tuple[int, ...], dtype: Any) -> jax.Array:
        flat = [jnp.ravel(arrays[place]) for place in run]
        if not run[1:]:
            return flat[0]
        size = sum(part.size for part in flat)
        rest = jnp.zeros(-size % BLOCK if size > BLOCK else 0, dtype)  # fills the last block
        # One operation, where `jnp.concatenate` would make a tree of them.
        return jax.lax.concatenate([*(part.astype(dtype) for part in flat), rest], 0)

    joined = [join(values, run, dtype) for run in runs], [join(among, run, bool) for run in runs]
    selected = bisection.selected(*joined, keep, bisection.counted_in_blocks)
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
