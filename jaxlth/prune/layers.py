"""How many weights each layer keeps by its shape alone, before any is scored."""

import math
from collections.abc import Mapping
from fractions import Fraction

from jaxlth import masks, trees
from jaxlth.prune.counts import whole


def erdos_renyi(mask: masks.Mask, *, keep: int, kernel: bool = True) -> dict[str, int]:
    """Return how many weights each tensor keeps under Erdos-Renyi(-kernel) densities.

    Densities are as (inputs + outputs) / (inputs * outputs) of the tensors, so that larger ones are
    sparser. Where that would be more than all, a tensor stays dense and the others share the rest.
    A few weights over many tensors leave some with none.

    Args:
      mask: A mask; what it has pruned does not matter here. Tensors are (..., inputs, outputs).
      keep: Weights kept in all, in 1..size(mask). Counts are rounded so that they add up to it.
      kernel: Whether height and width of a convolution count as inputs and outputs do: "ERK".

    Returns:
      The count for each prunable tensor by name, for `layerwise_topk`.

    Raises:
      ValueError: `keep` lies outside its range, or a tensor has fewer than two dimensions.

    Example:
      >>> import jax.numpy as jnp
      >>> erdos_renyi(masks.dense({"a": jnp.ones((6, 4)), "b": jnp.ones((4, 2))}), keep=16)
      {'a': 10, 'b': 6}

    References:
      Mocanu et al. 2018, Scalable Training of Artificial Neural Networks (SET), equation 3; Evci et
      al. 2020, Rigging the Lottery, section 3.
    """
    shapes = {name: leaf.shape for name, leaf in trees.named(mask).items()}
    for name, shape in shapes.items():
        if len(shape) < 2:
            raise ValueError(f"Erdos-Renyi densities need inputs and outputs; {name!r} is {shape}.")
    used = {name: shape if kernel else shape[-2:] for name, shape in shapes.items()}
    weights = {name: Fraction(sum(shape), math.prod(shape)) for name, shape in used.items()}
    return _shared_out({name: math.prod(shape) for name, shape in shapes.items()}, weights, keep)


def _shared_out(
    sizes: Mapping[str, int], weights: Mapping[str, Fraction], keep: int
) -> dict[str, int]:
    """Return counts that add up to `keep`, densities as the weights: all, where more than all."""
    keep, size = whole("keep", keep, 1), sum(sizes.values())
    if keep > size:
        raise ValueError(f"`keep` must be at most the {size} prunable weights; got {keep}.")
    full: set[str] = set()
    while True:
        rest = keep - sum(sizes[name] for name in full)
        parts = {name: weights[name] * sizes[name] for name in sizes if name not in full}
        wanted = {name: part * rest / sum(parts.values()) for name, part in parts.items()}
        over = {name for name, count in wanted.items() if count > sizes[name]}
        if not over:
            break
        full |= over
    counts = {name: sizes[name] if name in full else int(wanted[name]) for name in sizes}
    # What rounding down left goes to the largest remainders.
    most_left = sorted(wanted, key=lambda name: counts[name] - wanted[name])
    for name in most_left[: keep - sum(counts.values())]:
        counts[name] += 1
    return counts
