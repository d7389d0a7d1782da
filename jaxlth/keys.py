"""Random streams, each a pure function of a seed, a replicate and a purpose.

Every use of randomness (initialisation, data order, augmentation, each control) has its own
purpose, so that adding one never moves another. Numbers such as the level are folded in by `fold`.
"""

import operator
import zlib
from typing import Any

import jax
import jax.core
import jax.numpy as jnp


def stream(seed: int, replicate: int | jax.Array, purpose: str) -> jax.Array:
    """Return the key of one purpose in one replicate.

    The generator is always threefry, whatever JAX's default is, so that vmapped replicates draw the
    numbers they draw alone.

    Args:
      seed: Whole number in 0..2**32-1.
      replicate: Whole number from 0; it may be traced.
      purpose: What the numbers are for, such as "initialisation"; its CRC-32 enters the key.

    Returns:
      A typed key of shape ().

    Raises:
      ValueError: `seed` or `replicate` lies outside its range.

    Example:
      >>> bool(stream(0, 1, "order") == stream(0, 1, "initialisation"))
      False
    """
    seed = operator.index(seed)
    if not 0 <= seed < 2**32:
        raise ValueError(f"`seed` must lie in 0..4294967295; got {seed}.")
    if isinstance(replicate, int) and replicate < 0:
        raise ValueError(f"`replicate` must be at least 0; got {replicate}.")
    # Not `jax.random.key`, which adds a user's `jax_random_seed_offset`.
    key = jax.random.wrap_key_data(jnp.array([0, seed], jnp.uint32), impl="threefry2x32")
    return fold(key, zlib.crc32(purpose.encode()), replicate)


def substream(key: jax.Array, purpose: str) -> jax.Array:
    """Return the key of a further purpose beside that which `key` itself serves.

    Example:
      >>> order = stream(0, 0, "order")
      >>> bool(substream(order, "augmentation") == order)
      False
    """
    return fold(key, zlib.crc32(purpose.encode()))


def fold(key: jax.Array, *numbers: int | jax.Array) -> jax.Array:
    """Return `key` with each number folded in, in order; numbers may be traced.

    Example:
      >>> key = jax.random.key(0)
      >>> bool(fold(key, 1, 2) == fold(fold(key, 1), 2)), bool(fold(key, 1, 2) == fold(key, 2, 1))
      (True, False)
    """
    for number in numbers:
        key = jax.random.fold_in(key, number)
    return key


def uniform(tree: Any, *, key: jax.Array) -> Any:
    """Return a tree like `tree` of float32 drawn from U[0, 1), a stream of its own for each leaf.

    A leaf's stream is `key` with the leaf's position folded in.

    Example:
      >>> uniform({"kernel": jnp.zeros((3, 2))}, key=jax.random.key(0))["kernel"].shape
      (3, 2)
    """
    leaves, structure = jax.tree.flatten(tree)
    own = _of_leaves(key, len(leaves))
    draws = [
        jax.random.uniform(leaf_key, jnp.shape(leaf), jnp.float32)
        for leaf_key, leaf in zip(own, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, draws)


def _of_leaves(key: jax.Array, number: int) -> list[jax.Array]:
    """Return `key` with 0, 1, and so on folded in.

    Within `jax.jit` at once: each `fold_in` is compiled anew. Other generators than threefry may
    give other keys then.
    """
    is_threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    if number and is_threefry and isinstance(key, jax.core.Tracer):
        numbers = jnp.arange(number, dtype=jnp.uint32)
        return list(jax.vmap(jax.random.fold_in, (None, 0))(key, numbers))
    return [fold(key, position) for position in range(number)]
