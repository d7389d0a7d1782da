"""Products of weights with activations, found in any network, whatever layers it has.

A network's function is traced to JAX's own operations, and the products are recognised among them.
In a product that is linear in the weights, replace the activations by their squares and sum all
results: the gradient with respect to a weight is the sum of the squares of what it multiplies.

On its way to a product a weight may be moved, and multiplied by what is no weight to be pruned, as
in weight normalisation; and what does not change with it may be added. A shadow of it, in float32
whatever the network computes in, goes the same way and is multiplied by the squares.
"""

import collections
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxlth import trees
from jaxlth.scores.gradients import ApplyFn
from jaxlth.trees import floats

Counter: TypeAlias = "collections.Counter[int]"

PRODUCTS = ("dot_general", "conv_general_dilated")
CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")
CALLS += ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")  # with a program inside
MOVES = ("broadcast_in_dim", "concatenate", "copy", "dynamic_slice", "expand_dims", "gather", "pad")
MOVES += ("reshape", "rev", "select_n", "slice", "split", "squeeze", "transpose")
CONSTANT = ("stop_gradient", "round", "sign", "floor", "ceil")  # without a gradient
SAME = ("convert_element_type", "neg", "reduce_precision", "optimization_barrier")  # when squared


class _Shadow(NamedTuple):
    """What stands for weights that are to be pruned, on their way to a product."""

    array: jax.Array  # of the shape of the number that they have become
    leaves: frozenset[int]  # parameters by position


class _Value(NamedTuple):
    """A number of the program, and what it depends on."""

    array: Any
    leaves: frozenset[int]  # parameters that it is computed from, by position
    is_activation: bool  # whether it is computed from inputs
    varies: frozenset[int] = frozenset()  # those of the parameters by which it has a gradient
    shadow: _Shadow | None = None  # if it is weights as they are, or multiplied by a constant


class Used(NamedTuple):
    """Which parameters a program multiplies activations by."""

    counts: Counter  # multiplications by each, by position
    shadows: set[int]  # those whose shadow is among the factors
    changed: set[int]  # those that something without their shadow is computed from


def shadow_of(weight: jax.Array) -> jax.Array:
    """Return zeros for a weight: a function linear in them has the same gradient everywhere."""
    return jnp.zeros_like(jnp.abs(trees.at_least_float32(weight)))


def total_of_squares(
    apply_fn: ApplyFn, params: Any, inputs: Any
) -> tuple[Callable[[Sequence[jax.Array], dict[int, jax.Array]], jax.Array], Used]:
    """Return (leaves, shadows) -> the sum of all products with squared activations; and their use.

    That is known once the function was called.
    """
    program = jax.make_jaxpr(apply_fn)(params, inputs)
    constants = [_Value(array, frozenset(), False) for array in program.consts]
    used = Used(collections.Counter(), set(), set())

    def total(leaves: Sequence[jax.Array], shadows: dict[int, jax.Array]) -> jax.Array:
        given = [
            _Value(jnp.zeros(leaf.shape, leaf.dtype), frozenset(), True)
            if isinstance(leaf, jax.ShapeDtypeStruct)
            else _Value(leaf, frozenset(), True)
            for leaf in jax.tree.leaves(inputs)
        ]
        weights = [
            _Value(
                leaf,
                frozenset([place]),
                False,
                frozenset([place]),
                _Shadow(shadows[place], frozenset([place])) if place in shadows else None,
            )
            for place, leaf in enumerate(leaves)
        ]
        return _run(program.jaxpr, [*constants, *weights, *given], used)[1]

    return total, used


