"""Anybody's optimisers: optax transformations in place of `OptimizerConfig`.

A transformation is used as it is, with the schedule, clipping and decay that it has. The optimiser
of a rewound network is fresh: a schedule that follows the transformation's own count begins at 0
there, unless the state of the rewind step is restored (`rewind_optimizer` of imp). One that takes
extra arguments is given those of `step=`, the training step, and `value=`, the loss of the batch,
that it names.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlth import masks, settings, trees
from jaxlth.process import code
from jaxlth.settings import ranges
from jaxlth.trees import programs

FIRST_STEPS = (0, 1, 2)  # of a training; momentum shows in the second
# Schedules show there, and steps that collect the gradients of 4, 8, 10 ... batches.
LATER_STEPS = (3, 7, 9, 15, 31, 99, 999, 9_999, 99_999)

VANISHING = (0.0, 1e-6)  # sizes of gradients
# Steps at which a schedule is looked at, and updates of weights that this may take.
LEAST_PLACES, MOST_PLACES, MOST_UPDATES = 32, 256, 30_000_000
MOST_LOSSES = 4096  # steps for which an optimizer is shown losses


def is_transformation(value: Any) -> bool:
    """Return whether a value is an optax transformation, or like one, as optax.MultiSteps is."""
    functions = [getattr(value, name, None) for name in ("init", "update")]
    return not isinstance(value, type) and all(map(callable, functions))


def optimizer(
    transformation: optax.GradientTransformation, like: masks.Params
) -> optax.GradientTransformationExtraArgs:
    """Return an optax transformation as an optimiser whose `update` takes `step=` and `value=`.

    Its `update` needs the parameters too.

    Random keys in its state are kept as plain numbers, which checkpoints hold.

    Args:
      transformation: with functions `init` and `update`, such as `optax.adamw(1e-3)`.
      like: parameters, or their `jax.ShapeDtypeStruct`s, on which both functions are tried.

    Raises:
      TypeError: it is no optax transformation.
      ValueError: it does not fit the parameters; the message is of one line.

    Example:
      >>> ones = {"kernel": jnp.ones(2)}
      >>> adam = optimizer(optax.adam(1e-3), ones)
      >>> updates, state = adam.update(ones, adam.init(ones), ones)
      >>> updates["kernel"].round(6).tolist()
      [-0.0010000000474974513, -0.0010000000474974513]
    """
    if not is_transformation(transformation):
        name = getattr(transformation, "__name__", None)
        kind = f"the {type(transformation).__name__} {name}" if name else None
        raise TypeError(
            "`optimizer` must be an optax transformation, with functions `init` and `update`, such "
            f"as optax.adamw(1e-3); got {kind or ranges.shown(transformation)}."
        )
    whole = optax.with_extra_args_support(transformation)
    takes = _extra_arguments(whole.update)

    def init(params: masks.Params) -> Any:
        return jax.tree.map(_plain, whole.init(params))

    def update(grads, state, params, **extra):
        # Of this state only the kinds of its leaves are used, which cost no time in a program.
        with_keys = jax.tree.map(_as_kind, state, whole.init(params))
        given = {name: value for name, value in extra.items() if takes is None or name in takes}
        updates, state = whole.update(grads, with_keys, params, **given)
        return updates, jax.tree.map(_plain, state)

    made = optax.GradientTransformationExtraArgs(init, update)
    _check(made, like)
    return made


def _extra_arguments(update: Callable[..., Any]) -> set[str] | None:
    """Return the names of an update's arguments; None where it takes any."""
    arguments = inspect.signature(update).parameters
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values()):
        return None
    return set(arguments)


