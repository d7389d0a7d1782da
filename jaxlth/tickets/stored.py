"""What stored runs have, told without their data."""

import operator
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

from jaxlth import hosts, settings, store
from jaxlth.data import Identity
from jaxlth.store import Run

C = TypeVar("C")


def has_all(path: pathlib.Path, enough: Callable[[Run], bool]) -> bool:
    """Return whether the run in a folder has enough; the lead of several processes looks.

    Args:
      path: folder of the run, which need not exist.
      enough: whether a run has all that is wanted.
    """
    return hosts.by_lead(lambda: store.is_run(path) and enough(store.look(path)))


def must_have(run: Run, unit: str) -> None:
    """Ask for a unit of a run that somebody names.

    Raises:
      ValueError: the run has no such unit.
    """
    message = f"The run {run.path.name} has no {unit}; `jaxlth results` shows what it has."
    settings.require(run.has(unit), message)


def check_data(run: Run, data: Identity) -> None:
    """Check that data, which somebody has read to look at a run, are those of the run.

    Raises:
      StoreError: they are not.
    """
    known = store.about_run(run.path).get("facts", {})
    store.facts.joined(run.path, known, store.facts.of_data(data))


def described(run: Run, kind: type[C]) -> tuple[C, dict[str, Any]]:
    """Return the settings of a run, and `shape` and `classes` of its images.

    Args:
      run: of the job whose settings these are.
      kind: class of the settings.

    Raises:
      StoreError: the run does not say so, or has settings that this version does not know.
    """
    with store.understood(run.path) as about:
        facts = about["facts"]
        shape = tuple(map(operator.index, facts["shape"]))
        images = {"shape": shape, "classes": operator.index(facts["classes"])}
        return settings.from_dict(kind, about["settings"]), images
