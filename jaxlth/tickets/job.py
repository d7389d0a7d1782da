"""The networks of a run: what each starts from, and what is still to be trained."""

import functools

import jax
import numpy as np

from jaxlth import keys, masks
from jaxlth.models import Network
from jaxlth.store import Run
from jaxlth.tickets import controls
from jaxlth.tickets.choices import dilated, rewound, unit, units
from jaxlth.tickets.controls import TICKET
from jaxlth.tickets.problem import Pruning
from jaxlth.work import Ticket, TrainRequest


class Job:
    """What each unit of a run is made of."""

    def __init__(self, pruning: Pruning, run: Run) -> None:
        self.config = pruning.config
        self.levels = pruning.levels
        self.run = run
        self._pruning = pruning
        self._init = jax.jit(pruning.model.init)
        self._select = jax.jit(pruning.by_magnitude)
        self.mask = functools.lru_cache(maxsize=2 * self.config.replicates)(self._mask)

    def request(
        self, level: int, control: str, replicate: int, *, dilation: float = 1.0
    ) -> TrainRequest:
        """Return the request for one network; a dilation of 1 is the network itself."""
        name = unit(level, control, replicate)
        rewind_step = round(self.config.rewind_step * dilation)
        keeps_rewound = level == 0 and rewind_step > 0 and dilation == 1
        return TrainRequest(
            unit=dilated(name, dilation),
            start=functools.partial(self.start, level, control, replicate),
            key=keys.fold(keys.stream(self.config.seed, replicate, "order"), level),
            begin=rewind_step if level else 0,
            record={
                "job": "imp",
                "replicate": replicate,
                "level": level,
                "control": control,
                "dilation": dilation,
            },
            snapshots={rewind_step: rewound(replicate)} if keeps_rewound else {},
        )

    def start(self, level: int, control: str, replicate: int) -> Ticket:
        """Return what a network starts from."""
        mask = self.mask(level, replicate)
        ticket = Ticket(self._ticket_network(level, replicate), mask)
        which = {"seed": self.config.seed, "replicate": replicate, "level": level}
        return controls.changed(ticket, control, self._init, **which)

    def first_asked(self) -> list[str]:
        """Return the units that the settings ask for, as far as that is known beforehand."""
        networks = units(self.config, levels=self.levels)
        snapshots = self.config.replicates if self.config.rewind_step else 0
        again = sorted(set(self.config.dilations) - {1.0})[:1]
        return [
            *networks,
            *(rewound(replicate) for replicate in range(snapshots)),
            *(dilated(name, dilation) for dilation in again for name in networks),
        ]

    def missing_after(self, level: int) -> int:
        """Return how many networks of the later levels the run lacks."""
        before = set(units(self.config, levels=level))
        asked = set(units(self.config, levels=self.levels))
        return sum(not self.run.has(name) for name in asked - before)

    def diverged_before(self, level: int, replicate: int) -> bool:
        """Return whether the network that a level prunes did not train: there is no ticket then."""
        if level == 0:
            return False
        before = unit(self._pruned_level(level), TICKET, replicate)
        return not self.run.has(before) or self.run.record(before)["nan_step"] is not None

    def lost_too_much(self, level: int) -> bool:
        """Return whether the tickets of a level lose more accuracy than the settings allow.

        Judged on the validation split where there is one.
        """
        if self.config.stop_lost_accuracy is None:
            return False
        split = "test_accuracy" if self.config.data.validation == 0 else "validation_accuracy"
        lost = self.mean_accuracy(0, split) - self.mean_accuracy(level, split)
        return lost > self.config.stop_lost_accuracy

    def mean_accuracy(self, level: int, split: str) -> float:
        """Return the mean accuracy of a level's tickets that did not diverge; NaN if all did."""
        names = [unit(level, TICKET, replicate) for replicate in range(self.config.replicates)]
        records = [self.run.record(name) for name in names if self.run.has(name)]
        trained = [record[split] for record in records if record["nan_step"] is None]
        return float(np.mean(trained)) if trained else float("nan")

    def _ticket_network(self, level: int, replicate: int) -> Network:
        if level > 0 and self.config.after_pruning != "rewind":
            return self._trained(self._pruned_level(level), replicate)
        if level > 0 and self.config.rewind_step > 0:
            return self.run.load(rewound(replicate), "network", self._pruning.like)
        return self._init(keys.stream(self.config.seed, replicate, "initialization"))

    def _mask(self, level: int, replicate: int) -> masks.Mask:
        """Return the mask of a ticket: stored with it, or pruned from the network before it."""
        own = unit(level, TICKET, replicate)
        if level == 0:
            return self._pruning.dense
        if self.run.has(own):
            return self.run.load(own, "mask", self._pruning.dense)
        before = self._pruned_level(level)
        trained = self._trained(before, replicate)
        return self.pruned(trained, self.mask(before, replicate), level, replicate)

    def pruned(
        self, trained: Network, denser: masks.Mask, level: int, replicate: int
    ) -> masks.Mask:
        """Return the mask of a level: what is left of the one before it."""
        del replicate  # magnitudes say it all
        keep = self._pruning.keep[level]
        return jax.device_get(self._select(trained.params, denser, keep))

    def _pruned_level(self, level: int) -> int:
        """Return the level whose trained network a level prunes."""
        return 0 if self.config.one_shot else level - 1

    def _trained(self, level: int, replicate: int) -> Network:
        return self.run.load(unit(level, TICKET, replicate), "network", self._pruning.like)
