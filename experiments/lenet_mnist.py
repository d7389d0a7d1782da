"""Lottery tickets in LeNet-300-100 on MNIST: Frankle 2023, Figures 3-1 to 3-9, Table 4.2 row LeNet.

Claim: the dense network holds subnetworks of 3.5 % of its weights that, trained from their own
initial weights, reach its accuracy; drawn anew or placed at random they do not.

    python experiments/lenet_mnist.py --scale smoke              # digits, a minute
    python experiments/lenet_mnist.py --scale cpu                # MNIST, half an hour on two cores
    python experiments/lenet_mnist.py --scale paper --parts imp  # MNIST, an hour on two cores

MNIST is looked for in --data-dir or $JAXLTH_DATA. Runs are kept in --out and go on where they were
stopped; the tables and figures made of them are written to --results.

Expected at 3.5 % of weights (Table 4.2): dense 98.3, IMP 98.2, random pruning 96.7, reinit 97.5.
Images are normalised by mean and standard deviation, as in OpenLTH, the code that the thesis names;
the older code of Frankle & Carbin divides each image by its norm instead: --normalize unit-norm.
"""

import dataclasses
import pathlib
import sys
from typing import Literal

import pandas as pd

from jaxlth import cli, store
from jaxlth.plots import figures
from jaxlth.studies import tables
from jaxlth.studies.imp import learning
from jaxlth.studies.imp.benchmarks import BENCHMARKS
from jaxlth.studies.imp.config import ImpConfig

CONTROLS = ("reinitialized", "random-layerwise", "random")
CURVE = ["level", "control", "replicate", "step"]  # whose the points of a curve are


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of the paper's study is done."""

    data: str
    steps: int
    early_steps: int  # enough to find the least validation loss before the end
    levels: int
    replicates: int
    dilations: tuple[float, ...]


SCALES = {
    "smoke": Scale(
        "digits", steps=200, early_steps=200, levels=3, replicates=2, dilations=(0.5, 1.0)
    ),
    "cpu": Scale(
        "mnist",
        steps=2_000,
        early_steps=6_000,
        levels=15,
        replicates=3,
        dilations=tuple(round(0.2 * i, 1) for i in range(1, 8)),
    ),
    "paper": Scale(
        "mnist",
        steps=24_000,
        early_steps=24_000,
        levels=15,
        replicates=5,
        dilations=tuple(round(0.1 * i, 1) for i in range(2, 22)),
    ),
}


def imp(scale: Scale, data_dir: str | None) -> ImpConfig:
    """Return IMP with its controls, evaluated often enough to see how fast networks learn."""
    config = shared(scale, data_dir)
    training = dataclasses.replace(config.training, evaluate_every=max(1, scale.steps // 80))
    return dataclasses.replace(config, training=training)


def shared(scale: Scale, data_dir: str | None) -> ImpConfig:
    """Return the settings that all parts share: Table 4.1, row LeNet."""
    config = BENCHMARKS["mnist_lenet_300_100"]
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, name=scale.data, data_dir=data_dir),
        training=dataclasses.replace(config.training, steps=scale.steps),
        levels=scale.levels,
        controls=CONTROLS,
        control_levels=tuple(range(3, scale.levels + 1, 6)),  # a fifth of their cost
        replicates=scale.replicates,
    )


def one_shot(scale: Scale, data_dir: str | None) -> ImpConfig:
    """Return IMP that prunes the dense network to each density at once."""
    return dataclasses.replace(
        shared(scale, data_dir), one_shot=True, controls=(), control_levels=()
    )


def lrr(scale: Scale, data_dir: str | None) -> ImpConfig:
    """Return learning-rate rewinding, Algorithm 2."""
    return dataclasses.replace(
        shared(scale, data_dir), after_pruning="learning-rate", controls=(), control_levels=()
    )


def early(scale: Scale, data_dir: str | None) -> ImpConfig:
    """Return IMP with a tenth held out, for the step of least validation loss."""
    config = every_third_level(scale, data_dir)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, validation=0.1),
        training=dataclasses.replace(
            config.training, steps=scale.early_steps, evaluate_every=scale.early_steps / 50
        ),
    )


