"""The lock of a run folder: one process works there at a time.

The file `lock` stays where it is; what counts is the kernel's `flock` on it, which ends with the
process that took it, however that dies. The text in the file says who took it last.
"""

import contextlib
import fcntl
import os
import pathlib
import shlex
import socket
import sys
import time

from jaxlth.store import atomic
from jaxlth.store.atomic import StoreError

LOCK = "lock"


def hold(path: pathlib.Path, *, wait: bool) -> int:
    """Return a file descriptor that holds the run; the kernel closes it if this process dies.

    Raises:
      StoreError: another process holds it and `wait` is false, or the disk has no locks.
    """
    with atomic.writing(path / LOCK):
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with atomic.writing(path / LOCK):
            if not _flock(descriptor, wait=wait):
                raise StoreError(_who_holds(path))
            entries = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": atomic.now(),
                "command": shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
            }
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{atomic.to_json(atomic.with_checksum(entries))}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _flock(descriptor: int, *, wait: bool) -> bool:
    if wait:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    for _ in range(4):  # `runs` holds it for an instant when it looks
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def _who_holds(path: pathlib.Path) -> str:
    try:
        entries = atomic.read_json(path / LOCK, remedy="")
        if not atomic.has_valid_checksum(entries):
            raise ValueError("the holder is just writing it, or it is damaged")
        who = "process {pid} on {host} since {since} ({command})".format(**entries)
    except (StoreError, ValueError, KeyError):
        who = "another process"
    return f"{path} is held by {who}. Wait for it to end, or give --wait."


def is_held(path: pathlib.Path) -> bool:
    """Return whether a process holds the run now."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
