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
from jaxlth.data import Split, StreamConfig, Streamed, encoded, sources, streamed, workers
from jaxlth.models import BatchAxis
from jaxlth.training import evaluation, looping
from jaxlth.training.execution import AXIS, Compiled, Layout, Tally
from jaxlth.training.train import Trainer


class Feed:
    """The batches of one training, on their way to the devices; it stands at a step.

    Args:
      opened: step -> the batches from there to the end of the training, on the host.
      put: sends a batch to the devices without waiting.
      depth: batches on their way.
    """

    def __init__(
        self,
        opened: Callable[[int], Generator[Split, None, None]],
        *,
        put: Callable[[Split], Any],
        depth: int,
    ) -> None:
        self._opened, self._put, self._depth = opened, put, depth
        self._step: int | None = None
        self._open = contextlib.ExitStack()
        self._batches: Iterator[Any] = iter(())

    def batches(self, begin: int, end: int) -> Iterator[tuple[int, Any]]:
        """Yield steps begin, ..., end - 1 with their batches; reopen unless it stands at `begin`.

        Raises:
          DataError: an image is broken.
        """
        if begin != self._step:
            self.close()
            on_host = self._open.enter_context(contextlib.closing(self._opened(begin)))
            self._batches = workers.prefetch(on_host, put=self._put, depth=self._depth)
        for step in range(begin, end):
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
    one = layout.map(trainer.update, (0, 0, 0, None, None), donate=True)
    axis = BatchAxis(AXIS, len(layout.devices))

    def summing(tally: Tally) -> Callable[..., Any]:
        def shared(trees: Any, batch: Split, norms: Any) -> Any:
            return axis.sum(tally(trees, batch, norms))

        mapped = layout.map(shared, (0, 0, None))

        def sums(trees: Any, source: encoded.Source, norms: Any) -> Any:
            found = streamed.evaluation(source, config, batch_size=trainer.batch_size)
            sent = workers.prefetch(found, put=layout.spread, depth=config.prefetch)
            parts = (mapped(trees, batch, norms) for batch in sent)
            # The sums of a batch are read once the next one is under way, and not much later: else
            # batches would pile up on the devices.
            return evaluation.total(workers.prefetch(parts, put=lambda each: each, depth=1))

        return sums

    def opened(
        data: Streamed, keys: jax.Array, end: int
    ) -> contextlib.AbstractContextManager[Feed]:
        order_key = keys[0, 0]

        def from_step(begin: int) -> Generator[Split, None, None]:
            return streamed.training(
                data.train,
                config,
                batch_size=trainer.batch_size,
                begin=begin,
                end=end,
                order_key=order_key,
                crop_key=keys_lib.substream(order_key, "augmentation"),
            )

        def put(batch: Split) -> tuple[Split, Any]:
            return layout.spread(batch), (data.mean, data.std)

        return contextlib.closing(Feed(from_step, put=put, depth=config.prefetch))

    def advance(states: Any, masks: Any, feed: Feed, _keys: Any, begin: Any, end: Any) -> Any:
        for step, (batch, norms) in feed.batches(int(begin), int(end)):
            jax.block_until_ready(states.loss_sum)  # one step under way, while the next is decoded
            states = one(states, masks, batch, norms, np.int32(step))
        return states

    def some(data: Streamed) -> encoded.Source:
        return encoded.part(data.train, sources.spaced(data.train.examples, train_examples))

    called = looping.compiled(
        trainer,
        layout,
        advance=advance,
        summing=summing,
        sizes=lambda source: (source.examples, 1),
        some=some,
    )
    return dataclasses.replace(called, opened=opened)
