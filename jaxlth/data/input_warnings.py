"""Warnings of data from which little can be learnt, or that look other than they are taken for."""

import warnings
from typing import Any

import jax
import numpy as np

from jaxlth.data import sources
from jaxlth.data.sources import Split

CHANNELS = (1, 3, 4)  # that images usually have
SAMPLE = 1000  # examples of which sizes are compared
MANY = 10  # examples of a class, on average, where one of class 0 would be among them
FEW = 10  # test examples whose sizes say little
UNLIKE = 20  # how many times the size of one split's inputs must be that of the other's


def of_classes(train: np.ndarray, test: np.ndarray, *, name: str) -> None:
    """Warn of labels that begin above 0, and of test examples of one class or of unknown ones.

    Args:
      train: (n,) or (n, tasks) class numbers of all training examples.
      test: likewise.
      name: of the data set, for the message.
    """
    columns = (labels.reshape(len(labels), -1).T for labels in (train, test))
    for column, tested in zip(*columns, strict=True):
        classes, test_classes = np.unique(column), np.unique(tested)
        strange = np.setdiff1d(test_classes, classes)
        first = min(classes[0], test_classes[0])
        if first > 0 and len(column) > MANY * classes.size:
            message = (
                f"labels begin at {first}, and the network has an output for each number from 0 on;"
                f" give labels - {first} if no class is missing"
            )
        elif strange.size:
            shown = ", ".join(map(str, strange[:3])) + ", ..." * (strange.size > 3)
            count = np.isin(tested, strange).sum()
            message = (
                f"{count} of {len(tested)} test examples are of classes that no training example"
                f" has ({shown}), and no network can learn"
            )
        elif test_classes.size == 1 < classes.size:
            message = (
                f"all {len(tested)} test examples are of class {test_classes[0]}, so that"
                f" accuracies say nothing of the other {classes.size - 1}"
            )
        else:
            continue
        _warn(f"{name}: {message}.")


def of_equal_inputs(images: Any, *, name: str) -> None:
    """Warn where all training examples have the same inputs, so that there is nothing to learn."""
    leaves = jax.tree.leaves(images)
    count = len(leaves[0])
    equal = (bool((part == leaf[:1]).all()) for leaf in leaves for part in sources.blocks(leaf))
    if count > 1 and all(equal):  # which ends at the first that differ
        _warn(
            f"{name}: all {count} training examples have the same inputs, from which nothing can"
            " be learnt."
        )


def of_axes(images: Any, *, name: str) -> None:
    """Warn of square images whose last axis seems to be none of channels."""
    if not isinstance(images, np.ndarray) or images.shape[-1] in CHANNELS:
        return
    shape = ", ".join(map(str, ("n", *images.shape[1:])))
    if images.ndim == 4 and images.shape[1] in CHANNELS and images.shape[2] == images.shape[3]:
        message = "look as if channels came first; images are (n, height, width, channels)"
    elif images.ndim == 3 and images.shape[1] == images.shape[2] > 4:
        message = (
            f"are taken for {images.shape[1]} places of {images.shape[2]} channels each; grey "
            f"images are ({shape}, 1)"
        )
    else:
        return
    _warn(f"{name}: inputs ({shape}) {message}.")


def of_ranges(train: Split, test: Split, *, name: str) -> None:
    """Warn where inputs of one split are far smaller than those of the other, as after scaling."""
    pairs = zip(jax.tree.leaves(train.images), jax.tree.leaves(test.images), strict=True)
    for leaf, other in pairs:
        if not np.issubdtype(leaf.dtype, np.number) or len(other) < FEW:
            continue
        samples = [_sample(leaf), _sample(other)]
        sizes = np.array([_sizes(sample) for sample in samples])
        larger, smaller = sizes.max(axis=0), sizes.min(axis=0)
        if (smaller > 0).all() and (larger > UNLIKE * smaller).all():
            ends = [f"{sample.min():.4g} to {sample.max():.4g}" for sample in samples]
            _warn(
                f"{name}: training inputs lie in {ends[0]}, test inputs in {ends[1]}, of a sample:"
                " is one of them scaled?"
            )


def _sample(images: np.ndarray) -> np.ndarray:
    """Return some images from all parts of a split, in float64."""
    return np.asarray(images[:: max(1, len(images) // SAMPLE)], np.float64)


def _sizes(sample: np.ndarray) -> tuple[float, float]:
    """Return the mean magnitude of inputs, and that below which all but a few lie."""
    magnitudes = np.abs(sample)
    return float(magnitudes.mean()), float(np.quantile(magnitudes, 0.99))


def _warn(message: str) -> None:
    """Warn at the place that called the function that calls this."""
    warnings.warn(message, sources.DataWarning, stacklevel=4)
