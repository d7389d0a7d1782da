"""Compiled programs at a bucket, so that a machine in place of a preempted one finds them.

They lie beside the runs, in `.programs`, by the versions and the processor that they are for. They
are a help only: where the bucket does not give or take them, they are compiled again.
"""

import contextlib
import os

from jaxlth.process import programs
from jaxlth.store import bucket
from jaxlth.store.atomic import StoreError

FOLDER = ".programs"


class BucketPrograms:
    """The programs at a bucket, for this process; nothing where `out` is none or none are kept.

    Args:
      out: folder of all runs, or address of a bucket.
    """

    def __init__(self, out: str | os.PathLike[str]):
        """Look at nothing yet."""
        self._out = out
        self._kept = programs.kept() if bucket.is_remote(out) else None
        self._copied: set[str] = set()  # names that need not be copied

    def fetch(self) -> None:
        """Copy the programs that this process lacks, before it compiles any."""
        if self._kept is not None:
            _, folder = self._kept
            with contextlib.suppress(StoreError, OSError):
                place = bucket.below(bucket.connect(self._out), f"{FOLDER}/{programs.kind()}")
                self._copied = set(bucket.listing(place))
                # A copy that is cut off stays in the folder of this process: `programs.share`.
                bucket.get(place, folder, self._copied - set(os.listdir(folder)))

    def push(self) -> None:
        """Copy what this process has compiled, as far as there is room."""
        if self._kept is None:
            return
        store, folder = self._kept
        programs.share(store, folder)
        with contextlib.suppress(StoreError, OSError):
            sizes = {path.name: path.stat().st_size for path in store.iterdir() if path.is_file()}
            new = {name: size for name, size in sizes.items() if name not in self._copied}
            self._copied |= new.keys()
            if new:
                place = bucket.below(bucket.connect(self._out), FOLDER)
                names = _fitting(new, _room(place))
                bucket.put(bucket.below(place, programs.kind()), store, names)


def _room(place: bucket.Place) -> int:
    """Return the bytes that are left for programs; those for others go where there are none."""
    sizes = bucket.listing(place)
    if sum(sizes.values()) < programs.LIMIT:
        return programs.LIMIT - sum(sizes.values())
    others = {name for name in sizes if not name.startswith(f"{programs.kind()}/")}
    bucket.remove(place, others)
    return programs.LIMIT - sum(size for name, size in sizes.items() if name not in others)


def _fitting(sizes: dict[str, int], room: int) -> list[str]:
    """Return the names of what fits, the smallest first.

    Example:
      >>> _fitting({"a": 3, "b": 2, "c": 2}, 5)
      ['b', 'c']
    """
    names = []
    for name in sorted(sizes, key=lambda name: sizes[name]):
        room -= sizes[name]
        if room >= 0:
            names.append(name)
    return names
