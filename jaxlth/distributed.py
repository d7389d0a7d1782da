"""Several processes that run one program: what they agree on, and what only the first one does.

Every process calls the same functions in the same order (`jax.distributed`); with one process all
of this is free. The first process is the one that writes and that decides by the clock.
"""

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")
_alone: list[None] = []  # not empty while the first process does what only it does


def count() -> int:
    """Return the number of processes."""
    return jax.process_count()


def is_main() -> bool:
    """Return whether this is the first process."""
    return jax.process_index() == 0


def broadcast(value: T) -> T:
    """Return the first process's value in all of them; it must be picklable."""
    return on_main(lambda: value)


def on_main(function: Callable[[], T]) -> T:
    """Return the result of `function` in the first process, the only one that calls it.

    The result must be picklable. An exception there is raised in all of them, so that none is
    left waiting.
    """
    if count() == 1 or _alone:
        return function()
    pickled = _pickled_result(function) if is_main() else b""
    length = int(multihost_utils.broadcast_one_to_all(np.int64(len(pickled))))
    padded = np.zeros(length, np.uint8)
    padded[: len(pickled)] = np.frombuffer(pickled, np.uint8)
    result, error = pickle.loads(multihost_utils.broadcast_one_to_all(padded).tobytes())
    if error is not None:
        raise error
    return result


def any_of(flag: bool) -> bool:
    """Return whether the flag is set in any process."""
    return bool(all_gather(np.array([flag])).any())


def all_gather(array: np.ndarray) -> np.ndarray:
    """Return the arrays of all processes, concatenated along their first axis in their order."""
    if count() == 1:
        return array
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def _pickled_result(function: Callable[[], Any]) -> bytes:
    """Return, pickled, what a function returns and what it raises."""
    _alone.append(None)
    try:
        return pickle.dumps((function(), None))
    except BaseException as error:
        return pickle.dumps((None, error))
    finally:
        _alone.pop()
