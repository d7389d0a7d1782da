"""The lock of a run folder: one process works there at a time.

The file `lock` stays where it is; what counts is the kernel's `flock` on it, which ends with the
process that took it, however that dies. The text in the file says who took it last.

Processes that share a run (`jaxlth.store.share`) have that lock together, and each has one of its
own for each of its replicates, in the folder `locks`.
"""

import contextlib
import fcntl
import os
import pathlib
import shlex
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from jaxlth.store import atomic
from jaxlth.store.atomic import StoreError

LOCK, LOCKS = "lock", "locks"
HOLDER = "process {pid} on {host} since {since} ({command})"


def this_process() -> dict[str, Any]:
    """Return what tells this process from others that hold runs, as `HOLDER` says it."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": atomic.now(),
        "command": shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def hold(path: pathlib.Path, *, wait: bool) -> int:
    """Return a file descriptor that holds the run; the kernel closes it if this process dies.

    Raises:
      StoreError: another process holds it and `wait` is false, or the disk has no locks.
    """
    return _held(path, path / LOCK, fcntl.LOCK_EX, wait=wait)


def hold_share(path: pathlib.Path, replicates: Iterable[int], *, wait: bool) -> list[int]:
    """Return file descriptors that hold these replicates of a run; see `hold`.

    Raises:
      StoreError: another process holds one of them and `wait` is false, or the disk has no locks.
    """
    with atomic.writing(path / LOCKS):
        (path / LOCKS).mkdir(exist_ok=True)
    descriptors: list[int] = []
    try:
        descriptors.append(_held(path, path / LOCK, fcntl.LOCK_SH, wait=wait))
        for replicate in sorted(replicates):  # all in one order: none waits for another in a circle
            file = path / LOCKS / f"replicate_{replicate}"
            descriptors.append(_held(path, file, fcntl.LOCK_EX, wait=wait))
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return descriptors


@contextlib.contextmanager
def files(path: pathlib.Path) -> Iterator[None]:
    """Let one of the processes that share a run change the files that they have in common."""
    with atomic.writing(path / LOCKS):
        descriptor = os.open(path / LOCKS / "files", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with atomic.writing(path / LOCKS):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _held(path: pathlib.Path, file: pathlib.Path, kind: int, *, wait: bool) -> int:
    """Return a descriptor of a file that this process has locked; it says so in it if alone."""
    with atomic.writing(file):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with atomic.writing(file):
            if not _flock(descriptor, kind, wait=wait):
                raise StoreError(_who_holds(path, file))
            if kind == fcntl.LOCK_SH:
                return descriptor
            os.ftruncate(descriptor, 0)
            entries = atomic.with_checksum(this_process())
            os.pwrite(descriptor, f"{atomic.to_json(entries)}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _flock(descriptor: int, kind: int, *, wait: bool) -> bool:
    if wait:
        fcntl.flock(descriptor, kind)
        return True
    for _ in range(4):  # `runs` holds it for an instant when it looks
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def _who_holds(path: pathlib.Path, file: pathlib.Path) -> str:
    if file == path / LOCK:  # held by shares, perhaps
        file = next(filter(_is_locked, _of_replicates(path)), file)
    try:
        entries = atomic.read_json(file, remedy="")
        if not atomic.has_valid_checksum(entries):
            raise ValueError("the holder is just writing it, or it is damaged")
        who = HOLDER.format(**entries)
    except (StoreError, ValueError, KeyError):
        who = "another process"
    return f"{path} is held by {who}. Wait for it to end, or give --wait."


def is_held(path: pathlib.Path) -> bool:
    """Return whether a process holds the run now, or a share of it."""
    return any(map(_is_locked, [path / LOCK, *_of_replicates(path)]))


def _of_replicates(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted((path / LOCKS).glob("replicate_*"))


def _is_locked(file: pathlib.Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
