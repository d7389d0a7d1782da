"""Growth: the smallest weights that a mask keeps make room for others, as in SET and RigL."""

from typing import Any, Literal, NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from jaxlth import masks, scores, trees
from jaxlth.prune.selecting import global_topk, layerwise_topk


class Regrown(NamedTuple):
    """A sparse network some of whose weights were exchanged."""

    params: masks.Params  # 0 where the mask is False, and where a weight has just been grown
    mask: masks.Mask  # with as many weights as before


def drop_and_grow(
    params: masks.Params,
    mask: masks.Mask,
    growth_scores: Any,
    *,
    fraction: float | jax.Array,
    scope: Literal["layer", "global"] = "layer",
) -> Regrown:
    """Return the network after its smallest weights are dropped and as many others are grown.

    As many weights are kept as before: in each tensor, or in all together. The share `fraction` of
    them, rounded to the nearest count in float32, is dropped, the smallest in magnitude. Then as
    many weights of the highest growth scores are taken, from all that are not kept now. A weight
    that was just dropped may win again, and is then as it was, as in the published code of RigL.
    The others begin at 0. Ties go to the lower position. Works under jit and vmap; no new
    `fraction` recompiles.

    Args:
      params: Parameters; their values where the mask is False do not matter.
      mask: What is kept; only here can a mask regain weights.
      growth_scores: Tree of floats like the parameters: magnitudes of the gradient of all weights
        for RigL, `scores.random` with a key of this step for SET.
      fraction: Share of the kept weights to exchange, in [0, 1]; it may be traced.
      scope: Whether counts are of each tensor, or of all together.

    Raises:
      ValueError: the trees do not fit, or an argument lies outside its range.

    Example:
      >>> params = {"w": jnp.array([[3.0, 1.0, 0.0, 0.0]])}
      >>> mask = {"w": jnp.array([[True, True, False, False]])}
      >>> growth = {"w": jnp.array([[0.0, 0.0, 1.0, 2.0]])}
      >>> regrown = drop_and_grow(params, mask, growth, fraction=0.5)
      >>> regrown.mask["w"].tolist(), regrown.params["w"].tolist()
      ([[True, False, False, True]], [[3.0, 0.0, 0.0, 0.0]])

    References:
      Mocanu et al. 2018, Scalable Training of Artificial Neural Networks (SET), Algorithm 1, which
      draws grown weights at random; Evci et al. 2020, Rigging the Lottery, Algorithm 1.
    """
    masks.check(params, mask, name="params")
    if scope not in ("layer", "global"):
        raise ValueError(f'`scope` must be "layer" or "global"; got {scope!r}.')
    if not isinstance(fraction, jax.core.Tracer) and not 0 <= fraction <= 1:
        raise ValueError(f"`fraction` must lie in [0, 1]; got {fraction}.")
    by_layer = scope == "layer"
    parts = trees.named(mask) if by_layer else {"": mask}
    kept = {name: masks.kept(part) for name, part in parts.items()}
    dropped = {name: _share(count, fraction) for name, count in kept.items()}
    survivors = {name: kept[name] - dropped[name] for name in kept}

    def select(values: Any, among: masks.Mask, counts: dict[str, jax.Array]) -> masks.Mask:
        if by_layer:
            return layerwise_topk(values, among, keep=counts)
        return global_topk(values, among, keep=counts[""])

    remaining = select(scores.magnitude(params), mask, survivors)
    grown = select(growth_scores, jax.tree.map(jnp.logical_not, remaining), dropped)
    new_mask = jax.tree.map(jnp.logical_or, remaining, grown)
    old_weights = jax.tree.map(jnp.logical_and, mask, new_mask)
    return Regrown(masks.apply(params, old_weights), new_mask)


def _share(count: jax.Array, fraction: float | jax.Array) -> jax.Array:
    exact = count.astype(jnp.float32) * jnp.asarray(fraction, jnp.float32)
    # In float32 a count of 2**24 and more may have been rounded up.
    return jnp.minimum(jnp.round(exact).astype(count.dtype), count)
