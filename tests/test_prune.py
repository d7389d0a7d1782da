import collections
import itertools
import math
import re
import time

import hypothesis
import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlth import masks, prune, trees
from jaxlth.trees import bisection, topk

Layer = collections.namedtuple("Layer", ["w", "b"])
NETWORKS = {
    "dictionary": {"w1": (5, 4), "b1": (4,), "w2": (4, 3), "b2": (3,)},
    "named tuples, more than a row of the selection": [
        Layer((5, 5, 9, 5), (5,)),
        Layer((5, 4), None),
    ],
}
UNPRUNABLE = {"w": np.ones((2, 2)), "b": np.ones(2)}


@pytest.fixture(params=NETWORKS)
def network(request):
    """Return scores with many ties, and a mask with some weights pruned, drawn from one seed."""
    generator = np.random.default_rng(0)
    shapes = NETWORKS[request.param]
    is_shape = lambda node: type(node) is tuple  # noqa: E731
    params = jax.tree.map(
        lambda shape: generator.integers(-9, 10, shape).astype(np.float32), shapes, is_leaf=is_shape
    )
    mask = jax.tree.map(lambda leaf: generator.random(leaf.shape) < 0.7, masks.dense(params))
    return params, mask


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def reference(scores, mask, keep):
    """Return the flat mask of the `keep` highest scores by a stable sort."""
    highest = np.where(np.isnan(scores), -np.inf, scores).astype(np.float64)
    order = np.lexsort((np.arange(scores.size), -highest, np.isnan(scores), ~mask))
    config = np.zeros(scores.size, bool)
    config[order[:keep]] = True
    return config


def layerwise(scores, mask, keep):
    return prune.layerwise_topk(scores, mask, keep=dict.fromkeys(trees.names(mask), keep))


WAYS = {"by NumPy": topk.BY_NUMPY, "in a program": (-1, -1)}


