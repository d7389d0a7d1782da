import collections
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from flax.core import freeze

from jaxlth import keys, masks, prune, scores, trees
from jaxlth.masks import counts

Layer = collections.namedtuple("Layer", ["w", "b"])
NETWORKS = {
    "flax": {
        "Conv_0": {"kernel": np.ones((2, 2, 1, 3)), "bias": np.ones(3)},
        "BatchNorm_0": {"scale": np.ones(3), "bias": np.ones(3)},
        "Dense_0": {"kernel": np.ones((3, 4)), "bias": np.ones(4)},
    },
    "dictionary": {
        "w1": np.ones((5, 4)),
        "b1": np.ones(4),
        "w2": np.ones((4, 2)),
        "b2": np.ones(2),
    },
    "list of named tuples": [Layer(np.ones((5, 4)), np.ones(4)), Layer(np.ones((4, 1)), None)],
    "jax arrays": {"w": jnp.ones((30, 50)), "b": jnp.ones(50)},
}


@pytest.fixture(params=NETWORKS)
def params(request):
    return NETWORKS[request.param]


def half(params):
    """Return a mask that keeps every other weight."""
    dense = masks.dense(params)
    return jax.tree.map(lambda leaf: jnp.arange(leaf.size).reshape(leaf.shape) % 2 == 0, dense)


def same(a, b):
    equal = jax.tree.map(lambda x, y: bool(jnp.array_equal(x, y)), a, b)
    return all(jax.tree.leaves(equal))


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("Dense_0/kernel", (3, 4), True),
        ("kernel", (3,), True),
        ("Dense_0/bias", (4,), False),
        ("attention/query/bias", (2, 4), False),
        ("norm/scale", (1, 4), False),
        ("Embed_0/embedding", (10, 4), False),
        ("pos_embedding", (1, 10, 4), False),
        ("w1", (3, 4), True),
        ("b1", (4,), False),
        ("", (3, 4), True),
    ],
)
def test_kernels_are_told_by_name_then_by_dimensions(name, shape, expected):
    assert masks.is_kernel(name, np.ones(shape)) is expected


def test_the_dense_mask_keeps_all_of_what_is_prunable(params):
    mask = masks.dense(params)
    assert int(masks.kept(mask)) == masks.size(mask)
    assert float(masks.density(mask)) == 1
    assert set(masks.layer_densities(mask).values()) == {1.0}
    masks.check(params, mask)


def test_the_dense_mask_of_a_flax_network_has_its_kernels():
    mask = masks.dense(NETWORKS["flax"])
    assert trees.names(mask) == ["Conv_0/kernel", "Dense_0/kernel"]
    assert mask["BatchNorm_0"] == {"scale": None, "bias": None}
    assert masks.size(mask) == 24


def test_the_dense_mask_takes_shapes_alone_and_any_rule():
    shapes = jax.eval_shape(lambda: {"w": jnp.ones((2, 3)), "b": jnp.ones(3)})
    assert trees.names(masks.dense(shapes)) == ["w"]
    biases = masks.dense(shapes, prunable=lambda name, leaf: name == "b" and leaf.ndim == 1)
    assert trees.names(biases) == ["b"]


def test_apply_zeroes_pruned_weights_and_nothing_else(params):
    mask, masked = half(params), masks.apply(params, half(params))
    trees.check_same(params, masked)
    for name, leaf in trees.named(masked).items():
        keep = trees.named(mask).get(name, np.ones(leaf.shape, bool))
        np.testing.assert_array_equal(leaf, np.where(keep, trees.named(params)[name], 0))


def test_gradients_of_pruned_weights_are_zero_even_at_nan():
    mask = {"w": jnp.array([True, False])}
    loss = lambda params: jnp.sum(masks.apply(params, mask)["w"] ** 2)  # noqa: E731
    assert jax.grad(loss)({"w": jnp.array([3.0, jnp.nan])})["w"].tolist() == [6.0, 0.0]


def test_apply_keeps_the_type_of_the_weights():
    masked = masks.apply({"w": jnp.ones(2, jnp.bfloat16)}, {"w": np.array([True, False])})
    assert masked["w"].dtype == jnp.bfloat16


def test_counts_work_under_jit_and_vmap(params):
    mask = half(params)
    stacked = trees.stack([mask, masks.dense(params)])
    sizes = jax.jit(jax.vmap(masks.kept))(stacked)
    assert sizes.tolist() == [int(masks.kept(mask)), masks.size(mask)]
    np.testing.assert_allclose(jax.jit(masks.density)(mask), masks.kept(mask) / masks.size(mask))


