"""Summaries of the runs in a folder or at a bucket: how far each is."""

import contextlib
import os
import pathlib
from typing import NamedTuple

from jaxlth.process import paths
from jaxlth.store import artifacts, bucket, damage, lock, metadata, remote


class RunInfo(NamedTuple):
    """What `jaxlth list` shows of a run."""

    path: pathlib.Path
    job: str
    label: str
    state: str  # "running" while a process holds it, else "finished" or "interrupted"
    finished: int  # number of artifacts
    expected: int | None  # number of artifacts, None before the job has set it
    bytes: int  # on disk
    created: str  # ISO 8601, UTC


def runs(out: str | os.PathLike[str]) -> list[RunInfo]:
    """Return the information on each run in a folder, oldest first; no folder, no runs.

    Where `out` is a bucket, `path` is a folder from which the run there can be read. Runs that are
    damaged are left out, and named in the log.

    Raises:
      StoreError: the file `run.json` of every run is damaged, or the bucket cannot be used.
      ValueError: `out` is a file.
    """
    if bucket.is_remote(out):
        infos = damage.skip_damaged(remote.list_remote(out), _info)
    else:
        folder = paths.given(out, setting="out").absolute()
        paths.check_folder("out", str(folder))
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        infos = damage.skip_damaged(filter(_may_be_run, inside), _info_of)
    return sorted(infos, key=lambda info: info.created)


def _info_of(path: pathlib.Path) -> RunInfo:
    metadata.read(path)  # before anything else: it says best what is wrong
    finished = len(artifacts.finished(path))
    return _info(remote.RemoteRunInfo(path, finished, _bytes(path), lock.is_held(path)))


def _info(run: remote.RemoteRunInfo) -> RunInfo:
    info = metadata.read(run.path)
    expected = info["planned"]
    done = expected is not None and run.finished >= expected
    state = "running" if run.is_held else "finished" if done else "interrupted"
    job, label, created = (info[name] for name in ("job", "label", "created"))
    return RunInfo(run.path, job, label, state, run.finished, expected, run.bytes, created)


def _may_be_run(path: pathlib.Path) -> bool:
    """Return whether a path is the folder of a run, or a link to one that is not there."""
    return metadata.is_run(path) or (path.is_symlink() and not path.exists())


def _bytes(path: pathlib.Path) -> int:
    total = 0
    for root, _, names in os.walk(path):
        for name in names:
            # A running job replaces its checkpoints; and a link may lead nowhere.
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(root, name)).st_size
    return total
