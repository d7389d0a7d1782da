"""From scores and a count to a mask."""

import contextlib
import difflib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxlth import masks, trees
from jaxlth.prune.counts import share_of
from jaxlth.trees import attention, floats, kernels, roles, topk


def global_topk(scores: Any, mask: masks.Mask, *, keep: int | jax.Array) -> masks.Mask:
    """Return the mask of the `keep` highest scores among all weights that `mask` keeps.

    Exactly `keep` weights survive, each of them kept by `mask`. Ties go to the lower position; NaN
    is the lowest score, below minus infinity, and 0.0 equals -0.0. Scores of weights that are
    pruned, or never pruned, do not matter. Works under jit and vmap; no new `keep` recompiles.

    Args:
      scores: Tree of floats like the parameters; float64 is compared as such in any mode of JAX,
        and refused on a TPU, which has none.
      mask: The mask to prune, with fewer than 2**32 weights in each tensor.
      keep: How many weights survive, in 0..kept(mask). If it is traced, the nearest end of that
        range stands for a number outside it.

    Raises:
      ValueError: the trees do not fit, or `keep` lies outside its range.
      TypeError: `scores` are not floats, `mask` is not boolean, or `keep` is not a whole number.

    Example:
      >>> mask = masks.dense({"w": jnp.zeros((1, 3))})
      >>> global_topk({"w": jnp.array([[1.0, 3.0, 2.0]])}, mask, keep=2)
      {'w': Array([[False,  True,  True]], dtype=bool)}
    """
    values, among, structure = pairs(scores, mask)
    _check_keep(keep, among, argument="keep", within="mask")
    return jax.tree.unflatten(structure, _largest(values, among, keep))


def layerwise_topk(
    scores: Any, mask: masks.Mask, *, keep: float | Mapping[str, int | jax.Array]
) -> masks.Mask:
    """Return the mask of the highest scores of each tensor among the weights `mask` keeps there.

    Args:
      scores: Tree of floats like the parameters, as in `global_topk`.
      mask: The mask to prune.
      keep: The count for each prunable tensor by name, in 0..kept there, as in `global_topk`; or
        one density in [0, 1] for all. A density is a share of what is prunable in a tensor, not of
        what is still kept: round(density * size) weights survive, or all that are kept there if
        those are fewer.

    Raises:
      ValueError: the trees do not fit, `keep` does not name exactly the prunable tensors, or a
        number lies outside its range.
      TypeError: `scores` are not floats, `mask` is not boolean, or a count is not a whole number.

    Example:
      >>> mask = masks.dense({"w1": jnp.zeros((1, 2)), "w2": jnp.zeros((1, 2))})
      >>> scores = {"w1": jnp.array([[1.0, 2.0]]), "w2": jnp.array([[4.0, 3.0]])}
      >>> layerwise_topk(scores, mask, keep=0.5)["w1"].tolist()
      [[False, True]]
    """
    values, among, structure = pairs(scores, mask)
    names = trees.names(mask)
    counts = _layer_counts(dict(zip(names, among, strict=True)), keep)
    selected = [
        _largest([value], [active], counts[name])[0]
        for name, value, active in zip(names, values, among, strict=True)
    ]
    return jax.tree.unflatten(structure, selected)


