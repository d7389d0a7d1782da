"""Scores of weights from where they began and where training took them.

Each takes the initial and the final parameters, trees of the same shapes, and returns a tree of
floats like them; the higher, the more a weight is worth keeping.

References:
  Zhou et al. 2019, Deconstructing Lottery Tickets, Figure 3; Burger 2024, section 2.2.1.
"""

from typing import Any

import jax
import jax.numpy as jnp


def large_final(_initial: Any, final: Any) -> Any:
    """Return |final|: magnitude after training."""
    return jax.tree.map(jnp.abs, final)


def small_final(_initial: Any, final: Any) -> Any:
    """Return -|final|."""
    return jax.tree.map(lambda f: -jnp.abs(f), final)


def large_initial(initial: Any, _final: Any) -> Any:
    """Return |initial|."""
    return jax.tree.map(jnp.abs, initial)


def small_initial(initial: Any, _final: Any) -> Any:
    """Return -|initial|."""
    return jax.tree.map(lambda i: -jnp.abs(i), initial)


def large_initial_large_final(initial: Any, final: Any, *, alpha: float = 1.0) -> Any:
    """Return min(alpha |final|, |initial|): large both before and after.

    Args:
      initial: parameters before training.
      final: parameters after it.
      alpha: above 0; weighs the final magnitude, which training changes in scale.
    """
    return jax.tree.map(lambda i, f: jnp.minimum(alpha * jnp.abs(f), jnp.abs(i)), initial, final)


def small_initial_small_final(initial: Any, final: Any, *, alpha: float = 1.0) -> Any:
    """Return -max(alpha |final|, |initial|): small both before and after."""
    return jax.tree.map(lambda i, f: -jnp.maximum(alpha * jnp.abs(f), jnp.abs(i)), initial, final)


def magnitude_increase(initial: Any, final: Any) -> Any:
    """Return |final| - |initial|."""
    return jax.tree.map(lambda i, f: jnp.abs(f) - jnp.abs(i), initial, final)


def movement(initial: Any, final: Any) -> Any:
    """Return |final - initial|."""
    return jax.tree.map(lambda i, f: jnp.abs(f - i), initial, final)


def same_sign(score: Any, initial: Any, final: Any) -> Any:
    """Return a score with minus infinity where training changed a weight's sign.

    Such weights are kept only where there are too few others, the lowest positions first. Zhou et
    al. give them 0, which under scores above 0 selects the same.

    Example:
      >>> initial, final = {"w": jnp.array([1.0, -1.0])}, {"w": jnp.array([2.0, 3.0])}
      >>> same_sign(large_final(initial, final), initial, final)["w"].tolist()
      [2.0, -inf]
    """
    with jax.debug_infs(False):  # these are meant
        return jax.tree.map(
            lambda s, i, f: jnp.where(jnp.sign(i) == jnp.sign(f), s, -jnp.inf),
            score,
            initial,
            final,
        )


def large_final_same_sign(initial: Any, final: Any) -> Any:
    """Return |final|, and minus infinity where training changed the sign."""
    return same_sign(large_final(initial, final), initial, final)


CRITERIA = {
    "large-final": large_final,
    "small-final": small_final,
    "large-initial": large_initial,
    "small-initial": small_initial,
    "large-initial-large-final": large_initial_large_final,
    "small-initial-small-final": small_initial_small_final,
    "magnitude-increase": magnitude_increase,
    "movement": movement,
    "large-final-same-sign": large_final_same_sign,
}