def fingerprint(transformation: optax.GradientTransformation, params: masks.Params) -> list[float]:
    """Return numbers that tell an optimiser from another: of its updates for fixed gradients.

    They come from the first steps, where learning rate, momentum and rule show; from steps to
    which all counts of the state are set forward, where schedules show; and from first steps with
    vanishing gradients, where decay and other small constants show. Two of one optimiser differ by
    rounding alone: compare them up to 1e-3 of each number and 1e-6 of the largest.

    Args:
      transformation: as `optimizer` takes it.
      params: of a network.

    Returns:
      For each step the component of the updates along the gradients, and the updates' size, both
      as a share of the gradients' size, of 4 significant digits.
    """
    made, shares = optimizer(transformation, params), []

    @jax.jit
    def one_step(state: Any, params: masks.Params, step: jax.Array, scale: jax.Array):
        unit = _gradients(params, step)
        grads = jax.tree.map(lambda grad: scale.astype(grad.dtype) * grad, unit)
        updates, state = _update(made, grads, state, params, step, 1 / (1 + step))
        beside = jax.tree.map(lambda grad, w: jnp.where(scale > 0, grad, w), unit, params)
        return state, optax.apply_updates(params, updates), _shares(updates, beside)

    with jax.numpy_dtype_promotion("standard"):
        fresh = state = made.init(params)
        for scale in VANISHING:
            shares.append(one_step(fresh, params, jnp.int32(0), jnp.float32(scale))[2])
        for step in (*FIRST_STEPS, *LATER_STEPS):
            if step in LATER_STEPS:
                state = jax.tree.map(functools.partial(_set_forward, step=step), state)
            state, params, share = one_step(state, params, jnp.int32(step), jnp.float32(1))
            shares.append(share)
    settings.require(
        bool(np.isfinite(shares[len(VANISHING)]).all()),
        "`optimizer` gives NaN or infinity for the first update, of gradients between -1 and 1.",
    )
    return [float(f"{number:.4g}") for number in np.nan_to_num(np.concatenate(shares)).tolist()]


