"""Residual networks: those for CIFAR with 6n + 2 layers, wide or not; ResNet-18 and ResNet-50.

Groups of blocks; each group after the first halves height and width and doubles the channels.
Where the shape changes the shortcut is a 1x1 convolution with batch norm. That is the published
code's choice for CIFAR too, where He et al. pad with zeros. A bottleneck strides in its 3x3
convolution, as Google's TPU code and torchvision do, not in its first 1x1.

WRN-d-k of Frankle is the CIFAR ResNet of d = 6n + 2 layers with k times the channels everywhere,
the stem among them: WRN-14-8 has groups of 2 blocks with 128, 256 and 512 channels. It stands for
the WRN-16-8 of Zagoruyko and Komodakis, who count 6n + 4 convolutions, three projections among
them; theirs also has batch norm before each convolution and a stem of 16 channels.

References:
  He et al. 2016, Deep Residual Learning for Image Recognition, sections 3.3, 4.1, 4.2.
  Frankle 2023, Table 4.1 and sections 5.3.3, 5.4.3, 5.5.3.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlth.models.layers import Layers

EXPANSION = 4  # channels out of a bottleneck, as a multiple of those inside


class Block(nn.Module):
    """Convolutions with batch norm, added to their input or to its projection.

    Attributes:
      channels: of two 3x3 convolutions, or inside a bottleneck.
      stride: 2 to halve height and width.
      bottleneck: 1x1, 3x3 and 1x1 convolutions instead.
      layers: how its layers are made.
    """

    channels: int
    stride: int
    bottleneck: bool
    layers: Layers

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> jax.Array:
        """Return activations (n, height / stride, width / stride, channels out)."""
        channels, stride = self.channels, self.stride
        basic = ((channels, 3, stride), (channels, 3, 1))
        bottleneck = ((channels, 1, 1), (channels, 3, stride), (channels * EXPANSION, 1, 1))
        x = inputs
        for place, (width, side, step) in enumerate(bottleneck if self.bottleneck else basic):
            x = nn.relu(x) if place else x
            x = self.layers.conv(width, (side, side), stride=step)(x)
            x = self.layers.norm(train=train)(x)
        shortcut = inputs
        # Compact networks may have as many channels before a projection as behind it.
        if shortcut.shape != x.shape or self.has_variable("params", "Shortcut"):

            def projection(block: Block, inputs: jax.Array) -> jax.Array:
                project = self.layers.conv(x.shape[-1], (1, 1), stride=stride, name="Shortcut")
                return self.layers.norm(train=train, name="ShortcutNorm")(project(inputs))

            shortcut = self.layers.recomputed(projection)(self, inputs)
        return nn.relu(x + shortcut)


class ResNet(nn.Module):
    """A stem, groups of blocks, global average pool, a dense layer.

    Layers have the names of He et al., Table 1: Conv1 is the stem, Conv2_1 the first block of the
    first group.

    Attributes:
      blocks: number of blocks in each group.
      channels: of the stem and the first group.
      classes: number of outputs.
      layers: how its layers are made.
      bottleneck: whether blocks are bottlenecks.
      large: whether the stem is for large images: 7x7 with stride 2 and a 3x3 max-pool with stride
        2, instead of 3x3 with stride 1 and no pool.
    """

    blocks: tuple[int, ...]
    channels: int
    classes: int
    layers: Layers
    bottleneck: bool = False
    large: bool = False

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> jax.Array:
        """Return logits (n, classes) of inputs (n, height, width, channels)."""
        size, stride = ((7, 7), 2) if self.large else ((3, 3), 1)
        x = self.layers.conv(self.channels, size, stride=stride, name="Conv1")(inputs)
        x = nn.relu(self.layers.norm(train=train, name="BatchNorm1")(x))
        if self.large:
            around = ((1, 1), (1, 1))
            x = nn.max_pool(x, (3, 3), (2, 2), around)  # pyright: ignore[reportArgumentType]
        for group, count in enumerate(self.blocks):
            digits = len(str(count))  # so that names sort as the blocks follow each other
            for place in range(count):
                block = Block(
                    channels=self.channels * 2**group,
                    stride=2 if group and not place else 1,
                    bottleneck=self.bottleneck,
                    layers=self.layers,
                    name=f"Conv{group + 2}_{place + 1:0{digits}}",
                )
                x = block(x, train)
        return self.layers.dense(self.classes)(jnp.mean(x, axis=(1, 2)))
