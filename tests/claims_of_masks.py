"""What the pages on papers claim of separating networks and of masks on untrained weights."""

import functools
import json
from collections.abc import Callable

import numpy as np
import pandas
from claims import Claim, table
from scipy import stats

SEPARATION = "network_separation/cpu-test/extension_2.csv"
HALF = "network_separation/cpu/extension_2.csv"
ONE, THREE = (f"network_separation/cpu-test/extension_{depth}.csv" for depth in (1, 3))
VALIDATION = "network_separation/cpu-validation-0.2/extension_2.csv"
ROLFS = "supermask_tickets/paper/test-pytorch-unit-range"
BIASES = f"{ROLFS}-biases"
SIZES = ["active", "kept"]
GRID, GRID_PART, VARIANTS = (
    f"network_separation/cpu-test/{name}.csv" for name in ("grid", "grid_part", "variants")
)
WIDTHS = (31, 38, 48, 57)
LENET = "trained_supermasks/cpu/lenet/methods.csv"
CONV2 = "trained_supermasks/smoke/conv-2-cifar/methods.csv"
SCORE_L2 = "trained_supermasks/cpu/score_l2.csv"


def separated(path: str = SEPARATION, first: int = 0) -> pandas.DataFrame:
    """Return the networks from an extension level on that fall apart, degraded later or not."""
    rows = table(path)
    return rows[rows["outcome"].str.startswith("separated") & (rows["extension"] >= first)]


def counts(path: str, levels: range) -> list[float]:
    found = separated(path)
    return [int((found["extension"] == level).sum()) for level in levels]


def networks(first: int) -> int:
    return int((table(SEPARATION)["extension"] >= first).sum())


def shares(*levels: int) -> list[float]:
    """Return how many networks of each level separate, and of how many."""
    rows = table(SEPARATION)
    return [
        number
        for level in levels
        for number in (
            *counts(SEPARATION, range(level, level + 1)),
            sum(rows["extension"] == level),
        )
    ]


def degraded() -> dict[tuple[str, int], int]:
    """Return how many networks degrade, by outcome and level."""
    rows = table(SEPARATION)
    rows = rows[rows["outcome"].str.contains("degraded")]
    return rows.groupby(["outcome", "extension"]).size().to_dict()


def active(level: int) -> list[float]:
    """Return mean active and available weights where the networks of a level separate."""
    found = separated()[separated()["extension"] == level]
    return [found["active"].mean(), found["kept"].mean()]


def of_level(label: str, path: str, levels: range, number: Callable[..., float]) -> Claim:
    """Return the claim of a row of a table by extension level; an empty cell where nothing is."""
    rows = table(path)
    values = [number(rows[rows["extension"] == level]) for level in levels]
    cells = ["{}" if value == value else "" for value in values]  # nan is not itself
    return Claim(
        f"| {label} | " + " | ".join(cells).replace("|  |", "| |") + " |",
        lambda: [value for value in values if value == value],
        after=f"`{path.rpartition('/')[2]}`:",
    )


def by_depth(path: str, levels: range) -> list[Claim]:
    """Return the claims of the table of networks of one depth."""

    def outcome(*names: str) -> Callable[[pandas.DataFrame], int]:
        return lambda rows: int(rows["outcome"].isin(names).sum())

    both = "separated", "separated-degraded"
    return [
        of_level("hidden width", path, levels, lambda rows: width(rows["widths"].iloc[0])),
        of_level("separated, of 4", path, levels, outcome(*both)),
        of_level("of these degraded later", path, levels, outcome(both[1])),
        of_level("degraded before", path, levels, outcome("degraded")),
        of_level("active weights there", path, levels, lambda rows: rows["active"].mean()),
        of_level("of available", path, levels, lambda rows: rows["kept"].mean()),
    ]


def width(widths: str) -> int:
    """Return the width of the first hidden layer."""
    return json.loads(widths)[1]