def _run(jaxpr: Any, values: list[_Value], used: Used) -> tuple[list[_Value], jax.Array]:
    """Return the results of a program, and the sum of its products with squared activations."""
    numbers = dict(zip([*jaxpr.constvars, *jaxpr.invars], values, strict=True))
    total = jnp.zeros((), jnp.float32)

    def read(var: Any) -> _Value:
        return (
            _Value(var.val, frozenset(), False) if isinstance(var, core.Literal) else numbers[var]
        )

    for eqn in jaxpr.eqns:
        operands = [read(var) for var in eqn.invars]
        total += _of_product(eqn, operands, used)
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if eqn.primitive.name == "scan":
            results, more = _scan(eqn, operands, used)
            total += more
        elif eqn.primitive.name in CALLS and inner is not None:
            closed = isinstance(inner, core.ClosedJaxpr)
            constants = [_Value(c, frozenset(), False) for c in inner.consts] if closed else []
            body = inner.jaxpr if closed else inner
            results, more = _run(body, [*constants, *operands], used)
            total += more
        else:
            results = _bind(eqn, operands)
        numbers.update(zip(eqn.outvars, results, strict=True))
    return [read(var) for var in jaxpr.outvars], total


def _bind(eqn: Any, operands: list[_Value]) -> list[_Value]:
    """Return the results of one operation."""
    depends = _depends(operands)
    if eqn.primitive.name in CONSTANT:
        depends = (*depends[:2], frozenset())
    results = _results(eqn, [value.array for value in operands])
    shadows = [None] * len(results) if depends[1] else _shadows(eqn, operands, len(results))
    return [_Value(array, *depends, shadow) for array, shadow in zip(results, shadows, strict=True)]


def _results(eqn: Any, arrays: list[Any]) -> list[Any]:
    options = eqn.primitive.get_bind_params(eqn.params)
    functions, options = options if isinstance(options, tuple) else ((), options)  # older JAX
    results = eqn.primitive.bind(*functions, *arrays, **options)
    return list(results) if eqn.primitive.multiple_results else [results]


def _shadows(eqn: Any, operands: list[_Value], results: int) -> Sequence[_Shadow | None]:
    """Return the shadows of the results of an operation on weights: none where it is not linear."""
    shadows = [value.shadow for value in operands]
    given = [shadow for shadow in shadows if shadow is not None]
    name, leaves = eqn.primitive.name, frozenset().union(*(shadow.leaves for shadow in given))
    others = frozenset().union(*(value.varies for value in operands if value.shadow is None))
    if not given:
        return [None] * results
    if name in MOVES:
        dtype = floats.widest([shadow.array for shadow in given])
        arrays = [_moved(value, dtype) for value in operands]
        return [_Shadow(array, leaves) for array in _results(eqn, arrays)]
    if name in SAME and jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.inexact):
        return list(shadows)
    if len(given) > 1:  # weights that are added or multiplied by one another
        return [None] * results
    if name in ("add", "add_any", "sub"):  # unless by what changes with them, as their mean does
        return given if others.isdisjoint(leaves) else [None] * results
    if name == "mul" or (name == "div" and shadows[0] is not None):
        array = given[0].array
        factor = operands[0 if shadows[0] is None else 1].array
        square = (jnp.abs(trees.at_least_float32(factor)) ** 2).astype(array.dtype)
        return [_Shadow(array * square if name == "mul" else array / square, leaves)]
    return [None] * results


def _moved(value: _Value, dtype: Any) -> Any:
    """Return what is moved in the place of an operand: nothing, where that is no weight."""
    if value.shadow is not None:
        return value.shadow.array.astype(dtype)
    return jnp.zeros(np.shape(value.array), dtype) if _is_float(value.array) else value.array


def _is_float(array: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(array), jnp.inexact)


def _depends(values: Sequence[_Value]) -> tuple[frozenset[int], bool, frozenset[int]]:
    leaves, varies = (
        frozenset().union(*(getattr(value, field) for value in values))
        for field in ("leaves", "varies")
    )
    return leaves, any(value.is_activation for value in values), varies


