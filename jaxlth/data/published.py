"""Which published set files hold, whatever their folder is called.

Sets in one format have files of the same names and sizes, so that a folder of Fashion-MNIST reads
like one of MNIST. Their labels tell them apart: those of MNIST, Fashion-MNIST and CIFAR-10 are
known here by digest. CIFAR-100, KMNIST, EMNIST and others are known by the names of folders alone.
"""

import functools
import hashlib
import logging
import pathlib
import re
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from jaxlth.data import sources

TITLES = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
}
FOLDERS = {  # names of folders, without case and signs, and whose they are
    "mnist": "mnist",
    "fashionmnist": "fashion_mnist",
    "cifar10": "cifar10",
    "cifar10batchesbin": "cifar10",
    "cifar10batchespy": "cifar10",
    "cifar100": "cifar100",
    "cifar100binary": "cifar100",
    "cifar100python": "cifar100",
    "kmnist": "KMNIST",
    "kuzushijimnist": "KMNIST",
    "emnist": "EMNIST",
    "qmnist": "QMNIST",
    "notmnist": "notMNIST",
}


class _File(NamedTuple):
    name: str  # of the set
    examples: int  # as published
    first: int  # so many labels the digest is of
    digest: str  # start of the SHA-256 of labels as bytes


FILES = (
    _File("mnist", 60_000, 60_000, "1feba77c54802fa5"),
    _File("mnist", 10_000, 10_000, "ddeff807876a9661"),
    _File("fashion_mnist", 60_000, 60_000, "657fbd221bfc9f41"),
    _File("fashion_mnist", 10_000, 10_000, "3d0e6c6ea990b53b"),
    _File("cifar10", 10_000, 10_000, "d829dbdf32167c9d"),
    _File("cifar10", 10_000, 10_000, "5d18f7371ed35ea9"),
    _File("cifar10", 10_000, 10_000, "32cf77b0ee2e790b"),
    _File("cifar10", 10_000, 10_000, "d2815e3f8f656272"),
    _File("cifar10", 10_000, 10_000, "2ddf3ab27d5d0440"),
    _File("cifar10", 10_000, 1_000, "636a087e604331a0"),  # of test images, often cut short
)


def check(name: str, files: Iterable[tuple[pathlib.Path, np.ndarray]]) -> None:
    """Check that files are those of a published set, as far as labels show it.

    Labels that are those of another set are refused, and so are unknown ones in a folder of
    another set's name. Unknown ones elsewhere may be meant, such as a set with noise on its labels:
    where there are as many as published and they could pass for the published ones, a warning says
    so, and else a line of the log "jaxlth".

    Args:
      name: that the files are read by.
      files: path and labels, (n,) of whole numbers, of each file.

    Raises:
      DataError: a file is, or seems to be, of another set.
    """
    unknown = []
    for path, labels in files:
        owner = _set_of(labels)
        if owner not in (None, name):
            raise sources.DataError(
                f"{path} holds the labels of {TITLES[owner]}, not those of {TITLES[name]}: read it"
                f" as `{owner}`, or give the directory of `{name}`."
            )
        if owner is None:
            _check_place(path, name)
            unknown.append((path, len(labels)))
    if unknown:
        _warn_unknown(name, unknown)


def _set_of(labels: np.ndarray) -> str | None:
    """Return the known set that labels are of."""
    content = labels.astype(np.uint8).tobytes()
    for file in FILES:
        if file.first <= len(labels) <= file.examples and _digest(content, file) == file.digest:
            return file.name
    return None


def _digest(content: bytes, file: _File) -> str:
    return hashlib.sha256(content[: file.first]).hexdigest()[: len(file.digest)]


def _check_place(path: pathlib.Path, name: str) -> None:
    """Raise DataError where the closest folder that is named after a set is another one's."""
    for folder in path.resolve().parents:
        owner = FOLDERS.get(re.sub("[^a-z0-9]", "", folder.name.lower()))
        if owner == name:
            return
        if owner is not None:
            title = TITLES.get(owner, owner)
            how = f"read it as `{owner}`, or" if owner in TITLES else "rename the folder, or"
            raise sources.DataError(
                f"{path} lies in a folder of {title}, {folder}, and has not the labels of"
                f" {TITLES[name]} as published: {how} give the directory of `{name}`."
            )


def _warn_unknown(name: str, unknown: list[tuple[pathlib.Path, int]]) -> None:
    """Warn that files are not the published ones, if those are known."""
    sizes = {file.examples for file in FILES if file.name == name}
    if not sizes:
        return
    plausible = [path for path, count in unknown if count in sizes]
    path = (plausible or [path for path, _ in unknown])[0]
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    message = (
        f"{path}{more}: labels are not those of {TITLES[name]} as published, so that results are"
        f" not comparable with those on {TITLES[name]}."
    )
    if plausible:
        warnings.warn(message, sources.DataWarning, stacklevel=4)
    else:
        _log(message)


@functools.cache
def _log(message: str) -> None:
    """Log a line once, as warnings are shown."""
    logging.getLogger("jaxlth").warning(message)
