"""The settings of dynamic sparse training."""

import dataclasses
from typing import Annotated, Literal

import tyro

from jaxlth import settings
from jaxlth.settings import ranges
from jaxlth.studies.config import Scope, StudyConfig, check_network_count

DENSE, DYNAMIC_IMP, IMP = "dense", "dynamic-imp", "imp"
SPARSE = ("static", "set", "rigl")  # sparse from the first step to the last
METHODS = (*SPARSE, DYNAMIC_IMP, IMP)
Distribution = Literal["erdos-renyi-kernel", "uniform", "global"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynamicConfig(StudyConfig):
    """Dynamic sparse training beside tickets: SET, RigL, dynamic IMP, static masks, IMP.

    References:
      Mocanu et al. 2018; Evci et al. 2020; Frankle 2023, section 6.2.
    """

    methods: Annotated[tuple[str, ...], ranges.OneOf(METHODS)] = settings.not_hashed(METHODS)
    """A random mask that stays (static); one that drops small weights and grows others at random
    (set) or by their gradients (rigl); a mask that IMP finds anew at each change (dynamic-imp);
    tickets, rewound and trained again (imp)."""
    densities: Annotated[tuple[float, ...], tyro.conf.arg(name="density"), ranges.between(0, 1)] = (
        settings.not_hashed((0.1,))
    )
    """Shares of the weights that sparse networks keep, in (0, 1)."""
    lengths: Annotated[tuple[float, ...], ranges.above(0)] = settings.not_hashed((1.0,))
    """Lengths of the trainings of static, set and rigl, as multiples of that of the dense network;
    schedules are stretched alike."""
    distribution: Distribution = "erdos-renyi-kernel"
    """How dense the layers of static, set and rigl are: the sparser the larger, as Evci et al.
    (erdos-renyi-kernel), alike (uniform), or as weights of all layers compete (global)."""
    update_every: Annotated[int, ranges.at_least(1)] = 100
    """Steps between two updates of the mask of set and rigl."""
    update_fraction: Annotated[float, ranges.between(0, 1)] = 0.3
    """Share of the kept weights that the first update exchanges; it falls to 0 by a cosine."""
    update_until: Annotated[float, ranges.between(0, 1)] = 0.75
    """Share of the training after which the mask stays."""
    changes: Annotated[tuple[float, ...], ranges.between(0, 1)] = (0.5,)
    """When dynamic-imp changes its mask, as shares of the training."""
    prune_fraction: Annotated[float, ranges.between(0, 1)] = 0.2
    """Share of the surviving weights that imp prunes after each training, in (0, 1)."""
    rewind_step: Annotated[int, ranges.at_least(0)] = 0
    """Step that tickets of imp are rewound to; 0 is initialisation."""
    scope: Scope = "global"
    """Compare the weights of the whole network, or prune each layer alike, in imp and
    dynamic-imp."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, values in (
            ("density", self.densities),
            ("lengths", self.lengths),
            ("changes", self.changes),
        ):
            settings.check_unique(option, values)
        settings.require(
            list(self.changes) == sorted(self.changes),
            f"`changes` must rise; got {settings.in_a_row(self.changes)}.",
        )
        settings.require(
            self.training.patience is None and self.training.checkpoint == "last",
            "`patience` and `checkpoint` best do not go with the study dynamic: masks move until a "
            "step of the schedule, and costs are those of whole trainings.",
        )
        settings.require(
            not self.optimizer.is_own or set(self.lengths) <= {1.0},
            "`lengths` stretch the learning rate, which an optimizer of your own has within.",
        )
        settings.effective(self, "initial_mask", False, "on dynamic, whose masks are its own")
        check_network_count(
            replicates=self.replicates,
            methods=1 + len(self.methods),
            density=len(self.densities),
            lengths=len(self.lengths),
        )

    def check_effects(self) -> None:
        """Raise ValueError where a setting is given that no method reads."""
        super().check_effects()
        asked = set(self.methods)
        for names, readers in (
            (("lengths", "distribution"), set(SPARSE)),
            (("update_every", "update_fraction", "update_until"), {"set", "rigl"}),
            (("changes",), {DYNAMIC_IMP}),
            (("prune_fraction", "rewind_step"), {IMP}),
            (("scope",), {IMP, DYNAMIC_IMP}),
        ):
            for name in names:
                methods = settings.in_a_row(self.methods)
                settings.effective(self, name, bool(asked & readers), f"on the methods {methods}")
