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
from jaxlth.training.evaluation import LOOPED_BATCH, Evaluation
from jaxlth.training.execution import Compiled, Layout, Tally
from jaxlth.training.train import Trainer


def functions(trainer: Trainer, layout: Layout, train_examples: int) -> Compiled:
    """Return functions that call a program for each step, or batch of an evaluation."""
    order_of = layout.map(trainer.order, (None, 0, None))
    one = layout.map(trainer.step, (0, 0, None, 0, 0, None), donate=True)

    def advance(states: Any, masks: Any, dataset: Dataset, keys: Any, begin: Any, end: Any) -> Any:
        per_epoch = len(dataset.train.labels) // trainer.batch_size
        order = None
        for step in range(int(begin), int(end)):
            if order is None or step % per_epoch == 0:
                order = order_of(dataset, keys, np.int32(step))
            states = one(states, masks, dataset, order, keys, np.int32(step))
        return states

    return compiled(
        trainer,
        layout,
        advance=advance,
        summing=summing(layout),
        sizes=lambda split: (len(split.labels), evaluation.labels_each(split)),
        some=lambda dataset: spaced(dataset.train, train_examples),
    )


def summing(layout: Layout) -> Callable[[Tally], Callable[..., Any]]:
    """Return the function `summing` of a `Compiled` that calls a program for each batch."""

    def of(tally: Tally) -> Callable[..., Any]:
        def part(trees: Any, split: Split, norms: Any, first: Any, *, size: int) -> Any:
            batch = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, size), split)
            return tally(trees, batch, norms)

        @functools.cache
        def of_size(size: int) -> Callable[..., Any]:
            return layout.map(functools.partial(part, size=size), (0, None, None, None))

        def sums(trees: Any, split: Split, norms: Any) -> Any:
            count = len(split.labels)
            parts = [
                of_size(min(LOOPED_BATCH, count - first))(trees, split, norms, np.int32(first))
                for first in range(0, count, LOOPED_BATCH)
            ]
            return evaluation.total(parts)

        return sums

    return of


def compiled(
    trainer: Trainer,
    layout: Layout,
    *,
    advance: Callable[..., Any],
    summing: Callable[[Tally], Callable[..., Any]],
    sizes: Callable[[Any], tuple[int, int]],
    some: Callable[[Any], Any],
) -> Compiled:
    """Return a `Compiled` whose evaluations are loops.

    Args:
      trainer: the training.
      layout: how networks are placed.
      advance: see `Compiled`.
      summing: likewise.
      sizes: split -> how many examples it has, and labels each.
      some: data set -> the examples of its training split that `finish` evaluates networks on.
    """
    judge = layout.map(trainer.judge, (0, 0, 0, None, None))
    keep = layout.map(trainer.finish, (0,))
    tallied = summing(lambda trees, batch, norms: trainer.tally(*trees, batch, norms))

    def evaluate(networks: Any, masks: Any, split: Any, norms: Any) -> Evaluation:
        sums = tallied((networks, masks), split, norms)
        examples, tasks = sizes(split)
        return layout.put(evaluation.divided(sums, examples, tasks=tasks))

    def measure(states: Any, masks: Any, dataset: Any, step: Any, since: Any) -> Any:
        networks, norms = states.network, (dataset.mean, dataset.std)
        held = dataset.validation
        validation = None if held is None else evaluate(networks, masks, held, norms)
        test = evaluate(networks, masks, dataset.test, norms)
        return judge(states, validation, test, step, since)

    def finish(states: Any, masks: Any, dataset: Any) -> Any:
        networks, norms = keep(states), (dataset.mean, dataset.std)
        return networks, evaluate(networks, masks, some(dataset), norms)

    return Compiled(
        layout=layout,
        advance=advance,
        measure=measure,
        finish=finish,
        some=some,
        summing=summing,
    )


def spaced(train: Split, most: int) -> Split:
    """Return examples evenly spaced over a split, all of them if they are not more than `most`."""
    some = sources.spaced(len(train.labels), most)
    return jax.tree.map(lambda a: a[some], train)
