"""Convolution as networks call it, by another way where XLA's on CPU is far slower than it need be.

XLA multiplies number by number on CPU where an image is smaller than the kernel. In the last three
layers of a VGG-16 for CIFAR, 2x2 pixels under a 3x3 kernel, that took 60 times as long as one
product of matrices, and three quarters of a training step (`experiments/cifar_speed.py`).
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def convolve(
    images: jax.Array,
    kernel: jax.Array,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """Return the result of `jax.lax.conv_general_dilated` for the same arguments.

    Args:
      images: (n, height, width, channels in).
      kernel: (height, width, channels in, channels out).
      window_strides: vertical and horizontal.
      padding: pixels above and below, left and right.
      **options: what else `conv_general_dilated` takes; `dimension_numbers` of the shapes above.

    Returns:
      (n, height out, width out, channels out).
    """

    def usual(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(images, kernel, window_strides, padding, **options)

    def product(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return _product(images, kernel, window_strides, padding, options.get("precision"))

    small = any(
        image < size for image, size in zip(images.shape[1:3], kernel.shape[:2], strict=True)
    )
    if not small or not _is_plain(options) or 0 in jax.eval_shape(usual, images, kernel).shape:
        return usual(images, kernel)
    return jax.lax.platform_dependent(images, kernel, cpu=product, default=usual)


def _is_plain(options: Mapping[str, Any]) -> bool:
    """Return whether arguments of a convolution ask for neither dilation, groups nor a type."""
    dilations = [options.get(name) or (1, 1) for name in ("lhs_dilation", "rhs_dilation")]
    counts = [options.get(f"{kind}_group_count", 1) for kind in ("feature", "batch")]
    return (
        all(tuple(dilation) == (1, 1) for dilation in dilations)
        and counts == [1, 1]
        and options.get("preferred_element_type") is None
    )


def _product(
    images: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    precision: Any,
) -> jax.Array:
    """Return the convolution as one product: all pixels under the kernel, times the kernel."""
    padded = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    height, width = (
        (side - size) // stride * stride + 1
        for side, size, stride in zip(padded.shape[1:3], kernel.shape[:2], strides, strict=True)
    )
    places = itertools.product(range(kernel.shape[0]), range(kernel.shape[1]))
    patches = [
        padded[:, top : top + height : strides[0], left : left + width : strides[1]]
        for top, left in places
    ]
    columns = kernel.reshape(-1, kernel.shape[-1])
    return jnp.matmul(jnp.concatenate(patches, axis=-1), columns, precision=precision)
