"""Loss and accuracy of a network on a split, in batches that fit into memory.

The accuracy is 1 minus the mean error; None where the objective defines no error. Of several tasks
the loss is the sum over them, the accuracy the mean over them; see `losses`.
"""

import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import masks
from jaxlth.data import Split, packing
from jaxlth.models import BatchAxis, Model, Network
from jaxlth.training import losses
from jaxlth.training.losses import Objective, Outcomes

SCANNED_BATCH = 2000  # examples at once: bounds memory, not results
LOOPED_BATCH = 500  # likewise, where activations are large

S = TypeVar("S")


class Classifier(NamedTuple):
    """What evaluates images and labels, but for the parameters: model, inputs and objective."""

    model: Model
    normalize: Callable[..., jax.Array]  # (images, mean, std) -> inputs
    objective: Objective = losses.objective()


class Evaluation(NamedTuple):
    """Loss and accuracy on one split."""

    loss: jax.Array  # () mean over examples; of cross-entropy in nats, summed over tasks
    accuracy: jax.Array | None  # () in [0, 1]; mean over tasks


class MetricSums(NamedTuple):
    """Sums over examples, that add up over batches."""

    loss: jax.Array  # () or (tasks,)
    correct: (
        jax.Array | None
    )  # () or (tasks,), int32 number of correct labels; or 1 minus the error


class Disagreement(NamedTuple):
    """How much two networks disagree on examples; adds up over batches."""

    classes: jax.Array | None  # () number of examples classified differently, in any task
    losses: jax.Array  # () sum of squared differences of losses


class BatchStatsSums(NamedTuple):
    """Batch statistics of examples, weighted by their number; add up over batches."""

    stats: Any  # a tree like a network's batch statistics, times the examples
    examples: jax.Array  # () their number


def metric_sums(
    classifier: Classifier,
    network: Network,
    mask: masks.Mask,
    batch: Split,
    mean_std: tuple[Any, Any],
) -> MetricSums:
    """Return the sums of one batch; examples of a negative class number count for nothing.

    Args:
      classifier: the model, with its inputs and its objective.
      network: its parameters and batch statistics.
      mask: of its parameters.
      batch: images and labels, as the objective takes them.
      mean_std: mean and standard deviation of the data.
    """
    outcomes = _outcomes(classifier, network, mask, batch, mean_std)
    return MetricSums(jnp.sum(outcomes.losses), _count(outcomes.correct))


def metric_sums_by_task(
    classifier: Classifier,
    network: Network,
    mask: masks.Mask,
    batch: Split,
    mean_std: tuple[Any, Any],
) -> MetricSums:
    """Return the sums of one batch for each task, (tasks,) each; see `metric_sums`."""
    outcomes = _outcomes(classifier, network, mask, batch, mean_std)
    shape = (-1, classifier.objective.labels_per_example)
    by_task = jax.tree.map(lambda values: values.reshape(shape), outcomes)
    return MetricSums(jnp.sum(by_task.losses, axis=0), _count(by_task.correct, axis=0))


def disagreement(
    classifier: Classifier,
    pair: tuple[Network, Network],
    mask: masks.Mask,
    batch: Split,
    mean_std: tuple[Any, Any],
) -> Disagreement:
    """Return the disagreement of two networks on one batch; see `metric_sums`."""
    objective = classifier.objective
    inputs = classifier.normalize(packing.unpack(batch.images), *mean_std)
    outputs, other_outputs = (_outputs(classifier, network, mask, inputs) for network in pair)
    gaps = (
        objective.outcomes(outputs, batch.labels).losses
        - objective.outcomes(other_outputs, batch.labels).losses
    )
    squares = jnp.square(gaps if gaps.ndim == 1 else jnp.sum(gaps, axis=-1))
    differences = objective.differences
    differ = None if differences is None else differences(outputs, other_outputs, batch.labels)
    return Disagreement(_count(differ), jnp.sum(squares))


def batch_stats_sums(
    classifier: Classifier,
    network: Network,
    mask: masks.Mask,
    batch: Split,
    mean_std: tuple[Any, Any],
) -> BatchStatsSums:
    """Return the batch statistics that one batch alone gives a network; its own do not matter.

    All examples count: batches must not be filled up.
    """
    masked = masks.apply(network.params, mask)
    inputs = classifier.normalize(packing.unpack(batch.images), *mean_std)

    def after(stats: Any) -> Any:
        return classifier.model.apply(Network(masked, stats), inputs, True)[1]

    # Running statistics become keep * old + (1 - keep) * those of the batch; XLA computes the
    # network once for both.
    zeros = jax.tree.map(jnp.zeros_like, network.stats)
    ones = jax.tree.map(jnp.ones_like, network.stats)
    count = jnp.float32(batch.labels.shape[0])
    stats = jax.tree.map(
        lambda zero, one: count * zero / (1 - (one - zero)), *map(after, (zeros, ones))
    )
    return BatchStatsSums(stats, count)


