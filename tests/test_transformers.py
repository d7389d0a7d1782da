"""The transformers: counts, what is prunable, NumPy's arithmetic, causality, types, learning."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from jaxlth import masks, models, trees
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig, transformer
from jaxlth.models.transformer import GPT, ViT
from jaxlth.studies import machine
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.training import OptimizerConfig, TrainingConfig, execution, memory

SHAPES = {"vit-tiny": (32, 32, 3), "gpt-mini": (64,)}
CLASSES = {"vit-tiny": 10, "gpt-mini": 65}
COUNTS = {  # parameters, prunable weights, tensors of those
    "vit-tiny": (460_714, 447_936, 26),
    "gpt-mini": (809_856, 786_432, 16),
}
BLOCK = ("AttentionOutput", "MLP1", "MLP2", "QueryKeyValue")
OUTSIDE = {"vit-tiny": {"Head/kernel", "PatchEmbedding/kernel"}, "gpt-mini": set()}
BLOCKS = {"vit-tiny": 6, "gpt-mini": 4}
every_network = pytest.mark.parametrize("name", SHAPES)

KINDS = {"vit-tiny": ViT, "gpt-mini": GPT}
SMALL_SHAPES = {"vit-tiny": (8, 12, 2), "gpt-mini": (6,)}


@functools.cache
def abstract(name):
    """Return the network of a name as shapes, on CIFAR-10 or 64 characters of 65."""
    built = models.build(ModelConfig(name=name), shape=SHAPES[name], classes=CLASSES[name])
    return jax.eval_shape(built.init, jax.random.key(0))


@functools.cache
def small(name, *, width=8, blocks=1, **config):
    """Return a small model of the kind, its network, and inputs."""

    def make(_, classes, layers):
        return KINDS[name](width, blocks, 2, 2, classes, layers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODELS, name, make)
        model = models.build(ModelConfig(name=name, **config), shape=SMALL_SHAPES[name], classes=5)
    network = jax.device_get(jax.jit(model.init)(jax.random.key(0)))
    return model, network, inputs_of(name, 3)


def applied(model, network, inputs, *, train=False):
    """Return the outputs, compiled."""
    return jax.jit(lambda network, inputs: model.apply(network, inputs, train)[0])(network, inputs)


def inputs_of(name, count):
    random = np.random.default_rng(1)
    if name == "gpt-mini":
        return random.integers(0, 5, (count, *SMALL_SHAPES[name])).astype(np.int32)
    return random.normal(size=(count, *SMALL_SHAPES[name])).astype(np.float32)


# ---- parameters and masks


@every_network
def test_transformers_have_the_parameters_that_their_docstring_says(name):
    params, prunable, tensors = COUNTS[name]
    network = abstract(name)
    mask = masks.dense(network.params)
    assert sum(leaf.size for leaf in jax.tree.leaves(network)) == params
    assert (masks.size(mask), len(jax.tree.leaves(mask))) == (prunable, tensors)
    assert f"{params:,} parameters, of which {prunable:,} in {tensors}" in transformer.__doc__
    assert network.stats == {}


@every_network
def test_the_dense_mask_has_the_kernels_and_no_table_bias_or_scale(name):
    params = trees.named(abstract(name).params)
    blocks = range(1, BLOCKS[name] + 1)
    kernels = {f"Blocks/Block{place}/{layer}/kernel" for place in blocks for layer in BLOCK}
    kernels |= OUTSIDE[name]
    prunable = set(trees.named(masks.dense(abstract(name).params)))
    assert prunable == kernels
    tables = {leaf for leaf in params if leaf.endswith("embedding")}
    tokens = {"Tokens/embedding"} if name == "gpt-mini" else set()
    assert tables == {"Blocks/position_embedding"} | tokens
    others = {leaf.rpartition("/")[2] for leaf in params.keys() - prunable - tables}
    assert others == {"bias", "scale"}


def test_the_output_layer_of_a_language_model_is_its_table_of_tokens():
    model, network, tokens = small("gpt-mini")
    doubled = jax.tree.map(np.array, network)
    doubled.params["Tokens"]["embedding"][4] *= 2
    tokens = np.minimum(tokens, 3)  # token 4 is read nowhere, but may come next
    before, after = (applied(model, n, tokens) for n in (network, doubled))
    np.testing.assert_allclose(after[..., 4], 2 * before[..., 4], rtol=1e-6)
    np.testing.assert_array_equal(after[..., :4], before[..., :4])


@every_network
def test_weights_start_as_the_docstring_says(name):
    _, network, _ = small(name, width=64, blocks=2)
    for path, leaf in trees.named(network.params).items():
        if path.endswith("bias"):
            assert not np.any(leaf)
        elif path.endswith("scale"):
            assert np.all(leaf == 1)
        elif path.endswith("embedding"):
            assert np.std(leaf) == pytest.approx(0.02, rel=0.1)
        elif leaf.size > 4000:
            branches = 4 if re.search("AttentionOutput|MLP2", path) else 1
            assert np.std(leaf) == pytest.approx((2 / leaf.shape[0] / branches) ** 0.5, rel=0.04)


# ---- arithmetic


def reference(params, x, *, heads, causal):
    """Return what blocks make of activations, in NumPy and float64."""
    x = x + params["position_embedding"]
    for place in range(1, len([name for name in params if name.startswith("Block")]) + 1):
        block = params[f"Block{place}"]
        width = x.shape[-1]
        qkv = dense(block["QueryKeyValue"], layer_norm(block["AttentionNorm"], x))
        query, key, value = (qkv[..., at * width : (at + 1) * width] for at in range(3))
        attended = []
        for columns in np.split(np.arange(width), heads):
            logits = query[..., columns] @ key[..., columns].swapaxes(1, 2)
            logits = logits / math.sqrt(width / heads)
            if causal:
                logits = np.where(np.tri(x.shape[1], dtype=bool), logits, -np.inf)
            weights = np.exp(logits - logits.max(-1, keepdims=True))
            attended.append(weights / weights.sum(-1, keepdims=True) @ value[..., columns])
        x = x + dense(block["AttentionOutput"], np.concatenate(attended, axis=-1))
        inside = dense(block["MLP1"], layer_norm(block["MLPNorm"], x))
        inside = inside * (1 + np.tanh(math.sqrt(2 / math.pi) * (inside + 0.044715 * inside**3)))
        x = x + dense(block["MLP2"], inside / 2)
    return layer_norm(params["LastNorm"], x)


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def layer_norm(layer, x):
    centred = x - x.mean(-1, keepdims=True)
    std = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred / std * layer["scale"] + layer["bias"]


@every_network
def test_networks_are_the_arithmetic_of_the_papers(name):
    model, network, inputs = small(name, blocks=2)
    random = np.random.default_rng(0)  # so that biases, scales and positions show
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf, float) + random.normal(0, 0.3, leaf.shape), network.params
    )
    if name == "gpt-mini":
        table = params["Tokens"]["embedding"]
        outputs = reference(params["Blocks"], table[inputs], heads=2, causal=True) @ table.T
    else:
        rows = [
            image[top : top + 4, left : left + 4].ravel()
            for image in inputs
            for top in range(0, 8, 4)
            for left in range(0, 12, 4)
        ]
        x = dense(params["PatchEmbedding"], np.stack(rows).reshape(3, 6, -1))
        x = reference(params["Blocks"], x, heads=2, causal=False)
        outputs = dense(params["Head"], x.mean(axis=1))
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    for train in (False, True):
        logits = applied(model, models.Network(params, {}), inputs, train=train)
        np.testing.assert_allclose(logits, outputs, rtol=1e-4, atol=1e-4)


def test_a_later_token_changes_no_earlier_output():
    model, network, tokens = small("gpt-mini")
    run = jax.jit(lambda tokens: model.apply(network, tokens, True)[0])
    before = run(tokens)
    for place in range(1, tokens.shape[1]):
        changed = tokens.copy()
        changed[:, place] = (changed[:, place] + 1) % 5
        after = run(changed)
        np.testing.assert_array_equal(after[:, :place], before[:, :place])
        assert np.all(np.any(after[:, place:] != before[:, place:], axis=-1))


@every_network
def test_the_place_of_an_input_matters(name):
    model, network, inputs = small(name)
    outputs = applied(model, network, inputs)
    if name == "gpt-mini":
        same = applied(model, network, np.full_like(inputs, 2))
        assert np.abs(np.diff(same, axis=1)).max(-1).min() > 1e-5
    else:
        swapped = np.concatenate([inputs[:, 4:], inputs[:, :4]], axis=1)  # rows of patches
        assert np.abs(applied(model, network, swapped) - outputs).max() > 1e-4


@every_network
def test_transformers_give_the_same_one_by_one_and_side_by_side_jitted_and_not(name):
    model, network, inputs = small(name)
    others = jax.jit(model.init)(jax.random.key(1))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), network, others)
    run = functools.partial(model.apply, inputs=inputs, train=False)
    together = jax.jit(jax.vmap(lambda network: run(network)[0]))(stacked)
    for outputs, of in zip(together, (network, others), strict=True):
        tiny.assert_close(outputs, run(of)[0], rtol=1e-4, atol=1e-6)


# ---- types


@every_network
def test_bfloat16_is_close_and_softmax_and_layer_norm_are_in_float32(name):
    model, network, inputs = small(name)
    exact = applied(model, network, inputs)
    model, network, _ = small(name, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(network)} == {np.dtype("float32")}
    rough = applied(model, network, inputs)
    assert rough.dtype == exact.dtype == jnp.float32
    assert 0 < np.abs(rough - exact).max() < 0.03 * np.abs(exact).max()
    program = str(jax.make_jaxpr(lambda: model.apply(network, inputs, True)[0])())
    results = {  # operation -> types of its results
        operation: set(re.findall(rf":(\w+)\[[^]]*\] = {operation}\b", program))
        for operation in ("exp", "rsqrt", "dot_general")
    }
    assert results["exp"] == results["rsqrt"] == {"f32"}
    assert "bf16" in results["dot_general"]


@every_network
def test_float64_stays_float64(name):
    model, network, inputs = small(name)
    with jax.enable_x64(True):
        network = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), network)
        inputs = inputs if name == "gpt-mini" else inputs.astype(np.float64)
        outputs, _ = jax.eval_shape(lambda: model.apply(network, inputs, False))
    assert outputs.dtype == jnp.float64


# ---- learning


@every_network
def test_the_loss_of_a_small_problem_falls(name):
    model, network, _ = small(name)
    inputs = inputs_of(name, 40)
    if name == "gpt-mini":  # each token is the last one plus 1
        inputs = (inputs[:, :1] + np.arange(inputs.shape[1])).astype(np.int32) % 5
        labels = (inputs + 1) % 5
    else:
        labels = inputs[:, :4, :4].mean(axis=(1, 2, 3)) > 0
    labels = labels.astype(np.int32)
    adam = optax.adam(0.01)

    def loss_of(params):
        logits, _ = model.apply(models.Network(params, {}), inputs, True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def run(params):
        def step(carry, _):
            params, opt = carry
            loss, gradients = jax.value_and_grad(loss_of)(params)
            updates, opt = adam.update(gradients, opt, params)
            return (optax.apply_updates(params, updates), opt), loss

        return jax.lax.scan(step, (params, adam.init(params)), length=60)[1]

    losses = run(network.params)
    assert losses[-1] < 0.3 * losses[0]


# ---- in the library


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "gpt-mini",
            (28, 28, 1),
            "`model` gpt-mini needs tokens, (length,) of an example; got (28",
        ),
        ("gpt-mini", (0,), "`model` gpt-mini needs tokens, (length,) of an example; got (0,)."),
        ("vit-tiny", (64,), "`model` vit-tiny needs images, (height, width, channels) of an exam"),
        ("resnet-20", (64,), "`model` resnet-20 needs images, (height, width, channels) of an exa"),
        ("conv-2", (8, 8), "`model` conv-2 needs images, (height, width, channels) of an example;"),
        ("vit-tiny", (2, 8, 1), "vit-tiny needs images of at least 4 x 4 pixels; got 2 x 8."),
        (
            "vit-tiny",
            (32, 30, 3),
            "vit-tiny needs images whose height and width are multiples of 4 pixels; got 32 x 30.",
        ),
    ],
)
def test_examples_that_a_network_does_not_take_are_refused_in_a_line(name, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        models.build(ModelConfig(name=name), shape=shape, classes=3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("inputs", [np.zeros((2, 6)), np.zeros((2, 6, 1), np.uint8)])
def test_a_language_model_refuses_inputs_that_are_no_tokens(inputs):
    model, network, _ = small("gpt-mini")
    message = "`model` gpt-mini needs tokens, whole numbers (n, length); got "
    with pytest.raises(ValueError, match=re.escape(message)):
        model.apply(network, inputs, False)


@every_network
def test_transformers_have_no_wiring(name):
    with pytest.raises(ValueError, match="has no wiring") as error:
        models.wiring(ModelConfig(name=name))
    assert "\n" not in str(error.value)


@every_network
def test_transformers_train_as_networks_without_convolutions_do(name):
    config = ImpConfig(model=ModelConfig(name=name), data=DataConfig(name="digits"))
    assert not models.has_batch_norm(name)
    assert not models.is_convolutional(name)
    machine.check_devices(config)
    assert models.label(config.model) == name


@every_network
def test_memory_of_a_transformer_counts_what_goes_into_its_products(name):
    model, network, _ = small(name)
    needs = memory.of_training(
        "model",
        model,
        network,
        TrainingConfig(batch_size=7),
        OptimizerConfig(),
        execution.layout(1, devices=jax.devices()[:1]),
        example=models.example(name, SMALL_SHAPES[name]),
        arrays=(),
    )
    # 6 positions of width 8; of the two products of attention one input each, queries and values.
    block = 6 * (8 + 8 + 8 + 8 + 8 + 16)
    outside = 6 * 8 if name == "gpt-mini" else 6 * 4 * 4 * 2 + 8
    sizes = {need.option: need.size for need in needs}
    assert sizes["batch_size"] == 4 * 7 * (block + outside)


@pytest.mark.slow
def test_a_study_prunes_a_vision_transformer(tmp_path):
    words = [*tiny.COMMAND[:1], "--model", "vit-tiny", "--data", "digits", "--steps", "3"]
    words += ["--batch-size", "20", "--levels", "1", "--replicates", "1", "--controls"]
    printed = tiny.printed(*words, "--optimizer", "adam", "--out", tmp_path)
    assert re.search(r"1 +80 % +355,891", printed)
