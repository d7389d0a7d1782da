"""The networks of a table of results, and a line of an interactive chart for each.

Networks that differ by their replicate alone are one: their artifacts have one name before it.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import colors

from jaxlth.plots import axis_scales, charts, control_styles, result_table, theme
from jaxlth.plots.charts import ChartLine

_SHOWN = 6  # lines that are shown at first, where there are many


class Network(NamedTuple):
    """What a line tells of: one network in all its replicates."""

    name: str
    control: str
    density: float  # mean over replicates
    level: int | None
    units: list[str]  # of the replicates that did not diverge


def networks(results: pd.DataFrame, controls: Iterable[str] = ()) -> list[Network]:
    """Return the networks of a table: replicates together, none diverged.

    Args:
      results: the table of results of one run.
      controls: the order in which they come, dense networks before all; others follow.
    """
    rows = results[results["nan_step"].isna()] if "nan_step" in results else results
    nets = []
    for stem, of in rows.groupby(rows["unit"].str.rsplit("/", n=1).str[0], sort=False):
        control = str(of["control"].iloc[0]) if "control" in of else str(stem)
        density = float(of["density"].astype(float).mean()) if "density" in of else np.nan
        level = of["level"].iloc[0] if "level" in of else pd.NA
        is_level = str(stem).startswith("level_") and pd.notna(level)
        name = _name(str(stem), control, density)
        nets.append(
            Network(name, control, density, int(level) if is_level else None, [*of["unit"]])
        )
    whole = [net.control for net in nets if net.density == 1]  # dense networks come first
    order = control_styles.sort_controls(list(dict.fromkeys(net.control for net in nets)))
    order = [*dict.fromkeys([*whole, *controls, *order])]
    return sorted(nets, key=lambda net: (order.index(net.control), net.level or 0, -net.density))


def _name(stem: str, control: str, density: float) -> str:
    """Return the name of a network: control and density, or what its artifact is called.

    Example:
      >>> _name("level_03/ticket", "ticket", 0.512)
      'ticket, 51.2 %'
      >>> _name("step_9/level_02/found/ticket", "ticket", 0.6)
      'step 9, level 2, ticket'
    """
    if stem.startswith(("level_", "density_")) and stem.count("/") == 1 and density == density:
        return f"{control_styles.control_style(control).label}, {result_table.percent(density)} %"
    parts = [part for part in stem.split("/") if part != "found"]  # by IMP on its way
    return ", ".join(re.sub(r"_0*(?=.)", " ", part) for part in parts)


def level(number: int | None) -> list[str]:
    """Return what a pointer is told of a level, if there is one."""
    return [] if number is None else [f"level {number}"]


def lines(
    nets: Sequence[Network],
    styles: Mapping[str, str],
    points: Callable[[Network], pd.DataFrame],
    **look: Any,
) -> list[ChartLine]:
    """Return a line for each network: with a shade for each level, or the colour of its method.

    Of networks at several levels, a control has a dash of its own, and the controls are hidden at
    first. Of methods, the sparsest network of each is shown at first, solid; some of each, where
    there are but two.
    """
    by_control: dict[str, list[Network]] = {}
    for net in nets:
        by_control.setdefault(net.control, []).append(net)
    if not by_control:
        return []
    (first, of_first), *_ = by_control.items()
    drawn = []
    for place, (control, alike) in enumerate(by_control.items()):
        of_levels = any(net.level is not None for net in of_first)
        if of_levels:
            colors_of = _shades(len(alike))
            shown = axis_scales.evenly_spaced(alike, _SHOWN) if control == first else []
        else:
            colors_of = [styles.get(control, theme.BLACK)]
            few = axis_scales.evenly_spaced(alike, 3) if len(by_control) <= 2 else alike[-1:]
            shown = few if place < 2 * _SHOWN else []
        for i, net in enumerate(reversed(alike)):
            color = colors_of[::-1][i % len(colors_of)]
            dash = charts.dash(place if of_levels else i)
            line = ChartLine(net.name, color, points(net), dash=dash, **look)
            drawn.append(line._replace(is_shown=net in shown))
    order = {net.name: place for place, net in enumerate(nets)}
    return sorted(drawn, key=lambda line: order[line.name])


def _shades(count: int) -> list[str]:
    """Return colours from dark to light."""
    return [colors.to_hex(c) for c in matplotlib.colormaps["viridis"](np.linspace(0, 0.88, count))]
