"""SET, RigL and dynamic IMP beside tickets and static masks: Evci et al. 2020; LeNet, Conv-4.

Claim: a network trained sparse throughout is better if its mask moves while it trains than if it
does not; where gradients say what to grow (RigL) it is better than at random (SET).

    python experiments/dynamic_sparse.py --scale smoke --data-dir DIR   # a minute
    python experiments/dynamic_sparse.py --scale cpu --data-dir DIR     # ten minutes, two cores
    python experiments/dynamic_sparse.py --scale cpu --network conv-4 --data-dir DIR   # 80 minutes

IMP, SynFlow and random pruning are of `jaxlth prune-early`, the others of `jaxlth dynamic`; runs in
--out go on where they were stopped. SET, RigL and a static mask of the same layer densities
(Erdos-Renyi) have the same initial weights and batches. Masks change every 100 steps (Conv-4: 50)
of the first three quarters of the training, by 30 % of the weights at first. "RigL 5x" trains five
times as long; so do all three on Conv-4.

Expected (Evci et al., Figure 2 and appendix B): static < SET < RigL at equal cost; on LeNet RigL
has a test error of 1.4 to 1.6 % with a thirtieth of the weights, after 100 and more epochs.
"""

import dataclasses
import pathlib
import sys
from typing import Any, Literal

import pandas as pd
from composite_pruning import lenet

from jaxlth import cli, store
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.studies import method_summary
from jaxlth.studies.config import run_label
from jaxlth.studies.dynamic import cost
from jaxlth.studies.dynamic.config import DynamicConfig
from jaxlth.studies.loading import load_experiment
from jaxlth.studies.prune_early.config import PruneEarlyConfig
from jaxlth.training import OptimizerConfig, TrainingConfig

DENSITIES = (0.1, 0.02)
SMALL_NETWORKS = pathlib.Path(__file__).with_name("small_networks.py")
EVERY = {"lenet": 100, "conv-4": 50}  # steps between changes of masks; Evci et al., section 4: 100
LENGTHS: dict[str, tuple[tuple[tuple[str, ...], float], ...]] = {  # methods, length of trainings
    "lenet": ((("static", "set", "rigl", "dynamic-imp"), 1.0), (("rigl",), 5.0)),
    "conv-4": ((("static", "set", "rigl"), 1.0), (("static", "set", "rigl"), 5.0)),
}
PRUNED = {  # what `jaxlth prune-early` calls a method
    "dense": "dense",
    "IMP": "magnitude-iterative-once",
    "SynFlow": "synflow-before-rounds",
    "random": "random-before-once",
}
NAMES = {  # of methods of `jaxlth dynamic`
    "static": "static",
    "static-5x": "static 5x",
    "set": "SET",
    "set-5x": "SET 5x",
    "rigl": "RigL",
    "rigl-5x": "RigL 5x",
    "dynamic-imp": "dynamic IMP",
}


def main(
    scale: Literal["smoke", "cpu"] = "smoke",
    network: Literal["lenet", "conv-4"] = "lenet",
    replicates: int | None = None,
    data_dir: str | None = None,
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/dynamic_sparse"),
) -> int:
    """Run the study and write its tables.

    Args:
      scale: how much of the study: smoke or cpu.
      network: lenet on MNIST, or conv-4 on CIFAR-10 at 8 x 8 pixels.
      replicates: repetitions; those of the scale by default.
      data_dir: directory of the data; $JAXLTH_DATA by default.
      out: folder of the runs of the library's study, or gs://BUCKET/FOLDER.
      results: folder for the tables.
    """
    make = lenet if network == "lenet" else conv_4
    shared = dataclasses.replace(make(scale, data_dir=data_dir), densities=DENSITIES)
    full = 5 if network == "lenet" and scale == "cpu" else shared.replicates
    shared = dataclasses.replace(shared, replicates=replicates or full)
    rows = of_prune_early(shared, out) + of_sparse_trainings(of_dynamic(shared, network), out)
    folder = results / (scale if network == "lenet" else f"{scale}-{network}")
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows)
    frame.to_csv(folder / "networks.csv", index=False)
    summary = compared(frame)
    summary.to_csv(folder / "methods.csv", index=False)
    print(summary.to_string(index=False, na_rep=""))
    print(f"tables: {folder}")
    return 0


