"""Data sets too large for memory, as streams of decoded and cropped images.

The settings say where the images are and what is cropped from them; `load` finds them, takes the
validation split out and measures mean and standard deviation; `training` and `evaluation` give
their batches in NumPy, which `workers.prefetch` sends to the devices before they are needed.

Mean and standard deviation are those of a sample: `statistics_images` training images, evenly
spaced over the training set in its publisher's order, cropped as for testing. 1000 ImageNet images
give the mean of a channel to about one of 255 units, and are decoded anew at each start.
"""

import functools
from collections.abc import Generator, Iterator
from typing import NamedTuple

import jax
import numpy as np

from jaxlth import distributed
from jaxlth.data import (
    batches,
    crops,
    encoded,
    folders,
    identity,
    lookup,
    memory,
    records,
    sources,
    workers,
)
from jaxlth.data.batches import Shard, Source
from jaxlth.data.config import DataConfig, StreamConfig, split_rows
from jaxlth.data.memmaps import MappedSplit
from jaxlth.data.sources import Info, Published

WORTH_STARTING = 4  # batches of an evaluation that each worker must have
READERS = {"folder": folders.read, "stream": records.read}


class Streamed(NamedTuple):
    """The sources of a data set; statistics are those of a sample of the training split."""

    train: Source
    validation: Source | None
    test: Source
    mean: np.ndarray  # (3,), float32, in units of the images (0..255); of arrays as in memory
    std: np.ndarray  # (3,), float32, likewise


def load(config: DataConfig, *, seed: int) -> tuple[Info, Streamed]:
    """Return a data set whose images are decoded as they are asked for.

    Args:
      config: which, and how images are cropped.
      seed: of the run; it draws the splits as it does for data in memory.

    Raises:
      DataError: the data set is missing or damaged, or hosts have different ones.
      ValueError: a share held out leaves a split without any example.
    """
    published, test = _read(config)
    check_hosts(distributed.all_gather(np.array([[published.examples, test.examples]])))
    digest = _digest(published, test, config)
    identity.check_hosts(identity.of_hosts(digest))
    rows = split_rows(config, published.examples, seed=seed)
    train = encoded.part(published, rows.train)
    encoded.check_several_classes(train, name=config.name)
    validation = encoded.part(published, rows.validation) if len(rows.validation) else None
    test = encoded.part(published, rows.test) if len(rows.test) else test
    size = config.stream.image_size
    mean_std = statistics(train, config.stream)
    image = np.empty((1, size, size, 3), np.uint8)
    info = Info(
        name=config.name,
        classes=train.classes,
        shape=(size, size, 3),
        train=train.examples,
        validation=len(rows.validation),
        test=test.examples,
        digest=digest,
        example=memory.example(image, *mean_std, normalize=config.normalize),
    )
    return info, Streamed(train, validation, test, *mean_std)


def load_arrays(
    config: DataConfig, published: Published, *, name: str, seed: int
) -> tuple[Info, Streamed]:
    """Return arrays that lie on the disk, whose batches are read as they are asked for; see `load`.

    Their mean and standard deviation are those of a sample, too.
    """
    digest = memory.digest_of(published, config)
    identity.check_hosts(identity.of_hosts(digest))
    rows = split_rows(config, len(published.train.labels), seed=seed)

    def of(arrays: sources.Split, places: np.ndarray | None = None) -> MappedSplit:
        return MappedSplit(arrays, np.arange(len(arrays.labels)) if places is None else places)

    train = of(published.train, rows.train)
    validation = of(published.train, rows.validation) if len(rows.validation) else None
    if published.validation is not None:
        validation = of(published.validation)
    test = of(published.train, rows.test) if len(rows.test) else of(published.test)
    sample = train.read(sources.spaced(train.examples, config.stream.statistics_images)).images
    mean_std = memory.mean_std(sample, normalize=config.normalize)
    info = memory.info_of(
        sample,
        published,
        mean_std,
        name=name,
        normalize=config.normalize,
        digest=digest,
        examples=(train.examples, validation.examples if validation else 0, test.examples),
    )
    return info, Streamed(train, validation, test, *mean_std)


def part(source: Source, numbers: np.ndarray) -> Source:
    """Return the examples of a source at some numbers."""
    if isinstance(source, MappedSplit):
        return source.part(numbers)
    return encoded.part(source, numbers)


def digest(config: DataConfig) -> str:
    """Return the digest of a data set; see `data.identify`."""
    kind, _, name = config.name.partition(":")
    if kind == "stream":
        lookup.check_prepared(config.directory, name=name)
    return _digest(*_read(config), config)


