"""Multilayer perceptrons of any shape: flatten, then dense layers with ReLU between them."""

import jax
from flax import linen as nn

from jaxlth.models.layers import Layers


class MLP(nn.Module):
    """Dense layers of the given widths, the last without ReLU.

    Attributes:
      widths: outputs of each layer, the classes last.
      layers: how they are made.
    """

    widths: tuple[int, ...]
    layers: Layers

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> jax.Array:
        """Return logits (n, widths[-1]) of inputs (n, ...)."""
        del train  # nothing here differs between training and evaluation
        activations = inputs.reshape((inputs.shape[0], -1))
        for position, width in enumerate(self.widths):
            activations = self.layers.dense(width)(activations)
            if position + 1 < len(self.widths):
                activations = nn.relu(activations)
        return activations
