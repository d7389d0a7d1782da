"""Augmentation on the device: what it may change in an image, and what it draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlth import data, keys, settings
from jaxlth.data import augment

KEY = keys.stream(0, 0, "augmentation")


def noise(count=6, shape=(5, 4, 3), seed=0):
    return np.random.default_rng(seed).integers(1, 256, (count, *shape), dtype=np.uint8)


def by_hand(image, flip, offset, *, pad):
    """Return one image cropped at (row, column) of its padded self, then mirrored, in NumPy."""
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    height, width, _ = image.shape
    cut = padded[offset[0] : offset[0] + height, offset[1] : offset[1] + width]
    return cut[:, ::-1] if flip else cut


def every_crop(image, *, pad):
    """Return what may become of an image: (flip, row, column) -> bytes."""
    shifts = range(2 * pad + 1)
    return {
        (flip, row, column): by_hand(image, flip, (row, column), pad=pad).tobytes()
        for flip in (False, True)
        for row in shifts
        for column in shifts
    }


def drawn(image, *, count, pad, key=KEY):
    """Return how often each (flip, row, column) came up for copies of one image."""
    names = {content: choice for choice, content in every_crop(image, pad=pad).items()}
    images = augment.FlipCrop(pad)(np.stack([image] * count), key=key)
    found = dict.fromkeys(names.values(), 0)
    for each in np.asarray(images):
        found[names[each.tobytes()]] += 1
    return found


@pytest.mark.parametrize("name", data.AUGMENTATIONS)
def test_every_augmentation_is_pure_and_keeps_shape_and_type(name):
    change, images = data.AUGMENTATIONS[name], noise()
    once, again = change(images, key=KEY), jax.jit(change)(images, key=KEY)
    assert once.shape == images.shape
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("name", data.AUGMENTATIONS)
def test_every_augmentation_of_replicates_together_is_that_of_each_alone(name):
    change = data.AUGMENTATIONS[name]
    images = noise(8).reshape(2, 4, 5, 4, 3)
    both = jnp.stack([keys.stream(0, replicate, "augmentation") for replicate in range(2)])
    together = jax.jit(jax.vmap(lambda images, key: change(images, key=key)))(images, both)
    for replicate in range(2):
        alone = jax.jit(change)(images[replicate], key=both[replicate])
        np.testing.assert_array_equal(together[replicate], alone)


def test_none_changes_nothing():
    images = noise()
    np.testing.assert_array_equal(augment.none(images, key=KEY), images)


@pytest.mark.parametrize("pad", [0, 1, 4])
def test_each_image_becomes_a_crop_of_itself_padded_with_0(pad):
    images = noise(20, (7, 6, 2))
    for image, found in zip(images, augment.FlipCrop(pad)(images, key=KEY), strict=True):
        assert np.asarray(found).tobytes() in every_crop(image, pad=pad).values()


def test_an_image_of_one_colour_keeps_it_within_a_border_of_0():
    images = np.full((50, 9, 9, 3), 7, np.uint8)
    found = np.asarray(augment.FlipCrop()(images, key=KEY))
    assert set(np.unique(found)) == {0, 7}
    assert (found[:, 4, 4] == 7).all()  # no shift moves the centre out


def test_flips_and_crops_are_equally_likely():
    counts = np.array(list(drawn(noise(shape=(9, 9, 3))[0], count=16_200, pad=4).values()))
    assert counts.size == 162
    chi_square = ((counts - 100.0) ** 2 / 100).sum()
    assert 110 < chi_square < 225  # 161 degrees of freedom: mean 161, deviation 18


def test_half_of_the_images_are_mirrored():
    found = drawn(noise()[0], count=4000, pad=1)
    mirrored = sum(count for (flip, _, _), count in found.items() if flip)
    assert 1900 < mirrored < 2100  # deviation 32


def test_another_key_gives_other_images():
    images = noise(20)
    one, other = (augment.FlipCrop()(images, key=keys.fold(KEY, step)) for step in range(2))
    assert not np.array_equal(one, other)


def test_settings_name_the_closest_augmentation():
    with pytest.raises(ValueError, match=r"`augment` has no value 'flipcrop'.*'flip-crop'"):
        data.DataConfig(augment="flipcrop")


def test_no_augmentation_is_the_default_and_leaves_digests_alone():
    assert data.DataConfig().augment == "none"
    assert "augment" not in settings.changed(data.DataConfig())
    assert settings.changed(data.DataConfig(augment="flip-crop")) == {"augment": "flip-crop"}


@pytest.mark.parametrize("pad", [0, 1, 4])
def test_crops_are_those_that_a_slice_of_each_image_gives(pad):
    images = noise(40, (7, 6, 2))
    flip_key, crop_key = jax.random.split(KEY)
    flips = jax.random.bernoulli(flip_key, 0.5, (40,))
    offsets = np.asarray(jax.random.randint(crop_key, (40, 2), 0, 2 * pad + 1))
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    found = np.asarray(augment.FlipCrop(pad)(images, key=KEY))
    for at, (row, column) in enumerate(offsets):
        crop = padded[at, row : row + 7, column : column + 6]
        np.testing.assert_array_equal(found[at], crop[:, ::-1] if flips[at] else crop)
