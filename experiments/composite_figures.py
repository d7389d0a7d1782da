"""Figures that set methods of pruning early against each other: by accuracy, rank and masks.

The input is the table of results of one run, its `method_summary.summary`, or compared masks.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from jaxlth.plots import axis_scales, density_lines, legends, mask_plots, result_table, theme
from jaxlth.studies import method_styles, method_summary

NEAR = 1  # percentage points around zero that are drawn to scale; beyond is logarithmic
TICKS = [*(-100, -30, -10, -3, -1), 0, *(1, 3, 10, 30, 100)]  # percentage points


def changes(results: pd.DataFrame, against: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of methods with `change`: how far their accuracy is above a reference's.

    Each network is compared with that of the same density and replicate; NaN where that is missing,
    or where one of the two diverged.

    Args:
      results: the table of results of one run.
      against: {method: its reference}, such as {"snip-before-rounds": "snip-before-once"}.
    """
    rows = method_summary.tickets(results)
    rows = rows.assign(accuracy=result_table.survived(rows, "test_accuracy"))
    accuracy = rows.set_index(["control", "density", "replicate"])["accuracy"]
    rows = rows[rows["control"].isin(list(against))]
    reference = rows["control"].map(against)
    places = pd.MultiIndex.from_arrays([reference, rows["density"], rows["replicate"]])
    change = rows["accuracy"] - accuracy.reindex(places).to_numpy()
    return rows.assign(reference=reference, change=change)


def change(
    results: pd.DataFrame, against: Mapping[str, str], *, panel: str = "score", line: str
) -> Figure:
    """Return how far methods are above their references, by density; see `changes`.

    Lines are means over replicates, bands reach from the least to the most. The vertical axis is
    logarithmic beyond one percentage point.

    Args:
      results: the table of results of one run.
      against: {method: its reference}; other methods are not drawn.
      panel: the column that panels differ in.
      line: the column that lines of a panel differ in.

    References:
      Lutz & Manai 2022, Figures 5.4, 5.5, 5.9 and 5.12.
    """
    rows = changes(results, against)
    rows = rows[rows.groupby(panel)["change"].transform("count") > 0]  # no panel without a line
    if rows.empty:
        raise ValueError("`results` have no method of `against` together with its reference.")
    styles = method_styles.line_styles(list(dict.fromkeys(rows[line])))
    panels = sorted(dict.fromkeys(rows[panel]), key=method_styles.schedule_order)
    with theme.applied():
        figure, all_axes = theme.new_figure(panels=len(panels))
        for axes, name in zip(all_axes, panels, strict=True):
            of_panel = rows[rows[panel] == name]
            lines = [
                density_lines.DensityLine(
                    str(each), styles[each], 100 * density_lines.statistics(of, "change"), False
                )
                for each, of in of_panel.groupby(line)
            ]
            _around_zero(axes, lines, " and ".join(dict.fromkeys(of_panel["reference"])))
            axes.set_title(method_styles.SCHEDULE_TITLES.get(str(name), str(name)), loc="left")
        legends.below_figure(figure, key=method_styles.schedule_order)
    return figure


def _around_zero(axes: Axes, lines: list[density_lines.DensityLine], reference: str) -> None:
    """Draw lines of percentage points, and the reference at zero."""
    nothing = pd.Series(dtype=float)
    density_lines.plot_lines(axes, lines, nothing, "Change in accuracy (points)")
    axes.axhline(0, color=theme.GRAY, linestyle="--", linewidth=1, zorder=2)
    axes.set_yscale("symlog", linthresh=NEAR)
    low, high = (1.2 * end for end in axes.get_ylim())  # room for markers
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in TICKS if low <= tick <= high]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+g}" if value else "0")
    theme.note(axes, f"dashed: {reference}")


def overlap(shared: pd.DataFrame) -> Figure:
    """Return what tickets of two schedules share, by density: a panel a pair, a line a score.

    Dashed is what two masks share by chance.

    Args:
      shared: columns schedules, such as "before-once and iterative-once", score, density,
        replicate and jaccard.

    References:
      Lutz & Manai 2022, Figure 5.6.
    """
    styles = method_styles.line_styles(list(dict.fromkeys(shared["score"])))
    panels = list(dict.fromkeys(shared["schedules"]))
    with theme.applied():
        figure, all_axes = theme.new_figure(panels=len(panels))
        for axes, name in zip(all_axes, panels, strict=True):
            of_panel = shared[shared["schedules"] == name]
            for score, of in of_panel.groupby("score", sort=False):
                points = of.groupby("density")["jaccard"].agg(["mean", "min", "max"])
                density_lines.plot_line(
                    axes, density_lines.DensityLine(str(score), styles[score], points, False)
                )
            densities = np.sort(of_panel["density"].unique())
            chance = densities / (2 - densities)
            look = {"color": theme.GRAY, "linestyle": "--", "linewidth": 1}
            axes.plot(100 * densities, chance, label="by chance", **look)
            axis_scales.density_axis(axes, densities, max_ticks=7)
            axes.set_ylim(-0.03, 1.03)
            axes.set_ylabel("Jaccard similarity")
            axes.set_title(name, loc="left")
        legends.below_figure(figure, key=method_styles.schedule_order)
    return figure


def ranking(summary: pd.DataFrame, *, most: int = 20, against: str | None = None) -> Figure:
    """Return the methods that are best at the least density, as a table with a map of colours.

    Numbers are mean accuracies in percent, with a star where p, if the summary has it, is below
    0.05. Colours reach from the worst to the best number of each column. Densities that fewer than
    half of the methods have are left out.

    Args:
      summary: of tickets, from `method_summary.summary`.
      most: how many methods are shown.
      against: what stars are a difference from, to be named above the table.

    References:
      Lutz & Manai 2022, Figures 5.11, 5.13 and 5.14.
    """
    pruned = summary[summary["density"] < 1]
    if pruned.empty:
        raise ValueError("`summary` has no ticket, only dense networks.")
    best = (
        method_summary.mean_table(pruned)
        .sort_values(pruned["density"].min(), ascending=False)
        .head(most)
    )
    best = best.loc[:, best.notna().mean() >= 0.5]
    shades = (best - best.min()) / (best.max() - best.min()).replace(0, 1)
    shades.columns = [result_table.percent(density) for density in best.columns]
    with theme.applied({"axes.grid": False}):
        figure, (axes,) = theme.new_figure(panels=1)
        figure.set_size_inches(2.4 + 0.7 * best.shape[1], 1 + 0.22 * best.shape[0])
        mask_plots.heatmap(axes, shades, _texts(best, pruned))
        axes.set_xlabel("Weights remaining (%)")
        if against is not None:
            theme.note(axes, f"* p < {method_summary.SIGNIFICANT} against {against}")
    return figure


def _texts(best: pd.DataFrame, pruned: pd.DataFrame) -> list[list[str]]:
    """Return the numbers of a ranking, with a star where p is significant."""
    starred = pruned.assign(
        star=pruned["p"] < method_summary.SIGNIFICANT if "p" in pruned else False
    )
    stars = starred.pivot(index="control", columns="density", values="star")
    stars = stars.reindex(index=best.index, columns=best.columns).fillna(value=False)
    numbers = best.map("{:.2f}".format).where(best.notna(), "")
    return (numbers + stars.map(lambda star: "*" if star else "")).to_numpy().tolist()
