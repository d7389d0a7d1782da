"""Reading runs at a bucket, from any machine and while another one works on them.

A reader gets a *reading folder* on its own disk, with the records alone, brought up to the bucket
at each look; the arrays of a network are fetched once they are asked for. It lies apart from the
working folder of `jaxlth.store.mirror`; the file `mirror` in it says where it is from.
"""

import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from jaxlth.store import artifacts, bucket, lease, metadata, mirror
from jaxlth.store.atomic import StoreError
from jaxlth.store.bucket import Place

ORIGIN = "mirror"


class Seen(NamedTuple):
    """What a bucket tells of a run without its records."""

    path: pathlib.Path  # of its reading folder, which has its `run.json`
    finished: int  # number of units
    bytes: int
    is_held: bool


def glance(out: str | os.PathLike[str]) -> list[Seen]:
    """Return what there is to know of each run at a bucket without its records.

    Raises:
      StoreError: the bucket cannot be used.
    """
    place = bucket.at(out)
    there = bucket.listing(place)
    runs = [name.split("/")[0] for name in there if name.split("/")[1:] == [metadata.ABOUT]]
    stories = bucket.read(place, [f"{run}/{metadata.ABOUT}" for run in runs])
    seen = []
    for run, story in zip(runs, stories.values(), strict=True):
        folder = _reading_folder(f"{place.url}/{run}")
        mirror.write(folder / metadata.ABOUT, story)
        start = f"{run}/"
        inside = {name[len(start) :]: there[name] for name in there if name.startswith(start)}
        finished = _units(inside)
        locked = bucket.look(place, f"{run}/{lease.LOCK}") if lease.LOCK in inside else None
        held = lease.is_fresh(lease.parse(locked))
        seen.append(Seen(folder, len(finished), sum(inside.values()), held))
    return seen


def local(path: str | os.PathLike[str]) -> pathlib.Path:
    """Return the folder in which to read a run: the one given, or one with a bucket's records.

    Raises:
      StoreError: the bucket cannot be used, or has no such run.
    """
    if bucket.is_remote(path):
        return _refreshed(_reading_folder(path))
    folder = pathlib.Path(path).absolute()
    return _refreshed(folder) if (folder / ORIGIN).is_file() else folder


def complete(folder: pathlib.Path, unit: str) -> None:
    """Fetch the arrays of a finished unit, if this is a reading folder that lacks them.

    Raises:
      StoreError: the bucket cannot be used, or what it has is damaged.
    """
    lacks = (folder / ORIGIN).is_file() and (folder / unit / artifacts.RECORD).exists()
    if lacks and not (folder / unit / artifacts.ARRAYS).exists():
        place = _origin(folder)
        inside = bucket.listing(bucket.below(place, unit))
        mirror.fetch(place, folder, unit, [f"{unit}/{name}" for name in inside])


def _refreshed(folder: pathlib.Path) -> pathlib.Path:
    """Bring the records in a reading folder up to the bucket, and return the folder."""
    place = _origin(folder)
    there = bucket.listing(place)
    if metadata.ABOUT not in there:
        raise StoreError(f"{place.url} is no folder of a run: it has no file {metadata.ABOUT}.")
    own = [name for name in (metadata.SETTINGS, metadata.ABOUT) if name in there]
    found = bucket.read(place, [*_units(there), *own])
    here = artifacts.wholes(folder)
    for name, old in here.items():
        if found.get(name + mirror.ENTRY) != old:  # its arrays are old as well
            mirror.discard(folder / name)
    for name, text in found.items():
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
    return bucket.at(url)


def _units(there: Iterable[str]) -> list[str]:
    """Return which objects of a run are the record of a unit."""
    found = mirror.records(there)
    return [name for name in found if not artifacts.is_checkpoint(name.removesuffix(mirror.ENTRY))]
