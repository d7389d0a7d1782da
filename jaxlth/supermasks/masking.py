"""From scores to masks, and the gradient that goes straight through.

A method has a *soft* mask, a differentiable function of the scores, and a mask that it *keeps*,
which is not. The forward pass takes the second, the gradient is that of the first.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlth import keys, masks, prune, settings, trees
from jaxlth.prune.counts import share_of
from jaxlth.supermasks.config import SupermaskConfig
from jaxlth.trees import kernels


def initial(config: SupermaskConfig, weights: masks.Params, *, key: jax.Array) -> masks.Params:
    """Return the scores that training starts from, a tree like the prunable weights.

    References:
      The published code of each method: 0 for bernoulli, U[0, 1) for gem-miner, and for edge-popup
      PyTorch's default for weights, uniform within 1 / sqrt(inputs of a unit).
    """
    draws = keys.uniform(weights, key=key)
    if config.method == "bernoulli":
        return jax.tree.map(lambda u: jnp.full_like(u, config.initial_score), draws)
    if config.method == "gem-miner":
        return draws
    return centered(draws)


def fan_ins(leaves: Mapping[str, Any]) -> dict[str, int]:
    """Return how many weights lead to a unit of each kernel, by name, in whatever layout it is."""

    def count(view: kernels.KernelView) -> int:
        shape, outputs = view.of_layer, view.axes[1]
        return math.prod(n for axis, n in enumerate(shape) if axis != outputs % len(shape))

    return {name: count(view) for name, view in kernels.views(leaves, check=False).items()}


def centered(draws: masks.Params) -> masks.Params:
    """Return draws from U[0, 1) as edge-popup's scores, uniform around 0."""
    inputs = fan_ins(trees.named(draws))

    def leaf_scores(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return (2 * leaf - 1) / math.sqrt(max(1, inputs[trees.name(path)]))

    return jax.tree_util.tree_map_with_path(leaf_scores, draws)


def soft(config: SupermaskConfig, scores: masks.Params, active: masks.Mask | None) -> masks.Params:
    """Return the tree that takes the place of the mask in the gradient."""
    if config.method == "bernoulli":
        return jax.tree.map(jax.nn.sigmoid, scores)
    if config.method == "edge-popup":
        return jax.tree.map(jnp.abs, scores)
    return masks.apply(scores, active)  # what is frozen out gets no gradient


def kept(
    config: SupermaskConfig, scores: masks.Params, active: masks.Mask | None, *, key: jax.Array
) -> masks.Mask:
    """Return the mask of these scores; `key` is that of bernoulli's draws."""
    scores = jax.lax.stop_gradient(scores)
    if config.method == "bernoulli":
        draws = keys.uniform(scores, key=key)
        return jax.tree.map(lambda u, score: u < jax.nn.sigmoid(score), draws, scores)
    if config.method == "gem-miner":
        return jax.tree.map(lambda score, keep: (score >= 0.5) & keep, scores, active)
    counts = {name: _count(config, leaf.size) for name, leaf in trees.named(scores).items()}
    dense = jax.tree.map(lambda score: jnp.ones_like(score, bool), scores)
    return prune.layerwise_topk(jax.tree.map(jnp.abs, scores), dense, keep=counts)


def check_density(config: SupermaskConfig, dense: masks.Mask) -> None:
    """Raise ValueError where a density keeps no weight: of a layer, or of the network.

    Args:
      config: the density, of a layer for edge-popup, of the network for gem-miner.
      dense: the mask that keeps all weights that have a score.
    """
    if config.method == "bernoulli":
        return
    sizes = {"the network": masks.size(dense)}
    if config.method == "edge-popup":
        sizes = {f"the layer {name}": leaf.size for name, leaf in trees.named(dense).items()}
    for where, size in sorted(sizes.items(), key=lambda pair: pair[1]):
        settings.require(
            size == 0 or _count(config, size) > 0,
            f"`density` {config.density:g} keeps none of the {size} weights of {where}; "
            f"{1 / max(size, 1):.2g} keeps one.",
        )


def frozen_out(
    config: SupermaskConfig,
    scores: masks.Params,
    active: masks.Mask,
    *,
    step: jax.Array,
    steps: int,
    key: jax.Array,
) -> masks.Mask:
    """Return the part of `active` that gem-miner has not frozen out before a step of training.

    The lowest scores of the whole network go, at evenly spaced steps, so many each time that
    densities fall by one factor to the target. Of equal scores, and clipping makes many 0 or 1,
    those that stay are drawn: by position the last layer would lose all of them.

    Args:
      config: the density and the number of prunings.
      scores: of all weights.
      active: what was not frozen out before.
      step: of training, about to be taken.
      steps: length of training.
      key: of the draws.

    References:
      Sreenivasan et al. 2022, Algorithm 1; their code prunes every 5 of 150 epochs.
    """
    size = masks.size(active)
    keep = _count(config, size)
    keeps = [size, *prune.round_counts(size, keep=keep, rounds=config.prunings)]
    times = [pruning * steps // (config.prunings + 1) for pruning in range(1, config.prunings + 1)]
    due = jnp.searchsorted(jnp.asarray(times, jnp.int32), step, side="right")
    keep = jnp.asarray(keeps, jnp.int32)[due]
    scores = jax.lax.stop_gradient(scores)

    def has_excess(state: tuple[masks.Mask, jax.Array]) -> jax.Array:
        active, keep = state
        return masks.kept(active) > keep

    def prune_step(state: tuple[masks.Mask, jax.Array]) -> tuple[masks.Mask, jax.Array]:
        active, keep = state
        top = prune.global_topk(scores, active, keep=keep)
        least = jnp.min(jnp.stack(jax.tree.leaves(jax.tree.map(_least, scores, top))))
        above = jax.tree.map(lambda score, leaf: leaf & (score > least), scores, top)
        tied = jax.tree.map(lambda score, leaf: leaf & (score == least), scores, active)
        # By what changes in the loop, or XLA moves the draws out of it, to every step of training.
        draws = keys.uniform(scores, key=keys.fold(key, masks.kept(active)))
        selected = prune.global_topk(draws, tied, keep=keep - masks.kept(above))
        return jax.tree.map(jnp.logical_or, above, selected), keep

    # Run once if something is due. Under vmap `cond` would prune in every step, and choose then.
    active, _ = jax.lax.while_loop(has_excess, prune_step, (active, keep))
    return active


@jax.custom_jvp
def straight(keep: jax.Array, soft: jax.Array) -> jax.Array:
    """Return 1 where `keep` is True, else 0, with the gradient of `soft`.

    Example:
      >>> jax.grad(lambda soft: straight(jnp.array(False), soft) * 3)(0.25).item()
      3.0

    References:
      Bengio et al. 2013, Estimating or Propagating Gradients Through Stochastic Neurons for
      Conditional Computation, section 4.
    """
    return keep.astype(soft.dtype)


@straight.defjvp
def _straight(primals, tangents):
    return straight(*primals), tangents[1]


def scaled(weights: masks.Params, parts: masks.Params, *, rescale: bool) -> masks.Params:
    """Return the weights times the part of each that is kept, `None` standing for the whole.

    Args:
      weights: of the network within.
      parts: tree of floats in [0, 1].
      rescale: whether each layer is scaled by its weights / weights kept. The gradient goes through
        that number too, as in the code of Zhou et al. 2019.
    """

    def scaled_leaf(w: jax.Array, part: jax.Array | None) -> jax.Array:
        if part is None:
            return w
        return (w * part * factor(part) if rescale else w * part).astype(w.dtype)

    return jax.tree.map(scaled_leaf, weights, parts)


def factor(part: jax.Array) -> jax.Array:
    """Return weights / weights kept of a layer, or 1 where none is kept."""
    kept = jnp.sum(part, dtype=jnp.float32)
    return jnp.where(kept > 0, part.size / jnp.where(kept > 0, kept, 1), 1)


def _least(scores: jax.Array, among: jax.Array) -> jax.Array:
    return jnp.min(jnp.where(among, scores, jnp.inf), initial=jnp.inf)


def _count(config: SupermaskConfig, size: int) -> int:
    """Return the number of weights that the density keeps of so many."""
    return share_of(size, config.density or 0)
