"""`experiments/precision.py`: factors are rounded where it says so, and the table is whole."""

import importlib.util
import pathlib
import re
import subprocess
import sys

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


@pytest.mark.slow
def test_the_table_has_a_row_for_each_variant(tmp_path):
    words = "--networks lenet-300-100 --variants highest --scores snip --steps 4 --split-step 1"
    words = [*words.split(), "--replicates", "1"]
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, *words, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    header, _, *rows = done.stdout.splitlines()
    assert [row.split(" | ")[1] for row in rows] == ["highest"]
    assert all(re.fullmatch(r"\| .* \|", row) for row in [header, *rows])
    assert rows[0].endswith("| 0.00 | 1.000 |")
