"""Tables of instability analysis: how far twins end from each other, by step.

The table of results has a row for each network trained (of the kinds dense, found and twin), for
each pair of twins compared, at the end or in training, and for each average of twins.

A network is *stable* where its instability, the error barrier between twins, is below a threshold.
Where no error is defined, as of a regression, it is stable where the loss barrier is below the
threshold as a share of the loss of the twins. The share, because each loss has a scale of its own.

References:
  Frankle 2023, chapter 4.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxlth.plots import control_styles, result_table
from jaxlth.studies import metrics
from jaxlth.studies.controls import NEW_WEIGHTS

DENSE = "dense"
ANEW = ", statistics anew"  # of the name of a network whose batch statistics are taken so
OTHER_LENGTH = {"remaining": "whole", "whole": "remaining"}  # of a training of twins
SAME = ["control", "level", "asked_density", "length", "step_k", "compared_step"]
SAME += ["replicate", "twins"]  # what tells pairs apart
MEASURED = (  # columns of pairs whose twins did not diverge
    *("test_instability", "train_instability", "test_error", "train_error"),
    *("l2_distance", "cosine_distance", "test_differences", "train_differences"),
    *("test_loss_l2", "train_loss_l2", "l2_from_initialization", "l2_to_end"),
    *("test_error_at_start", "test_loss_at_start"),
    *("test_loss_barrier", "train_loss_barrier", "test_loss", "train_loss"),
)


class Measure(NamedTuple):
    """What twins are compared by."""

    barrier: str  # columns of barriers are "test_instability" and so on
    value: str  # columns at the ends are "test_error" and so on
    scale: int  # 100 where numbers are shown in percent
    metric: str  # of the trained networks


BY_ERROR = Measure("instability", "error", 100, metrics.ACCURACY)
BY_LOSS = Measure("loss_barrier", "loss", 1, "test_loss")


def measure(rows: pd.DataFrame) -> Measure:
    """Return what pairs are compared by: their errors, or losses where no error is defined."""
    has_errors = rows["test_instability"].notna().any() or rows["test_loss_barrier"].isna().all()
    return BY_ERROR if has_errors else BY_LOSS


def stable(barriers: pd.Series, losses: pd.Series, by: Measure, threshold: float) -> pd.Series:
    """Return which barriers are below the threshold, or that share of the losses of the twins."""
    return barriers < threshold * (losses.abs() if by == BY_LOSS else 1)


def pairs(results: pd.DataFrame, *, at_end: bool = True) -> pd.DataFrame:
    """Return the rows of compared pairs, with a column `network`, "ticket at 3.5 %" for instance.

    Of pairs compared at several numbers of points those at most points are taken; those with
    batch statistics taken anew are networks of their own. Their errors and losses, unlike their
    barriers, are those of the twins as they were trained, which are compared with dense networks.
    Networks with other weights than those of the dense network's initialisation have no distance
    from it.

    Args:
      results: the table of results of one run.
      at_end: only those compared at the end of training.

    Raises:
      ValueError: no pair has been compared so.
    """
    rows = results[results["kind"] == "pair"]
    if rows.empty:
        raise ValueError("`results` have no pair of twins, or what these start from diverged.")
    rows = _as_trained(_filled(rows), results)
    most = rows.groupby([*SAME, "estimated"], dropna=False)["points"].transform("max")
    rows = rows[rows["points"] == most]
    rows = _in_order(rows.assign(network=_networks(rows, results)))
    is_drawn_anew = rows["control"].isin(NEW_WEIGHTS)
    rows = rows.assign(l2_from_initialization=rows["l2_from_initialization"].mask(is_drawn_anew))
    if not at_end:
        return rows
    if not rows["at_end"].any():
        raise ValueError("`results` have no pair of twins compared at the end of training yet.")
    return rows[rows["at_end"]]


def both_at_0(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with those of step 0 for both lengths of training, which are the same there."""
    if rows["length"].nunique() < 2:
        return rows
    first = rows[rows["step_k"] == 0]
    copies = first.assign(length=first["length"].map(OTHER_LENGTH))
    present = set(zip(first["network"], first["length"], strict=True))
    is_new = [of not in present for of in zip(copies["network"], copies["length"], strict=True)]
    return pd.concat([rows, copies[is_new]])


