"""Pruning: from scores and a count to a mask, and the counts of all levels.

Weights are selected by count, never by threshold: exactly as many survive as asked for, ties go to
the lower position (order of `jax.tree.leaves`, then row-major), and what a mask has pruned stays
pruned. So the masks of successive levels are nested.
"""

from jaxlth.prune.counts import Trajectory, extension, keep_counts, round_counts, trajectory
from jaxlth.prune.layers import erdos_renyi, smart_ratio, smart_ratio_range
from jaxlth.prune.selecting import global_topk, in_rounds, layerwise_topk

__all__ = [
    "Trajectory",
    "erdos_renyi",
    "extension",
    "global_topk",
    "in_rounds",
    "keep_counts",
    "layerwise_topk",
    "round_counts",
    "smart_ratio",
    "smart_ratio_range",
    "trajectory",
]
