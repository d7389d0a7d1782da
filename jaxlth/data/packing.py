"""Examples as devices hold them: each is one row of an array, whatever its shape.

A TPU places the numbers of an array in tiles of its last two axes. Of images (n, height, width,
channels) it would make the examples the last axis, and before each step it would move the whole
data set to gather a batch. Rows are gathered as they lie, and only the batch gets its shape back.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxlth.data.memory import Dataset
from jaxlth.data.sources import Split


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """Examples as rows; a tree of one array, so that functions of trees take examples of it."""

    array: Any  # (n, size)
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})  # of an example


def pack(inputs: Any) -> Any:
    """Return inputs with arrays of more than two dimensions as `Rows`; nothing is copied.

    Args:
      inputs: a tree of arrays (n, ...) in NumPy.
    """

    def packed(array: Any) -> Any:
        if array.ndim <= 2:
            return array
        return Rows(array.reshape((len(array), -1)), array.shape[1:])

    return jax.tree.map(packed, inputs)


def unpack(inputs: Any) -> Any:
    """Return inputs with each array in the shape of its examples, on the device.

    Args:
      inputs: a tree of arrays (n, ...) and `Rows`.

    Example:
      >>> import numpy as np
      >>> unpack(pack(np.zeros((5, 8, 8, 3)))).shape
      (5, 8, 8, 3)
    """

    def unpacked(leaf: Any) -> jax.Array:
        if isinstance(leaf, Rows):
            return jnp.reshape(leaf.array, (leaf.array.shape[0], *leaf.shape))
        return jnp.asarray(leaf)

    return jax.tree.map(unpacked, inputs, is_leaf=lambda leaf: isinstance(leaf, Rows))


def pack_dataset(dataset: Dataset) -> Dataset:
    """Return a data set whose examples are rows."""

    def packed(split: Split) -> Split:
        return split._replace(images=pack(split.images))

    validation = None if dataset.validation is None else packed(dataset.validation)
    return dataset._replace(
        train=packed(dataset.train), validation=validation, test=packed(dataset.test)
    )
