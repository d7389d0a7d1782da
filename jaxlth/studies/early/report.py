"""Figures and tickets of pruning before, early in, or between trainings."""

import pathlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from jaxlth import early, masks, store
from jaxlth.report import early as plots
from jaxlth.report import views
from jaxlth.report.figures import Figure
from jaxlth.settings import require
from jaxlth.studies import methods
from jaxlth.studies.study import Figures, TicketName
from jaxlth.work import Ticket


def ticket(name: TicketName, path: pathlib.Path) -> tuple[Ticket, dict[str, Any]]:
    """Return a ticket, and what its file says of it."""
    row = methods.ticket_row(name, path)
    start = early.find(store.look(path), row["density"], _method(row), name.replicate)
    return start, {"method": name.method}


def weights(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...] = ()) -> Figure:
    """Return the figure of the sparsest tickets' weights before and after training."""
    run, values = store.look(path), {}
    for _, row in methods.sparsest(frame, path).iterrows():
        start = early.find(run, row["density"], _method(row), int(row["replicate"]))
        trained = run.load(row["unit"], "network")["params"]
        values[row["control"]] = (
            masks.kept_values(start.network.params, start.mask),
            masks.kept_values(trained, start.mask),
        )
    return views.histograms(values)


def steps(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...]) -> Figure:
    """Return the figure of accuracy by the step that is pruned at."""
    require(
        bool((frame["prune_step"] > 0).any()),
        f"The run {path.name} has no ticket pruned after initialisation; `jaxlth early "
        "--prune-steps 0 100` trains some.",
    )
    return plots.steps(frame)


def _method(row: Mapping[Any, Any]) -> early.Method:
    """Return the method of a ticket, a row of the table of results."""
    names = ("score", "schedule", "ablation", "weights")
    return early.Method(*(row[name] for name in names), step=int(row["prune_step"]))


FIGURES = Figures(
    kinds=methods.FIGURES | {"weights": weights, "steps": steps},
    last=methods.last,
    help="Of `jaxlth early` and `train-mask`: what is kept of each layer (layers), how sparse "
    "units are (units), what masks share (overlap); of `jaxlth early`, the sparsest tickets' "
    "weights before and after training (weights), accuracy by the step that is pruned at (steps).",
)
