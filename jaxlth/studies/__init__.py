"""All studies in one table, from which commands, listing, resuming, figures and export follow.

A study is a folder with one object `STUDY`. To add a study, write its folder and add its `STUDY`
to the table below; nothing else has to know of it.
"""

from collections.abc import Iterable
from typing import Literal

from jaxlth.settings import require
from jaxlth.studies import (
    imp,
    instability,
    prune_early,
    separation,
    threshold_masks,
    train_supermasks,
)
from jaxlth.studies.study import TOLERANCE, Figures, Study, Summary, TicketName

__all__ = [
    "STUDIES",
    "TOLERANCE",
    "Figures",
    "Study",
    "Summary",
    "TicketName",
    "by_name",
    "figure_kinds",
]


def by_name(studies: Iterable[Study]) -> dict[str, Study]:
    """Return a table of studies by their names.

    Raises:
      ValueError: two studies have one name.
    """
    table: dict[str, Study] = {}
    for study in studies:
        require(study.name not in table, f"Two studies have the name {study.name}; rename one.")
        table[study.name] = study
    return table


STUDIES = by_name(
    (
        imp.STUDY,
        prune_early.STUDY,
        instability.STUDY,
        separation.STUDY,
        threshold_masks.STUDY,
        train_supermasks.STUDY,
    )
)


def figure_kinds(part: Literal["kinds", "of_levels", "of_several"] = "kinds") -> tuple[str, ...]:
    """Return the kinds of figures of all studies, or of one part of their `Figures`."""
    kinds = [kind for study in STUDIES.values() for kind in getattr(study.figures, part)]
    return tuple(dict.fromkeys(kinds))
