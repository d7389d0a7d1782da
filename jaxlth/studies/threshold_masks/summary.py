"""Supermask tickets beside dense networks: table and sentence, as Rolfs has them.

Means and standard deviations (of samples) are over the replicates that did not diverge. The loss is
that of the split on which the run chose its thresholds.

References:
  Rolfs, Achieving results with untrained neural networks using Supermasks, Table 1.
"""

import pandas as pd
from rich.table import Table

from jaxlth.studies import tables

JOB = "threshold-masks"
KINDS = ("ticket", "thresholds", "baseline", "size", "short", "long")  # of networks, as listed
METRICS = ("density", "final_loss", "least_loss", "least_step", "test_accuracy")
_NAMED = {"ticket": "ticket", "thresholds": "untrained", "long": "long", "short": "short"}
_NEEDED = ("job", "kind", "replicate", "control", "threshold", "kept", "prunable", "nan_step")


def check(results: pd.DataFrame) -> None:
    """Raise ValueError unless `results` are of one run of this job, with a network."""
    missing = [name for name in _NEEDED if name not in results.columns]
    if missing or set(results["job"].dropna()) != {JOB} or results["run"].nunique() != 1:
        lacking = f"; they lack the column {missing[0]!r}" if missing else ""
        raise ValueError(f"`results` must be of one run of `jaxlth {JOB}`{lacking}.")


def networks(results: pd.DataFrame, curves: pd.DataFrame, *, split: str) -> pd.DataFrame:
    """Return a row for each network: what it is, its size, its loss at the end and at its least.

    Columns: network ("ticket", "untrained", "long", "short" or widths), unit, kind, replicate,
    threshold,
    `density`, kept weights as a share of those of the baseline; final_loss, least_loss and
    least_step (missing for untrained networks), test_accuracy; nan_step.

    Args:
      results: the table of results of one run.
      curves: its long table of curves.
      split: "validation" or "test", of which the losses are.

    Raises:
      ValueError: the table is not of this job.
    """
    check(results)
    own = int(results.loc[results["kind"] != "size", "prunable"].max())
    trained = curves[curves["control"] != "untrained"].dropna(subset=[f"{split}_loss"])
    losses = trained[f"{split}_loss"].astype(float)
    at = trained.loc[losses.groupby(trained["unit"]).idxmin().dropna()].set_index("unit")
    numbers = pd.DataFrame(
        {
            "network": results["kind"].map(_NAMED).fillna(results["control"]),
            "unit": results["unit"],
            "kind": results["kind"],
            "replicate": results["replicate"],
            "threshold": results["threshold"].astype(float),
            "density": results["kept"].astype(float) / own,
            "final_loss": results[f"{split}_loss"].astype(float),
            "least_loss": results["unit"].map(at[f"{split}_loss"]).astype(float),
            "least_step": results["unit"].map(at["step"]).astype(float),
            "test_accuracy": results["test_accuracy"].astype(float),
            "nan_step": results["nan_step"],
        }
    )
    ranks = numbers["kind"].map(KINDS.index)
    return numbers.assign(rank=ranks).sort_values("rank", kind="stable").drop(columns="rank")


def summary(results: pd.DataFrame, curves: pd.DataFrame, *, split: str) -> pd.DataFrame:
    """Return a row for each network with mean and deviation of its numbers, as Rolfs's Table 1.

    Columns: network, kind; METRIC_mean and METRIC_sd of each of `METRICS`; n, the replicates that
    did not diverge (of "untrained": that have a ticket), and failed, the others.

    Args:
      results: the table of results of one run.
      curves: its long table of curves.
      split: "validation" or "test", of which the losses are.
    """
    rows = networks(results, curves, split=split)
    lost = rows["nan_step"].notna() | rows["density"].isna()
    rows = rows.assign(lost=lost)
    by = rows.groupby(["network", "kind"], sort=False)
    kept = rows[~lost].groupby(["network", "kind"], sort=False)
    columns = {f"{name}_mean": kept[name].mean() for name in METRICS}
    columns |= {f"{name}_sd": kept[name].std() for name in METRICS}
    columns |= {"n": kept["density"].count(), "failed": by["lost"].sum()}
    index = pd.MultiIndex.from_frame(rows[["network", "kind"]].drop_duplicates())
    statistics = pd.DataFrame({name: column.reindex(index) for name, column in columns.items()})
    return statistics.fillna({"n": 0}).astype({"n": int, "failed": int}).reset_index()


