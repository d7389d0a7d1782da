"""Data sets as arrays: uint8 images with labels, split for training, validation and testing.

Images stay whole numbers until the training step, which normalises them on the device with the mean
and the standard deviation of the training images. The validation split is drawn from the training
set and belongs neither to training nor to its statistics; the test split is the publisher's.
"""

import dataclasses
import functools
import os
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxlth import settings as settings_lib
from jaxlth.data import cifar, digits, idx, prepared, sources, synthetic
from jaxlth.data.augment import AUGMENTATIONS
from jaxlth.data.sources import DataError, Split

__all__ = [
    "AUGMENTATIONS",
    "NORMALIZERS",
    "SOURCES",
    "DataError",
    "DataSettings",
    "Dataset",
    "Info",
    "Split",
    "load",
    "normalize",
    "unit_norm",
]

SOURCES = {
    "digits": digits.read,
    "synthetic": synthetic.read,
    "mnist": functools.partial(idx.read, name="mnist"),
    "fashion_mnist": functools.partial(idx.read, name="fashion_mnist"),
    "cifar10": functools.partial(cifar.read, name="cifar10"),
    "cifar100": functools.partial(cifar.read, name="cifar100"),
}
PREPARED = "tfds:"  # prefix of names that tensorflow-datasets reads


class Dataset(NamedTuple):
    """The arrays of a data set, in NumPy; statistics are those of the training split."""

    train: Split
    validation: Split | None  # None where no validation split is drawn
    test: Split
    mean: np.ndarray  # (channels,), float32, in units of the images (0..255)
    std: np.ndarray  # (channels,), float32, likewise; 0 for a channel that is constant


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info:
    """What a data set is, without its arrays."""

    name: str
    classes: int
    shape: tuple[int, int, int]  # height, width, channels
    train: int  # number of examples, the validation split taken out
    validation: int
    test: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which data set, and how much of its training set is kept for validation."""

    name: Annotated[str, tyro.conf.arg(name="data")] = "digits"
    """Data set: digits (8x8 images that scikit-learn carries), synthetic (32x32, made on the fly),
    mnist, fashion_mnist, cifar10, cifar100 (its fine labels), or tfds:NAME for an
    image-classification set of tensorflow-datasets, such as tfds:svhn_cropped or
    tfds:NAME/CONFIG:VERSION."""

    data_dir: str | None = settings_lib.outside(None)
    """Directory with a folder for each data set. Without it $JAXLTH_DATA is used, and if that is
    not set either, tfds:NAME is read from $TFDS_DATA_DIR or ~/tensorflow_datasets. Digits need
    none."""

    validation: float = 0.1
    """Share of the training set kept for validation, from 0 (no validation) to less than 1."""

    held_out_test: float = 0.0
    """Share of the training set kept for testing in place of the published test images, from 0
    (those are used) to less than 1."""

    examples: int | None = None
    """Images to train on, drawn from what is left of the training set; all if not given."""

    normalize: str = "statistics"
    """How images are normalised in each step: statistics (mean 0 and standard deviation 1 over the
    training set, per channel) or unit-norm (each image divided by its Euclidean norm)."""

    augment: str = "none"
    """How training images are changed in each step: none, or flip-crop (mirrored with probability
    1/2, and shifted by up to 4 pixels in each direction with 0 from beyond the edge)."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if not (self.name.startswith(PREPARED) and len(self.name) > len(PREPARED)):
            settings_lib.known("data", self.name, [*SOURCES, f"{PREPARED}NAME"])
        settings_lib.require(
            self.name != f"{PREPARED}NAME",
            f"`data`: put the name of a data set after {PREPARED!r}, as in tfds:cifar10.",
        )
        settings_lib.known("normalize", self.normalize, NORMALIZERS)
        settings_lib.known("augment", self.augment, AUGMENTATIONS)
        for field in ("validation", "held_out_test"):
            share = getattr(self, field)
            settings_lib.require(
                0 <= share < 1,
                f"`{field}`, a share of the training set, must lie in [0, 1); got {share}.",
            )
        settings_lib.require(
            self.examples is None or self.examples >= 1,
            f"`examples` must be at least 1; got {self.examples}.",
        )


