"""Prune a network until it separates into its tasks.

Prunes as `jaxlth imp` does, and looks at the network as a graph at each level: interconnected,
separated into a network for each task, or degraded, which ends a replicate. What is in the
run's folder already is not computed again: asking for more replicates extends a run.
"""

import functools
from typing import Any

from jaxlth.studies import ticket_rows
from jaxlth.studies.lazy import Lazy
from jaxlth.studies.separation import config
from jaxlth.studies.separation import run as separation
from jaxlth.studies.separation.config import SeparationConfig
from jaxlth.studies.study import Study

_charts: Any = Lazy("jaxlth.studies.separation.charts")
_report: Any = Lazy("jaxlth.studies.separation.report")
_reading: Any = Lazy("jaxlth.studies.separation.reading")

STUDY = Study(
    name="separation",
    help=__doc__,
    Config=SeparationConfig,
    prepare=separation.prepare,
    may_skip=lambda config: True,  # it stops where networks separate or degrade
    across_replicates=lambda config: (),
    run=separation.separation,
    complete=separation.complete,
    artifacts=config.units,
    summarize=_report.summarize,
    figures=_report.FIGURES,
    charts=_charts.charts,
    ticket=functools.partial(ticket_rows.of_level, find_ticket=_reading.find),
    for_data=config.for_data,
    named_by=("level", "control"),
    tolerance=False,
)
