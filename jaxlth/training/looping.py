"""Training whose steps, and batches of an evaluation, are called from a loop in Python.

So convolutions train on CPU, where they are slow inside a scan, and so do streamed images, which
come from the host.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxlth.data import Dataset, Split, sources
from jaxlth.training import evaluation
from jaxlth.training.compiled import BatchSums, Compiled
from jaxlth.training.evaluation import LOOPED_BATCH, Evaluation
from jaxlth.training.execution import Layout
from jaxlth.training.train import Trainer


def functions(trainer: Trainer, layout: Layout, train_examples: int) -> Compiled:
    """Return functions that call a program for each step, or batch of an evaluation."""
    draw_epoch = layout.map(trainer.draw_epoch, (None, 0, None))
    step_of_group = layout.map(trainer.step, (0, 0, None, 0, 0, None), donate=True)

    def advance(
        states: Any, masks: Any, dataset: Dataset, keys: Any, start_step: Any, end: Any
    ) -> Any:
        per_epoch = len(dataset.train.labels) // trainer.batch_size
        epoch = None
        for step in range(int(start_step), int(end)):
            if epoch is None or step % per_epoch == 0:
                epoch = draw_epoch(dataset, keys, np.int32(step))
            states = step_of_group(states, masks, dataset, epoch, keys, np.int32(step))
        return states

    return compiled(
        trainer,
        layout,
        advance=advance,
        make_sums=make_sums(layout),
        examples=lambda split: len(split.labels),
        train_subset=lambda dataset: spaced(dataset.train, train_examples),
    )


def make_sums(layout: Layout) -> Callable[[BatchSums], Callable[..., Any]]:
    """Return the function `make_sums` of a `Compiled` that calls a program for each batch."""

    def make(batch_sums: BatchSums) -> Callable[..., Any]:
        def part(trees: Any, split: Split, mean_std: Any, first: Any, *, size: int) -> Any:
            batch = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, size), split)
            return batch_sums(trees, batch, mean_std)

        @functools.cache
        def of_size(size: int) -> Callable[..., Any]:
            return layout.map(functools.partial(part, size=size), (0, None, None, None))

        def sums(trees: Any, split: Split, mean_std: Any) -> Any:
            count = len(split.labels)
            parts = [
                of_size(min(LOOPED_BATCH, count - first))(trees, split, mean_std, np.int32(first))
                for first in range(0, count, LOOPED_BATCH)
            ]
            return evaluation.total(parts)

        return sums

    return make


def compiled(
    trainer: Trainer,
    layout: Layout,
    *,
    advance: Callable[..., Any],
    make_sums: Callable[[BatchSums], Callable[..., Any]],
    examples: Callable[[Any], int],
    train_subset: Callable[[Any], Any],
) -> Compiled:
    """Return a `Compiled` whose evaluations are loops.

    Args:
      trainer: the training.
      layout: how networks are placed.
      advance: see `Compiled`.
      make_sums: likewise.
      examples: split -> how many it has.
      train_subset: data set -> the training examples that `finish` evaluates networks on.
    """
    update_early_stopping = layout.map(trainer.update_early_stopping, (0, 0, 0, None, None))
    keep = layout.map(trainer.finish, (0,))

    def batch_sums(networks_and_masks: Any, batch: Any, mean_std: Any) -> Any:
        network, mask = networks_and_masks
        return trainer.metric_sums(network, mask, batch, mean_std)

    metric_sums = make_sums(batch_sums)

    def evaluate(networks: Any, masks: Any, split: Any, mean_std: Any) -> Evaluation:
        sums = metric_sums((networks, masks), split, mean_std)
        labels = trainer.objective.labels_per_example
        return layout.put(evaluation.mean_numpy(sums, examples(split), labels=labels))

    def measure(states: Any, masks: Any, dataset: Any, step: Any, last_eval_step: Any) -> Any:
        networks, mean_std = states.network, (dataset.mean, dataset.std)
        validation = (
            None
            if dataset.validation is None
            else evaluate(networks, masks, dataset.validation, mean_std)
        )
        test = evaluate(networks, masks, dataset.test, mean_std)
        return update_early_stopping(states, validation, test, step, last_eval_step)

    def finish(states: Any, masks: Any, dataset: Any) -> Any:
        networks, mean_std = keep(states), (dataset.mean, dataset.std)
        return networks, evaluate(networks, masks, train_subset(dataset), mean_std)

    return Compiled(
        layout=layout,
        advance=advance,
        measure=measure,
        finish=finish,
        train_subset=train_subset,
        make_sums=make_sums,
    )


def spaced(train: Split, most: int) -> Split:
    """Return examples evenly spaced over a split, all of them if they are not more than `most`."""
    rows = sources.spaced(len(train.labels), most)
    return jax.tree.map(lambda a: a[rows], train)