def in_rounds(
    score: Callable[..., Any],
    mask: masks.Mask,
    *,
    keeps: Sequence[int] | Sequence[Mapping[str, int]],
    args: tuple[Any, ...] = (),
) -> masks.Mask:
    """Return the mask after several rounds of scoring what is left and pruning it.

    One round is compiled, once, whatever their number; and once for all calls with the same `score`
    and arguments of the same shapes. Works under jit and vmap, where all rounds are one loop; but
    see `scores.synflow` on networks with max-pooling there.

    Args:
      score: (mask, *args) -> scores of the network so masked, of the same shapes each time; jitted
        here.
      mask: What is kept before.
      keeps: For each round a count, as `round_counts` gives them; or counts by name of tensor,
        each of which is pruned by itself then.
      args: Arrays that `score` takes besides, such as the parameters.

    Raises:
      ValueError: a count is more than what is kept before, or a tensor is not named.
      TypeError: a count is no whole number.

    Example:
      >>> mask = in_rounds(lambda mask: {"w": jnp.arange(4.0)}, {"w": jnp.ones(4, bool)},
      ...                  keeps=[3, 2])
      >>> mask["w"].tolist()
      [False, False, True, True]
    """
    among = dict(zip(trees.names(mask), jax.tree.leaves(mask), strict=True))
    rounds: list[Any] = [dict(keep) if isinstance(keep, Mapping) else keep for keep in keeps]
    by_layer = bool(rounds) and isinstance(rounds[0], Mapping)
    if any(isinstance(keep, Mapping) != by_layer for keep in rounds):
        raise TypeError(f"`keeps` must be counts, or all be counts by name; got {rounds!r}.")
    counts = {name: _count(leaf) for name, leaf in among.items()}
    limits, limit = counts if by_layer else None, sum(counts.values())
    for keep in rounds:
        if isinstance(keep, Mapping):
            _layer_counts(among, keep)
            limits = _lowered(limits or {}, keep)
        else:
            limit = _lowered({"": limit}, {"": keep})[""]
    score_jit = jax.jit(score)  # JAX keeps what it compiled for a function, for all calls
    select: Callable[..., masks.Mask] = layerwise_topk if by_layer else global_topk

    def after_round(mask: masks.Mask, keep: Any) -> masks.Mask:
        return select(score_jit(mask, *args), mask, keep=keep)

    with wide_enough(jax.tree.leaves(score_jit.eval_shape(mask, *args))):
        if rounds and any(map(_is_traced, jax.tree.leaves((mask, args)))):
            rows = jax.tree.map(lambda *row: jnp.array(row, jnp.uint32), *rounds)
            return jax.lax.scan(lambda *carry: (after_round(*carry), None), mask, rows)[0]
        for keep in rounds:
            mask = after_round(mask, keep)
    return mask


def _is_traced(leaf: Any) -> bool:
    return isinstance(leaf, jax.core.Tracer)


def _lowered(limits: Mapping[str, int], keep: Mapping[str, int]) -> Mapping[str, int]:
    """Return the counts of a round if none is above that of the round before."""
    for name, count in keep.items():
        where = f" of {name!r}" if name else ""
        if not jnp.issubdtype(jnp.result_type(count), jnp.integer):
            raise TypeError(f"`keeps`{where} must be whole numbers of weights; got {count!r}.")
        if not 0 <= count <= limits[name]:
            raise ValueError(
                f"`keeps`{where} must lie in 0..{limits[name]}, what is kept before, and never "
                f"rise; got {count}."
            )
    return keep


def _largest(values: list[Any], among: list[Any], keep: Any) -> list[Any]:
    with wide_enough(values):
        return topk.largest(values, among, keep)


def wide_enough(values: list[Any]) -> contextlib.AbstractContextManager[None]:
    """Return a context in which JAX computes in float64, if some of the values are."""
    has_float64 = any(getattr(value, "dtype", None) == np.float64 for value in values)
    return floats.float64() if has_float64 else contextlib.nullcontext()


def pairs(scores: Any, mask: masks.Mask) -> tuple[list[Any], list[Any], Any]:
    """Return scores and mask of the prunable tensors, and the structure of the mask."""
    values = jax.tree.leaves(masks.prunable(scores, mask, name="scores"))
    for name, value in zip(trees.names(mask), values, strict=True):
        if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise TypeError(f"`scores` must be floats; leaf {name!r} is {jnp.result_type(value)}.")
    among, structure = jax.tree.flatten(mask)
    return values, among, structure


def _layer_counts(
    among: Mapping[str, jax.Array], keep: float | Mapping[str, int | jax.Array]
) -> dict[str, int | jax.Array]:
    """Return the count for each tensor; one from a density may exceed what is kept there."""
    if not isinstance(keep, Mapping):
        if not 0 <= keep <= 1:
            raise ValueError(f"`keep` must be a density in [0, 1], or counts by name; got {keep}.")
        return {name: share_of(active.size, keep) for name, active in among.items()}
    for name in keep:
        if name not in among:
            raise ValueError(
                f"`keep` names {name!r}, which is no prunable tensor.{closest(name, among)}"
            )
    for name, active in among.items():
        if name not in keep:
            raise ValueError(f"`keep` must name every prunable tensor; {name!r} is missing.")
        _check_keep(keep[name], active, argument=f"keep[{name!r}]", within="tensor")
    return dict(keep)


