"""Convolutional and residual networks as graphs: every network of the library, made small."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxlth import graphs, masks, models, trees
from jaxlth.graphs import Incoming
from jaxlth.graphs import wiring as wirings
from jaxlth.models import ModelConfig, Network, conv, inception, vgg
from jaxlth.models.resnet import ResNet

PRUNED, INACTIVE, ZOMBIE, ACTIVE = range(4)
CLASSES = 3


class Small:
    """A network of the library with few channels, its masked outputs, and draws of it."""

    def __init__(self, name):
        config = ModelConfig(name=name)
        self.side = 299 if name == "inception-v3" else 8
        self.model = models.build(config, shape=(self.side, self.side, 2), classes=CLASSES)
        self.wiring = models.wiring(config)
        self.like = jax.eval_shape(self.model.init, jax.random.key(0))
        self.whole = jax.jit(self._whole)
        self.fits = models.any_width(self.model)

    def _whole(self, network, mask, inputs):
        masked = Network(masks.apply(network.params, mask), network.stats)
        return self.model.apply(masked, inputs, False)[0]

    def inputs(self, count=2):
        side = min(self.side, 80)  # enough where there is no auxiliary classifier to run
        random = np.random.default_rng(7)
        return random.normal(size=(count, side, side, 2)).astype(np.float32)

    def draw(self, seed):
        """Return a network and a mask with units of each category, by a seed or one after it."""
        for number in itertools.count(100 * seed):
            network, mask = self._draw(np.random.default_rng(number))
            categorized = graphs.categories(network.params, mask, self.wiring)
            if min(graphs.count(categorized.units)[1:]) > 0:
                return network, mask

    def _draw(self, random):
        """Return a network and a mask with channels that nothing leads to, or that lead nowhere."""

        def leaf(path, like):
            name = trees.name(path)
            if name.endswith(("scale", "var")):
                return random.uniform(0.5, 1.5, like.shape).astype(np.float32)
            width = np.prod(like.shape[:-1]) ** 0.5 if len(like.shape) > 1 else 2
            return (random.normal(size=like.shape) / width * 2).astype(np.float32)

        def kept(like):
            share = random.choice([0.06, 0.3, 0.7])
            result = random.random(like.shape) < share
            result &= random.random((*like.shape[-2:-1], 1)) < 0.85
            return result & (random.random(like.shape[-1]) < 0.75)

        network = jax.tree_util.tree_map_with_path(leaf, self.like)
        return network, jax.tree.map(kept, masks.dense(self.like.params))


@pytest.fixture(scope="module")
def small():
    """Return the networks by name, made when first asked for."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "CHANNELS", 3)
        patch.setattr(conv, "DENSE", (6, 5))
        patch.setattr(vgg, "CHANNELS", (3, 4))
        patch.setitem(models.LEAST_SIDES, "vgg-11", 2)
        patch.setattr(inception, "STEM", narrow(inception.STEM))
        patch.setattr(inception, "AUXILIARY", narrow(inception.AUXILIARY))
        narrowed = {
            name: tuple(narrow(path) for path in paths) for name, paths in inception.MODULES.items()
        }
        for name, paths in narrowed.items():
            patch.setitem(inception.MODULES, name, paths)
        make = {
            "vgg-11": lambda _, classes, layers: vgg.VGG((1, 2), 1, classes, layers),
            "resnet-20": lambda _, classes, layers: ResNet((1, 1), 4, classes, layers),
            "resnet-50": lambda _, classes, layers: ResNet(
                (2,), 3, classes, layers, bottleneck=True, large=True
            ),
        }
        for name, each in make.items():
            patch.setitem(models.MODELS, name, each)

        def get(name):
            if name not in made:
                made[name] = Small(name)
            return made[name]

        yield get


