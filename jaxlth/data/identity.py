"""What tells a data set from another one of the same name: a digest of what it holds.

Of sets in memory that is every image and every label; of streams it is names and sizes of their
files (of folders, at most `folders.MEASURED` sizes a split), the labels where these are known
without reading, and the content of `SAMPLE` images of a split, evenly spaced. Published test images
count unless others are held out for them. Directories do not count: a copy of a data set is the
same data set.
"""

import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxlth import distributed
from jaxlth.data import encoded, lookup, sources
from jaxlth.data.config import FILES, MADE_HERE, DataConfig
from jaxlth.process import paths

DIGITS = 16  # hexadecimal, of a digest
SAMPLE = 256


class Identity(NamedTuple):
    """What tells a data set apart."""

    digest: str  # of what it holds
    directory: str | None  # where it was read, for messages; None where it is made on the fly


def directory(config: DataConfig) -> str | None:
    """Return the directory that a data set is read from, None where it is made on the fly.

    Example:
      >>> directory(DataConfig(name="moons")), directory(DataConfig(name="folder:/data/set"))
      (None, '/data/set')
    """
    files = [name for name in config.names if name not in MADE_HERE]
    if not files:
        return None
    prefix, colon, name = files[0].partition(":")
    if prefix == "folder":
        root = _expanded(config) / paths.expand(name, setting="--data")
    elif prefix + colon in FILES:
        root = sources.file(config.directory, name)
    elif colon:
        root = lookup.directory(config.directory)
    else:
        root = _expanded(config)
    return str(root.absolute())


def _expanded(config: DataConfig) -> pathlib.Path:
    return pathlib.Path(paths.expand(config.directory or ".", setting="--data-dir"))


def of_arrays(splits: Sequence[sources.Split], *, classes: int) -> str:
    """Return the digest of splits that memory holds; images may be of any numbers.

    Example:
      >>> split = sources.Split(np.zeros((2, 1, 1, 1), np.uint8), np.array([0, 1], np.int32))
      >>> other = split._replace(labels=split.labels[::-1])
      >>> of_arrays([split], classes=2) == of_arrays([other], classes=2)
      False
    """
    digest = _new_hash()
    digest.update(f"{classes} ".encode())
    for split in splits:
        if not isinstance(split.images, np.ndarray):
            digest.update(str(jax.tree.structure(split.images)).encode())
        for array in jax.tree.leaves(split):
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            for block in sources.blocks(array):  # a view of them may not be in order
                digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def of_sources(published: Sequence[encoded.Source]) -> str:
    """Return the digest of splits that are streamed.

    Raises:
      DataError: an image of the sample cannot be read.
    """
    digest = _new_hash()
    for source in published:
        digest.update(f"{source.examples} {source.classes} ".encode() + source.listing())
        for number in sources.spaced(source.examples, SAMPLE).tolist():
            content, label = source.read(number)
            digest.update(f"{label} {len(content)} ".encode() + content)
    return digest.hexdigest()


def files(paths: Sequence[str | os.PathLike[str]]) -> bytes:
    """Return names and sizes of files, which may lie anywhere.

    Raises:
      OSError: there is no such file.
    """
    return repr([(os.path.basename(path), os.path.getsize(path)) for path in paths]).encode()


def of_hosts(digest: str) -> list[str]:
    """Return the digests of all hosts, each of which calls this with its own."""
    local_digest = np.frombuffer(bytes.fromhex(digest), np.uint8)
    return [row.tobytes().hex() for row in distributed.all_gather(local_digest[None])]


def check_hosts(digests: Sequence[str]) -> None:
    """Check that all hosts have read the same data.

    Raises:
      DataError: they have not.
    """
    for host, digest in enumerate(digests):
        if digest != digests[0]:
            raise sources.DataError(
                f"Host 0 has read data of digest {digests[0]}, but host {host} of {digest}; give"
                " all hosts the same files."
            )


def _new_hash() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=DIGITS // 2)
