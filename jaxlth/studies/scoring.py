"""Scores by name, of a network, its initial weights, examples of each class, and a key.

Batch norm: data-aware scores see it in training mode, with the statistics of their batch, as
published. SynFlow sees it with the running statistics, as in its authors' code. At initialisation
those change nothing, and the learned scales and shifts count with their magnitudes. Running means
keep their signs (ours); the authors' code takes magnitudes of them too, as the scores that end in
"-published" do.

SynFlow takes its authors' input of ones, one image, or the mean image of the training set (Bolwerk
2021, section 3.1). SNIP in float32 may depend on rounding in many rounds. So there is snip-float64,
which is SNIP in float64.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlth import masks, scores, settings
from jaxlth.models import Model, Network
from jaxlth.scores.criteria import CRITERIA
from jaxlth.studies import own_scores
from jaxlth.studies.score_names import AS_PUBLISHED, AT_RANDOM, IN_FLOAT64, SYNFLOW, parts
from jaxlth.trees import floats


class ScoreInputs(NamedTuple):
    """What a score is given."""

    network: Network  # whose weights are scored
    initial: Any  # parameters before training
    batch: Any  # (inputs, labels) of examples of each class; None where no score sees any
    key: jax.Array  # of a replicate
    mean: Any = None  # (1, height, width, channels), the mean input of the training set
    inverted: Any = False  # whether the least important are to be kept; no new program for it


Score = Callable[
    [masks.Mask, ScoreInputs], Any
]  # (mask, given) -> tree of floats like the parameters


@contextlib.contextmanager
def precision(names: Iterable[str]) -> Iterator[None]:
    """Compile scores as they need it within this context: some in float64, on the host of a TPU.

    Raises:
      ValueError: the host of a TPU is hidden from JAX.
    """
    with contextlib.ExitStack() as stack:
        if any(name in IN_FLOAT64 for name in names):
            if jax.default_backend() == "tpu":  # it has no float64
                stack.enter_context(jax.default_device(_host()))
            stack.enter_context(floats.float64())
        yield


def _host() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise ValueError(
            "SynFlow and snip-float64 are computed in float64 on the host, which JAX_PLATFORMS "
            "hides; set it to tpu,cpu or leave it unset."
        ) from error


def build(
    name: str,
    model: Model,
    example: Any,
    *,
    loss: scores.Loss | None = None,
    full_precision: Model | None = None,
    chunk: int | None,
    own: Mapping[str, own_scores.ScoreFunction] = {},
    has_examples: bool = True,
) -> Score:
    """Return a score as a function; ask for it once, and what JAX compiles of it is kept.

    Args:
      name: a score, or two joined by "+".
      model: of the networks that will be scored.
      example: the input of one, a tree of `jax.ShapeDtypeStruct`s.
      loss: (outputs, labels) -> (n,) losses that SNIP and GraSP see; cross-entropy if None.
      full_precision: the same, computing in the types of parameters and inputs, for scores in
        float64; `model` if None.
      chunk: examples whose gradient is taken at once.
      own: scores that are none of the library's, by name.
      has_examples: whether the batch that scores are given holds training examples; scores of
        a user's own are given None otherwise.
    """
    settings.require(
        set(SYNFLOW).isdisjoint(parts(name)) or is_real_array(example),
        f"The score {name} needs inputs that are one array of real numbers.",
    )
    if not set(IN_FLOAT64).isdisjoint(parts(name)) and full_precision in (None, model):
        _check_precision(name, model, example)
    functions = [
        _own(part, own[part], model, has_examples)
        if part in own
        else _plain(
            part, (full_precision or model) if part in IN_FLOAT64 else model, example, chunk, loss
        )
        for part in parts(name)
    ]

    def score(mask: masks.Mask, given: ScoreInputs) -> Any:
        weight_scores = functions[0](mask, given)
        for function in functions[1:]:
            weight_scores = function(mask, _on(weight_scores, mask, given))
        return oriented(weight_scores, given.inverted)

    return score


def oriented(weight_scores: Any, inverted: Any) -> Any:
    """Return scores, negated where the least important weights are kept."""
    return jax.tree.map(lambda leaf: jnp.where(inverted, -leaf, leaf), weight_scores)


def _check_precision(name: str, model: Model, example: Any) -> None:
    """Raise ValueError unless a network computes in the type of its parameters.

    A module with a `dtype` of its own does not; what it computes in no argument can change.
    """

    def outputs(network: Any, inputs: Any) -> Any:
        return model.apply(network, inputs, False)[0]

    with floats.float64():
        network = jax.eval_shape(model.init, jax.random.key(0))
        inputs = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype), example
        )
        params, inputs = jax.eval_shape(_in_float64, (network.params, inputs))
        dtype = jax.eval_shape(outputs, network._replace(params=params), inputs).dtype
    settings.require(
        dtype == jnp.float64,
        f"The score {name} is computed in float64, and outputs of `model` are {dtype} whatever its "
        "parameters are: give a network without a `dtype` of its own, or leave the score out.",
    )


def evaluated(score: Score, mask: masks.Mask, given: ScoreInputs) -> Any:
    """Return the scores of a network, in NumPy; within the `precision` that they need."""
    return jax.device_get(jax.jit(score)(mask, given))


def _on(weight_scores: Any, mask: masks.Mask, given: ScoreInputs) -> ScoreInputs:
    """Return the inputs of a score, with scores in the place of the weights that may be pruned."""
    replaced = jax.tree.map(
        lambda w, s, keep: w if keep is None else s.astype(w.dtype),
        given.network.params,
        weight_scores,
        mask,
    )
    return given._replace(network=given.network._replace(params=replaced))


def is_real_array(example: Any) -> bool:
    """Return whether the input of an example is one array of real numbers."""
    return hasattr(example, "dtype") and jnp.issubdtype(example.dtype, jnp.floating)


def _own(name: str, function: own_scores.ScoreFunction, model: Model, has_examples: bool) -> Score:
    """Return a user's own score."""
    function = own_scores.checked(name, function)

    def score(mask: masks.Mask, given: ScoreInputs) -> Any:
        def apply_fn(params: Any, inputs: Any) -> jax.Array:
            return model.apply(given.network._replace(params=params), inputs, True)[0]

        batch = given.batch if has_examples else None
        return function(apply_fn, given.network.params, mask, batch, given.key)

    return score


