"""Tickets chosen by the accuracy of untrained masked networks: Rolfs, Supermasks.

Claim: a network whose initial weights are masked by sign(initial) * trained >= t is far better than
chance before it is trained, and the mask that is best then makes a ticket that trains to a lower
loss than the dense network, and than dense networks of other widths of its size.

    python experiments/supermask_tickets.py --scale smoke                       # two minutes
    python experiments/supermask_tickets.py --scale cpu --data-dir DIR          # 20 minutes
    python experiments/supermask_tickets.py --scale paper --data-dir DIR        # half an hour
    python experiments/supermask_tickets.py --scale paper --choose-on test      # likewise

The paper chooses the step to stop at and the threshold on its test examples: `--choose-on test`
does that, on all 60,000 training examples; otherwise a tenth of these is held out to choose on.
How the paper draws its initial weights and scales its images it does not say, and shares of
weights by threshold depend on both; with `--initializer pytorch --normalize unit-range` they are
its shares. Whether it masks biases it does not say either; `--mask-biases` does. Runs are kept in
--out and go on where they were stopped. Tables and figures are written to --results; `--draw` makes
only these, from the runs that are there.

Expected (mean and standard deviation of ten seeds): t = 0 keeps 64.6 +- 0.4 % of the weights,
t = 0.2 4.1 +- 0.6 %; the best t is 0.049 +- 0.049, keeps 38.7 +- 17.9 % and reaches 42.6 +- 15.2 %
untrained (19.1 to 70.0); after 5000 steps the ticket's loss is 0.091 +- 0.007, the dense network's
0.109 +- 0.019; Table 1 for the other sizes.
"""

import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from jaxlth import cli, store
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.plots import figures
from jaxlth.studies.config import run_label
from jaxlth.studies.threshold_masks import figures as threshold_figures
from jaxlth.studies.threshold_masks import summary as report
from jaxlth.studies.threshold_masks.config import ThresholdMasksConfig
from jaxlth.training import TrainingConfig

Split = Literal["validation", "test"]
SIZES = tuple(f"{a}-{b}" for a, b in itertools.product((50, 100, 150), (5, 15, 25)))
COUNTS = {"smoke": 2, "cpu": 3, "paper": 10}
PLAIN = (ModelConfig().initializer, DataConfig().normalize)
GROUPS = {  # of Table 1, as the paper gauges them
    "high performers": ("200-30", "100-15", "100-25", "150-15", "150-25"),
    "medium performers": ("50-15", "50-25", "150-5"),
    "low performers": ("100-5", "50-5"),
}
TABLE_1 = {  # size in percent, final loss, least loss, step of it: mean and deviation
    "ticket": (38.7, 17.9, 0.091, 0.007, 0.078, 0.004, 4340.0, 222.1),
    "200-30": (100.0, 0.0, 0.109, 0.019, 0.078, 0.001, 4360.0, 171.3),
    "100-15": (49.1, 0.0, 0.112, 0.015, 0.095, 0.005, 4600.0, 326.6),
    "100-25": (49.8, 0.0, 0.104, 0.008, 0.090, 0.003, 4540.0, 340.6),
    "150-15": (73.6, 0.0, 0.106, 0.021, 0.085, 0.003, 4660.0, 275.7),
    "150-25": (74.6, 0.0, 0.100, 0.012, 0.082, 0.003, 4330.0, 249.7),
    "50-15": (24.6, 0.0, 0.130, 0.010, 0.119, 0.006, 4700.0, 326.6),
    "50-25": (25.0, 0.0, 0.124, 0.012, 0.113, 0.004, 4870.0, 94.9),
    "150-5": (72.6, 0.0, 0.138, 0.017, 0.122, 0.010, 4640.0, 231.9),
    "100-5": (48.4, 0.0, 0.161, 0.019, 0.146, 0.014, 4870.0, 94.9),
    "50-5": (24.2, 0.0, 0.181, 0.023, 0.170, 0.020, 4770.0, 258.4),
}
NUMBERS = {  # of section 3.4, in percent but for the threshold: mean, deviation, least, most
    "weights kept at t = 0": (64.6, 0.4, None, None),
    "weights kept at t = 0.2": (4.1, 0.6, None, None),
    "best t": (0.049, 0.049, None, None),
    "weights kept at the best t": (38.7, 17.9, None, None),
    "untrained accuracy at the best t": (42.6, 15.2, 19.1, 70.0),
    "accuracy before training": (10.1, 1.6, None, None),
    "accuracy at the least loss": (97.7, 0.1, None, None),
}