@pytest.fixture
def in_a_program(monkeypatch):
    """Have arrays on the host selected from as those on an accelerator are."""
    monkeypatch.setattr(topk, "BY_NUMPY", WAYS["in a program"])


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Have arrays of few elements selected from in both ways."""
    monkeypatch.setattr(topk, "BY_NUMPY", WAYS[request.param])


PRUNERS = {"global": lambda s, m, k: prune.global_topk(s, m, keep=k), "layerwise": layerwise}


@pytest.fixture(params=PRUNERS)
def pruner(request):
    """Return (scores, mask, keep) -> mask; layerwise with `keep` in each tensor."""
    return PRUNERS[request.param]


def test_exactly_the_count_survives_and_only_what_the_mask_kept(network, pruner):
    scores, mask = network
    pruned = pruner(scores, mask, 5)
    tensors = len(jax.tree.leaves(mask)) if pruner is layerwise else 1
    assert int(masks.kept(pruned)) == 5 * tensors
    assert not np.any(flat(pruned) & ~flat(mask))
    masks.check(scores, pruned)


def test_pruners_agree_with_a_stable_sort(network, way):
    scores, mask = network
    values = flat(masks.prunable(scores, mask))
    for keep in (0, 1, 7, int(masks.kept(mask)) - 1, int(masks.kept(mask))):
        pruned = prune.global_topk(scores, mask, keep=keep)
        np.testing.assert_array_equal(flat(pruned), reference(values, flat(mask), keep))
    for name, pruned in trees.named(layerwise(scores, mask, 4)).items():
        value, live = np.ravel(trees.named(scores)[name]), np.ravel(trees.named(mask)[name])
        np.testing.assert_array_equal(np.ravel(pruned), reference(value, live, 4))


def test_a_vmapped_pruner_equals_a_loop(network, pruner):
    scores, mask = network
    many = [scores, jax.tree.map(np.negative, scores), jax.tree.map(np.zeros_like, scores)]
    counts = jnp.array([0, 3, 7])
    mapped = jax.vmap(pruner, in_axes=(0, None, 0))(trees.stack(many), mask, counts)
    for score, keep, pruned in zip(many, counts, trees.unstack(mapped), strict=True):
        np.testing.assert_array_equal(flat(pruned), flat(pruner(score, mask, keep)))


def test_masks_may_be_vmapped_too():
    scores, both = (
        [jnp.array([1.0, 3.0, 2.0])],
        [jnp.array([[True, True, True], [True, False, True]])],
    )
    pruned = jax.vmap(lambda mask: prune.global_topk(scores, mask, keep=1))(both)
    assert pruned[0].tolist() == [[False, True, False], [False, False, True]]


def test_a_new_count_compiles_nothing_outside_jit(network, caplog):
    scores, mask = network
    prune.global_topk(scores, mask, keep=5)
    with jax.log_compiles():
        prune.global_topk(scores, mask, keep=4)
    assert "ompil" not in caplog.text


def test_levels_are_nested(network):
    scores, mask = network
    for keep in (9, 6, 4, 1):
        smaller = prune.global_topk(scores, mask, keep=keep)
        assert not np.any(flat(smaller) & ~flat(mask))
        mask = smaller


FLOATS = [np.float16, np.float32, jnp.bfloat16, jnp.float8_e4m3fn, jnp.float8_e5m2]
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1.0, -1.0, 1e-45, -1e-45, 1e-41, 3e38]


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(st.data(), st.sampled_from(FLOATS), st.sampled_from([*WAYS]))
def test_any_scores_are_selected_as_by_a_stable_sort(data, kind, way):
    numbers = st.sampled_from(SPECIAL) | st.floats(width=32)
    with np.errstate(all="ignore"):
        scores = data.draw(arrays.arrays(np.float32, 12, elements=numbers)).astype(kind)
    mask = data.draw(arrays.arrays(bool, 12))
    keep = data.draw(st.integers(0, int(mask.sum())))
    tree, tree_mask = ({"a": x[:4].reshape(2, 2), "b": x[4:]} for x in (scores, mask))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "BY_NUMPY", WAYS[way])
        pruned = prune.global_topk(tree, tree_mask, keep=keep)
    np.testing.assert_array_equal(
        flat(pruned), reference(scores.astype(np.float32), mask, keep), err_msg=f"{scores} {keep}"
    )


@pytest.mark.parametrize("devices", [1, 2])
def test_a_program_for_one_device_selects_as_one_for_several_does(network, devices, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    topk._separate.clear_cache()
    scores, mask = network
    values = flat(masks.prunable(scores, mask))
    select = jax.jit(lambda keep: prune.global_topk(scores, mask, keep=keep))
    for keep in (0, 1, 7, int(masks.kept(mask))):
        np.testing.assert_array_equal(flat(select(keep)), reference(values, flat(mask), keep))


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(st.integers(0, 3000), st.integers(1, 60), st.integers(0, 2**31))
def test_ties_across_rows_go_to_the_lower_position(keep, kinds, seed):
    generator = np.random.default_rng(seed)
    scores, mask = generator.integers(0, kinds, 3000), generator.random(3000) < 0.8
    keep = min(keep, int(mask.sum()))
    pruned = prune.global_topk([scores.astype(np.float32)], [mask], keep=keep)
    np.testing.assert_array_equal(pruned[0], reference(scores, mask, keep))


@pytest.mark.parametrize(
    ("scores", "keep", "expected"),
    [
        ([1.0, 1.0, 1.0], 2, [True, True, False]),
        ([-0.0, 0.0, -0.0], 1, [True, False, False]),
        ([np.nan, -np.inf, np.nan], 1, [False, True, False]),
        ([np.nan, -np.nan, -np.inf], 2, [True, False, True]),
        ([-1e-45, 0.0, 1e-45], 2, [False, True, True]),
        ([np.inf, np.inf, 3e38], 2, [True, True, False]),
    ],
)
def test_ties_zeros_nan_and_subnormal_numbers_have_a_fixed_order(scores, keep, expected):
    mask = {"w": np.ones(3, bool)}
    pruned = prune.global_topk({"w": np.array(scores, np.float32)}, mask, keep=keep)
    assert pruned["w"].tolist() == expected


@pytest.mark.parametrize("x64", [False, True])
def test_float64_scores_are_told_apart_in_any_mode(x64):
    with jax.enable_x64(x64):
        scores = {"a": np.array([1.0, 1.0 + 1e-15, 1e-300]), "b": np.array([1.0], np.float32)}
        mask = {"a": np.ones(3, bool), "b": np.ones(1, bool)}
        pruned = prune.global_topk(scores, mask, keep=1)
        assert pruned["a"].tolist() == [False, True, False]
        assert prune.global_topk(scores, mask, keep=3)["a"].tolist() == [True, True, False]


def test_leaves_of_several_float_types_are_compared_by_value():
    scores = {"a": jnp.array([1.0, 3.0], jnp.bfloat16), "b": np.array([2.0, 0.5], np.float32)}
    mask = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), scores)
    assert flat(prune.global_topk(scores, mask, keep=2)).tolist() == [False, True, True, False]


def test_weights_never_pruned_do_not_compete_and_may_lack_scores():
    mask = {"w": np.ones((2, 2), bool), "b": None}
    for biases in (np.full(2, 100.0), None):
        pruned = prune.global_topk({"w": np.eye(2), "b": biases}, mask, keep=2)
        assert pruned["b"] is None
        assert pruned["w"].tolist() == [[True, False], [False, True]]


def test_a_traced_count_outside_its_range_means_the_nearest_end():
    scores, mask = [np.array([1.0, 2.0, 3.0])], [np.array([True, False, True])]
    at = jax.jit(lambda keep: prune.global_topk(scores, mask, keep=keep)[0])
    assert at(9).tolist() == [True, False, True]
    assert at(-1).tolist() == [False, False, False]


def test_a_density_is_a_share_of_the_tensor_and_never_brings_weights_back():
    scores = {"a": np.arange(10.0), "b": np.arange(4.0)}
    mask = {"a": np.arange(10) < 3, "b": np.ones(4, bool)}
    pruned = prune.layerwise_topk(scores, mask, keep=0.5)
    assert np.flatnonzero(pruned["a"]).tolist() == [0, 1, 2]
    assert np.flatnonzero(pruned["b"]).tolist() == [2, 3]
    assert masks.layer_densities(prune.layerwise_topk(scores, mask, keep=0)) == {"a": 0, "b": 0}


@pytest.mark.parametrize("keep", [-1, 5])
def test_a_count_beyond_what_is_kept_is_refused(keep):
    scores, mask = {"w": np.ones((2, 3))}, {"w": np.array([[True] * 2 + [False]] * 2)}
    with pytest.raises(ValueError, match=rf"`keep` must lie in 0..4, .*; got {keep}"):
        prune.global_topk(scores, mask, keep=keep)
    with pytest.raises(ValueError, match=rf"`keep\['w'\]` must lie in 0..4, .*; got {keep}"):
        prune.layerwise_topk(scores, mask, keep={"w": keep})


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        (
            {"w": np.ones(2), "b": None},
            ValueError,
            r"'w' has shape \(2,\) in `scores` but \(2, 2\)",
        ),
        ({"w": np.ones((2, 2))}, ValueError, "`mask` has a leaf 'b' that `scores` lacks"),
        ({"w": np.ones((2, 2), int), "b": None}, TypeError, "floats; leaf 'w' is int32"),
    ],
)
def test_scores_that_do_not_fit_name_the_leaf(scores, error, message, pruner):
    with pytest.raises(error, match=message):
        pruner(scores, masks.dense(UNPRUNABLE), 1)


@pytest.mark.parametrize(
    ("keep", "error", "message"),
    [
        ({"v": 1}, ValueError, "`keep` names 'v', which is no prunable tensor. The closest is 'w'"),
        ({}, ValueError, "must name every prunable tensor; 'w' is missing"),
        ({"w": 0.5}, TypeError, r"`keep\['w'\]` must be a whole number of weights; got 0.5"),
        (1.5, ValueError, r"`keep` must be a density in \[0, 1\], or counts by name; got 1.5"),
        (math.nan, ValueError, "got nan"),
    ],
)
def test_layerwise_counts_must_fit_the_tensors(keep, error, message):
    with pytest.raises(error, match=message):
        prune.layerwise_topk(UNPRUNABLE, masks.dense(UNPRUNABLE), keep=keep)


@pytest.mark.parametrize(("density", "count"), [(0.35, 2), (0.3, 2), (0.25, 1), (0.9, 4)])
def test_a_density_of_layers_keeps_the_nearest_count(density, count):
    scores = {"w": jnp.arange(5.0)}  # 1.75, 1.5, 1.25 and 4.5 weights; halves go to the even count
    pruned = prune.layerwise_topk(scores, {"w": jnp.ones(5, bool)}, keep=density)
    assert pruned["w"].tolist() == [False] * (5 - count) + [True] * count


@pytest.mark.parametrize("kind", [float, np.float16, np.float32, np.float64, jnp.bfloat16])
def test_a_density_is_the_decimal_number_that_it_prints_as_in_any_type(kind):
    density, values, mask = kind(0.1), {"w": jnp.ones((25, 1))}, {"w": jnp.ones((25, 1), bool)}
    for number in (density, jnp.asarray(density)):
        assert int(prune.layerwise_topk(values, mask, keep=number)["w"].sum()) == 2
        assert int(prune.per_unit_topk(values, mask, density=number)["w"].sum()) == 2
        schedule = prune.Schedule(density=number, kind="one-shot")
        assert int(prune.keep_at(0, schedule, size=25)) == 2
    assert prune.keep_counts(1000, levels=2, fraction=kind(0.2)) == [1000, 800, 640]


def test_several_counts_are_none():
    mask = masks.dense(UNPRUNABLE)
    with pytest.raises(TypeError, match="`keep` must be a whole number of weights; got .*2, 3"):
        prune.global_topk(UNPRUNABLE, mask, keep=jnp.array([2, 3]))


def test_a_density_is_no_count():
    with pytest.raises(TypeError, match="`keep` must be a whole number of weights; got 0.5"):
        prune.global_topk(UNPRUNABLE, masks.dense(UNPRUNABLE), keep=0.5)


def test_pruning_finds_the_largest_of_a_network_of_normal_weights():
    weights = np.random.default_rng(0).normal(size=(300, 100)).astype(np.float32)
    (pruned,) = prune.global_topk([weights], masks.dense([weights]), keep=1234)
    assert np.sum(pruned) == 1234
    assert weights[pruned].min() > weights[~pruned].max()


# ------------------------------------------------------------------------------ counts of levels


@pytest.mark.parametrize(
    ("size", "levels", "fraction", "counts"),
    [
        (1000, 6, 0.2, [1000, 800, 640, 512, 410, 328, 262]),
        (266_200, 3, 0.2, [266_200, 212_960, 170_368, 136_294]),
        (10, 0, 0.5, [10]),
        (10, 1, 0.9, [10, 1]),
        (5, 1, 0.1, [5, 4]),  # 4.5, halves to the even number
        (15, 1, 0.1, [15, 14]),  # 13.5
        (10**12, 2, 0.1, [10**12, 9 * 10**11, 81 * 10**10]),
    ],
)
def test_counts_are_rounded_from_the_dense_network(size, levels, fraction, counts):
    assert prune.keep_counts(size, levels=levels, fraction=fraction) == counts


@hypothesis.given(st.integers(1, 10**7), st.integers(0, 40), st.floats(0.01, 0.99))
def test_counts_fall_strictly_and_follow_the_formula_or_are_refused(size, levels, fraction):
    try:
        counts = prune.keep_counts(size, levels=levels, fraction=fraction)
    except ValueError:
        assert size * (1 - fraction) ** levels * fraction < 2
        return
    assert len(counts) == levels + 1
    assert all(a > b > 0 for a, b in itertools.pairwise(counts))
    exact = [size * (1 - fraction) ** level for level in range(levels + 1)]
    np.testing.assert_allclose(counts, exact, atol=0.5 + 1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (10, 10, 0.2),
            "`levels` must be at most 5 for a size of 10; got 10, but level 6 would keep 3",
        ),
        ((4, 3, 0.9), "level 1 would keep nothing"),
        ((4, 10**6, 0.5), "at most 2 for a size of 4; got 1000000, but level 3 would keep nothing"),
        ((2, 1, 0.01), "level 1 would keep 2, as level 0 does"),
        ((0, 1, 0.5), "`size` must be at least 1; got 0"),
        ((10, -1, 0.5), "`levels` must be at least 0; got -1"),
        ((10, 1, 0.0), r"`fraction` must lie in \(0, 1\), both ends excluded; got 0.0"),
        ((10, 1, 1.0), "`fraction`"),
        ((10, 1, math.nan), "`fraction`"),
    ],
)
def test_more_levels_than_weights_and_other_wrong_counts_are_refused(arguments, message):
    size, levels, fraction = arguments
    with pytest.raises(ValueError, match=message):
        prune.keep_counts(size, levels=levels, fraction=fraction)


def test_a_fractional_number_of_levels_is_refused():
    with pytest.raises(TypeError, match="`levels` must be a whole number; got 2.5"):
        prune.keep_counts(10, levels=2.5, fraction=0.5)


@pytest.mark.parametrize(
    ("given", "counts"),
    [  # the four trajectories that Burger 2024 prints in section 3.3
        ({"size": 1000, "levels": 6, "rate": 0.2}, [1000, 800, 640, 512, 409, 327, 262]),
        ({"size": 1200, "levels": 6, "rate": 0.2}, [1200, 960, 768, 614, 491, 393, 314]),
        ({"size": 1000, "levels": 6, "target": 200}, [1000, 764, 584, 447, 341, 261, 200]),
        ({"size": 1200, "levels": 6, "target": 200}, [1200, 890, 660, 489, 363, 269, 200]),
        ({"size": 1000, "rate": 0.2, "target": 262}, [1000, 800, 640, 512, 409, 327, 262]),
        ({"levels": 2, "rate": 0.5, "target": 3}, [12, 6, 3]),
    ],
)
def test_three_values_give_the_trajectory_of_the_thesis(given, counts):
    steps = prune.trajectory(**given)
    assert steps.counts == counts
    assert (steps.size, steps.levels, steps.target) == (counts[0], len(counts) - 1, counts[-1])
    assert steps._asdict().items() >= given.items()


def test_the_rate_solves_the_equation_of_the_thesis():
    assert prune.trajectory(size=1000, levels=6, target=200).rate == pytest.approx(0.235, abs=5e-4)
    assert prune.trajectory(size=1200, levels=6, target=200).rate == pytest.approx(0.258, abs=5e-4)


@hypothesis.given(st.integers(2, 10**6), st.integers(1, 12), st.data())
def test_any_three_of_a_trajectory_or_all_four_give_it_back(size, levels, data):
    target = data.draw(st.integers(1, size - 1))
    try:
        steps = prune.trajectory(size=size, levels=levels, target=target)
    except ValueError:
        hypothesis.reject()
    assert steps.counts[-1] == target
    values = {"size": size, "levels": levels, "rate": steps.rate, "target": target}
    assert prune.trajectory(**values) == steps
    assert prune.trajectory(**values | {"levels": None}).levels == levels
    assert prune.trajectory(**values | {"target": None}) == steps
    assert prune.trajectory(**values | {"size": None}).target == target
    assert prune.trajectory(**values | {"size": None}).size <= size


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 1000, "levels": 6}, "Three of .* must be given"),
        ({"rate": 0.2, "target": 6}, "Three of .* must be given"),
        ({}, "Three of .* must be given"),
        (
            {"size": 1000, "levels": 6, "rate": 0.2, "target": 200},
            "`target` 200 does not agree .*: level 5 keeps 327 and level 6 keeps 262",
        ),
        ({"size": 1000, "rate": 0.2, "target": 200}, "level 7 keeps 209 and level 8 keeps 167"),
        (
            {"size": 10, "levels": 2, "target": 10},
            r"`target` must be less than `size` \(10\); got 10",
        ),
        ({"size": 10, "levels": 2, "target": 0}, "`target` must be at least 1; got 0"),
        ({"size": 10, "levels": 0, "target": 5}, "`levels` must be at least 1; got 0"),
        ({"size": 10, "levels": 2, "rate": 1.0}, r"`rate` must lie in \(0, 1\)"),
        ({"size": 10, "levels": 9, "target": 8}, "level 2 would keep 9, as level 1 does"),
        ({"size": 10, "levels": 9, "rate": 0.9}, "level 2 would keep nothing"),
    ],
)
def test_a_trajectory_that_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        prune.trajectory(**given)


# --------------------------------------------------- many tensors, empty ones, other containers


def many(count):
    """Return scores with many ties of so many tensors, and a mask with some weights pruned."""
    generator = np.random.default_rng(0)
    values = [generator.integers(-9, 10, (2, 3 + i % 2)).astype(np.float32) for i in range(count)]
    return values, [generator.random(value.shape) < 0.7 for value in values]


@pytest.fixture
def few_are_many(monkeypatch, in_a_program):
    """Cut parts out on the host from eight tensors on, so that little is compiled."""
    monkeypatch.setattr(topk, "MANY", 8)


def test_selection_on_the_host_compiles_nothing(caplog):
    others = {"a": np.arange(4000.0).astype(np.float32).reshape(2, -1), "b": np.ones(96, "f4")}
    full = {name: np.ones(leaf.shape, bool) for name, leaf in others.items()}
    with jax.log_compiles():
        pruned = prune.global_topk(others, full, keep=9)
    assert "ompil" not in caplog.text
    assert flat(pruned).nonzero()[0].tolist() == [*range(3991, 4000)]


@pytest.mark.parametrize("more", [0, 1])
def test_the_number_of_weights_that_numpy_selects_from_changes_nothing(more, monkeypatch):
    monkeypatch.setattr(topk, "BY_NUMPY", (300, 300))
    generator = np.random.default_rng(0)
    scores, mask = generator.integers(-9, 9, 300 + more), generator.random(300 + more) < 0.9
    scores = scores.astype("f4")
    pruned = prune.global_topk([scores[:100], scores[100:]], [mask[:100], mask[100:]], keep=150)
    np.testing.assert_array_equal(flat(pruned), reference(scores, mask, 150))
    assert all(isinstance(leaf, jax.Array) for leaf in pruned)


@pytest.mark.parametrize("count", [7, 8, 30])
def test_many_tensors_are_selected_as_by_a_stable_sort(few_are_many, count):
    scores, mask = many(count)
    kept = int(flat(mask).sum())
    for keep in (0, kept // 2, kept):
        pruned = prune.global_topk(scores, mask, keep=keep)
        masks.check(scores, pruned)
        np.testing.assert_array_equal(flat(pruned), reference(flat(scores), flat(mask), keep))


def test_many_tensors_are_selected_alike_under_jit_and_vmap_and_with_a_traced_count(few_are_many):
    scores, mask = many(8)
    expected = flat(prune.global_topk(scores, mask, keep=20))
    traced = jax.jit(lambda keep: prune.global_topk(scores, mask, keep=keep))
    np.testing.assert_array_equal(flat(traced(20)), expected)
    both = jax.vmap(lambda keep: prune.global_topk(scores, mask, keep=keep))(jnp.array([20, 7]))
    np.testing.assert_array_equal(flat([leaf[0] for leaf in both]), expected)


def test_many_tensors_compile_one_program_with_one_result(caplog, in_a_program, monkeypatch):
    monkeypatch.setattr(topk, "_separate", None)  # the program with a result for each
    scores, mask = many(topk.MANY)
    with jax.log_compiles():
        pruned = prune.global_topk(scores, mask, keep=100)
        prune.global_topk(scores, mask, keep=99)
    programs = [line for line in caplog.messages if line.startswith("Compiling")]
    assert len(programs) == 1
    assert all(isinstance(leaf, jax.Array) for leaf in pruned)


def test_many_tensors_on_a_device_of_their_own_stay_there(few_are_many, way):
    scores, mask = many(8)
    other = jax.devices()[1]
    pruned = prune.global_topk(jax.device_put(scores, other), mask, keep=20)
    assert {leaf.device for leaf in pruned} == {other}
    np.testing.assert_array_equal(flat(pruned), flat(prune.global_topk(scores, mask, keep=20)))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "seconds"), [(150, 3), (1000, 15)])
def test_the_first_call_on_many_tensors_compiles_in_seconds(count, seconds, in_a_program):
    scores, mask = many(count)
    enabled = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        start = time.process_time()
        jax.block_until_ready(prune.global_topk(scores, mask, keep=count))
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
    assert time.process_time() - start < seconds


def test_large_arrays_are_selected_without_a_copy_beside_small_ones_that_are_joined(
    in_a_program, monkeypatch
):
    scores, mask = many(12)
    scores[5], mask[5] = np.tile(scores[5], (9, 1)), np.tile(mask[5], (9, 1))
    monkeypatch.setattr(topk, "JOINED", 50)
    monkeypatch.setattr(topk, "SMALL", 20)
    assert topk._runs([6, 8, 60, 3, 30]) == ((0, 1), (2,), (3,), (4,))
    for keep in (0, 3, 40, int(flat(mask).sum())):
        pruned = prune.global_topk(scores, mask, keep=keep)
        np.testing.assert_array_equal(flat(pruned), reference(flat(scores), flat(mask), keep))


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 0.5), ("bfloat16", 2.5)])
def test_selection_from_a_large_array_stores_little_beside_it(dtype, limit):
    scores = [jax.ShapeDtypeStruct((1024, 1024), dtype)]
    mask = [jax.ShapeDtypeStruct((1024, 1024), bool)]
    program = topk._joined.lower(scores, mask, bisection.count(9), ((0,),)).compile()
    assert program.memory_analysis().temp_size_in_bytes < limit * 2**20


# ---------------------------------------------------------- trees over devices, and very large ones

SPREAD = {"a": P("x", None), "b": P(None, None, "x"), "c": P(None, "x")}
SELECTORS = {
    "global": lambda scores, mask: prune.global_topk(scores, mask, keep=60),
    "layerwise": lambda scores, mask: prune.layerwise_topk(scores, mask, keep=0.3),
    "random": lambda scores, mask: masks.random(mask, key=jax.random.key(0)),
    "shuffle": lambda scores, mask: masks.shuffle(mask, key=jax.random.key(0)),
}


@pytest.mark.parametrize("axes", ["Explicit", "Auto"])
@pytest.mark.parametrize("name", SELECTORS)
def test_trees_over_devices_stay_there_and_only_counts_are_exchanged(name, axes):
    mesh = jax.make_mesh((2,), ("x",), axis_types=(getattr(AxisType, axes),))
    generator = np.random.default_rng(0)
    scores = {"a": generator.normal(size=(8, 12)), "b": generator.integers(0, 3, (3, 4, 8))}
    scores = {n: leaf.astype("f4") for n, leaf in (scores | {"c": np.ones((5, 4))}).items()}
    mask = {n: generator.random(leaf.shape) < 0.7 for n, leaf in scores.items()}
    place = {n: NamedSharding(mesh, spec) for n, spec in SPREAD.items()}
    with jax.set_mesh(mesh):
        spread = jax.device_put(scores, place), jax.device_put(mask, place)
        program = jax.jit(SELECTORS[name]).lower(*spread).compile()
        pruned = program(*spread)
    expected = SELECTORS[name](scores, mask)
    np.testing.assert_array_equal(flat(jax.device_get(pruned)), flat(expected))
    assert {n: leaf.sharding.spec for n, leaf in pruned.items()} == SPREAD
    exchanged = re.findall(r"= (.+) (all-\w+|collective-\w+|reduce-scatter)\(", program.as_text())
    shapes = re.findall(r"\[([\d,]*)\]", " ".join(types for types, _ in exchanged))
    assert {kind for _, kind in exchanged} == {"all-reduce"}
    # Where types do not say how arrays are spread, counts of rows are exchanged: 12 of "b".
    limit = 3 if axes == "Explicit" else 12
    assert max(math.prod(map(int, filter(None, shape.split(",")))) for shape in shapes) <= limit


def test_counts_beyond_int32_are_added_and_compared_exactly():
    numbers = [0, 1, 2**16, 2**31, 2**32 - 1]
    sums = bisection.cumulative([np.uint32(number) for number in numbers * 3])
    whole = [int(high) * 2**16 + int(low) for high, low in zip(*sums, strict=True)]
    assert whole == np.cumsum(numbers * 3, dtype=np.int64).tolist()
    for a, b in itertools.product([*numbers, 2**33 + 5, 2**40], repeat=2):
        first, second = (bisection.Count(*map(jnp.uint32, bisection.count(n))) for n in (a, b))
        assert bool(first.reaches(second)) == (a >= b)
        assert bool(first.equals(second)) == (a == b)
        if 0 <= a - b < 2**32:
            assert int(first.minus(second)) == a - b
        high, low = bisection.difference(first, second)
        assert int(high) * 2**16 + int(low) == max(a - b, 0)


def test_what_int32_cannot_count_is_refused_or_counted_in_int64():
    half = {"a": jax.ShapeDtypeStruct((2**15, 2**15), bool)}
    both = half | {"b": half["a"]}
    assert jax.eval_shape(masks.kept, half).dtype == np.int32
    with pytest.raises(ValueError, match="int32 cannot count the kept of 2147483648 weights"):
        jax.eval_shape(masks.kept, both)
    with jax.enable_x64(True):
        assert jax.eval_shape(masks.kept, both).dtype == np.int64
    assert jax.eval_shape(masks.density, both).dtype == np.float32
    huge = {"w": jax.ShapeDtypeStruct((2**16, 2**16), np.float32)}
    with pytest.raises(ValueError, match=r"fewer than 2\*\*32 elements; got the shape \(65536, 65"):
        jax.eval_shape(lambda s: prune.global_topk(s, masks.dense(s), keep=1), huge)
    # Two trees of 2**30 weights: half of them, a count that no int32 holds, is asked for.
    scores = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, np.float32), both)
    selected = jax.eval_shape(lambda s, m: prune.global_topk(s, m, keep=2**31 - 1), scores, both)
    assert {leaf.dtype for leaf in selected.values()} == {np.dtype(bool)}


EMPTY = {"a": np.ones((0, 3)), "b": np.arange(6.0).reshape(3, 2), "c": np.ones((3, 0))}


def test_tensors_without_elements_change_nothing_in_pruning():
    mask = masks.dense(EMPTY)
    for pruned in (
        prune.global_topk(EMPTY, mask, keep=2),
        prune.layerwise_topk(EMPTY, mask, keep={"a": 0, "b": 2, "c": 0}),
        prune.in_rounds(lambda mask: EMPTY, mask, keeps=[4, 2]),
    ):
        masks.check(EMPTY, pruned)
        assert flat(pruned).tolist() == [False] * 4 + [True] * 2
    assert flat(prune.layerwise_topk(EMPTY, mask, keep=0.5)).sum() == 3
    assert prune.erdos_renyi(mask, keep=3) == {"a": 0, "b": 3, "c": 0}
    with pytest.raises(ValueError, match="at most the 6 prunable weights; got 7"):
        prune.erdos_renyi(mask, keep=7)


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("left_out", [0, 1, 32, 3_000, 30_000])
def test_erdos_renyi_fills_small_layers_and_gives_the_rest_to_others(kernel, left_out):
    sizes = {"a": (2, 2), "b": (300, 100), "c": (3, 3, 16, 16), "d": (1, 1)}
    mask = {name: np.ones(shape, bool) for name, shape in sizes.items()}
    keeps = prune.erdos_renyi(mask, keep=32_309 - left_out, kernel=kernel)
    assert sum(keeps.values()) == 32_309 - left_out
    assert all(0 <= keep <= mask[name].size for name, keep in keeps.items())
    if left_out < 4_000:
        assert keeps == {"a": 4, "b": 30_000 - left_out, "c": 2_304, "d": 1}


def test_smart_ratio_gives_a_tensor_without_elements_none():
    shapes = {"a": (3, 3, 1, 2), "b": (3, 3, 2, 0), "c": (5, 2), "d": (0, 2)}
    mask = masks.dense({name: np.ones(shape) for name, shape in shapes.items()})
    counts = prune.smart_ratio(mask, keep=12, order=list(shapes))
    assert counts == {"a": 9, "b": 0, "c": 3, "d": 0}


@pytest.mark.parametrize("scores", [{}, {"w": np.ones((0, 3))}, {"b": np.ones(2)}])
def test_trees_without_weights_are_pruned_to_themselves(scores):
    mask = masks.dense(scores)
    for pruned in (
        prune.global_topk(scores, mask, keep=0),
        prune.layerwise_topk(scores, mask, keep=0.5),
        prune.in_rounds(lambda mask: scores, mask, keeps=[0]),
    ):
        masks.check(scores, pruned)
    with pytest.raises(ValueError, match=r"must lie in 0\.\.0"):
        prune.global_topk(scores, mask, keep=1)


def test_scores_in_other_containers_name_the_leaf(pruner):
    mask = {"a": [np.ones(2, bool)]}
    with pytest.raises(ValueError, match="leaf 'a/0' is a tuple in `scores` but a list in `mask`"):
        pruner({"a": (np.ones(2),)}, mask, 1)


def test_pruning_is_the_same_without_jit():
    scores, mask = {"w": np.array([[1.0, 3.0, 2.0]], np.float32)}, {"w": np.ones((1, 3), bool)}
    with jax.disable_jit():
        for pruned in (
            prune.global_topk(scores, mask, keep=2),
            prune.layerwise_topk(scores, mask, keep={"w": 2}),
            prune.in_rounds(lambda mask: scores, mask, keeps=[2]),
        ):
            assert pruned["w"].tolist() == [[False, True, True]]
