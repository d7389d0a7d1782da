"""From lengths in steps or epochs to the times of a training, all in steps."""

import dataclasses
from collections.abc import Iterator

from jaxlth import settings
from jaxlth.training.config import MOST_STEPS, TrainingConfig, check_whole
from jaxlth.training.optimizers import OptimizerConfig

MOST_EVALUATIONS = 1_000_000
USUAL_EVALUATIONS = 20  # where it is not said how often, and they cost little beside the training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A training's times, all in steps.

    Attributes:
      steps: length of training.
      steps_per_epoch: whole batches in the training set.
      evaluations: steps after which the network is evaluated, increasing, the last is `steps`.
      patience: steps without improvement before a replicate stops; None: never.
      milestones: steps at which the learning rate drops.
      warmup: steps of linear warmup.
    """

    steps: int
    steps_per_epoch: int
    evaluations: tuple[int, ...]
    patience: int | None
    milestones: tuple[int, ...]
    warmup: int


def plan(
    training: TrainingConfig,
    optimizer: OptimizerConfig,
    *,
    examples: int,
    evaluated: int = 0,
    dilation: float = 1.0,
) -> Plan:
    """Return the times of a training in steps.

    Args:
      training: lengths in steps or epochs.
      optimizer: milestones and warmup in the same unit.
      examples: size of the training set.
      evaluated: examples that an evaluation sees, of validation and test together.
      dilation: factor on every time of the schedule and on the length.

    Raises:
      ValueError: the batch is larger than the training set, or the training shorter than a step.

    References:
      Frankle 2023, section 3.3.6, training dilation.
    """
    check_times(training, optimizer)
    settings.require(
        training.batch_size <= examples,
        f"`batch_size` must be at most the number of training examples, {examples}; "
        f"got {training.batch_size}.",
    )
    settings.require(dilation > 0, f"`dilation` must be above 0; got {dilation}.")
    steps_per_epoch = examples // training.batch_size
    per_unit = steps_per_epoch if training.steps is None else 1

    def in_steps(time: float) -> int:
        return round(min(time * per_unit * dilation, MOST_STEPS))

    steps = _length_in_steps(training, per_unit=per_unit, dilation=dilation)
    settings.require(
        optimizer.cycles <= steps,
        f"`cycles` must be at most the steps of the training, {steps}; got {optimizer.cycles}.",
    )
    for name, time in _times(training, optimizer):
        time_in_steps(name, time, per_unit=per_unit)
    interval = training.evaluate_every
    if interval is None:
        trained_examples = _length(training) * per_unit * training.batch_size
        interval = _length(training) / usual_evaluations(trained_examples, evaluated)
    every = max(1, in_steps(interval))
    settings.require(
        steps // every <= MOST_EVALUATIONS,
        f"`evaluate_every` must leave at most {MOST_EVALUATIONS} evaluations; got {every} steps "
        f"in a training of {steps}.",
    )
    return Plan(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        evaluations=(*range(every, steps, every), steps),
        patience=None if training.patience is None else max(1, in_steps(training.patience)),
        milestones=tuple(in_steps(milestone) for milestone in optimizer.milestones),
        warmup=in_steps(optimizer.warmup),
    )


def _length(training: TrainingConfig) -> float:
    """Return the length of a training, in epochs or in steps."""
    return training.epochs if training.steps is None else training.steps


def _length_in_steps(training: TrainingConfig, *, per_unit: int, dilation: float) -> int:
    """Return the length of a training in steps.

    Raises:
      ValueError: it is shorter than a step, or longer than a step counter holds.
    """
    name, length = "epochs" if training.steps is None else "steps", _length(training)
    settings.require(
        length * per_unit * dilation <= MOST_STEPS,
        f"`{name}` must make at most {MOST_STEPS} steps (a step counter has 32 bits); got "
        f"{length:g}{_dilated(dilation)}, {per_unit} steps each.",
    )
    steps = round(length * per_unit * dilation)
    settings.require(
        steps >= 1,
        f"`{name}` must make at least one step; got {length:g}, dilated by {dilation:g}.",
    )
    return steps


def usual_evaluations(trained: float, evaluated: int) -> int:
    """Return the number of evaluations in a training where no setting gives it.

    All evaluations together take at most a quarter of the training's floating-point operations, but
    for the one at its end: to train on an example takes three times what evaluating it does.

    Args:
      trained: examples that the training sees, over all epochs.
      evaluated: examples that an evaluation sees.

    Example:
      >>> usual_evaluations(938 * 128, 16_000), usual_evaluations(40 * 55_000, 15_000)
      (5, 20)
    """
    affordable = trained * 3 / 4 // max(1, evaluated)
    return int(min(max(1, affordable), USUAL_EVALUATIONS))


def check_times(training: TrainingConfig, optimizer: OptimizerConfig) -> None:
    """Raise ValueError where times of the learning rate do not fit the length of the training.

    Args:
      training: its length, in steps or epochs.
      optimizer: milestones and warmup in the same unit.
    """
    name = "epochs" if training.steps is None else "steps"
    length = getattr(training, name) / optimizer.cycles
    end = "training" if optimizer.cycles == 1 else f"each of the {optimizer.cycles} cycles"
    for setting in ("warmup", "milestones"):
        for time in _of_optimizer(optimizer, setting):
            check_whole(setting, time, training)
            settings.require(
                time < length,
                f"`{setting}` must come before the end of {end}, {length:g}; got {time:g}. "
                f"Times are in {name}, as the length is.",
            )


def time_in_steps(name: str, time: float, *, per_unit: int) -> int:
    """Return a time in steps, rounded.

    Args:
      name: of the setting.
      time: its value.
      per_unit: steps of an epoch, or 1 where times are in steps.

    Raises:
      ValueError: it is above 0 and makes no step.

    Example:
      >>> time_in_steps("patience", 0.5, per_unit=21)
      10
    """
    steps = round(min(time * per_unit, MOST_STEPS))
    settings.require(
        steps >= 1 or time == 0,
        f"`{name}` must make at least one step; got {time:g} epochs.",
    )
    return steps


def cut(plan: Plan, steps: int) -> Plan:
    """Return a plan that ends earlier, with an evaluation at its end.

    Example:
      >>> shared = {"steps_per_epoch": 10, "patience": None, "milestones": (), "warmup": 0}
      >>> cut(Plan(steps=20, evaluations=(5, 10, 15, 20), **shared), 12).evaluations
      (5, 10, 12)
    """
    before = tuple(step for step in plan.evaluations if step < steps)
    return dataclasses.replace(plan, steps=steps, evaluations=(*before, steps))


def _times(training: TrainingConfig, optimizer: OptimizerConfig) -> Iterator[tuple[str, float]]:
    """Yield the times that are given, with the names of their settings."""
    for name in ("evaluate_every", "patience"):
        if (time := getattr(training, name)) is not None:
            yield name, time
    for name in ("warmup", "milestones"):
        yield from ((name, time) for time in _of_optimizer(optimizer, name))


def _of_optimizer(optimizer: OptimizerConfig, name: str) -> tuple[float, ...]:
    time = getattr(optimizer, name)
    return tuple(time) if name == "milestones" else (time,)


def _dilated(dilation: float) -> str:
    return "" if dilation == 1 else f" dilated by {dilation:g}"
