"""All studies in one table, from which commands, functions, listing, resuming and export follow.

A study is a folder with one object `STUDY`. To add a study, write its folder and add its `STUDY`
and its function to the table below; nothing else has to know of it.

From Python, a study is a function of an experiment, and returns results:

    experiment = studies.Experiment(model="lenet-300-100", data="mnist", steps=2000)
    results = studies.imp(experiment, levels=8)

Its run has the folder that the command `jaxlth imp` with the same settings has. One goes on where
the other ended.
"""

import os
import pathlib
from collections.abc import Iterable
from typing import Any, Literal

from jaxlth import store
from jaxlth.process import paths
from jaxlth.settings import require
from jaxlth.studies import run_info
from jaxlth.studies.experiment import Experiment
from jaxlth.studies.functions import StudyFunction, of_study
from jaxlth.studies.imp import STUDY as IMP
from jaxlth.studies.instability import STUDY as INSTABILITY
from jaxlth.studies.parts import NONE
from jaxlth.studies.prune_early import STUDY as PRUNE_EARLY
from jaxlth.studies.results import Results
from jaxlth.studies.separation import STUDY as SEPARATION
from jaxlth.studies.study import TOLERANCE, Figures, Study, Summary, TicketName
from jaxlth.studies.threshold_masks import STUDY as THRESHOLD_MASKS
from jaxlth.studies.train import Ticket
from jaxlth.studies.train_supermasks import STUDY as TRAIN_SUPERMASKS

__all__ = [
    "STUDIES",
    "TOLERANCE",
    "Experiment",
    "Figures",
    "Results",
    "Study",
    "StudyFunction",
    "Summary",
    "Ticket",
    "TicketName",
    "by_name",
    "figure_kinds",
    "imp",
    "instability",
    "of_run",
    "of_study",
    "open",
    "prune_early",
    "separation",
    "threshold_masks",
    "train_supermasks",
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
    (IMP, PRUNE_EARLY, INSTABILITY, SEPARATION, THRESHOLD_MASKS, TRAIN_SUPERMASKS),
)

# The functions have the names of the folders, whose modules are imported by now, once and for all.
imp = of_study(IMP)
prune_early = of_study(PRUNE_EARLY)
instability = of_study(INSTABILITY)
separation = of_study(SEPARATION)
threshold_masks = of_study(THRESHOLD_MASKS)
train_supermasks = of_study(TRAIN_SUPERMASKS)


def open(path: str | os.PathLike[str], *, experiment: Experiment | None = None) -> Results:
    """Return the results of a run, whether a command or Python made it.

    Args:
      path: its folder, or its address at a bucket, gs://BUCKET/FOLDER/RUN.
      experiment: what was trained, where it has parts of your own; only `ticket` needs it.

    Raises:
      StoreError: there is no run, or it is damaged, or the bucket cannot be used.
      ValueError: its study is not in the table of studies.
    """
    where: Any = paths.expand(path, setting="path")
    folder = store.open_readonly(where).path
    return Results(folder, of_run(folder), experiment.parts if experiment else NONE)


def of_run(path: pathlib.Path) -> Study:
    """Return the study of the run in a folder.

    Raises:
      ValueError: it is not in the table of studies.
    """
    name = run_info.study_name(path)
    require(
        name not in run_info.RENAMED_STUDIES,
        f"{path.name} is a run of the first edition, which this one does not read; `jaxlth results "
        "--format csv` shows its networks.",
    )
    require(
        name in STUDIES,
        f"Runs of {name} are of a study that prints them itself; `jaxlth results --format "
        "csv` shows their networks.",
    )
    return STUDIES[name]


def figure_kinds(part: Literal["kinds", "of_levels", "of_several"] = "kinds") -> tuple[str, ...]:
    """Return the kinds of figures of all studies, or of one part of their `Figures`."""
    kinds = [kind for study in STUDIES.values() for kind in getattr(study.figures, part)]
    return tuple(dict.fromkeys(kinds))
