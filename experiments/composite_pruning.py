"""Pruning scores, alone, stacked and as weights: Lutz & Manai 2022, chapter 5, on LeNet and MNIST.

Claim: pruned between trainings tickets are better than pruned before training, in rounds better
than at once; the magnitude of the GraSP score mends GraSP; of two stacked scores some beat SNIP,
few significantly; networks whose initial weights are scores train, but worse.

    python experiments/composite_pruning.py --scale smoke --data-dir DIR   # minutes on two cores
    python experiments/composite_pruning.py --scale cpu --data-dir DIR     # two hours
    python experiments/composite_pruning.py --scale paper --data-dir DIR   # a day; goes on where
                                                                           # it was stopped

Runs are kept in --out and go on where they were stopped; the tables and figures made of them are
written to --results. `--draw` makes only these, from the runs that are there.

Expected (Figures 5.11 to 5.14, Table 5.4), in percent at 50, 10, 1.5, 1 and 0.5 % of weights:
magnitude iterative-once (IMP) 98.15, 97.99, 96.53, 95.79, 90.91; snip before-rounds 98.05, 97.56,
94.67, 93.84, 89.83; synflow before-rounds 97.99, 97.33, 95.28, 93.99, 88.89; magnitude before
training 97.92, 97.32, 94.47, 90.86, 64.17; grasp+magnitude 98.14, 97.27, 95.12, 93.73, 90.51.
Dense: 98.24; on SNIP scores 97.86, on bi-modal weights 97.81, on SynFlow scores 96.60, on GraSP
scores 80.83.
"""

import dataclasses
import itertools
import pathlib
import sys
from typing import Any, Literal

import composite_figures as comparisons
import meta_figures as meta_report
import numpy as np
import pandas as pd

from jaxlth import cli, masks, settings, store, trees
from jaxlth.data import DataConfig
from jaxlth.plots import figures, mask_plots
from jaxlth.studies import method_figures, method_summary
from jaxlth.studies.config import run_label
from jaxlth.studies.imp import run as imp
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.lab import Lab
from jaxlth.studies.prune_early import artifacts, meta
from jaxlth.studies.prune_early import run as prune_early
from jaxlth.studies.prune_early.config import AFTER, Method, PruneEarlyConfig, all_methods
from jaxlth.studies.prune_early.networks import EarlyNetworks
from jaxlth.training import OptimizerConfig, TrainingConfig

Part = Literal["schedules", "stacks", "weights", "initial", "all", "meta", "trainings", "baseline"]
FOUR = ("magnitude", "snip", "grasp", "synflow")
STACKS = tuple(f"{first}+{second}" for first, second in itertools.product(FOUR, FOUR))
DENSITIES = (0.5, 0.1, 0.015, 0.01, 0.005)
OTHERS = (0.2, 0.007, 0.004)  # the thesis's further densities, at the scale paper
LEAST = 0.005  # of what meta-models learn from, and of `trainings`
FEW = (0.015, 0.005)
NEAR_SNIP = (  # SNIP, and what comes near it in rounds
    *("snip", "snip-float64", "snip+snip", "magnitude+snip", "grasp-magnitude", "synflow"),
)
# On two cores; a forest of all points takes an hour of them.
LEARNED = ("meta-linear", "meta-sgd", "meta-tree", "meta-mlp", "meta-linear-10", "meta-mlp-10")
BESIDE = {  # what parts are compared with
    "all": ("magnitude", "iterative-once"),
    "baseline": ("snip", "before-once"),
    "meta": ("magnitude", "before-once"),
}
OWN_FOLDER = ("all", "baseline")  # so that their tables do not take the place of others
TRAININGS = (1, 2, 3, 5)
WEIGHTS = ("standard", "bimodal", "snip", "grasp", "synflow")
BASELINE = "snip-before-rounds"  # as in the thesis
BASELINES = {"p": BASELINE, "p_once": "snip-before-once", "p_float64": "snip-float64-before-rounds"}
OWN = {
    "magnitude": "iterative-once",
    "snip": "before-once",
    "grasp": "before-once",
    "synflow": "before-rounds",
}  # as published
BEST = {
    "before-once": "synflow-before-rounds",
    "before-rounds": "synflow-before-rounds",
    "iterative-once": "magnitude-iterative-once",
    "iterative-rounds": "magnitude-iterative-once",
}
PUBLISHED = "each as published"
PAIRS = (
    ("before-once", "iterative-once"),
    ("before-rounds", "iterative-rounds"),
    ("before-once", "before-rounds"),
    ("iterative-once", "iterative-rounds"),
)


