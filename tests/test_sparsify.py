"""Sparse training in any optax loop: masks that stay, shrink by a schedule, or move."""

import functools
import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from jaxlth import keys, masks, prune, scores, trees
from jaxlth.prune import growing

GENERATOR = np.random.default_rng(0)
PARAMS = {
    name: {"kernel": GENERATOR.normal(size=(a, b)).astype(np.float32), "bias": np.zeros(b, "f")}
    for name, a, b in (("first", 6, 8), ("last", 8, 5))
}
INPUTS = GENERATOR.normal(size=(12, 6)).astype(np.float32)
TARGETS = GENERATOR.normal(size=(12, 5)).astype(np.float32)
SIZE = 6 * 8 + 8 * 5


def loss(params):
    hidden = jax.nn.relu(INPUTS @ params["first"]["kernel"] + params["first"]["bias"])
    return jnp.mean((hidden @ params["last"]["kernel"] + params["last"]["bias"] - TARGETS) ** 2)


def train(optimizer, params, steps, mask=None, extra=True):
    """Return parameters, state and masks of a plain loop of optax; one compilation."""
    state = jax.jit(optimizer.init)(params)
    if mask is None:
        params = masks.apply(params, prune.current_mask(state))
    traces = []

    def step(carry, _):
        traces.append(steps)
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        more = {"value": value, "grad": grads, "value_fn": loss} if extra else {}
        updates, state = optax.with_extra_args_support(optimizer).update(
            grads, state, params, **more
        )
        after = optax.apply_updates(params, updates), state
        return after, None if mask is not None else prune.current_mask(state)

    scan = jax.jit(lambda *carry: jax.lax.scan(step, carry, length=steps))
    (params, state), history = jax.device_get(scan(params, state))
    assert len(traces) == 1
    return params, state, history and trees.unstack(history)


def kernels(tree):
    return {name: np.asarray(tree[name]["kernel"]) for name in ("first", "last")}


# ------------------------------------------------------------------------------------- masked

DECAY = {"weight_decay": 0.1}
OPTIMIZERS = {
    "momentum": lambda: optax.chain(
        optax.add_decayed_weights(0.1), optax.sgd(0.01, momentum=0.9, nesterov=True)
    ),
    "muon": lambda: optax.contrib.muon(0.01, **DECAY),
    "yogi": lambda: optax.yogi(0.01),
    "noisy sgd": lambda: optax.noisy_sgd(0.01, key=0),
    "sam": lambda: optax.contrib.sam(
        optax.adamw(0.01, **DECAY), optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
    ),
    **{
        name: functools.partial(getattr(optax, name), 0.01, **DECAY)
        for name in ("adamw", "adamaxw", "nadamw", "lion", "lamb", "lars", "adan")
    },
    **{
        name: functools.partial(getattr(optax, name), 0.01)
        for name in (
            *("sgd", "adam", "adabelief", "adadelta", "adagrad", "adamax", "amsgrad", "fromage"),
            *("nadam", "novograd", "optimistic_gradient_descent", "polyak_sgd", "radam"),
            *("rmsprop", "rprop", "sign_sgd", "signum", "sm3", "optimistic_adam_v2"),
        )
    },
    "adafactor": lambda: optax.adafactor(
        0.01, min_dim_size_to_factor=4, weight_decay_rate=0.1, momentum=0.9
    ),
    "lbfgs": optax.lbfgs,
    "multi steps": lambda: optax.MultiSteps(optax.adamw(0.01, **DECAY), 3),
    "noise last": lambda: optax.chain(optax.adam(0.01), optax.add_noise(0.1, 0.5, key=0)),
    "one of two": lambda: optax.multi_transform(
        {"first": optax.adam(0.01), "last": optax.yogi(0.01)}, {"first": "first", "last": "last"}
    ),
    **{
        name: functools.partial(getattr(optax.contrib, name), 0.01)
        for name in ("acprop", "ademamix", "adopt", "dog", "dowg", "madgrad", "simplified_ademamix")
    },
    "cocob": optax.contrib.cocob,
    "dadapt_adamw": optax.contrib.dadapt_adamw,
    "galore": lambda: optax.contrib.galore(0.01, rank=2),
    "momo": optax.contrib.momo,
    "prodigy": lambda: optax.contrib.prodigy(**DECAY),
    "schedule free": lambda: optax.contrib.schedule_free_adamw(0.01, **DECAY),
    "mechanize": lambda: optax.contrib.mechanize(optax.adamw(0.01, **DECAY)),
}
QUICK = ("momentum", "yogi")
SUITE = [
    pytest.param(make, id=name, marks=[] if name in QUICK else pytest.mark.slow)
    for name, make in OPTIMIZERS.items()
]


