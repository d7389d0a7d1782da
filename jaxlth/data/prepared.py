"""Image-classification sets of tensorflow-datasets, from the directory where they are prepared.

Reading needs no TensorFlow where a set is prepared as array_record files. Building one does, and
happens only where TensorFlow is installed.
"""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxlth.data import crops, lookup, sources

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # number of channels -> Pillow's name of such pixels
BLOCK = 1000  # records read at once


def read(data_dir: str | None, *, name: str) -> sources.Published:
    """Return an image-classification set of tensorflow-datasets.

    The test split is the set's "test", or "validation" where it has no "test".

    Args:
      data_dir: directory that holds the prepared set as NAME/[CONFIG/]VERSION; None for that of
        tensorflow-datasets, $TFDS_DATA_DIR or ~/tensorflow_datasets.
      name: "NAME", "NAME/CONFIG" or with ":VERSION" at its end; the newest version without it.

    Raises:
      DataError: the set is not prepared and cannot be built; is prepared in another format or
        damaged; or holds something else than images of one size, each with one label.
    """
    folder = lookup.locate(data_dir, name=name)
    with reading(folder):
        return _arrays_of(folder)


@contextlib.contextmanager
def reading(folder: pathlib.Path) -> Iterator[None]:
    """Let whatever goes wrong while a prepared set is read say so in one line."""
    try:
        yield
    except sources.DataError:
        raise
    except Exception as error:  # damaged files surface as errors of five libraries
        raise sources.DataError(
            f"{folder} cannot be read: {lookup.line(error)}; if it is damaged, remove it and"
            " prepare it again."
        ) from error


class Opened(NamedTuple):
    """A prepared set of images with labels."""

    info: Any  # its DatasetInfo
    image: str  # name of the feature
    label: str  # likewise
    test: str  # name of the split
    classes: int
    records: Callable[[str], Any]  # split -> examples by number, their images encoded


def open(folder: pathlib.Path) -> Opened:
    """Return a prepared set whose images are decoded by whoever reads them."""
    import tensorflow_datasets as tfds  # takes a second to import, and only these sets need it

    builder: Any = tfds.builder_from_directory(str(folder), file_format=lookup.FORMAT)
    image, label = _features(builder.info, folder)
    splits = builder.info.splits
    test = next((split for split in ("test", "validation") if split in splits), None)
    if test is None or "train" not in splits:
        raise sources.DataError(
            f'{folder} has the splits {", ".join(splits)}; needed are "train" and "test"'
            ' or "validation"; choose another set.'
        )
    return Opened(
        info=builder.info,
        image=image,
        label=label,
        test=test,
        classes=builder.info.features[label].num_classes,
        records=functools.partial(
            builder.as_data_source, decoders={image: tfds.decode.SkipDecoding()}
        ),
    )


def _arrays_of(folder: pathlib.Path) -> sources.Published:
    opened = open(folder)
    channels = opened.info.features[opened.image].shape[-1]

    def read_split(split: str) -> sources.Split:
        where = f"{folder} ({split})"
        records = opened.records(split)
        arrays = _arrays(records, opened.image, opened.label, channels, where=where)
        sources.check_labels(arrays.labels, classes=opened.classes, where=where)
        return arrays._replace(labels=arrays.labels.astype(np.int32))

    train, test = read_split("train"), read_split(opened.test)
    return sources.Published(train=train, test=test, classes=opened.classes)


def _features(info: Any, folder: pathlib.Path) -> tuple[str, str]:
    """Return the names of the image and of the label among the features of a set."""
    from tensorflow_datasets import features as kinds

    is_dict = isinstance(info.features, kinds.FeaturesDict)
    features: dict[str, Any] = dict(info.features) if is_dict else {}
    images = [key for key, kind in features.items() if isinstance(kind, kinds.Image)]
    labels = [key for key, kind in features.items() if isinstance(kind, kinds.ClassLabel)]
    supervised = info.supervised_keys
    if supervised and len(supervised) == 2:  # the set itself says which of several is meant
        images = [key for key in images if key == supervised[0]] or images
        labels = [key for key in labels if key == supervised[1]] or labels
    is_classification = len(images) == len(labels) == 1 and features[labels[0]].num_classes
    if not is_classification or not _is_plain(features[images[0]]):
        named = ", ".join(f"{key}: {type(kind).__name__}" for key, kind in sorted(features.items()))
        raise sources.DataError(
            f"{folder} is no set for image classification: needed are one Image of uint8 with 1,"
            " 3 or 4 channels and one ClassLabel; its features are"
            f" {named or type(info.features).__name__}."
        )
    return images[0], labels[0]


def _is_plain(image: Any) -> bool:
    return len(image.shape) == 3 and image.shape[-1] in MODES and image.np_dtype == np.uint8


def _arrays(records: Any, image: str, label: str, channels: int, *, where: str) -> sources.Split:
    if len(records) == 0:
        raise sources.DataError(f"{where} holds no example; choose another set.")
    first = _pixels(records[0][image], channels)
    images = np.empty((len(records), *first.shape), np.uint8)
    labels = np.empty(len(records), np.int64)  # 32 bits would bring large ones back into range
    for start in range(0, len(records), BLOCK):
        block = records.__getitems__(list(range(start, min(start + BLOCK, len(records)))))
        for index, record in enumerate(block, start):
            pixels = _pixels(record[image], channels)
            if pixels.shape != first.shape:
                raise sources.DataError(
                    f"{where} holds images of differing sizes: {first.shape} and {pixels.shape}"
                    f" (example {index}); only sets with images of one size are supported."
                )
            images[index], labels[index] = pixels, record[label]
    return sources.Split(images, labels)


def _pixels(encoded: bytes, channels: int) -> np.ndarray:
    """Return (height, width, channels) uint8."""
    pixels = np.asarray(crops.decode(encoded, MODES[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)
