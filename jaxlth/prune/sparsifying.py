"""Any training loop of optax made sparse: the state of its optimizer holds the mask."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxlth import keys, masks, scores, trees
from jaxlth.prune import schedules
from jaxlth.prune.counts import share_of
from jaxlth.prune.due import if_due
from jaxlth.prune.groups import blocks, num_groups, units, with_options
from jaxlth.prune.growing import drop_and_grow
from jaxlth.prune.layers import erdos_renyi
from jaxlth.prune.masking import renewed, to_zero
from jaxlth.prune.schedules import Schedule
from jaxlth.prune.selecting import global_topk, layerwise_topk
from jaxlth.trees import places

Score: TypeAlias = Callable[[masks.Params, Any], Any]  # (params, grads) -> scores
Scope: TypeAlias = Literal["global", "layer", "erdos-renyi-kernel"]

SCORES: dict[str, Score] = {
    "magnitude": lambda params, grads: scores.magnitude(params),
    "taylor": scores.taylor,
    "movement": scores.movement,  # summed over the steps
}
SCOPES = ("global", "layer", "erdos-renyi-kernel")


class SparsifyState(NamedTuple):
    """The state of `sparsify`."""

    step: jax.Array  # () int32, updates so far
    mask: masks.Mask  # that of the last update; see `current_mask`
    scores: Any  # like the prunable parameters: movement so far; None for other scores
    inner: Any  # the state of the optimizer
    key: jax.Array | None = None  # numbers of the key that growth at random draws by


def sparsify(
    optimizer: optax.GradientTransformation,
    *,
    schedule: Schedule,
    score: str | Score = "magnitude",
    scope: Scope = "global",
    structure: Callable[..., masks.Mask] | None = None,
    prunable: Callable[[str, Any], bool] = masks.is_kernel,
    growth: Literal["random", "gradient"] | None = None,
    key: jax.Array | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer that prunes as it trains, by a schedule, within a jitted step.

    At a step of the schedule the weights and gradients with which the step begins are scored, and
    the mask is pruned; then the optimizer updates what is kept, and forgets the rest. Updates take
    pruned weights to exactly 0, so the forward pass needs no mask. Only a weight that is NaN or
    infinite when it is pruned stays that, as no update that is added makes it 0: `masks.apply` of
    the parameters does.

    A mask only loses weights, but with `growth`: it then begins at random with the final density,
    and exchanges weights at the steps of a "constant" schedule, which update no weight (Evci et
    al., Algorithm 1). Such a training begins with `masks.apply(params, current_mask(state))`, and
    RigL needs the gradients of pruned weights too, which a mask in the forward pass would take away
    (`masks.straight_through` does not).

    Nothing may follow this in an `optax.chain`: scaled, an update would miss 0. Optimizers that
    wrap others, such as `optax.contrib.mechanize` and `schedule_free`, stand within:
    `sparsify(mechanize(...))`. `optax.lookahead` fits in neither place: it has parameters of two
    kinds, and where both meet it brings pruned weights back. It may wrap `masked`.

    Args:
      optimizer: Any transformation of optax whose updates are like the parameters.
      schedule: When the mask changes, and how many weights it keeps.
      score: "magnitude", "taylor" (`scores.taylor`), "movement" (`scores.movement`, summed over the
        steps; what is NaN or infinite counts as 0), or (params, gradients) -> scores.
      scope: "global": all weights compete. "layer": each tensor keeps the same share.
        "erdos-renyi-kernel": each keeps its count of `erdos_renyi`.
      structure: None: single weights. `units` or `blocks`, or a `functools.partial` of them with
        options: densities count units or blocks. Any other (scores, mask) -> mask, as `n_of_m` or
        a partial of `per_unit_topk`, decides by itself how much it keeps; of the schedule only the
        steps count.
      prunable: As in `masks.dense`.
      growth: None, "random" (SET) or "gradient" (RigL).
      key: For growth: of the first mask and, if random, of what grows. The state holds its numbers:
        replicates side by side draw each their own if `init` ran with a key for each, as in
        `jax.vmap(lambda params, key: sparsify(..., key=key).init(params))(params, keys)`.

    Returns:
      A transformation whose state is a `SparsifyState`; its `update` needs the parameters.

    Raises:
      ValueError: arguments do not go together; or, at `update`, there are no parameters.

    Example:
      >>> params = {"w": jnp.array([[3.0, 1.0, 2.0, 4.0]])}
      >>> schedule = Schedule(density=0.5, kind="one-shot", begin=1)
      >>> optimizer = sparsify(optax.sgd(0.5), schedule=schedule)
      >>> state = optimizer.init(params)
      >>> for _ in range(2):
      ...     updates, state = optimizer.update(params, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> params["w"].tolist(), current_mask(state)["w"].tolist()
      ([[0.75, 0.0, 0.0, 1.0]], [[True, False, False, True]])

    References:
      Zhu & Gupta 2018; Mocanu et al. 2018; Evci et al. 2020; Sanh et al. 2020.
    """
    _check(schedule, score, scope, structure, growth, key)
    inner = optax.with_extra_args_support(optimizer)
    if growth is not None and key is not None:
        make = functools.partial(_growing, growth=growth, key=key)
    else:
        make = functools.partial(_pruning, score=score, structure=structure)
    return make(inner, schedule, scope, prunable=prunable)


