"""Damaged runs among others: each is named in a line of the log and left out.

Where nothing but damaged runs was asked for, that is an error. The log is that of the logger
"jaxlth"; unless a program says otherwise, Python prints it to stderr.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from jaxlth.store.atomic import StoreError

T = TypeVar("T")
R = TypeVar("R")

_log = logging.getLogger("jaxlth")


def warn(error: Exception) -> None:
    """Name a damaged run in the log, by the error that it raised."""
    _log.warning("left out: %s", " ".join(str(error).split()))


def skip_damaged(
    runs: Iterable[T], read: Callable[[T], R], *, errors: tuple[type[Exception], ...] = ()
) -> list[R]:
    """Read each run, and leave out those that are damaged.

    Args:
      runs: what stands for each run.
      read: reads one run; it raises StoreError or OSError if the run is damaged.
      errors: what `read` raises besides of a run that is to be left out.

    Raises:
      StoreError: all runs are damaged; OSError and `errors` likewise.
    """
    results, failures = [], []
    for run in runs:
        try:
            results.append(read(run))
        except (StoreError, OSError, *errors) as error:
            failures.append(error)
    for error in failures[0 if results else 1 :]:
        warn(error)
    if failures and not results:
        raise failures[0]
    return results
