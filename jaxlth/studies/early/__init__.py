"""Prune before, early in, or between trainings, by any score, and train what is left.

Combines each score with each schedule, ablation, initial weights, step and density. What is in
the run's folder already is not computed again: asking for more of them extends a run.
"""

from jaxlth import early
from jaxlth.studies import methods
from jaxlth.studies.early import report
from jaxlth.studies.study import Study

STUDY = Study(
    name="early",
    help=__doc__,
    Config=early.EarlyConfig,
    prepare=early.prepare,
    run=early.early,
    complete=early.complete,
    artifacts=early.units,
    summarize=methods.summarize,
    figures=report.FIGURES,
    ticket=report.ticket,
    baseline=methods.baseline,
    values={
        "score": early.SCORES,
        "schedule": early.SCHEDULES,
        "ablation": early.ABLATIONS,
        "weights": early.WEIGHTS,
        "references": early.REFERENCES,
    },
)
