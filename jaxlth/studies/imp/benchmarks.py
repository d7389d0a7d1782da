"""The benchmarks of the papers by name, and how much of each is done.

A benchmark sets network, data, optimiser, schedule and how far to prune. Where the thesis is silent
(weight decay, Conv-8) the values are those of its published code, or ours, and marked.

References:
  Frankle 2023, Tables 4.1, 4.2 and 5.2, and chapter 4 for the epochs that networks of ImageNet are
  rewound to; Frankle & Carbin 2019, Figure 2, for the Conv networks.
"""

import dataclasses
import math

from jaxlth.data import DataConfig, StreamConfig
from jaxlth.models import ModelConfig
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.training import OptimizerConfig, TrainingConfig

DECAY = 1e-4  # weight decay of the published code for all networks with momentum
SIZES = {"mnist": 60_000, "cifar10": 50_000}  # training images
SIZES |= {"folder:imagenet": 1_281_167, "folder:tiny-imagenet-200": 100_000}


def _lenet() -> ImpConfig:
    return ImpConfig(
        data=DataConfig(name="mnist", validation=0.0),
        training=TrainingConfig(steps=24_000, batch_size=60),
        optimizer=OptimizerConfig(optimizer="adam", lr=12e-4),
        levels=15,
        replicates=5,
    )


def _conv(layers: int, *, lr: float, steps: int) -> ImpConfig:
    return ImpConfig(
        data=DataConfig(name="cifar10", validation=0.0),
        model=ModelConfig(name=f"conv-{layers}"),
        training=TrainingConfig(steps=steps, batch_size=60),
        optimizer=OptimizerConfig(optimizer="adam", lr=lr),
        levels=15,
        replicates=5,
    )


def _cifar(model: str, *, lr: float, warmup: int = 0, levels: int) -> ImpConfig:
    return ImpConfig(
        data=DataConfig(name="cifar10", validation=0.0, augment="flip-crop"),
        model=ModelConfig(name=model),
        training=TrainingConfig(steps=63_000, batch_size=128),
        optimizer=OptimizerConfig(
            optimizer="momentum",
            lr=lr,
            weight_decay=DECAY,
            schedule="milestones",
            milestones=(32_000, 48_000),
            warmup=warmup,
        ),
        levels=levels,
        replicates=5,
    )


def _tiny_imagenet() -> ImpConfig:
    """Return the thesis's ResNet-18 of chapter 5; where the rate falls, by ten each time, is ours.

    So are crops of three quarters of an image or more, where the published code shifts images.
    """
    crops = StreamConfig(image_size=64, resize_to=64, crop_area=(0.75, 1.0), crop_ratio=(1.0, 1.0))
    return ImpConfig(
        data=DataConfig(name="folder:tiny-imagenet-200", validation=0.0, stream=crops),
        model=ModelConfig(name="resnet-18-modified"),
        training=TrainingConfig(steps=78_000, batch_size=256),
        optimizer=OptimizerConfig(
            optimizer="momentum",
            lr=0.2,
            weight_decay=DECAY,
            schedule="milestones",
            milestones=(39_000, 58_500),
        ),
        levels=15,
        replicates=3,
    )


