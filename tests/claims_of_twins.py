"""What the pages on papers claim of twins, changing masks, early birds and transformers."""

import pandas
import stable_and_matching
from claims import Claim, table

from jaxlth.studies import method_summary

LENET = "linear_mode_connectivity/paper/lenet"
MLP = "linear_mode_connectivity/cpu/mlp-cifar"
RESNET = "linear_mode_connectivity/cpu/resnet-8"
SMALL_MLP = "linear_mode_connectivity/cpu/mlp-small"
STEPS = (0, 50, 100, 200, 500, 1000)
CELL_STEPS = (0, 50, 100, 200, 400)
STUDIED = {RESNET: 3, SMALL_MLP: 5}  # levels of tables that have tickets and controls


def at(path: str, network: str, step: int = 0) -> pandas.Series:
    rows = table(path)
    rows = rows[rows["network"].str.startswith(network) & (rows["step_k"] == step)]
    assert len(rows) == 1, (path, network, step)
    return rows.iloc[0]


def barrier(path: str, network: str, split: str = "test", step: int = 0) -> list[float]:
    found = at(path, network, step)
    return [100 * found[f"{split}_mean"], 100 * found[f"{split}_sd"]]


def accuracy(path: str, network: str, step: int = 0) -> float:
    return 100 * at(path, network, step)["accuracy"]


def of_lenet(network: str) -> list[float]:
    path = f"{LENET}/summary.csv"
    found = at(path, network)
    both = barrier(path, network) + barrier(path, network, "train")
    return [*both, 100 * found["accuracy"], 100 * found["mean_accuracy"]]


def by_step(label: str, path: str, network: str, split: str = "test") -> Claim:
    return Claim(
        f"| {label} | " + " | ".join(["{} +- {}"] * len(STEPS)) + " |",
        lambda: [x for step in STEPS for x in barrier(path, network, split, step)],
    )


def accuracies(label: str, path: str, network: str, after: str = "") -> Claim:
    return Claim(
        f"| {label} | " + " | ".join(["{}"] * len(STEPS)) + " |",
        lambda: [accuracy(path, network, step) for step in STEPS],
        after=after,
    )


def pairs(column: str, step: int) -> float:
    rows = table(f"{MLP}/pairs.csv")
    return rows[(rows["kind"] == "pair") & (rows["step_k"] == step)][column].mean()


def of_the_way_to_guessing() -> float:
    """Return how far the worst point between twins is from their error to that of guessing."""
    found = at(f"{MLP}/summary.csv", "dense")
    return 100 * found["test_mean"] / (found["accuracy"] - 0.1)


def cell(control: str, step: int, folder: str = RESNET) -> pandas.Series:
    return at_level(0 if control == "dense" else STUDIED[folder], step, control, folder)


def at_level(
    level: int, step: int, control: str = "ticket", folder: str = SMALL_MLP
) -> pandas.Series:
    rows = table(f"{folder}/matching.csv")
    of = (rows["control"] == control) & (rows["level"] == level) & (rows["step_k"] == step)
    return rows[of].squeeze()


def tickets_of_all_densities(*columns: str, steps: tuple[int, ...] = CELL_STEPS) -> list[float]:
    """Return columns of the MLP's tickets of all densities, the densest first."""
    return [at_level(level, s)[name] for s in steps for name in columns for level in range(1, 8)]


def of_resnet(column: str, step: int, *others: str) -> list[float]:
    """Return columns of the ResNet-8's tickets of a step, the densest first."""
    return [
        at_level(level, step, folder=RESNET)[name]
        for level in range(1, 6)
        for name in (column, *others)
    ]


def steps_of(column: str, level: int) -> list[int]:
    """Return the steps from which the ResNet-8's tickets of a level are stable, or match."""
    return [step for step in CELL_STEPS if at_level(level, step, folder=RESNET)[column]]


def of_cells(
    control: str, *columns: str, steps: tuple[int, ...] = CELL_STEPS, folder: str = RESNET
) -> list[float]:
    return [cell(control, step, folder)[column] for step in steps for column in columns]


def cells(
    label: str, text: str, control: str, *columns: str, after: str = "", folder: str = RESNET
) -> Claim:
    """Return the claim of a row of the table of cells, whose entries have a text each."""
    no_loss = control == "dense" and "lost" in columns  # from step 0 it is what others lose against
    row = " | ".join(["0", *[text] * 4] if no_loss else [text] * 5)
    steps = CELL_STEPS[1:] if no_loss else CELL_STEPS
    return Claim(
        f"| {label} | {row} |",
        lambda: of_cells(control, *columns, steps=steps, folder=folder),
        after=after,
    )


