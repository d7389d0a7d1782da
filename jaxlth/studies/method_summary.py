"""Tables and figures of pruning early: a row or line for each method, a column for each density.

The table of results has the columns score, schedule, ablation, weights, prune_step and `control`,
the method's whole name; dense networks are those of level 0. What is trained only between two
prunings (`link`) is left out everywhere.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from jaxlth.plots import result_table
from jaxlth.studies import method_styles, metrics, tables

DENSE = "dense"  # what a network is called that no method has pruned
SIGNIFICANT = 0.05  # of p, as in Lutz & Manai 2022, section 4.3


def tickets(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the requested networks, without links, with the requested densities.

    The density is the mean over replicates, to three digits, where none was requested or where it
    differs from the requested one.
    """
    rows = results[~results["link"].astype(bool)].copy()
    name = rows["unit"].str.extract(r"^density_([^/]+)/")[0]
    requested, density = pd.to_numeric(name, errors="coerce"), rows["density"].astype(float)
    means = density.groupby([rows["control"], name]).transform("mean")
    is_close = means.between(0.95 * requested, 1.05 * requested)
    return rows.assign(density=requested.where(is_close, means.map("{:.3g}".format).astype(float)))


def summary(
    results: pd.DataFrame, *, tolerance: float, baseline: str | None = None, losses: bool = False
) -> pd.DataFrame:
    """Return a row for each method and density: accuracies over the replicates.

    Columns: control, density, mean, min, max, n (replicates that did not diverge), failed (those
    that did), is_dense (not pruned by a method), matches (whether the mean loses at most
    `tolerance` of that of the dense network; see `metrics`) and, with a baseline, p: of Welch's
    t-test against it at the same density, two-sided; NaN for fewer than two replicates. Of results
    without accuracy they are of test losses. With `losses`, loss, the mean test loss.

    Args:
      results: the table of results of one run.
      tolerance: how far below the dense mean still matches, in [0, 1].
      baseline: a method that others are tested against, such as "snip-before-rounds".
      losses: whether the loss is summed up beside the accuracy.

    Raises:
      ValueError: the results have no such baseline.

    References:
      Lutz & Manai 2022, section 4.3.
    """
    metric = result_table.metric(results, metrics.ACCURACY)
    rows = method_styles.sort_methods(tickets(results))
    rows = rows.assign(value=result_table.survived(rows, metric))
    by = rows.groupby(["control", "density"], sort=False)
    table = by["value"].agg(["mean", "min", "max", "count"]).rename(columns={"count": "n"})
    table["failed"] = by.size() - table["n"]
    table["is_dense"] = by["level"].max() == 0
    if losses:
        rows = rows.assign(value=result_table.survived(rows, "test_loss"))
        table["loss"] = rows.groupby(["control", "density"], sort=False)["value"].mean()
    table = table.reset_index()
    dense = result_table.survived(reference(rows[rows["level"] == 0]), metric).mean()
    table["matches"] = metrics.matching(table["mean"], dense, tolerance, metric)
    if baseline is None:
        return table
    if baseline not in set(table["control"]):
        raise ValueError(f"`baseline` must be a method of the results; got {baseline!r}.")
    values = test_accuracies(results)
    none = np.array([])
    table["p"] = [
        welch(values[row.control, row.density], values.get((baseline, row.density), none))
        for row in table.itertuples()
    ]
    return table


def test_accuracies(results: pd.DataFrame) -> dict[Any, np.ndarray]:
    """Return {(control, density): test accuracies of the replicates that did not diverge}.

    Of results without accuracy they are test losses.
    """
    rows = tickets(results)
    metric = result_table.metric(results, metrics.ACCURACY)
    rows = rows.assign(value=result_table.survived(rows, metric))
    groups = rows.groupby(["control", "density"])["value"]
    return {key: group.dropna().to_numpy() for key, group in groups}


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


