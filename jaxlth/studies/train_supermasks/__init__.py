"""Train which weights of a network to keep, and not the weights.

Supermasks: masks drawn with trained probabilities (bernoulli), or of trained scores
(edge-popup, gem-miner). --optimizer, --lr and the training's length are those of the masks;
--finetune trains the weights that they keep afterwards, beside controls and dense networks.
What is in the run's folder already is not computed again: asking for more densities, controls
or replicates extends a run.
"""

from jaxlth.studies import methods
from jaxlth.studies.study import Study
from jaxlth.studies.train_supermasks import config, report
from jaxlth.studies.train_supermasks import run as train_supermasks
from jaxlth.studies.train_supermasks.config import TrainSupermasksConfig

STUDY = Study(
    name="train-supermasks",
    help=__doc__,
    Config=TrainSupermasksConfig,
    prepare=train_supermasks.prepare,
    across_replicates=lambda config: (),
    run=train_supermasks.train_supermasks,
    complete=train_supermasks.complete,
    artifacts=config.units,
    summarize=methods.summarize,
    figures=report.FIGURES,
    ticket=report.ticket,
    named_by=("density", "method"),
    baseline=methods.baseline,
)
