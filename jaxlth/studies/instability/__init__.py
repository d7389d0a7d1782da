"""Tell from which step on training finds the same minimum whatever its SGD noise.

From steps of a dense training, twins are trained with other data orders and augmentations: of
the dense network, of tickets that IMP finds there, of their controls, of what a score prunes.
Errors on the line between them say whether they share a minimum. What is in the run's folder
already is not computed again: asking for more steps, networks or twins extends a run.
"""

from jaxlth.studies.instability import report
from jaxlth.studies.instability import run as instability
from jaxlth.studies.instability.config import NETWORKS, InstabilityConfig
from jaxlth.studies.study import Study

STUDY = Study(
    name="instability",
    help=__doc__,
    Config=InstabilityConfig,
    prepare=instability.prepare,
    across_replicates=lambda config: [] if config.search == "all" else ["search"],
    run=instability.instability,
    complete=instability.complete,
    artifacts=instability.units,
    summarize=report.summarize,
    figures=report.FIGURES,
    values={"networks": NETWORKS},
)
