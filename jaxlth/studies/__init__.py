"""All studies in one table, from which commands, functions, listing, resuming and export follow.

A study is a folder with one object `STUDY`. To add a study, write its folder and add its `STUDY`
and its function to the table below; nothing else has to know of it. A user's own study is an object
`STUDY` in the user's file: `jaxlth FILE.py:STUDY` and `studies.function(STUDY)` run it.

From Python, a study is a function of an experiment, and returns results:

    experiment = studies.Experiment(model="lenet-300-100", data="mnist", steps=2000)
    results = studies.imp(experiment, levels=8)

Its run has the same folder as that of the command `jaxlth imp` with the same settings. Each
continues what the other began.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from jaxlth import store
from jaxlth.process import paths
from jaxlth.settings import require
from jaxlth.studies import run_info
from jaxlth.studies.config import StudyConfig
from jaxlth.studies.dynamic import STUDY as DYNAMIC
from jaxlth.studies.experiment import Experiment
from jaxlth.studies.functions import StudyFunction, function
from jaxlth.studies.imp import STUDY as IMP
from jaxlth.studies.instability import STUDY as INSTABILITY
from jaxlth.studies.lab import Lab
from jaxlth.studies.parts import NONE
from jaxlth.studies.prune_early import STUDY as PRUNE_EARLY
from jaxlth.studies.results import Results
from jaxlth.studies.separation import STUDY as SEPARATION
from jaxlth.studies.study import TOLERANCE, Figures, Study, Summary, TicketName
from jaxlth.studies.threshold_masks import STUDY as THRESHOLD_MASKS
from jaxlth.studies.train import Ticket, TrainRequest
from jaxlth.studies.train_supermasks import STUDY as TRAIN_SUPERMASKS

__all__ = [
    "STUDIES",
    "TOLERANCE",
    "Experiment",
    "Figures",
    "Lab",
    "Results",
    "Study",
    "StudyConfig",
    "StudyFunction",
    "Summary",
    "Ticket",
    "TicketName",
    "TrainRequest",
    "added",
    "by_name",
    "dynamic",
    "figure_kinds",
    "function",
    "imp",
    "instability",
    "of_run",
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
    (IMP, PRUNE_EARLY, DYNAMIC, INSTABILITY, SEPARATION, THRESHOLD_MASKS, TRAIN_SUPERMASKS),
)

# The functions have the names of the folders, whose modules are imported by now, once and for all.
imp = function(IMP)
prune_early = function(PRUNE_EARLY)
dynamic = function(DYNAMIC)
instability = function(INSTABILITY)
separation = function(SEPARATION)
threshold_masks = function(THRESHOLD_MASKS)
train_supermasks = function(TRAIN_SUPERMASKS)


@contextlib.contextmanager
def added(study: Study) -> Iterator[None]:
    """Add a user's own study to the table of studies, within this context.

    Raises:
      ValueError: a study has its name already.
    """
    by_name((*STUDIES.values(), study))
    STUDIES[study.name] = study
    try:
        yield
    finally:
        del STUDIES[study.name]


def open(
    path: str | os.PathLike[str],
    *,
    experiment: Experiment | None = None,
    study: Study | None = None,
) -> Results:
    """Return the results of a run, whether a command or Python made it.

    Args:
      path: its folder, or its address at a bucket, gs://BUCKET/FOLDER/RUN.
      experiment: the experiment, where it has parts of your own; only `ticket` needs it.
      study: the study, where it is one of your own.

    Raises:
      StoreError: there is no run, or it is damaged, or the bucket cannot be used.
      ValueError: it is a run of another study, or of a study of your own that is not given.
    """
    where: Any = path if isinstance(path, pathlib.Path) else paths.expand(path, setting="path")
    folder = store.open_readonly(where).path
    made_by = of_run(folder) if study is None else study
    name = run_info.study_name(folder)
    require(
        made_by.name == name,
        f"{folder.name} is a run of the study {name}; `study` is {made_by.name}.",
    )
    return Results(folder, made_by, experiment.parts if experiment else NONE)


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
        f"{path.name} is a run of the study {name}, which is none of the library's: give it by "
        "`--study FILE.py:NAME`, or studies.open(path, study=STUDY); `jaxlth results --format csv` "
        "shows its networks without.",
    )
    return STUDIES[name]


def figure_kinds(part: Literal["kinds", "of_levels", "of_several"] = "kinds") -> tuple[str, ...]:
    """Return the kinds of figures of all studies, or of one part of their `Figures`."""
    kinds = [kind for study in STUDIES.values() for kind in getattr(study.figures, part)]
    return tuple(dict.fromkeys(kinds))
