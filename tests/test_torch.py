"""Networks of PyTorch in the library and back; torch_networks.py has the reference."""

import importlib.util
import json

import equinox as eqx
import jax
import numpy as np
import pytest
import safetensors.numpy
import torch_networks
from torch_networks import NETWORKS, QUICK

from jaxlth import models, trees
from jaxlth.models import ModelConfig, Network

REFERENCE = json.loads(torch_networks.FILE.read_text())
HAS_TORCH = importlib.util.find_spec("torch") is not None


def build(name):
    shape, fields = NETWORKS[name]
    config = ModelConfig(name=name, **fields)
    return models.build(config, shape=shape, classes=torch_networks.classes(name))


def saved(path, state):
    safetensors.numpy.save_file({at: np.ascontiguousarray(a) for at, a in state.items()}, path)
    return path


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in NETWORKS],
)
def test_a_network_of_pytorch_has_the_same_logits_here_and_goes_back(tmp_path, name):
    model, wanted = build(name), np.array(REFERENCE[name]["logits"])
    state = torch_networks.draw(REFERENCE[name]["shapes"])
    network = models.load_torch(saved(tmp_path / "t.safetensors", state), model)
    apply = jax.jit(lambda network, inputs: model.apply(network, inputs, False)[0])
    logits = apply(network, torch_networks.inputs(name))
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))
    back, names = models.to_torch(network, flattened=model.flattened)
    assert back.keys() == state.keys()
    for at, array in state.items():
        np.testing.assert_array_equal(back[at], array, strict=True)
    assert sorted(names.values()) == sorted(
        [*trees.names(network.params), *trees.names(network.stats)]
    )
    if HAS_TORCH:
        assert {at: list(array.shape) for at, array in back.items()} == torch_networks.shapes(name)
        np.testing.assert_allclose(torch_networks.logits(name, back), wanted, rtol=0, atol=1e-6)


