"""Trained supermasks: a network learns which of its weights to keep, and never the weights.

    bernoulli   each weight is kept with a probability that is trained (Zhou et al. 2019)
    edge-popup  the best scores of each layer are kept (Ramanujan et al. 2020)
    gem-miner   scores are rounded, the lowest frozen out (Sreenivasan et al. 2022)

What is found is an ordinary mask. Its weights may be trained then (rare gems), beside controls and
dense networks. Each network is a unit of the run's folder, "density_0.1/edge-popup/replicate_0",
and is trained only if the folder lacks it: asking for more densities, controls or replicates
extends a run. Frozen weights are drawn by the key that initial weights of other jobs come from.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Generator
from typing import Any

import jax

from jaxlth import keys, masks, supermasks, tickets, training
from jaxlth.mask_training import choices
from jaxlth.mask_training.choices import (
    DENSE,
    FINETUNED,
    UNTRAINED,
    MaskTrainingConfig,
    Wanted,
    units,
)
from jaxlth.models import Network
from jaxlth.store import Run
from jaxlth.tickets import Problem, Subject, controls, label
from jaxlth.work import Progress, Ticket, TrainRequest

__all__ = [
    "FINETUNED",
    "UNTRAINED",
    "MaskTrainingConfig",
    "Wanted",
    "complete",
    "find",
    "label",
    "prepare",
    "train_masks",
    "units",
]


def prepare(config: MaskTrainingConfig) -> Problem[Subject]:
    """Return the problem that settings describe, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    problem = tickets.posed(config, tickets.subject)
    for _, rule in choices.rules(config):
        _wrapped(problem, rule)
    if config.finetune:
        per_epoch = problem.plan(1.0).steps_per_epoch if config.training.steps is None else 1
        training.time_in_steps("finetune", config.finetune, per_unit=per_epoch)
        _finetuned(problem).plan(1.0)  # raises where it has too many steps or evaluations
    return problem


def _finetuned(problem: Problem[Subject]) -> Problem[Subject]:
    """Return the problem of training the weights after the masks."""
    config: MaskTrainingConfig = problem.subject.config
    length, optimizer = choices.finetuning(config)
    own = dataclasses.replace(config, training=length, optimizer=optimizer)
    return dataclasses.replace(problem, subject=dataclasses.replace(problem.subject, config=own))


def train_masks(
    problem: Problem[Subject], run: Run, *, checkpoint_seconds: float
) -> Generator[Progress, None, None]:
    """Train masks, and the weights that they keep if asked to, as far as the run lacks them.

    Args:
      problem: what is wanted, as `prepare` returns it.
      run: where results are looked for and stored.
      checkpoint_seconds: time between checkpoints within a network's training.

    Yields:
      Progress, about once a second.
    """
    config: MaskTrainingConfig = problem.subject.config
    tickets.begin(problem, run, units(config))
    trained = tickets.trains(
        problem, run, lambda: units(config), checkpoint_seconds=checkpoint_seconds
    )
    everyone = range(config.replicates)
    for wanted, rule in choices.rules(config):
        within = _wrapped(problem, rule)
        requests = [_request_mask(within, wanted, rule, replicate) for replicate in everyone]
        change = functools.partial(supermasks.optimizer, rule)
        yield from trained(requests, within.course(change=change))
    if config.finetune:
        again = _finetuned(problem)
        requests = [
            _request_weights(again.subject, run, wanted, replicate)
            for wanted in choices.finetuned(config)
            for replicate in everyone
            if not _lost(run, wanted, replicate)
        ]
        yield from trained(requests, again.course())
    tickets.plan(run, ())


def complete(config: MaskTrainingConfig, path: pathlib.Path) -> bool:
    """Return whether the run in a folder has everything that settings ask for.

    Args:
      config: what is wanted.
      path: folder of the run, which need not exist.
    """
    every = [*choices.masked(config), *choices.finetuned(config)]
    return tickets.has_all(
        path,
        lambda run: all(
            run.has(wanted.unit(replicate)) or _lost(run, wanted, replicate)
            for wanted in every
            for replicate in range(config.replicates)
        ),
    )


def find(run: Run, wanted: Wanted, replicate: int) -> Ticket:
    """Return a network of a run: the mask that was trained, and the weights that it starts from.

    Raises:
      ValueError: the run has no such network.
    """
    config, images = tickets.described(run, MaskTrainingConfig)
    name = wanted.unit(replicate)
    tickets.must_have(run, name)
    return _start(tickets.subject(config, **images), run, wanted, replicate)


