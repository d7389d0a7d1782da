import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn

from jaxlth import keys, masks, models, settings, supermasks, trees
from jaxlth.models import Network
from jaxlth.supermasks import SupermaskConfig
from jaxlth.training import train

BERNOULLI = SupermaskConfig(initial_score=0.5)
EDGE_POPUP = SupermaskConfig(method="edge-popup", density=0.4)
GEM_MINER = SupermaskConfig(method="gem-miner", density=0.3, l2=1e-4, prunings=6)
RESTORED = dataclasses.replace(GEM_MINER, restore=True)
CHOSEN = {each.method: each for each in (BERNOULLI, EDGE_POPUP, GEM_MINER)}
STEPS = 150
DATA = tiny.dataset(train=120, test=60)
MLP = tiny.model(32)

# What is trained to the end, by what.
SLOW = ("rescaled", "expected")
TRAININGS = {
    "bernoulli": (BERNOULLI, {"name": "momentum", "lr": 10.0}),
    "rescaled": (
        SupermaskConfig(rescale=True, weights="signed-constant"),
        {"name": "adamw", "lr": 0.1, "weight_decay": 1e-3},
    ),
    "expected": (SupermaskConfig(at_test="expected"), {"name": "adam", "lr": 0.1}),
    "edge-popup": (
        SupermaskConfig(method="edge-popup", density=0.4, weights="scaled"),
        {"name": "momentum", "lr": 0.1, "weight_decay": 1e-4},
    ),
    "gem-miner": (GEM_MINER, {"name": "momentum", "lr": 0.1}),
}


