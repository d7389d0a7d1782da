"""Whether sparse networks match where and only where they are stable: tables and figures.

A *cell* is a network of a density and a step that twins start from. It is stable where the mean
instability of its pairs is below the threshold. It matches where it loses less accuracy than the
tolerance against the dense twins from step 0 of the same initialisation, which train for all steps.
Its p-value is that of a paired t-test over replicates; so are those of what it gains over the same
network from step 0, and of how far it is below the ticket of its density and step.

References:
  Frankle 2023, section 4.2.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from jaxlth.plots import axis_scales, control_styles, legends, theme
from jaxlth.studies.instability import summary

DENSE, TICKET, SPARSE = "dense", "ticket", "all sparse"
CELL = ["control", "level", "density", "step_k"]


def replicates(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row a cell and replicate: its instability, accuracy and loss of accuracy, in points.

    Args:
      results: the table of results of one run.
    """
    of_pairs = summary.principal(summary.pairs(results))
    rows = of_pairs.groupby([*CELL, "replicate"], sort=False).agg(
        instability=("test_instability", "mean"),
        train_instability=("train_instability", "mean"),
        error=("test_error", "mean"),
        train_error=("train_error", "mean"),
    )
    rows = 100 * rows.reset_index().set_index([*CELL, "replicate"])
    rows = rows.assign(accuracy=100 - rows["error"]).drop(columns="error").reset_index()
    dense = rows[_is_reference(rows)].set_index("replicate")["accuracy"]
    first = rows["accuracy"].where(rows["step_k"] == 0)
    first = first.groupby([rows[name] for name in ("control", "level", "replicate")])
    tickets = rows["accuracy"].where(rows["control"] == TICKET)
    tickets = tickets.groupby([rows[name] for name in ("level", "step_k", "replicate")])
    return rows.assign(
        lost=rows["replicate"].map(dense) - rows["accuracy"],
        gained=rows["accuracy"] - first.transform("max"),
        below_ticket=tickets.transform("max") - rows["accuracy"],
    )


def cells(rows: pd.DataFrame, *, threshold: float, tolerance: float) -> pd.DataFrame:
    """Return a row a cell: means and deviations over replicates, p, stable and matches.

    Args:
      rows: of `replicates`.
      threshold: instability below which a cell is stable, in points.
      tolerance: accuracy that a matching cell may lose, in points.
    """
    table = rows.groupby(CELL, sort=False).agg(
        replicates=("lost", "size"),
        instability=("instability", "mean"),
        instability_sd=("instability", "std"),
        train_instability=("train_instability", "mean"),
        accuracy=("accuracy", "mean"),
        accuracy_sd=("accuracy", "std"),
        lost=("lost", "mean"),
        p_lost=("lost", _p),
        gained=("gained", "mean"),
        p_gained=("gained", _p),
        below_ticket=("below_ticket", "mean"),
        p_below_ticket=("below_ticket", _p),
    )
    return table.reset_index().assign(
        stable=lambda t: t["instability"] < threshold, matches=lambda t: t["lost"] < tolerance
    )


def _p(differences: pd.Series) -> float:
    """Return the p of a paired t-test; NaN where all differences are the same."""
    differs = np.ptp(differences) > 1e-9  # not so where there is nothing to compare with
    return float("nan") if not differs else float(stats.ttest_1samp(differences, 0).pvalue)


def association(rows: pd.DataFrame, *, threshold: float, tolerance: float) -> pd.DataFrame:
    """Return how stability and matching agree, a row for each control and all sparse networks.

    The dense networks from step 0 are left out, as the others are compared with them.

    Columns: the counts of cells that are both, either or none; p_fisher, of Fisher's exact test on
    these (which takes cells as independent); rank_correlation, Spearman's of instability and lost
    accuracy over cells, the mean of replicates, with its sd and p of a t-test over replicates.

    Args:
      rows: of `replicates`.
      threshold: as in `cells`.
      tolerance: likewise.
    """
    rows = rows[~_is_reference(rows)]
    groups = {control: rows["control"] == control for control in dict.fromkeys(rows["control"])}
    groups[SPARSE] = rows["control"] != DENSE
    in_points = {"threshold": threshold, "tolerance": tolerance}
    lines = [{"networks": name, **_agreement(rows[of], **in_points)} for name, of in groups.items()]
    return pd.DataFrame(lines)


def counts(table: pd.DataFrame) -> list[int]:
    """Return how many cells are stable and match, are only stable, only match, and are neither."""
    return [
        int(((table["stable"] == stable) & (table["matches"] == matches)).sum())
        for stable in (True, False)
        for matches in (True, False)
    ]


def fisher(numbers: list[int]) -> float:
    """Return the p of Fisher's exact test on the numbers of `counts`."""
    return float(stats.fisher_exact(np.reshape(numbers, (2, 2))).pvalue)


