import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlth import masks, prune, scores, trees

PARAMS = {"a": {"kernel": jnp.array([[1.0, -3.0], [0.5, -0.25]])}, "b": [jnp.array([-1.0, 2.0])]}


@pytest.fixture(params=["magnitude", "random"])
def score(request):
    """Return params -> scores."""
    function = scores.SCORES[request.param]
    if "key" in inspect.signature(function).parameters:
        return lambda params: function(params, key=jax.random.key(3))
    return function


def test_scores_are_trees_of_floats_like_the_parameters(score):
    trees.check_same(PARAMS, score(PARAMS))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(score(PARAMS)))


def test_scores_under_jit_and_vmap_equal_a_loop(score):
    stacked = trees.stack([PARAMS, jax.tree.map(jnp.square, PARAMS)])
    mapped = jax.jit(jax.vmap(score))(stacked)
    for params, result in zip(trees.unstack(stacked), trees.unstack(mapped), strict=True):
        jax.tree.map(np.testing.assert_array_equal, score(params), result)


def test_scores_prune_to_the_exact_count(score):
    mask = prune.global_topk(score(PARAMS), masks.dense(PARAMS), keep=3)
    assert int(masks.kept(mask)) == 3


def test_magnitude_is_the_absolute_value():
    jax.tree.map(np.testing.assert_array_equal, scores.magnitude(PARAMS), jax.tree.map(abs, PARAMS))
    whole = scores.magnitude({"w": jnp.array([-128, -1, 127], jnp.int8)})["w"]
    assert whole.tolist() == [128, 1, 127]


def test_random_scores_do_not_depend_on_values_so_weights_never_come_back():
    key = jax.random.key(0)
    other = jax.tree.map(jnp.square, PARAMS)
    first, later = scores.random(PARAMS, key=key), scores.random(other, key=key)
    jax.tree.map(np.testing.assert_array_equal, first, later)
    straight = prune.global_topk(first, masks.dense(PARAMS), keep=1)
    through = prune.global_topk(
        first, prune.global_topk(first, masks.dense(PARAMS), keep=3), keep=1
    )
    jax.tree.map(np.testing.assert_array_equal, straight, through)


def test_random_scores_differ_between_leaves_and_keys():
    params = {"a": jnp.zeros(20), "b": jnp.zeros(20)}
    drawn = scores.random(params, key=jax.random.key(0))
    assert not jnp.array_equal(drawn["a"], drawn["b"])
    assert not jnp.array_equal(drawn["a"], scores.random(params, key=jax.random.key(1))["a"])
