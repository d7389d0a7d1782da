"""Processes that make batches, and batches on their way to the devices.

Workers import the main module, as `multiprocessing` has it: a script that uses them keeps its work
behind `if __name__ == "__main__":`. They end with their parent, however that ends.
"""

import collections
import dataclasses
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from jaxlth.data import sources

T = TypeVar("T")


def ahead(batches: Iterable[T], *, put: Callable[[T], Any], depth: int) -> Iterator[Any]:
    """Yield `put(batch)` of each batch, called `depth` batches before it is asked for.

    Args:
      batches: on the host.
      put: sends a batch to the devices without waiting, such as `jax.device_put`.
      depth: batches on their way, at least 0.

    Example:
      >>> list(ahead([1, 2, 3], put=str, depth=2))
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
    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin

    def __getitem__(self, at: int) -> sources.Split:
        return self.batch(self.begin + at)


def make(
    batch: Callable[[int], sources.Split], begin: int, end: int, *, workers: int
) -> Generator[sources.Split, None, None]:
    """Yield batch(begin), ..., batch(end - 1).

    Args:
      batch: a pure function; workers get a copy of it.
      begin: first number.
      end: number after the last one.
      workers: processes that make whole batches, in turn; 0 for this one.
    """
    workers = min(workers, end - begin)
    if workers < 1:
        yield from map(batch, range(begin, end))
        return
    import grain  # takes a second or two to import, and only workers need it
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain asks for flags of its own, and we parse none
    steps = grain.MapDataset.source(_Steps(batch, begin, end))
    at_once = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    options = grain.MultiprocessingOptions(num_workers=workers)
    made: Any = iter(steps.to_iter_dataset(at_once).mp_prefetch(options, _start_worker))
    try:
        for images, labels in made:
            yield sources.Split(np.asarray(images), np.asarray(labels))
    finally:
        made.close()
        made = images = labels = None
        gc.collect()  # grain leaves the last batches in cycles, and they stay in shared memory


def _start_worker(index: int, count: int) -> None:
    """Leave Ctrl-C to the parent, and end with it even if it is killed."""
    del index, count
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
