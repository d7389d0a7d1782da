"""What every source of data hands over: images with labels, as their publisher split them.

A source is a function from a data directory (or None) to `Published`. It raises `DataError` in one
line that names the file, what is wrong with it and what to do.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlth import keys, settings
from jaxlth.process import paths

PADDING = -1  # label of what fills the last batch of a stream up; NaN where labels are floats


class DataError(ValueError):
    """A data set is missing, damaged or of a kind that cannot be read; the message is one line."""


def unreadable(path: Any, error: OSError) -> DataError:
    """Return the error of a file that cannot be read."""
    return DataError(f"{path} cannot be read: {error.strerror or error}.")


class DataWarning(UserWarning):
    """A data set is read, but not all of it, or it is not what its name says."""


class ShortTestWarning(DataWarning):
    """The published test images are not all there."""


class Split(NamedTuple):
    """Images, or inputs of another kind, with their labels.

    Images are (n, height, width, channels), uint8, or float32 where they are no bytes. Inputs of a
    user's own are a tree of arrays (n, ...). Labels are class numbers, (n,) int32; (n, tasks) for
    sets side by side; a user's own may be those of tokens, (n, tokens) int32, or floats, (n,) or
    (n, k).
    """

    images: Any
    labels: np.ndarray


class Published(NamedTuple):
    """A data set as it is published."""

    train: Split
    test: Split
    classes: int  # outputs that a network needs: 1 for two classes with a sign, 0 for no classes
    tasks: tuple[int, ...] = ()  # outputs of each task, where sets lie side by side
    widths: tuple[int, ...] = ()  # columns of each, likewise
    validation: Split | None = None  # where it is not to be drawn from `train`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info:
    """What a data set is, without its arrays.

    A task of several outputs has as many classes. A task of one output has two: its label is 1
    where the output is positive.
    """

    name: str
    classes: int  # outputs of all tasks; 0 where labels are no class numbers
    shape: tuple[int, ...]  # of an input: height, width, channels of images; () of several arrays
    train: int  # number of examples, the validation split taken out
    validation: int
    test: int
    tasks: tuple[int, ...] = ()  # outputs of each task; not given, one task has them all
    widths: tuple[int, ...] = ()  # columns of the image that belong to each, likewise
    digest: str = dataclasses.field(default="", compare=False)  # of what it holds, `identity` says
    # A tree of `jax.ShapeDtypeStruct`: the input of one example, as a network sees it.
    example: Any = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Fill in the one task, and check that several share out all columns and outputs."""
        columns = self.shape[1] if len(self.shape) > 1 else 1
        object.__setattr__(self, "tasks", self.tasks or (self.classes,))
        object.__setattr__(self, "widths", self.widths or (columns,))
        shared = len(self.tasks) == len(self.widths), sum(self.tasks), sum(self.widths)
        settings.require(
            shared == (True, self.classes, columns),
            f"`tasks` and `widths` must share out the {self.classes} outputs and {columns}"
            f" columns among as many tasks; got {self.tasks} and {self.widths}.",
        )


def root(data_dir: str | None, *, name: str, how: str) -> pathlib.Path:
    """Return the data directory.

    Args:
      data_dir: the directory, None where none is given.
      name: of the data set, for the message.
      how: what to give and to put there, as the end of the message.

    Raises:
      DataError: there is none.
    """
    if data_dir is None:
        raise DataError(f"The data set `{name}` is read from a directory: {how}")
    folder = pathlib.Path(paths.expand(data_dir, setting="--data-dir"))
    if not folder.is_dir():
        raise DataError(f"There is no data directory {folder} to read `{name}` from: {how}")
    return folder


def file(data_dir: str | None, name: str) -> pathlib.Path:
    """Return the path of a file: from here, or where it is not there from the data directory.

    Raises:
      DataError: there are two files of that name, one here and one there.
    """
    path = pathlib.Path(paths.expand(name, setting="--data"))
    if data_dir is None or path.is_absolute():
        return path
    there = pathlib.Path(paths.expand(data_dir, setting="--data-dir")) / path
    if not path.is_file():
        return path if path.exists() and not there.exists() else there
    if there.is_file() and not path.samefile(there):
        raise DataError(
            f"There are two files {path}, here and in the data directory {there.parent}: give the "
            f"whole path of one, such as {there.absolute()}."
        )
    return path


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


def check_several_classes(labels: np.ndarray, *, name: str, tasks: tuple[str, ...] = ()) -> None:
    """Check that there is something to tell apart: two classes among training labels, or more.

    A network of one class is always right, and so is every ticket of it.

    Args:
      labels: (n,) or (n, tasks) of the examples that are trained on.
      name: of the data set, for the message.
      tasks: names of the sets that lie side by side, likewise.

    Raises:
      DataError: all examples are of one class.
    """
    columns = labels.reshape(len(labels), -1).T
    for column, task in zip(columns, tasks or (name,), strict=True):
        if (column == column[0]).all():
            of_set = "" if task == name else f" of {name}"
            raise DataError(
                f"`data`: all {len(column)} training images of {task}{of_set} are of class"
                f" {column[0]}; a network can learn nothing from one class: choose a set of two or"
                " more, or train on more `num_train_examples`."
            )


