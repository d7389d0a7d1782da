"""What all figures share: colours, the axis of density, lines with bands, limits and legend.

A control has the same colour and marker everywhere; `controls` says which.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter

from jaxlth.plots import controls, result_table

GRAY = "#666666"


class Style(NamedTuple):
    """How one line is drawn."""

    color: str
    marker: str


IN_ORDER = [  # of runs laid over each other
    *(Style(controls.BLUE, "o"), Style(controls.ORANGE, "s"), Style(controls.GREEN, "^")),
    *(Style(controls.RED, "D"), Style(controls.PURPLE, "v"), Style(controls.SKY, "P")),
]
_WEIGHTS = "Weights remaining (%)"
AXES = {  # accuracy columns and what their axis says
    "test_accuracy": "Test accuracy (%)",
    "train_accuracy": "Train accuracy (%)",
    "validation_accuracy": "Validation accuracy (%)",
    "best_test_accuracy": "Test accuracy at that step (%)",
}
LOOK: dict[Any, Any] = {  # settings of matplotlib, in force while a figure is made
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


class Line(NamedTuple):
    """One line to draw against density."""

    title: str
    style: Style
    points: pd.DataFrame  # index density, dense first; mean, min, max, median over replicates
    is_ticket: bool


def style(control: str) -> Style:
    """Return how the line of a control is drawn."""
    shown = controls.shown(control)
    return Style(shown.color, shown.marker)


def new_figure(*, panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with its panels, up to three a row, of a size that reads well in a README."""
    rows = 1 if panels <= 3 else math.ceil(panels / 3 if panels > 4 else 2)
    columns = math.ceil(panels / rows)
    size = (6.5, 4.0) if panels == 1 else (4.25 * columns, 3.4 * rows)
    figure = Figure(figsize=size)
    figure.set_layout_engine("constrained", wspace=0.06)
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]


