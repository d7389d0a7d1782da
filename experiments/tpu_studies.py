"""Hours of studies on TPUs, as the TPU's own compiler estimates them, without a TPU.

    pip install 'jaxlth[tpu]'              # for its compiler: no TPU is needed
    python experiments/tpu_studies.py      # rows are printed one by one

What `tpu_speed.py` says of iterative pruning, this says of other studies and networks, at the scale
of their papers. A row is a study on a slice: the networks that it trains, times the compiler's
cycles of a step and of an evaluation. Estimates are as good as there. No network stops early here:
studies with patience take less. What is done between trainings is left out, but for the networks on
lines between twins.
"""

import dataclasses
import functools
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import early_networks
import linear_mode_connectivity as connectivity
import network_separation
import pruning_at_init
import supermask_tickets
import tpu_programs
import tpu_speed
import trained_supermasks
import transformers
from tpu_programs import SLICES

from jaxlth import cli, prune, supermasks
from jaxlth.data import DataConfig
from jaxlth.studies.config import StudyConfig
from jaxlth.studies.dynamic.config import DynamicConfig
from jaxlth.studies.imp.benchmarks import BENCHMARKS
from jaxlth.studies.imp.config import ImpConfig, kinds_at
from jaxlth.studies.instability import config as instability
from jaxlth.studies.prune_early import artifacts as early_artifacts
from jaxlth.studies.separation.config import SeparationConfig
from jaxlth.studies.separation.config import imp as imp_of_separation
from jaxlth.studies.threshold_masks.config import all_sizes
from jaxlth.studies.train_supermasks import config as masked

COLUMNS = ("study", "slice", "networks", "million steps", "on each device", "compile s")
COLUMNS += ("cycles of a step", "MiB", "hours", "chip-hours")
GROWTH: dict[str, Any] = {"set": "random", "rigl": "gradient"}


@dataclasses.dataclass(frozen=True)
class Exchange:
    """Makes an optimizer exchange weights, as `jaxlth dynamic` does."""

    growth: str
    density: float
    every: int
    fraction: float
    end: int

    def __call__(self, optimizer: Any) -> Any:
        """Return the optimizer that exchanges weights."""
        schedule = prune.Schedule(
            density=self.density,
            kind="constant",
            every=self.every,
            end=self.end,
            fraction=self.fraction,
        )
        growth, scope = GROWTH[self.growth], "erdos-renyi-kernel"
        key = tpu_programs.keys.stream(0, 0, "")
        return prune.sparsify(optimizer, schedule=schedule, scope=scope, growth=growth, key=key)


class Trainings(NamedTuple):
    """Networks that train alike, as many at once as the devices take."""

    config: Any
    networks: int
    start: int = 0  # step
    times: int = 1  # how often so many are trained, one after the other
    length: float = 1.0  # of the training, in lengths that the config says
    rule: supermasks.SupermaskConfig | None = None
    exchange: Exchange | None = None


class Work(NamedTuple):
    """What a study does."""

    trainings: list[Trainings]
    evaluated: int = 0  # networks on lines, on the test images and those of training


def main(
    studies: tuple[str, ...] = (),
    slices: tuple[str, ...] = tuple(SLICES),
    networks_per_device: int | None = None,
) -> int:
    """Compile and print.

    Args:
      studies: names in STUDIES; all by default.
      slices: of TPUs.
      networks_per_device: networks side by side on a device, at most; as jobs train by default.
    """
    if not tpu_programs.is_installed():
        raise ValueError("This needs the TPU's compiler: pip install 'jaxlth[tpu]'.")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for study in studies or STUDIES:
        for name in slices:
            row = [study, name, *cells(STUDIES[study](), name, networks_per_device)]
            print(f"| {' | '.join(row)} |", flush=True)
    return 0


