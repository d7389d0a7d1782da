"""How tables and figures show each control: its names, its colour, its marker."""

from typing import NamedTuple

from jaxlth.plots import theme
from jaxlth.plots.theme import BLACK, BLUE, BROWN, GREEN, ORANGE, PURPLE, RED, SKY


class ControlStyle(NamedTuple):
    """How a control is shown everywhere."""

    label: str  # in tables and legends
    narrow_label: str  # the same as the head of a narrow column
    subject: str  # in sentences
    color: str
    marker: str


# In the order in which they are listed.
CONTROL_STYLES = {
    "ticket": ControlStyle("ticket", "ticket", "tickets", BLUE, "o"),
    "reinitialized": ControlStyle(
        "reinitialised", "re-\ninitialised", "reinitialised tickets", ORANGE, "s"
    ),
    "shuffled": ControlStyle("shuffled", "shuffled", "tickets with shuffled masks", PURPLE, "v"),
    "shuffled-globally": ControlStyle(
        "shuffled globally",
        "shuffled\nglobally",
        "tickets with globally shuffled masks",
        BROWN,
        "<",
    ),
    "random-layerwise": ControlStyle(
        "layerwise random", "layerwise\nrandom", "networks pruned randomly layer by layer", RED, "D"
    ),
    "random": ControlStyle("random", "random", "randomly pruned networks", GREEN, "^"),
    "inverted": ControlStyle("inverted", "inverted", "inverted tickets", SKY, "P"),
}


def control_style(control: str) -> ControlStyle:
    """Return how a control is shown; an unknown one goes by its own name."""
    default = ControlStyle(control, control, f"networks of the control {control!r}", BLACK, "X")
    return CONTROL_STYLES.get(control, default)


def line_style(control: str) -> theme.LineStyle:
    """Return colour and marker of the line of a control."""
    style = control_style(control)
    return theme.LineStyle(style.color, style.marker)


def sort_controls(names: list[str]) -> list[str]:
    """Return controls in the order in which they are listed; unknown ones come last."""
    listed = [name for name in CONTROL_STYLES if name in names]
    return listed + [name for name in names if name not in CONTROL_STYLES]
