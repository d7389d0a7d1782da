"""A chart as plotly.js takes it: traces, layout, and the lines that the legend switches.

The legend is not plotly's: the page makes buttons of the lines, which a keyboard reaches and which
wrap on a narrow screen.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib import colors

from jaxlth.plots import charts
from jaxlth.plots.charts import Axis, Chart, ChartLine

SYMBOLS = {  # of plotly, by the marker of matplotlib
    **{"o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "D": "diamond"},
    **{"P": "cross", "X": "x", "x": "x-thin-open", "<": "triangle-left", ">": "triangle-right"},
    **{"h": "hexagon", "*": "star", "p": "pentagon", "+": "cross-thin-open"},
}
_BAND = 0.16  # opacity of a range
_RATIO = 4  # of the ends of a logarithmic axis, at least
_NEAR_0 = 0.4  # powers of ten that the linear part of a logarithmic axis with a 0 is long
_STEPS = (1, 2, 5)  # times powers of ten: where a logarithmic axis has numbers


def text(chart: Chart) -> str:
    """Return a chart as JSON that may stand within a page: no character of it ends a script."""
    plain = json.dumps(figure(chart), allow_nan=False, separators=(",", ":"))
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def figure(chart: Chart) -> dict[str, Any]:
    """Return `data` and `layout` of plotly.js, and `lines`: name and look of each for the legend.

    Each trace says in `meta` of which line it is.
    """
    lines = [line for line in chart.lines if len(line.points)]
    layout = _layout(chart, lines)
    if layout["yaxis"].get("type") == "log" and any(
        (line.points["low"] <= 0).any() for line in lines
    ):
        lines, layout["yaxis"] = _with_0(lines, layout["yaxis"])
    traces = [trace for place, line in enumerate(lines) for trace in _traces(line, place)]
    return {"data": traces, "layout": layout, "lines": list(map(_look, lines))}


def _with_0(
    lines: Sequence[ChartLine], axis: Mapping[str, Any]
) -> tuple[list[ChartLine], dict[str, Any]]:
    """Return lines and a logarithmic axis that has 0 below its least number, linear in between."""
    least = axis["tickvals"][0]

    def height(value: float) -> float:
        ratio = value / least
        return _NEAR_0 * ratio if ratio < 1 else _NEAR_0 + math.log10(ratio)

    def drawn(points: pd.DataFrame) -> pd.DataFrame:
        return points.assign(**{name: points[name].map(height) for name in ("y", "low", "high")})

    ticks = {
        "tickvals": [height(tick) for tick in (0, *axis["tickvals"])],
        "ticktext": ["0", *axis["ticktext"]],
    }
    lines = [line._replace(points=drawn(line.points)) for line in lines]
    return lines, {**axis, "type": "linear", **ticks}


def _plain(values: pd.Series) -> list[Any]:
    """Return numbers or names as JSON has them; None is a gap."""
    return [None if pd.isna(value) else value for value in values.tolist()]


def _look(line: ChartLine) -> dict[str, Any]:
    color = colors.to_hex(line.color)
    return {
        "name": line.name,
        "color": color,
        "dark": charts.on_dark(color),
        "dash": line.dash,
        "shown": line.is_shown,
    }


def _traces(line: ChartLine, place: int) -> list[dict[str, Any]]:
    """Return the traces of a line: its band below it, if it has one, and itself."""
    shared = {"type": "scatter", "meta": place, "name": line.name, "visible": line.is_shown}
    points, has_markers = line.points, line.marker != "" or len(line.points) == 1
    trace = shared | {
        "x": _plain(points["x"]),
        "y": _plain(points["y"]),
        "text": points["hover"].tolist(),
        "hovertemplate": "%{text}<extra></extra>",
        "mode": "lines+markers" if has_markers else "lines",
        "line": {"dash": line.dash, "width": 2},
    }
    if has_markers:
        trace["marker"] = {"symbol": SYMBOLS.get(line.marker, "circle"), "size": 7}
    if not (points["low"] < points["high"]).any():
        return [trace]
    if line.has_bars or len(points) == 1:
        above, below = points["high"] - points["y"], points["y"] - points["low"]
        bars = {"symmetric": False, "array": _plain(above), "arrayminus": _plain(below)}
        return [trace | {"error_y": bars | {"thickness": 1.5, "width": 3}}]
    ends = points[points["y"].notna()]
    around = {
        "x": _plain(ends["x"]) + _plain(ends["x"])[::-1],
        "y": _plain(ends["high"]) + _plain(ends["low"])[::-1],
    }
    fill = {"fill": "toself", "opacity": _BAND, "line": {"width": 0}, "mode": "lines"}
    return [shared | around | fill | {"hoverinfo": "skip"}, trace]


def _layout(chart: Chart, lines: list[ChartLine]) -> dict[str, Any]:
    places = [x for line in lines for x in line.points["x"]]
    heights = [y for line in lines for y in line.points["y"]]
    return {
        "showlegend": False,
        "hovermode": "closest",
        "height": 380,
        "margin": {"l": 62, "r": 16, "t": 12, "b": 52},
        "xaxis": _axis(chart.x, places),
        "yaxis": _axis(chart.y, heights),
    }


def _axis(axis: Axis, values: list[Any]) -> dict[str, Any]:
    shared: dict[str, Any] = {"title": {"text": axis.title, "standoff": 8}, "zeroline": False}
    shared["automargin"] = True
    if axis.scale == "category":
        order = {"categoryorder": "array", "categoryarray": _categories(values)}
        return shared | {"type": "category"} | order
    limits = list(axis.limits) if axis.limits else None
    if axis.scale == "linear":
        return shared | ({"range": limits} if limits else {})
    numbers = sorted(value for value in values if value > 0) or [1.0]
    if axis.scale == "log" and numbers[-1] < _RATIO * numbers[0]:
        return shared  # a logarithmic axis would have hardly a number
    several = len(set(numbers)) > 1
    ticks = _log_ticks(numbers) if several else numbers[:1]
    shared |= {"type": "log", "tickvals": ticks, "ticktext": [_number(tick) for tick in ticks]}
    if axis.scale == "log":
        return shared
    margin = 0.03 * math.log10(numbers[-1] / numbers[0]) + (0.01 if several else 0.3)
    dense, sparse = math.log10(numbers[-1]) + margin, math.log10(numbers[0]) - margin
    return shared | {"range": [dense, sparse]}


def _categories(names: Iterable[str]) -> list[str]:
    """Return the categories of an axis: numbers by their size, names as they come.

    Example:
      >>> _categories(["5", "20", "0", "5"]), _categories(["Dense_1", "Dense_0"])
      (['0', '5', '20'], ['Dense_1', 'Dense_0'])
    """
    categories = list(dict.fromkeys(names))
    try:
        return sorted(categories, key=float)
    except ValueError:
        return categories


def _number(tick: float) -> str:
    """Return a number of a logarithmic axis, whole where it is 1 or more.

    Example:
      >>> _number(5000.0), _number(20.0), _number(0.05)
      ('5,000', '20', '0.05')
    """
    return f"{tick:,.0f}" if tick >= 1 else f"{tick:.3g}"


def _log_ticks(numbers: Iterable[float]) -> list[float]:
    """Return where a logarithmic axis of numbers above 0 has its own.

    Example:
      >>> _log_ticks([100, 12.0])
      [10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
    """
    values = list(numbers) or [1.0]
    first, last = (math.floor(math.log10(end)) for end in (min(values), max(values)))
    steps = _STEPS if last - first < 4 else _STEPS[:1]
    return [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps]
