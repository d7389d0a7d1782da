"""MNIST and Fashion-MNIST from the four IDX files of their publishers, plain or gzipped.

An IDX file is a big-endian header (two zero bytes, a byte for the type, a byte for the number of
axes, then 32 bits for the length of each axis) and the values in C order.

References:
  LeCun, Cortes and Burges 1998, The MNIST database of handwritten digits.
  Xiao, Rasul and Vollgraf 2017, Fashion-MNIST.
"""

import gzip
import math
import pathlib
import struct
import zlib

import numpy as np

from jaxlth.data import published, sources

CLASSES = 10
UINT8 = 0x08
PUBLISHERS = {
    "mnist": "as 'The MNIST database of handwritten digits' (LeCun, Cortes, Burges)",
    "fashion_mnist": "as 'Fashion-MNIST' (Zalando Research, on GitHub)",
}
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read(data_dir: str | None, *, name: str) -> sources.Published:
    """Return MNIST or a set published like it.

    Args:
      data_dir: directory that holds the folder `name` with the four files, or that folder itself.
      name: "mnist" or "fashion_mnist"; also the name of the folder.

    Raises:
      DataError: no directory is given, a file is missing, damaged or does not fit the others, or
        files are those of another set; see `published.check`.
    """
    folder = _folder(data_dir, name)
    train, test = (_split(folder, name, *files) for files in FILES.values())
    paths = [_path(folder, name, labels) for _, labels in FILES.values()]
    published.check(name, zip(paths, (train.labels, test.labels), strict=True))
    return sources.Published(train=train, test=test, classes=CLASSES)


def read_file(path: pathlib.Path, *, axes: int) -> np.ndarray:
    """Return the values of one IDX file of bytes.

    Args:
      path: the file; gunzipped if its name ends in ".gz".
      axes: the number of axes it must have: 3 for images, 1 for labels.

    Returns:
      Array of uint8 with the shape that the header gives; read-only.

    Raises:
      DataError: the file cannot be read, is no such IDX file, or is shorter or longer than its
        header says.
    """
    content = _content(path)
    header = 4 + 4 * axes
    magic = bytes([0, 0, UINT8, axes])
    if len(content) < header:
        raise _damaged(path, f"it ends within its header, after {len(content)} of {header} bytes")
    if content[:4] != magic:
        raise _damaged(path, f"it starts with {content[:4].hex()}, not with {magic.hex()} as IDX")
    shape = struct.unpack(f">{axes}I", content[4:header])
    size = math.prod(shape)
    if len(content) - header != size:
        kind = "truncated" if len(content) - header < size else "too long"
        size_read = len(content) - header
        raise _damaged(path, f"it is {kind}: {size_read} bytes of values, {size} by its header")
    if size == 0:
        raise _damaged(path, f"it is empty: its header gives the shape {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(path: pathlib.Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _damaged(path, f"it is no whole gzip file ({error})") from error
    except OSError as error:
        raise sources.unreadable(path, error) from error


def _damaged(path: pathlib.Path, problem: str) -> sources.DataError:
    return sources.DataError(f"{path} is damaged: {problem}; fetch this file again.")


def _split(folder: pathlib.Path, name: str, images: str, labels: str) -> sources.Split:
    images_path, labels_path = _path(folder, name, images), _path(folder, name, labels)
    pixels, classes = read_file(images_path, axes=3), read_file(labels_path, axes=1)
    if len(pixels) != len(classes):
        raise sources.DataError(
            f"{images_path} holds {len(pixels)} images but {labels_path.name} beside it"
            f" {len(classes)} labels; fetch both files again."
        )
    sources.check_labels(classes, classes=CLASSES, where=labels_path)
    return sources.Split(pixels[..., None], classes.astype(np.int32))


def _folder(data_dir: str | None, name: str) -> pathlib.Path:
    """Return the directory that holds the set's files."""
    how = (
        f"give the option `--data-dir DIR` or set $JAXLTH_DATA, with the four files"
        f" {', '.join(f'{file}[.gz]' for pair in FILES.values() for file in pair)}, published"
        f" {PUBLISHERS[name]}, in DIR/{name}."
    )
    root = sources.root(data_dir, name=name, how=how)
    places = [root / name]
    if root.resolve().name not in set(PUBLISHERS) - {name}:  # files of all sets have the same names
        places.append(root)
    for place in places:
        if any(_find(place, file) for pair in FILES.values() for file in pair):
            return place
    searched = " nor in ".join(map(str, places))
    raise sources.DataError(f"No file of the data set `{name}` is in {searched}: {how}")


def _path(folder: pathlib.Path, name: str, file: str) -> pathlib.Path:
    if path := _find(folder, file):
        return path
    raise sources.DataError(
        f"{folder} has neither {file} nor {file}.gz, a part of the data set `{name}`;"
        f" fetch this file, published {PUBLISHERS[name]}."
    )


def _find(folder: pathlib.Path, file: str) -> pathlib.Path | None:
    paths = [folder / file, folder / f"{file}.gz"]
    return next((path for path in paths if path.is_file()), None)
