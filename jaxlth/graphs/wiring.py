"""Wiring: which kernels lead from which units to which.

A network is layers of units: layer 0 the inputs, the last one the outputs. A unit is a neuron or,
in a convolutional network, a channel. A wiring says of each layer beyond the inputs what leads to
it: kernels, or units themselves where a residual sum adds them. What adds up comes before the
activation of the sum, so that the convolution of a block and its shortcut lead to one layer.

Pooling and means over pixels change no channel and are not named. Neither is flattening: a dense
kernel of height * width * channels inputs, in that order, has that many weights for each channel.
Layers side by side are what a concatenation has. The wiring of each network of the library is
`models.wiring`; that of a plain chain follows from its shapes.
"""

import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxlth import masks, trees


class Incoming(NamedTuple):
    """One thing that leads to a layer; as good is a plain tuple of the same."""

    sources: tuple[int, ...]  # the layers that it reads, side by side; all earlier ones
    kernel: str | None = None  # name of its leaf; None: a unit leads to the one of its number
    norm: str | None = None  # name of the batch norm behind it, whose leaves are scale and bias
    padded: bool = True  # whether a convolution of several pixels has zeros around images
    epsilon: float = 1e-5  # what its batch norm adds to variances


Wiring: TypeAlias = Sequence[Sequence[tuple[tuple[int, ...], str | None, str | None, bool, float]]]
Checked: TypeAlias = tuple[tuple[Incoming, ...], ...]


def kernels(wiring: Wiring) -> list[str]:
    """Return the names of a network's kernels, in the order of `Categories.weights`.

    Example:
      >>> kernels([[Incoming((0,), "in")], [Incoming((1,), "out"), Incoming((1,))]])
      ['in', 'out']
    """
    names = [Incoming(*part).kernel for incoming in wiring for part in incoming]
    return [name for name in names if name is not None]


def checked(params: Any, mask: masks.Mask, wiring: Wiring | None) -> Checked:
    """Return a wiring that fits parameters, that of a chain if there is none.

    Raises:
      ValueError: it does not fit, or the network is no plain chain.
    """
    masks.check(params, mask, name="params")
    leaves, prunable = trees.named(params), list(trees.named(mask))
    if wiring is None:
        return _chain(leaves, prunable)
    parts = tuple(tuple(Incoming(*part) for part in incoming) for incoming in wiring)
    _check_order(parts)
    names = kernels(parts)
    for name in [*prunable, *names]:
        if name not in leaves:
            raise ValueError(f"`wiring` has the kernel {name!r}, which `params` lack.")
        if names.count(name) != 1:
            raise ValueError(
                f"`wiring` must have each prunable kernel once; it has {name!r} "
                f"{names.count(name)} times."
            )
    widths(params, parts)
    return parts


def widths(params: Any, wiring: Wiring) -> tuple[int, ...]:
    """Return the number of units of each layer, inputs first.

    Args:
      params: parameters, or their shapes.
      wiring: of their network.

    Raises:
      ValueError: shapes do not fit the wiring.

    Example:
      >>> params = {"in": np.ones((3, 3, 1, 4)), "out": np.ones((4, 2))}
      >>> widths(params, [[Incoming((0,), "in")], [Incoming((1,), "out")]])
      (1, 4, 2)
    """
    shapes = {name: np.shape(leaf) for name, leaf in trees.named(params).items()}
    layers = [[Incoming(*part) for part in incoming] for incoming in wiring]
    for name in kernels(wiring):
        if len(shapes[name]) not in (2, 4):
            raise ValueError(f"{name!r} has {len(shapes[name])} dimensions; a kernel has 2 or 4.")
        _check_units(name, shapes[name])
    first = [
        shapes[part.kernel][-2]
        for layer in layers
        for part in layer
        if part.kernel and not any(part[0])
    ]
    if not first:
        raise ValueError("`wiring` must have a kernel that leads from layer 0 alone, the inputs.")
    sizes = [min(first)]
    for number, layer in enumerate(layers, 1):
        for part in layer:
            inputs = sum(sizes[source] for source in part.sources)
            units = shapes[part.kernel][-1] if part.kernel else inputs
            if part.kernel and not _fits(shapes[part.kernel], inputs):
                raise ValueError(
                    f"{part.kernel!r} of shape {shapes[part.kernel]} does not lead from the "
                    f"{inputs} units of layers {part.sources}."
                )
            if len(sizes) == number:
                sizes.append(units)
            elif sizes[number] != units:
                raise ValueError(
                    f"Layer {number} of `wiring` has {sizes[number]} units, but "
                    f"{part.kernel or f'layers {part.sources}'!r} leads to {units}."
                )
    return tuple(sizes)