def test_a_module_with_names_of_its_own_is_read_by_a_map_of_names(tmp_path):
    model = build("mlp")
    state = torch_networks.draw(REFERENCE["mlp"]["shapes"])
    own = {"fc1.weight": "Dense_0/kernel", "fc1.bias": "Dense_0/bias"}
    own |= {"fc2.weight": "Dense_1/kernel", "fc2.bias": "Dense_1/bias"}
    renamed = {
        at: state[ours.replace("/kernel", "/weight").replace("/", ".")] for at, ours in own.items()
    }
    plain = models.load_torch(saved(tmp_path / "a.safetensors", state), model)
    loaded = models.load_torch(saved(tmp_path / "b.safetensors", renamed), model, names=own)
    assert all(map(np.array_equal, jax.tree.leaves(loaded), jax.tree.leaves(plain)))
    file = tmp_path / "b.safetensors"
    with pytest.raises(ValueError, match=r"lacks 'Dense_0\.bias' of the network. `names` says"):
        models.load_torch(file, model)
    with pytest.raises(ValueError, match=r"has 'fc2\.bias', which is none of the network's"):
        models.load_torch(file, model, names=dict(list(own.items())[:3]))
    wrong = saved(tmp_path / "c.safetensors", renamed | {"fc1.weight": np.zeros((90, 20), "f4")})
    with pytest.raises(
        ValueError, match=r"'fc1.weight' must become 'Dense_0/kernel' of shape \(90"
    ):
        models.load_torch(wrong, model, names=own)
    (tmp_path / "d.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="no file of safetensors, or is damaged"):
        models.load_torch(tmp_path / "d.safetensors", model)


@pytest.mark.parametrize("wrapped", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_names_of_a_wrapped_module_are_those_of_the_module_within(wrapped, tmp_path):
    model, state = build("mlp"), torch_networks.draw(REFERENCE["mlp"]["shapes"])
    plain = models.load_torch(saved(tmp_path / "a.safetensors", state), model)
    renamed = {f"{wrapped}{name}": array for name, array in state.items()}
    file = saved(tmp_path / "b.safetensors", renamed)
    loaded = models.load_torch(file, model)
    assert all(map(np.array_equal, jax.tree.leaves(loaded), jax.tree.leaves(plain)))
    names = {f"{wrapped}{at}": ours for at, ours in models.to_torch(plain)[1].items()}
    named = models.load_torch(file, model, names=names)  # where a map has the whole names
    assert all(map(np.array_equal, jax.tree.leaves(named), jax.tree.leaves(plain)))
    some = renamed | {"Dense_0.bias": renamed.pop(f"{wrapped}Dense_0.bias")}
    with pytest.raises(ValueError, match=r"lacks 'Dense_0.weight' of the network"):
        models.load_torch(saved(tmp_path / "c.safetensors", some), model)


def test_a_network_whose_own_names_begin_with_module_is_read_as_it_is(tmp_path):
    params = {"module": {"w": jax.numpy.zeros((3, 2))}}
    model = models.from_functions(lambda key: params, lambda params, x: x @ params["module"]["w"])
    file = saved(tmp_path / "a.safetensors", {"module.weight": np.ones((2, 3), "f4")})
    assert models.load_torch(file, model).params["module"]["w"].sum() == 6


def test_what_is_no_file_and_no_network_is_named(tmp_path):
    with pytest.raises(ValueError, match="`path` must be a file of safetensors, but .* a folder"):
        models.load_torch(tmp_path, build("mlp"))
    with pytest.raises(TypeError, match="`model` must be a `models.Model`; got 'mlp'"):
        models.load_torch(tmp_path / "a.safetensors", "mlp")
    with pytest.raises(TypeError, match=r"`network` must be a `models.Network`.*; got \{'w': 1\}"):
        models.to_torch({"w": 1})


def test_layers_have_the_names_and_axes_of_pytorch():
    ones = np.arange(4, dtype=np.float32)
    kernel = np.arange(36, dtype=np.float32).reshape(3, 3, 1, 4)
    params = {"Conv1": {"kernel": kernel}, "BatchNorm1": {"scale": ones, "bias": -ones}}
    params |= {"Tokens": {"embedding": np.ones((5, 2))}, "head": {"weight": np.ones((3, 2))}}
    params |= {"linear": {"w": np.ones((4, 7)), "b": np.zeros(7)}}
    network = Network(params, {"BatchNorm1": {"mean": ones + 1, "var": ones + 2}})
    state, names = models.to_torch(network, flattened=())
    assert {at: array.shape for at, array in state.items()} == {
        "BatchNorm1.bias": (4,),
        "BatchNorm1.num_batches_tracked": (),
        "BatchNorm1.running_mean": (4,),
        "BatchNorm1.running_var": (4,),
        "BatchNorm1.weight": (4,),
        "Conv1.weight": (4, 1, 3, 3),
        "Tokens.weight": (5, 2),
        "head.weight": (3, 2),
        "linear.bias": (7,),
        "linear.weight": (7, 4),
    }
    assert state["Conv1.weight"][2, 0, 1, 0] == kernel[1, 0, 0, 2]
    assert (state["BatchNorm1.running_var"] == ones + 2).all()
    assert names["BatchNorm1.running_mean"] == "BatchNorm1/mean"
    assert names["linear.weight"] == "linear/w"


def test_what_has_no_counterpart_in_pytorch_is_refused_by_name():
    attention = Network({"query": {"kernel": np.zeros((4, 2, 3))}}, {})
    with pytest.raises(ValueError, match="'query/kernel' has 3 dimensions"):
        models.to_torch(attention)
    params = {"Conv_0": {"kernel": np.zeros((3, 3, 1, 2))}, "Dense_0": {"kernel": np.zeros((8, 5))}}
    with pytest.raises(ValueError, match="Whether 'Dense_0/kernel' reads flattened pixels"):
        models.to_torch(Network(params, {}))
    models.to_torch(Network(params, {}), flattened=(("Dense_0/kernel", 2),))
    with pytest.raises(ValueError, match="'norm/count' has no place in PyTorch"):
        models.to_torch(Network({}, {"norm": {"count": np.zeros(1)}}))
    with pytest.raises(ValueError, match="two arrays of one name in PyTorch"):
        models.to_torch(
            Network({"a": {"kernel": np.zeros((1, 1)), "weight": np.zeros((1, 1))}}, {})
        )


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["Dense_0.weight"], TypeError, r"`names` must map names in PyTorch to ours; got \['Dense"),
        (
            {"fc1.weight": "Dense_0/kernel", "copy.weight": "Dense_0/kernel"},
            ValueError,
            "`names` has two arrays in PyTorch for 'Dense_0/kernel'",
        ),
        (
            {"fc1.weight": "Dense_0/krnel"},
            ValueError,
            "`names` has 'Dense_0/krnel', which is no arr",
        ),
    ],
)
def test_a_map_of_names_that_is_none_is_refused(names, error, message, tmp_path):
    state = {name: np.ones((2, 2), "f4") for name in names}
    with pytest.raises(error, match=message):
        models.load_torch(saved(tmp_path / "a.safetensors", state), build("mlp"), names=names)


@pytest.mark.parametrize("dtype", [np.int8, bool, np.float64])
def test_arrays_that_are_no_floats_of_the_network_are_refused(dtype, tmp_path):
    state = torch_networks.draw(REFERENCE["mlp"]["shapes"])
    state = {name: (100 * array).astype(dtype) for name, array in state.items()}
    with pytest.raises(
        ValueError, match=f"must become .* and type float32; got .*{np.dtype(dtype)}"
    ):
        models.load_torch(saved(tmp_path / "a.safetensors", state), build("mlp"))


