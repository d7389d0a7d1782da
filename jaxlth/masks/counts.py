"""How many weights a mask keeps: in all, by tensor, by unit, and together with another mask."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import trees
from jaxlth.masks.mask import Mask, prunable, size
from jaxlth.trees import bisection, kernels, places, roles


def kept(mask: Mask) -> jax.Array:
    """Return the number of weights kept, an int32 scalar; int64 in JAX's x64 mode if need be.

    Raises:
      ValueError: there are 2**31 prunable weights or more, and no int64.
      TypeError: a leaf is no array of numbers.

    Example:
      >>> int(kept({"w": jnp.array([[True, False]]), "b": None}))
      1
    """
    trees.check_numbers(mask, name="mask")
    weights, dtype = size(mask), jnp.int32
    if weights >= 2**31:
        if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(
                f"int32 cannot count the kept of {weights} weights; call it within "
                "`jax.enable_x64(True)`, or use `masks.density`."
            )
        dtype = jnp.int64
    leaves = jax.tree.leaves(mask)
    if all(map(places.is_on_host, leaves)):
        return jnp.asarray(count_on_host(leaves), dtype)
    counts = [jnp.sum(jnp.asarray(leaf).astype(bool), dtype=dtype) for leaf in leaves]
    return sum(counts, start=jnp.zeros((), dtype))


def count_on_host(leaves: Sequence[Any]) -> int:
    """Return how many elements of arrays on the host are True; NumPy compiles nothing."""
    return sum(int(np.count_nonzero(np.asarray(leaf))) for leaf in leaves)


def density(mask: Mask) -> jax.Array:
    """Return kept / prunable, a float32 scalar in [0, 1].

    Raises:
      ValueError: nothing in the mask is prunable.

    Example:
      >>> float(density({"w": jnp.array([[True, False]]), "b": None}))
      0.5
    """
    if size(mask) == 0:
        raise ValueError("`mask` has no prunable weight, so it has no density.")
    if size(mask) < 2**31:
        return kept(mask).astype(jnp.float32) / size(mask)
    count = bisection.total(jax.tree.leaves(mask))
    return (count.high * jnp.float32(2**16) + count.low) / jnp.float32(size(mask))


def layer_densities(mask: Mask) -> dict[str, float]:
    """Return kept / prunable of each prunable tensor, by name; needs concrete arrays.

    A tensor without elements has no density and is left out.

    Example:
      >>> layer_densities({"w": jnp.array([[True, False]]), "b": None})
      {'w': 0.5}
    """
    trees.check_numbers(mask, name="mask")
    named = trees.named(mask).items()
    return {n: int(np.count_nonzero(leaf)) / np.size(leaf) for n, leaf in named if np.size(leaf)}


def unit_densities(mask: Mask, *, axes: roles.Axes | None = None) -> dict[str, np.ndarray]:
    """Return kept / prunable of the weights into each unit, by tensor; needs concrete arrays.

    Units are the neurons of a dense layer, the channels of a convolution, the features of all heads
    of an attention. A tensor without elements is left out.

    Args:
      mask: a mask.
      axes: of the inputs and the outputs of each tensor: `masks.IN_OUT`, Flax's and Haiku's
        (..., inputs, outputs), or `masks.OUT_IN`, Equinox's and PyTorch's (outputs, inputs, ...).
        If not given, those of a tensor called "weight", as in Equinox and PyTorch, are OUT_IN, of
        any other IN_OUT. Kernels of Flax's attention, (inputs, heads, features) in "query", "key"
        and "value", (heads, features, outputs) in "out", are then known by names and shapes.

    Returns:
      {name of tensor: (units,) float64}, the features of the first head first; of the layers of a
      stacked attention, the first layer first.

    Raises:
      ValueError: a tensor has not these axes; or none are given, and names and shapes do not tell
        where those of a tensor of three dimensions or more lie.

    Example:
      >>> unit_densities({"w": jnp.array([[True, False], [False, False]]), "b": None})
      {'w': array([0.5, 0. ])}

    References:
      Frankle 2023, Figure 5-6.
    """
    trees.check_numbers(mask, name="mask")
    densities, leaves = {}, trees.named(mask)
    for name, view in kernels.views(leaves, axes).items():
        kernel = np.asarray(leaves[name], bool).reshape(view.shape)
        if kernel.size:
            _, outputs = view.axes
            by_unit = np.moveaxis(kernel, outputs, -1)
            layers = by_unit.reshape(*view.shape[: view.stacked], -1, by_unit.shape[-1])
            densities[name] = layers.mean(axis=-2).ravel()
    return densities


def kept_values(tree: Any, mask: Mask) -> np.ndarray:
    """Return a tree's numbers where a mask keeps, one tensor's after the other's; concrete only.

    Args:
      tree: parameters or scores; what is never pruned is left out.
      mask: which of them.

    Returns:
      (kept(mask),), in the order of `jax.tree.leaves`; float32 where nothing is prunable.

    Raises:
      ValueError: the trees do not fit; the message names the first leaf that does not.
      TypeError: a leaf of the mask is not boolean.

    Example:
      >>> mask = {"w": jnp.array([[True, False]]), "b": None}
      >>> kept_values({"w": jnp.array([[3.0, 4.0]]), "b": jnp.array([5.0])}, mask)
      array([3.], dtype=float32)
    """
    leaves = jax.tree.leaves(prunable(tree, mask))
    values = [
        np.asarray(x)[np.asarray(k)] for x, k in zip(leaves, jax.tree.leaves(mask), strict=True)
    ]
    return np.concatenate(values) if values else np.zeros(0, np.float32)


def jaccard(a: Mask, b: Mask) -> jax.Array:
    """Return the overlap of two masks: weights kept in both / weights kept in either.

    Returns:
      A float32 scalar in [0, 1]; 1 if neither mask keeps anything.

    Raises:
      ValueError: the masks differ in structure or shapes.

    Example:
      >>> float(jaccard({"w": jnp.array([True, True])}, {"w": jnp.array([True, False])}))
      0.5
    """
    trees.check_same(a, b)
    both = kept(jax.tree.map(jnp.logical_and, a, b))
    either = kept(jax.tree.map(jnp.logical_or, a, b))
    share = both.astype(jnp.float32) / jnp.maximum(either, 1).astype(jnp.float32)
    return jnp.where(either == 0, 1.0, share)
