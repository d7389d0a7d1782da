"""Figures in the style of Frankle 2023, chapter 3, made only from stored results.

Each function returns a matplotlib Figure that belongs to the caller; nothing touches pyplot. Lines
are means over replicates and bands reach from their minimum to their maximum; networks that
diverged are left out.

References:
  Frankle 2023, The Lottery Ticket Hypothesis, Figures 3-1 to 3-9.
"""

import itertools
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from jaxlth.report import drawing
from jaxlth.report import results as stored


def accuracy(
    results: pd.DataFrame,
    *,
    metric: str = "test_accuracy",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Return accuracy against density, one line per control, as in Figure 3-7.

    The dashed gray line and its band are the dense network. The vertical axis shows tickets down to
    ten points below dense and controls down to three times the loss that three quarters of all
    points stay within (at least one point), unless everything fits into 2.5 times that: one failed
    network does not squeeze the rest together. A note above the figure says how many points that
    cuts off, and how many networks diverged.

    Args:
      results: the table of results of one run, level 0 included.
      metric: the accuracy to draw, a column of `results`.
      labels: {control: name in the legend} where it is to differ from the usual name.
    """
    stored.check(results, metric)
    with matplotlib.rc_context(drawing.LOOK):
        figure, (axes,) = drawing.new_figure(panels=1)
        lines = drawing.control_lines(results, metric, labels or {})
        drawing.against_density(
            axes,
            lines,
            drawing.dense_values(results, metric),
            drawing.AXES.get(metric, metric),
            True,
        )
        drawing.note_missing(axes, lines, diverged=results["nan_step"].notna())
        drawing.legend(axes)
    return figure


def accuracy_of(
    runs: Mapping[str, pd.DataFrame],
    *,
    metrics: Sequence[str] = ("test_accuracy", "train_accuracy"),
) -> Figure:
    """Return the tickets of several runs over each other, one panel a metric, as in Figure 3-3.

    Of each run the tickets are drawn; of a table without tickets, the one control that it holds, so
    that `{"IMP": imp, "random": imp[imp.control == "random"]}` compares within a run. The dense
    network is that of the first run.
    """
    for results in runs.values():
        if "ticket" not in set(results["control"]) and results["control"].nunique() != 1:
            raise ValueError("`runs` must hold tables with tickets, or with one control each.")
    first = next(iter(runs.values()))
    with matplotlib.rc_context(drawing.LOOK):
        figure, panels = drawing.new_figure(panels=len(metrics))
        for axes, metric in zip(panels, metrics, strict=True):
            lines = []
            for i, (name, results) in enumerate(runs.items()):
                stored.check(results, metric, dense=results is first)
                control = stored.controls(results)[0]
                rows = results[results["control"] == control]
                style = drawing.IN_ORDER[i % len(drawing.IN_ORDER)]
                lines.append(
                    drawing.Line(name, style, drawing.statistics(rows, metric), control == "ticket")
                )
            drawing.against_density(
                axes,
                lines,
                drawing.dense_values(first, metric),
                drawing.AXES.get(metric, metric),
                True,
            )
            diverged = pd.concat([results["nan_step"].notna() for results in runs.values()])
            drawing.note_missing(axes, lines, diverged=diverged)
        drawing.legend(panels[0])
    return figure


def early_stopping(results: pd.DataFrame, *, labels: Mapping[str, str] | None = None) -> Figure:
    """Return the step of least validation loss (left) and the test accuracy there (Figure 3-8)."""
    stored.check(results, "best_test_accuracy")
    with matplotlib.rc_context(drawing.LOOK):
        figure, (left, right) = drawing.new_figure(panels=2)
        for axes, column, title in (
            (left, "best_step", "Step of least validation loss"),
            (right, "best_test_accuracy", drawing.AXES["best_test_accuracy"]),
        ):
            lines = drawing.control_lines(results, column, labels or {})
            is_accuracy = axes is right
            drawing.against_density(
                axes, lines, drawing.dense_values(results, column), title, is_accuracy
            )
        drawing.note_missing(right, lines, diverged=results["nan_step"].notna())
        left.set_ylim(bottom=0)
        drawing.legend(right)
    return figure


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
        names = stored.controls(curves)
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
        keys += [
            Line2D([], [], color=drawing.GRAY, linestyle=dashes[name], label=stored.label(name))
            for name in names
            if len(names) > 1
        ]
        axes.legend(handles=keys, loc="lower right")
    return figure


def dilation(frame: pd.DataFrame, *, labels: Mapping[str, str] | None = None) -> Figure:
    """Return the least dilation d* that still matches dense accuracy, as in Figure 3-9.

    A line is the mean over the replicates that matched at some dilation: filled points where all
    did, hollow ones where only some did. Where none did, a cross stands in the rows "never" above.

    Args:
      frame: columns density, control, replicate and d_star (NaN: no dilation matched).
      labels: {control: name in the legend} where it is to differ from the usual name.
    """
    with matplotlib.rc_context(drawing.LOOK):
        figure, (axes,) = drawing.new_figure(panels=1)
        highest = frame["d_star"].max() if frame["d_star"].notna().any() else 1.0
        rows_above = []
        for name in stored.controls(frame):
            style = drawing.STYLES.get(name, drawing.OTHER)
            rows = frame[frame["control"] == name]
            stats = rows.groupby("density")["d_star"].agg(["mean", "min", "max", "count", "size"])
            stats = stats.sort_index(ascending=False)
            title = (labels or {}).get(name, stored.label(name))
            drawing.draw(axes, drawing.Line(title, style, stats, name == "ticket"))
            if (stats["count"] == 0).any():
                rows_above.append(highest * (1.1 + 0.05 * len(rows_above)))
            _mark_missing(axes, stats, style, rows_above)
        dense = frame.loc[(frame["control"] == "ticket") & (frame["density"] == 1), "d_star"]
        if dense.notna().any():
            axes.axhline(
                dense.mean(), color=drawing.GRAY, linestyle="--", linewidth=1, label="dense"
            )
        drawing.density_axis(axes, frame["density"], most=11)
        axes.set_ylabel("Least dilation d* that matches dense")
        axes.set_ylim(0, (rows_above or [highest])[-1] + 0.05 * highest)
        _name_rows(axes, rows_above, highest)
        drawing.legend(axes, missing=math.inf)
    return figure


def save(figure: Figure, path: str | pathlib.Path) -> None:
    """Write a figure as PNG (200 dots an inch), PDF or SVG, by the suffix of `path`.

    The same figure always gives the same bytes. Folders are made where they are missing.
    """
    path = pathlib.Path(path)
    stamps = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    if path.suffix not in stamps:
        raise ValueError(f"`path` must end in .png, .pdf or .svg; got {path.name!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "jaxlth", "pdf.fonttype": 42}):
        figure.savefig(path, dpi=200, metadata=stamps[path.suffix])


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
    return f"{stored.percent(densities[level])} %" if densities else f"level {level}"


def _zoom(axes: Axes, late: pd.Series) -> None:
    low, high = late.quantile(0.02), late.max()
    margin = max(0.08 * (high - low), 0.1)
    axes.set_ylim(low - margin, min(high + margin, 100.2))


def _mark_missing(
    axes: Axes, stats: pd.DataFrame, style: drawing.Style, rows_above: Sequence[float]
) -> None:
    """Make points hollow where some replicates never matched, and crosses where none did."""
    some = stats[(stats["count"] > 0) & (stats["count"] < stats["size"])]
    none = stats[stats["count"] == 0]
    look = {"linestyle": "", "color": style.color, "zorder": 5}
    axes.plot(100 * some.index, some["mean"], marker=style.marker, markerfacecolor="white", **look)
    if len(none):
        axes.plot(100 * none.index, [rows_above[-1]] * len(none), marker="x", markersize=5, **look)
    if len(some):
        drawing.note(axes, "hollow: some replicates never match")


def _name_rows(axes: Axes, rows_above: Sequence[float], highest: float) -> None:
    """Call the rows of crosses "never" on the vertical axis."""
    if not rows_above:
        return
    ticks = [tick for tick in axes.get_yticks() if tick <= highest]
    axes.yaxis.set_major_locator(FixedLocator([*ticks, float(np.mean(rows_above))]))
    axes.set_yticklabels([*(f"{tick:.1f}" for tick in ticks), "never"])
