"""Parameters of other frameworks: where inputs and outputs lie, and what is a kernel."""

import dataclasses
import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.core import FrozenDict

from jaxlth import graphs, landscape, masks, prune, scores, trees
from jaxlth.prune import groups
from jaxlth.supermasks import masking
from jaxlth.trees import attention

eqx = pytest.importorskip("equinox")

RANDOM = np.random.default_rng(0)
CHAIN = {  # square layers and others, so that shapes alone do not tell the axes
    f"Dense_{place}": {
        "kernel": RANDOM.standard_normal(shape, np.float32),
        "bias": RANDOM.standard_normal(shape[-1], np.float32),
    }
    for place, shape in enumerate([(6, 6), (6, 6), (6, 3)])
}
KEEP = jax.tree.map(lambda leaf: RANDOM.random(leaf.shape) < 0.25, CHAIN)
MASK = {name: {"kernel": layer["kernel"], "bias": None} for name, layer in KEEP.items()}
KERNEL = (3, 2, 4, 5)  # of a convolution, (height, width, inputs, outputs)


def out_in(tree, word="kernel"):
    """Return a tree whose kernels have their outputs first, under another word."""
    return {
        name: {word: None if layer["kernel"] is None else layer["kernel"].T, "bias": layer["bias"]}
        for name, layer in tree.items()
    }


LAYOUTS = {  # word for a kernel, axes given
    "by name": ("weight", None),
    "by axes": ("kernel", masks.OUT_IN),
    "by axes against the name": ("weight", masks.OUT_IN),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_graphs_are_the_same_with_outputs_first(case):
    word, axes = LAYOUTS[case]
    params, mask = out_in(CHAIN, word), out_in(MASK, word)
    here = graphs.network(CHAIN, MASK)
    there = graphs.network(params, mask, axes=axes)
    assert dict(here.nodes(data=True)) == dict(there.nodes(data=True))
    assert sorted(here.edges(data="weight")) == sorted(there.edges(data="weight"))
    plain, other = graphs.categories(CHAIN, MASK), graphs.categories(params, mask, axes=axes)
    assert graphs.count(plain.weights) == graphs.count(other.weights)
    assert all(map(np.array_equal, plain.units, other.units))
    small = graphs.compact(CHAIN, MASK, fold=True)
    small_there = graphs.compact(params, mask, fold=True, axes=axes)
    assert same(small_there.params, out_in(small.params, word))
    assert same(small_there.mask, out_in(small.mask, word))
    whole = graphs.expand(small.params, CHAIN, MASK, small.units)
    whole_there = graphs.expand(small_there.params, params, mask, small.units, axes=axes)
    assert same(whole_there, out_in(whole, word))


def same(a, b):
    assert trees.names(a) == trees.names(b)
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def test_graphs_of_convolutions_with_outputs_first_are_the_same_and_flattening_is_refused():
    image = {"a": RANDOM.random(KERNEL) < 0.1, "b": RANDOM.random((3, 3, 5, 2)) < 0.1}
    turned = {name: np.moveaxis(leaf, (-2, -1), (1, 0)) for name, leaf in image.items()}
    there = graphs.categories(turned, turned, axes=masks.OUT_IN)
    assert graphs.count(graphs.categories(image, image).weights) == graphs.count(there.weights)
    flat = turned | {"c": np.ones((7, 2 * 6), bool)}
    with pytest.raises(ValueError, match="'c' reads 12 flattened pixels of 2 channels"):
        graphs.categories(flat, flat, axes=masks.OUT_IN)


def test_a_chain_is_refused_if_a_kernel_that_is_never_pruned_has_three_axes():
    params = {"a": {"kernel": np.ones((6, 2, 3))}, "b": {"kernel": np.ones((6, 6))}}
    mask = masks.without(masks.dense(params), ["a/*"])
    with pytest.raises(ValueError, match="not feed-forward: 'a/kernel' has 3 dimensions"):
        graphs.categories(params, mask)


def test_a_network_read_with_the_wrong_axes_is_refused_where_shapes_tell():
    with pytest.raises(ValueError, match="`axes` where the inputs and the outputs of kernels lie"):
        graphs.categories(out_in(CHAIN, "weight"), out_in(MASK, "weight"), axes=masks.IN_OUT)
    with pytest.raises(
        ValueError, match=r"two axes of a kernel, \(inputs, outputs\); got \(0, 3\)"
    ):
        masks.unit_densities(MASK, axes=(0, 3))
    with pytest.raises(ValueError, match=r"got \(0, -2\) for 'Dense_0/kernel' of shape \(6, 6\)"):
        masks.unit_densities(MASK, axes=(0, -2))


@pytest.mark.parametrize("case", LAYOUTS)
def test_units_and_erdos_renyi_are_the_same_with_outputs_first(case):
    word, axes = LAYOUTS[case]
    here = {
        "a": {"kernel": KEEP["Dense_0"]["kernel"]},
        "c": {"kernel": RANDOM.random(KERNEL) < 0.5},
    }
    there = {name: {word: np.moveaxis(m["kernel"], (-2, -1), (1, 0))} for name, m in here.items()}
    densities = masks.unit_densities(here)
    assert densities["c/kernel"].tolist() == here["c"]["kernel"].mean((0, 1, 2)).tolist()
    turned = masks.unit_densities(there, axes=axes)
    assert [v.tolist() for v in turned.values()] == [v.tolist() for v in densities.values()]
    counts = prune.erdos_renyi(here, keep=60, kernel=False)
    turned_counts = prune.erdos_renyi(there, keep=60, kernel=False, axes=axes)
    assert list(turned_counts.values()) == list(counts.values())


def test_edge_popup_scales_its_scores_by_the_inputs_of_a_unit():
    for name, shape in (("weight", (5, 4, 3, 2)), ("kernel", (3, 2, 4, 5)), ("w", (24, 2))):
        scores = masking.centered({name: np.ones(shape)})
        assert np.all(scores[name] == 1 / np.sqrt(24))


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 3, 4), (3, 3, 2, 4), (4, 2, 3, 3)])
def test_a_kernel_is_one_in_any_order_of_its_axes(shape):
    for order in itertools.permutations(range(len(shape))):
        turned = np.transpose(np.ones(shape), order)
        for name in ("conv/kernel", "layers/0/weight", "linear/w"):
            assert masks.is_kernel(name, turned)
        for name in ("attention/query/bias", "norm/weight", "embed/embeddings"):
            assert not masks.is_kernel(name, turned)


