"""AdSynFlow, pruning by SynFlow once training is stable: Bolwerk 2021.

Claim: twins pruned by SynFlow late in training are less unstable than those pruned at
initialisation, and end better; with plain SGD they are stable from the start.

    python experiments/adsynflow.py --scale smoke                          # a minute
    python experiments/adsynflow.py --scale cpu --data-dir DIR             # an hour on two cores
    python experiments/adsynflow.py --scale paper --data-dir DIR           # ResNet-20

At steps k of the dense training, all of them unless --search says otherwise, twins are made of the
dense network and of what SynFlow keeps of it; the step chosen is the first at which the instability
of the network called --judged is below --threshold. Pruned there and trained on, that network is
AdSynFlow's; pruned at step 0 it is SynFlow's. Runs are kept in --out and go on where they were
stopped; at scale cpu the dense twins are those of `linear_mode_connectivity.py --networks
mlp-cifar`.

Expected (ResNet-20 on CIFAR-10): dense 90.14 %, SynFlow about 80 %, AdSynFlow at best 85.27 %
(momentum, at an instability of 11.3 % at epoch 30, the last step tried).
"""

import dataclasses
import pathlib
import sys
from typing import Literal

import pandas as pd
import tasks

from jaxlth import cli, store
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.plots import figures
from jaxlth.studies.config import run_label
from jaxlth.studies.instability import figures as twins
from jaxlth.studies.instability import summary as report
from jaxlth.studies.instability.config import InstabilityConfig
from jaxlth.training import OptimizerConfig, TrainingConfig

Input = Literal["synflow", "synflow-image", "synflow-mean"]
Optimizer = Literal["momentum", "sgd"]
PER_EPOCH = 50_000 // 128


def main(
    scale: Literal["smoke", "cpu", "paper"] = "smoke",
    scores: tuple[str, ...] = ("synflow",),
    density: float = 0.1,
    judged: str | None = None,
    search: Literal["all", "first", "bisection"] = "all",
    threshold: float = 0.02,
    optimizers: tuple[Optimizer, ...] = ("momentum",),
    replicates: int | None = None,
    data_dir: str | None = None,
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/adsynflow"),
) -> int:
    """Run the study and write its tables and figures.

    Args:
      scale: how much of the study: smoke, cpu or paper.
      scores: what prunes: synflow (an input of ones), synflow-image (one image), synflow-mean (the
        mean image), or another score of `jaxlth prune-early`.
      density: share of the weights that are kept.
      judged: the network whose instability chooses the step, dense or a score; the first score by
        default.
      search: analyse all steps, one after another until it is stable (first), or by bisection.
      threshold: instability below which a network is stable.
      optimizers: momentum, sgd.
      replicates: repetitions; those of the scale by default.
      data_dir: directory of the CIFAR-10 files; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for tables and figures.
    """
    judged = judged or scores[0]
    for optimizer in optimizers:
        print(f"== {optimizer}", flush=True)
        shared = (
            resnet(optimizer) if scale == "paper" else tasks.mlp_cifar(scale, optimizer=optimizer)
        )
        networks = dict.fromkeys((judged, *scores, "dense"))
        job = dataclasses.replace(
            tasks.placed(shared, data_dir=data_dir, replicates=replicates),
            networks=tuple(networks),
            densities=(density,),
            search=search,
            threshold=threshold,
        )
        cli.run_study("instability", job, out=out)
        if search == "bisection":  # which may leave out step 0, with which others are compared
            first = dataclasses.replace(job, search="all", rewind_steps=(0,))
            cli.run_study("instability", first, out=out)
        folder = results / scale / f"{optimizer}-{density:g}"
        folder.mkdir(parents=True, exist_ok=True)
        run = store.folder(out, job, job="instability", label=run_label(job))
        report_on(run, folder, job, judged)
    print(f"tables and figures: {results / scale}")
    return 0


def resnet(optimizer: str) -> InstabilityConfig:
    """Return the setting of Bolwerk 2021, section 3.2: ResNet-20 on CIFAR-10, 20 points a line."""
    return InstabilityConfig(
        data=DataConfig(name="cifar10", augment="flip-crop", validation=0.0),
        model=ModelConfig(name="resnet-20"),
        training=TrainingConfig(epochs=160, batch_size=128),
        optimizer=OptimizerConfig(
            optimizer=optimizer,
            lr=0.01,
            weight_decay=5e-4,
            schedule="milestones",
            milestones=(60, 120),
            drop=0.2,
        ),
        rewind_steps=(
            0,
            500,
            1_000,
            2_000,
            *(epoch * PER_EPOCH for epoch in (10, 20, 30, 60, 120)),
        ),
        points=20,
        replicates=1,
        twins=2,
    )


def report_on(run: pathlib.Path, folder: pathlib.Path, job: InstabilityConfig, judged: str) -> None:
    """Write instability and accuracy by step, the step chosen, and what AdSynFlow makes of it."""
    frame = store.table([run])
    pairs = frame["kind"].isin(("pair", "twin", "average")) & (frame["length"] == "remaining")
    asked = frame["control"].isin(job.networks)
    sized = frame["asked_density"].isna() | (frame["asked_density"] == job.densities[0])
    frame = frame[(frame["kind"] == "dense") | (pairs & asked & sized)]
    stability = report.summary(frame, threshold=job.threshold, tolerance=cli.TOLERANCE)
    stability.round(5).to_csv(folder / "summary.csv", index=False)
    config, last = step_chosen(stability, judged), int(stability["step_k"].max())
    rows = [
        {
            "network": network,
            "step_chosen": config,
            "at_step_chosen": accuracy(stability, network, config),
            "at_step_0": accuracy(stability, network, 0),
            "last_step": last,
            "at_last_step": accuracy(stability, network, last),
        }
        for network in dict.fromkeys(stability["network"])
    ]
    ends = pd.DataFrame(rows)
    ends.round(5).to_csv(folder / "adsynflow.csv", index=False)
    print(ends.round(4).to_string(index=False))
    figures.save(twins.instability(frame), folder / "figure_4-1.png")
    figures.save(twins.error(frame), folder / "error.png")


def step_chosen(summary: pd.DataFrame, judged: str) -> int | None:
    """Return the first step at which the network is stable, None if there is none."""
    mine = summary[summary["network"].str.split(" ").str[0] == judged].sort_values("step_k")
    stable = mine[mine["stable"]]
    return None if stable.empty else int(stable["step_k"].iloc[0])


def accuracy(summary: pd.DataFrame, network: str, step: int | None) -> float | None:
    """Return the mean accuracy of the twins of a network from a step."""
    rows = summary[(summary["network"] == network) & (summary["step_k"] == step)]
    return None if rows.empty else float(rows["accuracy"].iloc[0])


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
