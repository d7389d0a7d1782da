"""Any optax transformation is an optimiser, checked before anything is trained."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
import tiny
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxlth import keys, masks
from jaxlth.training import train, transformations

PARAMS = {
    "Dense_0": {"kernel": jnp.full((4, 3), 0.5), "bias": jnp.zeros(3)},
    "Dense_1": {"kernel": jnp.full((3, 2), -0.25), "bias": jnp.zeros(2)},
}


def by_kind(params):
    return jax.tree.map(lambda leaf: "kernel" if leaf.ndim == 2 else "bias", params)


WORKING = {
    "sgd with momentum": lambda: optax.sgd(0.1, momentum=0.9),
    "adamw with a schedule": lambda: optax.adamw(optax.warmup_cosine_decay_schedule(0, 0.1, 3, 9)),
    "a chain with clipping": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)),
    "several labels": lambda: optax.multi_transform(
        {"kernel": optax.adam(0.1), "bias": optax.sgd(0.1)}, by_kind
    ),
    "a mask": lambda: optax.masked(
        optax.adam(0.1), lambda params: jax.tree.map(lambda leaf: leaf.ndim == 2, params)
    ),
    "batches in one": lambda: optax.MultiSteps(optax.adam(0.1), 4),
    "hyperparameters in the state": lambda: optax.inject_hyperparams(optax.adam)(
        learning_rate=optax.linear_schedule(0.1, 0, 9)
    ),
    "the loss": lambda: optax.chain(
        optax.adam(0.1), optax.contrib.reduce_on_plateau(patience=2, cooldown=1)
    ),
    "random numbers": lambda: optax.noisy_sgd(0.1, key=0),
    "random numbers of another kind": lambda: optax.chain(
        optax.add_noise(0.1, 0.5, key=jax.random.key(3, impl="rbg")), optax.sgd(0.1)
    ),
    "rows and columns": lambda: optax.adafactor(0.1, min_dim_size_to_factor=2),
    "schedule-free": lambda: optax.contrib.schedule_free_adamw(0.1),
}
QUICK = ("adamw with a schedule", "batches in one", "random numbers")
SUITE = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in WORKING]


@pytest.mark.parametrize("name", SUITE)
def test_its_updates_are_those_of_optax(name):
    optimizer, plain = transformations.optimizer(WORKING[name](), PARAMS), WORKING[name]()
    plain = optax.with_extra_args_support(plain)
    extra = {"step": jnp.int32(0), "value": jnp.float32(1)}
    grads = jax.tree.map(lambda leaf: jnp.cos(leaf + 1), PARAMS)
    states = [made.init(PARAMS) for made in (optimizer, plain)]
    for _ in range(2):
        (mine, theirs), states = zip(
            *(
                jax.jit(made.update)(grads, state, PARAMS, **extra)
                for made, state in zip((optimizer, plain), states, strict=True)
            ),
            strict=True,
        )
        tiny.assert_same(mine, theirs)
    assert not any(jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in jax.tree.leaves(states[0]))


@pytest.mark.parametrize("name", SUITE)
def test_a_training_cut_anywhere_is_the_uncut_one_and_pruned_weights_stay_zero(name):
    built, data, key = tiny.model(), tiny.dataset(), keys.stream(0, 0, "order")
    network = tiny.network(built)
    mask = tiny.half(network.params)
    made = train.make(
        built, transformations.optimizer(WORKING[name](), network.params), batch_size=5
    )
    advance, start = jax.jit(made.advance), jax.device_get(made.start(network, mask))
    whole = advance(start, mask, data, key, 0, 13)
    parts = start
    for begin, end in ((0, 3), (3, 8), (8, 13)):
        parts = jax.device_get(advance(parts, mask, data, key, begin, end))  # as if stored
    tiny.assert_same(parts, jax.device_get(whole))
    tiny.assert_same(parts.network.params, masks.apply(parts.network.params, mask))
    assert not tiny.same(parts.network.params, start.network.params)


def test_a_transformation_with_extra_arguments_is_given_step_and_loss():
    def update(grads, state, params=None, *, step, value, **extra):
        del params, extra
        return jax.tree.map(lambda grad: -(step + value) * grad, grads), state

    optimizer = transformations.optimizer(
        GradientTransformationExtraArgs(lambda params: (), update), PARAMS
    )
    updates, _ = optimizer.update(PARAMS, (), PARAMS, step=jnp.int32(3), value=jnp.float32(0.5))
    np.testing.assert_allclose(updates["Dense_0"]["kernel"], -3.5 * 0.5)


def stateless(update):
    return GradientTransformation(
        lambda params: (), lambda grads, state, params=None: update(grads, state)
    )


def counting():
    calls = []

    def update(grads, state):
        calls.append(0)
        return jax.tree.map(lambda grad: grad / len(calls), grads), state

    return stateless(update)


def remembering():
    seen = []

    def update(grads, state):
        seen.append(grads)
        return jax.tree.map(jnp.add, grads, seen[0]), state

    return stateless(update)


KIND = "`optimizer` must be an optax transformation, with functions `init` and `update`, such as"
RAISED = "state and the parameters under jax.jit; it raised"
REFUSED = {
    "a name": (lambda: "adam", f"{KIND} optax.adamw(1e-3); got 'adam'."),
    "nothing": (lambda: None, "got None."),
    "a factory": (lambda: optax.adam, "got the function adam."),
    "a class": (lambda: GradientTransformation, "got the type GradientTransformation."),
    "a pair of functions": (lambda: (1, 2), "got (1, 2)."),
    "pairs of parameters": (
        lambda: optax.lookahead(optax.sgd(0.1), 5, 0.5),
        f"{RAISED} AttributeError: 'dict' object has no attribute 'fast'",
    ),
    "a line search": (lambda: optax.lbfgs(), f"{RAISED} TypeError: "),
    "a choice in Python": (
        lambda: stateless(lambda g, s: (g if g["Dense_0"]["bias"][0] > 0 else PARAMS, s)),
        f"{RAISED} TracerBoolConversionError: ",
    ),
    "an error": (lambda: stateless(lambda g, s: 1 / 0), f"{RAISED} ZeroDivisionError: division by"),
    "no state": (lambda: stateless(lambda g, s: None), f"{RAISED} TypeError: "),
    "text in its state": (
        lambda: GradientTransformation(lambda p: "count", lambda g, s, p=None: (g, s)),
        f"{RAISED} TypeError: ",
    ),
    "another shape": (
        lambda: stateless(lambda g, s: (jax.tree.map(jnp.sum, g), s)),
        "`optimizer` must return updates like the parameters. Leaf 'Dense_0/bias' has shape () in "
        "`updates` but (3,) in `params`.",
    ),
    "another tree": (
        lambda: stateless(lambda g, s: (jax.tree.leaves(g), s)),
        "must return updates like the parameters. `updates` has a leaf '0' that `params` lacks.",
    ),
    "another kind of state": (
        lambda: GradientTransformation(lambda p: 0, lambda g, s, p=None: (g, s + 0.5)),
        "`optimizer` must keep the structure, shapes and kinds of the state that `init` makes.",
    ),
    "a growing state": (
        lambda: GradientTransformation(lambda p: (), lambda g, s, p=None: (g, (*s, 0))),
        "must keep the structure",
    ),
    "a count in Python": (counting, "`optimizer` must be a pure function of gradients, state"),
    "gradients kept in Python": (remembering, "`optimizer` must be a pure function"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_optimiser_is_refused_in_one_line(make, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)) as refused:
        transformations.optimizer(make(), PARAMS)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("`optimizer` must")


ADAMW = {"learning_rate": 1e-3, "weight_decay": 1e-4}
OTHERS = {
    "learning rate": lambda: optax.adamw(**ADAMW | {"learning_rate": 1.01e-3}),
    "momentum": lambda: optax.adamw(**ADAMW, b1=0.91),
    "decay": lambda: optax.adamw(**ADAMW | {"weight_decay": 1.1e-4}),
    "epsilon": lambda: optax.adamw(**ADAMW, eps=1e-7),
    "rule": lambda: optax.nadamw(**ADAMW),
    "schedule": lambda: optax.adamw(
        **ADAMW | {"learning_rate": optax.cosine_decay_schedule(1e-3, 50_000)}
    ),
    "batches in one": lambda: optax.MultiSteps(optax.adamw(**ADAMW), 4),
    "part of the weights": lambda: optax.multi_transform(
        {"kernel": optax.adamw(**ADAMW), "bias": optax.sgd(1e-3)}, by_kind
    ),
}


def alike(a, b):
    """Return whether two fingerprints are of one optimiser, as their docstring says."""
    return np.allclose(a, b, rtol=1e-3, atol=1e-6 * max(map(abs, a)))


@pytest.fixture(scope="module")
def adamw():
    return transformations.fingerprint(optax.adamw(**ADAMW), PARAMS)


def test_a_fingerprint_is_the_same_again_and_of_finite_numbers(adamw):
    assert transformations.fingerprint(optax.adamw(**ADAMW), PARAMS) == adamw
    assert all(isinstance(number, float) and np.isfinite(number) for number in adamw)


@pytest.mark.parametrize("name", OTHERS)
def test_a_fingerprint_tells_another(adamw, name):
    assert not alike(adamw, transformations.fingerprint(OTHERS[name](), PARAMS))


def test_a_fingerprint_tells_the_rate_of_batches_in_one():
    several = [
        transformations.fingerprint(optax.MultiSteps(optax.sgd(rate), 8), PARAMS)
        for rate in (0.1, 0.2)
    ]
    assert not alike(*several)


def test_the_fingerprint_of_sgd_is_its_rate():
    rates = transformations.fingerprint(optax.sgd(0.1), {"kernel": jnp.ones((2, 3))})
    assert rates == [0.0, 0.0, -1e-7, 1e-7, *[-0.1, 0.1] * 12]
