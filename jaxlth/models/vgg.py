"""VGG-11, -16 and -19 for small images: batch norm, and one or two dense layers.

Five stacks of 3x3 convolutions with a 2x2 max-pool between them; the mean over the pixels left
goes to the classifier. 32x32 images leave 2x2 pixels, so that this mean is the published 2x2
average pool; of larger images (TinyImageNet) the published network would need another classifier.
Convolutions have biases, as published, though batch norm undoes them.

References:
  Simonyan and Zisserman 2015, Very Deep Convolutional Networks for Large-Scale Image Recognition,
  Table 1 (A, D, E); Liu et al. 2019 for CIFAR-10; Frankle 2023, Table 4.1 and section 5.3.3.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlth.models.layers import Layers

CHANNELS = (64, 128, 256, 512, 512)
DENSE = 512  # width of the first of two dense layers, "VGG2": that of the channels before it


class VGG(nn.Module):
    """Stacks of convolutions with batch norm, global average pool, dense layers.

    Attributes:
      stacks: convolutions in each of the five stacks.
      dense: number of dense layers, the classifier among them; ReLU between them, no batch norm.
      classes: number of outputs.
      layers: how its layers are made.
    """

    stacks: tuple[int, ...]
    dense: int
    classes: int
    layers: Layers

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> jax.Array:
        """Return logits (n, classes) of inputs (n, height, width, channels)."""
        x = inputs
        for stack, (count, channels) in enumerate(zip(self.stacks, CHANNELS, strict=True), 1):
            if stack > 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for place in range(1, count + 1):
                suffix = f"{stack}_{place}"
                x = self.layers.conv(channels, (3, 3), bias=True, name=f"Conv{suffix}")(x)
                x = nn.relu(self.layers.norm(train=train, name=f"BatchNorm{suffix}")(x))
        x = jnp.mean(x, axis=(1, 2))
        for _ in range(self.dense - 1):
            x = nn.relu(self.layers.dense(DENSE)(x))
        return self.layers.dense(self.classes)(x)
