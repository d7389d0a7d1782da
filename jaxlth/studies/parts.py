"""Parts of an experiment that no setting can hold: a user's network, data, loss or optimizer.

From Python they are objects, and the config says "own" in their place. From the command line and in
settings files they are named as FILE.py:NAME. A study treats both alike.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen
import jax
import jax.numpy as jnp
import optax

from jaxlth import data, models, settings
from jaxlth.data import ArraySource, Info
from jaxlth.models import Model
from jaxlth.process import code
from jaxlth.settings import ranges
from jaxlth.training import transformations


class Parts(NamedTuple):
    """The parts of an experiment that are objects; None where the config says it all."""

    model: Any = None  # a Model, a linen module, or (input shape, classes) -> one of these
    data: ArraySource | None = None
    optimizer: optax.GradientTransformation | None = None
    loss: Callable[[Any, Any], jax.Array] | None = None  # (outputs, labels) -> (n,) losses
    error: Callable[[Any, Any], jax.Array] | None = None  # likewise, -> (n,) errors in [0, 1]
    augment: Callable[..., Any] | None = None  # (inputs, key=) -> inputs
    scores: Mapping[str, Callable[..., Any]] = {}  # name in the config -> function
    initial: Any = None  # parameters, or a Network, that level 0 starts from
    initial_mask: Any = None  # what is left of the network before level 1


NONE = Parts()


def check_kinds(parts: Parts) -> None:
    """Raise TypeError where a part is of a kind that it cannot be; the rest needs the data."""
    rules: dict[str, tuple[bool, str]] = {
        "model": (
            isinstance(parts.model, Model) or callable(parts.model),
            "a name, a `ModelConfig`, a `models.Model` (models.from_linen, from_nnx, "
            "from_functions), a linen module, or a function that makes one",
        ),
        "data": (
            isinstance(parts.data, ArraySource),
            "a name, a `DataConfig`, or what `data.from_arrays` returns",
        ),
        "optimizer": (
            transformations.is_transformation(parts.optimizer),
            "an `OptimizerConfig` or an `optax.GradientTransformation`",
        ),
        "loss": (callable(parts.loss), "a name or a function (outputs, labels) -> (n,) losses"),
        "error": (callable(parts.error), "a function (outputs, labels) -> (n,) errors in [0, 1]"),
        "augment": (callable(parts.augment), "a function (inputs, key=) -> inputs"),
    }
    for part, (fits, kinds) in rules.items():
        value = getattr(parts, part)
        if value is not None and not fits:
            raise TypeError(f"`{part}` must be {kinds}; got {ranges.shown(value)}.")


def resolve(config: Any, parts: Parts = NONE) -> Parts:
    """Return the parts of an experiment, those loaded that a config names as FILE.py:NAME.

    Args:
      config: of a study.
      parts: those given from Python.

    Raises:
      ValueError: a file or a name in it is missing, or the config says "own" and no part is given.
      TypeError: a part is of another kind.
    """
    loaded = {part: _loaded(part, name, parts) for part, name in _names(config).items()}
    # Data and optimizers may be given as functions without arguments, which make them.
    for part in ("data", "optimizer"):
        if callable(loaded[part]):
            loaded[part] = code.call(loaded[part], setting=part)
    parts = parts._replace(**loaded)
    check_kinds(parts)
    return parts


def any_of(config: Any, parts: Parts = NONE) -> bool:
    """Return whether an experiment has a part that no setting says, scores aside."""
    objects = parts._replace(scores={}) != NONE
    files = config.initial or config.initial_mask
    return objects or bool(files) or any(map(code.is_own, _names(config).values()))


def any_function(parts: Parts) -> bool:
    """Return whether an experiment, resolved, has a function of a user's own, scores aside."""
    functions = (parts.model, parts.optimizer, parts.loss, parts.error, parts.augment)
    return any(part is not None for part in functions)


def _names(config: Any) -> dict[str, str]:
    """Return what a config says in the place of each part that may be a user's own."""
    return {
        "model": config.model.name,
        "data": config.data.name,
        "optimizer": config.optimizer.optimizer,
        "loss": config.loss,
        "error": config.error,
        "augment": config.data.augment,
        "initial": config.initial,
        "initial_mask": config.initial_mask,
    }


def _loaded(part: str, name: str, parts: Parts) -> Any:
    """Return a part: as given, loaded from a file, or None where the config says it all."""
    if code.is_spec(name):
        return code.load(name, setting=part)
    is_given = name in (data.OWN, data.OWN_MAPPED)
    given = getattr(parts, part) if is_given else None
    settings.require(
        not is_given or given is not None,
        f"`{part}` is a part of your own, which no run stores: give the experiment that has it, "
        "as in studies.open(path, experiment=...), or name it FILE.py:NAME.",
    )
    return given


def own_model(config: Any, parts: Parts, info: Info) -> Model | None:
    """Return the network of an experiment, checked; None where it is one of the library's.

    Args:
      config: of a study.
      parts: of its experiment, resolved.
      info: of the data.

    Raises:
      TypeError: the network is of no known kind.
      ValueError: it does not fit the data.
    """
    if parts.model is None:
        return None
    inputs = example_inputs(config, info)
    return models.check(as_model(parts.model, info, inputs), inputs)


def as_model(value: Any, info: Info, inputs: Any) -> Model:
    """Return a user's network as a `Model`.

    Args:
      value: a `Model`; a linen module; a function of nnx's random streams, `rngs`, that returns
        an nnx module; or a function (input shape, classes) -> one of these.
      info: of the data.
      inputs: a batch of inputs.

    Raises:
      TypeError: it is none of these.
    """
    if isinstance(value, Model):
        return value
    if isinstance(value, flax.linen.Module):
        return models.from_linen(value, inputs)
    arguments = _arguments(value)
    if len(arguments) == 2:
        made = code.call(value, _shape(info), info.classes, setting="model")
        return as_model(made, info, inputs)
    if arguments == ["rngs"]:
        return models.from_nnx(lambda rngs: value(rngs=rngs), inputs)
    is_linen = inspect.isclass(value) and issubclass(value, flax.linen.Module)
    raise TypeError(
        "`model` must be a `Model` (models.from_linen, from_nnx, from_functions), a linen module, "
        "a function (rngs) -> nnx module, or a function (input shape, classes) -> one of these; "
        f"got {ranges.shown(value)}.{' Give an instance of the class.' * is_linen}"
    )


def _arguments(value: Any) -> list[str]:
    """Return the names of a function's arguments that have no default; [] of what is none."""
    if not callable(value):
        return []
    # A class of nnx hides the arguments of its `__init__` behind those of its metaclass.
    hidden = inspect.isclass(value) and type(value).__call__ is not type.__call__
    function = functools.partial(value.__init__, None) if hidden else value
    parameters = inspect.signature(function).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [each for each in parameters if each.default is each.empty]
    return [each.name for each in needed if each.kind not in several]


def example_inputs(config: Any, info: Info) -> Any:
    """Return a batch of one example of zeros, as the network sees it: normalised."""
    normalize = data.NORMALIZERS[config.data.normalize]
    zeros = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), info.example)
    return normalize(zeros, jnp.zeros(()), jnp.ones(()))


def _shape(info: Info) -> Any:
    """Return the shape of an example's input; of several arrays, a tree of their shapes."""
    return jax.tree.map(lambda leaf: tuple(leaf.shape), info.example)