def test_masks_that_are_not_boolean_are_counted_alike_under_jit():
    mask = {"w": jnp.array([[2, 0], [3, 1]])}
    assert int(masks.kept(mask)) == int(jax.jit(masks.kept)(mask)) == 3
    assert float(masks.density(mask)) == float(jax.jit(masks.density)(mask)) == 0.75
    assert masks.layer_densities(mask) == {"w": 0.75}
    assert masks.unit_densities(mask)["w"].tolist() == [1, 0.5]


def test_layer_densities_are_python_floats_by_name():
    densities = masks.layer_densities(
        {"a": {"w": np.array([True, False, False, False])}, "b": None}
    )
    assert densities == {"a/w": 0.25}
    assert type(densities["a/w"]) is float


def test_the_density_of_more_weights_than_int32_counts(monkeypatch):
    monkeypatch.setattr(counts, "size", lambda mask: 2**31)  # so many take gigabytes
    mask = {"a": np.arange(300_000) % 3 > 0, "b": None, "c": jnp.ones(7, bool)}
    np.testing.assert_allclose(masks.density(mask), 200_007 / 2**31, rtol=1e-6)


def test_a_mask_without_prunable_weights_counts_zero_and_has_no_density():
    mask = {"w": None}
    assert masks.size(mask) == int(masks.kept(mask)) == 0
    assert masks.random(mask, key=jax.random.key(0)) == mask
    with pytest.raises(ValueError, match="no prunable weight"):
        masks.density(mask)


def test_without_leaves_tensors_out_and_may_be_repeated():
    mask = masks.dense(NETWORKS["flax"])
    assert trees.names(masks.without(mask, ["Conv_*"])) == ["Dense_0/kernel"]
    assert trees.names(masks.without(mask, [])) == ["Conv_0/kernel", "Dense_0/kernel"]
    once = masks.without(mask, ["Dense_0/*"])
    assert masks.without(once, ["Dense_0/*"])["Dense_0"] == {"kernel": None, "bias": None}


def test_a_pattern_that_matches_nothing_names_the_closest_leaf():
    mask = masks.dense(NETWORKS["flax"])
    with pytest.raises(ValueError, match=r"'Dense_1/kernel', which .* closest is 'Dense_0/kernel'"):
        masks.without(mask, ["Conv_0/*", "Dense_1/kernel"])
    with pytest.raises(ValueError, match="'dense_0/kernel', which matches no leaf"):
        masks.without(mask, ["dense_0/kernel"])
    with pytest.raises(TypeError, match="sequence of patterns; got the text"):
        masks.without(mask, "Dense_0/*")


PARAMS = {"a": np.ones((20, 20)), "b": np.ones((20, 20)), "c": np.ones(2)}
CONTROLS = {"shuffle": masks.shuffle, "random": masks.random}


@pytest.fixture(params=CONTROLS)
def control(request):
    return CONTROLS[request.param]


def test_controls_keep_the_count(control):
    mask = half(PARAMS)
    changed = control(mask, key=jax.random.key(0))
    masks.check(PARAMS, changed)
    assert int(masks.kept(changed)) == int(masks.kept(mask))


def test_controls_depend_on_the_key_alone(control):
    mask = half(PARAMS)
    first, again, other = (control(mask, key=jax.random.key(seed)) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)
    assert not same(first, mask)


def test_controls_under_jit_and_vmap_equal_a_loop(control):
    stacked = trees.stack([half(PARAMS), masks.dense(PARAMS), half(PARAMS)])
    split = jax.random.split(jax.random.key(5), 3)
    mapped = jax.jit(jax.vmap(lambda mask, key: control(mask, key=key)))(stacked, split)
    for mask, key, changed in zip(
        trees.unstack(stacked), split, trees.unstack(mapped), strict=True
    ):
        assert same(control(mask, key=key), changed)


def test_shuffle_keeps_the_count_of_each_tensor_and_random_does_not():
    mask = {"a": jnp.ones((20, 20), bool), "b": jnp.zeros((20, 20), bool)}
    key = jax.random.key(0)
    assert masks.layer_densities(masks.shuffle(mask, key=key)) == {"a": 1.0, "b": 0.0}
    spread = masks.layer_densities(masks.random(mask, key=key))
    assert abs(spread["a"] - 0.5) < 0.1
    assert spread["a"] + spread["b"] == pytest.approx(1)


