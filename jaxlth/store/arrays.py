"""Trees of arrays on disk, through safetensors or orbax, with a checksum for each tree.

A tree is stored as its leaves under their names (`jaxlth.trees.name`), so a stored ticket can be
read without the classes that made it. Bool leaves, as masks have, take one bit each. Python numbers
and `None` leaves come back as such. A *description* goes with the arrays: kind and shape of each
leaf, and the CRC-32 of all bytes.
"""

import pathlib
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxlth import trees
from jaxlth.store import atomic, checkpointer, containers, tensor_files
from jaxlth.store.atomic import StoreError

# {"crc32": int, "leaves": {name: [kind, shape] | None}}; also "containers" where the names of the
# leaves do not say them.
Description = dict[str, Any]
Save = Callable[[pathlib.Path, dict[str, dict[str, np.ndarray]]], None]


def write(
    folder: pathlib.Path, content: Mapping[str, Any], *, save: Save = tensor_files.save
) -> dict[str, Description]:
    """Write named trees to a new folder and return their descriptions.

    Args:
      folder: where to.
      content: trees of arrays by name.
      save: what writes arrays, that of `tensor_files` or of `checkpointer`.

    Raises:
      StoreError: the folder cannot be written.
    """
    descriptions, arrays = {}, {}
    for name, tree in content.items():
        leaves = {leaf: _on_host(value) for leaf, value in _named(tree).items()}
        packed = {leaf: _packed(value) for leaf, value in leaves.items() if value is not None}
        descriptions[name] = {
            "crc32": _checksum(packed),
            "leaves": {leaf: _kind(value) for leaf, value in leaves.items()},
        }
        described = containers.describe(tree)
        if not containers.follows_from_names(described, empty=True):
            descriptions[name]["containers"] = described
        # Orbax takes neither arrays without elements nor trees without arrays.
        if non_empty := {leaf: value for leaf, value in packed.items() if value.size}:
            arrays[name] = non_empty
    if arrays:
        save(folder, arrays)
    return descriptions


def read(
    folder: pathlib.Path, name: str, description: Description, *, remedy: str
) -> dict[str, Any]:
    """Return the leaves of one tree under their names, as NumPy arrays or None.

    Raises:
      StoreError: something is missing or damaged; the message ends with `remedy`.
    """
    kinds = {leaf: kind for leaf, kind in description["leaves"].items() if kind is not None}
    non_empty = {leaf: kind for leaf, (kind, shape) in kinds.items() if 0 not in shape}
    form = tensor_files if (folder / tensor_files.FILE).exists() else checkpointer
    arrays = form.restore(folder, name, non_empty, remedy=remedy) if non_empty else {}
    packed = {leaf: arrays.get(leaf, np.zeros(0, np.uint8)) for leaf in kinds}
    if _checksum(packed) != description["crc32"]:
        raise StoreError(f"{folder} is damaged (the checksum of `{name}` is wrong). {remedy}")
    unpacked = {leaf: _unpacked(value, *kinds[leaf]) for leaf, value in packed.items()}
    return {leaf: unpacked.get(leaf) for leaf in description["leaves"]}


def fingerprint(folder: pathlib.Path) -> dict[str, int]:
    """Return the CRC-32 of each file under a folder, by its path within."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): zlib.crc32(path.read_bytes()) for path in paths}


def check_files(folder: pathlib.Path, expected: Mapping[str, int], *, remedy: str) -> None:
    """Raise unless all files under a folder are as they were written; others do not matter.

    Orbax says little of what it finds broken, and leaves threads behind that complain later; so it
    only gets to see what is whole.

    Raises:
      StoreError: a file is missing, damaged or cannot be read; the message names it.
    """
    for name, crc in expected.items():
        content = atomic.read_bytes(folder / name, remedy=remedy, largest=sys.maxsize)
        if zlib.crc32(content) != crc:
            raise StoreError(f"{folder / name} is damaged (its checksum is wrong). {remedy}")


def rebuild(leaves: Mapping[str, Any], like: Any, *, description: Description, name: str) -> Any:
    """Return leaves in the structure of `like`, or in that of their description.

    What is stored as None comes back as None, whatever `like` has there.

    Raises:
      ValueError: names, shapes or kinds of the leaves differ; the message names the first.
    """
    if like is not None:
        return fill(leaves, like, name=name)
    if "containers" in description:
        return containers.build(description["containers"], leaves)
    return nested(leaves)


def fill(leaves: Mapping[str, Any], like: Any, *, name: str) -> Any:
    """Return leaves in the structure of `like`; see `rebuild`.

    Raises:
      ValueError: names, shapes or kinds of the leaves differ; the message names the first.
    """
    expected = _named(like)
    for leaf in expected | dict(leaves):
        if leaf not in leaves:
            raise ValueError(f"`{name}` has no leaf {leaf!r}, which `like` has.")
        if leaf not in expected:
            raise ValueError(f"`{name}` has a leaf {leaf!r}, which `like` lacks.")
    structure = jax.tree.structure(like, is_leaf=trees.is_none)
    ordered = [_as_like(leaves[leaf], value, f"{name}/{leaf}") for leaf, value in expected.items()]
    return jax.tree.unflatten(structure, ordered)


def _named(tree: Any) -> dict[str, Any]:
    """Return leaves under their names, `None` being a leaf here."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=trees.is_none)
    named = {trees.name(path): leaf for path, leaf in leaves}
    if len(named) < len(leaves):
        raise ValueError("The tree has two leaves of one name; give its keys distinct text.")
    return named


def _on_host(value: Any) -> np.ndarray | None:
    return None if value is None else np.asarray(value)


def _kind(value: np.ndarray | None) -> list[Any] | None:
    return None if value is None else [value.dtype.name, list(value.shape)]


def _packed(value: np.ndarray) -> np.ndarray:
    return np.packbits(value) if value.dtype == bool else value


def _unpacked(value: np.ndarray, kind: str, shape: list[int]) -> np.ndarray:
    if 0 in shape:
        return np.zeros(shape, kind)
    if kind != "bool":
        return value.reshape(shape)
    return np.unpackbits(value, count=int(np.prod(shape))).astype(bool).reshape(shape)


def _checksum(leaves: Mapping[str, np.ndarray]) -> int:
    crc = 0
    for value in leaves.values():
        if value.size:
            crc = zlib.crc32(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data, crc)
    return crc


def _as_like(value: Any, like: Any, leaf: str) -> Any:
    if value is None:
        return None
    if like is None:
        raise ValueError(f"`{leaf}` is an array of shape {value.shape}, but None in `like`.")
    if isinstance(like, bool | int | float):
        return type(like)(value)
    # A stored mask fits parameters of any kind.
    if value.shape != like.shape or value.dtype not in (bool, like.dtype):
        raise ValueError(
            f"`{leaf}` is {value.dtype.name} of shape {value.shape}, "
            f"but {like.dtype} of shape {tuple(like.shape)} in `like`."
        )
    return value


def nested(leaves: Mapping[str, Any]) -> Any:
    """Return leaves in nested dictionaries that their names describe."""
    if list(leaves) == [""]:  # the tree was a single array
        return leaves[""]
    tree: dict[str, Any] = {}
    for name, value in leaves.items():
        *parents, last = name.split("/")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = value
    return tree
