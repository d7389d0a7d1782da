"""Wanda: magnitude times the norm of the activations that a weight multiplies.

The network is not changed and may be anybody's: its function is traced to JAX's own operations,
and products of weights with activations are recognised among them, whatever layers they come from.
In a product that is linear in the weights, replace the activations by their squares and sum all
results: the gradient with respect to a weight is the sum of the squares of what it multiplies.
"""

import collections
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxlth import masks, trees
from jaxlth.scores.gradients import ApplyFn

Counter: TypeAlias = "collections.Counter[int]"

PRODUCTS = ("dot_general", "conv_general_dilated")
MOVES = ("broadcast_in_dim", "copy", "reshape", "rev", "slice", "squeeze", "transpose")
CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")
CALLS += ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")  # with a program inside


class _Value(NamedTuple):
    """A number of the program, and what it depends on."""

    array: Any
    leaves: frozenset[int]  # parameters that it is computed from, by position
    is_activation: bool  # whether it is computed from inputs


def wanda(apply_fn: ApplyFn, params: Any, mask: masks.Mask, inputs: Any) -> Any:
    """Return |w| * ||x||, x the activations that the weight is multiplied by.

    The norm is over all examples, and over the tokens or pixels at which the weight is used. It is
    of the network as masked. Weights that are pruned, or never pruned, get 0. Wanda prunes by them
    within each unit: `prune.per_unit_topk`. Works under jit and vmap.

    Args:
      apply_fn: (params, inputs) -> outputs of any kind: of a linen module `lambda p, x:
        module.apply({"params": p}, x)`, of an nnx one `lambda p, x: nnx.merge(graphdef, p)(x)`.
      params: its parameters.
      mask: what is kept so far.
      inputs: of some examples, as `apply_fn` takes them.

    Returns:
      A tree like `params`.

    Raises:
      ValueError: there is no example; or a prunable tensor multiplies no activations: only products
        of matrices and convolutions count, not those within `lax.while_loop`, `lax.cond` or kernels
        of Pallas. Or the trees do not fit.

    Example:
      >>> params = {"w": jnp.array([[1.0, -1.0], [2.0, 3.0]])}
      >>> inputs = jnp.array([[3.0, 0.0], [4.0, 1.0]])
      >>> wanda(lambda p, x: x @ p["w"], params, masks.dense(params), inputs)["w"].tolist()
      [[5.0, 5.0], [2.0, 3.0]]

    References:
      Sun et al. 2023, A Simple and Effective Pruning Approach for Large Language Models, equation
      1.
    """
    masked = masks.apply(params, mask)
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(inputs)]
    if not shapes or any(0 in shape for shape in shapes):
        raise ValueError(f"`inputs` must hold examples; got arrays of shapes {shapes}.")
    squares, used = _squared_norms(apply_fn, masked, inputs)
    for place, name in enumerate(trees.names(params)):
        keep = trees.named(mask).get(name)
        if keep is not None and np.size(keep) and place not in used:
            raise ValueError(
                f"Leaf {name!r} multiplies no activations in a product of matrices or a "
                "convolution; leave it out with `masks.without`."
            )

    def score(weight: jax.Array, square: jax.Array, keep: jax.Array | None) -> jax.Array:
        values = jnp.abs(trees.at_least_float32(weight)) * jnp.sqrt(jnp.real(square))
        return jnp.zeros_like(values) if keep is None else jnp.where(keep, values, 0)

    return jax.tree.map(score, masked, squares, mask)