def test_controls_keep_every_position_equally_often(control):
    mask = {"a": jnp.array([True, True, False, False]), "b": jnp.array([False, True])}
    streams = jax.vmap(lambda i: keys.fold(jax.random.key(0), i))(jnp.arange(1000))
    drawn = jax.jit(jax.vmap(lambda key: control(mask, key=key)))(streams)
    shares = np.concatenate([np.mean(leaf, axis=0) for leaf in jax.tree.leaves(drawn)])
    np.testing.assert_allclose(shares, 0.5, atol=0.08)  # five standard deviations


def test_jaccard_is_intersection_over_union():
    a = {"x": np.array([True, True, False]), "y": np.array([True]), "z": None}
    b = {"x": np.array([False, True, True]), "y": np.array([True]), "z": None}
    assert float(jax.jit(masks.jaccard)(a, b)) == 0.5
    assert float(masks.jaccard(a, a)) == 1
    nothing = jax.tree.map(np.zeros_like, a)
    assert float(masks.jaccard(a, nothing)) == 0
    assert float(masks.jaccard(nothing, nothing)) == 1
    with pytest.raises(ValueError, match="'y'"):
        masks.jaccard(a, {"x": b["x"], "y": None, "z": None})


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            {"w": np.ones(3, bool), "b": None},
            r"'w' has shape \(2,\) in `params` but \(3,\) in `mask`",
        ),
        ({"w": np.ones(2, bool)}, "`params` has a leaf 'b' that `mask` lacks"),
        (
            {"w": np.ones(2, bool), "b": None, "c": None},
            "`mask` has a leaf 'c' that `params` lacks",
        ),
    ],
)
def test_a_mask_that_does_not_fit_names_the_first_leaf(mask, message):
    with pytest.raises(ValueError, match=message):
        masks.apply({"w": np.ones(2), "b": np.ones(2)}, mask)


def test_a_mask_of_floats_is_refused():
    with pytest.raises(TypeError, match="'w' of `mask` must be boolean; got float32"):
        masks.apply({"w": np.ones(2)}, {"w": np.ones(2, np.float32)})


def test_prunable_hands_none_through_on_either_side():
    mask = {"w": np.ones(2, bool), "b": None}
    assert masks.prunable({"w": np.ones(2), "b": np.ones(2)}, mask)["b"] is None
    assert masks.prunable({"w": np.ones(2), "b": None}, mask)["b"] is None
    with pytest.raises(ValueError, match="'w' that is None in `scores`"):
        masks.prunable({"w": None, "b": None}, mask, name="scores")


def test_unit_densities_are_those_of_each_output():
    kernel = np.zeros((3, 3, 2, 4), bool)
    kernel[..., 1] = True
    kernel[0, 0, :, 2] = True
    densities = masks.unit_densities({"conv": kernel, "bias": None})
    assert densities["conv"].tolist() == [0, 1, 1 / 9, 0]


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("Dense_0/kernel/value", (3, 4), True),  # boxes
        ("Embed_0/embedding/value", (10, 4), False),
        ("norm/scale/raw_value", (3, 4), False),
        ("value/kernel", (3, 2, 4), True),  # attention
        ("value/bias/value", (2, 4), False),
        ("query/w", (3, 4), True),
        ("mlp/~/linear_0/w", (3, 4), True),  # Haiku
        ("mlp/~/linear_0/b", (3, 4), False),
        ("conv2_d/b", (4, 1, 1), False),
        ("layer_norm/offset", (3, 4), False),
        ("batch_norm/scale", (1, 1, 1, 4), False),
        ("embed/embeddings", (10, 4), False),
        ("layers/0/weight", (3, 4), True),  # Equinox
        ("layers/0/bias", (4, 1, 1), False),
        ("norm/weight", (3, 4), False),
        ("blocks/norm1/weight", (3, 4), False),
        ("ln_f/weight", (3, 4), False),
        ("wte/weight", (10, 4), False),
        ("token_embedding/weight", (10, 4), False),
        ("patch_embed/weight", (8, 3, 4, 4), True),
        ("pre_norm/proj/weight", (3, 4), True),
        ("gru/weight_hh", (6, 2), True),
        ("gru/bias_n", (3, 2), False),
        ("cls", (1, 1, 4), False),  # tokens and positions
        ("cls_token", (1, 1, 4), False),
        ("pos_embed", (1, 10, 4), False),
        ("position_table", (10, 4), False),
        ("cls/weight", (3, 4), True),
        ("attn/rel_pos_h", (9, 4), False),
        ("attn/rel_pos_w", (9, 4), False),
        ("pos_proj/w", (3, 4), True),
        ("prompt", (10, 4), False),
        ("latents", (1, 10, 4), False),
        ("ln_1/g", (1, 4), False),  # norms
        ("norm/g", (1, 4, 1, 1), False),
        ("pre_norm/proj/g", (3, 4), True),
        ("lora_a/value", (3, 2), False),  # only if asked for by name
        ("lora_b/value", (2, 4), False),
        ("query/lora_A/weight", (2, 4), False),
        ("my_lora/base_module/kernel", (3, 4), True),
        ("embed_w", (10, 4), False),
        ("query_b", (2, 4), False),
        ("norm/mean", (3, 4), False),
    ],
)
def test_names_of_every_library_tell_kernels_from_biases_scales_and_tables(name, shape, expected):
    assert masks.is_kernel(name, np.ones(shape)) is expected


