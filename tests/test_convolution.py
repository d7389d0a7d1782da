"""Convolutions of images smaller than the kernel against XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlth.models import convolution

SHAPES = {  # image, kernel, strides, padding
    "2x2 under 3x3": ((2, 2), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "1x1 under 3x3": ((1, 1), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "strided": ((4, 3), (5, 5), (2, 1), ((2, 2), (2, 2))),
    "one side": ((6, 2), (1, 7), (1, 2), ((0, 0), (3, 3))),
    "uneven": ((2, 3), (4, 3), (1, 1), ((2, 1), (0, 0))),
}


@pytest.mark.parametrize(
    ("image", "kernel", "strides", "padding"), SHAPES.values(), ids=SHAPES.keys()
)
def test_a_small_image_is_convolved_as_by_xla_and_so_are_gradients(image, kernel, strides, padding):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(3, *image, 4)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(*kernel, 4, 5)), jnp.float32)
    layout = ("NHWC", "HWIO", "NHWC")
    own = functools.partial(
        convolution.convolve, window_strides=strides, padding=padding, dimension_numbers=layout
    )

    def by_xla(x, w):
        return jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=layout)

    @functools.partial(jax.jit, static_argnums=0)
    def with_gradients(convolve, cotangents):
        outputs, pull = jax.vjp(convolve, images, weights)
        return outputs, pull(cotangents)

    shape = jax.eval_shape(by_xla, images, weights).shape
    cotangents = jnp.asarray(rng.normal(size=shape), jnp.float32)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, with_gradients(own, cotangents), with_gradients(by_xla, cotangents))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_products_are_of_the_type_of_images_mapped_and_differentiated_twice(dtype):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        images = jnp.asarray(rng.normal(size=(2, 3, 2, 2, 4)), dtype)
        weights = jnp.asarray(rng.normal(size=(3, 3, 4, 5)), dtype)
        same = {"window_strides": (1, 1), "padding": ((1, 1), (1, 1))}
        same["dimension_numbers"] = ("NHWC", "HWIO", "NHWC")

        def curved(convolve):
            def slope(w):
                return jax.grad(
                    lambda w: jnp.sum(jnp.sin(jax.vmap(lambda x: convolve(x, w, **same))(images)))
                )(w)

            return jax.jvp(slope, (weights,), (weights,))

        result, wanted = curved(convolution.convolve), curved(jax.lax.conv_general_dilated)
        tolerance = 0.1 if dtype == jnp.bfloat16 else 1e-4
        for mine, other in zip(result, wanted, strict=True):
            assert mine.dtype == dtype
            mine, other = np.asarray(mine, np.float64), np.asarray(other, np.float64)
            assert np.abs(mine - other).max() <= tolerance * np.abs(other).max()


@pytest.mark.parametrize(
    "others",
    [
        {"rhs_dilation": (2, 2)},
        {"lhs_dilation": (2, 2)},
        {"feature_group_count": 4},
        {"window_strides": (2, 2), "padding": ((0, 0), (0, 0))},
        {"preferred_element_type": jnp.float64},
    ],
    ids=["rhs", "lhs", "groups", "empty", "type"],
)
def test_what_a_product_does_not_do_is_left_to_xla(others):
    images, channels = jnp.ones((1, 2, 2, 4)), 1 if "feature_group_count" in others else 4
    weights = jnp.ones((3, 3, channels, 4))
    config = {"window_strides": (1, 1), "padding": ((2, 2), (2, 2))} | others
    config["dimension_numbers"] = ("NHWC", "HWIO", "NHWC")
    with jax.enable_x64(True):
        outputs = convolution.convolve(images, weights, **config)
        wanted = jax.lax.conv_general_dilated(images, weights, **config)
        assert outputs.dtype == wanted.dtype
        np.testing.assert_array_equal(outputs, wanted)


def test_only_small_images_are_convolved_by_a_product_and_only_on_cpu():
    def text(side, platform):
        own = functools.partial(
            convolution.convolve,
            window_strides=(1, 1),
            padding=((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        traced = jax.jit(own).trace(jnp.ones((1, side, side, 2)), jnp.ones((3, 3, 2, 2)))
        return traced.lower(lowering_platforms=(platform,)).as_text()

    assert "stablehlo.convolution" not in text(2, "cpu")
    assert "stablehlo.convolution" in text(3, "cpu")
    assert "stablehlo.convolution" in text(2, "tpu")
    assert "stablehlo.dot_general" not in text(2, "tpu")