def main(
    scale: Literal["smoke", "cpu", "paper"] = "smoke",
    parts: tuple[Part, ...] = ("schedules", "stacks", "weights"),
    replicates: int | None = None,
    draw: bool = False,
    data_dir: str | None = None,
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/composite_pruning"),
) -> int:
    """Run the parts of the study and write their tables and figures.

    Args:
      scale: how much of the study: smoke, cpu or paper.
      parts: schedules (each score by each schedule), stacks (of two scores), weights (scores as
        initial weights), initial (dense networks on these, Table 5.4), all (stacks on scores as
        weights, beside IMP), meta (learned scores), trainings (IMP to 0.5 % in few trainings, each
        of which removes as many weights), baseline (SNIP at once, in rounds, and in rounds in
        float64, beside what comes near it, for --replicates 10).
      replicates: repetitions; those of the scale by default.
      draw: compute nothing; make tables and figures of the stored runs.
      data_dir: directory of the MNIST files; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for tables and figures.
    """
    shared = lenet(scale, data_dir=data_dir)
    if replicates is not None:
        shared = dataclasses.replace(shared, replicates=replicates)
    for part in () if draw else parts:
        print(f"== {part}", flush=True)
        if part == "trainings":
            for count in TRAININGS[: 2 if scale == "smoke" else None]:
                imp_in(count, shared, out)
        else:
            cli.run_study("prune-early", of_part(part, shared, scale), out=out)
        if part in BESIDE:
            of_scores = {"scores": BESIDE[part][:1], "schedules": BESIDE[part][1:]}
            beside = of_part(part, shared, scale)
            beside = dataclasses.replace(beside, weights=("standard",), **of_scores)
            cli.run_study("prune-early", beside, out=out)
    folder = results / "-".join([scale, *(part for part in parts if part in OWN_FOLDER)])
    folder.mkdir(parents=True, exist_ok=True)
    is_drawn = report_on_trainings(shared, out, folder)
    reports = {"schedules": report_on} | ({"meta": report_on_meta} if shared.replicates > 1 else {})
    for name, report_of in reports.items():
        config = of_part(name, shared, scale)
        run = store.folder(out, config, job="prune-early", label=run_label(config))
        if run.exists():
            report_of(run, config, folder)
            is_drawn = True
    settings.require(is_drawn, f"There is no run of this study in {out} to draw.")
    print(f"tables and figures: {folder}")
    return 0


def lenet(scale: str, *, data_dir: str | None) -> PruneEarlyConfig:
    """Return LeNet-300-100 on MNIST as in the thesis, or shortened."""
    epochs = {"smoke": 0.1, "cpu": 4.0, "paper": 100.0}[scale]
    # The thesis gives no patience; with 5 epochs networks train about as long as its own (ours).
    patience = 5.0 if scale == "paper" else None
    return PruneEarlyConfig(
        data=DataConfig(name="mnist", data_dir=data_dir),
        training=TrainingConfig(
            epochs=epochs,
            batch_size=64,
            evaluate_every=min(1.0, epochs),
            patience=patience,
            checkpoint="best" if patience else "last",
        ),
        optimizer=OptimizerConfig(optimizer="sgd", lr=0.1),
        rounds=5 if scale == "smoke" else 100,
        prune_fraction=0.5,  # the thesis does not say how many trainings there are (ours)
        densities={"smoke": (0.1,), "cpu": DENSITIES, "paper": DENSITIES + OTHERS}[scale],
        replicates=2 if scale == "smoke" else 3,
    )


