"""Modules of Flax nnx as pure functions of nested dicts.

Of a module only the abstract form is kept: its graph, of each mode, and where its variables are.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxlth import keys
from jaxlth.models import checks
from jaxlth.models.model import NOT_TRAIN, TRAIN, Network

Flat = Any  # {path: array}, a path being a tuple of attributes and places in lists
# How a module is called, as attributes of its layers: in training, without noise, in evaluation.
MODES = {
    "noisy": {"deterministic": False, "use_running_average": False},
    "train": {"deterministic": True, "use_running_average": False},
    "eval": {"deterministic": True, "use_running_average": True},
}


def functions(
    make: Callable[[Any], Any], example: Any
) -> tuple[Callable[..., Network], Callable[..., Any], Callable[..., Any] | None]:
    """Return the functions `init`, `apply` and `noisy` of a `Model`; see `from_nnx`.

    Args:
      make: `nnx.Rngs` -> module.
      example: inputs.

    Raises:
      TypeError: `make` is no function.
      ModelError: it makes no module, or one that is no pure function of parameters and statistics.
    """
    if isinstance(make, nnx.Module) or not callable(make):
        raise TypeError(
            f"`model` must be a function of nnx.Rngs that makes a module; got {checks.kind(make)}."
        )
    fixed_key = keys.stream(0, 0, "dropout")
    module = _abstract(make, fixed_key)
    graphs = {mode: _graph(module, attributes) for mode, attributes in MODES.items()}
    _, params, stats, streams, others = _split(module)
    if others:
        raise checks.ModelError(
            "`model` must have no variables but nnx.Param, nnx.BatchStat and random streams; "
            f"it has {_listed(others)}."
        )

    def init(key: jax.Array) -> Network:
        with jax.numpy_dtype_promotion("standard"):  # Flax's layers take it for granted
            _, params, stats, _, _ = _split(make(nnx.Rngs(key)))
        return Network(_nested(params), _nested(stats))

    def run(mode: str, network: Network, inputs: Any, keys_of_streams: Flat) -> tuple[Any, Any]:
        arrays = _flat(params, network.params) | _flat(stats, network.stats) | keys_of_streams
        variables = {**params, **stats, **streams}
        state = nnx.from_flat_state({p: variables[p].replace(arrays[p]) for p in variables})
        module = nnx.merge(graphs[mode], state)
        with jax.numpy_dtype_promotion("standard"):
            outputs = module(inputs)
        nnx.pop(module, nnx.Intermediate)
        graph, _, new_stats, _, others = _split(module)
        if others or graph != graphs[mode]:
            raise checks.ModelError(
                "`model` must keep no state but nnx.BatchStat and random streams; its call changes "
                f"{_listed(others) if others else 'an attribute of a module'}."
            )
        return outputs, _nested(new_stats) if mode != "eval" else network.stats

    def apply(network: Network, inputs: Any, train: bool) -> tuple[Any, Any]:
        return run("train" if train else "eval", network, inputs, _seeded(streams, fixed_key))

    def noisy(network: Network, inputs: Any, key: jax.Array) -> tuple[Any, Any]:
        return run("noisy", network, inputs, _seeded(streams, key))

    def draws(mode: str) -> bool:
        """Return whether the module draws random numbers in a mode."""
        seeded = _seeded(streams, fixed_key)

        def in_mode(seeded: Flat, network: Network, inputs: Any) -> Any:
            return run(mode, network, inputs, seeded)

        program, _ = checks.trace("apply", in_mode, seeded, like, example)
        return checks.reads(program, len(seeded))

    _, like = checks.trace("init", init, fixed_key)
    if draws("eval"):
        raise checks.ModelError(
            "`model` must draw no random numbers in evaluation, which module.eval() says by "
            "`deterministic=True`."
        )
    return init, apply, noisy if draws("noisy") else None


def _abstract(make: Callable[[Any], Any], key: jax.Array) -> nnx.Module:
    """Return a module of shapes."""

    def made(key: jax.Array) -> nnx.Module:
        module = make(nnx.Rngs(key))
        if not isinstance(module, nnx.Module):
            raise checks.ModelError(
                "`model` must be a function of nnx.Rngs that makes an nnx.Module; it makes "
                f"{checks.kind(module)}."
            )
        return module

    with checks.explained("init"):
        module = nnx.eval_shape(made, key)
    flags = {*TRAIN, *NOT_TRAIN} & set(inspect.signature(module.__call__).parameters)
    if flags:
        raise checks.ModelError(
            "`model` must be told by attributes whether it trains, as module.train() sets them; "
            f"its call takes `{sorted(flags)[0]}`."
        )
    return module


def _graph(module: nnx.Module, attributes: dict[str, bool]) -> Any:
    module.set_attributes(**attributes, raise_if_not_found=False)
    return nnx.graphdef(module)


def _split(module: nnx.Module) -> tuple[Any, Flat, Flat, Flat, Flat]:
    """Return graph, parameters, statistics, random streams and the rest, as variables by path."""
    graph, *states = nnx.split(module, nnx.Param, nnx.BatchStat, nnx.RngState, ...)
    params, stats, streams, others = (dict(nnx.to_flat_state(state)) for state in states)
    return graph, params, stats, streams, others


def _nested(variables: Flat) -> Any:
    """Return the arrays of variables as a nested dict whose keys are text."""
    tree: dict[str, Any] = {}
    for path, variable in variables.items():
        node = tree
        for part in path[:-1]:
            node = node.setdefault(str(part), {})
        node[str(path[-1])] = variable.get_value()
    return tree


def _flat(variables: Flat, tree: Any) -> Flat:
    """Return the arrays of a nested dict by the paths of their variables."""
    arrays = {}
    for path in variables:
        node = tree
        for part in path:
            node = node[str(part)]
        arrays[path] = jnp.asarray(node)  # nnx writes into NumPy arrays
    return arrays


def _seeded(streams: Flat, key: jax.Array) -> Flat:
    """Return the state of random streams that all start from a key, each in its own way."""
    seeded = {}
    for position, (path, variable) in enumerate(streams.items()):
        shape = variable.get_value().shape
        if issubclass(type(variable), nnx.RngKey):
            stream = keys.fold(key, position)
            seeded[path] = jax.random.split(stream, shape) if shape else stream
        else:
            seeded[path] = jnp.zeros(shape, jnp.uint32)
    return seeded


def _listed(variables: Flat) -> str:
    names = (f"{'.'.join(map(str, p))} ({checks.kind(v)})" for p, v in variables.items())
    return ", ".join(names)
