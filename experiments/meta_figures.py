"""Figures of meta-models: what they learn from, and how one of them learns."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxlth.plots import legends, theme

TARGET = "target"


def examples(columns: Mapping[str, np.ndarray]) -> Figure:
    """Return histograms of what meta-models learn from: of all weights, and of the ticket's.

    Args:
      columns: {name: (weights,) in [0, 1]}, the features and the target, which is above 0 for the
        weights that the ticket keeps.

    References:
      Lutz & Manai 2022, Figure 5.7.
    """
    kept = columns[TARGET] > 0
    edges = np.linspace(0, 1, 26)
    (all_color, _), (kept_color, _), *_ = theme.STYLE_CYCLE
    with theme.applied():
        figure, panels = theme.new_figure(panels=len(columns))
        for axes, (name, values) in zip(panels, columns.items(), strict=True):
            for shown, color, label in (
                (values, all_color, "all weights"),
                (values[kept], kept_color, "kept by the ticket"),
            ):
                shares = 100 * np.histogram(shown, edges)[0] / max(len(shown), 1)
                axes.stairs(shares, edges, color=color, label=label)
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set_title(name, loc="left")
            axes.set_xlabel("Score, scaled")
            axes.set_ylabel("Share (%)")
        legends.below_figure(figure)
    return figure


def learning(
    losses: Mapping[str, Sequence[Sequence[float]]], others: Mapping[str, float]
) -> Figure:
    """Return the training loss of meta-models by epoch, beside the last one of others.

    Args:
      losses: {model: the losses by epoch of each replicate}, of which one that has converged before
        others keeps its last; bands reach from the least to the most, lines are means.
      others: {model: mean squared error on what it learned from}; one that is 0 is left out.

    References:
      Lutz & Manai 2022, Figure 5.8 and Tables 5.1 to 5.3.
    """
    dashes = ["--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3))]
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        for (name, of), (color, marker) in zip(losses.items(), theme.STYLE_CYCLE, strict=False):
            length = max(map(len, of))
            values = np.array([[*curve, *[curve[-1]] * (length - len(curve))] for curve in of])
            epochs = range(1, length + 1)
            axes.plot(epochs, values.mean(0), color=color, marker=marker, label=name)
            low, high = values.min(0), values.max(0)
            axes.fill_between(epochs, low, high, color=color, alpha=0.18, linewidth=0)
        above = [(name, error) for name, error in others.items() if error > 0]
        for place, (name, error) in enumerate(above):
            dash = dashes[place % len(dashes)]
            axes.axhline(error, color=theme.GRAY, linestyle=dash, linewidth=1, label=name)
        axes.set_yscale("log")
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Mean squared error in training")
        legends.below_panel(axes)
    return figure
