"""Masks by threshold, and how good a network is that is masked and not trained."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import masks, trees
from jaxlth.studies.compiled_training import CompiledTraining
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.train import Ticket
from jaxlth.training import evaluation
from jaxlth.training.evaluation import Evaluation
from jaxlth.trees import roles

SPLITS = ("validation", "test")


def keeping(initial: Any, trained: Any, mask: masks.Mask, threshold: Any) -> masks.Mask:
    """Return what is left of a mask: weights whose sign(initial) * trained reaches a threshold.

    So weights are kept that training made large, or left so, without changing their sign. Only
    weights that masks act on are pruned; Rolfs, who speaks of parameters, prunes biases too.

    Args:
      initial: parameters before training.
      trained: parameters after it.
      mask: what may be kept.
      threshold: a number, which may be traced; 0 keeps a weight of 0 too.

    Example:
      >>> mask = {"w": jnp.array([True, True, True])}
      >>> initial, trained = {"w": jnp.array([0.1, 0.2, 0.3])}, {"w": jnp.array([-0.2, 0.05, 0.3])}
      >>> keeping(initial, trained, mask, 0.1)["w"].tolist()
      [False, False, True]

    References:
      Rolfs, section 2.1; Zhou et al. 2019, Deconstructing Lottery Tickets, "large final, same
      sign".
    """

    def leaf(before: Any, after: Any, keep: Any) -> Any:
        return None if keep is None else keep & (jnp.sign(before) * after >= threshold)

    return jax.tree.map(leaf, initial, trained, mask)


def emptied(mask: masks.Mask) -> list[str]:
    """Return the names of the layers of which a mask keeps no weight; biases may all go."""
    return [
        name
        for name, keep in trees.named(mask).items()
        if roles.role(name) != "bias" and not np.any(keep)
    ]


class Untrained:
    """Evaluates many networks at once, as a layout places them."""

    def __init__(
        self, experiment: LoadedExperiment, compiled_training: CompiledTraining, networks: int
    ) -> None:
        """Compile what evaluates so many networks.

        Args:
          experiment: their model and their data.
          compiled_training: how its networks are placed.
          networks: how many there are in all.
        """
        self._layout = compiled_training.layout(networks)
        dataset = experiment.device_data.shared(self._layout)
        self._mean_std = (dataset.mean, dataset.std)
        named = {name: getattr(dataset, name) for name in SPLITS}
        self._splits = {name: split for name, split in named.items() if split is not None}
        self._labels = experiment.objective.labels_per_example
        self._sums = compiled_training.sums(
            self._layout, experiment.classifier, evaluation.metric_sums
        )

    def evaluations(self, starts: Iterable[Ticket]) -> Iterator[dict[str, Evaluation]]:
        """Yield what each network reaches on each split there is, group after group."""
        coming = iter(starts)
        while group := list(itertools.islice(coming, self._layout.size)):
            yield from self._of_group(group)

    def _of_group(self, group: Sequence[Ticket]) -> list[dict[str, Evaluation]]:
        placed = self._layout.place(group)
        by_split: dict[str, list[Evaluation]] = {}
        for name, split in self._splits.items():
            sums = self._layout.take(self._sums(placed, split, self._mean_std), len(group))
            by_split[name] = [
                evaluation.mean_numpy(one, len(split.labels), labels=self._labels) for one in sums
            ]
        return [
            dict(zip(by_split, row, strict=True)) for row in zip(*by_split.values(), strict=True)
        ]


def best_threshold(curve: Mapping[str, Sequence[Any]], split: str) -> int | None:
    """Return the place of the threshold whose untrained network is the most accurate on a split.

    Of equals it is the highest threshold, which keeps the fewest weights. A threshold that empties
    a layer is never chosen.

    Args:
      curve: numbers of each threshold, in increasing order: "emptied", the names of layers, and
        "SPLIT_accuracy".
      split: on which.

    Returns:
      None if every threshold empties a layer.

    Example:
      >>> curve = {"emptied": ["", "", "Dense_0/kernel"], "test_accuracy": [0.5, 0.5, 0.9]}
      >>> best_threshold(curve, "test")
      1
    """
    accuracies = np.array(curve[f"{split}_accuracy"], float)
    whole = [place for place, names in enumerate(curve["emptied"]) if not names]
    return max(whole, key=lambda place: (accuracies[place], place), default=None)
