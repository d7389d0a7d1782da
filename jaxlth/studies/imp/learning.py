"""Speed of learning: the least dilation of training that reaches the dense accuracy."""

import pandas as pd

from jaxlth.plots import result_table
from jaxlth.studies import metrics


def least_dilations(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each network that was trained at the least dilation of its run, with its d*.

    A network matches at a dilation if its test accuracy is at least the mean of the dense networks
    trained undilated, those that diverged aside; without an accuracy, if its test loss is at most
    their mean. Training as long as the settings say counts as the
    dilation 1.

    Args:
      results: the table of results of one run, with its column `dilation`.

    Returns:
      Columns level, density, control, replicate and `d_star`, NaN where no dilation matched.

    References:
      Frankle 2023, section 3.3.6 and Figure 3-9.
    """
    metric = result_table.metric(results, metrics.ACCURACY)
    values = result_table.survived(results, metric)
    values = -values if result_table.is_loss(metric) else values
    dense = values[result_table.is_dense(results) & (results["dilation"] == 1)].mean()
    keys = ["level", "density", "control", "replicate"]
    groups = [results[key] for key in keys]
    matched = results["dilation"].where(values >= dense).groupby(groups).min()
    least = results["dilation"].groupby(groups).min()
    return matched[least == results["dilation"].min()].rename("d_star").reset_index()
