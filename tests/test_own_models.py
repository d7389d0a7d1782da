"""Networks that are not the library's: modules of linen and nnx, Equinox, and plain functions."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn
from flax import nnx

from jaxlth import keys, masks, models, supermasks, trees
from jaxlth.data import Split
from jaxlth.models import Model, ModelError, Network
from jaxlth.models.layers import Layers
from jaxlth.models.mlp import MLP
from jaxlth.training import execution, streaming

KEY, OTHER = (keys.stream(0, replicate, "order") for replicate in range(2))
DATA = tiny.dataset()
IMAGES = jnp.zeros((1, *tiny.SHAPE))  # an example to every network
STEPS = 6


class Conv(nn.Module):
    """Convolution, batch norm, dropout and a dense layer."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, inputs, train):
        x = nn.Conv(4, (2, 2), dtype=self.dtype)(inputs)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, dtype=self.dtype)(x))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(tiny.CLASSES, dtype=self.dtype)(x.reshape((x.shape[0], -1)))


class Attention(nn.Module):
    """Tokens and their weights; the table of tokens is the last layer as well."""

    @nn.compact
    def __call__(self, inputs, deterministic=True):
        tokens, weights = inputs["tokens"], inputs["weights"]
        table = nn.Embed(7, 8)
        x = table(tokens) * weights[:, :, None]
        x = nn.MultiHeadAttention(2, dropout_rate=0.5)(x, deterministic=deterministic)
        return table.attend(x)


class Layered(nnx.Module):
    """Dense layers in a list, with batch norm and dropout."""

    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(4, tiny.CLASSES, rngs=rngs)

    def __call__(self, inputs):
        x = inputs.reshape((inputs.shape[0], -1))
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return self.out(self.dropout(self.norm(x)))


class Tied(nnx.Module):
    """Two layers with one kernel."""

    def __init__(self, rngs):
        self.first = nnx.Linear(4, 4, rngs=rngs)
        self.second = nnx.Linear(4, 4, rngs=rngs)
        self.second.kernel = self.first.kernel

    def __call__(self, inputs):
        return self.second(self.first(inputs))


class Stacked(nnx.Module):
    """Two blocks whose variables lie along an axis, called by a scan."""

    def __init__(self, rngs):
        make = nnx.vmap(lambda rngs: Layered(rngs).layers[0])
        self.layers = nnx.split_rngs(splits=2)(make)(rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, inputs):
        call = nnx.scan(lambda layer, x: layer(x), in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        return self.dropout(call(self.layers, inputs.reshape((inputs.shape[0], -1))))


def flat(inputs):
    return inputs.reshape((inputs.shape[0], -1))


def draw(key):
    return {"w": jax.random.normal(key, (4, tiny.CLASSES)), "b": jnp.zeros(tiny.CLASSES)}


def linear(params, inputs):
    return flat(inputs) @ params["w"] + params["b"]


def equinox_mlp():
    """Return the functions of an Equinox module."""

    def make(key):
        return eqx.nn.MLP(4, tiny.CLASSES, 8, depth=1, key=key)

    static = eqx.filter(make(jax.random.key(0)), eqx.is_array, inverse=True)
    return (
        lambda key: eqx.filter(make(key), eqx.is_array),
        lambda params, inputs: jax.vmap(eqx.combine(params, static))(flat(inputs)),
    )


MODELS = {
    "linen": lambda: models.from_linen(Conv(), IMAGES),
    "nnx": lambda: models.from_nnx(Layered, IMAGES),
    "functions": lambda: models.from_functions(draw, linear, example_inputs=IMAGES),
    "equinox": lambda: models.from_functions(*equinox_mlp(), example_inputs=IMAGES),
}
model_named = functools.cache(lambda name: MODELS[name]())
NOISY = ("linen", "nnx")


@functools.cache
def training(model):
    """Return a training of a model, and where it starts."""
    trainer, network = tiny.jitted(tiny.trainer(model)), tiny.network(model)
    mask = tiny.half(network.params)
    return trainer, trainer.start(network, mask), mask


def trained(model, *, key=KEY):
    """Return the state at the end of a training."""
    trainer, start, mask = training(model)
    return trainer.advance(start, mask, DATA, key, 0, STEPS)


# What a model gives.


@pytest.mark.parametrize("name", MODELS)
def test_outputs_have_a_row_for_each_input(name):
    model = model_named(name)
    logits, stats = model.apply(tiny.network(model), jnp.ones((5, *tiny.SHAPE)), False)
    assert logits.shape == (5, tiny.CLASSES)
    assert bool(stats) == bool(name in NOISY)
    assert model.convolutional == (name == "linen")
    assert (model.noisy is not None) == (name in NOISY)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_under_its_mask(name):
    model = model_named(name)
    params = trained(model).network.params
    mask, start = tiny.half(params), tiny.network(model).params
    assert 0 < masks.kept(mask) < masks.size(mask)
    kept = masks.kept_values(params, mask) != masks.kept_values(start, mask)
    assert kept.mean() > 0.5
    assert not any(np.any(w) for w in trees.named(_pruned(params, mask)).values())


def _pruned(params, mask):
    return jax.tree.map(lambda w, keep: None if keep is None else w[~keep], params, mask)


def test_a_module_of_the_library_trains_to_the_bits_of_its_name():
    config = models.ModelConfig(name="lenet-300-100")
    by_name = models.build(config, shape=tiny.SHAPE, classes=tiny.CLASSES)
    layers = Layers(initializer=config.initializer, norm_scale="uniform", dtype="float32")
    module = MLP(widths=(300, 100, tiny.CLASSES), layers=layers)
    states = [trained(model) for model in (by_name, models.from_linen(module, IMAGES))]
    tiny.assert_same(*states)


@pytest.mark.parametrize("name", [models.from_linen, models.from_nnx, models.from_functions])
def test_outputs_are_at_least_float32(name):
    make = {
        models.from_linen: lambda: models.from_linen(Conv(dtype="bfloat16"), IMAGES),
        models.from_nnx: lambda: models.from_nnx(
            lambda rngs: nnx.Linear(1, 3, dtype=jnp.bfloat16, rngs=rngs), IMAGES
        ),
        models.from_functions: lambda: models.from_functions(
            draw, lambda *a: linear(*a).astype(jnp.bfloat16), example_inputs=IMAGES
        ),
    }[name]
    model = make()
    network = tiny.network(model)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(network)} == {"float32"}
    assert model.apply(network, IMAGES, True)[0].dtype == jnp.float32


