"""Learning speed: how long a network must be trained until it reaches the dense accuracy."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxlth.studies import level_artifacts
from jaxlth.studies.controls import TICKET
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import Levels, Starts
from jaxlth.studies.train import Progress, TrainRequest


def dilate(levels: Levels, starts: list[Starts]) -> Generator[Progress, None, None]:
    """Train every network for ever longer, until it reaches the dense accuracy.

    References:
      Frankle 2023, section 3.3.6: the least dilation is that network's learning speed.
    """
    lab, config = levels.lab, levels.config
    dense = mean_performance(
        survivors(lab, config, 0), "test"
    )  # NaN, which nothing matches, if none
    waiting = [
        (level, kind, replicate)
        for level, kinds in enumerate(starts)
        for kind, by_replicate in kinds.items()
        for replicate in by_replicate
    ]
    # Dilated by 1, the networks are there already: those that match need no longer training.
    for dilation in sorted({1.0, *config.dilations} if config.dilations else ()):
        requests = [
            request
            for level, kind, replicate in waiting
            for request in levels.requests(
                level, {kind: {replicate: starts[level][kind][replicate]}}, dilation=dilation
            )
        ]
        lab.expect(request.artifact for request in requests)
        # How many networks go on to the next dilation shows only then: at most all of them.
        names = [level_artifacts.network(*network) for network in waiting]
        pending = levels.dilated(
            names, [longer for longer in config.dilations if longer > dilation]
        )
        pending |= {request.artifact for request in requests}
        for restart_step, group in _by_restart(requests, config):
            yield from lab.train(
                group,
                lab.experiment.compile_training(dilation=dilation, restart_step=restart_step),
                pending=pending,
            )
        reached = [performance(lab.run.record(request.artifact), "test") for request in requests]
        pairs = zip(waiting, reached, strict=True)
        waiting = [network for network, value in pairs if not value >= dense]


def _by_restart(
    requests: Sequence[TrainRequest], config: ImpConfig
) -> list[tuple[int, list[TrainRequest]]]:
    """Return requests by the step at which their schedule begins, as the config says."""
    groups: dict[int, list[TrainRequest]] = {}
    for request in requests:
        restart_step = request.start_step if config.restart_schedule else 0
        groups.setdefault(restart_step, []).append(request)
    return list(groups.items())


def survivors(lab: Lab, config: ImpConfig, level: int) -> list[dict[str, Any]]:
    """Return the records of a level's tickets that did not diverge."""
    names = [level_artifacts.network(level, TICKET, each) for each in range(config.replicates)]
    records = [lab.run.record(name) for name in names if lab.run.has(name)]
    return [record for record in records if record["nan_step"] is None]


def mean_performance(records: list[dict[str, Any]], split: str) -> float:
    """Return the mean performance of networks; NaN if there are none."""
    values = [performance(record, split) for record in records]
    return float(np.mean(values)) if values else float("nan")


def performance(record: Mapping[str, Any], split: str) -> float:
    """Return the accuracy of a network, or where none is defined minus its loss."""
    accuracy, loss = record[f"{split}_accuracy"], record[f"{split}_loss"]
    if accuracy is not None:
        return accuracy
    return float("nan") if loss is None else -loss
