"""Structure: masks of whole units, and of blocks.

Axes are those of each tensor, and kernels of attention are matrices, as in `structure`.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxlth import masks, trees
from jaxlth.prune.counts import check_int
from jaxlth.prune.selecting import (
    as_kernels,
    closest,
    global_topk,
    group_axis,
    in_auto_mode,
    pairs,
    wide_enough,
)
from jaxlth.trees import floats, roles

Reduce: TypeAlias = Literal["l2", "l1", "mean"]
REDUCE = ("l2", "l1", "mean")


def units(
    scores: Any,
    mask: masks.Mask,
    *,
    keep: int | jax.Array,
    axis: int = -1,
    axes: roles.Axes | None = None,
    reduce: Reduce = "l2",
    wiring: Sequence[Any] | None = None,
) -> masks.Mask:
    """Return the mask of the `keep` best units of the whole tree, with all their weights.

    A unit is an output channel or neuron: what `mask` keeps of a tensor at one index along `axis`.
    Exactly `keep` units survive, among those with a weight left; ties go to the lower position. A
    tensor whose units must all stay, as that of the logits, is left out by `masks.without`. Biases
    of pruned units stay. Works under jit and vmap; no new `keep` recompiles.

    Args:
      scores: Tree of floats like the parameters, as in `global_topk`.
      mask: The mask to prune.
      keep: How many units survive, as in `global_topk`.
      axis: Of the units: -1 in Flax, 0 in PyTorch and Equinox.
      axes: Of the inputs and the outputs, such as `masks.OUT_IN`, instead of `axis`.
      reduce: The score of a unit: "l2", the root of the sum of the squares of the scores of its
        kept weights; "l1", the sum of their absolute values; "mean", the mean of the scores.
      wiring: What leads where, as `models.wiring` returns it, for kernels of Flax: inputs that come
        from pruned units alone are pruned too.

    Raises:
      ValueError: the trees do not fit, `keep` lies outside its range, or the wiring does not fit.
      TypeError: `scores` are not floats, or `mask` is not boolean.

    Example:
      >>> mask = masks.dense({"w": jnp.zeros((2, 3))})
      >>> kept = units({"w": jnp.array([[1.0, 5.0, 2.0], [1.0, 0.0, 4.0]])}, mask, keep=1)
      >>> kept["w"].tolist()
      [[False, True, False], [False, True, False]]

    References:
      Li et al. 2017, Pruning Filters for Efficient ConvNets.
    """
    if reduce not in REDUCE:
        raise ValueError(f"`reduce` must be one of {', '.join(REDUCE)}; got {reduce!r}.")
    axis = group_axis(axis, axes)
    if wiring is not None and (axis != -1 or axes not in (None, roles.IN_OUT)):
        raise ValueError(
            "`axis` must be -1 with a `wiring`, which is of kernels of Flax; got "
            f"{axis if axes is None else axes}."
        )

    pruned = _best_groups(scores, mask, keep=keep, reduce=reduce, axis=axis, axes=axes)
    if wiring is None:
        return pruned

    def without_inputs(_: list[jax.Array], among: list[jax.Array]) -> list[jax.Array]:
        return _without_inputs(mask, among, scores, wiring)

    among, structure = jax.tree.flatten(pruned)
    return jax.tree.unflatten(structure, in_auto_mode(without_inputs, [], among))


def blocks(
    scores: Any,
    mask: masks.Mask,
    *,
    keep: int | jax.Array,
    shape: tuple[int, int] = (128, 128),
    axes: roles.Axes | None = None,
) -> masks.Mask:
    """Return the mask of the `keep` best blocks of the whole tree, with all their weights.

    Blocks tile the last two axes of each tensor, from the first row and column on; those at the
    ends may be smaller and count as one as well. Leading axes, as the pixels of a convolution, have
    blocks of their own. The score of a block is the mean over its kept weights, so that small ones
    compete on equal terms. Exactly `keep` survive, among those with a weight left; ties go to the
    lower position. Works under jit and vmap; no new `keep` recompiles.

    Args:
      scores: Tree of floats like the parameters, as in `global_topk`.
      mask: The mask to prune.
      keep: How many blocks survive, as in `global_topk`.
      shape: Rows and columns of a block.
      axes: Of the inputs and the outputs, such as `masks.OUT_IN`, which rows and columns are then;
        by default the last two axes.

    Raises:
      ValueError: the trees do not fit, `keep` lies outside its range, or a tensor has one axis.
      TypeError: `scores` are not floats, or `mask` is not boolean.

    Example:
      >>> mask = masks.dense({"w": jnp.zeros((2, 3))})
      >>> kept = blocks({"w": jnp.array([[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]])}, mask, keep=1,
      ...               shape=(2, 2))
      >>> kept["w"].tolist()
      [[False, False, True], [False, False, True]]
    """
    if np.shape(shape) != (2,):
        raise ValueError(f"`shape` must be (rows, columns) of a block; got {shape}.")
    rows, columns = (check_int("shape", size, 1) for size in shape)

    return _best_groups(
        scores, mask, keep=keep, reduce="mean", axis=-2, axes=axes, shape=(rows, columns)
    )


def with_options(structure: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return a function and the options that a `functools.partial` of it sets."""
    is_partial = isinstance(structure, functools.partial)
    return (structure.func, structure.keywords) if is_partial else (structure, {})


