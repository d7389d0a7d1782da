"""Pruning: from scores and a count to a mask, and the counts of all levels.

Weights are selected by count, never by threshold: exactly as many survive as asked for, ties go to
the lower position (order of `jax.tree.leaves`, then row-major), and what a mask has pruned stays
pruned. So the masks of successive levels are nested. In a training loop of optax `masked` holds
pruned weights where they are, and `sparsify` prunes by a schedule; only growth brings weights back.
"""

from jaxlth.prune.counts import Trajectory, extension, keep_counts, round_counts, trajectory
from jaxlth.prune.groups import blocks, units
from jaxlth.prune.growing import Regrown, drop_and_grow
from jaxlth.prune.layers import erdos_renyi, smart_ratio, smart_ratio_range
from jaxlth.prune.masking import masked
from jaxlth.prune.schedules import Schedule, keep_at
from jaxlth.prune.selecting import global_topk, in_rounds, layerwise_topk
from jaxlth.prune.sparsifying import SparsifyState, current_mask, sparsify
from jaxlth.prune.structure import n_of_m, per_unit_topk

__all__ = [
    "Regrown",
    "Schedule",
    "SparsifyState",
    "Trajectory",
    "blocks",
    "current_mask",
    "drop_and_grow",
    "erdos_renyi",
    "extension",
    "global_topk",
    "in_rounds",
    "keep_at",
    "keep_counts",
    "layerwise_topk",
    "masked",
    "n_of_m",
    "per_unit_topk",
    "round_counts",
    "smart_ratio",
    "smart_ratio_range",
    "sparsify",
    "trajectory",
    "units",
]
