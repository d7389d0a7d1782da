"""Figures of what became of networks with several tasks, over several runs.

Where a figure is drawn by extension level, `by` says that of each run: the name of a column, or
{run: number}.

References:
  Burger 2024, sections 4.2 and 4.3.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from jaxlth.plots import axis_scales, legends, outcome_plots, result_table, theme
from jaxlth.studies.separation import summary as separation

By = str | Mapping[str, float]


def shares(results: pd.DataFrame, by: By = "extension") -> pd.DataFrame:
    """Return the share of each outcome, in [0, 1], by extension level: a column an outcome."""
    outcome_rows = _placed(results, by)
    counts = pd.crosstab(outcome_rows["place"], outcome_rows["outcome"], normalize="index")
    return counts.reindex(
        columns=[name for name in outcome_plots.OUTCOME_STYLES if name in set(counts.columns)]
    )


def areas(results: pd.DataFrame, by: By = "extension") -> Figure:
    """Return the shares of outcomes by extension level, stacked (Burger 2024, 4.4, 4.6, 4.7)."""
    percentages = 100 * shares(results, by)
    if len(percentages) < 2:
        raise ValueError(f"Areas need two {_title(by).lower()}s at least; got {len(percentages)}.")
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        colors = [outcome_plots.OUTCOME_STYLES[name].color for name in percentages]
        axes.stackplot(
            *(percentages.index, percentages.T.to_numpy()),
            **{
                "labels": list(percentages),
                "colors": colors,
                "edgecolor": "white",
                "linewidth": 0.6,
            },
        )
        axes.set_xlim(percentages.index.min(), percentages.index.max())
        axes.set_ylim(0, 100)
        axis_scales.integer_axis(axes.xaxis)
        axes.set_xlabel(_title(by))
        axes.set_ylabel("Networks (%)")
        outcome_plots.legend(axes)
    return figure


def active_at_end(results: pd.DataFrame, by: By = "extension") -> Figure:
    """Return the active share of the available weights at each network's last level (4.5)."""
    outcome_rows = _placed(results, by)
    outcome_rows = outcome_rows.assign(
        share=100 * outcome_rows["last_active"] / outcome_rows["last_kept"]
    )
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        outcome_plots.scatter(axes, outcome_rows, "place", "share", "outcome")
        axes.set_ylim(bottom=0)
        axis_scales.integer_axis(axes.xaxis)
        axes.set_xlabel(_title(by))
        axes.set_ylabel("Active of the available weights, at the end (%)")
        outcome_plots.legend(axes)
    return figure


def at_separation(results: pd.DataFrame, by: By = "extension") -> Figure:
    """Return active and available weights at the level where networks separate (4.8 to 4.10).

    Means over the networks that separate; bars reach from the least to the most.

    Raises:
      ValueError: no network separates.
    """
    outcome_rows = _placed(results, by)
    outcome_rows = outcome_rows[outcome_rows["level"].notna()]
    if outcome_rows.empty:
        raise ValueError("`results` have no network that separates.")
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        available = theme.LineStyle(theme.ORANGE, "s")
        for column, style, label in (
            ("kept", available, outcome_plots.AVAILABLE_LABEL),
            ("active", outcome_plots.CATEGORY_STYLES["active"], outcome_plots.ACTIVE_LABEL),
        ):
            grouped = outcome_rows[column].astype(float).groupby(outcome_rows["place"])
            outcome_plots.error_bars(
                axes, grouped.agg(["mean", "min", "max"]), style=style, label=label
            )
        axis_scales.log_axis(axes, "y", outcome_rows[["kept", "active"]].to_numpy(float))
        axis_scales.integer_axis(axes.xaxis)
        axes.set_xlabel(_title(by))
        axes.set_ylabel("Weights where networks separate")
        legends.below_panel(axes, by_end=False)
    return figure


def sizes(results: pd.DataFrame) -> Figure:
    """Return each network's width against its active weights at the end, by outcome (4.11).

    The width is that of the first hidden layer.
    """
    separation.check(results, "widths")
    outcome_rows = separation.outcomes(results)
    outcome_rows = outcome_rows.assign(width=[widths[1] for widths in outcome_rows["widths"]])
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        outcome_plots.scatter(axes, outcome_rows, "last_active", "width", "outcome")
        widths = sorted(set(outcome_rows["width"]))
        axes.yaxis.set_major_locator(FixedLocator(axis_scales.evenly_spaced(widths, 11)))
        axes.margins(y=0.12)
        axes.set_xlabel(f"{outcome_plots.ACTIVE_LABEL} at the end")
        axes.set_ylabel("Units of the first hidden layer")
        outcome_plots.legend(axes)
    return figure


def rates(results: pd.DataFrame, by: By | None = None) -> Figure:
    """Return active weights at the end by the number of levels, a panel for each size (4.12).

    The upper axis has the pruning rate that the weights of a run's last level tell.

    Args:
      results: the table of results of runs with several numbers of levels.
      by: the number of levels of each run; the last level of any of its networks if None.
    """
    separation.check(results, "widths")
    last = results.groupby("run", sort=False)["level"].max().to_dict()
    outcome_rows = _placed(results, last if by is None else by)
    outcome_rows = outcome_rows.assign(
        rate=outcome_rows["run"].map(_rates(results)), size=outcome_rows["widths"].map(_named)
    )
    panels = axis_scales.evenly_spaced(list(dict.fromkeys(outcome_rows["size"])), 12)
    with theme.applied():
        figure, all_axes = theme.new_figure(panels=len(panels))
        for axes, size in zip(all_axes, panels, strict=True):
            of = outcome_rows[outcome_rows["size"] == size]
            outcome_plots.scatter(axes, of, "place", "last_active", "outcome")
            axes.margins(x=0.08)
            levels = axis_scales.evenly_spaced(sorted(of["place"].unique()), 11)
            axes.xaxis.set_major_locator(FixedLocator(levels))
            axes.set_xlabel(f"Pruning levels, network {size}")
            axes.set_ylabel(f"{outcome_plots.ACTIVE_LABEL} at the end")
            means = of.groupby("place")["rate"].mean()
            upper = axes.secondary_xaxis("top")
            upper.set_xticks(levels, [_rate(means[level]) for level in levels], fontsize=7.5)
            upper.set_xlabel("Pruning rate")
        outcome_plots.legend_below(figure, outcome_rows["outcome"])
    return figure


