"""What the pages on papers claim of networks whose mask moves while they train."""

import numpy as np
import pandas
from claims import Claim, table

from jaxlth.studies import method_summary

METHODS = "dynamic_sparse/cpu/methods.csv"
NAMES = ("IMP", "RigL 5x", "RigL", "SET", "static", "SynFlow", "random")
CONV_4 = "dynamic_sparse/cpu-conv-4/methods.csv"
CONV_4_NAMES = (
    "IMP",
    "SET 5x",
    "RigL 5x",
    "static 5x",
    "SynFlow",
    "SET",
    "static",
    "RigL",
    "random",
)
SECTION = "### Conv-4 on CIFAR-10"


def row(method: str, density: float, path: str = METHODS) -> pandas.Series:
    rows = table(path)
    return rows[(rows["method"] == method) & (rows["density"] == density)].iloc[0]


def of(method: str, path: str = METHODS) -> list[float]:
    """Return what the page's table has of a method: accuracies and operations at 10 and 2 %."""
    rows = [row(method, density, path) for density in (0.1, 0.02)]
    return [100 * r["mean"] for r in rows] + [r["flops"] for r in rows]


def conv_p(first: str, density: float, second: str) -> float:
    """Return the p-value of Welch's test of two methods on Conv-4."""
    rows = table(CONV_4.replace("methods", "networks"))
    values = rows[rows["density"] == density].groupby("method")["accuracy"]
    return method_summary.welch(values.get_group(first), values.get_group(second))


def means(density: float, *methods: str, path: str = METHODS) -> list[float]:
    """Return the mean accuracies of methods, in percent."""
    return [100 * row(method, density, path)["mean"] for method in methods]


def p(first: str, density: float, second: str) -> float:
    """Return the p-value of one method against another."""
    return row(first, density)[f"p_{second}"]


CLAIMS = [
    *(
        Claim(f"| {name} | {{}} | {{}} | {{}} | {{}} |", lambda name=name: of(name))
        for name in NAMES
    ),
    Claim(
        "(SET {} against {} at 10 %, p {})",
        lambda: [*means(0.1, "SET", "static"), p("static", 0.1, "SET")],
    ),
    Claim("better than by chance at 2 % (p {})", lambda: [p("SET", 0.02, "RigL")]),
    Claim("RigL over SET at 10 % (p {})", lambda: [p("SET", 0.1, "RigL")]),
    Claim(
        "At 2 % it is above it: {} against {} (p {}). At 10 % it is below: {} against {} (p {})",
        lambda: [
            number
            for density in (0.02, 0.1)
            for number in (*means(density, "SynFlow", "RigL"), p("SynFlow", density, "RigL"))
        ],
    ),
    Claim("(p {} against RigL at 2 %)", lambda: [p("IMP", 0.02, "RigL")]),
    Claim("Dense: {}.", lambda: means(1.0, "dense", path=CONV_4), after=SECTION),
    *(
        Claim(
            f"| {name} | {{}} | {{}} | {{}} | {{}} |",
            lambda name=name: of(name, CONV_4),
            after=SECTION,
        )
        for name in CONV_4_NAMES
    ),
    Claim(
        "SET: {} against {} (p {})",
        lambda: [
            *means(0.02, "SET 5x", "static 5x", path=CONV_4),
            conv_p("SET 5x", 0.02, "static 5x"),
        ],
        true=lambda: (
            conv_p("SET 5x", 0.1, "static 5x") > 0.05 > conv_p("SET 5x", 0.02, "static 5x")
        ),
    ),
    Claim(
        "static masks gain {} points at 10 % (p {}), {} at 2 % (p {})",
        lambda: [
            number
            for density in (0.1, 0.02)
            for number in (
                -np.subtract(*means(density, "static", "static 5x", path=CONV_4)),
                conv_p("static 5x", density, "static"),
            )
        ],
    ),
    Claim(
        "SET does not differ from IMP (p {} and {}), for a fifth and a twenty-sixth of its "
        "operations",
        lambda: [conv_p("SET 5x", density, "IMP") for density in (0.1, 0.02)],
        true=lambda: (
            [
                round(
                    row("IMP", density, CONV_4)["flops"] / row("SET 5x", density, CONV_4)["flops"]
                )
                for density in (0.1, 0.02)
            ]
            == [5, 26]
        ),
    ),
    Claim(
        "not better than static masks (p {} and {} at 10 %, {} and {} at 2 %)",
        lambda: [
            conv_p(name, density, "static") for density in (0.1, 0.02) for name in ("SET", "RigL")
        ],
    ),
    Claim(
        "RigL is not better than SET at either length (p {} and {} at 10 %, {} and {} at 2 %)",
        lambda: [
            conv_p(f"RigL{length}", density, f"SET{length}")
            for density in (0.1, 0.02)
            for length in ("", " 5x")
        ],
    ),
    Claim(
        "SynFlow is above SET after as many steps at both densities (p {} and {})",
        lambda: [conv_p("SynFlow", density, "SET") for density in (0.1, 0.02)],
    ),
    Claim(
        "a static one reaches IMP (p {})",
        lambda: [conv_p("static 5x", 0.1, "IMP")],
        true=lambda: row("static 5x", 0.1, CONV_4)["mean"] > row("dense", 1.0, CONV_4)["mean"],
    ),
]
