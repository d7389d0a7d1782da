"""Optimizers of optax under a mask: pruned weights do not move, whatever the optimizer."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jaxlth import masks, trees
from jaxlth.trees import roles


def masked(
    optimizer: optax.GradientTransformation, mask: masks.Mask
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer whose updates of pruned weights are exactly zero.

    The optimizer sees the network as masked: gradients and weights are 0 where the mask is False.
    That alone stops most; Muon, yogi, and whatever adds noise or has momentum from before the
    pruning move weights without a gradient, so the updates are masked too. A weight that is 0 when
    training starts, as `masks.apply` makes it, therefore stays 0; one that is NaN or infinite stays
    that. `optax.masked` does something else: it leaves whole tensors out.

    Args:
      optimizer: Any transformation of optax whose updates are like the parameters.
      mask: A mask for the parameters; it may be traced.

    Returns:
      A transformation with the state of `optimizer`, which takes the extra arguments it takes.

    Raises:
      ValueError: when called: the mask does not fit; the message names the first leaf.

    Example:
      >>> params, mask = {"w": jnp.array([[0.0, 2.0]])}, {"w": jnp.array([[False, True]])}
      >>> optimizer = masked(optax.yogi(0.5), mask)
      >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
      >>> updates["w"].round(3).tolist()
      [[0.0, -0.5]]
    """
    inner = optax.with_extra_args_support(optimizer)

    def apply(tree: Any) -> Any:
        return masks.apply(tree, _boxed_as(tree, mask))

    def init(params: masks.Params) -> Any:
        return inner.init(apply(params))

    def update(grads: Any, state: Any, params: masks.Params | None = None, **extra: Any) -> Any:
        weights = None if params is None else apply(params)
        updates, state = inner.update(apply(grads), state, weights, **extra)
        return apply(updates), state

    return optax.GradientTransformationExtraArgs(init, update)


def _boxed_as(tree: Any, mask: masks.Mask) -> masks.Mask:
    """Return the mask in the containers of a tree, where leaves of the same names are boxed there.

    `nnx.Optimizer` hands boxes to `init`, and what is in them to `update`.
    """
    structure, of_mask = (jax.tree.structure(t, is_leaf=trees.is_none) for t in (tree, mask))
    names, mask_names = (
        [roles.unboxed(name) for name in trees.names_with_none(part)] for part in (tree, mask)
    )
    if structure == of_mask or names != mask_names:
        return mask
    return jax.tree.unflatten(structure, jax.tree.leaves(mask, is_leaf=trees.is_none))


def to_zero(updates: Any, params: masks.Params, keep: masks.Mask) -> Any:
    """Return updates that take every weight that is not kept to exactly 0.

    Adding minus a weight to itself gives 0 without rounding, if the update has its type or a wider
    one, and the weight is finite.
    """

    def leaf_updates(update: jax.Array, weight: jax.Array, keep: jax.Array | None) -> jax.Array:
        if keep is None:
            return update
        with jax.numpy_dtype_promotion("standard"):
            dtype = jnp.result_type(update, weight)
        return jnp.where(keep, update.astype(dtype), -weight.astype(dtype))

    return jax.tree.map(leaf_updates, updates, params, keep)


def renewed(state: Any, fresh: Any, params: masks.Params, keep: masks.Mask) -> Any:
    """Return an optimizer's state with that of a fresh one for every weight that is not kept.

    An array of the state belongs to a parameter if its path ends like the parameter's and it has
    its shape: a momentum does; the rows and columns of Adafactor belong to no single weight.
    L-BFGS starts anew as a whole once it remembers something of such a weight: each of its numbers
    is of all weights together. So does GaLore once one of its weights is pruned: its momenta and
    projectors mix the weights of a tensor, even where they have the tensor's shape.

    Args:
      state: State of an optimizer.
      fresh: The state that its `init` returns.
      params: The parameters.
      keep: Which weights keep their state.
    """
    masks_by_path = {
        path: leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(keep, is_leaf=trees.is_none)
        if leaf is not None
    }
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    longest_first = sorted(paths, key=len, reverse=True)

    def leaf_state(path: tuple[Any, ...], old: jax.Array, new: jax.Array) -> jax.Array:
        owners = (p for p in longest_first if path[len(path) - len(p) :] == p)
        leaf = next((masks_by_path.get(owner) for owner in owners), None)
        if leaf is None or jnp.shape(leaf) != jnp.shape(old):
            return old
        return jnp.where(leaf, old, new)

    weights = dict(jax.tree_util.tree_leaves_with_path(params))

    def is_newly_pruned(path: tuple[Any, ...]) -> Any:
        kept = masks_by_path.get(path)
        if kept is None:
            return False
        weight = jnp.asarray(weights[path])  # one that is not finite stays so, and is not new
        return jnp.any((weight != 0) & jnp.isfinite(weight) & ~jnp.asarray(kept))

    def galore_state(old: Any, new: Any, renewed: Any) -> Any:
        if not _is_galore(old):
            return renewed
        its_paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(old.projector)]
        is_anew = jnp.any(jnp.array([is_newly_pruned(path) for path in its_paths], bool))

        def either(a: Any, b: Any) -> Any:  # a schedule of learning rates goes on
            return a if _is_schedule(a) else jnp.where(is_anew, b, a)

        return jax.tree.map(either, old, new, is_leaf=_is_schedule)

    result = jax.tree_util.tree_map_with_path(leaf_state, state, fresh)
    result = jax.tree.map(_lbfgs_anew, state, fresh, result, is_leaf=_is_lbfgs)
    return jax.tree.map(galore_state, state, fresh, result, is_leaf=_is_galore)


def _is_galore(node: Any) -> bool:
    return isinstance(node, optax.contrib.GaLoreState)


def _is_schedule(node: Any) -> bool:
    return isinstance(node, optax.ScaleByScheduleState)


def _is_lbfgs(node: Any) -> bool:
    return isinstance(node, optax.ScaleByLBFGSState)


def _lbfgs_anew(old: Any, fresh: Any, renewed: Any) -> Any:
    """Return a fresh state of L-BFGS where a part of the old one was renewed, else the old one."""
    if not _is_lbfgs(old):
        return renewed
    differs = jax.tree.map(lambda a, b: jnp.any((a != b) & (a == a)), old, renewed)
    is_anew = jnp.any(jnp.stack(jax.tree.leaves(differs)))
    return jax.tree.map(lambda a, b: jnp.where(is_anew, b, a), old, fresh)
