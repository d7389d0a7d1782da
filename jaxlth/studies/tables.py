"""The table of results in short: a summary per level, as numbers and as text.

A level *matches* where the mean accuracy over its replicates is at least the mean of the dense
network (level 0, control "ticket") less a tolerance. A network that diverged (its `nan_step` is
set) is left out of every mean and counted as failed.
"""

from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from jaxlth.plots import control_styles, result_table

_GAP = 2  # blanks between two columns of a rendered table
_ROUNDING = 1e-9  # so that 0.980 matches 0.982 less 0.002 in floating point


def summary(
    results: pd.DataFrame, *, metric: str = "test_accuracy", tolerance: float
) -> pd.DataFrame:
    """Return one row per level: what was kept, and how the ticket and each control did.

    Columns: `level`, `density`, `kept`; for each control C in the results `C_mean`, `C_min`,
    `C_max` (over the replicates that did not fail; NaN if there is none), `C_n` (how many those
    are) and `C_failed`; `matches` for the ticket and `C_matches` for the others, missing (NA) where
    C was not trained at that level or no dense network survived.

    Args:
      results: the table of results of one run, level 0 included.
      metric: the accuracy to sum up, a column of `results`.
      tolerance: how far below the dense mean still counts as matching, in [0, 1].

    Raises:
      ValueError: no dense network, no such accuracy, or rows of more than one run.
    """
    if not 0 <= tolerance <= 1:
        raise ValueError(f"`tolerance` must be an accuracy in [0, 1]; got {tolerance}.")
    result_table.check(results, metric)
    levels = results.groupby("level")[["density", "kept"]].first()
    columns = {"density": levels["density"], "kept": levels["kept"].astype(int)}
    dense = result_table.survived(results[result_table.is_dense(results)], metric).mean()
    for control in result_table.controls(results):
        mine = results[results["control"] == control]
        failed = mine["nan_step"].notna()
        by_level = result_table.survived(mine, metric).groupby(mine["level"])
        mean = by_level.mean().reindex(levels.index)
        columns[f"{control}_mean"] = mean
        columns[f"{control}_min"] = by_level.min().reindex(levels.index)
        columns[f"{control}_max"] = by_level.max().reindex(levels.index)
        columns[f"{control}_n"] = by_level.count().reindex(levels.index, fill_value=0)
        columns[f"{control}_failed"] = (
            failed.groupby(mine["level"]).sum().reindex(levels.index, fill_value=0)
        )
        trained = columns[f"{control}_n"] + columns[f"{control}_failed"] > 0
        matches = matching(mean, dense, tolerance).astype("boolean")
        columns[matches_column(control)] = matches.where(trained & pd.notna(dense))
    return pd.DataFrame(columns).reset_index()


def ends(results: pd.DataFrame) -> pd.DataFrame:
    """Return test accuracy in percent of the first and the last level, as the papers' tables do.

    Columns: `level`, `density`, `control`; `mean`, `min` and `max` over the `n` replicates that did
    not diverge.

    Args:
      results: the table of results of one run; dilated networks are left out.
    """
    undilated = results[results["dilation"] == 1] if "dilation" in results else results
    rows = undilated[undilated["level"].isin([0, undilated["level"].max()])]
    percents = 100 * result_table.survived(rows, "test_accuracy")
    by = percents.groupby([rows[column] for column in ("level", "density", "control")])
    return by.agg(["mean", "min", "max"]).round(2).assign(n=by.count()).reset_index()


def render(summary: pd.DataFrame, *, tolerance: float, width: int = 80) -> Table:
    """Return the summary as a table for a terminal: density and accuracy in percent.

    A cell holds mean and (min-max); an asterisk marks a mean that matches the dense network. Where
    that does not fit into `width`, weights are left out, then min-max go on a second line.
    """
    names = controls_of(summary)
    caption = _caption(summary, names, tolerance)
    for kept, lines in ((True, 1), (False, 1), (False, 2)):
        table = _table(summary, names, kept=kept, lines=lines, caption=caption)
        if _width(table) <= width:
            break
    return table


def _table(
    summary: pd.DataFrame, names: Sequence[str], *, kept: bool, lines: int, caption: str
) -> Table:
    table = plain(caption)
    for title in ["level", "density"] + ["weights"] * kept:
        table.add_column(title, justify="right", no_wrap=True)
    for name in names:
        style = control_styles.control_style(name)
        table.add_column(style.narrow_label if lines == 2 else style.label)
    for _, row in summary.iterrows():
        cells = [str(int(row["level"])), f"{result_table.percent(row['density'])} %"]
        cells += [f"{int(row['kept']):,}"] * kept
        table.add_row(*cells, *(_cell(row, name, lines) for name in names))
    return table


def _cell(row: pd.Series, name: str, lines: int) -> str:
    n, failed, matches = row[f"{name}_n"], row[f"{name}_failed"], row[matches_column(name)]
    if n == 0:
        return "failed" if failed else "-"
    star = row["level"] > 0 and pd.notna(matches) and bool(matches)
    text = in_percent(row[f"{name}_mean"]) + ("*" if star else " ")
    if n > 1:
        low, high = in_percent(row[f"{name}_min"]), in_percent(row[f"{name}_max"])
        text += f"\n{low}-{high}" if lines == 2 else f" ({low}-{high})"
    return f"[green]{text}[/green]" if star else text


def _caption(summary: pd.DataFrame, names: Sequence[str], tolerance: float) -> str:
    counts = sorted({int(n) for name in names for n in summary[f"{name}_n"] if n > 0})
    if not counts:
        return "Accuracy in percent."
    many = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    what = "of one replicate" if counts == [1] else f"mean (min-max) of {many} replicates"
    lines = [f"Accuracy in percent, {what}."]
    lines.append(f"* matches the dense network{within(tolerance)}.")
    failed = {name: int(summary[f"{name}_failed"].sum()) for name in names}
    if any(failed.values()):
        listed = ", ".join(
            f"{n} {control_styles.control_style(name).label}" for name, n in failed.items() if n
        )
        lines.append(f"Left out because they diverged: {listed}.")
    return "\n".join(lines)


def _width(table: Table) -> int:
    """Return the width at which no column is broken; the caption may be."""
    console = Console(width=1000, color_system=None)
    return sum(
        max(
            Measurement.get(console, console.options, cell).maximum for cell in [c.header, *c.cells]
        )
        for c in table.columns
    ) + _GAP * (len(table.columns) - 1)


def plain(caption: str) -> Table:
    """Return an empty table as all are printed: a line below the head, a caption at the left."""
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption=caption,
        caption_justify="left",
        caption_style="",
    )


def matching(accuracies: pd.Series, dense: float, tolerance: float) -> pd.Series:
    """Return which accuracies lie at most `tolerance` below that of the dense network."""
    return accuracies >= dense - tolerance - _ROUNDING


def matches_column(control: str) -> str:
    """Return the column of a summary that says where a control matches."""
    return "matches" if control == "ticket" else f"{control}_matches"


def controls_of(summary: pd.DataFrame) -> list[str]:
    """Return the controls that a summary has, the ticket first."""
    return [column[: -len("_mean")] for column in summary.columns if column.endswith("_mean")]


def within(tolerance: float) -> str:
    """Return a tolerance as the end of "matches the dense network"."""
    points = f"{100 * tolerance:.3g}"
    return f" to within {points} point{'s' if points != '1' else ''}" if tolerance else ""


def in_percent(value: float) -> str:
    """Return an accuracy in percent as it is printed, without the sign."""
    return f"{100 * value:.2f}"
