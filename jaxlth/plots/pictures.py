"""Pictures of pruned networks: units layer by layer, active weights in the colour of their task.

The inputs are at the left. A subnetwork with inputs and outputs of one task only has the colour of
that task, one that joins several is gray, save for the inputs and outputs themselves. Weights and
units that are not active are faint. Subnetworks lie together.

References:
  Burger 2024, sections 3.4 and 3.5.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxlth import graphs, masks
from jaxlth.graphs.categories import ACTIVE, PRUNED
from jaxlth.plots import drawing, signs

WHOLE = 60  # units up to which a layer is drawn whole; of a larger one only those that are active
MOST = 20_000  # active weights that a picture may have: more than that are a blot
_SWEEPS = 6  # rounds in which units move to the mean place of those that they are connected to
_IDLE = 0.35  # the room of a unit that is not active, where that of an active one is 1
_FAINT = "#C8C8C8"
_NAMED = 20  # inputs or outputs up to which each is numbered


class _Layout(NamedTuple):
    """Where a network's units are drawn."""

    found: graphs.Categories
    units: list[np.ndarray]  # of each layer, those that are drawn, from top to bottom
    heights: list[np.ndarray]  # (units of the layer,) from 1 at the top to 0; NaN if not drawn
    owners: list[np.ndarray]  # (units of the layer,) the one task of its subnetwork, or -1
    ends: tuple[np.ndarray, np.ndarray]  # the same of inputs and outputs themselves


def network(
    params: Any,
    mask: masks.Mask,
    *,
    tasks: Mapping[str, graphs.Task],
    title: str = "",
) -> Figure:
    """Return the picture of a network.

    Args:
      params: parameters of a feed-forward network, as for `graphs.categories`; values do not
        matter.
      mask: a mask for them.
      tasks: {name: task}, with inputs and outputs of their own.
      title: what is written above.

    Raises:
      ValueError: the network is not feed-forward, it has too many active weights to be drawn, or
        tasks overlap.
    """
    return _figure({title: graphs.categories(params, mask)}, tasks)


def several(
    params: Any,
    masks: Mapping[int, masks.Mask],
    *,
    tasks: Mapping[str, graphs.Task],
    title: str = "",
) -> Figure:
    """Return the pictures of one network at several levels side by side.

    Args:
      params: its parameters; values do not matter.
      masks: {level: mask}.
      tasks: {name: task}, with inputs and outputs of their own.
      title: what is written above all of them.

    Raises:
      ValueError: as for `network`, or there is no mask.
    """
    if not masks:
        raise ValueError("`masks` must hold the mask of one level at least.")
    found = {f"Level {level}": graphs.categories(params, masks[level]) for level in sorted(masks)}
    figure = _figure(found, tasks)
    figure.suptitle(title, fontsize=10)
    return figure


def drawable(params: Any, masks: Mapping[int, masks.Mask], *, most: int = 6) -> list[int]:
    """Return levels at which a network can be drawn, evenly spaced up to the last one.

    Args:
      params: its parameters; values do not matter.
      masks: {level: mask}.
      most: how many levels are returned at most.

    Returns:
      Levels in their order; none if the network has too many active weights at each.
    """
    few = [level for level in sorted(masks) if _active(params, masks[level]) <= MOST]
    return sorted(drawing.some_of(few[::-1], most)) if few else []


def _active(params: Any, mask: masks.Mask) -> int:
    return graphs.count(graphs.categories(params, mask).weights).active


def _figure(networks: Mapping[str, graphs.Categories], tasks: Mapping[str, graphs.Task]) -> Figure:
    for title, found in networks.items():
        _check(title, found, tasks)
    with matplotlib.rc_context(drawing.LOOK):
        figure, panels = drawing.new_figure(panels=len(networks))
        most = 0
        for axes, (title, found) in zip(panels, networks.items(), strict=True):
            layout = _layout(found, list(tasks.values()))
            _draw(axes, layout, title)
            most = max(most, *(len(units) for units in layout.units))
        taller = float(np.clip(most / 40, 1.2, 2.6))
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height * (taller if len(networks) <= 3 else 1.2))
        _legend(figure, list(tasks))
    return figure


