"""Several processes that run one program: what they agree on, and what only the first one does.

Every process calls the same functions in the same order (`jax.distributed`); with one process all
of this is free. The first process is the one that writes and that decides by the clock.

No signal is lost. What may wait long for the others is done in a thread of its own, as Python runs
handlers of signals in the main thread between two of its own instructions only. JAX's preemption
service takes SIGTERM away from Python when processes join, and remembers it: `join` gives Python
its handler back, and `stop_agreed` asks the service about what came before that.
"""

import contextlib
import itertools
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")
# Keys at the coordinator, below which each process that stops or fails leaves its words.
STOP = "jaxlth/stop"
FAILED = "jaxlth/failed"
LOOK_SECONDS = 0.3  # between looks for them
ALIKE_SECONDS = 3.0  # in which a process may meet the error of another one itself, and tell its own
LAST_SECONDS = 5.0  # that the coordinator lives on for the others to see it
_phases = itertools.count()  # which of them: all processes enter the same ones
_alone: list[None] = []  # not empty while the first process does what only it does


class OtherFailedError(RuntimeError):
    """An error ended another process, without which this one cannot go on."""


def join(processes: int | None, place: int | None) -> None:
    """Become one of several processes; those that JAX knows itself need no numbers.

    Raises:
      RuntimeError, ValueError: this process is not told which one it is, or the others do not come.
    """
    _in_thread(lambda: jax.distributed.initialize(num_processes=processes, process_id=place))
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if (handler := signal.getsignal(number)) is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def interrupted_together() -> Iterator[None]:
    """Interrupt all processes where one of them is interrupted within, or fails.

    It is for phases in which an interruption ends a process at once; a training agrees with the
    others on where it saves, by `stop_agreed`.

    Raises:
      OtherFailedError: another process has failed, as one may that lacks a file; the message has
        its words.
    """
    client = _client()
    if client is None or count() == 1:
        yield
        return
    failures, over = f"{FAILED}/{next(_phases)}", threading.Event()
    watcher = threading.Thread(target=_watch, args=(client, failures, over), daemon=True)
    watcher.start()
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        over.set()
        is_signal = isinstance(error, KeyboardInterrupt)
        # Where the others are gone, what waits for them fails.
        is_alone = is_signal or isinstance(error, jax.errors.JaxRuntimeError)
        failed = _told(client, failures) if is_alone else ""
        if _told(client, STOP) or (is_signal and not failed):
            _tell(client, STOP)
            raise error if is_signal else KeyboardInterrupt from None
        _tell(client, failures, failed or _words(error))
        if failed:
            raise OtherFailedError(failed) from None
        raise
    finally:
        over.set()


def stop_agreed(flag: bool, step: int) -> bool:
    """Return whether any process is to stop, the same in all of them.

    Args:
      flag: whether this one is.
      step: a number that all processes call this with in turn, larger at each call.
    """
    if count() == 1:
        return flag
    preempted = _preempted(step)  # all processes ask at each step
    return any_of(flag or preempted)


def count() -> int:
    """Return the number of processes."""
    return jax.process_count()


def is_joined() -> bool:
    """Return whether this process has joined others, or is one that others may join."""
    return _client() is not None


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
    result, error = pickle.loads(_in_thread(lambda: _broadcast_bytes(pickled)))
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
    return _in_thread(lambda: np.asarray(multihost_utils.process_allgather(array, tiled=True)))


def _broadcast_bytes(content: bytes) -> bytes:
    """Return the bytes of the first process in all of them."""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    padded = np.zeros(length, np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    return multihost_utils.broadcast_one_to_all(padded).tobytes()


def _in_thread(function: Callable[[], T]) -> T:
    """Return the result of a function that may wait for long; signals are answered meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        return function()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:  # settings of JAX are those of a thread
            with jax.enable_x64(False), jax.transfer_guard("allow"):
                results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_SECONDS)
    if errors:
        raise errors[0]
    return results[0]


def _client() -> Any:
    """Return the client of JAX's coordinator, None without one."""
    from jax._src import distributed  # there is no public name for it

    return getattr(distributed.global_state, "client", None)


def _preempted(step: int) -> bool:
    """Return whether JAX's preemption service, if it is there, has all processes save now."""
    try:
        return multihost_utils.reached_preemption_sync_point(step)
    except RuntimeError:  # it is switched off
        return False


def _words(error: BaseException) -> str:
    return f"Process {jax.process_index()} failed: {error}"


def _watch(client: Any, failures: str, over: threading.Event) -> None:
    """Interrupt this process once another one has told that it stops or has failed."""
    while not over.wait(LOOK_SECONDS):
        if _told(client, STOP) or (_told(client, failures) and not over.wait(ALIKE_SECONDS)):
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGINT)
            return


def _told(client: Any, key: str) -> str:
    """Return the words of the first process that has told, below a key; "" if none has."""
    try:
        return next((words for _, words in sorted(client.key_value_dir_get(key))), "")
    except Exception:  # the coordinator is gone: JAX ends this process
        return ""


def _tell(client: Any, key: str, words: str = "stops") -> None:
    """Tell the others; the coordinator, which is in the first process, waits for them."""
    with contextlib.suppress(Exception):  # the coordinator is gone
        client.key_value_set(f"{key}/{jax.process_index()}", words, True)
        end = time.monotonic() + ALIKE_SECONDS + LAST_SECONDS
        while is_main() and time.monotonic() < end:
            if len(client.key_value_dir_get(key)) >= count():
                return
            time.sleep(LOOK_SECONDS / 3)


def _pickled_result(function: Callable[[], Any]) -> bytes:
    """Return, pickled, what a function returns and what it raises."""
    _alone.append(None)
    try:
        return pickle.dumps((function(), None))
    except BaseException as error:
        return pickle.dumps((None, error))
    finally:
        _alone.pop()
