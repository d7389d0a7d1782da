"""The networks of a run: what each starts from, and what is still to be trained."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxlth import masks
from jaxlth.models import Network
from jaxlth.store import Run
from jaxlth.studies.controls import TICKET
from jaxlth.studies.lab import Lab
from jaxlth.studies.prunable import PrunableModel
from jaxlth.studies.threshold_masks import artifacts
from jaxlth.studies.threshold_masks.config import (
    BASELINE,
    LONG,
    SHORT,
    SIZE,
    ThresholdMasksConfig,
    all_sizes,
    baseline_size,
)
from jaxlth.studies.threshold_masks.masking import keeping
from jaxlth.studies.train import Ticket, TrainRequest


class ThresholdNetworks:
    """What each network of a run starts from."""

    def __init__(self, lab: Lab) -> None:
        self.config: ThresholdMasksConfig = lab.config
        self.run = lab.run
        self.dense = lab.dense_mask
        self._lab = lab
        self._keeping = jax.jit(keeping)
        self.initial = functools.lru_cache(maxsize=self.config.replicates)(self._initial)
        self._stopped = functools.lru_cache(maxsize=1)(self._loaded)

    def request_long(self, replicate: int) -> TrainRequest:
        """Return the request for the training that goes on beyond its least loss."""
        return self._whole(artifacts.long(replicate), LONG, replicate)

    def request_short(self, replicate: int) -> TrainRequest:
        """Return the request for the same training, which is to end at its least loss."""
        return self._whole(artifacts.short(replicate), SHORT, replicate)

    def request_ticket(self, replicate: int) -> TrainRequest:
        """Return the request for the ticket: the chosen mask on the initial weights."""
        return TrainRequest(
            artifact=artifacts.ticket(replicate),
            start=functools.partial(self.ticket, replicate),
            key=self._lab.key("order", replicate, 1),
            start_step=0,
            record=record_of(TICKET, replicate, TICKET, level=1)
            | {"threshold": self.threshold(replicate)},
        )

    def request_size(self, size: str, prunable: PrunableModel, replicate: int) -> TrainRequest:
        """Return the request for a dense network of a size, with an initialisation of its own."""
        key = self._lab.key(f"initialization/{size}", replicate)
        kind = BASELINE if size == baseline_size(self.config) else SIZE
        return TrainRequest(
            artifact=artifacts.size(size, replicate),
            start=lambda: Ticket(jax.device_get(prunable.draw(key)), prunable.dense),
            key=self._lab.key("order", replicate, 1),
            start_step=0,
            record=record_of(kind, replicate, size),
        )

    def ticket(self, replicate: int) -> Ticket:
        """Return a ticket: the chosen mask and the network that it starts from."""
        mask = self._lab.load_mask(artifacts.thresholds(replicate))
        return Ticket(self.initial(replicate), mask)

    def mask(self, replicate: int, threshold: float) -> masks.Mask:
        """Return the mask of a threshold, by the network that stopped at its least loss."""
        initial, stopped = self.initial(replicate).params, self._stopped(replicate).params
        return jax.device_get(self._keeping(initial, stopped, self.dense, threshold))

    def least(self, replicate: int) -> int:
        """Return the step of the long training at which the loss is least."""
        return least(self.run.record(artifacts.long(replicate))["curve"], self.config.choose_on)

    def threshold(self, replicate: int) -> float | None:
        """Return the threshold chosen, None where each empties a layer."""
        return self.run.record(artifacts.thresholds(replicate))["threshold"]

    def _whole(self, artifact: str, kind: str, replicate: int) -> TrainRequest:
        return TrainRequest(
            artifact=artifact,
            start=lambda: Ticket(self.initial(replicate), self.dense),
            key=self._lab.key("order", replicate, 0),
            start_step=0,
            record=record_of(kind, replicate, kind),
        )

    def _initial(self, replicate: int) -> Network:
        return jax.device_get(self._lab.init(replicate))

    def _loaded(self, replicate: int) -> Network:
        return self._lab.load(artifacts.short(replicate))


def least(curve: Mapping[str, Sequence[Any]], split: str) -> int:
    """Return the step of the first evaluation of least loss on a split.

    Example:
      >>> least({"step": [10, 20, 30], "test_loss": [0.3, 0.1, None]}, "test")
      20
    """
    losses = np.array(curve[f"{split}_loss"], float)
    return curve["step"][int(np.nanargmin(losses))]


def expected_artifacts(run: Run, config: ThresholdMasksConfig, replicate: int) -> list[str]:
    """Return the artifacts that a replicate can have, by what the run has of it.

    A network that diverged ends what would follow from it, and so does having no ticket.
    """
    names = [artifacts.size(size, replicate) for size in all_sizes(config)]
    for artifact in (artifacts.long(replicate), artifacts.short(replicate)):
        names.append(artifact)
        if run.has(artifact) and run.record(artifact)["nan_step"] is not None:
            return names
    artifact = artifacts.thresholds(replicate)
    names.append(artifact)
    if run.has(artifact) and run.record(artifact)["threshold"] is None:
        return names
    return [*names, artifacts.ticket(replicate)]


def record_of(kind: str, replicate: int, control: str, *, level: int = 0) -> dict[str, Any]:
    """Return what the record of an artifact says before there is a result."""
    return {
        "job": "threshold-masks",
        "kind": kind,
        "replicate": replicate,
        "level": level,
        "control": control,
        "threshold": None,
    }
