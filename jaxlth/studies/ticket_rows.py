"""From the arguments that name a ticket to its row in the table of results."""

from __future__ import annotations

import pathlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from jaxlth import store
from jaxlth.models import Network
from jaxlth.settings import check_choice, require
from jaxlth.studies import run_info, ticket_checks
from jaxlth.studies.controls import TICKET
from jaxlth.studies.study import TicketName

if TYPE_CHECKING:
    import pandas as pd

CLOSE = 0.1  # how far a density may be from that of a level, as a share of it


def ticket_name(
    named_by: Collection[str],
    frame: pd.DataFrame,
    path: pathlib.Path,
    level: int | None,
    density: float | None,
    control: str,
    method: str | None,
    replicate: int,
) -> TicketName:
    """Return the name of a ticket, completed by what the run has.

    Args:
      named_by: what names tickets of the study.
      frame: the table of results.
      path: folder of the run.
      level: the last one, if neither it nor a density is given.
      density: of a level, the closest one.
      control: "ticket" or a control.
      method: the only one, if not given.
      replicate: counted from 0.

    Raises:
      ValueError: the run has no such ticket, or several that this may be.
    """
    if "level" in named_by:
        require(
            level is None or density is None,
            "`level` and `density` both say how much the ticket keeps; give one.",
        )
        rows = _of_control(frame, control)
        rows = rows[rows["replicate"] == replicate]
        if density is not None and not rows.empty:
            level, density = _closest_level(rows, density), None
        elif level is None and not rows.empty:
            level = int(rows["level"].max())
        return TicketName(level, control, density, method, replicate)
    if "method" in named_by:
        pruned = frame[frame["level"] > 0]
        method = _only("method", pruned["control"], path) if method is None else method
        rows = pruned[pruned["control"] == method]
        if density is None and not rows.empty:
            density = _only("density", rows["density"], path)
    return TicketName(level, None if control == TICKET else control, density, method, replicate)


def find_row(
    named_by: Collection[str], frame: pd.DataFrame, path: pathlib.Path, name: TicketName
) -> pd.Series:
    """Return the row of the network that a ticket has become.

    Raises:
      ValueError: the run has no such network.
    """
    options = ("level", "control", "density", "method")
    others = [option for option in options if option not in named_by]
    ticket_checks.refuse(name, path, others, instead=list(named_by) or ["replicate"])
    control = name.method or name.control or TICKET
    rows, of = _of_control(frame, control), f"{control} of {path.name}"
    if name.level is not None:
        ticket_checks.number("level", name.level, rows["level"], of)
        rows, of = rows[rows["level"] == name.level], f"{of} at level {name.level}"
    if name.density is not None:
        ticket_checks.density(name.density, rows["density"], of)
        rows, of = rows[rows["density"] == name.density], f"{of} at density {name.density:g}"
    ticket_checks.number("replicate", name.replicate, rows["replicate"], of)
    return rows[rows["replicate"] == name.replicate].iloc[0]


def trained_network(
    named_by: Collection[str], frame: pd.DataFrame, path: pathlib.Path, name: TicketName
) -> Network:
    """Return the network that a ticket has become in training, in NumPy.

    Raises:
      ValueError: the run has no such network.
    """
    row = find_row(named_by, frame, path, name)
    network = store.open_readonly(path).load(row["unit"], "network")
    return Network(network["params"], network.get("stats", {}))


def _of_control(frame: pd.DataFrame, control: str) -> pd.DataFrame:
    """Return the rows of a control, or of a method, trained as long as the config says."""
    rows = run_info.undilated(frame) if "dilation" in frame else frame
    check_choice("control", control, dict.fromkeys(rows["control"]))
    return rows[rows["control"] == control]


def _closest_level(rows: pd.DataFrame, density: float) -> int:
    """Return the level whose density is closest.

    Raises:
      ValueError: none is within a tenth.
    """
    densities = rows.set_index("level")["density"]
    distances = (densities - density).abs()
    require(
        distances.min() <= CLOSE * density,
        "`density` must be within a tenth of one of a level: "
        f"{', '.join(f'{value:.3g}' for value in densities.sort_index())}; got {density}.",
    )
    return int(distances.idxmin())


def _only(option: str, values: pd.Series, path: pathlib.Path) -> Any:
    """Return the only value of a column.

    Raises:
      ValueError: there are several, or none.
    """
    names = list(dict.fromkeys(values))
    require(bool(names), f"The run {path.name} has no ticket yet, only dense networks.")
    shown = ", ".join(f"{name:g}" if isinstance(name, float) else name for name in names)
    require(len(names) == 1, f"`{option}` must be given: the run {path.name} has {shown}.")
    return names[0]
