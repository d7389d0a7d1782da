"""Lottery tickets in transformers: a small ViT on CIFAR-10 and a small GPT on characters (ours).

Claim: iterative magnitude pruning with rewinding and instability analysis run on networks of
attention as on all others. Asked is whether tickets keep more of the dense accuracy than the same
masks with new weights and than random masks, and whether twins end closer to each other from the
step that tickets are rewound to than from step 0. What came out is in docs/papers/others.md.

    python experiments/transformers.py --scale smoke                        # two minutes
    python experiments/transformers.py --scale cpu --data-dir DIR           # an hour
    python experiments/transformers.py --scale paper --data-dir DIR         # for accelerators

CIFAR-10 is looked for in --data-dir or $JAXLTH_DATA. The GPT reads `text`, the help on its topics
that every Python carries. It differs between versions of Python, and so do the digest of the data
and all numbers; `imp_about.csv` says which Python made the tables. Runs are kept in --out and go on
where they were stopped. Tables and figures are written to --results; `--draw` makes only these,
from the runs that are there.

No paper has these settings: nothing is expected to agree with published numbers. At the scales
smoke and cpu trainings end long before the networks have converged.
"""

import dataclasses
import json
import pathlib
import sys
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from jaxlth import cli, store
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.plots import figures
from jaxlth.studies.config import StudyConfig, run_label
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.instability import figures as twins
from jaxlth.studies.instability import summary as report
from jaxlth.studies.instability.config import InstabilityConfig
from jaxlth.training import OptimizerConfig, TrainingConfig

Network = Literal["vit-tiny", "gpt-mini"]
Part = Literal["imp", "layerwise", "instability"]


class Scale(NamedTuple):
    """How much of the study."""

    steps: int
    rewind_step: int  # of the tickets, and where twins start beside step 0
    batch_size: dict[str, int]  # by network
    context: int  # characters of an example
    num_train_examples: int | None  # images
    levels: int
    control_levels: tuple[int, ...]
    replicates: int
    twins: int
    points: int  # of the line between twins


SCALES = {
    "smoke": Scale(4, 1, {"vit-tiny": 8, "gpt-mini": 8}, 16, 100, 1, (1,), 1, 2, 3),
    "cpu": Scale(120, 12, {"vit-tiny": 32, "gpt-mini": 16}, 64, 5_000, 4, (2, 4), 2, 2, 11),
    "paper": Scale(
        20_000, 1_000, {"vit-tiny": 128, "gpt-mini": 64}, 128, None, 8, (2, 4, 6, 8), 3, 3, 30
    ),
}
PRUNE_FRACTION = 0.5
BITS = np.log(2)  # nats
THRESHOLD = InstabilityConfig().threshold


def main(
    scale: Literal["smoke", "cpu", "paper"] = "smoke",
    networks: tuple[Network, ...] = ("vit-tiny", "gpt-mini"),
    parts: tuple[Part, ...] = ("imp", "layerwise", "instability"),
    replicates: int | None = None,
    num_train_examples: int | None = None,
    draw: bool = False,
    data_dir: str | None = None,
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/transformers"),
) -> int:
    """Run the parts of the study and write their tables and figures.

    Args:
      scale: how much of the study: smoke (images made on the fly), cpu or paper.
      networks: which networks: vit-tiny on images, gpt-mini on characters.
      parts: which parts: imp with its controls, by the magnitudes of all weights together; the
        same layerwise; or instability of dense networks.
      replicates: repetitions; those of the scale by default.
      num_train_examples: images to train on; those of the scale by default.
      draw: compute nothing; make tables and figures of the stored runs.
      data_dir: directory of the CIFAR-10 files; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for tables and figures.
    """
    numbers = SCALES[scale]
    numbers = numbers._replace(
        replicates=replicates or numbers.replicates,
        num_train_examples=num_train_examples or numbers.num_train_examples,
    )
    for network in networks:
        folder = results / scale / network
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS if draw else parts:
            config = PARTS[part](network, scale, numbers, data_dir)
            if not draw:
                print(f"== {network}, {part}", flush=True)
                cli.run_study(JOBS[part], config, out=out)
            run = store.folder(out, config, job=JOBS[part], label=run_label(config))
            if run.exists():
                REPORTS[JOBS[part]](run, folder, part)
                about(run).to_csv(folder / f"{part}_about.csv", index=False)
    print(f"tables and figures: {results / scale}")
    return 0


