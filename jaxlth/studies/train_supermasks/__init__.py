"""Train the mask of a network, and not its weights.

Supermasks: masks drawn with trained probabilities (bernoulli), or of trained scores
(edge-popup, gem-miner). --optimizer, --lr and the training's length are those of the masks;
--finetune trains the weights that they keep afterwards, beside controls and dense networks.
What is in the run's folder already is not computed again: asking for more densities, controls
or replicates extends a run.
"""

from typing import Any

from jaxlth.studies.lazy import Lazy
from jaxlth.studies.study import Study
from jaxlth.studies.train_supermasks import config
from jaxlth.studies.train_supermasks import run as train_supermasks
from jaxlth.studies.train_supermasks.config import TrainSupermasksConfig

_report: Any = Lazy("jaxlth.studies.train_supermasks.report")
_methods: Any = Lazy("jaxlth.studies.methods")

STUDY = Study(
    name="train-supermasks",
    help=__doc__,
    Config=TrainSupermasksConfig,
    prepare=train_supermasks.prepare,
    across_replicates=lambda config: (),
    run=train_supermasks.train_supermasks,
    complete=train_supermasks.complete,
    artifacts=config.units,
    summarize=_report.summarize,
    figures=_report.FIGURES,
    charts=_methods.charts,
    ticket=_report.ticket,
    named_by=("density", "method"),
    baseline=_methods.baseline,
)