def rows_of_cells(density: str, folder: str, after: str) -> list[Claim]:
    """Return the claims of a table of cells, which stands behind some words."""
    names = (
        ("dense", "dense", "dense"),
        (f"IMP at {density} %", "IMP", "ticket"),
        (f"shuffled at {density} %", "shuffled", "shuffled"),
        (f"reinitialised at {density} %", "reinitialised", "reinitialized"),
    )
    where = {"after": after, "folder": folder}
    return [
        claim
        for name, label, control in names
        for claim in (
            cells(
                f"{name}, barrier", "{} +- {}", control, "instability", "instability_sd", **where
            ),
            cells(f"{label}, accuracy", "{}", control, "accuracy", **where),
            cells(f"{label}, lost (p)", "{} ({})", control, "lost", "p_lost", **where),
        )
    ]


def agreement(networks: str, folder: str = RESNET) -> pandas.Series:
    rows = table(f"{folder}/association.csv")
    return rows[rows["networks"] == networks].iloc[0]


def twins_at(column: str, control: str, *steps: int, folder: str = RESNET) -> list[float]:
    rows = table(f"{folder}/pairs.csv")
    rows = rows[(rows["kind"] == "pair") & (rows["control"] == control)]
    rows = rows[(rows["level"] == STUDIED[folder]) | (control == "dense")]
    return [rows[rows["step_k"] == step][column].mean() for step in steps]


def numbers_of_both(folder: str) -> list[float]:
    """Return `stable_and_matching.counts` of sparse networks of the level studied, and p."""
    rows = table(f"{folder}/matching.csv")
    numbers = stable_and_matching.counts(rows[rows["level"] == STUDIED[folder]])
    return [*numbers, stable_and_matching.fisher(numbers)]


def with_the_threshold(*levels: int | range) -> list[pandas.DataFrame]:
    """Return sparse networks of the MLP, those exactly at the threshold counted as stable."""
    rows = table(f"{SMALL_MLP}/matching.csv")
    rows = rows[rows["control"] != "dense"].assign(stable=rows["instability"] <= 2)
    return [
        rows[rows["level"].isin([level] if isinstance(level, int) else level)] for level in levels
    ]


def of_each_replicate(control: str, step: int) -> pandas.Series:
    """Return the mean barrier of twins of each replicate, of the MLP's level studied."""
    rows = table(f"{SMALL_MLP}/pairs.csv")
    rows = rows[(rows["kind"] == "pair") & (rows["control"] == control)]
    rows = rows[(rows["level"] == STUDIED[SMALL_MLP]) & (rows["step_k"] == step)]
    return rows.groupby("replicate")["test_instability"].mean()


def stable_and_matching_controls(folder: str) -> tuple[int, int]:
    rows = table(f"{folder}/matching.csv")
    rows = rows[rows["control"].isin(["shuffled", "reinitialized"])]
    return int(rows["stable"].sum()), int(rows["matches"].sum())


def only_tickets_from_50_on(column: str) -> bool:
    rows = table(f"{RESNET}/matching.csv")
    rows = rows[rows["level"] == STUDIED[RESNET]]
    expected = (rows["control"] == "ticket") & (rows["step_k"] >= 50)
    return (rows[column] == expected).all()


