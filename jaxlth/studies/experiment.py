"""What a study trains: a network and its data, how, and with which seed."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxlth import settings
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.settings import ranges
from jaxlth.studies.config import StudyConfig
from jaxlth.training import OptimizerConfig, TrainingConfig, with_length


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is trained, the same for every study that is done with it.

    Networks, data sets and optimizers are those of the library.

    Attributes:
      model: the network, by name ("lenet-300-100") or as a `ModelConfig`.
      data: the data set, by name ("mnist") or as a `DataConfig`.
      optimizer: the optimizer and its learning rate.
      name: of the experiment, in place of data and model in the names of its runs.
      steps: length of the training in steps.
      epochs: length of the training in epochs, if not in steps.
      batch_size: examples per step; 60, if neither it nor `training` is given.
      seed: of every random stream.
      training: all else about the training; `steps`, `epochs` and `batch_size` go before it.
      exclude: weights never to be pruned, by name or pattern such as "Dense_2/*".

    Raises:
      TypeError: a part is of another kind.
      ValueError: there is no network or data set of this name, or the numbers do not fit together.

    Example:
      >>> experiment = Experiment(model="lenet-300-100", data="mnist", steps=500)
      >>> experiment.config.training.steps
      500
    """

    model: str | ModelConfig
    data: str | DataConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    name: str = ""
    steps: int | None = None
    epochs: float | None = None
    batch_size: int | None = None
    seed: int = 0
    training: TrainingConfig | None = None
    exclude: Sequence[str] = ()
    config: StudyConfig = dataclasses.field(init=False, repr=False, compare=False)
    """What the configs of all studies of this experiment share."""

    def __post_init__(self) -> None:
        parts = {
            "model": _config("model", self.model, ModelConfig),
            "data": _config("data", self.data, DataConfig),
            "optimizer": _config("optimizer", self.optimizer, OptimizerConfig),
            "training": self._training(),
        }
        numbers = {"name": self.name, "seed": self.seed, "exclude": self.exclude}
        # By way of dictionaries, where 3 becomes 3.0 if need be: it must not be another run.
        nested = {part: settings.to_dict(config) for part, config in parts.items()}
        config = settings.from_dict(StudyConfig, nested | plain(numbers))
        object.__setattr__(self, "config", config)

    def _training(self) -> TrainingConfig:
        """Return the training, with the numbers that are given besides."""
        training = TrainingConfig() if self.training is None else self.training
        training = _config("training", training, TrainingConfig)
        settings.require(
            self.steps is None or self.epochs is None,
            "`steps` and `epochs` both give the length of training; give one.",
        )
        names = ("steps", "epochs", "batch_size")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        for name in given.keys() & {"steps", "epochs"}:
            training = with_length(training, name)
        changed = settings.to_dict(training) | plain(given)
        return settings.from_dict(TrainingConfig, changed)


def _config(part: str, value: Any, kind: type[Any]) -> Any:
    """Return a part of an experiment as its config.

    Raises:
      TypeError: it is neither a config nor, for a network or data set, a name.
    """
    if isinstance(value, kind):
        return value
    named = part in ("model", "data")
    if named and isinstance(value, str):
        return kind(name=value)
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    kinds = f"{'a name or ' if named else ''}{article} `{kind.__name__}`"
    raise TypeError(
        f"`{part}` must be {kinds}; got {ranges.shown(value)}. Only what the library has can be "
        "trained so far."
    )


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as Python's own numbers, tuples and dictionaries.

    Example:
      >>> plain({"levels": np.int64(3), "controls": ["random"]})
      {'levels': 3, 'controls': ('random',)}
    """
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return settings.to_dict(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | range | np.ndarray):
        return tuple(map(_plain, value))
    return value