STRUCTURES = {
    "n_of_m": prune.n_of_m,
    "per_unit_topk": functools.partial(prune.per_unit_topk, density=0.4),
    "units": functools.partial(prune.units, keep=7, reduce="l1"),
    "blocks": functools.partial(prune.blocks, keep=9, shape=(3, 4)),
}


def whole_numbers(shapes):
    """Return scores with ties, whose sums are exact in any order, and a mask for them."""
    values = {name: RANDOM.integers(0, 9, shape).astype("f") for name, shape in shapes.items()}
    return values, {name: RANDOM.random(shape) < 0.8 for name, shape in shapes.items()}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_are_the_same_with_outputs_first(name):
    values, mask = whole_numbers({"a/w": (8, 6), "b/w": (3, 2, 4, 5), "c/w": (5, 4, 6)})
    turn = lambda tree: {n: np.moveaxis(leaf, (-2, -1), (1, 0)) for n, leaf in tree.items()}  # noqa: E731
    expected = turn(STRUCTURES[name](values, mask))
    there = STRUCTURES[name](turn(values), turn(mask), axes=masks.OUT_IN)
    assert same(there, expected)
    assert same(STRUCTURES[name](values, mask, axes=masks.IN_OUT), turn_back(expected))
    with pytest.raises(ValueError, match=r"two axes of a kernel.*got \(0, 3\) for 'a/w'"):
        STRUCTURES[name](values, mask, axes=(0, 3))


def turn_back(tree):
    return {name: np.moveaxis(leaf, (1, 0), (-2, -1)) for name, leaf in tree.items()}


# ---------------------------------------------------------------------------- kernels of attention

INPUTS, HEADS, FEATURES, OUTPUTS = 6, 2, 3, 5
ATTENTION_SHAPES = {  # in the order of their names
    "dense/kernel": (5, 4),
    "self/key/kernel": (INPUTS, HEADS, FEATURES),
    "self/out/kernel": (HEADS, FEATURES, OUTPUTS),
    "self/query/kernel": (INPUTS, HEADS, FEATURES),
    "self/value/kernel": (INPUTS, HEADS, FEATURES),
}