def cells(work: Work, name: str, networks_per_device: int | None = None) -> list[str]:
    """Return the cells of a row, from the third on; the program is that with the most steps."""
    hertz, on = SLICES[name].hertz, tpu_programs.devices(name)
    cycles, taken = 0.0, []
    for each in work.trainings:
        config = tpu_speed.side_by_side(plain(each.config), networks_per_device)
        loaded = experiment(config)
        layout = loaded.compile_training().training_layout(each.networks, devices=on)
        chip = name if layout.split > 1 else tpu_speed.first_slice(SLICES[name].chip)
        due = 1.0 if each.exchange is None else 1 / each.exchange.every
        cost = tpu_speed.compiled(
            config, chip, layout.per_device, layout.split, each.rule, each.exchange, due
        )
        plan = loaded.plan(each.length)
        steps = plan.steps - each.start
        evaluations = sum(step > each.start for step in plan.evaluations)
        groups = math.ceil(each.networks / layout.size) * each.times
        cycles += groups * (steps * cost.step + evaluations * cost.evaluation)
        of_step = f"{cost.step:,}", f"{cost.memory / 2**20:.0f}"
        total = each.networks * each.times * steps
        taken.append((total, cost.step, layout, cost.seconds, of_step))
    _, _, layout, seconds, of_step = max(taken, key=lambda each: each[:2])
    if work.evaluated:
        sizes = loaded.info.test, loaded.info.validation, loaded.prunable.config.training
        share = (sizes[0] + sizes[2].train_examples) / (sizes[0] + sizes[1])
        cycles += work.evaluated * share * cost.evaluation / layout.per_device / len(on)
    hours = cycles / hertz / 3600
    return [
        f"{sum(each.networks * each.times for each in work.trainings)}",
        f"{sum(each[0] for each in taken) / 1e6:.1f}",
        f"{layout.per_device}" + (f", {layout.split} share" if layout.split > 1 else ""),
        f"{seconds:.0f}",
        *of_step,
        shown(hours),
        shown(hours * len(on)),
    ]


def shown(hours: float) -> str:
    """Return hours with two digits after the point, or two that are not 0.

    Example:
      >>> shown(12.345), shown(0.0012345)
      ('12.35', '0.0012')
    """
    return f"{hours:.2f}" if hours >= 0.1 else f"{hours:.2g}"


def plain(config: Any) -> StudyConfig:
    """Return what a config trains, the same for all studies that train it."""
    fields = {each.name: getattr(config, each.name) for each in dataclasses.fields(StudyConfig)}
    data = dataclasses.replace(config.data, data_dir=None)
    return StudyConfig(**fields | {"data": data, "replicates": 1, "name": ""})


@functools.cache
def experiment(config: StudyConfig) -> Any:
    """Return the experiment of a config, on shapes."""
    return tpu_programs.experiment(config)


def imp(config: ImpConfig) -> Work:
    """Return all levels with their controls."""
    levels = [
        Trainings(config, config.replicates, config.rewind_step if level else 0)
        for level in range(config.levels + 1)
        for _ in kinds_at(level, config)
    ]
    return Work(levels)


def transformer(network: str) -> Work:
    """Return iterative pruning of a transformer."""
    return imp(transformers.imp(network, "paper", transformers.SCALES["paper"], None))


def twins(network: str) -> Work:
    """Return the dense networks of chapter 4, their twins from each step, and the lines between."""
    config = connectivity.settings(network, "paper")
    of_step = {
        step: config.replicates
        * config.twins
        * len(instability.twin_lengths(config, step))
        * len(instability.network_specs(config, step))
        for step in config.rewind_steps
    }
    pairs = config.replicates * len(instability.twin_pairs(config)) * len(config.rewind_steps)
    return Work(
        [
            Trainings(config, config.replicates),
            *(Trainings(config, count, step) for step, count in of_step.items()),
        ],
        evaluated=pairs * config.points,
    )


