"""ResNet-50 on ImageNet pruned at once to 30 % and rewound: Frankle 2023, Table 4.2, Figure 4-16.

Claim: rewound to initialisation, the subnetwork of 30 % of the weights is no better than its
controls and below the dense network; rewound to epoch 5, where it has become stable to SGD noise,
it matches the dense network.

    python experiments/imagenet_resnet50.py --scale smoke   # synthetic images, minutes
    python experiments/imagenet_resnet50.py --scale cpu     # synthetic images, an hour
    python experiments/imagenet_resnet50.py --scale paper --data-dir DIR --out gs://BUCKET/runs

At the scales smoke and cpu the network learns small synthetic images in a few steps, which tests
the study and says nothing of ImageNet. Runs are kept in --out, which may be a bucket, and go on
where they were stopped; the tables and figures made of them are written to --results.

Expected at 30 % (Table 4.2, rewound to step 0): dense 76.1, IMP 73.7, placed at random 73.1, drawn
anew 73.4. Rewound to epoch 5 IMP matches, that is, it loses less than 0.2.

Each part trains its dense network itself: a run is made for one rewinding step.
"""

import dataclasses
import pathlib
import sys
from typing import Literal, get_args

import pandas as pd

from jaxlth import cli, store, tickets
from jaxlth.data import DataSettings
from jaxlth.report import figures
from jaxlth.tickets import ImpSettings
from jaxlth.training import TrainingSettings

BENCHMARK = "imagenet_resnet50"
DENSITY = 0.3
EPOCHS, REWIND_EPOCH = 90, 5
STEPS_PER_EPOCH = 1_281_167 // 1024
CONTROLS = ("reinitialized", "random-layerwise", "random")
SHORT = {"smoke": (18, 8), "cpu": (360, 32)}  # steps and batch size of the scales below paper

Scale = Literal["smoke", "cpu", "paper"]
Part = Literal["epoch-5", "step-0"]


def main(
    scale: Scale = "smoke",
    parts: tuple[Part, ...] = ("epoch-5", "step-0"),
    replicates: int | None = None,
    data_dir: str | None = None,
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/imagenet_resnet50"),
) -> int:
    """Run the parts of the study and write their tables and figures.

    Args:
      scale: how much of the study: smoke, cpu or paper.
      parts: which parts of it: rewound to epoch 5, or to step 0.
      replicates: repetitions; 3 at the scale paper, else 1.
      data_dir: directory of ImageNet; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for tables and figures.
    """
    folder = results / scale
    dense = settings(scale, replicates, data_dir)
    for part in parts:
        print(f"== {part}", flush=True)
        chosen = pruned(dense, scale, part)
        for some in (dataclasses.replace(chosen, controls=()), chosen):
            code = cli.imp(cli.Imp(job=some, out=out))
            if code:
                return code
        run = store.folder(out, chosen, job="imp", label=tickets.label(chosen))
        folder.mkdir(parents=True, exist_ok=True)
        store.table([run]).drop(columns=["run"]).to_csv(tables(folder)[part], index=False)
    found = {part: pd.read_csv(path) for part, path in tables(folder).items() if path.exists()}
    figures.save(figures.accuracy_of(found), folder / "rewinding.png")
    for part, table in found.items():
        figures.save(figures.accuracy(table), folder / f"{part}.png")
    rows = pd.concat([accuracies(table).assign(part=part) for part, table in found.items()])
    rows.to_csv(folder / "summary.csv", index=False)
    print(rows.to_string(index=False))
    print(f"tables and figures: {folder}")
    return 0


def settings(scale: Scale, replicates: int | None, data_dir: str | None) -> ImpSettings:
    """Return the benchmark at a scale: below paper, few steps on synthetic images.

    Raises:
      ValueError: this version has no such benchmark.
    """
    if BENCHMARK not in tickets.BENCHMARKS:
        raise ValueError(
            f"This version of jaxlth has no benchmark {BENCHMARK}; install a later one."
        )
    chosen = tickets.BENCHMARKS[BENCHMARK]
    if scale == "paper":
        data = dataclasses.replace(chosen.data, data_dir=data_dir)
        return dataclasses.replace(chosen, data=data, replicates=replicates or 3)
    steps, batch_size = SHORT[scale]
    drops = tuple(round(steps * epoch / EPOCHS) for epoch in (30, 60, 80))
    optimizer = dataclasses.replace(
        chosen.optimizer, schedule="milestones", milestones=drops, warmup=steps * 5 / EPOCHS
    )
    return dataclasses.replace(
        chosen,
        data=DataSettings(name="synthetic", validation=0.0),
        training=TrainingSettings(
            steps=steps, batch_size=batch_size, evaluate_every=steps / 2, train_examples=200
        ),
        optimizer=optimizer,
        replicates=replicates or 1,
    )


def pruned(dense: ImpSettings, scale: Scale, part: Part) -> ImpSettings:
    """Return one-shot pruning to 30 % with its controls, rewound as a part says."""
    step = STEPS_PER_EPOCH * REWIND_EPOCH
    if scale != "paper":
        step = SHORT[scale][0] * REWIND_EPOCH // EPOCHS
    return dataclasses.replace(
        dense,
        one_shot=True,
        levels=1,
        prune_fraction=1 - DENSITY,
        rewind_step=step if part == "epoch-5" else 0,
        controls=CONTROLS,
        control_levels=(),
    )


def tables(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Return where the tables of the parts are, or will be."""
    return {part: folder / f"{part}.csv" for part in get_args(Part)}


def accuracies(results: pd.DataFrame) -> pd.DataFrame:
    """Return mean, least and most of the test accuracy in percent, dense and pruned."""
    by = results.groupby(["level", "density", "control"], sort=True)["test_accuracy"]
    return (100 * by.agg(["mean", "min", "max"])).round(2).assign(n=by.size()).reset_index()


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
