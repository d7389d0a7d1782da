"""Zhou's criteria, and how many weights each layer keeps before any is scored."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlth import keys, masks, models, prune, scores, trees
from jaxlth.models import ModelConfig
from jaxlth.scores import criteria
from jaxlth.studies import score_pruning

INITIAL, FINAL = {"w": jnp.array([1.0, -2.0, 0.5])}, {"w": jnp.array([-3.0, -1.0, 0.75])}
WANTED = {
    "large-final": [3.0, 1.0, 0.75],
    "small-final": [-3.0, -1.0, -0.75],
    "large-initial": [1.0, 2.0, 0.5],
    "small-initial": [-1.0, -2.0, -0.5],
    "large-initial-large-final": [1.0, 1.0, 0.5],
    "small-initial-small-final": [-3.0, -2.0, -0.75],
    "magnitude-increase": [2.0, -1.0, 0.25],
    "movement": [4.0, 1.0, 0.25],
    "large-final-same-sign": [-math.inf, 1.0, 0.75],
    "large-final-diff-sign": [3.0, -math.inf, -math.inf],
    "magnitude-increase-same-sign": [-math.inf, -1.0, 0.25],
    "magnitude-increase-diff-sign": [2.0, -math.inf, -math.inf],
}


@pytest.mark.parametrize("name", criteria.CRITERIA)
def test_criteria_are_those_of_the_paper(name):
    result = criteria.CRITERIA[name](INITIAL, FINAL)
    assert result["w"].tolist() == WANTED[name]
    kept = criteria.same_sign(result, INITIAL, FINAL)["w"].tolist()
    assert kept == [-math.inf, *WANTED[name][1:]]


def test_final_magnitudes_can_be_weighed():
    both = criteria.large_initial_large_final(INITIAL, FINAL, alpha=0.5)
    assert both["w"].tolist() == [1.0, 0.5, 0.375]
    both = criteria.small_initial_small_final(INITIAL, FINAL, alpha=0.5)
    assert both["w"].tolist() == [-1.5, -2.0, -0.5]


@functools.cache
def conv_net():
    """Return random parameters of the shapes of ResNet-20."""
    model = models.build(ModelConfig(name="resnet-20"), shape=(32, 32, 3), classes=10)
    network = jax.eval_shape(model.init, keys.stream(0, 0, "initialization"))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), network.params)


@pytest.mark.parametrize("keep", [270_896, 135_448, 27_090, 1_355, 22])
@pytest.mark.parametrize("kernel", [True, False])
def test_erdos_renyi_counts_add_up_and_densities_are_as_the_formula_says(keep, kernel):
    mask = masks.dense(conv_net())
    shapes = {name: leaf.shape for name, leaf in trees.named(mask).items()}
    counts = prune.erdos_renyi(mask, keep=keep, kernel=kernel)
    assert sum(counts.values()) == keep
    sparse = [name for name, count in counts.items() if count < math.prod(shapes[name])]
    shares = {
        name: sum(used) / math.prod(used)
        for name, shape in shapes.items()
        for used in [shape if kernel else shape[-2:]]
    }
    left = keep - sum(counts[name] for name in counts if name not in sparse)
    parts = {name: shares[name] * math.prod(shapes[name]) for name in sparse}
    for name in sparse:
        assert abs(counts[name] - left * parts[name] / sum(parts.values())) < 1
    for name in set(counts) - set(sparse):  # dense because its share would be more than all
        factor = left / sum(parts.values()) if parts else math.inf
        assert shares[name] * factor >= 1
    pruned = prune.layerwise_topk(scores.magnitude(conv_net()), mask, keep=counts)
    assert masks.kept(pruned) == keep


def test_erdos_renyi_counts_of_a_network_worked_out_by_hand():
    mask = masks.dense({"a": jnp.ones((10, 10)), "b": jnp.ones((2, 2)), "c": jnp.ones((10, 5))})
    # Parts 20, 4 and 15 of 39: of 39 weights each its part; of 60, b is dense and 20:15 share 56.
    assert prune.erdos_renyi(mask, keep=39) == {"a": 20, "b": 4, "c": 15}
    assert prune.erdos_renyi(mask, keep=60) == {"a": 32, "b": 4, "c": 24}


def test_counts_that_cannot_be_are_refused():
    mask = masks.dense({"a": jnp.ones((4, 4)), "b": jnp.ones((4, 2))})
    with pytest.raises(ValueError, match="at most the 24 prunable"):
        prune.erdos_renyi(mask, keep=25)
    with pytest.raises(ValueError, match="`keep` must be at least 1"):
        prune.erdos_renyi(mask, keep=0)
    flat = masks.dense({"a": jnp.ones(4)}, prunable=lambda name, leaf: True)
    with pytest.raises(ValueError, match="need inputs and outputs"):
        prune.erdos_renyi(flat, keep=2)


SMART = {"a": (3, 3, 8, 8), "b": (3, 3, 8, 8), "c": (3, 3, 8, 8), "d": (64, 10)}


def smart(keep, **how):
    mask = masks.dense({name: jnp.ones(shape) for name, shape in SMART.items()})
    return prune.smart_ratio(mask, keep=keep, **({"order": "abcd"} | how))


def test_smart_ratio_has_a_share_for_matrices_and_falls_with_depth():
    counts = smart(700)
    assert sum(counts.values()) == 700
    assert counts["d"] == 192
    for name, part in zip("abc", (20, 12, 6), strict=True):
        assert abs(counts[name] - 508 * part / 38) < 1
    backwards = smart(700, order="cbad")
    assert [backwards[name] for name in "cba"] == [counts[name] for name in "abc"]
    for name, part in zip("abc", (20, 12 / 4, 6 / 9), strict=True):
        assert abs(smart(700, damped=True)[name] - 508 * part / (20 + 3 + 6 / 9)) < 1
    full = smart(1500)
    assert full["a"] == 576
    assert abs(full["b"] - (1500 - 192 - 576) * 12 / 18) < 1


@pytest.mark.parametrize(("linear", "rows"), [(0.14, 15), (0.35, 18), (0.7, 9), (0.3, 10)])
def test_smart_ratio_keeps_the_least_and_the_most_of_its_range(linear, rows):
    mask = masks.dense({"a": jnp.ones((1, 1, 3, 3)), "b": jnp.ones((rows, 5))})
    least, most = prune.smart_ratio_range(mask, linear=linear)
    for keep, count in ((least, 1), (most, 9)):
        counts = prune.smart_ratio(mask, keep=keep, order="ab", linear=linear)
        assert counts == {"a": count, "b": keep - count}


def test_smart_ratio_takes_kernels_of_attention_for_matrices():
    heads = {part: {"kernel": (8, 2, 4)} for part in ("query", "key", "value")}
    stored = {"patch": (4, 4, 3, 8), "a": {**heads, "out": {"kernel": (2, 4, 8)}}, "head": (8, 10)}
    flat = {"patch": (4, 4, 3, 8), "a": {name: {"kernel": (8, 8)} for name in stored["a"]}}
    flat["head"] = (8, 10)
    counts = []
    for shapes in (stored, flat):
        ones = jax.tree.map(jnp.ones, shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))
        mask, names = masks.dense(ones), sorted(trees.named(ones))
        assert prune.smart_ratio_range(mask) == (101, 484)
        counts.append(prune.smart_ratio(mask, keep=400, order=names))
    assert counts[0] == counts[1]
    assert counts[0]["a/query/kernel"] == 19  # round(0.3 * 64)
    attention = {"a": jax.tree.map(jnp.ones, stored["a"], is_leaf=lambda x: type(x) is tuple)}
    mask, names = masks.dense(attention), sorted(trees.named(attention))
    with pytest.raises(ValueError, match="for networks with convolutions"):
        prune.smart_ratio(mask, keep=80, order=names)


def test_smart_ratio_refuses_what_it_cannot_share_out():
    with pytest.raises(ValueError, match=r"must lie in 193\.\.1920: matrices keep 192; got 192"):
        smart(192)
    with pytest.raises(ValueError, match="must name each of"):
        smart(700, order="abc")
    matrices = masks.dense({"a": jnp.ones((4, 4))})
    with pytest.raises(ValueError, match="networks with convolutions"):
        prune.smart_ratio(matrices, keep=9, order="a")
    mask = masks.dense({name: jnp.ones(shape) for name, shape in SMART.items()})
    said = (
        r"`density` must lie in \[0\.0815034, 0\.810811\] for the score smart-ratio, .*; got 0\.08"
    )
    with pytest.raises(ValueError, match=said):
        score_pruning.counts("smart-ratio", mask, keep=192)


def test_criteria_of_complex_weights_take_magnitudes_and_signs_refuse_them():
    initial, final = {"w": jnp.array([3 + 4j])}, {"w": jnp.array([3 - 4j])}
    assert criteria.movement(initial, final)["w"].tolist() == [8.0]
    assert criteria.magnitude_increase(initial, final)["w"].tolist() == [0.0]
    with pytest.raises(TypeError, match="Signs need real weights; leaf 'w' is complex64"):
        criteria.large_final_same_sign(initial, final)


def test_a_movement_in_float16_does_not_overflow():
    low, high = {"w": jnp.array([-6e4], jnp.float16)}, {"w": jnp.array([6e4], jnp.float16)}
    assert criteria.movement(low, high)["w"].tolist() == [2 * float(high["w"][0])]


@pytest.mark.parametrize(
    "name", ["movement", "magnitude-increase", "large-initial-large-final", "large-final-same-sign"]
)
def test_criteria_of_trees_that_differ_name_the_leaf(name):
    with pytest.raises(ValueError, match="leaf 'w/0' is a list in `initial` but a tuple in `final"):
        criteria.CRITERIA[name]({"w": [jnp.ones(2)]}, {"w": (jnp.ones(2),)})
    with pytest.raises(ValueError, match="'w' has shape"):
        criteria.CRITERIA[name]({"w": jnp.ones(2)}, {"w": jnp.ones(3)})
