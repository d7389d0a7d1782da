"""CIFAR-10 and CIFAR-100 from the files of their publisher: binary or python version.

Either version is read from its folder or from the .tar.gz in which it is published, without
unpacking. An image is 3072 bytes: the red plane, then the green and the blue one, row by row. In a
binary file the labels stand before each image; a file of the python version is a pickle, which is
read without running it.

References:
  Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
"""

import gzip
import pathlib
import tarfile
import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxlth.data import pickles, published, sources

IMAGES_PER_PART = (
    10_000  # a file of CIFAR-10 and both test files are one part; CIFAR-100 trains on 5
)
PIXELS = 3 * 32 * 32
LARGEST = 2**28  # bytes; a file larger than this is none of these
Files = Mapping[str, bytes]  # name -> content


class _Version(NamedTuple):
    folder: str  # as it is published
    archive: str  # likewise
    train: tuple[str, ...]
    test: str
    parse: Callable[[bytes], tuple[np.ndarray, np.ndarray]]  # (n, PIXELS) and (n,) uint8


class _Set(NamedTuple):
    title: str
    classes: int
    parts_per_file: int  # of the training files
    versions: tuple[_Version, ...]


def read(data_dir: str | None, *, name: str) -> sources.Published:
    """Return CIFAR-10, or CIFAR-100 with its 100 fine labels.

    A binary test file that ends after a whole number of images is read with a warning, since what
    it holds is right; every other size is an error.

    Args:
      data_dir: directory that holds the folder `name`, or the folder or archive as published.
      name: "cifar10" or "cifar100".

    Raises:
      DataError: no directory is given, a file is missing or damaged, a pickle holds more than data,
        or files are those of another set; see `published.check`.
    """
    data_set = SETS[name]
    version, place, files = _find(data_dir, name)
    missing = [file for file in (*version.train, version.test) if file not in files]
    if missing:
        raise sources.DataError(
            f"{place} lacks {', '.join(missing)}, a part of the data set `{name}`; fetch"
            f" {version.archive} again, published {_published(data_set)}."
        )
    per_file = data_set.parts_per_file * IMAGES_PER_PART
    parts = [
        _split(files, file, version, data_set, place=place, count=per_file)
        for file in version.train
    ]
    train = sources.Split(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    test = _split(
        files, version.test, version, data_set, place=place, count=IMAGES_PER_PART, short=True
    )
    paths = [place / file for file in (*version.train, version.test)]
    published.check(name, zip(paths, [part.labels for part in (*parts, test)], strict=True))
    return sources.Published(train=train, test=test, classes=data_set.classes)


def binary(content: bytes, *, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (n, 3072) and labels (n,) of a binary file, both uint8.

    Args:
      content: records of labels and pixels.
      labels: labels of a record; the last one counts, which is CIFAR-100's fine one.

    Raises:
      ValueError: the file does not end with a record.
    """
    rows, rest = divmod(len(content), labels + PIXELS)
    if rest:
        raise ValueError(f"it is truncated or no such file: {rest} bytes follow image {rows}")
    records = np.frombuffer(content, np.uint8).reshape(rows, labels + PIXELS)
    return records[:, labels:], records[:, labels - 1]


def pickled(content: bytes, *, label: bytes, classes: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (n, 3072) and labels (n,) of a file of the python version, both uint8.

    Args:
      content: a pickle of {b"data": array, label: list of numbers, ...}; keys may be text, as where
        Python 3 wrote it.
      label: key of the labels.
      classes: labels run from 0 to classes - 1.

    Raises:
      ValueError: it is no such pickle, asks for more than data need, or has another label.
    """
    try:
        contents = {_as_bytes(key): value for key, value in pickles.read(content).items()}
        pixels, labels = contents[b"data"], np.array(contents[label])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"it is no pickle of images ({error})") from error
    if np.shape(pixels) != (labels.size, PIXELS) or labels.ndim != 1:
        raise ValueError(
            f"it holds pixels of shape {np.shape(pixels)} and labels of {labels.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise ValueError(f"it holds labels of type {labels.dtype}, not whole numbers")
    if (wrong := np.flatnonzero((labels < 0) | (labels >= classes))).size:
        raise ValueError(
            f"it holds label {labels[wrong[0]]} of example {wrong[0]}, outside 0..{classes - 1}"
        )
    return pixels, labels.astype(np.uint8)


def _as_bytes(key: object) -> object:
    return key.encode() if isinstance(key, str) else key


SETS = {
    "cifar10": _Set(
        title="CIFAR-10",
        classes=10,
        parts_per_file=1,
        versions=(
            _Version(
                folder="cifar-10-batches-bin",
                archive="cifar-10-binary.tar.gz",
                train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
                test="test_batch.bin",
                parse=lambda content: binary(content, labels=1),
            ),
            _Version(
                folder="cifar-10-batches-py",
                archive="cifar-10-python.tar.gz",
                train=tuple(f"data_batch_{number}" for number in range(1, 6)),
                test="test_batch",
                parse=lambda content: pickled(content, label=b"labels", classes=10),
            ),
        ),
    ),
    "cifar100": _Set(
        title="CIFAR-100",
        classes=100,
        parts_per_file=5,
        versions=(
            _Version(
                folder="cifar-100-binary",
                archive="cifar-100-binary.tar.gz",
                train=("train.bin",),
                test="test.bin",
                parse=lambda content: binary(content, labels=2),
            ),
            _Version(
                folder="cifar-100-python",
                archive="cifar-100-python.tar.gz",
                train=("train",),
                test="test",
                parse=lambda content: pickled(content, label=b"fine_labels", classes=100),
            ),
        ),
    ),
}


def _split(
    files: Files,
    file: str,
    version: _Version,
    data_set: _Set,
    *,
    place: pathlib.Path,
    count: int,
    short: bool = False,
) -> sources.Split:
    path = place / file
    try:
        pixels, labels = version.parse(files[file])
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if short and 0 < len(labels) < count and version is data_set.versions[0]:
        warnings.warn(
            f"{path} holds {len(labels)} of the {count} test images of {data_set.title}: accuracies"
            " on them are coarser than, and not comparable with, published ones.",
            sources.ShortTestWarning,
            stacklevel=2,
        )
    elif len(labels) != count:
        raise _damaged(path, f"it holds {len(labels)} images, not {count}")
    sources.check_labels(labels, classes=data_set.classes, where=path)
    images = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return sources.Split(images, labels.astype(np.int32))


def _find(data_dir: str | None, name: str) -> tuple[_Version, pathlib.Path, Files]:
    """Return the version that is there, where, and its files."""
    data_set = SETS[name]
    names = ", ".join(
        published_name
        for version in data_set.versions
        for published_name in (version.folder, version.archive)
    )
    how = (
        f"give the option `--data-dir DIR` or set $JAXLTH_DATA, with one of {names}, published"
        f" {_published(data_set)}, in DIR, or with that or its files in DIR/{name}."
    )
    root = sources.root(data_dir, name=name, how=how)
    for base in (root / name, root):
        for version in data_set.versions:
            file_names = (*version.train, version.test)
            for place in (base, base / version.folder):
                if any((place / file).is_file() for file in file_names):
                    return version, place, _plain(place, file_names)
            if (base / version.archive).is_file():
                return version, base / version.archive, _packed(base / version.archive, file_names)
    raise sources.DataError(
        f"No file of the data set `{name}` is in {root / name} nor {root}: {how}"
    )


def _plain(place: pathlib.Path, file_names: tuple[str, ...]) -> Files:
    paths = [place / file for file in file_names if (place / file).is_file()]
    try:
        return {path.name: path.read_bytes() for path in paths if _bounded(path)}
    except OSError as error:
        raise sources.unreadable(error.filename, error) from error


def _bounded(path: pathlib.Path) -> bool:
    if path.stat().st_size > LARGEST:
        raise _damaged(path, f"it has {path.stat().st_size} bytes")
    return True


def _packed(archive: pathlib.Path, file_names: tuple[str, ...]) -> Files:
    """Return the named files of an archive, read once from its beginning to its end."""
    files = {}
    try:
        with gzip.open(archive) as unzipped, tarfile.open(fileobj=unzipped, mode="r|") as tar:
            for member in tar:
                name = pathlib.PurePosixPath(member.name).name
                if name in file_names and member.isfile() and member.size <= LARGEST:
                    content = tar.extractfile(member)
                    files[name] = content.read() if content else b""
            while unzipped.read(2**20):  # up to the checksum at the end
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _damaged(archive, f"it is no whole .tar.gz file ({error})") from error
    except OSError as error:
        raise sources.unreadable(archive, error) from error
    return files


def _damaged(path: pathlib.Path, problem: str) -> sources.DataError:
    return sources.DataError(f"{path} is damaged: {problem}; fetch it again.")


def _published(data_set: _Set) -> str:
    title = data_set.title
    return f"as '{title} binary version' or '{title} python version' (Krizhevsky 2009)"
