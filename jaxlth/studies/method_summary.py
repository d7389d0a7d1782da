"""Tables and figures of pruning early: a row or line for each method, a column for each density.

The table of results has the columns score, schedule, ablation, weights, prune_step and `control`,
the method's whole name; dense networks are those of level 0. What is trained only between two
prunings (`link`) is left out everywhere.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from jaxlth.plots import drawing, result_table
from jaxlth.studies import method_styles as methods
from jaxlth.studies import tables

SIGNIFICANT = 0.05  # of p, as in Lutz & Manai 2022, section 4.3
MOST = 12  # lines of a panel


def tickets(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the networks that were asked for: links aside, densities as asked.

    Where none was asked for, or other numbers of weights are kept, it is the mean over replicates,
    to three digits.
    """
    rows = results[~results["link"].astype(bool)].copy()
    name = rows["unit"].str.extract(r"^density_([^/]+)/")[0]
    asked, own = pd.to_numeric(name, errors="coerce"), rows["density"].astype(float)
    means = own.groupby([rows["control"], name]).transform("mean")
    return rows.assign(
        density=asked.where(
            means.between(0.95 * asked, 1.05 * asked), means.map("{:.3g}".format).astype(float)
        )
    )


def summary(
    results: pd.DataFrame, *, tolerance: float, baseline: str | None = None
) -> pd.DataFrame:
    """Return a row for each method and density: accuracies over the replicates.

    Columns: control, density, mean, min, max, n (replicates that did not diverge), matches
    (whether the mean loses at most `tolerance` of that of the dense network) and, with a baseline,
    p: of Welch's t-test against it at the same density, two-sided; NaN for fewer than two
    replicates.

    Args:
      results: the table of results of one run.
      tolerance: how far below the dense mean still matches, in [0, 1].
      baseline: a method that others are tested against, such as "snip-ums".

    Raises:
      ValueError: the results have no such baseline.

    References:
      Lutz & Manai 2022, section 4.3.
    """
    rows = _in_order(tickets(results))
    rows = rows.assign(accuracy=result_table.survived(rows, "test_accuracy"))
    by = rows.groupby(["control", "density"], sort=False)["accuracy"]
    found = by.agg(["mean", "min", "max", "count"]).rename(columns={"count": "n"}).reset_index()
    dense = _of_reference(rows[rows["level"] == 0])["accuracy"].mean()
    found["matches"] = tables.matching(found["mean"], dense, tolerance)
    if baseline is None:
        return found
    if baseline not in set(found["control"]):
        raise ValueError(f"`baseline` must be a method of the results; got {baseline!r}.")
    of = values(results)
    found["p"] = [
        welch(of[row.control, row.density], of.get((baseline, row.density), np.array([])))
        for row in found.itertuples()
    ]
    return found


def values(results: pd.DataFrame) -> dict[Any, np.ndarray]:
    """Return {(control, density): test accuracies of the replicates that did not diverge}."""
    rows = tickets(results)
    rows = rows.assign(accuracy=result_table.survived(rows, "test_accuracy"))
    by = rows.groupby(["control", "density"])["accuracy"]
    return {key: group.dropna().to_numpy() for key, group in by}


