"""Tickets as single files that other programs read: safetensors and npz.

Parameters are named "params/Dense_0/kernel", masks "mask/Dense_0/kernel" (bool), batch statistics
"stats/BatchNorm_0/mean". A leaf that is never pruned has no mask in the file.
"""

import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from jaxlth import trees
from jaxlth.store import atomic
from jaxlth.store.arrays import nested
from jaxlth.store.atomic import StoreError

METADATA = "jaxlth"  # name of the entry that holds the metadata as JSON text
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
    """A ticket read from a file, in nested dictionaries of NumPy arrays."""

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
      params: Nested dictionaries of arrays: what the ticket starts from, or has become.
      mask: Tree like `params` with bool leaves, None where never pruned.
      stats: Nested dictionaries of arrays: the batch statistics that go with the parameters.
      metadata: Anything JSON can hold: level, density, run.

    Raises:
      ValueError: the suffix is unknown, `mask` does not fit `params`, or .npz cannot hold a kind.
      StoreError: the file cannot be written.
    """
    path = pathlib.Path(path)
    write, _ = _format(path)
    weights = {name: np.asarray(leaf) for name, leaf in trees.named(params).items()}
    mask_leaves = {name: np.asarray(leaf) for name, leaf in trees.named(mask).items()}
    _check_fit(weights, mask_leaves)
    arrays = {f"params/{name}": leaf for name, leaf in weights.items()}
    arrays |= {f"mask/{name}": leaf.astype(bool) for name, leaf in mask_leaves.items()}
    arrays |= {f"stats/{name}": np.asarray(leaf) for name, leaf in trees.named(stats).items()}
    part = path.with_name(f".{path.name}.part")
    with atomic.writing(path):
        try:
            write(part, arrays, atomic.to_json(metadata))
            atomic.sync_one(part)
            os.replace(part, path)
        except safetensors.SafetensorError as error:
            raise atomic.unwritable(path, str(error)) from error
        finally:
            part.unlink(missing_ok=True)


def load_ticket(path: str | os.PathLike[str]) -> Exported:
    """Return the ticket in a file of `export_ticket`.

    Raises:
      ValueError: the suffix is unknown.
      StoreError: the file is missing, damaged or holds no ticket.
    """
    arrays, metadata = _read(path)
    params, mask, stats = (_below(folder, arrays) for folder in ("params", "mask", "stats"))
    if not params:
        raise StoreError(f'{path} holds no ticket: no array is named "params/...".')
    mask_of_all = {name: mask.get(name) for name in params}
    return Exported(nested(params), nested(mask_of_all), nested(stats), metadata)


def load_network(path: str | os.PathLike[str]) -> Exported:
    """Return the network in a file: of `export_ticket`, or of anybody's arrays, without a mask.

    Raises:
      ValueError: the suffix is unknown.
      StoreError: the file is missing or damaged.
    """
    arrays, metadata = _read(path)
    if _below("params", arrays):
        return load_ticket(path)
    return Exported(nested(arrays), None, {}, metadata)


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return arrays and metadata of a file.

    Raises:
      ValueError: the suffix is unknown.
      StoreError: the file is missing or damaged.
    """
    path = pathlib.Path(path)
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


def _write_safetensors(path: pathlib.Path, arrays: dict[str, np.ndarray], metadata: str) -> None:
    contiguous = {name: np.ascontiguousarray(leaf) for name, leaf in arrays.items()}
    safetensors.numpy.save_file(contiguous, path, metadata={METADATA: metadata})


def _read_safetensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with safetensors.safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        entries = file.metadata() or {}
    return arrays, json.loads(entries.get(METADATA, "{}"))


def _write_npz(path: pathlib.Path, arrays: dict[str, np.ndarray], metadata: str) -> None:
    for name, leaf in arrays.items():
        if leaf.dtype.kind == "V":  # bfloat16 and the like are not NumPy's own
            raise ValueError(f".npz cannot hold {leaf.dtype.name} of {name!r}; use .safetensors.")
    with open(path, "wb") as file:  # a name without the suffix would get one
        np.savez_compressed(file, allow_pickle=False, **{METADATA: np.array(metadata)}, **arrays)


def _read_npz(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    # NumPy leaves a broken file open if it is given the path.
    with (
        open(path, "rb") as file,
        zipfile.ZipFile(file),
        np.load(file, allow_pickle=False) as archive,
    ):
        arrays = dict(archive)
    return arrays, json.loads(str(arrays.pop(METADATA, "{}")))


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
