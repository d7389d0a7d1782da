"""What the configs of all studies share: their fields, and checks of them."""

import dataclasses
import math
import re
from typing import Annotated, Any, Literal, Self

import numpy as np

from jaxlth import models, settings
from jaxlth.data import DataConfig, Info
from jaxlth.models import ModelConfig
from jaxlth.process import code
from jaxlth.settings import ranges
from jaxlth.studies import score_names
from jaxlth.training import OptimizerConfig, TrainingConfig, training_times, with_length

ENTROPIES = ("cross-entropy", "next-token")  # losses in nats, whose networks have an accuracy
MOST_OUTPUTS = 1000  # classes, not all of which need examples
Scope = Literal["global", "layerwise"]
Split = Literal["validation", "test"]
MOST_NETWORKS = 100_000  # each has a folder of its run
LEVELS = ranges.at_least(0, most=1000, why="each level trains all networks again")
PERCEPTRONS = ("lenet-300-100", "mlp")  # networks whose layers are dense and in a row


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What a study trains, how often, and what it never prunes; each study adds its own fields."""

    name: str = ""
    """Name of the experiment, by which its runs are named; letters, digits and -_. of them. Data
    and model name a run without one."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: str = "cross-entropy"
    """Loss of an example: cross-entropy, next-token (of sequences), squared-error; or FILE.py:NAME,
    a function (outputs, labels) -> (n,) losses."""
    error: Annotated[str, settings.RARE] = ""
    """Error of an example, where it is not that of the loss: FILE.py:NAME, a function (outputs,
    labels) -> (n,) errors in [0, 1]."""
    exclude: tuple[str, ...] = ()
    """Weights never to be pruned, by name or pattern such as "Dense_2/*"."""
    initial: Annotated[str, settings.RARE] = ""
    """File of weights that level 0 starts from in place of random ones: of `jaxlth export`, or
    .safetensors or .npz with arrays named as the parameters are; or FILE.py:NAME, a tree of
    them."""
    initial_mask: Annotated[str, settings.RARE] = ""
    """File of `jaxlth export` whose mask is that of level 0; or FILE.py:NAME, a tree of booleans
    as `masks.dense` returns."""
    choose_on: Annotated[Split, settings.RARE] = "validation"
    """Split whose loss early stopping and the best checkpoint watch: validation, or test as some
    papers do, whose results on it are no longer those of unseen examples."""
    replicates: Annotated[int, ranges.at_least(1)] = settings.not_hashed(3)
    """Repetitions, each with its own initialisation and data order."""
    seed: Annotated[int, ranges.between(0, 2**32 - 1, ends="[]")] = 0
    """Seed of every random stream."""
    score_fields = ()  # no field: names of the fields that name scores

    def __post_init__(self) -> None:
        settings.check_fields(self)
        settings.require(
            re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})?", self.name) is not None,
            "`name` must be letters, digits and -_. of them, at most 100; got "
            f"{ranges.shown(self.name)}.",
        )
        settings.require(
            not self.error or code.is_own(self.error),
            f"`error` must be FILE.py:NAME, or from Python a function (outputs, labels) -> (n,) "
            f"errors; got {ranges.shown(self.error)}.",
        )
        check_training(self)

    def score_names(self) -> tuple[str, ...]:
        """Return the scores that the fields `score_fields` name, those of stacks one by one."""
        names = []
        for field in self.score_fields:
            value = getattr(self, field)
            for score in (value,) if isinstance(value, str) else value:
                names += score_names.split(score)
        return tuple(dict.fromkeys(names))

    def with_length(self, name: str) -> Self:
        """Return the config for a training whose length is about to be given.

        Args:
          name: what will be given, "steps" or "epochs".
        """
        return dataclasses.replace(self, training=with_length(self.training, name))

    def times(self) -> dict[str, Any]:
        """Return the settings whose unit is that of the training's length, by name."""
        of_rate = {name: getattr(self.optimizer, name) for name in ("milestones", "warmup")}
        return training_times(self.training) | of_rate

    def check_effects(self) -> None:
        """Raise ValueError where a setting is given that nothing reads."""
        check_shared_effects(self)
        settings.effective(
            self, "choose_on", watches_loss(self), "without `patience` or `checkpoint` best"
        )


