"""What the pages on papers claim of pruning early: Lutz & Manai, and Frankle's chapter 5."""

import itertools
from collections.abc import Callable

import pandas
from claims import Claim, table

from jaxlth.studies import method_summary

DENSITIES = (0.5, 0.1, 0.015, 0.01, 0.005)
SCORES = {
    "magnitude": "magnitude",
    "SNIP": "snip",
    "GraSP": "grasp",
    r"\|GraSP\|": "grasp-magnitude",
    "SynFlow": "synflow",
    "random": "random",
}
CPU, PAPER, ALL = (f"composite_pruning/{run}/methods.csv" for run in ("cpu", "paper", "cpu-all"))
TEN, LEAST = "composite_pruning/cpu-baseline/methods.csv", 0.005
EARLY = "pruning_at_init/cpu/lenet/methods.csv"
DIGITS = "pruning_at_init/cpu/conv-2-digits/methods.csv"
RESNET = "pruning_at_init/cpu/resnet-20/methods.csv"


def row(path: str, method: str, density: float = 1.0) -> pandas.Series:
    rows = table(path)
    rows = rows[(rows["control"] == method) & ((rows["density"] - density).abs() < 1e-6)]
    assert len(rows) == 1, (path, method, density)
    return rows.iloc[0]


def mean(path: str, method: str, density: float = 1.0) -> float:
    return 100 * row(path, method, density)["mean"]


def p(path: str, method: str, density: float) -> float:
    return row(path, method, density)["p"]


def means(path: str, method: str, densities: tuple[float, ...]) -> list[float]:
    return [mean(path, method, density) for density in densities]


def replicates(path: str, method: str, density: float) -> list[float]:
    """Return the three accuracies of which a table has mean, least and most."""
    assert row(path, method, density)["n"] == 3
    return of_three(row(path, method, density))


def of_three(spread: pandas.Series) -> list[float]:
    """Return the three values of which a row has mean, least and most."""
    least, most = spread["min"], spread["max"]
    return [least, 3 * spread["mean"] - least - most, most]


def welch(path: str, one: str, other: str, density: float) -> float:
    """Return p of two methods of three replicates each."""
    return method_summary.welch(replicates(path, one, density), replicates(path, other, density))


def compared(run: str, method: str, against: str, density: float) -> float:
    rows = table(f"composite_pruning/{run}/comparisons.csv")
    rows = rows[(rows["method"] == method) & (rows["against"] == against)]
    return float(rows[(rows["density"] - density).abs() < 1e-6]["p"].item())


def schedules(path: str, after: str) -> list[Claim]:
    """Return a claim for each row of a table of schedules."""
    names = set(table(path)["control"])
    pairs = itertools.product(
        SCORES.items(), ("before-once", "before-rounds", "iterative-once", "iterative-rounds")
    )
    return [
        Claim(
            f"| {label} | {schedule} | {{}} | {{}} | {{}} | {{}} | {{}} |",
            lambda method=f"{score}-{schedule}": means(path, method, DENSITIES),
            after=after,
        )
        for (label, score), schedule in pairs
        if {f"{score}-{schedule}"} <= names
        and not (score == "random" and schedule != "before-once")
        and not (score == "magnitude" and schedule.endswith("rounds"))
    ]


def ablations(label: str, method: str) -> Claim:
    """Return the claim of a row of the table of tickets drawn anew, shuffled and inverted."""

    def numbers() -> list[float]:
        cells = []
        for density in (0.1, 0.015):
            cells.append(mean(EARLY, method, density))
            for ablation in ("reinitialized", "shuffled", "inverted"):
                name = f"{method}-{ablation}"
                cells += [mean(EARLY, name, density), max(p(EARLY, name, density), 0.001)]
        return cells

    cells = " | ".join(["{} | {} (p {}) | {} (p {}) | {} (p {})"] * 2)
    return Claim(f"| {label} | {cells} |", numbers)  # "p < 0.001" is written where p is less


def above_snip_at_once(density: float) -> pandas.DataFrame:
    """Return the stacks of the first run significantly above SNIP at once, those alike once."""
    rows = table(CPU)
    rows = rows[(rows["density"] == density) & (rows["p_once"] < 0.05)]
    rows = rows[rows["control"].str.contains("+", regex=False)]
    rows = rows[rows["mean"] > row(CPU, "snip-before-once", density)["mean"]]
    return rows.drop_duplicates(["mean", "min", "max"])