def losses(results: pd.DataFrame, *, metric: str = "validation_loss") -> Figure:
    """Return loss against active weights, each network of each level by its state (4.15).

    Args:
      results: the table of results of one run or several.
      metric: the loss to draw, a column of `results`.

    Raises:
      ValueError: the loss is missing in every row.
    """
    separation.check(results, metric)
    rows = results.assign(loss=result_table.survived(results, metric))
    if rows["loss"].isna().all():
        remedy = " Ask for `test_loss`." if metric == "validation_loss" else ""
        raise ValueError(f"`{metric}` is missing in every row.{remedy}")
    seen = rows[np.isfinite(rows["loss"]) & (rows["loss"] > 0) & (rows["weights.active"] > 0)]
    if seen.empty:
        raise ValueError(f"`{metric}` has no number above 0 of a network with active weights.")
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        outcome_plots.scatter(axes, seen, "weights.active", "loss", "state", size=3.5)
        axis_scales.log_axis(axes, "x", seen["weights.active"])
        axis_scales.log_axis(axes, "y", seen["loss"])
        axes.invert_xaxis()
        axes.set_xlabel(outcome_plots.ACTIVE_LABEL)
        axes.set_ylabel(metric.replace("_", " ").capitalize())
        if len(seen) < len(rows):
            theme.note(axes, f"{len(rows) - len(seen)} of {len(rows)} networks not shown")
        legends.below_panel(axes, by_end=False)
    return figure


def unused(
    results: pd.DataFrame,
    category: Literal["inactive", "zombie"] = "inactive",
    *,
    relative: bool = False,
    by: By = "extension",
) -> Figure:
    """Return inactive or zombie weights against available ones, a line an extension level.

    Args:
      results: the table of results of one run or several.
      category: of the weights.
      relative: whether to draw their share of the available weights, not their number.
      by: the extension level of each run.

    References:
      Burger 2024, Figures 4.16 to 4.19: means over replicates.
    """
    if category not in ("inactive", "zombie"):
        raise ValueError(f"`category` must be inactive or zombie; got {category!r}.")
    separation.check(results, f"weights.{category}")
    numbers = results[f"weights.{category}"].astype(float)
    rows = results.assign(
        number=100 * numbers / results["kept"] if relative else numbers,
        place=results["run"].map(_places(results, by)),
    )
    places = sorted(rows["place"].unique())
    labelled = axis_scales.evenly_spaced(places, 9)
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(places)))
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        for place, shade in zip(places, shades, strict=True):
            means = rows[rows["place"] == place].groupby("level")[["kept", "number"]].mean()
            label = f"{place:g}" if place in labelled else f"_{place:g}"
            axes.plot(means["kept"], means["number"], color=shade, label=label)
        outcome_plots.weights_axis(axes, rows["kept"])
        axes.set_ylim(bottom=0)
        share = ", of the available (%)" if relative else ""
        axes.set_ylabel(f"{category.capitalize()} weights{share}")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        legends.below_panel(axes, by_end=False, title=_title(by))
    return figure


def _placed(results: pd.DataFrame, by: By) -> pd.DataFrame:
    """Return outcomes with the extension level of each, as `place`."""
    outcome_rows = separation.outcomes(results)
    return outcome_rows.assign(place=outcome_rows["run"].map(_places(results, by)))


def _places(results: pd.DataFrame, by: By) -> dict[str, float]:
    """Return the number that `by` says of each run."""
    runs = list(dict.fromkeys(results["run"]))
    if isinstance(by, str):
        if by not in results:
            raise ValueError(f"`by` must be a column of `results` or {{run: number}}; got {by!r}.")
        given = results.groupby("run", sort=False)[by].agg(
            lambda values: list(dict.fromkeys(values))
        )
        by = {run: values[0] for run, values in given.items() if len(values) == 1}
    wrong = [run for run in runs if not _is_number(by.get(run))]
    if wrong:
        raise ValueError(f"`by` must have one number for each run; it has none for {wrong[0]!r}.")
    return {run: float(by[run]) for run in runs}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def _title(by: By) -> str:
    """Return what the axis of `by` is called."""
    name = by.rpartition(".")[2] if isinstance(by, str) else "extension"
    return "Extension level" if name == "extension" else name.replace("_", " ").capitalize()


def _rates(results: pd.DataFrame) -> dict[str, float]:
    """Return the share of weights that a level of each run prunes; NaN where none was pruned."""
    rates_by_run = {}
    for run, rows in results.groupby("run", sort=False):
        first, last = rows.loc[rows["level"].idxmin()], rows.loc[rows["level"].idxmax()]
        levels = last["level"] - first["level"]
        ratio = last["kept"] / first["kept"]
        rates_by_run[str(run)] = 1 - ratio ** (1 / levels) if levels else math.nan
    return rates_by_run


def _rate(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _named(widths: Sequence[int]) -> str:
    """Return widths as one name.

    Example:
      >>> _named([4, 57, 57, 2])
      '(4, 57, 57, 2)'
    """
    return f"({', '.join(str(width) for width in widths)})"
