"""Lines between networks, and other ways of telling how far apart two networks are.

A network is any tree of arrays: parameters, or parameters with batch statistics. A point of the
line from `a` to `b` is their weighted mean, at `alpha` from 0 (`a`) to 1 (`b`). Two networks are
linearly mode connected where the error along the line hardly rises above that of its ends.

References:
  Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis, section 2;
  Frankle 2023, sections 4.1.1 and 4.1.5.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import masks, trees


def interpolate(a: Any, b: Any, alpha: float | jax.Array) -> Any:
    """Return the point of the line between two networks: (1 - alpha) a + alpha b, leaf by leaf.

    It is `a` at 0 and `b` at 1 to the bit, and where both are equal their common value everywhere:
    what is pruned in both stays exactly 0. Leaves of whole numbers are those of the nearer end.

    Args:
      a: a tree of arrays.
      b: a tree like it.
      alpha: where on the line; outside [0, 1] the line goes on.

    Raises:
      ValueError: the trees differ; the message names the first leaf that does.

    Example:
      >>> interpolate({"w": jnp.array([0.0, 4.0])}, {"w": jnp.array([1.0, 4.0])}, 0.25)
      {'w': Array([0.25, 4.  ], dtype=float32)}
    """
    trees.check_same(a, b)
    nearer = jnp.asarray(alpha) < 0.5

    def point(x: jax.Array, y: jax.Array) -> jax.Array:
        x, y = jnp.asarray(x), jnp.asarray(y)
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return jnp.where(nearer, x, y)
        at = jnp.asarray(alpha, x.dtype)
        return jnp.where(nearer, x + at * (y - x), y - (1 - at) * (y - x))

    return jax.tree.map(point, a, b)


def alphas(points: int) -> np.ndarray:
    """Return evenly spaced places on a line, both ends included: (points,) float32.

    Raises:
      ValueError: there are fewer than 2.

    Example:
      >>> alphas(3).tolist()
      [0.0, 0.5, 1.0]
    """
    if operator.index(points) < 2:
        raise ValueError(f"`points` must be at least 2, the ends of the line; got {points}.")
    return np.linspace(0, 1, points, dtype=np.float32)


def errors_along(
    error_fn: Callable[[Any], jax.Array],
    a: Any,
    b: Any,
    *,
    points: int = 30,
    together: int | None = None,
) -> jax.Array:
    """Return the error at evenly spaced points of the line between two networks, ends included.

    Args:
      error_fn: network -> its error, a scalar in [0, 1]; JAX must be able to trace it.
      a: a tree of arrays.
      b: a tree like it.
      points: number of points, at least 2.
      together: networks that are evaluated side by side, by vmap. By default one after another on
        a CPU, whose caches more would overrun, and all elsewhere.

    Returns:
      (points,) errors, from `a` to `b`.

    Raises:
      ValueError: the trees differ, or there are fewer than 2 points or none side by side.

    Example:
      >>> errors_along(lambda w: jnp.abs(w - 0.5), jnp.array(0.0), jnp.array(1.0), points=3)
      Array([0.5, 0. , 0.5], dtype=float32)

    References:
      Frankle 2023, Algorithm 3 and section 4.1.1; 30 points there.
    """
    trees.check_same(a, b)
    places = alphas(points)
    if together is None:
        together = 1 if jax.default_backend() == "cpu" else points
    if together < 1:
        raise ValueError(f"`together` must be at least 1; got {together}.")

    def error(alpha: jax.Array) -> jax.Array:
        return error_fn(interpolate(a, b, alpha))

    batch_size = None if together == 1 else min(together, points)
    return jax.lax.map(error, jnp.asarray(places), batch_size=batch_size)


def barrier(errors: jax.Array) -> jax.Array:
    """Return the error barrier of a path: its worst error less the mean of its ends.

    Args:
      errors: (points,) error in [0, 1] along the path, both ends included; two at least.

    Returns:
      A scalar in the unit of `errors`, never negative.

    Example:
      >>> float(barrier(jnp.array([0.25, 0.5, 0.25])))
      0.25

    References:
      Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis, section 2.
    """
    errors = jnp.asarray(errors)
    if errors.ndim != 1 or errors.size < 2:
        raise ValueError(f"`errors` must be of shape (points,), 2 at least; got {errors.shape}.")
    return jnp.max(errors) - (errors[0] + errors[-1]) / 2


def average(networks: Sequence[Any]) -> Any:
    """Return the mean of several networks, weight by weight.

    Whole numbers, such as counters, are those of the first network.

    Args:
      networks: trees of one structure, one at least.

    Raises:
      ValueError: there are none, or two differ.

    Example:
      >>> average([{"w": jnp.array([0.0])}, {"w": jnp.array([1.0])}])
      {'w': Array([0.5], dtype=float32)}

    References:
      Frankle 2023, section 6.2.5.
    """

    def mean(leaf: jax.Array) -> jax.Array:
        return jnp.mean(leaf, axis=0) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf[0]

    return jax.tree.map(mean, trees.stack(networks))


def l2_distance(a: Any, b: Any, *, mask: masks.Mask | None = None) -> jax.Array:
    """Return the Euclidean distance between the weights of two networks.

    Args:
      a: a tree of arrays.
      b: a tree like it.
      mask: a mask for both, to leave pruned weights out; None to take them as they are.

    Returns:
      A scalar, at least 0.

    Raises:
      ValueError: the trees differ; the message names the first leaf that does.

    Example:
      >>> float(l2_distance({"w": jnp.array([3.0, 0.0])}, {"w": jnp.array([0.0, 4.0])}))
      5.0

    References:
      Frankle 2023, section 4.1.5.
    """
    a, b = _masked(a, b, mask)
    return _norm(jax.tree.map(jnp.subtract, a, b))


def cosine_distance(a: Any, b: Any, *, mask: masks.Mask | None = None) -> jax.Array:
    """Return 1 - cosine of the angle between the weights of two networks, as vectors.

    Args:
      a: a tree of arrays, not all of them 0.
      b: a tree like it, likewise.
      mask: a mask for both, to leave pruned weights out; None to take them as they are.

    Returns:
      A scalar in [0, 2]; NaN where one of the networks has only zeros.

    Raises:
      ValueError: the trees differ; the message names the first leaf that does.

    Example:
      >>> a, b = {"w": jnp.array([2.0, 0.0])}, {"w": jnp.array([0.0, 4.0])}
      >>> round(float(cosine_distance(a, b)), 6)
      1.0

    References:
      Frankle 2023, section 4.1.5.
    """
    a, b = _masked(a, b, mask)
    # Half the squared distance of unit vectors: 1 - a.b would lose all digits of a small angle.
    norms = _norm(a), _norm(b)
    apart = jax.tree.map(lambda x, y: x / norms[0] - y / norms[1], a, b)
    return jnp.square(_norm(apart)) / 2


def classification_differences(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return how many examples two networks classify differently.

    Args:
      a: (n, classes) outputs of a network.
      b: (n, classes) outputs of another one on the same examples.

    Returns:
      A whole number in 0..n.

    Raises:
      ValueError: the shapes differ, or have no axis of classes.

    Example:
      >>> a, b = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[1.0, 0.0], [1.0, 0.0]])
      >>> int(classification_differences(a, b))
      1

    References:
      Frankle 2023, section 4.1.5.
    """
    if np.shape(a) != np.shape(b) or np.ndim(a) != 2:
        raise ValueError(
            f"`a` and `b` must be outputs of one shape (n, classes); got {np.shape(a)} and "
            f"{np.shape(b)}."
        )
    return jnp.sum(jnp.argmax(a, axis=1) != jnp.argmax(b, axis=1))


