"""Speed and memory of a user's own network and data against the library's of the same kind.

Claim: a LeNet-300-100 given as a linen module, as an nnx module or as plain functions trains at
least 0.95 as fast as the library's through the same study, iterative magnitude pruning; so does the
library's on arrays of the size of MNIST. Such arrays take no more memory than the built-in set; the
fingerprint of own parts takes some more, whatever their size.

    python experiments/own_speed.py --data-dir DIR      # about three minutes on two cores

The variants prune and train level by level, in turns within one process; the seconds of a level are
those of its record: training and its evaluations, compiled before. Printed are medians of the
rounds and ratios of medians. Peak memory is that of a short study in a process of its own, on
Linux: all of it, and what the study adds to the process, which holds a user's arrays before.
"""

import collections
import itertools
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from jaxlth import cli, data, models, store, studies
from jaxlth.data import ArraySource, DataConfig
from jaxlth.models import Model
from jaxlth.studies.imp import run as imp
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.lab import Lab
from jaxlth.training import TrainingConfig

WIDTHS = (784, 300, 100, 10)
BASE = "lenet-300-100 on mnist"
WARM = 2  # levels that compile
MEMORY_STEPS = 100


def main(data_dir: str | None = None, steps: int = 2000, rounds: int = 7) -> int:
    """Measure and print.

    Args:
      data_dir: directory of the MNIST files; $JAXLTH_DATA by default.
      steps: steps of each training measured.
      rounds: how often the variants take turns.
    """
    arrays = mnist(data_dir)
    own, built_in = from_arrays(arrays), DataConfig(name="mnist", data_dir=data_dir)
    variants = {
        BASE: experiment("lenet-300-100", built_in, steps),
        "lenet-300-100 on own arrays": experiment("lenet-300-100", own, steps),
    }
    images = arrays[0][0][:1].astype(np.float32)
    for name, model in networks(images).items():
        variants[f"{name} on own arrays"] = experiment(model, own, steps)
    print("| what | median | of the library's |\n|---|---|---|")
    taken = interleaved(variants, rounds)
    for name, seconds in taken.items():
        ratio = taken[BASE] / seconds
        print(f"| {name} | {steps / seconds:.0f} steps/s | {ratio:.2f} |", flush=True)
    print("\n| data of a short study | peak memory | of the library's | added by the study |")
    print("|---|---|---|---|")
    peaks = memory(arrays, data_dir)
    for name, (peak, added) in peaks.items():
        ratio = peak / peaks["mnist"][0]
        print(f"| {name} | {peak:.0f} MB | {ratio:.2f} | {added:.0f} MB |")
    return 0


def mnist(data_dir: str | None) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return the arrays of MNIST as somebody would have them: (images, labels) of both splits."""
    _, dataset = data.load(DataConfig(name="mnist", data_dir=data_dir, validation=0.0), seed=0)
    return tuple((split.images, split.labels) for split in (dataset.train, dataset.test))


def from_arrays(arrays: tuple[tuple[np.ndarray, np.ndarray], ...]) -> ArraySource:
    """Return own data that are normalised as MNIST is."""
    return data.from_arrays(*arrays, normalize=DataConfig().normalize)


def experiment(model: Any, source: Any, steps: int) -> studies.Experiment:
    """Return what a variant trains."""
    training = TrainingConfig(steps=steps, evaluate_every=steps)
    return studies.Experiment(name="own-speed", model=model, data=source, training=training)


def networks(images: np.ndarray) -> dict[str, Model]:
    """Return LeNet-300-100 in each way that a user may give it."""
    return {
        "linen": models.from_linen(Linen(), images),
        "nnx": models.from_nnx(Nnx, images),
        "functions": models.from_functions(init, apply),
    }


class Linen(linen.Module):
    """LeNet-300-100 as a linen module."""

    @linen.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Return logits."""
        x = images.reshape(len(images), -1)
        for width in WIDTHS[1:-1]:
            x = linen.relu(linen.Dense(width)(x))
        return linen.Dense(WIDTHS[-1])(x)


