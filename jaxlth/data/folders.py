"""Folders of images, a folder for each class: ImageNet as it is unpacked, and TinyImageNet.

DIR/train/CLASS/ holds the images of a class, in subfolders or not. The test images are in DIR/val,
the published validation images: in folders of the same classes, or in DIR/val/images with
DIR/val/val_annotations.txt, whose lines are FILE, tab, CLASS. Classes are numbered by name. Every
file that Pillow decodes is read; one warning counts and names what is left out.

References:
  Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition Challenge.
  Le and Yang 2015, Tiny ImageNet Visual Recognition Challenge.
"""

import functools
import os
import pathlib
import unicodedata
import warnings
from collections.abc import Iterable

import numpy as np

from jaxlth.data import encoded, image_files, sources
from jaxlth.data.image_files import LeftOut
from jaxlth.process import paths

TRAIN, TEST = "train", "val"
ANNOTATIONS = "val_annotations.txt"
OUTSIDE = "beside the folders of classes"
UNNAMED = f"not in {ANNOTATIONS}"
MEASURED = 100_000  # files of a split whose sizes are looked up, evenly spaced; disks may be far
Listed = list[tuple[bytes, int]]  # file, relative to the folder of the split, and label


def read(data_dir: str | None, *, name: str) -> tuple[encoded.Source, encoded.Source]:
    """Return the training and the test images of the folder `name`.

    Args:
      data_dir: directory that holds the folder, or None for the working directory.
      name: of the folder; it may be a path.

    Raises:
      DataError: a folder is missing, cannot be read, or holds no image.
    """
    base = pathlib.Path(paths.expand(data_dir or ".", setting="--data-dir"))
    root = base / paths.expand(name, setting="--data")
    for needed in (root, root / TRAIN, root / TEST):
        if not needed.is_dir():
            raise sources.DataError(
                f"There is no folder {needed}; images are read from {root}/{TRAIN}/CLASS/ and"
                f" {root}/{TEST}/CLASS/: give the directory of {name} with `--data-dir DIR`."
            )
    try:
        classes = {_form(folder): label for label, folder in enumerate(_folders(root / TRAIN))}
        train, left_out = _of_classes(root / TRAIN, classes)
        annotated = (root / TEST / ANNOTATIONS).is_file()
        test, more_left_out = (_annotated if annotated else _of_classes)(root / TEST, classes)
    except OSError as error:
        raise sources.unreadable(error.filename or root, error) from error
    _warn(root, [*left_out, *more_left_out], classes, {label for _, label in test})
    count = len(classes)
    return _source(root / TRAIN, train, count), _source(root / TEST, test, count)


def _folders(split: pathlib.Path) -> list[str]:
    """Return the folders of classes, in the order of their names."""
    with os.scandir(split) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
    if not names:
        raise sources.DataError(f"{split} holds no folder; needed is one for each class of images.")
    by_form: dict[str, str] = {}
    for name in names:
        first_name = by_form.setdefault(_form(name), name)
        if first_name != name:
            raise sources.DataError(
                f"{split} holds two folders of the class {_form(name)}, whose names differ only in"
                f" their Unicode form: {first_name!a} and {name!a}; move all images into one."
            )
    return names


def _form(name: str) -> str:
    """Return a name in the one of several Unicode forms that are written alike."""
    return unicodedata.normalize("NFC", name)


def _of_classes(split: pathlib.Path, classes: dict[str, int]) -> tuple[Listed, list[LeftOut]]:
    """Return the images in folders of classes, and what is left out of the split."""
    labels = {name: _label(split, name, classes) for name in _folders(split)}
    listing = image_files.below(split)
    inside = [path for path in listing.images if "/" in path]
    listed = [(os.fsencode(path), labels[path.partition("/")[0]]) for path in inside]
    left_out = [LeftOut(path, OUTSIDE) for path in listing.images if "/" not in path]
    left_out += [file for file in listing.left_out if not _is_boxes(file.path)]
    empty = labels.keys() - {path.partition("/")[0] for path in inside}
    for name in sorted(empty):
        others = [file for file in left_out if file.path.startswith(f"{name}/")]
        reasons = f" ({image_files.summary(others)})" if others else ""
        raise sources.DataError(
            f"{split / name} holds no image{reasons}; fetch the class again or remove its folder."
        )
    return listed, _within(split, left_out)


def _label(split: pathlib.Path, name: str, classes: dict[str, int]) -> int:
    if _form(name) in classes:
        return classes[_form(name)]
    similar = [
        class_name for class_name in classes if class_name.casefold() == _form(name).casefold()
    ]
    hint = f" (it has {similar[0]})" if similar else ""
    raise sources.DataError(
        f"{split / name} is the folder of a class that {split.parent / TRAIN} lacks{hint};"
        " remove it or add the training images."
    )


