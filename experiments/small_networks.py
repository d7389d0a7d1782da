"""Networks that two cores train hundreds of times: the images that they see have 8 x 8 pixels.

--model experiments/small_networks.py:resnet_8
"""

import jax
from flax import linen as nn

from jaxlth.models import ModelConfig
from jaxlth.models.conv import Conv
from jaxlth.models.layers import Layers
from jaxlth.models.mlp import MLP
from jaxlth.models.resnet import ResNet

SIDE = 8  # pixels of what is left of an image
LAYERS = Layers(initializer=ModelConfig.initializer, norm_scale="uniform", dtype="float32")


class Reduced(nn.Module):
    """A network that sees the means of squares of pixels.

    Attributes:
      body: the network.
    """

    body: nn.Module

    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Return logits (n, classes) of images (n, height, width, channels)."""
        n, height, width, channels = images.shape
        squares = images.reshape(n, SIDE, height // SIDE, SIDE, width // SIDE, channels)
        return self.body(squares.mean(axis=(2, 4)), train)


def resnet_8(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a ResNet-8 of half the width: 8, 16 and 32 channels."""
    del shape
    return Reduced(ResNet((1, 1, 1), 8, classes, LAYERS))


def mlp(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return three hidden layers of 128."""
    del shape
    return Reduced(MLP((128, 128, 128, classes), LAYERS))


def conv_4(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a Conv-4 of the full width: 64, 64, 128 and 128 channels."""
    del shape
    return Reduced(Conv(2, classes, LAYERS))
