"""Smaller networks that do what a pruned one does: without the units that do not matter."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlth import masks, trees
from jaxlth.graphs import chains, folding, layouts
from jaxlth.graphs.categories import INACTIVE, ZOMBIE, categories
from jaxlth.graphs.wiring import Wiring
from jaxlth.trees import roles


class Compact(NamedTuple):
    """A pruned network with fewer units."""

    params: Any  # a tree like the network's, of smaller kernels, biases and norms, in NumPy
    mask: masks.Mask  # for them
    units: tuple[np.ndarray, ...]  # which units are left of each layer, inputs first, increasing
    stats: Any = None  # batch statistics of the units that are left, in NumPy


def relu(inputs: np.ndarray) -> np.ndarray:
    """Return the inputs where they are above 0, and 0 elsewhere."""
    return np.maximum(inputs, 0)


def compact(
    params: Any,
    mask: masks.Mask,
    *,
    fold: bool,
    activation: folding.Activation = relu,
    wiring: Wiring | None = None,
    stats: Any = None,
    axes: roles.Axes | None = None,
) -> Compact:
    """Return a feed-forward network without the inputs and units that do not matter.

    Inactive units and inputs are left out. What is left has the same gradients, so that training it
    follows the training of the whole. To use it, zombies too can be left out: folded into the
    biases that they add to, they can no longer be trained. A layer keeps one unit at least.

    Of a convolutional network channels are left out, with their biases, their batch norm and the
    rows of a flattened layer. Channels that a residual sum adds go together or not at all; of one
    that stays for another alone, and stays inactive, only statistics differ in training. A zombie
    is folded where that is exact: not if it stays through a sum, and not if it is other than zero
    and a padded convolution reads it, since the zeros around images give its edges less of it.
    What it adds goes to the bias of the kernel that reads it or else to the mean of its batch norm,
    as at inference: running statistics normalise. Weights do not tell of other zeros around images:
    where a mean pool counts them, as Flax's does if padded, or a convolution of one pixel is
    padded, use `fold=False`. Nor do they tell of groups in the first convolution.

    The modules of `models` have widths of their own; `models.any_width` runs them on what is left.
    A classifier that no output depends on, as the auxiliary one of Inception, goes but for a unit.

    Args:
      params: parameters; in a chain each leaf of two dimensions is a kernel (inputs, units), each
        of four one of a convolution, in the order of names, with its bias beside it.
      mask: a mask for them.
      fold: whether zombies are folded into biases.
      activation: of all layers but the last, to fold zombies; one number at a time.
      wiring: what leads where, such as `models.wiring` returns; None for a chain.
      stats: batch statistics, with leaves mean and var under the names of batch norms; None for a
        network without, or to fold nothing.
      axes: of the inputs and the outputs of kernels; see `masks.unit_densities`.

    Returns:
      Masked parameters: the network's outputs for inputs[..., units[0]] are those of the whole for
      inputs, up to the order of sums.

    Raises:
      ValueError: the network is not feed-forward, the wiring does not fit, a zombie has a value and
        no bias to go to, or statistics are wanted that are not there.

    Example:
      >>> params = {"Dense_0": {"kernel": np.array([[2.0, 3.0]]), "bias": np.zeros(2)}}
      >>> params["Dense_1"] = {"kernel": np.array([[4.0], [5.0]]), "bias": np.zeros(1)}
      >>> mask = masks.dense(params)
      >>> mask["Dense_1"]["kernel"] = np.array([[True], [False]])
      >>> compact(params, mask, fold=False).params["Dense_0"]["kernel"].tolist()
      [[2.0]]

    References:
      Burger 2024, section 3.4.2, for what does not matter.
    """
    params, mask = layouts.turned(params, mask, wiring, axes=axes)
    categorized = categories(params, mask, wiring, axes=roles.IN_OUT)
    layers = chains.layers(params, mask, categorized.wiring)
    leaves = {name: np.asarray(leaf) for name, leaf in _leaves(params, stats).items()}
    removed = [units == INACTIVE for units in categorized.units]
    values = [np.zeros(len(units)) for units in categorized.units]
    if fold:
        values, uniform = folding.constants(layers, categorized.units, leaves, activation)
        foldable = folding.foldable(layers, categorized.units, values, uniform)
        removed = [a | b for a, b in zip(removed, foldable, strict=True)]
    removed[-1] = np.zeros_like(removed[-1])
    remaining = _tied([~layer_keep for layer_keep in removed], layers)
    removed = [~layer_keep for layer_keep in remaining]
    for layer_keep in remaining:
        layer_keep[0] |= not layer_keep.any()
    remaining = _tied(remaining, layers)
    folded = [
        a & (layer_units == ZOMBIE)
        for a, layer_units in zip(removed, categorized.units, strict=True)
    ]
    values = [np.where(a, b, 0) for a, b in zip(folded, values, strict=True)]
    for layer in layers:
        leaves.update(folding.with_added(layer, values, categorized.units[layer.target], leaves))
    units = tuple(np.flatnonzero(layer_keep) for layer_keep in remaining)
    smaller, smaller_mask = {}, {}
    for name, index in _places(layers, units).items():
        if name in leaves:
            smaller[name] = leaves[name][index]
    for layer in layers:
        if layer.name is None:
            continue
        weight_mask = chains.by_unit(layer.mask, sum(layer.widths)) & ~layer.read(folded)[:, None]
        small_mask = weight_mask.reshape(layer.mask.shape)[_at_kernel(layer, units)]
        smaller[layer.name] = np.where(small_mask, smaller[layer.name], 0).astype(
            layer.kernel.dtype
        )
        smaller_mask[layer.name] = small_mask
    return Compact(
        layouts.turned_back(_replaced(params, smaller), axes),
        layouts.turned_back(_replaced(mask, smaller_mask), axes),
        units,
        _replaced(stats, smaller),
    )


def expand(
    small: Any,
    params: Any,
    mask: masks.Mask,
    units: tuple[np.ndarray, ...],
    *,
    wiring: Wiring | None = None,
    axes: roles.Axes | None = None,
) -> Any:
    """Return parameters of full size in which those of a compact network have their places.

    Args:
      small: parameters of the compact network, trained perhaps.
      params: parameters of full size, which what was left out has still.
      mask: the mask for them.
      units: which units of each layer the compact network has; see `Compact`.
      wiring: of the whole network; None for a chain.
      axes: of the inputs and the outputs of kernels; see `masks.unit_densities`.

    Example:
      >>> params = {"w": np.ones((2, 1))}
      >>> mask = {"w": np.array([[True], [False]])}
      >>> compacted = compact(params, mask, fold=False)
      >>> expand({"w": np.array([[7.0]])}, params, mask, compacted.units)["w"].tolist()
      [[7.0], [0.0]]
    """
    params, mask = layouts.turned(params, mask, wiring, axes=axes)
    layers = chains.layers(params, mask, wiring)
    masked = {
        layer.name: np.where(layer.mask, layer.kernel, 0).astype(layer.kernel.dtype)
        for layer in layers
        if layer.name is not None
    }
    grown = _grown(layouts.moved(small, axes), _replaced(params, masked), _places(layers, units))
    return layouts.turned_back(grown, axes)


def expand_stats(
    small: Any,
    stats: Any,
    params: Any,
    mask: masks.Mask,
    units: tuple[np.ndarray, ...],
    *,
    wiring: Wiring,
    axes: roles.Axes | None = None,
) -> Any:
    """Return batch statistics of full size in which those of a compact network have their places.

    Args:
      small: statistics of the compact network, trained perhaps.
      stats: statistics of full size, which what was left out has still.
      params: parameters of full size.
      mask: the mask for them.
      units: which units of each layer the compact network has; see `Compact`.
      wiring: of the whole network.
      axes: of the inputs and the outputs of kernels; see `masks.unit_densities`.
    """
    params, mask = layouts.turned(params, mask, wiring, axes=axes)
    return _grown(small, stats, _places(chains.layers(params, mask, wiring), units))


def _tied(keep: list[np.ndarray], layers: list[chains.Layer]) -> list[np.ndarray]:
    """Return the units to keep, and with each the units that a sum adds to it."""
    tied = list(keep)
    changed = True
    while changed:
        changed = False
        for layer in layers:
            if layer.name is not None:
                continue
            either = layer.read(tied) | tied[layer.target]
            for at, part in [(layer.target, either), *layer.split(either)]:
                changed |= bool(np.any(part & ~tied[at]))
                tied[at] = tied[at] | part
    return tied


def _places(layers: list[chains.Layer], units: tuple[np.ndarray, ...]) -> dict[str, Any]:
    """Return by name where in each leaf, and in each statistic, the units are that are left."""
    places: dict[str, Any] = {}
    for layer in layers:
        if layer.name is None:
            continue
        places[layer.name] = _at_kernel(layer, units)
        norm = layer.incoming.norm
        norm_leaves = (
            [f"{norm}/{leaf}" for leaf in ("scale", "bias", "mean", "var")] if norm else []
        )
        for name in [layer.bias_name, *norm_leaves]:
            if name is not None:
                places[name] = units[layer.target]
    return places


def _at_kernel(layer: chains.Layer, units: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
    """Return the index of the weights of a kernel between units that are left."""
    inputs, starts = sum(layer.widths), np.cumsum([0, *layer.widths])
    parts = zip(layer.incoming.sources, starts, strict=False)
    rows = np.concatenate([units[source] + start for source, start in parts])
    if layer.kernel.ndim == 2:  # a row of each channel for each pixel
        pixels = np.arange(0, layer.kernel.shape[0], inputs)
        rows = (pixels[:, None] + rows).ravel()
    return (..., *np.ix_(rows, units[layer.target]))


def _grown(small: Any, tree: Any, places: dict[str, Any]) -> Any:
    """Return a tree with the leaves of a smaller one at their places."""
    leaves, full = trees.named(small), {}
    for name, leaf in trees.named(tree).items():
        if name in places:
            full[name] = np.array(leaf)
            full[name][places[name]] = leaves[name]
    return _replaced(tree, full)


def _leaves(params: Any, stats: Any) -> dict[str, Any]:
    return trees.named(params) | trees.named(stats)


def _replaced(tree: Any, leaves: dict[str, np.ndarray]) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaves.get(trees.name(path), leaf), tree
    )
