"""Networks as pure functions: `init(key) -> Network` and `apply(network, inputs) -> logits`.

A `Network` is everything that rewinding restores: the parameters and the batch statistics. The
layers themselves are Flax linen modules; no other package knows that.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import tyro
from flax import linen as nn

from jaxlth import keys, settings
from jaxlth.models.adapters import from_functions, from_linen, from_nnx
from jaxlth.models.checks import ModelError, check
from jaxlth.models.conv import Conv
from jaxlth.models.inception import AUXILIARY_WEIGHT, LEAST_SIDE, InceptionV3
from jaxlth.models.layers import INITIALIZERS, BatchAxis, Dtype, Layers, NormScale, draw_biases
from jaxlth.models.mlp import MLP
from jaxlth.models.model import Model, Network, Params
from jaxlth.models.resnet import ResNet
from jaxlth.models.torch_layout import flattened, load_torch, to_torch
from jaxlth.models.transformer import GPT, PATCH, ViT
from jaxlth.models.vgg import VGG
from jaxlth.models.wiring import any_width, wiring
from jaxlth.process import code
from jaxlth.settings import ranges
from jaxlth.trees import floats

__all__ = [
    "AUXILIARY_WEIGHT",
    "INITIALIZERS",
    "MODELS",
    "BatchAxis",
    "Model",
    "ModelConfig",
    "ModelError",
    "Network",
    "any_width",
    "build",
    "check",
    "example",
    "from_functions",
    "from_linen",
    "from_nnx",
    "has_batch_norm",
    "is_convolutional",
    "label",
    "load_torch",
    "to_torch",
    "wiring",
]

Make = Callable[["ModelConfig", int, Layers], nn.Module]  # (settings, classes, layers) -> module


def _lenet(config: "ModelConfig", classes: int, layers: Layers) -> MLP:
    """LeCun et al. 1998; 266,200 weights for 28x28 images in three kernels."""
    return MLP(widths=(300, 100, classes), layers=layers)


def _mlp(config: "ModelConfig", classes: int, layers: Layers) -> MLP:
    return MLP(widths=(*config.hidden, classes), layers=layers)


def _conv(convolutions: int) -> Make:
    return lambda config, classes, layers: Conv(convolutions // 2, classes, layers)


def _cifar_resnet(depth: int, *, width: int = 1) -> Make:
    """Return a network of `depth` = 6n + 2 layers with `width` times 16, 32 and 64 channels."""
    blocks = ((depth - 2) // 6,) * 3
    return lambda config, classes, layers: ResNet(blocks, 16 * width, classes, layers)


def _resnet(*blocks: int, bottleneck: bool = False, large: bool = True) -> Make:
    return lambda config, classes, layers: ResNet(
        blocks, 64, classes, layers, bottleneck=bottleneck, large=large
    )


def _vgg(*stacks: int) -> Make:
    return lambda config, classes, layers: VGG(stacks, config.fc_layers, classes, layers)


def _inception(config: "ModelConfig", classes: int, layers: Layers) -> InceptionV3:
    return InceptionV3(classes, layers)


def _vit(config: "ModelConfig", classes: int, layers: Layers) -> ViT:
    return ViT(width=96, blocks=6, heads=3, ratio=2, classes=classes, layers=layers)


def _gpt(config: "ModelConfig", classes: int, layers: Layers) -> GPT:
    return GPT(width=128, blocks=4, heads=4, ratio=4, classes=classes, layers=layers)


# Networks that a TPU trains sooner where projections of residual blocks are computed again for the
# gradient, by its compiler's cycles: 0.91 for ResNet-20, 1.00 for ResNet-56, 1.01 for WRN-14-8.
RECOMPUTED = ("resnet-20",)

MODELS: dict[str, Make] = {
    "lenet-300-100": _lenet,
    "mlp": _mlp,
    "conv-2": _conv(2),
    "conv-4": _conv(4),
    "conv-6": _conv(6),
    "conv-8": _conv(8),
    "resnet-20": _cifar_resnet(20),
    "resnet-32": _cifar_resnet(32),
    "resnet-44": _cifar_resnet(44),
    "resnet-56": _cifar_resnet(56),
    "resnet-110": _cifar_resnet(110),
    "wrn-14-8": _cifar_resnet(14, width=8),
    "wrn-14-10": _cifar_resnet(14, width=10),
    "wrn-20-8": _cifar_resnet(20, width=8),
    "wrn-32-2": _cifar_resnet(32, width=2),
    "vgg-11": _vgg(1, 1, 2, 2, 2),
    "vgg-16": _vgg(2, 2, 3, 3, 3),
    "vgg-19": _vgg(2, 2, 4, 4, 4),
    "resnet-18": _resnet(2, 2, 2, 2),
    "resnet-18-modified": _resnet(2, 2, 2, 2, large=False),
    "resnet-50": _resnet(3, 4, 6, 3, bottleneck=True),
    "inception-v3": _inception,
    "vit-tiny": _vit,
    "gpt-mini": _gpt,
}
_WITH_BATCH_NORM = ("resnet-", "wrn-", "vgg-", "inception-")
_OF_ANYTHING = ("lenet-300-100", "mlp")  # inputs of any shape are flattened
_OF_TOKENS = ("gpt-mini",)
_WITHOUT_CONVOLUTIONS = (*_OF_ANYTHING, *_OF_TOKENS, "vit-tiny")

# Pixels of height and width below which pooling leaves nothing; 1 for a network not named here.
LEAST_SIDES = {f"conv-{depth}": 2 ** (depth // 2) for depth in (2, 4, 6, 8)}
LEAST_SIDES |= {f"vgg-{depth}": 16 for depth in (11, 16, 19)}
LEAST_SIDES |= {"inception-v3": LEAST_SIDE, "vit-tiny": PATCH}

MOST_LAYERS = 1000  # hidden ones of an mlp


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network, and how its weights are drawn."""

    name: Annotated[str, tyro.conf.arg(name="model"), ranges.OneOf(MODELS, others=code.is_own)] = (
        "lenet-300-100"
    )
    """Network, such as lenet-300-100, resnet-20 and vit-tiny; mlp with the widths of --hidden;
    gpt-mini for tokens; or FILE.py:NAME: a linen module, a function (rngs) -> nnx module, a
    `models.Model`, or a function (input shape, classes) -> one of these."""
    hidden: Annotated[tuple[int, ...], ranges.at_least(1)] = ()
    """Widths of the hidden layers of an mlp, input side first."""
    fc_layers: Annotated[int, ranges.at_least(1), settings.RARE] = 1
    """Dense layers of a VGG, the classifier among them: 1 or 2."""
    initializer: Annotated[str, settings.RARE, ranges.OneOf(INITIALIZERS)] = "kaiming-normal"
    """Distribution of the initial weights. Biases start at zero; pytorch draws them as PyTorch
    does, from U(-b, b) with b = 1 / sqrt(fan-in), the distribution of the weights."""
    norm_scale: Annotated[NormScale, settings.RARE] = "uniform"
    """Initial scales of batch norm: drawn from U[0, 1) as in the paper, or ones."""
    dtype: Dtype = "float32"
    """What the network computes in; its parameters are float32 in any case."""

    def __post_init__(self) -> None:
        settings.check_fields(self)
        if code.is_own(self.name):
            self._check_own()
            return
        settings.require(
            len(self.hidden) <= MOST_LAYERS,
            f"`hidden` must be at most {MOST_LAYERS} widths, as each layer is compiled; got "
            f"{len(self.hidden)}.",
        )
        settings.require(
            self.name == "mlp" or not self.hidden,
            f"`hidden` belongs to the model mlp; {self.name} has its own widths.",
        )
        settings.require(
            self.fc_layers in (1, 2), f"`fc_layers` must be 1 or 2; got {self.fc_layers}."
        )
        settings.require(
            self.name.startswith("vgg-") or self.fc_layers == 1,
            f"`fc_layers` belongs to vgg-11, vgg-16 and vgg-19; {self.name} has its own layers.",
        )
        settings.require(
            has_batch_norm(self.name) or self.norm_scale == "uniform",
            f"`norm_scale` belongs to models with batch norm; {self.name} has none.",
        )

    def _check_own(self) -> None:
        """Raise ValueError where a field is given that a user's own network does not read."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            settings.require(
                field.name == "name" or value == field.default,
                f"`{field.name}` {value} belongs to the library's networks; the network "
                f"{self.name} has its own.",
            )


def build(
    config: ModelConfig,
    *,
    shape: tuple[int, ...],
    classes: int,
    batch_axis: BatchAxis | None = None,
) -> Model:
    """Return the configured network for inputs of `shape` and `classes` outputs.

    Args:
      config: which network.
      shape: of one example: (height, width, channels) of an image, (length,) of tokens; any for an
        mlp or lenet-300-100.
      classes: number of outputs, of tokens for a language model.
      batch_axis: the devices that share a batch, if training is to normalise by statistics of the
        whole batch; None for statistics of each device's own part.

    Raises:
      ValueError: the network takes no inputs of this shape.
    """
    settings.check_kind("config", config, isinstance(config, ModelConfig), "a `ModelConfig`")
    _check_shape(config.name, shape)
    on_tpu = jax.default_backend() == "tpu"
    layers = Layers(
        initializer=config.initializer,
        norm_scale=config.norm_scale,
        dtype=config.dtype,
        batch_axis=batch_axis,
        folded_norm=on_tpu,
        recompute=on_tpu and config.name in RECOMPUTED,
    )
    module = MODELS[config.name](config, classes, layers)
    like = example(config.name, shape)

    def init(key: jax.Array) -> Network:
        inputs = jnp.zeros((1, *like.shape), like.dtype)
        with jax.numpy_dtype_promotion("standard"):  # Flax's batch norm takes it for granted
            variables = module.init(key, inputs, train=False)
        params = variables["params"]
        if config.initializer == "pytorch":
            params = draw_biases(params, key=keys.substream(key, "biases"))
        return Network(params, variables.get("batch_stats", {}))

    def run(network: Network, inputs: jax.Array, train: bool) -> tuple[jax.Array, Any]:
        variables = {"params": network.params, "batch_stats": network.stats}
        mutable = ["batch_stats", "auxiliary"] if train else []
        with jax.numpy_dtype_promotion("standard"):
            logits, changed = module.apply(variables, inputs, train=train, mutable=mutable)
        return _at_least_float32(logits), changed

    def apply(network: Network, inputs: jax.Array, train: bool) -> tuple[jax.Array, Params]:
        logits, changed = run(network, inputs, train)
        return logits, changed.get("batch_stats", network.stats)

    def auxiliary(network: Network, inputs: jax.Array) -> tuple[jax.Array, jax.Array, Params]:
        logits, changed = run(network, inputs, True)
        (aux_logits,) = changed["auxiliary"]["logits"]
        return logits, _at_least_float32(aux_logits), changed["batch_stats"]

    return Model(
        init=init,
        apply=apply,
        auxiliary=auxiliary if isinstance(module, InceptionV3) else None,
        convolutional=is_convolutional(config.name),
        flattened=flattened(module, shape),
    )


def has_batch_norm(name: str) -> bool:
    """Return whether the network of a name has batch norm."""
    return name.startswith(_WITH_BATCH_NORM)


def is_convolutional(name: str) -> bool:
    """Return whether the network of a name has convolutions."""
    return name not in _WITHOUT_CONVOLUTIONS


def example(name: str, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """Return the shape and type of one example, as the network of a name takes it."""
    return jax.ShapeDtypeStruct(shape, jnp.int32 if name in _OF_TOKENS else jnp.float32)


def label(config: ModelConfig) -> str:
    """Return a readable name for a run's folder, such as "mlp-20-20"."""
    if code.is_spec(config.name):
        return code.label(config.name)
    return "-".join([config.name, *map(str, config.hidden)])


def _check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the network of a name takes examples of a shape."""
    if name in _OF_TOKENS:
        settings.require(
            len(shape) == 1 and shape[0] > 0,
            f"`model` {name} needs tokens, (length,) of an example; got {shape}.",
        )
    elif name not in _OF_ANYTHING:
        settings.require(
            len(shape) == 3,
            f"`model` {name} needs images, (height, width, channels) of an example; got {shape}.",
        )
        least, (height, width, _) = LEAST_SIDES.get(name, 1), shape
        settings.require(
            min(height, width) >= least,
            f"{name} needs images of at least {least} x {least} pixels; got {height} x {width}.",
        )
        settings.require(
            name != "vit-tiny" or height % PATCH == width % PATCH == 0,
            f"{name} needs images whose height and width are multiples of {PATCH} pixels; got "
            f"{height} x {width}.",
        )


def _at_least_float32(logits: jax.Array) -> jax.Array:
    return logits.astype(floats.widest([logits]))