def _is_boxes(path: str) -> bool:
    """Return whether a file is TinyImageNet's list of boxes of a class, a part of it as published.

    Example:
      >>> _is_boxes("n01443537/n01443537_boxes.txt"), _is_boxes("n01443537/other_boxes.txt")
      (True, False)
    """
    name, _, file = path.partition("/")
    return file == f"{name}_boxes.txt"


def _annotated(split: pathlib.Path, classes: dict[str, int]) -> tuple[Listed, list[LeftOut]]:
    """Return the images that TinyImageNet's annotations name, and what else the split holds."""
    path, listing = split / ANNOTATIONS, image_files.below(split)
    existing = {*listing.images, *(left_out.path for left_out in listing.left_out)}
    existing -= {
        left_out.path for left_out in listing.left_out if left_out.reason in image_files.UNREADABLE
    }
    lines = path.read_text("utf-8", errors="replace").splitlines()
    listed: Listed = []
    for number, line in enumerate(filter(str.strip, lines), 1):
        file, _, after = line.partition("\t")
        name = _form(after.partition("\t")[0])
        if name not in classes or pathlib.Path(file).name != file:
            raise sources.DataError(
                f"{path}, line {number}: {line[:60]!r} is not a file, a tab and a class of"
                f" {split.parent / TRAIN}; fetch this file again."
            )
        if f"images/{file}" not in existing:
            raise sources.DataError(
                f"{path}, line {number}: there is no file {split / 'images' / file}; fetch the"
                " images again."
            )
        listed.append((os.fsencode(f"images/{file}"), classes[name]))
    if not listed:
        raise sources.DataError(f"{path} names no image; fetch this file again.")
    named = {ANNOTATIONS, *(os.fsdecode(file) for file, _ in listed)}
    everything = [*(LeftOut(file, UNNAMED) for file in listing.images), *listing.left_out]
    return listed, _within(
        split, [left_out for left_out in everything if left_out.path not in named]
    )


def _within(split: pathlib.Path, left_out: Iterable[LeftOut]) -> list[LeftOut]:
    return [LeftOut(f"{split.name}/{path}", reason) for path, reason in left_out]


def _warn(
    root: pathlib.Path, left_out: list[LeftOut], classes: dict[str, int], tested: set[int]
) -> None:
    """Warn once of files of a set that are not read, and of classes that are doubtful."""
    messages = [image_files.summary(left_out)] if left_out else []
    untested = [name for name, label in classes.items() if label not in tested]
    if untested:
        messages.append(
            f"{TEST} has no image of {len(untested)} of {len(classes)} classes"
            f" ({image_files.few(untested)}), of which accuracies say nothing"
        )
    by_case: dict[str, str] = {}
    similar = [name for name in classes if by_case.setdefault(name.casefold(), name) != name]
    if similar:
        pairs = [f"{by_case[name.casefold()]} and {name}" for name in similar]
        messages.append(
            f"classes differ only in the case of their names ({image_files.few(pairs)})"
        )
    if messages:
        warnings.warn(f"{root}: {'; '.join(messages)}.", sources.DataWarning, stacklevel=3)


def _source(folder: pathlib.Path, listed: Listed, classes: int) -> encoded.Source:
    # Arrays, not lists: for ImageNet a tenth of the memory, in each worker.
    files = np.array([file for file, _ in listed])
    labels = np.array([label for _, label in listed], np.int32)
    return encoded.Source(
        examples=len(files),
        classes=classes,
        read=functools.partial(_read, str(folder), files, labels),
        where=functools.partial(_where, str(folder), files),
        listing=functools.partial(_listing, str(folder), files, labels),
        labels=labels,
    )


def _read(folder: str, files: np.ndarray, labels: np.ndarray, number: int) -> tuple[bytes, int]:
    path = _where(folder, files, number)
    try:
        with open(path, "rb") as file:
            return file.read(), int(labels[number])
    except OSError as error:
        raise sources.unreadable(path, error) from error


def _where(folder: str, files: np.ndarray, number: int) -> str:
    return os.path.join(folder, os.fsdecode(files[number]))


def _listing(folder: str, files: np.ndarray, labels: np.ndarray) -> bytes:
    root = os.fsencode(folder)
    measured = files[sources.spaced(len(files), MEASURED)].tolist()
    try:
        sizes = np.array([os.stat(os.path.join(root, file)).st_size for file in measured], np.int64)
    except OSError as error:
        raise sources.unreadable(os.fsdecode(error.filename or folder), error) from error
    return b"".join(array.tobytes() for array in (files, sizes, labels))
