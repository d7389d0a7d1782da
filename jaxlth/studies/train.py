"""Train the networks that a run lacks: what it already has is not trained again.

A study requests networks by the names of their artifacts in the run's folder. Those that are
missing are trained in groups, with checkpoints, and stored whole. `TrainGroup.train` is a generator
of `Progress`; throwing KeyboardInterrupt into it saves a checkpoint of the group first.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxlth import distributed, masks
from jaxlth.models import Network
from jaxlth.store import Run
from jaxlth.studies.compiled_training import CompiledTraining, DeviceDataset
from jaxlth.training import execution, fit, optimizers
from jaxlth.training.evaluation import Evaluation
from jaxlth.training.states import NEVER, State
from jaxlth.training.train import Trainer

# Numbers of an evaluation that the table of results has of the kept network and at the best step.
LAST = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")
BEST = ("validation_loss", "test_accuracy", "test_loss")


class Ticket(NamedTuple):
    """A network and the mask under which it is trained."""

    network: Network  # parameters and batch statistics that its training starts from
    mask: masks.Mask  # True where a weight is kept


class TrainRequest(NamedTuple):
    """A request to train one network."""

    artifact: str  # its name in the run, "level_03/ticket/replicate_0"
    start: Callable[[], Ticket]  # called when the training begins
    key: jax.Array  # of the data order
    start_step: int  # step that training starts at
    record: Mapping[str, Any]  # what is known of it beforehand
    snapshots: Mapping[int, str] = {}  # step -> artifact that keeps the network of that step
    keeps_opt: bool = False  # whether snapshots keep the optimiser's state too
    opt: str = ""  # artifact whose optimiser's state training starts with; "": a fresh one
    restore: Callable[[Network], Ticket] | None = None  # of full size, where it trains smaller
    parts: str = ""  # which units those are, so that a checkpoint of others is of no use
    measure: Callable[[Ticket], Mapping[str, Any]] | None = None  # what else its record says
    first_opt: Callable[[Any], Any] | None = None  # of the optimiser's first state
    mask_of: Callable[[Any], masks.Mask] | None = None  # of its last state, where masks move


class Progress(NamedTuple):
    """How far a group is."""

    artifacts: tuple[str, ...]  # names of the networks in training now
    step: int
    steps: int  # length of the training
    trained: int  # steps since the last event, over all networks of the group
    finished: tuple[Mapping[str, Any], ...]  # records of the networks just stored
    num_pending: int  # networks still to be stored, those in training among them; at most


class Task(NamedTuple):
    """A network about to be trained on."""

    request: TrainRequest
    state: State  # at `step`
    mask: masks.Mask
    step: int
    rows: list[fit.Row]
    seconds: float  # spent on it before


def missing(run: Run, requests: Sequence[TrainRequest]) -> list[TrainRequest]:
    """Return the requests for networks, or snapshots of them, that the run lacks."""

    def is_whole(request: TrainRequest) -> bool:
        return all(run.has(name) for name in (request.artifact, *request.snapshots.values()))

    return [request for request in requests if not is_whole(request)]


def grouped(
    run: Run, requests: Sequence[TrainRequest], trainer: Trainer, *, size: int
) -> Iterator[list[Task]]:
    """Yield networks that train side by side, at most `size`: all at the step of a checkpoint."""
    steps = {
        request.artifact: run.latest_step(request.artifact, _notes(request)) or request.start_step
        for request in requests
    }
    for step in sorted(set(steps.values()), reverse=True):
        same = [request for request in requests if steps[request.artifact] == step]
        for first in range(0, len(same), size):
            yield [_task(run, request, trainer) for request in same[first : first + size]]


class TrainGroup:
    """Networks that are trained side by side."""

    def __init__(
        self,
        run: Run,
        tasks: list[Task],
        layout: execution.Layout,
        compiled_training: CompiledTraining,
        device_data: DeviceDataset,
    ) -> None:
        self._run, self._tasks, self._layout = run, tasks, layout
        self._plan = compiled_training.plan
        self._compiled = compiled_training.compiled(layout)
        self._dataset = device_data.shared(layout)
        self._masks = layout.place([task.mask for task in tasks])
        self._artifacts = tuple(task.request.artifact for task in tasks)
        self._save_steps = sorted({step for task in tasks for step in task.request.snapshots})
        self._clock = time.perf_counter()

    def train(self, num_pending: int, checkpoint_seconds: float) -> Iterator[Progress]:
        """Train the networks to the end and store them; see `Lab.train`.

        Args:
          num_pending: networks still to be stored, these among them, at most; for the progress.
          checkpoint_seconds: time between checkpoints.
        """
        tasks, saved = self._tasks, self._clock
        step, rows = tasks[0].step, [task.rows for task in tasks]
        # The last states, if the training is resumed at its end.
        states = self._layout.place([task.state for task in tasks])
        events = fit.fit(
            self._compiled,
            states,
            self._masks,
            self._dataset,
            self._layout.place([task.request.key for task in tasks]),
            start_step=step,
            plan=self._plan,
            save_steps=self._save_steps,
            last_eval_step=max(
                (row[-1]["step"] for row in rows if row), default=tasks[0].request.start_step
            ),
            rows=rows,
        )
        with contextlib.closing(events):  # what reads streamed data ends, however this does
            for event in events:
                self._save_snapshots(event.states, event.step)
                trained, step = (event.step - step) * len(tasks), event.step
                seconds = self._seconds()
                if distributed.broadcast(time.perf_counter() - saved > checkpoint_seconds):
                    self._save_checkpoints(event, seconds)
                    saved = time.perf_counter()
                try:
                    yield self._progress(step, trained, num_pending)
                except KeyboardInterrupt:
                    self._save_checkpoints(event, seconds)
                    raise
                states = event.states
        # Where all networks of the group have stopped early, they are what they would be later.
        for save_step in self._save_steps:
            if save_step > step:
                self._save_snapshots(states, save_step)
        records = self._store(states, step)
        yield self._progress(step, 0, num_pending - len(tasks), records)

    def _store(self, states: Any, step: int) -> list[Mapping[str, Any]]:
        """Store the trained networks, and return their records."""
        count = len(self._tasks)
        networks, on_train = self._compiled.finish(states, self._masks, self._dataset)
        parts = (self._layout.take(each, count) for each in (states, networks, on_train))
        records = []
        for task, state, network, evaluation in zip(self._tasks, *parts, strict=True):
            request = task.request
            mask = request.mask_of(state.opt) if request.mask_of else task.mask
            trained = request.restore(network) if request.restore else Ticket(network, mask)
            record = (
                dict(request.record)
                | _result(task, trained.mask, state, evaluation, step)
                | dict(request.measure(trained) if request.measure else {})
                | {"seconds": round(task.seconds + self._seconds(), 3)}
            )
            if not self._run.has(request.artifact):  # it may have lacked only a snapshot
                trees = {"network": trained.network, "mask": trained.mask}
                self._run.save(request.artifact, trees, record)
            records.append(record)
        return records

    def _save_checkpoints(self, event: fit.TrainEvent, seconds: float) -> None:
        states = self._layout.take(event.states, len(self._tasks))
        for task, state, rows in zip(self._tasks, states, event.rows, strict=True):
            notes = {"rows": rows, "seconds": task.seconds + seconds} | _notes(task.request)
            self._run.checkpoint(task.request.artifact, event.step, state, notes)

    def _save_snapshots(self, states: Any, step: int) -> None:
        """Store the networks of a step, where that is asked for."""
        requests = [task.request for task in self._tasks]
        names = [request.snapshots.get(step) for request in requests]
        if not any(names):
            return
        kept = {"network": states.network}
        if any(request.keeps_opt for request in requests):
            kept["opt"] = states.opt
        snapshots = self._layout.take(kept, len(requests))
        for name, request, trees in zip(names, requests, snapshots, strict=True):
            if not request.keeps_opt:
                trees = {"network": trees["network"]}
            if name is not None and not self._run.has(name):
                self._run.save(name, trees, {"step": step, "snapshot": True})

    def _seconds(self) -> float:
        """Return the time spent so far on each network."""
        return (time.perf_counter() - self._clock) / len(self._tasks)

    def _progress(
        self, step: int, trained: int, num_pending: int, records: Sequence[Mapping[str, Any]] = ()
    ) -> Progress:
        steps = self._plan.steps
        return Progress(self._artifacts, step, steps, trained, tuple(records), num_pending)


def _notes(request: TrainRequest) -> dict[str, str]:
    """Return what a checkpoint of a request says of the network that it is of."""
    return {"parts": request.parts}


def _task(run: Run, request: TrainRequest, trainer: Trainer) -> Task:
    """Return the task as its checkpoint left it, or at its beginning."""
    ticket = request.start()
    template = jax.eval_shape(trainer.start, *ticket)
    checkpoint = run.latest(request.artifact, template, _notes(request))
    if checkpoint is None:
        state = jax.device_get(trainer.start(*ticket))
        if request.opt:
            opt = run.load(request.opt, "opt", template.opt)
            state = state._replace(opt=optimizers.masked_state(opt, ticket.mask))
        if request.first_opt:
            state = state._replace(opt=jax.device_get(request.first_opt(state.opt)))
        return Task(request, state, ticket.mask, request.start_step, [], 0.0)
    step, state, notes = checkpoint
    return Task(request, state, ticket.mask, step, notes["rows"], notes["seconds"])


def _result(
    task: Task, mask: masks.Mask, state: State, on_train: Evaluation, step: int
) -> dict[str, Any]:
    """Return the numbers of a trained network, in the columns of the table of results."""

    def number(step: jax.Array) -> int | None:
        return None if int(step) == NEVER else int(step)

    stopped, diverged = number(state.stopped_step), number(state.nan_step)
    kept, size = int(masks.kept(mask)), masks.size(mask)
    last = fit.kept_row(state, task.rows)
    best_step = number(state.best.step)
    best = None if best_step is None else fit.row_at(best_step, task.rows)
    return {
        "density": kept / size,
        "kept": kept,
        "prunable": size,
        "start_step": task.request.start_step,
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
