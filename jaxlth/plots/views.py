"""Figures of what tickets look like: their units, their weights, and what they share.

The input are arrays that runs store, masks and weights, by the name of the method.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxlth.plots import drawing

SHADES = "viridis"
OTHERS = [*drawing.IN_ORDER, drawing.Style(drawing.GRAY, "X")]


def units(densities: Mapping[str, np.ndarray]) -> Figure:
    """Return the share of units whose sparsity is at least as high as the axis says.

    Args:
      densities: {method: kept share of the weights into each unit, of all layers}.

    References:
      Frankle 2023, Figure 5-6.
    """
    sparsities = np.linspace(0, 100, 201)
    with matplotlib.rc_context(drawing.LOOK):
        figure, (axes,) = drawing.new_figure(panels=1)
        for place, (name, kept) in enumerate(densities.items()):
            of_unit = 100 * (1 - np.asarray(kept, float))
            shares = [100 * np.mean(of_unit >= sparsity - 1e-9) for sparsity in sparsities]
            color, _ = OTHERS[place % len(OTHERS)]
            dash = "-" if place < len(OTHERS) else "--"
            axes.plot(sparsities, shares, color=color, linestyle=dash, label=name)
        axes.set_xlabel("Sparsity of a unit (%)")
        axes.set_ylabel("Units at least as sparse (%)")
        axes.set_xlim(0, 100)
        axes.legend(loc="lower left")
    return figure


def histograms(weights: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Return histograms of the weights that tickets keep, before and after training.

    Args:
      weights: {method: (kept weights before, the same after)}, a panel each.

    References:
      Lutz & Manai 2022, Figure 5.2.
    """
    with matplotlib.rc_context(drawing.LOOK):
        figure, panels = drawing.new_figure(panels=len(weights))
        for axes, (name, (before, after)) in zip(panels, weights.items(), strict=True):
            reach = float(np.quantile(np.abs(np.concatenate([before, after])), 0.99)) or 1.0
            edges = np.linspace(-reach, reach, 61).tolist()
            pairs = ((before, "before"), (after, "after"))
            for (values, label), (color, _) in zip(pairs, drawing.IN_ORDER, strict=False):
                inside = np.clip(values, -reach, reach)
                axes.hist(inside, edges, histtype="step", color=color, label=label)
            axes.set_title(name, loc="left", fontsize=9)
            axes.set_xlabel("Weight kept")
            axes.set_ylabel("Number")
        panels[0].legend()
    return figure


def jaccard(masks: Mapping[str, Sequence[np.ndarray]]) -> pd.DataFrame:
    """Return the Jaccard similarity of masks, a row and a column for each: shared / kept by either.

    Args:
      masks: {method: boolean leaves of its mask, in one order}.

    Example:
      >>> jaccard({"a": [np.array([True, True])], "b": [np.array([False, True])]})["b"].tolist()
      [0.5, 1.0]
    """
    flat = {name: np.concatenate([np.ravel(leaf) for leaf in of]) for name, of in masks.items()}
    found = [
        [float(np.sum(a & b) / max(np.sum(a | b), 1)) for b in flat.values()] for a in flat.values()
    ]
    return pd.DataFrame(found, index=list(flat), columns=list(flat))


def similarity(shared: pd.DataFrame, *, least: float = 0) -> Figure:
    """Return a table of similarities as a map of colours, with its numbers.

    Args:
      shared: what `jaccard` gives, or correlations.
      least: the number of the darkest colour; 1 has the brightest.

    References:
      Lutz & Manai 2022, Figures 5.3, 5.6 and 5.7.
    """
    with matplotlib.rc_context({**drawing.LOOK, "axes.grid": False}):
        figure, (axes,) = drawing.new_figure(panels=1)
        texts = shared.map("{:.2f}".format).to_numpy().tolist()
        cells(axes, (shared - least) / (1 - least), texts)
        axes.tick_params("x", rotation=90)
    return figure


def cells(axes: Axes, shades: pd.DataFrame, texts: Sequence[Sequence[str]]) -> None:
    """Draw a table as a map of colours with a text in each cell.

    Args:
      axes: where; it has no grid.
      shades: in [0, 1], from dark to bright; NaN is left white. Its names are those of the axes.
      texts: of each cell, row by row.
    """
    axes.imshow(shades.to_numpy(), vmin=0, vmax=1, cmap=SHADES, aspect="auto")
    axes.set_xticks(range(shades.shape[1]), [str(name) for name in shades.columns], fontsize=7)
    axes.set_yticks(range(shades.shape[0]), [str(name) for name in shades.index], fontsize=7)
    size = 6.5 if shades.shape[1] <= 12 else 5
    for row, (of_row, shown) in enumerate(zip(texts, shades.to_numpy(), strict=True)):
        for column, (text, shade) in enumerate(zip(of_row, shown, strict=True)):
            color = "black" if shade > 0.6 else "white"
            axes.text(column, row, text, color=color, ha="center", va="center", fontsize=size)
