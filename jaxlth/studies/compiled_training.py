"""What networks are trained by and on: a training compiled once, and data sent to devices once."""

import copy
import functools
from collections.abc import Callable
from typing import Any

from jaxlth.data import Dataset, StreamConfig, Streamed, packing
from jaxlth.process.memo import Memo
from jaxlth.training import Plan, evaluation, execution, fit, plans
from jaxlth.training.compiled import Compiled
from jaxlth.training.evaluation import Classifier
from jaxlth.training.train import Trainer


class CompiledTraining:
    """A training that may be asked for: its times, and its functions compiled for each layout.

    Args:
      trainer: the training.
      plan: its times.
      train_examples: training examples that finished networks are evaluated on.
      memo: what keeps compiled functions.
      split: devices that share each batch.
      networks_per_device: networks that an accelerator trains at once, at most; None for as many
        as was measured to be best.
      name: of the network.
      convolutional: whether the networks have convolutions.
      stream: how streamed images are read; None for data in memory.
      shared_batch: size of batches that idle devices may share; None where they may not.

    Attributes:
      layout: networks -> how they are placed to be evaluated.
      training_layout: networks -> how they are placed to be trained.
    """

    def __init__(
        self,
        trainer: Trainer,
        plan: Plan,
        *,
        train_examples: int,
        memo: Memo,
        split: int = 1,
        networks_per_device: int | None = None,
        name: str = "",
        convolutional: bool = False,
        stream: StreamConfig | None = None,
        shared_batch: int | None = None,
    ) -> None:
        self.trainer = trainer
        self.plan = plan
        self.layout = functools.partial(
            execution.layout,
            split=split,
            networks_per_device=networks_per_device,
            model=name,
            convolutional=convolutional,
            streamed=stream is not None,
        )
        self.training_layout = functools.partial(self.layout, batch_size=shared_batch)
        self._memo = memo
        self._train_examples, self._stream = train_examples, stream

    def until(self, step: int, *, networks: int | None = None) -> "CompiledTraining":
        """Return the training that ends at a step; its programs are those of the whole one.

        Args:
          step: to end at, at most the end of the whole training.
          networks: whose layout is taken for any number of them, as they would share a program then
            and round alike; as many as there are by default.
        """
        shorter = copy.copy(self)
        shorter.plan = plans.cut(self.plan, step)
        if networks is not None:
            shorter.training_layout = lambda _asked: self.training_layout(networks)
        return shorter

    def compiled(self, layout: execution.Layout) -> Compiled:
        """Return the training's functions for a layout."""
        return self._memo(
            fit.compile,
            self.trainer,
            layout,
            train_examples=self._train_examples,
            stream=self._stream,
        )

    def sums(
        self, layout: execution.Layout, classifier: Classifier, function: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return a function of `evaluation`, such as `metric_sums`, over the splits of a layout.

        Args:
          layout: how networks are placed.
          classifier: what evaluates them.
          function: (classifier, network, mask, batch, mean_std) -> sums over the batch.

        Returns:
          (networks and masks, split, mean_std) -> sums over the split.
        """
        of_batch = self._memo(evaluation.of_ticket, function, classifier)
        return self._memo(self.compiled(layout).make_sums, of_batch)


class DeviceDataset:
    """A data set, sent to the devices once for each set of them; of streams the statistics."""

    def __init__(self, dataset: Dataset | Streamed) -> None:
        self.dataset = dataset
        self._shared: dict[tuple[Any, ...], Dataset | Streamed] = {}

    def shared(self, layout: execution.Layout) -> Dataset | Streamed:
        """Return the data set on the devices of a layout."""
        if layout.devices not in self._shared:
            self._shared[layout.devices] = self._sent(layout)
        return self._shared[layout.devices]

    @property
    def packed(self) -> Dataset | Streamed:
        """The data set as it is sent: examples in memory are rows."""
        dataset = self.dataset
        return packing.pack_dataset(dataset) if isinstance(dataset, Dataset) else dataset

    def _sent(self, layout: execution.Layout) -> Dataset | Streamed:
        if isinstance(self.dataset, Dataset):
            return layout.share(self.packed)
        mean, std = layout.share((self.dataset.mean, self.dataset.std))
        return self.dataset._replace(mean=mean, std=std)