def statistics(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return mean, min, max and median over replicates by density; NaN where all diverged."""
    by_density = result_table.survived(rows, column).groupby(rows["density"])
    return by_density.agg(["mean", "min", "max", "median"]).sort_index(ascending=False)


def control_lines(results: pd.DataFrame, column: str, labels: Mapping[str, str]) -> list[Line]:
    """Return one line for each control of a run."""
    lines = []
    for name in result_table.controls(results):
        points = statistics(results[results["control"] == name], column)
        title = labels.get(name, controls.shown(name).label)
        lines.append(Line(title, style(name), points, name == "ticket"))
    return lines


def dense_values(results: pd.DataFrame, column: str) -> pd.Series:
    """Return a column of numbers of the dense networks that did not diverge."""
    return result_table.survived(results[result_table.is_dense(results)], column).dropna()


def against_density(
    axes: Axes, lines: list[Line], dense: pd.Series, title: str, is_accuracy: bool
) -> None:
    """Draw lines and the dense network; accuracies in percent, the interesting part visible."""
    scale = 100 if is_accuracy else 1
    for line in lines:
        draw(axes, line._replace(points=line.points * scale))
    if len(dense):
        axes.axhspan(
            scale * dense.min(), scale * dense.max(), color=GRAY, alpha=0.15, linewidth=0, zorder=1
        )
        axes.axhline(
            scale * dense.mean(), color=GRAY, linestyle="--", linewidth=1, label="dense", zorder=2
        )
    wide = len(axes.figure.axes) == 1
    density_axis(axes, [d for line in lines for d in line.points.index], most=11 if wide else 7)
    axes.set_ylabel(title)
    if is_accuracy and len(dense):
        _cut(axes, lines, dense)


def draw(axes: Axes, line: Line) -> None:
    """Draw a line with its band; tickets on top."""
    weights = 100 * line.points.index.to_numpy(dtype=float)
    color, marker = line.style
    top = 4 if line.is_ticket else 3
    axes.plot(
        weights, line.points["mean"], color=color, marker=marker, label=line.title, zorder=top
    )
    axes.fill_between(
        weights, line.points["min"], line.points["max"], color=color, alpha=0.18, linewidth=0
    )


def _cut(axes: Axes, lines: list[Line], dense: pd.Series) -> None:
    """Set the vertical limits as `accuracy` says, with a span of at least one point."""
    center = dense.mean()
    medians = pd.concat([line.points["median"] for line in lines])
    tickets = pd.concat([line.points["median"] for line in lines if line.is_ticket] or [medians])
    everything = pd.concat([line.points["min"] for line in lines])
    shown = max(0.01, 3 * (center - medians).quantile(0.75), min(0.1, center - tickets.min()))
    deepest = center - min(everything.min(), dense.min())
    bottom = center - (deepest if deepest <= 2.5 * shown else shown)
    top = max(pd.concat([line.points["max"] for line in lines]).max(), dense.max())
    bottom = max(min(bottom, top - 0.01), 0)
    margin = 0.05 * (top - bottom)
    axes.set_ylim(100 * (bottom - margin), min(100 * (top + margin), 100.2))


def note_missing(axes: Axes, lines: list[Line], *, diverged: pd.Series) -> None:
    """Say above the panel what it does not show."""
    low, _ = axes.get_ylim()
    below = sum(int((100 * line.points["mean"] < low).sum()) for line in lines)
    notes = [f"{below} point{'s' if below > 1 else ''} below the axis"] if below else []
    if diverged.any():
        notes.append(f"{diverged.sum()} of {len(diverged)} networks diverged")
    note(axes, "; ".join(notes))


def note(axes: Axes, text: str) -> None:
    """Write small and gray above the right end of a panel."""
    axes.set_title(text, loc="right", color=GRAY, size=7.5)


def density_axis(axes: Axes, densities: Iterable[float], *, most: int) -> None:
    """Make the horizontal axis: logarithmic, dense at the left, labelled at levels that exist."""
    weights = sorted({round(100 * d, 6) for d in densities}, reverse=True)
    ticks = _apart(some_of(weights, most), gap=math.log(weights[0] / weights[-1]) / (1.6 * most))
    margin = max((weights[0] / weights[-1]) ** 0.03, 1.02)
    axes.set_xscale("log")
    axes.set_xlim(weights[0] * margin, weights[-1] / margin)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(FixedLocator([w for w in weights if w not in ticks]))
    axes.xaxis.set_major_formatter(lambda value, _: result_table.percent(value / 100))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(_WEIGHTS)


def some_of(values: Sequence, most: int) -> list:
    """Return at most `most` of the values, evenly spaced; the last one too where that divides."""
    steps = len(values) - 1
    strides = range(1, max(steps, 1) + 1)
    least = math.ceil(steps / (most - 1)) if steps else 1
    even = [stride for stride in strides if stride >= least and steps % stride == 0]
    stride = even[0] if even and even[0] <= 2 * least else least
    return list(values)[::stride]


def _apart(weights: list[float], *, gap: float) -> list[float]:
    """Return the weights, less those closer than `gap` in logarithm to the one before."""
    kept = weights[:1]
    for weight in weights[1:]:
        if math.log(kept[-1] / weight) > gap:
            kept.append(weight)
    return kept


def legend(
    axes: Axes,
    *,
    missing: float = -math.inf,
    nowhere: str = " (all diverged)",
    place: Literal["lower left", "best"] = "lower left",
) -> None:
    """Put the legend at a place, in the order in which the lines end at the right.

    A line that ends in nothing counts as ending at `missing`. One of which nothing is seen says
    why: it lies below the axis, or it has no point, which is what `nowhere` says.
    """
    handles, titles = axes.get_legend_handles_labels()
    heights = [np.asarray(h.get_ydata(), float) for h in handles if isinstance(h, Line2D)]
    last = [missing if math.isnan(height[-1]) else height[-1] for height in heights]
    low, _ = axes.get_ylim()
    titles = [
        title + _unseen(height, low, nowhere) for title, height in zip(titles, heights, strict=True)
    ]
    order = sorted(range(len(handles)), key=lambda i: -last[i])
    axes.legend([handles[i] for i in order], [titles[i] for i in order], loc=place)


def _unseen(heights: np.ndarray, low: float, nowhere: str) -> str:
    """Return what the legend adds to a line of which nothing is seen."""
    there = heights[~np.isnan(heights)]
    if len(there) == 0:
        return nowhere
    return " (below the axis)" if there.max() < low else ""
