"""Interactive charts as plain data: lines over an axis, made from tables, drawn by a browser.

A chart says all that is drawn of it and nothing of who draws it; `plotly_json` turns it into what
plotly.js takes. Colours are those of the figures. On a dark page each is lightened as far as it
takes to be seen there, and stays the same hue.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colors

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")  # see `dash`
DARK = "#14181d"  # the background of a dark page
_CONTRAST = 4.5  # of a line with that background, at least
_TOLD = 4  # lines that a sentence tells of


class Axis(NamedTuple):
    """An axis of a chart."""

    title: str  # with its unit
    scale: Literal["linear", "log", "density", "category"] = "linear"  # density: dense at the left
    limits: tuple[float, float] | None = None


class ChartLine(NamedTuple):
    """One line of a chart, with its range as a band, or as bars."""

    name: str
    color: str
    points: pd.DataFrame  # x, y, low, high, hover; low and high are missing where there is no range
    marker: str = ""  # as matplotlib names it; "" draws none
    dash: str = "solid"
    has_bars: bool = False  # it says nothing of what lies between its points
    is_shown: bool = True  # at first; otherwise a reader asks for it


class Chart(NamedTuple):
    """A chart: its lines, its axes, and what one should know of them."""

    title: str
    x: Axis
    y: Axis
    lines: list[ChartLine]
    note: str = ""


def points(
    x: Sequence[float | str],
    statistics: pd.DataFrame,
    facts: Sequence[Sequence[str]],
    *,
    name: str,
    scale: float = 1,
    unit: str = "",
) -> pd.DataFrame:
    """Return the points of a line, with what is told of each under the pointer.

    Args:
      x: place of each point.
      statistics: mean of each point, and where there is a band, min and max, or std.
      facts: of each point what else is told, such as its level; a line of text each.
      name: of the line.
      scale: what numbers are multiplied by, 100 for percents.
      unit: of the numbers, after them.

    Example:
      >>> row = pd.DataFrame({"mean": [0.5], "min": [0.25], "max": [0.75]})
      >>> points([1], row, [["level 3"]], name="ticket", scale=100, unit=" %")["hover"][0]
      '<b>ticket</b><br>level 3<br>50 %<br>range 25 to 75 %'
    """
    mean, deviation = statistics["mean"].astype(float), statistics.get("std")
    rows = pd.DataFrame({"x": list(x), "y": (scale * mean).to_numpy()})
    for end, column, sign in (("low", "min", -1), ("high", "max", 1)):
        ends = statistics.get(column, mean).astype(float)
        ends = ends if deviation is None else mean + sign * deviation.fillna(0)
        rows[end] = (scale * ends).to_numpy()
    of_range = deviation is None
    rows["hover"] = [
        _hover(name, told, row, unit, of_range=of_range)
        for told, row in zip(facts, rows.itertuples(), strict=True)
    ]
    rows = rows[np.isfinite(rows["y"])]
    ends = {end: rows[end].where(np.isfinite(rows[end]), rows["y"]) for end in ("low", "high")}
    return rows.assign(**ends).reset_index(drop=True)


def _hover(name: str, facts: Sequence[str], row: object, unit: str, *, of_range: bool) -> str:
    y, low, high = (getattr(row, column) for column in ("y", "low", "high"))
    band = f"range {low:.5g} to {high:.5g}" if of_range else f"standard deviation {high - y:.5g}"
    lines = [html.escape(fact) for fact in facts] + [f"{y:.5g}{unit}"]
    lines += [f"{band}{unit}"] if low < high else []
    return "<br>".join([f"<b>{html.escape(name)}</b>", *lines])


def dash(place: int) -> str:
    """Return the dash of the line of this place, as plotly has it: that of no other place.

    Example:
      >>> dash(1), dash(6), dash(7)
      ('dash', '8px,3px,2px,2px,2px,2px', '8px,3px,2px,2px,2px,2px,2px,2px')
    """
    if place < len(DASHES):
        return DASHES[place]
    return "8px,3px" + (place - len(DASHES) + 2) * ",2px,2px"


def overlaid(charts_of_runs: Mapping[str, Sequence[Chart]]) -> list[Chart]:
    """Return the charts of several runs laid over each other: those of one title are one.

    A line keeps its colour, which says what it is; its dash says of which run.

    Args:
      charts_of_runs: {name of the run: its charts}.
    """
    if len(charts_of_runs) == 1:
        return list(next(iter(charts_of_runs.values())))
    merged: dict[str, Chart] = {}
    for place, (run, charts) in enumerate(charts_of_runs.items()):
        for chart in charts:
            lines = [_of_run(line, run, place) for line in chart.lines]
            earlier = merged.get(chart.title, chart._replace(lines=[]))
            merged[chart.title] = earlier._replace(
                lines=earlier.lines + lines,
                x=_wider(earlier.x, chart.x),
                y=_wider(earlier.y, chart.y),
            )
    return list(merged.values())


def _of_run(line: ChartLine, run: str, place: int) -> ChartLine:
    hover = line.points["hover"].map(lambda text: f"{html.escape(run)}<br>{text}")
    points = line.points.assign(hover=hover)
    return line._replace(name=f"{run}: {line.name}", points=points, dash=dash(place))


def _wider(axis: Axis, other: Axis) -> Axis:
    """Return an axis with limits that hold those of both."""
    if axis.limits is None or other.limits is None:
        return axis._replace(limits=None)
    pairs = zip(axis.limits, other.limits, (min, max), strict=True)
    low, high = (wider(a, b) for a, b, wider in pairs)
    return axis._replace(limits=(low, high))


def sentence(chart: Chart) -> str:
    """Return what a chart shows in a sentence, for those who do not see it.

    Example:
      >>> rows = pd.DataFrame({"x": [100.0, 20.0], "y": [98.0, 97.5]})
      >>> line = ChartLine("ticket", "#0072B2", rows)
      >>> sentence(Chart("Accuracy", Axis("Weights (%)", "density"), Axis("Accuracy (%)"), [line]))
      'Accuracy. Accuracy (%) by weights (%): ticket from 98 at 100 to 97.5 at 20.'
    """
    shown = [line for line in chart.lines if line.is_shown and len(line.points)]
    told = [_ends(line) for line in shown[:_TOLD]]
    more = len(chart.lines) - len(told)
    told += [f"{more} more line{'s' * (more > 1)}"] if more else []
    x = chart.x.title[:1].lower() + chart.x.title[1:]
    return f"{chart.title}. {chart.y.title} by {x}: {'; '.join(told)}."


def _ends(line: ChartLine) -> str:
    first, last = line.points.iloc[0], line.points.iloc[-1]
    if len(line.points) == 1:
        return f"{line.name} {_short(first['y'])} at {_short(first['x'])}"
    start, end = (f"{_short(row['y'])} at {_short(row['x'])}" for row in (first, last))
    return f"{line.name} from {start} to {end}"


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def on_dark(color: str) -> str:
    """Return a colour as a dark page shows it: as light as it must be to be seen there.

    Example:
      >>> on_dark("#E69F00"), on_dark("#000000")
      ('#e69f00', '#ffffff')
    """
    rgb = colors.to_rgb(color)
    if max(rgb) == 0:
        return "#ffffff"
    for percent in range(101):
        share = percent / 100
        red, green, blue = (share + (1 - share) * value for value in rgb)
        lighter = (red, green, blue)
        if _luminance(lighter) + 0.05 >= _CONTRAST * (_luminance(colors.to_rgb(DARK)) + 0.05):
            return colors.to_hex(lighter)
    return "#ffffff"


def _luminance(rgb: Sequence[float]) -> float:
    """Return the relative luminance of a colour in sRGB, in [0, 1].

    References:
      W3C, Web Content Accessibility Guidelines 2.2, "relative luminance".
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
