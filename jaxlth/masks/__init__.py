"""Masks: which weights of a network are kept.

A mask is a tree like the parameters. Where a tensor can be pruned its leaf is a boolean array of
the tensor's shape, `True` where the weight is kept; where it never is, its leaf is `None`.
Parameters come before the mask in `jax.tree.map(f, params, mask)`, so that `f` sees the `None`.
Everything here works on any pytree of arrays, and under jit and vmap unless it returns Python
numbers.
"""

from jaxlth.masks.applying import apply, straight_through
from jaxlth.masks.counts import (
    density,
    jaccard,
    kept,
    kept_values,
    layer_densities,
    unit_densities,
)
from jaxlth.masks.mask import Mask, Params, check, prunable, size
from jaxlth.masks.packed import PackedLeaf, pack, unpack
from jaxlth.masks.prunable_weights import dense, is_kernel, without
from jaxlth.masks.random_masks import random, shuffle
from jaxlth.trees.roles import IN_OUT, OUT_IN

__all__ = [
    "IN_OUT",
    "OUT_IN",
    "Mask",
    "PackedLeaf",
    "Params",
    "apply",
    "check",
    "dense",
    "density",
    "is_kernel",
    "jaccard",
    "kept",
    "kept_values",
    "layer_densities",
    "pack",
    "prunable",
    "random",
    "shuffle",
    "size",
    "straight_through",
    "unit_densities",
    "unpack",
    "without",
]
