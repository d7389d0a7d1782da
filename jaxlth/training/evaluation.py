"""Loss and accuracy of a network on a split, in batches that fit into memory.

Of several tasks the loss is the sum over them, the accuracy the mean over them; see `losses`.
"""

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import masks
from jaxlth.data import Split
from jaxlth.models import Model, Network
from jaxlth.training import losses
from jaxlth.training.losses import Tasks

SCANNED_BATCH = 2000  # examples at once: bounds memory, not results
LOOPED_BATCH = 500  # likewise, where activations are large

S = TypeVar("S")


class Classifier(NamedTuple):
    """What turns images into logits, but for the parameters: a model and its inputs and tasks."""

    model: Model
    normalize: Callable[..., jax.Array]  # (images, mean, std) -> inputs
    tasks: Tasks = ()  # outputs of each task, () for a single one


class Evaluation(NamedTuple):
    """Loss and accuracy on one split."""

    loss: jax.Array  # () mean cross-entropy, nats; summed over tasks
    accuracy: jax.Array  # () in [0, 1]; mean over tasks


class MetricSums(NamedTuple):
    """Sums over examples, that add up over batches."""

    loss: jax.Array  # () or (tasks,), sum of cross-entropies, nats
    correct: jax.Array  # () or (tasks,), number of correct labels; one an example for each task


class Disagreement(NamedTuple):
    """How much two networks disagree on examples; adds up over batches."""

    classes: jax.Array  # () number of examples classified differently, in any task
    losses: jax.Array  # () sum of squared differences of cross-entropies, nats squared


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
    """Return the sums of one batch; examples of a negative label count for nothing.

    Args:
      classifier: the model, with its inputs and tasks.
      network: its parameters and batch statistics.
      mask: of its parameters.
      batch: images and labels (n,), or (n, tasks).
      mean_std: mean and standard deviation of the data.
    """
    entropies, correct = _entropies_and_correct(classifier, network, mask, batch, mean_std)
    return MetricSums(jnp.sum(entropies), jnp.sum(correct, dtype=jnp.int32))


def metric_sums_by_task(
    classifier: Classifier,
    network: Network,
    mask: masks.Mask,
    batch: Split,
    mean_std: tuple[Any, Any],
) -> MetricSums:
    """Return the sums of one batch for each task, (tasks,) each; see `metric_sums`."""
    entropies, correct = _entropies_and_correct(classifier, network, mask, batch, mean_std)
    shape = (-1, max(1, len(classifier.tasks)))
    entropies_by_task, correct_by_task = entropies.reshape(shape), correct.reshape(shape)
    return MetricSums(
        jnp.sum(entropies_by_task, axis=0), jnp.sum(correct_by_task, axis=0, dtype=jnp.int32)
    )


def disagreement(
    classifier: Classifier,
    pair: tuple[Network, Network],
    mask: masks.Mask,
    batch: Split,
    mean_std: tuple[Any, Any],
) -> Disagreement:
    """Return the disagreement of two networks on one batch; see `metric_sums`."""
    inputs = classifier.normalize(jax.tree.map(jnp.asarray, batch.images), *mean_std)
    (entropies, classes), (other_entropies, other_classes) = (
        _entropies_and_classes(classifier, network, mask, inputs, batch.labels) for network in pair
    )
    counts = batch.labels >= 0
    disagree, gaps = counts & (classes != other_classes), entropies - other_entropies
    if gaps.ndim == 2:
        disagree = jnp.any(disagree, axis=-1)
        gaps, counts = jnp.sum(jnp.where(counts, gaps, 0), axis=-1), jnp.any(counts, axis=-1)
    squares = jnp.where(counts, jnp.square(gaps), 0)
    return Disagreement(jnp.sum(disagree, dtype=jnp.int32), jnp.sum(squares))


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
    inputs = classifier.normalize(jax.tree.map(jnp.asarray, batch.images), *mean_std)

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


def _entropies_and_correct(
    classifier: Classifier,
    network: Network,
    mask: masks.Mask,
    batch: Split,
    mean_std: tuple[Any, Any],
) -> tuple[jax.Array, Any]:
    """Return the cross-entropy of each label, 0 of a negative one, and whether it is correct."""
    inputs = classifier.normalize(jax.tree.map(jnp.asarray, batch.images), *mean_std)
    entropies, classes = _entropies_and_classes(classifier, network, mask, inputs, batch.labels)
    counts = batch.labels >= 0
    correct = counts & (classes == batch.labels)
    return jnp.where(counts, entropies, 0), correct


def _entropies_and_classes(
    classifier: Classifier, network: Network, mask: masks.Mask, inputs: jax.Array, labels: Any
) -> tuple[jax.Array, jax.Array]:
    """Return the cross-entropy of each label, and the predicted class."""
    masked = network._replace(params=masks.apply(network.params, mask))
    logits, _ = classifier.model.apply(masked, inputs, False)
    entropies = losses.per_label(logits, jnp.maximum(labels, 0), classifier.tasks)
    return entropies, losses.predictions(logits, classifier.tasks)


def mean(sums: MetricSums, count: int, *, tasks: int = 1) -> Evaluation:
    """Return loss and accuracy over `count` examples with a label for each of so many tasks."""
    # Behind the barrier, or XLA multiplies by 1 / count and 1.0 comes out as 0.99999994.
    divisor = jax.lax.optimization_barrier(jnp.float32(count))
    labels = divisor if tasks == 1 else jax.lax.optimization_barrier(jnp.float32(count * tasks))
    return Evaluation(sums.loss / divisor, sums.correct.astype(jnp.float32) / labels)


def total(sums: Iterable[S]) -> S:
    """Return the sums over several batches, in NumPy."""
    result: Any = None
    for batch in sums:
        batch_sums = jax.tree.map(np.asarray, batch)
        result = batch_sums if result is None else jax.tree.map(operator.add, result, batch_sums)
    return result


def mean_numpy(sums: MetricSums, count: int, *, tasks: int = 1) -> Evaluation:
    """Return loss and accuracy over `count` examples, in NumPy; see `mean`."""
    loss, accuracy = np.float32(sums.loss / count), np.float32(sums.correct / (count * tasks))
    return Evaluation(loss, accuracy)  # type: ignore[arg-type]


def labels_per_example(split: Split) -> int:
    """Return the number of labels of each example of a split."""
    return math.prod(split.labels.shape[1:])


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