def load(settings: DataSettings, *, seed: int) -> tuple[Info, Dataset]:
    """Return a data set, read from its files, with a validation split drawn from its training set.

    The same settings and seed give the same split, whatever else a run does. Examples stay in the
    order of their publisher.

    Args:
      settings: which data set; share of the training set for validation.
      seed: of the run; the stream "validation" of replicate 0 draws the split.

    Raises:
      DataError: the data set is missing or damaged; the message names the file and what to do.
      ValueError: the share for validation leaves a split without any example.

    Example:
      >>> info, data = load(DataSettings(name="digits"), seed=0)
      >>> info.train, info.validation, info.test, data.train.images.shape
      (1294, 144, 359, (1294, 8, 8, 1))
    """
    published = _read(settings)
    train, test = _hold_out(published.train, settings.held_out_test, "test", settings, seed)
    train, validation = _hold_out(train, settings.validation, "validation", settings, seed)
    train, test = _some(train, settings, seed), test or published.test
    mean, std = sources.statistics(sources.blocks(train.images))
    data = Dataset(train, validation, test, mean, std)
    height, width, channels = train.images.shape[1:]
    info = Info(
        name=settings.name,
        classes=published.classes,
        shape=(height, width, channels),
        train=len(train.labels),
        validation=0 if validation is None else len(validation.labels),
        test=len(test.labels),
    )
    return info, data


def normalize(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Return images with mean 0 and standard deviation 1 over the training set, per channel.

    Args:
      images: (..., channels) in the units of `mean`; uint8 as they are stored.
      mean: (channels,) of the training images.
      std: (channels,) likewise; a channel with 0 is constant and is only centred.

    Returns:
      (..., channels) float32.

    Example:
      >>> images = jnp.array([[1], [5]], jnp.uint8)
      >>> normalize(images, jnp.array([3.0]), jnp.array([2.0])).tolist()
      [[-1.0], [1.0]]
    """
    return (images.astype(jnp.float32) - mean) / jnp.where(std == 0, 1, std)


def unit_norm(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Return each image divided by its Euclidean norm; an image of zeros stays as it is.

    Args:
      images: (n, height, width, channels).
      mean: not used; here so that all normalisations are called alike.
      std: not used.

    Returns:
      (n, height, width, channels) float32.

    Example:
      >>> unit_norm(jnp.array([[[[3], [4]]]], jnp.uint8), None, None).ravel().tolist()
      [0.6000000238418579, 0.800000011920929]

    References:
      Frankle & Carbin 2019: their published code for MNIST normalises so.
    """
    del mean, std
    images = images.astype(jnp.float32)
    norm = jnp.sqrt(jnp.sum(images**2, axis=(1, 2, 3), keepdims=True))
    return images / jnp.where(norm == 0, 1, norm)


NORMALIZERS = {"statistics": normalize, "unit-norm": unit_norm}


def _read(settings: DataSettings) -> sources.Published:
    data_dir = settings.data_dir or os.environ.get("JAXLTH_DATA") or None
    if settings.name.startswith(PREPARED):
        published = prepared.read(data_dir, name=settings.name.removeprefix(PREPARED))
    else:
        published = SOURCES[settings.name](data_dir)
    train, test = published.train.images.shape[1:], published.test.images.shape[1:]
    if train != test:
        raise DataError(
            f"The images of {settings.name} are of shape {train} for training but {test} for"
            " testing; fetch the data set again or choose another."
        )
    return published


def _hold_out(
    train: Split, share: float, purpose: str, chosen: DataSettings, seed: int
) -> tuple[Split, Split | None]:
    """Return what stays for training, and the share held out for a purpose (None for none)."""
    held = sources.held_out(len(train.labels), share, seed=seed, name=chosen.name, purpose=purpose)
    if not held.any():
        return train, None
    kept = Split(train.images[~held], train.labels[~held])
    return kept, Split(train.images[held], train.labels[held])


def _some(train: Split, chosen: DataSettings, seed: int) -> Split:
    """Return the examples to train on, in the order of their publisher."""
    count = len(train.labels)
    if chosen.examples is None:
        return train
    settings_lib.require(
        chosen.examples <= count,
        f"`examples` must be at most the {count} training images of {chosen.name} that are not"
        f" held out; got {chosen.examples}.",
    )
    some = np.sort(sources.drawn(count, chosen.examples, seed=seed, purpose="examples"))
    return Split(train.images[some], train.labels[some])
