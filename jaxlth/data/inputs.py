"""From stored images to the inputs of a network, on the device."""

from typing import Any

import jax
import jax.numpy as jnp


def normalize(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Return images with mean 0 and standard deviation 1 over the training set.

    Args:
      images: (..., channels) in the units of `mean`; uint8 as they are stored.
      mean: (channels,) of the training images, or of the shape of an image.
      std: likewise; a channel, or pixel, with 0 is constant and is only centred.

    Returns:
      (..., channels) float32.

    Example:
      >>> images = jnp.array([[1], [5]], jnp.uint8)
      >>> normalize(images, jnp.array([3.0]), jnp.array([2.0])).tolist()
      [[-1.0], [1.0]]
    """
    images = images.astype(jnp.float32)
    mean, std = (_beside(images, statistic) for statistic in (mean, std))
    return (images - mean) / jnp.where(std == 0, 1, std)


def unit_norm(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Return each image divided by its Euclidean norm; an image of zeros stays as it is.

    Args:
      images: (n, ...), such as (n, height, width, channels).
      mean: not used; here so that all normalisations are called alike.
      std: not used.

    Returns:
      Array of the same shape, float32.

    Example:
      >>> unit_norm(jnp.array([[[[3], [4]]]], jnp.uint8), None, None).ravel().tolist()
      [0.6000000238418579, 0.800000011920929]

    References:
      Frankle & Carbin 2019: their published code for MNIST normalises so.
    """
    del mean, std
    images = images.astype(jnp.float32)
    norm = jnp.sqrt(jnp.sum(images**2, axis=tuple(range(1, images.ndim)), keepdims=True))
    return images / jnp.where(norm == 0, 1, norm)


def unit_range(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Return images with their 0..255 brought to [0, 1], as many PyTorch programs show them.

    Args:
      images: (n, height, width, channels), in 0..255.
      mean: not used; here so that all normalisations are called alike.
      std: not used.

    Returns:
      (n, height, width, channels) float32.

    Example:
      >>> unit_range(jnp.array([[[[0], [255]]]], jnp.uint8), None, None).ravel().tolist()
      [0.0, 1.0]
    """
    del mean, std
    return images.astype(jnp.float32) / 255


def none(images: Any, mean: jax.Array, std: jax.Array) -> Any:
    """Return inputs as they are: of any kind, such as token ids, or a tree of several arrays."""
    del mean, std
    return images


def _beside(images: jax.Array, statistic: jax.Array) -> jax.Array:
    """Return a statistic in float32, with as many dimensions as the images have."""
    statistic = jnp.asarray(statistic, jnp.float32)
    return jnp.expand_dims(statistic, tuple(range(images.ndim - statistic.ndim)))


NONE = "none"
PER_PIXEL = "per-pixel"  # what is measured of the training images differs, not what is done by it
NORMALIZERS = {
    "statistics": normalize,
    PER_PIXEL: normalize,
    "unit-norm": unit_norm,
    "unit-range": unit_range,
    NONE: none,
}
