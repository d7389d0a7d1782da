"""SNIP, GraSP and SynFlow against finite differences, a whole Hessian, and sums over paths."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import flatten_util

from jaxlth import keys, masks, models, prune, scores, trees
from jaxlth.models import ModelConfig

WIDTHS = (4, 5, 3)


def network(*, biases=True, widths=WIDTHS, seed=0):
    """Return apply_fn and the parameters, in float64, of a network with smooth units."""
    rng = np.random.default_rng(seed)
    sizes = list(itertools.pairwise(widths))
    params = {f"w{at}": rng.normal(size=size) for at, size in enumerate(sizes)}
    if biases:
        params |= {f"b{at}": rng.normal(size=size[1]) for at, size in enumerate(sizes)}

    def apply_fn(params, x):
        for at in range(len(sizes)):
            x = x @ params[f"w{at}"] + params.get(f"b{at}", 0.0)
            x = jax.nn.softplus(x) if at < len(sizes) - 1 else x
        return x

    return apply_fn, params


def some(mask_of, *, seed=1):
    """Return the mask with a third of the weights pruned."""
    full = masks.dense(mask_of)
    keep = int(masks.kept(full)) * 2 // 3
    return prune.global_topk(scores.random(mask_of, key=jax.random.key(seed)), full, keep=keep)


def batch(count=6):
    rng = np.random.default_rng(2)
    return rng.normal(size=(count, WIDTHS[0])), rng.integers(0, WIDTHS[-1], count)


@functools.partial(jax.jit, static_argnums=0)
def _logits(apply_fn, params, mask, inputs):
    return apply_fn(masks.apply(params, mask), inputs)


def cross_entropy(apply_fn, params, mask, temperature=1.0):
    """The mean loss of the masked network, written in NumPy."""
    inputs, labels = batch()
    logits = np.asarray(_logits(apply_fn, params, mask, inputs)) / temperature
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -logs[np.arange(len(labels)), labels].mean()


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("pruned", [False, True])
def test_snip_is_the_change_of_the_loss_by_finite_differences(pruned):
    apply_fn, params = network()
    mask = some(params) if pruned else masks.dense(params)
    weight_scores = scores.snip(apply_fn, params, mask, batch())
    for name in ("w0", "w1"):
        for at in np.ndindex(params[name].shape):
            change = []
            for by in (1e-5, -1e-5):
                moved = jax.tree.map(np.array, params)
                moved[name][at] *= 1 + by  # so that the slope is that by the weight's own factor
                change.append(cross_entropy(apply_fn, moved, mask))
            slope = (change[0] - change[1]) / 2e-5
            np.testing.assert_allclose(weight_scores[name][at], abs(slope), rtol=1e-6, atol=1e-9)
    assert all(not np.any(weight_scores[name]) for name in ("b0", "b1"))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("pruned", "options", "temperature"), [(False, {"temperature": 3.0}, 3.0), (True, {}, 200.0)]
)
def test_grasp_is_the_weight_times_the_whole_hessian_times_the_gradient(
    pruned, options, temperature
):
    apply_fn, params = network()
    mask = some(params) if pruned else masks.dense(params)
    weight_scores = scores.grasp(apply_fn, params, mask, batch(), **options)
    weights = {name: params[name] for name in ("w0", "w1")}
    flat, unravel = flatten_util.ravel_pytree(weights)
    inputs, labels = batch()

    def loss(flat):
        masked = masks.apply(params | unravel(flat), mask)
        logits = apply_fn(masked, inputs) / temperature
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels])

    curved = jax.jit(lambda flat: jax.hessian(loss)(flat) @ jax.grad(loss)(flat))
    wanted = unravel(flat * curved(flat))
    for name, each in wanted.items():
        np.testing.assert_allclose(weight_scores[name], each, rtol=1e-9, atol=1e-14 / temperature)
    assert any(np.any(weight_scores[name] < 0) for name in wanted)


@pytest.mark.usefixtures("x64")
def test_removing_a_little_of_a_weight_changes_the_gradients_norm_as_grasp_says():
    apply_fn, params = network()
    mask, epsilon = masks.dense(params), 1e-5
    weight_scores = scores.grasp(apply_fn, params, mask, batch(), temperature=1.0)

    @jax.jit
    def squared(params):
        gradient = jax.grad(lambda weights: _loss_of(apply_fn, params | weights))(
            {name: params[name] for name in ("w0", "w1")}
        )
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))

    for at in [(0, 0), (3, 4), (1, 2)]:
        squared_norms = []
        for by in (epsilon, -epsilon):
            moved = jax.tree.map(np.array, params)
            moved["w0"][at] *= 1 - by
            squared_norms.append(float(squared(moved)))
        lost = (squared_norms[1] - squared_norms[0]) / (2 * epsilon)  # Frankle 2023, equation 5.3
        np.testing.assert_allclose(2 * weight_scores["w0"][at], lost, rtol=1e-5)


def _loss_of(apply_fn, params):
    inputs, labels = batch()
    logs = jax.nn.log_softmax(apply_fn(params, inputs))
    return -jnp.mean(logs[jnp.arange(len(labels)), labels])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("chunk", [1, 2, 3, 6])
@pytest.mark.parametrize("score", [scores.snip, scores.grasp])
def test_chunks_give_the_scores_of_the_whole_batch(score, chunk):
    apply_fn, params = network()
    mask = some(params)
    whole = score(apply_fn, params, mask, batch())
    weight_scores = score(apply_fn, params, mask, batch(), chunk=chunk)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-15)
    jax.tree.map(close, weight_scores, whole)


@pytest.mark.parametrize("chunk", [0, 4, 7])
def test_a_chunk_that_does_not_divide_the_batch_is_refused(chunk):
    apply_fn, params = network()
    with pytest.raises(ValueError, match="must divide the 6 examples"):
        scores.snip(apply_fn, params, masks.dense(params), batch(), chunk=chunk)


def relu_network(widths, *, seed=0, scale=1.0):
    """Return apply_fn and parameters, in float32, of an MLP with ReLU and without biases."""
    rng = np.random.default_rng(seed)
    params = {
        f"w{at:02}": jnp.asarray(scale * rng.normal(size=size), jnp.float32)
        for at, size in enumerate(itertools.pairwise(widths))
    }

    def apply_fn(params, x):
        *hidden, last = params.values()
        for w in hidden:
            x = jax.nn.relu(x @ w)
        return x @ last

    return apply_fn, params


def test_synflow_is_the_sum_over_all_paths_through_a_weight():
    widths = (3, 4, 2, 3)
    apply_fn, params = relu_network(widths)
    mask = some(params)
    weight_scores = scores.synflow(apply_fn, params, mask, jnp.ones((1, 3)))
    kept = [np.abs(np.asarray(leaf, np.float64)) for leaf in masks.apply(params, mask).values()]
    wanted = [np.zeros_like(leaf) for leaf in kept]
    for path in itertools.product(*map(range, widths)):
        edges = list(itertools.pairwise(path))
        product = np.prod([leaf[edge] for leaf, edge in zip(kept, edges, strict=True)])
        for leaf, edge in zip(wanted, edges, strict=True):
            leaf[edge] += product
    for leaf, each in zip(weight_scores.values(), wanted, strict=True):
        assert leaf.dtype == jnp.float64
        np.testing.assert_allclose(leaf, each, rtol=1e-12)


def test_synflow_conserves_what_flows_through_a_hidden_unit():
    apply_fn, params = relu_network((5, 7, 6, 4))
    mask = some(params)
    into, out, _ = scores.synflow(apply_fn, params, mask, jnp.ones((1, 5))).values()
    np.testing.assert_allclose(np.asarray(into).sum(0), np.asarray(out).sum(1), rtol=1e-12)


def test_synflow_is_the_same_under_jit_and_vmap_in_either_mode():
    apply_fn, params = relu_network((5, 7, 4))
    mask, ones = masks.dense(params), jnp.ones((1, 5))
    wanted = scores.synflow(apply_fn, params, mask, ones)
    stacked = trees.stack([params, params])
    mapped = jax.jit(jax.vmap(lambda each: scores.synflow(apply_fn, each, mask, ones)))(stacked)
    with jax.enable_x64(True):
        again = scores.synflow(apply_fn, params, mask, ones)
    for name, leaf in wanted.items():
        assert mapped[name].dtype == jnp.float64
        np.testing.assert_allclose(np.asarray(mapped[name])[1], np.asarray(leaf), rtol=1e-12)
        np.testing.assert_allclose(np.asarray(again[name]), np.asarray(leaf), rtol=1e-12)
    assert jnp.ones(1).dtype == jnp.float32  # the mode is as it was


def test_a_network_that_computes_in_float32_is_refused_by_synflow():
    apply_fn, params = relu_network((5, 7, 4))
    with pytest.raises(TypeError, match="`apply_fn` must compute in float64"):
        scores.synflow(
            lambda p, x: apply_fn(p, x).astype(jnp.float32),
            params,
            masks.dense(params),
            jnp.ones((1, 5)),
        )


def test_synflow_in_rounds_empties_no_layer_before_it_must_though_float32_would_overflow():
    widths = (6, *[6] * 60, 4)  # flows of 1e60
    apply_fn, params = relu_network(widths, scale=3.0)
    mask, layers = masks.dense(params), len(params)
    flow = functools.partial(scores.synflow, apply_fn, params, inputs=jnp.ones((1, 6)))
    first = jax.jit(flow)(mask)
    assert max(np.asarray(leaf).max() for leaf in first.values()) > 3.5e38
    size = masks.size(mask)
    counts = prune.round_counts(size, keep=layers, rounds=100)
    last = prune.in_rounds(flow, mask, keeps=counts)
    assert [int(leaf.sum()) for leaf in last.values()] == [1] * layers
    at_once = prune.global_topk(first, mask, keep=layers)
    assert min(int(leaf.sum()) for leaf in at_once.values()) == 0  # why there are rounds


ROUNDS = {"exponential": [100, 10, 1], "linear": [667, 334, 1], "cubic": [297, 38, 1]}


@pytest.mark.parametrize("spacing", ROUNDS)
def test_counts_of_rounds(spacing):
    assert prune.round_counts(1000, keep=1, rounds=3, spacing=spacing) == ROUNDS[spacing]


def test_counts_of_rounds_are_rounded_to_the_nearest():
    assert prune.round_counts(10, keep=1, rounds=3) == [5, 2, 1]  # of 4.64 and 2.15


@pytest.mark.parametrize("spacing", ROUNDS)
@pytest.mark.parametrize(("kept", "keep"), [(1, 1), (7, 7), (7, 1), (266_200, 1331)])
@pytest.mark.parametrize("rounds", [1, 2, 100])
def test_counts_of_rounds_never_rise_and_end_where_asked(kept, keep, rounds, spacing):
    counts = prune.round_counts(kept, keep=keep, rounds=rounds, spacing=spacing)
    assert len(counts) == rounds
    assert counts[-1] == keep
    assert all(a >= b for a, b in itertools.pairwise([kept, *counts]))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"keep": 0}, "`keep` must be at least 1"),
        ({"keep": 8}, "at most the 7 weights"),
        ({"rounds": 0}, "`rounds` must be at least 1"),
        ({"spacing": "square"}, "`spacing` must be"),
    ],
)
def test_counts_of_rounds_that_cannot_be_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        prune.round_counts(7, **({"keep": 3, "rounds": 2} | wrong))


def test_rounds_are_nested_compiled_once_and_refuse_to_rise():
    traced = []

    def score(mask):
        traced.append(mask)
        return {"w": jnp.where(mask["w"], jnp.arange(8.0) % 5, jnp.inf)}

    mask = {"w": jnp.arange(8) != 4}
    one = prune.in_rounds(score, mask, keeps=[6])
    three = prune.in_rounds(score, mask, keeps=[6, 5, 2])
    assert len(traced) == 1
    assert not jnp.any(three["w"] & ~one["w"])
    assert int(three["w"].sum()) == 2
    with pytest.raises(ValueError, match="never rise"):
        prune.in_rounds(score, mask, keeps=[5, 6])


PAIR = {"a": jnp.arange(1.0, 5.0)[None], "b": jnp.arange(1.0, 9.0)[None]}


def test_rounds_may_prune_each_layer_for_itself():
    keeps = [{"a": 3, "b": 6}, {"a": 1, "b": 2}]
    last = prune.in_rounds(lambda mask: scores.magnitude(PAIR), masks.dense(PAIR), keeps=keeps)
    assert {name: int(leaf.sum()) for name, leaf in last.items()} == keeps[-1]


@pytest.mark.parametrize("keeps", [[10, 4], [{"a": 3, "b": 6}, {"a": 1, "b": 2}]])
def test_rounds_under_jit_and_vmap_are_those_outside(keeps):
    def score(mask, params):
        left = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(mask)) % 2
        return jax.tree.map(lambda w: jnp.sin((5 + left) * w), params)

    def pruned(mask, params):
        return prune.in_rounds(score, mask, keeps=keeps, args=(params,))

    replicates = [PAIR, jax.tree.map(lambda leaf: leaf**2, PAIR)]
    mask = masks.dense(PAIR)
    traces = []
    jitted = jax.jit(lambda *both: traces.append(both) or pruned(*both))
    both = jax.vmap(functools.partial(pruned, mask))(trees.stack(replicates))
    for params, of_vmap in zip(replicates, trees.unstack(both), strict=True):
        expected = pruned(mask, params)
        jax.tree.map(np.testing.assert_array_equal, jitted(mask, params), expected)
        jax.tree.map(np.testing.assert_array_equal, of_vmap, expected)
    assert len(traces) == 1
    with pytest.raises(ValueError, match=r"must lie in 0\.\.12, what is kept before"):
        jax.jit(lambda mask: prune.in_rounds(scores.magnitude, mask, keeps=[13]))(mask)


@pytest.mark.parametrize("score", [scores.snip, scores.grasp, scores.fisher])
def test_a_leaf_without_a_gradient_is_named(score):
    params = {"w": jnp.ones((1, 2)), "count": jnp.int32(3)}
    batch = jnp.ones((1, 1)), jnp.array([0])
    with pytest.raises(TypeError, match="leaf 'count' of int32, which has no gradient"):
        score(lambda p, x: x @ p["w"], params, masks.dense(params), batch)


@pytest.mark.parametrize(
    ("keeps", "error", "words"),
    [
        ([13], ValueError, r"must lie in 0\.\.12, what is kept before"),
        ([4, 5], ValueError, r"must lie in 0\.\.4"),
        ([2.5], TypeError, "whole numbers of weights; got 2.5"),
        ([{"a": 5, "b": 8}], ValueError, r"must lie in 0\.\.4"),
        ([{"a": 4, "b": 8}, {"a": 2, "b": 2}, {"a": 3, "b": 2}], ValueError, "of 'a' must lie"),
        ([{"a": 1}], ValueError, "'b' is missing"),
        ([3, {"a": 2}], TypeError, "`keeps` must be counts, or all be counts by name"),
        ([{"a": 2, "b": 2}, 3], TypeError, "`keeps` must be counts, or all be counts by name"),
    ],
)
def test_counts_that_no_round_can_keep_are_refused_before_the_first(keeps, error, words):
    def score(mask):
        raise AssertionError

    with pytest.raises(error, match=words):
        prune.in_rounds(score, masks.dense(PAIR), keeps=keeps)


def test_float64_is_refused_on_a_tpu_which_has_none(monkeypatch):
    apply_fn, params = relu_network((5, 7, 4))
    weight_scores = scores.synflow(apply_fn, params, masks.dense(params), jnp.ones((1, 5)))
    monkeypatch.setattr(jax, "devices", lambda: [type("Device", (), {"platform": "tpu"})()])
    with pytest.raises(ValueError, match="A TPU has no float64"):
        scores.synflow(apply_fn, params, masks.dense(params), jnp.ones((1, 5)))
    with pytest.raises(ValueError, match="A TPU has no float64"):
        prune.global_topk(weight_scores, masks.dense(params), keep=3)
    with jax.default_device(jax.local_devices()[0]):
        prune.global_topk(weight_scores, masks.dense(params), keep=3)


@pytest.mark.parametrize(
    "labels", [np.zeros(1, int), np.zeros((6, 1), int), np.zeros(6), np.zeros((6, 3))]
)
def test_labels_that_do_not_fit_are_refused(labels):
    apply_fn, params = network()
    with pytest.raises(ValueError, match="as many whole-numbered labels; got 6 inputs"):
        scores.snip(apply_fn, params, masks.dense(params), (batch()[0], labels))


def test_chunks_do_not_keep_a_gradient_each():
    params = {"w": jnp.ones((500, 400))}
    data = np.ones((50, 500), np.float32), np.zeros(50, int)

    def temporary(chunk):
        scored = jax.jit(
            lambda params: scores.snip(
                lambda p, x: x @ p["w"], params, masks.dense(params), data, chunk=chunk
            )
        )
        return scored.lower(params).compile().memory_analysis().temp_size_in_bytes

    assert temporary(1) < 5 * params["w"].nbytes


def test_logits_of_bfloat16_are_scored_in_float32():
    apply_fn, params = network()
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    mask, data = masks.dense(single), batch()

    def rounded(params, inputs):
        return apply_fn(params, inputs).astype(jnp.bfloat16)

    weight_scores = scores.grasp(rounded, single, mask, data)
    wanted = scores.grasp(apply_fn, single, mask, data)
    correlation = np.corrcoef(np.ravel(weight_scores["w0"]), np.ravel(wanted["w0"]))[0, 1]
    assert correlation > 0.9


@pytest.mark.parametrize("score", [scores.snip, scores.grasp])
def test_scores_of_gradients_under_jit_and_vmap_equal_a_loop(score):
    apply_fn, params = network()
    both = [
        jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), each)
        for each in (params, network(seed=5)[1])
    ]
    mask = some(params)
    mapped = jax.jit(jax.vmap(lambda each: score(apply_fn, each, mask, batch())))
    for result, each in zip(trees.unstack(mapped(trees.stack(both))), both, strict=True):
        wanted = score(apply_fn, each, mask, batch())
        close = functools.partial(np.testing.assert_allclose, rtol=2e-3, atol=1e-7)
        jax.tree.map(close, result, wanted)
        pruned = jax.tree.map(lambda s, keep: 0 if keep is None else s[~keep], result, mask)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(pruned))


@pytest.mark.parametrize(
    "name", ["lenet-300-100", pytest.param("resnet-20", marks=pytest.mark.slow)]
)
def test_every_score_prunes_a_network_of_the_library_to_the_exact_count(name):
    shape = (28, 28, 1) if name.startswith("lenet") else (32, 32, 3)
    model = models.build(ModelConfig(name=name), shape=shape, classes=10)
    state = jax.jit(model.init)(keys.stream(0, 0, "initialization"))
    mask = masks.dense(state.params)

    def train_mode(params, inputs):
        return model.apply(state._replace(params=params), inputs, True)[0]

    def test_mode(params, inputs):
        return model.apply(state._replace(params=params), inputs, False)[0]

    def scored(score, apply_fn, data):
        return jax.jit(functools.partial(score, apply_fn))(state.params, mask, data)

    inputs = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    data = inputs, np.arange(4)
    result = {
        "snip": scored(scores.snip, train_mode, data),
        "grasp": scored(scores.grasp, train_mode, data),
        "synflow": scored(scores.synflow, test_mode, np.ones((1, *shape))),
    }
    pruned = {which: prune.global_topk(each, mask, keep=1000) for which, each in result.items()}
    for which, each in pruned.items():
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result[which]))
        assert int(masks.kept(each)) == 1000
    for a, b in itertools.combinations(pruned.values(), 2):
        assert float(masks.jaccard(a, b)) < 0.9


def test_synflow_in_rounds_takes_networks_with_max_pooling():
    random = np.random.default_rng(0)
    params = {
        "first": random.normal(size=(3, 3, 1, 2)).astype(np.float32),
        "last": random.normal(size=(8, 3)).astype(np.float32),
    }

    def network(params, images):
        sides = ("NHWC", "HWIO", "NHWC")
        outputs = jax.lax.conv_general_dilated(
            images, params["first"], (1, 1), "SAME", dimension_numbers=sides
        )
        pooled = nn.max_pool(outputs, (2, 2), (2, 2))
        return pooled.reshape(len(images), -1) @ params["last"]

    def score(mask):
        return scores.synflow(network, params, mask, np.ones((1, 4, 4, 1)))

    mask = masks.dense(params)
    at_once = prune.global_topk(score(mask), mask, keep=10)
    in_rounds = prune.in_rounds(score, mask, keeps=[10])
    assert jax.tree.all(jax.tree.map(np.array_equal, at_once, in_rounds))


@pytest.mark.parametrize(
    ("labels", "label"), [([0, 1, 2, 1, 0, 9], 9), ([0, -1, 2, 1, 1, 1], -1), ([255] * 6, 255)]
)
@pytest.mark.parametrize("score", [scores.snip, scores.grasp])
@pytest.mark.parametrize("chunk", [None, 2])
def test_labels_that_are_no_class_are_refused_and_named(score, labels, label, chunk):
    apply_fn, params = network()
    words = rf"`batch\[1\]` must lie in 0..{WIDTHS[-1] - 1}, one of .* got the label {label}"
    with pytest.raises(ValueError, match=words):
        score(apply_fn, params, masks.dense(params), (batch()[0], np.array(labels)), chunk=chunk)


def test_labels_of_unknown_values_pass_under_jit():
    apply_fn, params = network()
    inputs, labels = batch()
    mask = masks.dense(params)
    scored = jax.jit(lambda labels: scores.snip(apply_fn, params, mask, (inputs, labels)))
    expected = scores.snip(apply_fn, params, mask, (inputs, labels))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), scored(labels), expected)


def complex_pair():
    """Return a complex weight's network and the same one of two real weights, with a batch."""
    random = np.random.default_rng(2)
    real, imaginary = random.normal(size=(2, 3, 4)).astype(np.float32)
    one, both = {"w": real + 1j * imaginary}, {"re": real, "im": imaginary}

    def of_parts(params, inputs):
        # |x w|^2 of each class: the angle of w matters between its rows.
        return (inputs @ params["re"]) ** 2 + (inputs @ params["im"]) ** 2

    def of_complex(params, inputs):
        return of_parts({"re": params["w"].real, "im": params["w"].imag}, inputs)

    data = random.normal(size=(5, 3)).astype(np.float32), np.array([0, 1, 2, 3, 0])
    return (of_complex, one), (of_parts, both), data