def dilation(scale: Scale, data_dir: str | None) -> ImpConfig:
    """Return IMP whose networks are trained again for shorter and longer."""
    return dataclasses.replace(
        every_third_level(scale, data_dir),
        controls=("reinitialized", "random-layerwise"),
        dilations=scale.dilations,
    )


def every_third_level(scale: Scale, data_dir: str | None) -> ImpConfig:
    """Return IMP that prunes as much at once as the paper in three levels: a third of the cost."""
    return dataclasses.replace(
        shared(scale, data_dir),
        prune_fraction=1 - 0.8**3,
        levels=max(1, scale.levels // 3),
        control_levels=(),
    )


PARTS = {"imp": imp, "one-shot": one_shot, "lrr": lrr, "early": early, "dilation": dilation}


def main(
    scale: Literal["smoke", "cpu", "paper"] = "smoke",
    parts: tuple[Literal["imp", "one-shot", "lrr", "early", "dilation"], ...] = tuple(PARTS),
    data_dir: str | None = None,
    normalize: Literal["statistics", "unit-norm"] = "statistics",
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/lenet_mnist"),
) -> int:
    """Run the parts of the study and write their tables and figures.

    Args:
      scale: how much of the study: smoke, cpu or paper.
      parts: which parts of it.
      data_dir: directory of the MNIST files; $JAXLTH_DATA by default.
      normalize: how images are normalised; unit-norm has a folder of its own in `results`.
      out: folder of the runs.
      results: folder for tables and figures.
    """
    folder = results / (scale if normalize == "statistics" else f"{scale}-{normalize}")
    for part in parts:
        print(f"== {part}", flush=True)
        config = PARTS[part](SCALES[scale], data_dir)
        config = dataclasses.replace(
            config, data=dataclasses.replace(config.data, normalize=normalize)
        )
        run = cli.staged(config, out)
        folder.mkdir(parents=True, exist_ok=True)
        write_results(part, run, folder)
    compare(folder)
    print(f"tables and figures: {folder}")
    return 0


def write_results(part: str, run: pathlib.Path, folder: pathlib.Path) -> None:
    """Write a part's table of results and its figures."""
    table = store.table([run])
    table.drop(columns=["run"]).to_csv(folder / f"{part}.csv", index=False)
    undilated = table[table["dilation"] == 1]
    drawn = {}
    if part == "imp":  # Figures 3-1, 3-2 and 3-7
        curves = store.curves([run])
        densities = table.groupby("level")["density"].first().to_dict()
        last = int(table["level"].max())
        levels = sorted({0, 1, last // 4, last // 2, 3 * last // 4, last})
        own = curves[(curves["control"] == "ticket") & curves["level"].isin(levels)]
        anew = curves[(curves["control"] == "reinitialized") & (curves["level"] == last)]
        curves = pd.concat([own, anew])[[*CURVE, "test_accuracy", "test_loss"]]
        curves.round(5).to_csv(folder / "imp_curves.csv", index=False)
        drawn["figure_3-1"] = figures.training(own, levels=levels, densities=densities)
        drawn["figure_3-2"] = figures.training(curves, levels=[0, last], densities=densities)
        drawn["figure_3-7"] = figures.accuracy(undilated)
    if part == "early":
        drawn["figure_3-8"] = figures.early_stopping(undilated)
    if part == "dilation":
        drawn["figure_3-9"] = figures.dilation(learning.least_dilations(table))
    for name, figure in drawn.items():
        figures.save(figure, folder / f"{name}.png")


def compare(folder: pathlib.Path) -> None:
    """Draw the figures that lay parts over each other, and print the row of Table 4.2."""
    by_part = {part: pd.read_csv(folder / f"{part}.csv") for part in PARTS if _csv(folder, part)}
    if "imp" not in by_part:
        return
    own = by_part["imp"]
    ticket = own[own["control"] == "ticket"]
    if "one-shot" in by_part:
        both = {"iterative": ticket, "one-shot": by_part["one-shot"]}
        figures.save(figures.accuracy_of(both), folder / "figure_3-3.png")
    if "lrr" in by_part:
        three = {"IMP": ticket, "LRR": by_part["lrr"], "random": own[own["control"] == "random"]}
        figures.save(figures.accuracy_of(three), folder / "figure_3-5.png")
    print(tables.ends(own).to_string(index=False))


def _csv(folder: pathlib.Path, part: str) -> bool:
    return (folder / f"{part}.csv").exists()


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
