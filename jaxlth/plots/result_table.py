"""The table of results: its controls, dense networks, and checks of its columns.

The table has one row per network trained; level 0 holds the dense networks, as control "ticket".
"""

import pandas as pd

from jaxlth.plots.control_styles import sort_controls


def percent(density: float) -> str:
    """Return a density in percent as the papers print it, without the sign.

    Example:
      >>> [percent(density) for density in (1, 0.512, 0.262, 0.0687, 0.0352, 0.0035)]
      ['100', '51.2', '26.2', '6.9', '3.5', '0.35']
    """
    value = 100 * density
    return f"{value:.3g}" if value >= 9.95 else f"{value:.2g}"


def controls(results: pd.DataFrame) -> list[str]:
    """Return the controls that occur, in the order in which they are listed."""
    return sort_controls(list(pd.unique(results["control"])))


def check(results: pd.DataFrame, metric: str, *, dense: bool = True) -> None:
    """Raise ValueError unless `results` are one run, with this metric and dense networks."""
    if "accuracy" not in metric or metric not in results.columns:
        accuracies = ", ".join(column for column in results.columns if "accuracy" in column)
        raise ValueError(f"`metric` must be one of {accuracies}; got {metric!r}.")
    if dense and not is_dense(results).any():
        raise ValueError("`results` hold no dense network (level 0, control 'ticket').")
    densities = results.groupby("level")["density"]
    is_duplicate = results.duplicated(["replicate", "level", "control"])
    if is_duplicate.any() or (densities.max() - densities.min() > 1e-6).any():
        raise ValueError(
            "`results` must be of one run; here a level has two densities or a network two rows."
        )
    if results[metric].isna().all():
        raise ValueError(
            f"`{metric}` is missing in every row; validation and best-step numbers need a run with "
            "a validation split."
        )


def is_dense(results: pd.DataFrame) -> pd.Series:
    """Return which rows are dense networks."""
    return (results["level"] == 0) & (results["control"] == "ticket")


def survived(rows: pd.DataFrame, column: str) -> pd.Series:
    """Return a column of numbers as floats, NaN for each network that diverged."""
    return rows[column].astype(float).where(rows["nan_step"].isna())
