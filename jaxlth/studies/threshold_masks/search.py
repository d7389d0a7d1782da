"""The search for a threshold: every masked network is evaluated as it is, untrained."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxlth import masks
from jaxlth.studies.compiled_training import CompiledTraining
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.threshold_masks import artifacts, masking
from jaxlth.studies.threshold_masks.config import THRESHOLDS, UNTRAINED
from jaxlth.studies.threshold_masks.masking import best_threshold, emptied
from jaxlth.studies.threshold_masks.networks import ThresholdNetworks, record_of
from jaxlth.studies.train import Progress, Ticket
from jaxlth.training import fit
from jaxlth.training.evaluation import Evaluation

METRICS = ("loss", "accuracy")  # of an evaluation


def search(
    networks: ThresholdNetworks,
    experiment: LoadedExperiment,
    compiled_training: CompiledTraining,
    replicates: Sequence[int],
    *,
    num_pending: int,
) -> Iterator[Progress]:
    """Evaluate the initial networks of replicates under all masks, and store what is evaluation.

    Args:
      networks: of the run that has the networks that masks come from.
      experiment: model and data.
      compiled_training: how networks are placed; those of all replicates make one long row of
        groups.
      replicates: which; those that the run has already are left out.
      num_pending: networks that the networks trains after these, at most.

    Yields:
      Progress, after each network.
    """
    missing = [each for each in replicates if not networks.run.has(artifacts.thresholds(each))]
    if not missing:
        return
    count, clock = 1 + len(networks.config.thresholds), time.perf_counter()
    # Of all, not of the missing ones: another layout could round differently.
    untrained = masking.Untrained(experiment, compiled_training, count * networks.config.replicates)
    counts: list[dict[str, Any]] = []

    def starts() -> Iterator[Ticket]:
        for start in itertools.chain.from_iterable(_candidates(networks, each) for each in missing):
            counts.append(_counts(start.mask))
            yield start

    evaluations = untrained.evaluations(starts())
    for place, replicate in enumerate(missing):
        artifact, left, rows = (
            artifacts.thresholds(replicate),
            len(missing) - place + num_pending,
            [],
        )
        for at, evaluation in enumerate(itertools.islice(evaluations, count)):
            rows.append(counts[place * count + at] | _numbers(evaluation))
            yield Progress((artifact,), at + 1, count, 0, (), left)
        record = _record(networks, replicate, rows) | {
            "seconds": round(time.perf_counter() - clock, 3)
        }
        threshold = record["threshold"]
        trees = {} if threshold is None else {"mask": networks.mask(replicate, threshold)}
        networks.run.save(artifact, trees, record)
        clock = time.perf_counter()
        yield Progress((artifact,), count, count, 0, (record,), left - 1)


def _candidates(networks: ThresholdNetworks, replicate: int) -> Iterator[Ticket]:
    """Yield the initial network, whole and then under the mask of each threshold."""
    yield Ticket(networks.initial(replicate), networks.dense)
    for threshold in networks.config.thresholds:
        yield Ticket(networks.initial(replicate), networks.mask(replicate, threshold))


def _counts(mask: masks.Mask) -> dict[str, Any]:
    """Return what a mask keeps; the names of layers that it empties, joined by blanks."""
    return {
        "density": float(masks.density(mask)),
        "kept": int(masks.kept(mask)),
        "emptied": " ".join(emptied(mask)),
        "layers": masks.layer_densities(mask),
    }


def _numbers(evaluations: Mapping[str, Evaluation]) -> dict[str, float | None]:
    """Return evaluations in the columns of the table of results, with None for a missing split."""
    return {
        f"{split}_{metric}": fit.number(getattr(evaluations[split], metric))
        if split in evaluations
        else None
        for split in masking.SPLITS
        for metric in METRICS
    }


def _record(
    networks: ThresholdNetworks, replicate: int, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the record of a search, of the numbers of the whole network and of each mask."""
    whole, *each = rows
    numbers = [f"{split}_{metric}" for split in masking.SPLITS for metric in METRICS]
    listed = ("density", "kept", "emptied", *numbers)
    curve: dict[str, list[Any]] = {"step": [0] * len(each)}
    curve |= {"threshold": list(networks.config.thresholds)}
    curve |= {name: [row[name] for row in each] for name in listed}
    curve |= {
        f"layer_densities.{name}": [row["layers"][name] for row in each] for name in whole["layers"]
    }
    best = best_threshold(curve, networks.config.choose_on)
    best_row = {} if best is None else each[best]
    return {
        **record_of(THRESHOLDS, replicate, UNTRAINED, level=1),
        "threshold": None if best is None else networks.config.thresholds[best],
        "density": best_row.get("density"),
        "kept": best_row.get("kept"),
        "prunable": masks.size(networks.dense),
        "start_step": 0,
        "steps": 0,
        **{name: best_row.get(name) for name in numbers},
        **{f"whole_{name}": whole[name] for name in numbers},
        "emptied": sum(bool(row["emptied"]) for row in each),
        "nan_step": None,
        "layer_densities": best_row.get("layers", {}),
        "curve": curve,
    }