def multiplications(apply_fn: ApplyFn, params: Any, inputs: Any) -> dict[str, int]:
    """Return how many multiplications by the weights of each tensor a forward pass makes.

    Products of matrices and convolutions count, as in `wanda`; products with padding count too. A
    backward pass makes twice as many. Nothing is computed: shapes do.

    Args:
      apply_fn: (params, inputs) -> outputs of any kind.
      params: its parameters, or their shapes as `jax.ShapeDtypeStruct`.
      inputs: of one or more examples, or their shapes likewise.

    Returns:
      The count for each leaf of `params` that multiplies activations, by name.

    Example:
      >>> multiplications(lambda p, x: x @ p["w"], {"w": jnp.ones((3, 2))}, jnp.ones((5, 3)))
      {'w': 30}
    """
    leaves, names = jax.tree.leaves(params), trees.names(params)
    total, used = _total_of_squares(apply_fn, params, inputs)
    jax.eval_shape(total, leaves)
    return {name: used[place] for place, name in enumerate(names) if place in used}


def _squared_norms(apply_fn: ApplyFn, params: Any, inputs: Any) -> tuple[Any, Counter]:
    """Return the sums of squares of what each weight multiplies, and which leaves multiply any."""
    leaves, structure = jax.tree.flatten(params)
    total, used = _total_of_squares(apply_fn, params, inputs)
    leaves32 = list(map(trees.at_least_float32, leaves))  # sums of squares overflow float16
    return jax.tree.unflatten(structure, jax.grad(total)(leaves32)), used


def _total_of_squares(
    apply_fn: ApplyFn, params: Any, inputs: Any
) -> tuple[Callable[[Sequence[jax.Array]], jax.Array], Counter]:
    """Return leaves -> the sum of all products with squared activations, and what it counts.

    The counts are there once the function was called: multiplications by each leaf, by position.
    """
    program = jax.make_jaxpr(apply_fn)(params, inputs)
    constants = [_Value(array, frozenset(), False) for array in program.consts]
    used: Counter = collections.Counter()

    def total(leaves: Sequence[jax.Array]) -> jax.Array:
        given = [
            _Value(jnp.zeros(leaf.shape, leaf.dtype), frozenset(), True)
            if isinstance(leaf, jax.ShapeDtypeStruct)
            else _Value(leaf, frozenset(), True)
            for leaf in jax.tree.leaves(inputs)
        ]
        weights = [_Value(leaf, frozenset([at]), False) for at, leaf in enumerate(leaves)]
        return _run(program.jaxpr, [*constants, *weights, *given], used)[1]

    return total, used


def _run(jaxpr: Any, values: list[_Value], used: Counter) -> tuple[list[_Value], jax.Array]:
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
    """Return the results of one operation; activations let no gradient through."""
    leaves, is_activation = _depends(operands)
    if _may_stay_wide(eqn, leaves, is_activation):
        return [_Value(_wide_result(eqn, operands[0].array), leaves, False)]
    arrays = [_narrowed(value, var).array for value, var in zip(operands, eqn.invars, strict=True)]
    if is_activation:
        arrays = [jax.lax.stop_gradient(array) for array in arrays]
    results = _results(eqn, arrays)
    results = results if eqn.primitive.multiple_results else [results]
    return [_Value(array, leaves, is_activation) for array in results]


def _results(eqn: Any, arrays: list[Any]) -> Any:
    """Return what one operation makes of arrays."""
    options = eqn.primitive.get_bind_params(eqn.params)
    functions, options = options if isinstance(options, tuple) else ((), options)  # older JAX
    return eqn.primitive.bind(*functions, *arrays, **options)


def _may_stay_wide(eqn: Any, leaves: frozenset[int], is_activation: bool) -> bool:
    """Return whether an operation leaves weights as they are, but for their places or their type.

    Weights are kept in float32 from the parameters to the product, where their gradient is a sum of
    squares, which a narrower type would round or make infinite.
    """
    if not leaves or is_activation:
        return False
    if eqn.primitive.name == "convert_element_type":
        types = [var.aval.dtype for var in (*eqn.invars, *eqn.outvars)]
        return all(jnp.issubdtype(dtype, jnp.floating) for dtype in types)
    return eqn.primitive.name in MOVES


