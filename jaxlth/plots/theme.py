"""What all figures share: styles, colours, lines with bands and notes.

A style is a set of settings of matplotlib and the sizes of figures: "screen" for reports and web
pages, "paper" for a column of a paper. Colours are Okabe and Ito's, which remain distinct to
colour-blind readers.
"""

import contextlib
import contextvars
import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GRAY = "#CC79A7", "#56B4E9", "#000000", "#666666"
BROWN = "#8C564B"
MAX_PANELS = 10  # of a page


class LineStyle(NamedTuple):
    """Colour and marker of one line."""

    color: str
    marker: str


STYLE_CYCLE = [  # of runs laid over each other
    *(LineStyle(BLUE, "o"), LineStyle(ORANGE, "s"), LineStyle(GREEN, "^")),
    *(LineStyle(RED, "D"), LineStyle(PURPLE, "v"), LineStyle(SKY, "P")),
    *(LineStyle(BROWN, "<"), LineStyle("#332288", ">"), LineStyle("#999933", "h")),
]
AXIS_LABELS = {  # by metric
    "test_accuracy": "Test accuracy (%)",
    "train_accuracy": "Train accuracy (%)",
    "validation_accuracy": "Validation accuracy (%)",
    "best_test_accuracy": "Test accuracy at that step (%)",
    "test_loss": "Test loss",
    "train_loss": "Train loss",
    "validation_loss": "Validation loss",
    "best_test_loss": "Test loss at that step",
}
RC_PARAMS: dict[Any, Any] = {  # settings of matplotlib of the style "screen"
    "font.size": 9,
    "axes.titlesize": "medium",
    "figure.titlesize": "medium",
    "legend.fontsize": "small",
    "legend.title_fontsize": "small",
    "legend.handlelength": 2.6,  # so that a dashed line shows as one
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.minor.size": 2,
}


class Style(NamedTuple):
    """Settings of matplotlib, and the sizes of figures in inches."""

    rc_params: Mapping[Any, Any]
    single: tuple[float, float]  # width and height of a figure of one panel
    panel: tuple[float, float]  # of each panel of a figure of several
    widest: float = math.inf  # of a figure


# A column of a paper of two is 3.25 inches wide, its text 6.75. The font, like Times, is one that
# matplotlib brings, so that a figure is the same everywhere.
STYLES = {
    "screen": Style(RC_PARAMS, (6.5, 4.0), (4.25, 3.4)),
    "paper": Style(
        RC_PARAMS
        | {
            "font.family": ["STIXGeneral"],
            "mathtext.fontset": "stix",
            "font.size": 8,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "legend.handlelength": 2.2,
            "legend.columnspacing": 1.2,
            "axes.linewidth": 0.5,
            "lines.linewidth": 1.0,
            "lines.markersize": 2.8,
            "figure.dpi": 300,
        },
        (3.25, 2.2),
        (3.25, 2.2),
        6.75,
    ),
}
UNDRAWN = {"backend", "interactive", "toolbar", "timezone"}  # settings that no figure shows
_STYLE = contextvars.ContextVar("style", default="screen")


@contextlib.contextmanager
def style(name: str) -> Iterator[None]:
    """Have the figures that are made within in a style, one of `STYLES`."""
    token = _STYLE.set(name)
    try:
        yield
    finally:
        _STYLE.reset(token)


def applied(more: Mapping[Any, Any] | None = None) -> contextlib.AbstractContextManager[None]:
    """Return a context with the settings of the style, in which a figure is made.

    Args:
      more: other settings of matplotlib, which win.
    """
    return matplotlib.rc_context(
        {**without_file(), **STYLES[_STYLE.get()].rc_params, **(more or {})}
    )


def without_file() -> dict[Any, Any]:
    """Return matplotlib's defaults for what a user's matplotlibrc changes, and no program since.

    A figure is the same whoever draws it, and needs no LaTeX or font of somebody's own.
    """
    defaults, of_file = matplotlib.rcParamsDefault, matplotlib.rcParamsOrig
    return {
        name: defaults[name]
        for name in defaults.keys() - UNDRAWN
        if of_file[name] != defaults[name] and of_file[name] == matplotlib.rcParams[name]
    }


def fitted(width: float, height: float) -> tuple[float, float]:
    """Return a size in inches as the style allows it: smaller where that is wider than a page.

    Args:
      width: wanted, in inches of the style "screen".
      height: likewise.
    """
    scale = min(1.0, STYLES[_STYLE.get()].widest / width)
    return width * scale, height * scale


def new_figure(*, panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with its panels, up to three a row, of a size that the style says."""
    rows = 1 if panels <= 3 else math.ceil(panels / 3 if panels > 4 else 2)
    columns = math.ceil(panels / rows)
    single, panel = STYLES[_STYLE.get()].single, STYLES[_STYLE.get()].panel
    width = min(panel[0] * columns, STYLES[_STYLE.get()].widest)
    height = panel[1] * max(width / (panel[0] * columns), 0.8)  # labels need their room
    size = single if panels == 1 else (width, height * rows)
    figure = Figure(figsize=size)
    figure.set_layout_engine("constrained", wspace=0.06)
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]


def wrap_labels(figure: Figure) -> None:
    """Break the labels and titles of axes that are longer than the axes are, at spaces."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        if hasattr(axes, "_colorbar"):  # whose label may be longer than it is
            continue
        box = axes.get_window_extent()
        for label, room in ((axes.yaxis.label, box.height), (axes.xaxis.label, box.width)):
            _wrap(label, room)


def _wrap(label: Any, room: float) -> None:
    """Break a text into lines that fit into `room`, in pixels."""
    extent, text = label.get_window_extent(), label.get_text()
    length = max(extent.width, extent.height)
    if text and length > 1.05 * room and " " in text:
        lines = math.ceil(length / room)
        label.set_text(textwrap.fill(text, math.ceil(1.15 * len(text) / lines)))


def cycled_style(index: int) -> LineStyle:
    """Return the style of the line of this index; where colours come again, markers differ."""
    count = len(STYLE_CYCLE)
    color, marker = STYLE_CYCLE[index % count].color, (index + index // count) % count
    return LineStyle(color, STYLE_CYCLE[marker].marker)


def plot_mean(
    axes: Axes,
    x: Any,
    mean: Any,
    band: tuple[Any, Any] | None = None,
    *,
    color: Any,
    band_alpha: float = 0.18,
    **line: Any,
) -> None:
    """Plot a mean as a line, and a band around it; a single point as a marker with a bar.

    Args:
      axes: the panel.
      x: place of each point.
      mean: height of each point.
      band: (lower end, upper end) of the band at each point; None for no band.
      color: of line and band.
      band_alpha: opacity of the band.
      **line: other properties of the line, as for `Axes.plot`.
    """
    is_point = np.isfinite(np.asarray(mean, float)).sum() == 1
    if is_point and not line.get("marker"):  # else nothing would be seen
        line["marker"] = "o"
    axes.plot(x, mean, color=color, **line)
    if band is None:
        return
    if is_point:
        axes.vlines(x, *band, color=color, linewidth=1.5, alpha=0.6)
    else:
        axes.fill_between(x, *band, color=color, alpha=band_alpha, linewidth=0)


def note(axes: Axes, text: str) -> None:
    """Write small and gray above the right end of a panel, below what is noted there already."""
    notes = [*axes.get_title(loc="right").splitlines(), *text.splitlines()]
    axes.set_title("\n".join(dict.fromkeys(notes)), loc="right", color=GRAY, size="small")