def as_matrices(tree):
    """Return the matrices that kernels of attention are, under names that say nothing."""
    shapes = {"self/out/kernel": (HEADS * FEATURES, OUTPUTS), "dense/kernel": (5, 4)}
    return {
        f"{place}/kernel": np.reshape(leaf, shapes.get(name, (INPUTS, HEADS * FEATURES)))
        for place, (name, leaf) in enumerate(tree.items())
    }


@pytest.mark.parametrize("axes", [None, masks.IN_OUT])
def test_units_of_attention_are_the_features_of_every_head(axes):
    _, mask = whole_numbers(ATTENTION_SHAPES)
    densities = masks.unit_densities(mask, axes=axes)
    for part in ("query", "key", "value"):
        keep, units = mask[f"self/{part}/kernel"], densities[f"self/{part}/kernel"]
        loop = [keep[:, h, f].mean() for h in range(HEADS) for f in range(FEATURES)]
        assert units.tolist() == loop
    keep, units = mask["self/out/kernel"], densities["self/out/kernel"]
    assert units.tolist() == [keep[..., output].mean() for output in range(OUTPUTS)]


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_read_kernels_of_attention_as_matrices(name):
    values, mask = whole_numbers(ATTENTION_SHAPES)
    there = STRUCTURES[name](values, mask)
    assert {n: leaf.shape for n, leaf in there.items()} == ATTENTION_SHAPES
    plain = [dict(enumerate(as_matrices(tree).values())) for tree in (values, mask)]
    expected = STRUCTURES[name](*plain)
    assert same(dict(enumerate(as_matrices(there).values())), expected)
    jitted = jax.jit(STRUCTURES[name])(values, mask)
    assert same(jitted, there)
    structure = STRUCTURES[name]
    if name in ("units", "blocks"):
        bare = functools.partial(structure.func, shape=(3, 4)) if name == "blocks" else prune.units
        assert groups.num_groups(bare, mask) == groups.num_groups(bare, plain[1])


def test_counts_and_scales_of_attention_are_those_of_its_matrices():
    _, mask = whole_numbers(ATTENTION_SHAPES)
    for kernel in (True, False):
        here = prune.erdos_renyi(mask, keep=50, kernel=kernel)
        there = prune.erdos_renyi(as_matrices(mask), keep=50, kernel=kernel)
        assert list(here.values()) == list(there.values())
    ones = {name: np.ones(shape) for name, shape in ATTENTION_SHAPES.items()}
    here, there = masking.centered(ones), masking.centered(as_matrices(ones))
    for a, b in zip(here.values(), there.values(), strict=True):
        assert np.all(a == b.reshape(a.shape))


def test_attention_of_flax_is_known_by_names_and_shapes():
    linen = shapes_of(nn.MultiHeadDotProductAttention(num_heads=2), (2, 5, 6))
    names = attention.matrices(trees.named(linen))
    assert names == {f"{part}/kernel": (6, 6) for part in ("key", "out", "query", "value")}
    nnx_names = attention.matrices(trees.named(of_nnx(ForNnx.block)))
    assert list(nnx_names.values()) == [(4, 4)] * 4
    grouped = ATTENTION_SHAPES | {f"self/{part}/kernel": (6, 1, 3) for part in ("key", "value")}
    shapes = {name: np.empty(shape) for name, shape in grouped.items()}
    assert attention.matrices(shapes)["self/key/kernel"] == (6, 3)
    left_out = {name: leaf for name, leaf in shapes.items() if "query" not in name}
    assert len(attention.matrices(left_out)) == 3


def test_convolutions_of_the_names_of_attention_stay_convolutions():
    shapes = {"query": (3, 8, 2), "key": (3, 8, 2), "value": (3, 8, 8), "out": (3, 8, 8)}
    mask = {name: {"kernel": RANDOM.random(shape) < 0.5} for name, shape in shapes.items()}
    assert attention.matrices(trees.named(mask)) == {}
    units = masks.unit_densities(mask)
    assert units["query/kernel"].tolist() == mask["query"]["kernel"].mean((0, 1)).tolist()


