"""Keep the mask that is best untrained, and train it.

Trains a network to its least validation loss and keeps of its initial weights those that
training made large without changing their sign: beyond the threshold at which the network,
masked and untrained, is most accurate. Trains that ticket beside dense networks of its size and
of others. What is in the run's folder already is not computed again: asking for more sizes or
replicates extends a run.
"""

from typing import Any

from jaxlth.studies.lazy import Lazy
from jaxlth.studies.study import Study
from jaxlth.studies.threshold_masks import artifacts
from jaxlth.studies.threshold_masks import run as threshold_masks
from jaxlth.studies.threshold_masks.config import ThresholdMasksConfig

_charts: Any = Lazy("jaxlth.studies.threshold_masks.charts")
_report: Any = Lazy("jaxlth.studies.threshold_masks.report")

STUDY = Study(
    name="threshold-masks",
    help=__doc__,
    Config=ThresholdMasksConfig,
    prepare=threshold_masks.prepare,
    across_replicates=lambda config: (),
    run=threshold_masks.threshold_masks,
    complete=threshold_masks.complete,
    artifacts=artifacts.units,
    summarize=_report.summarize,
    figures=_report.FIGURES,
    charts=_charts.charts,
    ticket=_report.ticket,
    tolerance=False,
)
