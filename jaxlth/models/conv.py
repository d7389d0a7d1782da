"""Conv-2, -4, -6 and -8: small VGGs without batch norm.

Pairs of 3x3 convolutions, each pair followed by a 2x2 max-pool; the first has 64 channels, each
further one twice as many. Then dense layers of 256, 256 and the classes. The number in the name
counts the convolutions. All layers have biases.

References:
  Frankle and Carbin 2019, The Lottery Ticket Hypothesis, Figure 2 (Conv-2, -4, -6). Its 1.7M
  weights of Conv-6 do not fit the layers beside them, which have 2.26M.
  Ramanujan et al. 2020, What's Hidden in a Randomly Weighted Neural Network?, section 4.1 (Conv-8).
"""

import jax
from flax import linen as nn

from jaxlth.models.layers import Layers

CHANNELS = 64  # of the first pair
DENSE = (256, 256)


class Conv(nn.Module):
    """Pairs of convolutions and max-pools, then three dense layers.

    Attributes:
      pairs: number of pairs; each halves height and width.
      classes: number of outputs.
      layers: how its layers are made.
    """

    pairs: int
    classes: int
    layers: Layers

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> jax.Array:
        """Return logits (n, classes) of inputs (n, height, width, channels)."""
        del train  # nothing here differs between training and evaluation
        x = inputs
        for pair in range(self.pairs):
            for place in range(2):
                name = f"Conv{pair + 1}_{place + 1}"
                conv = self.layers.conv(CHANNELS * 2**pair, (3, 3), bias=True, name=name)
                x = nn.relu(conv(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape((x.shape[0], -1))
        for width in DENSE:
            x = nn.relu(self.layers.dense(width)(x))
        return self.layers.dense(self.classes)(x)
