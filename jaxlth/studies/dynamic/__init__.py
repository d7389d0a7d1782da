"""Train sparse from the start: SET, RigL, dynamic IMP.

Compares SET, RigL, dynamic IMP and a static random mask with tickets of IMP of the same density,
and counts what each training costs.
"""

from typing import Any

from jaxlth.studies.dynamic import artifacts
from jaxlth.studies.dynamic import run as dynamic
from jaxlth.studies.dynamic.config import DynamicConfig
from jaxlth.studies.lazy import Lazy
from jaxlth.studies.study import Study

_charts: Any = Lazy("jaxlth.studies.dynamic.charts")
_report: Any = Lazy("jaxlth.studies.dynamic.report")
_methods: Any = Lazy("jaxlth.studies.methods")

STUDY = Study(
    name="dynamic",
    help=__doc__,
    Config=DynamicConfig,
    prepare=dynamic.prepare,
    across_replicates=lambda config: [],
    run=dynamic.dynamic,
    artifacts=artifacts.networks,
    complete=dynamic.complete,
    summarize=_report.summarize,
    figures=_report.FIGURES,
    charts=_charts.charts,
    ticket=_report.ticket,
    named_by=("density", "method"),
    baseline=_methods.baseline,
)
