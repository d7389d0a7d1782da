"""Batches of a source, step by step, by this process or by others.

Which examples a step trains on, and what is cropped from them, follow from the step and from two
keys alone: not from how many processes decode, on how many hosts, or where training was resumed. As
with data in memory, an epoch has `count // batch_size` steps and an order of its own.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import numpy as np

from jaxlth.data import crops, encoded, sources
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


def order(key: Key, epoch: int, count: int) -> np.ndarray:
    """Return 0, ..., count - 1 in the order of an epoch; ties of 64 random bits keep theirs."""
    return np.argsort(_bits(key, count, epoch), kind="stable")


def training_batch(
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
    """Return the rows of one host of a step of training, cropped by draws of its own."""
    epoch, at = divmod(step, source.examples // batch_size)
    numbers = _order(order_key, epoch, source.examples)[at * batch_size : (at + 1) * batch_size]
    if isinstance(source, MappedSplit):
        return source.read(numbers[rows])

    def example(number: int) -> tuple[np.ndarray, int]:
        draws = (_bits(crop_key, crops.DRAWS, epoch, number) >> np.uint64(11)) * 2.0**-53
        cropped = functools.partial(crop, draws=draws)
        return encoded.load(source, number, cropped, skip_broken=skip_broken)

    return _stack([example(number) for number in numbers[rows].tolist()])


def evaluation_batch(
    source: Source,
    crop: Callable[[crops.Image], np.ndarray],
    number: int,
    *,
    batch_size: int,
    rows: slice,
    skip_broken: bool,
) -> sources.Split:
    """Return the rows of one host of a batch in the order of the source, filled up with PADDING."""
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


def key_numbers(key: jax.Array) -> Key:
    """Return the two numbers of a JAX key, by which orders and crops are drawn."""
    first, second = np.asarray(jax.random.key_data(key)).tolist()
    return first, second


def _bits(key: Key, count: int, *where: int) -> np.ndarray:
    """Return (count,) uint64 of random bits, a stream of its own for each place."""
    counter = np.array([0, *where, 0, 0, 0][:4], np.uint64)
    return np.random.Philox(key=np.array(key, np.uint64), counter=counter).random_raw(count)


_order = functools.lru_cache(maxsize=2)(order)
