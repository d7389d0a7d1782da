"""Dead weights, inactive ones and zombies: masks without them, and biases in their place.

References:
  Kim et al. 2021, Waste not, Want not: All-Alive Pruning for Extremely Sparse Networks.
"""

from typing import Any

import jax
import numpy as np

from jaxlth import masks, trees
from jaxlth.graphs import chains, folding
from jaxlth.graphs.categories import ACTIVE, categories
from jaxlth.graphs.wiring import kernels


def without_dead(params: Any, mask: masks.Mask) -> masks.Mask:
    """Return a mask without its dead weights: what is left is active.

    Args:
      params: parameters of a chain of dense layers; their values do not matter.
      mask: a mask for them. Weights that it never prunes stay.

    Example:
      >>> params = {"w1": np.ones((2, 2)), "w2": np.ones((2, 1))}
      >>> mask = {"w1": np.array([[True, False], [True, False]]), "w2": np.array([[True], [True]])}
      >>> without_dead(params, mask)["w2"].tolist()
      [[True], [False]]
    """
    categorized = categories(params, mask)
    by_name = dict(zip(kernels(categorized.wiring), categorized.weights, strict=True))
    active = [by_name[name] == ACTIVE for name in trees.named(mask)]
    return jax.tree.unflatten(jax.tree.structure(mask), active)


def without_least(params: Any, mask: masks.Mask, excess: dict[str, int]) -> masks.Mask:
    """Return a mask without weights of least magnitude, and without dead ones as before.

    A weight goes if the units that it joins keep another, so that no weight becomes dead. Where no
    such weight is left, the least goes with those that become dead, and fewer weights are left.

    Args:
      params: parameters of a chain of dense layers.
      mask: a mask for them, without dead weights.
      excess: how many weights are too many in each tensor, by its name, or in all, by the name "".
    """
    layers = {layer.name: layer for layer in chains.layers(params, mask)}
    structure, leaves = jax.tree.structure(mask), trees.named(mask)
    kept, left = {name: np.array(leaf) for name, leaf in leaves.items()}, dict(excess)
    places = sorted(
        (abs(layers[name].kernel[place]), rank, name, place)
        for rank, name in enumerate(kept)
        for place in map(tuple, np.argwhere(kept[name]))
        if left.get(name, left.get("", 0)) > 0
    )
    for _, _, name, (source, target) in places:
        group = name if name in left else ""
        layer = layers[name]
        spares_source = layer.target == 1 or kept[name][source].sum() > 1
        spares_target = layer.target == len(layers) or kept[name][:, target].sum() > 1
        if left[group] > 0 and spares_source and spares_target:
            kept[name][source, target] = False
            left[group] -= 1
    trimmed = jax.tree.unflatten(structure, kept.values())
    while any(count > 0 for count in left.values()):
        trimmed, left = _without_one_more(params, trimmed, left, [place[2:] for place in places])
    return trimmed


def _without_one_more(
    params: Any, mask: masks.Mask, left: dict[str, int], places: list[Any]
) -> tuple[masks.Mask, dict[str, int]]:
    """Return a mask without one weight and what dies with it, and how many are still too many.

    It is the first of the places with which not more go than are too many, or the first of all.
    """
    smaller, first = mask, None
    for name, place in places:
        if left[name if name in left else ""] <= 0 or not trees.named(mask)[name][place]:
            continue
        smaller = jax.tree.map(np.array, mask)
        trees.named(smaller)[name][place] = False
        smaller = without_dead(params, smaller)
        after = dict(left)
        for each, leaf in trees.named(mask).items():
            gone = int(leaf.sum() - trees.named(smaller)[each].sum())
            after[each if each in left else ""] -= gone
        if min(after.values()) >= 0:
            return smaller, after
        first = first or (smaller, after)
    return first or (mask, dict.fromkeys(left, 0))


def passed_on(
    params: Any, before: masks.Mask, after: masks.Mask, *, activation: folding.Activation
) -> Any:
    """Return parameters whose biases hold what zombies added by the weights that are pruned.

    A zombie depends on no input: what it passes on is a constant. So the network under the mask
    after does what it did under the mask before, if only dead weights are pruned between them.

    Args:
      params: parameters of a chain of dense layers with biases.
      before: a mask for them, with zombies.
      after: what is left of it.
      activation: of all layers but the last.

    Raises:
      ValueError: a layer has no bias.
    """
    categorized = categories(params, before)
    layers = chains.layers(params, before, categorized.wiring)
    leaves = {name: np.asarray(leaf) for name, leaf in trees.named(params).items()}
    values, _ = folding.constants(layers, categorized.units, leaves, activation)
    for layer, pruned in zip(layers, chains.layers(params, after, categorized.wiring), strict=True):
        added = layer.read(values) @ (layer.summed - pruned.summed)
        if np.any(added):
            if layer.bias_name is None or layer.bias is None:
                raise ValueError(f"{layer.name!r} has no bias to pass on to what zombies add.")
            leaves[layer.bias_name] = (layer.bias + added).astype(layer.bias.dtype)
    return jax.tree.unflatten(jax.tree.structure(params), leaves.values())