def half(params=PARAMS):
    random_scores = scores.random(params, key=jax.random.key(1))
    return prune.global_topk(random_scores, masks.dense(params), keep=SIZE // 2)


@pytest.mark.parametrize("make", SUITE)
def test_pruned_weights_stay_exactly_zero_for_100_steps(make):
    mask, plain = half(), make()
    optimizer = prune.masked(plain, mask)
    start = masks.apply(PARAMS, mask)
    inner = optax.with_extra_args_support(plain)
    assert jax.tree.structure(optimizer.init(start)) == jax.tree.structure(inner.init(start))
    params, _, _ = train(optimizer, start, 100, mask, extra=make is not OPTIMIZERS["sam"])
    for name, keep in kernels(mask).items():
        weights = np.asarray(params[name]["kernel"])
        assert not np.any(weights[~keep].view(np.uint32)), name  # +0.0, bit by bit
        assert np.all(np.isfinite(weights))
    assert np.any(np.asarray(params["first"]["bias"]) != 0)


@pytest.mark.slow
def test_without_masked_some_optimizers_move_pruned_weights():
    mask = half()
    moved = {}
    for name in ("muon", "yogi", "noisy sgd"):
        optimizer = optax.with_extra_args_support(OPTIMIZERS[name]())
        start = masks.apply(PARAMS, mask)
        grads = masks.apply(jax.grad(loss)(start), mask)
        updates, _ = optimizer.update(grads, optimizer.init(start), start)
        moved[name] = np.any(np.asarray(updates["first"]["kernel"])[~kernels(mask)["first"]])
    assert moved == dict.fromkeys(moved, True)


@pytest.mark.slow
def test_a_full_mask_changes_no_bit():
    plain = optax.adamw(0.01)
    masked = prune.masked(plain, masks.dense(PARAMS))
    ends = [train(optimizer, PARAMS, 5, True)[0] for optimizer in (plain, masked)]
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_a_mask_of_other_parameters_names_the_leaf():
    with pytest.raises(ValueError, match="`params` has a leaf 'first/bias' that `mask` lacks"):
        prune.masked(optax.sgd(1.0), {"w": np.ones(2, bool)}).init(PARAMS)


# ---------------------------------------------------------------------------------- schedules

KINDS = ("one-shot", "exponential", "linear", "cubic")


@pytest.mark.parametrize("kind", KINDS)
def test_counts_of_a_schedule_follow_its_formula_and_end_exactly(kind):
    schedule = prune.Schedule(density=0.1, kind=kind, begin=7, end=47, every=10, initial=0.8)
    keep = jax.jit(lambda step: prune.keep_at(step, schedule, size=12_340))
    counts = [int(keep(step)) for step in range(60)]
    assert keep._cache_size() == 1
    assert counts[:7] == [12_340] * 7
    first, last = 0.8 * 12_340, 0.1 * 12_340
    times = [min((step - 7) // 10, 4) / 4 for step in range(7, 60)]
    formula = {
        "one-shot": lambda t: last,
        "exponential": lambda t: first * (last / first) ** t,
        "linear": lambda t: first + (last - first) * t,
        "cubic": lambda t: last + (first - last) * (1 - t) ** 3,
    }[kind]
    np.testing.assert_allclose(counts[7:], [formula(t) for t in times], atol=0.6)
    assert counts[47:] == [round(last)] * 13
    assert all(a >= b for a, b in itertools.pairwise(counts))


@pytest.mark.parametrize("scope", ["global", "layer", "erdos-renyi-kernel"])
def test_an_exponential_schedule_that_ends_with_no_weight_of_a_tensor_falls_gradually(scope):
    schedule = prune.Schedule(density=0.01, kind="exponential", end=4)
    expected = [10, 3, 1, 0, 0, 0]  # 10, 3.16, 1, 0.32, 0.1
    assert [int(prune.keep_at(step, schedule, size=10)) for step in range(6)] == expected
    params = {"w": jnp.arange(1.0, 11.0).reshape(2, 5)}
    if scope != "global":
        params["v"] = jnp.ones((40, 50))
    optimizer = prune.sparsify(optax.sgd(0.0), schedule=schedule, scope=scope)
    state, counts = optimizer.init(params), []
    for _ in range(5):
        _, state = optimizer.update(params, state, params)
        counts.append(int(prune.current_mask(state)["w"].sum()))
    if scope != "erdos-renyi-kernel":
        assert counts == expected[:5]
    assert all(a >= b for a, b in itertools.pairwise(counts))


@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_counts_of_a_schedule_are_those_of_fractions_rounded(kind):
    schedule = prune.Schedule(density=0.125, kind=kind, end=24, initial=0.5)
    for size in (0, 1, 3, 64, 2**31 - 1):
        first, last = (round(Fraction(part) * size) for part in (0.5, 0.125))
        shares = [Fraction(24 - n, 24) ** (3 if kind == "cubic" else 1) for n in range(25)]
        expected = [round(last + (first - last) * share) for share in shares]
        assert [int(prune.keep_at(n, schedule, size=size)) for n in range(25)] == expected


def test_a_constant_schedule_keeps_as_many_from_the_start():
    schedule = prune.Schedule(density=0.25, kind="constant", end=10)
    assert [int(prune.keep_at(step, schedule, size=10)) for step in (0, 5, 99)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"density": 0.0}, r"`density` must lie in \(0, 1\]; got 0.0"),
        ({"kind": "square"}, "`kind` must be one of one-shot, exponential, .*; got 'square'"),
        ({"end": None}, "`end` must be given: the last step at which a cubic mask may change"),
        ({"begin": 9}, "`end` must be at least 9; got 8"),
        ({"every": 0}, "`every` must be at least 1; got 0"),
        ({"initial": 0.05}, "`density` must be at most `initial`, 0.05; got 0.1"),
        ({"fraction": 1.5}, r"`fraction` must lie in \(0, 1\]; got 1.5"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        prune.Schedule(**{"density": 0.1, "end": 8} | wrong)


# ----------------------------------------------------------------------------------- sparsify


@pytest.mark.parametrize(
    ("kind", "scope", "score"),
    [
        ("cubic", "global", "magnitude"),
        pytest.param("exponential", "layer", "taylor", marks=pytest.mark.slow),
        pytest.param("one-shot", "erdos-renyi-kernel", "movement", marks=pytest.mark.slow),
        pytest.param("linear", "global", "movement", marks=pytest.mark.slow),
    ],
)
def test_gradual_pruning_ends_at_the_density_exactly_and_never_brings_weights_back(
    kind, scope, score
):
    schedule = prune.Schedule(density=0.2, kind=kind, begin=2, end=14, every=4)
    optimizer = prune.sparsify(
        optax.adamw(0.01, weight_decay=0.1), schedule=schedule, scope=scope, score=score
    )
    params, _, history = train(optimizer, PARAMS, 18)
    for before, after in itertools.pairwise([masks.dense(PARAMS), *history]):
        assert all(not np.any(kernels(after)[name] & ~kernels(before)[name]) for name in PARAMS)
    kept = [int(masks.kept(mask)) for mask in history]
    if scope == "global":
        assert kept == [int(prune.keep_at(step, schedule, size=SIZE)) for step in range(18)]
    else:
        shares = {
            "layer": {"first/kernel": 10, "last/kernel": 8},
            "erdos-renyi-kernel": prune.erdos_renyi(masks.dense(PARAMS), keep=round(SIZE * 0.2)),
        }[scope]
        named = trees.named(history[-1])
        assert {name: int(leaf.sum()) for name, leaf in named.items()} == shares
    for name, keep in kernels(history[-1]).items():
        assert not np.any(np.asarray(params[name]["kernel"])[~keep].view(np.uint32))


def test_a_mask_is_that_of_the_weights_with_which_the_step_begins():
    schedule = prune.Schedule(density=0.3, kind="one-shot", begin=3)
    optimizer, plain = prune.sparsify(optax.sgd(0.1), schedule=schedule), optax.sgd(0.1)
    dense, _, _ = train(plain, PARAMS, 3, True)
    expected = prune.global_topk(scores.magnitude(dense), masks.dense(PARAMS), keep=26)
    params, state, _ = train(optimizer, PARAMS, 4)
    jax.tree.map(np.testing.assert_array_equal, prune.current_mask(state), expected)
    grads = masks.apply(jax.grad(loss)(dense), expected)
    after = jax.tree.map(lambda w, grad: w - 0.1 * grad, masks.apply(dense, expected), grads)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), params, after)


@pytest.mark.slow
def test_movement_is_summed_over_the_steps():
    schedule = prune.Schedule(density=0.5, kind="one-shot", begin=99)
    optimizer = prune.sparsify(optax.sgd(0.1), schedule=schedule, score="movement")
    params, state, total = PARAMS, optimizer.init(PARAMS), None
    for _ in range(3):
        grads = jax.device_get(jax.grad(loss)(params))
        total = scores.movement(params, grads, total)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, state.scores, masks.prunable(total, state.mask))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_movement_goes_on_after_a_step_that_is_not_finite_and_is_skipped(wrong):
    params = {"w": jnp.array([[1.0, -2.0, 3.0, 4.0]])}
    schedule = prune.Schedule(density=0.5, kind="one-shot", begin=3)
    inner = optax.apply_if_finite(optax.sgd(0.01), 5)
    optimizer = prune.sparsify(inner, schedule=schedule, score="movement")
    state, gradient = optimizer.init(params), jnp.array([[-1.0, 1.0, 0.0, 0.0]])
    for grads in (gradient, jnp.full((1, 4), wrong), gradient, gradient):
        updates, state = jax.jit(optimizer.update)({"w": grads}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(state.scores["w"], [[3.03, 6.03, 0, 0]], rtol=1e-5)
    assert prune.current_mask(state)["w"].tolist() == [[True, True, False, False]]


def test_optimizers_that_wrap_others_stand_within_sparsify_and_lookahead_around_masked():
    params, mask = {"w": jnp.array([[3.0, 1.0, 2.0, 4.0]])}, {"w": jnp.array([[1, 0, 0, 1]]) > 0}
    schedule = prune.Schedule(density=0.5, kind="one-shot", begin=2)
    optimizer = prune.sparsify(optax.contrib.mechanize(optax.sgd(0.1)), schedule=schedule)
    pruned, state = params, optimizer.init(params)
    for _ in range(5):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, pruned)
        pruned = optax.apply_updates(pruned, updates)
    assert (np.asarray(pruned["w"]) != 0).tolist() == mask["w"].tolist()
    optimizer = optax.lookahead(prune.masked(optax.adamw(0.1), mask), 2, 0.5)
    pair = optax.LookaheadParams.init_synced(masks.apply(params, mask))
    state = optimizer.init(pair)
    for _ in range(4):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, pair)
        pair = optax.apply_updates(pair, updates)
    for leaf in jax.tree.leaves(pair):
        assert (np.asarray(leaf) != 0).tolist() == mask["w"].tolist()


