"""Examples as rows on the device."""

import jax
import numpy as np
import pytest

from jaxlth import data
from jaxlth.data import packing


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


TREES = {
    "images": noise(6, 4, 3, 2),
    "tokens": noise(6, 5, dtype=np.int32),
    "numbers": noise(6, dtype=np.float32),
    "a tree": {"image": noise(6, 4, 3, 2), "sentence": noise(6, 5, dtype=np.int32)},
}


@pytest.mark.parametrize("name", TREES)
def test_unpacked_inputs_are_those_that_were_packed(name):
    inputs = TREES[name]
    jax.tree.map(np.testing.assert_array_equal, packing.unpack(packing.pack(inputs)), inputs)


@pytest.mark.parametrize("name", TREES)
def test_packed_inputs_are_rows_and_nothing_is_copied(name):
    for leaf, row in zip(
        *map(jax.tree.leaves, (TREES[name], packing.pack(TREES[name]))), strict=True
    ):
        assert row.ndim <= 2
        assert np.shares_memory(leaf, row)


def test_examples_taken_of_packed_inputs_are_those_of_the_inputs():
    inputs, rows = TREES["a tree"], np.array([4, 1])
    taken = jax.tree.map(lambda array: array[rows], packing.pack(inputs))
    expected = jax.tree.map(lambda array: array[rows], inputs)
    jax.tree.map(np.testing.assert_array_equal, packing.unpack(taken), expected)


def test_every_split_of_a_data_set_is_packed():
    _, dataset = data.load(data.DataConfig(name="digits", validation=0.1), seed=0)
    packed = packing.pack_dataset(dataset)
    for split in (packed.train, packed.validation, packed.test):
        assert split.images.array.shape == (len(split.labels), 64)
