"""Scores from gradients that a training has at hand: first-order Taylor and movement."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlth import trees
from jaxlth.scores.gradients import product


def taylor(params: Any, grads: Any) -> Any:
    """Return |w * dL/dw|: to first order, how much the loss changes without the weight.

    Molchanov et al. square it, which changes no order. `snip` is the same of a batch.

    Raises:
      ValueError: the trees differ; the message names the first leaf that does.

    Example:
      >>> taylor({"w": jnp.array([2.0, -1.0])}, {"w": jnp.array([-3.0, 0.5])})["w"].tolist()
      [6.0, 0.5]

    References:
      Molchanov et al. 2019, Importance Estimation for Neural Network Pruning, equation 7.
    """
    return jax.tree.map(jnp.abs, movement(params, grads))


def movement(params: Any, grads: Any, before: Any = None) -> Any:
    """Return -w * dL/dw, added to what earlier steps gave: whether training moves w away from 0.

    The sum over the steps of a training is the score; `scores.criteria.movement` is another, how
    far a weight has moved in all. Sanh et al. let pruned weights return; a mask here does not.

    Args:
      params: Parameters before the step.
      grads: Gradients of the loss with respect to them.
      before: Scores after the step before; none at the first.

    Returns:
      A tree like `params`, float32 at least; signed.

    Raises:
      ValueError: the trees differ; the message names the first leaf that does.

    Example:
      >>> movement({"w": jnp.array([2.0, -1.0])}, {"w": jnp.array([-3.0, -0.5])})["w"].tolist()
      [6.0, -0.5]

    References:
      Sanh et al. 2020, Movement Pruning, equation 5, without the learning rate of the scores.
    """
    trees.check_same(params, grads, a_name="params", b_name="grads")
    change = jax.tree.map(lambda w, grad: -product(grad, w), params, grads)
    if before is None:
        return change
    trees.check_same(params, before, a_name="params", b_name="before")
    return jax.tree.map(jnp.add, before, change)
