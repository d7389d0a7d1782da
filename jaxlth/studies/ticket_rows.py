"""From the name of a ticket to its row in the table of results.

Messages say which tickets a run has.
"""

from __future__ import annotations

import contextlib
import numbers
import pathlib
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxlth import store
from jaxlth.models import Network
from jaxlth.settings import check_choice, check_kind, require
from jaxlth.store import Run
from jaxlth.studies import run_info
from jaxlth.studies.controls import TICKET
from jaxlth.studies.lazy import Lazy
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.study import TicketName
from jaxlth.studies.train import Ticket

if TYPE_CHECKING:
    import pandas as pd

CLOSE = 0.1  # how far a density may be from that of a level, as a share of it
BY_LEVEL = ("level", "control")
BY_METHOD = ("density", "method")
_requested = Lazy("jaxlth.studies.method_summary", "tickets")  # late: it imports pandas


def completed(
    named_by: Collection[str], frame: pd.DataFrame, path: pathlib.Path, name: TicketName
) -> TicketName:
    """Return the name of a ticket, completed by what the run has.

    The level is the last one, or the one of the density closest to that given; method and density
    are the only ones.

    Raises:
      TypeError: a number of the name is none.
      ValueError: the run has no such ticket, or several that this may be.
    """
    check_kinds(name)
    level, control, density, method, replicate = name
    if "level" in named_by:
        require(
            level is None or density is None,
            "`level` and `density` both say how much the ticket keeps; give one.",
        )
        rows = _of("control", control or TICKET, frame)
        rows = rows[rows["replicate"] == replicate]
        if density is not None and not rows.empty:
            level, density = _closest_level(rows, density), None
        elif level is None and not rows.empty:
            level = int(rows["level"].max())
        return TicketName(level, control, density, method, replicate)
    if "method" in named_by:
        pruned = _as_listed(frame[frame["level"] > 0])
        method = _only("method", pruned["control"], path) if method is None else method
        rows = pruned[pruned["control"] == method]
        if density is None and not rows.empty:
            density = _only("density", rows["density"], path)
    return TicketName(level, None if control == TICKET else control, density, method, replicate)


def find(
    named_by: Collection[str], frame: pd.DataFrame, path: pathlib.Path, name: TicketName
) -> pd.Series:
    """Return the row of the network that a ticket has become.

    Args:
      named_by: what names tickets of the study.
      frame: the table of results; for methods with densities as tables show them.
      path: folder of the run.
      name: of the ticket.

    Raises:
      ValueError: the run has no such network.
    """
    refuse(named_by, path, name)
    option, control = ("method", name.method) if name.method else ("control", name.control)
    control = control or TICKET
    rows = _of(option, control, frame)
    of = f"{control} of {path.name}"
    if name.level is not None:
        _check_number("level", name.level, rows["level"], of)
        rows, of = rows[rows["level"] == name.level], f"{of} at level {name.level}"
    if name.density is not None:
        densities = sorted(set(rows["density"]), reverse=True)
        closest = min(densities, key=lambda density: abs(density - name.density))
        require(
            name.density in densities,
            f"There is no density {name.density:g} of {of}. Did you mean {closest:g}? Trained: "
            f"{', '.join(f'{density:g}' for density in densities)}.",
        )
        rows, of = rows[rows["density"] == name.density], f"{of} at density {name.density:g}"
    _check_number("replicate", name.replicate, rows["replicate"], of)
    return rows[rows["replicate"] == name.replicate].iloc[0]


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, of Python or NumPy."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether a value is a real number, of Python or NumPy."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_kinds(name: TicketName) -> None:
    """Raise TypeError where a number in the name of a ticket is none."""
    for option in ("replicate", "level"):
        value = getattr(name, option)
        fits = is_whole(value) or (value is None and option == "level")
        check_kind(option, value, fits, "a whole number")
    fits = name.density is None or is_number(name.density)
    check_kind("density", name.density, fits, "a number")


def refuse(named_by: Collection[str], path: pathlib.Path, name: TicketName) -> None:
    """Raise ValueError where an option is given that does not name tickets of this run.

    Raises:
      TypeError: level or replicate is no whole number.
    """
    check_kinds(name)
    others = [field for field in TicketName._fields if field not in (*named_by, "replicate")]
    given = [option for option in others if getattr(name, option) is not None]
    require(
        not given,
        f"`{given[0] if given else ''}` does not go with {path.name}, a run of "
        f"`jaxlth {run_info.study_name(path)}`: its tickets are named by "
        f"`{'` and `'.join(named_by or ['replicate'])}`.",
    )


def trained_network(
    named_by: Collection[str], frame: pd.DataFrame, path: pathlib.Path, name: TicketName
) -> Network:
    """Return the network that a ticket has become in training, in NumPy.

    Raises:
      ValueError: the run has no such network.
    """
    row = find(named_by, _as_listed(frame) if "method" in named_by else frame, path, name)
    run = store.open_readonly(path)
    network = run.load(row["unit"], "network")
    params = network["params"]
    with contextlib.suppress(ValueError):  # a dense network has no mask
        # What a trained mask leaves out keeps its frozen weights in the run.
        params = jax.tree.map(_masked, params, run.load(row["unit"], "mask"))
    return Network(params, network.get("stats", {}))


def _masked(weights: np.ndarray, keep: np.ndarray | None) -> np.ndarray:
    return weights if keep is None else np.where(keep, weights, weights.dtype.type(0))


def of_level(
    name: TicketName,
    path: pathlib.Path,
    parts: Parts = NONE,
    *,
    find_ticket: Callable[[Run, int, str, int, Parts], Ticket],
) -> tuple[Ticket, dict[str, Any]]:
    """Return a ticket that is named by level and control, and what its file says of it.

    Args:
      name: of the ticket; of level 1 and no control, where it does not say.
      path: folder of the run.
      parts: of the experiment that no setting says.
      find_ticket: (run, level, control, replicate, parts) -> ticket.
    """
    named = {"level": 1 if name.level is None else name.level, "control": name.control or TICKET}
    find(BY_LEVEL, run_info.results(path), path, name._replace(**named))
    run = store.open_readonly(path)
    return find_ticket(run, named["level"], named["control"], name.replicate, parts), named


def _as_listed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of methods with densities as tables show them: those asked for."""
    return _requested(frame) if "link" in frame else frame  # a study of a user's own has none


def _of(option: str, control: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a control, or of a method, trained as long as the config says."""
    rows = run_info.undilated(frame) if "dilation" in frame else frame
    check_choice(option, control, dict.fromkeys(rows["control"]))
    return rows[rows["control"] == control]


def _check_number(option: str, value: int, trained: pd.Series, of: str) -> None:
    """Raise ValueError unless a level or replicate is among those trained."""
    numbers = sorted(set(trained))
    listed = ", ".join(map(str, numbers))
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        listed = f"{numbers[0]}..{numbers[-1]}"
    require(value in numbers, f"There is no {option} {value} of the {of}; trained: {listed}.")


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