def conv_4(scale: str, *, data_dir: str | None) -> PruneEarlyConfig:
    """Return Conv-4 on 10,000 images of CIFAR-10, reduced to 8 x 8 pixels, for two cores (ours)."""
    steps = 20 if scale == "smoke" else 800
    return PruneEarlyConfig(
        data=DataConfig(
            name="cifar10",
            data_dir=data_dir,
            held_out_test=0.1,
            validation=0.0,
            num_train_examples=1_000 if scale == "smoke" else 10_000,
        ),
        model=ModelConfig(name=f"{SMALL_NETWORKS}:conv_4"),
        training=TrainingConfig(
            steps=steps, batch_size=32, evaluate_every=steps, train_examples=1_000
        ),
        optimizer=OptimizerConfig(optimizer="adam", lr=1e-3),
        rounds=5 if scale == "smoke" else 100,
        prune_fraction=0.5,
        replicates=1 if scale == "smoke" else 3,
    )


def of_prune_early(shared: PruneEarlyConfig, out: str) -> list[dict[str, Any]]:
    """Return rows of IMP, SynFlow and random pruning, which are trained if they are not there."""
    for score, schedule in (
        ("magnitude", "iterative-once"),
        ("synflow", "before-rounds"),
        ("random", "before-once"),
    ):
        config = dataclasses.replace(shared, scores=(score,), schedules=(schedule,))
        cli.run_study("prune-early", config, out=out)
    run = store.folder(out, shared, job="prune-early", label=run_label(shared))
    table = with_flops(store.table([run]), cost.multiplications(load_experiment(shared)))
    table = method_summary.tickets(table)
    names = {control: method for method, control in PRUNED.items()}
    table = table[table["control"].isin(names) & table["density"].isin((1.0, *DENSITIES))]
    return [
        row_of(names[row.control], row.density, row.replicate, row.test_accuracy, row.flops)
        for row in table.itertuples()
    ]


def with_flops(table: pd.DataFrame, counts: dict[str, int] | None) -> pd.DataFrame:
    """Return the table of a run of early pruning with what all trainings of a network cost.

    IMP trains at each density on its way, dense first. Scoring, as that of SynFlow, counts for
    nothing.

    Args:
      table: of results.
      counts: multiplications by the weights of each tensor.
    """
    assert counts is not None
    share = sum(table[f"layer_densities.{name}"] * count for name, count in counts.items())
    table = table.assign(flops=share / sum(counts.values()))
    total = table["flops"].copy()
    for place, row in table[table["control"] == PRUNED["IMP"]].iterrows():
        same = table["replicate"] == row["replicate"]
        links = table["link"].astype(bool) & (table["control"] == row["control"])
        before = same & (table["density"] > row["density"]) & (links | (table["level"] == 0))
        total[place] += table.loc[before, "flops"].sum()
    return table.assign(flops=total)


def of_sparse_trainings(config: DynamicConfig, out: str) -> list[dict[str, Any]]:
    """Return rows of static masks, SET, RigL and dynamic IMP, trained if they are not there."""
    network = "conv-4" if config.model.name.endswith("conv_4") else "lenet"
    for methods, length in LENGTHS[network]:
        asked = dataclasses.replace(config, methods=methods, lengths=(length,))
        cli.run_study("dynamic", asked, out=out)
    run = store.folder(out, config, job="dynamic", label=run_label(config))
    table = method_summary.tickets(store.table([run]))
    table = table[(table["level"] > 0) & table["density"].isin(DENSITIES)]
    return [
        row_of(NAMES[row.control], row.density, row.replicate, row.test_accuracy, row.flops)
        for row in table.itertuples()
    ]


def of_dynamic(shared: PruneEarlyConfig, network: str) -> DynamicConfig:
    """Return the settings of the dynamic study for the same network, data and training."""
    return DynamicConfig(
        data=shared.data,
        model=shared.model,
        training=shared.training,
        optimizer=shared.optimizer,
        densities=shared.densities,
        update_every=EVERY[network],
        replicates=shared.replicates,
    )


def row_of(
    method: str, density: float, replicate: int, accuracy: float, flops: float
) -> dict[str, Any]:
    """Return a row of the table of networks."""
    return {
        "method": method,
        "density": density,
        "replicate": replicate,
        "accuracy": round(accuracy, 4),
        "flops": round(flops, 4),
    }


def compared(frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies by method and density, and p of Welch's test against SET, RigL and IMP."""
    groups = {key: group["accuracy"] for key, group in frame.groupby(["density", "method"])}
    flops = frame.groupby(["density", "method"])["flops"].mean()
    rows = []
    for (density, method), values in groups.items():
        row = {"density": density, "method": method, "mean": values.mean(), "min": values.min()}
        row |= {"max": values.max(), "n": len(values), "flops": flops[density, method]}
        for other in ("SET", "RigL", "IMP") if density < 1 else ():
            p = method_summary.welch(values, groups[density, other])
            row[f"p_{other}"] = p if other != method else float("nan")
        rows.append(row)
    table = pd.DataFrame(rows).sort_values(["density", "mean"], ascending=False)
    return table.round(5)


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
