"""Reading runs at a bucket, from any machine and while another one works on them.

A reader gets a *reading folder* on its own disk, with the records alone, brought up to the bucket
at each look; the arrays of a network are fetched once they are asked for. It lies apart from the
working folder of `jaxlth.store.mirror`; the file `mirror` in it says where it is from.
"""

import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from jaxlth.process import paths
from jaxlth.store import artifacts, bucket, lease, metadata, mirror
from jaxlth.store.atomic import StoreError
from jaxlth.store.bucket import Place

ORIGIN = "mirror"


class RemoteRunInfo(NamedTuple):
    """The information on a run at a bucket that needs none of its records."""

    path: pathlib.Path  # of its reading folder, which has its `run.json`
    finished: int  # number of artifacts
    bytes: int
    is_held: bool


def list_remote(out: str | os.PathLike[str]) -> list[RemoteRunInfo]:
    """Return the information on each run at a bucket, without reading its records.

    Raises:
      StoreError: the bucket cannot be used.
    """
    place = bucket.connect(out)
    objects = bucket.listing(place)
    names = [name.split("/")[0] for name in objects if name.split("/")[1:] == [metadata.ABOUT]]
    infos = bucket.read(place, [f"{run}/{metadata.ABOUT}" for run in names])
    runs = []
    for run, info in zip(names, infos.values(), strict=True):
        folder = _reading_folder(f"{place.url}/{run}")
        mirror.write(folder / metadata.ABOUT, info)
        start = f"{run}/"
        inside = {name[len(start) :]: objects[name] for name in objects if name.startswith(start)}
        finished = _artifact_records(inside)
        locks = [f"{run}/{name}" for name in inside if lease.is_lock(name)]
        is_held = any(
            lease.is_fresh(lease.parse(bucket.read_or_none(place, name))) for name in locks
        )
        runs.append(RemoteRunInfo(folder, len(finished), sum(inside.values()), is_held))
    return runs


def local(path: str | os.PathLike[str]) -> pathlib.Path:
    """Return the folder in which to read a run: the one given, or one with a bucket's records.

    Raises:
      StoreError: the bucket cannot be used, or has no such run.
    """
    if bucket.is_remote(path):
        return _refreshed(_reading_folder(path))
    folder = paths.given(path, setting="path").absolute()
    return _refreshed(folder) if (folder / ORIGIN).is_file() else folder


def fetch_arrays(folder: pathlib.Path, artifact: str) -> None:
    """Fetch the arrays of a finished artifact, if this is a reading folder that lacks them.

    Raises:
      StoreError: the bucket cannot be used, or what it has is damaged.
    """
    lacks = (folder / ORIGIN).is_file() and (folder / artifact / artifacts.RECORD).exists()
    if lacks and not (folder / artifact / artifacts.ARRAYS).exists():
        place = _origin(folder)
        inside = bucket.listing(bucket.below(place, artifact))
        mirror.fetch(place, folder, artifact, [f"{artifact}/{name}" for name in inside])


def _refreshed(folder: pathlib.Path) -> pathlib.Path:
    """Bring the records in a reading folder up to the bucket, and return the folder."""
    place = _origin(folder)
    objects = bucket.listing(place)
    if metadata.ABOUT not in objects:
        raise StoreError(f"{place.url} is no folder of a run: it has no file {metadata.ABOUT}.")
    own = [name for name in (metadata.SETTINGS, metadata.ABOUT) if name in objects]
    contents = bucket.read(place, [*_artifact_records(objects), *own])
    local = artifacts.raw_records(folder)
    for name, local_record in local.items():
        if contents.get(name + mirror.ENTRY) != local_record:  # its arrays are old as well
            mirror.discard(folder / name)
    for name, text in contents.items():
        mirror.write(folder / name, text)
    return folder


def _reading_folder(url: str | os.PathLike[str]) -> pathlib.Path:
    """Return the reading folder of a run at a bucket, made if missing."""
    folder = mirror.cached("read", url)
    mirror.write(folder / ORIGIN, "://".join(bucket.address(url)).encode())
    return folder


def _origin(folder: pathlib.Path) -> Place:
    """Return the run at a bucket that a reading folder is of."""
    url = (folder / ORIGIN).read_text(encoding="utf-8", errors="replace")
    if not bucket.is_remote(url) or mirror.cached("read", url) != folder:
        raise StoreError(
            f"{folder / ORIGIN} is damaged: it does not name the bucket that {folder} is a copy "
            "of. Delete this folder and read the run by its address."
        )
    return bucket.connect(url)


def _artifact_records(objects: Iterable[str]) -> list[str]:
    """Return the objects of a run that are the record of an artifact."""
    names = mirror.records(objects)
    return [name for name in names if not artifacts.is_checkpoint(name.removesuffix(mirror.ENTRY))]
