"""Random masks that keep as many weights as another one, by tensor or in all."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import keys, trees
from jaxlth.masks import counts
from jaxlth.masks.mask import Mask
from jaxlth.trees import bisection, places, topk


def shuffle(mask: Mask, *, key: jax.Array) -> Mask:
    """Return a random mask that keeps as many weights in each tensor as `mask` does.

    Example:
      >>> mask = {"w": jnp.array([[True, False, False]])}
      >>> int(counts.kept(shuffle(mask, key=jax.random.key(0))))
      1

    References:
      Frankle 2023, The Lottery Ticket Hypothesis: On Sparse, Trainable Neural Networks,
      section 5.7.1.
    """
    trees.check_numbers(mask, name="mask")
    leaves, structure = jax.tree.flatten(mask)
    draws = keys.uniform(leaves, key=keys.substream(key, "shuffle"))
    shuffled = [_anywhere([draw], [leaf])[0] for draw, leaf in zip(draws, leaves, strict=True)]
    return jax.tree.unflatten(structure, shuffled)


def random(mask: Mask, *, key: jax.Array) -> Mask:
    """Return a random mask that keeps as many weights in all as `mask` does, anywhere.

    Example:
      >>> mask = {"w1": jnp.array([[True, True]]), "w2": jnp.array([[False], [False]])}
      >>> int(counts.kept(random(mask, key=jax.random.key(0))))
      2
    """
    trees.check_numbers(mask, name="mask")
    leaves, structure = jax.tree.flatten(mask)
    draws = keys.uniform(leaves, key=keys.substream(key, "random mask"))
    return jax.tree.unflatten(structure, _anywhere(draws, leaves))


def _anywhere(draws: Sequence[jax.Array], leaves: Sequence[jax.Array]) -> list[jax.Array]:
    """Return where the largest draws are, as many as the leaves keep, on the devices of these."""
    placed = [places.beside(draw, leaf) for draw, leaf in zip(draws, leaves, strict=True)]
    if all(map(places.is_on_host, leaves)):
        full: list[Any] = [np.ones(np.shape(leaf), bool) for leaf in leaves]
        return topk.largest(placed, full, counts.count_on_host(leaves))
    return topk.largest(placed, [jnp.ones_like(leaf) for leaf in leaves], bisection.total(leaves))
