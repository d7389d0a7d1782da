"""Weights under a mask."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlth.masks.mask import Mask, Params, check


def apply(params: Params, mask: Mask) -> Params:
    """Return the parameters with exactly 0 where the mask is False.

    This is the only place where a mask acts. The gradient through it is exactly zero at pruned
    weights, whatever their values, NaN included. Optimizers that move weights without a gradient
    need `prune.masked` besides.

    Args:
      params: Parameters.
      mask: A mask for them.

    Raises:
      ValueError: the trees do not fit; the message names the first leaf that does not.
      TypeError: a leaf of the mask is not boolean.

    Example:
      >>> apply({"w": jnp.array([[1.0, 2.0]])}, {"w": jnp.array([[True, False]])})
      {'w': Array([[1., 0.]], dtype=float32)}
    """
    check(params, mask, name="params")
    return jax.tree.map(lambda w, keep: w if keep is None else jnp.where(keep, w, 0), params, mask)


def straight_through(params: Params, mask: Mask) -> Params:
    """Return the parameters with exactly 0 where the mask is False, and a dense gradient.

    The values are those of `apply`; the gradient of each pruned weight is that of the 0 in its
    place, so it goes on learning, and RigL sees what it would bring. Forward and reverse mode work.

    Args:
      params: Parameters.
      mask: A mask for them.

    Raises:
      ValueError: the trees do not fit; the message names the first leaf that does not.
      TypeError: a leaf of the mask is not boolean.

    Example:
      >>> mask = {"w": jnp.array([True, False])}
      >>> def loss(params):
      ...     return jnp.sum(3 * straight_through(params, mask)["w"])
      >>> jax.value_and_grad(loss)({"w": jnp.array([1.0, 2.0])})
      (Array(3., dtype=float32), {'w': Array([3., 3.], dtype=float32)})

    References:
      Bengio et al. 2013, Estimating or Propagating Gradients Through Stochastic Neurons.
    """
    check(params, mask, name="params")
    return jax.tree.map(
        lambda w, keep: w if keep is None else _straight_through(w, keep), params, mask
    )


@jax.custom_jvp
def _straight_through(weights: jax.Array, keep: jax.Array) -> jax.Array:
    return jnp.where(keep, weights, 0)


@_straight_through.defjvp
def _straight_through_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return _straight_through(*primals), tangents[0]
