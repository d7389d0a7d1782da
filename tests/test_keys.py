import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlth import keys


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_streams_of_other_seed_replicate_or_purpose_differ():
    purposes = ["initialisation", "order", "shuffled"]
    grid = itertools.product([0, 1, 2**32 - 1], range(4), purposes)
    streams = [bits(keys.stream(*place)) for place in grid]
    assert len(set(streams)) == len(streams)


def test_a_stream_is_the_same_in_every_process():
    assert bits(keys.stream(3, 1, "order")) == (2075811707, 3081661609)


def test_a_stream_does_not_depend_on_the_default_generator():
    with jax.default_prng_impl("rbg"):
        other = bits(keys.stream(3, 1, "order"))
    assert other == bits(keys.stream(3, 1, "order"))


def test_a_traced_replicate_gives_the_stream_it_gives_alone():
    stacked = jax.jit(jax.vmap(lambda replicate: keys.stream(7, replicate, "order")))(jnp.arange(3))
    assert [bits(key) for key in stacked] == [bits(keys.stream(7, i, "order")) for i in range(3)]


def test_fold_takes_numbers_in_order():
    key = jax.random.key(0)
    assert bits(keys.fold(key)) == bits(key)
    assert bits(keys.fold(key, 1, 2)) == bits(keys.fold(keys.fold(key, 1), 2))
    assert bits(keys.fold(key, 1, 2)) != bits(keys.fold(key, 2, 1))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_outside_its_range_is_refused(seed):
    with pytest.raises(ValueError, match=rf"`seed` must lie in 0..4294967295; got {seed}"):
        keys.stream(seed, 0, "order")


def test_a_negative_replicate_and_a_fractional_seed_are_refused():
    with pytest.raises(ValueError, match="`replicate` must be at least 0; got -1"):
        keys.stream(0, -1, "order")
    with pytest.raises(TypeError):
        keys.stream(0.5, 0, "order")


def test_each_leaf_draws_from_a_stream_of_its_own():
    draws = keys.uniform({"a": np.ones(50), "b": np.ones(50), "c": None}, key=jax.random.key(1))
    assert draws["c"] is None
    assert draws["a"].dtype == np.float32
    assert not set(draws["a"].tolist()) & set(draws["b"].tolist())
    assert all(0 <= float(leaf.min()) <= float(leaf.max()) < 1 for leaf in jax.tree.leaves(draws))


@pytest.mark.parametrize("partitionable", [True, False])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_draws_under_jit_are_those_of_each_leaf_alone_and_keys_share_a_program(impl, partitionable):
    tree = {"a": np.ones((7, 3)), "b": np.ones(()), "c": np.ones((0, 2)), "d": np.ones((4, 5, 2))}
    with jax.threefry_partitionable(partitionable):
        key = jax.random.key(5, impl=impl)
        expected = [
            jax.random.uniform(jax.random.fold_in(key, place), leaf.shape)
            for place, leaf in enumerate(tree.values())
        ]
        jitted = jax.jit(lambda key: keys.uniform(tree, key=key))(key)
    for leaf, draws in zip(jitted.values(), expected, strict=True):
        np.testing.assert_array_equal(leaf, draws, strict=True)
    if impl == "threefry2x32":  # each is compiled anew
        program = str(jax.make_jaxpr(lambda key: keys.uniform(tree, key=key))(key))
        assert program.count("random_fold_in") == 1
