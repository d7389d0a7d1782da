"""What figures of separation share: the looks of outcomes, weights and tasks, and their axes."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from jaxlth.plots import controls, drawing

STYLES = {  # of outcomes, in the order in which they are stacked and listed; and of states
    "separated": drawing.Style(controls.GREEN, "^"),
    "separated-degraded": drawing.Style(controls.SKY, "v"),
    "degraded": drawing.Style(controls.RED, "D"),
    "interconnected": drawing.Style(controls.ORANGE, "o"),
    "diverged": drawing.Style(drawing.GRAY, "x"),
}
CATEGORIES = {  # of weights that are kept
    "active": drawing.Style(controls.BLUE, "o"),
    "inactive": drawing.Style(controls.ORANGE, "s"),
    "zombie": drawing.Style(controls.PURPLE, "v"),
}
AVAILABLE, ACTIVE = "Available weights", "Active weights"
ACCURACY = drawing.AXES["test_accuracy"]
_STARS = "separated ("  # begins the label of stars
STAR: dict[str, Any] = {"color": "#D00000", "marker": "*", "markersize": 11, "linestyle": ""}
STAR |= {"markeredgecolor": "white", "markeredgewidth": 0.6, "zorder": 6}


def task_style(place: int) -> drawing.Style:
    """Return how the task, network or layer at a place is drawn, in all figures alike."""
    return drawing.IN_ORDER[place % len(drawing.IN_ORDER)]


def bars(axes: Axes, by: pd.DataFrame, *, style: drawing.Style, label: str) -> None:
    """Draw means as a line, with bars from the least to the most."""
    reach = np.stack([by["mean"] - by["min"], by["max"] - by["mean"]])
    look: dict[str, Any] = {"color": style.color, "marker": style.marker, "capsize": 2}
    axes.errorbar(by.index, by["mean"], yerr=reach, elinewidth=0.8, label=label, **look)


def dots(axes: Axes, found: pd.DataFrame, x: str, y: str, color: str, size: float = 6) -> None:
    """Draw a dot a row, by the outcome or state in the column `color`."""
    for name in reversed(STYLES):  # what is rarer lies above
        of = found[found[color] == name]
        if len(of):
            look = _dot(name, size)
            axes.plot(of[x].astype(float), of[y].astype(float), label=name, **look)


def _dot(name: str, size: float) -> dict[str, Any]:
    """Return how the dot of an outcome or state is drawn."""
    color, marker = STYLES[name]
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.3 if size > 4 else 0}
    look = {"color": color, "marker": marker, "markersize": size, "linestyle": "", "alpha": 0.85}
    return look | ({} if marker == "x" else edge)


def stars(axes: Axes, found: pd.DataFrame, x: str, y: str, *, scale: float = 1) -> None:
    """Draw a star where each network separates."""
    apart = found[found["level"].notna()]
    if len(apart):
        label = f"{_STARS}{len(apart)} of {len(found)})"
        axes.plot(apart[x].astype(float), scale * apart[y].astype(float), label=label, **STAR)


def _is_of_stars(label: str) -> bool:
    return label.startswith(_STARS)


def legend_above(axes: Axes, *, columns: int = 6) -> None:
    """Put the legend above the panel; outcomes in their order, others as drawn, stars last."""
    handles, names = axes.get_legend_handles_labels()
    listed = [*STYLES] if set(names) <= set(STYLES) else sorted(names, key=_is_of_stars)
    order = sorted(range(len(names)), key=lambda place: listed.index(names[place]))
    look: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "borderaxespad": 0.2}
    look |= {"ncols": min(len(names), columns), "fontsize": 8}
    look |= {"handlelength": 1.3, "columnspacing": 1.2}
    axes.legend([handles[each] for each in order], [names[each] for each in order], **look)


def legend_below(figure: Figure, outcomes: Iterable[str]) -> None:
    """Put one legend for all panels below them."""
    seen = set(outcomes)
    dots = [Line2D([], [], label=name, **_dot(name, 6)) for name in STYLES if name in seen]
    figure.legend(handles=dots, loc="outside lower center", ncols=len(dots))


def weights_axis(axes: Axes, kept: Iterable[float]) -> None:
    """Make the horizontal axis: available weights, most at the left as levels go."""
    logarithmic(axes, "x", kept)
    axes.invert_xaxis()
    axes.set_xlabel(AVAILABLE)


def whole(axis: Axis) -> None:
    """Label an axis at whole numbers."""
    axis.set_major_locator(MaxNLocator(nbins=11, integer=True))


def from_zero(axes: Axes) -> None:
    """Make the vertical axis logarithmic above 1, and let it begin at 0."""
    axes.set_yscale("symlog", linthresh=1, linscale=0.4)
    axes.set_ylim(bottom=0)
    top = axes.get_ylim()[1]
    ticks = [each * 10**power for power in range(9) for each in (1, 3)]
    axes.yaxis.set_major_locator(FixedLocator([0, *(tick for tick in ticks if tick <= top)]))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_locator(NullLocator())


def logarithmic(axes: Axes, which: Literal["x", "y"], values: Iterable[float]) -> None:
    """Make an axis logarithmic, with numbers written out and enough of them."""
    numbers = np.asarray(values, float)
    ratio = numbers.max() / numbers.min()
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    subs = (1.0,) if ratio > 2000 else (1.0, 3.0) if ratio > 50 else (1.0, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=15))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axis.set_minor_formatter(NullFormatter())
