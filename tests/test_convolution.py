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
    wanted, pull = jax.vjp(
        lambda x, w: jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=layout),
        images,
        weights,
    )
    own = functools.partial(
        convolution.convolve, window_strides=strides, padding=padding, dimension_numbers=layout
    )
    found, own_pull = jax.vjp(own, images, weights)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(found, wanted)
    slopes = jnp.asarray(rng.normal(size=wanted.shape), jnp.float32)
    jax.tree.map(close, own_pull(slopes), pull(slopes))


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