CELLS = rows_of_cells("12.5", RESNET, "where, and only where, it is stable?**")
CELLS += rows_of_cells("3.1", SMALL_MLP, "The same on an MLP of three hidden layers of 128")
CELLS += [
    Claim(
        "Tickets are stable at step 0 already, and match there. Rewinding gives them nothing: by"
        " 400 they are {} points worse than from step 0 (p {}). * Tickets are better than dense"
        " networks, on training images too: from step 0 their error there is {} %, against {} %."
        " * The dense network is unstable at all five steps ({} at 400)",
        lambda: [
            -cell("ticket", 400, SMALL_MLP)["gained"],
            *of_cells("ticket", "p_gained", steps=(400,), folder=SMALL_MLP),
            100 * twins_at("train_error", "ticket", 0, folder=SMALL_MLP)[0],
            100 * twins_at("train_error", "dense", 0, folder=SMALL_MLP)[0],
            *of_cells("dense", "instability", steps=(400,), folder=SMALL_MLP),
        ],
        true=lambda: (
            all(of_cells("ticket", "stable", "matches", folder=SMALL_MLP))
            and max(of_cells("ticket", "lost", folder=SMALL_MLP)) < 0
            and not any(of_cells("dense", "stable", folder=SMALL_MLP))
        ),
    ),
    Claim(
        "shuffled ones from step 50 on and reinitialised ones at step 400 are stable and lose 15 to"
        " 34 points. The shuffled ones learn little (14 %) or nothing (10 %, from step 400)",
        true=lambda: (
            of_cells("reinitialized", "stable", folder=SMALL_MLP) == [False] * 4 + [True]
            and of_cells("shuffled", "stable", folder=SMALL_MLP) == [False] + [True] * 4
            and round(cell("reinitialized", 400, SMALL_MLP)["lost"]) == 15
            and round(max(of_cells("shuffled", "lost", folder=SMALL_MLP))) == 34
            and {
                round(accuracy)
                for accuracy in of_cells(
                    "shuffled", "accuracy", steps=CELL_STEPS[1:], folder=SMALL_MLP
                )
            }
            == {10, 14}
        ),
    ),
    Claim(
        "| stable | {} | {} | | unstable | {} | {} | Fisher's exact test gives p {} here; of all 45"
        " sparse networks, with the tickets of other densities, {}",
        lambda: [*numbers_of_both(SMALL_MLP), agreement("all sparse", SMALL_MLP)["p_fisher"]],
        after="So here stability is necessary, not sufficient",
    ),
    Claim(
        "the barrier of shuffled ones at step 0 is {}, the threshold itself, and comes from one of"
        " three initialisations. Counted as stable, they make it p {} here, and {} of all 45",
        lambda: [
            cell("shuffled", 0, SMALL_MLP)["instability"],
            *(
                stable_and_matching.fisher(stable_and_matching.counts(rows))
                for rows in with_the_threshold(STUDIED[SMALL_MLP], range(1, 8))
            ),
        ],
        true=lambda: sorted(
            barrier >= 2
            for barrier in 100 * of_each_replicate("shuffled", 0)
        ) == [False, False, True],
    ),
    *(
        Claim(
            f"| {label} |" + " {} |" * 7,
            lambda column=column, step=step: tickets_of_all_densities(column, steps=(step,)),
            after=f"| {before} |",
        )
        for label, column, step, before in (
            ("lost, from step 0", "lost", 0, "density"),
            ("p", "p_lost", 0, "lost, from step 0"),
            ("lost, from step 400", "lost", 400, "lost, from step 0"),
            ("p", "p_lost", 400, "lost, from step 400"),
            ("barrier, from step 0", "instability", 0, "lost, from step 400"),
            ("barrier, from step 0, training set", "train_instability", 0, "lost, from step 400"),
        )
    ),
    Claim(
        "**All 35 are stable** on the test set, the largest barrier is {}; 28 match, by their"
        " means. The seven that do not are those of 0.78 %, from all five steps (p {} to {}), and"
        " those of 1.6 % from steps 100 (p {}) and 400",
        lambda: [
            max(tickets_of_all_densities("instability")),
            min(at_level(7, step)["p_lost"] for step in CELL_STEPS),
            max(at_level(7, step)["p_lost"] for step in CELL_STEPS),
            at_level(6, 100)["p_lost"],
        ],
        true=lambda: (
            all(tickets_of_all_densities("stable"))
            and [
                (level, step)
                for step in CELL_STEPS
                for level in range(1, 8)
                if not at_level(level, step)["matches"]
            ]
            == [(7, 0), (7, 50), (6, 100), (7, 100), (7, 200), (6, 400), (7, 400)]
        ),
    ),
    Claim(
        "a density that matches from some step matches from step 0",
        true=lambda: (
            [level for level in range(1, 8) if at_level(level, 0)["matches"]]
            == [
                level
                for level in range(1, 8)
                if any(at_level(level, step)["matches"] for step in CELL_STEPS)
            ]
        ),
    ),
    Claim(
        "These are stable from step 0 on, and lose 2 to 5 points",
        true=lambda: (
            [round(end([at_level(7, s)["lost"] for s in CELL_STEPS])) for end in (min, max)]
            == [2, 5]
        ),
    ),
    Claim(
        "From step 400 tickets are worse than from step 0 at 25 to 1.6 % (p {} to {})",
        lambda: [
            end([at_level(level, 400)["p_gained"] for level in range(2, 7)]) for end in (min, max)
        ],
        true=lambda: max(tickets_of_all_densities("gained", steps=(400,))[1:6]) < 0,
    ),
    Claim(
        "match nowhere.** Those of the ResNet-8 are unstable at every step. Those of the MLP are"
        " stable at five of ten steps. LeNet's reinitialised ones lose {} points",
        lambda: [
            accuracy(f"{LENET}/summary.csv", "dense")
            - accuracy(f"{LENET}/summary.csv", "reinitialised")
        ],
        true=lambda: (
            stable_and_matching_controls(RESNET) == (0, 0)
            and stable_and_matching_controls(SMALL_MLP) == (5, 0)
        ),
    ),
    Claim(
        "From step 50 on (3 % of training) tickets are stable and match. From step 0 they are"
        " neither",
        true=lambda: only_tickets_from_50_on("stable") and only_tickets_from_50_on("matches"),
    ),
    Claim(
        "| stable | {} | {} | | unstable | {} | {} | Fisher's exact test gives p {}. It takes",
        lambda: numbers_of_both(RESNET),
    ),
    Claim(
        "the error on the line rises to {} %, near the 90 % of guessing",
        lambda: [100 - cell("dense", 0)["accuracy"] + cell("dense", 0)["instability"]],
    ),
    Claim(
        "from later steps are as good as from step 0, within chance (p {} to {}), stable or not",
        lambda: [
            end(of_cells("dense", "p_lost", steps=CELL_STEPS[1:])) for end in (min, max)
        ],
    ),
    *(
        Claim(
            f"| {step}, barrier |" + " {} |" * 5,
            lambda step=step: of_resnet("instability", step),
            after="The ResNet-8's tickets of five densities",
        )
        for step in CELL_STEPS
    ),
    *(
        Claim(
            f"| {step}, lost (p) |" + " {} ({}) |" * 5,
            lambda step=step: of_resnet("lost", step, "p_lost"),
            after="The ResNet-8's tickets of five densities",
        )
        for step in CELL_STEPS
    ),
    Claim(
        "| 50, gained over step 0 (p) |" + " {} ({}) |" * 5,
        lambda: of_resnet("gained", 50, "p_gained"),
    ),
    Claim(
        "At 50 % (range I) tickets match from every step, though they are unstable up to step 100."
        " At 25 and 12.5 % (range II) they match where, and only where, they are stable: from step"
        " 50 on. At 3.1 % (range III) they match from no step",
        true=lambda: (
            steps_of("matches", 1) == [*CELL_STEPS]
            and steps_of("stable", 1) == [200, 400]
            and all(
                steps_of(column, level) == [50, 100, 200, 400]
                for column in ("matches", "stable")
                for level in (2, 3)
            )
            and steps_of("matches", 5) == []
        ),
    ),
    Claim(
        "tell only that from step 0 from chance (p {}; else {} to {})",
        lambda: [
            at_level(5, 0, folder=RESNET)["p_lost"],
            *(
                end(at_level(5, step, folder=RESNET)["p_lost"] for step in CELL_STEPS[1:])
                for end in (min, max)
            ),
        ],
    ),
    Claim(
        "points**: {} at 25 % and {} at 12.5 % from step 50, {} at 3.1 % from 100. On the training"
        " set three that match are above it: {} and {} (25 %, from 50 and 100), {} (12.5 %, from"
        " 50)",
        lambda: [
            *(at_level(level, 50, folder=RESNET)["instability"] for level in (2, 3)),
            at_level(5, 100, folder=RESNET)["instability"],
            *(at_level(2, step, folder=RESNET)["train_instability"] for step in (50, 100)),
            at_level(3, 50, folder=RESNET)["train_instability"],
        ],
        true=lambda: (
            sum(
                bool(cell["stable"] and cell["matches"] and cell["train_instability"] > 2)
                for level in range(1, 6)
                for cell in (at_level(level, step, folder=RESNET) for step in CELL_STEPS)
            )
            == 3
        ),
    ),
    Claim(
        "stable from step 50 on, they match from 100 and 200, and lose {} and {} points from 50 and"
        " 400, which is chance (p {} and {})",
        lambda: [
            at_level(4, step, folder=RESNET)[column]
            for column in ("lost", "p_lost")
            for step in (50, 400)
        ],
        true=lambda: (
            steps_of("stable", 4) == [50, 100, 200, 400] and steps_of("matches", 4) == [100, 200]
        ),
    ),
    Claim(
        "at all densities below 50 %**: from step 50 they gain {} to {} points over step 0 (p {} to"
        " {}). In range III too, as the thesis says: from step 50 on tickets lose {} to {} points,"
        " from step 0 {}",
        lambda: [
            *(
                end(at_level(level, 50, folder=RESNET)[column] for level in range(2, 6))
                for column in ("gained", "p_gained")
                for end in (min, max)
            ),
            *(
                end(at_level(5, step, folder=RESNET)["lost"] for step in CELL_STEPS[1:])
                for end in (min, max)
            ),
            at_level(5, 0, folder=RESNET)["lost"],
        ],
    ),
    Claim(
        "Of the 25 tickets {} are stable and match, {} neither; {} are only stable and {} only"
        " match (Fisher's exact test, p {}). Range I and III are why: there stability does not"
        " decide. With the controls, 35 sparse networks, p is {}",
        lambda: [
            *(
                agreement("ticket")[column]
                for column in ("both", "none", "only_stable", "only_matching", "p_fisher")
            ),
            agreement("all sparse")["p_fisher"],
        ],
    ),
    Claim(
        "of its 25 tickets {} are stable, and {} match; of an MLP's 35 all are stable, and {}"
        " match",
        lambda: [
            sum(len(steps_of(column, level)) for level in range(1, 6))
            for column in ("stable", "matches")
        ]
        + [sum(tickets_of_all_densities("matches"))],
    ),
    Claim(
        "becomes stable later (400) than tickets (50)",
        true=lambda: [cell("dense", step)["stable"] for step in CELL_STEPS] == [False] * 4 + [True],
    ),
    Claim(
        "| ticket above its mask shuffled, points (p) |" + " {} ({}) |" * 5,
        lambda: of_cells("shuffled", "below_ticket", "p_below_ticket"),
    ),
    Claim(
        "| ticket, barrier on the training set |" + " {} |" * 5,
        lambda: of_cells("ticket", "train_instability"),
    ),
    Claim(
        "the barrier of tickets is still above the threshold of two points at step 50. From 100 on"
        " it is below one",
        true=lambda: (
            cell("ticket", 50)["train_instability"] > 2
            and max(of_cells("ticket", "train_instability", steps=(100, 200, 400))) < 1
        ),
    ),
    *(
        Claim(
            f"| {control}, {label} |" + " {} |" * 5,
            lambda column=column, control=control: twins_at(column, control, *CELL_STEPS),
        )
        for column, label in (
            ("l2_distance", "L2 distance of twins"),
            ("test_differences", "test images classified differently"),
        )
        for control in ("ticket", "shuffled")
    ),
    Claim(
        "At step 50 the ticket is nearer to its initialisation ({}) than to its end ({})",
        lambda: [
            *twins_at("l2_from_initialization", "ticket", 50),
            *twins_at("l2_to_end", "ticket", 50),
        ],
    ),
    Claim(
        "from the dense one: {} points lost from step 0 (p {}), {} points gained from step 50"
        " (p {}). That tickets match rests on the means. That rewinding helps they do show: {}"
        " points gained from step 50 (p {})",
        lambda: [
            *of_cells("ticket", "lost", "p_lost", steps=(0,)),
            -cell("ticket", 50)["lost"], cell("ticket", 50)["p_lost"],
            *of_cells("ticket", "gained", "p_gained", steps=(50,)),
        ],
    ),
    Claim(
        "The rank correlation is {} for shuffled (p {}), {} for reinitialised (p {})",
        lambda: [
            agreement(control)[column]
            for control in ("shuffled", "reinitialized")
            for column in ("rank_correlation", "p_rank")
        ],
    ),
]  # fmt: skip


