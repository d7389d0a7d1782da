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


class Seen(NamedTuple):
    """How a network is seen by all that is summed over examples."""

    model: Model
    normalize: Callable[..., jax.Array]  # (images, mean, std) -> inputs
    tasks: Tasks = ()  # outputs of each task, () for a single one


class Evaluation(NamedTuple):
    """Loss and accuracy on one split."""

    loss: jax.Array  # () mean cross-entropy, nats; summed over tasks
    accuracy: jax.Array  # () in [0, 1]; mean over tasks


class Tally(NamedTuple):
    """Sums over examples, that add up over batches."""

    loss: jax.Array  # () or (tasks,), sum of cross-entropies, nats
    right: jax.Array  # () or (tasks,), number of labels found; one an example for each task


class Apart(NamedTuple):
    """How far apart two networks are on examples; adds up over batches."""

    classes: jax.Array  # () number of examples classified differently, in any task
    losses: jax.Array  # () sum of squared differences of cross-entropies, nats squared


class Moments(NamedTuple):
    """Batch statistics of examples, weighted by their number; add up over batches."""

    stats: Any  # a tree like a network's batch statistics, times the examples
    examples: jax.Array  # () their number


def tally(
    seen: Seen, network: Network, mask: masks.Mask, batch: Split, norms: tuple[Any, Any]
) -> Tally:
    """Return the sums of one batch; examples of a negative label count for nothing.

    Args:
      seen: how the network is seen.
      network: its parameters and batch statistics.
      mask: what it keeps.
      batch: images and labels (n,), or (n, tasks).
      norms: mean and standard deviation.
    """
    found, right = _counted(seen, network, mask, batch, norms)
    return Tally(jnp.sum(found), jnp.sum(right, dtype=jnp.int32))


def by_task(
    seen: Seen, network: Network, mask: masks.Mask, batch: Split, norms: tuple[Any, Any]
) -> Tally:
    """Return the sums of one batch for each task, (tasks,) each; see `tally`."""
    found, right = _counted(seen, network, mask, batch, norms)
    shape = (-1, max(1, len(seen.tasks)))
    losses_of, right_of = found.reshape(shape), right.reshape(shape)
    return Tally(jnp.sum(losses_of, axis=0), jnp.sum(right_of, axis=0, dtype=jnp.int32))


def apart(
    seen: Seen,
    pair: tuple[Network, Network],
    mask: masks.Mask,
    batch: Split,
    norms: tuple[Any, Any],
) -> Apart:
    """Return how far apart two networks are on one batch; see `tally`."""
    inputs = seen.normalize(jnp.asarray(batch.images), *norms)
    (found, classes), (others, other_classes) = (
        _outcomes(seen, network, mask, inputs, batch.labels) for network in pair
    )
    counts = batch.labels >= 0
    differing, gaps = counts & (classes != other_classes), found - others
    if gaps.ndim == 2:
        differing = jnp.any(differing, axis=-1)
        gaps, counts = jnp.sum(jnp.where(counts, gaps, 0), axis=-1), jnp.any(counts, axis=-1)
    squares = jnp.where(counts, jnp.square(gaps), 0)
    return Apart(jnp.sum(differing, dtype=jnp.int32), jnp.sum(squares))


def moments(
    seen: Seen, network: Network, mask: masks.Mask, batch: Split, norms: tuple[Any, Any]
) -> Moments:
    """Return the batch statistics that one batch alone gives a network; its own do not matter.

    All examples count: batches must not be filled up.
    """
    masked = masks.apply(network.params, mask)
    inputs = seen.normalize(jnp.asarray(batch.images), *norms)

    def after(stats: Any) -> Any:
        return seen.model.apply(Network(masked, stats), inputs, True)[1]

    # Running statistics become keep * old + (1 - keep) * those of the batch; XLA computes the
    # network once for both.
    zeros = jax.tree.map(jnp.zeros_like, network.stats)
    ones = jax.tree.map(jnp.ones_like, network.stats)
    count = jnp.float32(batch.labels.shape[0])
    stats = jax.tree.map(
        lambda zero, one: count * zero / (1 - (one - zero)), *map(after, (zeros, ones))
    )
    return Moments(stats, count)


def _counted(
    seen: Seen, network: Network, mask: masks.Mask, batch: Split, norms: tuple[Any, Any]
) -> tuple[jax.Array, Any]:
    """Return the cross-entropy of each label, 0 of a negative one, and whether it was found."""
    inputs = seen.normalize(jnp.asarray(batch.images), *norms)
    found, classes = _outcomes(seen, network, mask, inputs, batch.labels)
    counts = batch.labels >= 0
    right = counts & (classes == batch.labels)
    return jnp.where(counts, found, 0), right


def _outcomes(
    seen: Seen, network: Network, mask: masks.Mask, inputs: jax.Array, labels: Any
) -> tuple[jax.Array, jax.Array]:
    """Return the cross-entropy of each label, and the class taken for it."""
    masked = network._replace(params=masks.apply(network.params, mask))
    logits, _ = seen.model.apply(masked, inputs, False)
    each = losses.each(logits, jnp.maximum(labels, 0), seen.tasks)
    return each, losses.guesses(logits, seen.tasks)


def mean(sums: Tally, count: int, *, tasks: int = 1) -> Evaluation:
    """Return loss and accuracy over `count` examples with a label for each of so many tasks."""
    # Behind the barrier, or XLA multiplies by 1 / count and 1.0 comes out as 0.99999994.
    divisor = jax.lax.optimization_barrier(jnp.float32(count))
    labels = divisor if tasks == 1 else jax.lax.optimization_barrier(jnp.float32(count * tasks))
    return Evaluation(sums.loss / divisor, sums.right.astype(jnp.float32) / labels)


def total(sums: Iterable[S]) -> S:
    """Return the sums over several batches, in NumPy."""
    found: Any = None
    for each in sums:
        here = jax.tree.map(np.asarray, each)
        found = here if found is None else jax.tree.map(operator.add, found, here)
    return found


def divided(sums: Tally, count: int, *, tasks: int = 1) -> Evaluation:
    """Return loss and accuracy over `count` examples, in NumPy; see `mean`."""
    loss, accuracy = np.float32(sums.loss / count), np.float32(sums.right / (count * tasks))
    return Evaluation(loss, accuracy)  # type: ignore[arg-type]


def labels_each(split: Split) -> int:
    """Return how many labels each example of a split has."""
    return math.prod(split.labels.shape[1:])


def scanned(sums: Callable[[Split], S], split: Split, *, size: int = SCANNED_BATCH) -> S:
    """Return the sums over a split, within one compiled function; the last batch is smaller."""
    count = split.labels.shape[0]
    whole = count // size
    cut = whole * size
    parts = []
    if whole:
        shaped = jax.tree.map(lambda a: a[:cut].reshape((whole, size, *a.shape[1:])), split)
        parts.append(jax.tree.map(lambda a: a.sum(0), jax.lax.map(sums, shaped)))
    if cut < count:
        parts.append(sums(jax.tree.map(lambda a: a[cut:], split)))
    return jax.tree.map(lambda *a: sum(a), *parts)
