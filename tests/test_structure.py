"""Masks of units, blocks, n of m, and so many a unit: against loops over every group."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlth import graphs, masks, models, prune, scores, trees

GENERATOR = np.random.default_rng(3)
SHAPES = {"conv": (2, 1, 6, 4), "dense": (7, 5), "last": (3, 8)}
VALUES = {n: GENERATOR.integers(-6, 7, s).astype(np.float32) / 2 for n, s in SHAPES.items()}  # ties
VALUES["dense"][0, 0], VALUES["dense"][3, 2] = np.nan, -np.inf
MASK = {name: GENERATOR.random(shape) < 0.8 for name, shape in SHAPES.items()}
MASK["last"][:, 2] = False
TREE = VALUES | {"bias": np.ones(4, "f")}
TREE_MASK = MASK | {"bias": None}


def best(values, among, keep):
    """Return the positions of the `keep` highest values: ties to the lower one, NaN lowest."""
    key = [(np.isnan(v), -v if v == v else 0, at) for at, v in enumerate(values)]
    order = sorted((k for k, live in zip(key, among, strict=True) if live))
    return [at for *_, at in order[:keep]]


def n_of_m(value, mask, n, m, axis):
    value, result = np.moveaxis(value, axis, -1), np.zeros_like(np.moveaxis(mask, axis, -1))
    mask = np.moveaxis(mask, axis, -1)
    for row in np.ndindex(value.shape[:-1]):
        for start in range(0, value.shape[-1], m):
            group = slice(start, start + m)
            for at in best(value[row][group], mask[row][group], n):
                result[row][start + at] = True
    return np.moveaxis(result, -1, axis)


@pytest.mark.parametrize(
    ("n", "m", "axis"), [(2, 4, -2), (1, 3, -1), (0, 2, 0), (4, 4, -2), (3, 20, -2)]
)
def test_exactly_n_of_every_m_are_kept_as_a_loop_over_groups_says(n, m, axis):
    pruned = prune.n_of_m(TREE, TREE_MASK, n=n, m=m, axis=axis)
    for name, value in VALUES.items():
        np.testing.assert_array_equal(pruned[name], n_of_m(value, MASK[name], n, m, axis))
    assert pruned["bias"] is None


@pytest.mark.parametrize("kind", [jnp.float8_e4m3fn, jnp.float8_e5m2])
def test_structures_of_float8_are_those_of_the_same_numbers_in_float32(kind):
    narrow = {name: jnp.asarray(value).astype(kind) for name, value in TREE.items()}
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), narrow)
    for structure in STRUCTURES.values():
        pruned, expected = (structure(tree, TREE_MASK, 7) for tree in (narrow, wide))
        jax.tree.map(np.testing.assert_array_equal, pruned, expected)


def test_2_of_4_of_whole_groups_keep_half_of_each_unit():
    params = {"w": GENERATOR.normal(size=(8, 3)).astype(np.float32)}
    mask = prune.n_of_m(scores.magnitude(params), masks.dense(params))["w"]
    assert np.asarray(mask).reshape(2, 4, 3).sum(axis=1).tolist() == [[2] * 3] * 2


@pytest.mark.parametrize(("density", "axis"), [(0.5, -1), (0.3, 0)])
def test_each_unit_keeps_its_share_as_a_loop_says(density, axis):
    pruned = prune.per_unit_topk(TREE, TREE_MASK, density=density, axis=axis)
    for name, value in VALUES.items():
        first, live, after = (np.moveaxis(x, axis, 0) for x in (value, MASK[name], pruned[name]))
        for row, active, result in zip(first, live, after, strict=True):
            positions = best(row.ravel(), active.ravel(), round(density * row.size))
            assert np.flatnonzero(result).tolist() == sorted(positions)


def groups(kind):
    """Yield the name of a tensor and the index of each unit or block of it, in order."""
    for name, shape in SHAPES.items():
        if kind == "units":
            yield from ((name, (..., unit)) for unit in range(shape[-1]))
            continue
        *leading, height, width = shape
        for at in np.ndindex(*leading):
            for row, column in itertools.product(range(0, height, 4), range(0, width, 3)):
                yield name, (*at, slice(row, row + 4), slice(column, column + 3))


REDUCE = {
    "l2": lambda values: np.sqrt(np.sum(values**2)),
    "l1": lambda values: np.sum(np.abs(values)),
    "mean": lambda values: np.mean(values) if values.size else 0.0,
}


@pytest.mark.parametrize(("kind", "reduce"), [*(("units", r) for r in REDUCE), ("blocks", "mean")])
@pytest.mark.parametrize("keep", [0, 5, 12])
def test_exactly_so_many_groups_are_kept_those_of_a_loop(kind, reduce, keep):
    prunes = {
        "units": functools.partial(prune.units, reduce=reduce),
        "blocks": functools.partial(prune.blocks, shape=(4, 3)),
    }
    pruned = prunes[kind](TREE, TREE_MASK, keep=keep)
    parts = list(groups(kind))
    with np.errstate(invalid="ignore"):
        group_scores = [REDUCE[reduce](VALUES[name][at][MASK[name][at]]) for name, at in parts]
    alive = [np.any(MASK[name][at]) for name, at in parts]
    expected = {name: np.zeros(shape, bool) for name, shape in SHAPES.items()}
    for place in best(group_scores, alive, keep):
        name, at = parts[place]
        expected[name][at] = MASK[name][at]
    for name, leaf in expected.items():
        np.testing.assert_array_equal(pruned[name], leaf)


@pytest.mark.parametrize("size", [1e-30, 1.0, 9e37, 2e38])
def test_the_units_of_largest_norm_are_kept_near_the_end_of_float32_too(size):
    values = {"w": jnp.array([[0.5, 1.5, 0.2, 1.0], [0.5, 0.1, 0.2, 1.0]]) * jnp.float32(size)}
    select = functools.partial(prune.units, keep=2)
    for function in (select, jax.jit(select)):
        kept = function(values, masks.dense(values))["w"]
        assert kept.tolist() == [[False, True, False, True]] * 2


STRUCTURES = {
    "n of m": lambda s, m, keep: prune.n_of_m(s, m),
    "per unit": lambda s, m, keep: prune.per_unit_topk(s, m, density=0.4),
    "units": lambda s, m, keep: prune.units(s, m, keep=keep),
    "blocks": lambda s, m, keep: prune.blocks(s, m, keep=keep, shape=(4, 3)),
}


def test_tensors_without_elements_change_nothing_in_a_structure():
    tree = {"a": np.ones((0, 3), "f"), "b": np.ones((4, 2), "f"), "c": np.ones((2, 0), "f")}
    for structure in STRUCTURES.values():
        pruned = structure(tree, masks.dense(tree), 1)
        masks.check(tree, pruned)
        assert np.any(pruned["b"])


def test_scores_of_float64_are_told_apart():
    values = {"w": np.array([[1.0], [1.0 + 1e-15], [1.0], [1.0]])}
    pruned = prune.n_of_m(values, {"w": np.ones((4, 1), bool)}, n=1)
    assert np.flatnonzero(pruned["w"]).tolist() == [1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda s, m: prune.n_of_m(s, m, n=5),
            "`n` must lie in 0..4, the weights of a group; got 5",
        ),
        (lambda s, m: prune.n_of_m(s, m, axis=2), "`axis` 2 does not exist in 'w' of shape"),
        (lambda s, m: prune.units(s, m, keep=9), r"`keep` must lie in 0..3, .*; got 9"),
        (
            lambda s, m: prune.units(s, m, keep=1, reduce="max"),
            "`reduce` must be one of l2, l1, mea",
        ),
        (
            lambda s, m: prune.units(s, m, keep=1, axis=0, wiring=[]),
            "`axis` must be -1 with a `wir",
        ),
        (
            lambda s, m: prune.blocks(s, m, keep=1, shape=(0, 1)),
            "`shape` must be at least 1; got 0",
        ),
        (
            lambda s, m: prune.per_unit_topk(s, m, density=2),
            r"`density` must lie in \[0, 1\]; got 2",
        ),
    ],
)
def test_structures_that_cannot_be_are_refused(call, message):
    tree = {"w": np.ones((4, 3), np.float32)}
    with pytest.raises(ValueError, match=message):
        call(tree, masks.dense(tree))


def test_consumers_lose_the_inputs_from_pruned_units():
    config = models.ModelConfig(name="conv-2")
    shapes = {
        "Conv1_1": (3, 3, 1, 4), "Conv1_2": (3, 3, 4, 6), "Dense_0": (12, 5),
        "Dense_1": (5, 5), "Dense_2": (5, 2),
    }  # fmt: skip
    params = {
        name: {"kernel": GENERATOR.random(shape).astype(np.float32)}
        for name, shape in shapes.items()
    }
    wiring = models.wiring(config)
    assert set(graphs.kernels(wiring)) == {f"{name}/kernel" for name in shapes}
    mask = masks.without(masks.dense(params), ["Dense_2/kernel"])
    plain = jax.device_get(prune.units(params, mask, keep=12))
    pruned = jax.jit(lambda keep: prune.units(params, mask, keep=keep, wiring=wiring))(12)
    kept = [np.asarray(plain[n]["kernel"]).reshape(-1, s[-1]).any(0) for n, s in shapes.items()
            if n != "Dense_2"]  # fmt: skip
    assert sum(map(sum, kept)) == 12
    for name, units, into in (
        ("Conv1_2", kept[0], 1),
        ("Dense_0", kept[1], 2),
        ("Dense_1", kept[2], 1),
    ):
        alive = np.tile(units, into)[:, None]
        np.testing.assert_array_equal(pruned[name]["kernel"], plain[name]["kernel"] & alive)
    assert pruned["Dense_2"]["kernel"] is None


CHAIN = {f"Dense_{n}": {"kernel": (a, b)} for n, a, b in ((0, 4, 6), (1, 6, 5), (2, 5, 3))}
CHAIN_WIRING = [[((n,), f"Dense_{n}/kernel", None, True, 1e-5)] for n in range(3)]


def is_shape(node):
    return isinstance(node, tuple)


@pytest.mark.parametrize("leave_out", ["Dense_0/kernel", "Dense_1/kernel", "Dense_2/kernel"])
def test_scores_without_what_is_never_pruned_do_with_a_wiring(leave_out):
    params = jax.tree.map(lambda shape: GENERATOR.random(shape), CHAIN, is_leaf=is_shape)
    params = jax.tree.map(jnp.float32, params)
    mask = masks.without(masks.dense(params), [leave_out])
    select = functools.partial(prune.units, wiring=CHAIN_WIRING)
    expected = select(params, mask, keep=4)
    pruned = select(masks.prunable(params, mask), mask, keep=4)
    jax.tree.map(np.testing.assert_array_equal, pruned, expected)
    schedule = prune.Schedule(density=0.5, kind="one-shot")
    optimizer = prune.sparsify(
        optax.sgd(0.1), schedule=schedule, structure=select, prunable=lambda n, _: n != leave_out
    )
    _, state = optimizer.update(params, optimizer.init(params), params)
    sizes = {name: shape["kernel"][1] for name, shape in CHAIN.items() if name not in leave_out}
    expected = select(params, mask, keep=round(sum(sizes.values()) / 2))
    jax.tree.map(np.testing.assert_array_equal, prune.current_mask(state), expected)


def test_inputs_beside_units_are_never_empty():
    params = {"a": jnp.array([[9.0, 1.0]] * 3), "b": jnp.ones((5, 2))}
    wiring = [[((0,), "a")], [((0, 1), "b")]]
    pruned = prune.units(params, masks.dense(params), keep=3, wiring=wiring)
    assert pruned["a"].tolist() == [[True, False]] * 3
    assert pruned["b"].tolist() == [[True, True]] * 4 + [[False, False]]


def test_a_wiring_with_a_kernel_that_is_not_there_is_refused():
    params = {"a": jnp.ones((3, 2)), "b": jnp.ones((2, 2))}
    with pytest.raises(ValueError, match="`wiring` has the kernel 'c', which `mask` lacks"):
        prune.units(params, masks.dense(params), keep=3, wiring=[[((0,), "a")], [((1,), "c")]])
    mask = masks.without(masks.dense(params), ["a"])
    wiring = [[((0,), "a")], [((0,), "b")], [((1, 2), "d")]]
    params, mask = params | {"d": jnp.ones((4, 1))}, mask | {"d": jnp.ones((4, 1), bool)}
    with pytest.raises(ValueError, match="kernels of all layers that 'd' reads side by side"):
        prune.units(masks.prunable(params, mask), mask, keep=1, wiring=wiring)


# --------------------------------------------------------------------- packed, straight through


def test_a_packed_mask_comes_back_bit_by_bit_also_under_jit_and_vmap():
    packed = masks.pack(TREE_MASK)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(packed)) == 6 + 5 + 3
    assert all(leaf.dtype == np.uint8 for leaf in jax.tree.leaves(packed))
    for back in (masks.unpack(packed), jax.jit(lambda m: masks.unpack(masks.pack(m)))(TREE_MASK)):
        jax.tree.map(np.testing.assert_array_equal, TREE_MASK, back)
        assert back["bias"] is None
    both = trees.stack([MASK, jax.tree.map(np.logical_not, MASK)])
    packed = jax.vmap(masks.pack)(both)
    for back in (jax.vmap(masks.unpack)(packed), masks.unpack(packed)):
        jax.tree.map(np.testing.assert_array_equal, both, back)
    twice = trees.stack([both, jax.tree.map(np.logical_not, both)])
    back = masks.unpack(jax.vmap(jax.vmap(masks.pack))(twice))
    jax.tree.map(np.testing.assert_array_equal, twice, back)


def test_a_gradient_goes_straight_through_a_mask_in_both_modes():
    params, mask = (
        {"w": np.array([2.0, np.nan], "f"), "b": np.ones(1, "f")},
        {"w": np.array([1, 0], bool), "b": None},
    )

    def loss(params):
        masked = masks.straight_through(params, mask)
        return jnp.sum(jnp.sin(masked["w"])) + masked["b"][0]

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(value, np.sin(2.0) + 1, rtol=1e-6)
    np.testing.assert_allclose(grads["w"], [np.cos(2.0), 1.0], rtol=1e-6)
    _, slope = jax.jvp(loss, (params,), (jax.tree.map(np.ones_like, params),))
    np.testing.assert_allclose(slope, np.cos(2.0) + 2, rtol=1e-6)


SPREAD = {
    "n_of_m": prune.n_of_m,
    "per_unit_topk": functools.partial(prune.per_unit_topk, density=0.5),
    "units": functools.partial(prune.units, keep=7, reduce="mean"),
    "units with a wiring": functools.partial(
        prune.units, keep=7, wiring=[[((0,), "a")], [((1,), "b")]]
    ),
    "blocks": functools.partial(prune.blocks, keep=5, shape=(4, 4)),
}


@pytest.mark.parametrize("kind", ["Explicit", "Auto"])
@pytest.mark.parametrize("name", SPREAD)
def test_structures_of_arrays_spread_over_devices_are_those_on_one(name, kind):
    """Along units weights stay where they are, but for blocks, which cut across units.

    With a wiring the next layer is told which units are left.
    """
    random = np.random.default_rng(0)
    shapes = {"a": (16, 8), "b": (3, 3, 8, 12)}
    values = {n: jnp.asarray(random.random(s), jnp.float32) for n, s in shapes.items()}
    mask = {n: jnp.ones(s, bool) for n, s in shapes.items()}
    expected = SPREAD[name](values, mask)
    mesh = jax.make_mesh((2,), ("d",), axis_types=(getattr(jax.sharding.AxisType, kind),))
    for axis in (-1, -2):

        def put(leaf, axis=axis):
            spec = [None] * leaf.ndim
            spec[axis] = "d"
            where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
            return jax.device_put(leaf, where)

        with jax.set_mesh(mesh):
            spread = jax.tree.map(put, (values, mask))
            compiled = jax.jit(SPREAD[name]).lower(*spread).compile()
            result = compiled(*spread)
        for leaf in expected:
            np.testing.assert_array_equal(result[leaf], expected[leaf])
            if kind == "Explicit" or axis == -1:
                assert result[leaf].sharding.is_equivalent_to(
                    spread[1][leaf].sharding, result[leaf].ndim
                )
        if axis == -1 and name not in ("blocks", "units with a wiring"):
            assert "all-gather" not in compiled.as_text()


def test_kernels_may_read_inputs_of_unlike_sizes():
    params = {"a": jnp.ones((4, 2)), "b": jnp.ones((6, 2)), "c": 3 * jnp.ones((2, 2))}
    wiring = [[((0,), "a"), ((0,), "b")], [((1,), "c")]]
    scores = {**params, "a": params["a"].at[:, 1].set(2), "b": params["b"].at[:, 1].set(2)}
    mask = prune.units(scores, masks.dense(params), keep=4, reduce="mean", wiring=wiring)
    assert not mask["a"][:, 0].any()
    assert not mask["b"][:, 0].any()
    assert mask["a"][:, 1].all()
    assert not mask["c"][0].any()  # what the unit without inputs leads to
