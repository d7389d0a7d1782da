"""Networks as pure functions: `init(key) -> Network` and `apply(network, inputs) -> logits`.

A `Network` is everything that rewinding restores: the parameters and the batch statistics. The
layers themselves are Flax linen modules; no other package knows that.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro

from jaxlth import settings
from jaxlth.models.mlp import INITIALIZERS, MLP

Params = Any


class Network(NamedTuple):
    """The state of a network, all of which rewinding restores."""

    params: Params  # nested dict of arrays
    stats: Params  # batch statistics, {} for a network without batch norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A network as two pure functions.

    Attributes:
      init: key -> Network.
      apply: (network, inputs (n, height, width, channels) float32, train) -> (logits (n, classes),
        stats); with `train` the batch's own statistics are used and the running ones advanced.
    """

    init: Callable[[jax.Array], Network]
    apply: Callable[[Network, jax.Array, bool], tuple[jax.Array, Params]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which network, and how its weights are drawn."""

    name: Annotated[str, tyro.conf.arg(name="model")] = "lenet-300-100"
    """Network: lenet-300-100, or mlp with the widths of --hidden."""
    hidden: tuple[int, ...] = ()
    """Widths of the hidden layers of an mlp, input side first."""
    initializer: str = "kaiming-normal"
    """Distribution of the initial weights; biases start at zero."""

    def __post_init__(self) -> None:
        settings.known("model", self.name, MODELS)
        settings.known("initializer", self.initializer, INITIALIZERS)
        settings.require(
            all(width >= 1 for width in self.hidden),
            f"`hidden` must be widths of at least 1; got {self.hidden}.",
        )
        settings.require(
            self.name == "mlp" or not self.hidden,
            f"`hidden` belongs to the model mlp; {self.name} has its own widths.",
        )


def build(chosen: ModelSettings, *, shape: tuple[int, ...], classes: int) -> Model:
    """Return the chosen network for inputs of `shape` and `classes` outputs.

    Args:
      chosen: which network.
      shape: (height, width, channels) of one image.
      classes: number of outputs.
    """
    module = MODELS[chosen.name](chosen, classes)
    example = jnp.zeros((1, *shape), jnp.float32)

    def init(key: jax.Array) -> Network:
        variables = module.init(key, example, train=False)
        return Network(variables["params"], variables.get("batch_stats", {}))

    def apply(network: Network, inputs: jax.Array, train: bool) -> tuple[jax.Array, Params]:
        variables = {"params": network.params, "batch_stats": network.stats}
        if not train:
            return module.apply(variables, inputs, train=False), network.stats
        logits, changed = module.apply(variables, inputs, train=True, mutable=["batch_stats"])
        return logits, changed.get("batch_stats", network.stats)

    return Model(init=init, apply=apply)


def label(chosen: ModelSettings) -> str:
    """Return a readable name for a run's folder, such as "mlp-20-20"."""
    return "-".join([chosen.name, *map(str, chosen.hidden)])


def _lenet(chosen: ModelSettings, classes: int) -> MLP:
    """LeCun et al. 1998; 266,200 weights for 28x28 images in three kernels."""
    return MLP(widths=(300, 100, classes), initializer=chosen.initializer)


def _mlp(chosen: ModelSettings, classes: int) -> MLP:
    return MLP(widths=(*chosen.hidden, classes), initializer=chosen.initializer)


MODELS: dict[str, Callable[[ModelSettings, int], Any]] = {"lenet-300-100": _lenet, "mlp": _mlp}
