"""Training whose steps are scanned: many steps, with their evaluations, in one program.

So accelerators train, and networks without convolutions on CPU: nothing goes back to the host
between steps. `looping` and `streaming` give the same functions where that does not serve.
"""

from collections.abc import Callable
from typing import Any

from jaxlth.data import Dataset, Split
from jaxlth.training import evaluation, looping
from jaxlth.training.compiled import BatchSums, Compiled
from jaxlth.training.execution import Layout
from jaxlth.training.train import Trainer

TILE = 8  # rows that a TPU holds together
LEAST_BATCH = 256  # examples that each of many networks side by side is evaluated on at once


def functions(trainer: Trainer, layout: Layout, train_examples: int) -> Compiled:
    """Return functions that are one program each.

    Args:
      trainer: the training.
      layout: how networks are placed.
      train_examples: training examples, evenly spaced, that `finish` evaluates networks on.
    """

    def train_subset(dataset: Dataset) -> Split:
        return looping.spaced(dataset.train, train_examples)

    def finish(state: Any, mask: Any, dataset: Dataset) -> Any:
        network, split = trainer.finish(state), train_subset(dataset)
        return network, trainer.evaluate(network, mask, split, dataset.mean, dataset.std)

    def make_sums(batch_sums: BatchSums) -> Callable[..., Any]:
        def sums(trees: Any, split: Split, mean_std: Any) -> Any:
            return evaluation.sum_over_split(
                lambda batch: batch_sums(trees, batch, mean_std),
                split,
                size=_batch_size(layout.per_device),
            )

        return layout.map(sums, (0, None, None))

    loop_axes = (0, 0, None, 0, None, None, None)
    return Compiled(
        layout=layout,
        multi_eval_loop=layout.map(trainer.advance_and_measure, loop_axes, donate=True),
        advance=layout.map(trainer.advance, (0, 0, None, 0, None, None), donate=True),
        measure=layout.map(trainer.measure, (0, 0, None, None, None)),
        finish=layout.map(finish, (0, 0, None)),
        train_subset=train_subset,
        make_sums=make_sums,
    )


def _batch_size(networks: int) -> int:
    """Return the examples that so many networks side by side are evaluated on at once.

    The weights of all networks are read for each batch: the fewer batches, the faster. A TPU holds
    rows in tiles of eight, and would move batches of other sizes to tiles of their own.

    Example:
      >>> _batch_size(1), _batch_size(3), _batch_size(30)
      (2000, 664, 256)
    """
    size = max(LEAST_BATCH, evaluation.SCANNED_BATCH // networks)
    return size - size % TILE