def narrow(path):
    """Return a path of Inception with few channels."""

    def one(step):
        if isinstance(step, inception.Step):
            return step._replace(channels=2 + step.channels // 128)
        return inception.Fork(*map(one, step)) if isinstance(step, inception.Fork) else step

    return tuple(map(one, path))


NETWORKS = [
    "conv-2",
    "vgg-11",
    "resnet-20",
    "resnet-50",
    pytest.param("inception-v3", marks=pytest.mark.slow),
]
every_network = pytest.mark.parametrize("name", NETWORKS)


def without(params, mask, result, categories):
    """Return the mask without the weights of some categories."""
    names = graphs.kernels(result.wiring)
    places = dict(zip(names, result.weights, strict=True))
    assert sorted(names) == sorted(trees.names(mask))

    def leaf(path, keep):
        return keep & ~np.isin(places[trees.name(path)], categories)

    return jax.tree_util.tree_map_with_path(leaf, mask)


def kept(mask):
    return sum(np.sum(leaf) for leaf in jax.tree.leaves(mask))


ALL = [
    ModelConfig(name=name, fc_layers=fc_layers, hidden=(5, 4) if name == "mlp" else ())
    for name in models.MODELS
    if name not in ("vit-tiny", "gpt-mini")  # attention has no wiring
    for fc_layers in ((1, 2) if name.startswith("vgg-") else (1,))
]


@pytest.mark.parametrize("config", ALL, ids=lambda config: f"{config.name}-{config.fc_layers}")
def test_a_wiring_has_the_prunable_kernels_and_all_batch_norm(config):
    side = 299 if config.name == "inception-v3" else 32
    model = models.build(config, shape=(side, side, 3), classes=7)
    like = jax.eval_shape(model.init, jax.random.key(0))
    wiring = models.wiring(config)
    assert sorted(graphs.kernels(wiring)) == sorted(trees.names(masks.dense(like.params)))
    norm_names = [Incoming(*each).norm for incoming in wiring for each in incoming]
    statistics = {name.rpartition("/")[0] for name in trees.names(like.stats)}
    assert sorted(filter(None, norm_names)) == sorted(statistics)
    widths = wirings.widths(like.params, wiring)
    assert widths[0] == (3 if model.convolutional else 3 * 32 * 32)
    assert widths[-1] == 7


@every_network
def test_categories_are_what_gradients_show(small, name):
    """Weights, inputs and biases above 0: all that an output depends on has a slope above 0.

    Without biases zombies are 0, and only what is active has a slope.
    """
    net = small(name)
    network, mask = net.draw(0)
    mask = jax.tree.map(  # whole edges, so that none reads the padding alone
        lambda keep: np.broadcast_to(keep.any(axis=tuple(range(keep.ndim - 2))), keep.shape), mask
    )
    categorized = graphs.categories(network.params, mask, net.wiring)
    positive = jax.tree.map(lambda leaf: np.abs(leaf) + np.float32(0.1), network)

    @jax.jit
    def grads(network, inputs):
        def total(params):
            return net.model.apply(Network(params, network.stats), inputs, False)[0].sum()

        return jax.grad(total)(masks.apply(network.params, mask))

    inputs = np.abs(net.inputs(1)) + np.float32(0.1)
    for bias, reached in ((1, (ZOMBIE, ACTIVE)), (0, (ACTIVE,))):

        def without_bias(path, leaf, bias=bias):
            return leaf * np.float32(bias) if trees.name(path).endswith("bias") else leaf

        params = jax.tree_util.tree_map_with_path(without_bias, positive.params)
        stats = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf * 0 if trees.name(path).endswith("mean") else leaf,
            positive.stats,
        )
        slope = trees.named(grads(Network(params, stats), inputs))
        kept = trees.named(mask)
        for kernel, weights in zip(graphs.kernels(net.wiring), categorized.weights, strict=True):
            pixels = tuple(range(weights.ndim - 2))
            expected = np.isin(weights, reached).any(axis=pixels)
            measured = ((np.asarray(slope[kernel]) > 0) & kept[kernel]).any(axis=pixels)
            if kernel == "Dense_0/kernel" and name == "conv-2":  # a row may read only corners
                assert not np.any(measured & ~expected)
            else:
                np.testing.assert_array_equal(measured, expected, kernel)


@every_network
def test_removing_inactive_weights_changes_no_output(small, name):
    net, inputs = small(name), small(name).inputs()
    for seed in range(3):
        network, mask = net.draw(seed)
        categorized = graphs.categories(network.params, mask, net.wiring)
        less = without(network.params, mask, categorized, [INACTIVE])
        assert kept(less) < kept(mask)
        whole, part = (net.whole(network, each, inputs) for each in (mask, less))
        np.testing.assert_array_equal(whole, part)


