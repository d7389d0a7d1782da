"""Training as one pure function of state, mask, data and key, and how it is laid out over devices.

`plan` turns settings into numbers of steps, `train.make` gives the pure functions, `execution` maps
them over replicates and devices, `scanning`, `looping` and `streaming` compile them, `fit` is the
loop that a job watches.
"""

from jaxlth.training.config import TrainingConfig, check_whole, training_times, with_length
from jaxlth.training.optimizers import OptimizerConfig
from jaxlth.training.plans import Plan, check_times, cut, plan, time_in_steps

__all__ = [
    "OptimizerConfig",
    "Plan",
    "TrainingConfig",
    "check_times",
    "check_whole",
    "cut",
    "plan",
    "time_in_steps",
    "training_times",
    "with_length",
]
