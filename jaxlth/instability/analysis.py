"""The work at a step: levels of IMP, twins, comparisons."""

import functools
import itertools
import pathlib
from collections.abc import Generator
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxlth import hosts, landscape, masks, settings, store, tickets, work
from jaxlth.instability import choices
from jaxlth.instability.choices import OF_IMP, Subject
from jaxlth.instability.comparing import Line
from jaxlth.instability.job import Job, compared_every, described, lost
from jaxlth.models import Network
from jaxlth.store import Run
from jaxlth.tickets import ImpConfig, Problem
from jaxlth.work import Progress, Ticket, TrainRequest


class Analysis:
    """Trains and compares what a run lacks."""

    def __init__(
        self, problem: Problem[tickets.Subject], run: Run, *, checkpoint_seconds: float
    ) -> None:
        self.config = problem.subject.config
        self.run = run
        self._job = Job(problem, run)
        self._problem, self._course = problem, problem.course()
        self._checkpoint_seconds = checkpoint_seconds
        self._at_start = functools.lru_cache(maxsize=8)(self._errors_at_start)
        self._left = self._missing()  # networks and comparisons still to be made, at most
        self._every = compared_every(self.config, self._course.plan.steps_per_epoch)
        self._line = Line(
            problem,
            self._course,
            points=self.config.points,
            estimate=self.config.estimate_statistics,
        )

    def dense(self) -> Generator[Progress, None, None]:
        """Train the dense networks, whose states all else starts from."""
        for step, replicate in itertools.product(
            sorted({0, *self.config.steps_k}), self._replicates()
        ):
            self._adopt_dense(step, replicate)
        yield from self._trained([self._job.request_dense(r) for r in self._replicates()])

    def at(self, step: int) -> Generator[Progress, None, None]:
        """Train and compare everything that is asked for at a step."""
        subjects = choices.subjects(self.config, step)
        if any(subject.network in OF_IMP for subject in subjects):
            for level in self._job.levels_before():
                yield from self._level(step, level)
        for subject in subjects:
            there = [r for r in self._replicates() if not self._lost(subject, r)]
            for length in choices.lengths(self.config, step):
                steps = self._compared_at(step if length == choices.REMAINING else 0)
                yield from self._trained(
                    [
                        self._job.request_twin(subject, number, length, replicate, steps)
                        for replicate in there
                        for number in range(self.config.twins)
                    ]
                )
                for replicate in there:
                    yield from self._compared(subject, length, replicate, steps)

    def _level(self, step: int, level: int) -> Generator[Progress, None, None]:
        """Train the tickets of a level that are to be pruned further."""
        subject = Subject(step, tickets.TICKET, level=level)
        for replicate in self._replicates():
            unit, its_unit = (
                choices.level(step, level, replicate),
                tickets.unit(level, tickets.TICKET, replicate),
            )
            self._adopt(unit, step, its_unit, described("found", subject, replicate))
        yield from self._trained(
            [
                self._job.request_level(step, level, replicate)
                for replicate in self._replicates()
                if not self._lost(subject, replicate)
            ]
        )

    def _adopt_dense(self, step: int, replicate: int) -> None:
        """Take over a dense network, and its state at a step."""
        whole = described("dense", Subject(0, choices.DENSE), replicate)
        level_0 = tickets.unit(0, tickets.TICKET, replicate)
        self._adopt(choices.dense(replicate), step, level_0, whole)
        if step:
            snapshot, state = choices.snapshot(step, replicate), tickets.rewound(replicate)
            self._adopt(snapshot, step, state, {})

    def _adopt(self, unit: str, step: int, its_unit: str, record: dict[str, Any]) -> None:
        """Take over what `jaxlth imp` has trained, rewinding to a step, in this folder of runs.

        Nothing comes from a run of other data, or of data that it does not identify.
        """
        asked = choices.imp(self.config, step)
        label = tickets.label(self.config)
        folder = store.folder(self.run.path.parent, asked, job="imp", label=label)
        if self.run.has(unit) or not hosts.by_lead(lambda: store.is_run(folder)):
            return
        try:
            whole = self._read(folder, asked, its_unit)
        except store.StoreError as error:  # then it is trained here
            store.damage.name(error)
            return
        if whole is not None:
            trees, its_record = whole
            self.run.save(unit, trees, its_record | record | {"adopted": folder.name})

    def _read(
        self, folder: pathlib.Path, asked: ImpConfig, unit: str
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return trees and record of a network of a run of `jaxlth imp`, None if it has it not."""
        run = store.look(folder)
        about = store.about_run(folder)
        differing = settings.differences(about["settings"], asked)
        same_data = store.facts.same_data(about.get("facts", {}), self._problem.identity)
        if differing or not same_data or not run.has(unit):
            return None
        record = run.record(unit)
        trees = {"network": run.load(unit, "network", self._problem.subject.like)}
        if not record.get("snapshot"):
            trees["mask"] = run.load(unit, "mask", self._problem.subject.dense)
        record.pop("dilation", None)
        return trees, record

    def _replicates(self) -> range:
        return range(self.config.replicates)

    def _lost(self, subject: Subject, replicate: int) -> bool:
        return lost(self.run, self.config, subject, replicate)

    def _trained(self, requests: list[TrainRequest]) -> Generator[Progress, None, None]:
        """Train networks; those of which only states on the way are missing no longer than that."""
        again = [request for request in requests if self.run.has(request.unit)]
        missing = [
            s for request in again for s, u in request.snapshots.items() if not self.run.has(u)
        ]
        short = self._problem.course(until=max(missing)) if missing else self._course
        for some, course in (
            (again, short),
            ([a for a in requests if a not in again], self._course),
        ):
            later = self._left - sum(not self.run.has(request.unit) for request in some)
            yield from work.train(
                self.run,
                some,
                course,
                self._problem.placed,
                later=max(later, 0),
                checkpoint_seconds=self._checkpoint_seconds,
            )
        self._left = self._missing()

    def _missing(self) -> int:
        """Return how many networks and comparisons the run lacks."""
        asked = choices.units(self.config, self.config.steps_k)
        return sum(not self.run.has(unit) for unit in asked)

    def _compared_at(self, begin: int) -> list[int]:
        """Return the steps of training after which twins are compared, the end aside."""
        if self._every is None:
            return []
        return [s for s in range(0, self._course.plan.steps, self._every) if s > begin]

    def _compared(
        self, subject: Subject, length: str, replicate: int, steps: list[int]
    ) -> Generator[Progress, None, None]:
        """Compare all pairs of twins, at the steps and at the end, and average the twins."""
        pairs = choices.pairs(self.config)
        for at, numbers in itertools.product([*steps, None], pairs):
            unit = choices.pair(self.config, subject, numbers, length, replicate, step=at)
            if self.run.has(unit):
                continue
            record = {
                **described("pair", subject, replicate),
                "length": length,
                "twins": f"{numbers[0]}-{numbers[1]}",
                "compared_step": self._course.plan.steps if at is None else at,
                "at_end": at is None,
            }
            ends = [choices.twin(subject, each, length, replicate) for each in numbers]
            units = [
                end if at is None else choices.at_step(subject, each, length, replicate, at)
                for end, each in zip(ends, numbers, strict=True)
            ]
            diverged = [self.run.record(end)["nan_step"] for end in ends]
            lost_at = [s for s in diverged if s is not None and (at is None or s <= at)]
            found = yield from self._pair(unit, units, subject, replicate, lost_at)
            self._store(unit, record | found)
            yield self._progress(unit, finished=record | found)
        unit = choices.averaged(self.config, subject, length, replicate)
        if not self.run.has(unit):
            record = {**described("average", subject, replicate), "length": length}
            record |= {"twins": str(self.config.twins)}
            record |= self._averaged(subject, length, replicate)
            self._store(unit, record)
            yield self._progress(unit, finished=record)

    def _pair(
        self, unit: str, units: list[str], subject: Subject, replicate: int, lost_at: list[int]
    ) -> Generator[Progress, None, dict[str, Any]]:
        """Return how two trained networks compare, in the columns of the table of results."""
        start = self._job.start(subject, replicate)
        known = _counts(start.mask) | {
            "points": self.config.points,
            "estimated": self.config.estimate_statistics,
            "diverged_step": min(lost_at, default=None),
            "nan_step": None,
        }
        if lost_at:
            return known | {"test_instability": None, "train_instability": None}
        a, b = (self._network(name) for name in units)
        groups = []
        for group in self._line.errors(a, b, start.mask):
            groups.append(group)
            yield self._progress(unit, points=sum(len(each["test"]) for each in groups))
        curve = {"alpha": self._line.alphas.tolist()}
        found: dict[str, Any] = {}
        for split in ("test", "train"):
            errors = np.concatenate([group[split] for group in groups])
            found[f"{split}_instability"] = float(landscape.barrier(jnp.asarray(errors)))
            found[f"{split}_error"] = float(errors[[0, -1]].mean())
            curve[f"{split}_error"] = errors.tolist()
        found |= self._line.apart(a, b, start.mask) | self._way(subject, replicate, start, (a, b))
        return known | found | {"curve": curve}

    def _way(
        self, subject: Subject, replicate: int, start: Ticket, twins: tuple[Network, ...]
    ) -> dict[str, float]:
        """Return where the twins start: how far from initialisation and from their ends.

        References:
          Frankle 2023, section 4.3.
        """
        first = self._job.state(0, replicate)
        to_end = [
            landscape.l2_distance(start.network.params, twin.params, mask=start.mask)
            for twin in twins
        ]
        before = landscape.l2_distance(first.params, start.network.params, mask=start.mask)
        errors, whole = self._at_start(subject, replicate)
        return {
            "l2_from_initialization": float(before),
            "l2_to_end": float(np.mean(to_end)),
            "test_error_at_start": errors["test"],
            "train_error_at_start": errors["train"],
            "dense_test_error_at_start": whole["test"],
            "dense_train_error_at_start": whole["train"],
        }

    def _errors_at_start(self, subject: Subject, replicate: int) -> tuple[Any, Any]:
        """Return the errors of what twins start from, and of the dense network at that step."""
        state = Ticket(self._job.state(subject.step, replicate), self._problem.subject.dense)
        start = self._job.start(subject, replicate)
        return self._line.error(start), self._line.error(state)

    def _averaged(self, subject: Subject, length: str, replicate: int) -> dict[str, Any]:
        """Return how the mean of all twins does, and how they do themselves."""
        units = [
            choices.twin(subject, each, length, replicate) for each in range(self.config.twins)
        ]
        diverged = (self.run.record(name)["nan_step"] for name in units)
        lost_at = [step for step in diverged if step is not None]
        mask = self._job.start(subject, replicate).mask
        known = _counts(mask) | {
            "estimated": self.config.estimate_statistics,
            "diverged_step": min(lost_at, default=None),
            "nan_step": None,
        }
        if lost_at:
            return known | {"test_error": None, "train_error": None}
        networks = [self._network(name) for name in units]
        mean = self._line.error(Ticket(landscape.average(networks), mask), estimate=True)
        own = [self._line.error(Ticket(network, mask)) for network in networks]
        return known | {
            "test_error": mean["test"],
            "train_error": mean["train"],
            "twins_test_error": float(np.mean([each["test"] for each in own])),
            "twins_train_error": float(np.mean([each["train"] for each in own])),
        }

    def _network(self, unit: str) -> Network:
        return self.run.load(unit, "network", self._problem.subject.like)

    def _store(self, unit: str, record: dict[str, Any]) -> None:
        self.run.save(unit, {}, record)
        self._left = max(self._left - 1, 0)

    def _progress(
        self, unit: str, *, points: int = 0, finished: dict[str, Any] | None = None
    ) -> Progress:
        done = () if finished is None else (finished,)
        return Progress((unit,), points, self.config.points, 0, done, self._left)


def _counts(mask: masks.Mask) -> dict[str, Any]:
    kept, prunable = int(masks.kept(mask)), masks.size(mask)
    return {"density": kept / prunable, "kept": kept, "prunable": prunable}