def test_scores_of_complex_weights_are_those_of_their_two_parts_together():
    (of_complex, one), (of_parts, both), data = complex_pair()

    def loss(params):
        logs = jax.nn.log_softmax(of_parts(params, data[0]))
        return -jnp.mean(logs[jnp.arange(5), data[1]])

    gradient = jax.grad(loss)(both)
    snip = scores.snip(of_complex, one, masks.dense(one), data)["w"]
    change = gradient["re"] * both["re"] + gradient["im"] * both["im"]
    np.testing.assert_allclose(snip, abs(change), rtol=1e-4)
    grasp = scores.grasp(of_complex, one, masks.dense(one), data)["w"]
    parts = scores.grasp(of_parts, both, masks.dense(both), data)
    np.testing.assert_allclose(grasp, parts["re"] + parts["im"], rtol=1e-3, atol=1e-9)


def test_synflow_and_magnitude_of_complex_weights_are_those_of_their_magnitudes():
    one = {"w": jnp.array([[3 + 4j, -2j]])}
    assert scores.magnitude(one)["w"].tolist() == [[5.0, 2.0]]
    weight_scores = scores.synflow(lambda p, x: x @ p["w"], one, masks.dense(one), jnp.ones((1, 1)))
    assert weight_scores["w"].tolist() == [[5.0, 2.0]]


