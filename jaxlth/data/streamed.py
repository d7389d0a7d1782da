"""Data sets too large for memory, as streams of decoded and cropped images.

The settings say where the images are and what is cropped from them; `load` finds them, takes the
validation split out and measures mean and standard deviation; `training` and `evaluation` give
their batches in NumPy, which `workers.ahead` sends to the devices before they are needed.

Mean and standard deviation are those of a sample: `statistics` training images, evenly spaced over
the training set in its publisher's order, cropped as for testing. 1000 ImageNet images give the
mean of a channel to about one of 255 units, and are decoded anew at each start.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import jax
import numpy as np
import tyro

from jaxlth import settings as settings_lib
from jaxlth.data import Info, batches, crops, encoded, folders, records, sources
from jaxlth.data.batches import Shard

READERS = {"folder": folders.read, "tfds": records.read}


class Streamed(NamedTuple):
    """The sources of a data set; statistics are those of a sample of the training split."""

    train: encoded.Source
    validation: encoded.Source | None
    test: encoded.Source
    mean: np.ndarray  # (3,), float32, in units of the images (0..255)
    std: np.ndarray  # (3,), float32, likewise


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """Which images are streamed, and what is cropped from them."""

    name: Annotated[str, tyro.conf.arg(name="data")] = "folder:imagenet"
    """Data set: folder:NAME for class folders in NAME/train and NAME/val (ImageNet, TinyImageNet),
    or tfds:NAME for a set that tensorflow-datasets has prepared."""

    data_dir: str | None = settings_lib.outside(None)
    """Directory with a folder for each data set; $JAXLTH_DATA without it."""

    validation: float = 0.0
    """Share of the training set kept for validation, from 0 (no validation) to less than 1."""

    size: int = 224
    """Height and width of the images that the network sees."""

    shorter: int = 256
    """Shorter side that test images are resized to before their middle is cropped."""

    crop_area: tuple[float, float] = (0.08, 1.0)
    """Least and largest area of a training crop, as a share of the image."""

    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width / height of a training crop."""

    statistics: int = 1000
    """Training images of which mean and standard deviation are measured."""

    skip_broken: bool = False
    """Whether the next image takes the place of one that cannot be decoded."""

    workers: int = settings_lib.outside(0)
    """Processes that decode; 0 decodes in the process that trains."""

    ahead: int = settings_lib.outside(2)
    """Batches that are sent to the devices before they are needed."""

    def __post_init__(self) -> None:
        """Check the fields."""
        kind, _, name = self.name.partition(":")
        settings_lib.known("data", kind, READERS)
        settings_lib.require(
            bool(name), f"`data`: put the name of a data set after '{kind}:'; got {self.name!r}."
        )
        settings_lib.require(
            0 <= self.validation < 1,
            "`validation`, a share of the training set, must lie in [0, 1);"
            f" got {self.validation}.",
        )
        settings_lib.require(
            1 <= self.size <= self.shorter,
            "`size` must be at least 1 and at most `shorter`, which it is cropped from;"
            f" got {self.size} and {self.shorter}.",
        )
        low, high = self.crop_area
        settings_lib.require(
            0 < low <= high <= 1,
            f"`crop_area` must be two shares, 0 < least <= largest <= 1; got {low} and {high}.",
        )
        low, high = self.crop_ratio
        settings_lib.require(
            0 < low <= high < float("inf"),
            f"`crop_ratio` must be two positive ratios, the least first; got {low} and {high}.",
        )
        for field, least in (("statistics", 1), ("workers", 0), ("ahead", 0)):
            value = getattr(self, field)
            settings_lib.require(
                value >= least, f"`{field}` must be at least {least}; got {value}."
            )


def load(chosen: StreamSettings, *, seed: int) -> tuple[Info, Streamed]:
    """Return a data set whose images are decoded as they are asked for.

    Args:
      chosen: which, and how images are cropped.
      seed: of the run; it draws the validation split as it does for data in memory.

    Raises:
      DataError: the data set is missing or damaged, or hosts have different ones.
      ValueError: the share for validation leaves a split without any example.
    """
    kind, _, name = chosen.name.partition(":")
    data_dir = chosen.data_dir or os.environ.get("JAXLTH_DATA") or None
    published, test = READERS[kind](data_dir, name=name)
    check_hosts(_of_all_hosts([published.examples, test.examples]))
    held = sources.held_out(published.examples, chosen.validation, seed=seed, name=chosen.name)
    train, validation = published, None
    if held.any():
        train = encoded.part(published, np.flatnonzero(~held))
        validation = encoded.part(published, np.flatnonzero(held))
    mean, std = statistics(train, chosen)
    info = Info(
        name=chosen.name,
        classes=train.classes,
        shape=(chosen.size, chosen.size, 3),
        train=train.examples,
        validation=int(held.sum()),
        test=test.examples,
    )
    return info, Streamed(train, validation, test, mean, std)


def training(
    source: encoded.Source,
    chosen: StreamSettings,
    *,
    batch_size: int,
    begin: int,
    end: int,
    order_key: jax.Array,
    crop_key: jax.Array,
    shard: Shard | None = None,
) -> Iterator[sources.Split]:
    """Return this host's batches of steps begin, ..., end - 1; see `batches.training`.

    One stream serves a training from where it starts or resumes to its end: workers take seconds
    to start.
    """
    crop = functools.partial(
        crops.random_crop, size=chosen.size, scale=chosen.crop_area, ratio=chosen.crop_ratio
    )
    return batches.training(
        source,
        crop,
        batch_size=batch_size,
        begin=begin,
        end=end,
        order_key=order_key,
        crop_key=crop_key,
        shard=shard or this_host(),
        workers=chosen.workers,
        skip_broken=chosen.skip_broken,
    )


def evaluation(
    source: encoded.Source,
    chosen: StreamSettings,
    *,
    batch_size: int,
    shard: Shard | None = None,
) -> Iterator[sources.Split]:
    """Return this host's part of all examples, each once; see `batches.evaluation`."""
    return batches.evaluation(
        source,
        functools.partial(crops.center_crop, size=chosen.size, shorter=chosen.shorter),
        batch_size=batch_size,
        shard=shard or this_host(),
        workers=chosen.workers,
        skip_broken=chosen.skip_broken,
    )


def statistics(source: encoded.Source, chosen: StreamSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation per channel of a sample; see the module's text."""
    count = min(source.examples, chosen.statistics)
    sample = encoded.part(source, np.arange(count) * source.examples // count)
    found = evaluation(sample, chosen, batch_size=min(count, 50), shard=Shard())
    return sources.statistics(batch.images[batch.labels != batches.PADDING] for batch in found)


def this_host() -> Shard:
    """Return the part of this process among those of `jax.distributed`."""
    return Shard(jax.process_index(), jax.process_count())


def check_hosts(counts: np.ndarray) -> None:
    """Check that all hosts found as many examples.

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


def _of_all_hosts(counts: list[int]) -> np.ndarray:
    if jax.process_count() == 1:
        return np.array([counts])
    from jax.experimental import multihost_utils  # of no use to a single process

    return np.asarray(multihost_utils.process_allgather(np.array(counts)))