def dynamic(network: str, column: str = "accuracy") -> float:
    rows = table("dynamic_imp/cpu/networks.csv")
    return 100 * rows[rows["network"] == network][column].mean()


def dynamic_p(network: str) -> float:
    """Return p of Welch's test of a network against dynamic IMP."""
    rows = table("dynamic_imp/cpu/networks.csv")
    one, other = (rows[rows["network"] == name]["accuracy"] for name in ("dynamic", network))
    return method_summary.welch(one, other)


def changing(first: str, network: str) -> pandas.Series:
    """Return the accuracies of the replicates of a network of dynamic IMP on LeNet."""
    rows = table("dynamic_imp/cpu-lenet/networks.csv")
    return 100 * rows[(rows["first"] == first) & (rows["network"] == network)]["accuracy"]


def lenet_means(network: str) -> list[float]:
    return [changing(first, network).mean() for first in ("imp", "magnitude", "random")]


def lenet_p(first: str, network: str, other: tuple[str, str]) -> float:
    return method_summary.welch(changing(first, network), changing(*other))


def early_bird(control: str, level: int) -> pandas.Series:
    rows = table("early_bird/results.csv")
    return 100 * rows[(rows["control"] == control) & (rows["level"] == level)]["test_accuracy"]


def transformer(
    network: str, level: int, control: str = "ticket", bits: bool = True
) -> list[float]:
    rows = table(f"transformers/cpu/{network}/imp_summary.csv")
    rows = rows[(rows["level"] == level) & (rows["control"] == control)]
    numbers = [100 * rows["test_accuracy"].item()]
    return [*numbers, rows["bits_per_character"].item()] if bits else numbers


