"""`experiments/precision.py`: factors are rounded where it says so."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "experiments" / "precision.py"


@pytest.fixture(scope="module")
def precision():
    spec = importlib.util.spec_from_file_location("precision", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_factors_of_products_and_of_their_gradients_are_rounded_and_sums_are_not(precision):
    random = np.random.default_rng(0)
    x, w, scale = (random.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4, 2), (2,)))

    def program(x, w):
        return jnp.sum((x @ w) * scale)

    def rounded(array):
        return np.asarray(jnp.asarray(array).astype(jnp.bfloat16), np.float32)

    exact = jax.jit(jax.grad(program, argnums=1))(x, w)
    with precision.rounded_factors(7):
        value = jax.jit(program)(x, w)
        gradient = jax.jit(jax.grad(program, argnums=1))(x, w)
        double = jax.jit(jnp.matmul)(x, w.astype(jnp.bfloat16).astype(np.float32))
    again = jax.jit(jax.grad(program, argnums=1))(x, w)
    np.testing.assert_allclose(value, np.sum(rounded(x) @ rounded(w) * scale), rtol=1e-6)
    ones = np.ones((3, 1), np.float32)
    np.testing.assert_allclose(gradient, rounded(x).T @ rounded(ones * scale), rtol=1e-6)
    np.testing.assert_allclose(double, rounded(x) @ rounded(w), rtol=1e-6)
    assert not np.array_equal(exact, gradient)
    assert np.array_equal(exact, again)


def test_factors_of_convolutions_are_rounded(precision):
    image = np.full((1, 1, 1, 1), 1 + 2**-9, np.float32)

    def convolved(image, kernel):
        return jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    with precision.rounded_factors(7):
        assert jax.jit(convolved)(image, np.ones((1, 1, 1, 1), np.float32)).item() == 1.0
    assert jax.jit(convolved)(image, np.ones((1, 1, 1, 1), np.float32)).item() == 1 + 2**-9