def of_part(part: Part, shared: PruneEarlyConfig, scale: str) -> PruneEarlyConfig:
    """Return what a part asks for, all in one run; on two cores composites at fewer densities."""
    if part != "schedules" and scale == "cpu":
        shared = dataclasses.replace(shared, densities=FEW)
    least = LEAST if LEAST in shared.densities else min(shared.densities)
    asked = {
        "schedules": {
            "scores": FOUR if scale == "smoke" else (*FOUR, "grasp-magnitude", "random"),
            "schedules": ("before-once", "before-rounds", "iterative-once")
            if scale == "smoke"
            else ("before-once", "before-rounds", "iterative-once", "iterative-rounds"),
        },
        "stacks": {"scores": STACKS, "schedules": ("before-rounds",)},
        "weights": {"scores": FOUR, "schedules": ("before-rounds",), "weights": WEIGHTS},
        "initial": {  # with one ticket each, since a run asks for some
            "scores": ("magnitude",),
            "schedules": ("before-rounds",),
            "densities": (max(shared.densities),),
            "weights": WEIGHTS,
        },
        "all": {"scores": STACKS, "schedules": ("before-rounds",), "weights": WEIGHTS},
        "baseline": {
            "scores": NEAR_SNIP,
            "schedules": ("before-rounds",),
            "densities": (least,),
        },
        "meta": {
            "scores": ("synflow", *(meta.NAMES if scale == "paper" else LEARNED)),
            "schedules": ("before-once", "iterative-rounds"),
            "meta_weights": 10_000 if scale == "smoke" else None,
            "meta_density": least,
            "meta_replicates": max(1, min(2, shared.replicates - 1)),
            "weights": WEIGHTS if scale == "paper" else ("standard",),
        },
    }[part]
    return dataclasses.replace(shared, **asked)


def imp_in(count: int, shared: PruneEarlyConfig, out: str) -> None:
    """Prune by magnitude to the lowest density in so many trainings, each as many weights.

    As the thesis's ISS reads, which does not say how many trainings there were.
    """
    config = of_imp(count, shared)
    experiment = imp.prepare(config)
    size = masks.size(experiment.prunable.dense)
    gone = size - round(min(shared.densities) * size)
    keep: list[Any] = [size - round(gone * level / count) for level in range(count + 1)]
    label = run_label(config)
    with store.open_run(out, config, job=f"imp-in-{count}", label=label) as run:
        for event in imp.imp(Lab(experiment, run), config, keep):
            for record in event.finished:
                print(f"level {record['level']} of {count}: {record['test_accuracy']:.4f}")


def of_imp(count: int, shared: PruneEarlyConfig) -> ImpConfig:
    """Return the settings of IMP in so many trainings; what each keeps is not among them."""
    return ImpConfig(
        data=shared.data,
        model=shared.model,
        training=shared.training,
        optimizer=shared.optimizer,
        levels=count,
        controls=(),
        replicates=shared.replicates,
    )


def report_on_trainings(shared: PruneEarlyConfig, out: str, folder: pathlib.Path) -> bool:
    """Write the accuracy of IMP at the lowest density by the number of trainings before it.

    Returns:
      Whether there is any.
    """
    rows = []
    for count in TRAININGS:
        config = of_imp(count, shared)
        run = store.folder(out, config, job=f"imp-in-{count}", label=run_label(config))
        last = store.table([run]).query("level == @count") if run.exists() else pd.DataFrame()
        if not last.empty:
            accuracies = last["test_accuracy"].agg(["mean", "min", "max", "count"]).to_dict()
            rows.append({"trainings": count, "density": last["density"].min()} | accuracies)
    if rows:
        trainings = pd.DataFrame(rows)
        trainings.round(5).to_csv(folder / "trainings.csv", index=False)
        print(trainings.round(4).to_string(index=False))
    return bool(rows)


