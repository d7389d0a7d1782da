"""Trained supermasks: networks that learn which of their weights to keep, and never the weights.

`wrap` turns a network into one whose parameters are scores, one for each prunable weight; its
weights are frozen. It trains, rewinds and is stored as any other network, under the mask that keeps
every score, replicates side by side. Its `mask_of` is an ordinary mask of the network within, whose
weights may be trained then: `inner` has them.

  supermask = supermasks.wrap(model, config, steps=steps)
  trainer = train.make(supermask, supermasks.optimizer(config, optimizer), batch_size=60)
  ...
  ticket = supermasks.inner(network, config), supermasks.mask_of(network, config)
"""

from jaxlth.supermasks.config import METHODS, WEIGHTS, SupermaskConfig, SupermaskRule
from jaxlth.supermasks.wrapping import (
    Frozen,
    frozen_network,
    inner,
    mask_of,
    optimizer,
    rescaled,
    weights,
    wrap,
)

__all__ = [
    "METHODS",
    "WEIGHTS",
    "Frozen",
    "SupermaskConfig",
    "SupermaskRule",
    "frozen_network",
    "inner",
    "mask_of",
    "optimizer",
    "rescaled",
    "weights",
    "wrap",
]
