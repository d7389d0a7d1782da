"""Legends that cover no line: below a panel, or one below all panels of a figure.

A figure becomes higher by the lines of its legends, so that its panels keep their size.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation


def below_figure(
    figure: Figure,
    *,
    handles: Sequence[Any] | None = None,
    key: Callable[[str], Any] | None = None,
) -> None:
    """Add one legend of all panels below them, where it covers no line, as wide as the figure.

    The figure becomes higher by as much, so that the panels keep their size.

    Args:
      figure: its panels.
      handles: what is listed, with labels; what the panels have if None, each label once.
      key: titles are sorted by it; without one they come as they were drawn.
    """
    if handles is None:
        pairs = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes]
        by_title = {title: handle for of_panel in pairs for handle, title in of_panel}
    else:
        by_title = {handle.get_label(): handle for handle in handles}
    titles = sorted(by_title, key=key) if key else list(by_title)
    if not titles:
        return
    columns = _columns(figure, titles, figure.get_figwidth())
    figure.legend(
        [by_title[title] for title in titles],
        titles,
        loc="outside lower center",
        ncols=columns,
    )
    _grow(figure, math.ceil(len(titles) / columns))


def below_panel(
    axes: Axes,
    *,
    missing: float = -math.inf,
    no_points: str = " (all diverged)",
    handles: Sequence[Any] | None = None,
    by_end: bool = True,
    title: str | None = None,
) -> None:
    """Add the legend below a panel, outside of its data, in the order in which lines end at right.

    A line whose last point is NaN counts as ending at `missing`. The title of an invisible line
    says why nothing is visible: the line lies beyond the axis, or it has no point (`no_points`).

    Args:
      axes: the panel.
      missing: see above.
      no_points: see above.
      handles: what is listed, in this order, with labels; what the panel has if None.
      by_end: whether that is sorted and noted as above; else it comes as it was plotted.
      title: above the list.
    """
    if handles is None and not by_end:
        handles, titles = axes.get_legend_handles_labels()
    elif handles is None:
        handles, titles = _lines_by_end(axes, missing, no_points)
    else:
        titles = [handle.get_label() for handle in handles]
    if not titles:
        return
    figure: Any = axes.figure
    columns_of_panels = axes.get_subplotspec().get_gridspec().ncols  # type: ignore[union-attr]
    columns = _columns(figure, titles, 0.92 * figure.get_figwidth() / columns_of_panels)
    below = -(3.2 * _points("font.size") + 3) / 72  # ticks, their labels and that of the axis
    place = axes.transAxes + ScaledTranslation(0, below, figure.dpi_scale_trans)
    before = _lines_of_legends(figure)
    axes.legend(
        handles,
        titles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=place,
        ncols=columns,
        borderaxespad=0,
        title=title,
    )
    _grow(figure, _lines_of_legends(figure) - before)


def _columns(figure: Figure, titles: Sequence[str], width: float) -> int:
    """Return how many columns of a legend fit into a width in inches, all of one length."""
    size, rc_params = _points("legend.fontsize"), matplotlib.rcParams
    font = FontProperties(size=size)
    renderer: Any = FigureCanvasAgg(figure).get_renderer()
    texts = [renderer.get_text_width_height_descent(title, font, False)[0] for title in titles]
    names = ("legend.handlelength", "legend.handletextpad", "legend.columnspacing")
    column = max(texts) / figure.dpi + size * sum(rc_params[name] for name in names) / 72
    fitting = max(1, min(len(titles), int(width / column)))
    return math.ceil(len(titles) / math.ceil(len(titles) / fitting))


def _points(name: Any) -> float:
    """Return a size of the settings of matplotlib in points."""
    size, names = matplotlib.rcParams[name], {"small": 0.833, "medium": 1.0}
    return names[size] * matplotlib.rcParams["font.size"] if isinstance(size, str) else size


def _grow(figure: Figure, lines: int) -> None:
    """Make a figure higher by lines of a legend."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + lines * 1.5 * _points("legend.fontsize") / 72)


def _lines_by_end(axes: Axes, missing: float, no_points: str) -> tuple[list[Any], list[str]]:
    """Return the lines of a panel and their titles, the one that ends highest first."""
    handles, titles = axes.get_legend_handles_labels()
    heights = [np.asarray(h.get_ydata(), float) for h in handles if isinstance(h, Line2D)]
    last = [missing if math.isnan(height[-1]) else height[-1] for height in heights]
    titles = [
        title + _invisible_note(height, axes.get_ylim(), no_points)
        for title, height in zip(titles, heights, strict=True)
    ]
    order = sorted(range(len(handles)), key=lambda i: -last[i])
    return [handles[i] for i in order], [titles[i] for i in order]


def _lines_of_legends(figure: Figure) -> int:
    """Return the lines of the longest legend of each row of panels, added up."""
    longest: dict[int, int] = {}
    for axes in figure.axes:
        legend_of, place = axes.get_legend(), axes.get_subplotspec()
        if legend_of is not None and place is not None:
            lines = math.ceil(len(legend_of.get_texts()) / legend_of._ncols)  # type: ignore[attr-defined]
            lines += bool(legend_of.get_title().get_text())
            row = place.rowspan.start
            longest[row] = max(longest.get(row, 0), lines)
    return sum(longest.values())


def _invisible_note(heights: np.ndarray, limits: tuple[float, float], no_points: str) -> str:
    """Return what the legend adds to the title of an invisible line."""
    finite = heights[~np.isnan(heights)]
    if len(finite) == 0:
        return no_points
    bottom, top = limits
    if finite.min() > top:
        return " (above the axis)"
    return " (below the axis)" if finite.max() < bottom else ""
