"""How many weights each layer keeps by its place and shape alone, before any is scored."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from jaxlth import masks, trees
from jaxlth.prune.counts import share, whole


def erdos_renyi(mask: masks.Mask, *, keep: int, kernel: bool = True) -> dict[str, int]:
    """Return how many weights each tensor keeps under Erdos-Renyi(-kernel) densities.

    Densities are as (inputs + outputs) / (inputs * outputs) of the tensors, so that larger ones are
    sparser. Where that would be more than all, a tensor stays dense and the others share the rest.

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


def smart_ratio(
    mask: masks.Mask, *, keep: int, last: float = 0.3, order: Sequence[str] | None = None
) -> dict[str, int]:
    """Return how many weights each tensor keeps under Smart-Ratio densities.

    The last tensor keeps a share of its own. Of L tensors the density of the l-th before it is as
    (L - l + 1)**2 + (L - l + 1); where that would be more than all, a tensor stays dense and the
    others share the rest.

    Args:
      mask: A mask; what it has pruned does not matter here.
      keep: Weights kept in all. Counts are rounded so that they add up to it.
      last: The density of the last tensor, in (0, 1).
      order: Names of the prunable tensors as inputs run through them; that of the tree by default.

    Returns:
      The count for each prunable tensor by name, for `layerwise_topk`.

    Raises:
      ValueError: `keep` is too few or too many for the last tensor's share; `order` does not name
        each tensor once.

    Example:
      >>> import jax.numpy as jnp
      >>> mask = masks.dense({"a": jnp.ones((6, 5)), "b": jnp.ones((5, 6)), "c": jnp.ones((5, 2))})
      >>> smart_ratio(mask, keep=21)
      {'a': 12, 'b': 6, 'c': 3}

    References:
      Su et al. 2020, Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot, section
      4.2.
    """
    sizes = {name: leaf.size for name, leaf in trees.named(mask).items()}
    names = list(sizes) if order is None else list(order)
    if sorted(names) != sorted(sizes):
        raise ValueError(f"`order` must name each of {sorted(sizes)} once; got {names}.")
    *before, end = names
    at_end = round(share("last", last) * sizes[end])
    most = sum(sizes[name] for name in before) + at_end
    if not at_end < keep <= most:
        raise ValueError(
            f"`keep` must lie in {at_end + 1}..{most}: the last tensor keeps {at_end}; got {keep}."
        )
    left = [len(names) - place for place in range(len(before))]
    weights = {name: Fraction(n * n + n) for name, n in zip(before, left, strict=True)}
    counts = _shared_out({name: sizes[name] for name in before}, weights, keep - at_end)
    counts[end] = at_end
    return {name: counts[name] for name in sizes}


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
