"""The networks of Frankle 2023, chapter 5, as they are trained at each scale, and where they match.

At the scale cpu networks for CIFAR-10 see a part of it in short trainings (`SHORT`). LeNet is
trained as in `composite_pruning.py`, whose runs it shares; it and conv-2-digits, Conv-2 on the
digits of scikit-learn, are not in the thesis. TinyImageNet and ImageNet are folders of images.
"""

import dataclasses

from composite_pruning import lenet

from jaxlth.models import ModelConfig
from jaxlth.studies.imp.benchmarks import BENCHMARKS, scaled
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.prune_early.config import PruneEarlyConfig
from jaxlth.training import OptimizerConfig, TrainingConfig

NAMES = {
    "conv-2": "cifar_conv2",
    "resnet-20": "cifar_resnet20",
    "vgg-16": "cifar_vgg16",
    "resnet-18": "tinyimagenet_resnet18",
    "resnet-50": "imagenet_resnet50",
}
CHUNKS = {"resnet-18": 100, "resnet-50": 100}  # examples that scores see at once, to fit memory
DENSITIES = {"lenet": (0.1, 0.015), "conv-2-digits": (0.1, 0.02)}
OTHERS = tuple(round(0.8**level, 3) for level in range(1, 19))  # down to 1.8 %
# The least density that magnitude pruning after training matches at (section 5.6, footnote 8).
MATCHING = {"resnet-20": 0.262, "vgg-16": 0.069, "resnet-18": 0.035, "resnet-50": 0.328}
SHORT = {  # at the scale cpu: steps, images, batch, densities
    "conv-2": (250, 5_000, 60, (0.05,)),
    "resnet-20": (1_000, 10_000, 32, (0.086,)),
    "vgg-16": (250, 10_000, 32, (0.055,)),
}
STEPS = {
    "smoke": (0, 20),
    "cpu": (0, 50, 200, 800),
    "paper": (*(0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 25_000, 32_000, 36_000), 48_000),
}


def settings(network: str, scale: str, *, data_dir: str | None) -> PruneEarlyConfig:
    """Return what all parts of a network share."""
    if network == "lenet":
        shared = lenet(scale, data_dir=data_dir)
    elif network == "conv-2-digits":  # on images of 8x8 pixels, so that two cores do it in minutes
        shared = PruneEarlyConfig(
            model=ModelConfig(name="conv-2"),
            training=TrainingConfig(epochs=20, batch_size=60, evaluate_every=5.0),
            optimizer=OptimizerConfig(optimizer="adam", lr=2e-4),
            replicates=5,
        )
    else:
        config = scaled(BENCHMARKS[NAMES[network]], scale)
        if scale == "cpu" and network in SHORT:
            config = shortened(config, network)
        shared = of_benchmark(config, data_dir=data_dir)
    return dataclasses.replace(
        shared, densities=densities(network, scale), chunk=CHUNKS.get(network, shared.chunk)
    )


def densities(network: str, scale: str) -> tuple[float, ...]:
    """Return the densities of a network's tickets."""
    if scale == "smoke":
        return (0.1,)
    if scale == "cpu" and network in NAMES:
        return SHORT[network][-1] if network in SHORT else (MATCHING[network],)
    return DENSITIES.get(network, OTHERS)


def matching(network: str, config: PruneEarlyConfig) -> float:
    """Return the density at which single tickets are looked at: the sparsest that match."""
    density = MATCHING.get(network)
    return density if density in config.densities else min(config.densities)


def steps(config: PruneEarlyConfig, scale: str) -> tuple[int, ...]:
    """Return the steps that are pruned at; at the scale paper the last one of the training too."""
    length = config.training.steps
    if length is None:
        return STEPS[scale]
    before = tuple(step for step in STEPS[scale] if step < length)
    return (*before, length) if scale == "paper" else before


def of_benchmark(config: ImpConfig, *, data_dir: str | None) -> PruneEarlyConfig:
    """Return settings of early pruning that train as a benchmark does."""
    made_here = config.data.name.startswith("synthetic")
    return PruneEarlyConfig(
        data=dataclasses.replace(config.data, data_dir=None if made_here else data_dir),
        model=config.model,
        training=config.training,
        optimizer=config.optimizer,
        replicates=config.replicates,
    )


def shortened(config: ImpConfig, network: str) -> ImpConfig:
    """Return a benchmark on a part of CIFAR-10, with its rate lowered at the same shares."""
    steps, examples, batch_size, _ = SHORT[network]
    training, optimizer = config.training, config.optimizer
    milestones = tuple(round(at * steps / training.steps) for at in optimizer.milestones)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, num_train_examples=examples),
        training=dataclasses.replace(
            training, steps=steps, batch_size=batch_size, evaluate_every=steps / 2
        ),
        optimizer=dataclasses.replace(optimizer, milestones=milestones),
    )
