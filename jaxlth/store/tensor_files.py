"""Named trees of NumPy arrays in one file of safetensors, which other programs read as well.

Finished networks and masks are stored so: a small file is there in a millisecond, where orbax takes
some tens. Its names are "tree/leaf". Kinds that safetensors does not give back to NumPy, such as
bfloat16, are stored as their bytes: (size, bytes of an element) uint8.
"""

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from jaxlth.store import atomic

FILE = "trees.safetensors"
KINDS = ("float16", "float32", "float64", "complex64")
KINDS += tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


def save(folder: pathlib.Path, trees: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write named trees of arrays to a new folder.

    Raises:
      StoreError: it cannot be written.
    """
    arrays = {
        f"{name}/{leaf}": _storable(array)
        for name, leaves in trees.items()
        for leaf, array in leaves.items()
    }
    with atomic.writing(folder):
        folder.mkdir()
        (folder / FILE).write_bytes(safetensors.numpy.save(arrays))


def restore(
    folder: pathlib.Path, name: str, kinds: Mapping[str, str], *, remedy: str
) -> dict[str, Any]:
    """Return arrays of a tree that `save` wrote, by the names of its leaves.

    Args:
      folder: where it is.
      name: of the tree.
      kinds: of its leaves, by their names; bool stands for bits that are packed to uint8.
      remedy: what to do where it is damaged.

    Raises:
      StoreError: something is missing or damaged; the message ends with `remedy`.
    """
    content = atomic.read_bytes(folder / FILE, remedy=remedy, largest=sys.maxsize)
    try:
        arrays = safetensors.numpy.load(content)
        return {leaf: _restored(arrays[f"{name}/{leaf}"], kind) for leaf, kind in kinds.items()}
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise atomic.StoreError(f"{folder} is damaged ({what}). {remedy}") from error


def _storable(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array, order="C")  # safetensors stores memory as it lies, whatever strides
    if array.dtype.name in KINDS:
        return array
    return array.reshape(-1, 1).view(np.uint8)


def _restored(array: np.ndarray, kind: str) -> np.ndarray:
    is_whole = array.dtype.name == kind or kind == "bool"
    return array if is_whole else array.view(np.dtype(kind)).reshape(-1)
