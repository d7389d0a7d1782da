"""The table of results in short: a summary per level, as numbers and as text.

A level *matches* where the mean accuracy over its replicates is at least the mean of the dense
network (level 0, control "ticket") less a tolerance. A network that diverged (its `nan_step` is
set) is left out of every mean and counted as failed.

Where no accuracy is defined, it is the test loss; see `metrics.matching`. Tables of language models
have loss and bits per character beside the accuracy per token.
"""

from collections.abc import Iterable, Sequence

import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from jaxlth.plots import control_styles, result_table
from jaxlth.studies import metrics
from jaxlth.studies.metrics import ACCURACY

_GAP = 2  # blanks between two columns of a rendered table


def summary(
    results: pd.DataFrame, *, metric: str = ACCURACY, tolerance: float, losses: bool = False
) -> pd.DataFrame:
    """Return one row per level: what was kept, and how the ticket and each control did.

    Columns: `level`, `density`, `kept`; where networks of a level differ in size, these are
    medians, and there are `kept_min` and `kept_max`. For each control C `C_mean`, `C_min`,
    `C_max` (over the replicates that did not fail; NaN if there is none), `C_n` (how many those
    are) and `C_failed`; `matches` for the ticket and `C_matches` for the others, missing (NA) where
    C was not trained at that level or no dense network survived. With `losses`, `C_loss` too, the
    mean test loss.

    Args:
      results: the table of results of one run, level 0 included.
      metric: the accuracy to sum up, or a loss, a column of `results`.
      tolerance: how far below the dense mean still counts as matching, in [0, 1]; of a loss, how
        far above it, as a share of it.
      losses: whether the loss is summed up beside the accuracy.

    Raises:
      ValueError: no dense network, no such accuracy, or rows of more than one run.
    """
    if not 0 <= tolerance <= 1:
        raise ValueError(f"`tolerance` must be an accuracy in [0, 1]; got {tolerance}.")
    result_table.check(results, metric)
    in_level = results.groupby("level")
    # All-alive pruning leaves networks of a level with different sizes.
    levels = in_level[["density", "kept"]].median()
    columns = {"density": levels["density"], "kept": levels["kept"].astype(int)}
    if (in_level["kept"].nunique() > 1).any():
        columns |= {f"kept_{end}": in_level["kept"].agg(end).astype(int) for end in ("min", "max")}
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
        matches = metrics.matching(mean, dense, tolerance, metric).astype("boolean")
        columns[matches_column(control)] = matches.where(trained & pd.notna(dense))
        if losses:
            loss = result_table.survived(mine, "test_loss").groupby(mine["level"]).mean()
            columns[f"{control}_loss"] = loss.reindex(levels.index)
    return pd.DataFrame(columns).reset_index()


def ends(results: pd.DataFrame) -> pd.DataFrame:
    """Return test accuracy in percent of the first and the last level, as the papers' tables do.

    Of results without accuracy it is the test loss.

    Columns: `level`, `density`, `control`; `mean`, `min` and `max` over the `n` replicates that did
    not diverge.

    Args:
      results: the table of results of one run; dilated networks are left out.
    """
    undilated = results[results["dilation"] == 1] if "dilation" in results else results
    undilated = result_table.of_levels(undilated)
    rows = undilated[undilated["level"].isin([0, undilated["level"].max()])]
    metric = result_table.metric(rows, ACCURACY)
    scale, digits = (1, 6) if result_table.is_loss(metric) else (100, 2)
    values = scale * result_table.survived(rows, metric)
    by = values.groupby([rows[column] for column in ("level", "density", "control")])
    return by.agg(["mean", "min", "max"]).round(digits).assign(n=by.count()).reset_index()


