"""Speed of tickets without the units that do not matter, level by level.

Claim: sparsity becomes speed on any hardware once inputs and units are left out that no output
depends on; of LeNet-300-100 on MNIST that is from the level on at which hidden units die.

    python experiments/compaction_speed.py --data-dir DIR         # ten minutes on two cores

Prunes one network, kept in --out; then the masked network and the compact one take turns, level by
level, in training and in inference. Printed are medians of the rounds and ratios of medians.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import interleaved

from jaxlth import cli, graphs, masks, store
from jaxlth.data import DataConfig
from jaxlth.studies.compaction import Compaction, Group
from jaxlth.studies.config import run_label
from jaxlth.studies.controls import TICKET
from jaxlth.studies.imp import run as imp
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.imp.pruning import prune_rule
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import Levels, keep_by_level
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.training import TrainingConfig

STEPS = 100  # of training in one turn


def main(data_dir: str | None = None, out: str = "runs", levels: int = 24, rounds: int = 5) -> int:
    """Measure and print.

    Args:
      data_dir: directory of the MNIST files; $JAXLTH_DATA by default.
      out: folder of the run whose levels are measured; trained if it is not there.
      levels: prunings, of a fifth of the weights each.
      rounds: how often the variants take turns.
    """
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))  # as the command does
    config = ImpConfig(
        data=DataConfig(name="mnist", data_dir=data_dir),
        training=TrainingConfig(steps=3_000, batch_size=60),
        levels=levels,
        controls=(),
        replicates=1,
    )
    cli.run_study("imp", config, out=out)
    path = store.folder(out, config, job="imp", label=run_label(config))
    experiment = imp.prepare(config)
    lab = Lab(experiment, store.open_readonly(path))
    tickets = Levels(lab, config, keep_by_level(config, lab.dense_mask))
    prune = prune_rule(lab)
    compiled_training = experiment.compile_training()
    compaction = Compaction(
        experiment, compiled_training, LoadedExperiment.compile_training, worthwhile=0
    )
    test = jnp.asarray(experiment.device_data.dataset.test.images, jnp.float32) / 255
    test = test.reshape((len(test), -1))
    print("| level | density | compact, for training | training | for inference | inference |")
    print("|---|---|---|---|---|---|")
    for level in range(levels + 1):
        start = tickets.start(level, TICKET, 0, prune)
        (request,) = tickets.requests(level, {TICKET: {0: start}})
        (smaller,) = compaction.groups([request])
        start = jax.device_get(request.start())
        folded = graphs.compact(start.network.params, start.mask, fold=True)
        taken = interleaved(
            {
                "masked": training(Group([request], compiled_training, experiment.device_data)),
                "compact": training(smaller),
                "masked inference": inference(start.network.params, start.mask, test),
                "compact inference": inference(
                    folded.params, folded.mask, test[:, folded.units[0]]
                ),
            },
            rounds,
        )
        params = smaller.requests[0].start().network.params
        print(
            f"| {level} | {100 * float(masks.density(start.mask)):.2f} % | {shape(params)} | "
            f"{taken['masked'] / taken['compact']:.2f} | {shape(folded.params)} | "
            f"{taken['masked inference'] / taken['compact inference']:.2f} |",
            flush=True,
        )
    return 0


def training(group: Group) -> Callable[[], Any]:
    """Return what trains the first network of a group for some steps."""
    request, compiled_training = group.requests[0], group.compiled_training
    start, layout = jax.device_get(request.start()), compiled_training.layout(1)
    compiled, dataset = compiled_training.compiled(layout), group.device_data.shared(layout)
    placed = [layout.place([each]) for each in (start.mask, request.key)]
    last = [layout.place([jax.device_get(compiled_training.trainer.start(*start))])]

    def run() -> Any:
        last[0] = compiled.advance(
            last[0], placed[0], dataset, placed[1], np.int32(0), np.int32(STEPS)
        )
        return last[0].loss_sum

    return run


def inference(params: Any, mask: masks.Mask, inputs: jax.Array) -> Callable[[], jax.Array]:
    """Return what computes the classes of all test images."""
    masked = jax.device_put(masks.apply(params, mask))
    return functools.partial(classes, masked, inputs)


@jax.jit
def classes(params: Any, inputs: jax.Array) -> jax.Array:
    """Return the class that each input is taken for."""
    *hidden, last = params.values()
    for layer in hidden:
        inputs = jax.nn.relu(inputs @ layer["kernel"] + layer["bias"])
    return jnp.argmax(inputs @ last["kernel"] + last["bias"], -1)


def shape(params: Any) -> str:
    """Return the widths of a perceptron as they are written."""
    kernels = [layer["kernel"].shape for layer in params.values()]
    return " x ".join(map(str, [kernels[0][0], *(units for _, units in kernels)]))


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