def test_random_masks_of_one_key_differ_from_each_other_and_from_random_scores():
    mask, key = {"w": np.arange(400).reshape(20, 20) % 2 == 0}, jax.random.key(0)
    full = {"w": np.ones((20, 20), bool)}
    random_masks = [masks.random(mask, key=key), masks.shuffle(mask, key=key)]
    random_masks.append(prune.global_topk(scores.random(full, key=key), full, keep=200))
    for a, b in itertools.combinations(random_masks, 2):
        assert float(masks.jaccard(a, b)) == pytest.approx(1 / 3, abs=0.1)  # as by chance


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Linear:
    """A module with the attributes that Equinox's has."""

    weight: np.ndarray
    bias: np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class LayerNorm(Linear):
    """A module with the attributes that Equinox's has."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Embedding(Linear):
    """A module with the attributes that Equinox's has."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Block:
    embed: Embedding
    layers: list
    norm: LayerNorm


def test_the_same_network_has_the_same_mask_in_four_libraries():
    """Three blocks stacked, so that biases and scales have two dimensions."""
    kernel, bias, table = np.ones((3, 4, 4)), np.ones((3, 4)), np.ones((3, 9, 4))

    class Net(nnx.Module):
        def __init__(self):
            self.embed = nnx.Embed(9, 4, rngs=nnx.Rngs(0))
            self.dense = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
            self.norm = nnx.LayerNorm(4, rngs=nnx.Rngs(0))

    state = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), nnx.state(Net(), nnx.Param))
    linen = {
        "embed": {"embedding": nn.Partitioned(table, (None, "a", "b"))},
        "dense": {"kernel": nn.Partitioned(kernel, (None, "a", "b")), "bias": bias},
        "norm": {"scale": bias, "bias": bias},
    }
    haiku = {
        "net/~/embed": {"embeddings": table},
        "net/~/linear": {"w": kernel, "b": bias},
        "net/~/layer_norm": {"scale": bias, "offset": bias},
    }
    equinox = Block(Embedding(table, None), [Linear(kernel, bias)], LayerNorm(bias, bias))
    names = [
        list(masks.layer_densities(masks.dense(tree)))
        for tree in (state, linen, freeze(linen), haiku, equinox)
    ]
    boxed = ["dense/kernel/value"]
    assert names == [boxed, boxed, boxed, ["net/~/linear/w"], ["layers/0/weight"]]


def test_the_class_of_a_module_tells_a_scale_in_a_row_of_layers():
    square = np.ones((4, 4))
    row = [Linear(square, np.ones(4)), LayerNorm(square, square)]
    assert trees.names(masks.dense({"layers": row})) == ["layers/0/weight"]
    assert trees.names(masks.dense(LayerNorm(square, square))) == []
    everything = masks.dense(LayerNorm(square, square), prunable=lambda name, leaf: True)
    assert trees.names(everything) == ["weight", "bias"]


def test_a_matrix_b_is_a_bias_beside_a_w_and_not_after_an_a():
    matrix = np.ones((3, 4))
    assert trees.names(masks.dense({"w": matrix, "b": matrix})) == ["w"]
    assert trees.names(masks.dense({"a": matrix, "b": matrix})) == ["a", "b"]
    assert trees.names(masks.dense({"w": [matrix], "b": [matrix]})) == ["w/0"]


def test_a_tensor_without_elements_has_no_weights_and_no_density():
    params = {"a": np.ones((0, 3)), "b": np.ones((3, 2)), "c": np.ones((3, 0))}
    mask = masks.dense(params)
    assert masks.size(mask) == int(masks.kept(mask)) == 6
    assert masks.layer_densities(mask) == {"b": 1.0}
    assert list(masks.unit_densities(mask)) == ["b"]
    assert masks.kept_values(params, mask).shape == (6,)
    for control in CONTROLS.values():
        changed = control(mask, key=jax.random.key(0))
        masks.check(params, changed)
        assert changed["b"].all()