@pytest.mark.parametrize(
    ("kind", "inner"),
    [
        (jnp.bfloat16, optax.adam(0.1, mu_dtype=jnp.float32)),
        (jnp.float8_e4m3fn, optax.sgd(0.1)),
        (jnp.float8_e5m2, optax.sgd(0.1)),
    ],
)
def test_narrow_weights_are_pruned_to_exact_zeros(kind, inner):
    params = {"w": jnp.array([[1.5, -0.1], [0.2, 3.0]], kind)}
    schedule = prune.Schedule(density=0.5, kind="one-shot")
    optimizer = prune.sparsify(inner, schedule=schedule)
    updates, state = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    assert prune.current_mask(state)["w"].tolist() == [[True, False], [False, True]]
    pruned = optax.apply_updates(params, updates)["w"]
    assert pruned.dtype == kind
    assert pruned[0, 1] == pruned[1, 0] == 0


STRUCTURES = {
    "2:4": (prune.n_of_m, 8 * (2 + 2) + 5 * (2 + 2)),
    "units": (functools.partial(prune.units, axis=0), None),
    "blocks": (functools.partial(prune.blocks, shape=(3, 4)), None),
    "per unit": (functools.partial(prune.per_unit_topk, density=0.5), 8 * 3 + 5 * 4),
}


