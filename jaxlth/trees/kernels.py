"""How tensors are read as kernels: where inputs and outputs lie, and in which shape."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxlth.trees import attention, roles


class KernelView(NamedTuple):
    """How a tensor is read as a kernel: reshaped, and its axes of inputs and outputs."""

    shape: tuple[int, ...]  # its own; (layers..., inputs, outputs) for attention in Flax
    axes: roles.Axes  # of the inputs and the outputs, in this shape
    stacked: int = 0  # leading axes that count layers, each with a kernel of its own

    @property
    def of_layer(self) -> tuple[int, ...]:
        """The shape of the kernel of one layer."""
        return self.shape[self.stacked :]


def views(
    leaves: Mapping[str, Any], axes: roles.Axes | None = None, *, check: bool = True
) -> dict[str, KernelView]:
    """Return how each tensor is read as a kernel, by name.

    Kernels of attention in Flax are the matrices of `attention.matrices`; all others keep their
    shape, and `roles.axes` says where their inputs and outputs lie.

    Args:
      leaves: arrays by name.
      axes: of the inputs and the outputs, if given.
      check: whether to refuse a kernel of three axes or more where neither its name nor its shape
        says what they are; else it is read as a convolution.

    Raises:
      ValueError: a tensor has not these axes; or, if `check`, no axes are given and those of a
        kernel do not follow from its name and shape.

    Example:
      >>> leaves = {"a/query/kernel": np.ones((6, 2, 3)), "a/out/kernel": np.ones((2, 3, 5))}
      >>> of = views(leaves | {"linear/weight": np.ones((4, 2))})
      >>> of["a/query/kernel"].shape, of["linear/weight"].shape, of["linear/weight"].axes
      ((6, 6), (4, 2), (1, 0))
    """
    matrices = attention.matrices(leaves, axes if axes or check else roles.IN_OUT)
    return {
        name: KernelView(matrices[name], roles.IN_OUT, len(matrices[name]) - 2)
        if name in matrices
        else KernelView(np.shape(leaf), roles.axes(name, leaf, axes))
        for name, leaf in leaves.items()
    }
