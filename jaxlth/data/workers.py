"""Processes that make batches, and batches on their way to the devices.

Workers import the main module, as `multiprocessing` has it: a script that uses them keeps its work
behind `if __name__ == "__main__":`. They end with their parent, however that ends. They hand their
batches over in shared memory, which the system counts apart from other memory and may limit; where
it ends, the system kills the worker that writes to it.
"""

import collections
import contextlib
import dataclasses
import gc
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing import resource_tracker
from typing import Any, TypeVar

import numpy as np

from jaxlth.data import sources
from jaxlth.process import signals

T = TypeVar("T")
SHARED = "/dev/shm"  # where Linux has shared memory
MORE_ROOM = "Make it larger (docker run --shm-size=2g), or give fewer `--workers`, 0 for none."
UNGUARDED = 78  # exit code of a worker that found itself at the work of the main script


def prefetch(batches: Iterable[T], *, put: Callable[[T], Any], depth: int) -> Iterator[Any]:
    """Yield `put(batch)` of each batch, called `depth` batches before it is asked for.

    Args:
      batches: on the host.
      put: sends a batch to the devices without waiting, such as `jax.device_put`.
      depth: batches on their way, at least 0.

    Example:
      >>> list(prefetch([1, 2, 3], put=str, depth=2))
      ['1', '2', '3']
    """
    waiting: collections.deque[Any] = collections.deque()
    for batch in batches:
        waiting.append(put(batch))
        if len(waiting) > depth:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()  # and hold it no longer


@dataclasses.dataclass(frozen=True)
class _Steps:
    """Batches as the sequence that grain reads from."""

    batch: Callable[[int], sources.Split]
    start_step: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start_step

    def __getitem__(self, at: int) -> sources.Split:
        batch = self.batch(self.start_step + at)
        check_room(batch.images.nbytes + batch.labels.nbytes)
        return batch


def make(
    batch: Callable[[int], sources.Split], start_step: int, end: int, *, workers: int
) -> Generator[sources.Split, None, None]:
    """Yield batch(start_step), ..., batch(end - 1).

    Args:
      batch: a pure function; workers get a copy of it.
      start_step: first number.
      end: number after the last one.
      workers: processes that make whole batches, in turn; 0 for this one.

    Raises:
      DataError: a worker was killed or could not start; the message says why, and what to do.
    """
    end_if_unguarded()
    workers = min(workers, end - start_step)
    if workers < 1:
        yield from map(batch, range(start_step, end))
        return
    _check_main()
    import grain  # takes a second or two to import, and only workers need it
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain asks for flags of its own, and we parse none
    steps = grain.MapDataset.source(_Steps(batch, start_step, end))
    at_once = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    options = grain.MultiprocessingOptions(num_workers=workers)
    batches: Any = iter(steps.to_iter_dataset(at_once).mp_prefetch(options, _start_worker))
    last = None
    try:
        with _shielded():
            last = _next(batches)
        while last is not None:
            images, labels = map(np.asarray, last)
            yield sources.Split(images, labels)
            last = _next(batches)
    finally:
        batches.close()
        batches = last = images = labels = None
        gc.collect()  # grain leaves the last batches in cycles, and they stay in shared memory


def end_if_unguarded() -> None:
    """End this process if it is a worker that is importing the main script.

    Called where work begins: a script without `if __name__ == "__main__":` would do all of it again
    in each of its workers. Its parent says so.
    """
    process = multiprocessing.current_process()
    is_worker = process.name.startswith("grain-process-prefetch")
    if is_worker and getattr(process, "_inheriting", False):  # as multiprocessing itself asks
        os._exit(UNGUARDED)


def _check_main() -> None:
    """Raise DataError where the main script is no file, which workers could not import."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is not None and getattr(main, "__spec__", None) is None and not os.path.exists(path):
        raise sources.DataError(
            f"Workers import the main script, but {path} is no file: write the program to one, or"
            " give `--workers 0`."
        )


def _next(batches: Iterator[Any]) -> Any:
    """Return the next batch, None at the end.

    Raises:
      DataError: a worker has ended, or there is no shared memory.
    """
    try:
        return next(batches, None)
    except sources.DataError as error:
        # grain's frame and the error hold each other, and with them batches in shared memory.
        raise error.with_traceback(None) from None
    except OSError as error:  # what reads files says DataError
        raise sources.DataError(
            f"Workers cannot use shared memory, {SHARED}: {error.strerror or error}. {MORE_ROOM}"
        ) from error.with_traceback(None)
    except RuntimeError as error:
        ended = re.search(r"terminated unexpectedly with exit code (-?\d+)", str(error))
        if ended is None:
            raise
        raise sources.DataError(explained(int(ended[1]))) from error.with_traceback(None)


def explained(code: int) -> str:
    """Return why a worker has ended, in one line, and what to do.

    Args:
      code: its exit code; less than 0 is a signal, as `multiprocessing` has it.

    Example:
      >>> explained(-9)[:45]
      'A worker was killed by SIGKILL, as happens wh'
    """
    script = getattr(sys.modules["__main__"], "__file__", "the main script")
    guard = f'keep the work of {script} behind `if __name__ == "__main__":`, or give `--workers 0`.'
    if code == -signal.SIGBUS:
        return f"A worker was killed for lack of shared memory, {SHARED}. {MORE_ROOM}"
    if code == -signal.SIGKILL:
        return (
            "A worker was killed by SIGKILL, as happens where memory runs out. Give fewer"
            " `--workers`, a smaller `--batch-size`, or more memory."
        )
    if code < 0:
        name = signal.Signals(-code).name
        return f"A worker was killed by {name}. Try `--workers 0`, which decodes in this process."
    if code == UNGUARDED:
        return f"Workers import the main script, and it began its work anew in them: {guard}"
    return (
        f"A worker ended with exit code {code}; what it printed says why. Workers import the main"
        f" script: {guard}"
    )


def check_room(size: int, *, folder: str = SHARED) -> None:
    """Check that shared memory has room for so many bytes.

    A worker that writes beyond its end is killed, and can say nothing; two of them at once may
    still be.

    Raises:
      DataError: it has not.
    """
    if not os.path.isdir(folder):  # not Linux
        return
    usage = shutil.disk_usage(folder)
    if usage.free < size:
        raise sources.DataError(
            f"A worker has no room for a batch of {size / 1e6:.1f} MB in shared memory: {folder}"
            f" has {usage.free / 1e6:.1f} MB left of {usage.total / 1e6:.1f} MB. {MORE_ROOM}"
        )


@contextlib.contextmanager
def _shielded() -> Iterator[None]:
    """Have processes that are started within get none of the signals that end a study.

    Many a sender reaches all processes of a group: a terminal, Slurm, systemd. The parent answers,
    and needs its workers until it has saved.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)
    try:
        resource_tracker.ensure_running()  # unblocks some of them as it starts
        signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(index: int, count: int) -> None:
    """Leave signals to the parent, and end with it even if it is killed."""
    del index, count
    for number in signals.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
