"""Which weights may be pruned: kernels, unless they are left out."""

import difflib
import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import trees
from jaxlth.masks.mask import Mask, Params
from jaxlth.trees import roles


def is_kernel(name: str, leaf: Any) -> bool:
    """Return whether a leaf holds weights of connections, by its name and number of dimensions.

    A leaf whose last name is "kernel", as Flax says, is prunable. One that is by its name a bias,
    the scale or offset of a norm, a table of embeddings, tokens or positions or a factor of LoRA is
    not, whatever its dimensions; `roles` has the words, those of Flax, Haiku and Equinox. Any other
    is prunable if it has two or more dimensions, so that {"w1": matrix, "b1": vector} needs no
    names to be agreed on. The name of a box that holds a single array, such as the "value" of
    `nnx.Param`, does not count.

    Where inputs and outputs lie does not matter, so there is no `axes` as elsewhere: a kernel is
    one in any order of its axes.

    Example:
      >>> is_kernel("Dense_0/kernel", jnp.ones((3, 2))), is_kernel("b1", jnp.ones(2))
      (True, False)
      >>> is_kernel("norm/weight", jnp.ones((3, 2))), is_kernel("norm/bias/value", jnp.ones((3, 2)))
      (False, False)
    """
    return _holds_connections(roles.role(name), leaf)


def _holds_connections(role: roles.Role | None, leaf: Any) -> bool:
    return role == "kernel" or (role is None and np.ndim(leaf) >= 2)


def dense(params: Params, *, prunable: Callable[[str, Any], bool] = is_kernel) -> Mask:
    """Return the mask that keeps every weight.

    Args:
      params: Parameters of any structure; leaves may be arrays or `jax.ShapeDtypeStruct`.
      prunable: (name of the leaf such as "Dense_0/kernel", leaf) -> whether it may be pruned. By
        default `is_kernel`; and where modules are containers, as in Equinox, the name of their
        class counts as well: the `weight` of a `LayerNorm` is none.

    Returns:
      A tree like `params`: all True where `prunable` holds, `None` elsewhere. The masks of arrays
      lie on their devices.

    Example:
      >>> dense({"w1": jnp.zeros((1, 2)), "b1": jnp.zeros(2)})
      {'b1': None, 'w1': Array([[ True,  True]], dtype=bool)}
    """
    names = {roles.unboxed(name) for name in trees.names(params)}

    def is_prunable(path: tuple[Any, ...], leaf: Any) -> bool:
        if prunable is not is_kernel:
            return prunable(trees.name(path), leaf)
        role = roles.role(trees.name(path), module=_module(params, path), beside=names)
        return _holds_connections(role, leaf)

    def leaf_mask(path: tuple[Any, ...], leaf: Any) -> jax.Array | None:
        if not is_prunable(path, leaf):
            return None
        # Spread over devices as the leaf is.
        is_array = isinstance(leaf, jax.Array)
        return jnp.ones_like(leaf, dtype=bool) if is_array else jnp.ones(np.shape(leaf), bool)

    return jax.tree_util.tree_map_with_path(leaf_mask, params)


def _module(params: Params, path: tuple[Any, ...]) -> str:
    """Return the name of the class that has a leaf, or a box around it, as its attribute."""
    nodes = trees.nodes(params, path)
    inner = [n for n, k in zip(nodes, path, strict=False) if trees.name((k,)) not in roles.BOXES]
    return type(inner[-1]).__name__ if inner else ""


def without(mask: Mask, leave_out: Sequence[str]) -> Mask:
    """Return the mask with the tensors left out, never to be pruned, that match a pattern.

    Args:
      mask: A mask.
      leave_out: Shell patterns over whole names of leaves: "Dense_2/kernel", "Conv_0/*", "*/out/*".
        Case counts, and "*" runs over slashes. A tensor left out already may be named again.

    Returns:
      The mask with `None` at the leaves that match.

    Raises:
      ValueError: a pattern matches no leaf; the message names the closest one.
      TypeError: `leave_out` is a single string.

    Example:
      >>> mask = dense({"in": {"kernel": jnp.zeros((1, 2))}, "out": {"kernel": jnp.zeros((2, 1))}})
      >>> trees.names(without(mask, ["out/*"]))
      ['in/kernel']
    """
    if isinstance(leave_out, str):
        raise TypeError(f"`leave_out` must be a sequence of patterns; got the text {leave_out!r}.")
    names = trees.names_with_none(mask)
    for pattern in leave_out:
        if not fnmatch.filter(names, pattern):
            prunable = list(trees.named(mask)) or names
            close = difflib.get_close_matches(pattern, prunable, n=1, cutoff=0.0)
            hint = f"; the closest is {close[0]!r}" if close else ""
            raise ValueError(f"`leave_out` has {pattern!r}, which matches no leaf{hint}.")

    def leaf_mask(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array | None:
        name = trees.name(path)
        return None if any(fnmatch.fnmatchcase(name, pattern) for pattern in leave_out) else leaf

    return jax.tree_util.tree_map_with_path(leaf_mask, mask)