def _wrapped(problem: Problem[Subject], rule: supermasks.SupermaskConfig) -> Problem[Subject]:
    """Return the problem with scores in place of weights.

    Raises:
      ValueError: the training is too short for gem-miner.
    """
    subject = problem.subject
    steps, prunable = problem.plan(1.0).steps, _prunable(subject.config)
    model = supermasks.wrap(subject.model, rule, steps=steps, prunable=prunable)
    like = jax.eval_shape(model.init, keys.stream(0, 0, ""))
    own = dataclasses.replace(subject, model=model, like=like, dense=masks.dense(like.params))
    return dataclasses.replace(problem, subject=own)


def _prunable(config: MaskTrainingConfig) -> Callable[[masks.Params], masks.Mask]:
    return lambda params: masks.without(masks.dense(params), config.leave_out)


def _request_mask(
    problem: Problem[Subject], wanted: Wanted, rule: supermasks.SupermaskConfig, replicate: int
) -> TrainRequest:
    """Return the request for a trained mask, which is stored with the network within."""
    subject = problem.subject
    seed = subject.config.seed

    def start() -> Ticket:
        init = jax.jit(subject.model.init)
        return Ticket(init(keys.stream(seed, replicate, "initialization")), subject.dense)

    def restore(network: Network) -> Ticket:
        inner = supermasks.inner(network, rule), supermasks.found(network, rule)
        return Ticket(*jax.device_get(inner))

    return TrainRequest(
        unit=wanted.unit(replicate),
        start=start,
        key=keys.stream(seed, replicate, "order"),
        begin=0,
        record=_described(wanted, subject.config, replicate),
        restore=restore,
    )


def _request_weights(subject: Subject, run: Run, wanted: Wanted, replicate: int) -> TrainRequest:
    """Return the request for a network whose weights are trained under a mask that was."""
    order = keys.stream(subject.config.seed, replicate, "order")
    return TrainRequest(
        unit=wanted.unit(replicate),
        start=functools.partial(_start, subject, run, wanted, replicate),
        key=keys.fold(order, 1),
        begin=0,
        record=_described(wanted, subject.config, replicate),
    )


def _start(subject: Subject, run: Run, wanted: Wanted, replicate: int) -> Ticket:
    """Return what a network starts from; of an untrained one that is what it stays."""
    config: MaskTrainingConfig = subject.config
    if wanted.method == DENSE:
        key = keys.stream(config.seed, replicate, "initialization")
        return Ticket(jax.jit(subject.model.init)(key), subject.dense)
    unit = wanted.source.unit(replicate)
    network = run.load(unit, "network", subject.like)
    ticket = Ticket(network, run.load(unit, "mask", subject.dense))
    rule = config.supermask.at(wanted.density)

    def drawn(key: jax.Array) -> Network:
        """Return other weights, made as those were that the mask was trained on."""
        new = supermasks.drawn(subject.model, rule, key=key, prunable=_prunable(config))
        return new._replace(params=supermasks.rescaled(new.params, ticket.mask, rule))

    kept = int(masks.kept(ticket.mask))
    which = {"seed": config.seed, "replicate": replicate, "level": kept}
    return controls.changed(ticket, wanted.control, drawn, **which)


def _lost(run: Run, wanted: Wanted, replicate: int) -> bool:
    """Return whether the training of the mask that a network has is known to have diverged."""
    unit = wanted.source.unit(replicate)
    of_mask = wanted.method != DENSE and run.has(unit)
    return of_mask and run.record(unit)["nan_step"] is not None


def _described(wanted: Wanted, config: MaskTrainingConfig, replicate: int) -> dict[str, Any]:
    """Return what is known of a network beforehand, in the columns of `jaxlth early`."""
    dense, ticket = wanted.method == DENSE, wanted.control == tickets.TICKET
    standard = dense or config.supermask.weights == "as-drawn"
    return {
        "job": "train-mask",
        "replicate": replicate,
        "level": 0 if dense else 1,
        "control": str(wanted),
        "score": "none" if dense else wanted.method,
        "schedule": "none" if dense else wanted.schedule,
        "ablation": "none" if ticket else wanted.control,
        "weights": "standard" if standard else config.supermask.weights,
        "prune_step": 0,
        "link": False,
    }
