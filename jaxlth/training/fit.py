"""The loop around a training: a group of networks in lockstep, in chunks short enough to watch.

`fit` is a generator: whoever iterates may show progress, save the states, or stop. Where the chunks
are cut changes nothing in the numbers.
"""

import math
import time
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlth import distributed
from jaxlth.data import StreamConfig
from jaxlth.training import Plan, looping, losses, scanning, streaming
from jaxlth.training.compiled import Compiled
from jaxlth.training.evaluation import Evaluation
from jaxlth.training.execution import Layout
from jaxlth.training.states import NEVER
from jaxlth.training.train import MULTI_EVAL_COUNT, Trainer

CHUNK_SECONDS = 0.7  # what Ctrl-C and the progress bar wait for
FIRST_CHUNK_STEPS = 50  # before the pace is known
MULTI_EVAL_GAP = 64  # steps between evaluations up to which one program makes several of them

Row = dict[str, Any]  # one evaluation of one network: numbers, None where there is none


class TrainEvent(NamedTuple):
    """A training between two chunks; its states are gone once the loop goes on."""

    step: int
    states: Any  # (devices, per_device, ...) State
    rows: list[list[Row]]  # the evaluations so far, a list for each network


class _Group(NamedTuple):
    """The networks that train together, placed by the layout, and what they train on."""

    states: Any
    masks: Any
    dataset: Any
    keys: jax.Array  # of data order
    rows: list[list[Row]]  # extended in place


class _Targets(NamedTuple):
    """The steps at which a training has an event whatever the chunks are, all in its future."""

    steps: list[int]  # increasing: the evaluations and the save steps
    evaluations: set[int]
    save_steps: set[int]


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
    functions = looping.functions if layout.looped else scanning.functions
    return functions(trainer, layout, train_examples)


def fit(
    compiled: Compiled,
    states: Any,
    masks: Any,
    dataset: Any,
    keys: jax.Array,
    *,
    start_step: int,
    plan: Plan,
    save_steps: Sequence[int] = (),
    last_eval_step: int,
    rows: list[list[Row]],
) -> Generator[TrainEvent, None, None]:
    """Yield the events of a training, the last one at its end: none if it is there already.

    Args:
      compiled: the functions.
      states: a group's states, placed by the layout.
      masks: a group's masks, likewise.
      dataset: on the devices, shared by the layout; or streamed.
      keys: a group's keys of data order.
      start_step: the step the states are at.
      plan: when to evaluate and to end.
      save_steps: further steps that must have an event.
      last_eval_step: the step of the last evaluation, or where training began.
      rows: the evaluations before `start_step`, a list for each network; extended in place.
    """
    group = _Group(states, masks, dataset, keys, rows)
    evaluations = {step for step in plan.evaluations if step > start_step}
    pending = {step for step in save_steps if start_step < step <= plan.steps}
    targets = _Targets(sorted(evaluations | pending), evaluations, set(save_steps))
    frequent = bool(plan.evaluations) and _longest_gap(plan) <= MULTI_EVAL_GAP
    if compiled.multi_eval_loop is not None and frequent:
        yield from _fit_with_frequent_evaluations(
            compiled, group, targets, start_step, last_eval_step
        )
    else:
        with compiled.open_data(dataset, keys, plan.steps) as batches:
            yield from _fit_in_chunks(compiled, group, targets, start_step, last_eval_step, batches)


def _longest_gap(plan: Plan) -> int:
    """Return the most steps between two evaluations."""
    return max(np.diff([0, *plan.evaluations]).tolist())


def _fit_in_chunks(
    compiled: Compiled,
    group: _Group,
    targets: _Targets,
    step: int,
    last_eval_step: int,
    batches: Any,
) -> Generator[TrainEvent, None, None]:
    """Yield the events of a training that goes from target to target in chunks of steps."""
    # A loop of steps may be cut anywhere at no cost, and its steps are long.
    chunk = 1 if compiled.layout.looped else FIRST_CHUNK_STEPS
    for target in targets.steps:
        if NEVER not in _stopped_steps(compiled, group):
            return
        while step < target:
            end = min(target, step + chunk)
            group, seconds = _advance(compiled, group, batches, step, end)
            chunk, step = _next_chunk_of_all(chunk, end - step, seconds), end
            if step < target:
                yield TrainEvent(step, group.states, group.rows)
        if target in targets.evaluations:
            group = _measure(compiled, group, step, last_eval_step)
            last_eval_step = step
        yield TrainEvent(step, group.states, group.rows)


def _advance(
    compiled: Compiled, group: _Group, batches: Any, step: int, end: int
) -> tuple[_Group, float]:
    """Return a group some steps later, and the seconds that they took."""
    clock = time.perf_counter()
    states = jax.block_until_ready(
        compiled.advance(
            group.states, group.masks, batches, group.keys, np.int32(step), np.int32(end)
        )
    )
    return group._replace(states=states), time.perf_counter() - clock


def _measure(compiled: Compiled, group: _Group, step: int, last_eval_step: int) -> _Group:
    """Return a group after an evaluation, a row of which is added for each network that trains."""
    states, measured = compiled.measure(
        group.states, group.masks, group.dataset, np.int32(step), np.int32(last_eval_step)
    )
    measured = compiled.layout.take(measured, len(group.rows))
    group = group._replace(states=states)
    stopped_steps = _stopped_steps(compiled, group)
    for row, evaluation_of, stopped in zip(group.rows, measured, stopped_steps, strict=True):
        if stopped in (NEVER, step):
            row.append(_row(step, evaluation_of))
    return group