def loss_l2_distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the Euclidean distance between the losses of two networks, example by example.

    Args:
      a: (n,) loss of a network on each example.
      b: (n,) loss of another one on the same examples.

    Returns:
      A scalar in the unit of the losses, at least 0.

    Raises:
      ValueError: the shapes differ, or have more axes.

    Example:
      >>> float(loss_l2_distance(jnp.array([3.0, 0.0]), jnp.array([0.0, 4.0])))
      5.0

    References:
      Frankle 2023, section 4.1.5.
    """
    if np.shape(a) != np.shape(b) or np.ndim(a) != 1:
        raise ValueError(
            f"`a` and `b` must be losses of one shape (n,); got {np.shape(a)} and {np.shape(b)}."
        )
    return jnp.sqrt(jnp.sum(jnp.square(jnp.asarray(a) - jnp.asarray(b))))


def _masked(a: Any, b: Any, mask: masks.Mask | None) -> tuple[Any, Any]:
    """Return two trees of one structure as float32 arrays, under the mask if there is one."""
    trees.check_same(a, b)
    if mask is not None:
        a, b = masks.apply(a, mask), masks.apply(b, mask)
    a, b = (jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree) for tree in (a, b))
    return a, b


def _norm(tree: Any) -> jax.Array:
    """Return the Euclidean norm of all leaves together, each scaled so that nothing overflows."""
    leaves = jax.tree.leaves(tree)
    most = jnp.max(jnp.array([0.0, *(jnp.max(jnp.abs(leaf), initial=0.0) for leaf in leaves)]))
    scale = jnp.where(most > 0, most, 1)
    return scale * jnp.sqrt(sum(jnp.sum(jnp.square(leaf / scale)) for leaf in leaves))
