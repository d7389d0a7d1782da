"""Where the units of a pruned network are drawn: layer by layer, subnetworks together.

References:
  Burger 2024, sections 3.4 and 3.5.
"""

from typing import NamedTuple

import numpy as np

from jaxlth import graphs
from jaxlth.graphs.categories import ACTIVE

MAX_COMPLETE_LAYER = 60  # units; of a larger layer only the active units are drawn
_SWEEPS = 6  # rounds in which units move to the mean height of the units connected to them
_INACTIVE_HEIGHT = 0.35  # the height of an inactive unit; that of an active unit is 1


class NetworkLayout(NamedTuple):
    """Where a network's units are drawn."""

    categories: graphs.Categories
    units: list[np.ndarray]  # of each layer, those that are drawn, from top to bottom
    heights: list[np.ndarray]  # (units of the layer,) from 1 at the top to 0; NaN if not drawn
    tasks: list[np.ndarray]  # (units of the layer,) the only task of its subnetwork, or -1
    ends: tuple[np.ndarray, np.ndarray]  # the same of the inputs and the outputs


def network_layout(categories: graphs.Categories, tasks: list[graphs.Task]) -> NetworkLayout:
    """Return the layout of a network: units by subnetwork, then near to their neighbours."""
    parts = graphs.components(categories)
    end_tasks = [
        _task_indices(len(categories.units[0]), [task.inputs for task in tasks]),
        *(np.full(len(units), -1) for units in categories.units[1:-1]),
        _task_indices(len(categories.units[-1]), [task.outputs for task in tasks]),
    ]
    subnetwork_tasks = _subnetwork_tasks(parts, tasks)
    ranks = _subnetwork_ranks(parts, end_tasks)
    heights = [_heights(np.arange(len(units)), units) for units in categories.units]
    layers = list(range(len(categories.units)))
    for layer in (layers + layers[::-1]) * _SWEEPS:
        neighbors = _mean_neighbor_heights(categories, heights, layer)
        active = np.flatnonzero(categories.units[layer] == ACTIVE)
        keys = (-neighbors[active], end_tasks[layer][active], ranks[parts.units[layer][active]])
        heights[layer][active] = _heights(active[np.lexsort(keys)], categories.units[layer])[active]
    units = [_visible_units(categories.units[layer], heights[layer]) for layer in layers]
    pairs = zip(units, categories.units, strict=True)
    return NetworkLayout(
        categories,
        units,
        [_heights(order, of_layer, inactive_height=_INACTIVE_HEIGHT) for order, of_layer in pairs],
        [subnetwork_tasks[subnetworks] for subnetworks in parts.units],
        (end_tasks[0], end_tasks[-1]),
    )


def _task_indices(units: int, indices: list[tuple[int, ...]]) -> np.ndarray:
    """Return the task of each input or output; -1 if it belongs to none."""
    tasks = np.full(units, -1)
    for task, positions in enumerate(indices):
        tasks[list(positions)] = task
    return tasks


def _subnetwork_tasks(parts: graphs.Components, tasks: list[graphs.Task]) -> np.ndarray:
    """Return the task of each subnetwork; -1 if it has inputs or outputs of none or several.

    Of shape (subnetworks + 1,): the last, at -1, is that of units that are in no subnetwork.
    """
    serves = np.zeros((parts.number, len(tasks)), bool)
    for by in ("input", "output"):
        serves |= graphs.coverage(parts, tasks, by=by) > 0
    is_single = serves.sum(axis=1) == 1
    return np.append(np.where(is_single, serves.argmax(axis=1), -1), -1)


def _subnetwork_ranks(parts: graphs.Components, end_tasks: list[np.ndarray]) -> np.ndarray:
    """Return the rank of each subnetwork from top to bottom, by the tasks of its ends."""
    means = np.zeros(parts.number)
    for part in range(parts.number):
        ends = [end_tasks[end][parts.units[end] == part] for end in (0, -1)]
        means[part] = np.mean(np.concatenate(ends)) if any(len(tasks) for tasks in ends) else 0
    return np.argsort(np.argsort(means, kind="stable"), kind="stable")


def _mean_neighbor_heights(
    categories: graphs.Categories, heights: list[np.ndarray], layer: int
) -> np.ndarray:
    """Return, for each unit of a layer, the mean height of the units actively connected to it."""
    total, number = np.zeros(len(heights[layer])), np.zeros(len(heights[layer]))
    if layer > 0:
        edges = categories.weights[layer - 1] == ACTIVE
        total, number = total + heights[layer - 1] @ edges, number + edges.sum(axis=0)
    if layer + 1 < len(heights):
        edges = categories.weights[layer] == ACTIVE
        total, number = total + edges @ heights[layer + 1], number + edges.sum(axis=1)
    return np.divide(total, number, out=heights[layer].copy(), where=number > 0)


def _visible_units(units: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Return the drawn units of a layer in their order, the inactive ones at both ends."""
    active = np.flatnonzero(units == ACTIVE)
    active = active[np.argsort(-heights[active], kind="stable")]
    if len(units) > MAX_COMPLETE_LAYER:
        return active
    inactive = np.flatnonzero(units != ACTIVE)
    half = len(inactive) // 2
    return np.concatenate([inactive[:half], active, inactive[half:]])


def _heights(order: np.ndarray, units: np.ndarray, *, inactive_height: float = 1.0) -> np.ndarray:
    """Return heights for units in their order, from 1 down to 0; NaN for units not in it.

    Args:
      order: units, from top to bottom.
      units: (units of the layer,) their categories.
      inactive_height: the height of an inactive unit; that of an active unit is 1.
    """
    height = np.where(units[order] == ACTIVE, 1.0, inactive_height)
    centers = np.full(len(units), np.nan)
    centers[order] = 1 - (np.cumsum(height) - height / 2) / max(height.sum(), 1e-9)
    return centers