def test_inputs_may_be_a_tree():
    inputs = {"tokens": np.zeros((1, 5), np.int32), "weights": np.ones((1, 5))}
    model = models.from_linen(Attention(), inputs)
    network = tiny.network(model)
    batch = {"tokens": jnp.arange(10).reshape(2, 5) % 7, "weights": jnp.ones((2, 5))}
    outputs, _ = model.apply(network, batch, False)
    assert outputs.shape == (2, 5, 7)
    noisy = [model.noisy(network, batch, key)[0] for key in (KEY, KEY, OTHER)]
    assert np.array_equal(noisy[0], noisy[1])
    assert not np.array_equal(noisy[0], noisy[2])
    assert np.array_equal(model.apply(network, batch, True)[0], outputs)


def test_a_tuple_of_inputs_is_one_argument():
    def sums(params, inputs):
        first, second = inputs
        return linear(params, first + second)

    model = models.from_functions(draw, sums, example_inputs=(IMAGES, IMAGES))
    outputs, _ = model.apply(tiny.network(model), (jnp.ones((2, 2, 2, 1)),) * 2, False)
    assert outputs.shape == (2, tiny.CLASSES)


def test_parameters_of_nnx_are_nested_dicts():
    params = tiny.network(model_named("nnx")).params
    assert trees.names(params) == [
        *("layers/0/bias", "layers/0/kernel", "layers/1/bias", "layers/1/kernel"),
        *("norm/bias", "norm/scale", "out/bias", "out/kernel"),
    ]
    assert list(trees.named(masks.dense(params))) == [
        *("layers/0/kernel", "layers/1/kernel", "out/kernel"),
    ]


def test_a_model_of_nnx_computes_what_its_module_computes():
    key = keys.stream(0, 0, "initialization")
    module, model = Layered(nnx.Rngs(key)), model_named("nnx")
    network, inputs = model.init(key), jax.random.normal(OTHER, (5, *tiny.SHAPE))
    module.eval()
    assert np.array_equal(model.apply(network, inputs, False)[0], module(inputs))
    module.set_attributes(deterministic=True, use_running_average=False)
    outputs, stats = model.apply(network, inputs, True)
    assert np.array_equal(outputs, module(inputs))
    assert np.array_equal(stats["norm"]["mean"], module.norm.mean[...])


