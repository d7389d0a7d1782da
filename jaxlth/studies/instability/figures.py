"""Figures of instability analysis, made only from stored results.

Lines are means over all pairs of twins of all replicates, bands their standard deviation; solid on
the test split, dashed on the training split. Where no error is defined, the loss takes its place.

References:
  Frankle 2023, chapter 4.
"""

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from jaxlth.plots import axis_scales, control_styles, legends, theme
from jaxlth.studies import method_styles, metrics
from jaxlth.studies.instability import pages, step_lines
from jaxlth.studies.instability.summary import (
    BY_LOSS,
    DENSE,
    Measure,
    dense_networks,
    first_step,
    measure,
    pairs,
    principal,
    reference,
    stable,
)

DISTANCES = {
    "l2_distance": "L2 distance of weights",
    "cosine_distance": "Cosine distance of weights",
    "test_differences": "Test examples classified differently",
    "train_differences": "Train examples classified differently",
    "test_loss_l2": "L2 distance of test losses",
    "train_loss_l2": "L2 distance of train losses",
}
WAY = {
    "l2_from_initialization": "initialisation to step k",
    "l2_to_end": "step k to the end",
    "l2_distance": "between the ends of twins",
}
SPLITS = {"test": "-", "train": "--"}
_OF_SPLITS = (theme.STYLE_CYCLE[3], theme.STYLE_CYCLE[4])  # red and purple, as in the thesis


def instability(results: pd.DataFrame, *, threshold: float | None = None) -> Figure:
    """Return instability by the step that twins start from, as in Figures 4-3, 4-4 and 4-15.

    A panel for each size of sparse networks, with the dense ones in each; solid on the test split,
    dashed on the training split.

    Args:
      results: the table of results of one run.
      threshold: instability below which a network is stable, drawn as a gray line if given.
    """
    rows = pairs(results)
    by = measure(rows)
    columns = {f"{split}_{by.barrier}": dash for split, dash in SPLITS.items()}
    how: dict[str, Any] = {"scale": by.scale, "styles": method_styles.of_run(results)}
    figure = step_lines.figure_by_step(rows, columns, _barrier_label(by), **how)
    if threshold is not None and by != BY_LOSS:  # of losses it is a share of each
        for axes in figure.axes:
            axes.axhline(by.scale * threshold, color=theme.GRAY, linewidth=1, zorder=0)
    return figure


def error(results: pd.DataFrame) -> Figure:
    """Return the error of twins by the step that they start from (Figures 4-16, 4-17, 4-20).

    A gray band shows the dense networks trained beside them on the test split: mean and standard
    deviation of replicates.
    """
    rows = pairs(results)
    by = measure(rows)
    columns = {f"{split}_{by.value}": dash for split, dash in SPLITS.items()}
    name = "Loss at the end of training" if by == BY_LOSS else "Error at the end of training (%)"
    dense = dense_networks(results, by).dropna()
    dense = by.scale * (dense if by == BY_LOSS else 1 - dense)
    how: dict[str, Any] = {"scale": by.scale, "styles": method_styles.of_run(results)}
    figure = step_lines.figure_by_step(rows, columns, name, reference=dense, **how)
    _fit_together(figure)
    return figure


