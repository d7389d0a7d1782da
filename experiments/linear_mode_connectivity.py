"""Linear mode connectivity and the lottery ticket hypothesis: Frankle 2023, chapter 4.

Claim: networks trained twice from one initialisation with other SGD noise end in minima that are
not linearly connected, but for LeNet; from an early step on they end in the same one. Sparse
networks that IMP finds match the dense ones only where they are stable in this sense; those with
random masks or new weights are neither.

    python experiments/linear_mode_connectivity.py --scale smoke                 # two minutes
    python experiments/linear_mode_connectivity.py --scale cpu --networks mlp-cifar --parts dense
    python experiments/linear_mode_connectivity.py --scale cpu --networks resnet-8 --parts tickets
    python experiments/linear_mode_connectivity.py --scale paper --networks lenet --parts start

MNIST and CIFAR-10 are looked for in --data-dir or $JAXLTH_DATA. All parts of a network extend one
run, kept in --out, and go on where they were stopped; levels that the studies `lenet_mnist.py` and
`lottery_cifar.py` have trained in the same folder at scale paper are taken over. Tables and figures
are written to --results; `--draw` makes only these, from the runs that are there. `matching.csv`
says of each network whether it is stable and whether it matches, `association.csv` how both agree.

Expected: LeNet is stable at step 0 (its error rises by less than a point), dense and at 3.5 %;
ResNet-20 from step 2000 on, its tickets at 16.8 % from 500; VGG-16 from 1000, and its tickets at
1.5 %; the networks called low and warmup at 0, tickets too. Accuracies of tickets from step 0:
Table 4.2. At the scales smoke and cpu trainings are shortened: other experiments.
"""

import dataclasses
import pathlib
import sys
from typing import Literal, NamedTuple

import pandas as pd
import stable_and_matching as cells
import tasks

from jaxlth import cli, store
from jaxlth.plots import figures
from jaxlth.studies.config import run_label
from jaxlth.studies.imp.benchmarks import BENCHMARKS, scaled
from jaxlth.studies.instability import figures as twins
from jaxlth.studies.instability import summary as report
from jaxlth.studies.instability.config import InstabilityConfig

NAMES = {"lenet": "mnist_lenet_300_100"} | tasks.CIFAR
Network = Literal["mlp-cifar", "mlp-small", "resnet-8", "lenet", tasks.Cifar]
Part = Literal["dense", "start", "tickets", "levels", "densities", "whole", "throughout"]
STEPS = (0, 100, 250, 500, 1_000, 2_000, 3_000, 8_000)  # of 63,000
LENET_STEPS = (0, 25, 50, 100, 250, 500, 1_000, 2_000)  # of 24,000
THRESHOLD = InstabilityConfig().threshold
SPARSE = ("ticket", "shuffled", "reinitialized")
DIGITS = 6  # of numbers in `pairs.csv`; ranks of what nearly ties depend on them
SMALL = {"mlp-small": (5, 7), "resnet-8": (3, 5)}  # the level studied, and the last of all


class Levels(NamedTuple):
    """Levels whose tickets are studied."""

    studied: int  # its controls too
    last: int  # of those of all densities


def main(
    scale: Literal["smoke", "cpu", "paper"] = "smoke",
    networks: tuple[Network, ...] = ("mlp-cifar",),
    parts: tuple[Part, ...] = ("dense",),
    replicates: int | None = None,
    draw: bool = False,
    data_dir: str | None = None,
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/linear_mode_connectivity"),
) -> int:
    """Run the parts of the study and write their tables and figures.

    Args:
      scale: how much of the study: smoke, cpu or paper.
      networks: which networks, with which learning rate; mlp-cifar, mlp-small and resnet-8 are
        ours, for two cores.
      parts: dense (from each step), start (dense and sparse networks, from step 0), tickets (sparse
        ones from each step), levels (tickets and shuffled ones of all densities), densities
        (tickets alone), whole (twins trained for all steps), throughout (compared in training too).
      replicates: repetitions; those of the scale by default.
      draw: compute nothing; make tables and figures of the stored runs.
      data_dir: directory of the data; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for tables and figures.
    """
    for network in networks:
        shared = settings(network, scale)
        shared = tasks.placed(shared, data_dir=data_dir, replicates=replicates)
        for part in () if draw else parts:
            print(f"== {network}, {part}", flush=True)
            job = of_part(part, shared, levels=levels_of(network, scale))
            cli.run_study("instability", job, out=out)
        folder = results / scale / network
        folder.mkdir(parents=True, exist_ok=True)
        report_on(shared, out, folder, studied=levels_of(network, scale).studied)
    print(f"tables and figures: {results / scale}")
    return 0


