"""Batches of a source, step by step, by this process or by others.

Which examples a step trains on, and what is cropped from them, follow from the step and from two
keys alone: not from how many processes decode, on how many hosts, or where training was resumed. As
with data in memory, an epoch has `count // batch_size` steps and an order of its own.
"""

import dataclasses
import functools
from collections.abc import Callable, Generator, Iterator
from typing import TypeAlias

import jax
import numpy as np

from jaxlth.data import crops, encoded, sources
from jaxlth.data import workers as workers_lib
from jaxlth.data.memmaps import MappedSplit
from jaxlth.data.sources import PADDING

Source: TypeAlias = encoded.Source | MappedSplit
Key: TypeAlias = tuple[int, int]  # the numbers of a JAX key, for processes that must not start JAX


@dataclasses.dataclass(frozen=True)
class Shard:
    """The part of each batch that one host decodes: an equal share, in the order of hosts."""

    index: int = 0
    count: int = 1

    def rows(self, batch_size: int) -> slice:
        """Return the host's rows of a batch.

        Raises:
          ValueError: the hosts would have unequal shares.

        Example:
          >>> Shard(1, 4).rows(256)
          slice(64, 128, None)
        """
        if batch_size % self.count:
            raise ValueError(
                f"`batch_size` must be a multiple of the {self.count} hosts, which take equal"
                f" shares; got {batch_size}."
            )
        share = batch_size // self.count
        return slice(self.index * share, (self.index + 1) * share)


def training(
    source: Source,
    crop: Callable[..., np.ndarray],
    *,
    batch_size: int,
    start_step: int,
    end: int,
    order_key: jax.Array,
    crop_key: jax.Array,
    shard: Shard,
    workers: int,
    skip_broken: bool,
) -> Generator[sources.Split, None, None]:
    """Return the batches of steps start_step, ..., end - 1.

    Args:
      source: the training examples, the same on all hosts.
      crop: (image, draws=) -> pixels, such as `crops.random_crop` with its settings; arrays are
        not cropped.
      batch_size: examples of a step, over all hosts.
      start_step: first step.
      end: step after the last one.
      order_key: of the order; it differs from epoch to epoch by itself.
      crop_key: of the crops, likewise.
      shard: this host's part.
      workers: processes that decode; 0 for this one.
      skip_broken: as `encoded.load`.

    Yields:
      Images (share, size, size, 3) uint8 and labels (share,) int32, or a share of arrays.

    Raises:
      DataError: there are fewer examples than a batch needs, or one is broken.
      ValueError: hosts would have unequal shares.
    """
    rows = shard.rows(batch_size)
    if source.examples < batch_size:
        raise sources.DataError(
            f"`batch_size` = {batch_size} is more than the {source.examples} training images;"
            " choose a smaller one."
        )
    make = functools.partial(
        _training_batch,
        source,
        crop,
        batch_size=batch_size,
        order_key=_numbers(order_key),
        crop_key=_numbers(crop_key),
        rows=rows,
        skip_broken=skip_broken,
    )
    return workers_lib.make(make, start_step, end, workers=workers)


def evaluation(
    source: Source,
    crop: Callable[[crops.Image], np.ndarray],
    *,
    batch_size: int,
    shard: Shard,
    workers: int,
    skip_broken: bool,
) -> Iterator[sources.Split]:
    """Return every example once, in the order of the source, in batches of one size.

    The last batch is filled up with black images of label PADDING, which belong to no class.

    Args:
      source: the examples, the same on all hosts.
      crop: image -> pixels, such as `crops.center_crop` with its settings.
      batch_size: examples at once, over all hosts.
      shard: this host's part.
      workers: processes that decode; 0 for this one.
      skip_broken: as `encoded.load`.

    Raises:
      DataError: an example is broken.
      ValueError: hosts would have unequal shares.
    """
    make = functools.partial(
        _evaluation_batch,
        source,
        crop,
        batch_size=batch_size,
        rows=shard.rows(batch_size),
        skip_broken=skip_broken,
    )
    return workers_lib.make(make, 0, -(-source.examples // batch_size), workers=workers)


def order(key: Key, epoch: int, count: int) -> np.ndarray:
    """Return 0, ..., count - 1 in the order of an epoch; ties of 64 random bits keep theirs."""
    return np.argsort(_bits(key, count, epoch), kind="stable")


def _training_batch(
    source: Source,
    crop: Callable[..., np.ndarray],
    step: int,
    *,
    batch_size: int,
    order_key: Key,
    crop_key: Key,
    rows: slice,
    skip_broken: bool,
) -> sources.Split:
    epoch, at = divmod(step, source.examples // batch_size)
    numbers = _order(order_key, epoch, source.examples)[at * batch_size : (at + 1) * batch_size]
    if isinstance(source, MappedSplit):
        return source.read(numbers[rows])

    def example(number: int) -> tuple[np.ndarray, int]:
        draws = (_bits(crop_key, crops.DRAWS, epoch, number) >> np.uint64(11)) * 2.0**-53
        cropped = functools.partial(crop, draws=draws)
        return encoded.load(source, number, cropped, skip_broken=skip_broken)

    return _stack([example(number) for number in numbers[rows].tolist()])


def _evaluation_batch(
    source: Source,
    crop: Callable[[crops.Image], np.ndarray],
    number: int,
    *,
    batch_size: int,
    rows: slice,
    skip_broken: bool,
) -> sources.Split:
    numbers = range(number * batch_size, (number + 1) * batch_size)[rows]
    if isinstance(source, MappedSplit):
        return source.read(np.array(numbers))
    black = crop(crops.BLACK)
    return _stack(
        [
            encoded.load(source, row, crop, skip_broken=skip_broken)
            if row < source.examples
            else (black, PADDING)
            for row in numbers
        ]
    )


def _stack(examples: list[tuple[np.ndarray, int]]) -> sources.Split:
    images, labels = zip(*examples, strict=True)
    return sources.Split(np.stack(images), np.array(labels, np.int32))


def _numbers(key: jax.Array) -> Key:
    first, second = np.asarray(jax.random.key_data(key)).tolist()
    return first, second


def _bits(key: Key, count: int, *where: int) -> np.ndarray:
    """Return (count,) uint64 of random bits, a stream of its own for each place."""
    counter = np.array([0, *where, 0, 0, 0][:4], np.uint64)
    return np.random.Philox(key=np.array(key, np.uint64), counter=counter).random_raw(count)


_order = functools.lru_cache(maxsize=2)(order)