@pytest.mark.parametrize(
    "name",
    [n if n == "units" else pytest.param(n, marks=pytest.mark.slow) for n in STRUCTURES],
)
def test_structures_are_pruned_in_training(name):
    structure, expected = STRUCTURES[name]
    schedule = prune.Schedule(density=0.5, kind="one-shot", begin=1)
    optimizer = prune.sparsify(optax.sgd(0.1), schedule=schedule, structure=structure)
    _, state, _ = train(optimizer, PARAMS, 2)
    mask = kernels(prune.current_mask(state))
    if name == "units":  # rows, here
        assert sum(int(np.any(leaf, axis=1).sum()) for leaf in mask.values()) == 7
    elif name == "blocks":  # 2 * 2 and 3 * 2 of them
        counts = [
            np.any(leaf[row : row + 3, column : column + 4])
            for leaf in mask.values()
            for row in range(0, leaf.shape[0], 3)
            for column in range(0, leaf.shape[1], 4)
        ]
        assert sum(counts) == len(counts) // 2 == 5
    else:
        assert sum(int(leaf.sum()) for leaf in mask.values()) == expected


SCHEDULE = prune.Schedule(density=0.5, end=8)
CONSTANT = prune.Schedule(density=0.5, kind="constant", end=8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "snip"}, "`score` must be one of magnitude, taylor, movement or a function"),
        ({"scope": "tensor"}, "`scope` must be one of global, layer, erdos-renyi-kernel"),
        ({"scope": "layer", "structure": prune.units}, '`scope` must be "global" with a `struct'),
        ({"growth": "random"}, '`growth` goes with a schedule of kind "constant"'),
        ({"schedule": CONSTANT}, "take `prune.masked`"),
        ({"schedule": CONSTANT, "growth": "random"}, "`key` must be given with `growth`"),
        ({"key": jax.random.key(0)}, "`key` must be given with `growth`, and only then"),
        ({"schedule": CONSTANT, "growth": "all"}, '`growth` must be None, "random" or "gradient"'),
        (
            {"schedule": CONSTANT, "growth": "random", "structure": prune.units},
            "leave out `structure` and `score`",
        ),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        prune.sparsify(optax.sgd(0.1), **{"schedule": SCHEDULE} | arguments)


