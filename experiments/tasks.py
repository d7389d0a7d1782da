"""Settings that several studies share, so that they share the networks they train."""

import dataclasses
import pathlib
from typing import Literal

from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.studies.instability.config import InstabilityConfig
from jaxlth.training import OptimizerConfig, TrainingConfig

# Frankle 2023, Table 4.1, on CIFAR-10: the name in the thesis, and that of the benchmark.
Cifar = Literal[
    "resnet-20",
    "resnet-20-low",
    "resnet-20-warmup",
    "vgg-16",
    "vgg-16-low",
    "vgg-16-warmup",
]
CIFAR = {
    "resnet-20": "cifar_resnet20",
    "resnet-20-low": "cifar_resnet20_low",
    "resnet-20-warmup": "cifar_resnet20_warmup",
    "vgg-16": "cifar_vgg16",
    "vgg-16-low": "cifar_vgg16_low",
    "vgg-16-warmup": "cifar_vgg16_warmup",
}


def mlp_cifar(scale: str, *, optimizer: str = "momentum") -> InstabilityConfig:
    """Return an analysis that two cores can do of a network unstable at initialisation (ours).

    An MLP of three hidden layers on CIFAR-10, at a rate near which it diverges. Tested on images
    held out of the training set.
    """
    smoke = scale == "smoke"
    return InstabilityConfig(
        data=DataConfig(
            name="cifar10",
            held_out_test=0.1,
            validation=0.0,
            num_train_examples=2_000 if smoke else None,
        ),
        model=ModelConfig(name="mlp", hidden=(256, 256, 256)),
        training=TrainingConfig(
            steps=30 if smoke else 2_800,
            batch_size=128,
            evaluate_every=10 if smoke else 700,
            train_examples=1_000 if smoke else 5_000,
        ),
        optimizer=OptimizerConfig(optimizer=optimizer, lr=0.05),
        rewind_steps=(0, 10) if smoke else (0, 50, 100, 200, 500, 1_000),
        replicates=1 if smoke else 2,
        twins=2,
    )


def small(network: str, scale: str) -> InstabilityConfig:
    """Return an analysis of a network that two cores train hundreds of times (ours).

    Images of CIFAR-10 reduced to 8 x 8 pixels, at a rate at which the dense network is unstable at
    initialisation; half of the weights that are left are pruned at each level. Tested on images
    held out of the training set.

    Args:
      network: mlp-small or resnet-8.
      scale: smoke, or cpu for more.
    """
    smoke = scale == "smoke"
    steps = 30 if smoke else 1_500
    file = pathlib.Path(__file__).with_name("small_networks.py")
    name, batch_size, lr = {
        "mlp-small": ("mlp", 64, 0.1),
        "resnet-8": ("resnet_8", 32, 0.3),
    }[network]
    return InstabilityConfig(
        data=DataConfig(
            name="cifar10",
            held_out_test=0.1,
            validation=0.0,
            num_train_examples=2_000 if smoke else 20_000,
        ),
        model=ModelConfig(name=f"{file}:{name}"),
        training=TrainingConfig(
            steps=steps, batch_size=batch_size, evaluate_every=steps, train_examples=2_000
        ),
        optimizer=OptimizerConfig(
            optimizer="momentum",
            lr=lr,
            schedule="milestones",
            milestones=(steps // 2, 3 * steps // 4),
        ),
        rewind_steps=(0, 10) if smoke else (0, 50, 100, 200, 400),
        prune_fraction=0.5,
        replicates=1 if smoke else 3,
        twins=2 if smoke else 3,
        points=11,
    )


def placed(
    config: InstabilityConfig, *, data_dir: str | None, replicates: int | None
) -> InstabilityConfig:
    """Return settings with the directory of the data, and other replicates where they are given."""
    data = dataclasses.replace(config.data, data_dir=data_dir)
    return dataclasses.replace(config, data=data, replicates=replicates or config.replicates)
