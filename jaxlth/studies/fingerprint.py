"""Fingerprints of a user's own parts: a few numbers by which a changed part is noticed.

Code cannot be compared. A fingerprint can. It holds the names and shapes of the parameters, the
outputs of the network of replicate 0 for the first eight training examples, as in evaluations and
as in training, the losses there and at larger outputs, the updates that the optimizer makes of
fixed gradients, over the whole training, and the scores of that network's weights.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import keys, masks, settings, trees
from jaxlth.models import Network
from jaxlth.store import facts
from jaxlth.studies import own_scores, scoring
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.prunable import PrunableModel
from jaxlth.training import transformations
from jaxlth.training.losses import Objective
from jaxlth.training.precision import products
from jaxlth.trees import programs

EXAMPLES = 8
NUMBERS = 32  # of each part, at most
PER_CLASS = 10  # examples that scores see, where no setting says it


def of_network(network: Network) -> str:
    """Return a digest of the names, shapes and types of a network's parameters."""
    shapes = {
        name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in trees.named(network).items()
    }
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16]


def sampled(values: Any) -> list[float]:
    """Return some numbers of a tree of arrays, evenly spaced.

    Example:
      >>> sampled({"a": np.arange(4.0), "b": 1})
      [0.0, 1.0, 2.0, 3.0, 1.0]
    """
    leaves = [np.ravel(np.asarray(leaf, float)) for leaf in jax.tree.leaves(values)]
    numbers = np.concatenate([*leaves, np.zeros(0)])
    places = np.unique(np.linspace(0, len(numbers) - 1, min(NUMBERS, len(numbers))).round())
    return numbers[places.astype(int)].tolist()


@products("highest")  # so that a run goes on on another kind of device
def of_start(experiment: LoadedExperiment) -> dict[str, Any]:
    """Return the fingerprint of what networks start from; see `of_experiment`.

    Raises:
      ValueError: the network is not finite at initialisation.
    """
    result = {}
    if experiment.parts.model is not None:
        network, _, outputs, _ = _first_outputs(experiment)
        result = _of_model(network, outputs)
    return result | _of_files(experiment.prunable)


@products("highest")
def of_experiment(experiment: LoadedExperiment) -> dict[str, Any]:
    """Return the fingerprint of an experiment: part -> text or numbers, in the order compared.

    Raises:
      ValueError: the network, the loss, the optimizer or a score is not finite at initialisation;
        or an error is not in [0, 1].
      TypeError: a score is no such function.
    """
    parts, objective = experiment.parts, experiment.classifier.objective
    network, inputs, outputs, labels = _first_outputs(experiment)
    result = {}
    if parts.model is not None:
        result = _of_model(network, outputs)
        result[facts.OUTPUTS_IN_TRAINING] = sampled(_in_training(experiment, network, inputs))
    result["loss"] = finite_numbers("loss", objective.per_example(outputs, labels))
    if parts.loss is not None:
        _check_gradient(objective, outputs, labels)
        result |= _at_other_outputs("loss", objective.per_example, outputs, labels)
    if parts.error is not None:
        result["error"] = _shares("error", parts.error(outputs, labels))
        result |= _at_other_outputs("error", parts.error, outputs, labels)
    if parts.optimizer is not None:
        result["optimizer"] = transformations.fingerprint(parts.optimizer, network.params)
        steps = experiment.plan(1.0).steps
        over = transformations.over_training(parts.optimizer, network.params, steps=steps)
        result[facts.OVER_TRAINING] = over
        if by_loss := transformations.by_loss(parts.optimizer, network.params, steps=steps):
            result[facts.BY_LOSS] = by_loss
    if parts.augment is not None:
        images, *_ = experiment.first_examples(EXAMPLES)
        result["augment"] = sampled(parts.augment(images, key=keys.stream(0, 0, "augmentation")))
    for name in experiment.own_scores:
        result[f"score {own_scores.label(name)}"] = _of_score(experiment, name, network)
    return result | _of_files(experiment.prunable)


def _of_model(network: Network, outputs: jax.Array) -> dict[str, Any]:
    """Return the fingerprint of a user's own network."""
    _check_numbers(network)
    return {
        "model parameters": of_network(network),
        "model outputs": finite_numbers("model", outputs),
    }


def _of_files(prunable: PrunableModel) -> dict[str, Any]:
    """Return the fingerprint of the weights and the mask that level 0 starts from, if given."""
    result = {}
    if prunable.config.initial:
        result["initial"] = _digest(prunable.initial)
    if prunable.config.initial_mask:
        result["initial_mask"] = _digest(prunable.dense)
    return result


def _first_outputs(experiment: LoadedExperiment) -> tuple[Network, Any, jax.Array, Any]:
    """Return the network of replicate 0; inputs, its outputs and labels of the first examples."""
    seed = experiment.prunable.config.seed
    network = experiment.prunable.draw(keys.stream(seed, 0, "initialization"))
    _, inputs, labels = experiment.first_examples(EXAMPLES)
    apply = experiment.prunable.model.apply
    outputs, _ = jax.jit(apply, static_argnums=2)(network, inputs, False)
    return network, inputs, outputs, labels


