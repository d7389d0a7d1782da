import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlth.training import OptimizerConfig, optimizers

W = np.array([0.5, -2.0, 0.25], np.float32)
GRADIENTS = np.array([[1.0, -0.5, 0.0], [0.25, 2.0, 0.0]], np.float32)  # of two steps
RATES = (0.1, 0.05)
DECAY = 0.01


def rate_of_step(step):
    return jnp.asarray(RATES)[step]


def momentum(weights, decay, *, nesterov):
    trace = np.zeros_like(weights)
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        decayed = gradient + decay * weights
        trace = 0.8 * trace + decayed
        weights = weights - rate * (decayed + 0.8 * trace if nesterov else trace)
    return weights


def adam(weights, coupled, decoupled):
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for count, (gradient, rate) in enumerate(zip(GRADIENTS, RATES, strict=True), start=1):
        decayed = gradient + coupled * weights
        first = 0.9 * first + 0.1 * decayed
        second = 0.999 * second + 0.001 * decayed**2
        direction = first / (1 - 0.9**count) / (np.sqrt(second / (1 - 0.999**count)) + 1e-8)
        weights = weights - rate * (direction + decoupled * weights)
    return weights


def sgd(weights, decay):
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        weights = weights - rate * (gradient + decay * weights)
    return weights


REFERENCES = {
    "sgd": sgd,
    "momentum": lambda weights, decay: momentum(weights, decay, nesterov=False),
    "nesterov": lambda weights, decay: momentum(weights, decay, nesterov=True),
    "adam": lambda weights, decay: adam(weights, decay, 0),
    "adamw": lambda weights, decay: adam(weights, 0, decay),
}


def two_steps(name, decay, *, first=0):
    own = {"momentum": 0.8} if name in ("momentum", "nesterov") else {}
    config = OptimizerConfig(optimizer=name, weight_decay=decay, **own)
    optimizer = optimizers.build(config, rate_of_step)
    weights = jnp.asarray(W)
    state = optimizer.init(weights)
    for step, gradient in enumerate(GRADIENTS, start=first):
        updates, state = optimizer.update(jnp.asarray(gradient), state, weights, step=step)
        weights = weights + updates
    return np.asarray(weights)


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("name", optimizers.RULES)
def test_optimizers_equal_their_numpy_references(name, decay):
    expected = REFERENCES[name](W.astype(np.float64), decay)
    # Float32 knows 1 - 0.999 to five digits.
    np.testing.assert_allclose(two_steps(name, decay), expected, rtol=2e-5)


def test_decay_of_adam_is_in_the_gradient_and_that_of_adamw_is_not():
    assert not np.allclose(two_steps("adam", DECAY), two_steps("adamw", DECAY), atol=1e-4)
    np.testing.assert_array_equal(two_steps("adam", 0.0), two_steps("adamw", 0.0))


@pytest.mark.parametrize("name", optimizers.RULES)
def test_the_rate_is_that_of_the_training_step_and_not_of_the_optimizers_count(name):
    optimizer = optimizers.build(OptimizerConfig(optimizer=name), rate_of_step)
    weights = jnp.asarray(W)
    updates = [
        optimizer.update(jnp.asarray(GRADIENTS[0]), optimizer.init(weights), weights, step=step)[0]
        for step in (0, 1)
    ]
    np.testing.assert_allclose(np.asarray(updates[1]) * 2, updates[0], rtol=1e-6)


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("name", optimizers.RULES)
def test_zero_weights_with_zero_gradients_stay_exactly_zero(name, decay):
    config = OptimizerConfig(optimizer=name, weight_decay=decay)
    optimizer = optimizers.build(config, rate_of_step)
    weights = jnp.zeros(2)
    state = optimizer.init(weights)
    for step in (0, 1):
        updates, state = optimizer.update(jnp.zeros(2), state, weights, step=step)
        weights = weights + updates
    assert np.asarray(weights).tobytes() == bytes(8)
    for moment in jax.tree.leaves(state):
        if moment.ndim:  # not the count of steps
            assert not np.any(moment)


SLOPE = 0.1  # of the magnitudes


