"""Scores: how much each weight is worth keeping; the higher, the more.

A score is a tree of floats like the parameters. What becomes of it is decided in `prune`, and only
where the mask has weights left to prune.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlth import keys, trees
from jaxlth.scores import criteria
from jaxlth.scores.activations import multiplications, wanda
from jaxlth.scores.gradients import Loss, fisher, grasp, snip, synflow
from jaxlth.scores.in_training import movement, taylor

__all__ = [
    "SCORES",
    "Loss",
    "criteria",
    "fisher",
    "grasp",
    "magnitude",
    "movement",
    "multiplications",
    "random",
    "snip",
    "synflow",
    "taylor",
    "wanda",
]


def magnitude(params: Any) -> Any:
    """Return the absolute value of each weight; of whole numbers one without a sign.

    Example:
      >>> magnitude({"w": jnp.array([[-2.0, 1.0]])})["w"].tolist()
      [[2.0, 1.0]]

    References:
      Han et al. 2015, Learning both Weights and Connections for Efficient Neural Networks,
      section 3.
    """
    trees.check_numbers(params, name="params")
    return jax.tree.map(_magnitude, params)


def _magnitude(leaf: Any) -> jax.Array:
    values = jnp.abs(leaf)
    if jnp.issubdtype(values.dtype, jnp.signedinteger):  # the least has no counterpart
        return values.astype(f"uint{jnp.iinfo(values.dtype).bits}")
    return values


def random(params: Any, *, key: jax.Array) -> Any:
    """Return a score drawn from U[0, 1) for each weight, float32 whatever the parameters are.

    The scores depend on `key`, on the shapes, and on the position of each leaf, not on the values:
    hand in the same key at every level, and the levels prune along one random order.

    Example:
      >>> random({"w": jnp.zeros((1, 2))}, key=jax.random.key(0))["w"].shape
      (1, 2)
    """
    return keys.uniform(params, key=key)


SCORES = {"magnitude": magnitude, "random": random}  # those of the weights alone
