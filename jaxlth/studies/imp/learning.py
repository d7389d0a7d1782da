"""Speed of learning: the least dilation of training that reaches the dense accuracy."""

from collections.abc import Iterable

import pandas as pd

from jaxlth.plots import result_table
from jaxlth.studies import metrics

_NETWORK = ["level", "density", "control", "replicate"]  # columns that name one


def least_dilations(results: pd.DataFrame, dilations: Iterable[float] = ()) -> pd.DataFrame:
    """Return a row for each network whose least dilation d* is known.

    In an unfinished run those are missing that match at none yet, and are to be trained longer.

    A network matches at a dilation if its test accuracy is at least the mean of the dense networks
    trained undilated, those that diverged aside; without an accuracy, if its test loss is at most
    their mean. Training as long as the settings say counts as the
    dilation 1.

    Args:
      results: the table of results of one run, with its column `dilation`.
      dilations: that the run asks for; those that its table has, if not given.

    Returns:
      Columns level, density, control, replicate and `d_star`, NaN where no dilation matched.

    References:
      Frankle 2023, section 3.3.6 and Figure 3-9.
    """
    metric = result_table.metric(results, metrics.ACCURACY)
    values = result_table.survived(results, metric)
    values = -values if result_table.is_loss(metric) else values
    dense = values[result_table.is_dense(results) & (results["dilation"] == 1)].mean()
    groups = [results[key] for key in _NETWORK]
    matched = results["dilation"].where(values >= dense).groupby(groups).min()
    trained = results["dilation"].groupby(groups).agg(set)
    asked = {1.0, *(tuple(dilations) or results["dilation"])}
    is_known = [
        {dilation for dilation in asked if not dilation > least} <= trained[network]
        for network, least in matched.items()
    ]
    return matched[is_known].rename("d_star").reset_index()


def without_unknown(least: pd.DataFrame, results: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the least dilations of points all of whose networks are known, and how many are not.

    A point is a control at a density.

    Args:
      least: as `least_dilations` returns them.
      results: the table of results that they are of.
    """
    point = ["density", "control"]
    networks = results.drop_duplicates(_NETWORK).groupby(point).size()
    is_whole = least.groupby(point).size().reindex(networks.index, fill_value=0) == networks
    drawn = least[[is_whole[density, control] for density, control in least[point].to_numpy()]]
    return drawn, int((~is_whole).sum())
