"""The settings of supermask tickets and what they ask for: which networks, under which names."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Annotated, Literal, get_args

import numpy as np

from jaxlth import ranges, settings, tickets
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.tickets.choices import PERCEPTRONS
from jaxlth.training import OptimizerConfig, TrainingConfig

Split = Literal["validation", "test"]
LONG, SHORT, THRESHOLDS, TICKET = "long", "short", "thresholds", "ticket"  # kinds of units
BASELINE, SIZE = "baseline", "size"  # kinds likewise, of dense networks to compare tickets with
UNTRAINED = "untrained"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupermaskConfig:
    """Tickets whose pruning threshold is chosen by the accuracy of the untrained network.

    References:
      Rolfs, Achieving results with untrained neural networks using Supermasks, section 3, whose
      data are mnist; Zhou et al. 2019, for the masks.
    """

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig(name="mlp", hidden=(200, 30))
    training: TrainingConfig = TrainingConfig(steps=20_000, evaluate_every=100)
    optimizer: OptimizerConfig = OptimizerConfig()
    thresholds: Annotated[tuple[float, ...], ranges.Range(single=True)] = tuple(
        round(0.01 * place, 2) for place in range(21)
    )
    """What sign(initial) * trained of a weight must reach for it to be kept: values to choose from,
    increasing from 0 or above."""
    ticket_steps: Annotated[int | None, ranges.at_least(1)] = None
    """Steps that tickets and the networks they are compared with are trained for; a quarter of the
    training if not given, as in the paper."""
    sizes: tuple[str, ...] = settings.outside(())
    """Widths of hidden layers, such as 100-15, of dense networks to compare tickets with besides
    the network itself."""
    choose_on: Split = "validation"
    """Split on which the step to stop at and the threshold are chosen: validation, or test, as the
    paper does, whose results on it are no longer those of unseen examples."""
    mask_biases: bool = False
    """Mask biases by the same thresholds too, as the paper's "parameters" may mean. They count as
    weights then, but for layers that a threshold empties."""
    leave_out: tuple[str, ...] = ()
    """Weights never to be pruned, by name or pattern such as "Dense_2/*"."""
    replicates: Annotated[int, ranges.at_least(1)] = settings.outside(3)
    """Repetitions, each with its own initialisation and data order."""
    seed: Annotated[int, ranges.between(0, 2**32 - 1, ends="[]")] = 0
    """Seed of every random stream."""

    def __post_init__(self) -> None:
        ranges.check(self)
        tickets.check_training(self)
        settings.known("choose_on", self.choose_on, get_args(Split))
        settings.require(
            self.choose_on == "test" or self.data.validation > 0,
            "`choose_on` validation needs a validation split; `validation` is 0.",
        )
        settings.require(
            not self.data.streamed,
            "`data` must be a set that memory holds, on which masks are tried at once; got "
            f"{self.data.name}.",
        )
        # As training computes, in 32 bits, where close numbers are the same.
        rising = bool(np.all(np.diff(np.asarray(self.thresholds, np.float32)) > 0))
        settings.require(
            len(self.thresholds) > 0 and rising and self.thresholds[0] >= 0,
            "`thresholds` must be finite numbers that increase from 0 or above; got "
            f"{settings.in_a_row(self.thresholds) or 'nothing'}.",
        )
        tickets.check_networks(
            replicates=self.replicates, thresholds=len(self.thresholds), sizes=5 + len(self.sizes)
        )
        self._check_sizes()

    def check_effects(self) -> None:
        """Raise ValueError where a setting is given that nothing reads."""
        tickets.check_effects(self)

    def _check_sizes(self) -> None:
        settings.each_once("sizes", self.sizes, empty=True)
        if not self.sizes:
            return
        settings.require(
            self.model.name in PERCEPTRONS,
            f"`sizes` are widths of hidden layers, which {self.model.name} has no choice of; "
            f"`model` must be {' or '.join(PERCEPTRONS)}.",
        )
        for size in self.sizes:
            settings.require(
                re.fullmatch(r"[1-9]\d{0,8}(-[1-9]\d{0,8})*", size) is not None,
                "`sizes` must be widths of hidden layers, of at most nine digits and joined by -, "
                f"such as 100-15; got {ranges.shown(size)}.",
            )
        settings.require(
            baseline(self) not in self.sizes,
            f"`sizes` must differ from {baseline(self)}, the widths of the network itself, which "
            "is trained in any case.",
        )


def baseline(config: SupermaskConfig) -> str:
    """Return the name of the size of the network itself: its widths, or what it is called.

    Example:
      >>> baseline(SupermaskConfig())
      '200-30'
    """
    own = config.model
    return "-".join(map(str, own.hidden)) if own.name == "mlp" and own.hidden else own.name


def sized(config: SupermaskConfig, size: str) -> SupermaskConfig:
    """Return the settings of the same study with the network of another size.

    Example:
      >>> sized(SupermaskConfig(), "100-15").model.hidden
      (100, 15)
    """
    if size == baseline(config):
        return config
    model = dataclasses.replace(config.model, name="mlp", hidden=tuple(map(int, size.split("-"))))
    return dataclasses.replace(config, model=model, sizes=())


def sizes(config: SupermaskConfig) -> tuple[str, ...]:
    """Return the sizes of the dense networks that tickets are compared with, its own first."""
    return (baseline(config), *config.sizes)


def long(replicate: int) -> str:
    """Return the name of the unit of the long training."""
    return f"training_long/dense/replicate_{replicate}"


def short(replicate: int) -> str:
    """Return the name of the unit of the training to the step of least loss."""
    return f"training_short/dense/replicate_{replicate}"


def thresholds(replicate: int) -> str:
    """Return the name of the unit that has what untrained networks reach at all thresholds."""
    return f"search_threshold/untrained/replicate_{replicate}"


def ticket(replicate: int) -> str:
    """Return the name of the unit of the ticket."""
    return f"training_ticket/ticket/replicate_{replicate}"


def size(which: str, replicate: int) -> str:
    """Return the name of the unit of a dense network that tickets are compared with."""
    return f"{settings.bounded(f'size_{which}')}/dense/replicate_{replicate}"


def units(config: SupermaskConfig) -> list[str]:
    """Return the names of all units that settings ask for, if nothing diverges on the way."""
    return [unit for replicate in range(config.replicates) for unit in _of(config, replicate)]


def _of(config: SupermaskConfig, replicate: int) -> Iterator[str]:
    yield from (name(replicate) for name in (long, short, thresholds, ticket))
    yield from (size(which, replicate) for which in sizes(config))
