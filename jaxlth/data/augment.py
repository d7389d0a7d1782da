"""Augmentation of images on the device, as part of the training step.

An augmentation is a function (images, *, key) of whole batches: uint8 in, uint8 of the same shape
out, before normalisation. What it draws is a function of its key alone; with the key of a step,
training that resumes there sees the images it would have seen.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class ByKey:
    """A function (images, *, key) as an augmentation, of which only the keys are drawn before."""

    function: Callable[..., jax.Array]

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        """Return the key of a step as it is."""
        del count
        return key

    def apply(self, images: jax.Array, draws: jax.Array) -> jax.Array:
        """Return the images as the function changes them."""
        return self.function(images, key=draws)


def none(images: jax.Array, *, key: jax.Array) -> jax.Array:
    """Return the images as they are."""
    del key
    return images


class Draws(NamedTuple):
    """What `FlipCrop` draws for each image."""

    flips: jax.Array  # (n,) bool, whether it is mirrored
    offsets: jax.Array  # (n, 2) int32, row and column of the padded image where the crop begins


@dataclasses.dataclass(frozen=True)
class FlipCrop:
    """Each image mirrored with probability 1/2 and shifted by up to `pad` pixels.

    The shift is a crop of the image's size out of the image with `pad` pixels of 0 on each side:
    all (2 * pad + 1)**2 crops are equally likely. Each image draws for itself. The zeros are those
    of the stored images, thus black, and not the mean colour.

    Training draws for all steps of an epoch at once, which a TPU does sooner.

    Attributes:
      pad: pixels on each side.

    Example:
      >>> images = jnp.ones((2, 8, 8, 3), jnp.uint8)
      >>> FlipCrop()(images, key=jax.random.key(0)).shape
      (2, 8, 8, 3)

    References:
      He et al. 2016, Deep Residual Learning for Image Recognition, section 4.2.
    """

    pad: int = 4

    def __call__(self, images: jax.Array, *, key: jax.Array) -> jax.Array:
        """Return images (n, height, width, channels), changed by the draws of the key of a step."""
        return self.apply(images, self.draw(key, images.shape[0]))

    def draw(self, key: jax.Array, count: int) -> Draws:
        """Return the draws for a batch of so many images."""
        flip_key, crop_key = jax.random.split(key)
        # Types are named, so that the draws are the same in JAX's x64 mode.
        flips = jax.random.bernoulli(flip_key, jnp.float32(0.5), (count,))
        offsets = jax.random.randint(crop_key, (count, 2), 0, 2 * self.pad + 1, jnp.int32)
        return Draws(flips, offsets)

    def apply(self, images: jax.Array, draws: Draws) -> jax.Array:
        """Return images (n, height, width, channels), changed as was drawn for them."""
        count, height, width, channels = images.shape
        # With pixels and channels on one axis a TPU shifts columns in half the time.
        rows = jnp.reshape(images, (count, height, width * channels))
        rows = _shifted(rows, draws.offsets[:, 0], axis=1, pad=self.pad)
        rows = _shifted(rows, draws.offsets[:, 1], axis=2, pad=self.pad, size=channels)
        crops = jnp.reshape(rows, images.shape)
        return jnp.where(draws.flips[:, None, None, None], crops[:, :, ::-1], crops)


def _shifted(
    rows: jax.Array, offsets: jax.Array, *, axis: int, pad: int, size: int = 1
) -> jax.Array:
    """Return each image cut out along one axis, at its own offset, of itself with zeros around.

    Every offset is a slice of all images, of which each image selects one. A TPU would cut image
    after image in a loop, or gather pixel by pixel (`experiments/tpu_speed.py`).

    Args:
      rows: (n, height, width * channels).
      offsets: (n,) in pixels.
      axis: 1 or 2.
      pad: pixels of 0 on each side.
      size: numbers of a pixel along the axis.
    """
    padding = [(pad * size, pad * size) if at == axis else (0, 0) for at in range(rows.ndim)]
    padded, length = jnp.pad(rows, padding), rows.shape[axis]
    offsets = jnp.reshape(offsets, (-1, 1, 1))
    shifted = jax.lax.slice_in_dim(padded, 0, length, axis=axis)
    for offset in range(1, 2 * pad + 1):
        cut = jax.lax.slice_in_dim(padded, offset * size, offset * size + length, axis=axis)
        shifted = jnp.where(offsets == offset, cut, shifted)
    return shifted


FLIP_CROP = "flip-crop"
AUGMENTATIONS: dict[str, Callable[..., jax.Array]] = {"none": none, FLIP_CROP: FlipCrop()}
