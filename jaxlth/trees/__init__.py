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
    named_leaves = {name(path): leaf for path, leaf in leaves}
    if len(named_leaves) < len(leaves):
        raise ValueError("`tree` has two leaves of one name; give its keys distinct text.")
    return named_leaves


def name(path: tuple[Any, ...]) -> str:
    """Return the name of the leaf at a JAX key path.

    Example:
      >>> jax.tree_util.tree_map_with_path(lambda path, leaf: name(path), {"a": {"b": 0}})
      {'a': {'b': 'a/b'}}
    """
    return jax.tree_util.keystr(path, simple=True, separator="/")


_name = name  # where an argument is called `name`


def nodes(tree: Any, path: tuple[Any, ...]) -> list[Any]:
    """Return the containers on a JAX key path, from the tree itself down to that of the leaf.

    Containers whose keys do not say how to reach their parts end the list.

    Example:
      >>> nodes({"a": [1.0]}, (jax.tree_util.DictKey("a"), jax.tree_util.SequenceKey(0)))
      [{'a': [1.0]}, [1.0]]
    """
    way = [tree]
    for key in path[:-1]:
        try:
            if isinstance(key, jax.tree_util.GetAttrKey):
                way.append(getattr(way[-1], key.name))
            else:
                way.append(way[-1][key.key if hasattr(key, "key") else key.idx])
        except (AttributeError, LookupError, TypeError):
            break
    return way


def size(tree: Any) -> int:
    """Return the number of array elements in all leaves together.

    Example:
      >>> size({"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)})
      8
    """
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def check_numbers(tree: Any, *, name: str, keys: bool = False) -> None:
    """Raise unless all leaves are arrays of numbers, as the parts of a module's parameters are.

    Args:
      tree: any.
      name: what the message calls it.
      keys: whether keys of random numbers do as well.

    Raises:
      TypeError: a leaf is none; the message names the first.

    Example:
      >>> check_numbers({"w": 1.0, "activation": "relu"}, name="params")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      TypeError: `params` has the leaf 'activation', a str, where arrays of numbers are needed: ...
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        dtype = getattr(leaf, "dtype", np.result_type(type(leaf)))
        is_key = jnp.issubdtype(dtype, jax.dtypes.prng_key)
        is_number = jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)
        if is_number or (keys and is_key):
            continue
        kind = "a key of random numbers" if is_key else f"a {type(leaf).__name__}"
        raise TypeError(
            f"`{name}` has the leaf {_name(path)!r}, {kind}, where arrays of numbers are "
            "needed: take them out of a module by `eqx.partition(module, eqx.is_inexact_array)` or "
            "`nnx.split(module, nnx.Param, ...)`."
        )


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
    a_leaves, b_leaves = named(a), named(b)
    for leaf in a_leaves | b_leaves:
        if leaf not in a_leaves or leaf not in b_leaves:
            has, lacks = (b_name, a_name) if leaf not in a_leaves else (a_name, b_name)
            raise ValueError(f"`{has}` has a leaf {leaf!r} that `{lacks}` lacks.")
        a_shape, b_shape = np.shape(a_leaves[leaf]), np.shape(b_leaves[leaf])
        if a_shape != b_shape:
            raise ValueError(
                f"Leaf {leaf!r} has shape {a_shape} in `{a_name}` but {b_shape} in `{b_name}`."
            )
    check_containers(a, b, a_name=a_name, b_name=b_name)


def check_containers(a: Any, b: Any, *, a_name: str = "a", b_name: str = "b") -> None:
    """Raise unless two trees with leaves of the same names hold them in containers of one kind.

    JAX maps over two trees together only if they have the same containers: a dictionary is no
    `FrozenDict`, and a list that a checkpoint gives back is no longer the tuple that it was. Here
    `None` counts as a leaf and stands for any other.

    Args:
      a: A tree.
      b: The tree to compare with it.
      a_name: What the message calls `a`, an argument's name for instance.
      b_name: What the message calls `b`.

    Raises:
      ValueError: they differ; the message names the containers and the first leaf within.

    Example:
      >>> check_containers({"w": [1.0]}, {"w": (1.0,)}, a_name="params",
      ...                  b_name="mask")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      ValueError: `params` and `mask` differ in their containers: the container of leaf 'w/0' ...
    """
    structures = [jax.tree.structure(tree, is_leaf=is_none) for tree in (a, b)]
    if structures[0] == structures[1]:
        return
    before, *nodes = _first_difference(*structures)
    tree = a if nodes[0].num_leaves else b
    inside = names_with_none(tree)[before] if any(n.num_leaves for n in nodes) else None
    where = "a container without leaves" if inside is None else f"the container of leaf {inside!r}"
    first, second = (_kind(node) for node in nodes)
    difference = f"is {first} in `{a_name}` but {second} in `{b_name}`"
    if first == second:
        difference = f"is {first} in both, with other keys or other static fields"
    raise ValueError(
        f"`{a_name}` and `{b_name}` differ in their containers: {where} {difference}. "
        "Give both the same containers."
    )


def names_with_none(tree: Any) -> list[str]:
    """Return the names of the leaves, those that are `None` among them.

    Example:
      >>> names_with_none({"kernel": 1.0, "bias": None})
      ['bias', 'kernel']
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_none)
    return [name(path) for path, _ in leaves]


def is_none(leaf: Any) -> bool:
    """Return whether a leaf is `None`: as `is_leaf` of `jax.tree`, `None` is a leaf too."""
    return leaf is None


def _first_difference(a: Any, b: Any) -> tuple[int, Any, Any]:
    """Return the number of leaves before the first two nodes that differ, and these nodes."""
    before = 0
    if a.node_data() == b.node_data() and len(a.children()) == len(b.children()):
        for left, right in zip(a.children(), b.children(), strict=True):
            if left != right:
                within, *nodes = _first_difference(left, right)
                return before + within, nodes[0], nodes[1]
            before += left.num_leaves
    return 0, a, b


def _kind(node: Any) -> str:
    """Return the kind of a node of a structure, with its article."""
    data = node.node_data()
    word = "leaf" if data is None else data[0].__name__
    return f"{'an' if word[0] in 'AEIOUaeiou' else 'a'} {word}"


def at_least_float32(leaf: Any) -> jax.Array:
    """Return an array of floats in float32 if its type is narrower, else as it is.

    Example:
      >>> [at_least_float32(jnp.ones(2, kind)).dtype.name for kind in (jnp.bfloat16, jnp.int32)]
      ['float32', 'int32']
    """
    array = jnp.asarray(leaf)
    is_float = jnp.issubdtype(array.dtype, jnp.inexact)
    return array.astype(jnp.float32) if is_float and jnp.finfo(array.dtype).bits < 32 else array


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
        shown = ", ".join(f"{leaf!r}: {length}" for leaf, length in lengths.items())
        raise ValueError(f"`tree` needs one leading axis of one length in all leaves; got {shown}.")
    (length,) = next(iter(lengths.values()))
    return [jax.tree.map(operator.itemgetter(index), tree) for index in range(length)]