def of_ticket(function: Callable[..., S], classifier: Classifier) -> Callable[..., S]:
    """Return a function of sums, such as `metric_sums`, as `Compiled.make_sums` takes it."""
    return lambda ticket, batch, mean_std: function(classifier, *ticket, batch, mean_std)


def _outcomes(
    classifier: Classifier,
    network: Network,
    mask: masks.Mask,
    batch: Split,
    mean_std: tuple[Any, Any],
) -> Outcomes:
    """Return the outcomes of one batch."""
    inputs = classifier.normalize(packing.unpack(batch.images), *mean_std)
    outputs = _outputs(classifier, network, mask, inputs)
    return classifier.objective.outcomes(outputs, batch.labels)


def _outputs(classifier: Classifier, network: Network, mask: masks.Mask, inputs: Any) -> Any:
    """Return the outputs of a network in evaluation mode."""
    masked = network._replace(params=masks.apply(network.params, mask))
    return classifier.model.apply(masked, inputs, False)[0]


def _count(values: jax.Array | None, axis: int | None = None) -> jax.Array | None:
    """Return the sum of values in [0, 1], exact if they are bool."""
    if values is None:
        return None
    return jnp.sum(values, axis=axis, dtype=jnp.int32 if values.dtype == bool else None)


def mean(sums: MetricSums, count: int, *, labels: int = 1) -> Evaluation:
    """Return loss and accuracy over `count` examples, each with so many labels."""
    # Behind the barrier, or XLA multiplies by 1 / count and 1.0 comes out as 0.99999994.
    divisor = jax.lax.optimization_barrier(jnp.float32(count))
    all_labels = (
        divisor if labels == 1 else jax.lax.optimization_barrier(jnp.float32(count * labels))
    )
    accuracy = None if sums.correct is None else sums.correct.astype(jnp.float32) / all_labels
    return Evaluation(sums.loss / divisor, accuracy)


def total(sums: Iterable[S]) -> S:
    """Return the sums over several batches, in NumPy."""
    result: Any = None
    for batch in sums:
        batch_sums = jax.tree.map(np.asarray, batch)
        result = batch_sums if result is None else jax.tree.map(operator.add, result, batch_sums)
    return result


def mean_numpy(sums: MetricSums, count: int, *, labels: int = 1) -> Evaluation:
    """Return loss and accuracy over `count` examples, in NumPy; see `mean`."""
    accuracy = None if sums.correct is None else np.float32(sums.correct / (count * labels))
    return Evaluation(np.float32(sums.loss / count), accuracy)  # type: ignore[arg-type]


def sum_over_devices(sums: Callable[[Split], S], split: Split) -> S:
    """Return the sums over a split, of which each device that shares batches sums a part."""
    axis = BatchAxis()
    devices, count = axis.devices, split.labels.shape[0]
    if devices == 1:
        return sum_over_split(sums, split)
    end = count // devices * devices
    parts = []
    if end:
        own_part = axis.part(jax.tree.map(lambda a: a[:end], split))
        parts.append(axis.sum(sum_over_split(sums, own_part)))
    if end < count:
        parts.append(sums(jax.tree.map(lambda a: a[end:], split)))
    return jax.tree.map(lambda *a: sum(a), *parts)


def sum_over_split(sums: Callable[[Split], S], split: Split, *, size: int = SCANNED_BATCH) -> S:
    """Return the sums over a split, within one compiled function; the last batch is smaller."""
    count = split.labels.shape[0]
    num_batches = count // size
    whole_end = num_batches * size
    parts = []
    if num_batches:
        shaped = jax.tree.map(
            lambda a: a[:whole_end].reshape((num_batches, size, *a.shape[1:])), split
        )
        parts.append(jax.tree.map(lambda a: a.sum(0), jax.lax.map(sums, shaped)))
    if whole_end < count:
        parts.append(sums(jax.tree.map(lambda a: a[whole_end:], split)))
    return jax.tree.map(lambda *a: sum(a), *parts)
