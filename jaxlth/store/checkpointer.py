"""Orbax as this library uses it: named trees of NumPy arrays, errors in one line.

States within a training are stored so; finished networks and masks by `tensor_files`.

Orbax raises what goes wrong, and its threads report it besides: in the logs of absl and asyncio,
and, from callbacks that outlive the event loop they belong to, as exceptions that Python can only
print. A full disk gave two dozen tracebacks that way. They are kept quiet, since the error says it.
"""

import contextlib
import errno
import functools
import logging
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlth.store.atomic import StoreError, unreadable, unwritable

DESCRIPTORS = 32  # open files that reading or writing trees takes at most, and then some


def save(folder: pathlib.Path, trees: dict[str, dict[str, np.ndarray]]) -> None:
    """Write named trees of arrays to a new folder.

    Raises:
      StoreError: it cannot be written.
    """
    checkpointer, args = _orbax()
    try:
        _check_descriptors(folder.parent)
        with _silent_callbacks():
            checkpointer.save(folder.absolute(), args=args.PyTreeSave(trees))
    except Exception as error:  # tensorstore reports a full disk as a ValueError
        raise unwritable(folder, _cause(error)) from error


def restore(
    folder: pathlib.Path, name: str, leaves: Iterable[str], *, remedy: str
) -> dict[str, Any]:
    """Return arrays of a tree that `save` wrote, by the names of its leaves.

    Raises:
      StoreError: something is missing or damaged; the message ends with `remedy`.
    """
    checkpointer, args = _orbax()
    request = args.PyTreeRestore(
        item={name: dict.fromkeys(leaves, 0)},
        restore_args={name: dict.fromkeys(leaves, _as_numpy())},
        partial_restore=True,
    )
    try:
        _check_descriptors(folder.parent)
        with _silent_callbacks():
            return checkpointer.restore(folder.absolute(), args=request)[name]
    except Exception as error:  # whatever a damaged file makes orbax or tensorstore say
        code = _os_error(error)
        if code not in (None, errno.ENOENT):
            raise unreadable(folder, os.strerror(code)) from error
        raise StoreError(f"{folder} is damaged ({_first_line(error)}). {remedy}") from error


@functools.cache
def _orbax() -> tuple[Any, Any]:
    # Orbax takes half a second to import, which listing runs and showing a table need not wait for.
    # One checkpointer serves the whole process; uncompressed, since weights hardly compress. It
    # waits for no other process: only the first one reads and writes.
    import orbax.checkpoint as ocp

    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix="jaxlth"
    )
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
    for log in ("absl", "asyncio"):
        logging.getLogger(log).addFilter(_is_news)
    return ocp.Checkpointer(handler, multiprocessing_options=alone), ocp.args


def _as_numpy() -> Any:
    import orbax.checkpoint as ocp

    return ocp.RestoreArgs(restore_type=np.ndarray)


@contextlib.contextmanager
def _silent_callbacks() -> Iterator[None]:
    """Silence callbacks that report an error again, now and later: they come at any time."""
    hook = sys.unraisablehook
    sys.unraisablehook = _Quiet(hook.before if isinstance(hook, _Quiet) else hook)
    yield  # after an error the hook stays
    sys.unraisablehook = hook


class _Quiet(NamedTuple):
    """A hook for lost exceptions that keeps quiet about those of callbacks that come too late."""

    before: Callable[[Any], Any]  # the hook that it replaces

    def __call__(self, lost: Any) -> None:
        """Report an exception unless it is one of those."""
        if str(lost.exc_value) != "Event loop is closed":
            self.before(lost)


def _check_descriptors(folder: pathlib.Path) -> None:
    """Raise OSError unless this process may open as many files more as orbax needs at once."""
    descriptors = []
    try:
        while len(descriptors) < DESCRIPTORS:
            descriptors.append(os.open(folder, os.O_RDONLY))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a message is not of an error that the caller of orbax gets as well."""
    text = str(record.msg)
    lost = "never retrieved" in text and ("tensorstore" in text or "orbax" in text)
    return not lost and "_SignalingThread" not in text


def _os_error(error: Exception) -> int | None:
    """Return the number of the error of the operating system behind one of tensorstore."""
    if isinstance(error, OSError):
        return error.errno
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return int(code[1]) if code else None


def _cause(error: Exception) -> str:
    """Return in words of the operating system, if it was that, what went wrong."""
    code = _os_error(error)
    return os.strerror(code) if code else _first_line(error)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