def _agreement(rows: pd.DataFrame, *, threshold: float, tolerance: float) -> dict[str, float]:
    table = cells(rows, threshold=threshold, tolerance=tolerance)
    numbers = counts(table)
    correlations = [
        stats.spearmanr(of["instability"], of["lost"]).statistic
        for _, of in rows.groupby("replicate")
    ]
    return {
        **dict(zip(("both", "only_stable", "only_matching", "none"), numbers, strict=True)),
        "p_fisher": fisher(numbers),
        "rank_correlation": float(np.mean(correlations)),
        "rank_correlation_sd": float(np.std(correlations, ddof=1)),
        "p_rank": _p(pd.Series(correlations)),
    }


def _is_reference(rows: pd.DataFrame) -> pd.Series:
    return (rows["control"] == DENSE) & (rows["step_k"] == 0)


def figure(rows: pd.DataFrame, *, studied: int, threshold: float, tolerance: float) -> Figure:
    """Return instability and lost accuracy by step at one density, and against each other at all.

    Args:
      rows: of `replicates`.
      studied: the level of the first two panels.
      threshold: as in `cells`.
      tolerance: likewise.
    """
    with theme.applied():
        plot, panels = theme.new_figure(panels=3)
        by_step = rows[(rows["level"] == studied) | (rows["control"] == DENSE)]
        places = {step: place for place, step in enumerate(sorted(by_step["step_k"].unique()))}
        for axes, column in zip(panels[:2], ("instability", "lost"), strict=True):
            for control in dict.fromkeys(by_step["control"]):
                of = by_step[by_step["control"] == control].groupby("step_k")[column]
                mean, deviation = of.mean(), of.std()
                x, band = mean.index.map(places), (mean - deviation, mean + deviation)
                theme.plot_mean(axes, x, mean, band, band_alpha=0.12, **_style(control))
            axes.set_xticks([*places.values()], [str(step) for step in places])
            axes.set_xlabel("Twins start at step")
        for control in dict.fromkeys(rows["control"]):
            of = rows[rows["control"] == control]
            style = _style(control) | {"linestyle": "", "alpha": 0.6, "markersize": 4}
            panels[2].plot(of["instability"], of["lost"], **style)
        panels[2].set_xscale("symlog", linthresh=1)
        panels[2].axvline(threshold, color=theme.GRAY, linewidth=1, zorder=0)
        panels[0].axhline(threshold, color=theme.GRAY, linewidth=1, zorder=0)
        for axes in panels[1:]:
            axes.axhline(tolerance, color=theme.GRAY, linewidth=1, zorder=0)
            axes.set_ylabel("Accuracy lost against dense (points)")
        panels[0].set_ylabel("Error barrier between twins (points)")
        panels[2].set_xlabel("Error barrier between twins (points)")
        density = by_step.loc[by_step["control"] != DENSE, "density"].iloc[0]
        for axes in panels[:2]:
            axes.set_title(f"{100 * density:.3g} % of weights", loc="left")
        panels[2].set_title("all networks, a point a replicate", loc="left")
        legends.below_figure(plot)
    return plot


def best(rows: pd.DataFrame) -> Figure:
    """Return the best accuracy of IMP from any step by density, and those from step 0 (4-13)."""
    table = rows.groupby(CELL)["accuracy"].agg(["mean", "std"]).reset_index()
    tickets = table[table["control"] == TICKET]
    first = table[table["step_k"] == 0]
    dense = first[first["control"] == DENSE]
    lines = {"IMP, best step": (tickets.loc[tickets.groupby("level")["mean"].idxmax()], theme.RED)}
    for control in dict.fromkeys(first["control"]):
        if control != DENSE:
            name = f"{control_styles.control_style(control).label} from step 0"
            color = control_styles.line_style(control).color
            lines[name] = (first[first["control"] == control], color)
    with theme.applied():
        plot, (axes,) = theme.new_figure(panels=1)
        for place, (name, (of, color)) in enumerate(lines.items()):
            of = of.sort_values("density")
            band = (of["mean"] - of["std"], of["mean"] + of["std"])
            marker = "oosv^D"[place]
            x = 100 * of["density"]
            theme.plot_mean(
                axes, x, of["mean"], band, band_alpha=0.12, color=color, label=name, marker=marker
            )
        mean, deviation = dense["mean"].item(), dense["std"].item()
        axes.axhline(mean, color=theme.BLACK, linewidth=1, label="dense")
        axes.axhspan(mean - deviation, mean + deviation, color=theme.GRAY, alpha=0.2, zorder=0)
        axis_scales.density_axis(axes, tickets["density"], max_ticks=11)
        axes.set_ylabel("Test accuracy (%)")
        legends.below_figure(plot)
    return plot


def _style(control: str) -> dict[str, Any]:
    color, marker = (theme.BLACK, "o") if control == DENSE else control_styles.line_style(control)
    label = control if control == DENSE else control_styles.control_style(control).label
    return {"color": color, "marker": marker, "label": label}