def main(
    scale: Literal["smoke", "cpu", "paper"] = "smoke",
    choose_on: tuple[Split, ...] = ("validation",),
    initializer: str = ModelConfig().initializer,
    normalize: str = DataConfig().normalize,
    mask_biases: bool = False,
    search: bool = True,
    replicates: int | None = None,
    draw: bool = False,
    data_dir: str | None = None,
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/supermask_tickets"),
) -> int:
    """Find tickets, train them and dense networks of other sizes, and write tables and figures.

    Args:
      scale: how much of the study: smoke, cpu or paper.
      choose_on: splits to choose steps and thresholds on, a run each: validation, or test as the
        paper does.
      initializer: distribution of the initial weights.
      normalize: how images are normalised.
      mask_biases: whether biases are masked as weights are.
      search: whether networks of other sizes are trained.
      replicates: repetitions; those of the scale by default.
      draw: compute nothing; make tables and figures of the stored runs.
      data_dir: directory of the MNIST files; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for tables and figures.
    """
    for split in choose_on:
        config = settings(scale, split, replicates or COUNTS[scale], data_dir)
        config = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, normalize=normalize),
            model=dataclasses.replace(config.model, initializer=initializer),
            mask_biases=mask_biases,
            sizes=config.sizes if search else (),
        )
        if not draw:
            print(f"== chosen on the {split} split", flush=True)
            cli.run_study("threshold-masks", config, out=out)
        label = run_label(config)
        path = store.open_readonly(
            store.folder(out, config, job="threshold-masks", label=label)
        ).path
        others = [name for name in (initializer, normalize) if name not in PLAIN]
        others += ["biases"] if mask_biases else []
        folder = results / scale / "-".join([split, *others])
        folder.mkdir(parents=True, exist_ok=True)
        write(store.table([path]), store.curves([path]), split, folder)
        print(f"tables and figures: {folder}")
    return 0


def settings(
    scale: str, split: Split, replicates: int, data_dir: str | None
) -> ThresholdMasksConfig:
    """Return the settings of section 3, or smaller ones."""
    held = 0.1 if split == "validation" else 0.0
    if scale == "smoke":
        return ThresholdMasksConfig(
            data=DataConfig(validation=held),
            model=ModelConfig(name="mlp", hidden=(40, 15)),
            training=TrainingConfig(steps=2_000, evaluate_every=100),
            thresholds=tuple(round(0.05 * place, 2) for place in range(15)),
            sizes=("10-5", "20-10"),
            choose_on=split,
            replicates=replicates,
        )
    return ThresholdMasksConfig(
        data=DataConfig(name="mnist", validation=held, data_dir=data_dir),
        sizes=SIZES if scale == "paper" else ("50-5", "100-15", "150-25"),
        choose_on=split,
        replicates=replicates,
    )


def write(frame: pd.DataFrame, curves: pd.DataFrame, split: Split, folder: pathlib.Path) -> None:
    """Write Table 1, the numbers of section 3.4 and Figures 1 to 6."""
    summary = report.summary(frame, curves, split=split)
    beside(summary).to_csv(folder / "table_1.csv", index=False)
    report.by_threshold(curves, split=split).round(6).to_csv(folder / "thresholds.csv", index=False)
    numbers_table = numbers(frame, curves, split)
    numbers_table.to_csv(folder / "numbers.csv", index=False)
    print(numbers_table.to_string(index=False))
    there = set(summary["network"])
    groups = GROUPS if there >= set(itertools.chain(*GROUPS.values())) else None
    for number, part in enumerate(threshold_figures.PARTS, start=1):
        if part in threshold_figures.drawable(frame):
            made = threshold_figures.figure(frame, curves, part, split=split, groups=groups)
            figures.save(made, folder / f"figure_{number}.png")


def beside(summary: pd.DataFrame) -> pd.DataFrame:
    """Return our Table 1 with the paper's numbers in columns of their own."""
    metrics = ("density", "final_loss", "least_loss", "least_step")
    names = [f"{metric}_{what}" for metric in metrics for what in ("mean", "sd")]
    rows = [
        {"network": network, **dict(zip((f"paper_{name}" for name in names), row, strict=True))}
        for network, row in TABLE_1.items()
    ]
    paper = pd.DataFrame(rows)
    for name in ("paper_density_mean", "paper_density_sd"):
        paper[name] /= 100
    return summary.merge(paper, how="left", on="network").round(6)


def numbers(frame: pd.DataFrame, curves: pd.DataFrame, split: Split) -> pd.DataFrame:
    """Return the numbers of section 3.4, ours beside the paper's."""
    tried, searched = report.untrained(curves), frame[frame["kind"] == "thresholds"]
    short = frame[frame["kind"] == "short"]
    ours: dict[str, pd.Series] = {
        "weights kept at t = 0": 100 * tried.loc[tried["threshold"] == 0, "density"],
        "weights kept at t = 0.2": 100 * tried.loc[tried["threshold"] == 0.2, "density"],
        "best t": searched["threshold"],
        "weights kept at the best t": 100 * searched["density"],
        "untrained accuracy at the best t": 100 * searched[f"{split}_accuracy"],
        "accuracy before training": 100 * searched[f"whole_{split}_accuracy"],
        "accuracy at the least loss": 100 * short[f"{split}_accuracy"],
    }
    columns: Sequence[str] = ("mean", "std", "min", "max")
    rows = []
    for name, paper in NUMBERS.items():
        row: dict[str, Any] = {"number": name}
        row |= {each: round(ours[name].astype(float).agg(each), 3) for each in columns}
        row |= {f"paper {each}": value for each, value in zip(columns, paper, strict=True)}
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
