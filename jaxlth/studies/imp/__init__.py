"""Find lottery tickets by iterative magnitude pruning.

Trains a dense network, prunes it, rewinds the surviving weights and trains again, level by
level, with controls beside every ticket. What is in the run's folder already is not computed
again: asking for more levels, replicates or controls extends a run.
"""

import functools
from typing import Any

from jaxlth.studies import ticket_rows
from jaxlth.studies.imp import run as imp
from jaxlth.studies.imp.config import ImpConfig, network_names
from jaxlth.studies.lazy import Lazy
from jaxlth.studies.study import Study

_report: Any = Lazy("jaxlth.studies.imp.report")

STUDY = Study(
    name="imp",
    help=__doc__,
    Config=ImpConfig,
    prepare=imp.prepare,
    across_replicates=lambda config: [
        name for name in ("stop_lost_accuracy", "dilations") if getattr(config, name)
    ],
    may_skip=lambda config: bool(config.dilations) or config.stop_lost_accuracy is not None,
    run=imp.imp,
    complete=imp.complete,
    artifacts=lambda config: network_names(config, levels=config.levels),
    summarize=_report.summarize,
    figures=_report.FIGURES,
    ticket=functools.partial(ticket_rows.of_level, find_ticket=_report.find),
    named_by=("level", "control"),
)
