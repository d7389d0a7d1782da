"""Where arrays lie: on the host, on one device, on a mesh of several."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp


def is_on_host(array: Any) -> bool:
    """Return whether NumPy reads an array without waiting for an accelerator or other hosts."""
    if isinstance(array, jax.core.Tracer):
        return False
    if not isinstance(array, jax.Array):
        return True
    return array.is_fully_addressable and all(d.platform == "cpu" for d in array.devices())


def on_one_device(arrays: Sequence[Any]) -> bool:
    """Return whether all arrays have values now, and none is spread over several devices."""
    return not any(
        isinstance(array, jax.core.Tracer)
        or (isinstance(array, jax.Array) and len(array.sharding.device_set) > 1)
        for array in jax.tree.leaves(arrays)
    )


def given(arrays: Sequence[Any]) -> set[jax.sharding.Sharding]:
    """Return the places that arrays were put to by whoever made them."""
    return {array.sharding for array in arrays if isinstance(array, jax.Array) and array.committed}


def beside(draw: jax.Array, leaf: jax.Array) -> jax.Array:
    """Return `draw` on the devices where `leaf`, a mask, lies: the types say it, or XLA."""
    if is_on_host(leaf) and not isinstance(draw, jax.core.Tracer):
        return jax.device_put(draw, leaf.sharding) if getattr(leaf, "committed", False) else draw
    sharding = jax.typeof(leaf).sharding
    if sharding.mesh.explicit_axes:
        return jax.sharding.reshard(draw, sharding)
    return jnp.where(leaf, draw, draw)  # XLA spreads both alike


def gathered(array: Any) -> Any:
    """Return an array whose type says how it is spread as a whole on each device, others as is."""
    if not jax.typeof(array).sharding.mesh.explicit_axes:
        return array
    return jax.sharding.reshard(array, jax.sharding.PartitionSpec())
