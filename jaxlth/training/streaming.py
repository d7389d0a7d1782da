"""Training on streamed data: batches are decoded on the host while the devices work.

All devices of all processes share the batches of one network. Each process decodes the part of its
own devices, and evaluations sum over all of them.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator
from typing import Any

import jax
import numpy as np

from jaxlth import keys as keys_lib
from jaxlth.data import Split, StreamConfig, Streamed, sources, streamed, workers
from jaxlth.data.batches import Source
from jaxlth.models import BatchAxis
from jaxlth.training import evaluation, looping
from jaxlth.training.compiled import BatchSums, Compiled
from jaxlth.training.execution import Layout
from jaxlth.training.train import Trainer


class Feed:
    """The batches of one training, on their way to the devices; it stands at a step.

    Args:
      open_at: step -> the batches from there to the end of the training, on the host.
      put: sends a batch to the devices without waiting.
      depth: batches on their way.
    """

    def __init__(
        self,
        open_at: Callable[[int], Generator[Split, None, None]],
        *,
        put: Callable[[Split], Any],
        depth: int,
    ) -> None:
        self._open_at, self._put, self._depth = open_at, put, depth
        self._step: int | None = None
        self._open = contextlib.ExitStack()
        self._batches: Iterator[Any] = iter(())

    def batches(self, start_step: int, end: int) -> Iterator[tuple[int, Any]]:
        """Yield steps start_step, ..., end - 1 with their batches; reopen if it stands elsewhere.

        Raises:
          DataError: an image is broken.
        """
        if start_step != self._step:
            self.close()
            on_host = self._open.enter_context(contextlib.closing(self._open_at(start_step)))
            self._batches = workers.prefetch(on_host, put=self._put, depth=self._depth)
        for step in range(start_step, end):
            batch = next(self._batches)
            self._step = step + 1
            yield step, batch

    def close(self) -> None:
        """End what decodes."""
        self._step = None
        self._open.close()


def functions(
    trainer: Trainer, layout: Layout, config: StreamConfig, train_examples: int
) -> Compiled:
    """Return the trainer's functions, called for each batch of a stream.

    Args:
      trainer: the training, made for batches that all devices share.
      layout: one network on all devices.
      config: how images are read and cropped.
      train_examples: training examples, evenly spaced, that `finish` evaluates networks on.
    """
    update = layout.map(trainer.update, (0, 0, 0, None, 0, None), donate=True)

    def advance(states: Any, masks: Any, feed: Feed, keys: Any, start_step: Any, end: Any) -> Any:
        for step, (batch, mean_std) in feed.batches(int(start_step), int(end)):
            jax.block_until_ready(states.loss_sum)  # one step under way, while the next is decoded
            states = update(states, masks, batch, mean_std, keys, np.int32(step))
        return states

    def train_subset(data: Streamed) -> Source:
        return streamed.part(data.train, sources.spaced(data.train.examples, train_examples))

    called = looping.compiled(
        trainer,
        layout,
        advance=advance,
        make_sums=_make_sums(trainer, layout, config),
        examples=lambda source: source.examples,
        train_subset=train_subset,
    )
    return dataclasses.replace(called, open_data=_open_data(trainer, layout, config))


def _make_sums(
    trainer: Trainer, layout: Layout, config: StreamConfig
) -> Callable[[BatchSums], Callable[..., Any]]:
    """Return the function `make_sums` of a `Compiled`, for streams that all devices share."""
    axis = BatchAxis()

    def make_sums(batch_sums: BatchSums) -> Callable[..., Any]:
        def summed_over_devices(trees: Any, batch: Split, mean_std: Any) -> Any:
            return axis.sum(batch_sums(trees, batch, mean_std))

        mapped = layout.map(summed_over_devices, (0, 0, None))

        def sums(trees: Any, source: Source, mean_std: Any) -> Any:
            batches = streamed.evaluation(source, config, batch_size=trainer.batch_size)
            batches_on_devices = workers.prefetch(batches, put=layout.spread, depth=config.prefetch)
            parts = (mapped(trees, batch, mean_std) for batch in batches_on_devices)
            # The sums of a batch are read once the next one is under way, and not much later: else
            # batches would pile up on the devices.
            return evaluation.total(workers.prefetch(parts, put=lambda sums: sums, depth=1))

        return sums

    return make_sums


def _open_data(
    trainer: Trainer, layout: Layout, config: StreamConfig
) -> Callable[..., contextlib.AbstractContextManager[Feed]]:
    """Return the function `open_data` of a `Compiled`: it gives a `Feed`."""

    def open_data(
        data: Streamed, keys: jax.Array, end: int
    ) -> contextlib.AbstractContextManager[Feed]:
        order_key = keys[0, 0]

        def from_step(start_step: int) -> Generator[Split, None, None]:
            return streamed.training(
                data.train,
                config,
                batch_size=trainer.batch_size,
                start_step=start_step,
                end=end,
                order_key=order_key,
                crop_key=keys_lib.substream(order_key, "augmentation"),
            )

        def put(batch: Split) -> tuple[Split, Any]:
            return layout.spread(batch), (data.mean, data.std)

        return contextlib.closing(Feed(from_step, put=put, depth=config.prefetch))

    return open_data