def of_grid(outcome: str, hidden: int, levels: range = range(1, 11)) -> int:
    """Return how many networks of a width and of some numbers of levels have an outcome."""
    rows = table(GRID)
    rows = rows[(rows["widths"].map(width) == hidden) & rows["levels"].isin(levels)]
    return int(rows["outcome"].str.contains(outcome).sum())


def outcomes_of(name: str) -> pandas.Series:
    """Return the outcomes of the networks of a variant."""
    rows = table(VARIANTS)
    return rows[rows["variant"] == name]["outcome"]


def variant(label: str, name: str) -> Claim:
    """Return the claim of a row of the table of variants."""
    return Claim(
        f"| {label} | {{}} | {{}} |",
        lambda: [
            int(outcomes_of(name).str.contains(word).sum()) for word in ("separated", "degraded")
        ],
        after="`variants.csv`:",
    )


def active_in_the_end(level: int) -> float:
    """Return the active weights of networks of an extension level that end with 112 weights."""
    rows = table(SEPARATION)
    rows = rows[(rows["extension"] == level) & (rows["last_kept"] == 112)]
    return rows["last_active"].mean()


MNIST_LEVELS = (0, 6, 11, 14, 16, 17, 18, 19, 20)


def mnist(label: str, column: str, skip: int = 0) -> Claim:
    scale = 1 if column in ("kept", "active") else 100
    cells = ["all"] * skip + ["{}"] * (len(MNIST_LEVELS) - skip)
    return Claim(
        f"| {label} | " + " | ".join(cells) + " |",
        lambda: [
            scale * table("network_separation/cpu/mnist_levels.csv").set_index("level")[column][n]
            for n in MNIST_LEVELS[skip:]
        ],
        after="MNIST beside Fashion-MNIST: layers (1568",
    )


def mnist_separated(kept: int, column: str = "test_accuracy") -> float:
    rows = table("network_separation/cpu/mnist.csv")
    return 100 * rows[rows["kept"] == kept][column].item()


def rolfs(network: str) -> Claim:
    """Return the claim of a row of the table of losses."""

    def numbers() -> list[float]:
        row = table(f"{ROLFS}/table_1.csv").set_index("network").loc[network]
        density = [100 * row["density_mean"]]
        if network == "ticket":
            density.append(100 * row["density_sd"])
        return [
            *density,
            row["final_loss_mean"], row["final_loss_sd"],
            row["least_loss_mean"], row["least_loss_sd"], row["least_step_mean"],
        ]  # fmt: skip

    density = "{} +- {}" if network == "ticket" else "{}"
    return Claim(f"| {network} | {density} | {{}} +- {{}} | {{}} +- {{}} | {{}} |", numbers)


def number(label: str, name: str, least: bool = False) -> Claim:
    columns = ["mean", "std"] + (["min", "max"] if least else [])
    cells = "{} +- {} ({} to {})" if least else "{} +- {}"

    def numbers() -> list[float]:
        tables = (table(f"{path}/numbers.csv").set_index("number") for path in (ROLFS, BIASES))
        return [rows.loc[name, column] for rows in tables for column in columns]

    return Claim(f"| {label} | {cells} | {cells} |", numbers)