def transformers(label: str, level: int) -> Claim:
    alone = level in (0, 1, 3)
    controls = ("ticket",) if alone else ("ticket", "reinitialized", "random")
    gpt = " | ".join(["{}, {}"] * len(controls)) + (" | |" if alone else " |")
    vit = " | ".join(["{}"] * len(controls)) + (" | | |" if alone else " |")
    return Claim(
        f"| {label} | {gpt} {'| ' if alone else ''}{vit}",
        lambda: [
            *(x for control in controls for x in transformer("gpt-mini", level, control)),
            *(x for control in controls for x in transformer("vit-tiny", level, control, False)),
        ],
    )


def twins_of(network: str, step: int, column: str, scale: float = 100) -> float:
    return scale * at(f"transformers/cpu/{network}/instability.csv", "dense", step)[column]


def left(network: str, layer: str, level: int) -> float:
    """Return the density of a layer of a transformer's tickets."""
    rows = table(f"transformers/cpu/{network}/imp_layers.csv").set_index("layer")
    return rows[f"level_{level}"][layer]


TRANSFORMERS = [(network, step) for network in ("gpt-mini", "vit-tiny") for step in (0, 12)]
AD_10 = "adsynflow/cpu/momentum-0.1/summary.csv"
AD_1 = "adsynflow/cpu/momentum-0.01/summary.csv"

