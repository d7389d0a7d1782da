"""Kernels whose outputs come first, those of Equinox and PyTorch: turned to what all else reads."""

from typing import Any

import jax
import numpy as np

from jaxlth import masks, trees
from jaxlth.graphs import wiring as wirings
from jaxlth.trees import roles


def turned(
    params: Any, mask: masks.Mask, wiring: wirings.Wiring | None, *, axes: roles.Axes | None
) -> tuple[Any, masks.Mask]:
    """Return parameters and mask whose kernels are (..., inputs, outputs).

    Args:
      params: parameters; each leaf of two or four dimensions is a kernel.
      mask: a mask for them.
      wiring: of the network; None for a chain.
      axes: of the inputs and the outputs of kernels; None for those that their names say.

    Raises:
      ValueError: a dense kernel with outputs first reads flattened pixels, which lie channel by
        channel there; or the wiring does not fit.
    """
    changed = [
        name
        for name, leaf in trees.named(params).items()
        if np.ndim(leaf) in (2, 4) and roles.axes(name, leaf, axes) != roles.IN_OUT
    ]
    if changed:
        params, mask = moved(params, axes), moved(mask, axes)
        _check_flattened(params, mask, wiring, changed)
    return params, mask


def moved(tree: Any, axes: roles.Axes | None) -> Any:
    """Return a tree whose kernels are (..., inputs, outputs)."""
    return _moved(tree, axes, back=False)


def turned_back(tree: Any, axes: roles.Axes | None) -> Any:
    """Return a tree whose kernels, (..., inputs, outputs), have the axes of those given."""
    return _moved(tree, axes, back=True)


def _moved(tree: Any, axes: roles.Axes | None, *, back: bool) -> Any:
    def move(path: tuple[Any, ...], leaf: Any) -> Any:
        if np.ndim(leaf) not in (2, 4):
            return leaf
        leaf_axes = roles.axes(trees.name(path), leaf, axes)
        if leaf_axes == roles.IN_OUT:
            return leaf
        ways = (roles.IN_OUT, leaf_axes) if back else (leaf_axes, roles.IN_OUT)
        return np.moveaxis(np.asarray(leaf), *ways)

    return jax.tree_util.tree_map_with_path(move, tree)


def _check_flattened(
    params: Any, mask: masks.Mask, wiring: wirings.Wiring | None, changed: list[str]
) -> None:
    leaves = trees.named(params)
    checked = wirings.checked(params, mask, wiring)
    widths = wirings.widths(params, checked)
    for part in (part for incoming in checked for part in incoming):
        inputs = sum(widths[source] for source in part.sources)
        shape = np.shape(leaves[part.kernel]) if part.kernel in changed else ()
        if len(shape) == 2 and shape[0] != inputs:
            raise ValueError(
                f"{part.kernel!r} reads {shape[0]} flattened pixels of {inputs} channels, with "
                "outputs first an unknown order. Give kernels (..., inputs, outputs), its inputs "
                "pixel by pixel, and `axes=masks.IN_OUT`."
            )
