"""Pages of figures of instability: which panels each of them has."""

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure

from jaxlth.plots import theme
from jaxlth.studies.instability.summary import DENSE, pairs


def in_pages(
    draw: Callable[[pd.DataFrame], Figure],
    results: pd.DataFrame,
    panel: Callable[[pd.DataFrame], pd.Series],
    *,
    besides: int = 0,
) -> Figure | list[Figure]:
    """Return a figure, or several of at most ten panels where it has more.

    Args:
      draw: table of results of one run -> figure.
      results: the table of results of one run.
      panel: pairs -> the panel that each is drawn in; NaN for those that are in all.
      besides: panels that each figure has besides.
    """
    rows = pairs(results, at_end=False)
    panels = panel(rows)
    names = list(dict.fromkeys(panels.dropna()))
    most = theme.MAX_PANELS - besides
    if len(names) <= most:
        return draw(results)
    pages = []
    for first in range(0, len(names), most):
        of_page = panels.isin(names[first : first + most]) | panels.isna()
        others = results["kind"] != "pair"
        pages.append(draw(results[others | results["unit"].isin(rows.loc[of_page, "unit"])]))
    return pages


def by_size(rows: pd.DataFrame) -> pd.Series:
    """Return the density of sparse networks, NaN for dense ones."""
    return rows["density"].mask(rows["control"] == DENSE)


def by_network(rows: pd.DataFrame) -> pd.Series:
    """Return the name of each network."""
    return rows["network"]


def by_network_and_step(rows: pd.DataFrame) -> pd.Series:
    """Return the name of each network, with the step that its twins start from."""
    return rows["network"] + _from_step(rows)


def _from_step(rows: pd.DataFrame) -> pd.Series:
    several = rows["length"].nunique() > 1
    steps = ", from step " + rows["step_k"].astype(str)
    return steps + (", " + rows["length"] if several else "")
