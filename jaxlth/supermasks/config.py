"""The settings of trained supermasks."""

import dataclasses
from typing import Annotated, Literal, get_args

import tyro

from jaxlth import settings
from jaxlth.settings import ranges

Method = Literal["bernoulli", "edge-popup", "gem-miner"]
Weights = Literal[
    "as-drawn",
    "scaled",
    "signed-constant",
    "scaled-signed-constant",
    "kaiming-constant",
    "scaled-kaiming-constant",
]
AtTest = Literal["sampled", "expected"]
METHODS, WEIGHTS = get_args(Method), get_args(Weights)

PRUNINGS = ranges.at_least(1, most=100_000, why="each goes through all scores")

# Settings that only one method reads.
BELONGS = {
    "rescale": "bernoulli",
    "at_test": "bernoulli",
    "initial_score": "bernoulli",
    "l1": "gem-miner",
    "l2": "gem-miner",
    "prunings": "gem-miner",
    "restore": "gem-miner",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupermaskRule:
    """How a supermask is trained, and on what weights, at any density.

    References:
      Zhou et al. 2019, Deconstructing Lottery Tickets, section 5, for bernoulli. Ramanujan et al.
      2020, What's Hidden in a Randomly Weighted Neural Network?, section 3, for edge-popup.
      Sreenivasan et al. 2022, Rare Gems, Algorithm 1, for gem-miner.
    """

    method: Method = "bernoulli"
    """What makes a mask of scores: bernoulli draws each weight with the sigmoid of its score as
    probability, edge-popup keeps the scores of largest magnitude in each layer, gem-miner rounds
    scores in [0, 1] and freezes the lowest of the network out."""
    weights: Annotated[Weights, tyro.conf.arg(name="frozen-weights"), settings.RARE] = "as-drawn"
    """The frozen weights: as drawn; scaled by 1 / sqrt(density); one magnitude in each layer with
    the signs as drawn, that of their mean square (signed-constant) or Kaiming's sqrt(2 / fan-in)
    (kaiming-constant); or scaled and of one magnitude."""
    rescale: Annotated[bool, settings.RARE] = False
    """Scale each layer by its weights / weights kept, in each forward pass, for bernoulli."""
    at_test: Annotated[AtTest, settings.RARE] = "sampled"
    """Evaluate bernoulli by a mask drawn, or by weights times their probabilities."""
    initial_score: Annotated[float, ranges.Range(single=True), settings.RARE] = 0.0
    """Score that bernoulli starts from: 0 keeps half of the weights, 1 keeps 73 %."""
    l1: Annotated[
        float, tyro.conf.arg(name="score-l1"), ranges.at_least(0, single=True), settings.RARE
    ] = 0.0
    """Factor of the sum of all scores in the loss of gem-miner."""
    l2: Annotated[
        float | None, tyro.conf.arg(name="score-l2"), ranges.at_least(0, single=True), settings.RARE
    ] = None
    """Factor of the sum of all squared scores in the loss of gem-miner. By default 1e-5, and 0 at a
    density of 0.5 and more; the published settings have 0 there and 3e-6 to 8.5e-6 at 0.05."""
    prunings: Annotated[int, PRUNINGS, settings.RARE] = 29
    """Times that gem-miner freezes weights out, evenly over training, down to its density. Scores
    that fall below one half after the last time take further weights from the mask, as published;
    see `restore`."""
    restore: Annotated[bool, settings.RARE] = False
    """Keep and evaluate all weights that gem-miner has not frozen out, exactly its density at the
    end, and not only those among them whose score rounds to 1, which it trained with."""

    def __post_init__(self) -> None:
        settings.check_fields(self)
        for name, method in BELONGS.items():
            value = getattr(self, name)
            settings.require(
                self.method == method or value == getattr(type(self), name),
                f"`{name}` belongs to the method {method}; got {value} with {self.method}.",
            )
        settings.require(
            self.method != "bernoulli" or not self.weights.startswith("scaled"),
            f"`weights` {self.weights} needs a `density`, which bernoulli has not; see `rescale`.",
        )

    def at(self, density: float | None) -> "SupermaskConfig":
        """Return the settings of a supermask of a density; None for bernoulli, which has none."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(SupermaskRule)}
        return SupermaskConfig(**own, density=density)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupermaskConfig(SupermaskRule):
    """How a supermask is trained, on what weights, and how many of them it keeps."""

    density: Annotated[float | None, ranges.between(0, 1, ends="(]")] = None
    """Share of the weights that edge-popup and gem-miner keep, in (0, 1]; bernoulli has none."""

    @property
    def l2_factor(self) -> float:
        """The factor of the sum of all squared scores."""
        if self.l2 is not None:
            return self.l2
        return 0.0 if self.density is None or self.density >= 0.5 else 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.require(
            (self.density is None) == (self.method == "bernoulli"),
            f"`density` must be given for edge-popup and gem-miner, and only for them; "
            f"got {self.density} with {self.method}.",
        )
