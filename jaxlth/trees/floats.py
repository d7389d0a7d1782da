"""Types of floats: the widest of several, and float64 where JAX has it turned off."""

import contextlib
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Let JAX compute in float64 within this context, whatever its mode is.

    Raises:
      ValueError: on a TPU, whose float64 is a pair of float32 numbers, with their range and without
        the bits that `largest` compares.
    """
    default_device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    device = default_device or jax.devices()[0]
    if getattr(device, "platform", device) == "tpu":
        raise ValueError(
            "A TPU has no float64 of full range: score and prune on the host, under "
            '`jax.default_device(jax.devices("cpu")[0])`.'
        )
    with jax.enable_x64(True):
        yield


def widest(arrays: Sequence[jax.Array]) -> jax.typing.DTypeLike:
    """Return the widest type of arrays of floats, at least float32.

    A user's `jax_numpy_dtype_promotion="strict"` would refuse to say.
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(jnp.float32, *arrays)