def welch(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return p of Welch's test of two means with their deviations, of ten seeds each."""
    return stats.ttest_ind_from_stats(*one, 10, *other, 10, equal_var=False).pvalue


def losses(network: str, paper: str = "") -> tuple[float, float]:
    row = table(f"{ROLFS}/table_1.csv").set_index("network").loc[network]
    return row[f"{paper}final_loss_mean"], row[f"{paper}final_loss_sd"]


def untrained() -> float:
    """Return p of untrained accuracies with masked biases against the paper's."""
    row = table(f"{BIASES}/numbers.csv").set_index("number")
    row = row.loc["untrained accuracy at the best t"]
    return welch((row["mean"], row["std"]), (row["paper mean"], row["paper std"]))


def lower(column: str) -> list[float]:
    """Return by how much our losses are lower than the paper's, in percent: least and most."""
    rows = table(f"{ROLFS}/table_1.csv").dropna(subset=f"paper_{column}")
    parts = 100 * (1 - rows[column] / rows[f"paper_{column}"])
    return [parts.min(), parts.max()]


def mean(path: str, method: str, density: float = 1.0) -> float:
    rows = table(path)
    rows = rows[(rows["control"] == method) & ((rows["density"] - density).abs() < 1e-6)]
    return 100 * rows["mean"].item()


def trained(label: str, column: str, method: str, *densities: float) -> Claim:
    cells = ["{}"] * len(densities) + [""] * (3 - len(densities))
    return Claim(
        f"| {label} | {column} | " + " | ".join(cells),
        lambda: [mean(LENET, method, density) for density in densities],
    )


def mined(factor: float) -> list[float]:
    """Return density and accuracy that Gem-Miner ends with, in percent, for two targets."""
    rows = table(SCORE_L2)
    rows = rows[rows["supermask.l2"] == factor]
    targets = [rows[rows["unit"].str.startswith(f"density_{target}/")] for target in (0.1, 0.5)]
    columns = ("density", "test_accuracy")
    return [100 * target[column].item() for target in targets for column in columns]


TENTH = (0.5, 0.1, 0.02)
MINED = (0.5, 0.0772, 0.02)

SEPARATING = [
    Claim(
        "none to 6, {} of {} at 7, {} of {} at 8, {} of {} from 9 on",
        lambda: [
            *shares(7, 8), len(separated(first=9)), networks(9),
        ],
        true=lambda: separated()["extension"].min() == 7,
    ),
    Claim(
        "| 80 to 120 | {} ({} to {}) |",
        lambda: [
            separated()["active"].mean(), separated()["active"].min(), separated()["active"].max()
        ],
    ),
    Claim(
        "Networks separate at {} to {} active weights, {} on average",
        lambda: [
            separated()["active"].min(), separated()["active"].max(), separated()["active"].mean(),
        ],
    ),
    Claim(
        "Of the {} separated networks {} have an accuracy of 99.65 % or more, the others 93 to 96",
        lambda: [len(separated()), (separated()["test_accuracy"] >= 0.9965).sum()],
        true=lambda: (
            separated()["test_accuracy"].nsmallest(3).round(2).tolist() == [0.93, 0.96, 0.96]
        ),
    ),
    Claim(
        "From 8 on most do; only at 14 it is half of them",
        true=lambda: [
            level for level in range(7, 16) if 2 * shares(level)[0] <= shares(level)[1]
        ] == [7, 14],
    ),
    Claim(
        "Networks of a higher extension level separate earlier, while more weights are available",
        true=lambda: (
            separated()[["extension", "kept"]].corr(method="spearman").iloc[0, 1] > 0.5
        ),
    ),
    Claim(
        "| separated | 0 |" + " {} of {} |" * 9,
        lambda: shares(*range(7, 16)),
        true=lambda: max(counts(SEPARATION, range(7))) == 0,
    ),
    Claim(
        "of available | |" + " {} of {} |" * 9,
        lambda: [x for level in range(7, 16) for x in active(level)],
    ),
    Claim(
        "(thesis: falls) | {} to {} |" + " {} |" * 9,
        lambda: [active_in_the_end(level) for level in (0, 6, *range(7, 16))],
    ),
    Claim(
        "Two networks are degraded at level 14, which end with 160 weights; the last row leaves"
        " them out. One at level 15 degrades after it separated",
        true=lambda: (
            degraded() == {("degraded", 14): 2, ("separated-degraded", 15): 1}
            and set(table(SEPARATION).query("last_kept != 112")["last_kept"]) == {160}
            and len(table(SEPARATION).query("last_kept != 112")) == 2
        ),
    ),
    *by_depth(ONE, range(3, 15)),
    *by_depth(THREE, range(6, 16)),
    Claim(
        "separates from level {} on; two and three layers need level {}",
        lambda: [separated(path)["extension"].min() for path in (ONE, THREE)],
        true=lambda: separated()["extension"].min() == separated(THREE)["extension"].min(),
    ),
    Claim(
        "The larger the network, the more weights are available where it separates",
        true=lambda: separated(ONE)[["extension", "kept"]].corr(method="spearman").iloc[0, 1] > 0.5,
    ),
    Claim(
        "at level 13 they are {} % of what is available",
        lambda: [100 * np.divide(*separated(ONE).query("extension == 13")[SIZES].mean())],
    ),
    Claim(
        "From level {} on some networks degrade, from 11 on most of these after they separated",
        lambda: [table(ONE).query("outcome == 'degraded'")["extension"].min()],
        true=lambda: (
            table(ONE).query("extension >= 11 and outcome == 'separated-degraded'").shape[0]
            > table(ONE).query("extension >= 11 and outcome == 'degraded'").shape[0]
        ),
    ),
    Claim(
        "At level 14 three of four separate, and all three degrade later",
        true=lambda: (
            table(ONE).query("extension == 14")["outcome"].value_counts().to_dict()
            == {"separated-degraded": 3, "degraded": 1}
        ),
    ),
    Claim(
        "separate at the last pruning, to {} weights, up to level {}; in the thesis up to 11",
        lambda: [
            separated(THREE)["kept"].min(),
            separated(THREE).query("level < extension")["extension"].min() - 1,
        ],
    ),
    Claim(
        "One network of three layers degrades at level {}, where its width is {}.",
        lambda: [
            table(THREE).query("outcome == 'degraded'")["extension"].min(),
            width(table(THREE).query("extension == 2")["widths"].iloc[0]),
        ],
        true=lambda: table(THREE).query("extension < 10 and outcome == 'degraded'").shape[0] == 1,
    ),
    Claim(
        "| separated, of 40 | {} | {} | {} | {} | | degraded | {} | {} | {} | {} |",
        lambda: [of_grid(word, each) for word in ("separated", "degraded") for each in WIDTHS],
    ),
    Claim(
        "more levels leave more active weights",
        true=lambda: (
            table(GRID)[["levels", "last_active"]].corr(method="spearman").iloc[0, 1] > 0.5
        ),
    ),
    Claim(
        "Here {} of 16 of width 48 do so in 7 to 10 levels",
        lambda: [of_grid("separated", 48, range(7, 11))],
    ),
    Claim(
        "and {} of 4 such networks separate. Of twelve seeds {} do, and {} of 12 through the sizes "
        "of the table (Fisher's test, p {})",
        lambda: [
            of_grid("separated", 57, range(9, 10)),
            separated := (table(GRID_PART)["outcome"] == "separated").sum(),
            through := counts(SEPARATION, range(9, 10))[0],
            stats.fisher_exact([[separated, 12 - separated], [through, 12 - through]]).pvalue,
        ],
        true=lambda: len(table(GRID_PART)) == 12,
    ),
    *(
        variant(label, name)
        for label, name in {
            "as above": "plain",
            "All-alive pruning": "alive",
            "L1 of 1e-5": "l1",
            "L2 of 1e-4": "l2",
            "rewinding to step 100": "rewind",
            "learning-rate rewinding": "learning-rate",
            "SynFlow": "synflow",
            "magnitude increase": "magnitude-increase",
            "at random": "random",
            "three tasks": "moons+circles+moons",
            "four tasks": "moons+circles+moons+circles",
        }.items()
    ),
    Claim(
        "4 of 4 from 0 of 4 (Fisher's test, p {})",
        lambda: [stats.fisher_exact([[4, 0], [0, 4]]).pvalue],
    ),
    Claim(
        "Then networks separate first at level 9, and there {} of 4 do",
        lambda: counts(HALF, range(9, 10)),
        true=lambda: separated(HALF)["extension"].min() == 9,
    ),
    Claim(
        "| separated, of 4, with `--validation 0.2` |" + " {} |" * 8,
        lambda: counts(VALIDATION, range(6, 14)),
    ),
    Claim(
        "| {}, {}, {} at {}, {}, {} weights |",
        lambda: [
            *(mnist_separated(kept) for kept in (1315, 888, 600)),
            *sorted(table("network_separation/cpu/mnist.csv")["kept"], reverse=True),
        ],
    ),
    mnist("weights", "kept"),
    mnist("active", "active", skip=2),
    mnist("MNIST, test accuracy", "tasks.mnist.test_accuracy"),
    mnist("Fashion-MNIST", "tasks.fashion_mnist.test_accuracy"),
    mnist("mean", "test_accuracy"),
    Claim(
        "| 1,315 | 18 | {} | {} | {} | | 888 | 19 | {} | {} | {} | | 600 | 20 | {} | {} | {} |",
        lambda: [
            mnist_separated(kept, column)
            for kept in (1315, 888, 600)
            for column in (
                "tasks.mnist.test_accuracy", "tasks.fashion_mnist.test_accuracy", "test_accuracy"
            )
        ],
    ),
]  # fmt: skip

THRESHOLDS = [
    *(
        rolfs(network)
        for network in (
            "ticket",
            "200-30",
            *(f"{first}-{second}" for first in (50, 100, 150) for second in (5, 15, 25)),
        )
    ),
    Claim(
        "The ticket ends below all others",
        true=lambda: (
            table(f"{ROLFS}/table_1.csv")
            .query("kind in ['ticket', 'baseline', 'size']")
            .set_index("network")["final_loss_mean"]
            .idxmin()
            == "ticket"
        ),
    ),
    number("weights kept at t = 0, %", "weights kept at t = 0"),
    number("weights kept at t = 0.2, %", "weights kept at t = 0.2"),
    number("best t", "best t"),
    number("weights kept there, %", "weights kept at the best t"),
    number("untrained accuracy there, %", "untrained accuracy at the best t", least=True),
    number("accuracy at the least loss, %", "accuracy at the least loss"),
    Claim(
        "{} against {}. Ten seeds do not tell these apart (Welch's test, p {}). His {} against {}"
        " they do (p {})",
        lambda: [
            losses("ticket")[0], losses("200-30")[0], welch(losses("ticket"), losses("200-30")),
            losses("ticket", "paper_")[0], losses("200-30", "paper_")[0],
            welch(losses("ticket", "paper_"), losses("200-30", "paper_")),
        ],
    ),
    Claim(
        "| accuracy, untrained | 42.6 % | {} %, with biases masked {} % | 10 | | loss of tickets,"
        " against that of the dense network | 0.091 against 0.109 | {} against {} | 10 |",
        lambda: [
            *(table(f"{path}/numbers.csv").set_index("number")["mean"]
              ["untrained accuracy at the best t"] for path in (ROLFS, BIASES)),
            losses("ticket")[0], losses("200-30")[0],
        ],
    ),
    Claim("within what ten seeds tell (p {})", lambda: [untrained()]),
    Claim(
        "by {} to {} % at the end, by {} to {} % at their least",
        lambda: [*lower("final_loss_mean"), *lower("least_loss_mean")],
    ),
]  # fmt: skip

TRAINED = [
    Claim("Dense networks have {}.", lambda: [mean(LENET, "dense")]),
    Claim(
        "| Bernoulli | {} | | edge-popup | {} | | Gem-Miner, 7.7 % of the weights | {} |",
        lambda: [
            mean(LENET, "bernoulli", 0.505), mean(LENET, "edge-popup", 0.5),
            mean(LENET, "gem-miner", 0.0772),
        ],
    ),
    trained("Bernoulli (50.5 %)", "never", "bernoulli", 0.505),
    trained("edge-popup", "never", "edge-popup", *TENTH),
    trained("Gem-Miner (50, 7.7, 2 %)", "never", "gem-miner", *MINED),
    trained("Bernoulli", "after", "bernoulli-finetuned", 0.505),
    trained("edge-popup", "after", "edge-popup-finetuned", *TENTH),
    trained("Gem-Miner (50, 7.7, 2 %)", "after", "gem-miner-finetuned", *MINED),
    trained("the same, shuffled within layers", "after", "gem-miner-finetuned-shuffled", *MINED),
    trained("the same, other weights", "after", "gem-miner-finetuned-reinitialized", *MINED),
    trained("magnitude before training", "after", "magnitude-before-rounds", *TENTH),
    trained("SNIP, in rounds", "after", "snip-before-rounds", *TENTH),
    trained("SynFlow, in rounds", "after", "synflow-before-rounds", *TENTH),
    trained("magnitude between trainings (IMP)", "after", "magnitude-iterative-once", *TENTH),
    trained("SNIP between trainings", "after", "snip-iterative-once", *TENTH),
    trained("SynFlow between trainings", "after", "synflow-iterative-once", *TENTH),
    Claim(
        "Bernoulli reaches {} %",
        lambda: [mean(LENET, "bernoulli", 0.505)],
    ),
    Claim(
        "are better than anything that prunes before training, at 7.7 and 2 %. At 2 % they are {}"
        " points below IMP",
        lambda: [
            mean(LENET, "magnitude-iterative-once", 0.02) - mean(LENET, "gem-miner-finetuned", 0.02)
        ],
        true=lambda: all(
            mean(LENET, "gem-miner-finetuned", found) > mean(LENET, f"{score}-before-rounds", kept)
            for score in ("magnitude", "snip", "synflow")
            for found, kept in ((0.0772, 0.1), (0.02, 0.02))
        ),
    ),
    Claim(
        "Shuffled masks lose {} points there, other weights {}:",
        lambda: [
            mean(LENET, "gem-miner-finetuned", 0.02)
            - mean(LENET, f"gem-miner-finetuned-{change}", 0.02)
            for change in ("shuffled", "reinitialized")
        ],
    ),
    Claim(
        "**Edge-popup's masks at 2 %** lose little when they are shuffled: {} against {}",
        lambda: [
            mean(LENET, f"edge-popup-finetuned{change}", 0.02) for change in ("", "-shuffled")
        ],
    ),
    *(
        Claim(
            f"| {label} | {{}} % | {{}} | {{}} % | {{}} |",
            functools.partial(mined, factor),
            after="| X | target 10 %",
        )
        for label, factor in (("0", 0.0), ("1e-5", 1e-5), ("3e-5", 3e-5))
    ),
    Claim(
        "| Conv-2 | weights trained | 50 % | 10 % | |---|---|---|---| | Bernoulli | never | {} | |"
        " | edge-popup | never | {} | {} | | Gem-Miner | never | {} | {} | | Bernoulli | after |"
        " {} | | | edge-popup | after | {} | {} | | Gem-Miner | after | {} | {} | | dense | | {}",
        lambda: [
            mean(CONV2, "bernoulli", 0.5), mean(CONV2, "edge-popup", 0.5),
            mean(CONV2, "edge-popup", 0.1), mean(CONV2, "gem-miner", 0.5),
            mean(CONV2, "gem-miner", 0.1), mean(CONV2, "bernoulli-finetuned", 0.5),
            mean(CONV2, "edge-popup-finetuned", 0.5), mean(CONV2, "edge-popup-finetuned", 0.1),
            mean(CONV2, "gem-miner-finetuned", 0.5), mean(CONV2, "gem-miner-finetuned", 0.1),
            mean(CONV2, "dense"),
        ],
    ),
    Claim(
        "three replicates, means; `experiments/results/trained_supermasks/cpu/lenet/`",
        true=lambda: set(table(LENET)["n"]) == {3},
    ),
    Claim(
        "one replicate, `experiments/results/trained_supermasks/smoke/conv-2-cifar/`",
        true=lambda: set(table(CONV2)["n"]) == {1},
    ),
]  # fmt: skip
