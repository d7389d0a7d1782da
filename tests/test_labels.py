"""Labels that are no class, refused where their values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlth import masks, scores
from jaxlth.scores import labels
from jaxlth.training import losses


@pytest.mark.parametrize("values", [[0, 1, 2], [], [[0, 2], [1, 1]], jnp.array([2])])
def test_labels_of_the_classes_pass(values):
    labels.check(values, 3)


@pytest.mark.parametrize(("values", "label"), [([0, 3], 3), ([-1], -1), ([[0, 1], [255, 9]], 255)])
def test_the_first_label_outside_is_named_with_the_classes(values, label):
    for kind in (np.asarray, jnp.asarray):
        with pytest.raises(
            ValueError, match=rf"`y` must lie in 0\.\.2, .* 3 classes; .* {label}\."
        ):
            labels.check(kind(values), 3, argument="y")


@pytest.mark.parametrize("score", ["snip", "grasp", "fisher"])
@pytest.mark.parametrize("label", [2**40, -(2**40), 2**63])
def test_labels_beyond_32_bits_are_not_taken_for_others(score, label):
    params = {"w": jnp.ones((3, 2))}
    batch = np.ones((2, 3), np.float32), np.array([0, label], np.uint64 if label > 0 else np.int64)
    with pytest.raises(ValueError, match=f"must fit into u?int32; got the label {label}"):
        getattr(scores, score)(lambda p, x: x @ p["w"], params, masks.dense(params), batch)


@pytest.mark.parametrize("values", [["a", "b"], [None, 1], None])
def test_labels_that_are_no_numbers_are_refused_with_their_type(values):
    with pytest.raises(ValueError, match=r"`batch\[1\]` must be numbers; got an array of "):
        labels.as_array(values)


def test_values_unknown_under_jit_and_vmap_pass():
    def checked(label):
        labels.check(label, 3)
        return label

    assert jax.jit(checked)(7) == 7
    assert jax.vmap(checked)(jnp.array([7])).tolist() == [7]


@pytest.mark.parametrize(
    ("given", "tasks", "classes"),
    [
        ([0, 3], (), 3),
        ([0, -1], (3,), 3),
        ([[0, 0], [1, 2]], (2, 1), 2),  # a task of one output has two classes
        ([[2, 0], [1, 1]], (2, 1), 2),
    ],
)
def test_losses_refuse_labels_that_are_no_class(given, tasks, classes):
    with pytest.raises(ValueError, match=f"one of {classes} classes; got the label"):
        losses.objective(tasks=tasks).per_example(jnp.zeros((2, 3)), np.array(given))
    jax.jit(losses.objective(tasks=tasks).per_example)(jnp.zeros((2, 3)), np.array(given))
