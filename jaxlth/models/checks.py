"""Whether a network can be trained: its functions are traced on shapes, and nothing is computed."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from jaxlth import keys, masks, trees
from jaxlth.models.model import Model, Network
from jaxlth.process import code
from jaxlth.trees import programs

UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
EXAMPLES = 2  # of the batch on which functions are traced
CONVOLUTION = "conv_general_dilated"


class ModelError(ValueError):
    """A network that cannot be trained; the message is one line that says why."""


def check(model: Model, example_inputs: Any) -> Model:
    """Return a model whose functions fit each other and their inputs.

    Nothing is computed: `init`, and `apply` and `noisy` on a batch of two examples, are traced. The
    functions that training calls are traced twice, and must do the same both times.

    Args:
      model: any.
      example_inputs: an array of inputs, or a tree of arrays, each with a leading axis of examples;
        `jax.ShapeDtypeStruct` serves as well. Length and values do not matter.

    Returns:
      The model, with `convolutional` as its `apply` says.

    Raises:
      TypeError: `model` is no `Model`.
      ModelError: a function fails, cannot be traced or keeps Python state; `init` gives no arrays;
        outputs are no array of floats (n, ...) for n inputs; batch statistics do not keep their
        shapes; or no parameter can be pruned by the rule of `masks.dense`.

    Example:
      >>> from jaxlth import models
      >>> layer = models.from_functions(lambda key: {"w": jax.random.normal(key, (3, 2))},
      ...                               lambda params, inputs: inputs @ params["w"])
      >>> check(layer, jnp.zeros((1, 3))).convolutional
      False
    """
    if not isinstance(model, Model):
        raise TypeError(
            "`model` must be a models.Model, as models.from_linen, from_nnx and from_functions "
            f"give; got {kind(model)}."
        )
    inputs, key = _batch(example_inputs), keys.stream(0, 0, "")
    _, like = _trace_twice("init", lambda key: _checked_network(model.init(key)), key)
    evaluation, shapes = trace("apply", functools.partial(_call, model.apply, False), like, inputs)
    _check_shapes("apply", shapes, like)
    name, train = "apply", functools.partial(_call, model.apply, True)
    if model.noisy is not None:
        _check_shapes("apply", trace("apply", train, like, inputs)[1], like)
        name, train = "noisy", functools.partial(_call, model.noisy, key)
    _check_shapes(name, _trace_twice(name, train, like, inputs)[1], like)
    if not jax.tree.leaves(masks.dense(like.params)):
        raise ModelError(
            "`model` must have a parameter that can be pruned: by its name a kernel, or of two "
            f"dimensions and no bias, scale or table; it has {_names(like.params)}."
        )
    return dataclasses.replace(model, convolutional=_has_convolution(evaluation.jaxpr))


def trace(name: str, function: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """Return the program of one of a model's functions, and the shapes of its results.

    Args:
      name: what messages call the function.
      function: of trees of arrays.
      *arguments: arrays or their shapes.

    Raises:
      ModelError: the function fails or cannot be traced.
    """
    with explained(name, *arguments[1:]):
        # A function that was traced before would not be called again.
        program, shapes = jax.make_jaxpr(lambda *a: function(*a), return_shape=True)(*arguments)
    if any(isinstance(const, jax.core.Tracer) for const in program.consts):
        raise ModelError(_keeps_state(name, "it uses an array of an earlier call"))
    return program, shapes


@contextlib.contextmanager
def explained(name: str, *arguments: Any) -> Iterator[None]:
    """Turn errors within a function of a model into a line that says where they arose.

    Args:
      name: of the function.
      *arguments: its arguments or their shapes, the inputs last; none where it has no inputs.

    Raises:
      ModelError: in the place of any other error.
    """
    try:
        yield
    except ModelError:
        raise
    except jax.errors.UnexpectedTracerError as error:
        raise ModelError(_keeps_state(name, "it uses an array of an earlier call")) from error
    except UNTRACEABLE as error:
        raise ModelError(
            f"`model` must have functions that jax.jit can trace, without Python or NumPy values "
            f"of arrays; in `{name}`: {code.first_line(error)}"
        ) from error
    except (Exception, SystemExit) as error:
        on = f" on inputs {_shapes(arguments[-1])}" if arguments else ""
        raise ModelError(f"`model` fails in `{name}`{on}: {code.error_text(error)}") from error


def reads(program: Any, count: int) -> bool:
    """Return whether the results of a program depend on any of its first inputs.

    Args:
      program: from `trace`.
      count: of the inputs, each an array.
    """
    _, used = partial_eval.dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))
    return any(used[:count])


def arrays(example_inputs: Any) -> Any:
    """Return inputs as arrays of JAX, zeros where there is only a shape.

    Raises:
      ValueError: there is no array, or one without an axis.
    """
    _batch(example_inputs)
    return jax.tree.map(
        lambda leaf: (
            jnp.zeros(leaf.shape, leaf.dtype)
            if isinstance(leaf, jax.ShapeDtypeStruct)
            else jnp.asarray(leaf)
        ),
        example_inputs,
    )


def _call(function: Callable[..., Any], last: Any, network: Network, inputs: Any) -> Any:
    return function(network, inputs, last)


def _trace_twice(name: str, function: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """Return `trace`, of a function that must do the same when it is called again."""
    (first, shapes), (second, _) = (trace(name, function, *arguments) for _ in range(2))
    if not programs.same(first, second):
        raise ModelError(_keeps_state(name, "two calls of it differ"))
    return first, shapes


def _keeps_state(name: str, why: str) -> str:
    return (
        f"`model` must keep no state in Python, and draw random numbers from its key alone: "
        f"`{name}` is no pure function, for {why}."
    )


def _checked_network(network: Any) -> Network:
    if not isinstance(network, Network):
        raise ModelError(f"`model` must have an `init` that gives a Network; got {kind(network)}.")
    parameters = trees.named(network.params)
    for name, leaf in (trees.named(network.stats) | parameters).items():
        if not isinstance(leaf, (jax.Array, np.ndarray)):
            raise ModelError(
                f"`model` must have an `init` that gives a tree of arrays; {name!r} is "
                f"of type {kind(leaf)}."
            )
        if not jnp.issubdtype(leaf.dtype, jnp.floating) and name in parameters:
            raise ModelError(
                f"`model` must have parameters that are real floats; {name!r} is of {leaf.dtype}."
            )
    if not jax.tree.leaves(network.params):
        raise ModelError("`model` must have parameters; its `init` gives no array.")
    return network


def _check_shapes(name: str, shapes: Any, like: Network) -> None:
    """Raise unless a function gave outputs for the batch, and statistics as they were."""
    if not (isinstance(shapes, tuple) and len(shapes) == 2):
        raise ModelError(
            f"`model` must have a function `{name}` that gives (outputs, batch statistics)."
        )
    outputs, stats = shapes
    is_batch = isinstance(outputs, jax.ShapeDtypeStruct) and outputs.shape[:1] == (EXAMPLES,)
    if not is_batch or not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise ModelError(
            f"`model` must give one array of floats with an axis of examples first, ({EXAMPLES}, "
            f"...) for {EXAMPLES} inputs; `{name}` gives {_shapes(outputs)}."
        )
    if _signature(stats) != _signature(like.stats):
        raise ModelError(
            f"`model` must keep names, shapes and types of its batch statistics; `{name}` makes "
            f"{_shapes(stats)} of {_shapes(like.stats)}."
        )


def _signature(tree: Any) -> Any:
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def _batch(example_inputs: Any) -> Any:
    """Return the shapes of a batch of inputs."""

    def of_batch(leaf: Any) -> jax.ShapeDtypeStruct:
        shape = np.shape(leaf)
        if not shape:
            raise ValueError(
                "`example_inputs` must be arrays with a leading axis of examples; got one of "
                "shape ()."
            )
        dtype = jax.dtypes.canonicalize_dtype(jnp.result_type(leaf))
        return jax.ShapeDtypeStruct((EXAMPLES, *shape[1:]), dtype)

    if not jax.tree.leaves(example_inputs):
        raise ValueError("`example_inputs` must hold an array; got none.")
    return jax.tree.map(of_batch, example_inputs)


def _has_convolution(program: Any) -> bool:
    return any(
        equation.primitive.name == CONVOLUTION or any(map(_has_convolution, _called(equation)))
        for equation in program.eqns
    )


def _called(equation: Any) -> Iterator[Any]:
    """Yield the programs that an equation calls, those of loops and branches among them."""
    for value in equation.params.values():
        for part in value if isinstance(value, (tuple, list)) else [value]:
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield inner


def kind(value: Any) -> str:
    """Return the name of a value's type, or that it is a class, for messages."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _names(params: Any) -> str:
    names = trees.names(params)
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _shapes(tree: Any) -> str:
    """Return shapes and types of a tree of arrays, in a line."""
    arrays = [
        f"{name} {leaf.dtype}{list(leaf.shape)}".strip() for name, leaf in trees.named(tree).items()
    ]
    return ", ".join(arrays[:5]) + (", ..." if len(arrays) > 5 else "") or "nothing"