def welch(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Return the two-sided p of Welch's t-test, for samples of unequal variance.

    NaN for fewer than two numbers in a sample, and for two samples without any variance.

    Example:
      >>> round(welch([1.0, 2.0, 3.0], [2.0, 4.0, 9.0]), 3)
      0.284
    """
    if min(len(a), len(b)) < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return float("nan")
    from scipy import stats  # takes long to import, which few commands need

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of samples that hardly vary
        return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def wide(summary: pd.DataFrame) -> pd.DataFrame:
    """Return mean accuracies in percent, a row a method and a column a density, dense first."""
    table = 100 * summary.pivot(index="control", columns="density", values="mean")
    order = list(dict.fromkeys(summary["control"]))
    return table.loc[order, sorted(table.columns, reverse=True)].round(2)


def render(summary: pd.DataFrame, *, tolerance: float) -> Table:
    """Return the summary as a table for a terminal: mean accuracies in percent."""
    frame = wide(summary)
    matches = summary.pivot(index="control", columns="density", values="matches")
    n = int(summary["n"].max())
    said = "Accuracy in percent" + (f", mean of {n} replicates." if n > 1 else ".")
    compared = f"\n* matches the dense network{tables.within(tolerance)}."
    caption = said + (compared if (summary["control"].str.startswith("dense")).any() else "")
    table = tables.plain(caption)
    table.add_column("method", overflow="fold")
    for density in frame.columns:
        table.add_column(f"{result_table.percent(density)} %", justify="right", no_wrap=True)
    for method, row in frame.iterrows():
        cells = []
        for density, value in row.items():
            star = "*" if density != 1 and matches.loc[method, density] is True else ""
            known = not pd.isna(value)
            cells.append(f"{value:.2f}{star or ' '}" if known else "- ")
        table.add_row(str(method), *cells)
    return table


def render_tests(summary: pd.DataFrame, baseline: str) -> Table:
    """Return the p of a summary made with `baseline` as a table for a terminal."""
    table = tables.plain("")
    table.add_column("method", overflow="fold")
    found = summary[summary["control"] != baseline]
    found = found.pivot(index="control", columns="density", values="p")
    found = found.loc[[name for name in dict.fromkeys(summary["control"]) if name in found.index]]
    found = found.dropna(axis=1, how="all").dropna(how="all")
    densities = sorted(found.columns, reverse=True)
    for density in densities:
        table.add_column(f"{result_table.percent(density)} %", justify="right", no_wrap=True)
    for method, row in found.iterrows():
        cells = ["-" if pd.isna(row[each]) else f"{row[each]:.2g}" for each in densities]
        table.add_row(str(method), *cells)
    return table


def sentence(summary: pd.DataFrame) -> str:
    """Return in one sentence which method is best at each density.

    Example:
      >>> rows = [("dense", 1.0, 0.98), ("snip-uss", 0.1, 0.975), ("random-uss", 0.1, 0.92)]
      >>> sentence(pd.DataFrame(rows, columns=["control", "density", "mean"]))
      'The dense network reaches 98.00 %. Best at 10 %: snip-uss (97.50 %).'
    """
    dense = summary.loc[summary["control"] == "dense", "mean"]
    start = (
        f"The dense network reaches {tables.in_percent(dense.iloc[0])} %. " if len(dense) else ""
    )
    pruned = summary[(summary["density"] < 1) & summary["mean"].notna()]
    if pruned.empty:
        return f"{start}No ticket was trained."
    best = pruned.loc[pruned.groupby("density")["mean"].idxmax()]
    best = best.sort_values("density", ascending=False)
    told = [
        f"at {result_table.percent(row.density)} %: {row.control} ({tables.in_percent(row.mean)} %)"
        for row in best.itertuples()
    ]
    return f"{start}Best {'; '.join(told)}."


def accuracy(
    results: pd.DataFrame,
    *,
    panel: str = "schedule",
    line: str | None = None,
    metric: str = "test_accuracy",
) -> Figure:
    """Return accuracy against density: a panel for each schedule, a line for each score.

    As in Frankle 2023, Figures 5-4, 5-5 and 5-7 to 5-10, and Lutz & Manai 2022, Figures 5.1 to 5.5.
    Lines are means over replicates, bands reach from the least to the most; dashed is the dense
    network.

    Args:
      results: the table of results of one run.
      panel: the column that panels differ in.
      line: the column that lines of a panel differ in; None for all that methods differ in besides.
      metric: the accuracy to draw, a column of `results`.
    """
    rows = tickets(results)
    dense, pruned = rows[rows["level"] == 0], rows[rows["level"] > 0]
    if pruned.empty:
        raise ValueError("`results` have no ticket yet, only dense networks.")
    pruned = pruned.assign(line=pruned[line] if line else _names(pruned, apart_from=panel))
    shown = list(dict.fromkeys(pruned["line"]))
    styles = methods.styles(shown)
    panels = sorted(dict.fromkeys(pruned[panel]), key=methods.order)
    with matplotlib.rc_context(drawing.LOOK):
        figure, all_axes = drawing.new_figure(panels=len(panels))
        for axes, name in zip(all_axes, panels, strict=True):
            of_panel = pruned[pruned[panel] == name]
            lines = [
                drawing.Line(
                    _title(each, line),
                    styles[each],
                    drawing.statistics(of_panel[of_panel["line"] == each], metric),
                    False,
                )
                for each in shown
                if each in set(of_panel["line"])
            ]
            left_out, lines = len(lines) - MOST, _best(lines)
            values = result_table.survived(_of_reference(dense), metric).dropna()
            drawing.against_density(axes, lines, values, drawing.AXES.get(metric, metric), True)
            drawing.note_missing(axes, lines, diverged=of_panel["nan_step"].notna())
            if len(panels) > 1:
                axes.set_title(methods.TITLES.get(str(name), str(name)), loc="left", fontsize=9)
            drawing.legend(axes, place="best")
            if left_out > 0:
                drawing.note(axes, f"{left_out} methods, worse at the last point, are not drawn")
    return figure


def steps(results: pd.DataFrame) -> Figure:
    """Return accuracy by the step that is pruned at, a panel for each score, a line an ablation.

    Of the sparsest tickets that were pruned at several steps.

    Args:
      results: the table of results of one run.

    References:
      Frankle 2023, Figures 5-12 and 5-14.
    """
    rows = tickets(results)
    rows = rows.assign(method=rows["score"] + ", " + rows["schedule"])
    later = rows[rows["prune_step"] > 0]
    if later.empty:
        raise ValueError("`results` have no ticket pruned after initialisation.")
    lowest = later["density"].min()
    pruned = rows[np.isclose(rows["density"], lowest)]
    panels = list(dict.fromkeys(later["method"]))
    with matplotlib.rc_context(drawing.LOOK):
        figure, all_axes = drawing.new_figure(panels=len(panels))
        for axes, name in zip(all_axes, panels, strict=True):
            for ablation in dict.fromkeys(later["ablation"]):
                of = pruned[(pruned["method"] == name) & (pruned["ablation"] == ablation)]
                by = 100 * result_table.survived(of, "test_accuracy")
                points = by.groupby(of["prune_step"]).agg(["mean", "min", "max"])
                color, marker = methods.STYLES[ablation]
                label = _title(ablation, "ablation")
                axes.plot(points.index, points["mean"], color=color, marker=marker, label=label)
                axes.fill_between(
                    points.index, points["min"], points["max"], color=color, alpha=0.18, linewidth=0
                )
            axes.set_xscale("symlog", linthresh=max(later["prune_step"].min(), 1))
            axes.set_title(name, loc="left", fontsize=9)
            axes.set_xlabel("Pruned at step")
            axes.set_ylabel(f"Test accuracy (%), {result_table.percent(lowest)} % of weights")
        all_axes[0].legend()
    return figure


def layers(results: pd.DataFrame, *, density: float | None = None) -> Figure:
    """Return what each method keeps of each layer, mean over replicates, as in Figure 5-11.

    Ablations that leave layers their counts are left out.

    Args:
      results: the table of results of one run.
      density: which tickets; the sparsest if None.

    References:
      Frankle 2023, section 5.9, which draws sparsities.
    """
    rows = tickets(results)
    rows = rows[(rows["level"] > 0) & rows["ablation"].isin(("none", "inverted"))]
    kept_share = rows["density"].min() if density is None else density
    rows = rows[np.isclose(rows["density"].astype(float), kept_share)]
    columns = [name for name in rows if str(name).startswith("layer_densities.")]
    if rows.empty or not columns:
        asked = "" if density is None else f" of density {density:g}"
        raise ValueError(f"`results` have no ticket{asked} yet.")
    names = [str(name).removeprefix("layer_densities.").removesuffix("/kernel") for name in columns]
    shown = list(dict.fromkeys(rows["control"]))
    styles = methods.styles(shown)
    with matplotlib.rc_context(drawing.LOOK):
        figure, (axes,) = drawing.new_figure(panels=1)
        for name in shown:
            means = 100 * rows.loc[rows["control"] == name, columns].astype(float).mean()
            color, marker = styles[name]
            axes.plot(range(len(names)), means, color=color, marker=marker, label=name)
        axes.axhline(100 * kept_share, color=drawing.GRAY, linestyle="--", linewidth=1)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(
            lambda value, _: f"{value:g}" if str(value)[0] in "25" else ""
        )
        axes.set_xticks(range(len(names)), names, rotation=0 if len(names) < 6 else 90)
        axes.set_ylabel("Weights remaining of the layer (%)")
        drawing.note(axes, f"{result_table.percent(kept_share)} % of all weights, the dashed line")
        axes.legend(fontsize=7.5)
    return figure


def _of_reference(dense: pd.DataFrame) -> pd.DataFrame:
    """Return the dense networks that others are compared with: of the standard weights, if any."""
    standard = dense[dense["weights"] == "standard"]
    return standard if len(standard) else dense


def _names(rows: pd.DataFrame, *, apart_from: str) -> pd.Series:
    """Return what tells methods apart within a panel, in few words."""
    words = {
        "score": "",
        "schedule": "",
        "ablation": "",
        "weights": "on ",
        "prune_step": "at step ",
    }
    varied = [c for c in words if c != apart_from and (rows[c].nunique() > 1 or c == "score")]

    def name(row: Mapping[Any, Any]) -> str:
        parts = [f"{words[c]}{row[c]}" for c in varied if row[c] not in ("none", "standard", 0)]
        return ", ".join(parts)

    return rows.apply(name, axis=1)


def _best(lines: list[drawing.Line]) -> list[drawing.Line]:
    """Return the lines in their order, if too many those that end highest."""

    def end(line: drawing.Line) -> float:
        known = line.points["mean"].dropna()
        return float(known.iloc[-1]) if len(known) else -math.inf

    best = sorted(range(len(lines)), key=lambda place: -end(lines[place]))[:MOST]
    return [lines[place] for place in sorted(best)]


def _title(name: str, line: str | None) -> str:
    return "as found" if line == "ablation" and name == "none" else str(name)


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows by schedule, score, initial weights, step and ablation, dense ones first."""
    columns = ["schedule", "score", "weights", "prune_step", "ablation"]
    ranks = rows[columns].assign(
        schedule=rows["schedule"].map(methods.order),
        ablation=rows["ablation"] != "none",
        weights=rows["weights"].map(lambda name: (name != "standard", name)),
    )
    return rows.loc[ranks.sort_values(columns, kind="stable").index]
