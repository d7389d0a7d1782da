"""Random streams, each a pure function of a seed, a replicate and a purpose.

Every use of randomness (initialisation, data order, augmentation, each control) has its own
purpose, so that adding one never moves another. Numbers such as the level are folded in by `fold`.
"""

import operator
import zlib
from typing import Any

import jax
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
    draws = [
        jax.random.uniform(fold(key, position), jnp.shape(leaf), jnp.float32)
        for position, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, draws)
