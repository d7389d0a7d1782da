"""What a study trains: a network and its data, how, and with which seed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optax

from jaxlth import settings
from jaxlth.data import ArraySource, DataConfig
from jaxlth.models import Model, ModelConfig
from jaxlth.process import code
from jaxlth.settings import ranges
from jaxlth.studies import parts as parts_lib
from jaxlth.studies.config import StudyConfig
from jaxlth.studies.parts import Parts
from jaxlth.training import OptimizerConfig, TrainingConfig, with_length


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is trained, the same for every study that is done with it.

    Each part is one of the library's, by name or config, or one of your own.

    Attributes:
      model: the network, by name ("lenet-300-100") or as a `ModelConfig`; or a `models.Model` (see
        `models.from_linen`, `from_nnx`, `from_functions`), a linen module, a function (rngs) -> nnx
        module, or a function (input shape, classes) -> one of these.
      data: the data set, by name ("mnist") or as a `DataConfig`; or from `data.from_arrays`.
      optimizer: the optimizer and its learning rate; or any `optax.GradientTransformation`.
      loss: of an example: "cross-entropy", "next-token" or "squared-error"; or a function
        (outputs, labels) -> (n,) losses.
      error: a function (outputs, labels) -> (n,) errors in [0, 1], where the loss has none, or
        another is wanted; accuracy is 1 - error.
      augment: a function (inputs, key=) -> inputs that changes the inputs of each training batch;
        for the library's, see `DataConfig.augment`.
      name: of the experiment, in place of data and model in the names of its runs; needed with
        parts of your own, whose runs it tells apart.
      steps: length of the training in steps, which is the unit of the times of `training` then.
      epochs: length of the training in epochs, if not in steps.
      batch_size: examples per step; 60, if neither it nor `training` is given.
      seed: of every random stream.
      training: all else about the training; `steps`, `epochs` and `batch_size` go before it.
      exclude: weights never to be pruned, by name or pattern such as "Dense_2/*".
      initial: parameters that level 0 starts from, in place of random ones: a tree like those of
        the network, or a file of `jaxlth export` or safetensors.
      initial_mask: mask of level 0, a tree like `masks.dense` returns; nothing is pruned if not
        given.

    Raises:
      TypeError: a part is of another kind.
      ValueError: there is no network or data set of this name, or the numbers do not fit together.

    Example:
      >>> experiment = Experiment(model="lenet-300-100", data="mnist", steps=500)
      >>> experiment.config.training.steps
      500
    """

    model: str | ModelConfig | Model | Callable[..., Any]
    data: str | DataConfig | ArraySource
    optimizer: OptimizerConfig | optax.GradientTransformation = OptimizerConfig()
    loss: str | Callable[[Any, Any], Any] = "cross-entropy"
    error: str | Callable[[Any, Any], Any] | None = None
    augment: Callable[..., Any] | None = None
    name: str = ""
    steps: int | None = None
    epochs: float | None = None
    batch_size: int | None = None
    seed: int = 0
    training: TrainingConfig | None = None
    exclude: Sequence[str] = ()
    initial: Any = None
    initial_mask: Any = None
    config: StudyConfig = dataclasses.field(init=False, repr=False, compare=False)
    """What the configs of all studies of this experiment share."""
    parts: Parts = dataclasses.field(init=False, repr=False, compare=False)
    """The parts that no config says."""

    def __post_init__(self) -> None:
        own = self._own_parts()
        settings.require(
            self.name != "" or own == parts_lib.NONE,
            "`name` must name an experiment that has parts of your own, to tell its runs from "
            "others; got ''.",
        )
        parts = {
            "model": self._config("model", ModelConfig, own),
            "data": self._data(own),
            "optimizer": self._config("optimizer", OptimizerConfig, own),
            "training": self._training(),
        }
        numbers: dict[str, Any] = {"name": self.name, "seed": self.seed, "exclude": self.exclude}
        numbers["loss"] = self.loss if own.loss is None else code.OWN
        numbers["error"] = (self.error or "") if own.error is None else code.OWN
        for name in ("initial", "initial_mask"):
            value = getattr(self, name)
            numbers[name] = value if isinstance(value, str) else "" if value is None else code.OWN
        # By way of dictionaries, where 3 becomes 3.0 if need be: it must not be another run.
        nested = {part: settings.to_dict(config) for part, config in parts.items()}
        config = settings.from_dict(StudyConfig, nested | plain(numbers))
        object.__setattr__(self, "config", config)
        object.__setattr__(self, "parts", own)

    def _own_parts(self) -> Parts:
        """Return the parts that are objects.

        Raises:
          TypeError: one is of no known kind.
        """
        kinds: dict[str, tuple[type[Any], ...]] = {
            "model": (str, ModelConfig),
            "data": (str, DataConfig),
            "optimizer": (OptimizerConfig,),
            "loss": (str,),
            "error": (str, type(None)),
        }
        given = {name: getattr(self, name) for name in kinds}
        objects = {name: each for name, each in given.items() if not isinstance(each, kinds[name])}
        objects["augment"] = self.augment
        for name in ("initial", "initial_mask"):
            value = getattr(self, name)
            objects[name] = None if isinstance(value, str) else value
        parts = Parts(**objects)
        parts_lib.check_kinds(parts)
        return parts

    def _config(self, part: str, kind: type[Any], own: Parts) -> Any:
        """Return a part as its config."""
        value = getattr(self, part)
        if isinstance(value, kind):
            return value
        field = "optimizer" if part == "optimizer" else "name"
        return kind(**{field: value if getattr(own, part) is None else code.OWN})

    def _data(self, own: Parts) -> DataConfig:
        """Return the config of the data set."""
        config = self._config("data", DataConfig, own) if own.data is None else DataConfig()
        if own.augment is not None:
            config = dataclasses.replace(config, augment=code.OWN)
        return config if own.data is None else own.data.config(config)

    def _training(self) -> TrainingConfig:
        """Return the training, with the numbers that are given besides."""
        training = TrainingConfig() if self.training is None else self.training
        if not isinstance(training, TrainingConfig):
            raise TypeError(f"`training` must be a `TrainingConfig`; got {ranges.shown(training)}.")
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
