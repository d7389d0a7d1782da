"""The networks of an analysis: what each starts from."""

import functools
from typing import Any

import jax

from jaxlth import keys, masks, settings, tickets, training
from jaxlth.instability import choices
from jaxlth.instability.choices import DENSE, OF_IMP, InstabilityConfig, Subject
from jaxlth.models import Network
from jaxlth.store import Run
from jaxlth.tickets import TICKET, Keep, Problem, controls, scoring
from jaxlth.work import Ticket, TrainRequest


class Job:
    """What each unit of a run is made of."""

    def __init__(self, problem: Problem[tickets.Subject], run: Run) -> None:
        self.config: InstabilityConfig = problem.subject.config
        self.run = run
        self._problem = problem
        self._like, self._dense = problem.subject.like, problem.subject.dense
        self._keep = tickets.kept_by_level(choices.imp(self.config, 0), self._dense)
        self._init = jax.jit(problem.subject.model.init)
        self._select = jax.jit(problem.subject.by_magnitude)
        self._score = functools.cache(problem.score)
        self.start = functools.lru_cache(maxsize=2 * self.config.replicates)(self._start)

    # What is asked for.

    def request_dense(self, replicate: int) -> TrainRequest:
        """Return the request for the dense training, which keeps the states twins start from."""
        steps = [step for step in self.config.steps_k if step > 0]
        return TrainRequest(
            unit=choices.dense(replicate),
            start=lambda: Ticket(self.state(0, replicate), self._dense),
            key=self._order(replicate, 0),
            begin=0,
            record=described("dense", Subject(0, DENSE), replicate),
            snapshots={step: choices.snapshot(step, replicate) for step in steps},
        )

    def request_level(self, step: int, number: int, replicate: int) -> TrainRequest:
        """Return the request for a ticket that IMP trains in order to prune it."""
        subject = Subject(step, TICKET, level=number)
        return TrainRequest(
            unit=choices.level(step, number, replicate),
            start=functools.partial(self.start, subject, replicate),
            key=self._order(replicate, number),
            begin=step,
            record=described("found", subject, replicate),
        )

    def request_twin(
        self, subject: Subject, number: int, length: str, replicate: int, steps: list[int]
    ) -> TrainRequest:
        """Return the request for a twin, which keeps itself at some steps of its training."""
        return TrainRequest(
            unit=choices.twin(subject, number, length, replicate),
            start=functools.partial(self.start, subject, replicate),
            key=keys.fold(keys.stream(self.config.seed, replicate, "twins"), number),
            begin=subject.step if length == choices.REMAINING else 0,
            record=described("twin", subject, replicate) | {"length": length, "twins": str(number)},
            snapshots={
                step: choices.at_step(subject, number, length, replicate, step) for step in steps
            },
        )

    def levels_before(self) -> range:
        """Return the levels of IMP that are trained in order to be pruned."""
        most = max(self.config.levels, default=0)
        return range(1, 1 if self.config.one_shot else most)

    # What a network starts from.

    def state(self, step: int, replicate: int) -> Network:
        """Return the dense network at a step of its training."""
        if step:
            return self.run.load(choices.snapshot(step, replicate), "network", self._like)
        return jax.device_get(
            self._init(keys.stream(self.config.seed, replicate, "initialization"))
        )

    def _start(self, subject: Subject, replicate: int) -> Ticket:
        state = self.state(subject.step, replicate)
        if subject.network == DENSE:
            return Ticket(state, self._dense)
        if subject.network not in OF_IMP:
            return Ticket(state, self._scored(subject, state, replicate))
        level = subject.level or 0
        ticket = Ticket(state, self._found(subject.step, level, replicate))
        which = {"seed": self.config.seed, "replicate": replicate, "level": level}
        return jax.device_get(controls.changed(ticket, subject.network, self._init, **which))

    def _found(self, step: int, number: int, replicate: int) -> masks.Mask:
        """Return the mask that IMP finds by rewinding to a step: stored, or pruned now."""
        if number == 0:
            return self._dense
        own = choices.level(step, number, replicate)
        if self.run.has(own):
            return self.run.load(own, "mask", self._dense)
        before = self._unit_before(step, number, replicate)
        trained = self.run.load(before, "network", self._like)
        denser = self._found(step, 0 if self.config.one_shot else number - 1, replicate)
        return jax.device_get(self._select(trained.params, denser, self._keep[number]))

    def _unit_before(self, step: int, number: int, replicate: int) -> str:
        """Return the unit of the trained network that a level prunes."""
        if number == 1 or self.config.one_shot:
            return choices.dense(replicate)
        return choices.level(step, number - 1, replicate)

    def _scored(self, subject: Subject, state: Network, replicate: int) -> masks.Mask:
        """Return what a score keeps of the state of a step."""
        keep: Keep = self._problem.subject.keeping(subject.density or 1.0)
        batch: Any = None
        if subject.network in scoring.SEES_DATA:
            batch = self._examples(replicate)
        known = scoring.Known(
            network=state,
            initial=state.params,
            batch=batch,
            key=keys.stream(self.config.seed, replicate, "score"),
            mean=self._problem.mean,
        )
        return scoring.pruned(
            self._score(subject.network),
            (subject.network,),
            self._dense,
            known,
            keep=keep,
            rounds=self.config.rounds or scoring.published_rounds(subject.network),
            spacing="exponential",
        )

    def _examples(self, replicate: int) -> Any:
        return self._problem.examples(replicate, per_class=self.config.per_class)

    def _order(self, replicate: int, level: int) -> jax.Array:
        return keys.fold(keys.stream(self.config.seed, replicate, "order"), level)


