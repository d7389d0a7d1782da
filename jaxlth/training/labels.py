"""Labels that a loss by name can take."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxlth.training import cross_entropy
from jaxlth.training.losses import LossError, Objective, Tasks

LABELS_AT_ONCE = 1_000_000  # that are read: bounds memory


def check(objective: Objective, labels: Any, outputs: Any) -> None:
    """Raise unless a loss by name can take the labels of a split.

    Args:
      objective: what is checked; a function takes any labels.
      labels: an array with its values, which may be larger than memory.
      outputs: of a network, a `jax.ShapeDtypeStruct` for any number of examples.

    Raises:
      LossError: a label is no class, which the message names with the number of outputs; an example
        has no token; or labels are not of the kind of the loss.
    """
    if not objective.name:
        return
    is_float = jnp.issubdtype(labels.dtype, jnp.floating)
    if is_float == objective.class_labels:
        kind = "whole numbers" if objective.class_labels else "floats"
        raise LossError(
            f"`loss` {objective.name} needs labels that are {kind}; got {labels.dtype}."
        )
    rows = max(1, LABELS_AT_ONCE // max(1, math.prod(labels.shape[1:])))
    for first in range(0, len(labels), rows):
        part = np.asarray(labels[first : first + rows])
        if not objective.class_labels:
            _check_finite(part)
        elif objective.name == "next-token":
            _check_tokens(part, outputs.shape[-1])
        else:
            _check_classes(part, _outputs_of_tasks(objective, outputs.shape[-1]))


def _outputs_of_tasks(objective: Objective, outputs: int) -> Tasks:
    """Return the outputs of each task, of a network with so many."""
    if cross_entropy.is_single_softmax(objective.tasks):
        return (outputs,)  # which may be more, or fewer, than the classes of the data
    if sum(objective.tasks) != outputs:
        raise LossError(
            f"`loss` cross-entropy needs {sum(objective.tasks)} outputs, those of all tasks; got "
            f"{outputs}."
        )
    return objective.tasks


def _check_finite(labels: np.ndarray) -> None:
    wrong = labels[~np.isfinite(labels)]
    if wrong.size:
        raise LossError(f"`loss` squared-error needs finite labels; got the label {wrong.flat[0]}.")


def _check_tokens(labels: np.ndarray, classes: int) -> None:
    wrong = labels[labels >= classes]
    if wrong.size:
        raise LossError(
            f"`loss` next-token needs labels below {classes}, the number of outputs; got the label "
            f"{wrong.flat[0]}."
        )
    if np.any(labels.max(axis=-1) < 0):
        raise LossError("`loss` next-token needs a label in each example that is not negative.")


def _check_classes(labels: np.ndarray, tasks: Tasks) -> None:
    for outputs, column in zip(tasks, labels.reshape(len(labels), -1).T, strict=True):
        classes = max(outputs, 2)  # a task of one output has two
        wrong = column[(column < 0) | (column >= classes)]
        if wrong.size:
            raise LossError(
                f"`loss` cross-entropy needs labels in 0..{classes - 1}, classes of {outputs} "
                f"output{'s' * (outputs > 1)}; got the label {wrong[0]}."
            )