def _read(config: DataConfig) -> tuple[encoded.Source, encoded.Source]:
    kind, _, name = config.name.partition(":")
    return READERS[kind](config.directory, name=name)


def _digest(train: encoded.Source, test: encoded.Source, config: DataConfig) -> str:
    return identity.of_sources((train,) if config.held_out_test else (train, test))


def training(
    source: Source,
    config: StreamConfig,
    *,
    batch_size: int,
    start_step: int,
    end: int,
    order_key: jax.Array,
    crop_key: jax.Array,
    shard: Shard | None = None,
) -> Generator[sources.Split, None, None]:
    """Return this host's batches of steps start_step, ..., end - 1.

    One stream serves a training from where it starts or resumes to its end: workers take seconds
    to start.

    Args:
      source: the training examples, the same on all hosts.
      config: how images are cropped; arrays are not.
      batch_size: examples of a step, over all hosts.
      start_step: first step.
      end: step after the last one.
      order_key: of the order; it differs from epoch to epoch by itself.
      crop_key: of the crops, likewise.
      shard: this host's part, if not given.

    Yields:
      Images (share, size, size, 3) uint8 and labels (share,) int32, or a share of arrays.

    Raises:
      DataError: there are fewer examples than a batch needs, or one is broken.
      ValueError: hosts would have unequal shares.
    """
    rows = (shard or this_host()).rows(batch_size)
    if source.examples < batch_size:
        raise sources.DataError(
            f"`batch_size` = {batch_size} is more than the {source.examples} training images;"
            " choose a smaller one."
        )
    crop = functools.partial(
        crops.random_crop,
        size=config.image_size,
        scale=config.crop_area,
        ratio=config.crop_ratio,
        flip=config.flip,
    )
    make = functools.partial(
        batches.training_batch,
        source,
        crop,
        batch_size=batch_size,
        order_key=batches.key_numbers(order_key),
        crop_key=batches.key_numbers(crop_key),
        rows=rows,
        skip_broken=config.skip_broken,
    )
    return workers.make(make, start_step, end, workers=config.workers)


def evaluation(
    source: Source, config: StreamConfig, *, batch_size: int, shard: Shard | None = None
) -> Iterator[sources.Split]:
    """Return this host's part of all examples, each once, in the order of the source.

    The last batch is filled up with black images of label PADDING, which belong to no class.
    Workers take seconds to start, each time: a few batches are made in this process.

    Raises:
      DataError: an example is broken.
      ValueError: hosts would have unequal shares.
    """
    make = functools.partial(
        batches.evaluation_batch,
        source,
        functools.partial(crops.center_crop, size=config.image_size, shorter=config.resize_to),
        batch_size=batch_size,
        rows=(shard or this_host()).rows(batch_size),
        skip_broken=config.skip_broken,
    )
    count = -(-source.examples // batch_size)
    are_many = count >= WORTH_STARTING * config.workers
    return workers.make(make, 0, count, workers=config.workers if are_many else 0)


def statistics(source: encoded.Source, config: StreamConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation per channel of a sample; see the module's text."""
    sample = encoded.part(source, sources.spaced(source.examples, config.statistics_images))
    sample_batches = evaluation(sample, config, batch_size=min(sample.examples, 50), shard=Shard())
    return sources.statistics(
        batch.images[batch.labels != batches.PADDING] for batch in sample_batches
    )


def first(source: Source, count: int, config: StreamConfig) -> sources.Split:
    """Return the first examples, as they are shown in evaluation; fewer where there are fewer."""
    numbers = np.arange(min(count, source.examples))
    batches_of_all = evaluation(
        part(source, numbers), config, batch_size=len(numbers), shard=Shard()
    )
    return next(iter(batches_of_all))


def this_host() -> Shard:
    """Return the part of this process among those of `jax.distributed`."""
    return Shard(jax.process_index(), jax.process_count())


def check_hosts(counts: np.ndarray) -> None:
    """Check that all hosts have as many examples.

    Args:
      counts: (hosts, 2) training and test images.

    Raises:
      DataError: they did not.
    """
    differing = np.flatnonzero((counts != counts[0]).any(axis=1))
    if differing.size:
        host = differing[0]
        raise sources.DataError(
            f"Host 0 has {counts[0, 0]} training and {counts[0, 1]} test images, but host {host}"
            f" {counts[host, 0]} and {counts[host, 1]}; give all hosts the same files."
        )