def _in_training(experiment: LoadedExperiment, network: Network, inputs: Any) -> Any:
    """Return outputs for some inputs and statistics after them, as in a training step."""
    model = experiment.prunable.model
    if model.noisy is None:
        return jax.jit(model.apply, static_argnums=2)(network, inputs, True)
    return jax.jit(model.noisy)(network, inputs, keys.stream(0, 0, "noise"))


def _of_score(experiment: LoadedExperiment, name: str, network: Network) -> list[float]:
    """Return some scores of the weights of a network, in the order of the weights.

    Raises:
      ValueError: the score fails, is no tree of floats like the parameters, is not finite, or
        gives others in a second call, with which no run could go on.
    """
    config, dense = experiment.prunable.config, experiment.prunable.dense
    score_inputs = scoring.ScoreInputs(
        network=network,
        initial=network.params,
        batch=experiment.examples(0, per_class=getattr(config, "per_class", PER_CLASS)),
        key=keys.stream(config.seed, 0, "score"),
    )
    with own_scores.explained(name):
        values = scoring.evaluated(experiment.score(name), dense, score_inputs)
        one, other = (jax.make_jaxpr(experiment.score(name))(dense, score_inputs) for _ in range(2))
    settings.require(
        programs.same(one, other),
        f"`score` {name} must keep no state in Python, and draw no random numbers but by its key: "
        "two calls of it differ.",
    )
    numbers = masks.kept_values(values, dense)
    lost = int(np.sum(~np.isfinite(numbers)))
    settings.require(
        lost == 0,
        f"`score` {name} is NaN or infinite for {lost} of {len(numbers)} weights, before any "
        "training.",
    )
    return sampled(numbers)


def finite_numbers(part: str, values: Any) -> list[float]:
    """Return some numbers of a part.

    Raises:
      ValueError: one of them is not finite.
    """
    numbers = sampled(values)
    settings.require(
        bool(np.all(np.isfinite(numbers))),
        f"`{part}` gives NaN or infinity for the first {EXAMPLES} training examples, before any "
        "training.",
    )
    return numbers


def _check_numbers(network: Network) -> None:
    """Raise ValueError where a network is drawn with NaN, in what its outputs need not show."""
    lost = [name for name, leaf in trees.named(network).items() if np.isnan(leaf).any()]
    settings.require(not lost, f"`model` draws NaN in its `init`, for {min(lost, default='')}.")


def _check_gradient(objective: Objective, outputs: jax.Array, labels: Any) -> None:
    """Raise ValueError where no outputs change a loss, such as one that counts errors."""

    def total(outputs: jax.Array) -> jax.Array:
        return jnp.sum(objective.per_example(outputs, labels))

    others = 10 * jax.random.normal(keys.stream(0, 0, "outputs"), outputs.shape, outputs.dtype)
    gradients = [jax.grad(total)(each) for each in (outputs, others)]
    settings.require(
        any(bool(jnp.any(gradient != 0)) for gradient in gradients),
        f"`loss` has no gradient: no outputs for the first {EXAMPLES} training examples change it, "
        "so that nothing would be learnt.",
    )


def _at_other_outputs(
    part: str, function: Callable[[Any, Any], jax.Array], outputs: jax.Array, labels: Any
) -> dict[str, list[float]]:
    """Return numbers of a loss or an error where those of a fresh network do not lead.

    Its outputs are small, and so a limit in a loss, such as Huber's, does not show.
    """
    draws = jax.random.normal(keys.stream(0, 0, "other outputs"), outputs.shape, outputs.dtype)
    with jax.debug_nans(False), jax.debug_infs(False):  # no training has such outputs
        return {
            facts.AT_OUTPUTS[part, size]: sampled(
                np.nan_to_num(function(outputs + size * draws, labels))
            )
            for size in facts.SIZES
        }


def _shares(part: str, values: Any) -> list[float]:
    """Return some numbers of a part that are errors of examples.

    Raises:
      ValueError: one of them does not lie in [0, 1].
    """
    numbers = sampled(values)
    wrong = [number for number in numbers if not 0 <= number <= 1]
    settings.require(
        not wrong,
        f"`{part}` must return numbers in [0, 1], such as outputs.argmax(-1) != labels; got "
        f"{(wrong or [0])[0]:.4g} for one of the first {EXAMPLES} training examples.",
    )
    return numbers


def _digest(tree: Any) -> str:
    """Return a digest of all numbers of a tree."""
    hashed = hashlib.sha256()
    for name, leaf in trees.named(tree).items():
        array = np.ascontiguousarray(leaf)
        hashed.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return hashed.hexdigest()[:16]
