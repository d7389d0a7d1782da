import dataclasses
import re

import jax
import numpy as np
import pytest

from jaxlth import keys, masks, models, settings, trees
from jaxlth.models import ModelConfig

FAN_IN, FAN_OUT = 200, 150
FAN_AVERAGE = (FAN_IN + FAN_OUT) / 2
INITIALIZERS = {  # name -> (variance of a weight, family)
    "kaiming-normal": (2 / FAN_IN, "normal"),
    "kaiming-uniform": (2 / FAN_IN, "uniform"),
    "xavier-normal": (1 / FAN_AVERAGE, "normal"),
    "xavier-uniform": (1 / FAN_AVERAGE, "uniform"),
    "scaled-normal": (1 / FAN_IN, "normal"),
    "pytorch": (1 / (3 * FAN_IN), "uniform"),
    "unit-normal": (1.0, "normal"),
    # Orthonormal columns of FAN_IN numbers each, times the square root of 2.
    "orthogonal": (2 / FAN_IN, "normal"),
}


def init(config, shape, classes, *, key=None):
    key = keys.stream(0, 0, "initialization") if key is None else key
    return models.build(config, shape=shape, classes=classes).init(key)


def shapes(network):
    return {name: leaf.shape for name, leaf in trees.named(network.params).items()}


def test_lenet_300_100_has_266200_prunable_weights_in_three_kernels():
    built = models.build(ModelConfig(name="lenet-300-100"), shape=(28, 28, 1), classes=10)
    network = jax.eval_shape(built.init, jax.random.key(0))
    mask = masks.dense(network.params)
    assert masks.size(mask) == 266_200
    assert {name: leaf.shape for name, leaf in trees.named(mask).items()} == {
        "Dense_0/kernel": (784, 300),
        "Dense_1/kernel": (300, 100),
        "Dense_2/kernel": (100, 10),
    }


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        ((), {"Dense_0": (12, 5)}),
        ((7,), {"Dense_0": (12, 7), "Dense_1": (7, 5)}),
        ((7, 1, 4), {"Dense_0": (12, 7), "Dense_1": (7, 1), "Dense_2": (1, 4), "Dense_3": (4, 5)}),
    ],
)
def test_an_mlp_has_the_widths_of_hidden(hidden, expected):
    built = models.build(ModelConfig(name="mlp", hidden=hidden), shape=(2, 3, 2), classes=5)
    network = jax.eval_shape(built.init, jax.random.key(0))
    wanted = {f"{layer}/kernel": shape for layer, shape in expected.items()}
    wanted |= {f"{layer}/bias": shape[1:] for layer, shape in expected.items()}
    assert shapes(network) == wanted
    assert network.stats == {}


def test_an_mlp_is_dense_layers_with_relu_between_them():
    built = models.build(ModelConfig(name="mlp", hidden=(7, 4)), shape=(2, 3, 2), classes=5)
    network = built.init(jax.random.key(0))
    layers = jax.tree.map(np.asarray, network.params)
    for layer in layers.values():  # so that the biases show
        layer["bias"] = layer["bias"] + np.linspace(-1, 1, layer["bias"].size, dtype=np.float32)
    images = np.random.default_rng(0).normal(size=(6, 2, 3, 2)).astype(np.float32)
    expected = images.reshape(6, 12)
    for at in range(3):
        layer = layers[f"Dense_{at}"]
        expected = expected @ layer["kernel"] + layer["bias"]
        expected = np.maximum(expected, 0) if at < 2 else expected
    for train in (False, True):
        logits, stats = built.apply(models.Network(layers, {}), images, train)
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
        assert stats == {}


def test_the_table_of_initializers_is_tested_whole():
    assert set(INITIALIZERS) == set(models.INITIALIZERS)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_weights_are_drawn_from_the_distribution_of_their_initializer(name):
    config = ModelConfig(name="mlp", initializer=name)
    layer = init(config, (20, 5, 2), FAN_OUT).params["Dense_0"]
    weights = np.asarray(layer["kernel"], np.float64)
    variance, family = INITIALIZERS[name]
    # 30,000 draws: the mean is off by 0.006 standard deviations, these by 0.4 %.
    scaled = weights / variance**0.5
    assert abs(scaled.mean()) < 0.02
    assert scaled.std() == pytest.approx(1, abs=0.015)
    kurtosis = (scaled**4).mean()
    assert kurtosis == pytest.approx({"normal": 3.0, "uniform": 1.8}[family], rel=0.06)
    if family == "uniform":
        assert abs(scaled).max() <= 3**0.5 + 1e-6
    else:
        assert abs(scaled).max() > 3.5  # a truncated normal ends at 2
    if name == "orthogonal":
        np.testing.assert_allclose(weights.T @ weights, 2 * np.eye(FAN_OUT), atol=1e-5)


