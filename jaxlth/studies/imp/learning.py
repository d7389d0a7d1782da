"""Speed of learning: the least dilation of training that reaches the dense accuracy."""

import pandas as pd

from jaxlth.plots import result_table


def least_dilations(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each network that was trained at the least dilation of its run, with its d*.

    A network matches at a dilation if its test accuracy is at least the mean of the dense networks
    trained undilated, those that diverged aside. Training as long as the settings say counts as the
    dilation 1.

    Args:
      results: the table of results of one run, with its column `dilation`.

    Returns:
      Columns level, density, control, replicate and `d_star`, NaN where no dilation matched.

    References:
      Frankle 2023, section 3.3.6 and Figure 3-9.
    """
    accuracy = result_table.survived(results, "test_accuracy")
    dense = accuracy[result_table.is_dense(results) & (results["dilation"] == 1)].mean()
    keys = ["level", "density", "control", "replicate"]
    groups = [results[key] for key in keys]
    matched = results["dilation"].where(accuracy >= dense).groupby(groups).min()
    least = results["dilation"].groupby(groups).min()
    return matched[least == results["dilation"].min()].rename("d_star").reset_index()
