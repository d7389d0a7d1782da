"""Structure: masks of n of every m weights, and of so many weights a unit.

Axes are those of each tensor: in Flax the last one runs over units (outputs) and the one before it
over inputs; in PyTorch and Equinox kernels are (outputs, inputs, ...), so units lie along axis 0
and inputs along axis 1. `axes` say it for all structures alike: tensors are then read as (...,
inputs, outputs), and the defaults of `axis` hold. Kernels of attention in Flax, which have an axis
for heads, are read as the matrices (inputs, outputs) that they are.

Arrays may be spread over devices, on meshes of any kind. Where groups lie whole on one device,
nothing but counts is exchanged; where they are cut, XLA gathers what it needs. On Explicit meshes
masks lie where the given ones lie; on Auto meshes XLA decides.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlth import masks
from jaxlth.prune.counts import check_int, decimal, share_of
from jaxlth.prune.selecting import as_kernels, group_axis, in_auto_mode, pairs, wide_enough
from jaxlth.trees import roles, row_topk


def n_of_m(
    scores: Any,
    mask: masks.Mask,
    *,
    n: int = 2,
    m: int = 4,
    axis: int = -2,
    axes: roles.Axes | None = None,
) -> masks.Mask:
    """Return the mask of the n highest scores of every m weights in a row along the input axis.

    Each unit keeps exactly n of its inputs 0..m-1, of m..2m-1, and so on. What remains at the end,
    fewer than m, keeps n too, or all if it has not more, as if filled up with zeros. Where `mask`
    keeps fewer than n of a group, all of them stay. Ties go to the lower position. Works under jit
    and vmap.

    Args:
      scores: Tree of floats like the parameters, as in `global_topk`.
      mask: The mask to prune.
      n: Weights to keep of each group, in 0..m.
      m: Weights in a group, at least 1.
      axis: Of the inputs: -2 in Flax, 1 in PyTorch and Equinox.
      axes: Of the inputs and the outputs, such as `masks.OUT_IN`, instead of `axis`.

    Raises:
      ValueError: the trees do not fit, or a tensor has no such axis.
      TypeError: `scores` are not floats, or `mask` is not boolean.

    Example:
      >>> mask = masks.dense({"w": jnp.zeros((6, 1))})
      >>> n_of_m({"w": jnp.array([[1.0, 4, 3, 2, 6, 5]]).T}, mask)["w"].T.tolist()
      [[False, True, True, False, True, True]]

    References:
      Mishra et al. 2021, Accelerating Sparse Deep Neural Networks; 2:4 is what GPUs multiply fast.
    """
    m = check_int("m", m, 1)
    if check_int("n", n, 0) > m:
        raise ValueError(f"`n` must lie in 0..{m}, the weights of a group; got {n}.")

    axis = group_axis(axis, axes, of_kernels=-2)
    return _each(functools.partial(_in_groups, n=n, m=m, axis=axis), scores, mask, axis, axes)


@functools.partial(jax.jit, static_argnames=("n", "m", "axis"))
def _in_groups(
    values: list[jax.Array], among: list[jax.Array], *, n: int, m: int, axis: int
) -> list[jax.Array]:
    """Return the masks of n of every m weights in a row."""

    def rows(array: jax.Array) -> jax.Array:
        last = jnp.moveaxis(array, axis, -1)
        missing = -last.shape[-1] % m  # filled up with zeros, which are no weights
        padded = jnp.pad(last, [(0, 0)] * (last.ndim - 1) + [(0, missing)])
        return padded.reshape(*last.shape[:-1], padded.shape[-1] // m, m)

    def select(value: jax.Array, active: jax.Array) -> jax.Array:
        selected = row_topk.largest_in_rows(rows(value), rows(active), n)
        flat = selected.reshape(*selected.shape[:-2], selected.shape[-2] * m)
        flat = flat[..., : value.shape[axis]]
        return jnp.moveaxis(flat, -1, axis)

    return [select(*pair) for pair in zip(values, among, strict=True)]


def per_unit_topk(
    scores: Any,
    mask: masks.Mask,
    *,
    density: float,
    axis: int = -1,
    axes: roles.Axes | None = None,
) -> masks.Mask:
    """Return the mask of the highest scores among the weights into each unit.

    Every unit keeps round(density * its weights), or all that `mask` keeps there if those are
    fewer. Ties go to the lower position. Works under jit and vmap.

    Args:
      scores: Tree of floats like the parameters, as in `global_topk`.
      mask: The mask to prune.
      density: Share of the weights into a unit, in [0, 1].
      axis: Of the units: -1 in Flax, 0 in PyTorch and Equinox.
      axes: Of the inputs and the outputs, such as `masks.OUT_IN`, instead of `axis`.

    Raises:
      ValueError: the trees do not fit, `density` lies outside its range, or a tensor has no axis.
      TypeError: `scores` are not floats, or `mask` is not boolean.

    Example:
      >>> mask = masks.dense({"w": jnp.zeros((2, 2))})
      >>> per_unit_topk({"w": jnp.array([[9.0, 8.0], [1.0, 2.0]])}, mask, density=0.5)["w"].tolist()
      [[True, True], [False, False]]

    References:
      Sun et al. 2023, A Simple and Effective Pruning Approach for Large Language Models (Wanda),
      section 3, "comparison group".
    """
    if not 0 <= density <= 1:
        raise ValueError(f"`density` must lie in [0, 1]; got {density}.")

    axis = group_axis(axis, axes)
    select = functools.partial(_in_units, density=float(decimal(density)), axis=axis)
    return _each(select, scores, mask, axis, axes)


@functools.partial(jax.jit, static_argnames=("density", "axis"))
def _in_units(
    values: list[jax.Array], among: list[jax.Array], *, density: float, axis: int
) -> list[jax.Array]:
    """Return the masks of the highest values of each unit."""

    def select(value: jax.Array, active: jax.Array) -> jax.Array:
        first, active_first = (jnp.moveaxis(array, axis, 0) for array in (value, active))
        rows, row_active = (
            array.reshape(array.shape[0], math.prod(array.shape[1:]))
            for array in (first, active_first)
        )
        selected = row_topk.largest_in_rows(rows, row_active, share_of(rows.shape[1], density))
        return jnp.moveaxis(selected.reshape(first.shape), 0, axis)

    return [select(*pair) for pair in zip(values, among, strict=True)]


def _each(
    select: Callable[[list[jax.Array], list[jax.Array]], list[jax.Array]],
    scores: Any,
    mask: masks.Mask,
    axis: int,
    axes: roles.Axes | None,
) -> masks.Mask:
    """Return the mask of (scores, masks) -> masks of the prunable tensors."""
    values, among, structure = pairs(scores, mask)
    select = as_kernels(select, mask, axis=axis, axes=axes)
    with wide_enough(values):
        return jax.tree.unflatten(structure, in_auto_mode(select, values, among))
