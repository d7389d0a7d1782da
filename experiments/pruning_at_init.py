"""Pruning at initialisation and what it depends on: Frankle 2023, chapter 5.

Claim: tickets found before training are as good with their masks shuffled within layers, or their
weights drawn anew; tickets found by magnitude after training are not. Pruned later in training,
scores find better tickets, which depend on both more.

    python experiments/pruning_at_init.py --scale smoke --data-dir DIR    # LeNet, minutes
    python experiments/pruning_at_init.py --scale cpu --data-dir DIR --networks lenet conv-2-digits
    python experiments/pruning_at_init.py --scale paper --networks resnet-20 vgg-16 --data-dir DIR

Runs are kept in --out and go on where they were stopped; the tables and figures made of them are
written to --results. `--draw` makes only these, from the runs that are there. LeNet is trained as
in `composite_pruning.py`, whose runs it shares. At the scale cpu networks for CIFAR-10 see a part
of it in short trainings, two replicates: ResNet-20 takes half an hour, VGG-16 two hours. How each
network is trained is in `early_networks.py`; conv-2-digits takes minutes.

Expected (section 5.7): on ResNet-20, VGG-16 and ResNet-18 shuffling and drawing anew change nothing
for SNIP, GraSP, SynFlow and magnitude at initialisation; inverting hurts all but GraSP; after
training all of these hurt magnitude. The thesis has figures only, and no LeNet.
"""

import dataclasses
import pathlib
import sys
from typing import Literal

import numpy as np
import pandas as pd
from early_networks import matching, settings, steps

from jaxlth import cli, masks, store, trees
from jaxlth import settings as checks
from jaxlth.plots import figures, mask_plots
from jaxlth.plots.figures import Figure
from jaxlth.studies import method_figures, method_summary
from jaxlth.studies.config import run_label
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.prune_early import run as prune_early
from jaxlth.studies.prune_early.config import AFTER, CONTROLS, PruneEarlyConfig

Name = Literal["lenet", "conv-2-digits", "conv-2", "resnet-20", "vgg-16", "resnet-18", "resnet-50"]
Part = Literal["ablations", "variants", "steps", "after"]
FOUR = ("magnitude", "snip", "grasp", "synflow")
BEST = (  # as in Figure 5-10, beside what all are short of
    "magnitude-before-once",
    "snip-before-once",
    "grasp-magnitude-before-once",
    "synflow-before-rounds-shuffled",
    "random-before-once",
    "magnitude-after",
)
AT_INIT = (  # as in Figure 5-4
    *("magnitude-before-once", "snip-before-once", "grasp-before-once", "synflow-before-rounds"),
    *("random-before-once", "magnitude-after"),
)


def main(
    scale: Literal["smoke", "cpu", "paper"] = "smoke",
    networks: tuple[Name, ...] = ("lenet",),
    parts: tuple[Part, ...] = ("ablations",),
    replicates: int | None = None,
    draw: bool = False,
    data_dir: str | None = None,
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/pruning_at_init"),
) -> int:
    """Run the parts of the study and write their tables and figures.

    Args:
      scale: how much of the study: smoke, cpu or paper.
      networks: which networks.
      parts: ablations (shuffled, drawn anew, inverted; Figure 5-5), variants (SNIP in rounds, other
        readings of GraSP; Figures 5-7 to 5-10), steps (pruning later; Figures 5-12 and 5-14), after
        (scores of trained networks; Figure 5-13).
      replicates: repetitions; those of the scale by default.
      draw: compute nothing; make tables and figures of the stored runs.
      data_dir: directory of the data sets; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for tables and figures.
    """
    for network in networks:
        shared = settings(network, scale, data_dir=data_dir)
        if replicates is not None:
            shared = dataclasses.replace(shared, replicates=replicates)
        for part in () if draw else parts:
            for config in of_part(part, shared, network, scale):
                print(f"== {network}, {part}", flush=True)
                cli.run_study("prune-early", config, out=out)
        run = store.folder(out, shared, job="prune-early", label=run_label(shared))
        checks.require(run.exists(), f"There is no run of {network} in {out} to draw.")
        folder = results / scale / network
        folder.mkdir(parents=True, exist_ok=True)
        frame, density = of_this_study(store.table([run]), shared), matching(network, shared)
        report_on(frame, folder, density)
        units = densities_of_units(store.open_readonly(run), frame, density)
        if units:
            figures.save(mask_plots.unit_sparsities(units), folder / "figure_5-6.png")
        if network == "lenet":
            used = inputs_used(store.open_readonly(run), frame, prune_early.prepare(shared))
            used.round(4).to_csv(folder / "first_layer.csv")
            print(used.round(4).to_string())
        print(f"tables and figures: {folder}")
    return 0