def test_a_shared_parameter_is_one_leaf():
    inputs = {"tokens": jnp.zeros((1, 5), int), "weights": jnp.ones((1, 5))}
    linen = tiny.network(models.from_linen(Attention(), inputs)).params
    assert [name for name in trees.names(linen) if "Embed" in name] == ["Embed_0/embedding"]
    model = models.from_nnx(Tied, jnp.zeros((1, 4)))
    params = tiny.network(model).params
    assert trees.names(params) == ["first/bias", "first/kernel", "second/bias"]
    grads = jax.grad(
        lambda params: model.apply(Network(params, {}), jnp.ones((2, 4)), True)[0].sum()
    )
    expected = jax.grad(lambda w: (jnp.ones((2, 4)) @ w @ w).sum())(params["first"]["kernel"])
    np.testing.assert_allclose(grads(params)["first"]["kernel"], expected, rtol=1e-5)


def test_boxes_around_parameters_are_taken_off():
    kernel_init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
    model = models.from_linen(nn.Dense(3, kernel_init=kernel_init), jnp.zeros((1, 4)))
    assert trees.names(tiny.network(model).params) == ["bias", "kernel"]


@pytest.mark.parametrize("argument", ["train", "training", "deterministic", "use_running_average"])
def test_a_module_is_told_by_the_argument_that_it_has_whether_it_trains(argument):
    class Told(nn.Module):
        def setup(self):
            self.layer = nn.Dense(3)

    call = f"lambda self, inputs, {argument}: self.layer(inputs) + 100 * {argument}"
    Told.__call__ = nn.nowrap(eval(call))
    model = models.from_linen(Told(), jnp.zeros((1, 4)))
    network = tiny.network(model)
    high = [bool(model.apply(network, jnp.zeros((1, 4)), train)[0].max() > 50) for train in (1, 0)]
    assert high == ([True, False] if argument.startswith("train") else [False, True])


@pytest.mark.parametrize(
    "apply",
    [
        lambda params, inputs: jax.jit(_convolved)(params, inputs),
        lambda params, inputs: jax.checkpoint(_convolved)(params, inputs),
        lambda params, inputs: jax.lax.map(lambda _: _convolved(params, inputs), jnp.arange(2))[0],
        lambda params, inputs: jax.lax.cond(
            inputs.sum() > 0,
            _convolved,
            lambda params, inputs: linear(params, inputs),
            params,
            inputs,
        ),
    ],
    ids=["jit", "checkpoint", "loop", "branch"],
)
def test_convolutions_are_seen_wherever_they_are(apply):
    model = models.from_functions(draw, apply)
    assert not model.convolutional
    assert models.check(model, IMAGES).convolutional


def _convolved(params, inputs):
    kernel = jnp.reshape(params["w"], (2, 2, 1, tiny.CLASSES))
    dimensions = ("NHWC", "HWIO", "NHWC")
    out = jax.lax.conv_general_dilated(
        inputs, kernel, (1, 1), "VALID", dimension_numbers=dimensions
    )
    return flat(out)


# Random numbers in training.


@pytest.mark.parametrize("name", NOISY)
def test_noise_follows_from_its_key_and_evaluation_has_none(name):
    model = model_named(name)
    network, inputs = tiny.network(model), jax.random.normal(KEY, (5, *tiny.SHAPE))
    noisy = jax.jit(model.noisy)
    first, again, other = (noisy(network, inputs, key) for key in (KEY, KEY, OTHER))
    tiny.assert_same(first, again)
    assert not np.array_equal(first[0], other[0])
    for train in (False, True):
        tiny.assert_same(*(model.apply(network, inputs, train) for _ in range(2)))
    plain, stats = model.apply(network, inputs, True)
    for expected, actual in zip(*map(jax.tree.leaves, (stats, first[1])), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)  # batch norm comes before dropout
    mean = np.mean([noisy(network, inputs, keys.fold(KEY, at))[0] for at in range(200)], axis=0)
    assert np.abs(mean - plain).max() < 0.5 * np.abs(first[0] - plain).max()