def test_biases_start_at_zero_and_every_layer_and_key_has_its_own_weights():
    config = ModelConfig(name="mlp", hidden=(4, 4))
    one, other = (init(config, (2, 2, 1), 4, key=jax.random.key(seed)) for seed in (0, 1))
    kernels = []
    for network in (one, other):
        for layer in network.params.values():
            assert not np.any(layer["bias"])
            kernels.append(np.asarray(layer["kernel"]).tobytes())
    assert len(set(kernels)) == 6


@pytest.mark.parametrize(
    ("config", "shape", "layers"),
    [
        (ModelConfig(name="mlp", hidden=(900,), initializer="pytorch"), (4, 5, 1), (20, 900)),
        (ModelConfig(name="conv-2", initializer="pytorch"), (4, 4, 3), (27, 576, 256, 256, 256)),
    ],
)
def test_biases_are_drawn_as_pytorch_does_within_the_fan_in_of_their_kernel(config, shape, layers):
    params = init(config, shape, 900).params
    for fan_in, layer in zip(layers, params.values(), strict=True):
        scaled = np.asarray(layer["bias"]) * fan_in**0.5
        assert abs(scaled).max() <= 1
        assert abs(scaled).max() > 0.9
        if len(scaled) == 900:
            assert scaled.std() == pytest.approx(3**-0.5, rel=0.05)
    plain = init(dataclasses.replace(config, initializer="kaiming-uniform"), shape, 900).params
    for layer, other in zip(params.values(), plain.values(), strict=True):  # kernels stay
        np.testing.assert_allclose(layer["kernel"] * 6**0.5, other["kernel"], rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "lenet-300"}, "`model` has no value 'lenet-300'. Did you mean 'lenet-300-100'?"),
        ({"name": "resnet-18-modifid"}, "Did you mean 'resnet-18-modified'?"),
        ({"name": "MLP"}, "Known: lenet-300-100, mlp, conv-2, conv-4, conv-6, conv-8, resnet-20,"),
        ({"initializer": "kaiming_normal"}, "Did you mean 'kaiming-normal'?"),
        ({"name": "mlp", "hidden": (3, 0)}, "`hidden` must be at least 1; got 0."),
        ({"name": "mlp", "hidden": (2,) * 1001}, "`hidden` must be at most 1000 widths, as each"),
        ({"hidden": (3,)}, "`hidden` belongs to the model mlp; lenet-300-100 has its own widths."),
        ({"name": "vgg-16", "fc_layers": 3}, "`fc_layers` must be 1 or 2; got 3."),
        (
            {"name": "resnet-20", "fc_layers": 2},
            "`fc_layers` belongs to vgg-11, vgg-16 and vgg-19; resnet-20 has its own layers.",
        ),
        (
            {"name": "conv-4", "norm_scale": "ones"},
            "`norm_scale` belongs to models with batch norm; conv-4 has none.",
        ),
        (
            {"name": "resnet-20", "norm_scale": "one"},
            "`norm_scale` has no value 'one'. Did you mean 'ones'?",
        ),
        ({"dtype": "float16"}, "`dtype` has no value 'float16'. Did you mean 'bfloat16'?"),
    ],
)
def test_settings_of_models_name_what_is_wrong(config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ModelConfig(**config)


def test_settings_that_came_later_leave_the_digests_of_old_runs_alone():
    old = ModelConfig(name="mlp", hidden=(20, 5), initializer="xavier-normal")
    assert settings.digest(ModelConfig()) == "44136fa3"
    assert settings.digest(old) == "73339eb9"


def test_labels_of_models_are_readable():
    assert models.label(ModelConfig()) == "lenet-300-100"
    assert models.label(ModelConfig(name="mlp", hidden=(20, 5))) == "mlp-20-5"
