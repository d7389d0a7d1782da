"""Speed of training many small networks: one a core, or several side by side on each.

Claim: on CPU one network a core, as jobs train LeNets, is as fast as any number side by side, and
holds a checkpoint up the least.

    python experiments/groups_speed.py --data-dir DIR         # some minutes on two cores

LeNet-300-100 on MNIST, batch 64, SGD. Variants take turns within one process; printed are medians
of the rounds, steps of all networks of a group together.
"""

import os
import sys

import jax
import numpy as np
from timing import interleaved

from jaxlth import cli, data, keys, masks, models
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.training import OptimizerConfig, execution, optimizers, train

BATCH = 64


def main(
    data_dir: str | None = None,
    steps: int = 300,
    rounds: int = 5,
    networks_per_device: tuple[int, ...] = (1, 2, 4, 8),
) -> int:
    """Measure and print.

    Args:
      data_dir: directory of the MNIST files; $JAXLTH_DATA by default.
      steps: steps of each training measured.
      rounds: how often the variants take turns.
      networks_per_device: networks on each core that share a program.
    """
    cores = len(os.sched_getaffinity(0))
    jax.config.update("jax_num_cpu_devices", cores)  # as the command does
    info, dataset = data.load(DataConfig(name="mnist", data_dir=data_dir), seed=0)
    model = models.build(ModelConfig(), shape=info.shape, classes=info.classes)
    config = OptimizerConfig(optimizer="sgd", lr=0.1)
    optimizer = optimizers.build(config, optimizers.schedule(config, steps=steps))
    trainer = train.make(model, optimizer, batch_size=BATCH)
    network = model.init(keys.stream(0, 0, "initialization"))
    mask = masks.dense(network.params)

    def of(devices: int, each: int):
        layout = execution.Layout(devices=tuple(jax.devices()[:devices]), per_device=each)
        advance = layout.map(trainer.advance, (0, 0, None, 0, None, None))
        count = devices * each
        states = layout.place([trainer.start(network, mask)] * count)
        same = layout.place([mask] * count), layout.share(dataset)
        orders = layout.place([jax.random.key(number) for number in range(count)])
        return lambda: advance(states, *same, orders, np.int32(0), np.int32(steps))

    groups = {"one network on one core": (1, 1)}
    groups |= {f"{each} on each of {cores} cores": (cores, each) for each in networks_per_device}
    taken = interleaved({name: of(*group) for name, group in groups.items()}, rounds)
    alone = taken["one network on one core"]
    print("| group | steps/s of all | of one on one core |\n|---|---|---|")
    for name, (devices, each) in groups.items():
        rate, faster = devices * each * steps / taken[name], devices * each * alone / taken[name]
        print(f"| {name} | {rate:.0f} | {faster:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
