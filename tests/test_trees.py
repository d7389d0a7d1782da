import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlth import trees

Layer = collections.namedtuple("Layer", ["weights", "bias"])


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        ({"b": 1.0, "a": {"kernel": 2.0}}, ["a/kernel", "b"]),
        ([Layer(1.0, None), Layer(2.0, 3.0)], ["0/weights", "1/weights", "1/bias"]),
        ((1.0, {"x": 2.0}), ["0", "1/x"]),
        ({"layer": None}, []),
        ({}, []),
    ],
)
def test_names_follow_the_order_of_leaves_and_skip_none(tree, names):
    assert trees.names(tree) == names
    assert list(trees.named(tree).values()) == jax.tree.leaves(tree)


def test_two_leaves_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two leaves of one name"):
        trees.names({"a": {"b": 1.0}, "a/b": 2.0})


def test_size_counts_elements_of_any_kind_of_leaf():
    assert trees.size({"a": np.ones((2, 3)), "b": jnp.ones(()), "c": 1.0, "d": None}) == 8


def test_trees_of_the_same_shapes_pass():
    trees.check_same({"a": np.ones((2, 3)), "b": None}, {"a": jnp.zeros((2, 3)), "b": None})


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (
            {"x": np.ones(2)},
            {"x": np.ones(3)},
            r"'x' has shape \(2,\) in `old` but \(3,\) in `new`",
        ),
        ({"x": 1.0, "y": 1.0}, {"x": 1.0}, "`old` has a leaf 'y' that `new` lacks"),
        ({"x": 1.0}, {"x": 1.0, "y": 1.0}, "`new` has a leaf 'y' that `old` lacks"),
        ({"x": 1.0, "y": None}, {"x": 1.0, "y": 1.0}, "`new` has a leaf 'y' that `old` lacks"),
        ([1.0], (1.0,), "differ in their containers"),
    ],
)
def test_trees_that_differ_name_the_first_leaf(a, b, message):
    with pytest.raises(ValueError, match=message):
        trees.check_same(a, b, a_name="old", b_name="new")


def test_unstack_undoes_stack():
    parts = [{"a": np.full((2, 3), i), "b": [np.float32(i)], "c": None} for i in range(4)]
    stacked = trees.stack(parts)
    assert stacked["a"].shape == (4, 2, 3)
    for part, again in zip(parts, trees.unstack(stacked), strict=True):
        trees.check_same(part, again)
        np.testing.assert_array_equal(part["a"], again["a"])
        assert part["b"][0] == again["b"][0]


def test_stack_and_unstack_refuse_what_has_no_common_axis():
    with pytest.raises(ValueError, match="at least one tree"):
        trees.stack([])
    with pytest.raises(ValueError, match=r"in `trees\[0\]` but \(3,\) in `trees\[2\]`"):
        trees.stack([{"a": np.ones(2)}, {"a": np.ones(2)}, {"a": np.ones(3)}])
    with pytest.raises(ValueError, match=r"one length in all leaves; got 'a': \(2,\), 'b': \(3,\)"):
        trees.unstack({"a": np.ones((2, 1)), "b": np.ones(3)})
    with pytest.raises(ValueError, match="leading axis"):
        trees.unstack({"a": np.float32(1)})


def test_containers_are_told_apart_by_the_first_leaf_within():
    same = {"a": [1.0, None], "b": Layer(1.0, None)}
    trees.check_containers(same, {"a": [None, 2.0], "b": Layer(None, None)})
    with pytest.raises(ValueError, match="leaf 'b/weights' is a Layer in `old` but a tuple in `n"):
        trees.check_containers(same, same | {"b": (1.0, None)}, a_name="old", b_name="new")
    with pytest.raises(ValueError, match="leaf 'a/1' is a leaf in `old` but a list in `new`"):
        trees.check_containers(same, same | {"a": [1.0, [2.0]]}, a_name="old", b_name="new")
    with pytest.raises(ValueError, match="is a dict in both, with other keys or other static fie"):
        trees.check_containers({"a": {"x": 1.0}}, {"a": {"y": 1.0}})


def test_trees_to_stack_in_other_containers_name_the_leaf():
    with pytest.raises(ValueError, match=r"'a/0' is a list in `trees\[0\]` but a tuple in `trees"):
        trees.stack([{"a": [1.0]}, {"a": (1.0,)}])


def test_nodes_are_the_containers_on_a_path():
    tree = {"a": [Layer(1.0, 2.0)]}
    ((path, _), _) = jax.tree_util.tree_leaves_with_path(tree)
    assert trees.nodes(tree, path) == [tree, tree["a"], tree["a"][0]]
