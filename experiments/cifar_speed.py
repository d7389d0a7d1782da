"""Speed of training convolutional networks on a CPU: this library, bare JAX, PyTorch.

Claim: a step of a job takes no more than 1.05 of the time of the same step written barely in JAX;
it takes about half of it or less, because XLA's choice of convolutions is corrected.

    pip install torch                           # if PyTorch is to take part
    python experiments/cifar_speed.py           # ten minutes on two cores

Images are random, of the size of CIFAR-10's. Variants take turns within one process; printed are
medians of the rounds and their ratios to the bare step.

The bare step is given its batch. The library's draws it from 10,000 images, flips and crops it, and
looks whether the loss is finite.
"""

import contextlib
import importlib.util
import itertools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from unittest import mock

import jax
import numpy as np
import optax
from timing import interleaved

from jaxlth import cli, data, keys, masks, models
from jaxlth.data import augment
from jaxlth.models import ModelConfig, convolution
from jaxlth.training import OptimizerConfig, execution, fit, optimizers, train

if TYPE_CHECKING:
    torch: Any
elif importlib.util.find_spec("torch"):
    import torch
else:
    torch = None

LR, MOMENTUM = 0.1, 0.9
IMAGES, CLASSES = 10_000, 10
RESNET_20 = ((16, 3), (32, 3), (64, 3))  # channels and blocks of each group
VGG_16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and layers of each stack
CONV_4 = ((64, 2), (128, 2))


def main(
    networks: tuple[str, ...] = ("resnet-20", "vgg-16", "conv-4"),
    batch_size: int = 128,
    rounds: int = 7,
) -> int:
    """Measure and print.

    Args:
      networks: of resnet-20, vgg-16 and conv-4; others are measured without PyTorch.
      batch_size: images per step.
      rounds: how often the variants take turns.
    """
    jax.config.update("jax_platforms", "cpu")
    print(f"| network | step, batch {batch_size} | median | of the bare step |\n|---|---|---|---|")
    for network in networks:
        variants = {
            "bare JAX": bare(network, batch_size, own=False),
            "bare JAX, the library's convolutions": bare(network, batch_size, own=True),
            "library, a job's loop": looped(network, batch_size),
        }
        if torch is not None and network in TORCH:
            variants["PyTorch, NCHW"] = in_torch(network, batch_size, last=False)
            variants["PyTorch, channels last"] = in_torch(network, batch_size, last=True)
        taken = interleaved(variants, rounds)
        for name, seconds in taken.items():
            ratio = seconds / taken["bare JAX"]
            print(f"| {network} | {name} | {1000 * seconds:.0f} ms | {ratio:.2f} |", flush=True)
    return 0


