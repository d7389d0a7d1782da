"""Speed of the line between two networks, against the barest loop over its points.

Claim: 30 points of the line between two LeNets, 10,000 MNIST test images each, take a job no more
than 1.2 times as long as the barest loop in JAX over matrices made ready before.

    python experiments/line_speed.py --data-dir DIR           # a minute on two cores

Variants take turns within one process; printed are medians of the rounds and ratios of medians.
"""

import itertools
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
from timing import interleaved

from jaxlth import cli, keys, landscape, masks
from jaxlth.data import DataConfig
from jaxlth.studies.instability import run as instability
from jaxlth.studies.instability.comparison import LineEvaluator
from jaxlth.studies.instability.config import InstabilityConfig
from jaxlth.training import evaluation


def main(data_dir: str | None = None, points: int = 30, rounds: int = 7) -> int:
    """Measure and print.

    Args:
      data_dir: directory of the MNIST files; $JAXLTH_DATA by default.
      points: of the line, ends included.
      rounds: how often the variants take turns.
    """
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))  # as the command does
    # As many examples of training as of testing: half of a job's time is that of the bare loop.
    config = InstabilityConfig(data=DataConfig(name="mnist", data_dir=data_dir))
    experiment = instability.prepare(config)
    dataset, classifier = experiment.device_data.dataset, experiment.classifier
    a, b = (
        classifier.model.init(keys.stream(0, replicate, "initialization")) for replicate in (0, 1)
    )
    mask = masks.dense(a.params)
    mean_std = jnp.asarray(dataset.mean), jnp.asarray(dataset.std)
    inputs = classifier.normalize(jnp.asarray(dataset.test.images), *mean_std)
    ready = jnp.reshape(inputs, (len(inputs), -1)), jnp.asarray(dataset.test.labels)
    test = jax.device_put(dataset.test)

    @jax.jit
    def bare(alpha, a, b, inputs, labels):
        params = jax.tree.map(lambda x, y: (1 - alpha) * x + alpha * y, a.params, b.params)
        layers = list(params.values())
        for layer in layers[:-1]:
            inputs = jax.nn.relu(inputs @ layer["kernel"] + layer["bias"])
        logits = inputs @ layers[-1]["kernel"] + layers[-1]["bias"]
        return jnp.mean(jnp.argmax(logits, -1) != labels)

    @jax.jit
    def along(a, b, test, mean_std):
        def error(network):
            sums = evaluation.sum_over_split(
                lambda batch: evaluation.metric_sums(classifier, network, mask, batch, mean_std),
                test,
            )
            return 1 - sums.correct / len(ready[1])

        return landscape.errors_along(error, a, b, points=points)

    line = LineEvaluator(experiment, experiment.compile_training(), points=points, estimate=False)
    places = landscape.alphas(points)
    variants = {
        "barest loop": lambda: np.array([bare(each, a, b, *ready) for each in places]),
        "landscape.errors_along": lambda: along(a, b, test, mean_std),
        "a job's pair, test and training examples": lambda: np.concatenate(
            [group["test_error"] for group in line.along(a, b, mask)]
        ),
    }
    errors = {name: np.asarray(run()) for name, run in variants.items()}
    for one, other in itertools.pairwise(errors.values()):
        np.testing.assert_allclose(one, other, atol=3e-4)
    taken = interleaved(variants, rounds)
    images = {name: 10_000 if "job" not in name else 20_000 for name in taken}
    print("| what | median | images | of the barest loop, per image |\n|---|---|---|---|")
    for name, seconds in taken.items():
        ratio = seconds / images[name] / (taken["barest loop"] / 10_000)
        print(f"| {name} | {seconds:.2f} s | {images[name]} | {ratio:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
