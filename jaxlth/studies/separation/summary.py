"""Networks that fall apart along their tasks: tables of their outcomes.

The table of results has a row for each network trained, of the kind `jaxlth separation` stores. A
*network* here is a replicate of a run through all its levels; its *outcome* sums up its states:

    separated           it separates at a level, and never degrades
    separated-degraded  it separates, and degrades at a later level
    degraded            it degrades before it separates
    interconnected      neither
    diverged            its loss became NaN before either

*Available* weights are those that are kept; *active* ones of these lie on a way from an input to an
output.

References:
  Burger 2024, sections 4.2 and 4.3.
"""

import math
from collections.abc import Sequence

import pandas as pd
from rich.table import Table

from jaxlth.plots import result_table
from jaxlth.studies import metrics, tables

JOB = "separation"
NETWORK = ["run", "replicate"]  # what tells networks apart
STATES = ("interconnected", "separated", "degraded")
_NEEDED = ("job", "run", "replicate", "level", "kept", "state", "weights.active", "nan_step")


def check(results: pd.DataFrame, *columns: str, one_run: bool = False) -> None:
    """Raise ValueError unless `results` are of this job, with a row a network, and these columns.

    Args:
      results: the table of results of one run or several.
      *columns: what is needed besides that which every table of this job has.
      one_run: whether rows of several runs are refused.
    """
    missing = [name for name in (*_NEEDED, *columns) if name not in results.columns]
    jobs = sorted(set(results["job"].dropna())) if "job" in results else []
    if jobs and jobs != [JOB]:
        raise ValueError(f"`results` must be of `jaxlth {JOB}`; got rows of {', '.join(jobs)}.")
    if missing:
        raise ValueError(
            f"`results` must be of `jaxlth {JOB}`; they lack the column {missing[0]!r}."
        )
    if results.empty:
        raise ValueError("`results` have no trained network yet.")
    unknown = set(results["state"]) - set(STATES)
    if unknown:
        raise ValueError(f"`state` must be one of {', '.join(STATES)}; got {unknown.pop()!r}.")
    if results.duplicated([*NETWORK, "level"]).any():
        raise ValueError("`results` have a network twice; runs must have names of their own.")
    if one_run and results["run"].nunique() > 1:
        raise ValueError(f"`results` must be of one run; got {results['run'].nunique()}.")


def outcome(states: Sequence[str]) -> str:
    """Return the outcome of a network, from its states in the order of levels.

    Example:
      >>> outcome(["interconnected", "separated", "degraded"])
      'separated-degraded'

    References:
      Burger 2024, section 4.2.1.
    """
    unknown = set(states) - set(STATES)
    if unknown or not len(states):
        raise ValueError(f"`states` must be some of {', '.join(STATES)}; got {list(states)}.")
    parts = [state for state in ("separated", "degraded") if state in states]
    return "-".join(parts) or "interconnected"