def prune_early(network: str) -> Work:
    """Return the ablations of chapter 5: scores before training, shuffled and drawn anew."""
    shared = early_networks.settings(network, "paper", data_dir=None)
    work, before = [Trainings(shared, shared.replicates)], set()
    for config in pruning_at_init.of_part("ablations", shared, network, "paper"):
        tickets = {name for name in early_artifacts.networks(config) if "/dense/" not in name}
        work.append(Trainings(config, len(tickets - before)))
        before |= tickets
    return Work(work)


def threshold_masks() -> Work:
    """Return long and short trainings, tickets and networks of other sizes, the largest's cost."""
    count = supermask_tickets.COUNTS["paper"]
    config = supermask_tickets.settings("paper", "validation", count, None)
    sizes = len(list(all_sizes(config)))
    return Work(
        [
            Trainings(config, count, times=2),
            Trainings(config, count, times=1 + sizes, length=1 / 4),
        ]
    )


def train_supermasks() -> Work:
    """Return masks of all methods and densities, and the trainings of the weights they keep."""
    replicates, work = trained_supermasks.REPLICATES["paper"], []
    shared = trained_supermasks.common("lenet", "paper", replicates, None)
    for part in ("bernoulli", "edge-popup", "gem-miner"):
        rule = None
        for config in trained_supermasks.of_part(part, shared, "paper"):
            rules = [rule for _, rule in masked.rules(config)]
            rule = rule or rules[0]
            again, optimizer = masked.finetuning(config)
            weights = dataclasses.replace(config, training=again, optimizer=optimizer)
            work += [
                Trainings(config, replicates, times=len(rules), rule=rule),
                Trainings(weights, replicates * len(masked.finetuned(config))),
            ]
    return Work(work)


def dynamic(benchmark: str) -> Work:
    """Return a static mask, SET and RigL at two densities, trained as long and five times so."""
    trained = BENCHMARKS[benchmark]
    config = DynamicConfig(
        data=trained.data,
        model=trained.model,
        training=trained.training,
        optimizer=trained.optimizer,
        replicates=trained.replicates,
        densities=(0.1, 0.02),
        lengths=(1.0, 5.0),
        methods=("static", *GROWTH),
    )
    exchanges: dict[str, Exchange | None] = {"static": None}
    for growth in GROWTH:
        exchanges[growth] = Exchange(
            growth,
            config.densities[0],
            config.update_every,
            config.update_fraction,
            int(config.update_until * experiment(plain(config)).plan(1.0).steps),
        )
    return Work(
        [
            Trainings(config, config.replicates),
            *(
                Trainings(
                    config,
                    config.replicates,
                    times=len(config.densities),
                    length=length,
                    exchange=exchanges[method],
                )
                for method in config.methods
                for length in config.lengths
            ),
        ]
    )


def separation(config: SeparationConfig) -> Work:
    """Return all levels, as if none ended early."""
    return imp(dataclasses.replace(imp_of_separation(config), training=config.training))


def images() -> SeparationConfig:
    """Return the settings for MNIST beside Fashion-MNIST."""
    asked = network_separation.Asked(
        "paper", None, None, "validation", DataConfig().validation, None, "runs", draw=False
    )
    return network_separation.mnist(asked)


STUDIES: dict[str, Callable[[], Work]] = {
    "instability, LeNet": lambda: twins("lenet"),
    "instability, ResNet-20": lambda: twins("resnet-20"),
    "instability, VGG-16": lambda: twins("vgg-16"),
    "prune-early, LeNet": lambda: prune_early("lenet"),
    "prune-early, ResNet-20": lambda: prune_early("resnet-20"),
    "prune-early, VGG-16": lambda: prune_early("vgg-16"),
    "dynamic, LeNet": lambda: dynamic("mnist_lenet_300_100"),
    "threshold-masks": threshold_masks,
    "train-supermasks, LeNet": train_supermasks,
    "separation, points": lambda: separation(SeparationConfig()),
    "separation, MNIST and Fashion-MNIST": lambda: separation(images()),
    "imp, ViT": lambda: transformer("vit-tiny"),
    "imp, GPT": lambda: transformer("gpt-mini"),
}

if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