def network_of_two_steps(name, l1):
    """Return kernel, bias and scale after two steps, all begun as W with the last weight pruned."""
    begun = {"kernel": W * [1, 1, 0], "bias": W, "scale": W}
    optimizer = optimizers.build(OptimizerConfig(optimizer=name, l1=l1), rate_of_step)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), begun)
    state = optimizer.init(params)
    for step, gradient in enumerate(GRADIENTS):
        gradients = jax.tree.map(lambda _, of=gradient: jnp.asarray(of), params)
        updates, state = optimizer.update(gradients, state, params, step=step)
        params = jax.tree.map(jnp.add, params, updates)
    return jax.device_get(params)


def test_l1_adds_its_slope_to_the_gradients_of_kernels():
    expected = W.astype(np.float64) * [1, 1, 0]
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        expected = expected - rate * (gradient + SLOPE * np.sign(expected))
    network = network_of_two_steps("sgd", SLOPE)["kernel"]
    np.testing.assert_allclose(network, expected, rtol=1e-6)
    without = network_of_two_steps("sgd", 0.0)["kernel"]
    assert np.all(np.abs(network[:2]) < np.abs(without[:2]))


@pytest.mark.parametrize("name", optimizers.RULES)
def test_l1_leaves_biases_norms_and_pruned_weights_alone(name):
    result, without = (network_of_two_steps(name, l1) for l1 in (SLOPE, 0.0))
    np.testing.assert_array_equal(result["bias"], without["bias"])
    np.testing.assert_array_equal(result["scale"], without["scale"])
    assert result["kernel"][2] == 0.0
    assert not np.array_equal(result["kernel"][:2], without["kernel"][:2])


def test_the_slope_of_l1_is_that_of_the_sum_of_magnitudes():
    """As if it were in the loss; together with weight decay, which is coupled, both are."""
    config = OptimizerConfig(optimizer="sgd", l1=SLOPE, weight_decay=DECAY)
    optimizer = optimizers.build(config, rate_of_step)
    params = {"kernel": jnp.asarray(W)}
    gradients = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params, step=0)
    slope = jax.grad(lambda w: SLOPE * jnp.sum(jnp.abs(w)) + DECAY / 2 * jnp.sum(w**2))(W)
    np.testing.assert_allclose(updates["kernel"], -RATES[0] * slope, rtol=1e-6)


def cosine(step, steps, highest, lowest):
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * step / steps)) / 2


