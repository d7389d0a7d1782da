"""The networks of dynamic IMP (Frankle 2023, Algorithm 5): dense and sparse ones in turns.

Between two changes of the mask a dense network trains, and the sparse part of it over the same
steps; what is pruned is drawn anew at the next change.
"""

import functools
import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxlth import masks
from jaxlth.models import Network
from jaxlth.studies.dynamic import artifacts, cost
from jaxlth.studies.dynamic.config import DYNAMIC_IMP
from jaxlth.studies.lab import Lab
from jaxlth.studies.train import Progress, Ticket, TrainRequest

DENSE_PHASE, SPARSE_PHASE = "dense", "sparse"  # kinds of networks


class Phases:
    """The networks of dynamic IMP of one density, phase by phase."""

    def __init__(
        self,
        lab: Lab,
        ends: Sequence[int],
        density: float,
        *,
        counts: Mapping[str, int] | None,
        finite: Callable[[Any], list[int]],
        largest: Callable[[str, masks.Mask, float], masks.Mask],
    ) -> None:
        """Make them.

        Args:
          lab: where they are trained.
          ends: the step at which each phase ends; the last one ends the training.
          density: of the sparse networks.
          counts: what `cost.multiplications` returns.
          finite: replicate -> name to the replicates whose network is there and did not diverge.
          largest: (name, mask, density) -> mask of the largest weights of a stored network.
        """
        self._lab, self._density, self._ends = lab, density, list(ends)
        self._finite, self._largest = finite, largest
        self._counts = counts

    def names(self) -> list[str]:
        """Return the names of all of them."""
        pairs = itertools.product(range(len(self._ends)), (DENSE_PHASE, SPARSE_PHASE))
        kinds = [pair for pair in pairs if pair != (0, DENSE_PHASE)]  # which is the run's own
        replicates = range(self._lab.config.replicates)
        return [self._name(*kind, replicate) for kind in kinds for replicate in replicates]

    def train(self, train: Any) -> Generator[Progress, None, None]:
        """Train dense and sparse networks in turns, from one change of the mask to the next."""
        dense = self._lab.dense_mask
        starts = {r: self._lab.init(r) for r in self._finite(artifacts.dense)}
        for number, end in enumerate(self._ends):
            training = self._lab.experiment.compile_training(until=end)
            if number == 0:
                source = functools.partial(artifacts.state, end)
            else:
                source = functools.partial(self._name, number, DENSE_PHASE)
                tickets = {r: Ticket(start, dense) for r, start in starts.items()}
                yield from train(self._requests(number, DENSE_PHASE, tickets), training)
                starts = {r: starts[r] for r in self._finite(source) if r in starts}
            tickets = {
                r: Ticket(start, self._largest(source(r), dense, self._density))
                for r, start in starts.items()
            }
            yield from train(self._requests(number, SPARSE_PHASE, tickets), training)
            sparse = functools.partial(self._name, number, SPARSE_PHASE)
            starts = {
                r: self._regrown(self._lab.load(sparse(r)), tickets[r].mask, number, r)
                for r in self._finite(sparse)
                if r in tickets
            }

    def _name(self, number: int, kind: str, replicate: int) -> str:
        if number == len(self._ends) - 1 and kind == SPARSE_PHASE:
            return artifacts.network(self._density, DYNAMIC_IMP, replicate)
        return artifacts.phase(self._density, number, kind, replicate)

    def _requests(self, number: int, kind: str, tickets: dict[int, Ticket]) -> list[TrainRequest]:
        is_last = kind == SPARSE_PHASE and number == len(self._ends) - 1
        return [
            TrainRequest(
                artifact=self._name(number, kind, replicate),
                start=lambda ticket=ticket: ticket,
                key=self._lab.key("order", replicate),
                start_step=(0, *self._ends)[number],
                record=artifacts.record(replicate, DYNAMIC_IMP, on_the_way=not is_last),
                measure=functools.partial(self._costs, number, kind, replicate),
            )
            for replicate, ticket in tickets.items()
        ]

    def _costs(
        self, number: int, kind: str, replicate: int, trained: Ticket
    ) -> dict[str, float | None]:
        """Return the costs of a network with those of all that it follows from.

        The first sparse network follows from the run's dense one, up to the first change.
        """

        def cost_of(share: float) -> float:
            total = 0.0
            for n in range(number + 1):
                part = (self._ends[n] - (0, *self._ends)[n]) / self._ends[-1]
                total += part  # of the dense network
                if n < number:
                    mask = self._lab.load_mask(self._name(n, SPARSE_PHASE, replicate))
                    total += part * cost.share(mask, self._counts or {})
                elif kind == SPARSE_PHASE:
                    total += part * share
            return total

        return cost.record(self._counts, trained.mask, cost_of)

    def _regrown(self, sparse: Network, mask: masks.Mask, number: int, replicate: int) -> Network:
        """Return a sparse network with what was pruned drawn anew."""
        new = jax.device_get(self._lab.draw(self._lab.key(f"regrown {number}", replicate)))
        params = jax.tree.map(
            lambda w, v, keep: w if keep is None else jnp.where(keep, w, v),
            sparse.params,
            new.params,
            mask,
        )
        return jax.device_get(sparse._replace(params=params))
