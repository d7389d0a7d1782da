"""Programs that JAX traces of a user's own functions, and whether two are the same."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def same(one: Any, other: Any) -> bool:
    """Return whether two programs do the same: their operations and their constants.

    A function that keeps state in Python, or draws random numbers from elsewhere than its key,
    gives two programs when it is traced twice.

    Args:
      one: a closed jaxpr, as `jax.make_jaxpr` returns.
      other: likewise.

    Example:
      >>> doubled, again = (jax.make_jaxpr(lambda x: 2 * x)(1.0) for _ in range(2))
      >>> same(doubled, again), same(doubled, jax.make_jaxpr(lambda x: 3 * x)(1.0))
      (True, False)
    """
    return _text(one) == _text(other) and all(map(_same_array, one.consts, other.consts))


def _text(program: Any) -> str:
    return re.sub("0x[0-9a-f]+", "", str(program))  # functions differ in their addresses


def _same_array(a: Any, b: Any) -> bool:
    if a is b or jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        return True
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=a.dtype.kind == "f")