LAYERS = 4
STACKED_SHAPES = {
    name: (LAYERS, *shape) for name, shape in ATTENTION_SHAPES.items() if "self" in name
}


def layers_apart(tree):
    """Return kernels of stacked layers as matrices, those of each layer under its number."""
    return {
        f"{kernel}/{layer}/kernel": np.reshape(
            leaf[layer],
            (HEADS * FEATURES, OUTPUTS) if "out" in kernel else (INPUTS, HEADS * FEATURES),
        )
        for kernel, leaf in tree.items()
        for layer in range(LAYERS)
    }


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_read_attention_of_stacked_layers_layer_by_layer(name):
    values, mask = whole_numbers(STACKED_SHAPES)
    structure = STRUCTURES[name]
    there = structure(values, mask)
    assert {n: leaf.shape for n, leaf in there.items()} == STACKED_SHAPES
    apart = [layers_apart(tree) for tree in (values, mask)]
    assert same(layers_apart(there), structure(*apart))
    assert same(jax.jit(structure)(values, mask), there)
    if name in ("units", "blocks"):
        bare = functools.partial(structure.func, shape=(3, 4)) if name == "blocks" else prune.units
        assert groups.num_groups(bare, mask) == groups.num_groups(bare, apart[1])


def test_units_counts_and_scales_of_stacked_attention_are_those_of_its_layers():
    _, mask = whole_numbers(STACKED_SHAPES)
    for axes in (None, masks.IN_OUT):
        for kernel, units in masks.unit_densities(mask, axes=axes).items():
            by_layer = [
                masks.unit_densities({n: leaf[layer] for n, leaf in mask.items()})[kernel]
                for layer in range(LAYERS)
            ]
            assert units.tolist() == np.concatenate(by_layer).tolist()
    inputs = masking.fan_ins(mask)
    assert inputs == {n: HEADS * FEATURES if "out" in n else INPUTS for n in STACKED_SHAPES}
    for kernel in (True, False):
        counts = prune.erdos_renyi(mask, keep=140, kernel=kernel)
        # One layer of "out" has 30 weights, 6 + 5 = 11 inputs and outputs; others 36 and 12.
        assert sorted(counts.values()) == [33, 35, 36, 36]
        assert counts["self/out/kernel"] == 33
    dense = mask | {"conv/kernel": np.ones((3, 3, 2, 4), bool)}
    ratios = prune.smart_ratio(dense, keep=200, order=[*dense])
    assert ratios["self/out/kernel"] == 0.3 * 120  # as a matrix


def test_stacked_attention_of_flax_is_known_and_convolutions_of_its_names_stay():
    class Layers(nn.Module):
        @nn.compact
        def __call__(self, x):
            split = {"split_rngs": {"params": True}, "variable_axes": {"params": 0}}
            return nn.scan(Attention, length=4, **split)()(x, None)[0]

    class Attention(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.MultiHeadDotProductAttention(num_heads=2, name="attention")(x), None

    stacked = attention.matrices(trees.named(shapes_of(Layers(), (2, 5, 6))))
    assert {name.split("/")[-2]: shape for name, shape in stacked.items()} == dict.fromkeys(
        ("key", "out", "query", "value"), (4, 6, 6)
    )
    for shapes in (
        {"query": (1, 1, 8, 2), "key": (1, 1, 8, 2), "value": (1, 1, 8, 8)},
        {"query": (1, 1, 8, 8), "key": (1, 1, 8, 8), "value": (1, 1, 8, 8)},
        dict.fromkeys(("query", "key", "value", "out"), (3, 3, 8, 8)),
    ):
        assert attention.matrices({f"{n}/kernel": np.empty(s) for n, s in shapes.items()}) == {}


@pytest.mark.parametrize(
    "name", ["layers/Dense_0/kernel", "DenseGeneral_0/kernel", "linear/w", "linear/weight"]
)
@pytest.mark.parametrize("shape", [(4, 6, 8), (4, 6, 2, 8)])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_structures_refuse_kernels_that_nothing_explains(structure, shape, name):
    values, mask = whole_numbers({name: shape})
    with pytest.raises(ValueError, match=rf"{name}' lie does not follow .* Give `axes`"):
        STRUCTURES[structure](values, mask)
    STRUCTURES[structure](values, mask, axes=masks.IN_OUT)


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("ScanBlock_0/Conv_0/kernel", (5, 3, 3, 4, 6), "stacks its layers"),
        ("VmapConv_0/kernel", (5, 3, 4, 6), "stacks its layers"),
        ("ScanBlock_0/up/kernel/value", (5, 4, 6), "stacks its layers"),
        ("layers/Conv_0/kernel", (5, 3, 3, 4, 6), "as many axes as stacked ones"),
        ("layers/conv/weight", (5, 6, 4, 3, 3), "as many axes as stacked ones"),
        ("net/~/conv2_d_transpose/w", (3, 3, 6, 4), "have their outputs first"),
    ],
)
def test_kernels_that_may_be_stacked_or_are_turned_around_need_axes(name, shape, reason):
    values, mask = whole_numbers({name: shape})
    for select in (*STRUCTURES.values(), lambda _, mask: masks.unit_densities(mask)):
        with pytest.raises(ValueError, match=f"'{name}' lie .* {reason}.* Give `axes`"):
            select(values, mask)
    axes = (-1, -2) if "transpose" in name else masks.IN_OUT
    turned = np.swapaxes(mask[name], *axes) if axes == (-1, -2) else mask[name]
    counts = masks.unit_densities(mask, axes=axes)[name]
    np.testing.assert_allclose(counts, turned.mean(tuple(range(len(shape) - 1))))


