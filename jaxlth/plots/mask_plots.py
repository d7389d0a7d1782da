"""Figures of masks: sparsity of units, histograms of kept weights, similarity of masks.

The inputs are arrays of a run, masks and weights, by the name of the method.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from jaxlth.plots import legends, theme

COLORMAP = "viridis"
_STYLES = [*theme.STYLE_CYCLE, theme.LineStyle(theme.GRAY, "X")]


def unit_sparsities(
    densities: Mapping[str, np.ndarray], styles: Mapping[str, theme.LineStyle] | None = None
) -> Figure:
    """Return the share of units whose sparsity is at least as high as the axis says.

    Args:
      densities: {method: kept share of the weights into each unit, of all layers}.
      styles: {method: style of its line}; by their order, if not given.

    References:
      Frankle 2023, Figure 5-6.
    """
    sparsities = np.linspace(0, 100, 201)
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        for i, (name, unit_densities) in enumerate(densities.items()):
            of_units = 100 * (1 - np.asarray(unit_densities, float))
            shares = [100 * np.mean(of_units >= sparsity - 1e-9) for sparsity in sparsities]
            color, _ = styles[name] if styles else _STYLES[i % len(_STYLES)]
            linestyle = "--" if styles is None and i >= len(_STYLES) else "-"
            axes.plot(sparsities, shares, color=color, linestyle=linestyle, label=name)
        axes.set_xlabel("Sparsity of a unit (%)")
        axes.set_ylabel("Units at least as sparse (%)")
        axes.set_xlim(0, 100)
        legends.below_figure(figure)
    return figure


def weight_histograms(weights: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Return histograms of the weights that tickets keep, before and after training.

    Args:
      weights: {method: (kept weights before, the same after)}, a panel each.

    References:
      Lutz & Manai 2022, Figure 5.2.
    """
    with theme.applied():
        figure, panels = theme.new_figure(panels=len(weights))
        for axes, (name, (before, after)) in zip(panels, weights.items(), strict=True):
            limit = float(np.quantile(np.abs(np.concatenate([before, after])), 0.99)) or 1.0
            edges = np.linspace(-limit, limit, 61).tolist()
            pairs = ((before, "before"), (after, "after"))
            for (values, label), (color, _) in zip(pairs, theme.STYLE_CYCLE, strict=False):
                clipped = np.clip(values, -limit, limit)
                axes.hist(clipped, edges, histtype="step", color=color, label=label)
            axes.set_title(name, loc="left")
            axes.set_xlabel("Weight kept (end bins: all beyond)")
            axes.set_ylabel("Number of weights")
        legends.below_figure(figure)
    return figure


def weight_pages(weights: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[Figure]:
    """Return what `weight_histograms` returns, in figures of at most nine panels."""
    names, most = list(weights), theme.MAX_PANELS - theme.MAX_PANELS % 3
    pages = [names[first : first + most] for first in range(0, len(names), most)]
    return [weight_histograms({name: weights[name] for name in page}) for page in pages]


def jaccard(masks: Mapping[str, Sequence[np.ndarray]]) -> pd.DataFrame:
    """Return the Jaccard similarity of masks, a row and a column for each: shared / kept by either.

    Args:
      masks: {method: boolean leaves of its mask, in one order}.

    Example:
      >>> jaccard({"a": [np.array([True, True])], "b": [np.array([False, True])]})["b"].tolist()
      [0.5, 1.0]
    """
    flat = {
        name: np.concatenate([np.ravel(leaf) for leaf in leaves]) for name, leaves in masks.items()
    }
    similarities = [
        [float(np.sum(a & b) / max(np.sum(a | b), 1)) for b in flat.values()] for a in flat.values()
    ]
    return pd.DataFrame(similarities, index=list(flat), columns=list(flat))


def similarity(
    table: pd.DataFrame, *, darkest: float = 0, label: str = "Jaccard similarity of masks"
) -> Figure:
    """Return a table of similarities as a map of colours, with its numbers.

    Args:
      table: the table of `jaccard`, or correlations.
      darkest: the number with the darkest colour; 1 has the brightest.
      label: what the numbers are.

    References:
      Lutz & Manai 2022, Figures 5.3, 5.6 and 5.7.
    """
    with theme.applied({"axes.grid": False}):
        figure, (axes,) = theme.new_figure(panels=1)
        side = max(4.0, 0.36 * len(table) + 2.4)
        figure.set_size_inches(*theme.fitted(side + 0.8, side))
        texts = table.map("{:.2f}".format).to_numpy().tolist()
        heatmap(axes, (table - darkest) / (1 - darkest), texts)
        axes.tick_params("x", rotation=90)
        scale = ScalarMappable(Normalize(darkest, 1), COLORMAP)
        figure.colorbar(scale, ax=axes, shrink=0.6, label=label)
    return figure


def heatmap(axes: Axes, shades: pd.DataFrame, texts: Sequence[Sequence[str]]) -> None:
    """Draw a table as a map of colours with a text in each cell.

    Args:
      axes: the panel; it has no grid.
      shades: numbers in [0, 1], from dark to bright; NaN is left white. Its names label the axes.
      texts: the text of each cell, row by row.
    """
    axes.imshow(shades.to_numpy(), vmin=0, vmax=1, cmap=COLORMAP, aspect="auto")
    axes.set_xticks(
        range(shades.shape[1]), [str(name) for name in shades.columns], fontsize="small"
    )
    axes.set_yticks(range(shades.shape[0]), [str(name) for name in shades.index], fontsize="small")
    size = 6.5 if shades.shape[1] <= 12 else 6
    for row, (row_texts, row_shades) in enumerate(zip(texts, shades.to_numpy(), strict=True)):
        for column, (text, shade) in enumerate(zip(row_texts, row_shades, strict=True)):
            color = "black" if shade > 0.6 else "white"
            axes.text(column, row, text, color=color, ha="center", va="center", fontsize=size)
