"""Categories of weights and units: what of a pruned network matters."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxlth import masks
from jaxlth.graphs import chains, layouts
from jaxlth.graphs.wiring import Checked, Wiring, checked, widths
from jaxlth.trees import roles

CATEGORIES = ("pruned", "inactive", "zombie", "active")
PRUNED, INACTIVE, ZOMBIE, ACTIVE = range(4)  # places in CATEGORIES


class Categories(NamedTuple):
    """The category of each weight and unit, as its place in `CATEGORIES`."""

    weights: tuple[np.ndarray, ...]  # a kernel each: (inputs, units) or (h, w, inputs, units) int8
    units: tuple[np.ndarray, ...]  # layer 0 = inputs first: (units,) int8, never pruned
    wiring: Checked  # of the network; `graphs.kernels` names the kernels


class Count(NamedTuple):
    """How many weights, or units, are of each category."""

    pruned: int
    inactive: int
    zombie: int
    active: int


def categories(
    params: Any,
    mask: masks.Mask,
    wiring: Wiring | None = None,
    *,
    axes: roles.Axes | None = None,
) -> Categories:
    """Return the category of every weight and unit of a feed-forward network.

    Inactive comes first: what no output depends on is inactive, whether it depends on an input or
    not; zombies are among the rest. Outputs are never inactive. A weight is inactive if the
    unit that it leads to is, and a zombie if the one that it comes from is. So all weights that a
    convolution has left between two channels are of one category.

    Args:
      params: parameters; in a chain each leaf of two dimensions is a kernel (inputs, units), each
        of four one of a convolution, in the order of names. Their values do not matter.
      mask: a mask for them.
      wiring: what leads where, such as `models.wiring` returns; None for a chain.
      axes: of the inputs and the outputs of kernels; see `masks.unit_densities`.

    Raises:
      ValueError: the network is not feed-forward, or the wiring does not fit.

    Example:
      >>> params = {"w1": np.ones((2, 2)), "w2": np.ones((2, 1))}
      >>> mask = {"w1": np.array([[True, False], [False, False]]), "w2": np.array([[True], [True]])}
      >>> labels = categories(params, mask)
      >>> [[CATEGORIES[unit] for unit in layer] for layer in labels.units]
      [['active', 'inactive'], ['active', 'zombie'], ['active']]

    References:
      Burger 2024, section 3.4.2.
    """
    params, mask = layouts.turned(params, mask, wiring, axes=axes)
    wiring = checked(params, mask, wiring)
    layers = chains.layers(params, mask, wiring)
    layer_edges = [layer.edges for layer in layers]
    sizes = widths(params, wiring)
    from_inputs = [np.full(size, place == 0) for place, size in enumerate(sizes)]
    for layer, edges in zip(layers, layer_edges, strict=True):
        from_inputs[layer.target] |= np.logical_or.reduce(edges[layer.read(from_inputs)], axis=0)
    to_outputs = [np.full(size, place == len(wiring)) for place, size in enumerate(sizes)]
    for layer, edges in zip(reversed(layers), reversed(layer_edges), strict=True):
        reaches = np.logical_or.reduce(edges[:, to_outputs[layer.target]], axis=1)
        for source, part in layer.split(reaches):
            to_outputs[source] |= part
    units = tuple(
        np.where(to_output, np.where(from_input, ACTIVE, ZOMBIE), INACTIVE).astype(np.int8)
        for from_input, to_output in zip(from_inputs, to_outputs, strict=True)
    )
    weights = tuple(
        _of_weights(layer.mask, layer.read(units), units[layer.target])
        for layer in layers
        if layer.name is not None
    )
    return Categories(weights, units, wiring)


def edges(categories: Categories) -> Iterator[tuple[tuple[int, ...], int, np.ndarray]]:
    """Yield the category of each edge: (layers side by side, layer led to, (inputs, units) int8).

    An edge has the category of its weights. One without a weight, where a unit itself leads on to
    a sum, is inactive if the sum is, and a zombie if the unit is.
    """
    weights = iter(categories.weights)
    for target, incoming in enumerate(categories.wiring, 1):
        for part in incoming:
            sources = np.concatenate([categories.units[source] for source in part.sources])
            if part.kernel is None:
                edge_categories = np.diag(np.minimum(sources, categories.units[target]))
            else:
                pixel_categories = chains.by_unit(next(weights), len(sources))
                edge_categories = (
                    pixel_categories[0]
                    if len(pixel_categories) == 1
                    else pixel_categories.max(axis=0)
                )
            yield part.sources, target, edge_categories


def count(labels: tuple[np.ndarray, ...]) -> Count:
    """Return the number of weights, or units, of each category.

    Args:
      labels: `weights` or `units` of `Categories`.

    Example:
      >>> count((np.array([0, 3, 3], np.int8),))
      Count(pruned=1, inactive=0, zombie=0, active=2)
    """
    counts = sum(np.bincount(np.ravel(layer), minlength=len(CATEGORIES)) for layer in labels)
    return Count(*np.asarray(counts).tolist())


def _of_weights(mask: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the category of each weight of a kernel, of those of the units that it joins."""
    # A kept weight into an active unit comes from an active or a zombie unit; into a zombie from a
    # zombie; into an inactive one from any: the lesser category of the two.
    pair_categories = np.minimum(sources[:, None], targets[None, :])
    weight_categories = np.where(
        chains.by_unit(mask, len(sources)), pair_categories, np.int8(PRUNED)
    )
    return weight_categories.reshape(mask.shape)
