"""Tickets by level: each is pruned from the network that was trained before it.

Level 0 is the dense network. What a training starts from is a function without arguments, which is
called when the training begins; so nothing is pruned or read of what the run has already.
"""

import functools
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxlth import masks, prune, trees
from jaxlth.models import Network
from jaxlth.studies import all_alive, level_artifacts
from jaxlth.studies.compaction import Trainings
from jaxlth.studies.controls import NEW_WEIGHTS, TICKET, make
from jaxlth.studies.imp.config import ImpConfig, kinds_at, network_names
from jaxlth.studies.lab import Lab
from jaxlth.studies.train import Progress, Ticket, TrainRequest
from jaxlth.trees import roles

MakeTicket: TypeAlias = Callable[[], Ticket]  # what a training starts from, made when it begins
Starts: TypeAlias = Mapping[str, Mapping[int, MakeTicket]]  # kind -> replicate -> start


class TrainedNetwork(NamedTuple):
    """A trained ticket of a run; it is read from the run when it is looked at."""

    lab: Lab
    level: int
    replicate: int

    @property
    def artifact(self) -> str:
        """Its name in the run."""
        return level_artifacts.network(self.level, TICKET, self.replicate)

    @property
    def network(self) -> Network:
        """The trained network, in NumPy."""
        return self.lab.load(self.artifact)

    @property
    def mask(self) -> masks.Mask:
        """The mask that it was trained under."""
        return self.lab.load_mask(self.artifact) if self.level else self.lab.dense_mask


Prune: TypeAlias = Callable[[TrainedNetwork, Any], masks.Mask]  # (trained network, keep) -> mask


