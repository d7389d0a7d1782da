"""Tickets as single files that other programs read: safetensors and npz.

Parameters are named "params/Dense_0/kernel", masks "mask/Dense_0/kernel" (bool), batch statistics
"stats/BatchNorm_0/mean". A leaf that is never pruned has no mask in the file. Containers that do
not follow from these names, such as lists, are described beside the metadata.
"""

import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import safetensors
import safetensors.numpy

from jaxlth import trees
from jaxlth.process import paths
from jaxlth.store import arrays as arrays_lib
from jaxlth.store import atomic, containers
from jaxlth.store.atomic import StoreError

METADATA = "jaxlth"  # name of the entry that holds the metadata as JSON text
CONTAINERS = "jaxlth-containers"  # likewise, of what `containers.describe` says of params and stats
ENTRIES = (METADATA, CONTAINERS)
Entries: TypeAlias = dict[str, dict[str, Any]]
FLOATS8 = {  # kinds that safetensors writes from NumPy and does not give back to it
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
DAMAGE = (  # what readers of broken files raise
    EOFError,
    KeyError,
    NotImplementedError,
    ValueError,
    safetensors.SafetensorError,
    zipfile.BadZipFile,
    zlib.error,
)


class Exported(NamedTuple):
    """A ticket read from a file, in NumPy arrays."""

    params: Any
    mask: Any  # None where never pruned
    stats: Any  # batch statistics, {} for a network without batch norm
    metadata: dict[str, Any]


def export_ticket(
    path: str | os.PathLike[str],
    params: Any,
    mask: Any,
    *,
    stats: Any = None,
    metadata: Mapping[str, Any],
) -> None:
    """Write a ticket to a file whose suffix, .safetensors or .npz, says the format.

    Args:
      path: The file; one that exists is replaced.
      params: Tree of arrays: what the ticket starts from, or has become.
      mask: Tree like `params` with bool leaves, None where never pruned.
      stats: Tree of arrays: the batch statistics that go with the parameters.
      metadata: Anything JSON can hold: level, density, run.

    Raises:
      ValueError: the suffix is unknown, `mask` does not fit `params`, .npz cannot hold a kind, two
        leaves have one name, or a key is neither text nor a whole number.
      StoreError: the file cannot be written.
    """
    path = paths.given(path, setting="path")
    _format(path)
    weights = {name: np.asarray(leaf) for name, leaf in trees.named(params).items()}
    mask_leaves = {name: np.asarray(leaf) for name, leaf in trees.named(mask).items()}
    _check_fit(weights, mask_leaves)
    arrays = {f"params/{name}": leaf for name, leaf in weights.items()}
    arrays |= {f"mask/{name}": leaf.astype(bool) for name, leaf in mask_leaves.items()}
    arrays |= {f"stats/{name}": np.asarray(leaf) for name, leaf in trees.named(stats).items()}
    entries = {METADATA: atomic.to_json(metadata)}
    if described := _described(params=params, stats={} if stats is None else stats):
        entries[CONTAINERS] = atomic.to_json(described)
    _write(path, arrays, entries)


def export_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], *, metadata: Mapping[str, Any]
) -> None:
    """Write arrays under their names to a file, such as those of `models.to_torch`.

    Raises:
      ValueError: the suffix is unknown.
      StoreError: the file cannot be written.
    """
    _write(paths.given(path, setting="path"), arrays, {METADATA: atomic.to_json(metadata)})


def _described(**named_trees: Any) -> dict[str, containers.Description]:
    """Return the containers of trees, or nothing where all follow from the names of leaves.

    Raises:
      ValueError: a key is neither text nor a whole number.
    """
    for name, tree in named_trees.items():
        containers.check_keys(tree, name=name)
    described = {name: containers.describe(tree) for name, tree in named_trees.items()}
    empty = ["dict", [], []]
    plain = (tree == empty or containers.follows_from_names(tree) for tree in described.values())
    return {} if all(plain) else described


def _write(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], entries: Mapping[str, str]
) -> None:
    """Write arrays and texts to a file, whole or not at all."""
    write, _ = _format(path)
    with atomic.writing(path), paths.replacing(path) as part:
        try:
            write(part, arrays, entries)
        except safetensors.SafetensorError as error:
            raise atomic.unwritable(path, str(error)) from error
        atomic.sync_one(part)


def load_ticket(path: str | os.PathLike[str], *, like: Any = None) -> Exported:
    """Return the ticket in a file of `export_ticket`.

    Args:
      path: The file.
      like: Parameters, or their shapes, whose containers those of the ticket are to have, such as
        named tuples and modules. Without it these come back as dictionaries of their parts;
        dictionaries, lists and tuples come back as they were.

    Raises:
      ValueError: the suffix is unknown, or the parameters differ from `like`.
      StoreError: the file is missing, damaged or holds no ticket.
    """
    arrays, entries = _read(path)
    params, mask, stats = (_below(folder, arrays) for folder in ("params", "mask", "stats"))
    if not params:
        raise StoreError(f'{path} holds no ticket: no array is named "params/...".')
    metadata, mask = entries[METADATA], {name: mask.get(name) for name in params}
    if like is not None:
        empty = dict.fromkeys(set(trees.names_with_none(like)) - set(trees.names(like)))
        params, mask = (
            arrays_lib.fill(leaves | empty, like, name="params") for leaves in (params, mask)
        )
        return Exported(params, mask, arrays_lib.nested(stats), metadata)
    described = entries[CONTAINERS]
    try:
        params, mask = (_rebuilt("params", leaves, described) for leaves in (params, mask))
        return Exported(params, mask, _rebuilt("stats", stats, described), metadata)
    except (*DAMAGE, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error}). Export it again.") from error


