"""Anybody's networks as a `Model`: modules of Flax linen and Flax nnx, and plain functions.

Inputs are an array, or a tree of arrays, each with a leading axis of examples. A network takes them
as a single argument: where they are a tuple, its first line may be `tokens, lengths = inputs`.
Outputs are an array with a leading axis of examples; they are given in float32 at least, whatever
the network computes in. A parameter that a network uses twice, such as a table of embeddings that
is its last layer as well, is one leaf.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
from flax import errors
from flax import linen as nn
from flax.core import meta

from jaxlth import keys, trees
from jaxlth.models import checks
from jaxlth.models.model import NOT_TRAIN, TRAIN, Model, Network

COLLECTIONS = {"params", "batch_stats"}


def from_linen(
    module: nn.Module, example_inputs: Any, *, train_argument: str | None = "train"
) -> Model:
    """Return the model of a Flax linen module.

    Its parameters are the collection "params", without boxes such as `nn.Partitioned`; its batch
    statistics are "batch_stats". In training every random stream that the module asks for, dropout
    among them, comes from the key of the step. Where a score or a statistic needs the network of
    training without its noise, a module without batch norm is called as in evaluation; with batch
    norm its `nn.Dropout` layers do nothing, and what else it draws is the same each time.

    Args:
      module: called as module(inputs), with one more argument if it has a `train_argument`.
      example_inputs: an array, or a tree of arrays, with a leading axis of any number of examples,
        of which shapes and types count.
      train_argument: name of the argument that says whether the module trains; of the names
        "deterministic" and "use_running_average" the contrary is given. If the module has no
        "train", its "training", "is_training", "deterministic" or "use_running_average" serves. A
        module with none of them is called without. None: no argument is given.

    Raises:
      TypeError: `module` is no module.
      ValueError: the module has no argument of that name.
      ModelError: the module has other collections, or does not pass `check`.

    Example:
      >>> layers = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(3)])
      >>> model = from_linen(layers, jax.numpy.zeros((1, 4)))
      >>> logits, _ = model.apply(model.init(jax.random.key(0)), jax.numpy.ones((5, 4)), False)
      >>> logits.shape
      (5, 3)
    """
    if not isinstance(module, nn.Module):
        hint = "; make one of it" if inspect.isclass(module) else ""
        raise TypeError(f"`model` must be a flax.linen.Module; got {checks.kind(module)}{hint}.")
    flags = _flags(module, train_argument)
    example = checks.arrays(example_inputs)
    fixed_key = keys.stream(0, 0, "dropout")

    def init(key: jax.Array) -> Network:
        with jax.numpy_dtype_promotion("standard"):  # Flax's batch norm takes it for granted
            variables = meta.unbox(module.init(key, example, **flags(False)))
        if others := sorted(set(variables) - COLLECTIONS):
            raise checks.ModelError(
                "`model` must have no variables but those of the collections params and "
                f"batch_stats; it has {', '.join(others)}."
            )
        return Network(variables.get("params", {}), variables.get("batch_stats", {}))

    def run(network: Network, inputs: Any, train: bool, rngs: Any = None) -> tuple[Any, Any]:
        variables = {"params": network.params, "batch_stats": network.stats}
        mutable = ["batch_stats"] if train else []
        try:
            with jax.numpy_dtype_promotion("standard"):
                outputs, changed = module.apply(
                    variables, inputs, **flags(train), mutable=mutable, rngs=rngs
                )
        except errors.InvalidRngError as error:
            raise checks.ModelError(
                "`model` must draw no random numbers in evaluation, as `train_argument` says."
            ) from error
        return outputs, changed.get("batch_stats", network.stats)

    def noisy(network: Network, inputs: Any, key: jax.Array) -> tuple[Any, Any]:
        return run(network, inputs, True, _streams(key))

    def apply(network: Network, inputs: Any, train: bool) -> tuple[Any, Any]:
        if not (train and network.stats):
            return run(network, inputs, train and not is_noisy)
        with nn.intercept_methods(_without_dropout):
            return run(network, inputs, True, _streams(fixed_key) if is_noisy else None)

    _, like = checks.trace("init", init, fixed_key)
    program, _ = checks.trace(
        "apply", lambda key, network, inputs: noisy(network, inputs, key), fixed_key, like, example
    )
    is_noisy = checks.reads(program, 1)
    return _model(init, apply, noisy if is_noisy else None, example)


def from_nnx(make: Callable[[Any], Any], example_inputs: Any) -> Model:
    """Return the model of Flax nnx modules.

    Its parameters are the module's `nnx.Param` variables, a nested dict by the names of attributes;
    its batch statistics are the `nnx.BatchStat` ones. `module.train()` and `module.eval()` say
    whether the module trains. In training each random stream of the module comes from the key of
    the step; where a score or a statistic needs the network of training without its noise, all
    layers have `deterministic=True`.

    Args:
      make: `nnx.Rngs` -> a new module, called as module(inputs).
      example_inputs: an array, or a tree of arrays, with a leading axis of any number of examples,
        of which shapes and types count.

    Raises:
      TypeError: `make` is no function.
      ModelError: it makes no module, or one that has variables of other kinds, changes its
        attributes when it is called, draws random numbers in evaluation or does not pass `check`.

    Example:
      >>> from flax import nnx
      >>> model = from_nnx(lambda rngs: nnx.Linear(4, 3, rngs=rngs), jax.numpy.zeros((1, 4)))
      >>> jax.tree.map(jax.numpy.shape, model.init(jax.random.key(0)).params)
      {'bias': (3,), 'kernel': (4, 3)}
    """
    from jaxlth.models import nnx_modules  # nnx takes a while to import

    example = checks.arrays(example_inputs)
    return _model(*nnx_modules.functions(make, example), example)


def from_functions(
    init: Callable[[jax.Array], Any],
    apply: Callable[[Any, Any], jax.Array],
    *,
    example_inputs: Any = None,
) -> Model:
    """Return the model of two functions, without batch statistics or random numbers.

    A network that has either is a `Model` made by hand.

    Args:
      init: key -> parameters, any tree of arrays; `None` in it is no leaf.
      apply: (parameters, inputs) -> outputs (n, ...).
      example_inputs: as in `from_linen`, or None where they are not known yet: the functions are
        not checked then, and `convolutional` is False until `check` says better.

    Raises:
      TypeError: `init` or `apply` is no function.
      ModelError: they do not pass `check`.

    Example: the arrays of an Equinox module are its parameters; what else it holds is static.
      >>> import equinox as eqx
      >>> make = lambda key: eqx.nn.MLP(4, 3, 8, depth=1, key=key)
      >>> static = eqx.filter(make(jax.random.key(0)), eqx.is_array, inverse=True)
      >>> def apply(params, inputs):
      ...     return jax.vmap(eqx.combine(params, static))(inputs)
      >>> model = from_functions(lambda key: eqx.filter(make(key), eqx.is_array), apply)
      >>> model.apply(model.init(jax.random.key(0)), jax.numpy.ones((5, 4)), False)[0].shape
      (5, 3)
    """
    for name, function in (("init", init), ("apply", apply)):
        if not callable(function):
            raise TypeError(f"`{name}` must be a function; got {checks.kind(function)}.")

    def call(network: Network, inputs: Any, train: bool) -> tuple[Any, Any]:
        del train  # nothing differs
        return apply(network.params, inputs), network.stats

    example = None if example_inputs is None else checks.arrays(example_inputs)
    return _model(lambda key: Network(init(key), {}), call, None, example)


def _model(
    init: Callable[..., Network],
    apply: Callable[..., Any],
    noisy: Callable[..., Any] | None,
    example: Any,
) -> Model:
    """Return the model of functions whose outputs may be of any type, checked on an example."""
    model = Model(
        init=init, apply=_widened(apply), noisy=None if noisy is None else _widened(noisy)
    )
    return model if example is None else checks.check(model, example)


def _widened(function: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """Return a function whose outputs are at least float32."""

    def widened(*arguments: Any) -> tuple[Any, Any]:
        outputs, stats = function(*arguments)
        return jax.tree.map(trees.at_least_float32, outputs), stats

    return widened


def _flags(module: nn.Module, train_argument: str | None) -> Callable[[bool], dict[str, Any]]:
    """Return the function train -> arguments that tell a module so.

    Raises:
      ValueError: the module cannot be called, or has no argument of that name.
    """
    call: Any = getattr(module, "__call__", None)  # noqa: B004 - its signature is wanted
    if call is None:
        raise ValueError(f"`model` must have a `__call__`; {type(module).__name__} has none.")
    arguments = inspect.signature(call).parameters
    several = any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values())
    name = train_argument
    if name == "train":
        name = next((each for each in (*TRAIN, *NOT_TRAIN) if each in arguments), None)
    elif name is not None and name not in arguments and not several:
        raise ValueError(
            f"`train_argument` must be an argument of the module's call, which are "
            f"{', '.join(arguments)}; got {name!r}."
        )
    return lambda train: {} if name is None else {name: train != (name in NOT_TRAIN)}


def _streams(key: jax.Array) -> dict[str, jax.Array]:
    # A stream that is not named here comes from "params".
    return {"params": keys.substream(key, "params"), "dropout": key}


def _without_dropout(
    call: Callable[..., Any], arguments: Any, named: Any, context: nn.module.InterceptorContext
) -> Any:
    """Call a method of a module; a layer of dropout gives its inputs."""
    if isinstance(context.module, nn.Dropout) and context.method_name == "__call__":
        return arguments[0] if arguments else named["inputs"]
    return call(*arguments, **named)
