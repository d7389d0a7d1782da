"""Scores by name, of a network, its initial weights, examples of each class, and a key.

Data-aware scores see batch norm in training mode, with the statistics of their batch, as published;
SynFlow with the running statistics, as in its authors' code: at initialisation those change
nothing, and the learned scales and shifts count with their magnitudes.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlth import masks, prune, scores, settings, trees
from jaxlth.early import meta
from jaxlth.models import Model, Network
from jaxlth.scores.criteria import CRITERIA


class Known(NamedTuple):
    """What a score may look at."""

    network: Network  # whose weights are scored
    initial: Any  # parameters before training
    batch: tuple[Any, Any]  # inputs and labels of examples of each class
    key: jax.Array  # of a replicate


Score = Callable[[masks.Mask, Known], Any]  # (mask, known) -> tree of floats like the parameters

SEES_DATA = ("snip", "grasp", "grasp-lowest", "grasp-magnitude")
BEFORE_AND_AFTER = tuple(CRITERIA)
AT_RANDOM = ("erdos-renyi", "erdos-renyi-kernel", "smart-ratio")  # counts by layer, else random
LEARNED = meta.NAMES
SCORES = (
    *("magnitude", "magnitude-unit-variance", "random", *SEES_DATA, "synflow"),
    *(*AT_RANDOM, *BEFORE_AND_AFTER, *LEARNED),
)
STACKED = ("magnitude", *SEES_DATA, "synflow")


def parts(score: str) -> tuple[str, ...]:
    """Return the one or two scores that a name stands for.

    Raises:
      ValueError: there is no such score.

    Example:
      >>> parts("snip"), parts("grasp+magnitude")
      (('snip',), ('grasp', 'magnitude'))
    """
    first, plus, second = score.partition("+")
    if not plus:
        return (settings.known("score", score, SCORES),)
    return settings.known("score", first, STACKED), settings.known("score", second, STACKED)


def build(
    name: str, model: Model, shape: tuple[int, ...], *, inverted: bool = False, chunk: int | None
) -> Score:
    """Return a score as a function; ask for it once, and what JAX compiles of it is kept.

    Args:
      name: a score, or two joined by "+".
      model: of the networks that will be scored.
      shape: (height, width, channels) of an image.
      inverted: whether the least important are to be kept.
      chunk: examples whose gradient is taken at once.
    """
    functions = [_plain(part, model, shape, chunk) for part in parts(name)]

    def score(mask: masks.Mask, known: Known) -> Any:
        found = functions[0](mask, known)
        for function in functions[1:]:
            found = function(mask, _on(found, mask, known))
        return jax.tree.map(jnp.negative, found) if inverted else found

    return score


def counts(name: str, dense: masks.Mask, *, keep: int) -> dict[str, int]:
    """Return how many weights each tensor keeps by a rule of layers, a name of `AT_RANDOM`."""
    if name == "smart-ratio":
        order = trees.names(dense)  # that of layers, but for one network
        settings.require(
            not any(each.startswith("Auxiliary") for each in order),
            "The score smart-ratio needs layers in a row; inception-v3 has an auxiliary classifier "
            "beside them.",
        )
        return prune.smart_ratio(dense, keep=keep, order=order)
    return prune.erdos_renyi(dense, keep=keep, kernel=name == "erdos-renyi-kernel")


def _on(found: Any, mask: masks.Mask, known: Known) -> Known:
    """Return what is known, with scores in the place of the weights that may be pruned."""
    replaced = jax.tree.map(
        lambda w, s, keep: w if keep is None else s.astype(w.dtype),
        known.network.params,
        found,
        mask,
    )
    return known._replace(network=known.network._replace(params=replaced))


def _plain(name: str, model: Model, shape: tuple[int, ...], chunk: int | None) -> Score:
    """Return a score that is no stack."""

    def apply(known: Known, train: bool) -> Callable[[Any, Any], jax.Array]:
        return lambda params, inputs: model.apply(
            known.network._replace(params=params), inputs, train
        )[0]

    def snip(mask: masks.Mask, known: Known) -> Any:
        return scores.snip(apply(known, True), known.network.params, mask, known.batch, chunk=chunk)

    def grasp(mask: masks.Mask, known: Known) -> Any:
        return scores.grasp(
            apply(known, True), known.network.params, mask, known.batch, chunk=chunk
        )

    def synflow(mask: masks.Mask, known: Known) -> Any:
        ones = jnp.ones((1, *shape))
        return scores.synflow(apply(known, False), known.network.params, mask, ones)

    functions: dict[str, Score] = {
        "magnitude": lambda mask, known: scores.magnitude(known.network.params),
        "magnitude-unit-variance": lambda mask, known: _in_deviations(known.network.params),
        "random": lambda mask, known: scores.random(known.network.params, key=known.key),
        "snip": snip,
        "grasp": grasp,
        "grasp-lowest": lambda mask, known: jax.tree.map(jnp.negative, grasp(mask, known)),
        "grasp-magnitude": lambda mask, known: scores.magnitude(grasp(mask, known)),
        "synflow": synflow,
    }
    functions |= dict.fromkeys(AT_RANDOM, functions["random"])
    functions |= {
        each: functools.partial(_before_and_after, rule) for each, rule in CRITERIA.items()
    }
    return functions[name]


def _before_and_after(rule: Callable[[Any, Any], Any], mask: masks.Mask, known: Known) -> Any:
    return rule(known.initial, known.network.params)


def _in_deviations(params: Any) -> Any:
    """Return magnitudes as if each tensor had been drawn with variance 1.

    Example:
      >>> found = _in_deviations({"w": jnp.array([[1.0, -3.0]])})["w"]
      >>> [round(float(each), 3) for each in found[0]]
      [0.447, 1.342]
    """

    def scaled(w: jax.Array) -> jax.Array:
        deviation = jnp.sqrt(jnp.mean(jnp.square(w)))
        return jnp.abs(w) / jnp.where(deviation > 0, deviation, 1)

    return jax.tree.map(scaled, params)