def of_part(
    part: Part, shared: PruneEarlyConfig, network: str, scale: str
) -> list[PruneEarlyConfig]:
    """Return what a part asks for, all in one run: SynFlow in rounds, the others at once."""
    all_of_them = scale == "paper" or network == "lenet"
    controls = CONTROLS if all_of_them else CONTROLS[:2]
    references = ("after", "after-rewind")
    if part == "variants":
        asked = [
            {"scores": ("grasp-lowest", "grasp-magnitude", "magnitude-unit-variance", "random")},
            {"scores": ("snip",), "schedules": ("before-rounds",), "controls": controls[:2]},
        ]
    elif part == "steps":
        common = {"rewind_steps": steps(shared, scale), "controls": controls[:2]}
        common["densities"] = (matching(network, shared),)
        scores = ("snip",) if scale == "smoke" else FOUR[:3]
        asked = [{"scores": scores, "references": ("after-rewind",)} | common]
        if scale != "smoke":
            asked.append({"scores": ("synflow",), "schedules": ("before-rounds",)} | common)
            asked.append({"scores": ("random",)} | common | {"controls": ()})
    elif part == "after":
        scores = FOUR[:2] if scale == "smoke" else FOUR
        rounds = {"scores": scores[1:], "schedules": ("after-rounds",), "controls": controls}
        asked = [{"scores": scores, "schedules": ("after",), "controls": controls}, rounds]
    else:
        few = scale != "paper" and network != "lenet"  # as far as two cores go
        scores = ("snip",) if few else FOUR[:3]
        asked = [
            {"scores": scores, "controls": controls, "references": references[: 1 + (not few)]}
        ]
        if not few:
            asked.append(
                {"scores": ("synflow",), "schedules": ("before-rounds",), "controls": controls}
            )
        if scale == "paper":
            asked.append({"scores": ("random",)})
    return [dataclasses.replace(shared, **each) for each in asked]


def of_this_study(frame: pd.DataFrame, shared: PruneEarlyConfig) -> pd.DataFrame:
    """Return the rows of this study, of a run that others may share."""
    scores = (*FOUR, "grasp-lowest", "grasp-magnitude", "magnitude-unit-variance", "random", "none")
    densities = method_summary.tickets(frame).reindex(frame.index)["density"]
    ours = (
        frame["score"].isin(scores)
        & frame["schedule"].isin(("none", "before-once", "before-rounds", *AFTER, "after-rewind"))
        & (frame["weights"] == "standard")
        & densities.isin((1.0, *shared.densities))
    )
    # In rounds only what this study prunes in rounds.
    return frame[
        ours & ((frame["schedule"] != "before-rounds") | frame["score"].isin(("synflow", "snip")))
    ]


def report_on(frame: pd.DataFrame, folder: pathlib.Path, density: float) -> None:
    """Write the tables and figures of what has been trained; layers at a density."""
    summary = compared(frame)
    summary.round(5).to_csv(folder / "methods.csv", index=False)
    print(summary.round(4).to_string(index=False, na_rep=""))
    results_table = frame.assign(method=frame["score"] + " " + frame["schedule"])
    trained, every = of_trained(results_table), results_table
    results_table = results_table[~trained]  # Figure 5-13 has these
    changed = results_table[results_table["prune_step"] == 0]
    ablated = set(changed.loc[changed["ablation"] != "none", "method"]) | {"none none"}
    changed = changed[changed["method"].isin(ablated)]
    if (changed["level"] > 0).any():
        figures.save(ablations(changed), folder / "figure_5-5.png")
    if trained.any():
        rows = every[(every["level"] == 0) | every["schedule"].isin(AFTER)]
        figures.save(ablations(rows), folder / "figure_5-13.png")
    if (frame["prune_step"] > 0).any():
        figure = method_figures.steps(results_table, line="method")
        figures.save(figure, folder / "figure_5-12.png")
        ablated_rows = results_table[results_table["score"] != "random"]
        figures.save(method_figures.steps(ablated_rows), folder / "figure_5-14.png")
    plain = results_table[
        (results_table["ablation"] == "none") & (results_table["prune_step"] == 0)
    ]
    if np.isclose(method_summary.tickets(plain)["density"], density).any():
        figure = method_figures.layers(plain, density=density)
        figures.save(figure, folder / "figure_5-11.png")
    draw_variants(every[(every["prune_step"] == 0) & ~trained], folder)


