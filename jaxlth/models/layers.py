"""How layers are made: what their weights are drawn from, batch norm, and precision.

A network says which layers it has and in which order. What is the same for all of its layers, the
settings choose, and a `Layers` carries it to where a layer is made.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlth import keys, trees
from jaxlth.models import convolution
from jaxlth.models.batch_norm import BatchNorm

NormScale = Literal["ones", "uniform"]
Dtype = Literal["float32", "bfloat16"]

_scaling = jax.nn.initializers.variance_scaling

# Untruncated normals, as in the papers' PyTorch code: the familiar names in JAX truncate theirs.
# The fan-in of a convolution is kernel height x kernel width x input channels.
INITIALIZERS = {
    "kaiming-normal": _scaling(2.0, "fan_in", "normal"),
    "kaiming-uniform": _scaling(2.0, "fan_in", "uniform"),
    "xavier-normal": _scaling(1.0, "fan_avg", "normal"),
    "xavier-uniform": _scaling(1.0, "fan_avg", "uniform"),
    "scaled-normal": _scaling(1.0, "fan_in", "normal"),
    "pytorch": _scaling(1 / 3, "fan_in", "uniform"),  # U(-b, b), b = 1 / sqrt(fan-in); biases too
    "unit-normal": jax.nn.initializers.normal(1.0),
    "orthogonal": jax.nn.initializers.orthogonal(2.0**0.5),
}
TABLE = jax.nn.initializers.normal(0.02)  # of embeddings, as in GPT-2
NORM_SCALES = {
    "ones": jax.nn.initializers.ones,
    "uniform": jax.nn.initializers.uniform(1.0),  # U[0, 1): Frankle 2023, section 5.5.3
}

# PyTorch's defaults, with which Frankle trained (its momentum 0.1 is the weight of the new batch),
# and those of ResNet-50 in Google's reference TPU code (Frankle 2023, Table 4.1).
MOMENTUM, EPSILON = 0.9, 1e-5
BATCH = "batch"  # name of the mapped axis whose devices share a batch


@dataclasses.dataclass(frozen=True)
class BatchAxis:
    """The devices that share a batch: those along a mapped axis.

    How many they are says the program that is traced. Where it does not map the axis it is one, and
    what would be shared stays as it is.

    Attributes:
      name: of the mapped axis.
      parts: of a batch, each with batch statistics of its own.
    """

    name: str = BATCH
    parts: int = 1

    @property
    def devices(self) -> int:
        """How many devices share a batch."""
        try:
            return jax.lax.axis_size(self.name)
        except NameError:
            return 1

    def groups(self) -> list[list[int]] | None:
        """Return the positions along the axis that share a part of a batch; None for all."""
        if self.parts == 1:
            return None
        size = self.devices // self.parts
        return [list(range(at * size, (at + 1) * size)) for at in range(self.parts)]

    def mean(self, tree: Any) -> Any:
        """Return the means over the devices that share a batch."""
        if self.devices == 1:
            return tree
        return jax.lax.pmean(tree, self.name)

    def sum(self, tree: Any) -> Any:
        """Return the sums over the devices that share a batch."""
        if self.devices == 1:
            return tree
        return jax.lax.psum(tree, self.name)

    def device_key(self, key: jax.Array) -> jax.Array:
        """Return a key that differs between the devices that share a batch."""
        if self.devices == 1:
            return key
        return keys.fold(key, jax.lax.axis_index(self.name))

    def part(self, batch: Any) -> Any:
        """Return this device's part of a batch, a tree of (n, ...) arrays."""
        if self.devices == 1:
            return batch
        at = jax.lax.axis_index(self.name)

        def cut(array: jax.Array) -> jax.Array:
            count = array.shape[0] // self.devices
            return jax.lax.dynamic_slice_in_dim(array, at * count, count)

        return jax.tree.map(cut, batch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layers:
    """How the layers of one network are made; all parameters are float32, biases start at zero.

    Biases that `initializer` "pytorch" draws come after; see `draw_biases`.

    Attributes:
      initializer: a name in `INITIALIZERS`, for kernels of convolutions and of dense layers.
      norm_scale: a name in `NORM_SCALES`, for the scales of batch norm.
      dtype: what layers compute in. "float32" is the least: with float64 parameters and inputs,
        as SynFlow wants them, they compute in that. Statistics never take less than float32.
      batch_axis: the devices whose batch statistics are averaged; None for each its own.
      folded_norm: whether batch norm is computed as a TPU does it sooner; see `BatchNorm`.
      recompute: whether `recomputed` does anything.
    """

    initializer: str
    norm_scale: NormScale
    dtype: Dtype
    batch_axis: BatchAxis | None = None
    folded_norm: bool = False
    recompute: bool = False

    def dense(self, width: int, *, scale: float = 1.0, name: str | None = None) -> nn.Dense:
        """Return a dense layer with a bias, whose kernel is drawn and multiplied by `scale`."""
        kernel_init = INITIALIZERS[self.initializer]
        if scale != 1:
            kernel_init = _scaled(kernel_init, scale)
        return nn.Dense(width, kernel_init=kernel_init, dtype=self._computed(), name=name)

    def table(self, rows: int, width: int, *, name: str | None = None) -> nn.Embed:
        """Return a table of embeddings."""
        return nn.Embed(rows, width, embedding_init=TABLE, dtype=self._computed(), name=name)

    def conv(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        stride: int = 1,
        padded: bool = True,
        bias: bool = False,
        name: str | None = None,
    ) -> nn.Conv:
        """Return a convolution; if padded, by half the kernel on every side, as PyTorch does.

        Padding of the kind "SAME" would shift the grid of a stride of 2 by one pixel.
        """
        around = [(side // 2, side // 2) if padded else (0, 0) for side in size]
        return nn.Conv(
            channels,
            size,
            strides=stride,
            padding=around,
            use_bias=bias,
            kernel_init=INITIALIZERS[self.initializer],
            conv_general_dilated=convolution.convolve,
            dtype=self._computed(),
            name=name,
        )

    def norm(
        self,
        *,
        train: bool,
        momentum: float = MOMENTUM,
        epsilon: float = EPSILON,
        name: str | None = None,
    ) -> nn.BatchNorm:
        """Return batch norm over all axes but the last.

        Running variances average those that normalise; PyTorch averages n / (n - 1) times them,
        n being the batch times the pixels.
        """
        axis = self.batch_axis
        shared = axis if train and axis is not None and axis.devices > axis.parts else None
        kind = BatchNorm if self.folded_norm else nn.BatchNorm
        return kind(
            use_running_average=not train,
            momentum=momentum,
            epsilon=epsilon,
            scale_init=NORM_SCALES[self.norm_scale],
            dtype=self._computed(),
            axis_name=shared.name if shared else None,
            axis_index_groups=shared.groups() if shared else None,
            name=name,
        )

    def recomputed(self, function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        """Return a function of a module and arrays that is computed again for the gradient.

        What it computes on the way is not kept until then. Where the activations of a step are just
        too large for the memory on a TPU's chip, this leaves room for others.
        """
        return nn.remat(function) if self.recompute else function

    def layer_norm(self, *, name: str | None = None) -> nn.LayerNorm:
        """Return layer norm over the last axis, with scales that start at 1."""
        return nn.LayerNorm(epsilon=EPSILON, dtype=self._computed(), name=name)

    def _computed(self) -> jnp.dtype | None:
        # None is what parameters and inputs have, so that float64 stays float64.
        return None if self.dtype == "float32" else jnp.dtype(self.dtype)


def draw_biases(params: Any, *, key: jax.Array) -> Any:
    """Return parameters whose biases are drawn as PyTorch does: from U(-b, b), b = 1/sqrt(fan-in).

    Biases of norms, which have no kernel beside them, stay.
    """
    leaves = trees.named(params)
    for place, name in enumerate(leaves):
        layer, _, last = name.rpartition("/")
        kernel = leaves.get(f"{layer}/kernel")
        if last == "bias" and kernel is not None:
            bound = math.prod(kernel.shape[:-1]) ** -0.5
            leaves[name] = jax.random.uniform(
                keys.fold(key, place), leaves[name].shape, jnp.float32, -bound, bound
            )
    return jax.tree.unflatten(jax.tree.structure(params), leaves.values())


def _scaled(initializer: Any, scale: float) -> Any:
    """Return an initializer whose weights are multiplied by a number."""
    return lambda *arguments: initializer(*arguments) * scale
