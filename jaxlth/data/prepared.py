"""Image-classification sets of tensorflow-datasets, from the directory where they are prepared.

Reading needs no TensorFlow where a set is prepared as array_record files. Building one does, and
happens only where TensorFlow is installed; everything is looked up before tensorflow-datasets is
called, whose own search for a missing set ends after minutes or in a message about file formats.
"""

import difflib
import fnmatch
import importlib.util
import io
import json
import os
import pathlib
import re
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import PIL.Image

from jaxlth.data import sources

FORMAT = "array_record"
NAME = re.compile(r"(?P<set>\w+)(/(?P<config>[^:/][^:]*))?(:(?P<version>[\d.*]+))?")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # number of channels -> Pillow's name of such pixels
BLOCK = 1000  # records read at once
PATIENCE = 10.0  # seconds to wait for a sign of the publisher's server


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
    root = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    folder = find(pathlib.Path(root).expanduser(), name) or _build(root, name)
    _check_format(folder)
    try:
        return _open(folder)
    except sources.DataError:
        raise
    except Exception as error:  # damaged files surface as errors of five libraries
        raise sources.DataError(
            f"{folder} cannot be read: {_line(error)}; if it is damaged, remove it and prepare it"
            " again."
        ) from error


def find(root: pathlib.Path, name: str) -> pathlib.Path | None:
    """Return the directory of a prepared set, NAME/[CONFIG/]VERSION in `root`, or None.

    Raises:
      DataError: `name` is no name of a set, or leaves open which of several configs is meant.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise sources.DataError(
            f"`data`: tfds:{name} must have the form tfds:NAME, tfds:NAME/CONFIG or"
            " tfds:NAME:VERSION."
        )
    base = root / match["set"]
    if match["config"]:
        return _newest(base / match["config"], match["version"])
    if found := _newest(base, match["version"]):
        return found
    configs = {path.parent.parent.name for path in base.glob("*/*/dataset_info.json")}
    default = _default_config(base)
    if default not in configs and len(configs) > 1:
        raise sources.DataError(
            f"{base} holds several configs; choose one: "
            + ", ".join(f"tfds:{match['set']}/{config}" for config in sorted(configs))
        )
    config = default if default in configs else next(iter(configs), None)
    return _newest(base / config, match["version"]) if config else None


def _newest(base: pathlib.Path, version: str | None) -> pathlib.Path | None:
    folders = [path.parent for path in base.glob("*.*.*/dataset_info.json")]
    folders = [path for path in folders if fnmatch.fnmatch(path.name, version or "*")]
    return max(folders, key=lambda path: _numbers(path.name), default=None)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _default_config(base: pathlib.Path) -> str | None:
    try:
        return json.loads((base / ".config" / "metadata.json").read_text())["default_config_name"]
    except (OSError, ValueError, KeyError):
        return None


def _check_format(folder: pathlib.Path) -> None:
    path = folder / "dataset_info.json"
    try:
        info = json.loads(path.read_text())
        formats = {info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", [])}
    except (OSError, ValueError, AttributeError) as error:
        raise sources.DataError(
            f"{path} is damaged: {_line(error)}; remove {folder} and prepare the set again."
        ) from error
    if FORMAT not in formats:
        raise sources.DataError(
            f"{folder} is prepared as {', '.join(sorted(formats))}, but only {FORMAT} is read here:"
            f' prepare it with `builder.download_and_prepare(file_format="{FORMAT}")` in another'
            " directory, or convert it with `tfds convert_format`."
        )


def _build(root: str, name: str) -> pathlib.Path:
    """Download and prepare a set, where TensorFlow is installed; return its directory."""
    import tensorflow_datasets as tfds  # takes a second to import, and only these sets need it

    base = pathlib.Path(root).expanduser()
    names = tfds.list_builders(with_community_datasets=False)
    short = name.partition("/")[0].partition(":")[0]
    close = difflib.get_close_matches(short, names, n=1)
    hint = f" Did you mean tfds:{close[0]}?" if short not in names and close else ""
    missing = f"There is no prepared data set {name} in {base}"
    if importlib.util.find_spec("tensorflow") is None:
        place = base / short / "[CONFIG/]VERSION" / "dataset_info.json"
        raise sources.DataError(
            f"{missing} (looked for {place}).{hint} Give the directory of a prepared set with"
            " `--data-dir DIR` or $JAXLTH_DATA, or install TensorFlow to build it here:"
            " pip install 'jaxlth[tensorflow]'."
        )
    if short not in names:
        raise sources.DataError(f"{missing}, and tensorflow-datasets cannot build {short}.{hint}")
    try:
        builder = tfds.builder(name, data_dir=str(base), file_format=FORMAT)
        _check_reachable(list(builder.url_infos or []))
        builder.download_and_prepare(file_format=FORMAT)
    except Exception as error:  # whatever stops a third party's download or its files
        raise sources.DataError(
            f"{missing}, and building it failed: {_line(error)}. Check the network and the space on"
            " the disk, or give the directory of a prepared set with `--data-dir DIR`."
        ) from error
    return pathlib.Path(builder.data_dir)


def _check_reachable(urls: list[str]) -> None:
    """Raise OSError at once where a download would retry for minutes; any answer will do."""
    for url in [url for url in urls if url.startswith("http")][:1]:
        try:
            urllib.request.urlopen(url, timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            pass
        except OSError as error:
            raise OSError(f"{url} cannot be reached ({getattr(error, 'reason', error)})") from error


def _open(folder: pathlib.Path) -> sources.Published:
    import tensorflow_datasets as tfds  # takes a second to import, and only these sets need it

    builder: Any = tfds.builder_from_directory(str(folder), file_format=FORMAT)
    image, label = _features(builder.info, folder)
    splits = builder.info.splits
    test = next((split for split in ("test", "validation") if split in splits), None)
    if test is None or "train" not in splits:
        raise sources.DataError(
            f'{folder} has the splits {", ".join(splits)}; needed are "train" and "test"'
            ' or "validation"; choose another set.'
        )
    classes = builder.info.features[label].num_classes
    channels = builder.info.features[image].shape[-1]
    decoders = {image: tfds.decode.SkipDecoding()}

    def read_split(split: str) -> sources.Split:
        records = builder.as_data_source(split=split, decoders=decoders)
        return _arrays(records, image, label, channels, where=f"{folder} ({split})")

    published = sources.Published(train=read_split("train"), test=read_split(test), classes=classes)
    for split, (_, labels) in {"train": published.train, test: published.test}.items():
        sources.check_labels(labels, classes=classes, where=f"{folder} ({split})")
    return published


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
    whole = len(images) == len(labels) == 1 and features[labels[0]].num_classes
    if not whole or not _is_plain(features[images[0]]):
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
    labels = np.empty(len(records), np.int32)
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
    try:
        with PIL.Image.open(io.BytesIO(encoded)) as image:
            pixels = np.asarray(image.convert(MODES[channels]))
    except PIL.UnidentifiedImageError as error:
        raise ValueError("an example holds no image") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _line(error: BaseException) -> str:
    """Return an error as the first line of its message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
