"""Exact selection of the largest numbers of many arrays, without sorting.

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
FILLED = (2**12, 2**16)  # elements that few are filled up to: small networks share two programs


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
    if sum(map(math.prod, shapes)) <= FILLED[-1] and len(given) < 2 and are_single:
        return _filled(values, among, count(keep), next(iter(given), None))
    runs = _runs([math.prod(shape) for shape in shapes])
    masks = []
    for run, part in zip(runs, _joined(values, among, count(keep), runs), strict=True):
        if isinstance(part, list):
            masks += part
        else:
            cut = _cut(np.asarray(part), [shapes[place] for place in run])
            masks += jax.device_put(cut, part.sharding if part.committed else None)
    return masks


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
    dtype = floats.widest(values)
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