def test_streams_of_nnx_that_are_alike_draw_apart():
    class Twice(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(1, 3, rngs=rngs)
            self.dropouts = nnx.List([nnx.Dropout(0.5, rngs=rngs) for _ in range(2)])

        def __call__(self, inputs):
            first, second = (dropout(inputs) for dropout in self.dropouts)
            return jnp.concatenate([self.layer(inputs), first, second], axis=-1)

    model = models.from_nnx(Twice, jnp.zeros((1, 1)))
    outputs, _ = model.noisy(tiny.network(model), jnp.ones((64, 1)), KEY)
    assert not np.array_equal(outputs[:, -1], outputs[:, -2])


def test_layers_of_nnx_along_an_axis_have_noise_and_none_in_evaluation():
    model = models.from_nnx(Stacked, IMAGES)
    network = tiny.network(model)
    assert network.params["layers"]["kernel"].shape == (2, 4, 4)
    first, other = (model.noisy(network, jnp.ones((5, *tiny.SHAPE)), k)[0] for k in (KEY, OTHER))
    assert not np.array_equal(first, other)


@functools.cache
def recording():
    """Return a model that keeps a random number of each step among its statistics."""

    def noisy(network, inputs, key):
        _, stats = apply(network, inputs, True)
        drawn = jax.random.uniform(key)
        rolled = jnp.roll(stats["drawn"], 1).at[0].set(drawn)
        return linear(network.params, inputs), {"drawn": rolled}

    def apply(network, inputs, train):
        return linear(network.params, inputs), network.stats

    return Model(
        init=lambda key: Network(draw(key), {"drawn": jnp.zeros(STEPS)}),
        apply=apply,
        noisy=noisy,
        shared=lambda stats, mean: stats,
    )


def test_noise_of_each_step_and_of_each_training_is_its_own():
    model = recording()
    drawn, other = (trained(model, key=key).network.stats["drawn"] for key in (KEY, OTHER))
    dropout = keys.substream(KEY, "dropout")
    expected = [jax.random.uniform(keys.fold(dropout, step)) for step in reversed(range(STEPS))]
    np.testing.assert_array_equal(drawn, expected)
    assert len({*np.asarray(drawn).tolist(), *np.asarray(other).tolist()}) == 2 * STEPS


@pytest.mark.parametrize("name", NOISY)
def test_a_training_with_noise_is_the_same_however_it_is_cut(name):
    trainer, start, mask = training(model_named(name))
    whole = trained(model_named(name))
    half_way = trainer.advance(start, mask, DATA, KEY, 0, 3)
    tiny.assert_same(trainer.advance(half_way, mask, DATA, KEY, 3, STEPS), whole)
    other = trained(model_named(name), key=OTHER)
    assert not np.array_equal(other.loss_sum, whole.loss_sum)


def test_steps_called_one_by_one_have_the_same_noise():
    model = recording()
    trainer, state, mask = training(model)
    for step in range(STEPS):
        epoch = trainer.draw_epoch(DATA, KEY, step)
        state = trainer.step(state, mask, DATA, epoch, KEY, step)
    tiny.assert_same(state.network.stats, trained(model).network.stats)


def test_streamed_training_has_the_noise_of_training_in_memory():
    model = recording()
    trainer, start, mask = training(model)
    layout = execution.Layout(devices=(jax.devices()[0],), per_device=1, looped=True)
    advance = streaming.functions(trainer, layout, None, 5).advance
    batch = Split(DATA.train.images[:5], DATA.train.labels[:5])

    def put(batch):
        return layout.spread(batch), (DATA.mean, DATA.std)

    placed = (layout.place([tree]) for tree in (jax.device_get(start), mask))
    feed = streaming.Feed(lambda step: (batch for _ in range(STEPS)), put=put, depth=1)
    states = advance(*placed, feed, layout.place([KEY]), 0, STEPS)
    in_memory = trained(model).network.stats["drawn"]
    np.testing.assert_array_equal(layout.take(states, 1)[0].network.stats["drawn"], in_memory)
    feed.close()


def test_devices_that_share_a_batch_draw_apart():
    model, devices = recording(), jax.devices()[:2]
    trainer = tiny.trainer(model, batch_size=4)
    network = tiny.network(model)
    mask = masks.dense(network.params)
    layout = execution.Layout(devices=tuple(devices), per_device=1, split=2)
    advance = layout.map(trainer.advance, (0, 0, None, 0, None, None))
    state = jax.device_get(trainer.start(network, mask))
    placed = [layout.place([tree]) for tree in (state, mask)]
    states = advance(*placed, layout.share(DATA), layout.place([KEY]), 0, 2)
    drawn = np.asarray(states.network.stats["drawn"])[:, 0, :2]
    assert len(set(drawn.flat)) == 4
    dropout = keys.substream(KEY, "dropout")
    assert drawn[1, 0] == jax.random.uniform(keys.fold(dropout, 1, 1))


@pytest.mark.parametrize("name", NOISY)
def test_batch_statistics_go_on_in_training_and_rest_in_evaluation(name):
    model = model_named(name)
    start = tiny.network(model)
    after = trained(model).network
    for before, now in zip(*(jax.tree.leaves(n.stats) for n in (start, after)), strict=True):
        assert not np.array_equal(before, now)
    _, stats = model.apply(after, jnp.ones((5, *tiny.SHAPE)), False)
    tiny.assert_same(stats, after.stats)


def test_a_supermask_trains_with_the_noise_of_the_network_within():
    wrapped = supermasks.wrap(recording(), supermasks.SupermaskConfig())
    network = tiny.network(wrapped)
    _, frozen = wrapped.noisy(network, jnp.ones((2, *tiny.SHAPE)), KEY)
    assert frozen.stats["drawn"][0] == jax.random.uniform(KEY)
    assert frozen.passes == 1
    assert supermasks.wrap(tiny.model(), supermasks.SupermaskConfig()).noisy is None


# What is refused.


class Cached(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(3)(inputs) + self.variable("cache", "last", jnp.zeros, 3).value


class AlwaysNoisy(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=False)(inputs))


class Uncallable(nn.Module):
    pass


VECTOR = jnp.zeros((1, 4))
LINEN = {
    "a class": (Conv, {}, TypeError, "flax.linen.Module; got the class Conv; make one of it"),
    "a function": (linear, {}, TypeError, "must be a flax.linen.Module; got function"),
    "no call": (Uncallable(), {}, ValueError, "must have a `__call__`; Uncallable has none"),
    "no such argument": (
        *(nn.Dense(3), {"train_argument": "mode"}, ValueError),
        "`train_argument` must be an argument of the module's call, which are inputs; got 'mode'",
    ),
    "no argument": (
        *(Conv(), {"train_argument": None}, ModelError),
        "fails in `init`: TypeError: .* missing 1 required positional argument: 'train'",
    ),
    "collections": (Cached(), {}, ModelError, "params and batch_stats; it has cache"),
    "noise in evaluation": (AlwaysNoisy(), {}, ModelError, "no random numbers in evaluation"),
    "inputs": (Conv(), {}, ModelError, "`model` fails in `init`: "),
}


@pytest.mark.parametrize("case", LINEN)
def test_modules_of_linen_that_are_refused(case):
    module, words, error, message = LINEN[case]
    with pytest.raises(error, match=message) as raised:
        models.from_linen(module, VECTOR, **words)
    assert "\n" not in str(raised.value)


class Counting(Layered):
    def __call__(self, inputs):
        self.calls = getattr(self, "calls", 0) + 1
        return super().__call__(inputs)


class Caching(Layered):
    def __call__(self, inputs):
        self.last = nnx.Cache(inputs)
        return super().__call__(inputs)


class WithCache(Layered):
    def __init__(self, rngs):
        super().__init__(rngs)
        self.last = nnx.Cache(jnp.zeros(3))


class Flagged(Layered):
    def __call__(self, inputs, train=False):
        return super().__call__(inputs)


class Undetermined(Layered):
    def __call__(self, inputs):
        return self.dropout(super().__call__(inputs), deterministic=False)


NNX = {
    "a module": (lambda: Layered(nnx.Rngs(0)), TypeError, "makes a module; got Layered"),
    "no module": (lambda: lambda rngs: nn.Dense(3), ModelError, "it makes Dense"),
    "no argument": (lambda: lambda: 3, ModelError, "fails in `init`: TypeError: .* 0 positional"),
    "attributes": (lambda: Counting, ModelError, "its call changes an attribute of a module"),
    "a variable": (lambda: Caching, ModelError, r"its call changes last \(Cache\)"),
    "variables": (lambda: WithCache, ModelError, r"random streams; it has last \(Cache\)"),
    "a flag": (lambda: Flagged, ModelError, "its call takes `train`"),
    "noise in evaluation": (lambda: Undetermined, ModelError, "no random numbers in evaluation"),
}


@pytest.mark.parametrize("case", NNX)
def test_modules_of_nnx_that_are_refused(case):
    make, error, message = NNX[case]
    with pytest.raises(error, match=message) as raised:
        models.from_nnx(make(), VECTOR)
    assert "\n" not in str(raised.value)


memory = []


def leaking(params, inputs):
    memory.append(linear(params, inputs))
    return memory[0] + 1


def counting(params, inputs):
    memory.append(None)
    return linear(params, inputs) * len(memory)


TRACE = "must have functions that jax.jit can trace"
STATE = "must keep no state in Python"
FUNCTIONS = {
    "a branch": (draw, lambda p, x: linear(p, x) if x.sum() > 0 else x, TRACE),
    "numpy": (draw, lambda p, x: np.dot(x, p["w"]), TRACE),
    "a number": (draw, lambda p, x: linear(p, x) * float(x[0, 0]), TRACE),
    "a tracer": (draw, leaking, f"{STATE}.* it uses an array of an earlier call"),
    "a counter": (draw, counting, f"{STATE}.* two calls of it differ"),
    "numpy's numbers": (draw, lambda p, x: linear(p, x) + np.random.rand(3), STATE),
    "numpy's start": (
        lambda key: {"w": jnp.array(np.random.rand(4, 3))},
        linear,
        "`init` is no pur",
    ),
    "a mean": (draw, lambda p, x: linear(p, x).mean(), r"one array .* `apply` gives float32\[\]"),
    "classes": (draw, lambda p, x: linear(p, x).argmax(-1), r"of floats .* gives int32\[2\]"),
    "no outputs": (draw, lambda p, x: None, "`apply` gives nothing"),
    "two outputs": (draw, lambda p, x: (linear(p, x),) * 2, "gives 0 float32.*, 1 float32"),
    "transposed": (draw, lambda p, x: linear(p, x).T, r"gives float32\[3, 2\]"),
    "a function": (lambda key: {"f": jax.nn.relu}, linear, "tree of arrays; 'f' is of type"),
    "a float": (lambda key: {"f": 1.0}, linear, "tree of arrays; 'f' is of type float"),
    "no arrays": (lambda key: {}, linear, "must have parameters; its `init` gives no array"),
    "a bias": (lambda key: {"b": jnp.ones(4)}, lambda p, x: x + p["b"], "can be pruned: .* has b"),
    "shapes": (draw, lambda p, x: x @ x, r"fails in `apply` on inputs float32\[2, 4\]: TypeError"),
    "a mistake": (draw, lambda p, x: undefined, "NameError: name 'undefined'"),  # noqa: F821
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_functions_that_are_refused(case):
    init, apply, message = FUNCTIONS[case]
    memory.clear()
    with pytest.raises(ModelError, match=f"^`model` .*{message}") as raised:
        models.check(models.from_functions(init, apply), VECTOR)
    assert "\n" not in str(raised.value)


def test_what_is_no_function_or_model_is_refused():
    with pytest.raises(TypeError, match="`init` must be a function; got int"):
        models.from_functions(3, linear)
    with pytest.raises(TypeError, match="`apply` must be a function; got NoneType"):
        models.from_functions(draw, None)
    with pytest.raises(TypeError, match="must be a models.Model, .*; got function"):
        models.check(linear, VECTOR)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init": draw}, "an `init` that gives a Network; got dict"),
        ({"apply": lambda n, x, t: linear(n.params, x)}, r"gives \(outputs, batch statistics\)"),
        ({"noisy": lambda n, x, k: (linear(n.params, x), {})}, "`noisy` makes nothing of drawn"),
        ({"noisy": lambda n, x, k: (x.sum(), n.stats)}, "`noisy` gives float32"),
    ],
)
def test_models_made_by_hand_are_checked(change, message):
    assert models.check(recording(), VECTOR).init
    fields = {name: getattr(recording(), name) for name in ("init", "apply", "noisy")}
    with pytest.raises(ModelError, match=message):
        models.check(Model(**(fields | change)), VECTOR)


@pytest.mark.parametrize(
    ("inputs", "message"), [({}, "must hold an array"), (jnp.zeros(()), "a leading axis of exam")]
)
def test_example_inputs_without_examples_are_refused(inputs, message):
    with pytest.raises(
        ValueError, match=f"`example_inputs` {message}|`example_inputs` .*{message}"
    ):
        models.from_functions(draw, linear, example_inputs=inputs)


def test_shapes_serve_as_example_inputs():
    shape = jax.ShapeDtypeStruct((1, *tiny.SHAPE), jnp.float32)
    made = models.from_linen(Conv(), shape)
    tiny.assert_same(tiny.network(made), tiny.network(model_named("linen")))


@pytest.mark.parametrize("name", NOISY)
def test_models_work_where_promotion_of_types_is_strict(name):
    with jax.numpy_dtype_promotion("strict"):
        model = MODELS[name]()
        network = tiny.network(model)
        model.noisy(network, IMAGES, KEY)
