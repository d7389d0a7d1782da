"""A pruned network as a networkx graph, and its subnetworks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlth import masks
from jaxlth.graphs import chains, layouts
from jaxlth.graphs.categories import CATEGORIES, PRUNED, categories, edges
from jaxlth.graphs.wiring import Wiring
from jaxlth.trees import roles

if TYPE_CHECKING:
    import networkx as nx


def network(
    params: Any,
    mask: masks.Mask,
    wiring: Wiring | None = None,
    *,
    axes: roles.Axes | None = None,
) -> nx.DiGraph:
    """Return a feed-forward network as a directed graph.

    Nodes are (layer, unit), layer 0 the inputs, with the attributes `layer`, `category` and, beyond
    the inputs, `bias` (None where there is none; batch norm is left out). Edges are the weights
    kept, with `weight` and `category`. Between channels an edge is there if any weight is; with
    several to a pair, as under a kernel of 3x3 pixels, `weight` is their Euclidean norm. Where only
    a unit itself leads on to a sum, `weight` is None. The graph's own attribute `widths` has the
    number of units of each layer.

    Args:
      params: parameters; in a chain each leaf of two dimensions is a kernel (inputs, units), each
        of four one of a convolution, in the order of names.
      mask: a mask for them.
      wiring: what leads where, such as `models.wiring` returns; None for a chain.
      axes: of the inputs and the outputs of kernels; see `masks.unit_densities`.

    Raises:
      ValueError: the network is not feed-forward, or the wiring does not fit.

    Example:
      >>> graph = network({"w": np.array([[2.0], [3.0]])}, {"w": np.array([[True], [False]])})
      >>> sorted(graph.edges(data="weight")), graph.nodes[0, 1]["category"]
      ([((0, 0), (1, 0), 2.0)], 'inactive')

    References:
      Burger 2024, section 3.4.1.
    """
    import networkx as nx

    params, mask = layouts.turned(params, mask, wiring, axes=axes)
    categorized = categories(params, mask, wiring, axes=roles.IN_OUT)
    layers = chains.layers(params, mask, categorized.wiring)
    biases = _biases(layers)
    graph = nx.DiGraph(widths=tuple(len(units) for units in categorized.units))
    for place, units in enumerate(categorized.units):
        bias = biases.get(place)
        for unit, category in enumerate(units):
            attributes = {"layer": place, "category": CATEGORIES[category]}
            if place:
                attributes["bias"] = None if bias is None else float(bias[unit])
            graph.add_node((place, unit), **attributes)
    for layer, (sources, target, edge_categories) in zip(layers, edges(categorized), strict=True):
        nodes = [
            (source, unit) for source in sources for unit in range(len(categorized.units[source]))
        ]
        weights = _weights(layer)
        for place, unit in zip(*np.nonzero(edge_categories > PRUNED), strict=True):
            ends = nodes[place], (target, int(unit))
            weight = float(weights[place, unit]) if layer.name else None
            if graph.has_edge(*ends):
                weight = _both(graph.edges[ends]["weight"], weight)
            graph.add_edge(*ends, weight=weight, category=CATEGORIES[edge_categories[place, unit]])
    return graph


def _biases(layers: list[chains.Layer]) -> dict[int, np.ndarray]:
    """Return the biases of each layer of units that has any."""
    biases: dict[int, np.ndarray] = {}
    for layer in layers:
        if layer.bias is not None:
            dtype = np.promote_types(layer.bias.dtype, np.float32)
            biases[layer.target] = biases.get(layer.target, 0) + layer.bias.astype(dtype)
    return biases


def _both(a: float | None, b: float | None) -> float | None:
    """Return one number for the weights of two ways between the same units."""
    return np.hypot(a, b).item() if a is not None and b is not None else a or b


def _weights(layer: chains.Layer) -> np.ndarray:
    """Return one number for all the weights of each edge: (inputs, units)."""
    weights = layer.pixel_weights
    return weights[0] if len(weights) == 1 else np.sqrt(np.sum(weights**2, axis=0))


def subnetworks(graph: nx.DiGraph) -> list[nx.DiGraph]:
    """Return the connected components of the active part of a network, the largest first.

    Size is the number of units; among equals the one with the first unit comes first.

    Args:
      graph: as `network` returns it.

    Returns:
      A graph for each, with the attributes of the whole.

    References:
      Burger 2024, section 3.4.3.
    """
    import networkx as nx

    nodes = [node for node, category in graph.nodes(data="category") if category == "active"]
    active = graph.subgraph(nodes)
    components = nx.weakly_connected_components(active)
    components = sorted(components, key=lambda part: (-len(part), min(part)))
    return [active.subgraph(part).copy() for part in components]
