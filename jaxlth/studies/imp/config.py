"""The settings of IMP and what they ask for: which networks, under which names."""

import dataclasses
from typing import Annotated, Any, Literal

from jaxlth import settings
from jaxlth.settings import ranges
from jaxlth.studies import level_artifacts, own_scores, score_names
from jaxlth.studies.config import (
    LEVELS,
    PERCEPTRONS,
    Scope,
    StudyConfig,
    check_network_count,
)
from jaxlth.studies.controls import CONTROLS, TICKET
from jaxlth.training import optimizers

AfterPruning = Literal["rewind", "learning-rate", "fine-tune"]
SCORES = tuple(name for name in score_names.SCORES if name not in score_names.AT_RANDOM)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImpConfig(StudyConfig):
    """Iterative pruning, by magnitude or another score: train, prune, rewind, repeat.

    References:
      Frankle 2023, Algorithms 1, 2 and 4; Renda et al. 2020 for learning-rate rewinding.
    """

    levels: Annotated[int, LEVELS] = settings.not_hashed(10)
    """Number of prunings; level 0 is the dense network."""
    prune_fraction: Annotated[float, ranges.between(0, 1)] = 0.2
    """Share of the surviving weights that each level prunes, in (0, 1)."""
    rewind_step: Annotated[int, ranges.at_least(0)] = 0
    """Step of the dense training whose state tickets restart from; 0 is initialisation."""
    one_shot: bool = False
    """Prune the dense network to each level's density at once."""
    after_pruning: AfterPruning = "rewind"
    """After pruning: rewind weights and learning rate, the learning rate only, or neither."""
    restart_schedule: Annotated[bool, settings.RARE] = False
    """Run the whole learning-rate schedule, warmup included, in the steps of each ticket and
    control, which start at --rewind-step, instead of going on with it there."""
    rewind_optimizer: Annotated[bool, settings.RARE] = False
    """Start tickets with the optimiser's state of --rewind-step, pruned weights aside, instead of a
    fresh one; controls with new weights start with a fresh one."""
    score: Annotated[str, ranges.OneOf(SCORES, others=ranges.anything)] = "magnitude"
    """What trained networks are pruned by: a score, a stack A+B as of `jaxlth prune-early`, or
    FILE.py:NAME, a function (apply_fn, params, mask, batch, key) -> tree of floats like params.
    SynFlow prunes in 100 rounds as published, any other score at once."""
    per_class: Annotated[int, ranges.at_least(1), settings.RARE] = 10
    """Training examples of each class that scores such as snip see, as one batch."""
    scope: Scope = "global"
    """Compare the weights of the whole network, or prune each layer alike."""
    alive: Annotated[bool, settings.RARE] = False
    """All-alive pruning: prune dead weights, on which no output depends or which depend on no
    input, in place of others, and pass on what zombies add to biases. For lenet-300-100 and mlp."""
    controls: Annotated[tuple[str, ...], ranges.OneOf(CONTROLS, empty=True)] = settings.not_hashed(
        ("reinitialized", "random")
    )
    """Controls trained beside each ticket, or none: reinitialized (its mask, new weights),
    shuffled (its weights, its mask shuffled within each layer), shuffled-globally (its weights, as
    many kept anywhere), random (new weights, as many kept anywhere), random-layerwise (new weights,
    as many kept in each layer). Masks are drawn within --initial-mask, where one is given. All are
    trained from --rewind-step on; the random pruning of Frankle 2023 is shuffled and
    shuffled-globally where that is not 0."""
    control_levels: Annotated[tuple[int, ...], ranges.at_least(1), settings.RARE] = (
        settings.not_hashed(())
    )
    """Levels at which controls are trained; all of them if none is given."""
    dilations: Annotated[tuple[float, ...], ranges.above(0), settings.RARE] = settings.not_hashed(
        ()
    )
    """Factors of the training's length at which networks train again until they match dense."""
    stop_density: Annotated[float | None, ranges.between(0, 1), settings.RARE] = (
        settings.not_hashed(None)
    )
    """Stop after the first level of at most this density, in (0, 1)."""
    stop_lost_accuracy: Annotated[float | None, ranges.between(0, 1), settings.RARE] = (
        settings.not_hashed(None)
    )
    """Stop after the first level whose tickets lose more accuracy on average, in (0, 1); without an
    accuracy, after the first whose loss exceeds the dense one by more, as a share of it."""
    compact: Annotated[bool, settings.RARE] = False
    """Leave units and inputs that no output depends on out of training, where that saves time:
    the same training up to rounding. For lenet-300-100 and mlp, and the library's optimizers."""
    score_fields = ("score",)

    def __post_init__(self) -> None:
        super().__post_init__()
        own_scores.check_labels("score", score_names.parts(self.score, single=SCORES), SCORES)
        sees = [name for name in self.score_names() if name in score_names.SEES_DATA]
        settings.require(
            self.data.gives_classes or not sees,
            f"`score` {self.score} sees examples of each class, which streamed data cannot give.",
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
        check_network_count(
            replicates=self.replicates,
            levels=self.levels + 1,
            controls=1 + len(self.controls),
            dilations=1 + len(self.dilations),
        )
        settings.require(
            not self.alive or self.model.name in PERCEPTRONS,
            f"`alive` is for {' and '.join(PERCEPTRONS)}; got {self.model.name}.",
        )
        if self.compact:
            check_compact(self)
        self._check_rewinding()

    def _check_rewinding(self) -> None:
        """Raise ValueError where a part of rewinding is asked for that changes nothing."""
        for name, given in (
            ("dilations", bool(self.dilations)),
            ("restart_schedule", self.restart_schedule),
            ("after_pruning", self.after_pruning == "fine-tune"),
        ):
            settings.require(
                not (given and self.optimizer.is_own),
                f"`{name}` changes the learning rate, which an optimizer of your own has within.",
            )
        for name in ("restart_schedule", "rewind_optimizer"):
            settings.effective(self, name, self.rewind_step > 0, "at `rewind_step` 0")
        settings.effective(self, "restart_schedule", self.optimizer.varies, optimizers.CONSTANT)
        settings.effective(
            self,
            "restart_schedule",
            self.after_pruning != "fine-tune",
            "with `after_pruning` fine-tune, which trains at the last learning rate",
        )
        settings.effective(
            self,
            "rewind_optimizer",
            self.after_pruning == "rewind",
            f"with `after_pruning` {self.after_pruning}, which rewinds no weights",
        )
        settings.effective(
            self,
            "rewind_optimizer",
            self.optimizer.optimizer != "sgd",
            "on the optimizer sgd, which has no state",
        )
        settings.require(
            not (self.compact and self.rewind_optimizer),
            "`compact` leaves out weights that get no gradient, which `rewind_optimizer` moves "
            "too; leave out one of the two.",
        )

    def check_effects(self) -> None:
        """Raise ValueError where a setting is given that nothing reads."""
        super().check_effects()
        settings.effective(self, "control_levels", bool(self.controls), "without `controls`")
        sees = bool(score_names.batch_readers(self.score_names()))
        settings.effective(self, "per_class", sees, f"on the score {self.score}")


def from_study(config: StudyConfig, **given: Any) -> ImpConfig:
    """Return the settings of IMP that another study's settings stand for.

    Args:
      config: settings of another study; those that IMP has too count.
      given: settings of IMP that do not come from there.

    Raises:
      ValueError: a setting lies outside its range.
    """
    names = {field.name for field in dataclasses.fields(ImpConfig)}
    shared = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name in names
    }
    return ImpConfig(**shared | given)


