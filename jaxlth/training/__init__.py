"""Training as one pure function of state, mask, data and key, and how it is laid out over devices.

`plan` turns settings into numbers of steps, `train.make` gives the pure functions, `execution` maps
them over replicates and devices, `fit` is the loop that a job watches.
"""

import dataclasses
import math
from typing import Literal, get_args

from jaxlth import settings
from jaxlth.training.optimizers import OptimizerSettings

__all__ = ["OptimizerSettings", "Plan", "TrainingSettings", "cut", "plan"]

Keep = Literal["last", "best"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How long to train, on what batches, and when to stop.

    The unit of the training's length, steps or epochs, is also that of `evaluate_every`,
    `patience`, `warmup` and `milestones`.
    """

    steps: int | None = None
    """Length of training in steps, in place of --epochs."""
    epochs: float = 40.0
    """Length of training in epochs."""
    batch_size: int = 60
    """Examples per step; what is left of an epoch is dropped."""
    evaluate_every: float | None = None
    """Time between evaluations, in the unit of the length; a twentieth of it by default."""
    patience: float | None = None
    """Stop a replicate once its validation loss has not improved for so long, in the same unit."""
    keep: Keep = "last"
    """Keep the network of the last step, or of the evaluation of least validation loss."""
    train_examples: int = 10_000
    """Training examples, evenly spaced, that a finished network is evaluated on; all if fewer."""
    batch_devices: int = settings.outside(1)
    """Devices that share each batch, their gradients averaged; networks train on sets of them."""
    side_by_side: int = settings.outside(32)
    """Networks that an accelerator trains side by side, at most; a core trains one."""
    synchronized_statistics: bool = True
    """Whether batch norm takes the statistics of a whole batch, or each device its own part's."""

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "epochs",
            "batch_size",
            "evaluate_every",
            "patience",
            "train_examples",
        ):
            value = getattr(self, name)
            settings.require(
                value is None or 0 < value < math.inf, f"`{name}` must be above 0; got {value}."
            )
        settings.known("keep", self.keep, get_args(Keep))
        settings.require(
            self.batch_devices >= 1 and self.batch_size % self.batch_devices == 0,
            f"`batch_devices` must divide `batch_size`, {self.batch_size}; "
            f"got {self.batch_devices}.",
        )
        settings.require(
            self.side_by_side >= 1, f"`side_by_side` must be at least 1; got {self.side_by_side}."
        )
        settings.require(
            self.steps is None or self.epochs == type(self).epochs,
            f"`steps` and `epochs` both give the length of training; got {self.steps} steps and "
            f"{self.epochs:g} epochs.",
        )


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
    training: TrainingSettings,
    optimizer: OptimizerSettings,
    *,
    examples: int,
    dilation: float = 1.0,
) -> Plan:
    """Return the times of a training in steps.

    Args:
      training: lengths in steps or epochs.
      optimizer: milestones and warmup in the same unit.
      examples: size of the training set.
      dilation: factor on every time of the schedule and on the length.

    Raises:
      ValueError: the batch is larger than the training set, or the training shorter than a step.

    References:
      Frankle 2023, section 3.3.6, training dilation.
    """
    settings.require(
        training.batch_size <= examples,
        f"`batch_size` must be at most the number of training examples, {examples}; "
        f"got {training.batch_size}.",
    )
    settings.require(dilation > 0, f"`dilation` must be above 0; got {dilation}.")
    steps_per_epoch = examples // training.batch_size
    if training.steps is None:
        name, length, unit = "epochs", training.epochs, steps_per_epoch
    else:
        name, length, unit = "steps", training.steps, 1

    def in_steps(time: float) -> int:
        return round(time * unit * dilation)

    steps = in_steps(length)
    settings.require(
        steps >= 1,
        f"`{name}` must make at least one step; got {length:g}, dilated by {dilation:g}.",
    )
    latest = {"warmup": optimizer.warmup, "milestones": max(optimizer.milestones, default=0)}
    for name, time in latest.items():
        settings.require(
            time < length,
            f"`{name}` must come before the end of training, {length:g}; got {time:g}.",
        )
    every = length / 20 if training.evaluate_every is None else training.evaluate_every
    every = max(1, in_steps(every))
    return Plan(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        evaluations=(*range(every, steps, every), steps),
        patience=None if training.patience is None else max(1, in_steps(training.patience)),
        milestones=tuple(in_steps(milestone) for milestone in optimizer.milestones),
        warmup=in_steps(optimizer.warmup),
    )


def cut(whole: Plan, steps: int) -> Plan:
    """Return a plan that ends earlier, with an evaluation at its end.

    Example:
      >>> shared = {"steps_per_epoch": 10, "patience": None, "milestones": (), "warmup": 0}
      >>> cut(Plan(steps=20, evaluations=(5, 10, 15, 20), **shared), 12).evaluations
      (5, 10, 12)
    """
    before = tuple(step for step in whole.evaluations if step < steps)
    return dataclasses.replace(whole, steps=steps, evaluations=(*before, steps))
