"""Inception-v3, with its auxiliary classifier.

Four differences from the network of Google's reference TPU code, which Frankle trained: no dropout
before the classifier (it kept 80 %), since a network here is a pure function without a key; batch
norm has scales, as in torchvision and in Frankle's other networks; as many outputs as classes, not
one more for the background; initial weights as in all networks here, by a setting.

References:
  Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision.
  Google 2018, tensorflow/tpu, models/experimental/inception/inception_v3.py.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlth.models.layers import Layers

# BATCH_NORM_DECAY, BATCH_NORM_EPSILON and the weight of the auxiliary loss in Google 2018.
MOMENTUM, EPSILON = 0.996, 1e-3
AUXILIARY_WEIGHT = 0.4
LEAST_SIDE = 299  # leaves the auxiliary classifier's last convolution one pixel


class Step(NamedTuple):
    """A convolution with batch norm and ReLU."""

    channels: int
    size: tuple[int, int]
    stride: int = 1
    padded: bool = True


class Fork(NamedTuple):
    """Two convolutions of the same input, side by side."""

    one: Step
    other: Step


class MaxPool(NamedTuple):
    """The most of 3x3 pixels, with stride 2 and without padding."""


class MeanPool(NamedTuple):
    """The mean of 3x3 pixels; those outside of the image do not count."""


Path = tuple[Step | Fork | MaxPool | MeanPool, ...]


def _one(channels: int) -> Step:
    return Step(channels, (1, 1))


def _three(channels: int) -> Step:
    return Step(channels, (3, 3))


def _halve(channels: int) -> Step:
    return Step(channels, (3, 3), stride=2, padded=False)


def _row(channels: int, side: int) -> Step:
    return Step(channels, (1, side))


def _column(channels: int, side: int) -> Step:
    return Step(channels, (side, 1))


STEM: Path = (
    _halve(32),
    Step(32, (3, 3), padded=False),
    _three(64),
    MaxPool(),
    _one(80),
    Step(192, (3, 3), padded=False),
    MaxPool(),
)


def _fine(pooled: int) -> tuple[Path, ...]:
    """Return a module on 35x35 pixels (Szegedy et al., Figure 5)."""
    return (
        (_one(64),),
        (_one(48), Step(64, (5, 5))),
        (_one(64), _three(96), _three(96)),
        (MeanPool(), _one(pooled)),
    )


def _middle(inside: int) -> tuple[Path, ...]:
    """Return a module on 17x17 pixels (Figure 6)."""
    row, column = _row(inside, 7), _column(inside, 7)
    return (
        (_one(192),),
        (_one(inside), row, _column(192, 7)),
        (_one(inside), column, row, column, _row(192, 7)),
        (MeanPool(), _one(192)),
    )


def _coarse() -> tuple[Path, ...]:
    """Return a module on 8x8 pixels (Figure 7)."""
    fork = Fork(_row(384, 3), _column(384, 3))
    return (
        (_one(320),),
        (_one(384), fork),
        (_one(448), _three(384), fork),
        (MeanPool(), _one(192)),
    )


MODULES: dict[str, tuple[Path, ...]] = {
    "Mixed5b": _fine(32),
    "Mixed5c": _fine(64),
    "Mixed5d": _fine(64),
    "Mixed6a": ((_halve(384),), (_one(64), _three(96), _halve(96)), (MaxPool(),)),
    "Mixed6b": _middle(128),
    "Mixed6c": _middle(160),
    "Mixed6d": _middle(160),
    "Mixed6e": _middle(192),
    "Mixed7a": (
        (_one(192), _halve(320)),
        (_one(192), _row(192, 7), _column(192, 7), _halve(192)),
        (MaxPool(),),
    ),
    "Mixed7b": _coarse(),
    "Mixed7c": _coarse(),
}
AUXILIARY_AFTER = "Mixed6e"
AUXILIARY: Path = (_one(128), Step(768, (5, 5), padded=False))


class Branch(nn.Module):
    """Convolutions and pools one after another.

    Attributes:
      steps: what they are.
      layers: how they are made.
    """

    steps: Path
    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Return activations (n, height, width, channels) of the last."""

        def convolve(step: Step) -> jax.Array:
            conv = self.layers.conv(
                step.channels, step.size, stride=step.stride, padded=step.padded
            )
            norm = self.layers.norm(train=train, momentum=MOMENTUM, epsilon=EPSILON)
            return nn.relu(norm(conv(x)))

        for step in self.steps:
            match step:
                case MaxPool():
                    x = nn.max_pool(x, (3, 3), (2, 2))
                case MeanPool():
                    x = nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)
                case Fork():
                    x = jnp.concatenate([convolve(step.one), convolve(step.other)], axis=-1)
                case Step():
                    x = convolve(step)
        return x


class InceptionV3(nn.Module):
    """A stem, modules of parallel branches, global average pool, a dense layer.

    In training the auxiliary classifier's logits go to the collection "auxiliary", if a caller has
    it mutable.

    Attributes:
      classes: number of outputs.
      layers: how its layers are made.
    """

    classes: int
    layers: Layers

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> jax.Array:
        """Return logits (n, classes) of inputs (n, height, width, channels)."""
        x = Branch(STEM, self.layers, name="Conv1")(inputs, train)
        for name, paths in MODULES.items():
            branches = [
                Branch(path, self.layers, name=f"{name}_{place}")(x, train)
                for place, path in enumerate(paths, 1)
            ]
            x = jnp.concatenate(branches, axis=-1)
            if name == AUXILIARY_AFTER and (train or self.is_initializing()):
                self.sow("auxiliary", "logits", self._auxiliary(x, train))
        return self.layers.dense(self.classes, name="Dense_0")(jnp.mean(x, axis=(1, 2)))

    def _auxiliary(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.avg_pool(x, (5, 5), (3, 3))
        x = Branch(AUXILIARY, self.layers, name="Auxiliary")(x, train)
        return self.layers.dense(self.classes, name="AuxiliaryDense")(jnp.mean(x, axis=(1, 2)))
