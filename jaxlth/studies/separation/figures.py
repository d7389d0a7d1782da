"""Figures of networks with several tasks, level by level: of one run, and of one network of it.

Means are over the replicates that reached a level; bars reach from the least to the most. Stars are
networks at the level where they separate.

References:
  Burger 2024, sections 4.2 and 4.3.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxlth.plots import axis_scales, legends, outcome_plots, result_table, theme
from jaxlth.studies.separation import summary as separation

_NAMED = 12  # networks up to which each has its name in the legend


def overview(results: pd.DataFrame) -> Figure:
    """Return accuracy of each task, and active, inactive and zombie weights, by level of a run.

    Args:
      results: the table of results of one run.
    """
    separation.check(results, *(f"weights.{name}" for name in outcome_plots.CATEGORY_STYLES))
    _check_tasks(results)
    outcomes = separation.outcomes(results)
    with theme.applied():
        figure, (left, right) = theme.new_figure(panels=2)
        for name, style, column in task_lines(results):
            outcome_plots.error_bars(
                left, 100 * _by_level(results, column), style=style, label=name
            )
        for name, style in outcome_plots.CATEGORY_STYLES.items():
            by = _statistics(results[f"weights.{name}"], results)
            outcome_plots.error_bars(right, by, style=style, label=name)
        outcome_plots.stars(left, outcomes, "level", "test_accuracy", scale=100)
        outcome_plots.stars(right, outcomes, "level", "active")
        axis_scales.symlog_axis(right)
        left.set_ylabel(outcome_plots.ACCURACY_LABEL)
        right.set_ylabel("Weights")
        for axes in (left, right):
            _levels_axis(axes)
            outcome_plots.legend(axes)
    return figure


def performance(results: pd.DataFrame) -> Figure:
    """Return test accuracy by available weights, a line a network, the separation a star (4.20)."""
    separation.check(results, "test_accuracy")
    outcomes = separation.outcomes(results)
    several = results["run"].nunique() > 1
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        for place, network in enumerate(outcomes.itertuples()):
            rows = _of(results, network.run, network.replicate)
            name = f"replicate {network.replicate}"
            name = f"{network.run}, {name}" if several else name
            color, marker = outcome_plots.task_style(place)
            style: dict[str, Any] = {"color": color, "marker": marker}
            style |= {"label": name if len(outcomes) <= _NAMED else f"_{name}"}
            axes.plot(rows["kept"], 100 * result_table.survived(rows, "test_accuracy"), **style)
        outcome_plots.stars(axes, outcomes, "kept", "test_accuracy", scale=100)
        outcome_plots.weights_axis(axes, results["kept"])
        axes.set_ylabel(outcome_plots.ACCURACY_LABEL)
        if axes.get_legend_handles_labels()[0]:
            legends.below_panel(axes, by_end=False)
    return figure


def performance_of_tasks(results: pd.DataFrame) -> Figure:
    """Return test accuracy of each task and their mean by available weights (4.21).

    Args:
      results: the table of results of one run.
    """
    _check_tasks(results)
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        kept = results.groupby("level")["kept"].mean()
        for name, style, column in task_lines(results):
            by = 100 * _by_level(results, column)
            outcome_plots.error_bars(axes, by.set_axis(kept[by.index]), style=style, label=name)
        outcome_plots.weights_axis(axes, results["kept"])
        axes.set_ylabel(outcome_plots.ACCURACY_LABEL)
        outcome_plots.legend(axes)
    return figure


def unused(results: pd.DataFrame) -> Figure:
    """Return inactive and zombie weights by level, left their number, right their share.

    Args:
      results: the table of results of one run.
    """
    names = [name for name in outcome_plots.CATEGORY_STYLES if name != "active"]
    separation.check(results, *(f"weights.{name}" for name in names), one_run=True)
    kept = results["kept"].astype(float)
    with theme.applied():
        figure, panels = theme.new_figure(panels=2)
        for axes, divisor, title in zip(
            panels, (1, kept / 100), ("Weights", "Of the available weights (%)"), strict=True
        ):
            for name in names:
                by = _statistics(results[f"weights.{name}"] / divisor, results)
                outcome_plots.error_bars(
                    axes, by, style=outcome_plots.CATEGORY_STYLES[name], label=name
                )
            axes.set_ylim(bottom=0)
            axes.set_ylabel(title)
            _levels_axis(axes)
        legends.below_figure(figure)
    return figure


def degrees(results: pd.DataFrame, replicate: int) -> Figure:
    """Return which share of each layer's units belongs to one task only, by level (4.13, 4.14).

    Units belong to tasks by the outputs (left) or by the inputs (right) that they are connected to.
    The layer that tasks are told from is left out: its units belong to one task each.

    Args:
      results: the table of results of one run.
      replicate: of which network.

    Raises:
      ValueError: the run has no such replicate.
    """
    ends = {"outputs": slice(None, -1), "inputs": slice(1, None)}  # and the layers that are drawn
    separation.check(results, *(f"decided_by_{by}" for by in ends), one_run=True)
    rows = results[results["replicate"] == replicate].sort_values("level")
    if rows.empty:
        replicates = ", ".join(map(str, sorted(set(results["replicate"]))))
        raise ValueError(f"`replicate` must be one of {replicates}; got {replicate}.")
    separated = rows.loc[rows["state"] == "separated", "level"].head(1)
    with theme.applied():
        figure, panels = theme.new_figure(panels=2)
        for axes, (by, layers) in zip(panels, ends.items(), strict=True):
            decided = 100 * np.array([list(each) for each in rows[f"decided_by_{by}"]], float)
            names = ["inputs", *_hidden(decided.shape[1] - 2), "outputs"]
            for layer in range(len(names))[layers]:
                color, marker = outcome_plots.task_style(layer)
                style: dict[str, Any] = {"color": color, "marker": marker, "clip_on": False}
                axes.plot(rows["level"], decided[:, layer], label=names[layer], **style)
            for level in separated:
                axes.axvline(level, color=outcome_plots.STAR["color"], linestyle=":", linewidth=1)
            axes.set_ylim(0, 100)
            axes.set_ylabel(f"Units of one task only, by {by} (%)")
            _levels_axis(axes)
            outcome_plots.legend(axes)
        said = "".join(f", separated at level {level} (dotted)" for level in separated)
        figure.suptitle(f"Replicate {replicate}{said}")
    return figure


def _hidden(count: int) -> list[str]:
    return [f"hidden {place}" for place in range(1, count + 1)]


def _levels_axis(axes: Axes) -> None:
    axis_scales.integer_axis(axes.xaxis)
    axes.set_xlabel("Pruning level")


def _of(results: pd.DataFrame, run: Any, replicate: Any) -> pd.DataFrame:
    """Return the levels of one network, in their order."""
    of_replicate = (results["run"] == run) & (results["replicate"] == replicate)
    return results[of_replicate].sort_values("level")


def _check_tasks(results: pd.DataFrame) -> None:
    separation.check(results, "test_accuracy", one_run=True)
    if not separation.tasks(results):
        raise ValueError("`results` lack the columns `tasks.NAME.test_accuracy`.")


def task_lines(results: pd.DataFrame) -> list[tuple[str, theme.LineStyle, str]]:
    """Return name, style and column of each accuracy that is drawn by task, the mean last."""
    names = separation.tasks(results)
    lines = [
        (name, outcome_plots.task_style(place), f"tasks.{name}.test_accuracy")
        for place, name in enumerate(names)
    ]
    mean = ("mean of tasks", theme.LineStyle(theme.BLACK, "o"), "test_accuracy")
    return [*lines, mean] if len(names) != 1 else lines


def _by_level(results: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return mean, min and max of a column by level, of the networks that did not diverge."""
    return _statistics(result_table.survived(results, column), results)


def _statistics(values: pd.Series, results: pd.DataFrame) -> pd.DataFrame:
    """Return mean, min and max of values, one a row of `results`, by level."""
    return values.astype(float).groupby(results["level"]).agg(["mean", "min", "max"])