def test_an_update_without_parameters_and_a_state_without_mask_are_refused():
    optimizer = prune.sparsify(optax.sgd(0.1), schedule=SCHEDULE)
    with pytest.raises(ValueError, match="`params` must be given to the `update`"):
        optimizer.update(PARAMS, optimizer.init(PARAMS))
    with pytest.raises(ValueError, match="of one `prune.sparsify`; it holds 0"):
        prune.current_mask(optax.sgd(0.1).init(PARAMS))


# -------------------------------------------------------------------------------- SET and RigL


def reference_drop_and_grow(weights, mask, growth, fraction):
    """Return weights and mask of one tensor, step by step as in Evci et al., Algorithm 1."""
    weights, mask, growth = (np.ravel(np.array(part)) for part in (weights, mask, growth))
    count = int(np.round(np.float32(fraction) * np.float32(mask.sum())))
    kept = np.flatnonzero(mask)
    dropped = kept[np.lexsort((-kept, np.abs(weights[kept])))][:count]
    remaining = mask.copy()
    remaining[dropped] = False
    free = np.flatnonzero(~remaining)
    grown = free[np.lexsort((free, -growth[free]))][:count]
    after = remaining.copy()
    after[grown] = True
    return np.where(mask & after, weights, 0), after


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_weights_dropped_and_grown_are_those_of_the_reference(scope):
    params = jax.tree.map(lambda leaf: np.round(leaf, 1), PARAMS)  # with ties
    growth = jax.tree.map(lambda leaf: np.round(np.abs(np.cos(9 * leaf)), 1), PARAMS)
    mask = jax.device_get(half())
    traces = []

    @jax.jit
    def jitted(fraction):
        traces.append(fraction)
        return prune.drop_and_grow(params, mask, growth, fraction=fraction, scope=scope)

    def flat(tree):
        leaves = [np.ravel(leaf) for leaf in kernels(tree).values()]
        return [np.concatenate(leaves)] if scope == "global" else leaves

    for fraction in (0.0, 0.3, 1.0):
        parts = zip(flat(params), flat(mask), flat(growth), strict=True)
        expected = [reference_drop_and_grow(*part, fraction) for part in parts]
        regrown = jitted(np.float32(fraction))
        results = zip(flat(regrown.params), flat(regrown.mask), strict=True)
        for result, reference in zip(results, expected, strict=True):
            np.testing.assert_array_equal(result, reference)
        assert sum(leaf.sum() for leaf in flat(regrown.mask)) == SIZE // 2
    assert len(traces) == 1