def current_mask(opt_state: Any) -> masks.Mask:
    """Return the mask that the state of an optimizer holds, wherever in it `sparsify` stands.

    Tensors that `optax.masked` or `optax.multi_transform` keep from it are never pruned: `None`.
    Within `nnx.Optimizer` it has boxes, which `nnx.as_pure` takes away.

    Raises:
      ValueError: `sparsify` has made no part of the state, or several.

    Example:
      >>> schedule = Schedule(density=0.5, kind="one-shot")
      >>> optimizer = optax.chain(optax.clip(1.0), sparsify(optax.sgd(1.0), schedule=schedule))
      >>> current_mask(optimizer.init({"w": jnp.ones((1, 2))}))["w"].tolist()
      [[True, True]]
    """

    def is_state(node: Any) -> bool:
        return isinstance(node, SparsifyState)

    nodes = jax.tree.leaves(opt_state, is_leaf=is_state)
    sparse_states = [node for node in nodes if is_state(node)]
    if len(sparse_states) != 1:
        raise ValueError(
            "`opt_state` must hold the state of one `prune.sparsify`; it holds "
            f"{len(sparse_states)}."
        )
    return jax.tree.map(
        lambda leaf: None if _is_left_out(leaf) else leaf,
        sparse_states[0].mask,
        is_leaf=_is_left_out,
    )


