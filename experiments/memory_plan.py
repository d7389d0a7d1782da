"""Memory and time of ResNet-50 on ImageNet, batch 1024, on the small TPU slices, without a TPU.

Claim: a training step fits the eight chips of a v5e-8 and the four of a v4-8, in float32 and in
bfloat16: no rematerialisation, no accumulation of gradients.

    pip install 'jax[tpu]'                     # for its compiler: no TPU is needed
    python experiments/memory_plan.py          # five minutes a row on two cores

The step that a job runs on streamed images, one batch over all chips, is compiled by the TPU's own
compiler for a slice that is not there; printed is what it says of one chip's memory, in MiB, and of
the cycles of a step, in millions. Hours are those of a training of 90 epochs, without the host.
"""

import dataclasses
import importlib.util
import os
import sys
from typing import Any, Literal
from unittest import mock

import hlo
import numpy as np

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the compiler is asked for by name below
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no machine to ask what it is

import jax
from jax.experimental import topologies

from jaxlth import cli, masks, models
from jaxlth.data import Split
from jaxlth.studies.imp.benchmarks import BENCHMARKS
from jaxlth.training import execution, optimizers, train

BATCH, IMAGES, EPOCHS = 1024, 1_281_167, 90
MIB = 2**20
COLUMNS = ["slice", "devices", "compute", "weights", "mask", "momentum", "images"]
COLUMNS += ["activations and the rest", "program", "together", "of", "cycles", "hours"]


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice as the compiler knows it."""

    topology: str
    options: dict[str, str]
    memory: int  # of one of its devices, in MiB
    hertz: float  # of the clock that cycles are counted by


SLICES = {
    "v5e-8": Slice("v5e:2x4", {}, 16 * 1024, 1.5e9),
    # The two cores of a chip are one device; otherwise this compiler would take them for two.
    "v4-8": Slice("v4:2x2x1", {"chip_config_name": "megacore"}, 32 * 1024, 1.05e9),
}


def main(
    slices: tuple[Literal["v5e-8", "v4-8"], ...] = ("v5e-8", "v4-8"),
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16"),
    batch_size: int = BATCH,
) -> int:
    """Compile and print.

    Args:
      slices: of TPUs.
      dtypes: what layers compute in.
      batch_size: images per step, over all devices.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError("This needs the TPU's compiler: pip install 'jax[tpu]'.")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in slices:
        for dtype in dtypes:
            devices, *memory, cycles = planned(SLICES[name], dtype, batch_size)
            cells = " | ".join(f"{bytes_ / MIB:.0f}" for bytes_ in memory)
            hours = EPOCHS * (IMAGES // batch_size) * cycles / SLICES[name].hertz / 3600
            cells += f" | {SLICES[name].memory} | {cycles / 1e6:.1f} | {hours:.1f}"
            print(f"| {name} | {devices} | {dtype} | {cells} |", flush=True)
    return 0


def planned(config: Slice, dtype: Any, batch_size: int) -> list[int]:
    """Return the number of devices, the bytes on each, by column, and the cycles of a step."""
    topology_description = topologies.get_topology_desc(
        platform="tpu", topology_name=config.topology, **config.options
    )
    devices = tuple(topology_description.devices)
    benchmark = BENCHMARKS["imagenet_resnet50"]
    config = dataclasses.replace(benchmark.model, dtype=dtype)
    with mock.patch("jax.default_backend", return_value="tpu"):  # by which networks are built
        model = models.build(config, shape=(224, 224, 3), classes=1000)
    schedule = optimizers.schedule(benchmark.optimizer, steps=EPOCHS * (IMAGES // BATCH))
    trainer = train.make(
        model,
        optimizers.build(benchmark.optimizer, schedule),
        batch_size=batch_size,
    )
    network = jax.eval_shape(model.init, jax.random.key(0))
    mask = masks.dense(network.params)
    state = jax.eval_shape(trainer.start, network, mask)
    part = batch_size // len(devices)
    batch = Split(
        jax.ShapeDtypeStruct((part, 224, 224, 3), np.uint8),
        jax.ShapeDtypeStruct((part,), np.int32),
    )
    layout = execution.Layout(devices, per_device=1, split=len(devices), looped=True)
    step = layout.map(trainer.update, (0, 0, 0, None, 0, None), donate=True)
    mean_std = (jax.ShapeDtypeStruct((3,), np.float32),) * 2
    at = jax.ShapeDtypeStruct((), np.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    *placed, keys = (stacked(tree, len(devices)) for tree in (state, mask, batch, key))
    compiled = step.lower(*placed, mean_std, keys, at).compile()
    memory = compiled.memory_analysis()
    parts = [size(network), size(mask), size(state.opt), size(batch)]
    rest = [memory.temp_size_in_bytes, memory.generated_code_size_in_bytes]
    together = memory.argument_size_in_bytes + sum(rest)
    return [len(devices), *parts, *rest, together, hlo.Program(compiled.as_text()).cycles()]


def stacked(tree: Any, devices: int) -> Any:
    """Return shapes as a layout places them: (devices, networks of each = 1, ...)."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((devices, 1, *leaf.shape), leaf.dtype), tree
    )


def size(tree: Any) -> int:
    """Return bytes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
