"""Names of what a run of threshold masks stores, and which of them a config asks for."""

from collections.abc import Iterator

from jaxlth import settings
from jaxlth.studies.threshold_masks.config import ThresholdMasksConfig, all_sizes


def long(replicate: int) -> str:
    """Return the name of the long training."""
    return f"training_long/dense/replicate_{replicate}"


def short(replicate: int) -> str:
    """Return the name of the training to the step of least loss."""
    return f"training_short/dense/replicate_{replicate}"


def thresholds(replicate: int) -> str:
    """Return the name of the artifact that has what untrained networks reach at all thresholds."""
    return f"search_threshold/untrained/replicate_{replicate}"


def ticket(replicate: int) -> str:
    """Return the name of the ticket."""
    return f"training_ticket/ticket/replicate_{replicate}"


def size(which: str, replicate: int) -> str:
    """Return the name of a dense network that tickets are compared with."""
    return f"{settings.bounded(f'size_{which}')}/dense/replicate_{replicate}"


def units(config: ThresholdMasksConfig) -> list[str]:
    """Return the names of all artifacts that a config asks for, if nothing diverges on the way."""
    return [
        artifact for replicate in range(config.replicates) for artifact in _of(config, replicate)
    ]


def _of(config: ThresholdMasksConfig, replicate: int) -> Iterator[str]:
    yield from (name(replicate) for name in (long, short, thresholds, ticket))
    yield from (size(which, replicate) for which in all_sizes(config))
