"""What all figures share: settings of matplotlib, colours, lines with bands, notes and legends.

Colours are Okabe and Ito's, which remain distinct to colour-blind readers.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GRAY = "#CC79A7", "#56B4E9", "#000000", "#666666"
BROWN = "#8C564B"
MAX_PANELS = 10  # of a page
SHORT_LEGEND = 4  # lines of a legend that leaves room for what a panel shows


class LineStyle(NamedTuple):
    """Colour and marker of one line."""

    color: str
    marker: str


STYLE_CYCLE = [  # of runs laid over each other
    *(LineStyle(BLUE, "o"), LineStyle(ORANGE, "s"), LineStyle(GREEN, "^")),
    *(LineStyle(RED, "D"), LineStyle(PURPLE, "v"), LineStyle(SKY, "P")),
    *(LineStyle(BROWN, "<"), LineStyle("#332288", ">"), LineStyle("#999933", "h")),
]
AXIS_LABELS = {  # by metric
    "test_accuracy": "Test accuracy (%)",
    "train_accuracy": "Train accuracy (%)",
    "validation_accuracy": "Validation accuracy (%)",
    "best_test_accuracy": "Test accuracy at that step (%)",
    "test_loss": "Test loss",
    "train_loss": "Train loss",
    "validation_loss": "Validation loss",
    "best_test_loss": "Test loss at that step",
}
RC_PARAMS: dict[Any, Any] = {  # settings of matplotlib, in force while a figure is made
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "legend.frameon": True,  # white, so that lines behind it do not strike it through
    "legend.facecolor": "white",
    "legend.edgecolor": "none",
    "legend.framealpha": 0.8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.minor.size": 2,
}


def new_figure(*, panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with its panels, up to three a row, of a size that reads well in a README."""
    rows = 1 if panels <= 3 else math.ceil(panels / 3 if panels > 4 else 2)
    columns = math.ceil(panels / rows)
    size = (6.5, 4.0) if panels == 1 else (4.25 * columns, 3.4 * rows)
    figure = Figure(figsize=size)
    figure.set_layout_engine("constrained", wspace=0.06)
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]


def legend_below(figure: Figure, *, key: Callable[[str], Any] | None = None) -> None:
    """Add one legend of all panels below them, where it covers no line, as wide as the figure.

    Args:
      figure: its panels.
      key: titles are sorted by it; without one they come as they were drawn.
    """
    pairs = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes]
    handles = {title: handle for of_panel in pairs for handle, title in of_panel}
    titles = sorted(handles, key=key) if key else list(handles)
    longest = max(map(len, titles), default=1)
    fitting = int(16 * figure.get_figwidth()) // (longest + 6)  # sixteen letters an inch
    figure.legend(
        [handles[title] for title in titles],
        titles,
        loc="outside lower center",
        ncols=max(1, min(len(titles), fitting)),
        fontsize=7.5,
    )


def plot_mean(
    axes: Axes,
    x: Any,
    mean: Any,
    band: tuple[Any, Any] | None = None,
    *,
    color: Any,
    band_alpha: float = 0.18,
    **line: Any,
) -> None:
    """Plot a mean as a line, and a band around it; around a single point, a bar.

    Args:
      axes: the panel.
      x: place of each point.
      mean: height of each point.
      band: (lower end, upper end) of the band at each point; None for no band.
      color: of line and band.
      band_alpha: opacity of the band.
      **line: other properties of the line, as for `Axes.plot`.
    """
    axes.plot(x, mean, color=color, **line)
    if band is None:
        return
    if np.size(x) == 1:
        axes.vlines(x, *band, color=color, linewidth=1.5, alpha=0.6)
    else:
        axes.fill_between(x, *band, color=color, alpha=band_alpha, linewidth=0)


def note(axes: Axes, text: str) -> None:
    """Write small and gray above the right end of a panel."""
    axes.set_title(text, loc="right", color=GRAY, size=7.5)


def legend(
    axes: Axes,
    *,
    missing: float = -math.inf,
    no_points: str = " (all diverged)",
    location: Literal["lower left", "best", "below"] = "lower left",
) -> None:
    """Add the legend at a location, or below the panel, in the order in which lines end at right.

    A line whose last point is NaN counts as ending at `missing`. The title of an invisible line
    says why nothing is visible: the line lies beyond the axis, or it has no point (`no_points`).
    """
    handles, titles = axes.get_legend_handles_labels()
    heights = [np.asarray(h.get_ydata(), float) for h in handles if isinstance(h, Line2D)]
    last = [missing if math.isnan(height[-1]) else height[-1] for height in heights]
    titles = [
        title + _invisible_note(height, axes.get_ylim(), no_points)
        for title, height in zip(titles, heights, strict=True)
    ]
    order = sorted(range(len(handles)), key=lambda i: -last[i])
    place: dict[str, Any] = {"loc": location}
    if location == "below":
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2, "fontsize": 7.5}
    axes.legend([handles[i] for i in order], [titles[i] for i in order], **place)


def _invisible_note(heights: np.ndarray, limits: tuple[float, float], no_points: str) -> str:
    """Return what the legend adds to the title of an invisible line."""
    finite = heights[~np.isnan(heights)]
    if len(finite) == 0:
        return no_points
    bottom, top = limits
    if finite.min() > top:
        return " (above the axis)"
    return " (below the axis)" if finite.max() < bottom else ""
