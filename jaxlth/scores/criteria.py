"""Scores of weights from where they began and where training took them.

Each takes the initial and the final parameters, trees of the same shapes, and returns a tree of
floats like them; the higher, the more a weight is worth keeping. Of complex weights the magnitudes
count; criteria of signs refuse them.

References:
  Zhou et al. 2019, Deconstructing Lottery Tickets, Figure 3; Burger 2024, section 2.2.1.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlth import trees


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
    return _map(lambda i, f: jnp.minimum(alpha * jnp.abs(f), jnp.abs(i)), initial, final)


def small_initial_small_final(initial: Any, final: Any, *, alpha: float = 1.0) -> Any:
    """Return -max(alpha |final|, |initial|): small both before and after."""
    return _map(lambda i, f: -jnp.maximum(alpha * jnp.abs(f), jnp.abs(i)), initial, final)


def magnitude_increase(initial: Any, final: Any) -> Any:
    """Return |final| - |initial|."""
    return _map(lambda i, f: jnp.abs(f) - jnp.abs(i), initial, final)


def movement(initial: Any, final: Any) -> Any:
    """Return |final - initial|."""
    return _map(lambda i, f: jnp.abs(f - i), initial, final)


def same_sign(score: Any, initial: Any, final: Any) -> Any:
    """Return a score with minus infinity where training changed a weight's sign.

    Such weights are kept only where there are too few others, the lowest positions first. Zhou et
    al. give them 0, which under scores above 0 selects the same.

    Raises:
      TypeError: weights are complex, and have no sign.
      ValueError: the trees differ; the message names the first leaf that does.

    Example:
      >>> initial, final = {"w": jnp.array([1.0, -1.0])}, {"w": jnp.array([2.0, 3.0])}
      >>> same_sign(large_final(initial, final), initial, final)["w"].tolist()
      [2.0, -inf]
    """
    return _where(lambda i, f: jnp.sign(i) == jnp.sign(f), score, initial, final)


def different_sign(score: Any, initial: Any, final: Any) -> Any:
    """Return a score with minus infinity where training kept a weight's sign, as `same_sign`.

    Example:
      >>> initial, final = {"w": jnp.array([1.0, -1.0])}, {"w": jnp.array([2.0, 3.0])}
      >>> different_sign(large_final(initial, final), initial, final)["w"].tolist()
      [-inf, 3.0]
    """
    return _where(lambda i, f: jnp.sign(i) != jnp.sign(f), score, initial, final)


def _where(signs: Callable[[jax.Array, jax.Array], jax.Array], score: Any, *params: Any) -> Any:
    """Return a score with minus infinity where signs before and after training are others."""
    initial, final = params
    for name, leaf in [*trees.named(initial).items(), *trees.named(final).items()]:
        if jnp.iscomplexobj(leaf):
            raise TypeError(f"Signs need real weights; leaf {name!r} is {jnp.result_type(leaf)}.")
    wanted = _map(signs, initial, final)
    trees.check_same(score, initial, a_name="score", b_name="initial")
    with jax.debug_infs(False):  # these are meant
        return jax.tree.map(lambda s, keep: jnp.where(keep, s, -jnp.inf), score, wanted)


def _map(criterion: Callable[[jax.Array, jax.Array], jax.Array], initial: Any, final: Any) -> Any:
    """Return the criterion of each leaf, of types narrower than float32 computed in float32.

    Raises:
      ValueError: the trees differ; the message names the first leaf that does.
    """
    trees.check_same(initial, final, a_name="initial", b_name="final")
    return jax.tree.map(
        lambda i, f: criterion(trees.at_least_float32(i), trees.at_least_float32(f)),
        initial,
        final,
    )


def large_final_same_sign(initial: Any, final: Any) -> Any:
    """Return |final|, and minus infinity where training changed the sign."""
    return same_sign(large_final(initial, final), initial, final)


def large_final_diff_sign(initial: Any, final: Any) -> Any:
    """Return |final|, and minus infinity where training kept the sign."""
    return different_sign(large_final(initial, final), initial, final)


def magnitude_increase_same_sign(initial: Any, final: Any) -> Any:
    """Return |final| - |initial|, and minus infinity where training changed the sign."""
    return same_sign(magnitude_increase(initial, final), initial, final)


def magnitude_increase_diff_sign(initial: Any, final: Any) -> Any:
    """Return |final| - |initial|, and minus infinity where training kept the sign."""
    return different_sign(magnitude_increase(initial, final), initial, final)


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
    "large-final-diff-sign": large_final_diff_sign,
    "magnitude-increase-same-sign": magnitude_increase_same_sign,
    "magnitude-increase-diff-sign": magnitude_increase_diff_sign,
}
