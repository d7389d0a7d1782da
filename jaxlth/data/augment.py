"""Augmentation of images on the device, as part of the training step.

An augmentation is a function (images, *, key) of whole batches: uint8 in, uint8 of the same shape
out, before normalisation. What it draws is a function of its key alone; with the key of a step,
training that resumes there sees the images it would have seen.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def none(images: jax.Array, *, key: jax.Array) -> jax.Array:
    """Return the images as they are."""
    del key
    return images


def flip_crop(images: jax.Array, *, key: jax.Array, pad: int = 4) -> jax.Array:
    """Return each image mirrored with probability 1/2 and shifted by up to `pad` pixels.

    The shift is a crop of the image's size out of the image with `pad` pixels of 0 on each side:
    all (2 * pad + 1)**2 crops are equally likely. Each image draws for itself. The zeros are those
    of the stored images, thus black, and not the mean colour.

    Args:
      images: (n, height, width, channels).
      key: of this step.
      pad: pixels on each side.

    Returns:
      Array of the same shape and type.

    Example:
      >>> images = jnp.ones((2, 8, 8, 3), jnp.uint8)
      >>> flip_crop(images, key=jax.random.key(0)).shape
      (2, 8, 8, 3)

    References:
      He et al. 2016, Deep Residual Learning for Image Recognition, section 4.2.
    """
    count, height, width, channels = images.shape
    flip_key, crop_key = jax.random.split(key)
    # Types are named, so that the draws are the same in JAX's x64 mode.
    flips = jax.random.bernoulli(flip_key, jnp.float32(0.5), (count,))
    offsets = jax.random.randint(crop_key, (count, 2), 0, 2 * pad + 1, jnp.int32)
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    # Slices, not a gather of pixels: as fast on CPU, and TPUs copy slices but gather one by one.
    def crop(image: jax.Array, flip: jax.Array, offset: jax.Array) -> jax.Array:
        cut = jax.lax.dynamic_slice(image, (*offset, jnp.int32(0)), (height, width, channels))
        return jnp.where(flip, cut[:, ::-1], cut)

    return jax.vmap(crop)(padded, flips, offsets)


AUGMENTATIONS: dict[str, Callable[..., jax.Array]] = {"none": none, "flip-crop": flip_crop}
