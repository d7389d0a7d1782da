"""Tell whether a network that learns several tasks falls apart along them when it is pruned.

Prunes as `jaxlth imp` does, and looks at the network as a graph at each level: interconnected,
separated into a network for each task, or degraded, which ends a replicate. What is in the
run's folder already is not computed again: asking for more replicates extends a run.
"""

import functools

from jaxlth.studies import level_figures
from jaxlth.studies.separation import config, report
from jaxlth.studies.separation import run as separation
from jaxlth.studies.separation.config import SCORES, SeparationConfig
from jaxlth.studies.separation.reading import find
from jaxlth.studies.study import Study

STUDY = Study(
    name="separation",
    help=__doc__,
    Config=SeparationConfig,
    prepare=separation.prepare,
    across_replicates=lambda config: (),
    run=separation.separation,
    artifacts=config.units,
    summarize=report.summarize,
    figures=report.FIGURES,
    ticket=functools.partial(level_figures.ticket, find=find),
    named_by=("level", "control"),
    values={"score": SCORES},
    tolerance=False,
)
