"""Wanda and Fisher: activations are seen in anybody's network, and gradients example by example."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from jaxlth import masks, prune, scores, trees

GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.normal(size=(7, 6)).astype(np.float32)
FIRST, LAST = (GENERATOR.normal(size=size).astype(np.float32) for size in ((6, 5), (5, 3)))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(5)(x))
        return nn.Dense(3)(x)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(6, 5, rngs=rngs), nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.first(x)))


def linen():
    params = {
        "Dense_0": {"kernel": FIRST, "bias": np.zeros(5, "f")},
        "Dense_1": {"kernel": LAST, "bias": np.zeros(3, "f")},
    }
    return (
        lambda p, x: Linen().apply({"params": p}, x),
        params,
        ("Dense_0/kernel", "Dense_1/kernel"),
    )


def of_nnx():
    graphdef, params = nnx.split(Nnx(nnx.Rngs(0)), nnx.Param)
    params["first"]["kernel"].set_value(jnp.asarray(FIRST))
    params["last"]["kernel"].set_value(jnp.asarray(LAST))
    names = tuple(name for name in trees.names(params) if "kernel" in name)
    return lambda p, x: nnx.merge(graphdef, p)(x), params, names


def equinox():
    module = eqx.nn.MLP(6, 3, width_size=5, depth=1, use_bias=False, key=jax.random.key(0))
    where = lambda m: [layer.weight for layer in m.layers]  # noqa: E731
    module = eqx.tree_at(where, module, [jnp.asarray(FIRST.T), jnp.asarray(LAST.T)])
    params, static = eqx.partition(module, eqx.is_array)
    names = ("layers/0/weight", "layers/1/weight")
    return lambda p, x: jax.vmap(eqx.combine(p, static))(x), params, names


def plain():
    def apply_fn(params, x):
        hidden = jax.checkpoint(lambda x: jax.nn.relu(jnp.einsum("bi,io->bo", x, params[0])))(x)
        return jax.jit(lambda x: x @ params[1].T)(hidden)

    return apply_fn, [FIRST, LAST.T], ("0", "1")


@pytest.mark.parametrize("make", [linen, of_nnx, equinox, plain])
def test_wanda_is_the_magnitude_times_the_norm_of_the_inputs_in_any_library(make):
    apply_fn, params, names = make()
    mask = masks.dense(params)
    mask = prune.global_topk(scores.magnitude(params), mask, keep=30)  # of 45
    before = jax.tree.leaves(params)
    values = trees.named(scores.wanda(apply_fn, params, mask, INPUTS))
    weights = [np.abs(np.asarray(leaf)) for leaf in (FIRST, LAST)]
    kept = [np.asarray(trees.named(mask)[name]) for name in names]
    kept = [k if k.shape == w.shape else k.T for k, w in zip(kept, weights, strict=True)]
    hidden = np.maximum(INPUTS @ np.where(kept[0], FIRST, 0), 0)
    for name, weight, keep, inputs in zip(names, weights, kept, (INPUTS, hidden), strict=True):
        expected = np.where(keep, weight, 0) * np.linalg.norm(inputs, axis=0)[:, None]
        result = np.asarray(values[name])
        result = result if result.shape == expected.shape else result.T
        np.testing.assert_allclose(result, expected, rtol=1e-5)
    assert all(a is b for a, b in zip(before, jax.tree.leaves(params), strict=True))
    assert all(not np.any(leaf) for name, leaf in values.items() if name not in names)


def test_wanda_sees_what_a_convolution_multiplies():
    kernel = GENERATOR.normal(size=(2, 2, 1, 3)).astype(np.float32)
    images = GENERATOR.normal(size=(2, 4, 4, 1)).astype(np.float32)

    def apply_fn(params, x):
        dims = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, params["kernel"], (2, 2), "VALID", dimension_numbers=dims
        )

    params = {"kernel": kernel}
    values = scores.wanda(apply_fn, params, masks.dense(params), images)["kernel"]
    squares = (images**2).reshape(2, 2, 2, 2, 2).sum(axis=(0, 1, 3))  # by row and column in a patch
    expected = np.abs(kernel) * np.sqrt(squares)[:, :, None, None]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_wanda_sees_the_steps_of_a_scan_and_weights_shared_by_several_products():
    w = GENERATOR.normal(size=(3, 3)).astype(np.float32)
    steps = GENERATOR.normal(size=(4, 2, 3)).astype(np.float32)

    def apply_fn(params, xs):
        return jax.lax.scan(lambda h, x: (jnp.tanh((h + x) @ params["w"]),) * 2, xs[0] * 0, xs)[1]

    values = scores.wanda(apply_fn, {"w": w}, masks.dense({"w": w}), steps)["w"]
    state, squares = np.zeros((2, 3)), np.zeros(3)
    for x in steps:
        squares += ((state + x) ** 2).sum(axis=0)
        state = np.tanh((state + x) @ w)
    np.testing.assert_allclose(values, np.abs(w) * np.sqrt(squares)[:, None], rtol=1e-4)


def test_wanda_under_jit_is_the_same():
    apply_fn, params, _ = plain()
    mask = masks.dense(params)
    jitted = jax.jit(lambda p, x: scores.wanda(apply_fn, p, mask, x))(params, INPUTS)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        jitted,
        scores.wanda(apply_fn, params, mask, INPUTS),
    )


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_norms_of_narrow_activations_are_those_in_float32(dtype):
    """The squares of 300, summed over 7 examples, are no number of float16."""
    inputs = jnp.asarray(100 * INPUTS, dtype)
    kernel = jnp.asarray(FIRST, dtype)
    narrow = {"kernel": kernel}, lambda p, x: x @ p["kernel"]
    cast = {"kernel": FIRST}, lambda p, x: x @ jnp.asarray(p["kernel"], dtype)
    norms = np.linalg.norm(np.asarray(inputs, "f"), axis=0)[:, None]
    for params, apply_fn in (narrow, cast):
        values = scores.wanda(apply_fn, params, masks.dense(params), inputs)["kernel"]
        assert values.dtype == np.float32
        expected = np.abs(np.asarray(params["kernel"], "f")) * norms
        np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_wanda_of_a_weight_that_is_scaled_is_that_of_what_it_becomes():
    """As with weight normalisation, a learning rate of its own, quantisation straight through."""
    inner = np.float32(-3)

    def normalised(params, x):
        kernel = params["kernel"] / jnp.linalg.norm(params["kernel"], axis=0)
        return x @ (params["scale"] * kernel)

    def quantised(params, x):
        kernel = params["kernel"]
        return x @ (kernel + jax.lax.stop_gradient(jnp.round(kernel) - kernel))

    networks = {
        "scaled": (lambda p, x: x @ (inner * p["kernel"]), inner * FIRST),
        "normalised": (normalised, 2 * FIRST / np.linalg.norm(FIRST, axis=0)),
        "quantised": (quantised, FIRST),
        "moved": (lambda p, x: x @ jnp.pad(p["kernel"].T, 1)[1:-1, 1:-1][::-1].T, FIRST),
    }
    params = {"kernel": FIRST, "scale": np.full(5, 2, "f")}
    for name, (apply_fn, effective) in networks.items():
        values = scores.wanda(apply_fn, params, masks.dense(params), INPUTS)["kernel"]
        expected = np.abs(effective) * np.linalg.norm(INPUTS, axis=0)[:, None]
        np.testing.assert_allclose(values, expected, rtol=1e-5, err_msg=name)


def test_wanda_of_a_weight_that_is_shifted_is_its_magnitude_times_the_norm():
    """It is what the output loses with the weight: a kernel of another task, an update of it."""
    update, other = GENERATOR.normal(size=(2, 6, 5)).astype("f")

    def shifted(params, x):
        kernel = params["kernel"] + update
        return x @ (params["other"] - 2 * kernel)

    params = {"kernel": FIRST, "other": other}
    mask = masks.without(masks.dense(params), ["other"])
    values = scores.wanda(shifted, params, mask, INPUTS)["kernel"]
    losses = np.empty_like(FIRST)
    for place in np.ndindex(FIRST.shape):
        without = FIRST.copy()
        without[place] = 0
        change = shifted(params, INPUTS) - shifted(params | {"kernel": without}, INPUTS)
        losses[place] = np.linalg.norm(change)
    np.testing.assert_allclose(values, losses, rtol=1e-3, atol=1e-4)


STANDARDIZED = {
    "centered": lambda w: w - jnp.mean(w, 0),
    "standardized": lambda w: (w - jnp.mean(w, 0)) / jnp.std(w, 0),
    "by a call": lambda w: jax.jit(lambda w, shift: w - shift)(w, jnp.mean(w)),
    "in a scan": lambda w: jax.lax.scan(lambda c, row: (c, row - jnp.mean(row)), 0.0, w)[1],
}


@pytest.mark.parametrize("name", STANDARDIZED)
def test_weights_that_are_shifted_by_their_own_mean_are_refused(name):
    params = {"kernel": FIRST}
    with pytest.raises(
        ValueError, match="'kernel' .* shifted by what changes with it, such as its"
    ):
        scores.wanda(
            lambda p, x: x @ STANDARDIZED[name](p["kernel"]), params, masks.dense(params), INPUTS
        )


@pytest.mark.parametrize("change", [jnp.tanh, lambda w: w + w[::-1], lambda w: w @ w.T @ w])
def test_weights_that_are_changed_on_their_way_are_refused(change):
    params = {"kernel": FIRST}
    with pytest.raises(ValueError, match="'kernel' multiplies no activations, as it is or scaled"):
        scores.wanda(lambda p, x: x @ change(p["kernel"]), params, masks.dense(params), INPUTS)


def test_wanda_sees_layers_that_a_scan_runs_along():
    layers = GENERATOR.normal(size=(3, 4, 4)).astype("f")
    inputs = GENERATOR.normal(size=(5, 4)).astype("f")

    def apply_fn(params, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ (2 * w)), None), x, params["kernel"])[0]

    params = {"kernel": layers, "count": np.int32(3)}
    values = scores.wanda(apply_fn, params, masks.dense(params), inputs)
    assert values["count"] == 0
    x, expected = inputs, []
    for w in layers:
        expected.append(2 * np.abs(w) * np.linalg.norm(x, axis=0)[:, None])
        x = np.tanh(x @ (2 * w))
    np.testing.assert_allclose(values["kernel"], expected, rtol=1e-4)


def test_a_kernel_that_multiplies_no_activation_is_refused():
    params = {"w": FIRST}
    with pytest.raises(ValueError, match="'w' multiplies no activations"):
        scores.wanda(lambda p, x: x[:, :5] * p["w"][0], params, masks.dense(params), INPUTS)


# ------------------------------------------------------------------------- Fisher, own losses


def own_loss(params, inputs, targets):
    return jnp.sum((inputs @ params["w"] - targets) ** 2, axis=-1)


@pytest.mark.parametrize("chunk", [None, 3])
def test_fisher_is_half_the_mean_square_of_weight_times_gradient_by_example(chunk):
    params, targets = {"w": LAST}, GENERATOR.normal(size=(6, 3)).astype(np.float32)
    inputs, mask = INPUTS[:6, :5], {"w": np.abs(LAST) > 0.5}
    values = scores.fisher(
        lambda p, x: x @ p["w"],
        params,
        mask,
        (inputs, targets),
        chunk=chunk,
        loss=lambda outputs, labels: jnp.sum((outputs - labels) ** 2, axis=-1),
    )["w"]
    weights = np.where(mask["w"], LAST, 0)
    grads = 2 * np.einsum("bi,bo->bio", inputs, inputs @ weights - targets)
    expected = np.mean((weights * grads) ** 2, axis=0) / 2
    np.testing.assert_allclose(values, expected, rtol=1e-4)


@pytest.mark.parametrize("score", [scores.snip, scores.grasp])
def test_a_loss_of_the_parameters_stands_for_network_and_batch(score):
    params, targets = {"w": LAST}, GENERATOR.normal(size=(7, 3)).astype(np.float32)
    mask, inputs = {"w": np.abs(LAST) > 0.5}, INPUTS[:, :5]
    alone = score(lambda p: jnp.mean(own_loss(p, inputs, targets)), params, mask)
    of_batch = score(
        lambda p, x: x @ p["w"],
        params,
        mask,
        (inputs, targets),
        loss=lambda outputs, labels: jnp.sum((outputs - labels) ** 2, axis=-1),
    )
    np.testing.assert_allclose(alone["w"], of_batch["w"], rtol=1e-5)
    assert np.any(np.asarray(alone["w"]))
    with pytest.raises(ValueError, match=r"params -> loss, a scalar; it returned shape \(7,\)"):
        score(lambda p: own_loss(p, inputs, targets), params, mask)
    with pytest.raises(ValueError, match="`loss` and `chunk` need a `batch`"):
        score(lambda p: jnp.mean(own_loss(p, inputs, targets)), params, mask, chunk=2)


def test_snip_takes_a_label_for_each_token_and_soft_labels():
    tokens = GENERATOR.integers(0, 3, (4, 6))
    soft = np.eye(3, dtype=np.float32)[tokens]
    inputs, params = GENERATOR.normal(size=(4, 6, 5)).astype(np.float32), {"w": LAST}

    def of_tokens(logits, labels):
        logs = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)
        return -jnp.mean(logs[..., 0], axis=1)

    def of_shares(logits, labels):
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * labels, -1), axis=1)

    one, other = (
        scores.snip(lambda p, x: x @ p["w"], params, masks.dense(params), (inputs, y), loss=loss)
        for y, loss in ((tokens, of_tokens), (soft, of_shares))
    )
    np.testing.assert_allclose(one["w"], other["w"], rtol=1e-5)


def test_taylor_is_the_magnitude_of_movement_and_of_snip():
    params, grads = {"w": FIRST}, {"w": np.cos(FIRST)}
    moved = scores.movement(params, grads, scores.movement(params, grads))
    np.testing.assert_allclose(moved["w"], -2 * FIRST * np.cos(FIRST), rtol=1e-6)
    np.testing.assert_allclose(scores.taylor(params, grads)["w"], np.abs(moved["w"]) / 2, rtol=1e-6)


MANY = 300 * np.abs(GENERATOR.normal(size=(50, 6))).astype(np.float32)  # squares beyond float16


class HalfDense(nn.Module):
    dtype: str

    @nn.compact
    def __call__(self, x):
        return nn.Dense(5, dtype=self.dtype, use_bias=False)(x)


def scanned(params, x):
    zero = jnp.zeros((50, 5), x.dtype)
    return jax.lax.scan(lambda total, w: (total + x @ w.T, None), zero, params)


NARROW = {  # of a type -> function, and how the kernel is stored
    "a product": lambda dtype: (lambda p, x: x.astype(dtype) @ p, lambda w: w.astype(dtype)),
    "transposed": lambda dtype: (lambda p, x: x.astype(dtype) @ p.T, lambda w: w.astype(dtype).T),
    "computed in it": lambda dtype: (
        lambda p, x: HalfDense(dtype).apply({"params": {"Dense_0": {"kernel": p}}}, x),
        lambda w: w,
    ),
    "in a scan": lambda dtype: (
        lambda p, x: scanned(p, x.astype(dtype))[0],
        lambda w: w.astype(dtype).T[None],
    ),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", NARROW)
def test_wanda_of_narrow_types_is_summed_in_float32(case, dtype):
    function, stored = NARROW[case](dtype)
    params = stored(jnp.asarray(FIRST))
    score = scores.wanda(function, params, masks.dense(params), MANY)
    inputs = np.asarray(jnp.asarray(MANY).astype(dtype), np.float64)
    weights = np.asarray(jnp.asarray(FIRST).astype(params.dtype), np.float64)
    expected = np.abs(weights) * np.sqrt((inputs**2).sum(0))[:, None]
    assert score.dtype == jnp.float32
    by_weight = {"transposed": expected.T, "in a scan": expected.T[None]}.get(case, expected)
    np.testing.assert_allclose(score, by_weight, rtol=1e-5)


def test_wanda_of_complex_weights_is_real():
    params = {"w": jnp.array([[3 + 4j, 1j]], jnp.complex64)}
    score = scores.wanda(lambda p, x: x @ p["w"], params, masks.dense(params), jnp.full((4, 1), 2j))
    assert score["w"].dtype == jnp.float32
    np.testing.assert_allclose(score["w"], [[20.0, 4.0]], rtol=1e-6)


def test_wanda_needs_an_example_and_leaves_empty_tensors_empty():
    params = {"w": jnp.ones((2, 3)), "none": jnp.ones((0, 3))}
    mask = masks.dense(params)

    def network(p, x):
        return x @ p["w"]

    assert scores.wanda(network, params, mask, jnp.ones((4, 2)))["none"].shape == (0, 3)
    with pytest.raises(ValueError, match=r"`inputs` must hold examples; got arrays of shapes"):
        scores.wanda(network, params, mask, jnp.ones((0, 2)))
