"""Interactive charts that any table of results has: accuracy by density, training, layers.

They read the columns that all studies store, so that a study which this package does not know has
them too. Networks that differ by their replicate alone are one line: its mean, and its range.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jaxlth.plots import charts, density_lines, network_lines, result_table, theme
from jaxlth.plots.charts import Axis, Chart, ChartLine
from jaxlth.plots.density_lines import DensityLine
from jaxlth.plots.network_lines import Network

DENSITY_AXIS = Axis("Weights remaining (%)", "density")
LAYER_DENSITIES = "layer_densities."
_ENDS = "Means of the replicates, until the first of them ends; bands: from the least to the most."
_POINTS = 200  # of a line through training, at most
_NEEDED = {"level", "density", "control", "nan_step"}


def accuracy(
    results: pd.DataFrame, styles: Mapping[str, theme.LineStyle] | None = None
) -> Chart | None:
    """Return test accuracy by density, a line for each control; None of tables without densities.

    Of results without accuracy it is the loss.

    Args:
      results: the table of results of one run.
      styles: {control: style}, for those that have another than usual.
    """
    metric = result_table.metric(results, "test_accuracy")
    if not set(results) >= _NEEDED or metric not in results:
        return None
    if not result_table.is_dense(results).any() or results[metric].isna().all():
        return None
    lines = density_lines.control_lines(results, metric, {}, styles)
    return by_density(lines, density_lines.dense_values(results, metric), metric)


def by_density(lines: Sequence[DensityLine], dense: pd.Series, metric: str) -> Chart:
    """Return lines of a metric by density, with the dense network as a dashed line.

    Args:
      lines: of the controls or methods of one run.
      dense: the metric of each dense network that did not diverge.
      metric: the accuracy, or loss, that is drawn.
    """
    scale, unit = result_table.scale(metric)
    title = theme.AXIS_LABELS.get(metric, metric)
    chart_lines = [_density_line(line, scale, unit) for line in lines]
    if len(dense) and chart_lines:
        chart_lines.append(dense_line(chart_lines, dense, scale, unit))
    limits = density_lines.limits([*lines], dense, metric) if len(dense) and chart_lines else None
    name = title.partition(" (")[0]
    note = "Bands and bars: from the least to the most of the replicates. Double-click: all points."
    return Chart(f"{name} by density", DENSITY_AXIS, Axis(title, limits=limits), chart_lines, note)


def _density_line(line: DensityLine, scale: float, unit: str) -> ChartLine:
    densities = [float(density) for density in line.points.index]
    levels = line.points.get("level", [None] * len(densities))
    facts = [
        [*network_lines.level(level), f"{result_table.percent(density)} % of the weights"]
        for density, level in zip(densities, levels, strict=True)
    ]
    percents = [100 * density for density in densities]
    how = {"name": line.title, "scale": scale, "unit": unit}
    points = charts.points(percents, line.points, facts, **how)
    dash = "dot" if line.has_gaps else "solid"
    color, marker = line.style
    return ChartLine(line.title, color, points, marker, dash, has_bars=line.has_gaps)


def dense_line(lines: list[ChartLine], dense: pd.Series, scale: float, unit: str) -> ChartLine:
    """Return the dense network as a dashed line over all places of other lines."""
    places = [x for line in lines for x in line.points["x"]] or [100.0]
    ends = sorted({max(places), min(places)}, reverse=True)
    statistics = pd.DataFrame([dense.agg(["mean", "min", "max"])] * len(ends))
    facts = [["before any pruning"]] * len(ends)
    points = charts.points(ends, statistics, facts, name="dense", scale=scale, unit=unit)
    return ChartLine("dense", theme.BLACK, points, dash="dash")


def training(
    results: pd.DataFrame, curves: pd.DataFrame, metric: str, styles: Mapping[str, str]
) -> Chart | None:
    """Return a metric through training, a line for each network; None where nothing was evaluated.

    A line ends where the first of its replicates ends.

    Args:
      results: the table of results of one run.
      curves: its table of curves.
      metric: the accuracy or loss to draw, a column of `curves`.
      styles: {control: colour}, in the order in which controls come.
    """
    if metric not in curves or results.empty:
        return None
    rows = curves[curves["step"].notna() & curves[metric].notna()]
    several = rows.groupby("unit")["step"].nunique() > 1
    trained = several[several].index
    nets = [net for net in network_lines.networks(results, styles) if set(net.units) & set(trained)]
    scale, unit = result_table.scale(metric)
    lines = network_lines.lines(nets, styles, lambda net: _curve(net, rows, metric, scale, unit))
    title = theme.AXIS_LABELS.get(metric, metric)
    if not lines:
        return None
    is_log = result_table.is_loss(metric) and all((line.points["low"] > 0).all() for line in lines)
    y = Axis(title, "log") if is_log else Axis(title, limits=_late(lines))
    return Chart(f"{title.partition(' (')[0]} in training", Axis("Training step"), y, lines, _ENDS)


def _curve(net: Network, rows: pd.DataFrame, metric: str, scale: float, unit: str) -> pd.DataFrame:
    """Return the points of the curve of a network; first, last and some between if many."""
    of_net = rows[rows["unit"].isin(net.units)]
    values = of_net.pivot(index="step", columns="unit", values=metric).astype(float).dropna()
    places = np.linspace(0, len(values) - 1, min(len(values), _POINTS))
    values = values.iloc[places.round().astype(int)]
    statistics = values.agg(["mean", "min", "max"], axis=1)
    steps = [int(step) for step in values.index]
    facts = [[*network_lines.level(net.level), f"step {step:,}"] for step in steps]
    return charts.points(steps, statistics, facts, name=net.name, scale=scale, unit=unit)


def _late(lines: Sequence[ChartLine]) -> tuple[float, float] | None:
    """Return limits that show what comes after the first fifth of training; None for few points."""
    parts = [line.points[line.points["x"] >= 0.2 * line.points["x"].max()] for line in lines]
    heights = pd.concat([part["y"] for part in parts])
    low, high = float(heights.quantile(0.01)), float(heights.quantile(0.99))
    margin = 0.08 * (high - low)
    return (low - margin, high + margin) if np.isfinite(margin) and margin > 0 else None


def layers(results: pd.DataFrame, styles: Mapping[str, str]) -> Chart | None:
    """Return the density of each layer, a line for each network whose densities are its own.

    Args:
      results: the table of results of one run.
      styles: {control: colour}, in the order in which controls come.
    """
    columns = [str(name) for name in results if str(name).startswith(LAYER_DENSITIES)]
    if not columns or "density" not in results:
        return None
    densities = results.set_index("unit")[columns].astype(float)
    densities.columns = [
        name.removeprefix(LAYER_DENSITIES).removesuffix("/kernel") for name in columns
    ]
    nets, seen = [], set()
    for net in network_lines.networks(results[results["density"] < 1], styles):
        means = tuple(densities.loc[net.units].mean().round(6))
        if not np.isnan(means).any() and means not in seen:
            nets.append(net)
            seen.add(means)
    lines = network_lines.lines(
        nets, styles, lambda net: _layers_of(net, densities), marker="o", has_bars=True
    )
    y = Axis("Weights remaining of the layer (%)", "log")
    note = "Networks with the same densities as one before are left out."
    return Chart("Density of layers", Axis("Layer", "category"), y, lines, note) if lines else None


def _layers_of(net: Network, densities: pd.DataFrame) -> pd.DataFrame:
    """Return the points of the layers of a network."""
    statistics = densities.loc[net.units].agg(["mean", "min", "max"]).T
    facts = [[*network_lines.level(net.level), f"layer {name}"] for name in densities.columns]
    how: dict[str, Any] = {"name": net.name, "scale": 100, "unit": " %"}
    return charts.points(list(densities.columns), statistics, facts, **how)
