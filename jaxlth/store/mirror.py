"""A run at a bucket: a working folder on this machine, and its mirror there.

`jaxlth imp --out gs://BUCKET/runs` does all its work in a local folder (under `$JAXLTH_CACHE`, or
the user's cache directory), which has the lock, the atomic renames and the speed that a bucket has
not. The *mirror* is the same tree of files at the bucket. A *record folder* is that of an artifact
or a checkpoint, with a record; two of one name are the same if their records are.

* When a run is opened, what the mirror has and the folder lacks is fetched, its checksums tested;
  where both have something of one name, the mirror's counts. What only the folder has, because its
  process died before it was copied, is copied then. So a machine that starts bare goes on from the
  last checkpoint, and one that comes back loses nothing.
* After each change the change is copied, arrays first, the record last; removed are the record
  first, the arrays after. So the mirror holds only complete record folders at any moment. A new
  checkpoint is complete there before the old one goes. Arrays without a record are removed by the
  process that opens the run next.
* One machine works on a run at a time: `jaxlth.store.lease`.

Who only reads needs no working folder: `jaxlth.store.remote`.
"""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping

from jaxlth.process import paths
from jaxlth.store import arrays, artifacts, atomic, bucket, lease, metadata, share
from jaxlth.store.atomic import StoreError
from jaxlth.store.bucket import Place

ENTRY = f"/{artifacts.RECORD}"


class Mirror:
    """The mirror of a working folder that this process holds; see `start`."""

    def __init__(
        self,
        path: pathlib.Path,
        place: Place,
        own_lease: lease.Lease,
        replicates: tuple[int, ...] | None = None,
    ):
        """Take over a working folder and its mirror, both held by this process."""
        self.place = place
        self._replicates = replicates
        self._path, self._lease = path, own_lease
        self._record_digests: dict[str, str] = {}  # digest of the record of each folder there
        self._file_digests: dict[str, str] = {}  # likewise of each file of the run itself

    def merge(self) -> None:
        """Bring the working folder up to the mirror.

        Raises:
          StoreError: the bucket cannot be used, what it has is damaged, or the disk is full.
        """
        objects = bucket.listing(self.place)
        own = {name: size for name, size in objects.items() if self._is_own(name)}
        bucket.remove(self.place, _orphans(own))
        texts = bucket.read(self.place, records(own))
        run_files = bucket.read(self.place, own_files(objects))
        self._record_digests = {
            name.removesuffix(ENTRY): _digest(text) for name, text in texts.items()
        }
        self._file_digests = {name: _digest(text) for name, text in run_files.items()}
        local = self._local("")
        needless = artifacts.superseded({*local, *self._record_digests})
        for name in needless & set(local):
            discard(self._path / name)
        for name, digest in self._record_digests.items():
            if name not in needless and local.get(name) != digest:
                stage = artifacts.stage_of(self._path, self._replicates)
                fetch(self.place, self._path, name, objects, stage=stage)
        for name in _in_order(run_files):
            write(self._path / name, run_files[name])

    def push(self, under: str | None = "") -> None:
        """Copy what has changed in the working folder to the mirror.

        Args:
          under: the artifact that may have changed; "" for all, None for the run's own files only.

        Raises:
          StoreError: the bucket cannot be used, or another machine has taken the run over.
        """
        self._lease.check()
        if under is not None:
            local = self._local(under)
            for name, digest in local.items():
                if self._record_digests.get(name) != digest:
                    self._put(name, digest)
            for name in [name for name in self._record_digests if _is_within(name, under)]:
                if name not in local:
                    self._remove(name)
        for name in _in_order(file.name for file in self._path.iterdir() if file.is_file()):
            self._put_file(name)

    def close(self) -> None:
        """Copy the run's own files, and give the run back.

        Raises:
          StoreError: the bucket cannot be used, or another machine has taken the run over.
        """
        try:
            self.push(None)
        finally:
            self._lease.release()

    def _local(self, under: str) -> dict[str, str]:
        """Return the digest of each record that is this process's, by its folder."""
        texts = artifacts.raw_records(self._path, under).items()
        return {name: _digest(text) for name, text in texts if self._is_own(name)}

    def _is_own(self, name: str) -> bool:
        return share.is_own(self._replicates, name)

    def _put(self, name: str, digest: str) -> None:
        if name in self._record_digests:
            self._remove(name)
        inside = [f"{name}/{artifacts.ARRAYS}/{file}" for file in _names(self._path / name)]
        bucket.put(self.place, self._path, inside)
        bucket.put(self.place, self._path, [name + ENTRY])
        self._record_digests[name] = digest

    def _remove(self, name: str) -> None:
        del self._record_digests[name]
        bucket.remove(self.place, [name + ENTRY])
        inside = bucket.below(self.place, f"{name}/{artifacts.ARRAYS}")
        bucket.remove(inside, bucket.listing(inside))

    def _put_file(self, name: str) -> None:
        digest = _digest((self._path / name).read_bytes())
        if self._file_digests.get(name) != digest:
            bucket.put(self.place, self._path, [name])
            self._file_digests[name] = digest