def _check(title: str, found: graphs.Categories, tasks: Mapping[str, Any]) -> None:
    wanted = [(len(a), len(b)) for a, b in itertools.pairwise(found.units)]
    if [each.shape for each in found.weights] != wanted:
        raise ValueError("Pictures are of networks of dense layers, each leading into the next.")
    first, last = found.units[0], found.units[-1]
    graphs.check_tasks(list(tasks.values()), inputs=len(first), outputs=len(last))
    active = graphs.count(found.weights).active
    if active > MOST:
        where = f"{title} has" if title else "The network has"
        raise ValueError(
            f"{where} {active:,} active weights; a picture may have {MOST:,}. Take a later level."
        )


def _layout(found: graphs.Categories, tasks: list[graphs.Task]) -> _Layout:
    """Return where units go: by subnetwork, then near to what they are connected to."""
    parts = graphs.components(found)
    of_ends = [
        _owners(len(found.units[0]), [task.inputs for task in tasks]),
        *(np.full(len(units), -1) for units in found.units[1:-1]),
        _owners(len(found.units[-1]), [task.outputs for task in tasks]),
    ]
    served = _served(parts, tasks)
    rank = _ranks(parts, of_ends)
    places = [_spread(np.arange(len(units)), units) for units in found.units]
    layers = len(found.units)
    forth = list(range(layers))
    for layer in (forth + forth[::-1]) * _SWEEPS:
        near = _near(found, places, layer)
        active = np.flatnonzero(found.units[layer] == ACTIVE)
        keys = (-near[active], of_ends[layer][active], rank[parts.units[layer][active]])
        places[layer][active] = _spread(active[np.lexsort(keys)], found.units[layer])[active]
    units = [_shown(found.units[layer], places[layer]) for layer in forth]
    return _Layout(
        found,
        units,
        [_spread(each, of, idle=_IDLE) for each, of in zip(units, found.units, strict=True)],
        [served[each] for each in parts.units],
        (of_ends[0], of_ends[-1]),
    )


def _owners(units: int, indices: list[tuple[int, ...]]) -> np.ndarray:
    """Return the task of each input or output; -1 if it belongs to none."""
    found = np.full(units, -1)
    for place, each in enumerate(indices):
        found[list(each)] = place
    return found


def _served(parts: graphs.Components, tasks: list[graphs.Task]) -> np.ndarray:
    """Return the one task that each subnetwork has inputs or outputs of, -1 if not one.

    Of shape (subnetworks + 1,): the last, at -1, is that of units that are in no subnetwork.
    """
    serves = np.zeros((parts.number, len(tasks)), bool)
    for by in ("input", "output"):
        serves |= graphs.coverage(parts, tasks, by=by) > 0
    one = serves.sum(axis=1) == 1
    return np.append(np.where(one, serves.argmax(axis=1), -1), -1)


def _ranks(parts: graphs.Components, of_ends: list[np.ndarray]) -> np.ndarray:
    """Return the place of each subnetwork from top to bottom: as the tasks of its ends are."""
    means = np.zeros(parts.number)
    for part in range(parts.number):
        ends = [of_ends[end][parts.units[end] == part] for end in (0, -1)]
        means[part] = np.mean(np.concatenate(ends)) if any(len(each) for each in ends) else 0
    return np.argsort(np.argsort(means, kind="stable"), kind="stable")


def _near(found: graphs.Categories, places: list[np.ndarray], layer: int) -> np.ndarray:
    """Return, for each unit of a layer, the mean place of those it is actively connected to."""
    total, number = np.zeros(len(places[layer])), np.zeros(len(places[layer]))
    if layer > 0:
        edges = found.weights[layer - 1] == ACTIVE
        total, number = total + places[layer - 1] @ edges, number + edges.sum(axis=0)
    if layer + 1 < len(places):
        edges = found.weights[layer] == ACTIVE
        total, number = total + edges @ places[layer + 1], number + edges.sum(axis=1)
    return np.divide(total, number, out=places[layer].copy(), where=number > 0)


