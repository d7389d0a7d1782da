"""Figures and tickets of trained masks."""

import pathlib
from typing import Any

from jaxlth import mask_training, store, tickets
from jaxlth.studies import methods
from jaxlth.studies.study import Figures, TicketName
from jaxlth.work import Ticket


def ticket(name: TicketName, path: pathlib.Path) -> tuple[Ticket, dict[str, Any]]:
    """Return a network under its trained mask, and what its file says of it."""
    row = methods.ticket_row(name, path)
    density = None if row["unit"].startswith("density_free/") else row["density"]
    control = tickets.TICKET if row["ablation"] == "none" else row["ablation"]
    wanted = mask_training.Wanted(row["score"], density, row["schedule"], control)
    start = mask_training.find(store.look(path), wanted, name.replicate)
    return start, {"method": name.method}


FIGURES = Figures(kinds=methods.FIGURES, last=methods.last)
