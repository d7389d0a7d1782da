"""The table of results in short: a summary per level, as text, and in one sentence.

A level *matches* where the mean accuracy over its replicates is at least the mean of the dense
network (level 0, control "ticket") less a tolerance. A network that diverged (its `nan_step` is
set) is left out of every mean and counted as failed.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from jaxlth.report import results as stored

_SUBJECTS = {
    "reinitialized": "reinitialised tickets",
    "shuffled": "tickets with shuffled masks",
    "random-layerwise": "networks pruned randomly layer by layer",
    "random": "randomly pruned networks",
    "inverted": "inverted tickets",
}
_WHOLE = [  # columns of whole numbers, which pandas turns into floats where one is missing
    *("replicate", "level", "kept", "prunable", "step", "steps"),
    *("start_step", "best_step", "stopped_step", "nan_step"),
]
_NARROW = {"reinitialized": "re-\ninitialised", "random-layerwise": "layerwise\nrandom"}
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
    stored.check(results, metric)
    levels = results.groupby("level")[["density", "kept"]].first()
    columns = {"density": levels["density"], "kept": levels["kept"].astype(int)}
    dense = stored.survived(results[stored.is_dense(results)], metric).mean()
    for control in stored.controls(results):
        mine = results[results["control"] == control]
        failed = mine["nan_step"].notna()
        by_level = stored.survived(mine, metric).groupby(mine["level"])
        mean = by_level.mean().reindex(levels.index)
        columns[f"{control}_mean"] = mean
        columns[f"{control}_min"] = by_level.min().reindex(levels.index)
        columns[f"{control}_max"] = by_level.max().reindex(levels.index)
        columns[f"{control}_n"] = by_level.count().reindex(levels.index, fill_value=0)
        columns[f"{control}_failed"] = (
            failed.groupby(mine["level"]).sum().reindex(levels.index, fill_value=0)
        )
        trained = columns[f"{control}_n"] + columns[f"{control}_failed"] > 0
        matches = (mean >= dense - tolerance - _ROUNDING).astype("boolean")
        columns[_matches(control)] = matches.where(trained & pd.notna(dense))
    return pd.DataFrame(columns).reset_index()


def render(summary: pd.DataFrame, *, tolerance: float, width: int = 80) -> Table:
    """Return the summary as a table for a terminal: density and accuracy in percent.

    A cell holds mean and (min-max); an asterisk marks a mean that matches the dense network. Where
    that does not fit into `width`, weights are left out, then min-max go on a second line.
    """
    names = _controls_of(summary)
    caption = _caption(summary, names, tolerance)
    for kept, lines in ((True, 1), (False, 1), (False, 2)):
        table = _table(summary, names, kept=kept, lines=lines, caption=caption)
        if _width(table) <= width:
            break
    return table


def sentence(summary: pd.DataFrame, *, tolerance: float, rewind_step: int | None) -> str:
    """Return in one sentence how far down the tickets and the controls match the dense network.

    "Down to" names the sparsest level that matches, as Frankle does; denser levels that do not are
    named or counted behind it, so that the sentence never claims more than the table shows.

    Args:
      summary: what `summary` returned, with the same tolerance.
      tolerance: how far below the dense mean still counts as matching, in [0, 1].
      rewind_step: the step whose weights the tickets restart from; they are called winning only for
        step 0. None where weights are not rewound (learning-rate rewinding, fine-tuning).

    References:
      Frankle 2023, The Lottery Ticket Hypothesis, section 3.3.4, "Evaluation".
    """
    names = _controls_of(summary)
    dense = summary.loc[summary["level"] == 0, "ticket_mean"].iloc[0]
    left_out = _left_out(summary, names)
    if pd.isna(dense):
        return f"The dense network did not train{left_out}."
    target = f"the dense network ({_accuracy(dense)} %)"
    if not (summary["level"] > 0).any():
        return f"Only {target} has been trained{left_out}."
    target += _within(tolerance)
    ticket = _reach(summary, "ticket")
    clauses = [_ticket_clause(summary, ticket, target, rewind_step)]
    verb = " do so"
    for control in names[1:]:
        reach = _reach(summary, control)
        if reach.tried:
            subject = _SUBJECTS.get(control, f"networks of the control {control!r}")
            clauses.append(f"{subject}{verb} {_compared(reach, ticket)}")
            verb = ""
    rest = f"; {', '.join(clauses[1:])}" if clauses[1:] else ""
    return f"{clauses[0]}{rest}{left_out}."


def to_json(frame: pd.DataFrame) -> str:
    r"""Return a table as a JSON list of objects, one a row; NaN and infinity become null.

    Example:
      >>> to_json(pd.DataFrame({"level": [3], "best_step": [float("nan")]}))
      '[\n{"level": 3, "best_step": null}\n]'
    """
    records = _whole(frame).astype(object).to_dict("records")
    rows = [json.dumps({key: _plain(value) for key, value in row.items()}) for row in records]
    return "[\n" + ",\n".join(rows) + "\n]"


def to_csv(frame: pd.DataFrame) -> str:
    r"""Return a table as CSV text with a header; what is missing is empty.

    Example:
      >>> to_csv(pd.DataFrame({"level": [3], "best_step": [float("nan")]}))
      'level,best_step\n3,\n'
    """
    return _whole(frame).to_csv(index=False, lineterminator="\n")


class _Reach(NamedTuple):
    """How far down one control matches the dense network."""

    tried: list[float]  # densities at which it was trained, dense first
    matched: list[float]

    @property
    def missed(self) -> list[float]:
        """Densities above the sparsest match that do not match themselves."""
        return [d for d in self.tried if d > self.matched[-1] and d not in self.matched]


def _reach(summary: pd.DataFrame, control: str) -> _Reach:
    rows = summary[(summary["level"] > 0) & summary[_matches(control)].notna()]
    matched = rows[rows[_matches(control)].astype(bool)]
    return _Reach(list(rows["density"]), list(matched["density"]))


def _ticket_clause(
    summary: pd.DataFrame, reach: _Reach, target: str, rewind_step: int | None
) -> str:
    rewound = f" rewound to step {rewind_step}" if rewind_step else ""
    if not reach.matched:
        pruned = summary[summary["level"] > 0]
        if pruned["ticket_mean"].isna().all():
            return f"No ticket{rewound} matches {target}"
        best = pruned.loc[pruned["ticket_mean"].idxmax()]
        reached = f"the best, at {stored.percent(best['density'])} % of the weights, reaches"
        return f"No ticket{rewound} matches {target}: {reached} {_accuracy(best['ticket_mean'])} %"
    who = "Winning tickets" if rewind_step == 0 else f"Tickets{rewound}"
    every = " at every level," if len(reach.matched) == len(reach.tried) else ""
    return f"{who} match {target}{every} {_down_to(reach, unit=' of the weights')}"


def _compared(reach: _Reach, ticket: _Reach) -> str:
    """Return how far a control matches, in words that compare it with the tickets."""
    if not reach.matched:
        return "at no level"
    if not ticket.matched:
        return _down_to(reach)
    if len(reach.matched) == len(reach.tried) and reach.tried[-1] > ticket.matched[-1]:
        return f"at every level tried, {_down_to(reach)}"
    if reach.matched[-1] > ticket.matched[-1]:
        return f"only {_down_to(reach)}"
    word = "even" if reach.matched[-1] < ticket.matched[-1] else "also"
    return f"{word} {_down_to(reach)}"


def _down_to(reach: _Reach, *, unit: str = "") -> str:
    text = f"down to {stored.percent(reach.matched[-1])} %{unit}"
    if not reach.missed:
        return text
    if len(reach.missed) <= 2:
        return f"{text} (but not at {' and '.join(stored.percent(d) + ' %' for d in reach.missed)})"
    return f"{text} (but not at {len(reach.missed)} denser levels)"


def _left_out(summary: pd.DataFrame, names: Sequence[str]) -> str:
    failed = sum(int(summary[f"{name}_failed"].sum()) for name in names)
    total = failed + sum(int(summary[f"{name}_n"].sum()) for name in names)
    return f" ({failed} of {total} networks diverged and are left out)" if failed else ""


def _table(
    summary: pd.DataFrame, names: Sequence[str], *, kept: bool, lines: int, caption: str
) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption=caption,
        caption_justify="left",
        caption_style="",
    )
    for title in ["level", "density"] + ["weights"] * kept:
        table.add_column(title, justify="right", no_wrap=True)
    for name in names:
        title = stored.label(name)
        table.add_column(_NARROW.get(name, title) if lines == 2 else title)
    for _, row in summary.iterrows():
        cells = [str(int(row["level"])), f"{stored.percent(row['density'])} %"]
        cells += [f"{int(row['kept']):,}"] * kept
        table.add_row(*cells, *(_cell(row, name, lines) for name in names))
    return table


def _cell(row: pd.Series, name: str, lines: int) -> str:
    n, failed, matches = row[f"{name}_n"], row[f"{name}_failed"], row[_matches(name)]
    if n == 0:
        return "failed" if failed else "-"
    star = row["level"] > 0 and pd.notna(matches) and bool(matches)
    text = _accuracy(row[f"{name}_mean"]) + ("*" if star else " ")
    if n > 1:
        low, high = _accuracy(row[f"{name}_min"]), _accuracy(row[f"{name}_max"])
        text += f"\n{low}-{high}" if lines == 2 else f" ({low}-{high})"
    return f"[green]{text}[/green]" if star else text


def _caption(summary: pd.DataFrame, names: Sequence[str], tolerance: float) -> str:
    counts = sorted({int(n) for name in names for n in summary[f"{name}_n"] if n > 0})
    if not counts:
        return "Accuracy in percent."
    many = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    what = "of one replicate" if counts == [1] else f"mean (min-max) of {many} replicates"
    lines = [f"Accuracy in percent, {what}."]
    lines.append(f"* matches the dense network{_within(tolerance)}.")
    failed = {name: int(summary[f"{name}_failed"].sum()) for name in names}
    if any(failed.values()):
        listed = ", ".join(f"{n} {stored.label(name)}" for name, n in failed.items() if n)
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


def _matches(control: str) -> str:
    return "matches" if control == "ticket" else f"{control}_matches"


def _controls_of(summary: pd.DataFrame) -> list[str]:
    return [column[: -len("_mean")] for column in summary.columns if column.endswith("_mean")]


def _within(tolerance: float) -> str:
    points = f"{100 * tolerance:.3g}"
    return f" to within {points} point{'s' if points != '1' else ''}" if tolerance else ""


def _accuracy(value: float) -> str:
    return f"{100 * value:.2f}"


def _whole(frame: pd.DataFrame) -> pd.DataFrame:
    present = [column for column in _WHOLE if column in frame.columns]
    return frame.astype(dict.fromkeys(present, float)).astype(dict.fromkeys(present, "Int64"))


def _plain(value: Any) -> Any:
    if pd.isna(value) or (isinstance(value, float) and math.isinf(value)):
        return None
    return value