def ablations(rows: pd.DataFrame) -> Figure:
    """Return the figure of ablations, a panel a method; inverted ones have a panel of their own.

    They are so much worse that the others' differences would not be seen beside them.
    """
    inverted = rows["ablation"] == "inverted"
    return method_figures.accuracy(
        rows.assign(
            panel=rows["method"].mask(inverted, "inverted: the least important weights kept"),
            ablation=rows["ablation"].mask(inverted, rows["method"]),
        ),
        panel="panel",
        line="ablation",
    )


def of_trained(frame: pd.DataFrame) -> pd.Series:
    """Return which rows are of scores of trained networks, the benchmark by magnitude aside."""
    return frame["schedule"].isin(AFTER) & (frame["score"] != "magnitude")


def draw_variants(results_table: pd.DataFrame, folder: pathlib.Path) -> None:
    """Draw scores at initialisation, SNIP in rounds, readings of GraSP and the best variants."""
    results_table = results_table.assign(which="one panel")
    dense, plain = results_table["level"] == 0, results_table["ablation"] == "none"
    snip = results_table["score"] == "snip"
    grasp = results_table["score"].isin(("grasp", "grasp-lowest", "grasp-magnitude"))
    drawn = {
        "figure_5-4": (
            results_table["control"].isin(AT_INIT),
            {"panel": "which", "line": "control"},
        ),
        "figure_5-7": (snip & plain, {"panel": "score", "line": "schedule"}),
        "figure_5-9": (grasp & plain, {"line": "score"}),
        "figure_5-10": (results_table["control"].isin(BEST), {"panel": "which", "line": "control"}),
    }
    asked = {"snip before-rounds", "grasp-magnitude before-once"} <= set(results_table["method"])
    for name, (rows, options) in drawn.items():
        if asked or (name == "figure_5-4" and set(AT_INIT[:4]) <= set(results_table["control"])):
            figure = method_figures.accuracy(results_table[dense | rows], **options)
            figures.save(figure, folder / f"{name}.png")
    if asked:
        figures.save(ablations(results_table[dense | snip]), folder / "figure_5-8.png")


def densities_of_units(
    run: store.Run, frame: pd.DataFrame, density: float
) -> dict[str, np.ndarray]:
    """Return the densities of units of the first replicate's tickets of a density, from step 0."""
    rows = method_summary.tickets(frame)
    rows = rows[(rows["replicate"] == 0) & (rows["prune_step"] == 0) & (rows["level"] > 0)]
    rows = rows[np.isclose(rows["density"], density) & ~of_trained(rows)]
    shuffled_synflow = (rows["score"] == "synflow") & (rows["ablation"] == "shuffled")
    rows = rows[(rows["ablation"] == "none") | shuffled_synflow]
    return {
        row.control: np.concatenate(list(masks.unit_densities(run.load(row.unit, "mask")).values()))
        for row in rows.itertuples()
    }


def inputs_used(run: store.Run, frame: pd.DataFrame, experiment: LoadedExperiment) -> pd.DataFrame:
    """Return where tickets have the weights of their first layer, means over replicates.

    Columns: `blank`, the share that lies on pixels lit in less than a thousandth of the training
    images, a quarter of MNIST's; `units`, hidden units that any of them reaches.
    """
    images = experiment.device_data.dataset.train.images
    blank = np.mean(images.reshape(len(images), -1) > 0, axis=0) < 0.001
    rows = method_summary.tickets(frame)
    rows = rows[(rows["level"] > 0) & (rows["prune_step"] == 0)]
    shares = []
    for row in rows.itertuples():
        first = np.asarray(trees.named(run.load(row.unit, "mask"))["Dense_0/kernel"])
        share = first[blank].sum() / max(first.sum(), 1)
        shares.append((row.control, row.density, share, int(first.any(axis=0).sum())))
    columns = ["control", "density", "blank", "units"]
    return pd.DataFrame(shares, columns=columns).groupby(["control", "density"]).mean()


def compared(frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies by method, and Welch's p of each ablation against what it changes."""
    rows = method_summary.summary(frame, tolerance=cli.TOLERANCE)
    keys = method_summary.tickets(frame).groupby("control", sort=False).first()
    columns = ["score", "schedule", "ablation", "weights", "prune_step"]
    rows = rows.join(keys[columns], on="control")
    values = method_summary.test_accuracies(frame)
    same = ["score", "schedule", "weights", "prune_step", "density"]
    origins = rows[rows["ablation"] == "none"].set_index(same)["control"].to_dict()
    rows["p"] = [
        method_summary.welch(
            values[row["control"], row["density"]],
            values.get((origins.get(tuple(row[same])), row["density"]), []),
        )
        if row["ablation"] != "none"
        else float("nan")
        for _, row in rows.iterrows()
    ]
    return rows[["control", "density", "mean", "min", "max", "n", "p"]]


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
