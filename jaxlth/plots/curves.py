"""The figure of accuracy through training, from the long table of curves."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxlth.plots import axis_scales, control_styles, legends, result_table, theme


def training(
    curves: pd.DataFrame,
    *,
    levels: Iterable[int] | None = None,
    densities: Mapping[int, float] | None = None,
    metric: str = "test_accuracy",
) -> Figure:
    """Return accuracy through training, one line per level, as in Figures 3-1 and 3-2.

    Of curves without accuracy it is the loss. Trainings that a dilation makes longer or shorter are
    left out.

    Tickets are solid; controls in `curves` are dashed, dotted or dash-dotted in the colour of their
    level. A replicate that diverged is left out (its accuracy is missing somewhere, or its test
    loss not finite); a line ends where the first of its replicates ends, so that it is a mean of
    the same networks everywhere. The vertical axis is made for what comes after the first fifth of
    training.

    Args:
      curves: the long table of curves: replicate, level, control, step and `metric`.
      levels: which levels to draw; at most six, evenly spaced, if None.
      densities: {level: density} for the legend, which otherwise has the levels.
      metric: the accuracy to draw, a column of `curves`.
    """
    if "dilation" in curves:
        curves = curves[curves["dilation"] == 1]
    levels, metric = _selected_levels(curves, levels), result_table.metric(curves, metric)
    if metric not in theme.AXIS_LABELS or metric not in curves or curves[metric].isna().all():
        raise ValueError(f"`metric` must be an accuracy that the curves hold; got {metric!r}.")
    curves = curves[curves["level"].isin(levels)]
    names = result_table.controls(curves)
    linestyles = dict(zip(names, itertools.cycle(["-", "--", ":", "-."]), strict=False))
    colors = dict(zip(levels, _level_colors(len(levels)), strict=True))
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        means = [
            _plot_control(axes, curves, level, control, metric, colors[level], linestyles[control])
            for level in levels
            for control in names
        ]
        _set_limits(axes, [mean for mean in means if len(mean)], metric)
        axes.set_xlabel("Training step")
        axes.set_ylabel(theme.AXIS_LABELS.get(metric, metric))
        axes.set_xlim(left=0)
        titles = {level: _level_title(level, densities) for level in levels}
        handles = [Line2D([], [], color=colors[level], label=titles[level]) for level in levels]
        handles += _control_handles(linestyles)
        legends.below_panel(axes, handles=handles)
    return figure


def _selected_levels(curves: pd.DataFrame, levels: Iterable[int] | None) -> list[int]:
    """Return the levels to draw, in their order."""
    trained = sorted(set(curves["level"]))
    selected = axis_scales.evenly_spaced(trained, 6) if levels is None else sorted(set(levels))
    missing = sorted(set(selected) - set(trained))
    if missing or not selected:
        raise ValueError(f"`levels` must be levels of the curves; not among them: {missing}.")
    return selected


def _plot_control(
    axes: Axes,
    curves: pd.DataFrame,
    level: int,
    control: str,
    metric: str,
    color: Any,
    linestyle: str,
) -> pd.Series:
    """Plot one control of a level, and return its mean; empty if all replicates diverged."""
    rows = curves[(curves["level"] == level) & (curves["control"] == control)]
    values = _common_steps(rows, metric)
    mean = values.mean(axis=1)
    if values.empty:
        return mean.dropna()
    has_band = control == "ticket" and values.shape[1] > 1
    band = (values.min(axis=1), values.max(axis=1)) if has_band else None
    line: dict[str, Any] = {"color": color, "linestyle": linestyle, "zorder": 3}
    theme.plot_mean(axes, mean.index, mean, band, band_alpha=0.15, **line)
    return mean


def _control_handles(linestyles: Mapping[str, Any]) -> list[Line2D]:
    """Return the legend's handles of controls; none for a single control."""
    if len(linestyles) == 1:
        return []
    labels = {control_styles.control_style(name).label: s for name, s in linestyles.items()}
    gray: dict[str, Any] = {"color": theme.GRAY}
    return [Line2D([], [], linestyle=s, label=label, **gray) for label, s in labels.items()]


def _level_colors(n: int) -> list:
    """Return colours from dark to light for levels, of a map made for colour-blind readers."""
    return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.88, n)))


def _common_steps(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return (step, replicate) values of complete replicates, at the steps that all have.

    Accuracies are in percent.
    """
    scale, _ = result_table.scale(metric)
    values = scale * rows.pivot(index="step", columns="replicate", values=metric).astype(float)
    is_missing = rows[metric].isna()
    if "test_loss" in rows:
        is_missing |= ~np.isfinite(rows["test_loss"].astype(float))
    incomplete = rows.loc[is_missing, "replicate"].unique()
    return values.drop(columns=incomplete).dropna()


def _level_title(level: int, densities: Mapping[int, float] | None) -> str:
    return f"{result_table.percent(densities[level])} %" if densities else f"level {level}"


def _set_limits(axes: Axes, means: list[pd.Series], metric: str) -> None:
    """Set the vertical limits to show training after its first fifth."""
    if not means:
        return
    values = pd.concat([mean[mean.index >= 0.2 * mean.index.max()] for mean in means])
    if result_table.is_loss(metric):
        low, high = values.min(), values.quantile(0.98)
        margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - margin, high + margin)
        return
    low, high = values.quantile(0.02), values.max()
    margin = max(0.08 * (high - low), 0.1)
    axes.set_ylim(low - margin, min(high + margin, 100.2))
