"""A condition that stays one under `vmap`: networks side by side compute a rare change rarely."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxlth import masks


def if_due(due: jax.Array, change: Callable[[], masks.Mask], mask: masks.Mask) -> masks.Mask:
    """Return the mask that `change` returns where it is due, else the mask as it is.

    `lax.cond` of a condition that differs among vmapped networks computes both of its branches at
    every step. This computes `change` where it is due for any of the networks, and not elsewhere.

    Args:
      due: () bool.
      change: computes a mask with the structure of `mask`. What it does besides, such as sums over
        a named axis, is that of `lax.cond`.
      mask: the mask as it is.
    """
    traced, changed = jax.make_jaxpr(change, return_shape=True)()
    leaves, structure = jax.tree.flatten(mask)
    # `vmap` below would not know a named axis; and masks that do not fit are refused by `cond`.
    if traced.effects or jax.tree.structure(changed) != structure:
        return jax.lax.cond(due, change, lambda: mask)

    def leaves_from(given: Any) -> Any:
        return core.jaxpr_as_fun(core.ClosedJaxpr(traced.jaxpr, given))()

    # Masks have no derivative, and `custom_vmap` cannot be differentiated backwards.
    given = jax.lax.stop_gradient(traced.consts)
    return jax.tree.unflatten(structure, _if_any(due, leaves_from, given, leaves))


def _if_any(due: jax.Array, change: Callable[..., Any], given: Any, leaves: Any) -> Any:
    """Return `change(given)` where it is due for any network, else the leaves as they are."""

    @jax.custom_batching.custom_vmap
    def call(due: jax.Array, given: Any, leaves: Any) -> Any:
        return jax.lax.cond(due, lambda: change(given), lambda: leaves)

    @call.def_vmap
    def of_all(axis_size: int, is_mapped: Any, due: jax.Array, given: Any, leaves: Any) -> Any:
        def of_one(due: jax.Array, given: Any, leaves: Any) -> Any:
            return [jnp.where(due, *both) for both in zip(change(given), leaves, strict=True)]

        axes = jax.tree.map(lambda mapped: 0 if mapped else None, tuple(is_mapped))
        each = jax.vmap(of_one, in_axes=axes)
        stacked = [
            leaf if mapped else jnp.broadcast_to(leaf, (axis_size, *leaf.shape))
            for leaf, mapped in zip(leaves, is_mapped[2], strict=True)
        ]
        result = _if_any(jnp.any(due), lambda all_: each(*all_), (due, given, leaves), stacked)
        return result, [True] * len(result)

    return call(due, given, leaves)