@every_network
def test_categories_and_components_are_those_of_networkx(small, name):
    net = small(name)
    for seed in range(3):
        network, mask = net.draw(seed)
        graph = graphs.network(network.params, mask, net.wiring)
        tiny.assert_categories(graph)
        components = graphs.components(graphs.categories(network.params, mask, net.wiring))
        parts = graphs.subnetworks(graph)
        assert components.number == len(parts)
        for number, part in enumerate(parts):
            units = {
                (layer, int(unit))
                for layer, of in enumerate(components.units)
                for unit in np.flatnonzero(of == number)
            }
            assert units == set(part.nodes)


@pytest.mark.parametrize("fold", [False, True])
@every_network
def test_a_compact_network_gives_the_same_outputs(small, name, fold):
    net, inputs = small(name), small(name).inputs()
    for seed in range(2):
        network, mask = net.draw(seed)
        less = graphs.compact(
            network.params, mask, fold=fold, wiring=net.wiring, stats=network.stats
        )
        assert masks.size(less.mask) < masks.size(mask)
        whole = net.whole(network, mask, inputs)
        seen = inputs[..., less.units[0]]
        run = jax.jit(lambda network, inputs: net.fits.apply(network, inputs, False)[0])
        part = run(Network(less.params, less.stats), seen)
        np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg-11", "resnet-20"])
def test_a_compact_network_has_the_same_slopes_and_statistics_in_training(small, name):
    net, inputs = small(name), small(name).inputs(4)
    network, mask = net.draw(1)
    less = graphs.compact(network.params, mask, fold=False, wiring=net.wiring, stats=network.stats)

    def grads(model, network, mask, inputs):
        def loss(params):
            masked = Network(masks.apply(params, mask), network.stats)
            logits, stats = model.apply(masked, inputs, True)
            return jnp.mean(logits**2), stats

        return jax.jit(jax.grad(loss, has_aux=True))(network.params)

    whole, stats = grads(net.model, network, mask, inputs)
    small_network = Network(less.params, less.stats)
    part, part_stats = grads(net.fits, small_network, less.mask, inputs[..., less.units[0]])
    full = graphs.expand(part, whole, mask, less.units, wiring=net.wiring)
    for leaf, other in zip(jax.tree.leaves(full), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-3, atol=1e-5)
    full = trees.named(
        graphs.expand_stats(part_stats, stats, network.params, mask, less.units, wiring=net.wiring)
    )
    units = graphs.categories(network.params, mask, net.wiring).units
    for layer, incoming in enumerate(net.wiring, 1):
        for each in incoming:
            for name in (f"{Incoming(*each).norm}/{kind}" for kind in ("mean", "var")):
                if name in full:  # of a channel that stays for a sum alone, it may be any
                    pair = (
                        named[name][units[layer] != INACTIVE]
                        for named in (full, trees.named(stats))
                    )
                    np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-5)


@every_network
def test_a_network_expanded_again_gives_the_same_outputs(small, name):
    net, inputs = small(name), small(name).inputs()
    network, mask = net.draw(2)
    less = graphs.compact(network.params, mask, fold=False, wiring=net.wiring, stats=network.stats)
    params = graphs.expand(less.params, network.params, mask, less.units, wiring=net.wiring)
    for leaf, other in zip(
        jax.tree.leaves(params), jax.tree.leaves(masks.apply(network.params, mask)), strict=True
    ):
        np.testing.assert_array_equal(leaf, other)
    wrong = jax.tree.map(np.zeros_like, network.stats)
    stats = graphs.expand_stats(
        less.stats, wrong, network.params, mask, less.units, wiring=net.wiring
    )
    result, whole = (
        net.whole(Network(network.params, each), mask, inputs) for each in (stats, network.stats)
    )
    np.testing.assert_array_equal(result, whole)


