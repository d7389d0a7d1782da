"""Order and styles of methods in reports of pruning early."""

import contextlib
import contextvars
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from jaxlth.plots import control_styles, theme

SCHEDULE_TITLES = {
    "none": "",
    "before-once": "before training, at once",
    "before-rounds": "before training, in rounds",
    "iterative-once": "between trainings, at once",
    "iterative-rounds": "between trainings, in rounds",
    "after": "after training",
    "after-rounds": "after training, in rounds",
    "after-rewind": "after training, rewound",
    "sparse": "trained sparse",
    "untrained": "masks trained, weights not",
    "finetuned": "masks trained, then weights",
}
# No colour is that of another score, method or control. Colours of scores are Paul Tol's, those of
# methods matplotlib's.
LINE_STYLES = {
    "magnitude": theme.LineStyle("#332288", "o"),
    "magnitude-unit-variance": theme.LineStyle("#88CCEE", "h"),
    "snip": theme.LineStyle("#999933", "s"),
    "grasp": theme.LineStyle("#44AA99", "p"),
    "grasp-magnitude": theme.LineStyle("#117733", "v"),
    "grasp-lowest": theme.LineStyle("#DDCC77", "P"),
    "synflow": theme.LineStyle("#882255", "D"),
    "synflow-published": theme.LineStyle("#CC6677", "X"),
    "synflow-image": theme.LineStyle("#661100", "<"),
    "synflow-mean": theme.LineStyle("#AA4499", ">"),
    "static": theme.LineStyle("#637939", "P"),
    "set": theme.LineStyle("#9467BD", "^"),
    "rigl": theme.LineStyle("#D62728", "*"),
    "dynamic-imp": theme.LineStyle("#F01E9E", "D"),
    "bernoulli": theme.LineStyle("#FF7F0E", "h"),
    "edge-popup": theme.LineStyle("#2CA02C", ">"),
    "gem-miner": theme.LineStyle("#7F7F7F", "<"),
    "dense": theme.LineStyle(theme.BLACK, "o"),
    **{name: control_styles.line_style("ticket") for name in ("none", "imp")},
    **{name: control_styles.line_style(name) for name in control_styles.CONTROL_STYLES},
}
_COLORS = (  # as many as a panel has lines
    *("#17BECF", "#BCBD22", "#E377C2", "#444444", "#6699CC", "#FFAABB", "#98DF8A", "#C5B0D5"),
    *("#A6761D", "#AEC7E8", "#7F7FFF", "#B0B0B0"),
)
_MARKERS = "osD^vPX<>*hp"
_ORDER = ["schedule", "score", "weights", "prune_step", "ablation"]  # columns that sort methods
_SHARED: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("shared", default=())


@contextlib.contextmanager
def shared(names: Iterable[str]) -> Iterator[None]:
    """Have each of these methods in one style in all that is drawn within, of whatever run."""
    token = _SHARED.set(tuple(names))
    try:
        yield
    finally:
        _SHARED.reset(token)


def of_run(results: pd.DataFrame) -> dict[Any, theme.LineStyle]:
    """Return a style for each method of a run, in the order of its summary.

    A figure takes its styles from here, whatever it draws of the run: so a method has the same one
    in all figures.

    Args:
      results: the whole table of results of the run.
    """
    rows = results[~results["link"].astype(bool)] if "link" in results else results
    if set(_ORDER) <= set(rows):
        return line_styles(list(dict.fromkeys(sort_methods(rows)["control"])))
    names = set(rows["control"].dropna()) if "control" in rows else set()
    return line_styles(control_styles.sort_controls(sorted(names)))


def sort_methods(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows by schedule, score, initial weights, step and ablation, dense ones first."""
    ranks = rows[_ORDER].assign(
        schedule=rows["schedule"].map(schedule_order),
        ablation=rows["ablation"] != "none",
        weights=rows["weights"].map(lambda name: (name != "standard", name)),
    )
    return rows.loc[ranks.sort_values(_ORDER, kind="stable").index]


def line_styles(names: list[Any]) -> dict[Any, theme.LineStyle]:
    """Return a style for each line: a score, or an ablation, has the same one everywhere.

    The first method of a score, such as snip-before-once, has that of the score.
    """
    listed = dict.fromkeys([*_SHARED.get(), *names])
    styles, taken, number = {}, {name for name in listed if name in LINE_STYLES}, 0
    for name in listed:
        score = _score(str(name))
        if name in LINE_STYLES:
            styles[name] = LINE_STYLES[name]
        elif score and score not in taken:
            styles[name] = LINE_STYLES[score]
            taken.add(score)
        else:
            color = _COLORS[number % len(_COLORS)]
            marker = _MARKERS[(number + number // len(_COLORS)) % len(_MARKERS)]
            styles[name] = theme.LineStyle(color, marker)
            number += 1
    return {name: styles[name] for name in names}


def _score(method: str) -> str:
    """Return the listed score that a method's name begins with, or "".

    Example:
      >>> _score("grasp-magnitude-before-once"), _score("snip after"), _score("snip+grasp-after")
      ('grasp-magnitude', 'snip', '')
    """
    scores = [name for name in LINE_STYLES if method.startswith(tuple(name + end for end in "-, "))]
    return max(scores, key=len, default="")


def schedule_order(schedule: Any) -> tuple[int, str]:
    """Return a key that sorts schedules from before training to after; unknown ones come last."""
    listed = list(SCHEDULE_TITLES)
    rank = listed.index(schedule) if schedule in listed else len(listed)
    return rank, str(schedule)