def check(problem: Problem[tickets.Subject]) -> None:
    """Raise ValueError where something asked for cannot be, before anything is trained."""
    subject = problem.subject
    config: InstabilityConfig = subject.config
    problem.check_classes("Networks are compared by their classes on")
    tickets.kept_by_level(choices.imp(config, 0), subject.dense)
    for density in config.densities:
        subject.check_pruned(density)
    if set(config.networks) & set(scoring.SEES_DATA):
        problem.examples(0, per_class=config.per_class)
    settings.require(
        not config.estimate_statistics or bool(jax.tree.leaves(subject.like.stats)),
        "`estimate_statistics` has no effect on a network without batch norm.",
    )
    plan = problem.plan(1.0)
    every = compared_every(config, plan.steps_per_epoch)
    choices.check_networks(config, comparisons=1 + plan.steps // every if every else 1)


def compared_every(config: InstabilityConfig, steps_per_epoch: int) -> int | None:
    """Return the steps between comparisons in training, None for none."""
    if config.compare_every is None:
        return None
    training.check_whole("compare_every", config.compare_every, config.training)
    unit = steps_per_epoch if config.training.steps is None else 1
    return training.time_in_steps("compare_every", config.compare_every, per_unit=unit)


def lost(run: Run, config: InstabilityConfig, subject: Subject, replicate: int) -> bool:
    """Return whether a network diverged on the way to a ticket: there is none then."""
    if subject.level is None:
        return False
    on_the_way = range(1, 1 if config.one_shot else subject.level)
    levels = [choices.level(subject.step, number, replicate) for number in on_the_way]
    return any(
        run.has(unit) and run.record(unit)["nan_step"] is not None
        for unit in (choices.dense(replicate), *levels)
    )


def described(kind: str, subject: Subject, replicate: int) -> dict[str, Any]:
    """Return what is known of a unit beforehand."""
    pruned = 0 if subject.network == DENSE else 1
    return {
        "job": "instability",
        "kind": kind,
        "replicate": replicate,
        "level": pruned if subject.level is None else subject.level,
        "control": subject.network,
        "step_k": subject.step,
        "asked_density": subject.density,
    }
