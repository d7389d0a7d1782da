"""Zhou's criteria, and how many weights each layer keeps before any is scored."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlth import keys, masks, models, prune, scores
from jaxlth.models import ModelSettings
from jaxlth.scores import criteria

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
}


@pytest.mark.parametrize("name", criteria.CRITERIA)
def test_criteria_are_those_of_the_paper(name):
    found = criteria.CRITERIA[name](INITIAL, FINAL)
    assert found["w"].tolist() == WANTED[name]
    kept = criteria.same_sign(found, INITIAL, FINAL)["w"].tolist()
    assert kept == [-math.inf, *WANTED[name][1:]]


def test_final_magnitudes_can_be_weighed():
    both = criteria.large_initial_large_final(INITIAL, FINAL, alpha=0.5)
    assert both["w"].tolist() == [1.0, 0.5, 0.375]
    both = criteria.small_initial_small_final(INITIAL, FINAL, alpha=0.5)
    assert both["w"].tolist() == [-1.5, -2.0, -0.5]


def conv_net():
    model = models.build(ModelSettings(name="resnet-20"), shape=(32, 32, 3), classes=10)
    return model.init(keys.stream(0, 0, "initialization")).params


@pytest.mark.parametrize("keep", [270_896, 135_448, 27_090, 1_355, 22])
@pytest.mark.parametrize("kernel", [True, False])
def test_erdos_renyi_densities_fall_with_size_and_add_up(keep, kernel):
    mask = masks.dense(conv_net())
    counts = prune.erdos_renyi(mask, keep=keep, kernel=kernel)
    assert sum(counts.values()) == keep
    leaves = {name: leaf.shape for name, leaf in zip(counts, jax.tree.leaves(mask), strict=True)}
    free = {name: count for name, count in counts.items() if count < math.prod(leaves[name])}
    factors = []
    for name, count in free.items():
        shape = leaves[name] if kernel else leaves[name][-2:]
        share = sum(shape) / math.prod(shape)
        factors.append(count / math.prod(leaves[name]) / share)
        assert abs(count - np.median(factors) * share * math.prod(leaves[name])) <= 1.5
    pruned = prune.layerwise_topk(scores.magnitude(conv_net()), mask, keep=counts)
    assert int(masks.kept(pruned)) == keep


def test_smart_ratio_has_a_share_for_the_last_layer_and_falls_with_depth():
    mask = masks.dense({name: jnp.ones((20, 20)) for name in "abcd"})
    counts = prune.smart_ratio(mask, keep=400)
    assert sum(counts.values()) == 400
    assert counts["d"] == 120
    wanted = np.array([20, 12, 6]) / 38 * 280
    np.testing.assert_allclose([counts[name] for name in "abc"], wanted, atol=1)
    backwards = prune.smart_ratio(mask, keep=400, order="dcba")
    assert [backwards[name] for name in "dcba"] == [counts[name] for name in "abcd"]
    assert prune.smart_ratio(mask, keep=1200 + 120)["a"] == 400


def test_counts_that_cannot_be_are_refused():
    mask = masks.dense({"a": jnp.ones((4, 4)), "b": jnp.ones((4, 2))})
    with pytest.raises(ValueError, match="at most the 24 prunable"):
        prune.erdos_renyi(mask, keep=25)
    with pytest.raises(ValueError, match="`keep` must be at least 1"):
        prune.erdos_renyi(mask, keep=0)
    with pytest.raises(ValueError, match=r"must lie in 3\.\.18: the last tensor keeps 2; got 2"):
        prune.smart_ratio(mask, keep=2)
    with pytest.raises(ValueError, match="must name each of"):
        prune.smart_ratio(mask, keep=9, order=["a"])
    flat = masks.dense({"a": jnp.ones(4)}, prunable=lambda name, leaf: True)
    with pytest.raises(ValueError, match="need inputs and outputs"):
        prune.erdos_renyi(flat, keep=2)
