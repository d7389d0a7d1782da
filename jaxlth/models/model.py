"""What training takes for a network: two kinds of arrays, and functions of them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Params = Any

# Arguments of a module's call by which it is told that it trains; and those that say the contrary.
TRAIN = ("train", "training", "is_training")
NOT_TRAIN = ("deterministic", "use_running_average")


class Network(NamedTuple):
    """The state of a network, all of which rewinding restores."""

    params: Params  # tree of arrays; a nested dict for Flax's modules
    stats: Params  # batch statistics, {} for a network without batch norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A network as pure functions.

    Attributes:
      init: key -> Network.
      apply: (network, inputs (n, height, width, channels) float32, train) -> (logits (n, classes),
        stats); with `train` the batch's own statistics are used and the running ones advanced.
        Nothing is random. Inputs of other networks may have other shapes, or be a tree of arrays.
      noisy: (network, inputs, key) -> (logits, stats): as `apply` with `train`, with the random
        numbers that the network draws in training, as dropout does. Training takes it in the place
        of `apply`. None for a network that draws none.
      auxiliary: (network, inputs) -> (logits, logits of the auxiliary classifier, stats), else as
        `apply` with `train`; None for a network without such a classifier. The loss of these
        logits counts `AUXILIARY_WEIGHT` times in training: without it their layers stay as drawn.
      convolutional: whether it has convolutions.
      flattened: (name of its kernel, number of channels) of each dense layer that reads flattened
        pixels; PyTorch flattens them channel by channel, see `load_torch`.
      shared: (stats after a step, mean over the devices that share the batch) -> what all of them
        go on with; the mean, where a network carries nothing but statistics.
    """

    init: Callable[[jax.Array], Network]
    apply: Callable[[Network, Any, bool], tuple[jax.Array, Params]]
    noisy: Callable[[Network, Any, jax.Array], tuple[jax.Array, Params]] | None = None
    auxiliary: Callable[[Network, jax.Array], tuple[jax.Array, jax.Array, Params]] | None = None
    convolutional: bool = False
    flattened: tuple[tuple[str, int], ...] = ()
    shared: Callable[[Any, Callable[[Any], Any]], Any] = lambda stats, mean: mean(stats)