def over_training(
    transformation: optax.GradientTransformation, params: masks.Params, *, steps: int
) -> list[float]:
    """Return numbers that tell a schedule from another: of the updates at steps of a training.

    All counts of the state are set to each step in turn: to the first ones, where steps that
    collect gradients of batches show, and to evenly spaced ones. A rate that drops elsewhere shows
    if that is further than a two hundredth of the training, or less far in a short one or for a
    network of above 100,000 weights.

    Args:
      transformation: as `optimizer` takes it.
      params: of a network.
      steps: of the training.

    Returns:
      For each step the updates' size as a share of the gradients' size, of 4 significant digits.
    """
    made = optimizer(transformation, params)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    most = min(MOST_PLACES, max(LEAST_PLACES, MOST_UPDATES // max(1, size)))
    spaced = np.linspace(0, steps - 1, min(steps, most)).round()
    places = np.union1d(np.arange(min(steps, most // 8)), spaced).astype(np.int32)

    @jax.jit
    def sizes(params: masks.Params, places: jax.Array) -> jax.Array:
        grads, state = _gradients(params, jnp.int32(0)), made.init(params)

        def size_at(step: jax.Array) -> jax.Array:
            moved = jax.tree.map(functools.partial(_set_forward, step=step), state)
            updates, _ = _update(made, grads, moved, params, step, 1 / (1 + step))
            return _shares(updates, grads)[1]

        return jax.lax.map(size_at, places)

    with jax.numpy_dtype_promotion("standard"):
        numbers = np.nan_to_num(np.asarray(sizes(params, jnp.asarray(places)), float))
    return [float(f"{number:.4g}") for number in numbers.tolist()]


def by_loss(
    transformation: optax.GradientTransformation, params: masks.Params, *, steps: int
) -> list[float]:
    """Return numbers that tell an optimiser that looks at the loss from another; else none.

    They are of a loss that stays, and of one that falls by a thousandth a step: patience, factor
    and tolerances of `optax.contrib.reduce_on_plateau` show. Gradients and parameters stay, and are
    cut to two numbers along each axis; an optimiser that takes whole arrays alone has no numbers.

    Args:
      transformation: as `optimizer` takes it.
      params: of a network.
      steps: of the training.

    Returns:
      The sum of the updates' sizes up to some steps, of 4 significant digits.
    """
    small = jax.tree.map(lambda leaf: leaf[(slice(2),) * leaf.ndim], params)
    with jax.numpy_dtype_promotion("standard"):
        try:
            made = optimizer(transformation, small)
        except (TypeError, ValueError):
            return []
        program, *_ = _trace(made, small)
        loss = program.jaxpr.invars[-1]
        if not any(loss is var for eqn in program.jaxpr.eqns for var in eqn.invars):
            return []
        count = min(steps, MOST_LOSSES)
        places = np.unique(np.geomspace(1, count, LEAST_PLACES).round().astype(int)) - 1
        grads = _gradients(small, jnp.int32(0))

        @jax.jit
        def sizes(factor: jax.Array) -> jax.Array:
            def one_step(state: Any, step: jax.Array) -> tuple[Any, jax.Array]:
                updates, state = _update(made, grads, state, small, step, factor**step)
                return state, _shares(updates, grads)[1]

            return jax.lax.scan(one_step, made.init(small), jnp.arange(count))[1]

        sums = [np.cumsum(sizes(jnp.float32(factor)))[places] for factor in (1, 0.999)]
    return [float(f"{number:.4g}") for number in np.nan_to_num(np.concatenate(sums)).tolist()]


def _gradients(like: masks.Params, step: jax.Array) -> masks.Params:
    """Return a fixed tree of gradients for a step, of numbers between -1 and 1."""
    leaves, structure = jax.tree.flatten(like)
    grads = [
        jnp.cos(jnp.arange(leaf.size, dtype=jnp.float32) + at + step).reshape(leaf.shape)
        for at, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(
        structure, [grad.astype(leaf.dtype) for grad, leaf in zip(grads, leaves, strict=True)]
    )


def _shares(updates: masks.Params, beside: masks.Params) -> jax.Array:
    """Return (2,): the updates' part along another tree and their size, as shares of its size."""
    pairs = list(zip(jax.tree.leaves(updates), jax.tree.leaves(beside), strict=True))
    weights = 1 + jnp.arange(len(pairs)) / len(pairs)  # so that two leaves cannot be exchanged
    sizes = [jnp.maximum(jnp.linalg.norm(leaf), 1e-9) for _, leaf in pairs]
    along = [jnp.vdot(u, leaf) / size**2 for (u, leaf), size in zip(pairs, sizes, strict=True)]
    size = [jnp.linalg.norm(u) / size for (u, _), size in zip(pairs, sizes, strict=True)]
    return jnp.stack([jnp.mean(weights * jnp.stack(along)), jnp.mean(weights * jnp.stack(size))])


def _set_forward(leaf: jax.Array, step: int | jax.Array) -> jax.Array:
    """Return a leaf of a state with the step for its count, if it is one."""
    is_count = leaf.shape == () and jnp.issubdtype(leaf.dtype, jnp.integer)
    return jnp.asarray(step, leaf.dtype) if is_count else leaf


def _check(made: optax.GradientTransformationExtraArgs, like: masks.Params) -> None:
    """Raise ValueError unless an optimiser is a pure function with updates like the parameters."""
    try:
        with jax.numpy_dtype_promotion("standard"):
            # The second one meets what the first may have left in Python.
            traces = [_trace(made, like) for _ in range(2)]
    except Exception as error:  # of anybody's code
        raise ValueError(
            "`optimizer` must compute updates from gradients, its state and the parameters under "
            f"jax.jit; it raised {code.error_text(error)}"
        ) from error
    program, updates, *states = traces[0]
    try:
        trees.check_same(updates, like, a_name="updates", b_name="params")
    except ValueError as error:
        raise ValueError(f"`optimizer` must return updates like the parameters. {error}") from error
    before, after = (jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) for state in states)
    settings.require(
        before == after,
        "`optimizer` must keep the structure, shapes and kinds of the state that `init` makes.",
    )
    settings.require(
        programs.same(program, traces[1][0]),
        "`optimizer` must be a pure function of gradients, state and parameters: a second call of "
        "`update` does something else.",
    )


def _trace(made: optax.GradientTransformationExtraArgs, like: masks.Params) -> tuple[Any, ...]:
    """Return the program of an update, and outlines of updates and of both states."""
    state = jax.eval_shape(lambda params: made.init(params), like)
    trace = jax.make_jaxpr(lambda *arrays: _update(made, *arrays), return_shape=True)
    step, loss = (jax.ShapeDtypeStruct((), kind) for kind in (jnp.int32, jnp.float32))
    program, (updates, after) = trace(like, state, like, step, loss)
    return program, updates, state, after


def _update(made: optax.GradientTransformationExtraArgs, grads, state, params, step, loss) -> Any:
    return made.update(grads, state, params, step=step, value=loss)


def _plain(leaf: Any) -> jax.Array:
    """Return a leaf of a state as an array of numbers."""
    return jax.random.key_data(leaf) if _is_key(leaf) else jnp.asarray(leaf)


def _as_kind(leaf: jax.Array, like: Any) -> jax.Array:
    """Return a leaf of a state as the key that it was."""
    if not _is_key(like):
        return leaf
    return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(like))


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
