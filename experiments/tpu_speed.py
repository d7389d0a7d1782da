"""Speed of studies on TPUs, as the TPU's own compiler estimates it, without a TPU.

Claim: a training step of ResNet-20 on CIFAR-10 takes at most 1.5 ms on a chip of a v5e.

    pip install 'jaxlth[tpu]'              # for its compiler: no TPU is needed
    python experiments/tpu_speed.py        # an hour on two cores; rows are printed one by one

A row is a benchmark on a slice. The program that a job would run there is compiled; the compiler's
cycles of a step and of an evaluation, times their numbers, give the hours of the benchmark's whole
study. Nothing runs: ratios between large fusions hold to about 30 %, copies and small loops to a
factor of 2 to 5, and what has no estimate (sorts, exchange between chips) counts for nothing.
"""

import dataclasses
import functools
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import tpu_programs
from tpu_programs import SLICES

from jaxlth import cli, supermasks
from jaxlth.data import Split
from jaxlth.studies.imp.benchmarks import BENCHMARKS
from jaxlth.studies.imp.config import kinds_at
from jaxlth.training import fit

COLUMNS = ("benchmark", "slice", "networks", "on each device", "devices a batch")
COLUMNS += ("compile s", "cycles of a step")
COLUMNS += ("ms a network", "% of peak", "MiB", "calls a level", "hours", "chip-hours")

PASSES = 16  # of a selection of weights within a step, at most: 32 bits, two in a pass


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one device does in a step and an evaluation of its networks, as the compiler says."""

    seconds: float  # of compilation
    step: int  # cycles
    evaluation: int  # cycles
    memory: int  # bytes


def main(
    benchmarks: tuple[str, ...] = (
        "mnist_lenet_300_100",
        "cifar_conv2",
        "cifar_conv4",
        "cifar_conv6",
        "cifar_resnet20",
        "cifar_vgg16",
    ),
    slices: tuple[str, ...] = tuple(SLICES),
    networks: tuple[int, ...] = (),
    levels: int | None = None,
    networks_per_device: int | None = None,
    dtype: str = "float32",
) -> int:
    """Compile and print.

    Args:
      benchmarks: names in `jaxlth.studies.imp.benchmarks`, of data that memory holds.
      slices: of TPUs.
      networks: how many train; those of the benchmark by default.
      levels: of pruning; those of the benchmark by default.
      networks_per_device: networks side by side on a device, at most; as jobs train by default.
      dtype: of computation; parameters and what an optimizer keeps are float32.
    """
    if not tpu_programs.is_installed():
        raise ValueError("This needs the TPU's compiler: pip install 'jaxlth[tpu]'.")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for benchmark in benchmarks:
        config = side_by_side(BENCHMARKS[benchmark], networks_per_device)
        model = dataclasses.replace(config.model, dtype=dtype)
        config = dataclasses.replace(config, model=model)
        config = config if levels is None else dataclasses.replace(config, levels=levels)
        for name in slices:
            for count in networks or (config.replicates,):
                row = [benchmark, name, f"{count}", *cells(config, name, count)]
                print(f"| {' | '.join(row)} |", flush=True)
    return 0


def cells(config: Any, name: str, count: int) -> list[str]:
    """Return the cells of a row, from the fourth on."""
    loaded, on = tpu_programs.experiment(config), tpu_programs.devices(name)
    layout = loaded.compile_training().training_layout(count, devices=on)
    chip = name if layout.split > 1 else first_slice(SLICES[name].chip)
    cost = compiled(config, chip, layout.per_device, layout.split)
    plan, hertz = loaded.plan(1.0), SLICES[name].hertz
    seconds = (plan.steps * cost.step + len(plan.evaluations) * cost.evaluation) / hertz
    groups = math.ceil(count / layout.size)
    trainings = sum(len(kinds_at(level, config)) for level in range(config.levels + 1))
    hours = seconds * groups * trainings / 3600
    flops = step_flops(config) * layout.per_device
    of_peak = flops / layout.split / (cost.step / hertz) / SLICES[name].flops
    calls = groups * (seconds / fit.CHUNK_SECONDS + 2 * len(plan.evaluations))
    return [
        f"{layout.per_device}",
        f"{layout.split}",
        f"{cost.seconds:.0f}",
        f"{cost.step:,}",
        f"{1000 * cost.step / hertz / layout.per_device:.3f}",
        f"{100 * of_peak:.1f}",
        f"{cost.memory / 2**20:.0f}",
        f"{calls:.0f}",
        f"{hours:.2f}",
        f"{hours * SLICES[name].devices:.2f}",
    ]


def side_by_side(config: Any, networks_per_device: int | None) -> Any:
    """Return a config with so many networks on a device, at most; as it is if None."""
    if networks_per_device is None:
        return config
    training = dataclasses.replace(config.training, networks_per_device=networks_per_device)
    return dataclasses.replace(config, training=training)


def first_slice(chip: str) -> str:
    """Return the name of the first slice of a kind of chip."""
    return next(name for name, each in SLICES.items() if each.chip == chip)


@functools.cache
def compiled(
    config: Any,
    name: str,
    per_device: int,
    split: int,
    rule: supermasks.SupermaskConfig | None = None,
    change: Callable[[Any], Any] | None = None,
    due: float = 1.0,
) -> Cost:
    """Return the cost of a device, which is that of each: of so many networks, sharing batches.

    Args:
      config: of what is trained.
      name: of the slice.
      per_device: networks side by side on a device.
      split: devices that share each batch.
      rule: of supermasks that are trained in place of weights; None for weights.
      change: what becomes of the optimizer; None for nothing.
      due: share of the steps in which what depends on a condition is done.
    """
    loaded = tpu_programs.experiment(side_by_side(config, per_device))
    if rule is not None:
        loaded = tpu_programs.with_supermask(loaded, rule)
        change = functools.partial(supermasks.optimizer, rule)
    training = loaded.compile_training(**({} if change is None else {"change": change}))
    # Four of sixteen chips are no slice that the compiler knows: all chips share, in groups.
    on = tpu_programs.devices(name) if split > 1 else tpu_programs.devices(name)[:1]
    groups = len(on) // split
    layout = training.layout(groups * per_device, devices=on[: groups * split], split=split)
    programs = tpu_programs.Programs(loaded, training, layout)
    clock = time.perf_counter()
    training = programs.advance()
    seconds = time.perf_counter() - clock
    text, memory = tpu_programs.text_of(training), training.memory_analysis()
    return Cost(
        seconds=seconds,
        step=text.cycles(text.steps(), passes=PASSES, due=due),
        evaluation=tpu_programs.text_of(programs.measure()).cycles(passes=PASSES),
        memory=memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
    )


@functools.cache
def step_flops(config: Any) -> float:
    """Return the floating-point operations of a step of one network, before any compiler."""
    loaded = tpu_programs.experiment(config)
    trainer, network = loaded.compile_training().trainer, loaded.prunable.like
    mask, size = loaded.prunable.dense, trainer.batch_size
    images = jax.ShapeDtypeStruct((size, *loaded.info.shape), np.uint8)
    batch = Split(images, jax.ShapeDtypeStruct((size,), np.int32))  # type: ignore[arg-type]
    state = jax.eval_shape(trainer.start, network, mask)
    level = jax.ShapeDtypeStruct(loaded.info.shape[-1:], np.float32)
    key, step = jax.eval_shape(lambda: jax.random.key(0)), jax.ShapeDtypeStruct((), np.int32)
    lowered = jax.jit(trainer.update).lower(state, mask, batch, (level, level), key, step)
    return lowered.cost_analysis()["flops"]


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