def test_convolutions_of_plain_names_need_no_axes():
    mask = {f"{name}_0/kernel": RANDOM.random((3, 3, 4, 6)) < 0.5 for name in ("Conv", "Scanner")}
    mask |= {"ConvTranspose_0/kernel": RANDOM.random((3, 4, 6)) < 0.5}
    mask |= {"ScanBlock_0/linear": RANDOM.random((4, 6)) < 0.5}
    for name, densities in masks.unit_densities(mask).items():
        np.testing.assert_allclose(densities, mask[name].reshape(-1, 6).mean(0))


@pytest.mark.parametrize("name", ["DenseGeneral_0/kernel", "ScanBlock_0/Conv_0/kernel"])
def test_densities_count_no_heads_or_layers_as_pixels(name):
    shapes = {"Conv_0/kernel": (3, 3, 4, 6), name: (8, 4, 6), "Dense_0/kernel": (8, 6)}
    mask = {name: np.ones(shape, bool) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=f"'{name}' lie does not follow"):
        prune.erdos_renyi(mask, keep=100)
    as_pixels = prune.erdos_renyi(mask, keep=100, axes=masks.IN_OUT)
    weights = {n: sum(shape) / np.prod(shape) for n, shape in shapes.items()}
    total = sum(weights[n] * np.prod(shapes[n]) for n in shapes)
    for n, shape in shapes.items():
        assert abs(as_pixels[n] - 100 * weights[n] * np.prod(shape) / total) < 1
    plain = {n: leaf for n, leaf in mask.items() if n != name}
    for other in ({"a/w": (3, 3, 3, 4, 6)}, {"conv2_d_transpose/w": (3, 3, 6, 4)}):
        sizes = {n: np.ones(shape, bool) for n, shape in other.items()}
        assert sum(prune.erdos_renyi(plain | sizes, keep=100).values()) == 100


def test_smart_ratio_takes_a_dense_layer_of_several_axes_for_a_matrix():
    shapes = {"Conv_0/kernel": (3, 3, 4, 6), "DenseGeneral_0/kernel": (6, 2, 5)}
    mask = {name: np.ones(shape, bool) for name, shape in shapes.items()}
    ratios = prune.smart_ratio(mask, keep=100, order=[*mask])
    assert ratios == {"Conv_0/kernel": 82, "DenseGeneral_0/kernel": 18}  # 0.3 * 60