SCHEDULES = {  # name -> (settings, arguments, {step: rate})
    "constant": ({}, {"steps": 10}, {0: 0.4, 5: 0.4, 10: 0.4, 99: 0.4}),
    "drops come exactly at the milestones": (
        {"schedule": "milestones", "milestones": (1.0, 2.0), "drop": 0.5},
        {"steps": 10, "milestones": (3, 7)},
        {0: 0.4, 2: 0.4, 3: 0.2, 6: 0.2, 7: 0.1, 10: 0.1},
    ),
    "two milestones in one step are two drops": (
        {"schedule": "milestones", "milestones": (1.0, 2.0), "drop": 0.5},
        {"steps": 10, "milestones": (3, 3)},
        {2: 0.4, 3: 0.1, 10: 0.1},
    ),
    "linear": (
        {"schedule": "linear", "final_lr": 0.1},
        {"steps": 10},
        {0: 0.4, 1: 0.37, 5: 0.25, 10: 0.1, 99: 0.1},
    ),
    "cosine": (
        {"schedule": "cosine"},
        {"steps": 10},
        {step: cosine(step, 10, 0.4, 0.0) for step in (0, 1, 5, 9, 10)},
    ),
    "cosine to a final rate": (
        {"schedule": "cosine", "final_lr": 0.1},
        {"steps": 10},
        {step: cosine(step, 10, 0.4, 0.1) for step in (0, 3, 10)} | {99: 0.1},
    ),
    "warmup": (
        {},
        {"steps": 10, "warmup": 4},
        {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4, 4: 0.4, 10: 0.4},
    ),
    "a warmup multiplies the schedule": (
        {"schedule": "milestones", "milestones": (1.0,), "drop": 0.5},
        {"steps": 10, "milestones": (2,), "warmup": 4},
        {0: 0.1, 1: 0.2, 2: 0.15, 3: 0.2, 4: 0.2},
    ),
    "a warmup of one step changes nothing": ({}, {"steps": 10, "warmup": 1}, {0: 0.4, 1: 0.4}),
    "a warmup multiplies linear": (
        {"schedule": "linear"},
        {"steps": 10, "warmup": 4},
        {0: 0.1, 1: 0.18, 2: 0.24, 3: 0.28, 4: 0.24, 10: 0.0},
    ),
    "a warmup multiplies cosine": (
        {"schedule": "cosine"},
        {"steps": 10, "warmup": 2},
        {0: 0.2, 1: cosine(1, 10, 0.4, 0.0), 5: 0.2},
    ),
    "a warmup multiplies one-cycle": (
        {"schedule": "one-cycle"},
        {"steps": 10, "warmup": 2},
        {0: 0.008, 1: 0.4 - cosine(1, 3, 0.384, 0.0)},
    ),
    "one-cycle rises in 0.3 of training from 0.04 of lr, and falls to 0": (
        {"schedule": "one-cycle"},
        {"steps": 10},
        {step: 0.4 - cosine(step, 3, 0.384, 0.0) for step in (0, 1, 2)}
        | {step: cosine(step - 3, 7, 0.4, 0.0) for step in (3, 4, 9, 10)}
        | {99: 0.0},
    ),
    "one-cycle with numbers of its own": (
        {"schedule": "one-cycle", "rise": 0.5, "rise_from": 0.25, "final_lr": 0.1},
        {"steps": 8},
        {0: 0.1, 2: 0.25, 4: 0.4, 6: 0.25, 8: 0.1},
    ),
    "one-cycle of a single step": ({"schedule": "one-cycle"}, {"steps": 1}, {0: 0.016, 1: 0.4}),
    "cycles begin anew": (
        {"schedule": "linear", "cycles": 2},
        {"steps": 8},
        {0: 0.4, 1: 0.3, 3: 0.1, 4: 0.4, 6: 0.2, 7: 0.1, 8: 0.0, 99: 0.0},
    ),
    "cycles of unequal lengths": (
        {"schedule": "linear", "cycles": 3},
        {"steps": 10},
        {0: 0.4, 2: 0.2, 3: 0.4, 5: 0.2, 6: 0.4, 9: 0.1},
    ),
    "milestones and warmup count from the beginning of a cycle": (
        {"schedule": "milestones", "milestones": (1.0,), "drop": 0.5, "cycles": 2},
        {"steps": 10, "milestones": (3,), "warmup": 2},
        {0: 0.2, 1: 0.4, 2: 0.4, 3: 0.2, 4: 0.2, 5: 0.2, 6: 0.4, 8: 0.2, 9: 0.2},
    ),
    "a schedule that starts later runs as a whole": (
        {"schedule": "linear"},
        {"steps": 10, "start": 6},
        {6: 0.4, 7: 0.3, 9: 0.1, 10: 0.0},
    ),
    "milestones and warmup are shortened with a schedule that starts later": (
        {"schedule": "milestones", "milestones": (1.0,), "drop": 0.5},
        {"steps": 12, "milestones": (8,), "warmup": 4, "start": 6},
        {6: 0.2, 7: 0.4, 9: 0.4, 10: 0.2, 12: 0.2},
    ),
    "cycles share the steps after a later start": (
        {"schedule": "linear", "cycles": 2},
        {"steps": 12, "start": 4},
        {4: 0.4, 7: 0.1, 8: 0.4, 11: 0.1, 12: 0.0},
    ),
}


@pytest.mark.parametrize(("config", "times", "expected"), SCHEDULES.values(), ids=SCHEDULES)
def test_schedules_have_their_closed_forms(config, times, expected):
    rate = optimizers.schedule(OptimizerConfig(lr=0.4, **config), **times)
    result = jax.vmap(rate)(jnp.array(list(expected), jnp.int32))
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, list(expected.values()), rtol=1e-6, atol=1e-8)
    step, value = next(iter(expected.items()))
    assert float(rate(np.int32(step))) == pytest.approx(value, rel=1e-6)


