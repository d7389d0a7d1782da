"""The state of a training, and when it ends: patience, divergence, the best so far."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlth import settings
from jaxlth.models import Network
from jaxlth.training.evaluation import Evaluation

NEVER = -1  # a step that has not come


class Best(NamedTuple):
    """The evaluation of least validation loss so far."""

    step: jax.Array  # () int32, NEVER before the first evaluation
    validation_loss: jax.Array  # () nats
    network: Network | None  # as it was then, where the settings keep the best


class State(NamedTuple):
    """The state of a training between two steps."""

    network: Network
    opt: optax.OptState
    loss_sum: jax.Array  # () sum of training losses since the last evaluation, nats
    nan_step: jax.Array  # () int32, step of the first loss that was not finite, or NEVER
    stopped_step: jax.Array  # () int32, evaluation at which training stopped early, or NEVER
    best: Best


class Measured(NamedTuple):
    """The metrics of an evaluation."""

    train_loss: jax.Array  # () mean over the steps since the last evaluation, nats
    validation: Evaluation | None
    test: Evaluation


def update_early_stopping(
    state: State,
    validation: Evaluation | None,
    test: Evaluation,
    step: jax.Array,
    last_eval_step: jax.Array,
    *,
    patience: int | None,
    keep_best: bool,
) -> tuple[State, Measured]:
    """Return a state after an evaluation, stopped if it is to stop, and the measurements.

    Args:
      state: at the evaluation.
      validation: evaluation on the validation split, if there is one.
      test: evaluation on the test split; it decides nothing.
      step: of this evaluation.
      last_eval_step: of the evaluation before, or where training began.
      patience: steps without a lower validation loss before a replicate stops; None: never.
      keep_best: whether the network of least validation loss is kept.
    """
    settings.require(
        validation is not None or (patience is None and not keep_best),
        "`patience` and `keep_best` need a validation split; the data set has none.",
    )
    diverged = ~all_finite(state.network)
    if validation is not None:
        diverged = diverged | ~jnp.isfinite(validation.loss)
    measured = Measured(
        state.loss_sum / jnp.asarray(step - last_eval_step, jnp.float32), validation, test
    )
    active = state.stopped_step == NEVER
    best = state.best
    if validation is not None:
        improved = active & (validation.loss < best.validation_loss)
        network = state.network if keep_best else None
        latest = Best(jnp.asarray(step), validation.loss, network)
        best = where_tree(improved, latest, best)
    # The last step may leave a network without a finite loss: no further one would tell.
    still_finite = active & (state.nan_step == NEVER)
    nan_step = jnp.where(still_finite & diverged, step, state.nan_step)
    stop = nan_step != NEVER
    if patience is not None:
        stop = stop | (step - best.step >= patience)
    stopped = jnp.where(active & stop, step, state.stopped_step)
    state = state._replace(
        loss_sum=jnp.where(active, 0.0, state.loss_sum),
        nan_step=nan_step,
        stopped_step=stopped,
        best=best,
    )
    return state, measured


def keep_if_stopped(state: State, after: State) -> State:
    """Return the state after some steps, or as it was if its training had stopped."""
    return where_tree(state.stopped_step != NEVER, state, after)


def all_finite(tree: Any) -> jax.Array:
    """Return whether no number of a tree is NaN or infinite."""
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def where_tree(condition: jax.Array, yes: Any, no: Any) -> Any:
    """Return the tree `yes` where the scalar `condition` holds, else `no`."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
