"""The interactive chart of studies of methods: accuracy by density, a line for each method."""

import pathlib

import pandas as pd

from jaxlth.plots import density_lines, result_table, table_charts
from jaxlth.plots.charts import Chart
from jaxlth.plots.density_lines import DensityLine
from jaxlth.settings import require
from jaxlth.studies import method_styles, method_summary, metrics


def charts(frame: pd.DataFrame, _curves: pd.DataFrame, _path: pathlib.Path) -> list[Chart]:
    """Return accuracy, or loss, by density.

    Raises:
      ValueError: only dense networks are there.
    """
    metric = result_table.metric(frame, metrics.ACCURACY)
    rows = method_summary.tickets(frame)
    dense, pruned = rows[rows["level"] == 0], rows[rows["level"] > 0]
    require(not pruned.empty, "There is no ticket yet, only dense networks.")
    names = list(dict.fromkeys(method_summary.summary(frame, tolerance=0)["control"]))
    styles = method_styles.line_styles(names)
    lines = [
        DensityLine(name, styles[name], density_lines.statistics(of, metric), False)
        for name in names
        if len(of := pruned[pruned["control"] == name])
    ]
    reference = result_table.survived(method_summary.reference(dense), metric).dropna()
    return [table_charts.by_density(lines, reference, metric)]
