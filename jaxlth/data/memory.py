"""Data sets that memory holds: their arrays, read whole."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlth import settings
from jaxlth.data import identity, input_warnings, lookup, npz, prepared, side_by_side, sources, text
from jaxlth.data.augment import FLIP_CROP
from jaxlth.data.config import OWN, PREPARED, SOURCES, DataConfig, split_rows
from jaxlth.data.inputs import NONE, NORMALIZERS, PER_PIXEL
from jaxlth.data.sources import DataError, Info, Split


class Dataset(NamedTuple):
    """The arrays of a data set, in NumPy; statistics are those of the training split."""

    train: Split
    validation: Split | None  # None where no validation split is drawn
    test: Split
    mean: np.ndarray  # (channels,) or the shape of an image, float32, in units of the images
    std: np.ndarray  # likewise; 0 for a channel, or pixel, that is constant


def load_arrays(
    config: DataConfig, published: sources.Published, *, name: str, seed: int
) -> tuple[Info, Dataset]:
    """Return a data set of arrays; see `data.load`. Examples stay in their order."""
    digest = digest_of(published, config)
    identity.check_hosts(identity.of_hosts(digest))
    rows = split_rows(config, len(published.train.labels), seed=seed)
    train = sources.take(published.train, rows.train)
    if published.classes and config.name != OWN:  # what one's own labels are, the loss knows
        labels = train.labels if published.tasks else train.labels.reshape(-1)
        sources.check_several_classes(
            labels, name=name, tasks=config.names if published.tasks else ()
        )
        # Published sets have all classes in all splits.
        if config.is_npz and train.labels.ndim == 1:
            input_warnings.of_classes(published.train.labels, published.test.labels, name=name)
    if not name.startswith(PREPARED):  # which tensorflow-datasets has looked at
        input_warnings.of_equal_inputs(train.images, name=name)
    _check_images(train.images, config)
    if config.is_own or config.is_npz:
        input_warnings.of_ranges(train, published.test, name=name)
        if config.normalize != NONE:
            input_warnings.of_axes(train.images, name=name)
    validation = published.validation
    if len(rows.validation):
        validation = sources.take(published.train, rows.validation)
    test = sources.take(published.train, rows.test) if len(rows.test) else published.test
    moments = mean_std(train.images, normalize=config.normalize)
    info = info_of(
        train.images,
        published,
        moments,
        name=name,
        normalize=config.normalize,
        digest=digest,
        examples=tuple(0 if s is None else len(s.labels) for s in (train, validation, test)),
    )
    return info, Dataset(train, validation, test, *moments)


def _check_images(images: Any, config: DataConfig) -> None:
    """Raise ValueError where the library's augmentation or normalisation needs other inputs."""
    shape = np.shape(images) if isinstance(images, np.ndarray) else ()
    settings.require(
        config.augment != FLIP_CROP or len(shape) == 4,
        f"`augment` {config.augment} needs images (n, height, width, channels); got inputs of "
        f"shape {shape or 'of several arrays'}.",
    )
    if config.normalize == "unit-range" and images.dtype != np.uint8:
        low, high = float(images.min()), float(images.max())
        settings.require(
            low >= 0 and 1 < high <= 255,
            "`normalize` unit-range divides by 255, and needs inputs in 0..255, the largest above "
            f"1; the training inputs lie in {low:.4g} to {high:.4g}.",
        )


def info_of(
    images: Any,
    published: sources.Published,
    moments: tuple[np.ndarray, np.ndarray],
    *,
    name: str,
    normalize: str,
    digest: str,
    examples: tuple[int, ...],
) -> Info:
    """Return what a data set is; `images` are some of its inputs, `examples` sizes of splits."""
    train, validation, test = examples
    return Info(
        name=name,
        classes=published.classes,
        shape=images.shape[1:] if isinstance(images, np.ndarray) else (),
        train=train,
        validation=validation,
        test=test,
        tasks=published.tasks,
        widths=published.widths,
        digest=digest,
        example=example(images, *moments, normalize=normalize),
    )


def example(images: Any, mean: np.ndarray, std: np.ndarray, *, normalize: str) -> Any:
    """Return shape and type of the input of one example, as the network sees it.

    Example:
      >>> example(np.zeros((5, 8, 8, 1), np.uint8), 0, 1, normalize="unit-range")
      ShapeDtypeStruct(shape=(8, 8, 1), dtype=float32)
    """
    inputs = jax.eval_shape(NORMALIZERS[normalize], images, mean, std)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), inputs)


def mean_std(images: Any, *, normalize: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the statistics of training images that a normalisation needs: 0 and 1 for none."""
    if normalize == NONE:
        return np.zeros((), np.float32), np.ones((), np.float32)
    settings.require(
        images.ndim > 1,
        f"`normalize` {normalize} needs inputs of shape (n, ...); got ({len(images)},): store "
        "inputs[:, None].",
    )
    return statistics(images, per_pixel=normalize == PER_PIXEL)


def statistics(images: np.ndarray, *, per_pixel: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of images, per channel or for every number of an image.

    Sums of bytes are of whole numbers and exact, those of other images in float64.

    Args:
      images: (n, height, width, channels), or (n, ..., channels), uint8 or floating.
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
        axes = tuple(range(mean.ndim - 1))
        channel_mean = mean.mean(axes)
        mean, variance = channel_mean, (variance + (mean - channel_mean) ** 2).mean(axes)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def digest(config: DataConfig) -> str:
    """Return the digest of a data set; see `data.identify`."""
    for name in config.names:
        if name.startswith(PREPARED):
            lookup.check_prepared(config.directory, name=name.removeprefix(PREPARED))
    return digest_of(read(config), config)


def digest_of(published: sources.Published, config: DataConfig) -> str:
    """Return the digest of arrays, test images left out if others are held out for them."""
    used = [published.train, *[published.test] * (not config.held_out_test)]
    used += [] if published.validation is None else [published.validation]
    return identity.of_arrays(used, classes=published.classes)


def read(config: DataConfig) -> sources.Published:
    """Return a data set as its publisher gives it; nothing is drawn from it."""
    with warnings.catch_warnings():
        if config.held_out_test:  # what is wrong with published test images does not matter then
            warnings.simplefilter("ignore", sources.ShortTestWarning)
        if config.is_text:
            return text.read(config)
        sets = [_published(name, config.directory) for name in config.names]
    return sets[0] if len(sets) == 1 else side_by_side.joined(config.names, sets)


def _published(name: str, data_dir: str | None) -> sources.Published:
    if name.startswith(PREPARED):
        published = prepared.read(data_dir, name=name.removeprefix(PREPARED))
    elif name.startswith("npz:"):
        published = npz.read(sources.file(data_dir, name.removeprefix("npz:")))
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
