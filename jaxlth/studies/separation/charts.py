"""Interactive charts of separation: accuracy of tasks and weights of each category, by level."""

import pathlib
from collections.abc import Iterable
from typing import Any

import pandas as pd

from jaxlth.plots import charts as charts_lib
from jaxlth.plots import outcome_plots, result_table, theme
from jaxlth.plots.charts import Axis, Chart, ChartLine
from jaxlth.studies.separation import figures, summary

_LEVELS = Axis("Pruning level")
_NOTE = "Means over the networks that reached a level; bands: from the least to the most."


def charts(frame: pd.DataFrame, _curves: pd.DataFrame, _path: pathlib.Path) -> list[Chart]:
    """Return the test accuracy of each task, and active, inactive and zombie weights, by level.

    Raises:
      ValueError: the table is not of this study.
    """
    categories = [
        (name, style, f"weights.{name}") for name, style in outcome_plots.CATEGORY_STYLES.items()
    ]
    columns = [column for *_, column in categories]
    summary.check(frame, "density", "test_accuracy", *columns, one_run=True)
    accuracies = _lines(frame, figures.task_lines(frame), scale=100, unit=" %")
    weights = _lines(frame, categories, scale=1, unit=" weights")
    accuracy, axis = Axis(outcome_plots.ACCURACY_LABEL), Axis("Weights", "log")
    return [
        Chart("Test accuracy of tasks by level", _LEVELS, accuracy, accuracies, _NOTE),
        Chart("Weights of each category by level", _LEVELS, axis, weights, _NOTE),
    ]


def _lines(
    frame: pd.DataFrame, columns: Iterable[tuple[str, theme.LineStyle, str]], **numbers: Any
) -> list[ChartLine]:
    """Return a line for each name, style and column."""
    densities = frame.groupby("level")["density"].mean()
    lines = []
    for name, (color, marker), column in columns:
        values = result_table.survived(frame, column).groupby(frame["level"])
        levels = values.agg(["mean", "min", "max"])
        facts = [_facts(frame, level, densities) for level in levels.index]
        points = charts_lib.points(list(levels.index), levels, facts, name=name, **numbers)
        lines.append(ChartLine(name, color, points, marker))
    return lines


def _facts(frame: pd.DataFrame, level: int, densities: pd.Series) -> list[str]:
    states = frame.loc[frame["level"] == level, "state"]
    separated = f"{(states == 'separated').sum()} of {len(states)} networks separated"
    return [
        f"level {level}",
        f"{result_table.percent(densities[level])} % of the weights",
        separated,
    ]
