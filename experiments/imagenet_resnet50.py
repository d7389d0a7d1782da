"""ResNet-50 on ImageNet pruned at once to 30 % and rewound: Frankle 2023, Table 4.2, Figure 4-16.

Claim: rewound to initialisation, the subnetwork of 30 % of the weights is no better than its
controls and below the dense network; rewound to epoch 5, where it has become stable to SGD noise,
it matches the dense network.

    python experiments/imagenet_resnet50.py --scale smoke   # synthetic images, minutes
    python experiments/imagenet_resnet50.py --scale cpu --data-dir DIR    # a thousand steps, hours
    python experiments/imagenet_resnet50.py --scale paper --data-dir DIR --out gs://BUCKET/runs

At the scales smoke and cpu the network learns for a few steps, which tests the study and says
nothing of ImageNet. Runs are kept in --out, which may be a bucket, and go on
where they were stopped; the tables and figures made of them are written to --results.

Expected at 30 % (Table 4.2, rewound to step 0): dense 76.1, IMP 73.7, placed at random 73.1, drawn
anew 73.4. Rewound to epoch 5 IMP matches, that is, it loses less than 0.2. As there, what is placed
at random are the weights of the step, under a mask shuffled within each layer or globally.

Each part trains its dense network itself: a run is made for one rewinding step.
"""

import dataclasses
import pathlib
import sys
from typing import Literal, get_args

import pandas as pd

from jaxlth import cli, store
from jaxlth.plots import figures
from jaxlth.studies import tables
from jaxlth.studies.imp.benchmarks import BENCHMARKS, scaled
from jaxlth.studies.imp.config import ImpConfig

BENCHMARK = "imagenet_resnet50"
CONTROLS = ("reinitialized", "shuffled", "shuffled-globally")

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
      replicates: repetitions; those of the scale by default.
      data_dir: directory of ImageNet; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for tables and figures.
    """
    folder = results / scale
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        print(f"== {part}", flush=True)
        run = cli.staged(settings(part, scale, replicates, data_dir), out)
        store.table([run]).drop(columns=["run"]).to_csv(paths(folder)[part], index=False)
    by_part = {part: pd.read_csv(path) for part, path in paths(folder).items() if path.exists()}
    figures.save(figures.accuracy_of(by_part), folder / "rewinding.png")
    for part, table in by_part.items():
        figures.save(figures.accuracy(table), folder / f"{part}.png")
    rows = pd.concat([tables.ends(table).assign(part=part) for part, table in by_part.items()])
    rows.to_csv(folder / "summary.csv", index=False)
    print(rows.to_string(index=False))
    print(f"tables and figures: {folder}")
    return 0


def settings(part: Part, scale: Scale, replicates: int | None, data_dir: str | None) -> ImpConfig:
    """Return the benchmark at a scale, with all controls, rewound as a part says."""
    config = scaled(BENCHMARKS[BENCHMARK], scale)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, data_dir=data_dir if config.data.streamed else None),
        rewind_step=config.rewind_step if part == "epoch-5" else 0,
        controls=CONTROLS,
        replicates=replicates or config.replicates,
    )


def paths(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Return where the tables of the parts are, or will be."""
    return {part: folder / f"{part}.csv" for part in get_args(Part)}


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
