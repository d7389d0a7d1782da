"""Types of floats: the widest of several, float64 where JAX has it turned off, and their range."""

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

    A user's `jax_numpy_dtype_promotion="strict"` would refuse to say, and JAX promotes no float8.

    Example:
      >>> widest([jnp.ones(1, jnp.float8_e5m2), jnp.ones(1, jnp.bfloat16)])
      dtype('float32')
    """
    promotable = [array for array in arrays if jnp.result_type(array).itemsize > 1]
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(jnp.float32, *promotable)


def divisor(most: jax.Array) -> jax.Array:
    """Return what to divide floats by so that their squares neither overflow nor vanish.

    That is the largest magnitude; or the largest number whose reciprocal is not subnormal, as XLA
    may multiply by a reciprocal, and flushes such ones to 0. Where all are 0, or one is infinite or
    NaN, it is 1.

    Args:
      most: the largest magnitude of the floats.

    Example:
      >>> divisor(jnp.array([0.0, 3.0, 3e38, jnp.inf])).tolist()
      [1.0, 3.0, 8.507059173023462e+37, 1.0]
    """
    safe = jnp.minimum(most, 1 / jnp.finfo(most.dtype).tiny)
    return jnp.where((most > 0) & jnp.isfinite(most), safe, 1)
