"""Interactive charts of separation: accuracy of tasks and weights of each category, by level."""

import pathlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from jaxlth.plots import charts as charts_lib
from jaxlth.plots import outcome_plots, result_table, theme
from jaxlth.plots.charts import Axis, Chart, ChartLine
from jaxlth.studies.separation import summary

_LEVELS = Axis("Pruning level")
_NOTE = "Means over the networks that reached a level; bands: from the least to the most."


def charts(frame: pd.DataFrame, _curves: pd.DataFrame, _path: pathlib.Path) -> list[Chart]:
    """Return the test accuracy of each task, and active, inactive and zombie weights, by level.

    Raises:
      ValueError: the table is not of this study.
    """
    categories = {f"weights.{name}": look for name, look in outcome_plots.CATEGORY_STYLES.items()}
    summary.check(frame, "density", "test_accuracy", *categories, one_run=True)
    accuracies = _lines(frame, _tasks(frame), scale=100, unit=" %")
    weights = _lines(frame, categories, scale=1, unit=" weights")
    accuracy, axis = Axis(outcome_plots.ACCURACY_LABEL), Axis("Weights", "log")
    return [
        Chart("Test accuracy of tasks by level", _LEVELS, accuracy, accuracies, _NOTE),
        Chart("Weights of each category by level", _LEVELS, axis, weights, _NOTE),
    ]


def _tasks(frame: pd.DataFrame) -> dict[str, theme.LineStyle]:
    """Return the style of the accuracy of each task, and of their mean, by column."""
    names = summary.tasks(frame)
    styles = {
        f"tasks.{name}.test_accuracy": outcome_plots.task_style(place)
        for place, name in enumerate(names)
    }
    mean = {"test_accuracy": theme.LineStyle(theme.BLACK, "o")}
    return styles | mean if len(names) != 1 else styles


def _lines(
    frame: pd.DataFrame, styles: Mapping[str, theme.LineStyle], **numbers: Any
) -> list[ChartLine]:
    densities = frame.groupby("level")["density"].mean()
    lines = []
    for column, (color, marker) in styles.items():
        name = _name(column)
        values = result_table.survived(frame, column).groupby(frame["level"])
        levels = values.agg(["mean", "min", "max"])
        facts = [_facts(frame, level, densities) for level in levels.index]
        points = charts_lib.points(list(levels.index), levels, facts, name=name, **numbers)
        lines.append(ChartLine(name, color, points, marker))
    return lines


def _name(column: str) -> str:
    """Return the name of a column as the figures have it.

    Example:
      >>> _name("tasks.moons.test_accuracy"), _name("weights.active"), _name("test_accuracy")
      ('moons', 'active', 'mean of tasks')
    """
    if column == "test_accuracy":
        return "mean of tasks"
    return column.removeprefix("tasks.").removeprefix("weights.").removesuffix(".test_accuracy")


def _facts(frame: pd.DataFrame, level: int, densities: pd.Series) -> list[str]:
    states = frame.loc[frame["level"] == level, "state"]
    separated = f"{(states == 'separated').sum()} of {len(states)} networks separated"
    return [
        f"level {level}",
        f"{result_table.percent(densities[level])} % of the weights",
        separated,
    ]
