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
    count = images.shape[0]
    flip_key, crop_key = jax.random.split(key)
    # Types are named, so that the draws are the same in JAX's x64 mode.
    flips = jax.random.bernoulli(flip_key, jnp.float32(0.5), (count,))
    offsets = jax.random.randint(crop_key, (count, 2), 0, 2 * pad + 1, jnp.int32)
    rows = _shifted(images, offsets[:, 0], axis=1, pad=pad)
    crops = _shifted(rows, offsets[:, 1], axis=2, pad=pad)
    return jnp.where(flips[:, None, None, None], crops[:, :, ::-1], crops)


def _shifted(images: jax.Array, offsets: jax.Array, *, axis: int, pad: int) -> jax.Array:
    """Return each image cut out along one axis, at its own offset, of itself with zeros around.

    Every offset is a slice of all images, of which each image selects one. A TPU would cut image
    after image in a loop, or gather pixel by pixel (`experiments/tpu_speed.py`).
    """
    padding = [(pad, pad) if at == axis else (0, 0) for at in range(images.ndim)]
    padded, size = jnp.pad(images, padding), images.shape[axis]
    offsets = jnp.reshape(offsets, (-1, 1, 1, 1))
    shifted = jax.lax.slice_in_dim(padded, 0, size, axis=axis)
    for offset in range(1, 2 * pad + 1):
        cut = jax.lax.slice_in_dim(padded, offset, offset + size, axis=axis)
        shifted = jnp.where(offsets == offset, cut, shifted)
    return shifted


FLIP_CROP = "flip-crop"
AUGMENTATIONS: dict[str, Callable[..., jax.Array]] = {"none": none, FLIP_CROP: flip_crop}