def rounding(column: str) -> pandas.Series:
    return table("snip_rounding/rounding.csv")[column]


def best(path: str, score: str, when: str, density: float, pick: Callable) -> float:
    """Return the higher or lower accuracy of a score, at once or in rounds."""
    return pick(mean(path, f"{score}-{when}-{how}", density) for how in ("once", "rounds"))


def repairs(schedule: str) -> list[float]:
    """Return p of |GraSP| against GraSP at each density."""
    methods = f"grasp-magnitude-{schedule}", f"grasp-{schedule}"
    return [welch(CPU, *methods, density) for density in DENSITIES]


def gains(schedule: str) -> list[float]:
    """Return by how many points |GraSP| is above GraSP at each density."""
    repaired = means(CPU, f"grasp-magnitude-{schedule}", DENSITIES)
    return [
        new - old
        for new, old in zip(repaired, means(CPU, f"grasp-{schedule}", DENSITIES), strict=True)
    ]


def beating_snip(density: float, path: str = ALL) -> set[float]:
    """Return the means of the stacks of a run that are significantly above SNIP in rounds."""
    rows = table(path)
    rows = rows[(rows["density"] == density) & (rows["p"] < 0.05)]
    rows = rows[rows["control"].str.contains("+", regex=False)]
    return set(rows[rows["mean"] > row(path, "snip-before-rounds", density)["mean"]]["mean"])


def trainings(number: int) -> float:
    rows = table("composite_pruning/paper/trainings.csv").set_index("trainings")
    return 100 * rows["mean"][number]


def trainings_p(one: int, other: int) -> float:
    rows = table("composite_pruning/paper/trainings.csv").set_index("trainings")
    return method_summary.welch(of_three(rows.loc[one]), of_three(rows.loc[other]))


def meta(name: str, density: float) -> float:
    return mean("composite_pruning/cpu/meta_methods.csv", name, density)


def jaccard(score: str) -> float:
    rows = table("composite_pruning/cpu/jaccard.csv")
    rows = rows.set_index(rows.columns[0])
    return float(rows.loc[f"{score}-before-once", f"{score}-iterative-once"])


def r2(name: str) -> float:
    rows = table("composite_pruning/cpu/meta_models.csv").set_index("model")
    return rows["r2_test"][f"meta-{name}-before-once"]


def meta_error(name: str) -> float:
    """Return the mean squared error of a meta-model on what it learned from."""
    rows = table("composite_pruning/cpu/meta_models.csv").set_index("model")
    return rows["mse_train"][f"meta-{name}-before-once"]


def table_5_4(weights: str) -> list[float]:
    rows = table("composite_pruning/paper/table_5-4.csv").set_index("weights")
    return [100 * rows["test_accuracy"][weights], rows["steps"][weights]]


def correlation(score: str) -> float:
    rows = table("composite_pruning/cpu/meta_correlations.csv")
    return rows.set_index(rows.columns[0])["target"][score]


def anew(path: str, method: str, density: float, ablations: tuple[str, ...]) -> list[float]:
    """Return the accuracy of a ticket, then accuracy and p of its ablations."""
    numbers = [mean(path, method, density)]
    for ablation in ablations:
        name = f"{method}-{ablation}"
        numbers += [mean(path, name, density), p(path, name, density)]
    return numbers


def changed(label: str, path: str, method: str, density: float, after: str) -> Claim:
    """Return the claim of a row of a table of tickets as found, drawn anew and shuffled."""
    return Claim(
        f"| {label} | {{}} | {{}} ({{}}) | {{}} ({{}}) |",
        lambda: anew(path, method, density, ("reinitialized", "shuffled")),
        after=after,
    )


def first_layer(method: str, column: str) -> float:
    """Return the share of a ticket's first layer on blank pixels, or its number of units."""
    rows = table("pruning_at_init/cpu/lenet/first_layer.csv")
    return rows[(rows["control"] == method) & (rows["density"] == 0.015)][column].item()