def _imagenet(
    model: str,
    stream: StreamConfig,
    optimizer: OptimizerConfig,
    *,
    epochs: float,
    rewind_epoch: int,
) -> ImpConfig:
    data, batch_size = DataConfig(name="folder:imagenet", validation=0.0, stream=stream), 1024
    return ImpConfig(
        data=data,
        model=ModelConfig(name=model),
        training=TrainingConfig(epochs=epochs, batch_size=batch_size),
        optimizer=optimizer,
        levels=1,
        prune_fraction=0.7,
        one_shot=True,
        rewind_step=rewind_epoch * (SIZES[data.name] // batch_size),
        replicates=3,
    )


BENCHMARKS = {
    "mnist_lenet_300_100": _lenet(),
    "cifar_conv2": _conv(2, lr=2e-4, steps=20_000),
    "cifar_conv4": _conv(4, lr=3e-4, steps=25_000),
    "cifar_conv6": _conv(6, lr=3e-4, steps=30_000),
    "cifar_conv8": _conv(8, lr=3e-4, steps=30_000),  # as Conv-6 (ours)
    "cifar_resnet20": _cifar("resnet-20", lr=0.1, levels=8),
    "cifar_resnet20_low": _cifar("resnet-20", lr=0.01, levels=11),
    "cifar_resnet20_warmup": _cifar("resnet-20", lr=0.03, warmup=30_000, levels=11),
    "cifar_vgg16": _cifar("vgg-16", lr=0.1, levels=19),
    "cifar_vgg16_low": _cifar("vgg-16", lr=0.01, levels=13),
    "cifar_vgg16_warmup": _cifar("vgg-16", lr=0.1, warmup=30_000, levels=19),
    "tinyimagenet_resnet18": _tiny_imagenet(),
    "imagenet_resnet50": _imagenet(
        "resnet-50",
        StreamConfig(),
        OptimizerConfig(
            optimizer="momentum",
            lr=0.4,
            weight_decay=DECAY,
            schedule="milestones",
            milestones=(30, 60, 80),
            warmup=5,
        ),
        epochs=90,
        rewind_epoch=5,
    ),
    "imagenet_inceptionv3": _imagenet(
        "inception-v3",
        # 299 of 342 pixels: the middle 0.875 of an image, as Google's code for Cloud TPU.
        StreamConfig(image_size=299, resize_to=342),
        OptimizerConfig(
            optimizer="momentum",
            lr=0.03,
            weight_decay=4e-5,  # likewise
            schedule="linear",
            final_lr=0.005,
        ),
        epochs=171,
        rewind_epoch=6,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Share:
    """How much of a benchmark is done.

    Attributes:
      steps: most steps of a training; the schedule is shortened alike.
      levels: most levels; as much is pruned in them, more at once.
      replicates: repetitions.
      examples: images to train on; None for all.
      batch_size: most examples per step.
      held_out_test: share of the training images that takes the place of the test images.
    """

    steps: int
    levels: int
    replicates: int
    examples: int | None
    batch_size: int
    held_out_test: float


SCALES = {
    "smoke": Share(
        steps=40, levels=1, replicates=1, examples=2_000, batch_size=32, held_out_test=0.02
    ),
    "cpu": Share(
        steps=2_000, levels=5, replicates=2, examples=None, batch_size=128, held_out_test=0.1
    ),
    "paper": None,
}
STREAMED = {  # of networks for ImageNet, a step of which takes seconds on a CPU
    "smoke": Share(
        steps=8, levels=1, replicates=1, examples=None, batch_size=16, held_out_test=0.1
    ),
    "cpu": Share(
        steps=1_000, levels=1, replicates=1, examples=None, batch_size=16, held_out_test=0.001
    ),
    "paper": None,
}
ON_THE_FLY = {  # images for "smoke"
    "resnet-18-modified": "synthetic",
    "resnet-50": "synthetic",
    "inception-v3": "synthetic_320",
}


def scaled(config: ImpConfig, scale: str) -> ImpConfig:
    """Return a benchmark at a scale: "paper" as published, "cpu" in hours, "smoke" in minutes.

    Shortened trainings are other experiments: their accuracies stand for nothing but themselves.
    Accuracies there are on images held out from training, not on the published test images.
    """
    share = (STREAMED if config.data.streamed else SCALES)[scale]
    if share is None:
        return config
    per_unit, length = _length(config)  # steps
    steps = min(share.steps, length)
    shorter = steps / length
    levels = min(share.levels, config.levels)
    kept = (1 - config.prune_fraction) ** config.levels
    optimizer, training = config.optimizer, config.training
    return dataclasses.replace(
        config,
        data=_scaled_data(config, scale, share),
        training=dataclasses.replace(
            training,
            steps=steps,
            epochs=TrainingConfig.epochs,
            batch_size=min(share.batch_size, training.batch_size),
            evaluate_every=max(1.0, steps / 4),
            train_examples=1_000,
        ),
        optimizer=dataclasses.replace(
            optimizer,
            milestones=tuple(round(at * per_unit * shorter) for at in optimizer.milestones),
            warmup=round(optimizer.warmup * per_unit * shorter),
        ),
        levels=levels,
        prune_fraction=1 - kept ** (1 / levels),
        rewind_step=math.ceil(config.rewind_step * shorter),  # 0 is another experiment than 1
        # Pruned randomly: at a later step the weights are those of the step.
        controls=("shuffled-globally",) if config.rewind_step else ("random",),
        replicates=share.replicates,
    )


def _length(config: ImpConfig) -> tuple[int, int]:
    """Return the steps of the unit of a training's times, and of all of it."""
    training, name = config.training, config.data.name
    if training.steps is not None:
        return 1, training.steps
    examples = SIZES[name] - round(config.data.validation * SIZES[name])
    per_epoch = examples // training.batch_size
    return per_epoch, round(training.epochs * per_epoch)


def _scaled_data(config: ImpConfig, scale: str, share: Share) -> DataConfig:
    parts = {"held_out_test": share.held_out_test, "num_train_examples": share.examples}
    if config.data.streamed and scale == "smoke":
        name = ON_THE_FLY[config.model.name]
        return DataConfig(name=name, validation=config.data.validation, **parts)
    return dataclasses.replace(config.data, **parts)
