"""The networks of an analysis: what each starts from."""

import functools
from typing import Any

import jax

from jaxlth import masks, settings, training
from jaxlth.models import Network
from jaxlth.store import Run
from jaxlth.studies import controls, score_names, score_pruning, scoring
from jaxlth.studies.controls import TICKET
from jaxlth.studies.instability import artifacts
from jaxlth.studies.instability.config import (
    DENSE,
    OF_IMP,
    REMAINING,
    InstabilityConfig,
    NetworkSpec,
    check_networks,
    imp,
)
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import keep_by_level
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.prunable import KeepCount
from jaxlth.studies.train import Ticket, TrainRequest


class InstabilityNetworks:
    """What each network of a run starts from."""

    def __init__(self, lab: Lab) -> None:
        self.config: InstabilityConfig = lab.config
        self.run = lab.run
        self._lab = lab
        self._experiment = lab.experiment
        self._dense = lab.dense_mask
        self._keep = keep_by_level(imp(self.config, 0), self._dense)
        self._score = functools.cache(lab.experiment.score)
        self.start = functools.lru_cache(maxsize=2 * self.config.replicates)(self._start)

    # What is asked for.

    def request_dense(self, replicate: int) -> TrainRequest:
        """Return the request for the dense training, which keeps the states twins start from."""
        steps = [step for step in self.config.rewind_steps if step > 0]
        return TrainRequest(
            artifact=artifacts.dense(replicate),
            start=lambda: Ticket(self.state(0, replicate), self._dense),
            key=self._lab.key("order", replicate, 0),
            start_step=0,
            record=record_of("dense", NetworkSpec(0, DENSE), replicate),
            snapshots={step: artifacts.snapshot(step, replicate) for step in steps},
        )

    def request_level(self, step: int, number: int, replicate: int) -> TrainRequest:
        """Return the request for a ticket that IMP trains in order to prune it."""
        spec = NetworkSpec(step, TICKET, level=number)
        return TrainRequest(
            artifact=artifacts.level(step, number, replicate),
            start=functools.partial(self.start, spec, replicate),
            key=self._lab.key("order", replicate, number),
            start_step=step,
            record=record_of("found", spec, replicate),
        )

    def request_twin(
        self, spec: NetworkSpec, number: int, length: str, replicate: int, steps: list[int]
    ) -> TrainRequest:
        """Return the request for a twin, which keeps itself at some steps of its training."""
        return TrainRequest(
            artifact=artifacts.twin(spec, number, length, replicate),
            start=functools.partial(self.start, spec, replicate),
            key=self._lab.key("twins", replicate, number),
            start_step=spec.step if length == REMAINING else 0,
            record=record_of("twin", spec, replicate) | {"length": length, "twins": str(number)},
            snapshots={
                step: artifacts.at_step(spec, number, length, replicate, step) for step in steps
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
            return self._lab.load(artifacts.snapshot(step, replicate))
        return jax.device_get(self._lab.init(replicate))

    def _start(self, spec: NetworkSpec, replicate: int) -> Ticket:
        state = self.state(spec.step, replicate)
        if spec.network == DENSE:
            return Ticket(state, self._dense)
        if spec.network not in OF_IMP:
            return Ticket(state, self._scored(spec, state, replicate))
        level = spec.level or 0
        ticket = Ticket(state, self._imp_mask(spec.step, level, replicate))
        which = {"seed": self.config.seed, "replicate": replicate, "level": level}
        made = controls.make(ticket, spec.network, self._lab.draw, within=self._dense, **which)
        return jax.device_get(made)

    def _imp_mask(self, step: int, number: int, replicate: int) -> masks.Mask:
        """Return the mask that IMP finds by rewinding to a step: stored, or pruned now."""
        if number == 0:
            return self._dense
        own = artifacts.level(step, number, replicate)
        if self.run.has(own):
            return self._lab.load_mask(own)
        before = self._artifact_before(step, number, replicate)
        trained = self._lab.load(before)
        denser = self._imp_mask(step, 0 if self.config.one_shot else number - 1, replicate)
        return self._lab.by_magnitude(trained.params, denser, self._keep[number])

    def _artifact_before(self, step: int, number: int, replicate: int) -> str:
        """Return the name of the trained network that a level prunes."""
        if number == 1 or self.config.one_shot:
            return artifacts.dense(replicate)
        return artifacts.level(step, number - 1, replicate)

    def _scored(self, spec: NetworkSpec, state: Network, replicate: int) -> masks.Mask:
        """Return what a score keeps of the state of a step."""
        keep: KeepCount = self._experiment.prunable.keeping(spec.density or 1.0)
        batch: Any = None
        if spec.network in score_names.SEES_DATA or score_names.batch_readers([spec.network]):
            batch = self._examples(replicate)
        score_inputs = scoring.ScoreInputs(
            network=state,
            initial=state.params,
            batch=batch,
            key=self._lab.key("score", replicate),
            mean=self._experiment.mean,
        )
        return score_pruning.pruned(
            self._score(spec.network),
            (spec.network,),
            self._dense,
            score_inputs,
            keep=keep,
            rounds=self.config.rounds or score_names.published_rounds(spec.network),
            spacing="exponential",
        )

    def _examples(self, replicate: int) -> Any:
        return self._experiment.examples(replicate, per_class=self.config.per_class)


def check(experiment: LoadedExperiment) -> None:
    """Raise ValueError where something asked for cannot be, before anything is trained."""
    spec = experiment.prunable
    config: InstabilityConfig = spec.config
    experiment.check_classes("Networks are compared by their classes on")
    keep_by_level(imp(config, 0), spec.dense)
    for density in config.densities:
        spec.check_pruned(density)
    for network in set(config.networks) & set(score_names.AT_A_STEP) - set(OF_IMP):
        experiment.score(network)  # which says what it needs
    if set(config.networks) & set(score_names.SEES_DATA):
        experiment.examples(0, per_class=config.per_class)
    settings.require(
        not config.estimate_statistics or bool(jax.tree.leaves(spec.like.stats)),
        "`estimate_statistics` has no effect on a network without batch norm.",
    )
    plan = experiment.plan(1.0)
    every = compared_every(config, plan.steps_per_epoch)
    check_networks(config, comparisons=1 + plan.steps // every if every else 1)


def compared_every(config: InstabilityConfig, steps_per_epoch: int) -> int | None:
    """Return the steps between comparisons in training, None for none."""
    if config.compare_every is None:
        return None
    training.check_whole("compare_every", config.compare_every, config.training)
    per_unit = steps_per_epoch if config.training.steps is None else 1
    return training.time_in_steps("compare_every", config.compare_every, per_unit=per_unit)


def diverged_before(run: Run, config: InstabilityConfig, spec: NetworkSpec, replicate: int) -> bool:
    """Return whether a network diverged on the way to a ticket: there is none then."""
    if spec.level is None:
        return False
    on_the_way = range(1, 1 if config.one_shot else spec.level)
    levels = [artifacts.level(spec.step, number, replicate) for number in on_the_way]
    return any(
        run.has(artifact) and run.record(artifact)["nan_step"] is not None
        for artifact in (artifacts.dense(replicate), *levels)
    )


def record_of(kind: str, spec: NetworkSpec, replicate: int) -> dict[str, Any]:
    """Return what the record of an artifact says before there is a result."""
    pruned = 0 if spec.network == DENSE else 1
    return {
        "job": "instability",
        "kind": kind,
        "replicate": replicate,
        "level": pruned if spec.level is None else spec.level,
        "control": score_names.label(spec.network),
        "step_k": spec.step,
        "asked_density": spec.density,
    }
