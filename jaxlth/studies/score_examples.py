"""The training examples that scores see."""

import jax
import numpy as np

from jaxlth import data, settings
from jaxlth.data import Split


def drawn(train: Split, per_class: int, *, classes: int, has_gaps: bool, key: jax.Array) -> Split:
    """Return as many training examples of each class; of all, where an example has no class.

    Args:
      train: the training examples.
      per_class: how many of each class.
      classes: number of classes; 0 for none.
      has_gaps: whether numbers below `classes` may stand for no class.
      key: that draws the examples.

    Raises:
      ValueError: a class has fewer examples, or there are fewer in all.
    """
    if not classes or train.labels.ndim > 1:
        count = len(train.labels)
        settings.require(
            per_class <= count,
            f"`per_class` must be at most {count}, the training examples; got {per_class}.",
        )
        rows = np.sort(np.asarray(jax.random.permutation(key, count))[:per_class])
        return jax.tree.map(lambda array: array[rows], train)
    sizes = np.bincount(train.labels, minlength=classes)
    least = int((sizes[sizes > 0] if has_gaps else sizes).min())
    settings.require(
        per_class <= least,
        f"`per_class` must be at most {least}, the training examples of the rarest class; got "
        f"{per_class}.",
    )
    return data.of_each_class(train, per_class, key=key)