def _stopped_steps(compiled: Compiled, group: _Group) -> list[int]:
    """Return the step at which each network stopped, or NEVER."""
    return [int(at) for at in compiled.layout.take(group.states.stopped_step, len(group.rows))]


def _num_fused(steps: list[int], evaluations: set[int], save_steps: set[int]) -> int:
    """Return the number of next targets that one call can evaluate, up to a save step.

    Example:
      >>> _num_fused([4, 8, 12], {4, 8, 12}, {8}), _num_fused([4, 7, 8], {4, 8}, {7})
      (2, 1)
    """
    for at, step in enumerate(steps):
        if step not in evaluations:
            return at
        if step in save_steps:
            return at + 1
    return len(steps)


def _fit_with_frequent_evaluations(
    compiled: Compiled, group: _Group, targets: _Targets, step: int, last_eval_step: int
) -> Generator[TrainEvent, None, None]:
    """Yield the events of a training with frequent evaluations: many to a call of one program."""
    pending, num_evals = targets.steps, 1
    while pending:
        if NEVER not in _stopped_steps(compiled, group):
            return
        count = _num_fused(pending[:num_evals], targets.evaluations, targets.save_steps)
        if not count:
            end, pending = pending[0], pending[1:]
            group, _ = _advance(compiled, group, group.dataset, step, end)
        else:
            ends, pending = pending[:count], pending[count:]
            group, seconds = _multi_eval(compiled, group, step, ends, last_eval_step)
            num_evals = min(MULTI_EVAL_COUNT, _next_chunk_of_all(num_evals, count, seconds))
            end = last_eval_step = ends[-1]
        step = end
        yield TrainEvent(step, group.states, group.rows)


def _multi_eval(
    compiled: Compiled, group: _Group, step: int, ends: list[int], last_eval_step: int
) -> tuple[_Group, float]:
    """Return a group at the last of several evaluations, and the seconds until there."""
    assert compiled.multi_eval_loop is not None
    padded = np.full(MULTI_EVAL_COUNT + 1, ends[-1], np.int32)
    padded[: len(ends) + 1] = [step, *ends]
    clock = time.perf_counter()
    states, history = compiled.multi_eval_loop(
        group.states,
        group.masks,
        group.dataset,
        group.keys,
        np.int32(last_eval_step),
        padded,
        np.int32(len(ends)),
    )
    history = compiled.layout.take(history, len(group.rows))
    group = group._replace(states=states)
    for row, measured, stopped in zip(
        group.rows, history, _stopped_steps(compiled, group), strict=True
    ):
        for at, end in enumerate(ends):
            if stopped == NEVER or end <= stopped:
                row.append(_row(end, jax.tree.map(lambda leaf, at=at: leaf[at], measured)))
    return group, time.perf_counter() - clock


def kept_row(state: Any, rows: list[Row]) -> Row:
    """Return the evaluation of the network that `finish` keeps: the last one or the best."""
    best = int(state.best.step)
    if state.best.network is None or best == NEVER:
        return rows[-1]
    return row_at(best, rows)


def row_at(step: int, rows: list[Row]) -> Row:
    """Return the evaluation at a step, of which there must be one."""
    return next(row for row in rows if row["step"] == step)


def _next_chunk_of_all(chunk: int, steps: int, seconds: float) -> int:
    """Return the length of the next chunk, the same in all processes.

    They must agree, or they would wait for each other at different steps.
    """
    return distributed.broadcast(_next_chunk(chunk, steps, seconds))


def _next_chunk(chunk: int, steps: int, seconds: float) -> int:
    """Return the length of the next chunk: towards CHUNK_SECONDS, at most doubling."""
    ideal = round(steps * CHUNK_SECONDS / max(seconds, 1e-6))
    longest = chunk if steps < chunk else 2 * chunk  # one cut short may only warn of a slow pace
    return max(1, min(longest, ideal))


def _row(step: int, measured: Any) -> Row:
    validation = measured.validation
    return {
        "step": step,
        "train_loss": number(measured.train_loss),
        "validation_loss": None if validation is None else number(validation.loss),
        "validation_accuracy": None if validation is None else _accuracy(validation),
        "test_loss": number(measured.test.loss),
        "test_accuracy": _accuracy(measured.test),
    }


def _accuracy(measured: Evaluation) -> float | None:
    """Return the accuracy of a split.

    Raises:
      LossError: it is none, though the loss is finite, as the error is a function that returns
        numbers beyond [0, 1].
    """
    accuracy = measured.accuracy
    if accuracy is not None and math.isfinite(measured.loss) and not -1e-6 <= accuracy <= 1 + 1e-6:
        raise losses.LossError(
            "`error` must return numbers in [0, 1], such as outputs.argmax(-1) != labels; got "
            f"{1 - float(accuracy):.4g} as their mean over the examples of an evaluation."
        )
    return number(accuracy)


def number(value: Any) -> float | None:
    """Return a float; None for none, and for what JSON cannot hold: NaN and infinities."""
    return None if value is None or not math.isfinite(value) else float(value)