class Levels:
    """Trains the tickets of a study level by level, with their controls.

    Args:
      lab: of the study.
      config: of IMP, or of a study that prunes like it.
      keep: what each level keeps, level 0 first: a count, or counts by tensor.
      study: its name in the records.
      measure: what else a record says of a trained network.
    """

    def __init__(
        self,
        lab: Lab,
        config: ImpConfig,
        keep: list[Any],
        *,
        study: str = "imp",
        measure: Callable[[Ticket], Mapping[str, Any]] | None = None,
    ) -> None:
        self.lab, self.config, self.keep = lab, config, keep
        self._study, self._measure = study, measure
        # Controls share the mask of their ticket.
        cache = functools.lru_cache(maxsize=2 * config.replicates)
        self._mask, self._all_alive = cache(self._pruned), cache(self._pruned_alive)

    @property
    def last(self) -> int:
        """The last level."""
        return len(self.keep) - 1

    def dense(self, replicate: int) -> MakeTicket:
        """Return the dense network at initialisation."""
        return lambda: Ticket(self.lab.init(replicate), self.lab.dense_mask)

    def ticket(self, level: int, trained: TrainedNetwork, prune: Prune) -> MakeTicket:
        """Return the ticket of a level: what is left of a trained network, rewound.

        Args:
          level: of the ticket.
          trained: the network that is pruned.
          prune: how; it is not called where the ticket's mask is stored already.
        """

        def start() -> Ticket:
            mask, network = self._mask(level, trained, prune), self._rewound(trained)
            # Of biases that are zero, as at initialisation, nothing is passed on.
            if self.config.alive and _has_bias(network):
                before, _ = self._all_alive(level, trained, prune)
                network = all_alive.passed_on(network, before, mask)
            return Ticket(network, mask)

        return start

    def control(self, kind: str, level: int, replicate: int, ticket: MakeTicket) -> MakeTicket:
        """Return a control of a ticket."""
        which = {"seed": self.config.seed, "replicate": replicate, "level": level}
        return lambda: make(ticket(), kind, self.lab.draw, within=self.lab.dense_mask, **which)

    def with_controls(self, level: int, tickets: Mapping[int, MakeTicket]) -> Starts:
        """Return the tickets of a level, by replicate, and their controls, as the config asks."""
        return {
            kind: {
                replicate: ticket
                if kind == TICKET
                else self.control(kind, level, replicate, ticket)
                for replicate, ticket in tickets.items()
            }
            for kind in kinds_at(level, self.config)
        }

    def start(self, level: int, kind: str, replicate: int, prune: Prune) -> MakeTicket:
        """Return what a network of a finished or unfinished run starts from.

        Args:
          level: of the network.
          kind: "ticket" or a control.
          replicate: of the network.
          prune: how tickets are pruned.
        """
        if level == 0:
            return self.dense(replicate)
        before = TrainedNetwork(self.lab, 0 if self.config.one_shot else level - 1, replicate)
        ticket = self.ticket(level, before, prune)
        return ticket if kind == TICKET else self.control(kind, level, replicate, ticket)

    def train(
        self, level: int, starts: Starts
    ) -> Generator[Progress, None, dict[int, TrainedNetwork]]:
        """Train a level's networks as far as the run lacks them.

        Args:
          level: of the networks.
          starts: kind -> replicate -> what it starts from.

        Returns:
          The tickets that did not diverge, by replicate.
        """
        requests = self.requests(level, starts)
        expected = {request.artifact for request in requests} | self._names_after(level)
        for group in list(self._trainings.groups(level, requests)):
            yield from self.lab.train(
                group.requests, group.compiled_training, group.device_data, pending=expected
            )
        trained = [TrainedNetwork(self.lab, level, replicate) for replicate in starts[TICKET]]
        return {each.replicate: each for each in trained if not self.lab.diverged(each.artifact)}

    def requests(self, level: int, starts: Starts, *, dilation: float = 1.0) -> list[TrainRequest]:
        """Return the requests for a level's networks; dilated by 1, for the networks themselves."""
        rewind_step = round(self.config.rewind_step * dilation)
        keeps_rewound = level == 0 and rewind_step > 0 and dilation == 1
        return [
            TrainRequest(
                artifact=level_artifacts.dilated(
                    level_artifacts.network(level, kind, replicate), dilation
                ),
                start=start,
                key=self.lab.key("order", replicate, level),
                start_step=rewind_step if level else 0,
                record={
                    "job": self._study,
                    "replicate": replicate,
                    "level": level,
                    "control": kind,
                    "dilation": dilation,
                },
                snapshots={rewind_step: level_artifacts.rewound(replicate)}
                if keeps_rewound
                else {},
                keeps_opt=keeps_rewound and self.config.rewind_optimizer,
                opt=self._opt(level, kind, replicate),
                measure=self._measure,
            )
            for kind, by_replicate in starts.items()
            for replicate, start in by_replicate.items()
        ]

    @functools.cached_property
    def _trainings(self) -> Trainings:
        return Trainings(self.lab.experiment, self.config)

    def _pruned(self, level: int, trained: TrainedNetwork, prune: Prune) -> masks.Mask:
        """Return the mask of a ticket: stored with it, or pruned from the network before it."""
        name = level_artifacts.network(level, TICKET, trained.replicate)
        if self.lab.run.has(name):
            return self.lab.load_mask(name)
        if self.config.alive:
            return self._all_alive(level, trained, prune)[1]
        return prune(trained, self.keep[level])

    def _pruned_alive(
        self, level: int, trained: TrainedNetwork, prune: Prune
    ) -> tuple[masks.Mask, masks.Mask]:
        """Return what all-alive pruning leaves, with dead weights and without them."""
        params, mask = trained.network.params, trained.mask
        return all_alive.pruned(lambda keep: prune(trained, keep), params, mask, self.keep[level])

    def _rewound(self, trained: TrainedNetwork) -> Network:
        """Return the network that a ticket starts from, given the one that it is pruned from."""
        if self.config.after_pruning != "rewind":
            return trained.network
        if self.config.rewind_step > 0:
            return self.lab.load(level_artifacts.rewound(trained.replicate))
        return self.lab.init(trained.replicate)

    def _opt(self, level: int, kind: str, replicate: int) -> str:
        """Return the artifact whose optimiser's state a network starts with; "" for a fresh one."""
        restored = self.config.rewind_optimizer and level > 0 and kind not in NEW_WEIGHTS
        return level_artifacts.rewound(replicate) if restored else ""

    def _names_after(self, level: int) -> set[str]:
        """Return the networks of the later levels, and all that may be dilated."""
        before = set(network_names(self.config, levels=level))
        names = set(network_names(self.config, levels=self.last))
        return (names - before) | self.dilated(names, self.config.dilations)

    def dilated(self, names: Iterable[str], dilations: Iterable[float]) -> set[str]:
        """Return the names that networks have in trainings of other lengths."""
        others = [dilation for dilation in dilations if dilation != 1]
        return {level_artifacts.dilated(name, dilation) for name in names for dilation in others}


def _has_bias(network: Network) -> bool:
    return any(
        np.any(leaf)
        for name, leaf in trees.named(network.params).items()
        if roles.role(name) == "bias"
    )


def keep_by_level(config: ImpConfig, dense: masks.Mask) -> list[Any]:
    """Return what each level keeps, level 0 first: a count, or counts by tensor.

    Raises:
      ValueError: the network has fewer weights than levels.
    """
    times = {"levels": config.levels, "fraction": config.prune_fraction}
    if config.scope == "global":
        keep: list[Any] = prune.keep_counts(int(masks.kept(dense)), **times)
    else:
        layers = trees.named(dense)
        counts = {
            name: prune.keep_counts(int(np.sum(leaf)), **times) for name, leaf in layers.items()
        }
        keep = [
            {name: count[level] for name, count in counts.items()}
            for level in range(config.levels + 1)
        ]
    return keep[: 1 + _last_level(keep, config.stop_density, size=masks.size(dense))]


def _last_level(keep: list[Any], least: float | None, *, size: int) -> int:
    """Return the first level whose density is at most `least`, or the last of all."""
    for level, each in enumerate(keep):
        kept = sum(each.values()) if isinstance(each, Mapping) else each
        if least is not None and kept / size <= least:
            return level
    return len(keep) - 1