def report_on(run: pathlib.Path, config: PruneEarlyConfig, folder: pathlib.Path) -> None:
    """Write the tables and figures of schedules, stacks and scores as weights."""
    frame = store.table([run]).query("ablation == 'none' and prune_step == 0")
    frame = frame[~frame["score"].isin(meta.NAMES)]
    frame = frame[
        ~frame["schedule"].isin((*AFTER, "after-rewind"))
    ]  # of the study that shares the run
    baseline = BASELINE if BASELINE in set(frame["control"]) else None
    summary = against_snip(frame)
    summary.round(5).to_csv(folder / "methods.csv", index=False)
    print(method_summary.mean_table(summary).to_string(na_rep=""))
    standard = frame["weights"] == "standard"
    single = frame["score"].isin((*FOUR, "grasp-magnitude", "random", "none"))
    stacked = frame["score"].str.contains("+", regex=False)
    four = frame["score"].isin((*FOUR, "none"))
    upfront = frame["schedule"].isin(("none", "before-rounds"))
    first_of_stack = frame["score"].str.partition("+")[0]
    drawn = {
        "figure_5-1": (standard & single & ~stacked, "schedule", "score"),
        "figure_5-10": (standard & upfront & (stacked | four), "first", "score"),
    }
    asked = {"figure_5-10": stacked.any()}
    for name, (chosen_rows, panel, line) in drawn.items():
        rows = frame.assign(first=first_of_stack)[chosen_rows]
        if asked.get(name, True) and (rows["level"] > 0).any():
            figures.save(
                method_figures.accuracy(rows, panel=panel, line=line), folder / f"{name}.png"
            )
    on_weights = frame[(frame["level"] == 0) & frame["weights"].isin(WEIGHTS)]
    if on_weights["weights"].nunique() > 1:
        table = on_weights.groupby("weights", sort=False)[["test_accuracy", "steps"]].mean()
        table.round(5).to_csv(folder / "table_5-4.csv")
    compare(frame, folder)
    rank(frame, folder, baseline)
    look_at(store.open_readonly(run), config, folder)


