"""AdSynFlow, pruning by SynFlow once training is stable: Bolwerk 2021.

Claim: twins pruned by SynFlow late in training are less unstable than those pruned at
initialisation, and end better; with plain SGD they are stable from the start.

    python experiments/adsynflow.py --scale smoke                          # a minute
    python experiments/adsynflow.py --scale cpu --data-dir DIR             # an hour on two cores
    python experiments/adsynflow.py --scale cpu --network resnet-20-digits  # the same
    python experiments/adsynflow.py --scale paper --data-dir DIR           # ResNet-20

At steps k of the dense training, all of them unless --search says otherwise, twins are made of the
dense network and of what SynFlow keeps of it; the step chosen is the first at which the instability
of the network called --judged is below --threshold. Pruned there and trained on, that network is
AdSynFlow's; pruned at step 0 it is SynFlow's. Of networks with batch norm SynFlow is as published,
which takes magnitudes of the running means too; masks.csv says how much its masks share with those
of other scores. Lines between twins have 20 points. Runs are kept in --out and go on where they
were stopped; at scale cpu the dense twins are those of `linear_mode_connectivity.py --networks
mlp-cifar`.

Expected (ResNet-20 on CIFAR-10): dense 90.14 %, SynFlow about 80 %, AdSynFlow at best 85.27 %
(momentum, at an instability of 11.3 % at epoch 30, the last step tried). In his published code one
twin draws its rate and weight decay from N(x, x/10) around the other's x; twins here differ in SGD
noise only.
"""

import dataclasses
import itertools
import pathlib
import sys
from typing import Literal

import pandas as pd
import tasks

from jaxlth import cli, masks, store
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.plots import figures
from jaxlth.studies.config import run_label
from jaxlth.studies.instability import artifacts
from jaxlth.studies.instability import figures as twins
from jaxlth.studies.instability import summary as report
from jaxlth.studies.instability.config import REMAINING, InstabilityConfig, NetworkSpec
from jaxlth.training import OptimizerConfig, TrainingConfig

POINTS = 20  # of a line between twins
Optimizer = Literal["momentum", "sgd"]
PER_EPOCH = 50_000 // 128


def main(
    scale: Literal["smoke", "cpu", "paper"] = "smoke",
    network: Literal["mlp-cifar", "resnet-20-digits"] = "mlp-cifar",
    scores: tuple[str, ...] = (),
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
      network: mlp-cifar, or resnet-20-digits, which has batch norm; at the scale paper it is
        ResNet-20 on CIFAR-10.
      scores: what prunes: synflow (an input of ones), synflow-image (one image), synflow-mean (the
        mean image), each with -published for magnitudes of running means too, or another score of
        `jaxlth prune-early`; by default synflow-published, without batch norm synflow.
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
    has_batch_norm = scale == "paper" or network != "mlp-cifar"
    scores = scores or ("synflow-published" if has_batch_norm else "synflow",)
    judged = judged or scores[0]
    for optimizer in optimizers:
        print(f"== {optimizer}", flush=True)
        if scale == "paper":
            shared = resnet(optimizer)
        elif network == "resnet-20-digits":
            shared = resnet_digits(scale, optimizer)
        else:
            shared = tasks.mlp_cifar(scale, optimizer=optimizer)
        networks = dict.fromkeys((judged, *scores, "dense"))
        job = dataclasses.replace(
            tasks.placed(shared, data_dir=data_dir, replicates=replicates),
            networks=tuple(networks),
            densities=(density,),
            points=POINTS,
            search=search,
            threshold=threshold,
        )
        cli.run_study("instability", job, out=out)
        if search == "bisection":  # which may leave out step 0, with which others are compared
            first = dataclasses.replace(job, search="all", rewind_steps=(0,))
            cli.run_study("instability", first, out=out)
        place = scale if scale == "paper" or network == "mlp-cifar" else f"{scale}-{network}"
        folder = results / place / f"{optimizer}-{density:g}"
        folder.mkdir(parents=True, exist_ok=True)
        run = store.folder(out, job, job="instability", label=run_label(job))
        report_on(run, folder, job, judged)
        if len(scores) > 1:
            shared_weights(run, job, scores).to_csv(folder / "masks.csv", index=False)
        print(f"tables and figures: {folder}")
    return 0


def resnet(optimizer: str) -> InstabilityConfig:
    """Return the setting of Bolwerk 2021, section 3.2: ResNet-20 on CIFAR-10."""
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
        replicates=1,
        twins=2,
    )


def resnet_digits(scale: str, optimizer: str) -> InstabilityConfig:
    """Return the network of the paper on images of digits of 8 x 8 pixels (ours)."""
    smoke = scale == "smoke"
    return InstabilityConfig(
        data=DataConfig(name="digits", validation=0.0),
        model=ModelConfig(name="resnet-20"),
        training=TrainingConfig(steps=10 if smoke else 400, batch_size=32),
        optimizer=OptimizerConfig(optimizer=optimizer, lr=0.01, weight_decay=5e-4),
        rewind_steps=(0, 5) if smoke else (0, 200),
        replicates=1 if smoke else 2,
        twins=2,
    )


def shared_weights(
    run: pathlib.Path, job: InstabilityConfig, scores: tuple[str, ...]
) -> pd.DataFrame:
    """Return the Jaccard similarity of what the first score keeps and each other, by step."""
    look, rows = store.open_readonly(run), []
    for step, replicate, score in itertools.product(
        job.rewind_steps, range(job.replicates), scores[1:]
    ):
        names = [
            artifacts.twin(
                NetworkSpec(step, name, density=job.densities[0]), 0, REMAINING, replicate
            )
            for name in (scores[0], score)
        ]
        first, other = (look.load(name, "mask") for name in names)
        shared = float(masks.jaccard(first, other))
        rows.append({"step_k": step, "replicate": replicate, "score": score, "jaccard": shared})
    return pd.DataFrame(rows)


def report_on(run: pathlib.Path, folder: pathlib.Path, job: InstabilityConfig, judged: str) -> None:
    """Write instability and accuracy by step, the step chosen, and what AdSynFlow makes of it."""
    frame = store.table([run])
    pairs = frame["kind"].isin(("pair", "twin", "average")) & (frame["length"] == "remaining")
    asked = frame["control"].isin(job.networks)
    sized = frame["asked_density"].isna() | (frame["asked_density"] == job.densities[0])
    frame = frame[(frame["kind"] == "dense") | (pairs & asked & sized)]
    frame = frame[(frame["kind"] != "pair") | (frame["points"].fillna(POINTS) == POINTS)]
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
