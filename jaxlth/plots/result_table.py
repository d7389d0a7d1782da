"""The table of results: its controls, dense networks, and checks of its columns.

The table has one row per network trained; level 0 holds the dense networks, as control "ticket".
"""

import pandas as pd

from jaxlth.plots.control_styles import sort_controls

NONE = pd.Series(dtype=float)  # a column without values


def percent(density: float) -> str:
    """Return a density in percent as the papers print it, without the sign.

    Example:
      >>> [percent(density) for density in (1, 0.512, 0.262, 0.0687, 0.0352, 0.0035)]
      ['100', '51.2', '26.2', '6.9', '3.5', '0.35']
    """
    value = 100 * density
    return f"{value:.3g}" if value >= 9.95 else f"{value:.2g}"


def of_levels(results: pd.DataFrame) -> pd.DataFrame:
    """Return results in which each level has one density, the median of its networks.

    They differ with All-alive pruning. A table that has several rows of a network, as one of a
    user's own study with several densities at a level, is returned as it is.
    """
    if results.duplicated(["replicate", "level", "control"]).any():
        return results
    return results.assign(density=results.groupby("level")["density"].transform("median"))


def metric(results: pd.DataFrame, name: str) -> str:
    """Return the metric that a table has for an accuracy: the loss, where no accuracy is defined.

    A run has no accuracy where its loss, such as the squared error, says nothing of right and wrong
    outputs: no network of it has a test accuracy. If all its networks diverged, the test losses are
    missing too.

    Args:
      results: a table of results or of curves.
      name: an accuracy, "test_accuracy" for instance.

    Example:
      >>> metric(pd.DataFrame({"test_accuracy": [None], "test_loss": [0.5]}), "test_accuracy")
      'test_loss'
    """
    is_defined = results.get("test_accuracy", NONE).notna().any()
    is_defined |= results.empty or "test_loss" not in results
    return name if is_defined else name.replace("accuracy", "loss")


def is_loss(metric: str) -> bool:
    """Return whether a metric is a loss, of which less is better."""
    return metric.endswith("loss")


def scale(metric: str) -> tuple[int, str]:
    """Return the factor by which a metric is shown, and what follows the number.

    Example:
      >>> scale("test_accuracy"), scale("test_loss")
      ((100, ' %'), (1, ''))
    """
    return (1, "") if is_loss(metric) else (100, " %")


def controls(results: pd.DataFrame) -> list[str]:
    """Return the controls that occur, in the order in which they are listed."""
    return sort_controls(list(pd.unique(results["control"])))


def check(results: pd.DataFrame, metric: str, *, dense: bool = True) -> None:
    """Raise ValueError unless `results` are one run, with this metric and dense networks."""
    kinds = ("accuracy", "loss")
    if not metric.endswith(kinds) or metric not in results.columns:
        metrics = ", ".join(column for column in results.columns if column.endswith(kinds))
        raise ValueError(f"`metric` must be one of {metrics}; got {metric!r}.")
    if dense and not is_dense(results).any():
        raise ValueError("`results` hold no dense network (level 0, control 'ticket').")
    densities = results.groupby("level")["density"]
    is_duplicate = results.duplicated(["replicate", "level", "control"])
    # All-alive pruning may leave replicates of one run with other counts.
    has_one_run = "run" in results and results["run"].nunique() == 1
    differ = not has_one_run and (densities.max() - densities.min() > 1e-6).any()
    if is_duplicate.any() or differ:
        raise ValueError(
            "`results` must be of one run; here a level has two densities or a network two rows."
        )
    diverged = results.get("nan_step", NONE).notna()
    if results[metric].isna().all() and not (len(diverged) and diverged.all()):
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
