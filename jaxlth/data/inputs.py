"""From stored images to the inputs of a network, on the device."""

import jax
import jax.numpy as jnp


def normalize(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Return images with mean 0 and standard deviation 1 over the training set, per channel.

    Args:
      images: (..., channels) in the units of `mean`; uint8 as they are stored.
      mean: (channels,) of the training images.
      std: (channels,) likewise; a channel with 0 is constant and is only centred.

    Returns:
      (..., channels) float32.

    Example:
      >>> images = jnp.array([[1], [5]], jnp.uint8)
      >>> normalize(images, jnp.array([3.0]), jnp.array([2.0])).tolist()
      [[-1.0], [1.0]]
    """
    return (images.astype(jnp.float32) - mean) / jnp.where(std == 0, 1, std)


def unit_norm(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Return each image divided by its Euclidean norm; an image of zeros stays as it is.

    Args:
      images: (n, height, width, channels).
      mean: not used; here so that all normalisations are called alike.
      std: not used.

    Returns:
      (n, height, width, channels) float32.

    Example:
      >>> unit_norm(jnp.array([[[[3], [4]]]], jnp.uint8), None, None).ravel().tolist()
      [0.6000000238418579, 0.800000011920929]

    References:
      Frankle & Carbin 2019: their published code for MNIST normalises so.
    """
    del mean, std
    images = images.astype(jnp.float32)
    norm = jnp.sqrt(jnp.sum(images**2, axis=(1, 2, 3), keepdims=True))
    return images / jnp.where(norm == 0, 1, norm)


NORMALIZERS = {"statistics": normalize, "unit-norm": unit_norm}
