"""The settings of trained supermasks and what they ask for: which networks, under which names."""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import tyro

from jaxlth import settings, supermasks, training
from jaxlth.settings import ranges
from jaxlth.studies.config import StudyConfig, check_network_count
from jaxlth.studies.controls import CONTROLS, TICKET
from jaxlth.supermasks import SupermaskRule
from jaxlth.training import OptimizerConfig, TrainingConfig, optimizers
from jaxlth.training.config import MOST_STEPS

UNTRAINED, FINETUNED = "untrained", "finetuned"  # what becomes of the weights that a mask keeps
DENSE = "dense"


class Wanted(NamedTuple):
    """A network that settings ask for.

    Example:
      >>> str(Wanted("edge-popup", 0.1, FINETUNED, "shuffled"))
      'edge-popup-finetuned-shuffled'
    """

    method: str  # of supermasks, or "dense"
    density: float | None  # None: what bernoulli comes to
    schedule: str = UNTRAINED
    control: str = TICKET

    def __str__(self) -> str:
        if self.method == DENSE:
            return DENSE
        after = "" if self.schedule == UNTRAINED else f"-{self.schedule}"
        changed = "" if self.control == TICKET else f"-{self.control}"
        return f"{self.method}{after}{changed}"

    @property
    def source(self) -> "Wanted":
        """The network whose trained mask, and whose weights, this one starts from."""
        return self._replace(schedule=UNTRAINED, control=TICKET)

    def artifact(self, replicate: int) -> str:
        """Return the name of the network in the run's folder.

        Example:
          >>> Wanted("edge-popup", 0.1).artifact(0), Wanted("bernoulli", None).artifact(1)
          ('density_0.1/edge-popup/replicate_0', 'density_free/bernoulli/replicate_1')
        """
        shown = {None: "free", 1: "1"}.get(self.density) or repr(float(self.density or 0))
        return f"density_{shown}/{self}/replicate_{replicate}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSupermasksConfig(StudyConfig):
    """Masks that are trained on weights that are not, and what the weights reach after.

    References:
      Zhou et al. 2019, Deconstructing Lottery Tickets, section 5; Ramanujan et al. 2020, What's
      Hidden in a Randomly Weighted Neural Network?; Sreenivasan et al. 2022, Rare Gems.
    """

    supermask: SupermaskRule = SupermaskRule()
    """How masks are trained: the method and its settings."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=0.1)
    densities: Annotated[
        tuple[float, ...], tyro.conf.arg(name="density"), ranges.between(0, 1, ends="(]")
    ] = settings.not_hashed(())
    """Shares of the weights that masks of edge-popup and gem-miner keep, in (0, 1]; bernoulli finds
    its own."""
    finetune: Annotated[
        float, ranges.at_least(0, most=MOST_STEPS, why="a step counter has 32 bits")
    ] = 0.0
    """Length of a training, after that of the masks, of the weights that they keep, in the same
    artifact: whole steps, or epochs and parts of them. Beside it dense networks are trained. 0 for
    none."""
    finetune_optimizer: Annotated[str, settings.RARE, ranges.OneOf(optimizers.RULES)] = (
        OptimizerConfig().optimizer
    )
    """Optimiser of that training: sgd, momentum, nesterov, adam or adamw."""
    finetune_lr: Annotated[float, ranges.above(0, single=True), settings.RARE] = (
        OptimizerConfig().lr
    )
    """Its learning rate, which stays constant."""
    controls: Annotated[tuple[str, ...], ranges.OneOf(CONTROLS, empty=True)] = settings.not_hashed(
        ()
    )
    """Controls to train as long: reinitialized, shuffled, shuffled-globally, random,
    random-layerwise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("initial", "initial_mask"):
            settings.effective(self, name, False, "on train-supermasks: its weights stay as drawn")
        free = self.supermask.method == "bernoulli"
        settings.require(
            free == (not self.densities),
            f"`density` must be given for edge-popup and gem-miner, and only for them; got "
            f"{settings.in_a_row(self.densities) or 'none'} with {self.supermask.method}.",
        )
        settings.check_unique("density", self.densities, empty=True)
        for density in self.densities:
            self.supermask.at(density)
        plain = type(self)
        for name in ("controls", "finetune_optimizer", "finetune_lr"):
            settings.require(
                self.finetune > 0 or getattr(self, name) == getattr(plain, name),
                f"`{name}` has no effect without `finetune`.",
            )
        gem_miner = self.supermask.method == "gem-miner"
        settings.require(
            not gem_miner or self.training.patience is None,
            "`patience` would end gem-miner before it is down to its density.",
        )
        settings.require(
            not gem_miner or self.training.checkpoint == "last",
            "`checkpoint` best would take gem-miner as it was before it is down to its density.",
        )
        controls = 2 + len(self.controls) if self.finetune else 1
        check_network_count(
            replicates=self.replicates, density=1 + len(self.densities), controls=controls
        )
        training.check_whole("finetune", self.finetune, self.training)
        if self.finetune:
            finetuning(self)


def masked(config: TrainSupermasksConfig) -> list[Wanted]:
    """Return the networks whose masks are trained, the sparsest last."""
    method = config.supermask.method
    densities = sorted(config.densities, reverse=True) or [None]
    return [Wanted(method, density) for density in densities]


def finetuned(config: TrainSupermasksConfig) -> list[Wanted]:
    """Return the networks whose weights are trained: dense, tickets and their controls."""
    if not config.finetune:
        return []
    return [
        Wanted(DENSE, 1.0, FINETUNED),
        *(
            wanted._replace(schedule=FINETUNED, control=control)
            for wanted in masked(config)
            for control in (TICKET, *config.controls)
        ),
    ]


def units(config: TrainSupermasksConfig) -> list[str]:
    """Return the names of all networks that a config asks for."""
    return [
        wanted.artifact(replicate)
        for wanted in (*masked(config), *finetuned(config))
        for replicate in range(config.replicates)
    ]


def rules(config: TrainSupermasksConfig) -> Iterator[tuple[Wanted, supermasks.SupermaskConfig]]:
    """Yield what is masked, with the settings of its supermask."""
    for wanted in masked(config):
        yield wanted, config.supermask.at(wanted.density)


def finetuning(config: TrainSupermasksConfig) -> tuple[TrainingConfig, OptimizerConfig]:
    """Return how weights are trained after the masks.

    Raises:
      ValueError: a setting lies outside its range.
    """
    length = config.finetune
    in_steps = config.training.steps is not None
    times = {"steps": round(length)} if in_steps else {"epochs": length}
    own = {"optimizer": "finetune_optimizer", "lr": "finetune_lr"}
    with settings.renamed(own | dict.fromkeys(("steps", "epochs"), "finetune")):
        optimizer = OptimizerConfig(optimizer=config.finetune_optimizer, lr=config.finetune_lr)
        return dataclasses.replace(config.training, **times), optimizer
