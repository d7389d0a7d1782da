"""Checks of the name of a ticket; each message says which tickets a run has."""

import pathlib
from collections.abc import Iterable, Sequence

from jaxlth.settings import require
from jaxlth.studies import run_info
from jaxlth.studies.study import TicketName


def refuse(
    name: TicketName, path: pathlib.Path, options: Sequence[str], *, instead: Sequence[str]
) -> None:
    """Raise ValueError where an option is given that does not name tickets of this run."""
    given = [option for option in options if getattr(name, option) is not None]
    require(
        not given,
        f"`{given[0] if given else ''}` does not go with {path.name}, a run of "
        f"`jaxlth {run_info.study_name(path)}`: its tickets are named by "
        f"`{'` and `'.join(instead)}`.",
    )


def number(option: str, value: int, trained: Iterable[int], of: str) -> None:
    """Raise ValueError unless a level or replicate is among those trained."""
    numbers = sorted(set(trained))
    listed = ", ".join(map(str, numbers))
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        listed = f"{numbers[0]}..{numbers[-1]}"
    require(value in numbers, f"There is no {option} {value} of the {of}; trained: {listed}.")


def density(value: float, trained: Iterable[float], of: str) -> None:
    """Raise ValueError unless a density is among those trained."""
    densities = sorted(set(trained), reverse=True)
    closest = min(densities, key=lambda density: abs(density - value))
    require(
        value in densities,
        f"There is no density {value:g} of {of}. Did you mean {closest:g}? Trained: "
        f"{', '.join(f'{density:g}' for density in densities)}.",
    )
