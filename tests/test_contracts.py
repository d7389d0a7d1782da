"""The contract of everything that makes masks: one table, on one device and over several.

Each keeps exactly its count and brings no weight back that it must not; the same under jit and
vmap, on meshes of both kinds, and compiled once for all counts. What they select is tested
elsewhere, against loops.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlth import masks, prune, trees

RANDOM = np.random.default_rng(0)
SHAPES = {"conv": (3, 1, 4, 6), "dense": (8, 4), "wide": (4, 14)}
SPREAD = {"conv": P(None, None, None, "d"), "dense": P("d", None), "wide": P(None, "d")}
# Whole numbers: many ties, and sums that are exact in any order of devices.
VALUES = {name: RANDOM.integers(-6, 7, shape).astype("f") for name, shape in SHAPES.items()}
VALUES["bias"] = np.ones(4, "f")
MASK = {name: RANDOM.random(shape) < 0.8 for name, shape in SHAPES.items()} | {"bias": None}
SIZES = {name: VALUES[name].size for name in SHAPES}
KEPT = {name: int(MASK[name].sum()) for name in SHAPES}
KEEP = 5
KEY = jax.random.key(0)


class Case(NamedTuple):
    """Something that makes masks of scores, a mask and a count."""

    make: Callable[[Any, masks.Mask, Any], masks.Mask]
    counted: Callable[[dict[str, np.ndarray]], Any]  # of a mask's arrays, what is counted
    exact: Any  # that count, if `KEEP` is asked for
    grows: bool = False  # whether weights may come back


def in_all(mask):
    return sum(int(leaf.sum()) for leaf in mask.values())


def by_layer(mask):
    return {name: int(leaf.sum()) for name, leaf in mask.items()}


def along(rows: Callable[[np.ndarray], np.ndarray]):
    """Return a function that counts what each row of each tensor keeps."""
    return lambda mask: [rows(leaf).sum(axis=-1).ravel().tolist() for leaf in mask.values()]


def fours(leaf):
    """Return the inputs of every unit in groups of four, filled up with False."""
    last = np.moveaxis(leaf, -2, -1)
    padded = np.pad(last, [(0, 0)] * (last.ndim - 1) + [(0, -last.shape[-1] % 4)])
    return padded.reshape(*last.shape[:-1], -1, 4)


def columns(leaf):
    return leaf.reshape(-1, leaf.shape[-1]).T


def tiles(leaf):
    """Return the blocks of two rows and two columns."""
    rows, width = leaf.shape[-2:]
    cut = leaf.reshape(-1, rows // 2, 2, width // 2, 2)
    return np.moveaxis(cut, 2, 3).reshape(-1, 4)


def alive(rows: Callable[[np.ndarray], np.ndarray]):
    """Return a function that counts the rows of all tensors that keep a weight."""
    return lambda mask: sum(int(rows(leaf).any(axis=-1).sum()) for leaf in mask.values())


def at_most(rows, count: Callable[[int], int]):
    """Return what every row keeps that loses all but a count of its weights."""
    kept = along(rows)({name: MASK[name] for name in SHAPES})
    limits = [count(rows(MASK[name]).shape[-1]) for name in SHAPES]
    return [[min(row, most) for row in part] for part, most in zip(kept, limits, strict=True)]


def exchanged(scope):
    def make(values, mask, keep):
        params = jax.tree.map(lambda leaf: 7 - leaf, values)
        return prune.drop_and_grow(params, mask, values, fraction=keep / 20, scope=scope).mask

    return make


EACH = dict.fromkeys(SHAPES, KEEP)
TABLE = {
    "global": Case(lambda s, m, k: prune.global_topk(s, m, keep=k), in_all, KEEP),
    "layer, counts": Case(
        lambda s, m, k: prune.layerwise_topk(s, m, keep=dict.fromkeys(SHAPES, k)), by_layer, EACH
    ),
    "layer, density": Case(
        lambda s, m, k: prune.layerwise_topk(s, m, keep=0.75),
        by_layer,
        {name: min(KEPT[name], round(0.75 * SIZES[name])) for name in SHAPES},
    ),
    "n of m": Case(
        lambda s, m, k: prune.n_of_m(s, m), along(fours), at_most(fours, lambda width: 2)
    ),
    "per unit": Case(
        lambda s, m, k: prune.per_unit_topk(s, m, density=0.5),
        along(columns),
        at_most(columns, lambda width: round(0.5 * width)),
    ),
    "units": Case(
        lambda s, m, k: prune.units(s, m, keep=k, reduce="l1"), alive(columns), KEEP
    ),
    "blocks": Case(
        lambda s, m, k: prune.blocks(s, m, keep=k, shape=(2, 2)), alive(tiles), KEEP
    ),
    "random": Case(lambda s, m, k: masks.random(m, key=KEY), in_all, sum(KEPT.values()), True),
    "shuffle": Case(lambda s, m, k: masks.shuffle(m, key=KEY), by_layer, KEPT, True),
    "exchange, layer": Case(exchanged("layer"), by_layer, KEPT, True),
    "exchange, global": Case(exchanged("global"), in_all, sum(KEPT.values()), True),
}  # fmt: skip


def arrays(mask):
    masks.check(VALUES, mask)
    return {name: np.asarray(leaf) for name, leaf in mask.items() if leaf is not None}


def check_same(mask, expected):
    jax.tree.map(np.testing.assert_array_equal, arrays(mask), arrays(expected))


def counting(make):
    """Return a jitted function, and the list of what it was traced with."""
    traces = []

    @jax.jit
    def jitted(*arguments):
        traces.append(arguments)
        return make(*arguments)

    return jitted, traces


def cells(*columns):
    """Return the cells of the table; those of which a default test does much are slow."""
    often = {(name,) for name in TABLE if not TABLE[name].grows}
    often |= {("units", "Explicit"), ("blocks", "Explicit"), ("exchange, layer", "Explicit")}
    marks = {
        cell: [] if cell in often else [pytest.mark.slow] for cell in itertools.product(*columns)
    }
    return [pytest.param(*cell, marks=marks[cell], id="-".join(cell)) for cell in marks]


@pytest.mark.parametrize("name", cells(TABLE))
def test_counts_are_exact_and_the_same_under_jit_and_vmap(name):
    case = TABLE[name]
    pruned = case.make(VALUES, MASK, KEEP)
    assert case.counted(arrays(pruned)) == case.exact
    assert case.grows or all(not np.any(np.asarray(pruned[n]) & ~MASK[n]) for n in SHAPES)
    jitted, traces = counting(case.make)
    check_same(jitted(VALUES, MASK, KEEP), pruned)
    both = [VALUES, jax.tree.map(lambda leaf: leaf**2 - leaf, VALUES)]
    mapped = jax.jit(jax.vmap(case.make, in_axes=(0, None, 0)))(
        trees.stack(both), MASK, jnp.array([KEEP, KEEP + 2])
    )
    for values, keep, result in zip(both, (KEEP, KEEP + 2), trees.unstack(mapped), strict=True):
        check_same(result, jitted(values, MASK, keep))
    assert len(traces) == 1


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", TABLE)
def test_narrow_scores_are_selected_as_in_float32_with_infinities_and_nan(name, dtype):
    values = {n: leaf.copy() for n, leaf in VALUES.items()}
    values["dense"][0, 0], values["dense"][1, 1], values["wide"][2, 3] = np.nan, np.inf, -np.inf
    narrow = {n: jnp.asarray(leaf, dtype) for n, leaf in values.items()}
    pruned = TABLE[name].make(narrow, MASK, KEEP)
    check_same(pruned, TABLE[name].make(values, MASK, KEEP))
    if name == "global":
        assert not pruned["dense"][0, 0]
        assert bool(pruned["dense"][1, 1]) == MASK["dense"][1, 1]


def over(mesh, tree):
    """Return a tree like the parameters, spread over the devices of a mesh."""
    place = {name: NamedSharding(mesh, SPREAD.get(name, P())) for name in tree}
    return {n: None if leaf is None else jax.device_put(leaf, place[n]) for n, leaf in tree.items()}


@pytest.mark.parametrize(("name", "kind"), cells(TABLE, ["Auto", "Explicit"]))
def test_masks_of_arrays_over_devices_are_those_on_one(name, kind):
    mesh = jax.make_mesh((2,), ("d",), axis_types=(getattr(AxisType, kind),))
    jitted, traces = counting(TABLE[name].make)
    with jax.set_mesh(mesh):
        values, mask = over(mesh, VALUES), over(mesh, MASK)
        spread = [jitted(values, mask, jnp.int32(keep)) for keep in (KEEP, KEEP + 2)]
    for keep, pruned in zip((KEEP, KEEP + 2), spread, strict=True):
        check_same(pruned, TABLE[name].make(VALUES, MASK, keep))
        if kind == "Explicit":
            assert {n: pruned[n].sharding.spec for n in SHAPES} == SPREAD
    assert len(traces) == 1


# ------------------------------------------------------------------------- within a training step

HALF = {name: round(0.5 * SIZES[name]) for name in SHAPES}
ONCE = prune.Schedule(density=0.5, kind="one-shot", begin=1)
CONSTANT = prune.Schedule(density=0.5, kind="constant", begin=1, every=2, end=9)
FULL = masks.dense(VALUES)
BY_SHAPE = prune.erdos_renyi(FULL, keep=sum(HALF.values()))
grown = functools.partial(prune.sparsify, optax.adam(0.5), schedule=CONSTANT, key=KEY)
pruned = functools.partial(prune.sparsify, optax.adam(0.5), schedule=ONCE)
blocks = functools.partial(prune.blocks, shape=(2, 2))
STEPS = {  # optimizers: what of their masks is counted, and that count
    "global": (pruned(scope="global"), in_all, sum(HALF.values())),
    "layer": (pruned(scope="layer"), by_layer, HALF),
    "erdos-renyi-kernel": (pruned(scope="erdos-renyi-kernel"), by_layer, BY_SHAPE),
    "units": (pruned(structure=prune.units), alive(columns), 24 // 2),
    "blocks": (pruned(structure=blocks), alive(tiles), 40 // 2),
    "n of m": (pruned(structure=prune.n_of_m), by_layer, HALF),
    "RigL, global": (grown(growth="gradient", scope="global"), in_all, sum(HALF.values())),
    "RigL, layer": (grown(growth="gradient", scope="layer"), by_layer, HALF),
    "SET, erdos-renyi-kernel": (
        grown(growth="random", scope="erdos-renyi-kernel"), by_layer, BY_SHAPE
    ),
}  # fmt: skip


def two_steps(step, params, grads, state):
    """Return the masks after each of two steps, of which the second changes them."""
    after_each = []
    for _ in range(2):
        updates, state = step(grads, state, params)
        params = optax.apply_updates(params, updates)
        after_each.append(prune.current_mask(state))
    return after_each


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_masks_within_a_step_are_exact_and_the_same_for_many_networks_and_over_devices(name):
    optimizer, counted, exact = STEPS[name]
    grads = jax.tree.map(lambda leaf: leaf / 4, VALUES)
    state = optimizer.init(VALUES)
    step, traces = counting(optimizer.update)
    before, after = two_steps(step, VALUES, grads, state)
    assert counted(arrays(after)) == exact
    if name.startswith(("RigL", "SET")):
        assert counted(arrays(before)) == exact
        assert any(np.any(arrays(before)[n] != arrays(after)[n]) for n in SHAPES)
    else:
        assert all(not np.any(arrays(after)[n] & ~arrays(before)[n]) for n in SHAPES)
    assert len(traces) == 1
    check_same(two_steps(optimizer.update, VALUES, grads, state)[1], after)
    both = [trees.stack([tree, tree]) for tree in (VALUES, grads, state)]
    of_both = two_steps(jax.jit(jax.vmap(optimizer.update)), *both)[1]
    for result in trees.unstack(of_both):
        check_same(result, after)
    for kind in (AxisType.Explicit, AxisType.Auto):
        mesh = jax.make_mesh((2,), ("d",), axis_types=(kind,))
        with jax.set_mesh(mesh):
            params, slopes = over(mesh, VALUES), over(mesh, grads)
            placed = jax.jit(optimizer.init)(params)
            check_same(two_steps(jax.jit(optimizer.update), params, slopes, placed)[1], after)
