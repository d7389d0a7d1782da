"""Table, figures and tickets of trained masks."""

import pathlib
from typing import Any

import pandas as pd

from jaxlth import store
from jaxlth.store import Run
from jaxlth.studies import methods, reading, run_info
from jaxlth.studies.controls import TICKET
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.study import Figures, Summary, TicketName
from jaxlth.studies.train import Ticket
from jaxlth.studies.train_supermasks.config import TrainSupermasksConfig, Wanted
from jaxlth.studies.train_supermasks.run import start_of


def summarize(frame: pd.DataFrame, path: pathlib.Path, *, tolerance: float, width: int) -> Summary:
    """Return the table of methods by density and its sentence, which says what is not of a mask."""
    summary = methods.summarize(frame, path, tolerance=tolerance, width=width)
    if run_info.setting(path, "supermask")["at_test"] == "sampled":
        return summary
    note = "bernoulli is evaluated by weights times their probabilities, not by the stored masks."
    return summary._replace(sentence=f"{summary.sentence} {note}")


def ticket(
    name: TicketName, path: pathlib.Path, parts: Parts = NONE
) -> tuple[Ticket, dict[str, Any]]:
    """Return a network under its trained mask, and what its file says of it."""
    row = methods.ticket_row(name, path)
    density = None if row["unit"].startswith("density_free/") else row["density"]
    control = TICKET if row["ablation"] == "none" else row["ablation"]
    wanted = Wanted(row["score"], density, row["schedule"], control)
    start = find(store.open_readonly(path), wanted, name.replicate, parts)
    return start, {"method": name.method}


def find(run: Run, wanted: Wanted, replicate: int, parts: Parts = NONE) -> Ticket:
    """Return a network of a run: the mask that was trained, and the weights that it starts from.

    Raises:
      ValueError: the run has no such network.
    """
    lab = reading.lab(run, TrainSupermasksConfig, wanted.artifact(replicate), parts)
    return start_of(lab, wanted, replicate)


FIGURES = Figures(kinds=methods.FIGURES, last=methods.last, help=methods.HELP)
