"""The settings of instability analysis and what they ask for: which networks, under which names."""

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from jaxlth import settings
from jaxlth.settings import ranges
from jaxlth.studies import own_scores, score_names, score_pruning
from jaxlth.studies.config import LEVELS, Scope, StudyConfig, check_network_count
from jaxlth.studies.controls import CONTROLS, TICKET
from jaxlth.studies.imp import config as imp_config
from jaxlth.studies.imp.config import ImpConfig

Length = Literal["remaining", "whole"]
Search = Literal["all", "first", "bisection"]

DENSE, REMAINING = "dense", "remaining"
OF_IMP = (TICKET, *CONTROLS)
PRUNED_AT_STEP = tuple(name for name in score_names.AT_A_STEP if name not in OF_IMP)
NETWORKS = (DENSE, *OF_IMP, *PRUNED_AT_STEP)
INSTABILITY_LEVELS = dataclasses.replace(LEVELS, least=1)
TWINS = ranges.at_least(2, most=1000, why="all pairs of them are compared")
POINTS = ranges.at_least(2, most=100_000, why="a network is evaluated at each of them")


class NetworkSpec(NamedTuple):
    """A network of a step whose instability is asked for.

    Example:
      >>> str(NetworkSpec(500, "ticket", level=3)), str(NetworkSpec(0, "synflow", density=0.1))
      ('step_500/level_03/ticket', 'step_0/density_0.1/synflow')
    """

    step: int  # of the dense training
    network: str
    level: int | None = None  # of IMP
    density: float | None = None  # of what is pruned by a score

    def __str__(self) -> str:
        return "/".join([f"step_{self.step}", *self._size(), score_names.label(self.network)])

    def _size(self) -> Iterable[str]:
        if self.level is not None:
            yield f"level_{self.level:02d}"
        if self.density is not None:
            yield f"density_{self.density!r}"

    def artifact(self, part: str, replicate: int) -> str:
        """Return the name of an artifact of this network, such as a twin's."""
        *above, network = str(self).split("/")
        return "/".join([*above, part, network, f"replicate_{replicate}"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstabilityConfig(StudyConfig):
    """Whether copies of a network that see other SGD noise find the same minimum.

    From each step of a dense training copies (twins) are trained to the end, each with its own
    data order and augmentation, and compared along the line between them.

    References:
      Frankle 2023, Algorithm 3; Frankle et al. 2020; Bolwerk 2021.
    """

    rewind_steps: Annotated[tuple[int, ...], ranges.at_least(0)] = settings.not_hashed((0,))
    """Steps of the dense training from whose states twins are trained; 0 is initialisation."""
    networks: Annotated[tuple[str, ...], ranges.OneOf(NETWORKS, others=own_scores.is_own)] = (
        settings.not_hashed((DENSE,))
    )
    """Which networks of a step: the whole one (dense), tickets that IMP finds by rewinding to the
    step (ticket), their controls (reinitialized, shuffled, shuffled-globally, random,
    random-layerwise; the shuffled ones have the weights of the step), or what a score prunes there,
    at once or in --rounds; a score of your own is FILE.py:NAME, a function (apply_fn, params, mask,
    batch, key) -> tree of floats like params."""
    levels: Annotated[tuple[int, ...], INSTABILITY_LEVELS] = settings.not_hashed(())
    """Levels of IMP whose tickets and controls are asked for."""
    densities: Annotated[tuple[float, ...], tyro.conf.arg(name="density"), ranges.between(0, 1)] = (
        settings.not_hashed(())
    )
    """Shares of the weights that scores keep, in (0, 1)."""
    twins: Annotated[int, TWINS] = settings.not_hashed(3)
    """Copies of each network, at least 2; all pairs of them are compared."""
    lengths: Annotated[tuple[Length, ...], settings.RARE] = settings.not_hashed((REMAINING,))
    """How long twins are trained: the steps that remain (remaining), or all steps, the learning
    rate starting anew (whole)."""
    compare_every: Annotated[float | None, ranges.above(0)] = settings.not_hashed(None)
    """Compare twins in training too, so often, in the unit of its length."""
    points: Annotated[int, POINTS, settings.RARE] = settings.not_hashed(30)
    """Points on the line between two networks, both ends included."""
    estimate_statistics: Annotated[bool, settings.RARE] = settings.not_hashed(False)
    """Take batch statistics anew on training examples at each point of a line, instead of
    interpolating them with the weights."""
    search: Search = settings.not_hashed("all")
    """Analyse all steps, one after another until the first of --networks is stable (first), or find
    that step by bisection."""
    threshold: Annotated[float, ranges.between(0, 1)] = settings.not_hashed(0.02)
    """Instability below which a network is stable, in (0, 1); of networks without an error, the
    loss barrier as a share of the loss."""
    prune_fraction: Annotated[float, ranges.between(0, 1)] = 0.2
    """Share of the surviving weights that each level of IMP prunes, in (0, 1)."""
    one_shot: Annotated[bool, settings.RARE] = False
    """Prune the dense network to each level's density at once."""
    scope: Annotated[Scope, settings.RARE] = "global"
    """Compare the weights of the whole network, or prune each layer alike."""
    rounds: Annotated[int | None, score_pruning.ROUNDS, settings.RARE] = None
    """Rounds of scoring and pruning, for scores; if not given as published: 100 for SynFlow, else
    1."""
    per_class: Annotated[int, ranges.at_least(1), settings.RARE] = 10
    """Training examples of each class that scores see, as one batch."""
    score_fields = ("networks",)

    def times(self) -> dict[str, Any]:
        """Return the settings whose unit is that of the training's length, by name."""
        return super().times() | {"compare_every": self.compare_every}

    def __post_init__(self) -> None:
        super().__post_init__()
        own_scores.check_labels("networks", self.networks, NETWORKS)
        for name in ("rewind_steps", "lengths"):
            settings.check_unique(name, getattr(self, name))
        settings.check_unique("levels", self.levels, empty=True)
        settings.check_unique("density", self.densities, empty=True)
        check_networks(self)
        own = tuple(filter(own_scores.is_own, self.networks))
        self._belongs("levels", self.levels, OF_IMP)
        self._belongs("density", self.densities, (*PRUNED_AT_STEP, *own))
        networks = settings.in_a_row(self.networks)
        settings.require(
            self.rounds is None or bool(self.densities),
            f"`rounds` {self.rounds} has no effect on the networks {networks}.",
        )
        settings.require(
            not (self.data.streamed and self.estimate_statistics),
            "`estimate_statistics` needs data in memory; streamed data cannot give the examples.",
        )
        sees = [name for name in self.networks if name in score_names.SEES_DATA]
        settings.require(
            self.data.gives_classes or not sees,
            f"{' '.join(sees[:1])} sees examples, which streamed data cannot give.",
        )

    def check_effects(self) -> None:
        """Raise ValueError where a setting is given that no network of those networks for reads."""
        super().check_effects()
        networks, where = set(self.networks), f"on the networks {settings.in_a_row(self.networks)}"
        of_imp, scored = not networks.isdisjoint(OF_IMP), bool(networks - {DENSE, *OF_IMP})
        for names, condition in (
            (("prune_fraction", "one_shot"), of_imp),
            (("scope", "exclude"), of_imp or scored),
            (("per_class",), bool(score_names.batch_readers(networks))),
        ):
            for name in names:
                settings.effective(self, name, condition, where)
        settings.effective(
            self, "lengths", self.rewind_steps != (0,), "where step 0 is the only step"
        )

    def _belongs(self, name: str, values: tuple[object, ...], networks: tuple[str, ...]) -> None:
        """Raise ValueError unless sizes are given just where networks need them."""
        needing = [network for network in self.networks if network in networks]
        settings.require(
            not needing or bool(values),
            f"`{name}` must say how much the networks {settings.in_a_row(needing)} keep; none is "
            "given.",
        )
        settings.require(
            not values or bool(needing),
            f"`{name}` {settings.in_a_row(values)} has no effect on the networks "
            f"{settings.in_a_row(self.networks)}.",
        )


def check_networks(config: InstabilityConfig, *, comparisons: int = 1) -> None:
    """Raise ValueError where settings ask for more twins and comparisons than a run holds.

    Args:
      config: the settings.
      comparisons: times that each pair of twins is compared.
    """
    check_network_count(
        replicates=config.replicates,
        rewind_steps=len(config.rewind_steps),
        networks=len(config.networks),
        levels=max(len(config.levels), len(config.densities), 1),
        lengths=len(config.lengths),
        twins=config.twins * (config.twins + 1) // 2,
        compare_every=comparisons,
    )


def imp(config: InstabilityConfig, step: int) -> ImpConfig:
    """Return the settings of `jaxlth imp` that find the tickets of a step."""
    given = {"controls": (), "per_class": ImpConfig.per_class}  # which nothing reads
    levels = max(config.levels, default=0)
    return imp_config.from_study(config, levels=levels, rewind_step=step, **given)


def network_specs(config: InstabilityConfig, step: int) -> list[NetworkSpec]:
    """Return the networks of a step that settings ask for."""
    specs = [NetworkSpec(step, DENSE)] if DENSE in config.networks else []
    networks = [network for network in config.networks if network != DENSE]
    for network in networks:
        if network in OF_IMP:
            specs += [NetworkSpec(step, network, level=level) for level in config.levels]
        else:
            specs += [NetworkSpec(step, network, density=density) for density in config.densities]
    return specs


def twin_lengths(config: InstabilityConfig, step: int) -> tuple[str, ...]:
    """Return how long twins of a step are trained: from step 0 both lengths are the same."""
    return config.lengths[:1] if step == 0 else config.lengths


def twin_pairs(config: InstabilityConfig) -> list[tuple[int, int]]:
    """Return the numbers of all pairs of twins."""
    return list(itertools.combinations(range(config.twins), 2))
