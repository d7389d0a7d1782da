"""The summary of a run in one sentence."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from jaxlth.plots import control_styles, result_table
from jaxlth.studies import metrics, tables


def sentence(
    summary: pd.DataFrame,
    *,
    metric: str = metrics.ACCURACY,
    tolerance: float,
    rewind_step: int | None,
) -> str:
    """Return in one sentence how far down the tickets and the controls match the dense network.

    "Down to" names the sparsest level that matches, as Frankle does; denser levels that do not are
    named or counted behind it, so that the sentence never claims more than the table shows.

    Args:
      summary: what `summary` returned, with the same metric and tolerance.
      metric: the accuracy, or loss, that was summed up.
      tolerance: how far from the dense mean still counts as matching, in [0, 1].
      rewind_step: the step whose weights the tickets restart from; they are called winning only for
        step 0. None where weights are not rewound (learning-rate rewinding, fine-tuning).

    References:
      Frankle 2023, The Lottery Ticket Hypothesis, section 3.3.4, "Evaluation".
    """
    names = tables.controls_of(summary)
    dense = summary.loc[summary["level"] == 0, "ticket_mean"].iloc[0]
    left_out = _left_out(summary, names)
    if pd.isna(dense):
        return f"The dense network did not train{left_out}."
    target = f"the dense network ({metrics.with_unit(dense, metric)})"
    if not (summary["level"] > 0).any():
        return f"Only {target} has been trained{left_out}."
    target += metrics.within(tolerance, metric)
    ticket = _reach(summary, "ticket")
    clauses = [_ticket_clause(summary, metric, ticket, target, rewind_step)]
    verb = " do so"
    for control in names[1:]:
        reach = _reach(summary, control)
        if reach.tried:
            subject = control_styles.control_style(control).subject
            clauses.append(f"{subject}{verb} {_compared(reach, ticket)}")
            verb = ""
    rest = f"; {', '.join(clauses[1:])}" if clauses[1:] else ""
    return f"{clauses[0]}{rest}{left_out}."


class _Reach(NamedTuple):
    """How far down one control matches the dense network."""

    tried: list[float]  # densities at which it was trained, dense first
    matched: list[float]

    @property
    def missed(self) -> list[float]:
        """Densities above the sparsest match that do not match themselves."""
        return [d for d in self.tried if d > self.matched[-1] and d not in self.matched]


def _reach(summary: pd.DataFrame, control: str) -> _Reach:
    rows = summary[(summary["level"] > 0) & summary[tables.matches_column(control)].notna()]
    matched = rows[rows[tables.matches_column(control)].astype(bool)]
    return _Reach(list(rows["density"]), list(matched["density"]))


def _ticket_clause(
    summary: pd.DataFrame, metric: str, reach: _Reach, target: str, rewind_step: int | None
) -> str:
    rewound = f" rewound to step {rewind_step}" if rewind_step else ""
    if not reach.matched:
        pruned = summary[summary["level"] > 0]
        if pruned["ticket_mean"].isna().all():
            return f"No ticket{rewound} matches {target}"
        best = pruned.loc[metrics.best(pruned["ticket_mean"], metric)]
        reached = f"the best, at {result_table.percent(best['density'])} % of the weights, reaches"
        value = metrics.with_unit(best["ticket_mean"], metric)
        return f"No ticket{rewound} matches {target}: {reached} {value}"
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
    text = f"down to {result_table.percent(reach.matched[-1])} %{unit}"
    if not reach.missed:
        return text
    if len(reach.missed) <= 2:
        missed = " and ".join(f"{result_table.percent(density)} %" for density in reach.missed)
        return f"{text} (but not at {missed})"
    return f"{text} (but not at {len(reach.missed)} denser levels)"


def _left_out(summary: pd.DataFrame, names: Sequence[str]) -> str:
    failed = sum(int(summary[f"{name}_failed"].sum()) for name in names)
    total = failed + sum(int(summary[f"{name}_n"].sum()) for name in names)
    verb = "is" if failed == 1 else "are"
    return f" ({failed} of {total} networks diverged and {verb} left out)" if failed else ""