def settings(network: str, scale: str) -> InstabilityConfig:
    """Return what all parts of a network share: dense networks from several steps."""
    if network in SMALL:
        return tasks.small(network, scale)
    if network == "mlp-cifar":
        return tasks.mlp_cifar(scale)
    published = BENCHMARKS[NAMES[network]]
    config = scaled(published, scale)
    asked, length = (LENET_STEPS if network == "lenet" else STEPS), config.training.steps or 1
    shorter = length / (published.training.steps or 1)
    return InstabilityConfig(
        data=config.data,
        model=config.model,
        training=config.training,
        optimizer=config.optimizer,
        prune_fraction=config.prune_fraction,
        rewind_steps=tuple(dict.fromkeys(round(step * shorter) for step in asked)),
        replicates=3 if scale == "paper" else config.replicates,
        twins=2 if scale == "smoke" else 3,
    )


def levels_of(network: str, scale: str) -> Levels:
    """Return the level of the density of Table 4.1, or ours, and the last of all."""
    if network in SMALL:
        return Levels(1, 2) if scale == "smoke" else Levels(*SMALL[network])
    if network == "mlp-cifar":
        level = 2 if scale == "smoke" else 10
    else:
        level = scaled(BENCHMARKS[NAMES[network]], scale).levels
    return Levels(level, level)


def of_part(part: Part, shared: InstabilityConfig, *, levels: Levels) -> InstabilityConfig:
    """Return what a part asks for, all in one run."""
    sparse = {"networks": ("dense", *SPARSE), "levels": (levels.studied,)}
    length = shared.training.steps or 1
    asked = {
        "dense": {},
        "start": {**sparse, "rewind_steps": (0,)},
        "tickets": sparse,
        "levels": {
            "networks": ("dense", "ticket", "shuffled"),
            "levels": tuple(range(1, levels.last + 1)),
        },
        "densities": {"networks": ("dense", "ticket"), "levels": tuple(range(1, levels.last + 1))},
        "whole": {"lengths": ("remaining", "whole")},
        "throughout": {
            "compare_every": round(length / (20 if length > 100 else 3)),
            "networks": ("dense", "ticket"),
            "levels": (levels.studied,),
        },
    }[part]
    return dataclasses.replace(shared, **asked)


