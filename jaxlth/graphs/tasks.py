"""Tasks, and how far the subnetworks of a network match them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from jaxlth.graphs.categories import ACTIVE, Categories, edges
from jaxlth.graphs.components import Components

if TYPE_CHECKING:
    import networkx as nx

By = Literal["total", "input", "output"]


class Task(NamedTuple):
    """The inputs and outputs of a network that one task has to itself."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def check_tasks(tasks: Sequence[Task], *, inputs: int, outputs: int) -> None:
    """Raise unless tasks share nothing and belong to a network.

    Args:
      tasks: what is to be checked.
      inputs: number of the network's inputs.
      outputs: number of its outputs.

    Raises:
      ValueError: there is no task, one is empty, two overlap, or an index is beyond the network.

    Example:
      >>> check_tasks([Task((0, 1), (0,)), Task((1,), (1,))], inputs=2, outputs=2)
      Traceback (most recent call last):
      ValueError: Tasks 0 and 1 share the input 1; tasks must have inputs and outputs of their own.
    """
    if not tasks:
        raise ValueError("`tasks` must hold at least one task; got none.")
    for kind, width in (("inputs", inputs), ("outputs", outputs)):
        owners: dict[int, int] = {}
        for number, task in enumerate(tasks):
            indices = getattr(task, kind)
            if not indices:
                raise ValueError(f"Task {number} has no {kind}.")
            for index in indices:
                if not 0 <= index < width:
                    raise ValueError(
                        f"Task {number} has the {kind[:-1]} {index}, but the network has {width}: "
                        f"0..{width - 1}."
                    )
                if owners.setdefault(index, number) != number:
                    raise ValueError(
                        f"Tasks {owners[index]} and {number} share the {kind[:-1]} {index}; tasks "
                        "must have inputs and outputs of their own."
                    )


def coverage(
    subnetworks: Sequence[nx.DiGraph] | Components, tasks: Sequence[Task], *, by: By = "total"
) -> np.ndarray:
    """Return the share of each task that each subnetwork covers.

    Args:
      subnetworks: as `graphs.subnetworks` or, in arrays, `graphs.components` returns them.
      tasks: with inputs and outputs of their own.
      by: the share of a task's inputs, of its outputs, or their product (total).

    Returns:
      (subnetworks, tasks), each in [0, 1]; a column adds up to 1 at most.

    Raises:
      ValueError: tasks overlap or are empty; see `check_tasks`.

    References:
      Burger 2024, section 3.5.2.
    """
    if by not in ("total", "input", "output"):
        raise ValueError(f"`by` must be total, input or output; got {by!r}.")
    ends = list(
        _of_arrays(subnetworks) if isinstance(subnetworks, Components) else _ends(subnetworks)
    )
    covered = np.zeros((len(ends), len(tasks)))
    for row, (inputs, outputs, widths) in enumerate(ends):
        check_tasks(tasks, inputs=widths[0], outputs=widths[-1])
        for column, task in enumerate(tasks):
            shares = {
                "input": len(inputs & set(task.inputs)) / len(set(task.inputs)),
                "output": len(outputs & set(task.outputs)) / len(set(task.outputs)),
            }
            shares["total"] = shares["input"] * shares["output"]
            covered[row, column] = shares[by]
    return covered


def _ends(subnetworks: Sequence[nx.DiGraph]) -> Iterator[tuple[set[int], set[int], Sequence[int]]]:
    """Yield the inputs and the outputs of each subnetwork, and the widths of the network."""
    for graph in subnetworks:
        widths = graph.graph["widths"]
        last = len(widths) - 1
        inputs, outputs = ({unit for layer, unit in graph if layer == end} for end in (0, last))
        yield inputs, outputs, widths


