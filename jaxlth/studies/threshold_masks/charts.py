"""Interactive charts of threshold masks: what they keep and reach untrained, by threshold."""

import pathlib

import pandas as pd

from jaxlth.plots import charts as charts_lib
from jaxlth.plots import theme
from jaxlth.plots.charts import Axis, Chart, ChartLine
from jaxlth.settings import require
from jaxlth.studies.run_info import setting
from jaxlth.studies.threshold_masks import summary


def charts(_frame: pd.DataFrame, curves: pd.DataFrame, path: pathlib.Path) -> list[Chart]:
    """Return accuracy of untrained masked networks, and their size, by threshold.

    Raises:
      ValueError: no network has been masked yet.
    """
    require("threshold" in curves, "No network has been masked yet.")
    return by_threshold(curves, split=setting(path, "choose_on"))


def by_threshold(curves: pd.DataFrame, *, split: str) -> list[Chart]:
    """Return the charts of a run whose thresholds are chosen on a split."""
    rows = summary.by_threshold(curves, split=split)
    require(not rows.empty, "No network has been masked yet.")
    x, note = Axis("Threshold"), "Mean of the replicates; bands: one standard deviation."
    label = theme.AXIS_LABELS[f"{split}_accuracy"]
    shown = {"accuracy": f"{label}, untrained", "density": "Weights kept (%)"}
    titles = {"accuracy": "Accuracy of masked, untrained networks", "density": "Size of masks"}
    return [
        Chart(titles[name], x, Axis(axis), [_line(rows, name)], note)
        for name, axis in shown.items()
    ]


def _line(rows: pd.DataFrame, name: str) -> ChartLine:
    statistics = pd.DataFrame({"mean": rows[f"{name}_mean"], "std": rows[f"{name}_sd"]})
    facts = [
        [f"threshold {row.threshold:g}"] + [f"empties a layer of {row.emptied}"] * (row.emptied > 0)
        for row in rows.itertuples()
    ]
    title = "untrained" if name == "accuracy" else "masks"
    points = charts_lib.points(
        list(rows["threshold"]), statistics, facts, name=title, scale=100, unit=" %"
    )
    return ChartLine(title, theme.BLUE, points, "o")
