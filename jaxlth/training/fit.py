"""The loop around a training: a group of networks in lockstep, in pieces short enough to watch.

`fit` is a generator: whoever iterates may show progress, save the states, or stop. Where the pieces
are cut changes nothing in the numbers.
"""

import math
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import distributed
from jaxlth.data import Dataset, Split, StreamConfig
from jaxlth.training import Plan, evaluation, looping, streaming
from jaxlth.training.execution import Compiled, Layout, Tally
from jaxlth.training.states import NEVER
from jaxlth.training.train import Trainer

PIECE_SECONDS = 0.7  # what Ctrl-C and the progress bar wait for
FIRST_PIECE = 50  # steps, before the pace is known
SHORT = 64  # steps between evaluations up to which these are swept over by one program
SWEPT = 64  # evaluations that one call of it makes at most

Row = dict[str, Any]  # one evaluation of one network: numbers, None where there is none


class Moment(NamedTuple):
    """A training between two pieces; its states are gone once the loop goes on."""

    step: int
    states: Any  # (devices, per_device, ...) State
    rows: list[list[Row]]  # the evaluations so far, a list for each network


def compile(
    trainer: Trainer, layout: Layout, *, train_examples: int, stream: StreamConfig | None = None
) -> Compiled:
    """Return the trainer's functions for a layout.

    Args:
      trainer: the training.
      layout: how networks are placed, and whether their steps are scanned or looped over.
      train_examples: training examples, evenly spaced, that `finish` evaluates networks on.
      stream: how streamed images are read; None for data in memory.
    """
    if stream is not None:
        return streaming.functions(trainer, layout, stream, train_examples)
    make = looping.functions if layout.looped else _scanned
    return make(trainer, layout, train_examples)