def _is_left_out(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _pruning(
    inner: optax.GradientTransformationExtraArgs,
    schedule: Schedule,
    scope: Scope,
    *,
    prunable: Callable[[str, Any], bool],
    score: str | Score,
    structure: Callable[..., masks.Mask] | None,
) -> optax.GradientTransformationExtraArgs:
    """Return `sparsify` without growth."""
    score_fn = SCORES[score] if isinstance(score, str) else score
    is_summed = score == "movement"

    def init(params: masks.Params) -> SparsifyState:
        mask = masks.dense(params, prunable=prunable)
        sums = jax.tree.map(_no_movement, masks.prunable(params, mask)) if is_summed else None
        return SparsifyState(jnp.int32(0), mask, sums, inner.init(params))

    def update(grads: Any, state: SparsifyState, params: Any = None, **extra: Any) -> Any:
        _check_given(params)

        def values() -> Any:
            return masks.prunable(score_fn(params, grads), state.mask, name="scores")

        sums = jax.tree.map(_added, state.scores, values()) if is_summed else None

        def prune() -> masks.Mask:
            select = _selector(state.mask, schedule, scope, structure)
            return select(sums if is_summed else values(), state.mask, state.step)

        due = schedules.is_due(state.step, schedule)
        mask = if_due(due, prune, state.mask)
        weights = masks.apply(params, mask)
        # What an optimizer remembers of a pruned weight would move others, as Muon's momentum does,
        # and come back where it averages weights.
        opt = renewed(state.inner, inner.init(weights), params, mask)
        updates, opt = inner.update(masks.apply(grads, mask), opt, weights, **extra)
        updates = to_zero(updates, params, mask)
        return updates, SparsifyState(state.step + 1, mask, sums, opt)

    return optax.GradientTransformationExtraArgs(init, update)


def _no_movement(weight: jax.Array) -> jax.Array:
    return jnp.zeros_like(jnp.real(trees.at_least_float32(weight)))


def _added(total: jax.Array, movement: jax.Array) -> jax.Array:
    """Return a sum over steps, to which what is not finite adds nothing: a step may be skipped."""
    movement = movement.astype(total.dtype)
    return total + jnp.where(jnp.isfinite(movement), movement, 0)


def _growing(
    inner: optax.GradientTransformationExtraArgs,
    schedule: Schedule,
    scope: Scope,
    *,
    prunable: Callable[[str, Any], bool],
    growth: str,
    key: jax.Array,
) -> optax.GradientTransformationExtraArgs:
    """Return `sparsify` with growth: a step exchanges weights or trains them."""
    exchange = functools.partial(drop_and_grow, scope="global" if scope == "global" else "layer")

    def init(params: masks.Params) -> SparsifyState:
        dense = masks.dense(params, prunable=prunable)
        draws = _draws(dense, keys.substream(key, "first mask"))
        mask = _selector(dense, schedule, scope, None)(draws, dense, jnp.int32(0))
        opt = inner.init(masks.apply(params, mask))
        # A copy: who donates the state to a step would lose the key.
        return SparsifyState(jnp.int32(0), mask, None, opt, jnp.array(jax.random.key_data(key)))

    def update(grads: Any, state: SparsifyState, params: Any = None, **extra: Any) -> Any:
        _check_given(params)

        def grow() -> masks.Mask:
            if growth == "random":
                assert state.key is not None
                own = jax.random.wrap_key_data(state.key, impl=jax.random.key_impl(key))
                growth_key = keys.fold(keys.substream(own, "growth"), state.step)
                values = _draws(state.mask, growth_key)
            else:
                values = scores.magnitude(grads)
            fraction = schedules.fraction_at(state.step, schedule)
            return exchange(params, state.mask, values, fraction=fraction).mask

        due = schedules.is_due(state.step, schedule)
        mask = if_due(due, grow, state.mask)
        stays = jax.tree.map(jnp.logical_and, state.mask, mask)
        # Computed at every step and not taken where weights are exchanged: XLA fuses nothing with
        # what is within `cond`, so there it takes longer.
        updates, opt = inner.update(masks.apply(grads, state.mask), state.inner, params, **extra)
        updates = jax.tree.map(lambda leaf: jnp.where(due, jnp.zeros_like(leaf), leaf), updates)
        fresh = inner.init(masks.apply(params, stays))
        kept = renewed(state.inner, fresh, params, stays)
        opt = jax.tree.map(functools.partial(jnp.where, due), kept, opt)
        updates = to_zero(updates, params, stays)
        return updates, SparsifyState(state.step + 1, mask, None, opt, state.key)

    return optax.GradientTransformationExtraArgs(init, update)


def _draws(mask: masks.Mask, key: jax.Array) -> Any:
    """Return draws from U[0, 1) for each weight, on the devices of the mask."""
    return jax.tree.map(places.beside, keys.uniform(mask, key=key), mask)


def _selector(
    mask: masks.Mask,
    schedule: Schedule,
    scope: Scope,
    structure: Callable[..., masks.Mask] | None,
) -> Callable[[Any, masks.Mask, jax.Array], masks.Mask]:
    """Return (scores, mask, step) -> the mask of that step."""
    if structure is not None:
        groups = num_groups(structure, mask)
        if groups is None:
            return lambda values, mask, step: structure(values, mask)
        return lambda values, mask, step: structure(
            values, mask, keep=schedules.keep_at(step, schedule, size=groups)
        )
    if scope == "global":
        size = masks.size(mask)
        return lambda values, mask, step: global_topk(
            values, mask, keep=schedules.keep_at(step, schedule, size=size)
        )
    initial, final = (
        _layer_counts(mask, scope, density) for density in (schedule.initial, schedule.density)
    )
    counts = {
        name: schedule.counts(leaf.size, initial=initial[name], final=final[name])
        for name, leaf in trees.named(mask).items()
    }
    return lambda values, mask, step: layerwise_topk(
        values,
        mask,
        keep={name: schedules.count_at(step, schedule, counts[name]) for name in counts},
    )


def _layer_counts(mask: masks.Mask, scope: Scope, density: float) -> dict[str, int]:
    if scope == "layer":
        return {name: share_of(leaf.size, density) for name, leaf in trees.named(mask).items()}
    return erdos_renyi(mask, keep=share_of(masks.size(mask), density))


def _check_given(params: Any) -> None:
    if params is None:
        raise ValueError("`params` must be given to the `update` of `sparsify`, which prunes them.")


def _check(
    schedule: Schedule, score: Any, scope: str, structure: Any, growth: str | None, key: Any
) -> None:
    """Raise ValueError unless the arguments of `sparsify` go together."""
    if not (callable(score) or score in SCORES):
        raise ValueError(
            f"`score` must be one of {', '.join(SCORES)} or a function; got {score!r}."
        )
    if scope not in SCOPES:
        raise ValueError(f"`scope` must be one of {', '.join(SCOPES)}; got {scope!r}.")
    if structure is not None and scope != "global":
        raise ValueError(f'`scope` must be "global" with a `structure`; got {scope!r}.')
    function, options = with_options(structure)
    if function in (units, blocks) and "keep" in options:
        raise ValueError(
            "`structure` must leave `keep` open, as the schedule says it; got a partial of "
            f"`{function.__name__}` with keep={options['keep']!r}."
        )
    if growth not in (None, "random", "gradient"):
        raise ValueError(f'`growth` must be None, "random" or "gradient"; got {growth!r}.')
    if (growth is None) == (schedule.kind == "constant"):
        raise ValueError(
            '`growth` goes with a schedule of kind "constant", and that with growth; got growth '
            f"{growth!r} and kind {schedule.kind!r}. For a mask that never changes take "
            "`prune.masked`."
        )
    if growth is not None and (structure is not None or score != "magnitude"):
        raise ValueError(
            "With `growth` single weights are exchanged, those of least magnitude; "
            "leave out `structure` and `score`."
        )
    if (growth is None) != (key is None):
        raise ValueError(f"`key` must be given with `growth`, and only then; growth is {growth!r}.")
