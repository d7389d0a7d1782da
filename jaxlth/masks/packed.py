"""Masks of eight weights a byte."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import trees
from jaxlth.masks.mask import Mask, check_kind
from jaxlth.trees import places


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PackedLeaf:
    """A tensor of a mask, eight weights a byte."""

    bits: jax.Array  # (ceil(size / 8),) uint8, in row-major order, the first weight highest
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})


def pack(mask: Mask) -> Any:
    """Return a mask with eight weights a byte, to store or send; see `unpack`.

    Each tensor becomes a `PackedLeaf`; `None` stays. Works under jit and vmap. On Explicit meshes
    all devices have all bytes.

    Raises:
      TypeError: a leaf of the mask is not boolean, nor of whole numbers, of which 0 is False.

    Example:
      >>> packed = pack({"w": jnp.array([[True, False, True]]), "b": None})
      >>> packed["w"].bits.tolist(), packed["w"].shape
      ([160], (1, 3))
    """
    for name, leaf in trees.named(mask).items():
        check_kind(name, leaf, jnp.bool_, jnp.integer)
    return jax.tree.map(
        lambda leaf: PackedLeaf(jnp.packbits(places.gathered(leaf)), np.shape(leaf)), mask
    )


def unpack(packed: Any) -> Mask:
    """Return the mask that `pack` packed, bit by bit.

    Masks that were packed under vmap come back with their leading axes.

    Raises:
      TypeError: a leaf is none of `pack`.

    Example:
      >>> unpack(pack({"w": jnp.array([[True, False, True]])}))["w"].tolist()
      [[True, False, True]]
    """

    def leaf_mask(leaf: PackedLeaf) -> jax.Array:
        if not isinstance(leaf, PackedLeaf):
            raise TypeError(
                f"`packed` must be what `masks.pack` returns; it has a {type(leaf).__name__}."
            )
        leading = jnp.shape(leaf.bits)[:-1]  # of replicates, where `pack` ran under vmap
        bits = jnp.unpackbits(leaf.bits, axis=-1, count=math.prod(leaf.shape))
        return bits.astype(bool).reshape(*leading, *leaf.shape)

    return jax.tree.map(leaf_mask, packed, is_leaf=lambda node: isinstance(node, PackedLeaf))