def principal(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs whose twins were trained for the steps that remain, statistics interpolated.

    Where there are none of these, those that there are.
    """
    rows = both_at_0(rows)
    for column, value in (("length", "remaining"), ("estimated", False)):
        of_value = rows[rows[column] == value]
        rows = of_value if len(of_value) else rows
    return rows


def summary(results: pd.DataFrame, *, threshold: float, tolerance: float) -> pd.DataFrame:
    """Return a row for each network, length of training and step: instability and accuracy.

    Columns: network, length, step_k, density; for each split `S_mean` and `S_sd`, the instability
    in [0, 1] over the `n` of all `pairs` whose twins did not diverge; accuracy, the mean of twins
    on the test split, and mean_accuracy, that of the mean of their weights; stable, where the
    instability there is below the threshold and no pair was lost; matches, where the accuracy is at
    most `tolerance` below that of the dense networks trained beside. Of losses: `S_loss_mean` and
    `S_loss_sd`, the loss barrier; loss and mean_loss, like the accuracies. Where no error is
    defined, stable and matches are told by those; see `metrics` and above.

    Args:
      results: the table of results of one run.
      threshold: instability below which a network is stable.
      tolerance: how far below dense still matches.

    Raises:
      ValueError: no pair has been compared yet.
    """
    rows = pairs(results)
    by = measure(rows)
    table = rows.groupby(["network", "length", "step_k"], sort=False).agg(
        density=("density", "first"),
        test_mean=("test_instability", "mean"),
        test_sd=("test_instability", "std"),
        train_mean=("train_instability", "mean"),
        train_sd=("train_instability", "std"),
        n=(f"test_{by.barrier}", "count"),
        pairs=(f"test_{by.barrier}", "size"),
        error=("test_error", "mean"),
        test_loss_mean=("test_loss_barrier", "mean"),
        test_loss_sd=("test_loss_barrier", "std"),
        train_loss_mean=("train_loss_barrier", "mean"),
        train_loss_sd=("train_loss_barrier", "std"),
        loss=("test_loss", "mean"),
    )
    table = table.reset_index()
    table = table.assign(accuracy=1 - table["error"]).drop(columns="error")
    keys = list(zip(table["network"], table["length"], table["step_k"], strict=True))
    for name in ("accuracy", "loss"):
        means = _of_means(results, name)
        table = table.assign(**{f"mean_{name}": [means.get(key, math.nan) for key in keys]})
    barriers = table["test_mean" if by == BY_ERROR else "test_loss_mean"]
    values = table["accuracy" if by == BY_ERROR else "loss"]
    return table.assign(
        stable=stable(barriers, table["loss"], by, threshold) & (table["n"] == table["pairs"]),
        matches=metrics.matching(values, reference(results, by), tolerance, by.metric),
    )


def _of_means(results: pd.DataFrame, name: str) -> dict[Any, float]:
    """Return accuracy or loss of the mean of most twins by (network, length, step_k).

    References:
      Frankle 2023, section 6.2.5.
    """
    rows = results[results["kind"] == "average"]
    if rows.empty:
        return {}
    rows = rows.assign(twins=rows["twins"].astype(int), estimated=_estimated(rows))
    rows = rows.assign(network=_networks(rows, results))
    same = ["network", "length", "step_k"]
    rows = rows[rows["twins"] == rows.groupby(same)["twins"].transform("max")]
    column = rows.get("test_error" if name == "accuracy" else "test_loss", result_table.NONE)
    values = column.astype(float).reindex(rows.index)
    values = 1 - values if name == "accuracy" else values
    return values.groupby([rows[name] for name in same]).mean().to_dict()


def _estimated(rows: pd.DataFrame) -> pd.Series:
    """Return which rows have batch statistics taken anew; older runs do not say."""
    if "estimated" not in rows:
        return pd.Series(False, rows.index)
    return rows["estimated"].astype("boolean").fillna(False).astype(bool)


def reference(results: pd.DataFrame, by: Measure = BY_ERROR) -> float:
    """Return the mean accuracy, or loss, of the dense networks trained beside the twins."""
    return float(dense_networks(results, by).mean())


def dense_networks(results: pd.DataFrame, by: Measure = BY_ERROR) -> pd.Series:
    """Return accuracy, or loss, of each dense network trained beside the twins."""
    return result_table.survived(results[results["kind"] == DENSE], by.metric)


def onset(summary: pd.DataFrame, column: str, *, to_end: bool = True) -> dict[str, int | None]:
    """Return, for each network, the least step from which on it is so at all steps; None if never.

    Args:
      summary: as `summary` returns it; of twins trained for the steps that remain, where there are.
      column: "stable" or "matches".
      to_end: whether it must be so at all later steps too; otherwise the least step is returned.
    """
    steps = {}
    for network, rows in both_at_0(summary).groupby("network", sort=False):
        remaining = rows[rows["length"] == "remaining"]
        rows = remaining if len(remaining) else rows
        rows = rows if to_end else rows[rows[column].astype(bool)]
        steps[str(network)] = first_step(rows.sort_values("step_k"), column)
    return steps


def sentence(summary: pd.DataFrame) -> str:
    """Return at which step each network is stable and matches first, and from which on always.

    Example:
      >>> columns = ["network", "length", "step_k", "stable", "matches"]
      >>> rows = [("dense", "remaining", 0, False, True), ("dense", "remaining", 9, True, False)]
      >>> sentence(pd.DataFrame(rows, columns=columns)).partition(": ")[2]
      'dense is stable from step 9 on, and matches first at step 0, but not at all later ones.'
    """
    stable, matching = _steps(summary, "stable"), _steps(summary, "matches")
    clauses = [
        f"{network} is stable {stable[network]}, and matches {matching[network]}"
        for network in stable
    ]
    several = summary["length"].nunique() > 1
    of = "Twins trained for the remaining steps" if several else "Of the steps looked at"
    return f"{of}: {'; '.join(clauses)}."


def _steps(summary: pd.DataFrame, column: str) -> dict[str, str]:
    """Return when it is so for each network, in words."""
    first, always = onset(summary, column, to_end=False), onset(summary, column)
    return {network: _when(first[network], always[network]) for network in first}


def _when(first: int | None, always: int | None) -> str:
    if first is None:
        return "at none"
    if always is None:
        return f"first at step {first}, but not at all later ones"
    return f"from step {always} on" + f" (first at step {first})" * (first < always)


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows by network, dense ones first, then by density, length of training and step."""
    listed = [DENSE, *control_styles.CONTROL_STYLES]
    ranks = rows.assign(
        rank=[listed.index(name) if name in listed else len(listed) for name in rows["control"]],
        sparsity=-rows["density"],
    )
    order = ["rank", "control", "sparsity", "length", "step_k", "compared_step"]
    return rows.loc[ranks.sort_values(order, kind="stable").index]


def _filled(rows: pd.DataFrame) -> pd.DataFrame:
    """Return pairs with all columns that are read: older runs, and lost pairs, lack some."""
    columns = set(rows.columns)
    rows = rows.reindex(
        columns=[*rows.columns, *(name for name in MEASURED if name not in columns)]
    )
    last = rows["compared_step"] == rows["compared_step"].max()
    at_end = rows["at_end"].astype("boolean").fillna(last) if "at_end" in columns else last
    return rows.assign(
        **{name: rows[name].astype(float) for name in MEASURED},
        estimated=_estimated(rows),
        at_end=at_end.astype(bool),
        points=rows["points"].fillna(0),
    )


def _as_trained(rows: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return pairs; of those with statistics anew, errors and losses are the twins' as trained."""
    anew = rows["estimated"] & rows["at_end"]
    if not anew.any():
        return rows
    same = [name for name in SAME if name != "compared_step"]  # twins are numbered by the last
    numbers = ["test_accuracy", "train_accuracy", "test_loss", "train_loss"]
    trained = results[results["kind"] == "twin"].reindex(columns=[*same, *numbers])
    trained = trained.astype(dict.fromkeys(numbers, float))
    pairs_anew = rows.loc[anew, same]
    first, second = (
        pairs_anew.assign(twins=pairs_anew["twins"].str.split("-").str[end])
        .merge(trained, how="left", on=same)[numbers]
        .to_numpy()
        for end in (0, 1)
    )
    means = pd.DataFrame((first + second) / 2, index=pairs_anew.index, columns=numbers)
    for split in ("test", "train"):
        rows.loc[anew, f"{split}_error"] = 1 - means[f"{split}_accuracy"]
        rows.loc[anew, f"{split}_loss"] = means[f"{split}_loss"]
    return rows


def _networks(rows: pd.DataFrame, results: pd.DataFrame) -> list[str]:
    """Return the name of the network of each row, "ticket at 3.5 %" for instance.

    Densities of one control in the results get as many digits as distinguish them.
    """
    compared = results[results["kind"].isin(("pair", "average"))]
    sizes = compared[["control", "density"]].drop_duplicates()
    shown = sizes["density"].map(result_table.percent)
    for digits in range(3, 8):
        clashes = shown.groupby([sizes["control"], shown]).transform("size") > 1
        shown = shown.where(~clashes, (100 * sizes["density"]).map(f"{{:.{digits}g}}".format))
    names = dict(zip(zip(sizes["control"], sizes["density"], strict=True), shown, strict=True))
    percents = [names[key] for key in zip(rows["control"], rows["density"], strict=True)]
    return list(map(_network, rows["control"], percents, rows["estimated"]))


def _network(control: str, percent: str, estimated: bool) -> str:
    more = ANEW if estimated else ""
    if control == DENSE:
        return f"{control}{more}"
    return f"{control_styles.control_style(control).label} at {percent} %{more}"


def first_step(rows: pd.DataFrame, column: str) -> int | None:
    """Return the first step from which on a column holds, of rows in the order of steps."""
    holds = rows[column].to_numpy(bool)
    missing = np.flatnonzero(~holds)
    first = missing[-1] + 1 if len(missing) else 0
    return None if first == len(rows) else int(rows["step_k"].iloc[first])