@pytest.mark.parametrize("params", [{"a": np.ones((0, 3))}, {}, {"b": np.ones(2)}])
def test_trees_without_weights_go_through_everything_but_a_density(params):
    mask = masks.dense(params)
    assert masks.layer_densities(mask) == masks.unit_densities(mask) == {}
    assert masks.kept_values(params, mask).shape == (0,)
    assert float(masks.jaccard(mask, mask)) == 1
    for control in CONTROLS.values():
        masks.check(params, control(mask, key=jax.random.key(0)))
    with pytest.raises(ValueError, match="no prunable weight"):
        masks.density(mask)


@pytest.mark.parametrize(
    ("params", "mask", "message"),
    [
        (
            freeze({"a": {"w": np.ones(2)}}),
            {"a": {"w": np.ones(2, bool)}},
            "container of leaf 'a/w' is a FrozenDict in `params` but a dict in `mask`",
        ),
        (
            {"a": None, "b": (np.ones(2),)},
            {"a": None, "b": [np.ones(2, bool)]},
            "leaf 'b/0' is a tuple in `params` but a list in `mask`",
        ),
        (
            Layer(np.ones(2), np.ones(3)),
            {"w": np.ones(2, bool), "b": None},
            "leaf 'w' is a Layer in `params` but a dict in `mask`",
        ),
        (
            {"x": {}, "y": np.ones(2)},
            {"x": (), "y": np.ones(2, bool)},
            "a container without leaves is a dict in `params` but a tuple in `mask`",
        ),
    ],
)
def test_containers_that_differ_are_named(params, mask, message):
    with pytest.raises(ValueError, match=message):
        masks.apply(params, mask)
    with pytest.raises(ValueError, match=message.replace("params", "tree")):
        masks.kept_values(params, mask)


def test_kept_values_of_a_tree_that_does_not_fit_name_the_leaf():
    with pytest.raises(ValueError, match="`mask` has a leaf 'w' that `tree` lacks"):
        masks.kept_values({}, {"w": np.ones(2, bool)})


def test_masks_are_the_same_without_jit():
    mask, key = {"w": np.array([[True, False, True]])}, jax.random.key(3)
    for control in CONTROLS.values():
        expected = control(mask, key=key)
        with jax.disable_jit():
            assert same(control(mask, key=key), expected)


OF_MASKS = {
    "kept": masks.kept,
    "layer_densities": masks.layer_densities,
    "unit_densities": masks.unit_densities,
    "density": masks.density,
    "pack": masks.pack,
    "shuffle": lambda mask: masks.shuffle(mask, key=jax.random.key(0)),
    "random": lambda mask: masks.random(mask, key=jax.random.key(0)),
    "apply": lambda mask: masks.apply({"a": np.ones((1, 2)), "b": np.ones(())}, mask),
}


@pytest.mark.parametrize("leaf", ["kept", object(), np.array("a")], ids=["text", "object", "texts"])
@pytest.mark.parametrize("name", OF_MASKS)
def test_a_mask_with_what_is_no_array_is_told_in_one_line(name, leaf):
    with pytest.raises(TypeError, match="`mask`") as raised:
        OF_MASKS[name]({"a": np.ones((1, 2), bool), "b": leaf})
    assert "'b'" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_packed_masks_are_of_booleans_or_whole_numbers():
    with pytest.raises(TypeError, match="Leaf 'w' of `mask` must be boolean; got float32"):
        masks.pack({"w": np.ones(3, "f")})
    assert masks.unpack(masks.pack({"w": np.array([2, 0, 1])}))["w"].tolist() == [True, False, True]
    for other in ("abc", {"w": np.ones(3, bool)}):
        with pytest.raises(TypeError, match="`packed` must be what `masks.pack` returns; it has a"):
            masks.unpack(other)


@pytest.mark.parametrize("kind", ["Explicit", "Auto"])
@pytest.mark.parametrize("spec", [(None, "d"), ("d", None), (None, None)])
def test_masks_on_meshes_are_packed_to_the_bytes_of_one_device(kind, spec):
    mesh = jax.make_mesh((2,), ("d",), axis_types=(getattr(jax.sharding.AxisType, kind),))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
    leaf = np.random.default_rng(0).random((4, 6)) < 0.5
    spread = {"w": jax.device_put(leaf, place), "b": None}
    with jax.set_mesh(mesh):
        for pack in (masks.pack, jax.jit(masks.pack)):
            packed = pack(spread)
            np.testing.assert_array_equal(packed["w"].bits, np.packbits(leaf))
            np.testing.assert_array_equal(masks.unpack(packed)["w"], leaf)
