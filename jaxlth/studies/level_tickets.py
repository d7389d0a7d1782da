"""Tickets of studies that prune level by level."""

import pathlib
from collections.abc import Callable
from typing import Any

from jaxlth import store
from jaxlth.settings import check_choice
from jaxlth.store import Run
from jaxlth.studies import run_info, ticket_checks
from jaxlth.studies.controls import TICKET
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.study import TicketName
from jaxlth.studies.train import Ticket


def ticket(
    name: TicketName,
    path: pathlib.Path,
    parts: Parts = NONE,
    *,
    find: Callable[[Run, int, str, int, Parts], Ticket],
) -> tuple[Ticket, dict[str, Any]]:
    """Return a ticket that is named by level and control, and what its file says of it.

    Args:
      name: of the ticket.
      path: folder of the run.
      parts: of the experiment that no setting says.
      find: (run, level, control, replicate, parts) -> ticket.
    """
    ticket_checks.refuse(name, path, ("density", "method"), instead=("level", "control"))
    level = 1 if name.level is None else name.level
    control = TICKET if name.control is None else name.control
    rows = run_info.undilated(run_info.results(path))
    check_choice("control", control, sorted(set(rows["control"]), key=_ticket_first))
    rows = rows[rows["control"] == control]
    ticket_checks.number("level", level, rows["level"], f"{control} of {path.name}")
    rows = rows[rows["level"] == level]
    of = f"{control} of {path.name} at level {level}"
    ticket_checks.number("replicate", name.replicate, rows["replicate"], of)
    start = find(store.open_readonly(path), level, control, name.replicate, parts)
    return start, {"level": level, "control": control}


def _ticket_first(control: str) -> tuple[bool, str]:
    return control != TICKET, control
