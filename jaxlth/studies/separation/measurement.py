"""What the graph of a pruned network says, and its errors task by task."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxlth import data, graphs, masks, trees
from jaxlth.data import Dataset, Split
from jaxlth.models import Network
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.train import Ticket
from jaxlth.training import evaluation
from jaxlth.training.evaluation import Classifier


class Measurement:
    """Measures the networks of an experiment with several tasks."""

    def __init__(self, experiment: LoadedExperiment) -> None:
        self._experiment = experiment
        self._config = experiment.prunable.config
        self._tasks = [graphs.Task(*task) for task in data.tasks(experiment.info)]
        self._names = task_names(experiment.info.name)
        self._by_task = jax.jit(experiment.memo(_by_task, experiment.classifier))

    def __call__(self, ticket: Ticket) -> Mapping[str, Any]:
        """Return what a network's graph says, and its errors on the test split task by task."""
        categories = self._categories(ticket.mask)
        parts = graphs.components(categories)
        covered = graphs.coverage(parts, self._tasks, by=self._config.coverage)
        weights = tuple(self._prunable(categories).values())  # so that they add up to those kept
        count = {
            name: {
                each: getattr(graphs.count(of), each) for each in ("active", "inactive", "zombie")
            }
            for name, of in (("weights", weights), ("units", categories.units))
        }
        return {
            "state": graphs.state(covered),
            "subnetworks": parts.number,
            **count,
            "widths": [len(units) for units in categories.units],
            "coverage": np.round(covered, 6).tolist(),
            "decided_by_outputs": self._decided(categories, "outputs"),
            "decided_by_inputs": self._decided(categories, "inputs"),
            "tasks": self._on_test(ticket),
        }

    def _decided(self, categories: graphs.Categories, by: Any) -> list[float | None]:
        shares = graphs.degrees_of_separation(categories, self._tasks, by=by)
        return [None if math.isnan(share) else round(share, 6) for share in shares]

    def _on_test(self, ticket: Ticket) -> dict[str, Any]:
        """Return loss and accuracy of each task on the test split."""
        dataset = self._experiment.device_data.dataset
        assert isinstance(dataset, Dataset)  # as `prepare` saw to
        sums = self._by_task(ticket.network, ticket.mask, dataset.test, (dataset.mean, dataset.std))
        losses, rights = (np.asarray(each) / len(dataset.test.labels) for each in sums)
        return {
            name: {"test_loss": float(loss), "test_accuracy": float(right)}
            for name, loss, right in zip(self._names, losses, rights, strict=True)
        }

    def _categories(self, mask: masks.Mask) -> graphs.Categories:
        return graphs.categories(self._experiment.prunable.zeros, mask)

    def _prunable(self, categories: graphs.Categories) -> dict[str, np.ndarray]:
        """Return the categories of the weights of each tensor that may be pruned."""
        every = dict(zip(graphs.kernels(categories.wiring), categories.weights, strict=True))
        return {name: every[name] for name in trees.names(self._experiment.prunable.dense)}


def _by_task(classifier: Classifier) -> Callable[..., evaluation.MetricSums]:
    """Return (network, mask, split, mean_std) -> sums over the split for each task."""

    def summed(
        network: Network, mask: masks.Mask, split: Split, mean_std: Any
    ) -> evaluation.MetricSums:
        return evaluation.sum_over_split(
            lambda batch: evaluation.metric_sums_by_task(
                classifier, network, mask, batch, mean_std
            ),
            split,
        )

    return summed


def task_names(dataset: str) -> list[str]:
    """Return the names of the tasks of a data set.

    Example:
      >>> task_names("moons+circles"), task_names("mnist+mnist")
      (['moons', 'circles'], ['mnist', 'mnist_2'])
    """
    parts = dataset.split("+")
    return [
        part if part not in parts[:place] else f"{part}_{parts[: place + 1].count(part)}"
        for place, part in enumerate(parts)
    ]
