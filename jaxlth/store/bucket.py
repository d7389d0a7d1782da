"""Objects at a bucket, through fsspec: the few operations that a mirror needs.

A bucket has no folders, only *objects* whose names have slashes; each appears whole or not at all.
What is asked of it is seen at once: nothing is remembered between two looks. `gs://` needs the
extra `jaxlth[gcs]`; other buckets that fsspec knows need what fsspec says.
"""

import contextlib
import errno
import logging
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from jaxlth.store import atomic
from jaxlth.store.atomic import StoreError

URL = re.compile(r"([A-Za-z][\w+.-]+):/+(.*)")  # pathlib makes one slash of two
ON_DISK = ("file", "local", "memory")  # have paths of their own, or vanish
DENIED = re.compile("forbidden|permission|denied|credential|anonymous|access|401|403", re.I)


class Place(NamedTuple):
    """A folder of objects, which need not exist."""

    url: str  # without a slash at its end
    system: Any  # fsspec's file system
    root: str  # the folder's name there


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is the address of a bucket.

    Example:
      >>> is_remote("gs://bucket/runs"), is_remote("runs")
      (True, False)
    """
    return isinstance(path, str | os.PathLike) and URL.fullmatch(os.fspath(path)) is not None


def address(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return the kind of bucket that an address names, and what is behind it.

    Raises:
      StoreError: it names no bucket.

    Example:
      >>> address("gs://bucket/runs/")
      ('gs', 'bucket/runs')
    """
    match = URL.fullmatch(os.fspath(path))
    kind, name = (match[1].lower(), match[2].strip("/")) if match else ("", "")
    if not name or ".." in name.split("/") or kind in ON_DISK:
        raise StoreError(
            f"`out` must be a folder, or a bucket as gs://BUCKET/FOLDER; got {os.fspath(path)!r}."
        )
    return kind, name


def connect(path: str | os.PathLike[str]) -> Place:
    """Return the folder at an address.

    Raises:
      StoreError: what reads such buckets is not installed, or there are no credentials.
    """
    url = "://".join(address(path))
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it prints what is raised besides
    with reaching(url):
        import fsspec

        # Other machines write there too: a remembered list of objects would be wrong.
        system, root = fsspec.url_to_fs(url, use_listings_cache=False)
    return Place(url, system, root.rstrip("/"))


def below(place: Place, name: str) -> Place:
    """Return a folder in a folder; "" is the folder itself."""
    return place._replace(url=f"{place.url}/{name}", root=_root(place, name)) if name else place


def listing(place: Place) -> dict[str, int]:
    """Return the size in bytes of each object in a folder, by its name within.

    Raises:
      StoreError: the bucket cannot be used.
    """
    with reaching(place.url):
        objects = place.system.find(place.root, detail=True)
    start = len(place.root) + 1
    return {name[start:]: details["size"] or 0 for name, details in objects.items() if name[start:]}


def read(place: Place, names: Iterable[str]) -> dict[str, bytes]:
    """Return the contents of objects; all of them must exist.

    Raises:
      StoreError: the bucket cannot be used, or one of them is not there.
    """
    roots = {_root(place, name): name for name in names}
    if not roots:
        return {}
    with reaching(place.url):
        contents = place.system.cat(list(roots))
    return {name: contents[root] for root, name in roots.items()}


def read_or_none(place: Place, name: str) -> bytes | None:
    """Return the content of an object, None if there is none.

    Raises:
      StoreError: the bucket cannot be used.
    """
    with reaching(place.url), contextlib.suppress(FileNotFoundError):
        return place.system.cat_file(_root(place, name))
    return None


def write(place: Place, name: str, content: bytes) -> None:
    """Make or replace an object.

    Raises:
      StoreError: the bucket cannot be used.
    """
    with reaching(place.url):
        place.system.pipe_file(_root(place, name), content)


def create(place: Place, name: str, content: bytes) -> bool:
    """Make an object and return True, or return False where there is one already.

    Raises:
      StoreError: the bucket cannot be used.
    """
    with reaching(place.url):
        try:
            place.system.pipe_file(_root(place, name), content, mode="create")
        except FileExistsError:
            return False
    return True


def put(place: Place, folder: pathlib.Path, names: Iterable[str]) -> None:
    """Copy files of a local folder to objects of the same names.

    Raises:
      StoreError: the bucket cannot be used.
    """
    names = list(names)
    if names:
        with reaching(place.url):
            local = [str(folder / name) for name in names]
            place.system.put(local, [_root(place, name) for name in names])


def get(place: Place, folder: pathlib.Path, names: Iterable[str]) -> None:
    """Copy objects to files of the same names in a local folder.

    Raises:
      StoreError: the bucket cannot be used, or the folder not be written.
    """
    file_names = list(names)
    if file_names:
        with reaching(place.url):
            local = [str(folder / name) for name in file_names]
            for subfolder in {os.path.dirname(path) for path in local}:
                os.makedirs(subfolder, exist_ok=True)
            place.system.get([_root(place, name) for name in file_names], local)


def remove(place: Place, names: Iterable[str]) -> None:
    """Remove objects; one that is not there is none.

    Raises:
      StoreError: the bucket cannot be used.
    """
    roots = [_root(place, name) for name in names]
    if roots:
        with reaching(place.url), contextlib.suppress(FileNotFoundError):
            place.system.rm(roots)


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn whatever is raised while a bucket is used into a StoreError of one line."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
            raise atomic.unwritable(error.filename or "The cache", str(error.strerror)) from error
        raise _unusable(url, error) from error
    except Exception as error:  # each library has its own
        raise _unusable(url, error) from error


def _unusable(url: str, error: Exception) -> StoreError:
    why = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(".")
    return StoreError(f"{url} cannot be used ({why}). {_remedy(url, error)}")


def _remedy(url: str, error: Exception) -> str:
    """Return the remedy for an error, by the words of its message."""
    kind, name = address(url)
    bucket = f"{kind}://{name.partition('/')[0]}"
    if isinstance(error, ImportError):
        if kind in ("gs", "gcs"):
            return "Buckets need more packages: run `pip install 'jaxlth[gcs]'`."
        return "Install the package that is named there."
    if isinstance(error, ValueError) and "Protocol not known" in str(error):
        return "`out` must be a folder, or a bucket as gs://BUCKET/FOLDER."
    if isinstance(error, FileNotFoundError):
        return f"If there is no bucket {bucket}, make it: gcloud storage buckets create {bucket}."
    if isinstance(error, PermissionError) or DENIED.search(f"{type(error).__name__} {error}"):
        return (
            f"Give this account the role Storage Object Admin on {bucket}; an account is chosen by "
            "`gcloud auth application-default login`."
        )
    return (
        f"Check the network and {bucket}, then run the same command again; what was stored before "
        "is whole."
    )


def _root(place: Place, name: str) -> str:
    return f"{place.root}/{name}"