def test_a_block_without_a_weight_left_passes_on_its_input(small):
    net, inputs = small("resnet-20"), small("resnet-20").inputs()
    network, _ = net.draw(0)
    mask = jax.tree.map(np.array, masks.dense(network.params))
    for place in range(2):
        mask["Conv2_1"][f"Conv_{place}"]["kernel"][:] = False
    categorized = graphs.categories(network.params, mask, net.wiring)
    assert [set(units) for units in categorized.units[1:4]] == [{ACTIVE}, {INACTIVE}, {ACTIVE}]
    less = graphs.compact(network.params, mask, fold=True, wiring=net.wiring, stats=network.stats)
    assert [len(units) for units in less.units[1:4]] == [4, 1, 4]
    whole = net.whole(network, mask, inputs)
    part, _ = jax.jit(net.fits.apply, static_argnums=2)(
        Network(less.params, less.stats), inputs[..., less.units[0]], False
    )
    np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-5)


def test_only_the_auxiliary_classifier_is_inactive_in_a_whole_inception(small):
    net = small("inception-v3")
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), net.like.params)
    categorized = graphs.categories(zeros, masks.dense(zeros), net.wiring)
    for name, weights in zip(graphs.kernels(net.wiring), categorized.weights, strict=True):
        assert set(weights.ravel()) == {INACTIVE if name.startswith("Auxiliary") else ACTIVE}


def test_a_projection_is_run_where_as_many_channels_are_left_before_it_as_behind(small):
    """Three channels each; shapes alone would take the shortcut for one without a projection."""
    net, inputs = small("resnet-50"), small("resnet-50").inputs()
    network, _ = net.draw(0)
    mask = jax.tree.map(np.array, masks.dense(network.params))
    mask["Conv2_2"]["Conv_0"]["kernel"][:, :, 3:] = False
    mask["Dense_0"]["kernel"][3:] = False
    less = graphs.compact(network.params, mask, fold=False, wiring=net.wiring, stats=network.stats)
    assert less.params["Conv2_1"]["Shortcut"]["kernel"].shape[-2:] == (3, 3)
    part, _ = net.fits.apply(Network(less.params, less.stats), inputs[..., less.units[0]], False)
    np.testing.assert_allclose(part, net.whole(network, mask, inputs), rtol=1e-4, atol=1e-5)


# By hand.


def test_the_wiring_of_plain_convolutions_follows_from_shapes(small):
    net = small("conv-2")
    network, mask = net.draw(0)
    for result, given in zip(
        graphs.categories(network.params, mask)[:2],
        graphs.categories(network.params, mask, net.wiring)[:2],
        strict=True,
    ):
        for layer, other in zip(result, given, strict=True):
            np.testing.assert_array_equal(layer, other)


def test_rows_of_a_flattened_layer_belong_to_channels_in_turn():
    params = {"Conv_0": {"kernel": np.ones((1, 1, 1, 3))}, "Dense_0": {"kernel": np.ones((12, 1))}}
    mask = jax.tree.map(np.array, masks.dense(params))
    mask["Dense_0"]["kernel"][:] = np.arange(12)[:, None] == 7  # the third pixel's second channel
    categorized = graphs.categories(params, mask)
    assert categorized.units[1].tolist() == [INACTIVE, ACTIVE, INACTIVE]
    assert categorized.weights[1].shape == (12, 1)
    less = graphs.compact(params, mask, fold=False)
    assert less.params["Dense_0"]["kernel"].tolist() == [[0.0], [0.0], [1.0], [0.0]]
    mask = masks.without(mask, ["Conv_0/*"])
    less = graphs.compact(params, mask, fold=False)
    assert less.mask["Conv_0"]["kernel"] is None
    assert less.params["Conv_0"]["kernel"].shape == (1, 1, 1, 1)


def zombie(size, bias, *, norm):
    """Return two convolutions, the mean and a dense layer; the first's second channel is a zombie.

    The second convolution has a channel that hears both, and one that hears the zombie alone.
    """
    random = np.random.default_rng(0)

    def normal(*shape):
        return random.normal(size=shape).astype(np.float32)

    params = {
        "a": {"kernel": normal(1, 1, 1, 2), "bias": np.array([0.1, bias], np.float32)},
        "b": {"kernel": normal(size, size, 2, 2)},
        "c": {"kernel": normal(2, 3), "bias": normal(3)},
    }
    stats = {}
    if norm:
        params["norm"] = {"scale": normal(2), "bias": normal(2)}
        stats["norm"] = {"mean": normal(2), "var": normal(2) ** 2}
    else:
        params["b"]["bias"] = normal(2)
    mask = jax.tree.map(np.array, masks.dense(params))
    mask["a"]["kernel"][..., 1] = False
    mask["b"]["kernel"][:, :, 0, 1] = False
    return params, mask, stats


