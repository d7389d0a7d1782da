"""Cross-entropies of the tasks of a network, each with outputs of its own.

A task of several outputs has labels 0, 1, ..., and the softmax of its outputs are the chances of
each. A task of one output has labels 0 and 1, and the sigmoid of its output is the chance of 1.
`tasks` are their numbers of outputs, in a row; one task, or () for all outputs of a network,
has labels (n,), several have labels (n, tasks).
Labels that are no class are refused where their values are known: not within `jax.jit`.

References:
  Burger 2024, section 4.1: tasks side by side.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxlth import settings
from jaxlth.scores import labels as label_values

Tasks: TypeAlias = tuple[int, ...]


def per_label(logits: jax.Array, labels: Any, tasks: Tasks = ()) -> jax.Array:
    """Return the cross-entropy in nats of every label, in the shape of the labels.

    Raises:
      ValueError: the tasks have not as many outputs as there are logits, or a label is no class.
    """
    if is_single_softmax(tasks):
        label_values.check(labels, logits.shape[-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    labels = jnp.asarray(labels)
    columns = jnp.reshape(labels, (-1, len(tasks)))
    for outputs, task_labels in zip(tasks, columns.T, strict=True):
        label_values.check(task_labels, max(outputs, 2))  # a task of one output has two classes
    entropies = [
        optax.sigmoid_binary_cross_entropy(task_logits[:, 0], task_labels.astype(task_logits.dtype))
        if task_logits.shape[-1] == 1
        else optax.softmax_cross_entropy_with_integer_labels(task_logits, task_labels)
        for task_logits, task_labels in zip(_logits_of_tasks(logits, tasks), columns.T, strict=True)
    ]
    return jnp.reshape(jnp.stack(entropies, axis=-1), labels.shape)


def predictions(logits: jax.Array, tasks: Tasks = ()) -> jax.Array:
    """Return the predicted label of each example, (n,) or for several tasks (n, tasks)."""
    if is_single_softmax(tasks):
        return highest(logits)
    labels = [
        (task_logits[:, 0] > 0).astype(jnp.int32)
        if task_logits.shape[-1] == 1
        else highest(task_logits)
        for task_logits in _logits_of_tasks(logits, tasks)
    ]
    return labels[0] if len(labels) == 1 else jnp.stack(labels, axis=-1)


def highest(logits: jax.Array) -> jax.Array:
    """Return the place of the highest logit, over the last axis, of the type that labels have."""
    return jnp.argmax(logits, -1).astype(jnp.int32)


def is_single_softmax(tasks: Tasks) -> bool:
    """Return whether labels are those of a single task, with an output for each class."""
    return len(tasks) <= 1 and 1 not in tasks


def _logits_of_tasks(logits: jax.Array, tasks: Tasks) -> list[jax.Array]:
    """Return the logits of each task, (n, its outputs)."""
    settings.require(
        sum(tasks) == logits.shape[-1],
        f"`tasks` must share out the {logits.shape[-1]} outputs of the network; got {tasks}.",
    )
    ends = [sum(tasks[: place + 1]) for place in range(len(tasks))]
    return [logits[..., end - width : end] for end, width in zip(ends, tasks, strict=True)]
