"""Connected components of the active part of a network, on arrays."""

from typing import NamedTuple

import numpy as np

from jaxlth.graphs.categories import ACTIVE, Categories, edges

NONE = -1  # of a unit that is not active


class Components(NamedTuple):
    """Which subnetwork each unit belongs to."""

    number: int  # of subnetworks
    units: tuple[np.ndarray, ...]  # layer 0 = inputs first: (units,) int32, NONE if not active


def components(categories: Categories) -> Components:
    """Return the subnetworks of a network, the largest first: those of `subnetworks`, in arrays.

    Size is the number of units; among equals the one with the first unit comes first.

    Args:
      categories: as `categories` returns it.

    Example:
      >>> from jaxlth.graphs import categories
      >>> mask = {"w": np.array([[True, False], [False, True]])}
      >>> result = components(categories({"w": np.ones((2, 2))}, mask))
      >>> result.number, [layer.tolist() for layer in result.units]
      (2, [[0, 1], [0, 1]])

    References:
      Burger 2024, section 3.4.3.
    """
    from scipy import sparse

    widths = [len(layer) for layer in categories.units]
    first = np.concatenate([[0], np.cumsum(widths)])
    numbered = [start + np.arange(width) for start, width in zip(first, widths, strict=False)]
    rows, columns = [], []
    for sources, target, edge_categories in edges(categories):
        inputs, units = np.nonzero(edge_categories == ACTIVE)
        rows.append(np.concatenate([numbered[source] for source in sources])[inputs])
        columns.append(numbered[target][units])
    ends = np.concatenate(rows), np.concatenate(columns)
    adjacency = sparse.coo_matrix((np.ones(len(ends[0]), bool), ends), shape=(first[-1],) * 2)
    _, labels = sparse.csgraph.connected_components(adjacency, directed=False)
    active = np.concatenate(categories.units) == ACTIVE
    names, places, sizes = np.unique(labels[active], return_index=True, return_counts=True)
    order = names[np.lexsort((places, -sizes))]
    renamed = np.full(int(labels.max(initial=0)) + 1, NONE, np.int32)
    renamed[order] = np.arange(len(order), dtype=np.int32)
    numbers = np.where(active, renamed[labels], NONE)
    return Components(len(order), tuple(np.split(numbers, first[1:-1])))
