"""The settings of separation, and the settings of IMP that they stand for."""

import dataclasses
from typing import Annotated, Any, Literal

from jaxlth import settings
from jaxlth.data import DataConfig, points
from jaxlth.models import ModelConfig
from jaxlth.settings import ranges
from jaxlth.studies import own_scores, score_names
from jaxlth.studies.config import LEVELS, Scope, StudyConfig
from jaxlth.studies.imp import config as imp_config
from jaxlth.studies.imp.config import AfterPruning, ImpConfig, network_names
from jaxlth.training import OptimizerConfig, TrainingConfig

Coverage = Literal["total", "input", "output"]
Stop = Literal["degraded", "separated", "never"]
SCORES = ("magnitude", "random", "synflow", *score_names.BEFORE_AND_AFTER)  # that see no examples


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparationConfig(StudyConfig):
    """Iterative pruning of a network with several tasks, looked at as a graph after each level.

    References:
      Burger 2024, sections 3.2 to 3.5; defaults are those of section 4.2.
    """

    data: DataConfig = DataConfig(name="moons+circles", normalize="per-pixel", validation=0.2)
    model: ModelConfig = ModelConfig(name="mlp", hidden=(57, 57))
    training: TrainingConfig = TrainingConfig(
        epochs=3000.0, batch_size=64, evaluate_every=1, patience=30
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3)
    levels: Annotated[int, LEVELS] = 9
    """Number of prunings; level 0 is the dense network."""
    prune_fraction: Annotated[float, ranges.between(0, 1)] = 0.32
    """Share of the surviving weights that each level prunes, in (0, 1)."""
    target: Annotated[int | None, ranges.at_least(1), settings.RARE] = None
    """Weights kept at the last level, in place of --prune-fraction."""
    counts: Annotated[tuple[int, ...], ranges.Range(), settings.RARE] = ()
    """Weights kept at each level after the dense one, in place of --levels and --prune-fraction."""
    score: Annotated[str, ranges.OneOf(SCORES, others=own_scores.is_own)] = "magnitude"
    """What weights are pruned by, after training: magnitude, random, synflow, or a mask criterion
    of Zhou et al. 2019, such as magnitude-increase; or FILE.py:NAME, a function (apply_fn, params,
    mask, batch, key) -> tree of floats like params, batch being None."""
    scope: Scope = "global"
    """Compare the weights of the whole network, or prune each layer alike."""
    alive: Annotated[bool, settings.RARE] = False
    """All-alive pruning: prune dead weights, on which no output depends or which depend on no
    input, in place of others, and pass on what zombies add to biases."""
    rewind_step: Annotated[int, ranges.at_least(0)] = 0
    """Step of the dense training whose state tickets restart from; 0 is initialisation."""
    after_pruning: AfterPruning = "rewind"
    """After pruning: rewind weights and learning rate, the learning rate only, or neither."""
    coverage: Annotated[Coverage, settings.RARE] = "total"
    """What of a task must be in the network, and what tells whose a subnetwork is: all inputs and
    outputs (total), inputs alone or outputs alone. For images, whose frame has inputs that say
    nothing, the default is output."""
    stop: Stop = settings.not_hashed("degraded")
    """When a replicate is pruned no further: once it is degraded, already once it is separated, or
    never."""
    replicates: Annotated[int, ranges.at_least(1)] = settings.not_hashed(4)
    """Repetitions, each with its own initialisation and data order."""
    compact: Annotated[bool, settings.RARE] = False
    """Leave units and inputs that no output depends on out of training, where that saves time: the
    same training up to rounding."""
    score_fields = ("score",)

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.require(
            self.target is None or self.levels >= 1,
            "`target` is reached by pruning; `levels` is 0.",
        )
        given = {"counts": bool(self.counts), "target": self.target is not None}
        settings.require(
            not all(given.values()),
            "`counts` and `target` both say how many weights are kept; leave out one of them.",
        )
        plain = type(self)
        for name, taken in given.items():
            others = ("prune_fraction", "levels") if name == "counts" else ("prune_fraction",)
            for other in others:
                settings.require(
                    not taken or getattr(self, other) == getattr(plain, other),
                    f"`{other}` has no effect where `{name}` is given; leave out one of them.",
                )
        settings.require(
            all(more > less > 0 for more, less in zip(self.counts, self.counts[1:], strict=False))
            and all(count > 0 for count in self.counts),
            f"`counts` must fall from level to level and be above 0; got "
            f"{settings.in_a_row(self.counts)}.",
        )
        settings.require(
            self.scope == "global" or not any(given.values()),
            "`counts` and `target` are of the whole network; `scope` layerwise prunes each layer "
            "by `prune_fraction`.",
        )
        imp(self)

    def check_effects(self) -> None:
        """Raise ValueError where a setting is given that nothing reads."""
        imp(self).check_effects()


def for_data(data: str) -> dict[str, Any]:
    """Return the fields whose defaults are others for a data set than for points.

    Example:
      >>> for_data("moons+circles"), for_data("mnist+fashion_mnist")
      ({}, {'coverage': 'output'})

    References:
      Burger 2024, section 4.3: networks on images degrade by their outputs.
    """
    return {} if set(data.split("+")) <= set(points.NAMES) else {"coverage": "output"}


def imp(config: SeparationConfig) -> ImpConfig:
    """Return the settings of IMP that find the same tickets where weights are pruned by magnitude.

    Raises:
      ValueError: a setting lies outside its range.
    """
    return imp_config.from_study(config, levels=levels(config), controls=(), score="magnitude")


def levels(config: SeparationConfig) -> int:
    """Return the number of prunings."""
    return len(config.counts) or config.levels


def units(config: SeparationConfig) -> list[str]:
    """Return the names of all networks that a config asks for, were none to stop before."""
    return network_names(imp(config), levels=levels(config))
