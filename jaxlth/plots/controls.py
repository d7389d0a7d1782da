"""How tables and figures show each control: its names, its colour, its marker.

Colours are Okabe and Ito's, which remain distinct to colour-blind readers.
"""

from typing import NamedTuple

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"


class Shown(NamedTuple):
    """How a control is shown everywhere."""

    label: str  # in tables and legends
    narrow: str  # the same as the head of a narrow column
    subject: str  # in sentences
    color: str
    marker: str


# In the order in which they are listed.
SHOWN = {
    "ticket": Shown("ticket", "ticket", "tickets", BLUE, "o"),
    "reinitialized": Shown(
        "reinitialised", "re-\ninitialised", "reinitialised tickets", ORANGE, "s"
    ),
    "shuffled": Shown("shuffled", "shuffled", "tickets with shuffled masks", PURPLE, "v"),
    "random-layerwise": Shown(
        "layerwise random", "layerwise\nrandom", "networks pruned randomly layer by layer", RED, "D"
    ),
    "random": Shown("random", "random", "randomly pruned networks", GREEN, "^"),
    "inverted": Shown("inverted", "inverted", "inverted tickets", SKY, "P"),
}


def shown(control: str) -> Shown:
    """Return how a control is shown; an unknown one goes by its own name."""
    other = Shown(control, control, f"networks of the control {control!r}", BLACK, "X")
    return SHOWN.get(control, other)


def in_order(names: list[str]) -> list[str]:
    """Return controls in the order in which they are listed; unknown ones come last."""
    known = [name for name in SHOWN if name in names]
    return known + [name for name in names if name not in SHOWN]
