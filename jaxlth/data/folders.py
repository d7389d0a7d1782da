"""Folders of images, a folder for each class: ImageNet as it is unpacked, and TinyImageNet.

DIR/train/CLASS/ holds the images of a class, or DIR/train/CLASS/images/. The test images are in
DIR/val, the published validation images: in folders of the same classes, or in DIR/val/images with
DIR/val/val_annotations.txt, whose lines are FILE, tab, CLASS. Classes are numbered by name.

References:
  Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition Challenge.
  Le and Yang 2015, Tiny ImageNet Visual Recognition Challenge.
"""

import functools
import os
import pathlib

import numpy as np

from jaxlth.data import encoded, sources

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp")
TRAIN, TEST = "train", "val"
ANNOTATIONS = "val_annotations.txt"
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
    root = pathlib.Path(data_dir or ".").expanduser() / name
    for needed in (root, root / TRAIN, root / TEST):
        if not needed.is_dir():
            raise sources.DataError(
                f"There is no folder {needed}; images are read from {root}/{TRAIN}/CLASS/ and"
                f" {root}/{TEST}/CLASS/: give the directory of {name} with `--data-dir DIR`."
            )
    try:
        classes = {each: label for label, each in enumerate(_folders(root / TRAIN))}
        train = _of_classes(root / TRAIN, classes)
        annotations = root / TEST / ANNOTATIONS
        if annotations.is_file():
            test = _annotated(annotations, classes)
        else:
            test = _of_classes(root / TEST, classes)
    except OSError as error:
        raise _unreadable(error.filename or root, error) from error
    count = len(classes)
    return _source(root / TRAIN, train, count), _source(root / TEST, test, count)


def _folders(split: pathlib.Path) -> list[str]:
    with os.scandir(split) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
    if not names:
        raise sources.DataError(f"{split} holds no folder; needed is one for each class of images.")
    return names


def _of_classes(split: pathlib.Path, classes: dict[str, int]) -> Listed:
    found: Listed = []
    for name in _folders(split):
        if name not in classes:
            raise sources.DataError(
                f"{split / name} is the folder of a class that {split.parent / TRAIN} lacks;"
                " remove it or add the training images."
            )
        inner = f"{name}/images" if (split / name / "images").is_dir() else name
        files = _images(split / inner)
        if not files:
            raise sources.DataError(
                f"{split / inner} holds no image ({', '.join(SUFFIXES)}); fetch the class again or"
                " remove its folder."
            )
        label = classes[name]
        found += [(os.fsencode(f"{inner}/{file}"), label) for file in files]
    return found


def _annotated(path: pathlib.Path, classes: dict[str, int]) -> Listed:
    lines = path.read_text(errors="replace").splitlines()
    found: Listed = []
    for number, line in enumerate(filter(str.strip, lines), 1):
        file, _, rest = line.partition("\t")
        name = rest.partition("\t")[0]
        if name not in classes or pathlib.Path(file).name != file:
            raise sources.DataError(
                f"{path}, line {number}: {line[:60]!r} is not a file, a tab and a class of"
                f" {path.parent.parent / TRAIN}; fetch this file again."
            )
        found.append((os.fsencode(f"images/{file}"), classes[name]))
    if not found:
        raise sources.DataError(f"{path} names no image; fetch this file again.")
    return found


def _images(folder: pathlib.Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(SUFFIXES) and entry.name[0] != "." and entry.is_file()
        )


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
    )


def _read(folder: str, files: np.ndarray, labels: np.ndarray, number: int) -> tuple[bytes, int]:
    path = _where(folder, files, number)
    try:
        with open(path, "rb") as file:
            return file.read(), int(labels[number])
    except OSError as error:
        raise _unreadable(path, error) from error


def _where(folder: str, files: np.ndarray, number: int) -> str:
    return os.path.join(folder, os.fsdecode(files[number]))


def _listing(folder: str, files: np.ndarray, labels: np.ndarray) -> bytes:
    root = os.fsencode(folder)
    measured = files[sources.spaced(len(files), MEASURED)].tolist()
    try:
        sizes = np.array([os.stat(os.path.join(root, file)).st_size for file in measured], np.int64)
    except OSError as error:
        raise _unreadable(os.fsdecode(error.filename or folder), error) from error
    return b"".join(array.tobytes() for array in (files, sizes, labels))


def _unreadable(path: str | pathlib.Path, error: OSError) -> sources.DataError:
    return sources.DataError(f"{path} cannot be read: {error.strerror or error}.")
