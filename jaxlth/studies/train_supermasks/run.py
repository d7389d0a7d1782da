"""Trained supermasks: a network learns which of its weights to keep, and never the weights.

    bernoulli   each weight is kept with a probability that is trained (Zhou et al. 2019)
    edge-popup  the best scores of each layer are kept (Ramanujan et al. 2020)
    gem-miner   scores are rounded, the lowest frozen out (Sreenivasan et al. 2022)

What is found is an ordinary mask. Its weights may be trained then (rare gems), beside controls and
dense networks. Each network is an artifact of the run's folder,
"density_0.1/edge-popup/replicate_0", and is trained only if the folder lacks it: asking for more
densities, controls or replicates extends a run. Frozen weights are drawn by the key that initial
weights of other studies come from.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Generator
from typing import Any

import jax

from jaxlth import keys, masks, supermasks, training
from jaxlth.models import Network
from jaxlth.store import Run
from jaxlth.studies import controls
from jaxlth.studies.controls import TICKET
from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import LoadedExperiment, load_experiment
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.prunable import PrunableModel, excluding
from jaxlth.studies.run_info import has_artifacts
from jaxlth.studies.train import Progress, Ticket, TrainRequest
from jaxlth.studies.train_supermasks.config import (
    DENSE,
    TrainSupermasksConfig,
    Wanted,
    finetuned,
    finetuning,
    masked,
    rules,
    units,
)


def prepare(config: TrainSupermasksConfig, parts: Parts = NONE) -> LoadedExperiment:
    """Return the experiment that a config describes, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    experiment = load_experiment(config, parts)
    for _, rule in rules(config):
        _wrapped(experiment, rule)
    if config.finetune:
        per_epoch = experiment.plan(1.0).steps_per_epoch if config.training.steps is None else 1
        training.time_in_steps("finetune", config.finetune, per_unit=per_epoch)
        _finetuned(experiment).plan(1.0)  # raises where it has too many steps or evaluations
    return experiment


def _finetuned(experiment: LoadedExperiment) -> LoadedExperiment:
    """Return the experiment of training the weights after the masks."""
    config: TrainSupermasksConfig = experiment.prunable.config
    length, optimizer = finetuning(config)
    own = dataclasses.replace(config, training=length, optimizer=optimizer)
    return dataclasses.replace(
        experiment, prunable=dataclasses.replace(experiment.prunable, config=own)
    )


def train_supermasks(lab: Lab, config: TrainSupermasksConfig) -> Generator[Progress, None, None]:
    """Train masks, and the weights that they keep if asked to."""
    lab.begin(units(config))
    replicates = lab.replicates
    for wanted, rule in rules(config):
        within = _wrapped(lab.experiment, rule)
        requests = [
            _request_mask(lab, within.prunable, wanted, rule, replicate) for replicate in replicates
        ]
        change: Any = functools.partial(within.memo, supermasks.optimizer, rule)
        training = within.compile_training(change=change)
        yield from lab.train(requests, training, pending=units(config))
    if config.finetune:
        again = _finetuned(lab.experiment)
        requests = [
            _request_weights(lab, wanted, replicate)
            for wanted in finetuned(config)
            for replicate in replicates
            if not _mask_diverged(lab.run, wanted, replicate)
        ]
        yield from lab.train(requests, again.compile_training(), pending=units(config))
    lab.expect(())


def complete(config: TrainSupermasksConfig, path: pathlib.Path) -> bool:
    """Return whether the run in a folder has everything that settings ask for.

    Args:
      config: what is wanted.
      path: folder of the run, which need not exist.
    """
    every = [*masked(config), *finetuned(config)]
    return has_artifacts(
        path,
        lambda run: all(
            run.has(wanted.artifact(replicate)) or _mask_diverged(run, wanted, replicate)
            for wanted in every
            for replicate in range(config.replicates)
        ),
    )