def render(
    summary: pd.DataFrame,
    *,
    metric: str = ACCURACY,
    tolerance: float,
    width: int = 80,
    token: str = "token",
) -> Table:
    """Return the summary as a table for a terminal: density and accuracy in percent.

    A cell holds mean and (min-max); an asterisk marks a mean that matches the dense network. Where
    that does not fit into `width`, weights are left out, then min-max go on a second line. Below
    stand loss and bits per token, where the summary has losses.

    Args:
      summary: what `summary` returned, with the same metric and tolerance.
      metric: the accuracy, or loss, that was summed up.
      tolerance: how far from the dense mean still counts as matching.
      width: of the table in characters.
      token: what a token of a language model is.
    """
    names = controls_of(summary)
    has_losses = f"{names[0]}_loss" in summary
    caption = _caption(summary, names, tolerance, metric, token if has_losses else "")
    for kept, lines in ((True, 1), (False, 1), (False, 2)):
        table = _table(summary, names, metric, kept=kept, lines=lines, caption=caption)
        if _width(table) <= width:
            break
    return table


def _table(
    summary: pd.DataFrame,
    names: Sequence[str],
    metric: str,
    *,
    kept: bool,
    lines: int,
    caption: str,
) -> Table:
    table = plain(caption)
    for title in ["level", "density"] + ["weights"] * kept:
        table.add_column(title, justify="right", no_wrap=True)
    for name in names:
        style = control_styles.control_style(name)
        table.add_column(style.narrow_label if lines == 2 else style.label)
    for _, row in summary.iterrows():
        cells = [str(int(row["level"])), f"{result_table.percent(row['density'])} %"]
        ends = {int(row.get(f"kept_{end}", row["kept"])) for end in ("min", "max")}
        cells += ["-".join(f"{end:,}" for end in sorted(ends))] * kept
        table.add_row(*cells, *(_cell(row, name, metric, lines) for name in names))
    return table


def _cell(row: pd.Series, name: str, metric: str, lines: int) -> str:
    n, failed, matches = row[f"{name}_n"], row[f"{name}_failed"], row[matches_column(name)]
    if n == 0:
        return "failed" if failed else "-"
    star = row["level"] > 0 and pd.notna(matches) and bool(matches)
    text = metrics.number(row[f"{name}_mean"], metric) + ("*" if star else " ")
    if n > 1:
        low, high = (
            metrics.number(row[f"{name}_min"], metric),
            metrics.number(row[f"{name}_max"], metric),
        )
        text += f"\n{low}-{high}" if lines == 2 else f" ({low}-{high})"
    if f"{name}_loss" in row:
        text += f"\n{metrics.loss_and_bits(row[f'{name}_loss'])}"
    return f"[green]{text}[/green]" if star else text


def _caption(
    summary: pd.DataFrame, names: Sequence[str], tolerance: float, metric: str, token: str
) -> str:
    many = span(n for name in names for n in summary[f"{name}_n"])
    unit = metrics.unit_of(metric, token)
    if not many:
        return f"{unit}."
    what = "of one replicate" if many == "1" else f"mean (min-max) of {many} replicates"
    lines = [f"{unit}, {what}.", *metrics.below(token)]
    lines.append(f"* matches the dense network{metrics.within(tolerance, metric)}.")
    if "kept_min" in summary:
        lines.append("Networks of a level differ in size: the density is the median.")
    failed = {name: int(summary[f"{name}_failed"].sum()) for name in names}
    if any(failed.values()):
        listed = ", ".join(
            f"{n} {control_styles.control_style(name).label}" for name, n in failed.items() if n
        )
        lines.append(f"Left out because they diverged: {listed}.")
    return "\n".join(lines)


def span(counts: Iterable[int]) -> str:
    """Return of how many values means are, those of none aside; "" if all are of none.

    Example:
      >>> span([3, 3, 0]), span([4, 2, 3]), span([0])
      ('3', '2 to 4', '')
    """
    above = sorted({int(count) for count in counts if count > 0})
    return " to ".join(str(count) for count in dict.fromkeys([*above[:1], *above[-1:]]))


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


def matches_column(control: str) -> str:
    """Return the column of a summary that says where a control matches."""
    return "matches" if control == "ticket" else f"{control}_matches"


def controls_of(summary: pd.DataFrame) -> list[str]:
    """Return the controls that a summary has, the ticket first."""
    return [column[: -len("_mean")] for column in summary.columns if column.endswith("_mean")]
