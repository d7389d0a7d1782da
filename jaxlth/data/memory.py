"""Data sets that memory holds: their arrays, read whole."""

import warnings
from typing import NamedTuple

import numpy as np

from jaxlth.data import choices, prepared, sources
from jaxlth.data.choices import PREPARED, DataSettings
from jaxlth.data.sources import DataError, Info, Split


class Dataset(NamedTuple):
    """The arrays of a data set, in NumPy; statistics are those of the training split."""

    train: Split
    validation: Split | None  # None where no validation split is drawn
    test: Split
    mean: np.ndarray  # (channels,), float32, in units of the images (0..255)
    std: np.ndarray  # (channels,), float32, likewise; 0 for a channel that is constant


def load(chosen: DataSettings, *, seed: int) -> tuple[Info, Dataset]:
    """Return a data set; see `data.load`. Examples stay in the order of their publisher."""
    with warnings.catch_warnings():
        if chosen.held_out_test:  # what is wrong with published test images does not matter then
            warnings.simplefilter("ignore", sources.DataWarning)
        published = _read(chosen)
    rows = choices.drawn_rows(chosen, len(published.train.labels), seed=seed)

    def of(rows: np.ndarray) -> Split:
        return Split(published.train.images[rows], published.train.labels[rows])

    train = of(rows.train)
    validation = of(rows.validation) if len(rows.validation) else None
    test = of(rows.test) if len(rows.test) else published.test
    mean, std = sources.statistics(sources.blocks(train.images))
    height, width, channels = train.images.shape[1:]
    info = Info(
        name=chosen.name,
        classes=published.classes,
        shape=(height, width, channels),
        train=len(train.labels),
        validation=len(rows.validation),
        test=len(test.labels),
    )
    return info, Dataset(train, validation, test, mean, std)


def _read(chosen: DataSettings) -> sources.Published:
    data_dir = chosen.directory
    if chosen.name.startswith(PREPARED):
        published = prepared.read(data_dir, name=chosen.name.removeprefix(PREPARED))
    else:
        published = choices.SOURCES[chosen.name](data_dir)
    train, test = published.train.images.shape[1:], published.test.images.shape[1:]
    if train != test:
        raise DataError(
            f"The images of {chosen.name} are of shape {train} for training but {test} for"
            " testing; fetch the data set again or choose another."
        )
    return published
