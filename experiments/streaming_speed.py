"""How fast streamed images are decoded, and what share of a training's time waits for them.

Claim: a core decodes and crops about 300 images of ImageNet's size a second, so that a step waits
for data wherever its images divided by its seconds are more than the cores that decode give.

    python experiments/streaming_speed.py                         # a minute on two cores
    python experiments/streaming_speed.py --step-seconds 0.05     # of a faster device

Images are JPEGs of about 500x400 pixels in a temporary folder. The device is a clock: a step begins
once its batch is there and the step before is over, and the batch after the next is decoded
meanwhile, as in `training.streaming`.
"""

import itertools
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image

from jaxlth import cli, keys
from jaxlth.data import StreamConfig, folders, streamed, workers

WORKERS = (0, 1, 2)
QUALITY = 90  # of the JPEGs: 100 to 150 kB each, as ImageNet's
ORDER, CROPS = (keys.stream(0, 0, purpose) for purpose in ("order", "augmentation"))


def main(
    images: int = 256, steps: int = 40, batch_size: int = 32, step_seconds: float = 0.3
) -> int:
    """Measure and print two Markdown tables.

    Args:
      images: JPEGs that are made.
      steps: steps of each measurement.
      batch_size: images of a step.
      step_seconds: length of a step on the device, without waiting.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = folders.read(write(pathlib.Path(folder), images), name="set")[0]
        print("| 224-pixel crops | images/s of one core |\n|---|---|")
        print(f"| for training | {images / decoding(source, images, batch_size):.0f} |")
        print(f"| for testing | {images / evaluating(source, batch_size):.0f} |", flush=True)
        print(f"\n| workers | waiting, of steps of {step_seconds:g} s with {batch_size} images |")
        print("|---|---|")
        for count in WORKERS:
            share = waiting(source, count, steps, batch_size, step_seconds)
            print(f"| {count} | {100 * share:.0f} % |", flush=True)
    return 0


def write(root: pathlib.Path, count: int) -> str:
    """Write class folders of JPEGs, of smooth content with noise; return their directory."""
    random = np.random.default_rng(0)
    for number in range(count):
        sides = (int(random.integers(450, 551)), int(random.integers(360, 441)))
        coarse = PIL.Image.fromarray(random.integers(0, 256, (12, 15, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(sides, PIL.Image.Resampling.BICUBIC), np.float32)
        noisy = np.clip(smooth + random.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        for split in ("train", "val")[: 2 if number < 2 else 1]:
            file = root / "set" / split / f"class_{number % 2}" / f"{number:05d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(noisy).save(file, quality=QUALITY)
    return str(root)


def batches(source: Any, count: int, end: int, batch_size: int) -> Any:
    """Return the batches of steps 0, ..., end - 1, decoded by so many workers."""
    return streamed.training(
        source,
        StreamConfig(workers=count),
        batch_size=batch_size,
        start_step=0,
        end=end,
        order_key=ORDER,
        crop_key=CROPS,
    )


def decoding(source: Any, images: int, batch_size: int) -> float:
    """Return the seconds that an epoch takes in this process."""
    return seconds(batches(source, 0, images // batch_size, batch_size))


def evaluating(source: Any, batch_size: int) -> float:
    """Return the seconds that all images, cropped for testing, take in this process."""
    return seconds(streamed.evaluation(source, StreamConfig(), batch_size=batch_size))


def seconds(items: Iterator[Any]) -> float:
    """Return how long an iterator takes to its end."""
    clock = time.perf_counter()
    for _ in items:
        pass
    return time.perf_counter() - clock


def waiting(source: Any, count: int, steps: int, batch_size: int, step_seconds: float) -> float:
    """Return the share of time in which the device waits for data, once it has its first batch."""
    source_batches = batches(source, count, steps + 1, batch_size)
    sent = workers.prefetch(source_batches, put=lambda batch: batch, depth=StreamConfig().prefetch)
    next(sent)
    start = free = time.perf_counter()
    waited = 0.0
    for _ in itertools.islice(sent, steps):
        waited += max(0.0, time.perf_counter() - free)
        time.sleep(max(0.0, free - time.perf_counter()))
        free = time.perf_counter() + step_seconds
    source_batches.close()
    return waited / (free - start)


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
