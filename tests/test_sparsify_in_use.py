"""`prune.sparsify` in use: within other transformations, in nnx, stored, for many replicates."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import orbax.checkpoint as ocp
import pytest
from flax import nnx, serialization

from jaxlth import masks, prune, scores, trees

GENERATOR = np.random.default_rng(0)
PARAMS = {
    name: {"kernel": GENERATOR.normal(size=(a, b)).astype("f"), "bias": np.zeros(b, "f")}
    for name, a, b in (("first", 4, 6), ("last", 6, 3))
}
INPUTS = GENERATOR.normal(size=(8, 4)).astype("f")
TARGETS = GENERATOR.normal(size=(8, 3)).astype("f")
SIZE = 4 * 6 + 6 * 3
KEY = jax.random.key(3)
CUBIC = prune.Schedule(density=0.5, begin=1, end=5, every=2)
CONSTANT = prune.Schedule(density=0.5, kind="constant", end=4, every=2)
SPARSE = {
    "gradual": functools.partial(prune.sparsify, schedule=CUBIC),
    "movement": functools.partial(prune.sparsify, schedule=CUBIC, score="movement"),
    "SET": functools.partial(
        prune.sparsify, schedule=CONSTANT, growth="random", scope="layer", key=KEY
    ),
    "RigL": functools.partial(prune.sparsify, schedule=CONSTANT, growth="gradient", key=KEY),
}


def loss(params):
    hidden = jnp.tanh(INPUTS @ params["first"]["kernel"] + params["first"]["bias"])
    return jnp.mean((hidden @ params["last"]["kernel"] + params["last"]["bias"] - TARGETS) ** 2)


def train(optimizer, steps=6):
    """Return the parameters and the state of a training that donates both in every step."""
    params = jax.tree.map(jnp.array, PARAMS)
    state = optimizer.init(params)
    params = masks.apply(params, prune.current_mask(state))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params, state


def check_sparse(params, mask, keep=SIZE // 2, *, trained=True):
    """Check counts, zeros, and unless weights just grown have had no gradient, all others."""
    assert int(masks.kept(mask)) == keep
    for weights, kept in zip(
        jax.tree.leaves(masks.prunable(params, mask)), jax.tree.leaves(mask), strict=True
    ):
        assert not np.any(np.asarray(weights)[~np.asarray(kept)])
        assert not trained or np.all(np.asarray(weights)[np.asarray(kept)])


def check_same(tree, expected):
    jax.tree.map(np.testing.assert_array_equal, tree, expected)


# Steps of the optimizer within: `MultiSteps` makes one of every two.
AROUND = {
    "clipped": lambda sparse: optax.chain(optax.clip_by_global_norm(1.0), sparse),
    "if finite": lambda sparse: optax.apply_if_finite(sparse, 3),
    "multi steps": lambda sparse: optax.MultiSteps(sparse, 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("around", AROUND)
def test_pruned_weights_are_zero_within_other_transformations(around, name):
    optimizer = AROUND[around](SPARSE[name](optax.adam(0.01)))
    params, state = train(optimizer, 12 if around == "multi steps" else 6)
    check_sparse(params, prune.current_mask(state))


def test_what_other_transformations_keep_from_it_is_never_pruned():
    labels = {"first": {"kernel": "sparse", "bias": "rest"}, "last": {"kernel": "rest"}}
    labels["last"]["bias"] = "rest"
    sparse = SPARSE["gradual"](optax.adam(0.01))
    optimizer = optax.multi_transform({"sparse": sparse, "rest": optax.sgd(0.1)}, labels)
    params, state = train(optimizer)
    mask = prune.current_mask(state)
    check_sparse(params, mask, 12)
    assert list(trees.named(mask)) == ["first/kernel"]


def test_a_state_may_be_donated_and_its_key_remains():
    optimizer = SPARSE["SET"](optax.sgd(0.1))
    check_same(*(jax.device_get(train(optimizer, 2)) for _ in range(2)))
    assert jax.random.key_data(KEY).tolist() == [0, 3]


@pytest.mark.slow
@pytest.mark.parametrize("name", SPARSE)
def test_a_stored_state_is_restored_to_the_bit(name, tmp_path):
    optimizer = SPARSE[name](optax.adam(0.01))
    _, state = train(optimizer, 3)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "state", jax.eval_shape(optimizer.init, PARAMS))
    of_bytes = serialization.from_bytes(optimizer.init(PARAMS), serialization.to_bytes(state))
    for again in (restored, of_bytes):
        check_same(again, state)
        assert jax.tree.structure(again) == jax.tree.structure(state)


def test_replicates_side_by_side_have_each_a_key_of_their_own():
    replicates = [PARAMS, jax.tree.map(np.sin, PARAMS)]
    keys = jax.random.split(KEY, 2)

    def make(key):
        return prune.sparsify(
            optax.sgd(0.1), schedule=CONSTANT, growth="random", scope="layer", key=key
        )

    state = jax.vmap(lambda params, key: make(key).init(params))(trees.stack(replicates), keys)
    first, second = trees.unstack(prune.current_mask(state))
    assert float(masks.jaccard(first, second)) < 1
    both = trees.stack(replicates)
    updates, state = jax.jit(jax.vmap(make(KEY).update))(both, state, both)
    for place, params in enumerate(replicates):
        alone = make(keys[place])
        expected = jax.jit(alone.update)(params, alone.init(params), params)
        check_same(jax.tree.map(lambda leaf, place=place: leaf[place], (updates, state)), expected)


class Network(nnx.Module):
    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.tanh(self.norm(self.first(x))))


@pytest.mark.parametrize(
    "name",
    [name if name == "gradual" else pytest.param(name, marks=pytest.mark.slow) for name in SPARSE],
)
def test_an_optimizer_of_nnx_prunes(name):
    network = Network(nnx.Rngs(0))
    optimizer = nnx.Optimizer(network, SPARSE[name](optax.adam(0.01)), wrt=nnx.Param)

    def parts():
        """Return parameters and mask as trees of the same boxes: none."""
        state = nnx.state(network, nnx.Param), prune.current_mask(optimizer.opt_state)
        return nnx.as_pure(state)

    nnx.update(network, masks.apply(*parts()))

    @nnx.jit
    def step(network, optimizer):
        optimizer.update(network, nnx.grad(lambda n: jnp.mean((n(INPUTS) - TARGETS) ** 2))(network))

    for _ in range(6):
        step(network, optimizer)
    check_sparse(*parts())


@pytest.mark.parametrize("boxes", [lambda tree: tree, nnx.as_pure])
def test_an_optimizer_of_nnx_is_masked_by_a_mask_with_or_without_boxes(boxes):
    network = Network(nnx.Rngs(0))
    params = nnx.state(network, nnx.Param)
    mask = prune.global_topk(scores.magnitude(params), masks.dense(params), keep=SIZE // 2)
    nnx.update(network, masks.apply(params, mask))
    optimizer = nnx.Optimizer(network, prune.masked(optax.yogi(0.1), boxes(mask)), wrt=nnx.Param)
    for _ in range(2):
        grads = nnx.grad(lambda n: jnp.mean((n(INPUTS) - TARGETS) ** 2))(network)
        optimizer.update(network, grads)
    check_sparse(nnx.state(network, nnx.Param), mask)


# --------------------------------------------------------- what an optimizer remembers of the past


def test_weights_that_an_optimizer_averages_are_pruned_too():
    optimizer = SPARSE["gradual"](optax.contrib.schedule_free_adamw(0.01))
    params, state = train(optimizer)
    average = optax.contrib.schedule_free_eval_params(state.inner, params)
    check_sparse(average, prune.current_mask(state))


@pytest.mark.slow
def test_momentum_of_pruned_weights_moves_no_other():
    """Muon makes a momentum orthogonal, all of a tensor together."""
    once = prune.Schedule(density=0.5, kind="one-shot", begin=2)
    muon = optax.contrib.muon(0.1)
    optimizer = prune.sparsify(muon, schedule=once)
    params, state = train(optimizer, 2)
    grads = jax.grad(loss)(params)
    mask = prune.global_topk(scores.magnitude(params), masks.dense(params), keep=SIZE // 2)
    momentum = state.inner
    forgotten = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            jnp.where(mask["first" if "first" in trees.name(path) else "last"]["kernel"], leaf, 0)
            if jnp.ndim(leaf) == 2
            else leaf
        ),
        momentum,
    )
    weights = masks.apply(params, mask)
    expected, _ = muon.update(masks.apply(grads, mask), forgotten, weights)
    updates, after = optimizer.update(grads, state, params)
    check_same(prune.current_mask(after), mask)
    check_same(masks.apply(updates, mask), masks.apply(expected, mask))


@pytest.mark.parametrize("shape", [(6, 6), (8, 6), (6, 8)])  # square: momenta of its own shape
@pytest.mark.parametrize("rank", [2, 128])
def test_galore_begins_anew_where_weights_are_pruned_and_goes_on_elsewhere(shape, rank):
    target = jax.random.normal(jax.random.key(2), shape)
    start = {"w": jax.random.normal(jax.random.key(1), shape)}
    galore = optax.contrib.galore(0.05, rank=rank, update_proj_gap=200)
    pruning = {"density": 0.5, "kind": "one-shot", "begin": 3, "end": 3}
    optimizer = prune.sparsify(galore, schedule=prune.Schedule(**pruning))

    def grads(params):
        return jax.grad(lambda p: jnp.mean((p["w"] @ p["w"].T - target @ target.T) ** 2))(params)

    def run(optimizer, params, state, steps):
        update = jax.jit(optimizer.update)
        for _ in range(steps):
            updates, state = update(grads(params), state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    trained, state = run(optimizer, start, optimizer.init(start), 3)
    plain, _ = run(galore, start, galore.init(start), 3)
    np.testing.assert_allclose(trained["w"], plain["w"], rtol=1e-5)
    # The step that prunes has the gradients of the dense network.
    pruned, state = run(optimizer, trained, state, 1)
    mask = prune.current_mask(state)
    fresh = prune.masked(galore, mask)
    updates, fresh_state = fresh.update(grads(trained), fresh.init(trained), trained)
    expected = optax.apply_updates(masks.apply(trained, mask), updates)
    np.testing.assert_allclose(pruned["w"], expected["w"], rtol=1e-4, atol=1e-6)
    ends = run(optimizer, pruned, state, 5)[0], run(fresh, expected, fresh_state, 5)[0]
    np.testing.assert_allclose(ends[0]["w"], ends[1]["w"], rtol=1e-3, atol=1e-5)


def test_lbfgs_remembers_nothing_of_pruned_weights():
    @functools.partial(jax.jit, static_argnums=0)
    def step(optimizer, params, state):
        value, grad = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(
            grad, state, params, value=value, grad=grad, value_fn=loss
        )
        return optax.apply_updates(params, updates), state

    schedule = prune.Schedule(density=0.5, kind="one-shot", begin=4)
    optimizer = prune.sparsify(optax.lbfgs(), schedule=schedule)
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(4):
        params, state = step(optimizer, params, state)
    before = params
    for _ in range(3):
        params, state = step(optimizer, params, state)
    mask = prune.current_mask(state)
    memory = state.inner[0]
    for array in (memory.params, memory.diff_params_memory, memory.diff_updates_memory):
        for layer, keep in mask.items():
            assert not np.any(np.where(keep["kernel"], 0, array[layer]["kernel"]))
    assert int(memory.count) == 3
    # The same as L-BFGS that begins with the weights that are left.
    fresh = prune.masked(optax.lbfgs(), mask)
    state, value, grad = fresh.init(before), *jax.value_and_grad(loss)(before)
    left = masks.apply(before, mask)
    updates, state = fresh.update(grad, state, left, value=value, grad=grad, value_fn=loss)
    left = optax.apply_updates(left, updates)
    for _ in range(2):
        left, state = step(fresh, left, state)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), params, left)
    check_sparse(params, mask)


def test_a_schedule_has_the_count_and_a_structure_leaves_it_open():
    structure = functools.partial(prune.units, keep=3)
    with pytest.raises(ValueError, match=r"must leave `keep` open, .* `units` with keep=3"):
        prune.sparsify(optax.sgd(0.1), schedule=CUBIC, structure=structure)


@pytest.mark.parametrize("name", ["movement", "SET"])
def test_float64_weights_keep_the_types_of_a_state(name):
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), PARAMS)
        optimizer = SPARSE[name](optax.sgd(0.1))

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(params, state, params)
            return (optax.apply_updates(params, updates), state), None

        (after, state), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=6)
        check_sparse(after, prune.current_mask(state), trained=False)


Pair = collections.namedtuple("Pair", ["w", "b"])
W = GENERATOR.normal(size=(4, 6)).astype("f")
TREES = {
    "list": [W, np.zeros(6, "f")],
    "named tuple": Pair(W, np.zeros(6, "f")),
    "an array": W,
    "none and empty": {"w": W, "b": None, "e": np.zeros((0, 3), "f"), "l": []},
}


@pytest.mark.slow
@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("name", SPARSE)
def test_trees_of_all_kinds_are_trained_sparse(name, tree):
    optimizer = SPARSE[name](optax.adam(0.1))
    params = TREES[tree]
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for _ in range(6):
        updates, state = update(params, state, params)
        params = optax.apply_updates(params, updates)
    check_sparse(params, prune.current_mask(state), 12, trained=False)
