"""Measure the error barriers between trained twins.

From steps of a dense training, twins are trained with other data orders and augmentations: of
the dense network, of tickets that IMP finds there, of their controls, of what a score prunes.
Errors on the line between them say whether they share a minimum: whether the network is stable
to SGD noise. What is in the run's folder already is not computed again: asking for more steps,
networks or twins extends a run.
"""

from typing import Any

from jaxlth.studies.instability import run as instability
from jaxlth.studies.instability.config import InstabilityConfig
from jaxlth.studies.lazy import Lazy
from jaxlth.studies.study import Study

_charts: Any = Lazy("jaxlth.studies.instability.charts")
_report: Any = Lazy("jaxlth.studies.instability.report")

STUDY = Study(
    name="instability",
    help=__doc__,
    Config=InstabilityConfig,
    prepare=instability.prepare,
    may_skip=lambda config: config.search != "all",
    across_replicates=lambda config: [] if config.search == "all" else ["search"],
    run=instability.instability,
    complete=instability.complete,
    artifacts=instability.units,
    summarize=_report.summarize,
    figures=_report.FIGURES,
    charts=_charts.charts,
)