def interpolation(results: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Return the error on the lines between twins: a panel a network and step (Figure 4-2, 4-6).

    All panels have one scale.

    Args:
      results: the table of results of one run.
      curves: the table of curves of the same run, which holds the lines.
    """
    rows = pairs(results)
    by = measure(rows)
    rows = rows.assign(panel=pages.by_network_and_step(rows))
    rows = rows[rows[f"test_{by.value}"].notna()]
    if rows.empty:
        raise ValueError("`results` have no pair of twins that did not diverge.")
    lines = curves.merge(rows[["unit", "panel"]], on="unit")
    shown = list(dict.fromkeys(rows["panel"]))
    with theme.applied():
        figure, panels = theme.new_figure(panels=len(shown))
        for axes, name in zip(panels, shown, strict=True):
            of = lines[lines["panel"] == name]
            for (split, dash), (color, _) in zip(SPLITS.items(), _OF_SPLITS, strict=True):
                values = of.groupby("alpha")[f"{split}_{by.value}"].agg(["mean", "std"])
                step_lines.plot_band(axes, by.scale * values, color=color, dash=dash, label=split)
            axes.set_title(name, loc="left")
            axes.set_xlabel("Place on the line between twins")
            axes.set_ylabel("Loss" if by == BY_LOSS else "Error (%)")
        lowest = min(axes.get_ylim()[0] for axes in panels) if by == BY_LOSS else 0
        highest = max(axes.get_ylim()[1] for axes in panels)
        for axes in panels:
            axes.set_ylim(lowest, highest)
        legends.below_figure(figure)
    return figure


def throughout(results: pd.DataFrame) -> Figure:
    """Return instability through training, a line for each step that twins start from (4-5, 4-21).

    Raises:
      ValueError: no pair has been compared in training.
    """
    rows = principal(pairs(results, at_end=False))
    if rows["compared_step"].nunique() == 1:
        raise ValueError("`results` compare twins only at the end; ask for --compare-every.")
    by = measure(rows)
    names = list(dict.fromkeys(rows["network"]))
    steps = sorted(rows["step_k"].unique())
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(steps)))
    with theme.applied():
        figure, panels = theme.new_figure(panels=len(names))
        for axes, name in zip(panels, names, strict=True):
            for step, shade in zip(steps, shades, strict=True):
                of = rows[(rows["network"] == name) & (rows["step_k"] == step)]
                values = of.groupby("compared_step")[f"test_{by.barrier}"].agg(["mean", "std"])
                step_lines.plot_band(
                    axes, by.scale * values, color=shade, label=f"from step {step}"
                )
            axes.set_title(name, loc="left")
            axes.set_xlabel("Training step")
            axes.set_ylabel(_barrier_label(by))
        legends.below_figure(figure)
    return figure


def distances(results: pd.DataFrame) -> Figure:
    """Return other distances of twins by the step that they start from: a panel for each.

    References:
      Frankle 2023, Figures 4-7 to 4-12, 4-25 and 4-26.
    """
    rows = principal(pairs(results))
    names = list(dict.fromkeys(rows["network"]))
    of_errors, styles = measure(rows) != BY_LOSS, method_styles.of_run(results)
    shown = {c: title for c, title in DISTANCES.items() if of_errors or "differences" not in c}
    with theme.applied():
        figure, panels = theme.new_figure(panels=len(shown))
        for axes, (column, title) in zip(panels, shown.items(), strict=True):
            step_lines.plot_networks(axes, rows, names, column, scale=1, styles=styles)
            step_lines.step_axis(axes, rows)
            axes.set_ylabel(title)
            axes.set_ylim(bottom=0)
        legends.below_figure(figure)
    return figure


def start(results: pd.DataFrame) -> Figure:
    """Return where twins start: their error there, or loss, and three distances, by step.

    References:
      Frankle 2023, Figures 4-31 to 4-33.
    """
    rows = principal(pairs(results))
    names, by = list(dict.fromkeys(rows["network"])), measure(rows)
    title = "Test loss at step k" if by == BY_LOSS else "Test error at step k (%)"
    with theme.applied():
        figure, panels = theme.new_figure(panels=1 + len(names))
        column, styles = f"test_{by.value}_at_start", method_styles.of_run(results)
        step_lines.plot_networks(panels[0], rows, names, column, scale=by.scale, styles=styles)
        panels[0].set_ylabel(title)
        for axes, name in zip(panels[1:], names, strict=True):
            of = rows[rows["network"] == name]
            for (column, label), (color, marker) in zip(
                WAY.items(), theme.STYLE_CYCLE, strict=False
            ):
                values = of.groupby("step_k")[column].agg(["mean", "std"])
                step_lines.plot_band(axes, values, color=color, marker=marker, label=label)
            axes.set_title(name, loc="left")
            axes.set_ylabel("L2 distance of weights")
            axes.set_ylim(bottom=0)
        for axes in panels:
            step_lines.step_axis(axes, rows)
        legends.below_figure(figure)
    return figure


def onsets(results: pd.DataFrame, *, threshold: float, tolerance: float) -> Figure:
    """Return the step from which networks are stable and match, by density (Figure 4-18).

    The median over pairs of the step of each, of the steps asked for. A pair that is never so
    counts as one of a step beyond all; where that is the median, the point is missing.

    Args:
      results: the table of results of one run.
      threshold: instability below which a pair is stable.
      tolerance: how far below dense still matches.
    """
    rows = principal(pairs(results))
    by = measure(rows)
    values = rows["test_loss"] if by == BY_LOSS else 1 - rows["test_error"]
    rows = rows.assign(
        stable=stable(rows[f"test_{by.barrier}"], rows["test_loss"], by, threshold),
        matches=metrics.matching(values, reference(results, by), tolerance, by.metric),
    )
    sparse = rows[rows["control"] != DENSE]
    if sparse.empty:
        raise ValueError("`results` have no sparse network; ask for --networks ticket --levels N.")
    styles = method_styles.of_run(results)
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        for control, of in sparse.groupby("control", sort=False):
            color, marker = styles[control]
            for column, dash in (("stable", "-"), ("matches", ":")):
                points = _medians(of, column)
                label = f"{control_styles.control_style(str(control)).label}, {column}"
                style: dict[str, Any] = {"color": color, "marker": marker, "label": label}
                weights = [100 * density for density in points]
                axes.plot(weights, list(points.values()), linestyle=dash, **style)
        axis_scales.density_axis(axes, sparse["density"], max_ticks=11)
        axis_scales.step_axis(axes, "y", rows["step_k"])
        axes.set_ylabel("From step")
        legends.below_figure(figure)
    return figure


def _barrier_label(by: Measure) -> str:
    return "Loss barrier between twins" if by == BY_LOSS else "Error barrier between twins (points)"


def _medians(rows: pd.DataFrame, column: str) -> dict[float, float]:
    """Return, by density, the median over pairs of the step from which on a column holds."""
    medians = {}
    for density, of in rows.groupby("density"):
        steps = [
            first_step(pair.sort_values("step_k"), column)
            for _, pair in of.groupby(["replicate", "twins"])
        ]
        medians[float(density)] = float(np.median([np.inf if s is None else s for s in steps]))
    return {density: step if np.isfinite(step) else np.nan for density, step in medians.items()}


def _fit_together(figure: Figure) -> None:
    """Give all panels the heights of the data of all: from 0 no difference of a point is seen."""
    heights = np.array([axes.dataLim.intervaly for axes in figure.axes])
    lowest, highest = heights.min(), heights.max()
    margin = 0.05 * (highest - lowest)
    for axes in figure.axes if np.isfinite(margin) and margin else ():
        axes.set_ylim(lowest - margin, highest + margin)
