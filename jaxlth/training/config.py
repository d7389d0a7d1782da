"""How long networks train, on what batches, and when they stop: the settings of training."""

import dataclasses
from typing import Annotated, Literal

from jaxlth import settings
from jaxlth.settings import ranges
from jaxlth.training.precision import Precision

CheckpointChoice = Literal["last", "best"]
MOST_STEPS = 2_000_000_000  # a step counter has 32 bits, and the end of an epoch is beyond


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long to train, on what batches, and when to stop.

    The unit of the training's length, steps or epochs, is also that of `evaluate_every`,
    `patience`, `warmup` and `milestones`. Times in steps are whole numbers. Times in epochs may be
    parts of them; they are rounded to whole steps and must make at least one.
    """

    steps: Annotated[
        int | None, ranges.above(0, most=MOST_STEPS, why="a step counter has 32 bits")
    ] = None
    """Length of training in steps, in place of --epochs."""
    epochs: Annotated[float, ranges.above(0)] = 40.0
    """Length of training in epochs, or parts of them."""
    batch_size: Annotated[int, ranges.above(0)] = 60
    """Examples per step; what is left of an epoch is dropped."""
    evaluate_every: Annotated[float | None, ranges.above(0)] = None
    """Time between evaluations, in the unit of the length: whole steps, or epochs and parts of
    them. By default a twentieth of the length, or longer where evaluations would take more than a
    quarter of the training's work."""
    patience: Annotated[float | None, ranges.above(0)] = None
    """Stop a replicate once its validation loss has not improved for so long, in the same unit."""
    checkpoint: CheckpointChoice = "last"
    """Which network of a training is kept: last (of the last step), or best (of the evaluation of
    least validation loss)."""
    train_examples: Annotated[int, ranges.above(0), settings.RARE] = 10_000
    """Training examples, evenly spaced, that a finished network is evaluated on; all if fewer."""
    data_parallel: Annotated[int, ranges.at_least(1), settings.RARE] = settings.not_hashed(1)
    """Devices that share each batch, their gradients averaged; networks train on sets of them."""
    networks_per_device: Annotated[int | None, ranges.at_least(1), settings.RARE] = (
        settings.not_hashed(None)
    )
    """Networks that an accelerator trains side by side, at most; a core trains one. By default 32,
    or one after the other where a table of measurements says that this is faster."""
    synchronized_statistics: Annotated[bool, settings.RARE] = True
    """Whether batch norm takes the statistics of a whole batch, or each device its own part's."""
    matmul_precision: Annotated[Precision, settings.RARE] = "default"
    """How exactly accelerators multiply matrices, in float32: the fast way, in which a TPU rounds
    factors to 8 bits and a GPU to 11 (default); with at least 16 bits (high); with all 24
    (highest). A CPU takes all bits in any case."""

    def __post_init__(self) -> None:
        settings.check_fields(self)
        settings.require(
            self.batch_size % self.data_parallel == 0,
            f"`data_parallel` must divide `batch_size`, {self.batch_size}; "
            f"got {self.data_parallel}.",
        )
        settings.require(
            self.steps is None or self.epochs == type(self).epochs,
            f"`steps` and `epochs` both give the length of training; got {self.steps} steps and "
            f"{self.epochs:g} epochs; leave out one of them.",
        )
        for name, time in training_times(self).items():
            check_whole(name, time, self)


def check_whole(name: str, time: float | None, training: TrainingConfig) -> None:
    """Raise ValueError where a time is a part of a step, in a training whose length is in steps.

    Args:
      name: of the setting.
      time: its value, in the unit of the training's length; None where there is none.
      training: whose unit it has.
    """
    settings.require(
        training.steps is None or time is None or time == round(time),
        f"`{name}` must be a whole number of steps, as the length of training is in steps; got "
        f"{time}.",
    )


def with_length(training: TrainingConfig, name: str) -> TrainingConfig:
    """Return a training whose length is about to be given, without the one that it takes back.

    Args:
      training: whose other settings stay.
      name: what will be given, "steps" or "epochs".

    Example:
      >>> with_length(TrainingConfig(steps=5), "epochs").steps is None
      True
    """
    other = {"steps": {"epochs": TrainingConfig.epochs}, "epochs": {"steps": None}}
    return dataclasses.replace(training, **other[name])


def training_times(training: TrainingConfig) -> dict[str, float | None]:
    """Return the settings of a training whose unit is that of its length, by name."""
    return {name: getattr(training, name) for name in ("evaluate_every", "patience")}
