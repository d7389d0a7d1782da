"""Data sets that memory holds: their arrays, read whole."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxlth.data import identity, lookup, prepared, side_by_side, sources
from jaxlth.data.config import PREPARED, SOURCES, DataConfig, split_rows
from jaxlth.data.inputs import PER_PIXEL
from jaxlth.data.sources import DataError, Info, Split


class Dataset(NamedTuple):
    """The arrays of a data set, in NumPy; statistics are those of the training split."""

    train: Split
    validation: Split | None  # None where no validation split is drawn
    test: Split
    mean: np.ndarray  # (channels,) or the shape of an image, float32, in units of the images
    std: np.ndarray  # likewise; 0 for a channel, or pixel, that is constant


def load(config: DataConfig, *, seed: int) -> tuple[Info, Dataset]:
    """Return a data set; see `data.load`. Examples stay in the order of their publisher."""
    published = _read(config)
    digest = _digest(published, config)
    identity.check_hosts(identity.of_hosts(digest))
    rows = split_rows(config, len(published.train.labels), seed=seed)

    def of(rows: np.ndarray) -> Split:
        return Split(published.train.images[rows], published.train.labels[rows])

    train = of(rows.train)
    sources.check_several_classes(train.labels, name=config.name, tasks=config.names)
    validation = of(rows.validation) if len(rows.validation) else None
    test = of(rows.test) if len(rows.test) else published.test
    per_pixel = config.normalize == PER_PIXEL
    mean, std = statistics(train.images, per_pixel=per_pixel)
    height, width, channels = train.images.shape[1:]
    info = Info(
        name=config.name,
        classes=published.classes,
        shape=(height, width, channels),
        train=len(train.labels),
        validation=len(rows.validation),
        test=len(test.labels),
        tasks=published.tasks,
        widths=published.widths,
        digest=digest,
    )
    return info, Dataset(train, validation, test, mean, std)


def statistics(images: np.ndarray, *, per_pixel: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of images, per channel or for every number of an image.

    Sums of bytes are of whole numbers and exact, those of other images in float64.

    Args:
      images: (n, height, width, channels), uint8 or floating.
      per_pixel: whether every pixel of each channel has its own.

    Returns:
      Two arrays (channels,) or (height, width, channels), float32.

    Example:
      >>> images = np.array([[[[0.0], [1.0]]], [[[0.0], [3.0]]]])
      >>> [each.ravel().tolist() for each in statistics(images, per_pixel=True)]
      [[0.0, 2.0], [0.0, 1.0]]
    """
    if images.dtype == np.uint8 and not per_pixel:
        return sources.statistics(sources.blocks(images))
    mean, variance = _moments(images)
    if not per_pixel:
        channel_mean = mean.mean((0, 1))
        mean, variance = channel_mean, (variance + (mean - channel_mean) ** 2).mean((0, 1))
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def digest(config: DataConfig) -> str:
    """Return the digest of a data set; see `data.identify`."""
    for name in config.names:
        if name.startswith(PREPARED):
            lookup.check_prepared(config.directory, name=name.removeprefix(PREPARED))
    return _digest(_read(config), config)


def _digest(published: sources.Published, config: DataConfig) -> str:
    used = (published.train,) if config.held_out_test else (published.train, published.test)
    return identity.of_arrays(used, classes=published.classes)


def _read(config: DataConfig) -> sources.Published:
    with warnings.catch_warnings():
        if config.held_out_test:  # what is wrong with published test images does not matter then
            warnings.simplefilter("ignore", sources.ShortTestWarning)
        sets = [_published(name, config.directory) for name in config.names]
    return sets[0] if len(sets) == 1 else side_by_side.joined(config.names, sets)


def _published(name: str, data_dir: str | None) -> sources.Published:
    if name.startswith(PREPARED):
        published = prepared.read(data_dir, name=name.removeprefix(PREPARED))
    else:
        published = SOURCES[name](data_dir)
    train, test = published.train.images.shape[1:], published.test.images.shape[1:]
    if train != test:
        raise DataError(
            f"The images of {name} are of shape {train} for training but {test} for"
            " testing; fetch the data set again or choose another."
        )
    return published


def _moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance, (height, width, channels) each, in float64."""
    count, is_bytes = len(images), images.dtype == np.uint8
    sum_dtype = np.int64 if is_bytes else np.float64

    def total(of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.add.reduce(
            [of(block.astype(sum_dtype)).sum(0) for block in sources.blocks(images)]
        )

    mean = total(lambda block: block) / count
    if is_bytes:
        return mean, np.maximum(total(np.square) / count - mean**2, 0)
    variance = total(lambda block: np.square(block - mean)) / count
    constant = images.min(0) == images.max(0)  # whose mean may be off by a last digit
    return mean, np.where(constant, 0, variance)
