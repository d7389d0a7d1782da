"""What experiments/README.md claims of twins, changing masks, early birds and transformers."""

import pandas
from claims import Claim, table

LENET = "linear_mode_connectivity/paper/lenet"
MLP = "linear_mode_connectivity/cpu/mlp-cifar"
STEPS = (0, 50, 100, 200, 500, 1000)


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


def dynamic(network: str, column: str = "accuracy") -> float:
    rows = table("dynamic_imp/cpu/networks.csv")
    return 100 * rows[rows["network"] == network][column].mean()


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


AD_10 = "adsynflow/cpu/momentum-0.1/summary.csv"
AD_1 = "adsynflow/cpu/momentum-0.01/summary.csv"

CLAIMS = [
    Claim("dense {} +- {} | 3 x 3 twins", lambda: barrier(f"{LENET}/summary.csv", "dense")),
    Claim(
        "ticket {} +- {}, reinitialised {} +- {}, shuffled {} +- {}; accuracies {}, {}, {} |",
        lambda: [
            *(
                x
                for network in ("ticket", "reinitialised", "shuffled")
                for x in barrier(f"{LENET}/summary.csv", network)
            ),
            *(
                accuracy(f"{LENET}/summary.csv", network)
                for network in ("ticket", "reinitialised", "shuffled")
            ),
        ],
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
        "all are stable on the test set, where the error rises by less than a point; on the"
        " training set the shuffled ones are not, by the threshold of two points ({} +- {})",
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
    Claim("{} % of the way to guessing", lambda: [of_the_way_to_guessing()]),
    Claim(
        "(53 % to 79 % error) at step 0, stable from step 500, 18 % into training",
        true=lambda: (
            [bool(at(f"{MLP}/summary.csv", "dense", step)["stable"]) for step in STEPS]
            == [False] * 4 + [True] * 2
        ),
    ),
    Claim(
        "the L2 distance of twins falls from step to step ({} at 0, {} at 100, {} at 1000)",
        lambda: [pairs("l2_distance", step) for step in (0, 100, 1000)],
        true=lambda: (
            sorted((pairs("l2_distance", step) for step in STEPS), reverse=True)
            == [pairs("l2_distance", step) for step in STEPS]
        ),
    ),
    Claim(
        "the examples that they classify differently hardly change ({} to {} of 5,000;",
        lambda: [
            min(pairs("test_differences", step) for step in STEPS),
            max(pairs("test_differences", step) for step in STEPS),
        ],
    ),
    Claim(
        "At step 500 the test error is {} % and ends at {} %; the network is nearer to its"
        " initialisation ({}) than to its end ({}), and twins end as far from each other ({})",
        lambda: [
            100 * pairs("test_error_at_start", 500),
            100 - accuracy(f"{MLP}/summary.csv", "dense", 500),
            pairs("l2_from_initialization", 500), pairs("l2_to_end", 500),
            pairs("l2_distance", 500),
        ],
    ),
    Claim(
        "Pruning there and training on gives {} and {} %: no better than SynFlow at initialisation"
        " ({}, {})",
        lambda: [
            accuracy(AD_10, "synflow", 50), accuracy(AD_1, "synflow", 200),
            accuracy(AD_10, "synflow"), accuracy(AD_1, "synflow"),
        ],
    ),
    Claim(
        "dynamic {}, ticket rewound to 0 {}, dense {} |",
        lambda: [dynamic(name) for name in ("dynamic", "ticket, rewound to 0", "dense")],
    ),
    Claim(
        "{} % sparse from the start with one change, {} and {} the one-shot ticket rewound to 0 and"
        " to 1,400, {} the first mask throughout, {} dense",
        lambda: [
            dynamic(name)
            for name in (
                "dynamic", "ticket, rewound to 0", "ticket, rewound to 1400",
                "first mask throughout", "dense",
            )
        ],
    ),
    Claim(
        "{} % of the first mask are in the last one",
        lambda: [dynamic("first mask throughout", "shared_with_last")],
    ),
    Claim(
        "early-bird {} ({}-{}), last mask on the same weights {}, dense {}. At",
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
        "start at step 12 with a fresh Adam reach {} ({} bits), those of step 0 {} ({}). Dense ViTs"
        " gain nothing so ({} from step 12, {} from step 0)",
        lambda: [
            twins_of("gpt-mini", 12, "accuracy"), twins_of("gpt-mini", 12, "loss_bits", 1),
            twins_of("gpt-mini", 0, "accuracy"), twins_of("gpt-mini", 0, "loss_bits", 1),
            twins_of("vit-tiny", 12, "accuracy"), twins_of("vit-tiny", 0, "accuracy"),
        ],
    ),
    Claim(
        "are {} +- {} (GPT) and {} +- {} points (ViT) from step 0, {} +- {} and {} +- {} from step"
        " 12; loss barriers {} and {} nats, then {} and {} (two pairs each)",
        lambda: [
            *(
                twins_of(network, step, f"test_{number}")
                for step in (0, 12)
                for network in ("gpt-mini", "vit-tiny")
                for number in ("mean", "sd")
            ),
            *(
                twins_of(network, step, "test_loss_mean", 1)
                for step in (0, 12)
                for network in ("gpt-mini", "vit-tiny")
            ),
        ],
    ),
]  # fmt: skip