def _rebuilt(name: str, leaves: Mapping[str, Any], described: Mapping[str, Any]) -> Any:
    """Return a tree of a file: of its description, or of the names of its leaves."""
    if name in described:
        return containers.build(described[name], leaves)
    return arrays_lib.nested(leaves)


def load_network(path: str | os.PathLike[str]) -> Exported:
    """Return the network in a file: of `export_ticket`, or of anybody's arrays, without a mask.

    Raises:
      ValueError: the suffix is unknown.
      StoreError: the file is missing or damaged.
    """
    arrays, entries = _read(path)
    if _below("params", arrays):
        return load_ticket(path)
    try:
        params = arrays_lib.nested(arrays)
    except (AttributeError, IndexError, TypeError):  # "a" and "a/b"
        params = arrays  # names tell the leaves all the same
    return Exported(params, None, {}, entries[METADATA])


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], Entries]:
    """Return arrays and entries of a file.

    Raises:
      ValueError: the suffix is unknown.
      StoreError: the file is missing or damaged.
    """
    path = paths.given(path, setting="path")
    _, read = _format(path)
    try:
        return read(path)
    except FileNotFoundError as error:
        raise StoreError(f"{path} does not exist. Name a ticket exported to a file.") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from error
    except DAMAGE as error:
        raise StoreError(
            f"{path} is damaged or holds no ticket ({error}). Export it again."
        ) from error


def _write_safetensors(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], entries: Mapping[str, str]
) -> None:
    # `np.ascontiguousarray` would give a scalar an axis.
    contiguous = {name: np.asarray(leaf, order="C") for name, leaf in arrays.items()}
    safetensors.numpy.save_file(contiguous, path, metadata=dict(entries))


def _read_safetensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], Entries]:
    with safetensors.safe_open(path, framework="numpy") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        arrays = {name: file.get_tensor(name) for name in kinds if kinds[name] not in FLOATS8}
        entries = file.metadata() or {}
    if len(arrays) < len(kinds):
        for name, tensor in safetensors.deserialize(path.read_bytes()):
            if name not in arrays:
                flat = np.frombuffer(tensor["data"], np.dtype(FLOATS8[kinds[name]]))
                arrays[name] = flat.reshape(tensor["shape"])
    arrays = {name: arrays[name] for name in kinds}
    return arrays, {name: json.loads(entries.get(name, "{}")) for name in ENTRIES}


def _write_npz(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], entries: Mapping[str, str]
) -> None:
    for name, leaf in arrays.items():
        if leaf.dtype.isbuiltin == 2:  # bfloat16 and the like are not NumPy's own
            raise ValueError(f".npz cannot hold {leaf.dtype.name} of {name!r}; use .safetensors.")
    texts = {name: np.array(text) for name, text in entries.items()}
    with open(path, "wb") as file:  # a name without the suffix would get one
        np.savez_compressed(file, allow_pickle=False, **texts, **arrays)


def _read_npz(path: pathlib.Path) -> tuple[dict[str, np.ndarray], Entries]:
    # NumPy leaves a broken file open if it is given the path.
    with (
        open(path, "rb") as file,
        zipfile.ZipFile(file),
        np.load(file, allow_pickle=False) as archive,
    ):
        arrays = dict(archive)
    return arrays, {name: json.loads(str(arrays.pop(name, "{}"))) for name in ENTRIES}


FORMATS: dict[str, tuple[Callable[..., None], Callable[..., Any]]] = {
    ".safetensors": (_write_safetensors, _read_safetensors),
    ".npz": (_write_npz, _read_npz),
}


def _format(path: pathlib.Path) -> tuple[Callable[..., None], Callable[..., Any]]:
    if path.suffix not in FORMATS:
        raise ValueError(f"`path` must end in {' or '.join(FORMATS)}; got {str(path)!r}.")
    return FORMATS[path.suffix]


def _check_fit(weights: Mapping[str, np.ndarray], mask_leaves: Mapping[str, np.ndarray]) -> None:
    for name, leaf in mask_leaves.items():
        if name not in weights:
            raise ValueError(f"`mask` has a leaf {name!r} that `params` lacks.")
        if leaf.shape != weights[name].shape:
            raise ValueError(
                f"Leaf {name!r} has shape {weights[name].shape} in `params` "
                f"but {leaf.shape} in `mask`."
            )


def _below(folder: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin with a folder, under the rest of their names."""
    start = f"{folder}/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
