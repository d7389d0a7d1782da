"""Scales and ticks of axes: density, logarithms with written numbers, integers."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from jaxlth.plots import result_table


def density_axis(axes: Axes, densities: Iterable[float], *, max_ticks: int) -> None:
    """Make the horizontal axis: logarithmic, dense at the left, labelled at levels that exist."""
    percents = sorted({round(100 * d, 6) for d in densities}, reverse=True)
    gap = math.log(percents[0] / percents[-1]) / (1.6 * max_ticks)
    ticks = _without_close(evenly_spaced(percents, max_ticks), gap=gap)
    margin = max((percents[0] / percents[-1]) ** 0.03, 1.02)
    axes.set_xscale("log")
    axes.set_xlim(percents[0] * margin, percents[-1] / margin)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(FixedLocator([p for p in percents if p not in ticks]))
    axes.xaxis.set_major_formatter(lambda value, _: result_table.percent(value / 100))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Weights remaining (%)")


def evenly_spaced(values: Sequence, max_count: int) -> list:
    """Return at most `max_count` of the values, evenly spaced; with the last if that divides."""
    steps = len(values) - 1
    strides = range(1, max(steps, 1) + 1)
    smallest = math.ceil(steps / (max_count - 1)) if steps else 1
    divisors = [stride for stride in strides if stride >= smallest and steps % stride == 0]
    stride = divisors[0] if divisors and divisors[0] <= 2 * smallest else smallest
    return list(values)[::stride]


def _without_close(percents: list[float], *, gap: float) -> list[float]:
    """Return the percents, less those closer than `gap` in logarithm to the one before."""
    ticks = percents[:1]
    for percent in percents[1:]:
        if math.log(ticks[-1] / percent) > gap:
            ticks.append(percent)
    return ticks


def integer_axis(axis: Axis) -> None:
    """Label an axis at integers."""
    axis.set_major_locator(MaxNLocator(nbins=11, integer=True))


def symlog_axis(axes: Axes) -> None:
    """Make the vertical axis logarithmic above 1, and let it begin at 0."""
    axes.set_yscale("symlog", linthresh=1, linscale=0.4)
    axes.set_ylim(bottom=0)
    top = axes.get_ylim()[1]
    ticks = [factor * 10**power for power in range(9) for factor in (1, 3)]
    axes.yaxis.set_major_locator(FixedLocator([0, *(tick for tick in ticks if tick <= top)]))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_locator(NullLocator())


def log_axis(axes: Axes, which: Literal["x", "y"], values: Iterable[float]) -> None:
    """Make an axis logarithmic, with numbers written out and enough of them."""
    numbers = np.asarray(values, float)
    ratio = numbers.max() / numbers.min()
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    if ratio < 1.01:  # else the axis is one point
        axes.set(**{f"{which}lim": (numbers.min() / 3, numbers.max() * 3)})
    subs = (1.0,) if ratio > 2000 else (1.0, 3.0) if ratio > 50 else (1.0, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=15))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def step_axis(axes: Axes, which: Literal["x", "y"], steps: Iterable[float]) -> None:
    """Make an axis of steps: logarithmic beyond the least above 0, with room around 0.

    Args:
      axes: the panel.
      which: of its axes.
      steps: all that occur; the axis is labelled at some of them.
    """
    occurring = sorted(set(steps))
    above = [step for step in occurring if step > 0]
    if len(above) > 1:
        scale = axes.set_xscale if which == "x" else axes.set_yscale
        scale("symlog", linthresh=above[0])
        axes.set(**{f"{which}lim": (occurring[0] - 0.1 * above[0], 1.15 * above[-1])})
    ticks = evenly_spaced(occurring, 7)
    axes.set(**{f"{which}ticks": ticks, f"{which}ticklabels": [f"{step:g}" for step in ticks]})
    axes.minorticks_off()