@pytest.mark.parametrize("name", ["ConvTranspose_0", "conv2_d_transpose", "deconv1"])
def test_transposed_convolutions_are_refused_by_name(name):
    params = {name: {"bias": np.zeros(2), "kernel": np.zeros((3, 3, 2, 2))}}
    with pytest.raises(ValueError, match=f"'{name}/kernel' is of a transposed convolution"):
        models.to_torch(Network(params, {}))


class Equinox(eqx.Module):
    conv: eqx.nn.Conv2d
    line: eqx.nn.Conv1d
    volume: eqx.nn.Conv3d
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, key):
        self.conv, self.line = eqx.nn.Conv2d(2, 3, 3, key=key), eqx.nn.Conv1d(3, 4, 1, key=key)
        self.volume = eqx.nn.Conv3d(1, 2, 2, key=key)
        self.norm, self.head = eqx.nn.LayerNorm((4, 3)), eqx.nn.Linear(4, 5, key=key)


def test_biases_of_equinox_have_the_axis_of_pytorch_and_come_back(tmp_path):
    params = eqx.filter(Equinox(jax.random.key(0)), eqx.is_array)
    state, _ = models.to_torch(Network(params, {}))
    shapes = {name: array.shape for name, array in state.items() if name.endswith("bias")}
    assert shapes == {
        "conv.bias": (3,),
        "line.bias": (4,),
        "volume.bias": (2,),
        "norm.bias": (4, 3),
        "head.bias": (5,),
    }
    np.testing.assert_array_equal(state["conv.weight"], params.conv.weight)
    np.testing.assert_array_equal(state["conv.bias"], params.conv.bias[:, 0, 0])
    model = models.from_functions(lambda key: params, lambda params, x: x)
    loaded = models.load_torch(saved(tmp_path / "a.safetensors", state), model).params
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


@pytest.mark.parametrize("kind", [eqx.nn.ConvTranspose1d, eqx.nn.ConvTranspose2d])
def test_a_transposed_convolution_of_equinox_is_refused_by_its_class(kind):
    params = {"up": eqx.filter(kind(2, 2, 3, key=jax.random.key(0)), eqx.is_array)}
    with pytest.raises(ValueError, match="'up/weight' is of a transposed convolution"):
        models.to_torch(Network(params, {}))


STACKED = {  # shapes of kernel and bias, as `nn.scan`, `nn.DenseGeneral` and `jax.vmap` make them
    "conv/kernel": ((4, 3, 5, 6), (4, 6)),  # a line of pixels
    "layer/kernel": ((4, 3, 3, 5, 6), (4, 6)),
    "query/kernel": ((4, 6, 2, 3), (4, 2, 3)),
    "split/kernel": ((6, 5, 2, 3), (2, 3)),
    "out/weight": ((4, 6, 5), (4, 6)),
}


@pytest.mark.parametrize("name", STACKED)
def test_stacked_layers_are_refused_by_the_shape_of_their_bias(name):
    kernel, bias = STACKED[name]
    layer, last = name.split("/")
    params = {layer: {last: np.zeros(kernel), "bias": np.zeros(bias)}}
    with pytest.raises(ValueError, match=f"'{name}' of shape .* has a bias of shape .* is of stac"):
        models.to_torch(Network(params, {}))


def test_stacked_attention_without_biases_is_refused_and_convolutions_of_its_names_are_not():
    shapes = {"query": (4, 6, 2, 3), "out": (4, 2, 3, 6)}
    params = {name: {"kernel": np.zeros(shape)} for name, shape in shapes.items()}
    with pytest.raises(ValueError, match="'out/kernel' of shape .* is no convolution by its name"):
        models.to_torch(Network(params, {}))
    layers = {"query": {"kernel": np.zeros((1, 1, 6, 3)), "bias": np.zeros(3)}}
    layers |= {"query_conv": {"kernel": np.zeros((1, 1, 6, 3))}}
    state, _ = models.to_torch(Network(layers, {}))
    assert state["query.weight"].shape == state["query_conv.weight"].shape == (3, 6, 1, 1)


def test_whole_numbers_are_read_where_ours_are_whole_numbers(tmp_path):
    params = {"w": jax.numpy.ones((3, 2)), "n": jax.numpy.zeros(1, int)}
    model = models.from_functions(lambda key: params, lambda params, x: x @ params["w"])
    state = {"w": np.ones((2, 3), "f4"), "n": np.int32([7])}
    names = {"w": "w", "n": "n"}
    file = saved(tmp_path / "a.safetensors", state)
    assert models.load_torch(file, model, names=names).params["n"] == 7
