"""The containers of a tree as JSON holds them: what the names of its leaves do not say.

The name "layers/0/w" may be that of a list of dictionaries, of a dictionary whose key is 0, or of
one whose key is "layers/0". Lists, tuples and dictionaries with keys of text or whole numbers are
told apart. Containers of other kinds, such as named tuples, dataclasses and modules, are described
as dictionaries of their parts.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax

from jaxlth import trees

# The name of a leaf; None; ["list", parts], ["tuple", parts] or ["dict", parts, keys].
Description: TypeAlias = str | list[Any] | None


def describe(tree: Any, path: tuple[Any, ...] = ()) -> Description:
    """Return the containers of a tree; a key that is no text or whole number becomes text.

    Args:
      tree: of any structure.
      path: to it, where it is a part of another tree.

    Example:
      >>> describe({"w": [1.0, None]})
      ['dict', [['list', ['w/0', None]]], ['w']]
    """
    if tree is None:
        return None
    below = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda node: node is not tree)
    if [key for key, _ in below] == [()]:
        return trees.name(path)
    parts = [describe(part, (*path, *key)) for key, part in below]
    if type(tree) in (list, tuple):
        return [type(tree).__name__, parts]
    return ["dict", parts, [_key(key) for (key,), _ in below]]


def build(description: Description, leaves: Mapping[str, Any]) -> Any:
    """Return the tree of a description, its leaves by their names; None for one that is missing.

    Example:
      >>> build(["dict", [["list", ["w/0", None]]], ["w"]], {"w/0": 1.0})
      {'w': [1.0, None]}
    """
    if not isinstance(description, list):
        return None if description is None else leaves.get(description)
    kind, parts, *keys = description
    values = [build(part, leaves) for part in parts]
    if kind == "dict":
        return dict(zip(*keys, values, strict=True))
    return {"list": list, "tuple": tuple}[kind](values)


def follows_from_names(description: Description, *, empty: bool = False) -> bool:
    """Return whether a tree is nested dictionaries whose keys are the parts of its leaves' names.

    Args:
      description: of the tree.
      empty: whether containers without leaves, and None, do not matter.
    """
    if isinstance(description, str):
        return True
    if not description or not description[1]:
        return empty
    kind, parts, *keys = description
    return (
        kind == "dict"
        and all(isinstance(key, str) and key and "/" not in key for key in keys[0])
        and all(follows_from_names(part, empty=empty) for part in parts)
    )


def check_keys(tree: Any, *, name: str) -> None:
    """Raise ValueError where a key of a tree, called `name`, is neither text nor a whole number."""
    for path, _ in jax.tree_util.tree_leaves_with_path(tree):
        for key in path:
            if not isinstance(_value(key), str | int):
                raise ValueError(
                    f"`{name}` has the key {_value(key)!r}; a file holds keys of text and whole "
                    "numbers only."
                )


def _key(key: Any) -> str | int:
    return _value(key) if isinstance(_value(key), str | int) else trees.name((key,))


def _value(key: Any) -> Any:
    """Return the value of a JAX key."""
    return next(getattr(key, kind) for kind in ("key", "name", "idx") if hasattr(key, kind))