def experiment(network: str, scale: str, numbers: Scale, data_dir: str | None) -> StudyConfig:
    """Return what both parts train."""
    if network == "gpt-mini":
        data = DataConfig(name="text", context=numbers.context, validation=0.0)
    else:
        data = DataConfig(
            name="synthetic" if scale == "smoke" else "cifar10",
            data_dir=data_dir,
            num_train_examples=numbers.num_train_examples,
            validation=0.0,
        )
    training = TrainingConfig(
        steps=numbers.steps,
        batch_size=numbers.batch_size[network],
        evaluate_every=max(1, numbers.steps // 2),
        train_examples=500 if scale != "paper" else 10_000,
    )
    return StudyConfig(
        data=data,
        model=ModelConfig(name=network),
        training=training,
        optimizer=OptimizerConfig(lr=1e-3, schedule="cosine", warmup=numbers.steps // 20),
        loss="next-token" if network == "gpt-mini" else "cross-entropy",
        replicates=numbers.replicates,
    )


def imp(network: str, scale: str, numbers: Scale, data_dir: str | None) -> ImpConfig:
    """Return iterative pruning with rewinding, with controls at some levels."""
    return ImpConfig(
        **vars(experiment(network, scale, numbers, data_dir)),
        levels=numbers.levels,
        prune_fraction=PRUNE_FRACTION,
        rewind_step=numbers.rewind_step,
        controls=("reinitialized", "random"),
        control_levels=numbers.control_levels,
    )


def layerwise(network: str, scale: str, numbers: Scale, data_dir: str | None) -> ImpConfig:
    """Return the same with each layer pruned alike.

    Kernels that end a residual branch begin smaller than others, so that pruning by the magnitudes
    of all weights together leaves none of them, and the blocks compute nothing.
    """
    return dataclasses.replace(imp(network, scale, numbers, data_dir), scope="layerwise")


def instability(
    network: str, scale: str, numbers: Scale, data_dir: str | None
) -> InstabilityConfig:
    """Return the analysis of dense networks at step 0 and at the rewind step."""
    return InstabilityConfig(
        **vars(experiment(network, scale, numbers, data_dir)),
        rewind_steps=(0, numbers.rewind_step),
        twins=numbers.twins,
        points=numbers.points,
    )


PARTS = {"imp": imp, "layerwise": layerwise, "instability": instability}
JOBS = {"imp": "imp", "layerwise": "imp", "instability": "instability"}


def report_imp(run: pathlib.Path, folder: pathlib.Path, part: str) -> None:
    """Write tables of all networks, of means and of layers, and figures of accuracy and loss."""
    frame = store.table([run])
    kept = ["level", "density", "control", "replicate", "kept", "nan_step"]
    measured = ["test_accuracy", "test_loss", "train_accuracy", "train_loss"]
    rows = frame[kept + measured].round(6)
    rows.to_csv(folder / f"{part}.csv", index=False)
    means = summary(rows, language=is_language(folder))
    means.to_csv(folder / f"{part}_summary.csv", index=False)
    layers(frame).to_csv(folder / f"{part}_layers.csv", index=False)
    figures.save(figures.accuracy(frame), folder / f"{part}_accuracy.png")
    figures.save(figures.accuracy(frame, metric="test_loss"), folder / f"{part}_loss.png")


def layers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the mean density of kernels of one name in tickets: a row for each, a column a level.

    Kernels of one name, such as MLP2, are those of all blocks.
    """
    tickets = frame[frame["control"] == "ticket"].set_index("level")
    prefix = "layer_densities."
    by_layer = tickets[[name for name in tickets if str(name).startswith(prefix)]]
    names = [str(name).removeprefix(prefix).split("/")[-2] for name in by_layer]
    table = by_layer.groupby("level").mean().T.groupby(names).mean()
    return table.round(5).rename_axis("layer").add_prefix("level_").reset_index()


def summary(rows: pd.DataFrame, *, language: bool) -> pd.DataFrame:
    """Return the means over replicates by level and control: accuracy, error, loss, and bits.

    Args:
      rows: a row for each network.
      language: whether the loss is that of a character, and given in bits too.
    """
    rows = rows[rows["nan_step"].isna()].assign(test_error=lambda rows: 1 - rows["test_accuracy"])
    columns = ["test_accuracy", "test_error", "test_loss"]
    if language:
        rows = rows.assign(bits_per_character=rows["test_loss"] / BITS)
        columns.append("bits_per_character")
    by = rows.groupby(["level", "density", "control"])
    table = (
        by[columns]
        .mean()
        .assign(
            least_accuracy=by["test_accuracy"].min(),
            most_accuracy=by["test_accuracy"].max(),
            replicates=by.size(),
        )
    )
    return table.reset_index().round(5)


def report_instability(run: pathlib.Path, folder: pathlib.Path, part: str) -> None:
    """Write the summary of barriers, the pairs, and the figures."""
    frame, lines = store.table([run]), store.curves([run])
    stability = report.summary(frame, threshold=THRESHOLD, tolerance=cli.TOLERANCE)
    if is_language(folder):
        bits = {f"{name}_bits": stability[name] / BITS for name in ("loss", "mean_loss")}
        stability = stability.assign(**bits)
    stability.round(5).to_csv(folder / f"{part}.csv", index=False)
    pairs = frame[frame["kind"] == "pair"]
    kept = [name for name in pairs if pairs[name].notna().any() and "layer_" not in str(name)]
    pairs[kept].drop(columns=["run", "unit"]).round(6).to_csv(folder / "pairs.csv", index=False)
    print(report.sentence(stability))
    figures.save(twins.instability(frame), folder / f"{part}.png")
    figures.save(twins.interpolation(frame, lines), folder / "interpolation.png")


REPORTS = {"imp": report_imp, "instability": report_instability}


def is_language(folder: pathlib.Path) -> bool:
    """Return whether a folder of results is that of the language model."""
    return folder.name == "gpt-mini"


def about(run: pathlib.Path) -> pd.DataFrame:
    """Return what tells a run from others, and the versions that made it: a row for each."""
    says = json.loads((run / "run.json").read_text())
    made = says["environments"][-1]
    rows = {"run": run.name, "digest of the data": says["facts"]["data"]["digest"]}
    rows |= {"python": made["python"], "device": made["device"]} | made["versions"]
    return pd.DataFrame(rows.items(), columns=["what", "value"])


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
