"""How trained networks compare: along the lines between them, by their weights and outputs.

Networks are evaluated in groups, as a layout places them: the points of a line side by side where
that is faster. Errors and losses are those of the test split ("test") and of examples evenly spaced
over the training split ("train"); there are no errors where the loss has none, as of a regression.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxlth import landscape, masks
from jaxlth.data import Split
from jaxlth.models import Network
from jaxlth.studies.compiled_training import CompiledTraining
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.train import Ticket
from jaxlth.training import evaluation, fit
from jaxlth.training.execution import Layout

SPLITS = ("test", "train")
Metrics = dict[str, np.ndarray]  # {"test_error": (n,) in [0, 1], "test_loss": (n,), likewise train}


class LineEvaluator:
    """The line between two networks, evaluated point by point."""

    def __init__(
        self,
        experiment: LoadedExperiment,
        compiled_training: CompiledTraining,
        *,
        points: int,
        estimate: bool,
    ) -> None:
        """Compile what evaluates networks.

        Args:
          experiment: its network and its data.
          compiled_training: how its networks are placed.
          points: of a line, ends included.
          estimate: whether batch statistics are taken anew at each point.
        """
        experiment.check_classes("Networks are compared by their classes on")
        self.alphas = landscape.alphas(points)
        self._estimate = estimate
        self._group = _Group(experiment, compiled_training, points)
        self._single = _Group(experiment, compiled_training, 1)

    def along(self, a: Network, b: Network, mask: masks.Mask) -> Iterator[Metrics]:
        """Yield errors and losses of the points from `a` to `b`, group after group."""
        group = self._group
        placed_masks = group.layout.place([mask])
        ends = group.layout.share((a, b))
        for first in range(0, len(self.alphas), group.layout.size):
            places = self.alphas[first : first + group.layout.size]
            networks = group.between(*ends, group.layout.place(list(places)))
            if self._estimate:
                networks = group.estimated(networks, placed_masks)
            yield group.metrics(networks, placed_masks, len(places))

    def of_network(self, start: Ticket, *, estimate: bool = False) -> dict[str, float | None]:
        """Return errors and losses of one network."""
        group = self._single
        network, mask = group.layout.place([start.network]), group.layout.place([start.mask])
        if estimate and self._estimate:
            network = group.estimated(network, mask)
        metrics = group.metrics(network, mask, 1)
        return {name: fit.number(values[0]) for name, values in metrics.items()}

    def apart(self, a: Network, b: Network, mask: masks.Mask) -> dict[str, float]:
        """Return how far apart two networks are, in the columns of the table of results."""
        distances = {
            "l2_distance": float(landscape.l2_distance(a.params, b.params, mask=mask)),
            "cosine_distance": float(landscape.cosine_distance(a.params, b.params, mask=mask)),
        }
        for name, (classes, losses) in self._single.apart(a, b, mask).items():
            distances |= {} if classes is None else {f"{name}_differences": int(classes)}
            distances[f"{name}_loss_l2"] = float(np.sqrt(losses))
        return distances


class _Group:
    """What evaluates a group of networks."""

    def __init__(
        self, experiment: LoadedExperiment, compiled_training: CompiledTraining, networks: int
    ) -> None:
        self.layout = compiled_training.layout(networks)
        compiled, dataset = (
            compiled_training.compiled(self.layout),
            experiment.device_data.shared(self.layout),
        )
        self._splits = {"test": dataset.test, "train": compiled.train_subset(dataset)}
        self._mean_std = dataset.mean, dataset.std
        self.between = experiment.memo(
            Layout.map, self.layout, landscape.interpolate, (None, None, 0)
        )
        summing = functools.partial(compiled_training.sums, self.layout, experiment.classifier)
        self._sums_of_metrics = summing(evaluation.metric_sums)
        self._disagreements = summing(evaluation.disagreement)
        self._statistics = summing(evaluation.batch_stats_sums)

    def metrics(self, networks: Any, placed_masks: Any, count: int) -> Metrics:
        """Return errors and losses of the first `count` networks of a group, on each split."""
        metrics = {}
        for name, split in self._splits.items():
            sums = self._sums_of_metrics((networks, placed_masks), split, self._mean_std)
            losses, correct = zip(*self.layout.take(sums, count), strict=True)
            if correct[0] is not None:  # else no error is defined
                metrics[f"{name}_error"] = 1 - np.array(correct, float) / _examples(split)
            metrics[f"{name}_loss"] = np.array(losses, float) / _examples(split)
        return metrics

    def apart(self, a: Network, b: Network, mask: masks.Mask) -> dict[str, Any]:
        """Return, for each split, what `evaluation.disagreement` sums up."""
        trees = self.layout.place([((a, b), mask)])
        return {
            name: self.layout.take(self._disagreements(trees, split, self._mean_std), 1)[0]
            for name, split in self._splits.items()
        }

    def estimated(self, networks: Any, placed_masks: Any) -> Any:
        """Return networks with the batch statistics of examples of training."""
        sums = self._statistics((networks, placed_masks), self._splits["train"], self._mean_std)
        counts = np.asarray(sums.examples)

        def mean(leaf: Any) -> np.ndarray:
            return np.asarray(leaf) / counts.reshape(counts.shape + (1,) * (np.ndim(leaf) - 2))

        return networks._replace(stats=self.layout.put(jax.tree.map(mean, sums.stats)))


def _examples(split: Any) -> int:
    return len(split.labels) if isinstance(split, Split) else split.examples