def closest(name: str, names: Iterable[str]) -> str:
    """Return the end of a message about a name that is none of these: the most similar one."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.0)
    return f" The closest is {close[0]!r}." if close else ""


def _check_keep(keep: Any, mask: masks.Mask, *, argument: str, within: str) -> None:
    """Raise unless `keep` is a whole number in 0..kept(mask), as far as tracing lets one see."""
    if (
        isinstance(keep, str)
        or np.ndim(keep)
        or not jnp.issubdtype(jnp.result_type(keep), jnp.integer)
    ):
        raise TypeError(f"`{argument}` must be a whole number of weights; got {keep!r}.")
    if _is_traced(keep):
        return
    limit = sum(_count(leaf) for leaf in jax.tree.leaves(mask))
    if not 0 <= keep <= limit:
        raise ValueError(
            f"`{argument}` must lie in 0..{limit}, what the {within} keeps; got {int(keep)}."
        )


def _count(mask: Any) -> int:
    """Return the number of True, or the most there can be where tracing hides it.

    In NumPy, which compiles nothing, if all shards are local.
    """
    if _is_traced(mask):
        return np.size(mask)
    if getattr(mask, "is_fully_addressable", True):
        return int(np.count_nonzero(np.asarray(mask)))
    return int(jnp.sum(mask))


def in_auto_mode(
    select: Callable[..., list[Any]], values: list[Any], among: list[Any], *keep: Any
) -> list[Any]:
    """Return the masks that `select` makes of scores and masks, on meshes of any kind.

    On Explicit meshes an operation that would have to move what is spread over devices, such as a
    `reshape`, is refused; there XLA decides within `select`, as it does on Auto meshes, and the
    masks lie where they lay. A count `keep` is handed on to `select`.
    """
    types = [jax.typeof(leaf) for leaf in (*values, *among)]
    explicit = jax.sharding.AxisType.Explicit
    if not any(explicit in kind.sharding.mesh.axis_types for kind in types):
        return select(values, among, *keep)
    shardings = [jax.typeof(leaf).sharding for leaf in among]
    mesh = next(s.mesh for s in shardings if explicit in s.mesh.axis_types)
    with jax.sharding.use_abstract_mesh(mesh):
        automatic = jax.jit(jax.sharding.auto_axes(select, out_sharding=shardings))
        return automatic(values, among, *keep)


def group_axis(axis: int, axes: roles.Axes | None, *, of_kernels: int = -1) -> int:
    """Return the axis by which tensors are grouped: as given, or of kernels where `axes` are.

    Args:
      axis: given beside `axes`, of tensors as they lie.
      axes: of the inputs and the outputs, by which `as_kernels` turns tensors.
      of_kernels: the axis of kernels (..., inputs, outputs).
    """
    return axis if axes is None else of_kernels


def as_kernels(
    select: Callable[..., list[Any]], mask: masks.Mask, *, axis: int, axes: roles.Axes | None
) -> Callable[..., list[Any]]:
    """Return `select` of tensors turned to kernels (..., inputs, outputs); masks lie as before.

    Without `axes` tensors are taken as they are; but kernels of attention become matrices, one for
    each of stacked layers, unless `axis` is counted from the front, as in PyTorch and Equinox.

    Args:
      select: (scores, masks, *keep) -> masks.
      mask: Of the tensors; only its names and shapes matter.
      axis: By which `select` groups.
      axes: Of the inputs and the outputs.

    Raises:
      ValueError: a tensor has not this axis or these axes; or, without `axes`, neither its name nor
        its shape says where its inputs and outputs lie.
    """
    leaves = trees.named(mask)
    for name, leaf in leaves.items():
        if axes is None and not -np.ndim(leaf) <= axis < np.ndim(leaf):
            raise ValueError(f"`axis` {axis} does not exist in {name!r} of shape {np.shape(leaf)}.")
    if axes is None and axis >= 0:
        return select
    if axes is None:
        attention.matrices(leaves)  # which refuses a kernel whose inputs and outputs are unknown
    views = kernels.views(leaves, axes or roles.IN_OUT)
    as_they_lie = {
        name: kernels.KernelView(np.shape(leaf), roles.IN_OUT) for name, leaf in leaves.items()
    }
    if views == as_they_lie:
        return select
    counts = {name: math.prod(view.shape[: view.stacked]) for name, view in views.items()}

    def kernels_of(name: str, leaf: Any) -> list[Any]:
        view = views[name]
        layers = jnp.reshape(leaf, (counts[name], *view.of_layer))
        return [jnp.moveaxis(layer, view.axes, roles.IN_OUT) for layer in layers]

    def as_it_lay(name: str, layers: list[Any]) -> Any:
        moved = [jnp.moveaxis(layer, roles.IN_OUT, views[name].axes) for layer in layers]
        return jnp.reshape(jnp.stack(moved), np.shape(leaves[name]))

    def select_kernels(values: list[Any], among: list[Any], *keep: Any) -> list[Any]:
        turned = [
            list(itertools.chain.from_iterable(map(kernels_of, leaves, part)))
            for part in (values, among)
        ]
        selected = iter(select(*turned, *keep))
        return [as_it_lay(name, list(itertools.islice(selected, counts[name]))) for name in leaves]

    return select_kernels