def num_groups(structure: Callable[..., masks.Mask], mask: masks.Mask) -> int | None:
    """Return how many units or blocks a mask has, kept or not; None of other structures.

    Args:
      structure: `units`, `blocks`, or a `functools.partial` of one of them.
      mask: Only its shapes matter.

    Example:
      >>> mask = {"w": jnp.ones((200, 3), bool)}
      >>> num_groups(units, mask), num_groups(functools.partial(blocks, shape=(64, 2)), mask)
      (3, 8)
    """
    function, options = with_options(structure)
    if function not in (units, blocks):
        return None
    axes = options.get("axes")
    axis = group_axis(options.get("axis", -1), axes)
    shapes: list[tuple[int, ...]] = []

    def shape_of(_: Any, kernels: list[Any]) -> list[Any]:
        shapes.extend(np.shape(leaf) for leaf in kernels)
        return kernels

    leaves = [jax.ShapeDtypeStruct(np.shape(leaf), bool) for leaf in jax.tree.leaves(mask)]
    jax.eval_shape(as_kernels(shape_of, mask, axis=axis, axes=axes), leaves, leaves)
    if function is units:
        return sum(shape[axis] for shape in shapes)
    rows, columns = options.get("shape", (128, 128))
    return sum(
        math.prod(leading) * -(-height // rows) * -(-width // columns)
        for *leading, height, width in shapes
    )


def _best_groups(
    scores: Any,
    mask: masks.Mask,
    *,
    keep: int | jax.Array,
    reduce: Reduce,
    axis: int,
    axes: roles.Axes | None,
    shape: tuple[int, int] | None = None,
) -> masks.Mask:
    """Return the mask of the best units, or of the best blocks of a shape."""
    values, among, structure = pairs(scores, mask)

    # What is traced is an argument, as on Explicit meshes a function sees no other mesh's numbers.
    traced = [keep] if isinstance(keep, jax.core.Tracer) else []

    def best(values: list[jax.Array], among: list[jax.Array], *traced: jax.Array) -> list[Any]:
        group_scores, has_weights = _scored(values, among, reduce=reduce, axis=axis, shape=shape)
        kept = global_topk(group_scores, has_weights, keep=traced[0] if traced else keep)
        return _spread(kept, among, axis=axis, shape=shape)

    select = as_kernels(best, mask, axis=axis, axes=axes)
    with wide_enough(values):
        return jax.tree.unflatten(structure, in_auto_mode(select, values, among, *traced))


@functools.partial(jax.jit, static_argnames=("reduce", "axis", "shape"))
def _scored(
    values: list[jax.Array],
    among: list[jax.Array],
    *,
    reduce: Reduce,
    axis: int,
    shape: tuple[int, int] | None,
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Return the score of each group of each tensor, and whether it has a weight left."""
    active = [_grouped(leaf, axis, shape) for leaf in among]
    rows = [_grouped(value, axis, shape) for value in values]
    group_scores = [_reduced(*pair, reduce) for pair in zip(rows, active, strict=True)]
    return group_scores, [jnp.any(leaf, axis=1) for leaf in active]


def _grouped(array: jax.Array, axis: int, shape: tuple[int, int] | None) -> jax.Array:
    """Return (groups, weights): units along an axis, or blocks of a shape filled up with zeros."""
    if shape is None:
        first = jnp.moveaxis(array, axis, 0)
        return first.reshape(first.shape[0], first.size // max(first.shape[0], 1))
    rows, columns = shape
    *leading, height, width = array.shape
    ends = [(0, 0)] * len(leading) + [(0, -height % rows), (0, -width % columns)]
    padded = jnp.pad(array, ends)
    down, across = padded.shape[-2] // rows, padded.shape[-1] // columns
    tiles = padded.reshape(math.prod(leading), down, rows, across, columns)
    return jnp.moveaxis(tiles, 2, 3).reshape(math.prod(leading) * down * across, rows * columns)


@functools.partial(jax.jit, static_argnames=("axis", "shape"))
def _spread(
    kept: list[jax.Array],
    among: list[jax.Array],
    *,
    axis: int,
    shape: tuple[int, int] | None,
) -> list[jax.Array]:
    """Return the masks of the weights of the groups that are kept; undoes `_grouped`."""

    def spread(groups: jax.Array, leaf: jax.Array) -> jax.Array:
        if shape is None:
            along = [1] * leaf.ndim
            along[axis] = -1
            return leaf & groups.reshape(along)
        rows, columns = shape
        *leading, height, width = leaf.shape
        tiles = groups.reshape(*leading, -(-height // rows), -(-width // columns))
        whole = jnp.repeat(jnp.repeat(tiles, rows, axis=-2), columns, axis=-1)
        return leaf & whole[..., :height, :width]

    return [spread(*pair) for pair in zip(kept, among, strict=True)]


def _reduced(values: jax.Array, active: jax.Array, reduce: Reduce) -> jax.Array:
    """Return (groups,) scores of (groups, weights), those of weights pruned left out."""
    values = jnp.where(active, trees.at_least_float32(values), 0)
    if reduce == "l2":  # scaled, since squares of small gradients vanish
        scale = floats.divisor(jnp.max(jnp.abs(values), axis=1, initial=0, keepdims=True))
        return jnp.sqrt(jnp.sum((values / scale) ** 2, axis=1)) * scale[:, 0]
    if reduce == "l1":
        return jnp.sum(jnp.abs(values), axis=1)
    return jnp.sum(values, axis=1) / jnp.maximum(jnp.sum(active, axis=1), 1).astype(values.dtype)


def _without_inputs(
    mask: masks.Mask, among: list[jax.Array], shapes: Any, wiring: Sequence[Any]
) -> list[jax.Array]:
    """Return a mask without the weights from units to which no weight leads, layer after layer.

    Args:
      mask: whose names count.
      among: its tensors.
      shapes: a tree of arrays like the parameters; what is never pruned may be left out.
      wiring: what leads where.
    """
    leaves = dict(zip(trees.names(mask), among, strict=True))
    sizes = {name: np.shape(leaf) for name, leaf in trees.named(shapes).items()}
    _check_names(wiring, trees.names_with_none(mask))
    first = [
        sizes[name][-2]
        for incoming in wiring
        for sources, name, *_ in incoming
        if name in sizes and not any(sources)
    ]
    # Of each layer, its empty units; inputs are never empty. None: no unit is, and their number is
    # not known, as their kernel is not among the shapes.
    empty: list[jax.Array | None] = [jnp.zeros(math.gcd(*first), bool) if first else None]
    for incoming in wiring:
        parts: list[jax.Array | None] = []
        for sources, name, *_ in incoming:
            lost = _side_by_side([empty[source] for source in sources], name)
            if name is None:
                parts.append(lost)
            elif name in leaves:
                if lost is not None:
                    alive = ~_from_units(lost, sizes[name][-2])
                    leading = (1,) * (leaves[name].ndim - 2)
                    leaves[name] = leaves[name] & alive.reshape(*leading, -1, 1)
                parts.append(~jnp.any(leaves[name], axis=tuple(range(leaves[name].ndim - 1))))
            else:
                parts.append(jnp.zeros(sizes[name][-1], bool) if name in sizes else None)
        flags = [part for part in parts if part is not None]
        is_any = jnp.array(len(flags) == len(parts))
        empty.append(functools.reduce(jnp.logical_and, flags, is_any) if flags else None)
    return list(leaves.values())


def _check_names(wiring: Sequence[Any], names: list[str]) -> None:
    """Raise ValueError unless a wiring has kernels of these names."""
    for name in (name for incoming in wiring for _, name, *_ in incoming):
        if name is not None and name not in names:
            raise ValueError(
                f"`wiring` has the kernel {name!r}, which `mask` lacks.{closest(name, names)}"
            )


def _side_by_side(empty: list[jax.Array | None], name: str | None) -> jax.Array | None:
    """Return the flags of layers side by side, None where no unit is empty and no size is known."""
    flags = [layer for layer in empty if layer is not None]
    if flags and len(flags) < len(empty):
        raise ValueError(
            f"`scores` must have the kernels of all layers that {name or 'a sum'!r} reads side by "
            "side, also of those that are never pruned."
        )
    return jnp.concatenate(flags) if flags else None


def _from_units(empty: jax.Array, inputs: int) -> jax.Array:
    """Return (inputs,) flags of the units that inputs come from, in turns where they are pixels."""
    if inputs % empty.size:
        raise ValueError(f"`wiring` has {empty.size} units for a kernel of {inputs} inputs.")
    return jnp.tile(empty, inputs // empty.size)
