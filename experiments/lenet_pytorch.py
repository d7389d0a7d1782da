"""The dense LeNet-300-100 of the study in PyTorch, written by itself: what should it reach?

Claim: with the settings of Frankle 2023, Table 4.1, a dense network on MNIST ends between 97.4 and
98.2 percent, in PyTorch as in this library; which of them is chance of the last step.

    pip install torch
    python experiments/lenet_pytorch.py --data-dir DIR      # a minute a seed on one core
"""

import importlib.util
import itertools
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlth import cli, data
from jaxlth.data import DataConfig

if TYPE_CHECKING:
    torch: Any
elif importlib.util.find_spec("torch"):
    import torch
else:
    torch = None

BATCH, LR = 60, 12e-4


def main(
    data_dir: str | None = None, seeds: tuple[int, ...] = (0, 1, 2), steps: int = 24_000
) -> int:
    """Train and print the test accuracy in percent, twenty times and at the end.

    Args:
      data_dir: directory of the MNIST files; $JAXLTH_DATA by default.
      seeds: of PyTorch's generator, one for each network.
      steps: length of training.
    """
    if torch is None:
        raise ValueError("This needs PyTorch: pip install torch.")
    _, dataset = data.load(DataConfig(name="mnist", data_dir=data_dir, validation=0.0), seed=0)
    train, test = (tensors(split, dataset) for split in (dataset.train, dataset.test))
    for seed in seeds:
        torch.manual_seed(seed)
        accuracies = trained(train, test, steps)
        listed = " ".join(f"{accuracy:.2f}" for accuracy in accuracies)
        print(f"seed {seed}: {accuracies[-1]:.2f} at the end; before: {listed}", flush=True)
    return 0


def tensors(split: data.Split, dataset: data.Dataset) -> tuple[Any, Any]:
    """Return images, normalised by mean and standard deviation, and labels."""
    images = np.asarray(data.normalize(split.images, dataset.mean, dataset.std))
    return torch.tensor(images.reshape(len(images), -1)), torch.tensor(split.labels).long()


def trained(train: tuple[Any, Any], test: tuple[Any, Any], steps: int) -> list[float]:
    """Return the test accuracies of one training, in percent."""
    widths = (train[0].shape[1], 300, 100, 10)
    layers = [torch.nn.Linear(*sizes) for sizes in itertools.pairwise(widths)]
    for layer in layers:
        torch.nn.init.kaiming_normal_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    relu = torch.nn.ReLU()
    network = torch.nn.Sequential(layers[0], relu, layers[1], relu, layers[2])
    optimizer = torch.optim.Adam(network.parameters(), lr=LR)
    accuracies: list[float] = []
    for step in range(steps):
        first = step * BATCH % len(train[1])
        if first == 0:
            order = torch.randperm(len(train[1]))
        at = order[first : first + BATCH]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(train[0][at]), train[1][at]).backward()
        optimizer.step()
        if (step + 1) % max(1, steps // 20) == 0:
            with torch.no_grad():
                right = (network(test[0]).argmax(1) == test[1]).float()
            accuracies.append(100 * right.mean().item())
    return accuracies


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
