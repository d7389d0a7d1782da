"""What every source of data hands over: images with labels, as their publisher split them.

A source is a function from a data directory (or None) to `Published`. It raises `DataError` in one
line that names the file, what is wrong with it and what to do.
"""

import pathlib
from typing import NamedTuple

import numpy as np


class DataError(ValueError):
    """A data set is missing, damaged or of a kind that cannot be read; the message is one line."""


class Split(NamedTuple):
    """Images with their labels."""

    images: np.ndarray  # (n, height, width, channels), uint8
    labels: np.ndarray  # (n,), int32


class Published(NamedTuple):
    """A data set as it is published."""

    train: Split
    test: Split
    classes: int


def check_labels(labels: np.ndarray, *, classes: int, where: str | pathlib.Path) -> None:
    """Check that every label is one of the classes.

    Args:
      labels: (n,) integers.
      classes: number of classes; labels run from 0 to classes - 1.
      where: file or split that the message names.

    Raises:
      DataError: a label lies outside the classes.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        first = wrong[0]
        raise DataError(
            f"{where}: label {labels[first]} of example {first} lies outside 0..{classes - 1}"
            f" ({wrong.size} such labels); the data are damaged or unlabelled: fetch them again"
            " or choose another set."
        )
