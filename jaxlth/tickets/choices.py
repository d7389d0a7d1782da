"""The settings of IMP and what they ask for: which networks, under which names."""

import dataclasses
import math
from typing import Annotated, Any, Literal, get_args

from jaxlth import models, ranges, settings
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.tickets.controls import CONTROLS, TICKET
from jaxlth.training import OptimizerConfig, TrainingConfig

AfterPruning = Literal["rewind", "learning-rate", "fine-tune"]
Scope = Literal["global", "layerwise"]
MOST_NETWORKS = 100_000  # each has a folder of its run
LEVELS = ranges.at_least(0, most=1000, why="each level trains all networks again")
PERCEPTRONS = ("lenet-300-100", "mlp")  # networks whose layers are dense and in a row


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImpConfig:
    """Iterative magnitude pruning: train, prune, rewind, repeat.

    References:
      Frankle 2023, Algorithms 1, 2 and 4; Renda et al. 2020 for learning-rate rewinding.
    """

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    levels: Annotated[int, LEVELS] = settings.outside(12)
    """Prunings; level 0 is the dense network."""
    prune_fraction: Annotated[float, ranges.between(0, 1)] = 0.2
    """Share of the surviving weights that each level prunes, in (0, 1)."""
    rewind_step: Annotated[int, ranges.at_least(0)] = 0
    """Step of the dense training whose state tickets restart from; 0 is initialisation."""
    one_shot: bool = False
    """Prune the dense network to each level's density at once."""
    after_pruning: AfterPruning = "rewind"
    """After pruning: rewind weights and learning rate, the learning rate only, or neither."""
    scope: Scope = "global"
    """Compare the weights of the whole network, or prune each layer alike."""
    leave_out: tuple[str, ...] = ()
    """Weights never to be pruned, by name or pattern such as "Dense_2/*"."""
    controls: tuple[str, ...] = settings.outside(("reinitialized", "random"))
    """Controls trained beside each ticket, or none: reinitialized (its mask, new weights),
    shuffled (its weights, its mask shuffled within each layer), random (new weights, as many kept
    anywhere), random-layerwise (new weights, as many kept in each layer)."""
    control_levels: Annotated[tuple[int, ...], ranges.at_least(1)] = settings.outside(())
    """Levels at which controls are trained; all of them if none is given."""
    dilations: Annotated[tuple[float, ...], ranges.above(0)] = settings.outside(())
    """Factors of the training's length at which networks train again until they match dense."""
    stop_density: Annotated[float | None, ranges.between(0, 1)] = settings.outside(None)
    """Stop after the first level of at most this density, in (0, 1)."""
    stop_lost_accuracy: Annotated[float | None, ranges.between(0, 1)] = settings.outside(None)
    """Stop after the first level whose tickets lose more accuracy on average, in (0, 1)."""
    replicates: Annotated[int, ranges.at_least(1)] = settings.outside(3)
    """Repetitions, each with its own initialisation and data order."""
    compact: bool = False
    """Leave units and inputs that no output depends on out of training, where that saves time:
    the same training up to rounding. For lenet-300-100 and mlp."""
    seed: Annotated[int, ranges.between(0, 2**32 - 1, ends="[]")] = 0
    """Seed of every random stream."""

    def __post_init__(self) -> None:
        ranges.check(self)
        for control in self.controls:
            settings.known("controls", control, CONTROLS)
        settings.known("after_pruning", self.after_pruning, get_args(AfterPruning))
        settings.known("scope", self.scope, get_args(Scope))
        check_training(self)
        settings.require(
            len(set(self.controls)) == len(self.controls),
            f"`controls` must name each control once; got {' '.join(self.controls)}.",
        )
        settings.require(
            all(level <= self.levels for level in self.control_levels),
            f"`control_levels` must lie in 1..{self.levels}; got {list(self.control_levels)}.",
        )
        settings.require(
            not self.dilations or self.after_pruning != "fine-tune",
            "`dilations` stretch the schedule of training, which fine-tune does not follow; leave "
            "one of them out.",
        )
        check_networks(
            replicates=self.replicates,
            levels=self.levels + 1,
            controls=1 + len(self.controls),
            dilations=1 + len(self.dilations),
        )
        if self.compact:
            check_compact(self)

    def check_effects(self) -> None:
        """Raise ValueError where a setting is given that nothing reads."""
        check_effects(self)
        settings.effective(self, "control_levels", bool(self.controls), "without `controls`")


