"""The networks of a run: what each starts from, and what its graph says."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxlth import data, graphs, keys, masks, prune, settings, tickets, trees
from jaxlth.data import Dataset
from jaxlth.models import Network
from jaxlth.separation import choices
from jaxlth.store import Run
from jaxlth.tickets import Problem, Pruning, scoring
from jaxlth.training import evaluation
from jaxlth.work import Ticket, TrainRequest

STOPS: dict[str, tuple[str, ...]] = {
    "degraded": ("degraded",),
    "separated": ("degraded", "separated"),
    "never": (),
}


class Job(tickets.Job):
    """What each unit of a run is made of: tickets of IMP, pruned as the settings say."""

    def __init__(self, problem: Problem[Pruning], run: Run) -> None:
        own: Any = problem.subject.config
        self._own: choices.SeparationConfig = own
        self._problem = problem
        pruning = dataclasses.replace(problem.subject, config=choices.imp(own))
        super().__init__(pruning, run)
        self._tasks = [graphs.Task(*task) for task in data.tasks(problem.info)]
        self._names = names(problem.info.name)
        self._score = functools.cache(problem.score)
        self._by_task = jax.jit(self._summed)

    def request(
        self, level: int, control: str, replicate: int, *, dilation: float = 1.0
    ) -> TrainRequest:
        """Return the request for one network, its graph and its tasks in the record."""
        found = super().request(level, control, replicate, dilation=dilation)
        record = dict(found.record) | {"job": "separation"}
        return found._replace(record=record, measure=self._measured)

    def pruned(
        self, trained: Network, denser: masks.Mask, level: int, replicate: int
    ) -> masks.Mask:
        """Return the mask of a level: what is left of the one before it."""
        keep = self._pruning.keep[level]
        if self._own.alive:
            denser = self._alive(denser)
            if not isinstance(keep, int):
                left = trees.named(denser)
                keep = {name: min(count, int(np.sum(left[name]))) for name, count in keep.items()}
            elif int(masks.kept(denser)) <= keep:
                return denser
        if self._own.score == "magnitude":
            return jax.device_get(self._select(trained.params, denser, keep))
        key = keys.stream(self._own.seed, replicate, "score")
        known = scoring.Known(
            trained,
            self._init(keys.stream(self._own.seed, replicate, "initialization")).params,
            (self._problem.mean, np.zeros(1, np.int32)),
            keys.fold(key, level),
            self._problem.mean,
        )
        return scoring.pruned(
            self._score(self._own.score),
            (self._own.score,),
            denser,
            known,
            keep=keep,
            rounds=scoring.published_rounds(self._own.score),
            spacing="exponential",
        )

    def goes_on(self, level: int, replicate: int) -> bool:
        """Return whether a replicate is pruned to a level: it trained, and need not stop."""
        if self.diverged_before(level, replicate):
            return False
        if level == 0:
            return True
        before = self.run.record(tickets.unit(level - 1, tickets.TICKET, replicate))
        return before["state"] not in STOPS[self._own.stop]  # a state never gets better again

    def _alive(self, mask: masks.Mask) -> masks.Mask:
        """Return a mask without its inactive weights."""
        inactive = graphs.CATEGORIES.index("inactive")
        found = self._prunable(self._categories(mask))
        kept = [keep & (found[name] != inactive) for name, keep in trees.named(mask).items()]
        return jax.tree.unflatten(jax.tree.structure(mask), kept)

    def _categories(self, mask: masks.Mask) -> graphs.Categories:
        return graphs.categories(self._problem.subject.zeros, mask)

    def _prunable(self, found: graphs.Categories) -> dict[str, np.ndarray]:
        """Return the categories of the weights of each tensor that may be pruned."""
        every = dict(zip(graphs.kernels(found.wiring), found.weights, strict=True))
        return {name: every[name] for name in trees.names(self._problem.subject.dense)}

    def _measured(self, made: Ticket) -> Mapping[str, Any]:
        """Return what a network's graph says, and its errors on the test split task by task."""
        found = self._categories(made.mask)
        parts = graphs.components(found)
        covered = graphs.coverage(parts, self._tasks, by=self._own.coverage)
        weights = tuple(self._prunable(found).values())  # so that they add up to those kept
        count = {
            name: {
                each: getattr(graphs.count(of), each) for each in ("active", "inactive", "zombie")
            }
            for name, of in (("weights", weights), ("units", found.units))
        }
        return {
            "state": graphs.state(covered),
            "subnetworks": parts.number,
            **count,
            "widths": [len(units) for units in found.units],
            "coverage": np.round(covered, 6).tolist(),
            "decided_by_outputs": self._decided(found, "outputs"),
            "decided_by_inputs": self._decided(found, "inputs"),
            "tasks": self._on_test(made),
        }

    def _decided(self, found: graphs.Categories, by: Any) -> list[float | None]:
        shares = graphs.degrees_of_separation(found, self._tasks, by=by)
        return [None if math.isnan(share) else round(share, 6) for share in shares]

    def _on_test(self, made: Ticket) -> dict[str, Any]:
        """Return loss and accuracy of each task on the test split."""
        dataset = self._problem.placed.dataset
        assert isinstance(dataset, Dataset)  # as `prepare` saw to
        sums = self._by_task(made.network, made.mask, dataset.test, (dataset.mean, dataset.std))
        losses, rights = (np.asarray(each) / len(dataset.test.labels) for each in sums)
        return {
            name: {"test_loss": float(loss), "test_accuracy": float(right)}
            for name, loss, right in zip(self._names, losses, rights, strict=True)
        }

    def _summed(self, network: Network, mask: masks.Mask, split: Any, norms: Any) -> Any:
        seen = self._problem.seen
        return evaluation.scanned(
            lambda batch: evaluation.by_task(seen, network, mask, batch, norms), split
        )


def pruning(config: choices.SeparationConfig, *, shape: tuple[int, ...], classes: int) -> Pruning:
    """Return the network that is pruned, and how much of it each level keeps."""
    own = tickets.subject(config, shape=shape, classes=classes)
    size = masks.size(own.dense)
    if config.counts:
        keep = [size, *config.counts]
        settings.require(
            config.counts[0] < size,
            f"`counts` must begin below the {size} weights of the network; got {config.counts[0]}.",
        )
    elif config.target is not None:
        keep = prune.trajectory(size=size, levels=config.levels, target=config.target).counts
    else:
        keep = tickets.kept_by_level(choices.imp(config), own.dense)
    return Pruning(config, own.model, own.like, own.dense, keep)  # pyright: ignore[reportArgumentType]


def names(dataset: str) -> list[str]:
    """Return the names of the tasks of a data set.

    Example:
      >>> names("moons+circles"), names("mnist+mnist")
      (['moons', 'circles'], ['mnist', 'mnist_2'])
    """
    parts = dataset.split("+")
    return [
        part if part not in parts[:place] else f"{part}_{parts[: place + 1].count(part)}"
        for place, part in enumerate(parts)
    ]