def test_products_of_float16_gradients_and_weights_do_not_vanish():
    params = {"w": jnp.array([[1e-4, -1e-4]], jnp.float16)}
    data = np.full((1, 1), 1e-3, np.float16), np.array([0])
    weight_scores = scores.snip(lambda p, x: x @ p["w"], params, masks.dense(params), data)["w"]
    assert weight_scores.dtype == jnp.float32
    np.testing.assert_allclose(weight_scores, 0.5e-3 * 1e-4, rtol=0.01)


@pytest.mark.parametrize("labels", [[], [0]])
def test_inputs_without_an_array_are_refused(labels):
    with pytest.raises(ValueError, match="must be inputs and as many whole-numbered labels; got 0"):
        scores.snip(lambda p, x: x, {}, {}, ({}, np.array(labels, int)))


def test_scores_of_tensors_without_elements_are_empty_and_change_no_other():
    apply_fn, params = network()
    more = params | {"x": np.ones((0, 3), np.float32)}
    for score in (scores.snip, scores.grasp):
        weight_scores = score(apply_fn, more, masks.dense(more), batch())
        expected = score(apply_fn, params, masks.dense(params), batch())
        assert weight_scores.pop("x").shape == (0, 3)
        jax.tree.map(np.testing.assert_array_equal, weight_scores, expected)


def test_a_mask_in_other_containers_names_the_leaf():
    with pytest.raises(ValueError, match="leaf '0' is a list in `params` but a tuple in `mask`"):
        scores.snip(lambda p, x: x @ p[0], [jnp.ones((1, 2))], (None,), (jnp.ones((1, 1)), [0]))


def test_a_score_in_chunks_is_the_same_without_jit():
    params, data = {"w": jnp.array([[1.0, -1.0]])}, (jnp.ones((2, 1)), jnp.array([0, 0]))
    mask = masks.dense(params)
    make = lambda: scores.snip(lambda p, x: x @ p["w"], params, mask, data, chunk=1)  # noqa: E731
    expected = make()["w"]
    with jax.disable_jit():
        np.testing.assert_allclose(make()["w"], expected, rtol=1e-5)
