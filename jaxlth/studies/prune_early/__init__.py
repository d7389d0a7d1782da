"""Prune before, early in or between trainings by scores.

Combines each score with each schedule, control, initial weights, step and density. What is in
the run's folder already is not computed again: asking for more of them extends a run.
"""

from typing import Any

from jaxlth.studies.lazy import Lazy
from jaxlth.studies.prune_early import artifacts
from jaxlth.studies.prune_early import run as prune_early
from jaxlth.studies.prune_early.config import PruneEarlyConfig
from jaxlth.studies.study import Study

_report: Any = Lazy("jaxlth.studies.prune_early.report")
_methods: Any = Lazy("jaxlth.studies.methods")

STUDY = Study(
    name="prune-early",
    help=__doc__,
    Config=PruneEarlyConfig,
    prepare=prune_early.prepare,
    across_replicates=prune_early.across_replicates,
    run=prune_early.prune_early,
    artifacts=artifacts.networks,
    summarize=_methods.summarize,
    figures=_report.FIGURES,
    charts=_methods.charts,
    ticket=_report.ticket,
    named_by=("density", "method"),
    baseline=_methods.baseline,
)
