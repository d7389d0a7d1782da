"""Data sets of images with labels, split for training, validation and testing.

Images stay whole numbers until the training step, which normalises them on the device with the mean
and the standard deviation of the training images. The validation split is drawn from the training
set and belongs neither to training nor to its statistics; the test split is the publisher's. A set
is held in memory as arrays, or streamed: its images are decoded when they are needed. Sets in
memory may lie side by side; each is a task then, with inputs and outputs of its own.
"""

from jaxlth.data import memory, streamed
from jaxlth.data.arrays import ArraySource, from_arrays
from jaxlth.data.augment import AUGMENTATIONS
from jaxlth.data.config import (
    NAMES,
    NORMALIZERS,
    OWN,
    OWN_MAPPED,
    SOURCES,
    DataConfig,
    StreamConfig,
)
from jaxlth.data.identity import Identity, directory
from jaxlth.data.inputs import normalize, unit_norm
from jaxlth.data.memmaps import label_type
from jaxlth.data.memory import Dataset
from jaxlth.data.side_by_side import tasks
from jaxlth.data.sources import DataError, Info, Split, of_each_class
from jaxlth.data.streamed import Streamed
from jaxlth.settings import check_kind

__all__ = [
    "AUGMENTATIONS",
    "NAMES",
    "NORMALIZERS",
    "OWN",
    "OWN_MAPPED",
    "SOURCES",
    "ArraySource",
    "DataConfig",
    "DataError",
    "Dataset",
    "Identity",
    "Info",
    "Split",
    "StreamConfig",
    "Streamed",
    "directory",
    "from_arrays",
    "identify",
    "label_type",
    "load",
    "normalize",
    "of_each_class",
    "tasks",
    "unit_norm",
]


def load(
    config: DataConfig, *, seed: int, source: ArraySource | None = None
) -> tuple[Info, Dataset | Streamed]:
    """Return a data set, with a validation split drawn from its training set.

    The same settings and seed give the same split, whatever else a run does.

    Args:
      config: which data set; share of the training set for validation.
      seed: of the run; the stream "validation" of replicate 0 draws the split.
      source: arrays of `from_arrays`, in place of the set that the settings name.

    Raises:
      DataError: the data set is missing or damaged; the message names the file and what to do.
      ValueError: the share for validation leaves a split without any example.

    Example:
      >>> info, data = load(DataConfig(name="digits"), seed=0)
      >>> info.train, info.validation, info.test, data.train.images.shape
      (1294, 144, 359, (1294, 8, 8, 1))
    """
    check_kind("config", config, isinstance(config, DataConfig), "a `DataConfig`")
    if source is not None:
        config = source.config(config)
        read_arrays = streamed.load_arrays if config.streamed else memory.load_arrays
        return read_arrays(config, source.published, name=source.name, seed=seed)
    _check_named(config)
    if config.streamed:
        return streamed.load(config, seed=seed)
    return memory.load_arrays(config, memory.read(config), name=config.name, seed=seed)


def identify(config: DataConfig, *, source: ArraySource | None = None) -> Identity:
    """Return the identity of a data set, which another one of its name lacks; nothing is built.

    Args:
      config: which data set.
      source: arrays of `from_arrays`, in place of the set that the settings name.

    Raises:
      DataError: the data set is missing, not prepared yet, or damaged.

    Example:
      >>> info, _ = load(DataConfig(name="moons"), seed=0)
      >>> identify(DataConfig(name="moons")) == Identity(info.digest, None)
      True
    """
    check_kind("config", config, isinstance(config, DataConfig), "a `DataConfig`")
    if source is not None:
        return Identity(memory.digest_of(source.published, source.config(config)), None)
    _check_named(config)
    digest_of = streamed.digest if config.streamed else memory.digest
    return Identity(digest_of(config), directory(config))


def _check_named(config: DataConfig) -> None:
    """Raise DataError where settings name no set that can be read."""
    if config.name in (OWN, OWN_MAPPED):
        raise DataError(
            f"`data` {config.name} stands for arrays that are given in Python, by"
            " `data.from_arrays`; they are not here."
        )