class Nnx(nnx.Module):
    """LeNet-300-100 as an nnx module."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        first, second, third, last = WIDTHS
        self.first = nnx.Linear(first, second, rngs=rngs)
        self.second = nnx.Linear(second, third, rngs=rngs)
        self.last = nnx.Linear(third, last, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return logits."""
        x = nnx.relu(self.first(images.reshape(len(images), -1)))
        return self.last(nnx.relu(self.second(x)))


def init(key: jax.Array) -> dict[str, Any]:
    """Return the parameters of LeNet-300-100."""
    params = {}
    for place, (before, after) in enumerate(itertools.pairwise(WIDTHS)):
        kernel = jax.random.normal(jax.random.fold_in(key, place), (before, after))
        params[f"layer{place}"] = {
            "kernel": kernel * (2 / before) ** 0.5,
            "bias": jnp.zeros(after),
        }
    return params


def apply(params: Any, images: jax.Array) -> jax.Array:
    """Return logits of LeNet-300-100."""
    x = images.reshape(len(images), -1)
    for place in range(len(WIDTHS) - 2):
        layer = params[f"layer{place}"]
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    last = params[f"layer{len(WIDTHS) - 2}"]
    return x @ last["kernel"] + last["bias"]


def interleaved(variants: dict[str, studies.Experiment], rounds: int) -> dict[str, float]:
    """Return the median seconds of a level of each variant, which take turns level by level."""
    levels = {name: seconds_of_levels(each, rounds + WARM) for name, each in variants.items()}
    taken = collections.defaultdict(list)
    for turn in range(rounds + WARM):
        for name, seconds in levels.items():
            of_level = next(seconds)
            if turn >= WARM:
                taken[name].append(of_level)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def seconds_of_levels(experiment: studies.Experiment, count: int) -> Iterator[float]:
    """Yield the seconds that the training of each level takes, in a study of one replicate."""
    config = ImpConfig(**vars(experiment.config) | {"replicates": 1}, levels=count, controls=())
    folder = pathlib.Path(tempfile.mkdtemp())
    with store.open_run(folder, config, job="imp", label="own-speed") as run:
        lab = Lab(imp.prepare(config, experiment.parts), run)
        for event in imp.imp(lab, config):
            for record in event.finished:
                yield record["seconds"]


# The peak of the process's own memory; what `resource` says counts the parent from before the exec.
STUDY = """
import pathlib, re, sys, tempfile
import numpy as np
from jaxlth import data, studies
from jaxlth.data import DataConfig

own, place, steps = sys.argv[1:]


def memory(name):
    told = re.search(name + r":\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())
    return int(told[1]) if told else 0


if own == "own":
    with np.load(place) as file:
        pairs = [(file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test")]
    source = data.from_arrays(*pairs, normalize=DataConfig().normalize)
else:
    source = DataConfig(name="mnist", data_dir=place or None)
experiment = studies.Experiment(
    name="own-memory", model="lenet-300-100", data=source, steps=int(steps)
)
before = memory("VmRSS")
studies.imp(
    experiment, levels=1, controls=[], replicates=1, out=tempfile.mkdtemp(), progress=False
)
print("kB", memory("VmHWM"), before)
"""


def memory(
    arrays: tuple[tuple[np.ndarray, np.ndarray], ...], data_dir: str | None
) -> dict[str, tuple[float, float]]:
    """Return the memory in MB of a short study on MNIST, and on the same arrays as own."""
    (x_train, y_train), (x_test, y_test) = arrays
    file = pathlib.Path(tempfile.mkdtemp()) / "mnist.npz"
    np.savez(file, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    places = {"mnist": ("built-in", data_dir or ""), "own arrays": ("own", str(file))}
    return {name: peak(*place) for name, place in places.items()}


def peak(own: str, place: str) -> tuple[float, float]:
    """Return the peak memory in MB of a process with a short study, and what the study adds."""
    command = [sys.executable, "-c", STUDY, own, place, str(MEMORY_STEPS)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    most, before = (int(word) / 1000 for word in done.stdout.split()[-2:])
    return most, most - before


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
