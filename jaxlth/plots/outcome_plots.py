"""What figures of separation share: styles of outcomes, weights and tasks, markers and legends."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxlth.plots import axis_scales, legends, theme

OUTCOME_STYLES = {  # in the order in which outcomes are stacked and listed; also of states
    "separated": theme.LineStyle(theme.GREEN, "^"),
    "separated-degraded": theme.LineStyle(theme.SKY, "v"),
    "degraded": theme.LineStyle(theme.RED, "D"),
    "interconnected": theme.LineStyle(theme.ORANGE, "o"),
    "diverged": theme.LineStyle(theme.GRAY, "x"),
}
CATEGORY_STYLES = {  # of weights that are kept
    "active": theme.LineStyle(theme.BLUE, "o"),
    "inactive": theme.LineStyle(theme.ORANGE, "s"),
    "zombie": theme.LineStyle(theme.PURPLE, "v"),
}
AVAILABLE_LABEL, ACTIVE_LABEL = "Available weights", "Active weights"
ACCURACY_LABEL = theme.AXIS_LABELS["test_accuracy"]
_STARS = "separated ("  # begins the label of stars
STAR: dict[str, Any] = {"color": "#D00000", "marker": "*", "markersize": 11, "linestyle": ""}
STAR |= {"markeredgecolor": "white", "markeredgewidth": 0.6, "zorder": 6}


def task_style(index: int) -> theme.LineStyle:
    """Return the style of the task, network or layer of this index, the same in all figures."""
    return theme.cycled_style(index)


def error_bars(axes: Axes, statistics: pd.DataFrame, *, style: theme.LineStyle, label: str) -> None:
    """Plot means as a line, with bars from the minimum to the maximum."""
    mean = statistics["mean"]
    # The mean of equal numbers may be rounded beyond them.
    errors = np.stack([mean - statistics["min"], statistics["max"] - mean]).clip(min=0)
    line: dict[str, Any] = {"color": style.color, "marker": style.marker, "capsize": 2}
    axes.errorbar(statistics.index, mean, yerr=errors, elinewidth=0.8, label=label, **line)


def scatter(axes: Axes, table: pd.DataFrame, x: str, y: str, hue: str, size: float = 6) -> None:
    """Plot a marker for each row, in the style of the outcome or state in the column `hue`."""
    for name in reversed(OUTCOME_STYLES):  # the rarer ones lie above
        rows = table[table[hue] == name]
        if len(rows):
            marker = _marker(name, size)
            axes.plot(rows[x].astype(float), rows[y].astype(float), label=name, **marker)


def _marker(name: str, size: float) -> dict[str, Any]:
    """Return the properties of the marker of an outcome or state."""
    color, marker = OUTCOME_STYLES[name]
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.3 if size > 4 else 0}
    face = {"color": color, "marker": marker, "markersize": size, "linestyle": "", "alpha": 0.85}
    return face | ({} if marker == "x" else edge)


def stars(axes: Axes, outcomes: pd.DataFrame, x: str, y: str, *, scale: float = 1) -> None:
    """Plot a star where each network separates."""
    separated = outcomes[outcomes["level"].notna()]
    if len(separated):
        label = f"{_STARS}{len(separated)} of {len(outcomes)})"
        heights = scale * separated[y].astype(float)
        axes.plot(separated[x].astype(float), heights, label=label, **STAR)


def _is_of_stars(label: str) -> bool:
    return label.startswith(_STARS)


def legend(axes: Axes) -> None:
    """Add the legend below the panel: outcomes in their order, or lines as plotted, stars last."""
    handles, names = axes.get_legend_handles_labels()
    is_of_outcomes = set(names) <= set(OUTCOME_STYLES)
    listed = [*OUTCOME_STYLES] if is_of_outcomes else sorted(names, key=_is_of_stars)
    order = sorted(range(len(names)), key=lambda i: listed.index(names[i]))
    legends.below_panel(axes, handles=[handles[i] for i in order])


def legend_below(figure: Figure, outcomes: Iterable[str]) -> None:
    """Add one legend for all panels below them."""
    present = set(outcomes)
    names = [name for name in OUTCOME_STYLES if name in present]
    handles = [Line2D([], [], label=name, **_marker(name, 6)) for name in names]
    legends.below_figure(figure, handles=handles)


def weights_axis(axes: Axes, numbers: Iterable[float]) -> None:
    """Make the horizontal axis: available weights, the largest number at the left."""
    axis_scales.log_axis(axes, "x", numbers)
    axes.invert_xaxis()
    axes.set_xlabel(AVAILABLE_LABEL)