def check_compact(config: Any) -> None:
    """Raise ValueError where smaller networks would not be trained as the whole ones are.

    Args:
      config: settings of a job, with `data`, `model` and `optimizer`.
    """
    settings.require(
        config.model.name in PERCEPTRONS,
        f"`compact` has no effect on {config.model.name}: only {' and '.join(PERCEPTRONS)} are "
        "trained without the units that do not matter.",
    )
    for name in ("weight_decay", "l1"):
        settings.require(
            getattr(config.optimizer, name) == 0,
            f"`compact` leaves out weights that get no gradient, which `{name}` changes too; leave "
            "out one of the two.",
        )
    settings.require(not config.data.streamed, "`compact` needs images that memory holds.")


def check_networks(**factors: int) -> None:
    """Raise ValueError where more networks are asked for than a run holds.

    Args:
      factors: option -> what it multiplies their number by.

    Example:
      >>> check_networks(replicates=3, levels=10)
      >>> check_networks(replicates=10**6, levels=10)
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
    """Raise ValueError unless what every job's settings have fits together.

    Args:
      config: settings with `data`, `training`, `replicates` and `seed`.
    """
    settings.require(
        not config.data.streamed or config.training.batch_devices == 1,
        "`batch_devices` has no effect on streamed data, whose batches all devices share.",
    )
    settings.require(
        config.data.validation > 0
        or (config.training.patience is None and config.training.keep == "last"),
        "`patience` and `keep` best need a validation split; `validation` is 0.",
    )


def check_effects(config: Any) -> None:
    """Raise ValueError where a setting that every job has is given though nothing reads it.

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


def trained_at(level: int, config: ImpConfig) -> tuple[str, ...]:
    """Return what is trained at a level: the ticket and, once it is pruned, its controls."""
    wanted = level > 0 and (not config.control_levels or level in config.control_levels)
    return (TICKET, *config.controls) if wanted else (TICKET,)


def units(config: ImpConfig, *, levels: int) -> list[str]:
    """Return the names of all networks that the settings ask for, dilations aside."""
    return [
        unit(level, control, replicate)
        for level in range(levels + 1)
        for control in trained_at(level, config)
        for replicate in range(config.replicates)
    ]


def stages(config: ImpConfig) -> list[ImpConfig]:
    """Return settings that ask for more and more: tickets, the last controls, everything.

    A study done in this order has its most telling numbers first, should it be stopped.

    Example:
      >>> [stage.control_levels for stage in stages(ImpConfig(levels=3))]
      [(), (3,), ()]
    """
    own = dataclasses.replace(config, controls=(), control_levels=())
    end = max(config.control_levels, default=config.levels)
    last = dataclasses.replace(config, control_levels=(end,) if end else ())
    asked = {tuple(units(stage, levels=stage.levels)): stage for stage in (own, last, config)}
    return list(asked.values())


def unit(level: int, control: str, replicate: int) -> str:
    """Return the name of a network's unit in the run's folder."""
    return f"level_{level:02d}/{control}/replicate_{replicate}"


def rewound(replicate: int) -> str:
    """Return the name of the unit that keeps the state tickets restart from."""
    return f"rewound/replicate_{replicate}"


def dilated(name: str, dilation: float) -> str:
    """Return the name of a network's unit where it is trained longer or shorter.

    Example:
      >>> dilated("a", 2.5), dilated("a", 1.0000001)
      ('dilation_2.5/a', 'dilation_1.0000001/a')
    """
    short = f"{dilation:g}"
    return (
        name
        if dilation == 1
        else f"dilation_{short if float(short) == dilation else dilation}/{name}"
    )


def label(config: Any) -> str:
    """Return the readable part of a run folder's name.

    Example:
      >>> label(ImpConfig())
      'digits-lenet-300-100'
    """
    return f"{config.data.name.replace(':', '-')}-{models.label(config.model)}"