def held_out(
    count: int, share: float, *, seed: int, name: str, purpose: str = "validation"
) -> np.ndarray:
    """Return the training examples held out for another purpose: a share of them, at random.

    Args:
      count: of training examples.
      share: in [0, 1).
      seed: of the run; the stream of the purpose in replicate 0 draws them.
      name: of the data set, for the message.
      purpose: "validation" or "test".

    Returns:
      (count,) bool.

    Raises:
      ValueError: a share that is not 0 leaves one side without any example.
    """
    count_held = round(share * count)
    setting = {"validation": "validation", "test": "held_out_test"}[purpose]
    settings.require(
        share == 0 or 0 < count_held < count,
        f"`{setting}` = {share} takes {count_held} of the {count} training images of {name}; at"
        f" least one must be for {purpose} and one for training (0 holds none out).",
    )
    is_held_out = np.zeros(count, bool)
    if count_held:
        is_held_out[random_rows(count, count_held, seed=seed, purpose=purpose)] = True
    return is_held_out


def random_rows(count: int, size: int, *, seed: int, purpose: str) -> np.ndarray:
    """Return the places of `size` of `count` examples, at random, by the purpose's stream."""
    order = jax.random.permutation(keys.stream(seed, 0, purpose), count)
    return np.asarray(order)[:size]


def of_each_class(split: Split, count: int, *, key: jax.Array) -> Split:
    """Return examples drawn at random, as many of each class: one of each, then the next of each.

    For scores that see data: the papers score on ten of each class.

    Args:
      split: images and labels.
      count: of each class that occurs, at least 1.
      key: of the draw.

    Raises:
      ValueError: a class has fewer examples, which the message names; or there are several tasks.

    Example:
      >>> split = Split(np.zeros((4, 1, 1, 1), np.uint8), np.array([1, 0, 1, 1]))
      >>> of_each_class(split, 1, key=jax.random.key(0)).labels.tolist()
      [0, 1]
    """
    settings.require(count >= 1, f"`count` must be at least 1; got {count}.")
    settings.require(len(split.labels) > 0, "`split` has no examples.")
    settings.require(
        np.ndim(split.labels) == 1,
        "`split` must have one label for each example, of shape (n,), not one for each task; got"
        f" labels of shape {np.shape(split.labels)}: draw of the sets of a+b one by one.",
    )
    order = np.asarray(jax.random.permutation(key, len(split.labels)))
    classes, sizes = np.unique(split.labels, return_counts=True)
    settings.require(
        bool(count <= sizes.min()),
        f"`count` must be at most {sizes.min()}, the examples of class {classes[sizes.argmin()]}; "
        f"got {count}.",
    )
    labels = split.labels[order]
    places = np.stack([order[labels == label][:count] for label in classes], axis=1).ravel()
    return jax.tree.map(lambda array: array[places], split)


def take(split: Split, rows: np.ndarray) -> Split:
    """Return the examples of a split at `rows`, which increase; all of them are not copied."""
    if len(rows) == len(split.labels):
        return split
    return jax.tree.map(lambda array: array[rows], split)


def spaced(count: int, most: int) -> np.ndarray:
    """Return `most` places of `count`, evenly spaced, or all of them where there are fewer.

    Example:
      >>> spaced(10, 4).tolist(), spaced(2, 4).tolist()
      ([0, 2, 5, 7], [0, 1])
    """
    num_places = min(count, most)
    return np.arange(num_places) * count // num_places


def statistics(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation per channel; sums are of whole numbers and exact.

    Args:
      blocks: arrays (n, height, width, channels), uint8.

    Returns:
      Two arrays (channels,), float32.

    Example:
      >>> mean, std = statistics([np.array([[[[1]]], [[[3]]]], np.uint8)])
      >>> mean.tolist(), std.tolist()
      ([2.0], [1.0])
    """
    levels = np.arange(256)
    counts: np.ndarray = np.zeros((1, 256), np.int64)  # of each level in each channel
    for block in blocks:
        channels = block.reshape(-1, block.shape[-1]).T
        counts = counts + [np.bincount(channel, minlength=256) for channel in channels]
    count = counts[0].sum()
    mean = counts @ levels / count
    variance = np.maximum(counts @ levels**2 / count - mean**2, 0)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def blocks(images: np.ndarray, *, size: int = 1000) -> Iterator[np.ndarray]:
    """Yield images in blocks, so that what is computed of them at once stays small."""
    for start in range(0, len(images), size):
        yield images[start : start + size]
