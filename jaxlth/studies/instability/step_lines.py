"""Lines of twins by the step that they start from: means over pairs, bands of deviations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxlth.plots import axis_scales, legends, result_table, theme
from jaxlth.studies.instability.summary import DENSE, both_at_0


def figure_by_step(
    rows: pd.DataFrame,
    columns: dict[str, str],
    title: str,
    *,
    scale: float,
    styles: Mapping[Any, theme.LineStyle],
    reference: pd.Series = result_table.NONE,
) -> Figure:
    """Return columns by step, times a scale: a panel for each size of network.

    Args:
      rows: pairs of twins.
      columns: {column: dash of its lines}.
      title: of the vertical axis.
      scale: of the columns.
      styles: {control: style}.
      reference: of dense networks, in the unit of the axis; a gray band shows mean and deviation.
    """
    rows = both_at_0(rows)
    dense, sparse = rows[rows["control"] == DENSE], rows[rows["control"] != DENSE]
    sizes: Sequence[Any] = sorted(sparse["density"].dropna().unique(), reverse=True) or [None]
    several = rows["length"].nunique() > 1
    with theme.applied():
        figure, panels = theme.new_figure(panels=len(sizes))
        for axes, size in zip(panels, sizes, strict=True):
            of = pd.concat(
                [dense, sparse[np.isclose(sparse["density"], size)]] if size else [dense]
            )
            if len(sizes) > 1:  # the panel says how many weights there are
                of = of.assign(network=of["network"].str.replace(r" at [^ ]+ %", "", regex=True))
                axes.set_title(f"{result_table.percent(size)} % of weights", loc="left")
            for length, part in of.groupby("length", sort=False):
                names = list(dict.fromkeys(part["network"]))
                for column, dash in columns.items():
                    more = f" ({length})" if several else ""
                    label = f"{more}, {column.partition('_')[0]}"
                    alpha = 1.0 if length == "remaining" else 0.5
                    style: dict[str, Any] = {"dash": dash, "more": label, "alpha": alpha}
                    plot_networks(axes, part, names, column, scale=scale, styles=styles, **style)
            if len(reference):
                deviation = reference.std() if len(reference) > 1 else 0
                ends = (reference.mean() - deviation, reference.mean() + deviation)
                band: dict[str, Any] = {"color": theme.GRAY, "alpha": 0.25, "linewidth": 1}
                axes.axhspan(*ends, zorder=0, label="dense networks", **band)
            step_axis(axes, rows)
            axes.set_ylabel(title)
            axes.set_ylim(bottom=0)
        legends.below_figure(figure)
    return figure


def plot_networks(
    axes: Axes,
    rows: pd.DataFrame,
    names: list[str],
    column: str,
    *,
    scale: float,
    styles: Mapping[Any, theme.LineStyle],
    dash: str = "-",
    more: str = "",
    alpha: float = 1.0,
) -> None:
    """Draw a column by step, a line for each network; of one method sparser ones are paler."""
    controls = rows.groupby("network", sort=False)["control"].first()
    for name in names:
        of = rows[rows["network"] == name]
        alike = [other for other in names if controls[other] == controls[name]]
        paler = 1 - 0.65 * alike.index(name) / len(alike)
        by = scale * of.groupby("step_k")[column].agg(["mean", "std"])
        color, marker = styles[of["control"].iloc[0]]
        label = f"{name}{more}"
        plot_band(axes, by, color=color, marker=marker, dash=dash, label=label, alpha=alpha * paler)


def plot_band(
    axes: Axes,
    by: pd.DataFrame,
    *,
    color: Any,
    label: str,
    marker: str | None = None,
    dash: str = "-",
    alpha: float = 1.0,
) -> None:
    """Draw means, and their standard deviation as a band if the line is solid."""
    x, deviation = by.index.to_numpy(float), by["std"].fillna(0)
    style: dict[str, Any] = {"color": color, "marker": marker, "linestyle": dash, "alpha": alpha}
    band = (by["mean"] - deviation, by["mean"] + deviation) if dash == "-" else None
    theme.plot_mean(axes, x, by["mean"], band, band_alpha=0.12, label=label, **style)


def step_axis(axes: Axes, rows: pd.DataFrame) -> None:
    """Make the horizontal axis: steps, logarithmic beyond the least above 0."""
    axis_scales.step_axis(axes, "x", rows["step_k"])
    axes.set_xlabel("Twins start at step")
