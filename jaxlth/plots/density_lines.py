"""Lines against density: means with bands, the dense network, and limits of the axes."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from jaxlth.plots import axis_scales, control_styles, result_table, theme


class DensityLine(NamedTuple):
    """One line to plot against density."""

    title: str
    style: theme.LineStyle
    points: pd.DataFrame  # index density, dense first; mean, min, max, median; level, if it has one
    is_ticket: bool
    has_gaps: bool = False  # whether others have points between its own


def statistics(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return mean, min, max and median over replicates by density; NaN where all diverged."""
    by_density = result_table.survived(rows, column).groupby(rows["density"])
    return by_density.agg(["mean", "min", "max", "median"]).sort_index(ascending=False)


def _of_levels(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return `statistics` of each level, of which tiny networks have several at a density."""
    of_level = result_table.survived(rows, column).groupby([rows["density"], rows["level"]])
    points = of_level.agg(["mean", "min", "max", "median"])
    return points.sort_index(ascending=[False, True]).reset_index("level")


def control_lines(
    results: pd.DataFrame,
    column: str,
    labels: Mapping[str, str],
    styles: Mapping[str, theme.LineStyle] | None = None,
) -> list[DensityLine]:
    """Return one line for each control of a run."""
    lines, results = [], result_table.of_levels(results)
    densities = set(results["density"])
    for name in result_table.controls(results):
        points = _of_levels(results[results["control"] == name], column)
        title = labels.get(name, control_styles.control_style(name).label)
        style = (styles or {}).get(name, control_styles.line_style(name))
        has_gaps = any(
            points.index.min() < density < points.index.max()
            for density in densities.difference(points.index)
        )
        lines.append(DensityLine(title, style, points, name == "ticket", has_gaps))
    return lines


def dense_values(results: pd.DataFrame, column: str) -> pd.Series:
    """Return a column of numbers of the dense networks that did not diverge."""
    return result_table.survived(results[result_table.is_dense(results)], column).dropna()


def plot_metric(
    axes: Axes, lines: list[DensityLine], dense: pd.Series, metric: str, *, diverged: pd.Series
) -> None:
    """Plot lines of a metric, the interesting part visible, and note what is missing."""
    title = theme.AXIS_LABELS.get(metric, metric)
    plot_lines(axes, lines, dense, title, scale=result_table.scale(metric)[0])
    if len(dense):
        axes.set_ylim(*limits(lines, dense, metric))
    _note_missing(axes, lines, is_loss=result_table.is_loss(metric), diverged=diverged)


def limits(lines: list[DensityLine], dense: pd.Series, metric: str) -> tuple[float, float]:
    """Return the limits of the vertical axis that `figures.accuracy` describes; of percents."""
    return (_loss_limits if result_table.is_loss(metric) else _accuracy_limits)(lines, dense)


def plot_lines(
    axes: Axes, lines: list[DensityLine], dense: pd.Series, title: str, *, scale: float = 1
) -> None:
    """Plot lines and the dense network, all values times a scale."""
    for line in lines:
        plot_line(axes, line._replace(points=line.points * scale))
    if len(dense):
        _plot_dense(axes, scale * dense.agg(["min", "mean", "max"]))
    is_single = len(axes.figure.axes) == 1
    densities = [density for line in lines for density in line.points.index]
    axis_scales.density_axis(axes, densities, max_ticks=11 if is_single else 7)
    axes.set_ylabel(title)


def plot_line(axes: Axes, line: DensityLine) -> None:
    """Plot a line with its band; tickets on top.

    A line of a few of the densities that others have is dotted, and has bars in place of a band: it
    says nothing of what lies between its points.
    """
    percents = 100 * line.points.index.to_numpy(dtype=float)
    low, mean, high = (line.points[name] for name in ("min", "mean", "max"))
    shared: dict[str, Any] = {"color": line.style.color, "zorder": 4 if line.is_ticket else 3}
    more: dict[str, Any] = {"marker": line.style.marker, "label": line.title}
    if line.has_gaps:
        theme.plot_mean(axes, percents, mean, linestyle=":", **more, **shared)
        axes.vlines(percents, low, high, linewidth=1.5, alpha=0.6, **shared)
    else:
        theme.plot_mean(axes, percents, mean, (low, high), **more, **shared)


def _plot_dense(axes: Axes, statistics: pd.Series) -> None:
    """Plot the mean of dense networks as a dashed line, and their range as a band."""
    low, mean, high = statistics
    gray: dict[str, Any] = {"color": theme.GRAY}
    axes.axhspan(low, high, alpha=0.15, linewidth=0, zorder=1, **gray)
    axes.axhline(mean, linestyle="--", linewidth=1, label="dense", zorder=2, **gray)


def _accuracy_limits(lines: list[DensityLine], dense: pd.Series) -> tuple[float, float]:
    """Return the vertical limits that `figures.accuracy` describes, in percent."""
    bottom, top = _limits(lines, dense, floor=0)
    return 100 * bottom, min(100 * top, 100.2)


def _loss_limits(lines: list[DensityLine], dense: pd.Series) -> tuple[float, float]:
    """Return the vertical limits of losses: twice the dense loss is like ten points of accuracy."""
    unit = 10 * abs(dense.mean()) or 1.0
    ends = {"min": "max", "max": "min"}
    flipped = [line._replace(points=(-line.points / unit).rename(columns=ends)) for line in lines]
    bottom, top = _limits(flipped, -dense / unit, floor=-math.inf)
    return -unit * top, -unit * bottom


def _limits(lines: list[DensityLine], dense: pd.Series, *, floor: float) -> tuple[float, float]:
    """Return the limits of values of which more is better, with a span of at least one point."""
    center = dense.mean()
    medians = pd.concat([line.points["median"] for line in lines])
    tickets = pd.concat([line.points["median"] for line in lines if line.is_ticket] or [medians])
    minima = pd.concat([line.points["min"] for line in lines])
    drop = max(0.01, 3 * (center - medians).quantile(0.75), min(0.1, center - tickets.min()))
    deepest = center - min(minima.min(), dense.min())
    bottom = center - (deepest if deepest <= 2.5 * drop else drop)
    top = max(pd.concat([line.points["max"] for line in lines]).max(), dense.max())
    bottom = max(min(bottom, top - 0.01), floor)
    top = max(top, bottom + 0.01)  # where all are at the floor
    margin = 0.05 * (top - bottom)
    return bottom - margin, top + margin


def _note_missing(
    axes: Axes, lines: list[DensityLine], *, is_loss: bool, diverged: pd.Series
) -> None:
    """Note above the panel how many points lie beyond it, and how many networks diverged."""
    bottom, top = axes.get_ylim()
    means = pd.concat([line.points["mean"] for line in lines])
    beyond = int((means > top).sum() if is_loss else (100 * means < bottom).sum())
    where = "above" if is_loss else "below"
    notes = [f"{beyond} point{'s' if beyond > 1 else ''} {where} the axis"] if beyond else []
    if diverged.any():
        notes.append(f"{diverged.sum()} of {len(diverged)} networks diverged")
    theme.note(axes, "; ".join(notes))
