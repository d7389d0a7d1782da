"""Labels of classes: whole numbers in 0..classes-1.

JAX takes an index outside an array for the nearest one, drops it or counts it from the end, without
a word. So labels are checked where their values are known: in calls on arrays. Within `jax.jit`,
`jax.vmap` and the like they are not, and nothing is checked there.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np


def check(labels: Any, classes: int, *, argument: str = "labels") -> None:
    """Raise unless all labels lie in 0..classes-1, if their values are known.

    Args:
      labels: Whole numbers of any shape; abstract values, within `jax.jit` say, pass.
      classes: Number of classes, that of the outputs of a network.
      argument: What the message calls them.

    Raises:
      ValueError: a label lies outside; the message names the first.

    Example:
      >>> check(np.array([0, 3]), 3)
      Traceback (most recent call last):
      ValueError: `labels` must lie in 0..2, one of 3 classes; got the label 3.
    """
    if isinstance(labels, jax.core.Tracer):
        return
    values = np.asarray(labels)
    wrong_labels = values[(values < 0) | (values >= classes)]
    if wrong_labels.size:
        raise ValueError(
            f"`{argument}` must lie in 0..{classes - 1}, one of {classes} classes; "
            f"got the label {wrong_labels.flat[0]}."
        )


def as_array(labels: Any, *, argument: str = "batch[1]") -> jax.Array:
    """Return labels as an array of JAX, which has whole numbers of 32 bits.

    Args:
      labels: An array, or a list of numbers.
      argument: What the message calls them.

    Raises:
      ValueError: they are no numbers, or one does not fit, which JAX would make another of.

    Example:
      >>> as_array([0, 2**40])
      Traceback (most recent call last):
      ValueError: `batch[1]` must fit into int32; got the label 1099511627776.
    """
    if not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(labels)):
        labels = np.asarray(labels)
        if not (jnp.issubdtype(labels.dtype, jnp.number) or labels.dtype == bool):
            raise ValueError(f"`{argument}` must be numbers; got an array of {labels.dtype}.")
        dtype = jax.dtypes.canonicalize_dtype(labels.dtype)
        if jnp.issubdtype(dtype, jnp.integer) and dtype.itemsize < labels.dtype.itemsize:
            ends = jnp.iinfo(dtype)
            wrong = labels[(labels < int(ends.min)) | (labels > int(ends.max))]
            if wrong.size:
                raise ValueError(
                    f"`{argument}` must fit into {dtype}; got the label {wrong.flat[0]}."
                )
    return jnp.asarray(labels)
