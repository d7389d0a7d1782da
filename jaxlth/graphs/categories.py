"""Categories of weights and units: what of a pruned network matters."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxlth import masks
from jaxlth.graphs import chains
from jaxlth.graphs.wiring import Checked, Wiring, checked, widths

CATEGORIES = ("pruned", "inactive", "zombie", "active")
PRUNED, INACTIVE, ZOMBIE, ACTIVE = range(4)  # places in CATEGORIES


class Categories(NamedTuple):
    """The category of each weight and unit, as its place in `CATEGORIES`."""

    weights: tuple[np.ndarray, ...]  # a kernel each, of its shape: (inputs, units) int8 if dense
    units: tuple[np.ndarray, ...]  # layer 0 = inputs first: (units,) int8, never pruned
    wiring: Checked  # of the network; `graphs.kernels` names the kernels


class Count(NamedTuple):
    """How many weights, or units, are of each category."""

    pruned: int
    inactive: int
    zombie: int
    active: int


def categories(params: Any, mask: masks.Mask, wiring: Wiring | None = None) -> Categories:
    """Return the category of every weight and unit of a feed-forward network.

    Inactive comes first: what no output depends on is inactive, whether it depends on an input or
    not; zombies are found among the rest. Outputs are never inactive. A weight is inactive if the
    unit that it leads to is, and a zombie if the one that it comes from is. So all weights that a
    convolution has left between two channels are of one category.

    Args:
      params: parameters; in a chain each leaf of two dimensions is a kernel (inputs, units), each
        of four one of a convolution, in the order of names. Their values do not matter.
      mask: a mask for them.
      wiring: what leads where, such as `models.wiring` returns; None for a chain.

    Raises:
      ValueError: the network is not feed-forward, or the wiring does not fit.

    Example:
      >>> params = {"w1": np.ones((2, 2)), "w2": np.ones((2, 1))}
      >>> mask = {"w1": np.array([[True, False], [False, False]]), "w2": np.array([[True], [True]])}
      >>> found = categories(params, mask)
      >>> [[CATEGORIES[unit] for unit in layer] for layer in found.units]
      [['active', 'inactive'], ['active', 'zombie'], ['active']]

    References:
      Burger 2024, section 3.4.2.
    """
    wired = checked(params, mask, wiring)
    layers = chains.layers(params, mask, wired)
    kept = [layer.edges for layer in layers]
    sizes = widths(params, wired)
    from_inputs = [np.full(size, place == 0) for place, size in enumerate(sizes)]
    for layer, each in zip(layers, kept, strict=True):
        from_inputs[layer.target] |= np.logical_or.reduce(each[layer.read(from_inputs)], axis=0)
    to_outputs = [np.full(size, place == len(wired)) for place, size in enumerate(sizes)]
    for layer, each in zip(reversed(layers), reversed(kept), strict=True):
        leads = np.logical_or.reduce(each[:, to_outputs[layer.target]], axis=1)
        for source, part in layer.split(leads):
            to_outputs[source] |= part
    units = tuple(
        np.where(to, np.where(by, ACTIVE, ZOMBIE), INACTIVE).astype(np.int8)
        for by, to in zip(from_inputs, to_outputs, strict=True)
    )
    weights = tuple(
        _of_weights(layer.kept, layer.read(units), units[layer.target])
        for layer in layers
        if layer.name is not None
    )
    return Categories(weights, units, wired)


def edges(found: Categories) -> Iterator[tuple[tuple[int, ...], int, np.ndarray]]:
    """Yield the category of each edge: (layers side by side, layer led to, (inputs, units) int8).

    An edge has the category of its weights. One without a weight, where a unit itself leads on to
    a sum, is inactive if the sum is, and a zombie if the unit is.
    """
    weights = iter(found.weights)
    for target, incoming in enumerate(found.wiring, 1):
        for each in incoming:
            sources = np.concatenate([found.units[source] for source in each.sources])
            if each.kernel is None:
                of = np.diag(np.minimum(sources, found.units[target]))
            else:
                several = chains.by_unit(next(weights), len(sources))
                of = several[0] if len(several) == 1 else several.max(axis=0)
            yield each.sources, target, of


def count(of: tuple[np.ndarray, ...]) -> Count:
    """Return how many weights, or units, are of each category.

    Args:
      of: `weights` or `units` of `Categories`.

    Example:
      >>> count((np.array([0, 3, 3], np.int8),))
      Count(pruned=1, inactive=0, zombie=0, active=2)
    """
    found = sum(np.bincount(np.ravel(layer), minlength=len(CATEGORIES)) for layer in of)
    return Count(*np.asarray(found).tolist())


def _of_weights(kept: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the category of each weight of a kernel, of those of the units that it joins."""
    # A kept weight into an active unit comes from an active or a zombie unit; into a zombie from a
    # zombie; into an inactive one from any: the lesser category of the two.
    found = np.minimum(sources[:, None], targets[None, :])
    each = np.where(chains.by_unit(kept, len(sources)), found, np.int8(PRUNED))
    return each.reshape(kept.shape)
