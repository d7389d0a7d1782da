"""Kernels of attention in Flax: matrices that are stored with three axes.

Those of "query", "key" and "value" are (inputs, heads, features of a head), that of "out" is
(heads, features of a head, outputs). Each is one matrix (inputs, outputs); its units are those of
all heads. Layers that `nn.scan` or `nn.vmap` stacks have one more axis, the first: a matrix each.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from jaxlth.trees import roles

INTO_HEADS, OUT_OF_HEADS = ("query", "key", "value"), "out"
NOT_CONVOLUTIONS = (*INTO_HEADS, "dense", "linear", "einsum")
KERNELS = ("kernel", "w", "weight")  # of Flax; Haiku; Equinox and PyTorch
STACKED = re.compile(r"(Scan|Vmap)[A-Z]\w*_\d+$")  # names that `nn.scan` and `nn.vmap` give


def matrices(
    leaves: Mapping[str, Any], axes: roles.Axes | None = None, *, by_place: bool = True
) -> dict[str, tuple[int, ...]]:
    """Return (inputs, outputs) of each kernel of attention, by name; of stacked ones (layers, ...).

    A convolution (width, inputs, outputs) may be called "query" as well. Two kernels of one
    attention have the same layers, heads and features, which tells them apart.

    Args:
      leaves: arrays by name.
      axes: of the inputs and the outputs, if given; those of `roles.OUT_IN` are never attention.
      by_place: whether the places of a convolution's axes matter, not their lengths alone.

    Raises:
      ValueError: no axes are given, and those of a kernel follow neither from its name nor from
        shapes.

    Example:
      >>> matrices({"a/query/kernel": np.ones((6, 2, 3)), "a/out/kernel": np.ones((2, 3, 5))})
      {'a/query/kernel': (6, 6), 'a/out/kernel': (6, 5)}
    """
    if axes not in (None, roles.IN_OUT):
        return {}
    shapes = {name: np.shape(leaf) for name, leaf in leaves.items() if np.ndim(leaf) >= 3}
    attentions: dict[str, dict[str, str]] = {}  # {name of the module: {its part: name of a leaf}}
    for name in shapes:
        module, part = _place(name)
        if part in (*INTO_HEADS, OUT_OF_HEADS):
            attentions.setdefault(module, {})[part] = name
    attentions = {module: parts for module, parts in attentions.items() if len(parts) > 1}
    told = {name for parts in attentions.values() for name in parts.values()}
    if axes is None:
        _check_known(shapes, told, by_place)
    return {
        name: _matrix(shapes[name], part)
        for parts in attentions.values()
        if _is_attention({part: shapes[name] for part, name in parts.items()})
        for part, name in parts.items()
    }


def is_no_convolution(name: str) -> bool:
    """Return whether a kernel is of no convolution by the name of its layer.

    Example:
      >>> is_no_convolution("DenseGeneral_0/kernel"), is_no_convolution("query_conv/kernel")
      (True, False)
    """
    _, layer = _place(name, KERNELS)
    words = roles.words(layer)
    is_other = any(word.endswith(NOT_CONVOLUTIONS) for word in words)
    return is_other and not any(word.endswith("conv") for word in words)


def _place(name: str, kernels: Collection[str] = ("kernel",)) -> tuple[str, str]:
    """Return the module around a kernel's layer, and the layer; "" for other leaves."""
    *module, layer, last = ["", "", *roles.unboxed(name).split("/")]
    return "/".join(module), layer if last in kernels else ""


def _is_attention(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether kernels of these shapes, by part, are those of one attention."""
    if len({shape[:-3] for shape in shapes.values()}) > 1:  # other layers, or more axes of them
        return False
    is_square = any(len(shape) > 3 and shape[-4] == shape[-3] for shape in shapes.values())
    if is_square and OUT_OF_HEADS not in shapes:  # convolutions of images, most likely
        return False
    return _agree({part: _heads(shape[-3:], part) for part, shape in shapes.items()})


def _heads(shape: tuple[int, ...], part: str) -> tuple[int, ...]:
    return shape[:2] if part == OUT_OF_HEADS else shape[1:]


def _agree(heads: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether (heads, features) are those of one attention; keys may have fewer heads."""
    pairs = (("query", OUT_OF_HEADS), ("key", "value"))
    same_heads = all(heads[a] == heads[b] for a, b in pairs if a in heads and b in heads)
    return same_heads and len({features for _, features in heads.values()}) == 1


def _matrix(shape: tuple[int, ...], part: str) -> tuple[int, ...]:
    first = -1 if part == OUT_OF_HEADS else -2
    return *shape[:-3], math.prod(shape[-3:first]), math.prod(shape[first:])


def _check_known(shapes: Mapping[str, tuple[int, ...]], told: set[str], by_place: bool) -> None:
    """Raise if a kernel of three axes or more is of no plain convolution, nor of attention."""
    for name, shape in shapes.items():
        reason = None if name in told else _unknown(name, shape, by_place)
        if reason is not None:
            raise ValueError(
                f"Where the inputs and the outputs of {name!r} lie does not follow from its shape "
                f"{shape}: {reason}. Give `axes`, such as `masks.IN_OUT` for (..., inputs, "
                "outputs), or split layers that are stacked."
            )


def _unknown(name: str, shape: tuple[int, ...], by_place: bool) -> str | None:
    """Return why a kernel is not read as a convolution, or None if it is."""
    *modules, layer, last = ["", *roles.unboxed(name).split("/")]
    if is_no_convolution(name):
        return (
            "it is by its name no convolution, and without others of one attention "
            '("query", "key", "value", "out")'
        )
    if roles.role(name) not in (None, "kernel"):
        return None
    if any(STACKED.match(module) for module in (*modules, layer)):
        return "by their names `nn.scan` or `nn.vmap` stacks its layers"
    if by_place and last == "w" and "transpose" in roles.words(layer):
        return "Haiku's transposed convolutions have their outputs first, (..., outputs, inputs)"
    if by_place and len(shape) > 4:
        return "a convolution of volumes has as many axes as stacked ones of images"
    return None
