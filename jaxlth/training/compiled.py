"""The functions of a training, mapped over a group of networks and compiled."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import jax

from jaxlth.training.execution import Layout

# (tree, batch, (mean, std)) -> sums over the batch's examples
BatchSums: TypeAlias = Callable[..., Any]


def _as_it_is(dataset: Any, _keys: jax.Array, _end: int) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext(dataset)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A trainer's functions, mapped over a layout's group and compiled once.

    open_data(dataset, keys, end) -> context that gives the data that `advance` trains on up to a
      step
    advance(states, masks, data, keys, start_step, end) -> states
    measure(states, masks, dataset, step, last_eval_step) -> (states, Measured)
    finish(states, masks, dataset) -> (networks, evaluations on examples of training)
    train_subset(dataset) -> the examples of training that networks are evaluated on
    make_sums(batch_sums) -> sums(trees, split, mean_std): batch_sums(tree, batch, mean_std) of each
      of a group's trees, added up over a split
    multi_eval_loop(states, masks, dataset, keys, last_eval_step, ends, count) -> (states, Measured
      of each end): from ends[0] to the next ones, `count` of them, measuring at each, as long as a
      network goes on; None where that is no program of its own
    """

    layout: Layout
    advance: Callable[..., Any]
    measure: Callable[..., Any]
    finish: Callable[..., Any]
    train_subset: Callable[[Any], Any]
    make_sums: Callable[[BatchSums], Callable[..., Any]]
    open_data: Callable[..., contextlib.AbstractContextManager[Any]] = _as_it_is
    multi_eval_loop: Callable[..., Any] | None = None
