"""Examples of arrays that lie on the disk, gathered batch by batch.

A stream of them reads what a batch needs and no more: the arrays may be larger than memory. Which
of their rows belong to a split is a list of places, not a copy.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth.data.sources import PADDING, Split


class MappedSplit(NamedTuple):
    """Examples of a split by their number, from 0."""

    arrays: Split  # whole
    rows: np.ndarray  # (examples,) places in the arrays

    @property
    def examples(self) -> int:
        """How many there are."""
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray:
        """The labels of all examples of the arrays, those of other splits among them."""
        return self.arrays.labels

    def part(self, numbers: np.ndarray) -> "MappedSplit":
        """Return the examples of some numbers, of which nothing is read."""
        return self._replace(rows=self.rows[numbers])

    def read(self, numbers: np.ndarray) -> Split:
        """Return the examples of some numbers, in memory and in their order.

        Numbers beyond the last one give the last one with a label that counts for nothing.

        Example:
          >>> mapped = MappedSplit(Split(np.arange(4.0), np.arange(4)), np.array([1, 3]))
          >>> [part.tolist() for part in mapped.read(np.array([1, 0, 2]))]
          [[3.0, 1.0, 3.0], [3, 1, -1]]
        """
        rows = self.rows[np.minimum(numbers, self.examples - 1)]
        order = np.argsort(rows, kind="stable")  # the disk is read forwards

        def gathered(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
            block = np.empty((len(rows), *array.shape[1:]), dtype)
            block[order] = array[rows[order]]
            return block

        images, labels = self.arrays
        inputs = jax.tree.map(lambda array: gathered(array, native(array.dtype)), images)
        targets = gathered(labels, label_type(labels.dtype))
        targets[numbers >= self.examples] = PADDING if targets.dtype == np.int32 else np.nan
        return Split(inputs, targets)


def is_mapped(tree: Any) -> bool:
    """Return whether one of the arrays of a tree lies on the disk."""
    return any(isinstance(leaf, np.memmap) for leaf in jax.tree.leaves(tree))


def native(dtype: np.dtype) -> np.dtype:
    """Return the type that JAX holds numbers of a type in, in the order of bytes of this machine.

    Example:
      >>> native(np.dtype(">i2")), native(np.dtype("uint8"))
      (dtype('int16'), dtype('uint8'))
    """
    return jax.dtypes.canonicalize_dtype(dtype.newbyteorder("="))


def label_type(dtype: np.dtype) -> np.dtype:
    """Return the type that training holds labels of a type in: whole numbers have 32 bits."""
    return native(dtype) if jnp.issubdtype(dtype, jnp.floating) else np.dtype(np.int32)