def forward(params, mask, stats, images, padding):
    """Return what the network of `zombie` makes of images, plainly."""
    masked = masks.apply(params, mask)
    x = images
    for name, around in (("a", "VALID"), ("b", padding)):
        kernel = masked[name]["kernel"]
        numbers = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), around, dimension_numbers=numbers)
        x = x + masked[name].get("bias", 0)
        if name == "b" and stats:
            norm, known = masked["norm"], stats["norm"]
            x = norm["scale"] * (x - known["mean"]) / np.sqrt(known["var"] + 1e-5) + norm["bias"]
        x = jax.nn.relu(x)
    return x.mean((1, 2)) @ masked["c"]["kernel"] + masked["c"]["bias"]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    ("size", "padded", "bias", "goes"),
    [(3, True, 0.5, False), (3, False, 0.5, True), (1, True, 0.5, True), (3, True, -0.5, True)],
)
def test_a_zombie_is_folded_unless_the_border_would_show(size, padded, bias, goes, norm):
    params, mask, stats = zombie(size, bias, norm=norm)
    wiring = [
        [Incoming((0,), "a/kernel")],
        [Incoming((1,), "b/kernel", "norm" if norm else None, padded)],
        [Incoming((2,), "c/kernel")],
    ]
    less = graphs.compact(params, mask, fold=True, wiring=wiring, stats=stats)
    assert [units.tolist() for units in less.units[1:3]] == ([[0], [0]] if goes else [[0, 1]] * 2)
    images = np.random.default_rng(1).normal(size=(4, 5, 5, 1)).astype(np.float32)
    padding = "SAME" if padded else "VALID"
    whole = forward(params, mask, stats, images, padding)
    part = forward(less.params, less.mask, less.stats, images, padding)
    np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-6)


def test_zombies_before_batch_norm_are_not_folded_without_its_statistics():
    params, mask, _ = zombie(1, 0.5, norm=True)
    wiring = [
        [Incoming((0,), "a/kernel")],
        [Incoming((1,), "b/kernel", "norm")],
        [Incoming((2,), "c/kernel")],
    ]
    graphs.compact(params, mask, fold=False, wiring=wiring)
    with pytest.raises(ValueError, match="`stats` must have 'norm/mean'"):
        graphs.compact(params, mask, fold=True, wiring=wiring)


RESIDUAL = [[Incoming((0,), "a")], [Incoming((1,), "b"), Incoming((1,))]]


def test_units_lead_to_a_sum_without_a_weight():
    params = {"a": np.full((2, 2), 3.0), "b": np.full((2, 2), 4.0)}
    wiring = [RESIDUAL[0], [Incoming((1,), "b")], [Incoming((2,)), Incoming((1,))]]
    mask = {"a": np.array([[True, False], [False, False]]), "b": np.eye(2, dtype=bool)}
    graph = graphs.network(params, mask, wiring)
    assert graph.edges[(1, 0), (2, 0)] == {"weight": 4.0, "category": "active"}
    assert graph.edges[(1, 0), (3, 0)] == {"weight": None, "category": "active"}
    assert graph.edges[(2, 1), (3, 1)] == {"weight": None, "category": "zombie"}
    graph = graphs.network(params, mask, RESIDUAL)
    assert graph.edges[(1, 0), (2, 0)]["weight"] == 4.0
    categorized = graphs.categories(params, mask, wiring)
    assert len(categorized.weights) == 2
    tasks = [graphs.Task((0,), (0,)), graphs.Task((1,), (1,))]
    assert graphs.degrees_of_separation(categorized, tasks, by="inputs")[1:] == [1.0, 1.0, 1.0]
    assert graphs.degrees_of_separation(categorized, tasks, by="outputs")[1:] == [1.0, 1.0, 1.0]
    assert graphs.coverage(graphs.subnetworks(graph), tasks).tolist() == [[1.0, 0.0]]


