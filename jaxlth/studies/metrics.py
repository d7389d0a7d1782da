"""What networks are compared by, their accuracy or their loss, and how it is printed.

A network *matches* the dense one where its accuracy is at most a tolerance below it. Where no
accuracy is defined, as of a regression, it matches where its test loss exceeds the dense one by at
most the tolerance as a share of the dense loss. It is a share because each loss has its own scale:
squared errors of metres and of millimetres match alike.
"""

import math
from typing import Any

import pandas as pd

from jaxlth.plots import result_table

ACCURACY = "test_accuracy"
_ROUNDING = 1e-9  # so that 0.980 matches 0.982 less 0.002 in floating point


def matching(
    values: pd.Series, dense: float, tolerance: float, metric: str = ACCURACY
) -> pd.Series:
    """Return which accuracies lie at most `tolerance` below that of the dense network.

    Losses lie at most that share of the dense network's loss above it.

    Example:
      >>> matching(pd.Series([0.97, 0.98]), 0.985, 0.01).tolist()
      [False, True]
      >>> matching(pd.Series([40.5, 39.0]), 40.0, 0.01, "test_loss").tolist()
      [False, True]
    """
    if result_table.is_loss(metric):
        return values <= dense + (tolerance + _ROUNDING) * abs(dense)
    return values >= dense - tolerance - _ROUNDING


def best(values: pd.Series, metric: str) -> Any:
    """Return the index of the highest accuracy, or of the least loss."""
    return values.idxmin() if result_table.is_loss(metric) else values.idxmax()


def within(tolerance: float, metric: str = ACCURACY) -> str:
    """Return a tolerance as the end of "matches the dense network"."""
    if result_table.is_loss(metric):
        return f" to within {100 * tolerance:.3g} % of its loss" if tolerance else ""
    points = f"{100 * tolerance:.3g}"
    return f" to within {points} point{'s' if points != '1' else ''}" if tolerance else ""


def number(value: float, metric: str) -> str:
    """Return an accuracy as a percent, or a loss, as it is printed.

    Example:
      >>> number(0.98, "test_accuracy"), number(0.5, "test_loss"), number(12345, "test_loss")
      ('98.00', '0.5000', '12345')
    """
    if not result_table.is_loss(metric):
        return in_percent(value)
    return f"{value:#.4g}" if abs(value) < 1000 else f"{value:.6g}"


def with_unit(value: float, metric: str) -> str:
    """Return an accuracy or a loss as it is printed in a sentence."""
    if result_table.is_loss(metric):
        return f"loss {number(value, metric)}"
    return f"{in_percent(value)} %"


def unit_of(metric: str, token: str = "") -> str:
    """Return in words what the numbers of a table are; `token` is set for language models."""
    if result_table.is_loss(metric):
        return "Test loss, as no accuracy is defined"
    return f"Accuracy{' per ' * bool(token)}{token} in percent"


def below(token: str) -> list[str]:
    """Return what a caption says of the loss in a table of a language model, if it is one."""
    return [f"Below: loss in nats, and bits, per {token}."] if token else []


def loss_and_bits(loss: float) -> str:
    """Return the loss of a language model as it is printed, in nats and in bits.

    Example:
      >>> loss_and_bits(math.log(4))
      '1.386 2.000'
    """
    return f"{loss:.3f} {loss / math.log(2):.3f}"


def in_percent(value: float) -> str:
    """Return an accuracy in percent as it is printed, without the sign."""
    return f"{100 * value:.2f}"
