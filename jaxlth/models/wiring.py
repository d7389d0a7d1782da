"""The wiring of each network, for `graphs`, and networks with some of their channels.

A wiring has an entry for each layer of units (channels of an activation) beyond the inputs, in an
order in which each comes after those that it reads. The entry holds everything that leads there
and adds up: (layers read side by side, name of the kernel or None for the units themselves, name of
the batch norm behind it or None, whether zeros surround images, what batch norm adds to variances).
Layer 0 is the inputs, the last one the logits. `graphs.Incoming` is the same with names.

Pooling and the mean over pixels change no channel; a dense layer reads flattened pixels channel by
channel. The auxiliary classifier of Inception-v3 has its layers, but its logits are no output: what
leads to them alone is inactive, as at inference it is.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import jax
from flax import linen as nn

from jaxlth import models, settings
from jaxlth.models import inception
from jaxlth.models.conv import DENSE, Conv
from jaxlth.models.inception import InceptionV3
from jaxlth.models.layers import EPSILON, Layers
from jaxlth.models.mlp import MLP
from jaxlth.models.resnet import ResNet
from jaxlth.models.vgg import VGG
from jaxlth.process import code

Incoming: TypeAlias = tuple[tuple[int, ...], str | None, str | None, bool, float]
Wiring: TypeAlias = tuple[tuple[Incoming, ...], ...]


def wiring(config: "models.ModelConfig") -> Wiring:
    """Return the wiring of a network: which layers feed which.

    Raises:
      ValueError: the network has none, as a transformer.

    Example:
      >>> from jaxlth.models import ModelConfig
      >>> wiring(ModelConfig(name="mlp", hidden=(20,)))[1]
      (((1,), 'Dense_1/kernel', None, True, 1e-05),)
    """
    settings.check_kind("config", config, isinstance(config, models.ModelConfig), "a `ModelConfig`")
    if code.is_own(config.name):
        raise ValueError(
            f"`model` {config.name} has no wiring: no table says which units feed which; give one."
        )
    layers = Layers(
        initializer=config.initializer, norm_scale=config.norm_scale, dtype=config.dtype
    )
    return of_module(models.MODELS[config.name](config, 1, layers))


def of_module(module: nn.Module) -> Wiring:
    """Return the wiring of a network of any depth; its widths do not matter."""
    match module:
        case MLP():
            return _chain((f"Dense_{place}", None) for place in range(len(module.widths)))
        case Conv():
            pairs = itertools.product(range(1, module.pairs + 1), (1, 2))
            convolutions = [(f"Conv{pair}_{place}", None) for pair, place in pairs]
            return _chain([*convolutions, *_dense(len(DENSE) + 1)])
        case VGG():
            places = [
                f"{stack}_{place}"
                for stack, count in enumerate(module.stacks, 1)
                for place in range(1, count + 1)
            ]
            convolutions = [(f"Conv{place}", f"BatchNorm{place}") for place in places]
            return _chain([*convolutions, *_dense(module.dense)])
        case ResNet():
            return _resnet(module)
        case InceptionV3():
            return _inception()
        case _:
            kind = type(module).__name__
            raise ValueError(f"`model` {kind} has no wiring: no table says which units feed which.")


def any_width(model: "models.Model") -> "models.Model":
    """Return a model that runs networks with fewer channels, as `graphs.compact` makes them.

    Layers take their widths from the kernels that they are given. `init` draws full widths still.

    Args:
      model: as `build` returns it.

    Returns:
      The model, of which `init` alone is as it was.
    """

    def apply(network: Any, inputs: jax.Array, train: bool) -> tuple[jax.Array, Any]:
        return _with_widths(lambda: model.apply(network, inputs, train))

    auxiliary = model.auxiliary
    if auxiliary is None:
        return dataclasses.replace(model, apply=apply)

    def with_auxiliary(network: Any, inputs: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        return _with_widths(lambda: auxiliary(network, inputs))

    return dataclasses.replace(model, apply=apply, auxiliary=with_auxiliary)


def _with_widths(run: Callable[[], Any]) -> Any:
    """Return the result of `run` where layers have the widths of their parameters."""

    def set_width(
        run_layer: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        layer = context.module
        if not isinstance(layer, nn.Conv | nn.Dense) or context.method_name != "__call__":
            return run_layer(*args, **kwargs)
        width = layer.get_variable("params", "kernel").shape[-1]
        if layer.features == width:
            return run_layer(*args, **kwargs)
        return layer.clone(parent=layer.scope, features=width, name=None)(*args, **kwargs)

    with nn.intercept_methods(set_width):
        return run()


def _kernel(
    sources: tuple[int, ...],
    name: str,
    norm: str | None,
    *,
    padded: bool = True,
    epsilon: float = EPSILON,
) -> Incoming:
    return sources, f"{name}/kernel", norm, padded, epsilon


def _dense(count: int) -> list[tuple[str, None]]:
    return [(f"Dense_{place}", None) for place in range(count)]


def _chain(layers: Iterable[tuple[str, str | None]]) -> Wiring:
    """Return the wiring of layers that follow each other, by the names of layer and batch norm."""
    return tuple((_kernel((place,), name, norm),) for place, (name, norm) in enumerate(layers))


def _resnet(module: ResNet) -> Wiring:
    layers: list[tuple[Incoming, ...]] = [(_kernel((0,), "Conv1", "BatchNorm1"),)]
    for group, count in enumerate(module.blocks):
        for place in range(count):
            block = f"Conv{group + 2}_{place + 1:0{len(str(count))}}"
            before = (len(layers),)
            *inside, last = range(3 if module.bottleneck else 2)
            for conv in inside:
                reads = (len(layers),)
                layers.append((_kernel(reads, *_names(block, conv)),))
            shortcut = before, None, None, False, EPSILON
            if not place and (group or module.bottleneck):
                shortcut = _kernel(before, f"{block}/Shortcut", f"{block}/ShortcutNorm")
            layers.append((_kernel((len(layers),), *_names(block, last)), shortcut))
    return (*layers, (_kernel((len(layers),), "Dense_0", None),))


def _names(scope: str, place: int) -> tuple[str, str]:
    """Return the names that Flax gives to a convolution and its batch norm."""
    return f"{scope}/Conv_{place}", f"{scope}/BatchNorm_{place}"


def _inception() -> Wiring:
    layers: list[tuple[Incoming, ...]] = []
    sources = _branch(layers, (0,), inception.STEM, "Conv1")
    for name, paths in inception.MODULES.items():
        ends = [
            _branch(layers, sources, path, f"{name}_{place}") for place, path in enumerate(paths, 1)
        ]
        sources = tuple(itertools.chain(*ends))
        if name == inception.AUXILIARY_AFTER:
            end = _branch(layers, sources, inception.AUXILIARY, "Auxiliary")
            layers.append((_kernel(end, "AuxiliaryDense", None),))
    return (*layers, (_kernel(sources, "Dense_0", None),))


def _branch(
    layers: list[tuple[Incoming, ...]], sources: tuple[int, ...], path: inception.Path, scope: str
) -> tuple[int, ...]:
    """Add the layers of a branch that reads `sources`; return those that it ends in."""
    places = itertools.count()

    def convolve(step: inception.Step) -> int:
        names = _names(scope, next(places))
        kernel = _kernel(sources, *names, padded=step.padded, epsilon=inception.EPSILON)
        layers.append((kernel,))
        return len(layers)

    for step in path:
        match step:
            case inception.Fork():
                sources = convolve(step.one), convolve(step.other)
            case inception.Step():
                sources = (convolve(step),)
    return sources