def _scanned(trainer: Trainer, layout: Layout, train_examples: int) -> Compiled:
    """Return functions that are one program each: no way back to the host at every step."""

    def some(dataset: Dataset) -> Split:
        return looping.spaced(dataset.train, train_examples)

    def finish(state: Any, mask: Any, dataset: Dataset) -> Any:
        network = trainer.finish(state)
        return network, trainer.evaluate(network, mask, some(dataset), dataset.mean, dataset.std)

    def summing(tally: Tally) -> Callable[..., Any]:
        def swept(trees: Any, split: Split, norms: Any) -> Any:
            size = max(1, evaluation.SCANNED_BATCH // layout.per_device)
            return evaluation.scanned(lambda batch: tally(trees, batch, norms), split, size=size)

        return layout.map(swept, (0, None, None))

    def sweep(state: Any, mask: Any, dataset: Dataset, key: Any, since: Any, ends: Any, count: Any):
        """Go on to ends[1], ..., ends[count], measuring at each, unless training has stopped."""

        def goes_on(carry: Any) -> Any:
            at, state, _, _ = carry
            return (at < count) & (state.stopped_step == NEVER)

        def one(carry: Any) -> Any:
            at, state, since, found = carry
            end = ends[at + 1]
            state = trainer.advance(state, mask, dataset, key, ends[at], end)
            state, measured = trainer.measure(state, mask, dataset, end, since)
            found = jax.tree.map(lambda all, one: all.at[at].set(one), found, measured)
            return at + 1, state, end, found

        ends = jnp.asarray(ends)  # `debug_nans` calls this as it is, to tell where a NaN arose
        _, like = jax.eval_shape(trainer.measure, state, mask, dataset, ends[0], since)
        found = jax.tree.map(lambda leaf: jnp.zeros((SWEPT, *leaf.shape), leaf.dtype), like)
        _, state, _, found = jax.lax.while_loop(goes_on, one, (0, state, since, found))
        return state, found

    return Compiled(
        layout=layout,
        sweep=layout.map(sweep, (0, 0, None, 0, None, None, None), donate=True),
        advance=layout.map(trainer.advance, (0, 0, None, 0, None, None), donate=True),
        measure=layout.map(trainer.measure, (0, 0, None, None, None)),
        finish=layout.map(finish, (0, 0, None)),
        some=some,
        summing=summing,
    )


def fit(
    compiled: Compiled,
    states: Any,
    masks: Any,
    dataset: Any,
    keys: jax.Array,
    *,
    begin: int,
    plan: Plan,
    marks: Sequence[int] = (),
    since: int,
    rows: list[list[Row]],
) -> Generator[Moment, None, None]:
    """Yield the moments of a training, the last one at its end: none if it is there already.

    Args:
      compiled: the functions.
      states: a group's states, placed by the layout.
      masks: a group's masks, likewise.
      dataset: on the devices, shared by the layout; or streamed.
      keys: a group's keys of data order.
      begin: the step the states are at.
      plan: when to evaluate and to end.
      marks: further steps that must be moments.
      since: the step of the last evaluation, or where training began.
      rows: the evaluations before `begin`, a list for each network; extended in place.
    """
    evaluations = [step for step in plan.evaluations if step > begin]
    targets = sorted({*evaluations, *(mark for mark in marks if begin < mark <= plan.steps)})
    # A loop of steps may be cut anywhere at no cost, and its steps are long.
    step, piece = begin, 1 if compiled.layout.looped else FIRST_PIECE

    def stops() -> list[int]:
        """Return the step at which each network stopped, or NEVER."""
        return [int(at) for at in compiled.layout.take(states.stopped_step, len(rows))]

    if compiled.sweep is not None and plan.evaluations and _gap(plan) <= SHORT:
        yield from _swept(
            compiled,
            (states, masks, dataset, keys),
            begin,
            targets,
            set(evaluations),
            set(marks),
            since,
            rows,
        )
        return
    with compiled.opened(dataset, keys, plan.steps) as source:
        for target in targets:
            if NEVER not in stops():
                return
            while step < target:
                end = min(target, step + piece)
                clock = time.perf_counter()
                states = jax.block_until_ready(
                    compiled.advance(states, masks, source, keys, np.int32(step), np.int32(end))
                )
                # Processes must agree, or they would wait for each other at different steps.
                piece = distributed.broadcast(
                    _next_piece(piece, end - step, time.perf_counter() - clock)
                )
                step = end
                if step < target:
                    yield Moment(step, states, rows)
            if target in evaluations:
                states, measured = compiled.measure(
                    states, masks, dataset, np.int32(step), np.int32(since)
                )
                measured = compiled.layout.take(measured, len(rows))
                for row, one, stopped in zip(rows, measured, stops(), strict=True):
                    if stopped in (NEVER, step):
                        row.append(_row(step, one))
                since = step
            yield Moment(step, states, rows)


def _gap(plan: Plan) -> int:
    """Return the most steps between two evaluations."""
    return max(np.diff([0, *plan.evaluations]).tolist())


def _up_to_a_mark(targets: list[int], evaluations: set[int], marks: set[int]) -> int:
    """Return how many targets are evaluations, the last one at most a mark too.

    Example:
      >>> _up_to_a_mark([4, 8, 12], {4, 8, 12}, {8}), _up_to_a_mark([4, 7, 8], {4, 8}, {7})
      (2, 1)
    """
    for at, target in enumerate(targets):
        if target not in evaluations:
            return at
        if target in marks:
            return at + 1
    return len(targets)


def _swept(
    compiled: Compiled,
    group: tuple[Any, Any, Any, Any],
    begin: int,
    targets: list[int],
    evaluations: set[int],
    marks: set[int],
    since: int,
    rows: list[list[Row]],
) -> Generator[Moment, None, None]:
    """Yield the moments of a training with frequent evaluations: many to a call of one program."""
    states, masks, dataset, keys = group
    assert compiled.sweep is not None
    step, most = begin, 1
    while targets:
        stopped = [int(at) for at in compiled.layout.take(states.stopped_step, len(rows))]
        if NEVER not in stopped:
            return
        if targets[0] not in evaluations:
            end = targets.pop(0)
            states = compiled.advance(states, masks, dataset, keys, np.int32(step), np.int32(end))
            step = end
            yield Moment(step, states, rows)
            continue
        count = _up_to_a_mark(targets[:most], evaluations, marks)
        ends, targets = targets[:count], targets[count:]
        padded = np.full(SWEPT + 1, ends[-1], np.int32)
        padded[: len(ends) + 1] = [step, *ends]
        clock = time.perf_counter()
        states, measured = compiled.sweep(
            states, masks, dataset, keys, np.int32(since), padded, np.int32(len(ends))
        )
        measured = compiled.layout.take(measured, len(rows))
        stopped = [int(at) for at in compiled.layout.take(states.stopped_step, len(rows))]
        for row, one, last in zip(rows, measured, stopped, strict=True):
            for at, end in enumerate(ends):
                if last == NEVER or end <= last:
                    row.append(_row(end, jax.tree.map(lambda leaf, at=at: leaf[at], one)))
        most = min(
            SWEPT, distributed.broadcast(_next_piece(most, len(ends), time.perf_counter() - clock))
        )
        step = since = ends[-1]
        yield Moment(step, states, rows)


def kept_row(state: Any, rows: list[Row]) -> Row:
    """Return the evaluation of the network that `finish` keeps: the last one or the best."""
    best = int(state.best.step)
    if state.best.network is None or best == NEVER:
        return rows[-1]
    return row_at(best, rows)


def row_at(step: int, rows: list[Row]) -> Row:
    """Return the evaluation at a step, of which there must be one."""
    return next(row for row in rows if row["step"] == step)


def _next_piece(piece: int, steps: int, seconds: float) -> int:
    """Return the length of the next piece: towards PIECE_SECONDS, at most doubling."""
    wanted = round(steps * PIECE_SECONDS / max(seconds, 1e-6))
    most = piece if steps < piece else 2 * piece  # one cut short may only warn of a slow pace
    return max(1, min(most, wanted))


def _row(step: int, measured: Any) -> Row:
    validation = measured.validation
    return {
        "step": step,
        "train_loss": number(measured.train_loss),
        "validation_loss": None if validation is None else number(validation.loss),
        "validation_accuracy": None if validation is None else number(validation.accuracy),
        "test_loss": number(measured.test.loss),
        "test_accuracy": number(measured.test.accuracy),
    }


def number(value: Any) -> float | None:
    """Return a float, or None for what JSON cannot hold: NaN and infinities."""
    value = float(value)
    return value if math.isfinite(value) else None
