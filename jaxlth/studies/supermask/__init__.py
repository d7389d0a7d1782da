"""Choose what to prune by how good the masked network is before it is trained.

Trains a network to its least validation loss and keeps of its initial weights those that
training made large without changing their sign: beyond the threshold at which the network,
masked and untrained, is most accurate. Trains that ticket beside dense networks of its size and
of others. What is in the run's folder already is not computed again: asking for more sizes or
replicates extends a run.
"""

from jaxlth import supermask
from jaxlth.studies.study import Study
from jaxlth.studies.supermask import report

STUDY = Study(
    name="supermask",
    help=__doc__,
    Config=supermask.SupermaskConfig,
    prepare=supermask.prepare,
    run=supermask.supermask,
    complete=supermask.complete,
    artifacts=supermask.units,
    summarize=report.summarize,
    figures=report.FIGURES,
    ticket=report.ticket,
    tolerance=False,
)
