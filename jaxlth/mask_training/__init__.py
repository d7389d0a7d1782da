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
    MaskTrainingSettings,
    Wanted,
    units,
)
from jaxlth.models import Network
from jaxlth.store import Run
from jaxlth.tickets import Problem, Subject, controls, label
from jaxlth.work import Ask, Progress, Start

__all__ = [
    "FINETUNED",
    "UNTRAINED",
    "MaskTrainingSettings",
    "Wanted",
    "complete",
    "find",
    "label",
    "prepare",
    "train_masks",
    "units",
]


def prepare(chosen: MaskTrainingSettings) -> Problem[Subject]:
    """Return the problem that settings describe, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    problem = tickets.posed(chosen, tickets.subject)
    for _, rule in choices.rules(chosen):
        _wrapped(problem, rule)
    if chosen.finetune:
        per_epoch = problem.plan(1.0).steps_per_epoch if chosen.training.steps is None else 1
        training.time_in_steps("finetune", chosen.finetune, per_unit=per_epoch)
        _finetuned(problem).plan(1.0)  # raises where it has too many steps or evaluations
    return problem


def _finetuned(problem: Problem[Subject]) -> Problem[Subject]:
    """Return the problem of training the weights after the masks."""
    chosen: MaskTrainingSettings = problem.subject.chosen
    length, optimizer = choices.finetuning(chosen)
    own = dataclasses.replace(chosen, training=length, optimizer=optimizer)
    return dataclasses.replace(problem, subject=dataclasses.replace(problem.subject, chosen=own))


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
    chosen: MaskTrainingSettings = problem.subject.chosen
    tickets.begin(problem, run, units(chosen))
    trained = tickets.trains(
        problem, run, lambda: units(chosen), checkpoint_seconds=checkpoint_seconds
    )
    everyone = range(chosen.replicates)
    for wanted, rule in choices.rules(chosen):
        within = _wrapped(problem, rule)
        asks = [_ask_mask(within, wanted, rule, replicate) for replicate in everyone]
        change = functools.partial(supermasks.optimizer, rule)
        yield from trained(asks, within.course(change=change))
    if chosen.finetune:
        again = _finetuned(problem)
        asks = [
            _ask_weights(again.subject, run, wanted, replicate)
            for wanted in choices.finetuned(chosen)
            for replicate in everyone
            if not _lost(run, wanted, replicate)
        ]
        yield from trained(asks, again.course())
    tickets.plan(run, ())


def complete(chosen: MaskTrainingSettings, path: pathlib.Path) -> bool:
    """Return whether the run in a folder has everything that settings ask for.

    Args:
      chosen: what is wanted.
      path: folder of the run, which need not exist.
    """
    every = [*choices.masked(chosen), *choices.finetuned(chosen)]
    return tickets.has_all(
        path,
        lambda run: all(
            run.has(wanted.unit(replicate)) or _lost(run, wanted, replicate)
            for wanted in every
            for replicate in range(chosen.replicates)
        ),
    )


def find(run: Run, wanted: Wanted, replicate: int) -> Start:
    """Return a network of a run: the mask that was trained, and the weights that it starts from.

    Raises:
      ValueError: the run has no such network.
    """
    chosen, images = tickets.described(run, MaskTrainingSettings)
    name = wanted.unit(replicate)
    tickets.must_have(run, name)
    return _start(tickets.subject(chosen, **images), run, wanted, replicate)


def _wrapped(problem: Problem[Subject], rule: supermasks.SupermaskSettings) -> Problem[Subject]:
    """Return the problem with scores in place of weights.

    Raises:
      ValueError: the training is too short for gem-miner.
    """
    subject = problem.subject
    steps, prunable = problem.plan(1.0).steps, _prunable(subject.chosen)
    model = supermasks.wrap(subject.model, rule, steps=steps, prunable=prunable)
    like = jax.eval_shape(model.init, keys.stream(0, 0, ""))
    own = dataclasses.replace(subject, model=model, like=like, dense=masks.dense(like.params))
    return dataclasses.replace(problem, subject=own)


def _prunable(chosen: MaskTrainingSettings) -> Callable[[masks.Params], masks.Mask]:
    return lambda params: masks.without(masks.dense(params), chosen.leave_out)


def _ask_mask(
    problem: Problem[Subject], wanted: Wanted, rule: supermasks.SupermaskSettings, replicate: int
) -> Ask:
    """Return the ask for a trained mask, which is stored with the network within."""
    subject = problem.subject
    seed = subject.chosen.seed

    def start() -> Start:
        init = jax.jit(subject.model.init)
        return Start(init(keys.stream(seed, replicate, "initialization")), subject.dense)

    def restore(network: Network) -> Start:
        inner = supermasks.inner(network, rule), supermasks.found(network, rule)
        return Start(*jax.device_get(inner))

    return Ask(
        unit=wanted.unit(replicate),
        start=start,
        key=keys.stream(seed, replicate, "order"),
        begin=0,
        record=_described(wanted, subject.chosen, replicate),
        restore=restore,
    )


def _ask_weights(subject: Subject, run: Run, wanted: Wanted, replicate: int) -> Ask:
    """Return the ask for a network whose weights are trained under a mask that was."""
    order = keys.stream(subject.chosen.seed, replicate, "order")
    return Ask(
        unit=wanted.unit(replicate),
        start=functools.partial(_start, subject, run, wanted, replicate),
        key=keys.fold(order, 1),
        begin=0,
        record=_described(wanted, subject.chosen, replicate),
    )


def _start(subject: Subject, run: Run, wanted: Wanted, replicate: int) -> Start:
    """Return what a network starts from; of an untrained one that is what it stays."""
    chosen: MaskTrainingSettings = subject.chosen
    if wanted.method == DENSE:
        key = keys.stream(chosen.seed, replicate, "initialization")
        return Start(jax.jit(subject.model.init)(key), subject.dense)
    unit = wanted.source.unit(replicate)
    network = run.load(unit, "network", subject.like)
    ticket = Start(network, run.load(unit, "mask", subject.dense))
    rule = chosen.supermask.at(wanted.density)

    def drawn(key: jax.Array) -> Network:
        """Return other weights, made as those were that the mask was trained on."""
        new = supermasks.drawn(subject.model, rule, key=key, prunable=_prunable(chosen))
        return new._replace(params=supermasks.rescaled(new.params, ticket.mask, rule))

    kept = int(masks.kept(ticket.mask))
    which = {"seed": chosen.seed, "replicate": replicate, "level": kept}
    return controls.changed(ticket, wanted.control, drawn, **which)


def _lost(run: Run, wanted: Wanted, replicate: int) -> bool:
    """Return whether the training of the mask that a network has is known to have diverged."""
    unit = wanted.source.unit(replicate)
    of_mask = wanted.method != DENSE and run.has(unit)
    return of_mask and run.record(unit)["nan_step"] is not None


def _described(wanted: Wanted, chosen: MaskTrainingSettings, replicate: int) -> dict[str, Any]:
    """Return what is known of a network beforehand, in the columns of `jaxlth early`."""
    dense, ticket = wanted.method == DENSE, wanted.control == tickets.TICKET
    standard = dense or chosen.supermask.weights == "as-drawn"
    return {
        "job": "train-mask",
        "replicate": replicate,
        "level": 0 if dense else 1,
        "control": str(wanted),
        "score": "none" if dense else wanted.method,
        "schedule": "none" if dense else wanted.schedule,
        "ablation": "none" if ticket else wanted.control,
        "weights": "standard" if standard else chosen.supermask.weights,
        "prune_step": 0,
        "link": False,
    }