def _plain(
    name: str, model: Model, example: Any, chunk: int | None, loss: scores.Loss | None
) -> Score:
    """Return a score that is no stack."""
    options = {"chunk": chunk, "loss": loss}

    def apply(given: ScoreInputs, train: bool) -> Callable[[Any, Any], jax.Array]:
        return lambda params, inputs: model.apply(
            given.network._replace(params=params), inputs, train
        )[0]

    def snip(mask: masks.Mask, given: ScoreInputs) -> Any:
        return scores.snip(apply(given, True), given.network.params, mask, given.batch, **options)

    def grasp(mask: masks.Mask, given: ScoreInputs) -> Any:
        return scores.grasp(apply(given, True), given.network.params, mask, given.batch, **options)

    def synflow(mask: masks.Mask, given: ScoreInputs) -> Any:
        inputs = {
            "synflow": lambda: jnp.ones((1, *example.shape)),
            "synflow-image": lambda: given.batch[0][:1],
            "synflow-mean": lambda: given.mean,
        }[name.removesuffix("-published")]()
        if name in AS_PUBLISHED:
            stats = jax.tree.map(jnp.abs, given.network.stats)
            given = given._replace(network=given.network._replace(stats=stats))
        return scores.synflow(apply(given, False), given.network.params, mask, inputs)

    functions: dict[str, Score] = {
        "magnitude": lambda mask, given: scores.magnitude(given.network.params),
        "magnitude-unit-variance": lambda mask, given: _in_deviations(given.network.params),
        "random": lambda mask, given: scores.random(given.network.params, key=given.key),
        "snip": snip,
        "snip-float64": lambda mask, given: snip(mask, _in_float64(given)),
        "grasp": grasp,
        "grasp-lowest": lambda mask, given: jax.tree.map(jnp.negative, grasp(mask, given)),
        "grasp-magnitude": lambda mask, given: scores.magnitude(grasp(mask, given)),
        **dict.fromkeys(SYNFLOW, synflow),
    }
    functions |= dict.fromkeys(AT_RANDOM, functions["random"])
    functions |= {
        each: functools.partial(_before_and_after, rule) for each, rule in CRITERIA.items()
    }
    return functions[name]


def _in_float64(tree: Any) -> Any:
    """Return a tree with its floats in float64."""
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        tree,
    )


def _before_and_after(rule: Callable[[Any, Any], Any], mask: masks.Mask, given: ScoreInputs) -> Any:
    return rule(given.initial, given.network.params)


def _in_deviations(params: Any) -> Any:
    """Return magnitudes as if each tensor had been drawn with variance 1.

    Example:
      >>> deviations = _in_deviations({"w": jnp.array([[1.0, -3.0]])})["w"]
      >>> [round(float(each), 3) for each in deviations[0]]
      [0.447, 1.342]
    """

    def scaled(w: jax.Array) -> jax.Array:
        deviation = jnp.sqrt(jnp.mean(jnp.square(w)))
        return jnp.abs(w) / jnp.where(deviation > 0, deviation, 1)

    return jax.tree.map(scaled, params)