def _of_arrays(components: Components) -> Iterator[tuple[set[int], set[int], Sequence[int]]]:
    """Yield the same of subnetworks in arrays."""
    widths = [len(units) for units in components.units]
    for number in range(components.number):
        first, last = (np.flatnonzero(components.units[end] == number).tolist() for end in (0, -1))
        yield set(first), set(last), widths


def state(covered: np.ndarray) -> str:
    """Return whether a network is interconnected, separated or degraded.

    Degraded: a task is not covered whole. Else separated, where each subnetwork covers one task at
    most, or interconnected. The thesis compares the number of subnetworks with that of tasks; the
    two agree where no task falls apart itself.

    Args:
      covered: (subnetworks, tasks), as `coverage` returns it.

    Example:
      >>> [state(np.array(each)) for each in ([[1, 1]], [[1, 0], [0, 1]], [[1, 0], [0, 0.5]])]
      ['interconnected', 'separated', 'degraded']

    References:
      Burger 2024, section 3.5.3.
    """
    covered = np.asarray(covered, float)
    if covered.ndim != 2 or covered.shape[1] == 0:
        raise ValueError(
            f"`covered` must be of shape (subnetworks, tasks), with tasks; got {covered.shape}."
        )
    if np.any(covered.sum(axis=0) < 1 - 1e-9):
        return "degraded"
    return "separated" if np.all((covered > 0).sum(axis=1) <= 1) else "interconnected"


def degrees_of_separation(
    categories: Categories, tasks: Sequence[Task], *, by: Literal["inputs", "outputs"]
) -> list[float]:
    """Return for each layer the share of its active units that belong to one task only.

    A unit belongs to the tasks whose outputs it leads to, or whose inputs lead to it; units of no
    task do not count.

    Args:
      categories: as `categories` returns it.
      tasks: with inputs and outputs of their own.
      by: whether units belong to tasks by their inputs or by their outputs.

    Returns:
      A share in [0, 1] for each layer, inputs first; NaN for a layer without a unit of a task.

    Raises:
      ValueError: tasks overlap or are empty; see `check_tasks`.

    References:
      Burger 2024, section 4.2.4: decided units over decided and undecided ones.
    """
    check_tasks(tasks, inputs=len(categories.units[0]), outputs=len(categories.units[-1]))
    belongs = [np.zeros((len(units), len(tasks)), bool) for units in categories.units]
    active_edges = [
        (sources, target, edge_categories == ACTIVE)
        for sources, target, edge_categories in edges(categories)
    ]
    if by == "inputs":
        belongs[0] = _owners([task.inputs for task in tasks], categories.units[0])
        for sources, target, active in active_edges:
            before = np.concatenate([belongs[source] for source in sources])
            belongs[target] |= _spread(active, before)
    else:
        belongs[-1] = _owners([task.outputs for task in tasks], categories.units[-1])
        for sources, target, active in reversed(active_edges):
            starts = np.cumsum([len(categories.units[source]) for source in sources])[:-1]
            before = np.split(_spread(active.T, belongs[target]), starts)
            for source, part in zip(sources, before, strict=True):
                belongs[source] |= part
    return [_share(layer) for layer in belongs]


def _owners(indices: Sequence[tuple[int, ...]], units: np.ndarray) -> np.ndarray:
    """Return the tasks of the active units of the first or last layer: (units, tasks) bool."""
    owners = np.zeros((len(units), len(indices)), bool)
    for column, task_indices in enumerate(indices):
        owners[list(task_indices), column] = True
    return owners & (units == ACTIVE)[:, None]


def _spread(active: np.ndarray, belongs: np.ndarray) -> np.ndarray:
    """Return the tasks of the units of the next layer: (units, tasks) bool."""
    columns: list[Any] = [active[task_units].any(axis=0) for task_units in belongs.T]
    return np.stack(columns, axis=1)


def _share(belongs: np.ndarray) -> float:
    tasks = belongs.sum(axis=1)
    owned = int(np.sum(tasks > 0))
    return float(np.sum(tasks == 1) / owned) if owned else float("nan")