def working_folder(out: str | os.PathLike[str]) -> pathlib.Path:
    """Return the folder in which this machine works on runs: `out`, or one for a bucket.

    Raises:
      StoreError: `out` is an address, but of no bucket.
    """
    if bucket.is_remote(out):
        return cached("work", out)
    return paths.given(out, setting="out").absolute()


def start(
    out: str | os.PathLike[str],
    path: pathlib.Path,
    *,
    wait: bool,
    replicates: tuple[int, ...] | None = None,
) -> Mirror | None:
    """Return the mirror of a working folder, merged into it; None if `out` is no bucket.

    Args:
      out: the folder of all runs.
      path: the working folder, held by this process.
      wait: wait for another machine that holds the run, instead of raising.
      replicates: those that this process does, None for all.

    Raises:
      StoreError: another machine holds the run, the bucket cannot be used, or the folder not be
        written.
    """
    if not bucket.is_remote(out):
        return None
    place = bucket.below(bucket.connect(out), path.name)
    own_lease = lease.acquire(place, path, wait=wait, replicates=replicates)
    mirror = Mirror(path, place, own_lease, replicates)
    try:
        mirror.merge()
    except BaseException:
        with contextlib.suppress(StoreError):  # the first error says more
            own_lease.release()
        raise
    return mirror


def fetch(
    place: Place,
    run: pathlib.Path,
    name: str,
    objects: Iterable[str],
    *,
    stage: pathlib.Path | None = None,
) -> None:
    """Fetch a record folder, test it, and put it in its place in a run folder.

    Args:
      place: the run at the bucket.
      run: the run folder.
      name: the record folder, within the run.
      objects: names of the objects of the run.
      stage: where it is fetched to first; see `artifacts.stage_of`.

    Raises:
      StoreError: the bucket cannot be used, what it has is damaged, or the disk is full.
    """
    stage = stage or artifacts.stage_of(run, None)
    atomic.remove(stage)
    inside = f"{name}/{artifacts.ARRAYS}/"
    files = [
        object_name[len(name) + 1 :] for object_name in objects if object_name.startswith(inside)
    ]
    with atomic.writing(stage):
        stage.mkdir(parents=True)
    bucket.get(bucket.below(place, name), stage, [*files, artifacts.RECORD])
    remedy = f"Delete {place.url}/{name} and run the same command: only this is made again."
    try:
        content = atomic.read_checked(stage / artifacts.RECORD, remedy="")
        arrays.check_files(stage / artifacts.ARRAYS, content["files"], remedy="")
    except StoreError as error:
        message = str(error).replace(str(stage), f"{place.url}/{name}").strip()
        raise StoreError(f"{message} {remedy}") from error
    artifacts.settle(stage, run / name)
    atomic.remove(stage)


def discard(folder: pathlib.Path) -> None:
    """Remove the record and arrays of a folder, but not what is below it."""
    with atomic.writing(folder):
        (folder / artifacts.RECORD).unlink(missing_ok=True)
    atomic.remove(folder / artifacts.ARRAYS)


def write(file: pathlib.Path, content: bytes) -> None:
    """Put a file in its place at once, unless it is there already."""
    if not file.exists() or file.read_bytes() != content:
        with atomic.writing(file), paths.replacing(file) as part:
            part.write_bytes(content)


def cached(purpose: str, url: str | os.PathLike[str]) -> pathlib.Path:
    """Return the folder on this machine that stands for one at a bucket."""
    kind, name = bucket.address(url)
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    cache = paths.expand(
        os.environ.get("JAXLTH_CACHE") or f"{user}/jaxlth", setting="$JAXLTH_CACHE"
    )
    return pathlib.Path(cache).absolute() / purpose / kind / name


def records(objects: Iterable[str]) -> list[str]:
    """Return the objects of a run that are records."""
    return [
        name for name in objects if name.endswith(ENTRY) and f"/{artifacts.ARRAYS}/" not in name
    ]


def own_files(objects: Iterable[str]) -> list[str]:
    """Return the objects of a run that are files of the run itself."""
    return _in_order(name for name in objects if "/" not in name)


def _orphans(objects: Mapping[str, int]) -> list[str]:
    """Return the objects that a dead process left: arrays without a record."""
    inside = f"/{artifacts.ARRAYS}/"
    array_files = [name for name in objects if inside in name]
    return [name for name in array_files if name.partition(inside)[0] + ENTRY not in objects]


def _in_order(names: Iterable[str]) -> list[str]:
    """Return a run's own files: `run.json`, with which it is a run, last; without locks."""
    plain = [name for name in names if not lease.is_lock(name) and name[0] != "."]
    return sorted(plain, key=lambda name: (name == metadata.ABOUT, name))


def _is_within(name: str, under: str) -> bool:
    return not under or name == under or name.startswith(f"{under}/")


def _names(folder: pathlib.Path) -> list[str]:
    """Return the files of the arrays in a record folder."""
    top = folder / artifacts.ARRAYS
    return [path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file()]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
