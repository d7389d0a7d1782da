"""How exactly accelerators multiply matrices; a CPU takes all bits in any case."""

import contextlib
from collections.abc import Iterator
from typing import Literal

import jax

Precision = Literal["default", "high", "highest"]


@contextlib.contextmanager
def products(precision: Precision) -> Iterator[None]:
    """Have programs compiled for a precision of products of matrices and of convolutions.

    Args:
      precision: "default", which is what JAX takes by itself, or "high" or "highest".

    Example:
      >>> with products("highest"):
      ...     print(jax.config.jax_default_matmul_precision)
      highest
    """
    with jax.default_matmul_precision(None if precision == "default" else precision):
        yield