@pytest.mark.parametrize("name", ["query/kernel", "DenseGeneral_0/kernel", "Dense_0/kernel"])
def test_kernels_of_three_axes_that_nothing_explains_need_axes(name):
    mask = {name: RANDOM.random((6, 2, 3)) < 0.5}
    for refused in (masks.unit_densities, lambda m: prune.erdos_renyi(m, keep=5, kernel=False)):
        with pytest.raises(ValueError, match=rf"{name}' lie does not follow .*\(6, 2, 3\).*`axes`"):
            refused(mask)
    by_axes = masks.unit_densities(mask, axes=masks.IN_OUT)
    assert by_axes[name].tolist() == mask[name].mean((0, 1)).tolist()
    conv = {"Conv_0/kernel": mask[name]}
    assert masks.unit_densities(conv)["Conv_0/kernel"].tolist() == by_axes[name].tolist()


class Layer(NamedTuple):
    w: Any
    b: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cell:
    kernel: Any
    bias: Any


def shapes_of(module, *inputs):
    key = jax.random.key(0)
    return jax.eval_shape(lambda: module.init(key, *map(jnp.zeros, inputs)))["params"]


class Block(nn.Module):
    """Attention, norms and tables of Flax linen."""

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(7, 6)(tokens.astype(int))
        x = x + self.param("pos_embedding", nn.initializers.zeros, (1, 5, 6))
        x = nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
        return nn.Dense(3)(nn.RMSNorm()(nn.Conv(4, (3,))(x)))


def of_nnx(make):
    from flax import nnx

    return nnx.split(nnx.eval_shape(lambda: make(nnx, nnx.Rngs(0))), nnx.Param, ...)[1]


class ForNnx:
    """Modules of Flax nnx, made where nnx is imported."""

    @staticmethod
    def block(nnx, rngs):
        module = nnx.Sequential(nnx.Linear(4, 4, rngs=rngs), nnx.LayerNorm(4, rngs=rngs))
        module.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs)
        module.embed = nnx.Embed(7, 4, rngs=rngs)
        module.lora = nnx.LoRA(4, 2, 4, rngs=rngs)
        return module

    @staticmethod
    def recurrent(nnx, rngs):
        module = nnx.Sequential(nnx.ConvTranspose(4, 8, (3, 3), rngs=rngs))
        module.grouped = nnx.Conv(8, 8, (3, 3), feature_group_count=4, rngs=rngs)
        module.product = nnx.Einsum("bi,io->bo", (4, 6), (6,), rngs=rngs)
        module.gru, module.lstm = (
            kind(3, 5, rngs=rngs) for kind in (nnx.GRUCell, nnx.OptimizedLSTMCell)
        )
        return module


