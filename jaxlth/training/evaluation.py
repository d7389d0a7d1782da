"""Loss and accuracy of a network on a split, in batches that fit into memory."""

import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlth import masks
from jaxlth.data import Split
from jaxlth.models import Model, Network

SCANNED_BATCH = 2000  # examples at once: bounds memory, not results
LOOPED_BATCH = 500  # likewise, where activations are large


class Evaluation(NamedTuple):
    """Loss and accuracy on one split."""

    loss: jax.Array  # () mean cross-entropy, nats
    accuracy: jax.Array  # () in [0, 1]


class Tally(NamedTuple):
    """Sums over examples, that add up over batches."""

    loss: jax.Array  # () sum of cross-entropies, nats
    right: jax.Array  # () number of examples classified rightly


def tally(
    model: Model,
    network: Network,
    mask: masks.Mask,
    batch: Split,
    norms: tuple[Any, Any],
    normalize: Callable[..., jax.Array],
) -> Tally:
    """Return the sums of one batch; examples of a negative label count for nothing."""
    masked = network._replace(params=masks.apply(network.params, mask))
    logits, _ = model.apply(masked, normalize(jnp.asarray(batch.images), *norms), False)
    counts = batch.labels >= 0
    labels = jnp.maximum(batch.labels, 0)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    right = counts & (jnp.argmax(logits, -1) == labels)
    return Tally(jnp.sum(jnp.where(counts, losses, 0)), jnp.sum(right))


def mean(sums: Tally, count: int) -> Evaluation:
    """Return loss and accuracy over `count` examples."""
    # Behind the barrier, or XLA multiplies by 1 / count and 1.0 comes out as 0.99999994.
    divisor = jax.lax.optimization_barrier(jnp.float32(count))
    return Evaluation(sums.loss / divisor, sums.right / divisor)


def summed(sums: Iterable[Tally], count: int) -> Evaluation:
    """Return loss and accuracy over `count` examples, in NumPy, from the sums of their batches."""
    total: Any = None
    for each in sums:
        here = jax.tree.map(np.asarray, each)
        total = here if total is None else jax.tree.map(operator.add, total, here)
    loss, accuracy = (np.float32(part / count) for part in total)
    return Evaluation(loss, accuracy)  # type: ignore[arg-type]


def scanned(sums: Callable[[Split], Tally], split: Split) -> Tally:
    """Return the sums over a split, within one compiled function; the last batch is smaller."""
    count = split.labels.shape[0]
    whole = count // SCANNED_BATCH
    cut = whole * SCANNED_BATCH
    parts = []
    if whole:
        shaped = jax.tree.map(
            lambda a: a[:cut].reshape((whole, SCANNED_BATCH, *a.shape[1:])), split
        )
        parts.append(jax.tree.map(lambda a: a.sum(0), jax.lax.map(sums, shaped)))
    if cut < count:
        parts.append(sums(jax.tree.map(lambda a: a[cut:], split)))
    return jax.tree.map(lambda *a: sum(a), *parts)
