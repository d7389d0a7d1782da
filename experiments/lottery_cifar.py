"""Lottery tickets on CIFAR-10: Frankle 2023, Figures 3-3 to 3-7, Table 4.2 rewound to step 0.

Claim: Conv networks, ResNet-20 and VGG-16 hold winning tickets that iterative pruning finds, and
finds smaller than pruning at once; drawn anew or placed at random they are worse. ResNet-20 and
VGG-16 have them at a low learning rate or with warmup, and not at the standard rate.

    python experiments/lottery_cifar.py --scale smoke                      # Conv-2, two minutes
    python experiments/lottery_cifar.py --scale cpu --networks conv-2      # hours on two cores
    python experiments/lottery_cifar.py --scale paper --networks resnet-20 resnet-20-low

CIFAR-10 is looked for in --data-dir or $JAXLTH_DATA. Runs are kept in --out, which may be a bucket,
and go on where they were stopped; the tables and figures made of them are written to --results.

Expected at the last level (Table 4.2; dense, IMP, placed at random, drawn anew), in percent:
ResNet-20 91.7, 88.5, 88.6, 88.8; low 88.8, 89.0, 85.7, 84.7; warmup 89.7, 89.6, 85.7, 85.6;
VGG-16 93.7, 90.9, 89.4, 91.0; low 91.7, 91.6, 90.1, 90.2; warmup 93.4, 93.2, 90.1, 90.7.
For the Conv networks the thesis has figures only. At the scales smoke and cpu trainings are
shortened and the test images held out of the training set: other experiments, other numbers; and
with the one level of smoke, pruning at once and iteratively is the same.
"""

import dataclasses
import pathlib
import sys
from typing import Literal

import pandas as pd
import tasks

from jaxlth import cli, store
from jaxlth.plots import figures
from jaxlth.studies import level_artifacts, tables
from jaxlth.studies.config import run_label
from jaxlth.studies.controls import TICKET
from jaxlth.studies.imp.benchmarks import BENCHMARKS, scaled
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.loading import load_experiment

NETWORKS = {f"conv-{depth}": f"cifar_conv{depth}" for depth in (2, 4, 6, 8)} | tasks.CIFAR
Network = Literal["conv-2", "conv-4", "conv-6", "conv-8", tasks.Cifar]
Part = Literal["imp", "one-shot", "lrr"]
CONTROLS = ("reinitialized", "random", "random-layerwise")


def imp(shared: ImpConfig) -> ImpConfig:
    """Return iterative pruning with all controls."""
    return dataclasses.replace(shared, controls=CONTROLS)


def one_shot(shared: ImpConfig) -> ImpConfig:
    """Return IMP that prunes the dense network to each density at once."""
    return dataclasses.replace(shared, one_shot=True, controls=())


def lrr(shared: ImpConfig) -> ImpConfig:
    """Return learning-rate rewinding, Algorithm 2."""
    return dataclasses.replace(shared, after_pruning="learning-rate", controls=())


PARTS = {"imp": imp, "one-shot": one_shot, "lrr": lrr}


def main(
    scale: Literal["smoke", "cpu", "paper"] = "smoke",
    networks: tuple[Network, ...] = ("conv-2",),
    parts: tuple[Part, ...] = ("imp", "one-shot"),
    replicates: int | None = None,
    held_out_test: float | None = None,
    data_dir: str | None = None,
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/lottery_cifar"),
) -> int:
    """Run the parts of the study and write their tables and figures.

    Args:
      scale: how much of the study: smoke, cpu or paper.
      networks: which networks, with which learning rate.
      parts: which parts of it: imp with its controls, one-shot, or lrr (learning-rate rewinding).
      replicates: repetitions; those of the scale by default.
      held_out_test: share of the training images to test on, where the published test images are
        not at hand; that of the scale by default.
      data_dir: directory of the CIFAR-10 files; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for tables and figures.
    """
    for network in networks:
        shared = settings(network, scale, replicates, held_out_test, data_dir)
        folder = results / scale / network
        folder.mkdir(parents=True, exist_ok=True)
        first: pathlib.Path | None = None  # the run that trains the dense networks of all parts
        for part in parts:
            print(f"== {network}, {part}", flush=True)
            config = PARTS[part](shared)
            if first is not None:
                take_dense(first, config, out)
            run = cli.staged(config, out)
            first = first or run
            store.table([run]).drop(columns=["run"]).to_csv(folder / f"{part}.csv", index=False)
        draw(folder)
    rows = summary(results / scale)
    rows.to_csv(results / scale / "summary.csv", index=False)
    print(rows.to_string(index=False))
    print(f"tables and figures: {results / scale}")
    return 0


def settings(
    network: str,
    scale: str,
    replicates: int | None,
    held_out_test: float | None,
    data_dir: str | None,
) -> ImpConfig:
    """Return the settings that all parts of a network share."""
    config = scaled(BENCHMARKS[NETWORKS[network]], scale)
    share = config.data.held_out_test if held_out_test is None else held_out_test
    data = dataclasses.replace(config.data, held_out_test=share, data_dir=data_dir)
    return dataclasses.replace(config, data=data, replicates=replicates or config.replicates)


def take_dense(source: pathlib.Path, config: ImpConfig, out: str) -> None:
    """Store the dense networks of a run in that of another part, which would train the same."""
    look, data = store.open_readonly(source), load_experiment(config).identity
    with store.open_run(out, config, job="imp", label=run_label(config), data=data) as run:
        for replicate in range(config.replicates):
            name = level_artifacts.network(0, TICKET, replicate)
            if look.has(name) and not run.has(name):
                trees = {tree: look.load(name, tree) for tree in ("network", "mask")}
                run.save(name, trees, look.record(name))


def draw(folder: pathlib.Path) -> None:
    """Draw the figures of a network from the tables that are there."""
    by_part = {part: table(folder, part) for part in PARTS if (folder / f"{part}.csv").exists()}
    if "imp" not in by_part:
        return
    own = by_part["imp"]
    figures.save(figures.accuracy(own), folder / "figure_3-7.png")
    ticket = own[own["control"] == "ticket"]
    if "one-shot" in by_part:
        both = {"iterative": ticket, "one-shot": by_part["one-shot"]}
        figures.save(figures.accuracy_of(both), folder / "figure_3-3.png")
    if "lrr" in by_part:
        random = own[(own["level"] == 0) | (own["control"] == "random")]
        random = random.assign(control="random")
        three = {"IMP": ticket, "LRR": by_part["lrr"], "random": random}
        figures.save(figures.accuracy_of(three), folder / "figure_3-5.png")


def summary(folder: pathlib.Path) -> pd.DataFrame:
    """Return test accuracy in percent, dense and at the last level, of all networks and parts."""
    rows = []
    for network in NETWORKS:
        for part in PARTS:
            if (folder / network / f"{part}.csv").exists():
                ends = tables.ends(table(folder / network, part))
                rows.append(ends.assign(network=network, part=part))
    rows_of_parts = pd.concat(rows, ignore_index=True)
    return rows_of_parts[["network", "part", *rows_of_parts.columns[:-2]]]


def table(folder: pathlib.Path, part: str) -> pd.DataFrame:
    """Return the table of a part."""
    return pd.read_csv(folder / f"{part}.csv")


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