def test_an_edge_of_several_weights_has_their_norm():
    params = {"a": np.array([3.0, 4.0, 5.0]).reshape(1, 3, 1, 1)}
    mask = {"a": np.array([True, True, False]).reshape(1, 3, 1, 1)}
    assert graphs.network(params, mask).edges[(0, 0), (1, 0)]["weight"] == 5.0


NARROW = [jnp.float16, jnp.bfloat16, jnp.float32]


@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize("weight", [1e-4, 300.0])
def test_the_norm_of_an_edge_neither_overflows_nor_vanishes_in_narrow_types(weight, kind):
    params = {"conv": np.full((3, 3, 1, 1), weight).astype(kind)}
    ((*_, norm),) = graphs.network(params, masks.dense(params)).edges(data="weight")
    assert norm == pytest.approx(3 * float(params["conv"][0, 0, 0, 0]), rel=1e-6)


@pytest.mark.parametrize("kind", NARROW)
def test_folded_zombies_are_added_up_in_float32_at_least(kind):
    kernel = np.random.default_rng(0).normal(1, 0.3, (5, 5, 2, 1)).astype(kind)
    kernel[0, :4, 1, 0] = [60_000, 60_000, -60_000, -60_000]
    params = {
        "in": {"kernel": np.ones((1, 1, 1, 2)).astype(kind), "bias": np.ones(2).astype(kind)},
        "out": {"kernel": kernel, "bias": np.zeros(1).astype(kind)},
    }
    mask = jax.tree.map(np.array, masks.dense(params))
    mask["in"]["kernel"][..., 1] = False
    wiring = [[Incoming((0,), "in/kernel", padded=False)]]
    wiring.append([Incoming((1,), "out/kernel", padded=False)])
    folded = graphs.compact(params, mask, fold=True, wiring=wiring).params["out"]["bias"]
    assert folded.dtype == kind
    exact = kernel[..., 1, 0].astype(np.float64).sum()
    np.testing.assert_allclose(
        folded.astype(float), exact, rtol=max(float(jnp.finfo(kind).eps) / 2, 1e-3)
    )


def test_what_does_not_follow_from_shapes_asks_for_a_wiring(small):
    like = small("vgg-11").like.params
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), like)
    with pytest.raises(ValueError, match="Give its `wiring`, such as `models.wiring` returns"):
        graphs.categories(zeros, masks.dense(zeros))


@pytest.mark.parametrize(
    ("wiring", "message"),
    [
        ([RESIDUAL[0]], "`wiring` must have each prunable kernel once; it has 'b' 0 times"),
        ([*RESIDUAL, [Incoming((2,), "d")]], "`wiring` has the kernel 'd', which `params` lack"),
        (
            [[Incoming((1,), "a")], RESIDUAL[1]],
            r"Layer 1 of `wiring` must come after .* 0\.\.0; got 1",
        ),
        ([RESIDUAL[0], []], "Nothing leads to layer 2"),
        ([RESIDUAL[0], [*RESIDUAL[1], Incoming((), "c")]], "Nothing leads to layer 2"),
        (
            [[Incoming((0,))], RESIDUAL[1]],
            "must have each prunable kernel once; it has 'a' 0 times",
        ),
        (
            [RESIDUAL[0], [Incoming((0,), "b")]],
            r"'b' of shape \(3, 2\) does not lead from the 2 units of layers \(0,\)",
        ),
        (
            [[Incoming((0,))], [Incoming((1,), "a")], [Incoming((2,), "b")]],
            "`wiring` must have a kernel that leads from layer 0 alone",
        ),
        (RESIDUAL, "Layer 2 of `wiring` has 2 units, but .* leads to 3"),
    ],
)
def test_a_wiring_that_does_not_fit_is_refused(wiring, message):
    params = {"a": np.ones((2, 3)), "b": np.ones((3, 2)), "c": np.ones((3, 2))}
    mask = masks.without(masks.dense(params), ["c"])
    with pytest.raises(ValueError, match=message):
        graphs.categories(params, mask, wiring)