def check_compact(config: Any) -> None:
    """Raise ValueError where smaller networks would not be trained as the whole ones are.

    Args:
      config: config of a study, with `data`, `model` and `optimizer`.
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
    settings.require(
        not config.optimizer.is_own,
        "`compact` leaves out weights that get no gradient, which an optimizer of your own may "
        "change too, or take into norms; leave out one of the two.",
    )
    settings.require(not config.data.streamed, "`compact` needs images that memory holds.")


def kinds_at(level: int, config: ImpConfig) -> tuple[str, ...]:
    """Return what is trained at a level: the ticket and, once it is pruned, its controls."""
    wanted = level > 0 and (not config.control_levels or level in config.control_levels)
    return (TICKET, *config.controls) if wanted else (TICKET,)


def network_names(config: ImpConfig, *, levels: int) -> list[str]:
    """Return the names of all networks that the settings ask for, dilations aside."""
    return [
        level_artifacts.network(level, control, replicate)
        for level in range(levels + 1)
        for control in kinds_at(level, config)
        for replicate in range(config.replicates)
    ]


def expected_artifacts(config: ImpConfig, *, levels: int) -> list[str]:
    """Return the artifacts that a config asks for, as far as that is known beforehand.

    Args:
      config: of the study.
      levels: its last level.
    """
    networks = network_names(config, levels=levels)
    snapshots = config.replicates if config.rewind_step else 0
    again = sorted(set(config.dilations) - {1.0})[:1]
    return [
        *networks,
        *(level_artifacts.rewound(replicate) for replicate in range(snapshots)),
        *(level_artifacts.dilated(name, dilation) for dilation in again for name in networks),
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
    asked = {
        tuple(network_names(stage, levels=stage.levels)): stage for stage in (own, last, config)
    }
    return list(asked.values())
