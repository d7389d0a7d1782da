"""Initial weights other than those that the model draws.

References:
  Lutz & Manai 2022, sections 3.4 and 5.4.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import masks

MODE = 0.9  # of each of the two modes, in standard deviations of the layer (ours)
FROM_SCORES = ("snip", "grasp", "synflow", "magnitude")
WEIGHTS = ("standard", "bimodal", *FROM_SCORES)


def from_scores(params: Any, scores: Any, mask: masks.Mask) -> Any:
    """Return parameters whose weights are scores, with the weights' signs, scaled to [-1, 1].

    One factor scales the whole network, so that layers keep their proportions (ours: the thesis
    does not say). What is never pruned stays as it is.

    Args:
      params: as the model draws them.
      scores: their scores.
      mask: what may be pruned.

    Example:
      >>> mask = {"w": jnp.ones((1, 2), bool)}
      >>> from_scores({"w": jnp.array([[-0.5, 2.0]])}, {"w": jnp.array([[8.0, 2.0]])}, mask)
      {'w': array([[-1.  ,  0.25]], dtype=float32)}
    """
    magnitudes = jax.tree.map(
        lambda s, keep: None if keep is None else np.abs(np.asarray(s)), scores, mask
    )
    largest = max(float(np.max(leaf, initial=0)) for leaf in jax.tree.leaves(magnitudes))
    unit = largest if largest > 0 else 1.0

    def scaled(w: Any, s: Any) -> np.ndarray:  # in NumPy, which divides float64 in any mode of JAX
        return np.asarray(np.sign(w) * (np.abs(np.asarray(s)) / unit), w.dtype)

    return _on_weights(scaled, mask, params, scores)


def bimodal(params: Any, mask: masks.Mask, *, key: jax.Array) -> Any:
    """Return parameters whose weights lie about two values, of the weights' signs.

    The modes are 0.9 standard deviations of a tensor from zero, and normal deviates widen them so
    that its variance stays what it was (ours: the thesis gives no numbers).

    Args:
      params: as the model draws them.
      mask: what may be pruned.
      key: of the deviates.
    """
    leaves, structure = jax.tree.flatten(params)
    places = jax.tree.unflatten(structure, range(len(leaves)))

    def bimodal_leaf(w: jax.Array, place: int) -> jax.Array:
        deviate = jax.random.normal(jax.random.fold_in(key, place), w.shape, w.dtype)
        centered = MODE * jnp.sign(w) + (1 - MODE**2) ** 0.5 * deviate
        return centered * jnp.std(w)

    return _on_weights(bimodal_leaf, mask, params, places)


def _on_weights(function: Callable[..., Any], mask: masks.Mask, params: Any, other: Any) -> Any:
    return jax.tree.map(
        lambda w, o, keep: w if keep is None else function(w, o), params, other, mask
    )
