"""What the pages on papers claim of networks whose mask moves while they train."""

import pandas
from claims import Claim, table

METHODS = "dynamic_sparse/cpu/methods.csv"
NAMES = ("IMP", "RigL 5x", "RigL", "SET", "static", "SynFlow", "random")


def row(method: str, density: float) -> pandas.Series:
    rows = table(METHODS)
    return rows[(rows["method"] == method) & (rows["density"] == density)].iloc[0]


def of(method: str) -> list[float]:
    """Return what the page's table has of a method: accuracies and operations at 10 and 2 %."""
    rows = [row(method, density) for density in (0.1, 0.02)]
    return [100 * r["mean"] for r in rows] + [r["flops"] for r in rows]


def means(density: float, *methods: str) -> list[float]:
    """Return the mean accuracies of methods, in percent."""
    return [100 * row(method, density)["mean"] for method in methods]


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
]