def test_a_rate_that_is_held_is_that_of_its_step_at_every_step():
    rate = optimizers.schedule(OptimizerConfig(lr=0.4, schedule="linear"), steps=10)
    held = optimizers.constant_at(rate, at=9)
    assert [float(held(np.int32(step))) for step in (0, 9, 99)] == [float(rate(9))] * 3


def test_one_cycle_is_that_of_optax():
    config = OptimizerConfig(lr=0.4, schedule="one-cycle", final_lr=0.4 / 25 / 1e4)
    steps = jnp.arange(101)
    mine = jax.vmap(optimizers.schedule(config, steps=100))(steps)
    theirs = jax.vmap(optax.cosine_onecycle_schedule(100, 0.4))(steps)
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)


def test_the_table_of_schedules_is_tested_whole():
    kinds = {config.get("schedule", "constant") for config, _, _ in SCHEDULES.values()}
    assert kinds == set(optimizers.SCHEDULES)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"optimizer": "adm"}, "`optimizer` has no value 'adm'. Did you mean 'adam'? Known: sgd,"),
        ({"schedule": "cosin"}, "`schedule` has no value 'cosin'. Did you mean 'cosine'?"),
        ({"lr": 0.0}, "`lr` must be above 0; got 0.0."),
        ({"lr": -1.0}, "`lr` must be above 0; got -1.0."),
        ({"lr": math.nan}, "`lr` must be above 0; got nan."),
        ({"lr": math.inf}, "`lr` must be above 0; got inf."),
        ({"momentum": 1.0}, "`momentum` must lie in [0, 1); got 1.0."),
        ({"momentum": -0.1}, "`momentum` must lie in [0, 1); got -0.1."),
        ({"weight_decay": -1e-4}, "`weight_decay` must be at least 0; got -0.0001."),
        ({"l1": -1e-4}, "`l1` must be at least 0; got -0.0001."),
        ({"l1": math.inf}, "`l1` must be at least 0; got inf."),
        ({"warmup": -1.0}, "`warmup` must be at least 0; got -1.0."),
        (
            {"momentum": 0.5},
            "`momentum` belongs to momentum and nesterov and has no effect on adam.",
        ),
        ({"drop": 0.5}, "`drop` belongs to milestones and has no effect on constant."),
        (
            {"final_lr": 1e-4},
            "`final_lr` belongs to linear and cosine and one-cycle and has no effect on constant.",
        ),
        ({"rise": 0.5}, "`rise` belongs to one-cycle and has no effect on constant."),
        ({"rise_from": 0.5}, "`rise_from` belongs to one-cycle and has no effect on constant."),
        ({"rise": 1.0}, "`rise` must lie between 0 and 1; got 1.0."),
        ({"rise_from": 1.5}, "`rise_from` must lie in 0..1; got 1.5."),
        ({"cycles": 0}, "`cycles` must be at least 1; got 0."),
        (
            {"cycles": 2},
            "`cycles` 2 has no effect on a constant learning rate without warmup.",
        ),
        ({"lr": 0.1, "final_lr": 0.2}, "`final_lr` must lie between 0 and `lr` (0.1); got 0.2."),
        (
            {"milestones": (3.0,)},
            "`milestones` and the schedule milestones go together; got the schedule constant with"
            " milestones [3.0].",
        ),
        ({"schedule": "milestones"}, "got the schedule milestones with milestones []."),
        (
            {"schedule": "milestones", "milestones": (3.0, 2.0)},
            "`milestones` must be above 0 and increase; got [3.0, 2.0].",
        ),
        (
            {"schedule": "milestones", "milestones": (3.0, 3.0)},
            "`milestones` must be above 0 and increase; got [3.0, 3.0].",
        ),
        (
            {"schedule": "milestones", "milestones": (0.0, 3.0)},
            "`milestones` must be above 0 and increase; got [0.0, 3.0].",
        ),
        ({"drop": 0.0}, "`drop` must lie in (0, 1]; got 0.0."),
    ],
)
def test_settings_of_optimizers_name_what_is_wrong(config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        OptimizerConfig(**config)
