"""Transformers: `vit-tiny` for images and `gpt-mini` for characters.

Both are blocks of attention and of a perceptron, each behind a layer norm and added to its input;
a last layer norm precedes the outputs. Position tables are learned, GELU is its tanh form, and
there is no dropout.

* `vit-tiny`: patches of 4 x 4 pixels go through a dense layer; 6 blocks of width 96 with 3 heads, a
  perceptron of twice the width, and the mean over patches instead of a class token (Beyer et al.).
  For CIFAR-10: 460,714 parameters, of which 447,936 in 26 kernels are prunable.
* `gpt-mini`: 4 causal blocks of width 128 with 4 heads, a perceptron of four times the width. The
  table of tokens is the output layer too, as in GPT-2: one leaf, and never pruned. For 64 tokens of
  context and a vocabulary of 65: 809,856 parameters, of which 786,432 in 16 kernels are prunable.

Initialisation: the configured initializer draws kernels; that of queries, keys and values, which is
one, as a whole. Kernels that end a residual branch are divided by the square root of the number of
branches, as in GPT-2. Tables are normal with a standard deviation of 0.02, biases are zero (but
drawn by the initializer "pytorch"), and scales of layer norm are one.

References:
  Dosovitskiy et al. 2021, An Image is Worth 16x16 Words; Touvron et al. 2021, Training
  Data-Efficient Image Transformers (its DeiT-Ti has width 192, 3 heads and 12 blocks); Beyer et
  al. 2022, Better Plain ViT Baselines for ImageNet-1k.
  Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3; Karpathy's
  nanoGPT for sizes that a CPU trains.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlth import settings
from jaxlth.models.layers import TABLE, Layers

PATCH = 4  # pixels of the height and width of a patch


class Block(nn.Module):
    """Attention, then a perceptron, each behind a layer norm and added to its input.

    Attributes:
      heads: of attention; they divide the width.
      ratio: width of the perceptron, as a multiple of that of the block.
      causal: whether a position attends to itself and earlier ones only.
      layers: how its layers are made; those that end a branch have their kernels scaled.
      scale: on the initial kernels that end a branch.
    """

    heads: int
    ratio: int
    causal: bool
    layers: Layers
    scale: float

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Return activations (n, positions, width) of inputs of that shape."""
        *batch, width = inputs.shape
        dense, norm = self.layers.dense, self.layers.layer_norm
        qkv = dense(3 * width, name="QueryKeyValue")(norm(name="AttentionNorm")(inputs))
        query, key, value = jnp.moveaxis(qkv.reshape(*batch, 3, self.heads, -1), -3, 0)
        # Softmax is in float32 at least, whatever the layers compute in.
        attended = jax.nn.dot_product_attention(query, key, value, is_causal=self.causal)
        attended = attended.reshape(inputs.shape)
        x = inputs + dense(width, scale=self.scale, name="AttentionOutput")(attended)
        inside = nn.gelu(dense(self.ratio * width, name="MLP1")(norm(name="MLPNorm")(x)))
        return x + dense(width, scale=self.scale, name="MLP2")(inside)


class Blocks(nn.Module):
    """A table of positions, blocks, and a layer norm.

    Attributes:
      blocks: their number.
      heads: of each.
      ratio: of each.
      causal: whether a position attends to itself and earlier ones only.
      layers: how their layers are made.
    """

    blocks: int
    heads: int
    ratio: int
    causal: bool
    layers: Layers

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Return activations (n, positions, width) of inputs of that shape."""
        positions = self.param("position_embedding", TABLE, inputs.shape[1:])
        x = inputs + positions.astype(inputs.dtype)[None]
        scale = (2 * self.blocks) ** -0.5  # two branches a block
        for place in range(1, self.blocks + 1):
            block = Block(
                heads=self.heads,
                ratio=self.ratio,
                causal=self.causal,
                layers=self.layers,
                scale=scale,
                name=f"Block{place}",
            )
            x = block(x)
        return self.layers.layer_norm(name="LastNorm")(x)


class ViT(nn.Module):
    """A vision transformer: patches, blocks, the mean over patches, a dense layer.

    Attributes:
      width: of the blocks.
      blocks: their number.
      heads: of each.
      ratio: width of the perceptron of a block, as a multiple of `width`.
      classes: number of outputs.
      layers: how its layers are made.
    """

    width: int
    blocks: int
    heads: int
    ratio: int
    classes: int
    layers: Layers

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> jax.Array:
        """Return logits (n, classes) of inputs (n, height, width, channels)."""
        del train  # nothing here differs between training and evaluation
        x = self.layers.dense(self.width, name="PatchEmbedding")(patches(inputs))
        blocks = Blocks(self.blocks, self.heads, self.ratio, False, self.layers, name="Blocks")
        return self.layers.dense(self.classes, name="Head")(jnp.mean(blocks(x), axis=1))


class GPT(nn.Module):
    """A language model: the table of tokens, causal blocks, and the same table again.

    Attributes:
      width: of the blocks.
      blocks: their number.
      heads: of each.
      ratio: width of the perceptron of a block, as a multiple of `width`.
      classes: number of tokens.
      layers: how its layers are made.
    """

    width: int
    blocks: int
    heads: int
    ratio: int
    classes: int
    layers: Layers

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> jax.Array:
        """Return logits (n, length, classes) of the next tokens; inputs (n, length) are tokens."""
        del train  # nothing here differs between training and evaluation
        settings.require(
            inputs.ndim == 2 and jnp.issubdtype(inputs.dtype, jnp.integer),
            "`model` gpt-mini needs tokens, whole numbers (n, length); got "
            f"{inputs.dtype} {inputs.shape}.",
        )
        tokens = self.layers.table(self.classes, self.width, name="Tokens")
        blocks = Blocks(self.blocks, self.heads, self.ratio, True, self.layers, name="Blocks")
        return tokens.attend(blocks(tokens(inputs)))


def patches(images: jax.Array, side: int = PATCH) -> jax.Array:
    """Return the patches of images, row by row.

    Args:
      images: (n, height, width, channels); `side` divides height and width.
      side: pixels of the height and width of a patch.

    Returns:
      (n, patches, side * side * channels).

    Example:
      >>> patches(jnp.arange(8).reshape(1, 2, 4, 1), side=2).tolist()
      [[[0, 1, 4, 5], [2, 3, 6, 7]]]
    """
    count, height, width, channels = images.shape
    x = images.reshape(count, height // side, side, width // side, side, channels)
    return x.swapaxes(2, 3).reshape(count, -1, side * side * channels)