def _wrapped(experiment: LoadedExperiment, rule: supermasks.SupermaskConfig) -> LoadedExperiment:
    """Return the experiment with scores in place of weights.

    Raises:
      ValueError: the training is too short for gem-miner.
    """
    inner, steps = experiment.prunable, experiment.plan(1.0).steps
    prunable = experiment.memo(_prunable, inner.config.exclude)
    model = experiment.memo(supermasks.wrap, inner.model, rule, steps=steps, prunable=prunable)
    like = jax.eval_shape(model.init, keys.stream(0, 0, ""))
    own = dataclasses.replace(inner, model=model, like=like, dense=masks.dense(like.params))
    return dataclasses.replace(experiment, prunable=own)


def _prunable(exclude: tuple[str, ...]) -> Callable[[masks.Params], masks.Mask]:
    return lambda params: excluding(masks.dense(params), exclude)


def _request_mask(
    lab: Lab,
    prunable: PrunableModel,
    wanted: Wanted,
    rule: supermasks.SupermaskConfig,
    replicate: int,
) -> TrainRequest:
    """Return the request for a trained mask, which is stored with the network within."""

    def start() -> Ticket:
        network = prunable.draw(lab.key("initialization", replicate))
        return Ticket(network, prunable.dense)

    def restore(network: Network) -> Ticket:
        inner = supermasks.inner(network, rule), supermasks.mask_of(network, rule)
        return Ticket(*jax.device_get(inner))

    return TrainRequest(
        artifact=wanted.artifact(replicate),
        start=start,
        key=lab.key("order", replicate),
        start_step=0,
        record=_record_of(wanted, lab.config, replicate),
        restore=restore,
    )


def _request_weights(lab: Lab, wanted: Wanted, replicate: int) -> TrainRequest:
    """Return the request for a network whose weights are trained under a mask that was."""
    return TrainRequest(
        artifact=wanted.artifact(replicate),
        start=functools.partial(start_of, lab, wanted, replicate),
        key=lab.key("order", replicate, 1),
        start_step=0,
        record=_record_of(wanted, lab.config, replicate),
    )


def start_of(lab: Lab, wanted: Wanted, replicate: int) -> Ticket:
    """Return what a network starts from; of an untrained one that is what it stays."""
    config: TrainSupermasksConfig = lab.config
    if wanted.method == DENSE:
        return Ticket(lab.draw(lab.key("initialization", replicate)), lab.dense_mask)
    artifact = wanted.source.artifact(replicate)
    ticket = Ticket(lab.load(artifact), lab.load_mask(artifact))
    model, rule = lab.experiment.prunable.model, config.supermask.at(wanted.density)

    def redrawn(key: jax.Array) -> Network:
        """Return other weights, made as those were that the mask was trained on."""
        new = supermasks.frozen_network(model, rule, key=key, prunable=_prunable(config.exclude))
        return new._replace(params=supermasks.rescaled(new.params, ticket.mask, rule))

    kept = int(masks.kept(ticket.mask))
    which = {"seed": config.seed, "replicate": replicate, "level": kept}
    return controls.make(ticket, wanted.control, redrawn, within=lab.dense_mask, **which)


def _mask_diverged(run: Run, wanted: Wanted, replicate: int) -> bool:
    """Return whether the training of the mask that a network has is known to have diverged."""
    artifact = wanted.source.artifact(replicate)
    of_mask = wanted.method != DENSE and run.has(artifact)
    return of_mask and run.record(artifact)["nan_step"] is not None


def _record_of(wanted: Wanted, config: TrainSupermasksConfig, replicate: int) -> dict[str, Any]:
    """Return what a record says of a network beforehand, in the columns of `jaxlth prune-early`."""
    dense, ticket = wanted.method == DENSE, wanted.control == TICKET
    standard = dense or config.supermask.weights == "as-drawn"
    return {
        "job": "train-supermasks",
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