def _of_product(eqn: Any, operands: list[_Value], used: Used) -> jax.Array | float:
    """Return the sum of a product of shadows with the squares of activations; 0 of all else."""
    if eqn.primitive.name not in PRODUCTS:
        return 0.0
    is_weight = [bool(value.leaves) and not value.is_activation for value in operands]
    if sum(is_weight) != 1 or not any(value.is_activation for value in operands):
        return 0.0
    weights = operands[is_weight.index(True)]
    # The zeros that a stride puts between the pixels of a transposed convolution do not count.
    apart = math.prod(eqn.params.get("lhs_dilation") or ())
    count = math.prod(eqn.outvars[0].aval.shape) * _summands(eqn) // apart
    used.counts.update(dict.fromkeys(weights.leaves, count))
    scored = frozenset() if weights.shadow is None else weights.shadow.leaves
    used.shadows.update(scored)
    used.changed.update(weights.leaves - scored)
    if weights.shadow is None:
        return 0.0
    factors = [
        weights.shadow.array if weight else jnp.abs(trees.at_least_float32(value.array)) ** 2
        for value, weight in zip(operands, is_weight, strict=True)
    ]
    dtype = floats.widest(factors)
    options = eqn.params | {"preferred_element_type": None}
    products = eqn.primitive.bind(*(factor.astype(dtype) for factor in factors), **options)
    return jnp.sum(products).astype(jnp.float32)


def _summands(eqn: Any) -> int:
    """Return how many products each number of the result of a product is the sum of."""
    left, right = (var.aval.shape for var in eqn.invars)
    numbers = eqn.params["dimension_numbers"]
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = numbers
        return math.prod(left[axis] for axis in contracted)
    return math.prod(right) // right[numbers.rhs_spec[0]]


def _rank(var: Any) -> int:
    return len(var.aval.shape)


def _scan(eqn: Any, operands: list[_Value], used: Used) -> tuple[list[_Value], jax.Array]:
    """Return the results of a loop over a leading axis, and the sum of its products."""
    options, jaxpr, constants = eqn.params, eqn.params["jaxpr"].jaxpr, eqn.params["jaxpr"].consts
    # Only rows have an axis more outside than in a step. JAX's own counts change their names.
    last = sum(_rank(a) == _rank(b) for a, b in zip(eqn.invars, jaxpr.invars, strict=True))
    first = last - sum(
        _rank(a) == _rank(b) for a, b in zip(eqn.outvars, jaxpr.outvars, strict=True)
    )
    # What a step leaves may depend on more than what the first one is given.
    carried = _depends(operands)
    states = [_Value(value.array, *carried) for value in operands[first:last]]
    fixed = [*(_Value(c, frozenset(), False) for c in constants), *operands[:first]]
    rows = operands[last:]
    row_shadows = [None if row.shadow is None else row.shadow.array for row in rows]

    def body(carry: Any, arrays_of_rows: Any) -> Any:
        total, arrays = carry
        in_step.counts.clear()  # JAX may trace a step several times
        values = [
            *fixed,
            *(value._replace(array=array) for value, array in zip(states, arrays, strict=True)),
            *(_row(*parts) for parts in zip(rows, *arrays_of_rows, strict=True)),
        ]
        results, more = _run(jaxpr, values, in_step)
        arrays = [value.array for value in results]
        return (total + more, arrays[: len(states)]), arrays[len(states) :]

    in_step = used._replace(counts=collections.Counter())
    start = jnp.zeros((), jnp.float32), [value.array for value in states]
    (total, ends), stacked = jax.lax.scan(
        body,
        start,
        ([value.array for value in rows], row_shadows),
        length=options["length"],
        reverse=options["reverse"],
    )
    length = options["length"]
    used.counts.update({leaf: length * count for leaf, count in in_step.counts.items()})
    return [_Value(array, *carried) for array in [*ends, *stacked]], total


def _row(value: _Value, array: jax.Array, shadow: jax.Array | None) -> _Value:
    """Return one row of a value that a loop runs along."""
    if value.shadow is None or shadow is None:
        return value._replace(array=array, shadow=None)
    return value._replace(array=array, shadow=value.shadow._replace(array=shadow))