def check_network_count(**factors: int) -> None:
    """Raise ValueError where more networks are asked for than a run holds.

    Args:
      factors: option -> what it multiplies their number by.

    Example:
      >>> check_network_count(replicates=3, levels=10)
      >>> check_network_count(replicates=10**6, levels=10)
      Traceback (most recent call last):
      ValueError: `replicates` must be smaller: 1000000 make 10000000 networks, a run holds 100000.
    """
    networks = math.prod(factors.values())
    option = max(factors, key=lambda name: factors[name])
    settings.require(
        networks <= MOST_NETWORKS,
        f"`{option}` must be smaller: {factors[option]} make {networks} networks, a run holds "
        f"{MOST_NETWORKS}.",
    )


def check_training(config: Any) -> None:
    """Raise ValueError unless what every study's settings have fits together.

    Args:
      config: settings with `data`, `training`, `replicates` and `seed`.
    """
    settings.require(
        not config.data.streamed or config.training.data_parallel == 1,
        "`data_parallel` has no effect on streamed data, whose batches all devices share.",
    )
    if not config.data.is_own:  # of others it shows when they are there
        check_validation(config, has_split=config.data.validation > 0)


def watches_loss(config: Any) -> bool:
    """Return whether training watches the loss of a split, to stop or to keep the best network."""
    return config.training.patience is not None or config.training.checkpoint == "best"


def check_validation(config: Any, *, has_split: bool) -> None:
    """Raise ValueError where training looks at a validation split that there is not."""
    settings.require(
        has_split or config.choose_on == "test" or not watches_loss(config),
        "`patience` and `checkpoint` best need a validation split, or `choose_on` test; "
        "`validation` is 0.",
    )


def check_outputs(config: Any, info: Info, labels: Any) -> None:
    """Raise ValueError where labels do not say how many outputs a network of the library has.

    Args:
      config: of the study.
      info: of the data.
      labels: of the training examples; None of streams.
    """
    labels = np.zeros(0) if labels is None else labels
    one_hot = ", of one-hot ones labels.argmax(-1)" if np.ndim(labels) == 2 else ""
    settings.require(
        info.classes > 0,
        f"`model` {config.model.name} has an output for each class, and labels of {info.name} are "
        f"{labels.dtype}: give class numbers as whole numbers, labels.astype(int){one_hot}; or a "
        "`model` of your own.",
    )
    examples = info.train + info.validation + info.test
    settings.require(
        info.classes <= max(examples, MOST_OUTPUTS) or np.ndim(labels) != 1,
        f"`data`: class numbers of {info.name} run to {info.classes - 1}, more than its {examples} "
        f"examples, and `model` {config.model.name} has an output for each: number the classes "
        "0, 1, ... in a row.",
    )


def check_shared_effects(config: Any) -> None:
    """Raise ValueError where a setting that every study has is given though nothing reads it.

    Args:
      config: settings with `data`, `model` and `training`.
    """
    normalize = config.data.normalize
    settings.effective(
        config.data.stream,
        "statistics_images",
        normalize == type(config.data).normalize,
        f"with `normalize` {normalize}, which uses no statistics",
    )
    settings.effective(
        config.training,
        "synchronized_statistics",
        models.has_batch_norm(config.model.name),
        f"on {config.model.name}, which has no batch norm",
    )


def check_accuracy(config: StudyConfig, why: str) -> None:
    """Raise ValueError where networks of a config have no accuracy.

    Args:
      config: of a study that compares accuracies.
      why: what it needs them for, as the end of a sentence.
    """
    loss, error = getattr(config, "loss", ENTROPIES[0]), getattr(config, "error", "")
    settings.require(
        loss in ENTROPIES or bool(error),
        f"`loss` must have an accuracy, or `error` be given, {why}; got {loss} alone.",
    )


def run_label(config: StudyConfig) -> str:
    """Return the readable part of a run folder's name.

    Example:
      >>> run_label(StudyConfig()), run_label(StudyConfig(name="wide"))
      ('digits-lenet-300-100', 'wide')
    """
    if config.name:
        return config.name
    data = config.data.name
    data = code.label(data) if code.is_spec(data) else data.replace(":", "-")
    return f"{data}-{models.label(config.model)}"