def by_threshold(curves: pd.DataFrame, *, split: str) -> pd.DataFrame:
    """Return a row for each threshold: what it keeps, and the accuracy of the untrained networks.

    Columns: threshold; density_mean, density_sd, accuracy_mean, accuracy_sd, accuracy_min,
    accuracy_max; n, and emptied, the replicates in which it empties a layer.

    Args:
      curves: the long table of curves of one run.
      split: "validation" or "test", of which the accuracies are.
    """
    rows = untrained(curves)
    by = rows.groupby("threshold")
    accuracy = by[f"{split}_accuracy"]
    columns = {"density_mean": by["density"].mean(), "density_sd": by["density"].std()}
    for name in ("mean", "std", "min", "max"):
        columns[f"accuracy_{'sd' if name == 'std' else name}"] = accuracy.agg(name)
    columns |= {
        "n": accuracy.count(),
        "emptied": (rows["emptied"] != "").groupby(rows["threshold"]).sum(),
    }
    return pd.DataFrame(columns).reset_index()


def untrained(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the masked networks that were tried, one a replicate and threshold."""
    return curves[curves["control"] == "untrained"]


def render(summary: pd.DataFrame, curves: pd.DataFrame, *, split: str) -> Table:
    """Return the summary as a table for a terminal.

    Args:
      summary: what `summary` returned.
      curves: the long table of curves of the run.
      split: "validation" or "test", as for `summary`.
    """
    table = tables.plain(_caption(summary, curves, split))
    table.add_column("network", no_wrap=True)
    for title in ("size %", "final loss", "least loss", "at step", "accuracy %"):
        table.add_column(title, justify="right", no_wrap=True)
    for _, row in summary.iterrows():
        cells = [
            _cell(row, "density", 100, 1),
            _cell(row, "final_loss", 1, 3),
            _cell(row, "least_loss", 1, 3),
            _cell(row, "least_step", 1, 0),
            _cell(row, "test_accuracy", 100, 2),
        ]
        style = "green" if row["kind"] == "ticket" else None
        table.add_row(str(row["network"]), *cells, style=style)
    return table


def sentence(results: pd.DataFrame, summary: pd.DataFrame) -> str:
    """Return in one sentence what masks reach untrained, and trained beside the dense network.

    Args:
      results: the table of results of one run.
      summary: what `summary` returned of it.
    """
    searched = results[results["kind"] == "thresholds"]
    none = int(searched["threshold"].isna().sum())
    without = f"{none} of {len(searched)} replicates" if len(searched) > 1 else "The replicate"
    verb = "has" if none == 1 else "have"
    lacking = f"{without} {verb} no ticket: every threshold empties a layer"
    rows = summary.set_index("kind")
    if searched.empty:
        return "No network was masked: those that masks come from did not train."
    if none == len(searched):
        return f"{lacking}."
    thresholds = searched["threshold"].dropna().astype(float)
    before = rows.loc["thresholds"]
    said = (
        f"At the best threshold ({_spread(thresholds.mean(), thresholds.std(), 3)}) masks keep "
        f"{_cell(before, 'density', 100, 1)} % of the weights and reach "
        f"{_cell(before, 'test_accuracy', 100, 1)} % untrained"
    )
    if {"ticket", "baseline"} <= set(rows.index) and rows.loc[["ticket", "baseline"], "n"].all():
        after, dense = (
            _cell(rows.loc[kind], "final_loss", 1, 3) for kind in ("ticket", "baseline")
        )
        said += f"; trained, to a loss of {after} where the dense network has {dense}"
    return f"{said}. {lacking}." if none else f"{said}."


def _caption(summary: pd.DataFrame, curves: pd.DataFrame, split: str) -> str:
    many = tables.span(summary["n"])
    spread = f"mean ± standard deviation of {many} replicates"
    spread = "of one replicate" if many in ("", "1") else spread
    lines = [f"Size in weights, {split} loss, test accuracy: {spread}."]
    if split == "test":
        lines.append(
            "Steps and thresholds are chosen on the test set: its examples are not unseen."
        )
    tried = untrained(curves)
    empty = tried[tried["emptied"] != ""] if len(tried) else tried
    if len(empty):
        lowest = empty.groupby("replicate")["threshold"].min()
        others = f" in one replicate, from {lowest.max():g} in another" * (lowest.nunique() > 1)
        lines.append(
            f"Thresholds that empty a layer are never chosen: from {lowest.min():g} upwards{others}"
            f" ({len(empty)} of {len(tried)} masks)."
        )
    failed = summary[(summary["failed"] > 0) & (summary["kind"] != "thresholds")]
    if len(failed):
        named = ", ".join(f"{row.failed} {row.network}" for row in failed.itertuples())
        lines.append(f"Left out because they diverged: {named}.")
    return "\n".join(lines)


def _cell(row: pd.Series, name: str, scale: float, digits: int) -> str:
    mean, spread = scale * row[f"{name}_mean"], scale * row[f"{name}_sd"]
    return "-" if pd.isna(mean) else _spread(mean, spread, digits)


def _spread(mean: float, deviation: float, digits: int) -> str:
    """Return a mean with its deviation, if there is any.

    Example:
      >>> _spread(38.71, 17.94, 1), _spread(0.091, float("nan"), 3)
      ('38.7 ± 17.9', '0.091')
    """
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation > 0 else "")
