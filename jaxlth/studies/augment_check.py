"""Whether an augmentation of a user's own can be a part of the training step."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxlth import keys, settings, trees
from jaxlth.process import code
from jaxlth.trees import programs


def check(augment: Callable[..., Any], images: Any, *, batch_size: int) -> None:
    """Raise ValueError unless a function makes inputs of inputs, by its key alone.

    It is traced twice, and nothing is computed.

    Args:
      augment: (inputs, key=) -> inputs.
      images: examples as they are stored, a tree of arrays.
      batch_size: examples of a batch.
    """
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), leaf.dtype), images
    )
    (first, shapes), (second, _) = (_traced(augment, like) for _ in range(2))
    settings.require(
        _shapes(shapes) == _shapes(like),
        f"`augment` must return inputs of the shapes that it is given, {_shapes(like)}; got "
        f"{_shapes(shapes)}.",
    )
    settings.require(
        programs.same(first, second),
        "`augment` must keep no state in Python, and draw random numbers from its key alone: two "
        "calls of it differ.",
    )


def _traced(augment: Callable[..., Any], like: Any) -> tuple[Any, Any]:
    """Return the program of an augmentation, and the shapes of what it returns."""
    program = jax.make_jaxpr(lambda images, key: augment(images, key=key), return_shape=True)
    try:
        return program(like, keys.stream(0, 0, "augmentation"))
    except Exception as error:  # of anybody's code
        raise ValueError(
            f"`augment` must be a JAX function (inputs, key=) -> inputs, of inputs "
            f"{_shapes(like)}; it raised {code.error_text(error)}"
        ) from error


def _shapes(tree: Any) -> str:
    named = trees.named(tree)
    shapes = [f"{name} {list(np.shape(leaf))}".strip() for name, leaf in named.items()]
    return ", ".join(shapes) or "nothing"
