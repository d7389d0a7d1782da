"""What zombies add to a network: constants that biases can hold as well, where that is exact."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from jaxlth.graphs import chains
from jaxlth.graphs.categories import INACTIVE, ZOMBIE

Activation: TypeAlias = Callable[[np.ndarray], np.ndarray]


def constants(
    layers: list[chains.Layer],
    units: tuple[np.ndarray, ...],
    leaves: dict[str, np.ndarray],
    activation: Activation,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the value of each zombie, 0 for others, and whether it has it at all pixels."""
    # Before the activation, until the layer is read.
    values = [np.zeros(len(layer_units)) for layer_units in units]
    uniform = [np.ones(len(layer_units), bool) for layer_units in units]
    last = len(units) - 1
    for place, layer in enumerate(layers):
        inputs = layer.read(values)
        totals = inputs @ layer.summed
        totals = totals if layer.bias is None else totals + layer.bias
        values[layer.target] = values[layer.target] + _normed(layer, totals, leaves)
        varies = ~layer.read(uniform) | (_is_padded(layer) & (inputs != 0))
        uniform[layer.target] &= ~layer.edges[varies].any(axis=0)
        if place + 1 == len(layers) or layers[place + 1].target != layer.target:
            outputs = values[layer.target]
            outputs = outputs if layer.target == last else activation(outputs)
            values[layer.target] = np.where(units[layer.target] == ZOMBIE, outputs, 0)
    return values, uniform


def foldable(
    layers: list[chains.Layer],
    units: tuple[np.ndarray, ...],
    values: list[np.ndarray],
    uniform: list[np.ndarray],
) -> list[np.ndarray]:
    """Return the zombies that add the same to every pixel of all that matters."""
    foldable = [
        (layer_units == ZOMBIE) & is_uniform
        for layer_units, is_uniform in zip(units, uniform, strict=True)
    ]
    for layer in layers:
        if _is_padded(layer):
            matters = units[layer.target] != INACTIVE
            reads = np.logical_or.reduce(layer.edges[:, matters], axis=1)
            for source, read in layer.split(reads):
                foldable[source] &= ~read | (values[source] == 0)
    return foldable


def _is_padded(layer: chains.Layer) -> bool:
    """Return whether a kernel may see the zeros around an image: one pixel never does."""
    several = layer.kernel.ndim == 4 and layer.kernel.shape[:2] != (1, 1)
    return several and layer.incoming.padded


def _normed(layer: chains.Layer, totals: np.ndarray, leaves: dict[str, np.ndarray]) -> np.ndarray:
    """Return numbers (units,) normalised by batch norm as at inference."""
    norm = layer.incoming.norm
    if norm is None:
        return totals
    for name in (f"{norm}/mean", f"{norm}/var"):
        if name not in leaves:
            raise ValueError(f"`stats` must have {name!r}, so that zombies can be folded.")
    scale = leaves.get(f"{norm}/scale", 1) / np.sqrt(
        leaves[f"{norm}/var"].astype(np.float64) + layer.incoming.epsilon
    )
    return scale * (totals - leaves[f"{norm}/mean"]) + leaves.get(f"{norm}/bias", 0)


def with_added(
    layer: chains.Layer,
    values: list[np.ndarray],
    units: np.ndarray,
    leaves: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Return the bias, or the mean of batch norm, with what folded zombies add to a layer."""
    if layer.name is None:
        return {}  # sums keep their zombies, or go with them
    added = layer.read(values) @ layer.summed
    if not np.any(added[units != INACTIVE]):
        return {}
    mean = f"{layer.incoming.norm}/mean"
    if layer.bias_name is None and mean not in leaves:
        raise ValueError(f"{layer.name!r} has no bias that zombies could be folded into.")
    name, sign = (mean, -1) if layer.bias_name is None else (layer.bias_name, 1)
    return {name: (leaves[name] + sign * added).astype(leaves[name].dtype)}
