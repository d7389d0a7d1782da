"""Find lottery tickets by iterative magnitude pruning with rewinding.

Trains a dense network, prunes it, rewinds the surviving weights and trains again, level by
level, with controls beside every ticket. What is in the run's folder already is not computed
again: asking for more levels, replicates or controls extends a run.
"""

import functools

from jaxlth import tickets
from jaxlth.studies import levels
from jaxlth.studies.imp import report
from jaxlth.studies.study import Study

STUDY = Study(
    name="imp",
    help=__doc__,
    Config=tickets.ImpConfig,
    prepare=tickets.prepare,
    run=tickets.imp,
    complete=tickets.complete,
    artifacts=lambda config: tickets.units(config, levels=config.levels),
    summarize=report.summarize,
    figures=report.FIGURES,
    ticket=functools.partial(levels.ticket, find=tickets.find),
)