def report_on(shared: InstabilityConfig, out: str, folder: pathlib.Path, *, studied: int) -> None:
    """Write the tables and figures of a network."""
    run = store.folder(out, shared, job="instability", label=run_label(shared))
    frame, lines = store.table([run]), store.curves([run])
    frame = frame[frame["control"].isin(("dense", *SPARSE))]  # AdSynFlow's share the run
    stability = report.summary(frame, threshold=THRESHOLD, tolerance=cli.TOLERANCE)
    stability["train_images"] = shared.training.train_examples
    stability.round(5).to_csv(folder / "summary.csv", index=False)
    pairs = frame[frame["kind"].isin(("pair", "average"))]
    if "model.name" in pairs:  # a file of ours, wherever it lies
        pairs = pairs.assign(**{"model.name": pairs["model.name"].str.rpartition("/")[2]})
    kept = [name for name in pairs if pairs[name].notna().any() and "layer_" not in str(name)]
    pairs[kept].drop(columns=["run", "unit"]).round(DIGITS).to_csv(
        folder / "pairs.csv", index=False
    )
    print(stability.round(4).to_string(index=False))
    print(report.sentence(stability))
    remaining = frame[(frame["kind"] == "dense") | (frame["length"] == "remaining")]
    dense = remaining[remaining["control"] == "dense"]
    several = dense["step_k"].nunique() > 1
    lines_of(remaining, lines).to_csv(folder / "lines.csv", index=False)
    drawn = {"figure_4-2": twins.interpolation(dense[dense["step_k"] == 0], lines)}
    if several:
        drawn |= {
            "figure_4-3": twins.instability(dense, threshold=THRESHOLD),
            "figure_4-6": twins.interpolation(dense, lines),
            "figure_4-7": twins.distances(dense),
            "figure_4-31": twins.start(dense),
        }
    if frame["length"].nunique() > 1:
        both = frame[frame["control"] == "dense"]
        drawn["figure_4-4"] = twins.instability(both, threshold=THRESHOLD)
    if (remaining["compared_step"] < remaining["compared_step"].max()).any():
        drawn["figure_4-5"] = twins.throughout(remaining)
    drawn |= of_sparse(remaining, lines, studied=studied)
    if several and remaining["replicate"].nunique() > 1:
        drawn |= of_cells(remaining, folder, studied=studied)
    for name, figure in drawn.items():
        figures.save(figure, folder / f"{name}.png")


def lines_of(frame: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """Return the mean errors on the lines between twins, those of which figures are drawn."""
    pairs = frame.loc[frame["kind"] == "pair", ["unit", "control", "level", "density", "step_k"]]
    rows = lines[["unit", "alpha", "test_error", "train_error"]].merge(pairs, on="unit")
    by = ["control", "level", "density", "step_k", "alpha"]
    return rows.groupby(by)[["test_error", "train_error"]].mean().round(4).reset_index()


def of_cells(
    frame: pd.DataFrame, folder: pathlib.Path, *, studied: int
) -> dict[str, figures.Figure]:
    """Write whether networks match where they are stable, and return the figures of it."""
    rows = cells.replicates(frame.round(DIGITS))
    in_points = {"threshold": 100 * THRESHOLD, "tolerance": 100 * cli.TOLERANCE}
    cells.cells(rows, **in_points).round(4).to_csv(folder / "matching.csv", index=False)
    cells.association(rows, **in_points).round(4).to_csv(folder / "association.csv", index=False)
    drawn, sparse = {}, rows[rows["control"] != "dense"]
    if len(sparse):
        drawn["stable_and_matching"] = cells.figure(rows, studied=studied, **in_points)
    if sparse["level"].nunique() > 1:
        drawn["figure_4-13"] = cells.best(rows)
    return drawn


def of_sparse(
    frame: pd.DataFrame, lines: pd.DataFrame, *, studied: int
) -> dict[str, figures.Figure]:
    """Return the figures of tickets and their controls, as far as there are any."""
    sparse = frame[frame["kind"].isin(("twin", "pair")) & frame["control"].isin(SPARSE)]
    if sparse.empty:
        return {}
    of_level = frame[(frame["control"] == "dense") | (frame["level"] == studied)]
    drawn = {"figure_4-14": twins.interpolation(of_level[of_level["step_k"] == 0], lines)}
    if sparse["step_k"].nunique() > 1:
        drawn |= {
            "figure_4-15": twins.instability(of_level, threshold=THRESHOLD),
            "figure_4-16": twins.error(of_level),
            "figure_4-22": twins.interpolation(of_level[of_level["control"] == "ticket"], lines),
            "figure_4-25": twins.distances(of_level),
            "figure_4-33": twins.start(of_level),
        }
    if sparse["level"].nunique() > 1:
        both = {"threshold": THRESHOLD, "tolerance": cli.TOLERANCE}
        drawn |= {
            "figure_4-18": twins.onsets(frame, **both),
            "figure_4-27": twins.instability(frame, threshold=THRESHOLD),
            "figure_4-28": twins.error(frame),
        }
    return drawn


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
