"""Train which weights of a network to keep, and not the weights.

Supermasks: masks drawn with trained probabilities (bernoulli), or of trained scores
(edge-popup, gem-miner). --optimizer, --lr and the training's length are those of the masks;
--finetune trains the weights that they keep afterwards, beside controls and dense networks.
What is in the run's folder already is not computed again: asking for more densities, controls
or replicates extends a run.
"""

from jaxlth import mask_training
from jaxlth.studies import methods
from jaxlth.studies.study import Study
from jaxlth.studies.train_mask import report

STUDY = Study(
    name="train-mask",
    help=__doc__,
    Config=mask_training.MaskTrainingConfig,
    prepare=mask_training.prepare,
    run=mask_training.train_masks,
    complete=mask_training.complete,
    artifacts=mask_training.units,
    summarize=methods.summarize,
    figures=report.FIGURES,
    ticket=report.ticket,
    baseline=methods.baseline,
)
