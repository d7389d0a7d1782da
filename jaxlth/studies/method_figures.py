"""Figures of pruning early: accuracy by density and by step, densities of layers.

The table of results is that of `method_summary`.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxlth.plots import axis_scales, density_lines, legends, result_table, theme
from jaxlth.studies import method_styles, method_summary

MAX_LINES = 12  # of a panel


def accuracy(
    results: pd.DataFrame,
    *,
    panel: str = "schedule",
    line: str | None = None,
    metric: str = "test_accuracy",
) -> Figure:
    """Return accuracy against density: a panel for each schedule, a line for each score.

    Of results without accuracy it is the loss.
    As in Frankle 2023, Figures 5-4, 5-5 and 5-7 to 5-10, and Lutz & Manai 2022, Figures 5.1 to 5.5.
    Lines are means over replicates, bands reach from the least to the most; dashed is the dense
    network.

    Args:
      results: the table of results of one run.
      panel: the column that panels differ in.
      line: the column that lines of a panel differ in; None for all that methods differ in besides.
      metric: the accuracy to draw, a column of `results`.
    """
    metric = result_table.metric(results, metric)
    rows = method_summary.tickets(results)
    dense, pruned = rows[rows["level"] == 0], rows[rows["level"] > 0]
    if pruned.empty:
        raise ValueError("`results` have no ticket yet, only dense networks.")
    pruned = pruned.assign(line=pruned[line] if line else _line_names(pruned, exclude=panel))
    styles = _styles(pruned, results, of_methods=line is None)
    reference = result_table.survived(method_summary.reference(dense), metric).dropna()
    panels = sorted(dict.fromkeys(pruned[panel]), key=method_styles.schedule_order)
    with theme.applied():
        figure, all_axes = theme.new_figure(panels=len(panels))
        for axes, name in zip(all_axes, panels, strict=True):
            rows = pruned[pruned[panel] == name]
            lines = _density_lines(rows, styles, metric, is_ablation=line == "ablation")
            _plot_panel(axes, lines, reference, metric, diverged=rows["nan_step"].notna())
            if len(panels) == 1:
                legends.below_panel(axes)
            if len(panels) > 1:
                title = method_styles.SCHEDULE_TITLES.get(str(name), str(name))
                axes.set_title(title, loc="left")
        if len(panels) > 1:
            legends.below_figure(figure)
    return figure


def _styles(
    rows: pd.DataFrame, results: pd.DataFrame, *, of_methods: bool
) -> dict[Any, theme.LineStyle]:
    """Return a style for each value of the column `line`.

    Lines of methods have those of the run; a line of several panels, where it is another method in
    each, that of the first.
    """
    if not of_methods:
        return method_styles.line_styles(list(dict.fromkeys(rows["line"])))
    first = method_styles.sort_methods(rows).groupby("line", sort=False)["control"].first()
    of_run = method_styles.of_run(results)
    return {name: of_run[first[name]] for name in dict.fromkeys(rows["line"])}


def _density_lines(
    rows: pd.DataFrame,
    styles: Mapping[Any, theme.LineStyle],
    metric: str,
    *,
    is_ablation: bool,
) -> list[density_lines.DensityLine]:
    """Return the lines of a panel, in the order of `styles`."""
    lines = []
    for name, style in styles.items():
        of_line = rows[rows["line"] == name]
        if len(of_line):
            title = _ablation_title(name) if is_ablation else str(name)
            points = density_lines.statistics(of_line, metric)
            lines.append(density_lines.DensityLine(title, style, points, False))
    return lines


def _plot_panel(
    axes: Axes,
    lines: list[density_lines.DensityLine],
    reference: pd.Series,
    metric: str,
    *,
    diverged: pd.Series,
) -> None:
    """Plot lines and the dense network, at most as many lines as remain readable."""
    best = _best(lines, is_loss=result_table.is_loss(metric))
    density_lines.plot_metric(axes, best, reference, metric, diverged=diverged)
    if len(lines) > len(best):
        hidden = len(lines) - len(best)
        theme.note(axes, f"{hidden} methods, worse at the last point, are not drawn")


def steps(results: pd.DataFrame, *, line: str = "ablation") -> Figure:
    """Return accuracy by the step that is pruned at, a panel for each score, a line an ablation.

    Of the sparsest tickets that were pruned at several steps.

    Args:
      results: the table of results of one run.
      line: "ablation", or "method" for one panel of all scores as found.

    References:
      Frankle 2023, Figures 5-12 and 5-14.
    """
    metric = result_table.metric(results, "test_accuracy")
    name, (scale, _) = theme.AXIS_LABELS[metric], result_table.scale(metric)
    rows = method_summary.tickets(results)
    rows = rows.assign(
        method=rows["score"] + ", " + rows["schedule"],
        value=scale * result_table.survived(rows, metric),
    )
    after_start = rows[rows["prune_step"] > 0]
    if after_start.empty:
        raise ValueError("`results` have no ticket pruned after initialisation.")
    lowest = after_start["density"].min()
    ablations = after_start["ablation"] if line == "ablation" else ["none"]
    pruned = rows[np.isclose(rows["density"], lowest) & rows["ablation"].isin(ablations)]
    pruned = pruned[pruned["method"].isin(after_start["method"])]
    panels = [""] if line == "method" else list(dict.fromkeys(pruned["method"]))
    styles = _styles(pruned.assign(line=pruned[line]), results, of_methods=line == "method")
    with theme.applied():
        figure, all_axes = theme.new_figure(panels=len(panels))
        for axes, method in zip(all_axes, panels, strict=True):
            of_panel = pruned[pruned["method"] == method] if method else pruned
            for title, of_line in of_panel.groupby(line, sort=False):
                _plot_by_step(axes, of_line, _ablation_title(title), styles[title])
            axis_scales.step_axis(axes, "x", pruned["prune_step"])
            axes.set_title(method, loc="left")
            axes.set_xlabel("Pruned at step")
            axes.set_ylabel(f"{name}, {result_table.percent(lowest)} % of weights")
            if not result_table.is_loss(metric):
                _leave_random_below(axes, of_panel)
        legends.below_figure(figure, key=method_styles.schedule_order)
    return figure


def _leave_random_below(axes: Axes, rows: pd.DataFrame) -> None:
    """Let the axis end below all scores but random, and note where that is instead."""
    is_random = rows["score"] == "random"
    others, random = rows.loc[~is_random, "value"].dropna(), rows.loc[is_random, "value"].dropna()
    if others.empty or random.empty:
        return
    margin = 0.05 * (others.max() - others.min()) or 1.0
    axes.set_ylim(bottom=others.min() - margin, top=others.max() + margin)
    theme.note(axes, f"random: {random.min():.1f} to {random.max():.1f}")


def _plot_by_step(axes: Axes, rows: pd.DataFrame, title: str, style: theme.LineStyle) -> None:
    """Plot the column `value` by the step that is pruned at."""
    points = rows["value"].groupby(rows["prune_step"]).agg(["mean", "min", "max"])
    color, marker = style
    band = (points["min"], points["max"])
    line: dict[str, Any] = {"marker": marker, "label": title}
    theme.plot_mean(axes, points.index, points["mean"], band, color=color, **line)


def layers(results: pd.DataFrame, *, density: float | None = None) -> Figure:
    """Return the density of each layer by method, mean over replicates, as in Figure 5-11.

    Ablations that keep the counts of layers are left out.

    Args:
      results: the table of results of one run.
      density: which tickets; the sparsest if None.

    References:
      Frankle 2023, section 5.9, which draws sparsities.
    """
    rows = method_summary.tickets(results)
    rows = rows[(rows["level"] > 0) & rows["ablation"].isin(("none", "inverted"))]
    share = rows["density"].min() if density is None else density
    rows = rows[np.isclose(rows["density"].astype(float), share)]
    columns = [name for name in rows if str(name).startswith("layer_densities.")]
    if rows.empty or not columns:
        which = "" if density is None else f" of density {density:g}"
        raise ValueError(f"`results` have no ticket{which} yet.")
    names = [str(name).removeprefix("layer_densities.").removesuffix("/kernel") for name in columns]
    of_run = method_styles.of_run(results)
    styles = {method: of_run[method] for method in dict.fromkeys(rows["control"])}
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        for method, (color, marker) in styles.items():
            means = 100 * rows.loc[rows["control"] == method, columns].astype(float).mean()
            axes.plot(range(len(names)), means, color=color, marker=marker, label=method)
        axes.axhline(100 * share, color=theme.GRAY, linestyle="--", linewidth=1)
        drawn = np.concatenate([line.get_ydata() for line in axes.lines]).astype(float)
        axis_scales.log_axis(axes, "y", drawn[drawn > 0])
        axes.set_xticks(range(len(names)), names, rotation=0 if len(names) < 6 else 90)
        axes.set_ylabel("Weights remaining of the layer (%)")
        said = f"{result_table.percent(share)} % of all weights, the dashed line"
        theme.note(axes, said + "; lines to the bottom: no weight" * bool((drawn <= 0).any()))
        legends.below_figure(figure)
    return figure


def _line_names(rows: pd.DataFrame, *, exclude: str) -> pd.Series:
    """Return a short name of each method: the columns that vary within a panel."""
    words = {
        "score": "",
        "schedule": "",
        "ablation": "",
        "weights": "on ",
        "prune_step": "at step ",
    }
    varied = [c for c in words if c != exclude and (rows[c].nunique() > 1 or c == "score")]

    def name(row: Mapping[Any, Any]) -> str:
        parts = [f"{words[c]}{row[c]}" for c in varied if row[c] not in ("none", "standard", 0)]
        return ", ".join(parts)

    return rows.apply(name, axis=1)


def _best(
    lines: list[density_lines.DensityLine], *, is_loss: bool
) -> list[density_lines.DensityLine]:
    """Return the lines in their order; if there are too many, those with the best last mean."""

    def badness(line: density_lines.DensityLine) -> float:
        means = line.points["mean"].dropna()
        last = float(means.iloc[-1]) if len(means) else math.inf
        return last if is_loss or not len(means) else -last

    best = sorted(range(len(lines)), key=lambda i: badness(lines[i]))[:MAX_LINES]
    return [lines[i] for i in sorted(best)]


def _ablation_title(name: Any) -> str:
    return "as found" if name == "none" else str(name)
