"""Which files below a folder are images, and which are not read, and why.

Everything that Pillow decodes is an image, in subfolders too: files of a folder first, then those
of its subfolders, both in the order of their names. What is left out has a reason, which a
message can give.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import PIL.Image
import PIL.ImageFile

HIDDEN = "hidden"
DANGLING = "links to nothing"
LOOP = "links to a folder around them"
SPECIAL = "no regular files"
SUFFIX = "suffixes that Pillow does not decode"
UNREADABLE = (DANGLING, LOOP, SPECIAL)
UNDECODED = ("EPS", "MPEG")  # by another program alone, and not at all
LITTER = (".ds_store", "desktop.ini", "thumbs.db")  # of file managers, in any folder
SHOWN = 3  # files that a message names


class LeftOut(NamedTuple):
    """A file that is not read."""

    path: str
    reason: str  # what files of this kind are called


class Listing(NamedTuple):
    """The files below a folder, as paths within it."""

    images: list[str]
    left_out: list[LeftOut]


def below(folder: pathlib.Path) -> Listing:
    """Return the files below a folder, all of them in one of two lists.

    Raises:
      OSError: a folder cannot be read.
    """
    listing = Listing([], [])
    for path, reason in _walk(str(folder), "", (os.path.realpath(folder),), hidden=False):
        if reason:
            listing.left_out.append(LeftOut(path, reason))
        else:
            listing.images.append(path)
    return listing


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the suffixes of files that Pillow decodes, in lower case.

    Pillow knows others too: of formats that it writes only (PDF), or tells but does not decode.

    Example:
      >>> [suffix in suffixes() for suffix in (".png", ".tif", ".jfif", ".mpo", ".pdf", ".h5")]
      [True, True, True, True, False, False]
    """
    registered = PIL.Image.registered_extensions()  # first, since it loads all formats
    return frozenset(suffix for suffix, form in registered.items() if _is_decoded(form))


def summary(left_out: Iterable[LeftOut]) -> str:
    """Return the number and names of files left out, by reason; a few of each are named.

    Example:
      >>> summary([LeftOut("a/x.txt", SUFFIX), LeftOut("a/.b.png", HIDDEN)])
      '2 files are left out (hidden: a/.b.png; suffixes that Pillow does not decode: a/x.txt)'
    """
    by_reason: dict[str, list[str]] = {}
    for path, reason in left_out:
        by_reason.setdefault(reason, []).append(path)
    count = sum(map(len, by_reason.values()))
    parts = [f"{reason}: {few(paths)}" for reason, paths in sorted(by_reason.items())]
    return f"{count} file{'s are' if count > 1 else ' is'} left out ({'; '.join(parts)})"


def few(names: Sequence[str]) -> str:
    """Return the first of several names, and how many there are besides.

    Example:
      >>> few(["a", "b"]), few(["a", "b", "c", "d", "e"])
      ('a, b', 'a, b, c and 2 more')
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _is_decoded(form: str) -> bool:
    if form == "MPO":  # JPEG's decoder opens it
        return True
    decoder = PIL.Image.OPEN.get(form, (None,))[0]
    stub = isinstance(decoder, type) and issubclass(decoder, PIL.ImageFile.StubImageFile)
    return decoder is not None and not stub and form not in UNDECODED


def _walk(
    root: str, inner: str, above: tuple[str, ...], *, hidden: bool
) -> Iterator[tuple[str, str]]:
    """Yield path and reason of each file below a folder; no reason where it is an image."""
    with os.scandir(os.path.join(root, inner)) as entries:
        names = {entry.name: entry for entry in entries}
    folders = []
    for name in sorted(names):
        entry = names[name]
        if _leads_to(entry.is_dir):
            folders.append(name)
        elif name.lower() not in LITTER:
            out = hidden or name[0] == "."
            yield inner + name, HIDDEN if out else _reason(entry)
    for name in folders:
        real = os.path.realpath(names[name].path)
        out = hidden or name[0] == "."
        if real in above:
            yield inner + name, LOOP
        else:
            yield from _walk(root, f"{inner}{name}/", (*above, real), hidden=out)


def _leads_to(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself
        return False


def _reason(entry: os.DirEntry[str]) -> str:
    """Return why a file is not read, "" where it is an image."""
    if not _leads_to(entry.is_file):
        return DANGLING if entry.is_symlink() else SPECIAL
    return "" if os.path.splitext(entry.name)[1].lower() in suffixes() else SUFFIX
