"""Multilayer perceptrons of any shape: flatten, then dense layers with ReLU between them."""

import jax
from flax import linen as nn

_scaling = jax.nn.initializers.variance_scaling

# Untruncated normals, as in the papers' PyTorch code: the familiar names in JAX truncate theirs.
INITIALIZERS = {
    "kaiming-normal": _scaling(2.0, "fan_in", "normal"),
    "kaiming-uniform": _scaling(2.0, "fan_in", "uniform"),
    "xavier-normal": _scaling(1.0, "fan_avg", "normal"),
    "xavier-uniform": _scaling(1.0, "fan_avg", "uniform"),
    "scaled-normal": _scaling(1.0, "fan_in", "normal"),
    "unit-normal": jax.nn.initializers.normal(1.0),
    "orthogonal": jax.nn.initializers.orthogonal(2.0**0.5),
}


class MLP(nn.Module):
    """Dense layers of the given widths, the last without ReLU; biases start at zero.

    Attributes:
      widths: outputs of each layer, the classes last.
      initializer: a name in `INITIALIZERS`.
    """

    widths: tuple[int, ...]
    initializer: str

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> jax.Array:
        """Return logits (n, widths[-1]) of inputs (n, ...)."""
        del train  # nothing here differs between training and evaluation
        activations = inputs.reshape((inputs.shape[0], -1))
        for position, width in enumerate(self.widths):
            layer = nn.Dense(width, kernel_init=INITIALIZERS[self.initializer])
            activations = layer(activations)
            if position + 1 < len(self.widths):
                activations = nn.relu(activations)
        return activations
