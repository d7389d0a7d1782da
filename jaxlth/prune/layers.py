"""The number of weights that each layer keeps by its shape alone, without scores."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from jaxlth import masks, trees
from jaxlth.prune.counts import check_int, check_share
from jaxlth.trees import attention, kernels, roles


def erdos_renyi(
    mask: masks.Mask, *, keep: int, kernel: bool = True, axes: roles.Axes | None = None
) -> dict[str, int]:
    """Return the number of weights that each tensor keeps under Erdos-Renyi(-kernel) densities.

    Densities are as (inputs + outputs) / (inputs * outputs) of the tensors, so that larger ones are
    sparser. Where that would be more than all, a tensor stays dense and the others share the rest.
    A few weights over many tensors leave some with none.

    Args:
      mask: A mask; what it has pruned does not matter here.
      keep: Weights kept in all, in 1..size(mask). Counts are rounded so that they add up to it.
      kernel: Whether height and width of a convolution count as inputs and outputs do: "ERK".
        The heads of an attention are no such dimensions: its kernels count as matrices.
      axes: Of the inputs and the outputs of tensors, where `kernel` is False; see
        `masks.unit_densities`. With `kernel` they say that a tensor of three dimensions or more is
        a convolution, where its name says that it is none.

    Returns:
      The count for each prunable tensor by name, for `layerwise_topk`.

    Raises:
      ValueError: `keep` lies outside its range, a tensor has fewer than two dimensions, or `axes`
        do not fit, as in `masks.unit_densities`.

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
    if kernel and axes is None:
        attention.matrices(trees.named(mask), by_place=False)  # refuses what is no convolution
    views = kernels.views(trees.named(mask), axes, check=not kernel)
    used = {
        name: view.of_layer if kernel else [view.of_layer[axis] for axis in view.axes]
        for name, view in views.items()
    }
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    weights = {
        name: Fraction(sum(shape), math.prod(shape)) for name, shape in used.items() if sizes[name]
    }
    return _shared_out(sizes, weights, keep)


def smart_ratio(
    mask: masks.Mask,
    *,
    keep: int,
    order: Sequence[str],
    linear: float = 0.3,
    damped: bool = False,
) -> dict[str, int]:
    """Return the number of weights that each tensor of a network keeps under Smart-Ratio.

    Matrices keep a share of their own. Of L tensors, the density of the l-th, if it is a
    convolution, is as (L - l + 1)**2 + (L - l + 1). Where that would be more than all, a tensor
    stays dense and the other convolutions share the rest; the published code hands the rest to the
    next ones instead.

    Args:
      mask: A mask; what it has pruned does not matter here.
      keep: Weights kept in all. Counts are rounded so that they add up to it.
      order: Names of the prunable tensors as inputs run through them.
      linear: The density of each matrix, in (0, 1).
      damped: Whether densities are divided by l**2 too, as in the published code for networks that
        are no ResNets; the paper does not say so.

    Returns:
      The count for each prunable tensor by name, for `layerwise_topk`.

    Raises:
      ValueError: `order` does not name each tensor once, no tensor is a convolution, or `keep` is
        too few or too many for the share of the matrices.

    Example:
      >>> import jax.numpy as jnp
      >>> sizes = {"a": (3, 3, 1, 2), "b": (3, 3, 2, 2), "c": (5, 2)}
      >>> mask = masks.dense({name: jnp.ones(shape) for name, shape in sizes.items()})
      >>> smart_ratio(mask, keep=21, order=["a", "b", "c"])
      {'a': 9, 'b': 9, 'c': 3}

    References:
      Su et al. 2020, Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot, section
      4.2, and their code.
    """
    shapes = {name: leaf.shape for name, leaf in trees.named(mask).items()}
    if sorted(order) != sorted(shapes):
        raise ValueError(f"`order` must name each of {sorted(shapes)} once; got {list(order)}.")
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    convolutions, weights = _convolutions(mask), {}
    for place, name in enumerate(order, start=1):
        if name in convolutions and sizes[name]:
            layers_left = len(order) - place + 1
            weights[name] = Fraction(layers_left**2 + layers_left, place**2 if damped else 1)
    if not weights:
        raise ValueError("Smart-Ratio is for networks with convolutions; here there is none.")
    part = check_share("linear", linear)
    counts = {name: round(part * sizes[name]) for name in sizes if name not in weights}
    in_matrices = sum(counts.values())
    least, most = smart_ratio_range(mask, linear=linear)
    if not least <= keep <= most:
        raise ValueError(
            f"`keep` must lie in {least}..{most}: matrices keep {in_matrices}; got {keep}."
        )
    counts |= _shared_out({name: sizes[name] for name in weights}, weights, keep - in_matrices)
    return {name: counts[name] for name in shapes}


def smart_ratio_range(mask: masks.Mask, *, linear: float = 0.3) -> tuple[int, int]:
    """Return the least and the most weights that Smart-Ratio can keep of a network.

    Example:
      >>> import jax.numpy as jnp
      >>> mask = {"conv": jnp.ones((3, 3, 1, 2), bool), "dense": jnp.ones((5, 2), bool)}
      >>> smart_ratio_range(mask)
      (4, 21)
    """
    part = check_share("linear", linear)
    sizes = {name: leaf.size for name, leaf in trees.named(mask).items()}
    convolutions = _convolutions(mask)
    in_matrices = sum(
        round(part * size) for name, size in sizes.items() if name not in convolutions
    )
    return in_matrices + 1, in_matrices + sum(sizes[name] for name in convolutions)


def _convolutions(mask: masks.Mask) -> set[str]:
    """Return the names of tensors of more than two axes that are no matrices by their names."""
    views = kernels.views(trees.named(mask), check=False)
    return {
        name
        for name, view in views.items()
        if len(view.of_layer) > 2 and not attention.is_no_convolution(name)
    }


def _shared_out(
    sizes: Mapping[str, int], weights: Mapping[str, Fraction], keep: int
) -> dict[str, int]:
    """Return counts that add up to `keep`, densities as the weights: all, where more than all.

    A tensor without elements keeps 0 and needs no weight.
    """
    keep, size = check_int("keep", keep, 1), sum(sizes.values())
    if keep > size:
        raise ValueError(f"`keep` must be at most the {size} prunable weights; got {keep}.")
    full = {name for name in sizes if not sizes[name]}
    while True:
        rest = keep - sum(sizes[name] for name in full)
        weighted = {name: weights[name] * sizes[name] for name in sizes if name not in full}
        total = sum(weighted.values())
        exact = {name: part * rest / total for name, part in weighted.items()}
        over = {name for name, count in exact.items() if count > sizes[name]}
        if not over:
            break
        full |= over
    counts = {name: sizes[name] if name in full else int(exact[name]) for name in sizes}
    # What rounding down left goes to the largest remainders.
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: keep - sum(counts.values())]:
        counts[name] += 1
    return counts
