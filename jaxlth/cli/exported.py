"""`jaxlth export`: tickets for other frameworks."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from jaxlth import early, mask_training, masks, separation, store, supermask, tickets
from jaxlth.cli import notices, stored
from jaxlth.cli.commands import Export
from jaxlth.settings import known, require
from jaxlth.store import exchange
from jaxlth.work import Start


@notices.printed()
def export(command: Export) -> int:
    """Write a ticket to a file."""
    require(
        pathlib.Path(command.file).suffix in exchange.FORMATS,
        f"A ticket's file must end in {' or '.join(exchange.FORMATS)}; got {command.file!r}.",
    )
    (path,) = stored.chosen_runs((command.run,) if command.run else (), command.out)
    find = {
        "imp": _of_level,
        "separation": _of_level,
        "early": _of_early,
        "supermask": _of_supermask,
        "train-mask": _of_masks,
    }
    job = stored.job(path)
    require(
        job in find,
        f"{path.name} is a run of `jaxlth {job}`; tickets of `jaxlth imp`, `early`, `separation`, "
        "`supermask` and `train-mask` are exported.",
    )
    (network, mask), named = find[job](command, path)
    about = {"run": path.name, **named, "replicate": command.replicate}
    counts = {"density": float(masks.density(mask)), "kept": int(masks.kept(mask))}
    store.export_ticket(
        command.file, network.params, mask, stats=network.stats, metadata=about | counts
    )
    print(command.file)
    return 0


def _of_level(command: Export, path: pathlib.Path) -> tuple[Start, dict[str, Any]]:
    """Return a ticket of a run of `jaxlth imp` or `separation`, and what its file says of it."""
    _refuse(command, path, ("density", "method"), instead=("level", "control"))
    level = 1 if command.level is None else command.level
    control = tickets.TICKET if command.control is None else command.control
    rows = stored.undilated(stored.trained(path))
    known("control", control, sorted(set(rows["control"]), key=_ticket_first))
    rows = rows[rows["control"] == control]
    _check_number("level", level, rows["level"], f"{control} of {path.name}")
    rows = rows[rows["level"] == level]
    of = f"{control} of {path.name} at level {level}"
    _check_number("replicate", command.replicate, rows["replicate"], of)
    find = separation.find if stored.job(path) == "separation" else tickets.find
    start = find(store.look(path), level, control, command.replicate)
    return start, {"level": level, "control": control}


def _of_early(command: Export, path: pathlib.Path) -> tuple[Start, dict[str, Any]]:
    """Return a ticket of a run of `jaxlth early`, and what its file says of it."""
    row = _row(command, path)
    which = stored.method(row)
    start = early.find(store.look(path), row["density"], which, command.replicate)
    return start, {"method": command.method}


def _of_masks(command: Export, path: pathlib.Path) -> tuple[Start, dict[str, Any]]:
    """Return a network of a run of `jaxlth train-mask`, and what its file says of it."""
    row = _row(command, path)
    density = None if row["unit"].startswith("density_free/") else row["density"]
    control = tickets.TICKET if row["ablation"] == "none" else row["ablation"]
    which = mask_training.Wanted(row["score"], density, row["schedule"], control)
    start = mask_training.find(store.look(path), which, command.replicate)
    return start, {"method": command.method}


def _of_supermask(command: Export, path: pathlib.Path) -> tuple[Start, dict[str, Any]]:
    """Return the ticket of a replicate of a run of `jaxlth supermask`."""
    _refuse(command, path, ("level", "control", "density", "method"), instead=("replicate",))
    return supermask.find(store.look(path), command.replicate), {}


def _row(command: Export, path: pathlib.Path) -> pd.Series:
    """Return what the table says of the ticket asked for; ValueError says which there are."""
    density, method, replicate = command.density, command.method, command.replicate
    _refuse(command, path, ("level", "control"), instead=("density", "method"))
    if density is None or method is None:
        raise ValueError(
            f"A ticket of {path.name}, a run of `jaxlth {stored.job(path)}`, is named by --density "
            "and --method; `jaxlth results` lists them."
        )
    rows = stored.pruned(stored.trained(path), path)
    known("method", method, dict.fromkeys(rows["control"]))
    rows = rows[rows["control"] == method]
    _check_density(density, rows["density"], f"{method} of {path.name}")
    rows = rows[rows["density"] == density]
    of = f"{method} of {path.name} at density {density:g}"
    _check_number("replicate", replicate, rows["replicate"], of)
    return rows.iloc[0]


def _refuse(
    command: Export, path: pathlib.Path, names: Sequence[str], *, instead: Sequence[str]
) -> None:
    """Raise ValueError where an option is given that tickets of this run are not named by."""
    given = [name for name in names if getattr(command, name) is not None]
    require(
        not given,
        f"`{given[0] if given else ''}` does not go with {path.name}, a run of "
        f"`jaxlth {stored.job(path)}`: its tickets are named by --{' and --'.join(instead)}.",
    )


def _check_number(name: str, value: int, there: Iterable[int], of: str) -> None:
    numbers = sorted(set(there))
    listed = ", ".join(map(str, numbers))
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        listed = f"{numbers[0]}..{numbers[-1]}"
    require(value in numbers, f"There is no {name} {value} of the {of}; trained: {listed}.")


def _check_density(value: float, there: Iterable[float], of: str) -> None:
    densities = sorted(set(there), reverse=True)
    closest = min(densities, key=lambda each: abs(each - value))
    require(
        value in densities,
        f"There is no density {value:g} of {of}. Did you mean {closest:g}? Trained: "
        f"{', '.join(f'{each:g}' for each in densities)}.",
    )


def _ticket_first(control: str) -> tuple[bool, str]:
    return control != tickets.TICKET, control
