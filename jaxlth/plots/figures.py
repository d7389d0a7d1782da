"""Figures in the style of Frankle 2023, chapter 3, made only from tables of results.

Each function returns a matplotlib Figure that belongs to the caller; nothing touches pyplot. Lines
are means over replicates and bands reach from their minimum to their maximum; networks that
diverged are left out.

References:
  Frankle 2023, The Lottery Ticket Hypothesis, Figures 3-1 to 3-9.
"""

import contextlib
import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from jaxlth.plots import axis_scales, control_styles, density_lines, legends, result_table, theme
from jaxlth.plots.curves import training
from jaxlth.process import paths

__all__ = [
    "accuracy",
    "accuracy_of",
    "check",
    "dilation",
    "early_stopping",
    "pages",
    "save",
    "save_pages",
    "to_svg",
    "training",
]

# Metadata that would make two files of one figure differ, by format.
_METADATA: dict[str, dict[str, None]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}


def accuracy(
    results: pd.DataFrame,
    *,
    metric: str = "test_accuracy",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Return accuracy against density, one line per control, as in Figure 3-7.

    Of results without accuracy it is the loss, and all that is said here holds the other way up,
    twice the loss of the dense network in place of ten points below it.

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
    metric = result_table.metric(results, metric)
    result_table.check(results, metric)
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        lines = density_lines.control_lines(results, metric, labels or {})
        dense = density_lines.dense_values(results, metric)
        diverged = results["nan_step"].notna()
        density_lines.plot_metric(axes, lines, dense, metric, diverged=diverged)
        legends.below_panel(axes)
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
    metrics = [result_table.metric(first, metric) for metric in metrics]
    with theme.applied():
        figure, panels = theme.new_figure(panels=len(metrics))
        for axes, metric in zip(panels, metrics, strict=True):
            lines, diverged = [], []
            for i, (name, results) in enumerate(runs.items()):
                result_table.check(results, metric, dense=results is first)
                control = result_table.controls(results)[0]
                rows = result_table.of_levels(results[results["control"] == control])
                is_drawn = results["control"] == control
                is_drawn |= result_table.is_dense(results) if results is first else False
                diverged.append(results.loc[is_drawn, "nan_step"].notna())
                style = theme.cycled_style(i)
                lines.append(
                    density_lines.DensityLine(
                        name, style, density_lines.statistics(rows, metric), control == "ticket"
                    )
                )
            dense = density_lines.dense_values(first, metric)
            density_lines.plot_metric(axes, lines, dense, metric, diverged=pd.concat(diverged))
        legends.below_panel(panels[0])
    return figure


def early_stopping(results: pd.DataFrame, *, labels: Mapping[str, str] | None = None) -> Figure:
    """Return the step of least validation loss (left) and the test accuracy there (Figure 3-8)."""
    metric = result_table.metric(results, "best_test_accuracy")
    result_table.check(results, metric)
    with theme.applied():
        figure, (left, right) = theme.new_figure(panels=2)
        lines, best_lines = (
            density_lines.control_lines(results, column, labels or {})
            for column in ("best_step", metric)
        )
        dense, best_dense = (
            density_lines.dense_values(results, column) for column in ("best_step", metric)
        )
        density_lines.plot_lines(left, lines, dense, "Step of least validation loss")
        diverged = results["nan_step"].notna()
        density_lines.plot_metric(right, best_lines, best_dense, metric, diverged=diverged)
        top = left.dataLim.y1  # -inf without any point
        left.set_ylim(0, 1.05 * top if 0 < top < math.inf else 1)
        legends.below_panel(right)
    return figure


def dilation(frame: pd.DataFrame, *, labels: Mapping[str, str] | None = None) -> Figure:
    """Return the least dilation d* that still matches dense accuracy, as in Figure 3-9.

    A line is the mean over the replicates that matched at some dilation: filled points where all
    did, hollow ones where only some did. Where none did, a cross stands in the rows "never" above.

    Args:
      frame: columns density, control, replicate and d_star (NaN: no dilation matched).
      labels: {control: name in the legend} where it is to differ from the usual name.
    """
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        highest = frame["d_star"].max() if frame["d_star"].notna().any() else 1.0
        cross_heights = []
        for name in result_table.controls(frame):
            style = control_styles.line_style(name)
            rows = frame[frame["control"] == name]
            stats = rows.groupby("density")["d_star"].agg(["mean", "min", "max", "count", "size"])
            stats = stats.sort_index(ascending=False)
            title = (labels or {}).get(name, control_styles.control_style(name).label)
            density_lines.plot_line(
                axes, density_lines.DensityLine(title, style, stats, name == "ticket")
            )
            if (stats["count"] == 0).any():
                cross_heights.append(highest * (1.1 + 0.05 * len(cross_heights)))
            _mark_missing(axes, stats, style, cross_heights)
        dense = frame.loc[(frame["control"] == "ticket") & (frame["density"] == 1), "d_star"]
        if dense.notna().any():
            axes.axhline(dense.mean(), color=theme.GRAY, linestyle="--", linewidth=1, label="dense")
        axis_scales.density_axis(axes, frame["density"], max_ticks=11)
        axes.set_ylabel("Least dilation d* that matches dense")
        axes.set_ylim(0, (cross_heights or [highest])[-1] + 0.05 * highest)
        _label_crosses(axes, cross_heights, highest)
        legends.below_panel(axes, missing=math.inf, no_points=" (never)")
    return figure


def check(path: str | pathlib.Path) -> None:
    """Raise ValueError unless `save` knows the format that the suffix of `path` names."""
    if pathlib.Path(path).suffix not in _METADATA:
        raise ValueError(f"A figure's file must end in .png, .pdf or .svg; got {str(path)!r}.")


def pages(figure: Figure | Sequence[Figure]) -> list[Figure]:
    """Return the pages of a figure: itself, if it is a single one."""
    return [figure] if isinstance(figure, Figure) else list(figure)


def save_pages(figure: Figure | Sequence[Figure], path: str | pathlib.Path) -> list[pathlib.Path]:
    """Write one figure, or several to files of their own, "name.png", "name-2.png"; see `save`.

    Returns:
      The files.
    """
    path = pathlib.Path(path)
    figures = pages(figure)
    files = [
        path.with_stem(f"{path.stem}-{number}") if number > 1 else path
        for number in range(1, len(figures) + 1)
    ]
    for page, file in zip(figures, files, strict=True):
        save(page, file)
    return files


def save(figure: Figure, path: str | pathlib.Path) -> None:
    """Write a figure as PNG (200 dots an inch), PDF or SVG, by the suffix of `path`.

    The same figure always gives the same bytes. The file is replaced at once, so that it is never
    seen half written. Folders are made where they are missing.

    Raises:
      OSError: the file cannot be written; the error names it.
    """
    check(path)
    path = pathlib.Path(path)
    metadata = _METADATA[path.suffix]
    with paths.replacing(path) as part, _writing():
        figure.savefig(part, format=path.suffix[1:], dpi=200, metadata=metadata)


def to_svg(figure: Figure) -> bytes:
    """Return a figure as SVG; the same figure always gives the same bytes."""
    content = io.BytesIO()
    with _writing():
        figure.savefig(content, format="svg", metadata=_METADATA[".svg"])
    return content.getvalue()


def _writing() -> contextlib.AbstractContextManager[None]:
    """Return a context in which the same figure gives the same bytes, for all formats."""
    fixed: dict[Any, Any] = {"svg.hashsalt": "jaxlth", "pdf.fonttype": 42}
    return matplotlib.rc_context(theme.without_file() | fixed)


def _mark_missing(
    axes: Axes, stats: pd.DataFrame, style: theme.LineStyle, cross_heights: Sequence[float]
) -> None:
    """Plot hollow points where some replicates never matched, and crosses where none did."""
    some = stats[(stats["count"] > 0) & (stats["count"] < stats["size"])]
    none = stats[stats["count"] == 0]
    points = {"linestyle": "", "color": style.color, "zorder": 5}
    hollow = {"marker": style.marker, "markerfacecolor": "white"}
    axes.plot(100 * some.index, some["mean"], **hollow, **points)
    if len(none):
        axes.plot(
            100 * none.index, [cross_heights[-1]] * len(none), marker="x", markersize=5, **points
        )
    if len(some):
        theme.note(axes, "hollow: some replicates never match")


def _label_crosses(axes: Axes, cross_heights: Sequence[float], highest: float) -> None:
    """Label the crosses "never" on the vertical axis."""
    if not cross_heights:
        return
    ticks = [tick for tick in axes.get_yticks() if tick <= highest]
    axes.yaxis.set_major_locator(FixedLocator([*ticks, float(np.mean(cross_heights))]))
    axes.set_yticklabels([*(f"{tick:.1f}" for tick in ticks), "never"])
