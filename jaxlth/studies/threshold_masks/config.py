"""The settings of supermask tickets and what they ask for: which networks, under which names."""

import dataclasses
import re
from typing import Annotated

import numpy as np

from jaxlth import settings
from jaxlth.models import ModelConfig
from jaxlth.settings import ranges
from jaxlth.studies.config import (
    PERCEPTRONS,
    Split,
    StudyConfig,
    check_network_count,
    check_shared_effects,
)
from jaxlth.training import TrainingConfig

LONG, SHORT, THRESHOLDS = "long", "short", "thresholds"  # kinds of artifacts
BASELINE, SIZE = "baseline", "size"  # kinds likewise, of dense networks to compare tickets with
UNTRAINED = "untrained"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThresholdMasksConfig(StudyConfig):
    """Tickets whose pruning threshold is chosen by the accuracy of the untrained network.

    References:
      Rolfs, Achieving results with untrained neural networks using Supermasks, section 3, whose
      data are mnist; Zhou et al. 2019, for the masks.
    """

    model: ModelConfig = ModelConfig(name="mlp", hidden=(200, 30))
    training: TrainingConfig = TrainingConfig(steps=20_000, evaluate_every=100)
    thresholds: Annotated[tuple[float, ...], ranges.Range(single=True)] = tuple(
        round(0.01 * place, 2) for place in range(21)
    )
    """What sign(initial) * trained of a weight must reach for it to be kept: values to choose from,
    increasing. Below 0, weights that training has turned over by less are kept too."""
    ticket_steps: Annotated[int | None, ranges.at_least(1)] = None
    """Steps that tickets and the networks they are compared with are trained for; a quarter of the
    training if not given, as in the paper."""
    sizes: tuple[str, ...] = settings.not_hashed(())
    """Widths of hidden layers, such as 100-15, of dense networks to compare tickets with besides
    the network itself."""
    choose_on: Split = "validation"
    """Split on which the step to stop at and the threshold are chosen, and whose loss early
    stopping and the best checkpoint watch: validation, or test, as the paper does, whose results on
    it are no longer those of unseen examples."""
    mask_biases: Annotated[bool, settings.RARE] = False
    """Mask biases by the same thresholds too, as the paper's "parameters" may mean. They count as
    weights then, but for layers that a threshold empties."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data.is_own:  # of others it shows when they are there
            check_choice_split(self, has_split=self.data.validation > 0)
        settings.require(
            not self.data.streamed,
            "`data` must be a set that memory holds, on which masks are tried at once; got "
            f"{self.data.name}.",
        )
        # As training computes, in 32 bits, where close numbers are the same.
        rising = bool(np.all(np.diff(np.asarray(self.thresholds, np.float32)) > 0))
        settings.require(
            len(self.thresholds) > 0 and rising,
            "`thresholds` must be finite numbers that increase; got "
            f"{settings.in_a_row(self.thresholds) or 'nothing'}.",
        )
        check_network_count(
            replicates=self.replicates, thresholds=len(self.thresholds), sizes=5 + len(self.sizes)
        )
        self._check_sizes()

    def check_effects(self) -> None:
        """Raise ValueError where a setting is given that nothing reads."""
        check_shared_effects(self)

    def _check_sizes(self) -> None:
        settings.check_unique("sizes", self.sizes, empty=True)
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
            baseline_size(self) not in self.sizes,
            f"`sizes` must differ from {baseline_size(self)}, the widths of the network itself, "
            "which is trained in any case.",
        )


def baseline_size(config: ThresholdMasksConfig) -> str:
    """Return the name of the size of the network itself: its widths, or what it is called.

    Example:
      >>> baseline_size(ThresholdMasksConfig())
      '200-30'
    """
    own = config.model
    return "-".join(map(str, own.hidden)) if own.name == "mlp" and own.hidden else own.name


def with_size(config: ThresholdMasksConfig, size: str) -> ThresholdMasksConfig:
    """Return the settings of the same study with the network of another size.

    Example:
      >>> with_size(ThresholdMasksConfig(), "100-15").model.hidden
      (100, 15)
    """
    if size == baseline_size(config):
        return config
    model = dataclasses.replace(config.model, name="mlp", hidden=tuple(map(int, size.split("-"))))
    return dataclasses.replace(config, model=model, sizes=())


def all_sizes(config: ThresholdMasksConfig) -> tuple[str, ...]:
    """Return the sizes of the dense networks that tickets are compared with, its own first."""
    return (baseline_size(config), *config.sizes)


def check_choice_split(config: ThresholdMasksConfig, *, has_split: bool) -> None:
    """Raise ValueError where thresholds are chosen on a validation split that there is not."""
    settings.require(
        config.choose_on == "test" or has_split,
        "`choose_on` validation needs a validation split; `validation` is 0.",
    )