def against_snip(frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies by method, and p against SNIP in rounds, at once, and in float64.

    In many rounds SNIP's mask depends on rounding; at once it does not.
    """
    summary = method_summary.summary(frame, tolerance=cli.TOLERANCE).drop(columns="matches")
    names = set(frame["control"])
    for column, baseline in BASELINES.items():
        if baseline in names:
            against = method_summary.summary(frame, tolerance=0, baseline=baseline)
            summary[column] = against["p"]
    return summary


def compare(frame: pd.DataFrame, folder: pathlib.Path) -> None:
    """Draw methods relative to others: to their own schedule, or to the best known of each."""
    single = [*FOUR, "grasp-magnitude", "random"]
    own = {
        f"{score}-{schedule}": f"{score}-{proposed}"
        for score, proposed in OWN.items()
        for schedule in BEST
    }
    best = {
        f"{score}-{schedule}": reference for score in single for schedule, reference in BEST.items()
    }
    standard = {
        f"{score}-before-rounds-on-{weights}": f"{score}-before-rounds"
        for score in FOUR
        for weights in WEIGHTS
    }
    positive = {f"grasp-magnitude-{schedule}": f"grasp-{schedule}" for schedule in BEST}
    dense = {artifacts.dense_name(weights): "dense" for weights in WEIGHTS}
    table = against_others(frame, own | standard | positive | dense)
    table.round(5).to_csv(folder / "comparisons.csv", index=False)
    drawn = {
        "figure_5-4": (own, "score", "schedule"),
        "figure_5-5": (best, "schedule", "score"),
        "figure_5-12": (standard, "score", "weights"),
    }
    for name, (pairs, panel, line) in drawn.items():
        against = {method: of for method, of in pairs.items() if method != of}
        if comparisons.changes(frame, against)["change"].notna().any():
            figure = comparisons.change(frame, against, panel=panel, line=line)
            figures.save(figure, folder / f"{name}.png")


def against_others(frame: pd.DataFrame, against: dict[str, str]) -> pd.DataFrame:
    """Return mean accuracies of methods and of others, by density, and p of Welch's test."""
    values, rows = method_summary.test_accuracies(frame), []
    for (method, density), accuracies in values.items():
        of = against.get(method, method)
        other = values.get((of, density), np.array([]))
        if of != method and len(other):
            means = {"mean": accuracies.mean(), "other": other.mean()}
            which = {"method": method, "against": of, "density": density}
            rows.append(which | means | {"p": method_summary.welch(accuracies, other)})
    return pd.DataFrame(rows)


def rank(frame: pd.DataFrame, folder: pathlib.Path, baseline: str | None) -> None:
    """Draw the best methods: of stacks, of each score on other weights, and of all."""
    rounds = frame[frame["schedule"] == "before-rounds"]
    four = rounds["score"].isin(FOUR)
    stacked = rounds["score"].str.contains("+", regex=False)
    imp = frame[frame["control"] == "magnitude-iterative-once"]
    standard = rounds["weights"] == "standard"
    of_all = pd.concat([rounds[four | stacked], imp])
    if stacked.any():
        save_ranking(rounds[standard & (four | stacked)], baseline, folder / "figure_5-11.png")
        save_ranking(of_all, baseline, folder / "figure_5-14.png")
    if rounds["weights"].nunique() > 1:
        by_score = [
            method_summary.summary(rows, tolerance=cli.TOLERANCE, baseline=f"{score}-before-rounds")
            for score, rows in rounds[four].groupby("score")
        ]
        against = "the same score on standard weights"
        figure = comparisons.ranking(pd.concat(by_score), against=against)
        figures.save(figure, folder / "figure_5-13.png")


def save_ranking(rows: pd.DataFrame, baseline: str | None, file: pathlib.Path) -> None:
    """Draw the best of some methods, with a star where they differ from the baseline."""
    summary = method_summary.summary(rows, tolerance=cli.TOLERANCE, baseline=baseline)
    figures.save(comparisons.ranking(summary, against=baseline), file)


def look_at(run: store.Run, config: PruneEarlyConfig, folder: pathlib.Path) -> None:
    """Draw what the sparsest tickets of the first replicate share, and their weights."""
    density, job = min(config.densities), EarlyNetworks(Lab(prune_early.prepare(config), run))
    initial = job.initial("standard", 0).params
    kept, weights = {}, {}
    for method in all_methods(config):
        unit = artifacts.ticket(density, method, 0)
        if method.score == "random" or not run.has(unit):
            continue
        mask = run.load(unit, "mask")
        kept[str(method)] = [np.asarray(leaf) for leaf in trees.named(mask).values()]
        if OWN.get(method.score) == method.schedule:
            trained = run.load(unit, "network")["params"]
            weights[str(method)] = (
                masks.kept_values(initial, mask),
                masks.kept_values(trained, mask),
            )
    if not weights:
        return
    shared = mask_plots.jaccard(kept)
    shared.round(4).to_csv(folder / "jaccard.csv")
    figures.save(mask_plots.similarity(shared), folder / "jaccard.png")
    figures.save(mask_plots.weight_histograms(weights), folder / "figure_5-2.png")
    by_score = {
        (PUBLISHED, f"{a} and {b}"): (Method(a, OWN[a]), Method(b, OWN[b]))
        for a, b in itertools.combinations(OWN, 2)
    }
    by_schedule = {
        (f"{a} and {b}", score): (Method(score, a), Method(score, b))
        for score, (a, b) in itertools.product(OWN, PAIRS)
    }
    tables = [shared_by(pairs, run, config) for pairs in (by_score, by_schedule)]
    for table, name in zip(tables, ("figure_5-3", "figure_5-6"), strict=True):
        if len(table):
            figures.save(comparisons.overlap(table), folder / f"{name}.png")
    by_density = pd.concat(tables).groupby(["schedules", "score", "density"])["jaccard"]
    by_density.mean().round(4).to_csv(folder / "jaccard_by_density.csv")


def shared_by(
    pairs: dict[tuple[str, str], tuple[Method, Method]], run: store.Run, config: PruneEarlyConfig
) -> pd.DataFrame:
    """Return the Jaccard similarity of tickets of two methods, by density and replicate.

    Args:
      pairs: {(schedules, score): methods}, by what the table calls them.
      run: where their masks are.
      config: of the run.
    """
    rows = []
    for (schedules, score), methods in pairs.items():
        for density, replicate in itertools.product(config.densities, range(config.replicates)):
            units = [artifacts.ticket(density, method, replicate) for method in methods]
            if all(run.has(unit) for unit in units):
                shared = float(masks.jaccard(*(run.load(unit, "mask") for unit in units)))
                which = {"schedules": schedules, "score": score}
                rows.append(which | {"density": density, "replicate": replicate, "jaccard": shared})
    return pd.DataFrame(rows, columns=["schedules", "score", "density", "replicate", "jaccard"])


def report_on_meta(run: pathlib.Path, config: PruneEarlyConfig, folder: pathlib.Path) -> None:
    """Write how well meta-models fit (Tables 5.1 to 5.3), and what is drawn of them."""
    fits = [
        {"model": unit.split("/")[1], "replicate": unit.rsplit("_", 1)[1]} | dict(record)
        for unit, record in store.open_readonly(run).records()
        if unit.startswith("meta/")
    ]
    if not fits:  # a run of other parts
        return
    learned = pd.DataFrame(fits)
    columns = ["r2_train", "r2_test", "mse_train", "mse_test"]
    quality = learned.groupby("model", sort=False)[columns].mean()
    quality.to_csv(folder / "meta_models.csv")
    print(quality.to_string())
    frame = store.table([run])
    kinds = ("none", "magnitude", "synflow", *meta.NAMES)
    frame = frame[frame["score"].isin(kinds) & (frame["weights"] == "standard")]
    frame = frame[frame["schedule"].isin(("none", "before-once", "iterative-rounds"))]
    summary = method_summary.summary(
        frame, tolerance=cli.TOLERANCE, baseline="magnitude-before-once"
    )
    summary.drop(columns="matches").round(5).to_csv(folder / "meta_methods.csv", index=False)
    print(method_summary.mean_table(summary).to_string(na_rep=""))
    upfront = frame[frame["schedule"] == "before-once"]
    against = dict.fromkeys(upfront["control"], "magnitude-before-once")
    del against["magnitude-before-once"]
    figure = comparisons.change(upfront, against, panel="schedule", line="score")
    figures.save(figure, folder / "figure_5-9.png")
    if "losses" in learned:
        losses = learned.dropna(subset="losses").groupby("model", sort=False)["losses"].agg(list)
        others = quality.drop(index=losses.index)["mse_train"]
        figures.save(meta_report.learning(losses, others), folder / "figure_5-8.png")
    draw_examples(store.open_readonly(run), config, learned["replicate"].nunique(), folder)


def draw_examples(
    run: store.Run, config: PruneEarlyConfig, replicates: int, folder: pathlib.Path
) -> None:
    """Draw what meta-models learn from, of all replicates: four features, and ten (B.1)."""
    job = EarlyNetworks(Lab(prune_early.prepare(config), run))
    method = Method("meta-linear-10", "before-once")
    pairs = [job.learned_from(replicate, method, True) for replicate in range(replicates)]
    inputs, target = (np.concatenate(each) for each in zip(*pairs, strict=True))
    names = (*meta.SCORES, *meta.SURROUNDINGS)
    columns = dict(zip(names, inputs.T, strict=True)) | {meta_report.TARGET: target}
    correlations = pd.DataFrame(columns).corr()
    correlations.round(4).to_csv(folder / "meta_correlations.csv")
    four = [*meta.SCORES, meta_report.TARGET]
    figures.save(meta_report.examples({n: columns[n] for n in four}), folder / "figure_5-7a.png")
    for name, shown in (
        ("figure_5-7b", correlations.loc[four, four]),
        ("figure_B-1", correlations),
    ):
        figures.save(
            mask_plots.similarity(shown, darkest=-1, label="Correlation"), folder / f"{name}.png"
        )


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
