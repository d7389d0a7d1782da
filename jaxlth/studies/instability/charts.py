"""Interactive charts of instability: barriers by the step twins start from, errors on lines."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jaxlth.plots import charts as charts_lib
from jaxlth.plots import theme
from jaxlth.plots.charts import Axis, Chart, ChartLine
from jaxlth.studies import method_styles
from jaxlth.studies.instability.summary import BY_LOSS, Measure, both_at_0, measure, pairs
from jaxlth.studies.run_info import setting

SPLITS = ("test", "train")
_DASHES = (("solid", "dot"), ("dash", "dashdot"))  # of the splits, for each length of training
_LINES = 12  # shown at first
Styles = Mapping[str, theme.LineStyle]  # by control


def charts(frame: pd.DataFrame, curves: pd.DataFrame, path: pathlib.Path) -> list[Chart]:
    """Return the barrier by the step that twins start from, and the error on the lines.

    Lines are means over pairs of twins, bands one standard deviation to either side.

    Args:
      frame: the table of results of one run.
      curves: its table of curves, which holds the lines.
      path: its folder.

    Raises:
      ValueError: no pair has been compared yet.
    """
    rows = pairs(frame)
    by = measure(rows)
    styles, threshold = method_styles.of_run(frame), setting(path, "threshold")
    barriers = _barriers(both_at_0(rows), by, threshold, styles)
    return [barriers, _on_lines(rows, curves, by, styles)]


def _barriers(rows: pd.DataFrame, by: Measure, threshold: float, styles: Styles) -> Chart:
    name = "Loss barrier" if by == BY_LOSS else "Error barrier"
    lines = []
    steps = [str(step) for step in sorted(rows["step_k"].unique())]
    several, unit = rows["length"].nunique() > 1, "" if by == BY_LOSS else " points"
    for i, (network, of_network) in enumerate(_networks(rows)):
        color, marker = styles[of_network["control"].iloc[0]]
        for place, (length, of) in enumerate(of_network.groupby("length")):
            for split, dash in zip(SPLITS, _DASHES[place % len(_DASHES)], strict=True):
                title = f"{network}{f', {length}' * several}, {split}"
                columns = of.groupby("step_k")[f"{split}_{by.barrier}"]
                facts = [f"twins from step {k}" for k in columns.groups]
                points = _points(columns, facts, title, by, unit)
                points["x"] = points["x"].astype(str)
                shown = i < _LINES and split == "test"
                lines.append(ChartLine(title, color, points, marker, dash, is_shown=shown))
    if by != BY_LOSS:
        lines.append(_threshold(steps, by.scale * threshold))
    axis_unit = "" if by == BY_LOSS else " (points)"
    note = "Means over pairs of twins; bands: one standard deviation. Below the threshold: stable."
    x, y = Axis("Twins start at step", "category"), Axis(f"{name} between twins{axis_unit}")
    return Chart(f"{name} by step", x, y, lines, note)


def _threshold(steps: Sequence[str], height: float) -> ChartLine:
    statistics = pd.DataFrame({"mean": [height] * len(steps)})
    facts = [["stable below"]] * len(steps)
    points = charts_lib.points(steps, statistics, facts, name="threshold", unit=" points")
    return ChartLine("threshold of stability", theme.GRAY, points, dash="longdash")


def _on_lines(rows: pd.DataFrame, curves: pd.DataFrame, by: Measure, styles: Styles) -> Chart:
    """Return the error, or loss, on the lines between twins: a line a network and step."""
    name, unit = ("Loss", "") if by == BY_LOSS else ("Error", " (%)")
    on_lines = curves.merge(rows[["unit", "network", "step_k", "length"]], on="unit")
    several = rows["length"].nunique() > 1
    lines = []
    for network, of_network in _networks(rows):
        color, _ = styles[of_network["control"].iloc[0]]
        groups = list(of_network.groupby(["step_k", "length"], sort=False))
        for place, ((step, length), of) in enumerate(groups):
            for split in SPLITS:
                title = f"{network}, from step {step}{f', {length}' * several}, {split}"
                columns = on_lines[on_lines["unit"].isin(of["unit"])].groupby("alpha")
                values = columns[f"{split}_{by.value}"]
                facts = [f"place on the line {alpha:.2f}" for alpha in values.groups]
                points = _points(values, facts, title, by, "" if by == BY_LOSS else " %")
                dash = charts_lib.dash(place)
                is_end = place in (0, len(groups) - 1)
                shown = split == "test" and is_end and len(lines) < 2 * _LINES * len(groups)
                lines.append(ChartLine(title, color, points, dash=dash, is_shown=shown))
    note = "The dash says from which step twins start; the first and the last are shown."
    x = Axis("Place on the line between twins")
    return Chart(f"{name} on the lines between twins", x, Axis(f"{name}{unit}"), lines, note)


def _networks(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(name), of) for name, of in rows.groupby("network", sort=False)]


def _points(groups: Any, facts: Sequence[str], name: str, by: Measure, unit: str) -> pd.DataFrame:
    """Return points of a line: the mean of each group, and one deviation to either side."""
    statistics, told = groups.agg(["mean", "std"]), [[fact] for fact in facts]
    how: dict[str, Any] = {"name": name, "scale": by.scale, "unit": unit}
    return charts_lib.points(list(statistics.index), statistics, told, **how)