def _wide_result(eqn: Any, array: Any) -> jax.Array:
    """Return the result of such an operation on weights that may be wider than they were."""
    if eqn.primitive.name != "convert_element_type":
        return _results(eqn, [array])
    array = trees.at_least_float32(array)
    rounded = array.astype(eqn.outvars[0].aval.dtype).astype(array.dtype)
    return jax.lax.stop_gradient(rounded) + (array - jax.lax.stop_gradient(array))


def _narrowed(value: _Value, var: Any) -> _Value:
    """Return a value in the type that an operation takes it in."""
    dtype = var.aval.dtype
    is_wide = value.leaves and not value.is_activation and value.array.dtype != dtype
    return value._replace(array=value.array.astype(dtype)) if is_wide else value


def _depends(values: Sequence[_Value]) -> tuple[frozenset[int], bool]:
    leaves = frozenset().union(*(value.leaves for value in values))
    return leaves, any(value.is_activation for value in values)


def _of_product(eqn: Any, operands: list[_Value], used: Counter) -> jax.Array | float:
    """Return the sum of a product of weights with the squares of activations; 0 of all else."""
    if eqn.primitive.name not in PRODUCTS:
        return 0.0
    is_weight = [bool(value.leaves) and not value.is_activation for value in operands]
    if sum(is_weight) != 1 or not any(value.is_activation for value in operands):
        return 0.0
    count = math.prod(eqn.outvars[0].aval.shape) * _summands(eqn)
    used.update(dict.fromkeys(operands[is_weight.index(True)].leaves, count))
    factors = [
        trees.at_least_float32(value.array)
        if weight
        else jax.lax.stop_gradient(jnp.abs(trees.at_least_float32(value.array)) ** 2)
        for value, weight in zip(operands, is_weight, strict=True)
    ]
    options = eqn.params | {"preferred_element_type": None}
    return jnp.sum(jnp.real(eqn.primitive.bind(*factors, **options)))


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


def _scan(eqn: Any, operands: list[_Value], used: Counter) -> tuple[list[_Value], jax.Array]:
    """Return the results of a loop over a leading axis, and the sum of its products."""
    options, jaxpr, constants = eqn.params, eqn.params["jaxpr"].jaxpr, eqn.params["jaxpr"].consts
    # Only rows have an axis more outside than in a step. JAX's own counts change their names.
    last = sum(_rank(a) == _rank(b) for a, b in zip(eqn.invars, jaxpr.invars, strict=True))
    first = last - sum(
        _rank(a) == _rank(b) for a, b in zip(eqn.outvars, jaxpr.outvars, strict=True)
    )
    # What a step leaves may depend on more than what the first one is given.
    carried = _depends(operands)
    states = [
        _Value(_narrowed(value, var).array, *carried)
        for value, var in zip(operands[first:last], eqn.invars[first:last], strict=True)
    ]
    fixed = [*(_Value(c, frozenset(), False) for c in constants), *operands[:first]]
    rows = operands[last:]

    def body(carry: Any, row_arrays: Any) -> Any:
        total, arrays = carry
        in_step.clear()  # JAX may trace a step several times
        values = [
            *fixed,
            *(value._replace(array=array) for value, array in zip(states, arrays, strict=True)),
            *(value._replace(array=array) for value, array in zip(rows, row_arrays, strict=True)),
        ]
        results, more = _run(jaxpr, values, in_step)
        pairs = zip(results, jaxpr.outvars, strict=True)
        arrays = [_narrowed(value, var).array for value, var in pairs]
        return (total + more, arrays[: len(states)]), arrays[len(states) :]

    in_step: Counter = collections.Counter()
    start = jnp.zeros((), jnp.float32), [value.array for value in states]
    (total, ends), stacked = jax.lax.scan(
        body,
        start,
        [value.array for value in rows],
        length=options["length"],
        reverse=options["reverse"],
    )
    used.update({leaf: options["length"] * count for leaf, count in in_step.items()})
    return [_Value(array, *carried) for array in [*ends, *stacked]], total