CLAIMS = [
    Claim(
        "| less than 1 | dense {} +- {} | 3 x 3 |",
        lambda: barrier(f"{LENET}/summary.csv", "dense"),
    ),
    *(
        Claim(
            f"| {label} | {{}} +- {{}} | {{}} +- {{}} | {{}} | {{}} |",
            lambda network=network: of_lenet(network),
            after="| | test | train | accuracy [thesis]",
        )
        for label, network in (
            ("dense", "dense"),
            ("IMP at 3.5 %", "ticket"),
            ("reinitialised", "reinitialised"),
            ("its mask shuffled", "shuffled"),
        )
    ),
    Claim(
        "all are stable on the test set, where the error rises by less than a point. On the"
        " training set the shuffled ones are not: their barrier of {} +- {} is above",
        lambda: barrier(f"{LENET}/summary.csv", "shuffled", "train"),
        true=lambda: (
            bool((table(f"{LENET}/summary.csv")["test_mean"] < 0.01).all())
            and (table(f"{LENET}/summary.csv")["train_mean"] > 0.02).sum() == 1
        ),
    ),
    by_step("dense, test", f"{MLP}/summary.csv", "dense"),
    by_step("dense, train", f"{MLP}/summary.csv", "dense", "train"),
    accuracies("dense, accuracy", f"{MLP}/summary.csv", "dense"),
    by_step("pruned by SynFlow to 10 %, test", AD_10, "synflow"),
    accuracies("its accuracy", AD_10, "synflow", after="pruned by SynFlow to 10 %, test"),
    by_step("to 1 %, test", AD_1, "synflow"),
    accuracies("its accuracy", AD_1, "synflow", after="| to 1 %, test"),
    Claim(
        "At step 0 the error rises from {} % to {} %: {} % of the way to guessing",
        lambda: [
            100 - accuracy(f"{MLP}/summary.csv", "dense"),
            100 - accuracy(f"{MLP}/summary.csv", "dense")
            + barrier(f"{MLP}/summary.csv", "dense")[0],
            of_the_way_to_guessing(),
        ],
    ),
    Claim(
        "The dense network is stable from step 500 on, 18 % into training",
        true=lambda: (
            [bool(at(f"{MLP}/summary.csv", "dense", step)["stable"]) for step in STEPS]
            == [False] * 4 + [True] * 2
        ),
    ),
    *(
        Claim(
            f"| {label} |" + " {} |" * 6,
            lambda column=column, scale=scale: [scale * pairs(column, step) for step in STEPS],
        )
        for label, column, scale in (
            ("L2 distance of twins", "l2_distance", 1),
            ("L2 distance from the initialisation", "l2_from_initialization", 1),
            ("L2 distance to the end", "l2_to_end", 1),
            ("test images classified differently, of 5,000", "test_differences", 1),
            ("test error at that step, %", "test_error_at_start", 100),
        )
    ),
    Claim(
        "The L2 distance of twins falls from step to step.",
        true=lambda: (
            sorted((pairs("l2_distance", step) for step in STEPS), reverse=True)
            == [pairs("l2_distance", step) for step in STEPS]
        ),
    ),
    Claim(
        "At step 500 the network is nearer to its initialisation ({}) than to its end ({}). Its"
        " twins end as far from each other ({})",
        lambda: [
            pairs("l2_from_initialization", 500), pairs("l2_to_end", 500),
            pairs("l2_distance", 500),
        ],
    ),
    *CELLS,
    *(
        Claim(
            f"| ours: an MLP, {percent} % of the weights | {{}} | {{}} | {{}} |",
            lambda path=path, step=step: [
                accuracy(path, "synflow", step), accuracy(path, "synflow"),
                accuracy(path, "dense"),
            ],
            # the step is the first from which on twins of the pruned network are stable
            true=lambda path=path, step=step: [
                bool(at(path, "synflow", other)["stable"]) for other in STEPS
            ] == [other >= step for other in STEPS],
        )
        for percent, path, step in ((10, AD_10, 50), (1, AD_1, 200))
    ),
    Claim(
        "On the training set it is so from step 100 on with 10 %: at 50 its barrier is {} there",
        lambda: barrier(AD_10, "synflow", "train", 50)[:1],
        true=lambda: (
            max(barrier(AD_10, "synflow", "train", step)[0] for step in STEPS[2:]) < 2
        ),
    ),
    Claim(
        "its barrier is {} and {} points, that of the dense one {}",
        lambda: [
            barrier(AD_10, "synflow")[0], barrier(AD_1, "synflow")[0], barrier(AD_1, "dense")[0],
        ],
    ),
    Claim(
        "| sparse from the start, one change | {} | | ticket of ten levels, rewound to 0 | {} |"
        " | ticket of ten levels, rewound to 84 | {} |"
        " | ticket of ten levels, rewound to 1,400 | {} | | the first mask throughout | {} |"
        " | dense | {} |",
        lambda: [
            dynamic(name)
            for name in (
                "dynamic", "ticket, rewound to 0", "ticket, rewound to 84",
                "ticket, rewound to 1400", "first mask throughout", "dense",
            )
        ],
    ),
    Claim(
        "sparse from the start is no worse than the ticket (p {})",
        lambda: [dynamic_p("ticket, rewound to 84")],
    ),
    Claim(
        "None of the ablations below differs from it within two replicates (p {} or more)",
        lambda: [
            min(
                dynamic_p(name)
                for name in (
                    "at least 80 % of the mask shared", "at least 100 % of the mask shared",
                    "regrown weights drawn again", "grown by the gradient", "grown by chance",
                )
            )
        ],
    ),
    Claim(
        "{} % of the first mask are in the last one",
        lambda: [dynamic("first mask throughout", "shared_with_last")],
    ),
    *(
        Claim(
            f"| {label} | {{}} | {{}} | {{}} |",
            lambda network=network: lenet_means(network),
            after="| network | first mask: training | magnitudes | chance |",
        )
        for label, network in (
            ("sparse from the start, one change", "dynamic"),
            ("the first mask throughout", "first mask throughout"),
            ("at least 80 % of the mask shared", "at least 80 % of the mask shared"),
            ("all of the mask shared", "at least 100 % of the mask shared"),
            ("regrown weights drawn again", "regrown weights drawn again"),
            ("grown by the gradient", "grown by the gradient"),
            ("grown by chance", "grown by chance"),
        )
    ),
    Claim(
        "the dense network has {}, tickets pruned in ten levels have {} rewound to step 0, and {}",
        lambda: [
            changing("imp", name).mean()
            for name in ("dense", "ticket, rewound to 0", "ticket, rewound to 60")
        ],
    ),
    Claim(
        "| as good as tickets rewound to an early step | no: {} against {} (p {}) |",
        lambda: [
            changing("imp", "dynamic").mean(), changing("imp", "ticket, rewound to 60").mean(),
            lenet_p("imp", "dynamic", ("imp", "ticket, rewound to 60")),
        ],
    ),
    Claim(
        "| {} points less | | a first mask by chance matters slightly | {} points less (p {}) |",
        lambda: [
            lenet_means("dynamic")[0] - lenet_means("dynamic")[1],
            lenet_means("dynamic")[0] - lenet_means("dynamic")[2],
            lenet_p("imp", "dynamic", ("random", "dynamic")),
        ],
    ),
    Claim(
        "where the first mask is poor: {} falls to {} (p {}) and {} (p {}) |",
        lambda: [
            changing("random", "dynamic").mean(),
            *(
                number
                for share in (80, 100)
                for name in [f"at least {share} % of the mask shared"]
                for number in (
                    changing("random", name).mean(), lenet_p("random", name, ("random", "dynamic"))
                )
            ),
        ],
    ),
    Claim(
        "not with a first mask by chance: {} against {} (p {}) |",
        lambda: [
            changing("random", "regrown weights drawn again").mean(),
            changing("random", "dynamic").mean(),
            lenet_p("random", "regrown weights drawn again", ("random", "dynamic")),
        ],
    ),
    Claim(
        "yes: {} against {} (p {}) | | both are far worse than IMP | by a point",
        lambda: [
            changing("random", "grown by the gradient").mean(),
            changing("random", "grown by chance").mean(),
            lenet_p("random", "grown by the gradient", ("random", "grown by chance")),
        ],
    ),
    Claim(
        "are drawn at steps {}, {} and {}. They are as good as the last mask (p {}), one image of"
        " 359 below",
        lambda: [
            *table("early_bird/results.csv")["ticket_step"].dropna(),
            method_summary.welch(early_bird("ticket", 1), early_bird("last-mask", 1)),
        ],
        true=lambda: round(
            3.59 * (early_bird("last-mask", 1).mean() - early_bird("ticket", 1).mean())
        ) == 1,
    ),
    Claim(
        "| early-bird ticket | {} ({}-{}) | | the last mask, on the same weights | {} |"
        " | dense | {} |",
        lambda: [
            early_bird("ticket", 1).mean(), early_bird("ticket", 1).min(),
            early_bird("ticket", 1).max(), early_bird("last-mask", 1).mean(),
            early_bird("ticket", 0).mean(),
        ],
    ),
    transformers("100 %", 0),
    transformers("50 %", 1),
    transformers("25 %", 2),
    transformers("12.5 %", 3),
    transformers("6.2 %", 4),
    Claim(
        "| accuracy | {} | {} | {} | {} | | bits per character | {} | {} | | |",
        lambda: [
            *(twins_of(network, step, "accuracy") for network, step in TRANSFORMERS),
            *(twins_of("gpt-mini", step, "loss_bits", 1) for step in (0, 12)),
        ],
        after="| dense networks, two pairs each |",
    ),
    Claim(
        "| error barrier on the test set, points |" + " {} +- {} |" * 4,
        lambda: [
            twins_of(network, step, f"test_{number}")
            for network, step in TRANSFORMERS
            for number in ("mean", "sd")
        ],
    ),
    Claim(
        "| loss barrier on the test set, nats |" + " {} |" * 4,
        lambda: [twins_of(network, step, "test_loss_mean", 1) for network, step in TRANSFORMERS],
    ),
    Claim(
        "On the training set the error barrier does not fall",
        true=lambda: all(
            round(twins_of(network, 12, "train_mean"), 2)
            >= round(twins_of(network, 0, "train_mean"), 2)
            for network in ("gpt-mini", "vit-tiny")
        ),
    ),
    Claim(
        "| second layers of the perceptrons, GPT and ViT | less than 0.01 % | none | | outputs of"
        " attention, GPT | {} % | none | | outputs of attention, ViT | {} % | none |",
        lambda: [
            100 * left(network, "AttentionOutput", 2) for network in ("gpt-mini", "vit-tiny")
        ],
        true=lambda: all(
            left(network, "MLP2", 2) < 0.0001
            and left(network, "MLP2", 4) == left(network, "AttentionOutput", 4) == 0
            for network in ("gpt-mini", "vit-tiny")
        ),
    ),
]  # fmt: skip
