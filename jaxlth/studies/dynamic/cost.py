"""What trainings cost: their multiplications, as shares of those of the dense network's training.

A step multiplies by every kept weight three times as often as a forward pass: in the forward pass,
and in the backward pass for activations and for weights. Layers that `exclude` leaves dense count
whole. Scores, optimisers and evaluations do not count.

References:
  Evci et al. 2020, appendix H.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxlth import masks, prune, scores, trees
from jaxlth.models import Network
from jaxlth.studies.loading import LoadedExperiment

SHARED = "params/"  # in front of the names of weights in a `Network`


def multiplications(experiment: LoadedExperiment) -> dict[str, int] | None:
    """Return how often a forward pass multiplies by weights of each kernel, by name.

    Kernels that are never pruned count too, as Evci et al. do. None where that cannot be told, as
    the network uses a prunable tensor in another way.
    """
    model, like = experiment.prunable.model, experiment.prunable.like

    def apply(network: Network, inputs: Any) -> Any:
        return model.apply(network, inputs, False)[0]

    example = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype), experiment.info.example
    )
    counts = scores.multiplications(apply, like, example)
    prunable, kernels = experiment.prunable.left, trees.named(masks.dense(like.params))
    if any(SHARED + name not in counts for name in prunable):
        return None
    names = [name for name in {**prunable, **kernels} if SHARED + name in counts]
    return {name: counts[SHARED + name] for name in names}


def share(mask: masks.Mask, counts: Mapping[str, int]) -> float:
    """Return the multiplications under a mask as a share of those of the dense network."""
    densities = masks.layer_densities(mask)
    taken = sum(densities.get(name, 1.0) * count for name, count in counts.items())
    return taken / sum(counts.values())


def record(
    counts: Mapping[str, int] | None, mask: masks.Mask, cost_of: Callable[[float], float]
) -> dict[str, float | None]:
    """Return what a record says of the cost of a network: None where it cannot be told.

    Args:
      counts: what `multiplications` returns.
      mask: with which the network ends.
      cost_of: share of the multiplications under the mask -> cost.
    """
    return {"flops": None if counts is None else cost_of(share(mask, counts))}


def of_growth(share: float, schedule: prune.Schedule, *, steps: int, dense: bool) -> float:
    """Return the cost of a sparse training with growth, as if it were as long as the dense one.

    Args:
      share: of the multiplications under its mask.
      schedule: when the mask changes.
      steps: length of the training.
      dense: whether growth needs the gradients of all weights, as RigL.

    Example:
      >>> schedule = prune.Schedule(density=0.1, kind="constant", every=5, end=9)
      >>> round(of_growth(0.1, schedule, steps=10, dense=True), 3)
      0.16
    """
    changes = (min(schedule.last, steps - 1) - schedule.begin) // schedule.every + 1
    extra = (1 - share) / 3 if dense else 0.0
    return share + extra * changes / steps