@pytest.mark.slow
def test_a_vmapped_drop_and_grow_equals_a_loop():
    both = [PARAMS, jax.tree.map(np.sin, PARAMS)]
    mask, fractions = half(), jnp.array([0.2, 0.5])
    growth = jax.tree.map(np.cos, PARAMS)
    mapped = jax.vmap(lambda p, f: prune.drop_and_grow(p, mask, growth, fraction=f))(
        trees.stack(both), fractions
    )
    for params, fraction, regrown in zip(both, fractions, trees.unstack(mapped), strict=True):
        alone = prune.drop_and_grow(params, mask, growth, fraction=float(fraction))  # not jitted
        jax.tree.map(np.testing.assert_array_equal, regrown, alone)


def test_no_more_weights_are_dropped_than_are_kept_where_float32_rounds_up():
    count = jnp.int32(2**25 + 3)
    assert int(growing._share(count, 1.0)) == int(growing._share(count, jnp.float32(1))) == count


@pytest.mark.parametrize("wrong", [{"fraction": 1.5}, {"fraction": 0.5, "scope": "all"}])
def test_exchanges_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="`(fraction|scope)` must"):
        prune.drop_and_grow(PARAMS, half(), PARAMS, **wrong)


LR, DECAYED, EVERY, END = 0.05, 0.9, 3, 9


@pytest.mark.parametrize("growth", [pytest.param("random", marks=pytest.mark.slow), "gradient"])
def test_set_and_rigl_are_the_reference_step_by_step(growth):
    schedule = prune.Schedule(density=0.3, kind="constant", every=EVERY, end=END, fraction=0.4)
    key = keys.stream(0, 0, "test")
    optimizer = prune.sparsify(
        optax.sgd(LR, momentum=DECAYED), schedule=schedule, scope="layer", growth=growth, key=key
    )
    state = optimizer.init(PARAMS)
    mask = kernels(state.mask)
    assert {name: int(leaf.sum()) for name, leaf in mask.items()} == {"first": 14, "last": 12}
    params = jax.device_get(masks.apply(PARAMS, state.mask))
    momentum = jax.tree.map(np.zeros_like, params)
    ours, update, gradient = params, jax.jit(optimizer.update), jax.jit(jax.grad(loss))
    for step in range(12):
        grads = jax.device_get(gradient(ours))
        updates, state = update(grads, state, ours)
        ours = jax.device_get(optax.apply_updates(ours, updates))
        if step % EVERY == 0 and step <= END:
            fraction = 0.4 / 2 * (1 + np.cos(np.pi * step / END))
            draws = keys.uniform(state.mask, key=keys.fold(keys.substream(key, "growth"), step))
            for name in mask:
                gains = draws if growth == "random" else jax.tree.map(np.abs, grads)
                weights = params[name]["kernel"]
                flat, after = reference_drop_and_grow(
                    weights, mask[name], gains[name]["kernel"], fraction
                )
                after = after.reshape(weights.shape)
                momentum[name]["kernel"][~(mask[name] & after)] = 0
                params[name]["kernel"], mask[name] = flat.reshape(weights.shape), after
        else:
            for name, leaf in itertools.product(params, ("kernel", "bias")):
                keep = mask[name] if leaf == "kernel" else True
                momentum[name][leaf] = np.where(keep, grads[name][leaf], 0) + (
                    np.float32(DECAYED) * momentum[name][leaf]
                )
                params[name][leaf] = np.where(
                    keep, params[name][leaf] - np.float32(LR) * momentum[name][leaf], 0
                )
        for name, keep in mask.items():
            np.testing.assert_array_equal(kernels(state.mask)[name], keep)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
        jax.tree.map(close, ours, params)
    jax.tree.map(close, state.inner[0].trace, momentum)


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["global", "erdos-renyi-kernel"])
def test_growth_keeps_the_counts_of_the_scope_and_moves_the_mask(scope):
    schedule = prune.Schedule(density=0.25, kind="constant", every=2, end=8)
    optimizer = prune.sparsify(
        optax.contrib.muon(0.01),
        schedule=schedule,
        scope=scope,
        growth="gradient",
        key=jax.random.key(0),
    )
    first = prune.current_mask(optimizer.init(PARAMS))
    params, _, history = train(optimizer, PARAMS, 10)
    assert {int(masks.kept(mask)) for mask in history} == {SIZE // 4}
    if scope != "global":
        counts = prune.erdos_renyi(masks.dense(PARAMS), keep=SIZE // 4)
        assert {n: int(leaf.sum()) for n, leaf in trees.named(history[-1]).items()} == counts
    assert float(masks.jaccard(first, history[-1])) < 1
    for name, keep in kernels(history[-1]).items():
        assert not np.any(np.asarray(params[name]["kernel"])[~keep])
