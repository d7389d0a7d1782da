"""Speed of learning: the least dilation of training at which a network reaches the dense accuracy."""

import pandas as pd


def least_dilations(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each network that was trained dilated, with its d*.

    A network matches at a dilation if its test accuracy is at least the mean of the dense networks
    trained undilated.

    Args:
      results: the table of results of one run, with its column `dilation`.

    Returns:
      Columns level, density, control, replicate and `d_star`, NaN where no dilation matched.

    References:
      Frankle 2023, section 3.3.6 and Figure 3-9.
    """
    undilated = results[results["dilation"] == 1]
    dense = undilated.loc[undilated["level"] == 0, "test_accuracy"].mean()
    dilated = results[results["unit"].str.startswith("dilation_")]
    keys = ["level", "density", "control", "replicate"]
    matched = dilated["dilation"].where(dilated["test_accuracy"] >= dense)
    least = matched.groupby([dilated[key] for key in keys]).min()
    return least.rename("d_star").reset_index()