class Normed(nn.Module):
    """A convolution, batch norm and a dense layer."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(3, (2, 2))(x)
        x = nn.BatchNorm(use_running_average=not train, scale_init=nn.initializers.normal())(x)
        return nn.Dense(3, bias_init=nn.initializers.ones)(nn.relu(x).reshape(x.shape[0], -1))


@functools.cache
def normed():
    """Return the network with batch norm as a model."""
    module = Normed()

    def init(key):
        variables = module.init(key, jnp.zeros((1, *tiny.SHAPE)), train=False)
        return Network(variables["params"], variables["batch_stats"])

    def apply(network, inputs, train):
        variables = {"params": network.params, "batch_stats": network.stats}
        mutable = ["batch_stats"] if train else []
        logits, changed = module.apply(variables, inputs, train=train, mutable=mutable)
        return logits, changed.get("batch_stats", network.stats)

    return models.Model(init=init, apply=apply, convolutional=True)


@functools.cache
def linear(*shape):
    """Return the model of one output, the sum of weights times inputs."""

    def apply(network, inputs, train):
        return inputs @ network.params["kernel"], network.stats

    return models.Model(
        init=lambda key: Network({"kernel": jax.random.normal(key, shape)}, {}), apply=apply
    )


@functools.cache
def supermask(config, within=None, *, steps=STEPS):
    return supermasks.wrap(within or MLP, config, steps=steps)


@functools.cache
def drawn(model, replicate=0):
    return jax.jit(model.init)(keys.stream(0, replicate, "initialization"))


def images(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(7, *tiny.SHAPE)), jnp.float32)


# Training from start to end.


each_training = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TRAININGS],
)


@functools.cache
def training(name):
    """Return two replicates before and after their training, and their test accuracies."""
    config, rule = TRAININGS[name]
    model = supermask(config)
    optimizer = supermasks.optimizer(config, tiny.optimizer(**rule))
    trainer = train.make(model, optimizer, batch_size=20)

    def run(replicate, data):
        network = model.init(keys.stream(0, replicate, "initialization"))
        mask = masks.dense(network.params)
        begun = trainer.start(network, mask)
        order = keys.stream(0, replicate, "order")
        ended = trainer.advance(begun, mask, data, order, 0, STEPS)
        scored = [
            trainer.evaluate(state.network, mask, data.test, data.mean, data.std).accuracy
            for state in (begun, ended)
        ]
        return begun.network, ended.network, scored, supermasks.mask_of(ended.network, config)

    return jax.device_get(jax.jit(jax.vmap(run, in_axes=(0, None)))(jnp.arange(2), DATA))


@pytest.mark.slow
@each_training
def test_training_a_supermask_raises_accuracy(name):
    _, _, (before, after), _ = training(name)
    assert np.all(after > np.maximum(before, 0.4) + 0.2)


@each_training
def test_frozen_weights_do_not_change_by_a_bit_while_masks_are_trained(name):
    before, after, _, _ = training(name)
    tiny.assert_same(before.stats.weights, after.stats.weights)
    assert after.stats.passes.tolist() == [STEPS, STEPS]
    scores = [trees.named(network.params) for network in (before, after)]
    assert all(np.any(scores[0][leaf] != scores[1][leaf]) for leaf in scores[0])


@each_training
def test_what_is_found_is_an_ordinary_mask_of_its_density(name):
    config, _ = TRAININGS[name]
    within = MLP
    *_, mask_trees = training(name)
    for mask in trees.unstack(mask_trees):
        masks.check(drawn(within).params, mask)
        if config.method == "edge-popup":
            counts = {leaf: int(np.sum(keep)) for leaf, keep in trees.named(mask).items()}
            assert counts == {"Dense_0/kernel": 51, "Dense_1/kernel": 38}  # of 128 and 96
        if config.method == "gem-miner":
            assert 0 < int(masks.kept(mask)) <= 67  # of 224


def test_scores_of_gem_miner_stay_within_0_and_1():
    _, after, _, _ = training("gem-miner")
    leaves = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(after.params)])
    assert leaves.min() == 0.0
    assert leaves.max() <= 1.0


@pytest.mark.parametrize("config", CHOSEN.values(), ids=CHOSEN)
def test_frozen_weights_are_the_same_bits_under_every_optimizer(config):
    model = supermask(config)
    network = drawn(model)
    mask = masks.dense(network.params)
    batch = jax.tree.map(lambda leaf: leaf[:20], DATA.train)
    rules = [
        tiny.optimizer("adam", lr=0.1),
        tiny.optimizer("adamw", lr=0.1, weight_decay=0.1),
        tiny.optimizer("momentum", lr=1.0, weight_decay=0.1, l1=0.1),
    ]

    @jax.jit
    def weights_after(network):
        for rule in rules:
            trainer = train.make(model, supermasks.optimizer(config, rule), batch_size=20)
            state = trainer.start(network, mask)
            state = trainer.update(
                state, mask, batch, (DATA.mean, DATA.std), jax.random.key(0), jnp.int32(0)
            )
            yielded.append(None)
            network = state.network
        return network.stats.weights

    yielded = []
    tiny.assert_same(weights_after(network), network.stats.weights)
    assert len(yielded) == len(rules)


# Gradients, by hand.


def gradient(config, scores, *, weights=(2.0, -3.0), inputs=(1.0, 5.0), active=(True, True), at=0):
    """Return the gradient of the output of two weights by their scores, and the mask in use."""
    model = supermask(config, linear(2, 1))
    network = drawn(model)
    frozen = network.stats._replace(
        weights={"kernel": jnp.array(weights)[:, None]}, passes=jnp.int32(at)
    )
    if frozen.active is not None:
        frozen = frozen._replace(active={"kernel": jnp.array(active)[:, None]})

    def output(params):
        logits, _ = model.apply(Network(params, frozen), jnp.array([inputs]), True)
        return logits[0, 0]

    params = {"scores": {"kernel": jnp.array(scores)[:, None]}}
    value, grads = jax.value_and_grad(output)(params)
    return float(value), np.ravel(grads["scores"]["kernel"])


def test_the_gradient_of_bernoulli_is_that_of_the_probability():
    scores = np.array([0.3, -1.0])
    p = 1 / (1 + np.exp(-scores))
    value, grads = gradient(BERNOULLI, scores)
    assert value in (0.0, 2.0, -15.0, -13.0)
    np.testing.assert_allclose(grads, [2.0 * p[0] * (1 - p[0]), -15.0 * p[1] * (1 - p[1])], 1e-5)


def test_the_gradient_of_bernoulli_goes_through_the_rescaling():
    config = SupermaskConfig(rescale=True)
    scores = np.array([0.3, -1.0])
    p = 1 / (1 + np.exp(-scores))
    seen = set()
    for at in range(12):
        value, grads = gradient(config, scores, at=at)
        kept = {-13.0: (1, 1), 4.0: (1, 0), -30.0: (0, 1), 0.0: (0, 0)}[value]
        seen.add(kept)
        if sum(kept):  # output = n / k * sum of m_i a_i
            k, total = sum(kept), 2.0 * kept[0] - 15.0 * kept[1]
            by_mask = 2 / k * np.array([2.0, -15.0]) - 2 / k**2 * total
            np.testing.assert_allclose(grads, by_mask * p * (1 - p), 1e-5)
    assert len(seen) >= 3


def test_the_gradient_of_edge_popup_goes_straight_through_to_what_is_kept_and_what_is_not():
    config = SupermaskConfig(method="edge-popup", density=0.5)
    value, grads = gradient(config, [-0.3, 0.2])
    assert value == 2.0  # the score of larger magnitude
    np.testing.assert_array_equal(grads, [-2.0, -15.0])


def test_the_gradient_of_gem_miner_goes_straight_through_to_all_that_is_not_frozen_out():
    config = SupermaskConfig(method="gem-miner", density=0.5, prunings=1)
    assert gradient(config, [0.5, 0.4])[0] == 2.0
    np.testing.assert_array_equal(gradient(config, [0.5, 0.4])[1], [2.0, -15.0])
    value, grads = gradient(config, [0.7, 0.9], active=(True, False))
    assert value == 2.0
    np.testing.assert_array_equal(grads, [2.0, 0.0])


# Masks.


@pytest.mark.parametrize("density", [0.01, 0.1, 0.37, 1.0])
def test_edge_popup_keeps_the_same_share_of_each_layer(density):
    config = SupermaskConfig(method="edge-popup", density=density)
    mask = supermasks.mask_of(drawn(supermask(EDGE_POPUP)), config)
    counts = {leaf: int(jnp.sum(keep)) for leaf, keep in trees.named(mask).items()}
    expected = {"Dense_0/kernel": 128, "Dense_1/kernel": 96}
    assert counts == {leaf: round(density * size) for leaf, size in expected.items()}


@pytest.mark.parametrize(
    ("method", "density", "what"),
    [
        ("edge-popup", 0.005, "96 weights of the layer Dense_1/kernel; 0.01 keeps one."),
        ("gem-miner", 0.002, "224 weights of the network; 0.0045 keeps one."),
    ],
)
def test_a_density_that_keeps_no_weight_is_refused(method, density, what):
    config = SupermaskConfig(method=method, density=density)
    with pytest.raises(ValueError, match=f"`density` {density} keeps none of the {what}"):
        drawn(supermask(config))


def test_ties_of_edge_popup_go_to_the_lower_position():
    config = SupermaskConfig(method="edge-popup", density=0.5)
    network = drawn(supermask(config, linear(4, 1)))
    network = network._replace(params={"scores": {"kernel": jnp.array([[1.0], [-1], [2], [1]])}})
    mask = supermasks.mask_of(network, config)["kernel"]
    assert mask.ravel().tolist() == [True, False, True, False]


def test_bernoulli_keeps_as_often_as_the_sigmoid_says():
    config = SupermaskConfig(initial_score=1.0)
    model = supermask(config, linear(100, 100))
    network = drawn(model)
    p = 1 / (1 + math.exp(-1.0))
    spread = 5 * math.sqrt(p * (1 - p) / 100**2)
    assert abs(float(masks.density(supermasks.mask_of(network, config))) - p) < spread
    network = network._replace(
        params={"scores": {"kernel": jnp.linspace(-4, 4, 100)[None].repeat(100, 0)}},
        stats=network.stats._replace(weights={"kernel": jnp.ones((100, 100))}),
    )
    sums, _ = model.apply(network, jnp.ones((1, 100)), True)  # weights of each column drawn
    expected = 100 * jax.nn.sigmoid(jnp.linspace(-4, 4, 100))
    assert float(jnp.max(jnp.abs(sums[0] - expected))) < 25


def test_the_same_key_and_count_draw_the_same_mask():
    model = supermask(BERNOULLI)
    network, other = drawn(model), drawn(model, replicate=1)
    other = other._replace(stats=other.stats._replace(weights=network.stats.weights))
    first, frozen = model.apply(network, images(), True)
    again, _ = model.apply(network, images(), True)
    later, _ = model.apply(network._replace(stats=frozen), images(), True)
    elsewhere, _ = model.apply(other, images(), True)
    tested, unchanged = model.apply(network, images(), False)
    np.testing.assert_array_equal(first, again)
    for logits in (later, elsewhere, tested):
        assert np.any(np.asarray(logits) != first)
    tiny.assert_same(unchanged, network.stats)
    assert int(frozen.passes) == 1


def test_gem_miner_falls_to_its_density_and_revives_nothing():
    model = supermask(GEM_MINER, steps=14)
    network = drawn(model)

    def step(frozen, key):
        params = {"scores": keys.uniform(network.params["scores"], key=key)}  # as if all learned
        _, frozen = model.apply(Network(params, frozen), images(), True)
        return frozen, frozen.active

    steps = jax.random.split(jax.random.key(1), 14)
    last, lives = jax.jit(lambda frozen: jax.lax.scan(step, frozen, steps))(network.stats)
    lives = trees.unstack(lives)
    counts = [int(masks.kept(active)) for active in lives]
    falling = [round(224 * (67 / 224) ** (n / 6)) for n in range(7)]
    assert counts == [count for count in falling for _ in range(2)]
    for before, after in itertools.pairwise(lives):
        assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.all(a | ~b)), before, after)))
    network = network._replace(stats=last)
    tiny.assert_same(supermasks.mask_of(network, RESTORED), last.active)


def test_gem_miner_freezes_the_lowest_scores_out_and_draws_among_equals():
    config = SupermaskConfig(method="gem-miner", density=0.5, prunings=1)
    model = supermask(config, steps=2)
    network = drawn(model)
    network = network._replace(stats=network.stats._replace(passes=jnp.int32(1)))
    apply = jax.jit(lambda network: model.apply(network, images(), True)[1].active)
    _, order = jax.tree.flatten(network.params["scores"])
    scores = jax.tree.leaves(network.params["scores"])
    median = np.sort(np.concatenate([np.ravel(leaf) for leaf in scores]))[112]
    expected = jax.tree.unflatten(order, [leaf >= median for leaf in scores])
    tiny.assert_same(apply(network), expected)
    same = network._replace(params=jax.tree.map(jnp.ones_like, network.params))
    active = apply(same)
    assert int(masks.kept(active)) == 112
    assert all(0.3 < density < 0.7 for density in masks.layer_densities(active).values())


def test_what_gem_miner_finds_leaves_out_what_rounds_to_0():
    config = SupermaskConfig(method="gem-miner", density=0.3)
    network = drawn(supermask(config))
    rounded = jax.tree.map(lambda score: score >= 0.5, network.params["scores"])
    tiny.assert_same(supermasks.mask_of(network, config), rounded)


# The optimiser of the scores.


def test_the_optimizer_of_gem_miner_adds_slopes_and_clips():
    config = SupermaskConfig(method="gem-miner", density=0.5, l1=0.1, l2=0.2)
    rule = supermasks.optimizer(config, tiny.optimizer(lr=0.5))
    scores = {"scores": {"kernel": jnp.array([0.0, 0.3, 0.4, 0.9]), "bias": None}}
    grads = {"scores": {"kernel": jnp.array([0.0, 0.0, 9.0, -9.0]), "bias": None}}
    updates, _ = rule.update(grads, rule.init(scores), scores, step=jnp.int32(0))
    after = np.asarray(scores["scores"]["kernel"] + updates["scores"]["kernel"])
    np.testing.assert_allclose(after, [0, 0.3 - 0.5 * (0.1 + 0.4 * 0.3), 0, 1], rtol=1e-6)
    assert after[2] == 0.0
    assert after[3] == 1.0


# Frozen weights.


def test_weights_are_those_of_the_network_within_and_biases_and_norms_say_nothing():
    dense, network = drawn(normed()), drawn(supermask(BERNOULLI, normed()))
    before, frozen = trees.named(dense.params), trees.named(network.stats.weights)
    for leaf in ("Conv_0/kernel", "Dense_0/kernel"):
        np.testing.assert_array_equal(before[leaf], frozen[leaf])
    for leaf in ("Conv_0/bias", "Dense_0/bias", "BatchNorm_0/bias"):
        assert not np.any(frozen[leaf])
    np.testing.assert_array_equal(frozen["BatchNorm_0/scale"], np.ones(3))
    assert set(trees.named(network.params)) == {"scores/Conv_0/kernel", "scores/Dense_0/kernel"}


def test_weights_are_scaled_and_of_one_magnitude_as_asked():
    key = jax.random.key(0)
    plain = linear(4, 3).init(key).params["kernel"]

    def weights(name):
        config = SupermaskConfig(method="edge-popup", density=0.4, weights=name)
        return supermask(config, linear(4, 3)).init(key).stats.weights["kernel"]

    constant = np.sign(plain) * np.sqrt(np.mean(np.square(plain)))
    np.testing.assert_allclose(weights("scaled"), plain / math.sqrt(0.4), 1e-6)
    np.testing.assert_allclose(weights("signed-constant"), constant, 1e-6)
    np.testing.assert_allclose(weights("scaled-signed-constant"), constant / math.sqrt(0.4), 1e-6)
    kaiming = np.sign(constant) * math.sqrt(2 / math.prod(constant.shape[:-1]))
    np.testing.assert_allclose(weights("kaiming-constant"), kaiming, 1e-6)
    np.testing.assert_allclose(weights("scaled-kaiming-constant"), kaiming / math.sqrt(0.4), 1e-6)


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        ("edge-popup", "as-drawn"),
        ("edge-popup", "kaiming-constant"),
        ("edge-popup", "scaled-signed-constant"),
        ("bernoulli", "as-drawn"),
        ("bernoulli", "signed-constant"),
    ],
)
def test_a_supermask_keeps_the_type_of_its_weights(weights, method):
    seen = []

    def init(key):
        return {"a": {"kernel": jax.random.normal(key, (6, 4), jnp.bfloat16)}}

    def apply(params, inputs):
        seen.append(params["a"]["kernel"].dtype)
        return inputs @ params["a"]["kernel"]

    share = {"density": 0.5} if method == "edge-popup" else {}
    config = SupermaskConfig(method=method, weights=weights, **share)
    model = supermasks.wrap(models.from_functions(init, apply), config)
    network = model.init(jax.random.key(0))
    inputs = jnp.ones((2, 6), jnp.bfloat16)
    seen.clear()
    for in_training in (False, True):
        model.apply(network, inputs, in_training)
    assert set(seen) == {jnp.dtype("bfloat16")}
    assert supermasks.inner(network, config).params["a"]["kernel"].dtype == jnp.bfloat16


def test_gem_miner_has_a_penalty_at_low_densities_unless_it_is_told():
    def factor(density, **l2):
        return SupermaskConfig(method="gem-miner", density=density, **l2).l2_factor

    assert [factor(density) for density in (1.0, 0.5, 0.49, 0.01)] == [0, 0, 1e-5, 1e-5]
    assert [factor(density, l2=0.0) for density in (0.5, 0.1)] == [0, 0]
    assert factor(0.5, l2=1e-3) == 1e-3


def test_a_layer_left_out_has_no_scores_and_stays_whole():
    def prunable(params):
        return masks.without(masks.dense(params), ["Dense_1/*"])

    config = SupermaskConfig(method="edge-popup", density=0.4, weights="scaled")
    model = supermasks.wrap(MLP, config, prunable=prunable)
    network = drawn(model)
    assert list(trees.named(supermasks.mask_of(network, config))) == ["Dense_0/kernel"]
    plain = drawn(MLP).params["Dense_1"]["kernel"]
    np.testing.assert_array_equal(network.stats.weights["Dense_1"]["kernel"], plain)
    model.apply(network, images(), True)


# Networks within.


@pytest.mark.parametrize(
    "config",
    [*CHOSEN.values(), SupermaskConfig(rescale=True), RESTORED],
    ids=[*CHOSEN, "rescaled", "restored"],
)
def test_evaluations_see_the_network_within_under_the_mask_found(config):
    within = normed()
    model = supermask(config, within)
    network = drawn(model)
    _, frozen = model.apply(network, images(), True)
    before, after = trees.named(network.stats.stats), trees.named(frozen.stats)
    assert all(np.any(before[leaf] != after[leaf]) for leaf in before)
    network = network._replace(stats=frozen)
    ticket, mask = supermasks.inner(network, config), supermasks.mask_of(network, config)
    ticket = ticket._replace(params=masks.apply(ticket.params, mask))
    expected, _ = within.apply(ticket, images(1), False)
    logits, _ = model.apply(network, images(1), False)
    np.testing.assert_array_equal(logits, expected)


def test_expected_masks_weigh_by_probabilities():
    config = SupermaskConfig(at_test="expected", initial_score=1.0)
    model, within = supermask(config), MLP
    network = drawn(model)
    p = 1 / (1 + math.exp(-1.0))
    params = jax.tree.map(
        lambda w, score: w if score is None else w * p,
        network.stats.weights,
        network.params["scores"],
    )
    logits, _ = model.apply(network, images(), False)
    expected, _ = within.apply(Network(params, {}), images(), False)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert float(masks.density(supermasks.mask_of(network, config))) == 1.0


@pytest.mark.parametrize("config", CHOSEN.values(), ids=CHOSEN)
def test_replicates_side_by_side_are_what_they_are_alone(config):
    model = supermask(config, linear(6, 5))

    inputs = jax.random.normal(jax.random.key(0), (7, 6))
    networks = [drawn(model, replicate) for replicate in range(2)]
    passes = [jnp.int32(STEPS - 1), jnp.int32(0)]  # the first is to freeze weights out

    def step(network, passes):
        network = network._replace(stats=network.stats._replace(passes=passes))

        def loss(params):
            logits, frozen = model.apply(network._replace(params=params), inputs, True)
            return jnp.sum(logits**2), frozen

        (value, frozen), grads = jax.value_and_grad(loss, has_aux=True)(network.params)
        return value, grads, frozen._replace(active=None), frozen.active

    together = jax.jit(jax.vmap(step))(trees.stack(networks), jnp.stack(passes))
    alone = map(jax.jit(step), networks, passes)
    for one, other in zip(trees.unstack(together), alone, strict=True):
        tiny.assert_close(one[:3], other[:3], rtol=1e-4, atol=1e-5)
        tiny.assert_same(one[3], other[3])


def test_the_auxiliary_classifier_is_masked_too():
    within = linear(2, 1)

    def auxiliary(network, inputs):
        logits, stats = within.apply(network, inputs, True)
        return logits, 2 * logits, stats

    within = models.Model(init=within.init, apply=within.apply, auxiliary=auxiliary)
    model = supermask(EDGE_POPUP, within)
    network = drawn(model)
    assert model.auxiliary is not None
    logits, aside, frozen = model.auxiliary(network, jnp.ones((1, 2)))
    expected, _ = model.apply(network, jnp.ones((1, 2)), True)
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(aside, 2 * expected)
    assert int(frozen.passes) == 1


# Settings.


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"method": "edgepopup"}, "Did you mean 'edge-popup'"),
        ({"weights": "signed"}, "`weights` has no value 'signed'"),
        ({"at_test": "mean"}, "`at_test` has no value 'mean'"),
        ({"density": 0.5}, "`density` must be given for edge-popup and gem-miner, and only"),
        ({"method": "edge-popup"}, "`density` must be given"),
        ({"method": "edge-popup", "density": 0.0}, r"`density` must lie in \(0, 1\]; got 0.0"),
        ({"method": "gem-miner", "density": 1.5}, r"`density` must lie in \(0, 1\]; got 1.5"),
        ({"weights": "scaled"}, "`weights` scaled needs a `density`"),
        ({"l2": 1e-4}, "`l2` belongs to the method gem-miner; got 0.0001 with bernoulli"),
        ({"restore": True}, "`restore` belongs to the method gem-miner"),
        ({"initial_score": math.nan}, "`initial_score` must be finite"),
        (
            {"method": "edge-popup", "density": 0.5, "rescale": True},
            "`rescale` belongs to the method bernoulli; got True with edge-popup",
        ),
        ({"method": "gem-miner", "density": 0.5, "l1": -1.0}, "`l1` must be at least 0; got -1"),
        ({"method": "gem-miner", "density": 0.5, "prunings": 0}, "`prunings` must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, complaint):
    with pytest.raises(ValueError, match=complaint):
        SupermaskConfig(**wrong)


def test_settings_survive_their_text():
    as_text = settings.to_dict(GEM_MINER)
    assert settings.from_dict(SupermaskConfig, as_text) == GEM_MINER


def test_gem_miner_needs_more_steps_than_prunings():
    for steps in (None, 6):
        with pytest.raises(ValueError, match=f"`steps` must be above the .* 6; got {steps}"):
            supermask(GEM_MINER, steps=steps)


def test_a_network_without_prunable_weights_is_refused():
    model = supermasks.wrap(
        tiny.model(), BERNOULLI, prunable=lambda params: masks.without(masks.dense(params), ["*"])
    )
    with pytest.raises(ValueError, match="`prunable` must keep a weight"):
        drawn(model)


def plain(shapes):
    """Return the model of a linear map whose parameters have other leaves beside it."""

    def init(key):
        weights = {name: jax.random.normal(key, shape) for name, shape in shapes.items()}
        return Network(weights, {})

    def apply(network, inputs, train):
        return inputs @ network.params["w"], network.stats

    return models.Model(init=init, apply=apply)


METHODS = {
    "bernoulli": SupermaskConfig(method="bernoulli"),
    "edge-popup": SupermaskConfig(method="edge-popup", density=0.5),
    "gem-miner": SupermaskConfig(method="gem-miner", density=0.5, prunings=2),
}


@pytest.mark.parametrize("config", METHODS.values(), ids=METHODS)
def test_leaves_without_elements_change_nothing_in_a_supermask(config):
    model = supermasks.wrap(plain({"w": (3, 2), "x": (3, 0), "y": (0, 2)}), config, steps=10)
    network = model.init(keys.stream(0, 0, "initialization"))
    logits, stats = model.apply(network, jnp.ones((1, 3)), True)
    mask = supermasks.mask_of(network._replace(stats=stats), config)
    assert logits.shape == (1, 2)
    assert mask["x"].shape == (3, 0)
    if config.method == "edge-popup":
        assert int(mask["w"].sum()) == 3


@pytest.mark.parametrize("config", METHODS.values(), ids=METHODS)
def test_a_supermask_is_the_same_without_jit(config):
    model = supermasks.wrap(plain({"w": (3, 2)}), config, steps=10)
    network = model.init(keys.stream(0, 0, "initialization"))
    expected = supermasks.mask_of(network, config)
    logits, _ = jax.jit(model.apply, static_argnums=2)(network, jnp.ones((1, 3)), True)
    with jax.disable_jit():
        tiny.assert_same(supermasks.mask_of(network, config), expected)
        outputs, _ = model.apply(network, jnp.ones((1, 3)), True)
    np.testing.assert_allclose(outputs, logits, rtol=1e-6)


def test_frozen_biases_are_0_and_scales_1_by_the_names_of_other_libraries():
    shapes = {"w": (3, 2), "linear/b": (2,), "norm/weight": (2,), "norm/offset": (2,)}
    drawn = supermasks.frozen_network(
        plain(shapes), METHODS["bernoulli"], key=jax.random.key(0)
    ).params
    assert drawn["linear/b"].tolist() == drawn["norm/offset"].tolist() == [0, 0]
    assert drawn["norm/weight"].tolist() == [1, 1]


def test_rescaling_under_a_mask_in_other_containers_names_the_leaf():
    config = SupermaskConfig(method="bernoulli", rescale=True)
    with pytest.raises(ValueError, match="leaf '0' is a list in `params` but a tuple in `mask`"):
        supermasks.rescaled([jnp.ones(2)], (jnp.ones(2, bool),), config)


def test_constant_weights_have_the_deviation_of_kaiming_in_any_layout():
    kernels = {  # shape, inputs of a unit
        "Dense_0/kernel": ((20, 7), 20),  # Flax has inputs first
        "linear/weight": ((7, 20), 20),  # Equinox and PyTorch have outputs first
        "conv/weight": ((8, 5, 3, 3), 45),
        "Conv_0/kernel": ((3, 3, 5, 8), 45),
        "attention/query/kernel": ((10, 2, 3), 10),
        "attention/out/kernel": ((2, 3, 10), 6),
    }
    params = {}
    for number, (name, (shape, _)) in enumerate(kernels.items()):
        *modules, leaf = name.split("/")
        tree = functools.reduce(lambda tree, module: tree.setdefault(module, {}), modules, params)
        tree[leaf] = jax.random.normal(jax.random.key(number), shape)
    config = SupermaskConfig(method="edge-popup", density=0.5, weights="kaiming-constant")
    frozen = trees.named(supermasks.wrapping._freeze(params, masks.dense(params), config))
    for name, drawn_leaf in trees.named(params).items():
        expected = np.sign(drawn_leaf) * math.sqrt(2 / kernels[name][1])
        np.testing.assert_allclose(frozen[name], expected, rtol=1e-6, err_msg=name)