def _check_units(name: str, shape: tuple[int, ...]) -> None:
    """Raise if a kernel leads from no unit or to none."""
    if 0 in shape:
        raise ValueError(
            f"A kernel must lead from at least one unit to at least one; {name!r} is {shape}."
        )


def _fits(shape: tuple[int, ...], inputs: int) -> bool:
    """Return whether a kernel can read so many units: a dense one perhaps each at many pixels."""
    return shape[-2] == inputs or (len(shape) == 2 and shape[0] % inputs == 0)


def _check_order(wiring: Checked) -> None:
    """Raise unless something leads to every layer, and only from earlier ones."""
    for number, incoming in enumerate(wiring, 1):
        if not incoming or not all(part.sources for part in incoming):
            raise ValueError(f"Nothing leads to layer {number} of `wiring`.")
        for source in (source for part in incoming for source in part.sources):
            if not 0 <= source < number:
                raise ValueError(
                    f"Layer {number} of `wiring` must come after those that lead to it, of "
                    f"0..{number - 1}; got {source}."
                )


def _chain(leaves: dict[str, Any], prunable: list[str]) -> Checked:
    """Return the wiring of kernels that follow each other in the order of their names."""
    dimensions = {name: np.ndim(leaf) for name, leaf in leaves.items()}
    for name, leaf in leaves.items():
        is_layer = name in prunable or (dimensions[name] > 2 and masks.is_kernel(name, leaf))
        if is_layer and dimensions[name] not in (2, 4):
            raise ValueError(
                f"The network is not feed-forward: {name!r} has {dimensions[name]} dimensions "
                "where a dense kernel has 2 and one of a convolution 4."
            )
    names = sorted((name for name in leaves if dimensions[name] in (2, 4)), key=_natural)
    if not names:
        raise ValueError("`params` have no kernel, a leaf of two dimensions.")
    if any(dimensions[name] == 4 for name in names):
        _check_plain(names, leaves)
    for name in names:
        _check_units(name, np.shape(leaves[name]))
    for before, after in itertools.pairwise(names):
        units, inputs = np.shape(leaves[before])[-1], np.shape(leaves[after])[-2]
        flat = dimensions[before] == 4 and dimensions[after] == 2 and inputs % units == 0
        if (units != inputs or dimensions[before] < dimensions[after]) and not flat:
            raise ValueError(
                f"The network is not feed-forward: {before!r} has {units} units but {after!r} has "
                f"{inputs} inputs. `wiring` can say what leads where, `axes` where the inputs and "
                "the outputs of kernels lie."
            )
    return tuple((Incoming((place,), name),) for place, name in enumerate(names))


def _check_plain(names: list[str], leaves: dict[str, Any]) -> None:
    """Raise if there is more than kernels and biases: shapes do not say where it belongs."""
    biases = {bias_of(name, leaves) for name in names}
    others = [name for name in leaves if name not in names and name not in biases]
    if others:
        raise ValueError(
            f"What leads where in this network does not follow from shapes: {others[0]!r} is "
            "neither a kernel nor its bias. Give its `wiring`, such as `models.wiring` returns."
        )


def bias_of(name: str, leaves: dict[str, Any]) -> str | None:
    """Return the name of the one leaf beside a kernel that has a number for each unit."""
    above = name.rpartition("/")[0]
    units = np.shape(leaves[name])[-1]
    candidates = [
        candidate
        for candidate, leaf in leaves.items()
        if above and candidate.rpartition("/")[0] == above and np.shape(leaf) == (units,)
    ]
    return candidates[0] if len(candidates) == 1 else None


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key by which names sort as people count.

    Example:
      >>> sorted(["Dense_10", "Dense_2", "out"], key=_natural)
      ['Dense_2', 'Dense_10', 'out']
    """
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
