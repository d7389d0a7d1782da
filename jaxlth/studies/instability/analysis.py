"""The work at a step: levels of IMP, twins, comparisons."""

import functools
import itertools
import pathlib
from collections.abc import Generator
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxlth import distributed, landscape, masks, settings, store
from jaxlth.models import Network
from jaxlth.studies import level_artifacts
from jaxlth.studies.config import run_label
from jaxlth.studies.controls import TICKET
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.instability import artifacts
from jaxlth.studies.instability.comparison import SPLITS, LineEvaluator, Metrics
from jaxlth.studies.instability.config import (
    DENSE,
    OF_IMP,
    REMAINING,
    NetworkSpec,
    imp,
    network_specs,
    twin_lengths,
    twin_pairs,
)
from jaxlth.studies.instability.networks import (
    InstabilityNetworks,
    compared_every,
    diverged_before,
    record_of,
)
from jaxlth.studies.lab import Lab
from jaxlth.studies.train import Progress, Ticket, TrainRequest
from jaxlth.training import fit


class Analysis:
    """Trains and compares what a run lacks."""

    def __init__(self, lab: Lab) -> None:
        self.config = lab.config
        self.run = lab.run
        self._lab = lab
        self._networks = InstabilityNetworks(lab)
        self._experiment = lab.experiment
        self._at_start = functools.lru_cache(maxsize=8)(self._metrics_at_start)
        self._expected = artifacts.units(self.config, self.config.rewind_steps)
        self._left = self._missing()  # networks and comparisons still to be made, at most
        self._every = compared_every(self.config, self._lab.compiled_training.plan.steps_per_epoch)
        self._line = LineEvaluator(
            lab.experiment,
            lab.compiled_training,
            points=self.config.points,
            estimate=self.config.estimate_statistics,
        )

    def dense(self) -> Generator[Progress, None, None]:
        """Train the dense networks, whose states all else starts from."""
        for step, replicate in itertools.product(
            sorted({0, *self.config.rewind_steps}), self._lab.replicates
        ):
            self._adopt_dense(step, replicate)
        yield from self._trained([self._networks.request_dense(r) for r in self._lab.replicates])

    def at(self, step: int) -> Generator[Progress, None, None]:
        """Train and compare everything that is asked for at a step."""
        specs = network_specs(self.config, step)
        if any(spec.network in OF_IMP for spec in specs):
            for level in self._networks.levels_before():
                yield from self._level(step, level)
        for spec in specs:
            there = [r for r in self._lab.replicates if not self._diverged_before(spec, r)]
            for length in twin_lengths(self.config, step):
                steps = self._compared_at(step if length == REMAINING else 0)
                yield from self._trained(
                    [
                        self._networks.request_twin(spec, number, length, replicate, steps)
                        for replicate in there
                        for number in range(self.config.twins)
                    ]
                )
                for replicate in there:
                    yield from self._compared(spec, length, replicate, steps)

    def _level(self, step: int, level: int) -> Generator[Progress, None, None]:
        """Train the tickets of a level that are to be pruned further."""
        spec = NetworkSpec(step, TICKET, level=level)
        for replicate in self._lab.replicates:
            artifact, imp_artifact = (
                artifacts.level(step, level, replicate),
                level_artifacts.network(level, TICKET, replicate),
            )
            self._adopt(artifact, step, imp_artifact, record_of("found", spec, replicate))
        yield from self._trained(
            [
                self._networks.request_level(step, level, replicate)
                for replicate in self._lab.replicates
                if not self._diverged_before(spec, replicate)
            ]
        )

    def _adopt_dense(self, step: int, replicate: int) -> None:
        """Take over a dense network, and its state at a step."""
        record = record_of("dense", NetworkSpec(0, DENSE), replicate)
        level_0 = level_artifacts.network(0, TICKET, replicate)
        self._adopt(artifacts.dense(replicate), step, level_0, record)
        if step:
            snapshot, state = (
                artifacts.snapshot(step, replicate),
                level_artifacts.rewound(replicate),
            )
            self._adopt(snapshot, step, state, {})

    def _adopt(self, artifact: str, step: int, imp_artifact: str, record: dict[str, Any]) -> None:
        """Take over what `jaxlth imp` has trained, rewinding to a step, in this folder of runs.

        Nothing comes from a run of other data, or of data that it does not identify, or of other
        parts of a user's own. Only the first of several processes looks: the others need not see
        its disk.
        """
        distributed.on_main(lambda: self._copy_from_imp(artifact, step, imp_artifact, record))

    def _copy_from_imp(
        self, artifact: str, step: int, imp_artifact: str, record: dict[str, Any]
    ) -> None:
        imp_config = imp(self.config, step)
        label = run_label(self.config)
        folder = store.folder(self.run.path.parent, imp_config, job="imp", label=label)
        if self.run.has(artifact) or not store.is_run(folder):
            return
        try:
            adopted = self._read(folder, imp_config, imp_artifact)
        except store.StoreError as error:  # then it is trained here
            store.damage.warn(error)
            return
        if adopted is not None:
            trees, imp_record = adopted
            self.run.save(artifact, trees, imp_record | record | {"adopted": folder.name})

    def _read(
        self, folder: pathlib.Path, imp_config: ImpConfig, artifact: str
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return trees and record of a network of a run of `jaxlth imp`, None if it has it not."""
        run = store.open_readonly(folder)
        about = store.about_run(folder)
        differing = settings.differences(about["settings"], imp_config)
        facts, own_facts = about.get("facts", {}), store.about_run(self.run.path)["facts"]
        if (
            differing
            or not store.facts.same_data(facts, self._experiment.identity)
            or not store.facts.same_parts(facts, own_facts)
            or not run.has(artifact)
        ):
            return None
        record = run.record(artifact)
        trees = {"network": run.load(artifact, "network", self._experiment.prunable.like)}
        if not record.get("snapshot"):
            trees["mask"] = run.load(artifact, "mask", self._experiment.prunable.dense)
        record.pop("dilation", None)
        return trees, record

    def _diverged_before(self, spec: NetworkSpec, replicate: int) -> bool:
        return diverged_before(self.run, self.config, spec, replicate)

    def _trained(self, requests: list[TrainRequest]) -> Generator[Progress, None, None]:
        """Train networks; those of which only states on the way are missing no longer than that."""
        again = [request for request in requests if self.run.has(request.artifact)]
        missing = [
            s for request in again for s, u in request.snapshots.items() if not self.run.has(u)
        ]
        short = (
            self._experiment.compile_training(until=max(missing))
            if missing
            else self._lab.compiled_training
        )
        for some, compiled_training in (
            (again, short),
            ([a for a in requests if a not in again], self._lab.compiled_training),
        ):
            yield from self._lab.train(some, compiled_training, pending=self._expected)
        self._left = self._missing()

    def _missing(self) -> int:
        """Return how many networks and comparisons the run lacks."""
        return sum(not self.run.has(artifact) for artifact in self._expected)

    def _compared_at(self, start_step: int) -> list[int]:
        """Return the steps of training after which twins are compared, the end aside."""
        if self._every is None:
            return []
        return [
            s
            for s in range(0, self._lab.compiled_training.plan.steps, self._every)
            if s > start_step
        ]

    def _compared(
        self, spec: NetworkSpec, length: str, replicate: int, steps: list[int]
    ) -> Generator[Progress, None, None]:
        """Compare all pairs of twins, at the steps and at the end, and average the twins."""
        pairs = twin_pairs(self.config)
        for at, numbers in itertools.product([*steps, None], pairs):
            artifact = artifacts.pair(self.config, spec, numbers, length, replicate, step=at)
            if self.run.has(artifact):
                continue
            record = {
                **record_of("pair", spec, replicate),
                "length": length,
                "twins": f"{numbers[0]}-{numbers[1]}",
                "compared_step": self._lab.compiled_training.plan.steps if at is None else at,
                "at_end": at is None,
            }
            ends = [artifacts.twin(spec, each, length, replicate) for each in numbers]
            names = [
                end if at is None else artifacts.at_step(spec, each, length, replicate, at)
                for end, each in zip(ends, numbers, strict=True)
            ]
            diverged = [self.run.record(end)["nan_step"] for end in ends]
            lost_at = [s for s in diverged if s is not None and (at is None or s <= at)]
            comparison = yield from self._pair(artifact, names, spec, replicate, lost_at)
            self._store(artifact, record | comparison)
            yield self._progress(artifact, finished=record | comparison)
        artifact = artifacts.averaged(self.config, spec, length, replicate)
        if not self.run.has(artifact):
            record = {**record_of("average", spec, replicate), "length": length}
            record |= {"twins": str(self.config.twins)}
            record |= self._averaged(spec, length, replicate)
            self._store(artifact, record)
            yield self._progress(artifact, finished=record)

    def _pair(
        self, artifact: str, names: list[str], spec: NetworkSpec, replicate: int, lost_at: list[int]
    ) -> Generator[Progress, None, dict[str, Any]]:
        """Return how two trained networks compare, in the columns of the table of results."""
        start = self._networks.start(spec, replicate)
        common = _counts(start.mask) | {
            "points": self.config.points,
            "estimated": self.config.estimate_statistics,
            "diverged_step": min(lost_at, default=None),
            "nan_step": None,
        }
        if lost_at:
            return common | {"test_instability": None, "train_instability": None}
        a, b = (self._lab.load(name) for name in names)
        groups = []
        for group in self._line.along(a, b, start.mask):
            groups.append(group)
            yield self._progress(artifact, points=sum(len(each["test_loss"]) for each in groups))
        along = {name: np.concatenate([group[name] for group in groups]) for name in groups[0]}
        curve = {"alpha": self._line.alphas.tolist()}
        curve |= {name: list(map(fit.number, values)) for name, values in along.items()}
        comparison = _barriers(along) | self._line.apart(a, b, start.mask)
        comparison |= self._way(spec, replicate, start, (a, b))
        return common | comparison | {"curve": curve}

    def _way(
        self, spec: NetworkSpec, replicate: int, start: Ticket, twins: tuple[Network, ...]
    ) -> dict[str, float]:
        """Return where the twins start: how far from initialisation and from their ends.

        References:
          Frankle 2023, section 4.3.
        """
        first = self._networks.state(0, replicate)
        to_end = [
            landscape.l2_distance(start.network.params, twin.params, mask=start.mask)
            for twin in twins
        ]
        before = landscape.l2_distance(first.params, start.network.params, mask=start.mask)
        metrics, dense = self._at_start(spec, replicate)
        return {
            "l2_from_initialization": float(before),
            "l2_to_end": float(np.mean(to_end)),
            **{f"{name}_at_start": value for name, value in metrics.items()},
            **{f"dense_{name}_at_start": value for name, value in dense.items()},
        }

    def _metrics_at_start(self, spec: NetworkSpec, replicate: int) -> tuple[Any, Any]:
        """Return the metrics of what twins start from, and of the dense network at that step."""
        state = Ticket(self._networks.state(spec.step, replicate), self._experiment.prunable.dense)
        start = self._networks.start(spec, replicate)
        return self._line.of_network(start), self._line.of_network(state)

    def _averaged(self, spec: NetworkSpec, length: str, replicate: int) -> dict[str, Any]:
        """Return how the mean of all twins does, and how they do themselves."""
        names = [artifacts.twin(spec, each, length, replicate) for each in range(self.config.twins)]
        diverged = (self.run.record(name)["nan_step"] for name in names)
        lost_at = [step for step in diverged if step is not None]
        mask = self._networks.start(spec, replicate).mask
        common = _counts(mask) | {
            "estimated": self.config.estimate_statistics,
            "diverged_step": min(lost_at, default=None),
            "nan_step": None,
        }
        if lost_at:
            return common | {"test_error": None, "train_error": None}
        networks = [self._lab.load(name) for name in names]
        mean = self._line.of_network(Ticket(landscape.average(networks), mask), estimate=True)
        twins = [self._line.of_network(Ticket(network, mask)) for network in networks]
        means = {
            f"twins_{name}": fit.number(np.mean(np.array([twin[name] for twin in twins], float)))
            for name in mean
        }
        return common | mean | means

    def _store(self, artifact: str, record: dict[str, Any]) -> None:
        self.run.save(artifact, {}, record)
        self._left = max(self._left - 1, 0)

    def _progress(
        self, artifact: str, *, points: int = 0, finished: dict[str, Any] | None = None
    ) -> Progress:
        done = () if finished is None else (finished,)
        return Progress((artifact,), points, self.config.points, 0, done, self._left)


def _barriers(along: Metrics) -> dict[str, float | None]:
    """Return the barriers of error and loss on a line, and the means of its ends.

    Without errors those are None.
    """
    numbers: dict[str, float | None] = {}
    for split in SPLITS:
        numbers |= {f"{split}_instability": None, f"{split}_error": None}
        for metric, barrier in (("error", "instability"), ("loss", "loss_barrier")):
            values = along.get(f"{split}_{metric}")
            if values is not None:
                numbers[f"{split}_{barrier}"] = fit.number(landscape.barrier(jnp.asarray(values)))
                numbers[f"{split}_{metric}"] = fit.number(values[[0, -1]].mean())
    return numbers


def _counts(mask: masks.Mask) -> dict[str, Any]:
    kept, prunable = int(masks.kept(mask)), masks.size(mask)
    return {"density": kept / prunable, "kept": kept, "prunable": prunable}
