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

from jaxlth.plots import controls, drawing, result_table


def training(
    curves: pd.DataFrame,
    *,
    levels: Iterable[int] | None = None,
    densities: Mapping[int, float] | None = None,
    metric: str = "test_accuracy",
) -> Figure:
    """Return accuracy through training, one line per level, as in Figures 3-1 and 3-2.

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
    levels = (
        drawing.some_of(sorted(set(curves["level"])), 6) if levels is None else sorted(set(levels))
    )
    missing = sorted(set(levels) - set(curves["level"]))
    if missing or not levels:
        raise ValueError(f"`levels` must be levels of the curves; not among them: {missing}.")
    if metric not in drawing.AXES or metric not in curves or curves[metric].isna().all():
        raise ValueError(f"`metric` must be an accuracy that the curves hold; got {metric!r}.")
    curves = curves[curves["level"].isin(levels)]
    with matplotlib.rc_context(drawing.LOOK):
        figure, (axes,) = drawing.new_figure(panels=1)
        colors = _shades(len(levels))
        names = result_table.controls(curves)
        dashes: dict[str, Any] = dict(
            zip(names, itertools.cycle(["-", "--", ":", "-."]), strict=False)
        )
        late = []
        for level, color in zip(levels, colors, strict=True):
            for control in names:
                rows = curves[(curves["level"] == level) & (curves["control"] == control)]
                wide = _common_steps(rows, metric)
                if wide.empty:
                    continue
                mean = wide.mean(axis=1)
                axes.plot(mean.index, mean, color=color, linestyle=dashes[control], zorder=3)
                if control == "ticket" and wide.shape[1] > 1:
                    low, high = wide.min(axis=1), wide.max(axis=1)
                    axes.fill_between(mean.index, low, high, color=color, alpha=0.15, linewidth=0)
                late.append(mean[mean.index >= 0.2 * mean.index.max()])
        if late:
            _zoom(axes, pd.concat(late))
        axes.set_xlabel("Training step")
        axes.set_ylabel(drawing.AXES.get(metric, metric))
        axes.set_xlim(left=0)
        titles = [_level_title(level, densities) for level in levels]
        keys = [Line2D([], [], color=c, label=t) for c, t in zip(colors, titles, strict=True)]
        kinds = {controls.shown(name).label: dashes[name] for name in names if len(names) > 1}
        keys += [Line2D([], [], color=drawing.GRAY, linestyle=d, label=t) for t, d in kinds.items()]
        axes.legend(handles=keys, loc="lower right")
    return figure


def _shades(n: int) -> list:
    """Return colours from dark to light for levels, of a map made for colour-blind readers."""
    return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.88, n)))


def _common_steps(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return (step, replicate) in percent: whole replicates, at the steps that all of them have."""
    wide = 100 * rows.pivot(index="step", columns="replicate", values=metric).astype(float)
    lost = rows[metric].isna()
    if "test_loss" in rows:
        lost |= ~np.isfinite(rows["test_loss"].astype(float))
    broken = rows.loc[lost, "replicate"].unique()
    return wide.drop(columns=broken).dropna()


def _level_title(level: int, densities: Mapping[int, float] | None) -> str:
    return f"{result_table.percent(densities[level])} %" if densities else f"level {level}"


def _zoom(axes: Axes, late: pd.Series) -> None:
    low, high = late.quantile(0.02), late.max()
    margin = max(0.08 * (high - low), 0.1)
    axes.set_ylim(low - margin, min(high + margin, 100.2))