class Recurrent(nn.Module):
    """Cells, a transposed and a grouped convolution, and a product by its indices, of linen."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), feature_group_count=4)(nn.ConvTranspose(8, (3, 3))(x))
        x = nn.Einsum((8, 6), "bwi,io->bwo")(x.mean(1))
        return nn.RNN(nn.GRUCell(5))(nn.RNN(nn.LSTMCell(5))(x))


def equinox_modules(key):
    return [
        eqx.nn.Linear(4, 3, key=key),
        eqx.nn.LayerNorm((4, 3)),
        eqx.nn.RMSNorm(4),
        eqx.nn.Embedding(7, 4, key=key),
        eqx.nn.MultiheadAttention(2, 4, key=key),
        eqx.nn.Conv2d(3, 5, 2, key=key),
        eqx.nn.BatchNorm(5, "batch", mode="batch"),
    ]


def of_equinox():
    modules = eqx.filter_eval_shape(equinox_modules, jax.random.key(0))
    return eqx.partition(modules, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))[0]


ATTENTION = [f"{part}/kernel" for part in ("key", "out", "query", "value")]
PROJECTIONS = ("query", "key", "value", "output")
TREES = {  # parameters, or their shapes, and the names of their kernels
    "linen": (
        lambda: shapes_of(Block(), (2, 5)),
        ["Conv_0/kernel", "Dense_0/kernel"]
        + [f"MultiHeadDotProductAttention_0/{name}" for name in ATTENTION],
    ),
    "linen, frozen": (
        lambda: FrozenDict(shapes_of(nn.Dense(3), (2, 5))),
        ["kernel"],
    ),
    "nnx": (
        lambda: of_nnx(ForNnx.block),
        [*(f"attention/{name}" for name in ATTENTION), "layers/0/kernel"],
    ),
    "linen, recurrent": (
        lambda: shapes_of(Recurrent(), (2, 6, 6, 4)),
        [f"{name}_0/kernel" for name in ("Conv", "ConvTranspose", "Einsum")]
        + [f"LSTMCell_0/{a}{b}/kernel" for a in "hi" for b in "figo"]
        + [f"GRUCell_0/{gate}/kernel" for gate in ("hn", "hr", "hz", "in", "ir", "iz")],
    ),
    "nnx, recurrent": (
        lambda: of_nnx(ForNnx.recurrent),
        [f"{cell}/dense_{of}/kernel" for cell in ("gru", "lstm") for of in "hi"]
        + ["grouped/kernel", "layers/0/kernel", "product/kernel"],
    ),
    "equinox": (
        of_equinox,
        ["0/weight", *(f"4/{part}_proj/weight" for part in PROJECTIONS), "5/weight"],
    ),
    "haiku": (
        lambda: {
            "mlp/~/linear_0": {"w": np.ones((4, 3)), "b": np.ones(3)},
            "layer_norm": {"scale": np.ones((1, 4)), "offset": np.ones((1, 4))},
            "embed": {"embeddings": np.ones((7, 4))},
        },
        ["mlp/~/linear_0/w"],
    ),
    "lists of named tuples": (
        lambda: [Layer(np.ones((4, 3)), np.ones((1, 3))), Layer(np.ones((3, 2)), np.ones(2))],
        ["0/w", "1/w"],
    ),
    "dataclasses in tuples": (
        lambda: (Cell(np.ones((4, 3)), np.ones((2, 3))), {7: Cell(np.ones(3), None)}),
        ["0/kernel", "1/7/kernel"],
    ),
    "low rank": (
        lambda: {"kernel": np.ones((4, 3)), "lora_a": np.ones((4, 2)), "lora_b": np.ones((2, 3))},
        ["kernel"],
    ),
}


def halved(params):
    mask = masks.dense(params)
    pruned = prune.global_topk(scores.magnitude(params), mask, keep=masks.size(mask) // 2)
    return pruned, masks.apply(params, pruned)


@pytest.mark.parametrize("framework", TREES)
def test_kernels_of_each_framework_are_prunable_and_nothing_else(framework):
    make, kernels = TREES[framework]
    params = make()
    mask, applied = jax.eval_shape(halved, params)
    bare = [name.removesuffix("/value").removesuffix("/raw_value") for name in trees.names(mask)]
    assert sorted(bare) == sorted(kernels)
    for tree in (mask, applied):
        trees.check_containers(tree, params)
    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), mask)
    assert all((of == 1).all() for of in masks.unit_densities(ones).values())


def test_trees_of_all_containers_are_pruned_to_exact_counts():
    others = ("linen", "linen, recurrent", "nnx", "nnx, recurrent", "equinox")
    params = [make() for name, (make, _) in TREES.items() if name not in others]
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), params)
    mask, applied = jax.device_get(jax.jit(halved)(params))
    size = masks.size(mask)
    assert sum(leaf.sum() for leaf in jax.tree.leaves(mask)) == size // 2
    zeros = sum(np.sum(leaf == 0) for leaf in jax.tree.leaves(applied))
    assert zeros == size - size // 2


@pytest.mark.parametrize(
    ("leaf", "kind"), [("relu", "a str"), (jnp.abs, "a "), (jax.random.key(0), "a key of random")]
)
def test_leaves_that_are_no_numbers_are_answered_with_partition_and_split(leaf, kind):
    params = {"kernel": np.ones((2, 2), np.float32), "other": leaf}
    mask = {"kernel": np.ones((2, 2), bool), "other": None}
    apply = lambda params, inputs: inputs @ params["kernel"]  # noqa: E731
    said = rf"has the leaf 'other', {kind}.*eqx\.partition\(.*nnx\.split\("
    for name, function in (
        ("params", scores.magnitude),
        ("params", lambda params: scores.snip(apply, params, mask, (np.ones((2, 2)), [0, 1]))),
        ("params", lambda params: scores.synflow(apply, params, mask, np.ones((2, 2)))),
        ("a", lambda params: landscape.l2_distance(params, params)),
    ):
        with pytest.raises(TypeError, match=f"`{name}` {said}") as raised:
            function(params)
        assert "\n" not in str(raised.value)