def outcomes(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each network: its outcome, and its numbers where it separated.

    Columns: run, replicate, widths (None where not stored), outcome; levels, how often it was
    pruned; `level`, `kept`, `active`, `test_accuracy`, `test_loss` and `tasks.NAME.test_accuracy`
    at the first level at which it is separated, missing where it never is; `last_kept` and
    `last_active` at its last level. `kept` are available weights, `active` the active ones.

    Args:
      results: the table of results of one run or several.

    Raises:
      ValueError: the table is not of this job.
    """
    check(results)
    measured = [name for name in ("test_accuracy", "test_loss") if name in results]
    measured += [f"tasks.{name}.test_accuracy" for name in tasks(results)]
    networks = []
    for (run, replicate), rows in results.sort_values("level").groupby(NETWORK, sort=False):
        first, last = rows[rows["state"] == "separated"].head(1), rows.iloc[-1]
        final = outcome(list(rows["state"]))
        if final == "interconnected" and rows["nan_step"].notna().any():
            final = "diverged"
        row = {"run": run, "replicate": replicate, "widths": last.get("widths")}
        row |= {"outcome": final, "levels": int(last["level"])}
        for name, column in (("level", "level"), ("kept", "kept"), ("active", "weights.active")):
            row[name] = int(first[column].iloc[0]) if len(first) else pd.NA
        for name in measured:
            row[name] = result_table.survived(first, name).iloc[0] if len(first) else math.nan
        row |= {"last_kept": int(last["kept"]), "last_active": int(last["weights.active"])}
        networks.append(row)
    table = pd.DataFrame(networks).astype(dict.fromkeys(["level", "kept", "active"], "Int64"))
    order = {run: place for place, run in enumerate(dict.fromkeys(results["run"]))}
    return table.sort_values(
        NETWORK, key=lambda column: column.map(order) if column.name == "run" else column
    ).reset_index(drop=True)


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each level of a run: its weights, the states of its networks, accuracy.

    Columns: level; density, kept and active, the mean numbers of weights; how many networks are
    `interconnected`, `separated` and `degraded`; test_accuracy and `tasks.NAME.test_accuracy`, the
    means of the networks that did not diverge, and `failed`, how many did.

    Raises:
      ValueError: the table is not of this job, or of more than one run.
    """
    check(results, "density", "test_accuracy", one_run=True)
    numbers = results[["density", "kept", "weights.active"]].astype(float)
    levels = numbers.groupby(results["level"]).mean().rename(columns={"weights.active": "active"})
    for state in STATES:
        levels[state] = (results["state"] == state).groupby(results["level"]).sum()
    for name in ["test_accuracy", *(f"tasks.{task}.test_accuracy" for task in tasks(results))]:
        levels[name] = result_table.survived(results, name).groupby(results["level"]).mean()
    levels["failed"] = results["nan_step"].notna().groupby(results["level"]).sum()
    return levels.reset_index()


def render(summary: pd.DataFrame) -> Table:
    """Return the summary as a table for a terminal; levels with a separated network are green."""
    networks = summary[list(STATES)].sum(axis=1)
    names = [name for name in tasks(summary) if len(tasks(summary)) > 1]
    each = " of all tasks and of each" if names else ""
    lines = [
        "Available weights, and of these active ones; how many networks are",
        f"separated. Means over networks; test accuracy in percent{each}.",
    ]
    failed = int(summary["failed"].sum())
    lines += [f"Left out of accuracies because they diverged: {failed}."] if failed else []
    table = tables.plain("\n".join(lines))
    heads = ["level", "density", "weights", "active", "sepa-\nrated", "de-\ngraded", "accuracy"]
    for title in [*heads, *names]:
        table.add_column(title, justify="right", no_wrap=title not in names)
    columns = ["test_accuracy", *(f"tasks.{name}.test_accuracy" for name in names)]
    for place, row in summary.iterrows():
        cells = [str(int(row["level"])), f"{result_table.percent(row['density'])} %"]
        cells += [f"{row['kept']:,.0f}", f"{row['active']:,.0f}"]
        cells += [_of_all(int(row[state]), networks[place]) for state in STATES[1:]]
        cells += ["-" if pd.isna(row[name]) else metrics.in_percent(row[name]) for name in columns]
        table.add_row(*cells, style="green" if row["separated"] else None)
    return table


def sentence(results: pd.DataFrame) -> str:
    """Return in one sentence how many networks separated, the first of them when, and the rest.

    Example:
      >>> states = ["interconnected", "separated"]
      >>> table = pd.DataFrame({"level": [0, 1], "kept": [40, 20], "state": states})
      >>> table = table.assign(job="separation", run="a", replicate=0, nan_step=None)
      >>> sentence(table.assign(**{"weights.active": [40, 18]}))
      'The network separated at level 1 with 18 active weights of 20 available.'
    """
    table = outcomes(results)
    total, separated = len(table), table[table["level"].notna()]
    rest = _rest(
        table["outcome"], degraded="degraded before separating" if len(separated) else "degraded"
    )
    if separated.empty:
        if total == 1:
            return f"The network {rest.partition(' ')[2]}; it did not separate."
        return f"None of {total} networks separated; {rest}."
    first = separated.sort_values("level", kind="stable").iloc[0]
    comma = "" if total == 1 else ", first" if len(separated) > 1 else ","
    active = f"{first['active']:,} active weight{'s' if first['active'] != 1 else ''}"
    parts = [
        f"{_who(len(separated), total)} separated{comma} at level {first['level']} with {active} "
        f"of {first['kept']:,} available"
    ]
    degraded = int((table["outcome"] == "separated-degraded").sum())
    parts += [f"{_them(degraded, total)} degraded later"] if degraded else []
    return "; ".join([*parts, *filter(None, [rest])]) + "."


def example(results: pd.DataFrame) -> int:
    """Return the replicate to be shown of a run: the first that separated, else the first."""
    table = outcomes(results)
    separated = table[table["level"].notna()]
    return int((table if separated.empty else separated)["replicate"].iloc[0])


def tasks(results: pd.DataFrame) -> list[str]:
    """Return the names of the tasks that a table, or a summary, has accuracies of."""
    names = [str(name) for name in results.columns]
    start, end = "tasks.", ".test_accuracy"
    return [n[len(start) : -len(end)] for n in names if n.startswith(start) and n.endswith(end)]


def _of_all(count: int, total: int) -> str:
    return f"{count} of {total}" if count else "-"


def _rest(outcomes: pd.Series, *, degraded: str) -> str:
    """Return in words how many networks did not separate."""
    words = {"interconnected": "stayed interconnected", "degraded": degraded}
    words |= {"diverged": "diverged"}
    counts = {name: int((outcomes == name).sum()) for name in words}
    parts = [f"{count} {words[name]}" for name, count in counts.items() if count]
    return ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + "".join(parts[-1:])


def _who(count: int, total: int) -> str:
    everyone = {1: "The network", 2: "Both networks"}.get(total, f"All {total} networks")
    return everyone if count == total else f"{count} of {total} networks"


def _them(count: int, total: int) -> str:
    everyone = {1: "it", 2: "both"}.get(total, "all")
    return everyone if count == total else f"{count} of these"
