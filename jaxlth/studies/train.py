"""Train the networks that a run lacks: what it already has is not trained again.

A study requests networks by the names of their artifacts in the run's folder. Those that are
missing are trained in groups, with checkpoints, and stored whole. `train_networks` is a generator
of `Progress`; throwing KeyboardInterrupt into it saves a checkpoint of the group in training first.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxlth import distributed, masks
from jaxlth.data import Dataset, StreamConfig, Streamed
from jaxlth.models import Network
from jaxlth.store import Run
from jaxlth.training import Plan, execution, fit
from jaxlth.training.evaluation import Evaluation
from jaxlth.training.states import NEVER, State
from jaxlth.training.train import Trainer

# Numbers of an evaluation that the table of results has of the kept network and at the best step.
LAST = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")
BEST = ("validation_loss", "test_accuracy", "test_loss")


class Ticket(NamedTuple):
    """A network and the mask under which it is trained."""

    network: Network
    mask: masks.Mask


class TrainRequest(NamedTuple):
    """A request to train one network."""

    unit: str  # its name in the run, "level_03/ticket/replicate_0"
    start: Callable[[], Ticket]  # called when the training begins
    key: jax.Array  # of the data order
    begin: int  # step that training starts at
    record: Mapping[str, Any]  # what is known of it beforehand
    snapshots: Mapping[int, str] = {}  # step -> unit that keeps the network of that step
    restore: Callable[[Network], Ticket] | None = None  # of full size, where it trains smaller
    parts: str = ""  # which units those are, so that a checkpoint of others is of no use
    measure: Callable[[Ticket], Mapping[str, Any]] | None = None  # what else its record says


class Progress(NamedTuple):
    """How far a group is."""

    units: tuple[str, ...]  # in training now
    step: int
    steps: int  # length of the training
    trained: int  # steps since the last event, over all networks of the group
    finished: tuple[Mapping[str, Any], ...]  # records of the networks just stored
    left: int  # networks still to be stored, those in training among them; at most


class CompiledTraining:
    """A training that may be asked for: its times, and its functions compiled for each layout.

    Args:
      trainer: the training.
      plan: its times.
      train_examples: training examples that finished networks are evaluated on.
      split: devices that share each batch.
      side_by_side: networks that an accelerator trains at once, at most.
      convolutional: whether the networks have convolutions.
      stream: how streamed images are read; None for data in memory.
    """

    def __init__(
        self,
        trainer: Trainer,
        plan: Plan,
        *,
        train_examples: int,
        split: int = 1,
        side_by_side: int | None = None,
        convolutional: bool = False,
        stream: StreamConfig | None = None,
    ) -> None:
        self.trainer = trainer
        self.plan = plan
        self.layout = functools.partial(
            execution.layout,
            split=split,
            side_by_side=side_by_side,
            convolutional=convolutional,
            streamed=stream is not None,
        )
        self.compiled = functools.cache(
            functools.partial(fit.compile, trainer, train_examples=train_examples, stream=stream)
        )


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

    def _sent(self, layout: execution.Layout) -> Dataset | Streamed:
        if isinstance(self.dataset, Dataset):
            return layout.share(self.dataset)
        mean, std = layout.share((self.dataset.mean, self.dataset.std))
        return self.dataset._replace(mean=mean, std=std)


class _Task(NamedTuple):
    """A network about to be trained on."""

    request: TrainRequest
    state: State  # at `step`
    mask: masks.Mask
    step: int
    rows: list[fit.Row]
    seconds: float  # spent on it before


def train_networks(
    run: Run,
    requests: Sequence[TrainRequest],
    compiled_training: CompiledTraining,
    device_data: DeviceDataset,
    *,
    later: int,
    checkpoint_seconds: float,
) -> Iterator[Progress]:
    """Train the networks that the run lacks, and store them.

    Args:
      run: where they are looked for and stored.
      requests: the networks wanted.
      compiled_training: how they are trained.
      device_data: on what.
      later: networks that the job trains after these, at most; for telling progress.
      checkpoint_seconds: time between checkpoints within a network's training.

    Yields:
      Progress, about once a second; the state is safe while the generator is suspended.
    """
    missing = [request for request in requests if not _has_all(run, request)]
    if not missing:
        return
    # Not of the missing ones alone: a layout of its own could give a resumed network other bits.
    layout = compiled_training.layout(len(requests))
    left = len(missing) + later
    steps = {
        request.unit: run.latest_step(request.unit, _noted(request)) or request.begin
        for request in missing
    }
    for step in sorted(set(steps.values()), reverse=True):
        same = [request for request in missing if steps[request.unit] == step]
        for first in range(0, len(same), layout.size):
            tasks = [
                _task(run, request, compiled_training.trainer)
                for request in same[first : first + layout.size]
            ]
            yield from _train_group(
                run, tasks, layout, compiled_training, device_data, left, checkpoint_seconds
            )
            left -= len(tasks)


def _train_group(
    run: Run,
    tasks: list[_Task],
    layout: execution.Layout,
    compiled_training: CompiledTraining,
    device_data: DeviceDataset,
    left: int,
    checkpoint_seconds: float,
) -> Iterator[Progress]:
    compiled, dataset = compiled_training.compiled(layout), device_data.shared(layout)
    group_masks = layout.place([task.mask for task in tasks])
    units = tuple(task.request.unit for task in tasks)
    rows = [task.rows for task in tasks]
    clock = saved = time.perf_counter()
    step = tasks[0].step
    states = layout.place([task.state for task in tasks])  # the last ones, if resumed at the end
    moments = fit.fit(
        compiled,
        states,
        group_masks,
        dataset,
        layout.place([task.request.key for task in tasks]),
        start_step=step,
        plan=compiled_training.plan,
        save_steps=sorted({mark for task in tasks for mark in task.request.snapshots}),
        last_eval_step=max(
            (row[-1]["step"] for row in rows if row), default=tasks[0].request.begin
        ),
        rows=rows,
    )
    with contextlib.closing(moments):  # what reads streamed data ends, however this does
        for moment in moments:
            _snapshot(run, tasks, layout, moment.states, moment.step)
            trained, step = (moment.step - step) * len(tasks), moment.step
            seconds = (time.perf_counter() - clock) / len(tasks)
            if distributed.broadcast(time.perf_counter() - saved > checkpoint_seconds):
                _checkpoint(run, tasks, layout, moment, seconds)
                saved = time.perf_counter()
            try:
                yield Progress(units, step, compiled_training.plan.steps, trained, (), left)
            except KeyboardInterrupt:
                _checkpoint(run, tasks, layout, moment, seconds)
                raise
            states = moment.states
    # Where all networks of the group have stopped early, they are what they would be later.
    for mark in sorted({mark for task in tasks for mark in task.request.snapshots if mark > step}):
        _snapshot(run, tasks, layout, states, mark)
    networks, on_train = compiled.finish(states, group_masks, dataset)
    finished = []
    for task, state, network, evaluation in zip(
        tasks,
        layout.take(states, len(tasks)),
        layout.take(networks, len(tasks)),
        layout.take(on_train, len(tasks)),
        strict=True,
    ):
        made = task.request.restore(network) if task.request.restore else Ticket(network, task.mask)
        record = (
            dict(task.request.record)
            | _result(task, made.mask, state, evaluation, step)
            | dict(task.request.measure(made) if task.request.measure else {})
            | {"seconds": round(task.seconds + (time.perf_counter() - clock) / len(tasks), 3)}
        )
        if not run.has(task.request.unit):  # it may have been only a snapshot that was missing
            run.save(task.request.unit, {"network": made.network, "mask": made.mask}, record)
        finished.append(record)
    yield Progress(units, step, compiled_training.plan.steps, 0, tuple(finished), left - len(tasks))


def _has_all(run: Run, request: TrainRequest) -> bool:
    return all(run.has(unit) for unit in (request.unit, *request.snapshots.values()))


def _noted(request: TrainRequest) -> dict[str, str]:
    """Return what a checkpoint of a request says of the network that it is of."""
    return {"parts": request.parts}


def _task(run: Run, request: TrainRequest, trainer: Trainer) -> _Task:
    """Return the task as its checkpoint left it, or at its beginning."""
    start = request.start()
    template = jax.eval_shape(trainer.start, *start)
    found = run.latest(request.unit, template, _noted(request))
    if found is None:
        state = jax.device_get(trainer.start(*start))
        return _Task(request, state, start.mask, request.begin, [], 0.0)
    step, state, notes = found
    return _Task(request, state, start.mask, step, notes["rows"], notes["seconds"])


def _checkpoint(
    run: Run, tasks: list[_Task], layout: execution.Layout, moment: fit.TrainEvent, seconds: float
) -> None:
    states = layout.take(moment.states, len(tasks))
    for task, state, rows in zip(tasks, states, moment.rows, strict=True):
        notes = {"rows": rows, "seconds": task.seconds + seconds} | _noted(task.request)
        run.checkpoint(task.request.unit, moment.step, state, notes)


def _snapshot(
    run: Run, tasks: list[_Task], layout: execution.Layout, states: Any, step: int
) -> None:
    wanted = [task.request.snapshots.get(step) for task in tasks]
    if not any(wanted):
        return
    networks = layout.take(states.network, len(tasks))
    for unit, network in zip(wanted, networks, strict=True):
        if unit is not None and not run.has(unit):
            run.save(unit, {"network": network}, {"step": step, "snapshot": True})


def _result(
    task: _Task, mask: masks.Mask, state: State, on_train: Evaluation, step: int
) -> dict[str, Any]:
    """Return what training found, in the columns of the table of results."""

    def seen(at: jax.Array) -> int | None:
        return None if int(at) == NEVER else int(at)

    stopped, diverged = seen(state.stopped_step), seen(state.nan_step)
    kept, size = int(masks.kept(mask)), masks.size(mask)
    last = fit.kept_row(state, task.rows)
    best_step = seen(state.best.step)
    best = None if best_step is None else fit.row_at(best_step, task.rows)
    return {
        "density": kept / size,
        "kept": kept,
        "prunable": size,
        "start_step": task.request.begin,
        "steps": stopped or step,
        "train_accuracy": fit.number(on_train.accuracy),
        "train_loss": fit.number(on_train.loss),
        **{name: last[name] for name in LAST},
        "best_step": best_step,
        **{f"best_{name}": best and best[name] for name in BEST},
        "stopped_step": None if diverged is not None else stopped,
        "nan_step": diverged,
        "layer_densities": masks.layer_densities(mask),
        "curve": {name: [row[name] for row in task.rows] for name in task.rows[0]},
    }
