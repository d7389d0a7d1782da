"""The kernels of a network in their order, in NumPy, from any tree of parameters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxlth import masks, trees
from jaxlth.graphs import wiring as wirings


class Layer(NamedTuple):
    """One kernel of a network, or units that lead to those of their numbers: a kernel of ones."""

    name: str | None  # of its leaf; None where units themselves lead on
    kernel: np.ndarray  # (inputs, units), (height * width * inputs, units) or (h, w, inputs, units)
    mask: np.ndarray  # of that shape, bool
    bias: np.ndarray | None  # (units,)
    bias_name: str | None  # of its leaf
    target: int  # the layer of units that it leads to
    incoming: wirings.Incoming
    widths: tuple[int, ...]  # of the layers that it reads

    @property
    def edges(self) -> np.ndarray:
        """Return the pairs of units that have a weight left between them: (inputs, units) bool."""
        pixel_masks = by_unit(self.mask, sum(self.widths))
        return (
            pixel_masks[0] if len(pixel_masks) == 1 else np.logical_or.reduce(pixel_masks, axis=0)
        )

    @property
    def summed(self) -> np.ndarray:
        """Return the factor of a unit that has the same value at all pixels: (inputs, units)."""
        return self.pixel_weights.sum(axis=0)

    @property
    def pixel_weights(self) -> np.ndarray:
        """Return the masked weights of each pair of units: (weights of the pair, inputs, units).

        Narrower types than float32 come as that: their sums and squares overflow, or lose digits.
        """
        masked = np.where(self.mask, self.kernel, 0)
        dtype = np.promote_types(masked.dtype, np.float32)
        return by_unit(masked.astype(dtype, copy=False), sum(self.widths))

    def read(self, units: Sequence[np.ndarray]) -> np.ndarray:
        """Return side by side what arrays (units,), one for each layer, say of its inputs."""
        return np.concatenate([units[source] for source in self.incoming.sources])

    def split(self, inputs: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Return the parts of an array (inputs, ...) that belong to the layers it reads."""
        parts = np.split(inputs, np.cumsum(self.widths)[:-1])
        return list(zip(self.incoming.sources, parts, strict=True))


def layers(params: Any, mask: masks.Mask, wiring: wirings.Wiring | None = None) -> list[Layer]:
    """Return the kernels of a network, from its inputs to its outputs.

    Those of a chain come in the order of their names, with numbers as numbers: "Dense_2" before
    "Dense_10"; others in the order of the wiring. A kernel that is never pruned is kept whole. Its
    bias is the leaf beside it of one dimension.

    Args:
      params: parameters; in a chain each leaf of two dimensions is a kernel (inputs, units), each
        of four one of a convolution.
      mask: a mask for them.
      wiring: of the network; None for that of a chain.

    Raises:
      ValueError: there is no kernel, a prunable leaf is none, one kernel does not lead into the
        next, or the wiring does not fit.
    """
    wiring = wirings.checked(params, mask, wiring)
    leaves, mask_leaves = trees.named(params), trees.named(mask)
    widths = wirings.widths(params, wiring)
    layers = []
    for target, incoming in enumerate(wiring, 1):
        for part in incoming:
            reads = tuple(widths[source] for source in part.sources)
            if part.kernel is None:
                identity = np.eye(widths[target], dtype=np.float32)
                layers.append(Layer(None, identity, identity > 0, None, None, target, part, reads))
                continue
            bias = wirings.bias_of(part.kernel, leaves)
            values = None if bias is None else np.asarray(leaves[bias])
            kernel = np.asarray(leaves[part.kernel])
            leaf_mask = _leaf_mask(part.kernel, leaves, mask_leaves)
            layers.append(Layer(part.kernel, kernel, leaf_mask, values, bias, target, part, reads))
    return layers


def by_unit(array: np.ndarray, inputs: int) -> np.ndarray:
    """Return the entries of a kernel by pair of units: (weights of the pair, inputs, units)."""
    return array.reshape(-1, inputs, array.shape[-1])


def _leaf_mask(name: str, leaves: dict[str, Any], mask_leaves: dict[str, Any]) -> np.ndarray:
    if name in mask_leaves:
        return np.asarray(mask_leaves[name], bool)
    return np.ones(np.shape(leaves[name]), bool)
