"""What a mask is, and which trees it is a mask for."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import trees

Params: TypeAlias = Any
Mask: TypeAlias = Any


def check(tree: Any, mask: Mask, *, name: str = "tree") -> None:
    """Raise unless `mask` is a mask for `tree`: same structure, boolean leaves of the same shapes.

    Where the mask has `None` the tree may have anything, `None` included.

    Raises:
      ValueError: the trees do not fit; the message names the first leaf that does not.
      TypeError: a leaf of the mask is not boolean.
    """
    tree_names, mask_names = (dict.fromkeys(trees.names_with_none(part)) for part in (tree, mask))
    for leaf in [*tree_names, *mask_names]:
        if leaf not in tree_names or leaf not in mask_names:
            has, lacks = (name, "mask") if leaf in tree_names else ("mask", name)
            raise ValueError(f"`{has}` has a leaf {leaf!r} that `{lacks}` lacks.")
    values = trees.named(tree)
    for leaf, keep in trees.named(mask).items():
        if leaf not in values:
            raise ValueError(f"`mask` has a leaf {leaf!r} that is None in `{name}`.")
        if np.shape(values[leaf]) != np.shape(keep):
            raise ValueError(
                f"Leaf {leaf!r} has shape {np.shape(values[leaf])} in `{name}` "
                f"but {np.shape(keep)} in `mask`."
            )
        check_kind(leaf, keep, jnp.bool_)
    trees.check_containers(tree, mask, a_name=name, b_name="mask")


def check_kind(name: str, leaf: Any, *kinds: Any) -> None:
    """Raise TypeError unless a leaf of a mask is an array, or a number, of one of some kinds."""
    dtype = getattr(leaf, "dtype", np.result_type(type(leaf)))
    if not any(jnp.issubdtype(dtype, kind) for kind in kinds):
        has_numbers = jnp.issubdtype(dtype, np.number) or jnp.issubdtype(dtype, np.bool_)
        kind = dtype if has_numbers else f"a {type(leaf).__name__}"
        raise TypeError(f"Leaf {name!r} of `mask` must be boolean; got {kind}.")


def prunable(tree: Any, mask: Mask, *, name: str = "tree") -> Any:
    """Return the part of a tree that may be pruned: `None` where the mask has `None`.

    Args:
      tree: A tree like the parameters: scores, say.
      mask: A mask for it.
      name: What messages call `tree`.

    Raises:
      ValueError: the trees do not fit; the message names the first leaf that does not.
      TypeError: a leaf of the mask is not boolean.

    Example:
      >>> prunable({"w": 1.0, "b": 2.0}, {"w": True, "b": None})
      {'b': None, 'w': 1.0}
    """
    check(tree, mask, name=name)
    return jax.tree.map(lambda leaf, keep: None if keep is None else leaf, tree, mask)


def size(mask: Mask) -> int:
    """Return the number of prunable weights, kept or not.

    Example:
      >>> size({"w": jnp.array([[True, False]]), "b": None})
      2
    """
    return trees.size(mask)
