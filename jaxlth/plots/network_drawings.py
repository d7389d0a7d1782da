"""Drawings of pruned networks: units layer by layer, active weights in the colour of their task.

The inputs are at the left. A subnetwork with inputs and outputs of one task only has the colour of
that task, one that joins several is gray, save for the inputs and outputs themselves. Inactive
weights and units are faint, zombies pink. Subnetworks lie together.

References:
  Burger 2024, sections 3.4 and 3.5.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxlth import graphs, masks
from jaxlth.graphs.categories import ACTIVE, INACTIVE, PRUNED, ZOMBIE
from jaxlth.plots import axis_scales, legends, outcome_plots, theme
from jaxlth.plots.network_layout import NetworkLayout, network_layout

MAX_ACTIVE_WEIGHTS = 20_000  # active weights of a drawing; more would overlap
READABLE = 5_000  # active weights of a level that is drawn unasked, where there are others
MAX_VECTORS = 3_000  # weights drawn as vectors; more are pixels in PDF and SVG files
_DEAD = {INACTIVE: ("inactive", "#C8C8C8"), ZOMBIE: ("zombie", "#E79AC4")}  # name and colour
_MAX_NUMBERED = 20  # inputs or outputs; more are not numbered


def network(
    params: Any,
    mask: masks.Mask,
    *,
    tasks: Mapping[str, graphs.Task],
    title: str = "",
) -> Figure:
    """Return the drawing of a network.

    Args:
      params: parameters of a feed-forward network, as for `graphs.categories`; values do not
        matter.
      mask: a mask for them.
      tasks: {name: task}, with inputs and outputs of their own.
      title: text above the drawing.

    Raises:
      ValueError: the network is not feed-forward, it has too many active weights to be drawn, or
        tasks overlap.
    """
    return _figure({title: graphs.categories(params, mask)}, tasks)


def network_at_levels(
    params: Any,
    masks: Mapping[int, masks.Mask],
    *,
    tasks: Mapping[str, graphs.Task],
    title: str = "",
) -> Figure:
    """Return drawings of one network at several levels side by side.

    Args:
      params: its parameters; values do not matter.
      masks: {level: mask}.
      tasks: {name: task}, with inputs and outputs of their own.
      title: text above all drawings.

    Raises:
      ValueError: as for `network`, or there is no mask.
    """
    if not masks:
        raise ValueError("`masks` must hold the mask of one level at least.")
    networks = {
        f"Level {level}": graphs.categories(params, masks[level]) for level in sorted(masks)
    }
    return _figure(networks, tasks, heading=title)


def drawable_levels(
    params: Any, masks: Mapping[int, masks.Mask], *, max_levels: int = 6
) -> list[int]:
    """Return levels at which a network can be drawn, evenly spaced up to the last one.

    Args:
      params: its parameters; values do not matter.
      masks: {level: mask}.
      max_levels: the largest number of levels to return.

    Returns:
      Levels in their order; none if the network has too many active weights at each.
    """
    counts = {level: _active_count(params, masks[level]) for level in sorted(masks)}
    drawable = [level for level, count in counts.items() if count <= MAX_ACTIVE_WEIGHTS]
    drawable = [level for level in drawable if counts[level] <= READABLE] or drawable
    return sorted(axis_scales.evenly_spaced(drawable[::-1], max_levels)) if drawable else []


def _active_count(params: Any, mask: masks.Mask) -> int:
    return graphs.count(graphs.categories(params, mask).weights).active


def _figure(
    networks: Mapping[str, graphs.Categories],
    tasks: Mapping[str, graphs.Task],
    *,
    heading: str = "",
) -> Figure:
    for title, categories in networks.items():
        _check(title, categories, tasks)
    with theme.applied():
        figure, panels = theme.new_figure(panels=len(networks))
        tallest = 0
        for axes, (title, categories) in zip(panels, networks.items(), strict=True):
            layout = network_layout(categories, list(tasks.values()))
            _draw(axes, layout, title)
            tallest = max(tallest, *(len(units) for units in layout.units))
        stretch = float(np.clip(tallest / 40, 1.2, 1.8))
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height * (stretch if len(networks) <= 3 else 1.2))
        if heading:
            figure.suptitle(heading)
        _legend(figure, list(tasks))
    return figure


def _check(title: str, categories: graphs.Categories, tasks: Mapping[str, Any]) -> None:
    shapes = [(len(a), len(b)) for a, b in itertools.pairwise(categories.units)]
    if [weights.shape for weights in categories.weights] != shapes:
        raise ValueError("Pictures are of networks of dense layers, each leading into the next.")
    first, last = categories.units[0], categories.units[-1]
    graphs.check_tasks(list(tasks.values()), inputs=len(first), outputs=len(last))
    active = graphs.count(categories.weights).active
    if active > MAX_ACTIVE_WEIGHTS:
        subject = title or "The network"
        raise ValueError(
            f"{subject} has {active:,} active weights; a picture may have {MAX_ACTIVE_WEIGHTS:,}. "
            "Take a later level."
        )


def _draw(axes: Axes, layout: NetworkLayout, title: str) -> None:
    categories = layout.categories
    tallest = max(len(units) for units in layout.units)
    active, faint = [], []
    colors: list[Any] = []
    faint_colors: list[str] = []
    for layer, weights in enumerate(categories.weights):
        sources, targets = np.nonzero(weights != PRUNED)
        ends = np.stack([layout.heights[layer][sources], layout.heights[layer + 1][targets]], 1)
        xs = np.broadcast_to([layer, layer + 1], ends.shape)
        segments = np.stack([xs, ends], axis=-1)
        is_active_weight = weights[sources, targets] == ACTIVE
        is_visible = ~np.isnan(ends).any(axis=1)
        active.append(segments[is_active_weight])
        colors += [_color(task) for task in layout.tasks[layer][sources[is_active_weight]]]
        is_faint = ~is_active_weight & is_visible
        faint.append(segments[is_faint])
        faint_colors += [_DEAD[each][1] for each in weights[sources, targets][is_faint]]
    lines, faint_lines = np.concatenate(active), np.concatenate(faint)
    width = float(np.clip(160 / max(len(lines), 1), 0.35, 1.1))
    alpha = float(np.clip(600 / max(len(lines), 1), 0.15, 0.85))
    axes.add_collection(
        LineCollection(
            list(faint_lines),
            colors=faint_colors,
            linewidths=0.6,
            label="_faint",
            rasterized=len(faint_lines) > MAX_VECTORS,
        )
    )
    shades = [to_rgba(color, alpha) for color in colors]
    axes.add_collection(
        LineCollection(
            list(lines),
            colors=shades,
            linewidths=width,
            label="_active",
            rasterized=len(lines) > MAX_VECTORS,
        )
    )
    for layer in range(len(categories.units)):
        _draw_units(axes, layout, layer, size=float(np.clip(220 / tallest, 1.2, 7)))
    _label_axes(axes, layout, title)


def _draw_units(axes: Axes, layout: NetworkLayout, layer: int, *, size: float) -> None:
    units, heights = layout.units[layer], layout.heights[layer]
    is_active = layout.categories.units[layer][units] == ACTIVE
    dead = units[~is_active]
    dead_colors = [_DEAD[each][1] for each in layout.categories.units[layer][dead]]
    small: dict[str, Any] = {"s": (0.5 * size) ** 2, "color": dead_colors, "linewidths": 0}
    axes.scatter(np.full(len(dead), layer), heights[dead], zorder=3, **small)
    active = units[is_active]
    last = len(layout.units) - 1
    tasks = {0: layout.ends[0], last: layout.ends[1]}.get(layer, layout.tasks[layer])
    colors = [_color(task) for task in tasks[active]]
    large: dict[str, Any] = {"s": size**2, "c": colors, "linewidths": 0.3, "edgecolors": "white"}
    axes.scatter(np.full(len(active), layer), heights[active], zorder=4, **large)
    ends = {0: (-7, "right"), last: (7, "left")}
    if layer in ends and len(units) <= _MAX_NUMBERED:
        shift, side = ends[layer]
        for unit in units:
            axes.annotate(
                str(unit),
                (layer, heights[unit]),
                xytext=(shift, 0),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize="small",
                color=theme.GRAY,
            )


def _label_axes(axes: Axes, layout: NetworkLayout, title: str) -> None:
    """Label each layer with the number of its active units, and note the counts of weights."""
    last = len(layout.units) - 1
    names = ["inputs", *(f"hidden {index}" for index in range(1, last)), "outputs"]
    labels = []
    for name, units in zip(names, layout.categories.units, strict=True):
        labels.append(f"{name}\n{np.sum(units == ACTIVE):,} of {len(units):,}")
    axes.set_xlim(-0.25, last + 0.25)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xticks(range(last + 1), labels, fontsize="small")
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left")
    count = graphs.count(layout.categories.weights)
    weights = f"{count.active:,} active, {count.inactive:,} inactive, {count.zombie:,} zombie"
    theme.note(axes, weights)


def _legend(figure: Figure, names: list[str]) -> None:
    entries = [(name, _color(index)) for index, name in enumerate(names)]
    entries += [("not of one task", theme.GRAY)] if len(names) > 1 else []
    entries += _DEAD.values()
    lines = [Line2D([], [], color=color, linewidth=2, label=name) for name, color in entries]
    legends.below_figure(figure, handles=lines)


def _color(task: int) -> str:
    """Return the colour of a task by its index; gray for -1."""
    return theme.GRAY if task < 0 else outcome_plots.task_style(task).color