def bare(network: str, batch_size: int, *, own: bool) -> Callable[[], Any]:
    """Return a jitted step of momentum on masked weights, given its batch.

    Args:
      network: its name.
      batch_size: images.
      own: whether convolutions are the library's and compiled with its options.
    """
    model = built(network)
    state = model.init(keys.stream(0, 0, "initialization"))
    mask = masks.dense(state.params)
    momentum = optax.sgd(LR, momentum=MOMENTUM)
    rng = np.random.default_rng(0)
    images = jax.device_put(rng.normal(size=(batch_size, 32, 32, 3)).astype(np.float32))
    labels = jax.device_put(rng.integers(0, CLASSES, batch_size))

    def step(state: models.Network, opt: Any) -> Any:
        def loss_of(params: Any) -> Any:
            masked = state._replace(params=masks.apply(params, mask))
            logits, stats = model.apply(masked, images, True)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), stats

        (loss, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        updates, opt = momentum.update(grads, opt)
        return models.Network(optax.apply_updates(state.params, updates), stats), opt, loss

    plain = mock.patch.object(convolution, "convolve", jax.lax.conv_general_dilated)
    opt = momentum.init(state.params)
    with contextlib.nullcontext() if own else plain:
        options = execution.compiler_options() if own else None
        compiled = jax.jit(step, compiler_options=options).lower(state, opt).compile()
    return lambda: compiled(state, opt)


def looped(network: str, batch_size: int) -> Callable[[], Any]:
    """Return one step of what a job runs, on images held in memory."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 32, 32, 3)).astype(np.uint8)
    split = data.Split(images, rng.integers(0, CLASSES, IMAGES).astype(np.int32))
    statistics = np.full(3, 127.0, np.float32), np.full(3, 60.0, np.float32)
    dataset = data.Dataset(split, None, split, *statistics)
    model = built(network)
    config = OptimizerConfig(optimizer="momentum", lr=LR, momentum=MOMENTUM)
    optimizer = optimizers.build(config, optimizers.schedule(config, steps=1))
    flipped = augment.AUGMENTATIONS["flip-crop"]
    trainer = train.make(model, optimizer, batch_size=batch_size, augmentation=flipped)
    layout = execution.layout(1, devices=jax.local_devices()[:1], convolutional=True)
    compiled = fit.compile(trainer, layout, train_examples=1)
    state = model.init(keys.stream(0, 0, "initialization"))
    mask = masks.dense(state.params)
    states = layout.place([trainer.start(state, mask)])
    placed = layout.place([mask]), layout.place([jax.random.key(0)])
    shared = layout.share(dataset)
    step = itertools.count()

    def run() -> Any:
        nonlocal states
        at = next(step)
        states = compiled.advance(states, placed[0], shared, placed[1], at, at + 1)
        return states

    return run


def built(network: str) -> models.Model:
    """Return a network for CIFAR-10 by its name."""
    return models.build(ModelConfig(name=network), shape=(32, 32, 3), classes=CLASSES)


def in_torch(network: str, batch_size: int, *, last: bool) -> Callable[[], Any]:
    """Return the same step in PyTorch.

    Args:
      network: a name in `TORCH`.
      batch_size: images.
      last: whether channels are the last axis in memory.
    """
    images = torch.randn(batch_size, 3, 32, 32)
    labels = torch.randint(0, CLASSES, (batch_size,))
    module = TORCH[network]()
    if last:
        module = module.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    weights = [(weight, torch.ones_like(weight)) for weight in module.parameters()]
    pruned = [(weight, mask) for weight, mask in weights if weight.dim() > 1]
    optimizer = torch.optim.SGD(module.parameters(), lr=LR, momentum=MOMENTUM)

    def run() -> None:
        with torch.no_grad():
            for weight, mask in pruned:
                weight.mul_(mask)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(images), labels).backward()
        optimizer.step()

    return run


def torch_resnet() -> Any:
    """Return ResNet-20 in PyTorch."""
    nn = torch.nn

    def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> Any:
        around = size // 2
        layer = nn.Conv2d(inputs, outputs, size, stride, around, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(outputs))

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            first, second = conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3)
            self.body = nn.Sequential(first, nn.ReLU(), second)
            changed = stride > 1 or inputs != outputs
            self.shortcut = conv(inputs, outputs, 1, stride) if changed else nn.Identity()

        def forward(self, x: Any) -> Any:
            return torch.relu(self.body(x) + self.shortcut(x))

    layers, inputs = [conv(3, 16, 3), nn.ReLU()], 16
    for channels, blocks in RESNET_20:
        for place in range(blocks):
            layers.append(Block(inputs, channels, 2 if inputs < channels and not place else 1))
            inputs = channels
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, *pooled, nn.Linear(inputs, CLASSES))


def torch_stacks(stacks: Any, *, norm: bool) -> list[Any]:
    """Return stacks of 3x3 convolutions, with a max-pool between two of them."""
    nn = torch.nn
    layers, inputs = [], 3
    for channels, count in stacks:
        for _ in range(count):
            layers.append(nn.Conv2d(inputs, channels, 3, padding=1))
            layers += [nn.BatchNorm2d(channels)] * norm + [nn.ReLU()]
            inputs = channels
        layers.append(nn.MaxPool2d(2))
    return layers


def torch_vgg() -> Any:
    """Return VGG-16 with one dense layer in PyTorch."""
    nn = torch.nn
    stacks = torch_stacks(VGG_16, norm=True)[:-1]
    return nn.Sequential(*stacks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


def torch_conv() -> Any:
    """Return Conv-4 in PyTorch."""
    nn = torch.nn
    layers: list[Any] = [*torch_stacks(CONV_4, norm=False), nn.Flatten()]
    for inputs, outputs in ((128 * 8 * 8, 256), (256, 256)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, CLASSES))


TORCH = {"resnet-20": torch_resnet, "vgg-16": torch_vgg, "conv-4": torch_conv}


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
