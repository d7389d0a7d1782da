"""Interactive charts of dynamic sparse training: accuracy by density, and by cost."""

import pathlib

import pandas as pd

from jaxlth.plots import charts as charts_lib
from jaxlth.plots import result_table, table_charts, theme
from jaxlth.plots.charts import Axis, Chart, ChartLine
from jaxlth.studies import method_styles, methods, metrics
from jaxlth.studies.dynamic import report

NOTE = "A point is a density; bands: from the least to the most of the replicates."


def charts(frame: pd.DataFrame, curves: pd.DataFrame, path: pathlib.Path) -> list[Chart]:
    """Return accuracy, or loss, by density, and by cost where the costs are known.

    Raises:
      ValueError: only dense networks are there.
    """
    return [*methods.charts(frame, curves, path), *by_cost(frame)]


def by_cost(frame: pd.DataFrame) -> list[Chart]:
    """Return the chart of accuracy, or loss, by cost; none where no cost is known."""
    costs, dense = report.costs(frame)
    if not costs:
        return []
    metric = result_table.metric(frame, metrics.ACCURACY)
    scale, unit = result_table.scale(metric)
    styles = method_styles.of_run(frame)
    lines = [
        ChartLine(
            method,
            styles[method].color,
            charts_lib.points(
                list(rows["flops"]), rows, _facts(rows), name=method, scale=scale, unit=unit
            ),
            styles[method].marker,
        )
        for method, rows in costs.items()
    ]
    if dense.notna().any():
        lines.append(table_charts.dense_line(lines, dense.dropna(), scale, unit))
    title = theme.AXIS_LABELS[metric]
    name = f"{title.partition(' (')[0]} by cost"
    return [Chart(name, Axis(report.COST_LABEL, "log"), Axis(title), lines, NOTE)]


def _facts(rows: pd.DataFrame) -> list[list[str]]:
    """Return what the pointer is told of each point: density and cost."""
    return [
        [f"{result_table.percent(density)} % of the weights", f"{row.flops:.3g} of the dense cost"]
        for density, row in zip(rows.index, rows.itertuples(), strict=True)
    ]
