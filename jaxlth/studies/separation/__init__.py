"""Tell whether a network that learns several tasks falls apart along them when it is pruned.

Prunes as `jaxlth imp` does, and looks at the network as a graph at each level: interconnected,
separated into a network for each task, or degraded, which ends a replicate. What is in the
run's folder already is not computed again: asking for more replicates extends a run.
"""

import functools

from jaxlth import separation
from jaxlth.separation import choices
from jaxlth.studies import levels
from jaxlth.studies.separation import report
from jaxlth.studies.study import Study

STUDY = Study(
    name="separation",
    help=__doc__,
    Config=separation.SeparationConfig,
    prepare=separation.prepare,
    run=separation.separation,
    complete=separation.complete,
    artifacts=separation.units,
    summarize=report.summarize,
    figures=report.FIGURES,
    ticket=functools.partial(levels.ticket, find=separation.find),
    values={"score": choices.SCORES},
    tolerance=False,
)
