"""The networks of a run: what each starts from, and what is still to be trained."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxlth import keys, masks, tickets
from jaxlth.models import Network
from jaxlth.store import Run
from jaxlth.supermask import choices, masking
from jaxlth.supermask.choices import SupermaskConfig
from jaxlth.tickets import Subject
from jaxlth.work import Ticket, TrainRequest


class Job:
    """What each unit of a run is made of."""

    def __init__(self, subject: Subject, run: Run) -> None:
        self.config: SupermaskConfig = subject.config
        self.run = run
        self.dense = subject.dense
        self._like = subject.like
        self._init = jax.jit(subject.model.init)
        self._keeping = jax.jit(masking.keeping)
        self.initial = functools.lru_cache(maxsize=self.config.replicates)(self._initial)
        self._stopped = functools.lru_cache(maxsize=1)(self._loaded)

    def request_long(self, replicate: int) -> TrainRequest:
        """Return the request for the training that goes on beyond its least loss."""
        return self._whole(choices.long(replicate), choices.LONG, replicate)

    def request_short(self, replicate: int) -> TrainRequest:
        """Return the request for the same training, which is to end at its least loss."""
        return self._whole(choices.short(replicate), choices.SHORT, replicate)

    def request_ticket(self, replicate: int) -> TrainRequest:
        """Return the request for the ticket: the chosen mask on the initial weights."""
        return TrainRequest(
            unit=choices.ticket(replicate),
            start=functools.partial(self.ticket, replicate),
            key=self._order(replicate, 1),
            begin=0,
            record=described(choices.TICKET, replicate, tickets.TICKET, level=1)
            | {"threshold": self.threshold(replicate)},
        )

    def request_size(self, size: str, subject: Subject, replicate: int) -> TrainRequest:
        """Return the request for a dense network of a size, with an initialisation of its own."""
        init = jax.jit(subject.model.init)
        key = keys.stream(self.config.seed, replicate, f"initialization/{size}")
        kind = choices.BASELINE if size == choices.baseline(self.config) else choices.SIZE
        return TrainRequest(
            unit=choices.size(size, replicate),
            start=lambda: Ticket(jax.device_get(init(key)), subject.dense),
            key=self._order(replicate, 1),
            begin=0,
            record=described(kind, replicate, size),
        )

    def ticket(self, replicate: int) -> Ticket:
        """Return a ticket: the chosen mask and the network that it starts from."""
        mask = self.run.load(choices.thresholds(replicate), "mask", self.dense)
        return Ticket(self.initial(replicate), mask)

    def mask(self, replicate: int, threshold: float) -> masks.Mask:
        """Return the mask of a threshold, by the network that stopped at its least loss."""
        initial, stopped = self.initial(replicate).params, self._stopped(replicate).params
        return jax.device_get(self._keeping(initial, stopped, self.dense, threshold))

    def least(self, replicate: int) -> int:
        """Return the step of the long training at which the loss is least."""
        return least(self.run.record(choices.long(replicate))["curve"], self.config.choose_on)

    def threshold(self, replicate: int) -> float | None:
        """Return the threshold chosen, None where each empties a layer."""
        return self.run.record(choices.thresholds(replicate))["threshold"]

    def _whole(self, unit: str, kind: str, replicate: int) -> TrainRequest:
        return TrainRequest(
            unit=unit,
            start=lambda: Ticket(self.initial(replicate), self.dense),
            key=self._order(replicate, 0),
            begin=0,
            record=described(kind, replicate, kind),
        )

    def _initial(self, replicate: int) -> Network:
        key = keys.stream(self.config.seed, replicate, "initialization")
        return jax.device_get(self._init(key))

    def _loaded(self, replicate: int) -> Network:
        return self.run.load(choices.short(replicate), "network", self._like)

    def _order(self, replicate: int, prunings: int) -> jax.Array:
        return keys.fold(keys.stream(self.config.seed, replicate, "order"), prunings)


def least(curve: Mapping[str, Sequence[Any]], split: str) -> int:
    """Return the step of the first evaluation of least loss on a split.

    Example:
      >>> least({"step": [10, 20, 30], "test_loss": [0.3, 0.1, None]}, "test")
      20
    """
    losses = np.array(curve[f"{split}_loss"], float)
    return curve["step"][int(np.nanargmin(losses))]


def asked(run: Run, config: SupermaskConfig, replicate: int) -> list[str]:
    """Return the units that a replicate can have, by what the run has of it.

    A network that diverged ends what would follow from it, and so does having no ticket.
    """
    found = [choices.size(size, replicate) for size in choices.sizes(config)]
    for unit in (choices.long(replicate), choices.short(replicate)):
        found.append(unit)
        if run.has(unit) and run.record(unit)["nan_step"] is not None:
            return found
    unit = choices.thresholds(replicate)
    found.append(unit)
    if run.has(unit) and run.record(unit)["threshold"] is None:
        return found
    return [*found, choices.ticket(replicate)]


def described(kind: str, replicate: int, control: str, *, level: int = 0) -> dict[str, Any]:
    """Return what is known of a unit beforehand."""
    return {
        "job": "supermask",
        "kind": kind,
        "replicate": replicate,
        "level": level,
        "control": control,
        "threshold": None,
    }