def steps(method: str) -> list[float]:
    return [mean(EARLY, f"{method}{at}", 0.015) for at in ("", "-at-50", "-at-200", "-at-800")]


def losses(method: str) -> list[float]:
    return [
        mean(EARLY, f"{method}{at}", 0.015) - mean(EARLY, f"{method}-reinitialized{at}", 0.015)
        for at in ("", "-at-50", "-at-200", "-at-800")
    ]


def tested_on(path: str, images: int) -> bool:
    """Return whether all accuracies are whole numbers of images."""
    rows = table(path)
    counts = images * pandas.concat([rows["min"], rows["max"]])
    return bool(((counts - counts.round()).abs() <= images * 5e-6 + 1e-9).all())


CLAIMS = [
    *schedules(CPU, after="| score | schedule | 50 % | 10 % | 1.5 % | 1 % | 0.5 % |"),
    *schedules(PAPER, after="**Length of training** explains"),
    Claim("in brackets the thesis; dense {}", lambda: [mean(CPU, "dense")]),
    Claim("dense networks have {}", lambda: [mean(PAPER, "dense")], after="**Length of training**"),
    Claim(
        "| GraSP, points better than in the thesis | {} | {} | {} | {} |",
        lambda: [
            mean(PAPER, "grasp-before-rounds", density) - thesis
            for density, thesis in zip(DENSITIES[1:], (88.89, 86.99, 77.30, 76.07), strict=True)
        ],
    ),
    Claim(
        "| SNIP, the replicate that fails | | | {} | {} |"
        " | SNIP, the other two | | | {} and {} | {} and {} |",
        lambda: [
            100 * replicates(PAPER, "snip-before-rounds", density)[place]
            for density, place in (
                (0.01, 0), (0.005, 0), (0.01, 1), (0.01, 2), (0.005, 2), (0.005, 1),
            )
        ],
    ),
    Claim(
        "Between trainings the tickets of all scores are better in the mean. For GraSP in rounds (p"
        " {}), and for SNIP against SNIP in rounds before training (p {} and {}), that is within"
        " chance. At 10 % GraSP's are worse",
        lambda: [
            welch(CPU, "grasp-iterative-rounds", "grasp-before-once", 0.005),
            welch(CPU, "snip-iterative-once", "snip-before-rounds", 0.005),
            welch(CPU, "snip-iterative-rounds", "snip-before-rounds", 0.005),
        ],
        true=lambda: (
            all(
                best(CPU, score, "iterative", 0.005, min) > best(CPU, score, "before", 0.005, max)
                for score in ("snip", "grasp", "grasp-magnitude", "synflow", "magnitude")
            )
            and best(CPU, "grasp", "iterative", 0.1, max) < mean(CPU, "grasp-before-rounds", 0.1)
        ),
    ),
    Claim(
        "| magnitude+synflow on the scores of SNIP | 91.86 | {} (p {} against SNIP) | | SNIP |"
        " 89.83 | {} | | IMP | 90.91 | {} | | best of ours: SynFlow on the scores of GraSP | | {} |"
        " Command: `python experiments/composite_pruning.py --scale cpu --parts weights all`",
        lambda: [
            mean(ALL, "magnitude+synflow-before-rounds-on-snip", 0.005),
            p(ALL, "magnitude+synflow-before-rounds-on-snip", 0.005),
            mean(ALL, "snip-before-rounds", 0.005),
            mean(ALL, "magnitude-iterative-once", 0.005),
            mean(ALL, "synflow-before-rounds-on-grasp", 0.005),
        ],
    ),
    Claim(
        "| ours, four epochs | {} | {} | {} | | ours, at the paper's length | {} | {} | {} |",
        lambda: [
            mean(CPU, "grasp-before-rounds", 0.005),
            mean(CPU, "grasp-magnitude-before-rounds", 0.005),
            welch(CPU, "grasp-magnitude-before-rounds", "grasp-before-rounds", 0.005),
            mean(PAPER, "grasp-before-rounds", 0.005),
            mean(PAPER, "grasp-magnitude-before-rounds", 0.005),
            compared("paper", "grasp-magnitude-before-rounds", "grasp-before-rounds", 0.005),
        ],
    ),
    Claim(
        "| accuracy at 0.5 % | {} | {} | {} | {} |"
        " | points above one training (p) | | {} ({}) | {} ({}) | {} ({}) |",
        lambda: [
            *(trainings(number) for number in (1, 2, 3, 5)),
            *(
                value
                for number in (2, 3, 5)
                for value in (trainings(number) - trainings(1), trainings_p(number, 1))
            ),
        ],
    ),
    Claim(
        "At 10 % GraSP has {} before training at once. Between trainings it has {} at once (p {})"
        " and {} in rounds (p {})",
        lambda: [
            mean(CPU, "grasp-before-once", 0.1), mean(CPU, "grasp-iterative-once", 0.1),
            welch(CPU, "grasp-iterative-once", "grasp-before-once", 0.1),
            mean(CPU, "grasp-iterative-rounds", 0.1),
            welch(CPU, "grasp-iterative-rounds", "grasp-before-once", 0.1),
        ],
    ),
    Claim(
        r"before training rounds are better than at once for SynFlow and \|GraSP\| only",
        true=lambda: [
            score
            for score in ("snip", "grasp", "grasp-magnitude", "synflow")
            if mean(CPU, f"{score}-before-rounds", 0.005) > mean(CPU, f"{score}-before-once", 0.005)
        ] == ["grasp-magnitude", "synflow"],
    ),
    Claim(
        "Between trainings they are better for no score",
        true=lambda: not any(
            mean(CPU, f"{score}-iterative-rounds", 0.005)
            > mean(CPU, f"{score}-iterative-once", 0.005)
            for score in ("snip", "grasp", "grasp-magnitude", "synflow")
        ),
    ),
    Claim(
        "Here SynFlow between trainings has {} and IMP {}. SNIP has {}, below IMP (p {})",
        lambda: [
            mean(PAPER, "synflow-iterative-once", 0.005),
            mean(PAPER, "magnitude-iterative-once", 0.005),
            mean(PAPER, "snip-iterative-once", 0.005),
            welch(PAPER, "snip-iterative-once", "magnitude-iterative-once", 0.005),
        ],
    ),
    Claim(
        "| before training, at once | {} | {} | no gain ({}) | loss ({}) | loss ({}) |",
        lambda: repairs("before-once"),
        true=lambda: [round(gain) for gain in gains("before-once")] == [1, 1, 0, -1, -7],
    ),
    *(
        Claim(
            f"| {label} | {{}} | {{}} | {{}} | {{}} | {{}} |",
            lambda schedule=schedule: repairs(schedule),
            true=lambda schedule=schedule: min(gains(schedule)) > 0,
            after=r"| \|GraSP\| against GraSP, p |",
        )
        for label, schedule in (
            ("before training, in rounds", "before-rounds"),
            ("between trainings, at once", "iterative-once"),
            ("between trainings, in rounds", "iterative-rounds"),
        )
    ),
    Claim(
        "Its p against GraSP at 50 and 10 % are {} and {}",
        lambda: [
            compared("paper", "grasp-magnitude-before-rounds", "grasp-before-rounds", density)
            for density in (0.5, 0.1)
        ],
    ),
    Claim(
        r"| \|GraSP\| in rounds | {} | | | SynFlow in rounds | {} | {} | | SNIP at once | {} | {} |"
        " | SNIP in rounds, with its failed replicate | {} | {} | | GraSP in rounds | {} | {} |",
        lambda: [
            mean(PAPER, "grasp-magnitude-before-rounds", 0.005),
            mean(PAPER, "synflow-before-rounds", 0.005),
            welch(PAPER, "grasp-magnitude-before-rounds", "synflow-before-rounds", 0.005),
            mean(PAPER, "snip-before-once", 0.005),
            row(PAPER, "grasp-magnitude-before-rounds", 0.005)["p_once"],
            mean(PAPER, "snip-before-rounds", 0.005),
            p(PAPER, "grasp-magnitude-before-rounds", 0.005),
            mean(PAPER, "grasp-before-rounds", 0.005),
            compared("paper", "grasp-magnitude-before-rounds", "grasp-before-rounds", 0.005),
        ],
    ),
    Claim(
        "It does depend on it, in {} of {} cases",
        lambda: [float((rounding("rounds") < 0.99).sum()), float(len(rounding("rounds")))],
    ),
    Claim(
        "different masks in {} of {} cases. The Jaccard similarity of two masks is as little as {}."
        " * In float64 too, weights moved by a ten-millionth lead to another mask in {} of {}",
        lambda: [
            float((rounding("rounds") < 0.99).sum()), 50, rounding("rounds").min(),
            float((rounding("moved_float64") < 0.99).sum()), 50,
        ],
        true=lambda: len(rounding("once")) == 50 and rounding("once").min() == 1,
        after="SNIP in rounds depends on rounding",
    ),
    Claim(
        "Against its {} six stacks are better at 0.5 % (p {} to {}, not corrected for 16"
        " comparisons). One of them is grasp+magnitude (p {})",
        lambda: [
            mean(CPU, "snip-before-once", 0.005),
            above_snip_at_once(0.005)["p_once"].min(), above_snip_at_once(0.005)["p_once"].max(),
            row(CPU, "grasp+magnitude-before-rounds", 0.005)["p_once"],
        ],
        true=lambda: len(above_snip_at_once(0.005)) == 6,
    ),
    Claim(
        r"| SNIP in rounds | {} | | | SNIP in rounds, in float64 | {} | {} | | grasp+magnitude,"
        r" which is \|GraSP\| | {} | {} | | magnitude+snip | {} | {} | | SynFlow | {} | {} | |"
        " snip+snip | {} | {} |",
        lambda: [
            mean(TEN, "snip-before-rounds", LEAST),
            *(
                value
                for method in (
                    "snip-float64", "grasp-magnitude", "magnitude+snip", "synflow", "snip+snip"
                )
                for value in (
                    mean(TEN, f"{method}-before-rounds", LEAST),
                    p(TEN, f"{method}-before-rounds", LEAST),
                )
            ),
        ],
        true=lambda: row(TEN, "snip-before-rounds", LEAST)["n"] == 10,
        after="| ten replicates | accuracy |",
    ),
    Claim(
        "Our best stack has {}. SNIP in rounds has {} (p {}), SNIP at once {} (p {})",
        lambda: [
            mean(CPU, "grasp+magnitude-before-rounds", 0.005),
            mean(CPU, "snip-before-rounds", 0.005),
            p(CPU, "grasp+magnitude-before-rounds", 0.005),
            mean(CPU, "snip-before-once", 0.005),
            row(CPU, "grasp+magnitude-before-rounds", 0.005)["p_once"],
        ],
    ),
    Claim(
        "The best is grasp+magnitude: {} at 0.5 % against {} (p {}). One of SNIP's three replicates"
        " stays at {}",
        lambda: [
            mean(CPU, "grasp+magnitude-before-rounds", 0.005),
            mean(CPU, "snip-before-rounds", 0.005),
            p(CPU, "grasp+magnitude-before-rounds", 0.005),
            100 * row(CPU, "snip-before-rounds", 0.005)["min"],
        ],
    ),
    Claim(
        "In this run no stack is significantly above SNIP in rounds, at 1.5 or at 0.5 %",
        true=lambda: not beating_snip(0.015, CPU) and not beating_snip(0.005, CPU),
    ),
    Claim(
        "four stacks are significantly above it at 1.5 % (p 0.015 to 0.031), none at 0.5 %",
        true=lambda: len(beating_snip(0.015)) == 4 and not beating_snip(0.005),
    ),
    Claim(
        "| GraSP | SNIP | SynFlow | magnitude | |---|---|---|---| | {} | {} | {} | {} |",
        lambda: [jaccard(score) for score in ("grasp", "snip", "synflow", "magnitude")],
        after="**Another schedule is another ticket**",
    ),
    Claim(
        "| standard | {} [98.24] | {} [12,819] | | SNIP | {} [97.86] | {} [12,038] | | bi-modal |"
        " {} [97.81] | {} [12,507] | | SynFlow | {} [96.60] | {} [10,787] | | GraSP | {} [80.83] |"
        " {} [22,512] |",
        lambda: [
            number
            for weights in ("standard", "snip", "bimodal", "synflow", "grasp")
            for number in table_5_4(weights)
        ],
    ),
    Claim(
        "Ours: they are not worse (p at least 0.19)",
        true=lambda: all(
            welch(path, f"dense-on-{weights}", "dense", 1.0) >= 0.19
            for path in (CPU, PAPER)
            for weights in ("snip", "bimodal", "synflow", "grasp")
        ),
    ),
    *(
        Claim(
            f"| {label} | scores of {weights} | {{}} | {{}} | {{}} |",
            lambda score=score, weights=weights: [
                mean(CPU, f"{score}-before-rounds-on-{weights.lower()}", LEAST),
                mean(CPU, f"{score}-before-rounds", LEAST),
                compared(
                    "cpu", f"{score}-before-rounds-on-{weights.lower()}",
                    f"{score}-before-rounds", LEAST,
                ),
            ],
        )
        for label, score, weights in (
            ("GraSP", "grasp", "GraSP"),
            ("GraSP", "grasp", "SynFlow"),
            ("GraSP", "grasp", "SNIP"),
            ("magnitude", "magnitude", "SNIP"),
            ("SynFlow", "synflow", "GraSP"),
        )
    ),
    Claim(
        "No score is significantly better on bi-modal weights than on standard ones",
        true=lambda: all(
            compared(run, f"{score}-before-rounds-on-bimodal", f"{score}-before-rounds", density)
            > 0.05
            or mean(path, f"{score}-before-rounds-on-bimodal", density)
            < mean(path, f"{score}-before-rounds", density)
            for run, path in (("cpu", CPU), ("cpu-all", ALL))
            for score in ("magnitude", "snip", "grasp", "synflow")
            for density in (0.015, 0.005)
        ),
    ),
    Claim(
        "| SynFlow on the scores of GraSP, the best | {} | | | magnitude+synflow on the scores of"
        " SNIP | {} | | | SynFlow | {} | {} | | SNIP | {} | {} | * IMP has {}, far above all",
        lambda: [
            mean(ALL, "synflow-before-rounds-on-grasp", 0.005),
            mean(ALL, "magnitude+synflow-before-rounds-on-snip", 0.005),
            mean(ALL, "synflow-before-rounds", 0.005),
            compared("cpu-all", "synflow-before-rounds-on-grasp", "synflow-before-rounds", 0.005),
            mean(ALL, "snip-before-rounds", 0.005),
            p(ALL, "synflow-before-rounds-on-grasp", 0.005),
            mean(ALL, "magnitude-iterative-once", 0.005),
        ],
    ),
    Claim(
        "Here its p against SNIP is {}",
        lambda: [p(ALL, "magnitude+synflow-before-rounds-on-snip", 0.005)],
    ),
    Claim(
        "moved SNIP at 1.5 % from {} to {}, and SynFlow's p against it from {} to {}",
        lambda: [
            mean(CPU, "snip-before-rounds", 0.015), mean(ALL, "snip-before-rounds", 0.015),
            p(CPU, "synflow-before-rounds", 0.015), p(ALL, "synflow-before-rounds", 0.015),
        ],
    ),
    Claim(
        "| magnitude | {} | {} | | |",
        lambda: [meta("magnitude-before-once", density) for density in (0.005, 0.015)],
        after="**No meta-model beats magnitude**",
    ),
    *(
        Claim(
            f"| {label} | {{}} | {{}} | {{}} |",
            lambda name=name: [
                meta(f"meta-{name}-before-once", 0.005), meta(f"meta-{name}-before-once", 0.015),
                r2(name),
            ],
            after="**No meta-model beats magnitude**",
        )
        for label, name in (
            ("decision tree", "tree"),
            ("SGD", "sgd"),
            ("linear", "linear"),
            ("MLP", "mlp"),
        )
    ),
    Claim(
        "the decision tree (p {}). At 1.5 % it is worse than magnitude (p {}).",
        lambda: [
            p("composite_pruning/cpu/meta_methods.csv", "meta-tree-before-once", density)
            for density in (0.005, 0.015)
        ],
    ),
    Claim(
        "a mean squared error of {}, where the linear model has {}",
        lambda: [meta_error("mlp"), meta_error("linear")],
    ),
    Claim(
        "the linear model has {} against {} at 1.5 %, within chance (p {};",
        lambda: [
            meta("meta-linear-10-before-once", 0.015), meta("meta-linear-before-once", 0.015),
            welch(
                "composite_pruning/cpu/meta_methods.csv", "meta-linear-10-before-once",
                "meta-linear-before-once", 0.015,
            ),
        ],
    ),
    Claim(
        "| SynFlow | SNIP | magnitude | GraSP | |---|---|---|---| | {} | {} | {} | {} |",
        lambda: [correlation(score) for score in ("synflow", "snip", "magnitude", "grasp")],
        after="No score correlates well with the target",
    ),
    *(
        Claim(
            f"| {label} | {{}} | {{}} | {{}} | {{}} |",
            lambda method=method: steps(method),
            after="| pruned after step | 0 | 50 | 200 | 800 |",
        )
        for label, method in (
            ("magnitude", "magnitude-before-once"),
            ("GraSP", "grasp-before-once"),
            ("SynFlow, in rounds", "synflow-before-rounds"),
            ("SNIP", "snip-before-once"),
            (
                "the mask found after training, on the weights of that step",
                "magnitude-after-rewind",
            ),
        )
    ),
    Claim(
        "| magnitude, points lost with weights drawn anew (p) |" + " {} ({}) |" * 4,
        lambda: [
            number
            for lost, at in zip(
                losses("magnitude-before-once"), ("", "-at-50", "-at-200", "-at-800"), strict=True
            )
            for number in (lost, p(EARLY, f"magnitude-before-once-reinitialized{at}", 0.015))
        ],
    ),
    Claim(
        "LeNet shows it for magnitude (p {} at 800) and not for SynFlow (p {}). SNIP gains at step"
        " 50 (p {}), and no longer at 800 (p {}). What GraSP gains is within chance (p {})",
        lambda: [
            welch(EARLY, method, f"{method}-at-{step}", 0.015)
            for method, step in (
                ("magnitude-before-once", 800), ("synflow-before-rounds", 800),
                ("snip-before-once", 50), ("snip-before-once", 800), ("grasp-before-once", 800),
            )
        ],
    ),
    Claim(
        "but for SNIP's weights at 10 % (p {}). In rounds at 10 % three replicates do not show it"
        " of either (p {} to {})",
        lambda: [
            p(EARLY, "snip-after-reinitialized", 0.1),
            *(
                end(
                    p(EARLY, f"{score}-after-rounds-{ablation}", 0.1)
                    for score in ("snip", "synflow")
                    for ablation in ("reinitialized", "shuffled")
                )
                for end in (min, max)
            ),
        ],
    ),
    Claim(
        "Stacks whose second score is GraSP** end low, with another score first at {} to {} %",
        lambda: [
            end(
                mean(CPU, f"{score}+grasp-before-rounds", 0.005)
                for score in ("magnitude", "snip", "synflow")
            )
            for end in (min, max)
        ],
    ),
    Claim(
        "At 1.5 % SNIP's lose {} points (p {}). Magnitude's lose {} (p {}) and SynFlow's {} (p {})",
        lambda: [
            number
            for method in ("snip-before-once", "magnitude-before-once", "synflow-before-rounds")
            for number in (losses(method)[0], p(EARLY, f"{method}-reinitialized", 0.015))
        ],
    ),
    Claim("The dense network has {}.", lambda: [mean(DIGITS, "dense")], after="**Conv-2** on the"),
    Claim("The dense network has {}.", lambda: [mean(RESNET, "dense")], after="**ResNet-20** on"),
    *(
        changed(label, path, method, density, after=f"| {network} | as found |")
        for network, label, path, method, density in (
            ("Conv-2", "SNIP at 10 %", DIGITS, "snip-before-once", 0.1),
            ("Conv-2", "magnitude after training at 10 %", DIGITS, "magnitude-after", 0.1),
            ("Conv-2", "SNIP at 2 %", DIGITS, "snip-before-once", 0.02),
            ("Conv-2", "magnitude after training at 2 %", DIGITS, "magnitude-after", 0.02),
            ("ResNet-20", "SNIP at 8.6 %", RESNET, "snip-before-once", 0.086),
            ("ResNet-20", "magnitude after training at 8.6 %", RESNET, "magnitude-after", 0.086),
            ("scored after training", "SNIP, at once, at 10 %", EARLY, "snip-after", 0.1),
            ("scored after training", "SynFlow, at once, at 10 %", EARLY, "synflow-after", 0.1),
            ("scored after training", "GraSP, at once, at 10 %", EARLY, "grasp-after", 0.1),
            (
                "scored after training", "SNIP, in 100 rounds, at 1.5 %", EARLY,
                "snip-after-rounds", 0.015,
            ),
            (
                "scored after training", "SynFlow, in 100 rounds, at 1.5 %", EARLY,
                "synflow-after-rounds", 0.015,
            ),
        )
    ),
    Claim(
        "{} against {} of SNIP. On LeNet at 1.5 % it is below SynFlow in rounds too: {} against"
        " {}.",
        lambda: [
            mean(DIGITS, "magnitude-after", 0.02), mean(DIGITS, "snip-before-once", 0.02),
            mean(EARLY, "magnitude-after", 0.015), mean(EARLY, "synflow-before-rounds", 0.015),
        ],
    ),
    Claim(
        "only {} % of SNIP's first-layer weights lie there. After shuffling it is {} %",
        lambda: [
            100 * first_layer("snip-before-once", "blank"),
            100 * first_layer("snip-before-once-shuffled", "blank"),
        ],
    ),
    Claim(
        "all its first-layer weights on {} of 300 units",
        lambda: [first_layer("synflow-before-rounds", "units")],
    ),
    ablations("magnitude, before-once", "magnitude-before-once"),
    ablations("SNIP, before-once", "snip-before-once"),
    ablations("GraSP, before-once", "grasp-before-once"),
    ablations("SynFlow, before-rounds", "synflow-before-rounds"),
    ablations("magnitude after training", "magnitude-after"),
    ablations("its mask, rewound (after-rewind)", "magnitude-after-rewind"),
    *(
        Claim(
            f"| {label} | {{}} | {{}} |",
            lambda method=method: means(EARLY, method, (0.1, 0.015)),
            after="| variant | 10 % | 1.5 % |",
        )
        for label, method in (
            ("GraSP: highest scores pruned", "grasp-before-once"),
            ("GraSP: lowest scores pruned", "grasp-lowest-before-once"),
            (r"\|GraSP\|: lowest magnitudes of the score pruned", "grasp-magnitude-before-once"),
            ("SNIP, at once", "snip-before-once"),
            ("SNIP, in rounds", "snip-before-rounds"),
            ("magnitude at unit variance", "magnitude-unit-variance-before-once"),
            ("random", "random-before-once"),
        )
    ),
    Claim(
        r"\|GraSP\| is better than GraSP at 10 % (p {}).",
        lambda: [welch(EARLY, "grasp-magnitude-before-once", "grasp-before-once", 0.1)],
    ),
    Claim(
        "SNIP in rounds is not told from SNIP at once: p {} at 10 %, p {} at 1.5 %",
        lambda: [
            welch(EARLY, "snip-before-rounds", "snip-before-once", density)
            for density in (0.1, 0.015)
        ],
    ),
    Claim(
        "Magnitude at unit variance is not told from random pruning at 1.5 % (p {})",
        lambda: [
            welch(EARLY, "magnitude-unit-variance-before-once", "random-before-once", 0.015)
        ],
    ),
    Claim(
        "SynFlow is above magnitude after training at 1.5 % ({}, p {}). * GraSP in rounds falls to"
        " {} at 1.5 %. * SynFlow at once empties the first layer at 1.5 % here too, and is at"
        " chance ({})",
        lambda: [
            mean(EARLY, "magnitude-after", 0.015),
            welch(EARLY, "synflow-after-rounds", "magnitude-after", 0.015),
            mean(EARLY, "grasp-after-rounds", 0.015), mean(EARLY, "synflow-after", 0.015),
        ],
    ),
    Claim("tested on 5,000 images held out", true=lambda: tested_on(RESNET, 5000)),
    Claim(
        "Mean test accuracy on 10,000 images",
        true=lambda: all(tested_on(path, 10_000) for path in (CPU, PAPER, ALL, EARLY)),
    ),
    Claim("tested on 359 images", true=lambda: tested_on(DIGITS, 359)),
]  # fmt: skip