def _shown(units: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the units of a layer that are drawn in their order, those not active at both ends."""
    active = np.flatnonzero(units == ACTIVE)
    active = active[np.argsort(-places[active], kind="stable")]
    if len(units) > WHOLE:
        return active
    others = np.flatnonzero(units != ACTIVE)
    half = len(others) // 2
    return np.concatenate([others[:half], active, others[half:]])


def _spread(order: np.ndarray, units: np.ndarray, *, idle: float = 1.0) -> np.ndarray:
    """Return heights for units in their order, from 1 down to 0; NaN for units not in it.

    Args:
      order: units, from top to bottom.
      units: (units of the layer,) their categories.
      idle: the room of a unit that is not active, where that of an active one is 1.
    """
    room = np.where(units[order] == ACTIVE, 1.0, idle)
    found = np.full(len(units), np.nan)
    found[order] = 1 - (np.cumsum(room) - room / 2) / max(room.sum(), 1e-9)
    return found


def _draw(axes: Axes, layout: _Layout, title: str) -> None:
    found = layout.found
    tallest = max(len(units) for units in layout.units)
    active, faint = [], []
    colors: list[Any] = []
    for layer, weights in enumerate(found.weights):
        sources, targets = np.nonzero(weights != PRUNED)
        ends = np.stack([layout.heights[layer][sources], layout.heights[layer + 1][targets]], 1)
        xs = np.broadcast_to([layer, layer + 1], ends.shape)
        segments = np.stack([xs, ends], axis=-1)
        matters = weights[sources, targets] == ACTIVE
        seen = ~np.isnan(ends).any(axis=1)
        active.append(segments[matters])
        colors += [_color(owner) for owner in layout.owners[layer][sources[matters]]]
        faint.append(segments[~matters & seen])
    lines, others = np.concatenate(active), np.concatenate(faint)
    width = float(np.clip(160 / max(len(lines), 1), 0.35, 1.1))
    alpha = float(np.clip(600 / max(len(lines), 1), 0.15, 0.85))
    axes.add_collection(LineCollection(list(others), colors=_FAINT, linewidths=0.4, label="_faint"))
    shades = [to_rgba(color, alpha) for color in colors]
    axes.add_collection(
        LineCollection(list(lines), colors=shades, linewidths=width, label="_active")
    )
    for layer in range(len(found.units)):
        _draw_units(axes, layout, layer, size=float(np.clip(220 / tallest, 1.2, 7)))
    _tidy(axes, layout, title)


def _draw_units(axes: Axes, layout: _Layout, layer: int, *, size: float) -> None:
    units, heights = layout.units[layer], layout.heights[layer]
    is_active = layout.found.units[layer][units] == ACTIVE
    idle = units[~is_active]
    small: dict[str, Any] = {"s": (0.5 * size) ** 2, "color": _FAINT, "linewidths": 0}
    axes.scatter(np.full(len(idle), layer), heights[idle], zorder=3, **small)
    on = units[is_active]
    last = len(layout.units) - 1
    owners = {0: layout.ends[0], last: layout.ends[1]}.get(layer, layout.owners[layer])
    colors = [_color(owner) for owner in owners[on]]
    whole: dict[str, Any] = {"s": size**2, "c": colors, "linewidths": 0.3, "edgecolors": "white"}
    axes.scatter(np.full(len(on), layer), heights[on], zorder=4, **whole)
    ends = {0: (-7, "right"), last: (7, "left")}
    if layer in ends and len(units) <= _NAMED:
        shift, side = ends[layer]
        for unit in units:
            axes.annotate(
                str(unit),
                (layer, heights[unit]),
                xytext=(shift, 0),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=7,
                color=drawing.GRAY,
            )


def _tidy(axes: Axes, layout: _Layout, title: str) -> None:
    """Say below each layer how many of its units are active, and above what is not."""
    last = len(layout.units) - 1
    names = ["inputs", *(f"hidden {place}" for place in range(1, last)), "outputs"]
    labels = []
    for name, units in zip(names, layout.found.units, strict=True):
        labels.append(f"{name}\n{np.sum(units == ACTIVE):,} of {len(units):,}")
    axes.set_xlim(-0.25, last + 0.25)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xticks(range(last + 1), labels, fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", fontsize=9)
    count = graphs.count(layout.found.weights)
    weights = f"{count.active:,} active, {count.inactive:,} inactive, {count.zombie:,} zombie"
    drawing.note(axes, weights)


def _legend(figure: Figure, names: list[str]) -> None:
    shown = [(name, _color(place)) for place, name in enumerate(names)]
    shown += [("not of one task", drawing.GRAY)] if len(names) > 1 else []
    shown += [("inactive or zombie", _FAINT)]
    lines = [Line2D([], [], color=color, linewidth=2, label=name) for name, color in shown]
    figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 6))


def _color(owner: int) -> str:
    """Return the colour of a task by its place, or gray."""
    return drawing.GRAY if owner < 0 else signs.task_style(owner).color
