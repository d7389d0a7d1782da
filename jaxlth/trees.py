"""Pytrees and the names of their leaves.

A leaf's name is the way to it through the tree, joined by slashes: "Dense_0/kernel" in nested
dictionaries, "0/weights" in a list of named tuples. Names come in the order of `jax.tree.leaves`,
which is the order everywhere a tie or a random stream depends on position. `None` is not a leaf.
"""

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def names(tree: Any) -> list[str]:
    """Return the name of each leaf, in the order of `jax.tree.leaves`.

    Example:
      >>> names({"out": [1.0, 2.0], "in": {"kernel": 3.0, "bias": None}})
      ['in/kernel', 'out/0', 'out/1']
    """
    return list(named(tree))


def named(tree: Any) -> dict[str, Any]:
    """Return the leaves under their names, in the order of `jax.tree.leaves`.

    Raises:
      ValueError: two leaves have one name, as the keys 1 and "1" of one dictionary have.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    found = {name(path): leaf for path, leaf in leaves}
    if len(found) < len(leaves):
        raise ValueError("`tree` has two leaves of one name; give its keys distinct text.")
    return found


def name(path: tuple[Any, ...]) -> str:
    """Return the name of the leaf at a JAX key path.

    Example:
      >>> jax.tree_util.tree_map_with_path(lambda path, leaf: name(path), {"a": {"b": 0}})
      {'a': {'b': 'a/b'}}
    """
    return jax.tree_util.keystr(path, simple=True, separator="/")


def size(tree: Any) -> int:
    """Return the number of array elements in all leaves together.

    Example:
      >>> size({"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)})
      8
    """
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def check_same(a: Any, b: Any, *, a_name: str = "a", b_name: str = "b") -> None:
    """Raise unless two trees have the same structure and leaves of the same shapes.

    Args:
      a: A tree.
      b: The tree to compare with it.
      a_name: What the message calls `a`, an argument's name for instance.
      b_name: What the message calls `b`.

    Raises:
      ValueError: they differ; the message names the first leaf that does.

    Example:
      >>> check_same({"bias": jnp.ones(2)}, {"bias": jnp.ones(3)}, a_name="params")
      Traceback (most recent call last):
      ValueError: Leaf 'bias' has shape (2,) in `params` but (3,) in `b`.
    """
    left, right = named(a), named(b)
    for leaf in left | right:
        if leaf not in left or leaf not in right:
            has, lacks = (b_name, a_name) if leaf not in left else (a_name, b_name)
            raise ValueError(f"`{has}` has a leaf {leaf!r} that `{lacks}` lacks.")
        ours, theirs = np.shape(left[leaf]), np.shape(right[leaf])
        if ours != theirs:
            raise ValueError(
                f"Leaf {leaf!r} has shape {ours} in `{a_name}` but {theirs} in `{b_name}`."
            )
    if jax.tree.structure(a) != jax.tree.structure(b):
        raise ValueError(
            f"`{a_name}` and `{b_name}` name their leaves alike but differ in their containers: "
            f"{jax.tree.structure(a)} and {jax.tree.structure(b)}."
        )


def stack(trees: Sequence[Any]) -> Any:
    """Return one tree whose leaves carry the trees along a new leading axis; see `unstack`.

    Raises:
      ValueError: there are no trees, or two differ in structure or shapes.

    Example:
      >>> stack([{"bias": jnp.zeros(2)}, {"bias": jnp.ones(2)}])["bias"].shape
      (2, 2)
    """
    trees = list(trees)
    if not trees:
        raise ValueError("`trees` must hold at least one tree; got none.")
    for index, tree in enumerate(trees[1:], start=1):
        check_same(trees[0], tree, a_name="trees[0]", b_name=f"trees[{index}]")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def unstack(tree: Any) -> list[Any]:
    """Return the trees that lie along the leading axis of each leaf; see `stack`.

    Raises:
      ValueError: there is no leaf, or leaves differ in the length of their leading axis.

    Example:
      >>> [float(part["bias"]) for part in unstack({"bias": jnp.array([1.0, 2.0])})]
      [1.0, 2.0]
    """
    lengths = {leaf: np.shape(value)[:1] for leaf, value in named(tree).items()}
    if len(set(lengths.values())) != 1 or () in lengths.values():
        found = ", ".join(f"{leaf!r}: {length}" for leaf, length in lengths.items())
        raise ValueError(f"`tree` needs one leading axis of one length in all leaves; got {found}.")
    (length,) = next(iter(lengths.values()))
    return [jax.tree.map(operator.itemgetter(index), tree) for index in range(length)]