def mean_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return mean accuracies in percent, a row a method and a column a density, dense first."""
    table = 100 * summary.pivot(index="control", columns="density", values="mean")
    order = list(dict.fromkeys(summary["control"]))
    return table.loc[order, sorted(table.columns, reverse=True)].round(2)


def render(
    summary: pd.DataFrame, *, metric: str = metrics.ACCURACY, tolerance: float, token: str = ""
) -> Table:
    """Return the summary as a table for a terminal: mean accuracies in percent, or losses.

    Args:
      summary: what `summary` returned, with losses for a language model.
      metric: the accuracy, or loss, that was summed up.
      tolerance: how far from the dense mean still matches.
      token: what a token of a language model is; "" for other networks.
    """
    means = mean_table(summary)
    rows = {(row["control"], row["density"]): row for _, row in summary.iterrows()}
    many = tables.span(summary["n"])
    over = f", mean of {many} replicates." if many not in ("", "1") else "."
    unit = metrics.unit_of(metric, token) + over
    lines = [unit, *metrics.below(token)]
    if summary["is_dense"].any():
        lines.append(f"* matches the dense network{metrics.within(tolerance, metric)}.")
    table = tables.plain("\n".join([*lines, *left_out(summary)]))
    table.add_column("method", overflow="fold")
    for density in means.columns:
        table.add_column(f"{result_table.percent(density)} %", justify="right", no_wrap=True)
    for method, values in means.iterrows():
        cells = [
            _cell(value, rows[method, density], metric) if (method, density) in rows else "- "
            for density, value in values.items()
        ]
        table.add_row(str(method), *cells)
    return table


def _cell(value: float, row: pd.Series, metric: str) -> str:
    """Return the mean of a method at a density, and below it what there is of its loss."""
    if not row["n"]:
        return "failed "
    star = "*" if row["matches"] and not row["is_dense"] else " "
    loss = f"\n{metrics.loss_and_bits(row['loss'])} " if "loss" in row else ""
    text = metrics.number(row["mean"], metric) if result_table.is_loss(metric) else f"{value:.2f}"
    return f"{text}{star}{loss}"


def left_out(summary: pd.DataFrame) -> list[str]:
    """Return the line on networks that are left out of means because they diverged, if any are."""
    failed = summary[summary["failed"] > 0]
    listed = ", ".join(
        f"{row.failed} of {row.failed + row.n} {row.control}"
        + ("" if row.is_dense else f" at {result_table.percent(row.density)} %")
        for row in failed.itertuples()
    )
    return [f"Left out because they diverged: {listed}."] if listed else []


def render_tests(summary: pd.DataFrame, baseline: str) -> Table:
    """Return the p of a summary made with `baseline` as a table for a terminal."""
    rows = summary[summary["control"] != baseline]
    p_values = rows.pivot(index="control", columns="density", values="p")
    p_values = p_values.loc[list(dict.fromkeys(rows["control"]))]
    p_values = p_values.dropna(axis=1, how="all").dropna(how="all")
    none = f"No method has two replicates at a density at which {baseline} has two."
    table = tables.plain(none if p_values.empty else "")
    table.add_column("method", overflow="fold")
    densities = sorted(p_values.columns, reverse=True)
    for density in densities:
        table.add_column(f"{result_table.percent(density)} %", justify="right", no_wrap=True)
    for method, row in p_values.iterrows():
        cells = ["-" if pd.isna(row[d]) else f"{row[d]:.2g}" for d in densities]
        table.add_row(str(method), *cells)
    return table


def sentence(summary: pd.DataFrame, *, metric: str = metrics.ACCURACY) -> str:
    """Return in one sentence which method is best at each density.

    Example:
      >>> rows = [("dense", 1.0, 0.98, True), ("snip-before-once", 0.1, 0.975, False)]
      >>> rows += [("random-before-once", 0.1, 0.92, False)]
      >>> sentence(pd.DataFrame(rows, columns=["control", "density", "mean", "is_dense"]))
      'The dense network reaches 98.00 %. Best at 10 %: snip-before-once (97.50 %).'
    """
    pruned = summary[~summary["is_dense"]]
    means = summary.loc[summary["control"] == DENSE, "mean"]
    start = ""
    if len(means) and pd.notna(means.iloc[0]):
        start = f"The dense network reaches {metrics.with_unit(means.iloc[0], metric)}. "
    elif len(means):
        start = "The dense network diverged. "
    finite = pruned[pruned["mean"].notna()]
    if finite.empty:
        return f"{start}{'No ticket was trained' if pruned.empty else 'All tickets diverged'}."
    best = finite.loc[metrics.best(finite.groupby("density")["mean"], metric)]
    clauses = []
    for row in best.sort_values("density", ascending=False).itertuples():
        tied = finite[(finite["density"] == row.density) & (finite["mean"] == row.mean)]
        clauses.append(
            f"at {result_table.percent(row.density)} %: {' and '.join(tied['control'])} "
            f"({metrics.with_unit(row.mean, metric)})"
        )
    return f"{start}Best {'; '.join(clauses)}."


def reference(dense: pd.DataFrame) -> pd.DataFrame:
    """Return the dense networks that others are compared with: of the standard weights, if any."""
    standard = dense[dense["weights"] == "standard"]
    return standard if len(standard) else dense
