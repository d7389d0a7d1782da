"""Train one network as a pure function; replicates are this function mapped.

`start` puts a network under its mask, `advance` takes it from one step to another, `measure`
evaluates it. Data order is a function of key and step alone, so that a training cut anywhere goes
on with the batches it would have had. A replicate that has stopped is carried along unchanged.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlth import data, keys, masks, settings
from jaxlth.data import Dataset, Split
from jaxlth.models import Model, Network

NEVER = -1  # a step that has not come
EVALUATION_BATCH = 2000  # examples at once in evaluation: bounds memory, not results


class Best(NamedTuple):
    """The evaluation of least validation loss so far."""

    step: jax.Array  # () int32, NEVER before the first evaluation
    validation_loss: jax.Array  # () nats
    network: Network | None  # as it was then, where the settings keep the best


class State(NamedTuple):
    """What a training goes on with."""

    network: Network
    opt: optax.OptState
    loss_sum: jax.Array  # () sum of training losses since the last evaluation, nats
    nan_step: jax.Array  # () int32, step of the first loss that was not finite, or NEVER
    stopped_step: jax.Array  # () int32, evaluation at which training stopped early, or NEVER
    best: Best


class Evaluation(NamedTuple):
    """Loss and accuracy on one split."""

    loss: jax.Array  # () mean cross-entropy, nats
    accuracy: jax.Array  # () in [0, 1]


class Measured(NamedTuple):
    """What one looks at after each evaluation."""

    train_loss: jax.Array  # () mean over the steps since the last evaluation, nats
    validation: Evaluation | None
    test: Evaluation


class Trainer(NamedTuple):
    """The pure functions of a training, each for one network.

    start(network, mask) -> State
    advance(state, mask, dataset, key, begin, end) -> State: steps begin, ..., end - 1
    measure(state, mask, dataset, step, since) -> (State, Measured): evaluates, and stops a training
      that is out of patience or whose loss is not finite; since = step of the last evaluation
    finish(state) -> Network: the last or the best, as asked
    evaluate(network, mask, split, mean, std) -> Evaluation
    """

    start: Callable[..., State]
    advance: Callable[..., State]
    measure: Callable[..., tuple[State, Measured]]
    finish: Callable[[State], Network]
    evaluate: Callable[..., Evaluation]


def make(
    model: Model,
    optimizer: optax.GradientTransformationExtraArgs,
    *,
    batch_size: int,
    patience: int | None = None,
    keep_best: bool = False,
    normalize: Callable[..., jax.Array] = data.normalize,
) -> Trainer:
    """Return the training of `model` by `optimizer` as pure functions.

    Args:
      model: the network.
      optimizer: its update takes `step=`; see `optimizers.build`.
      batch_size: examples per step.
      patience: steps without a lower validation loss before a replicate stops.
      keep_best: whether `finish` gives the network of least validation loss instead of the last.
      normalize: (images, mean, std) -> inputs of the network; one of `data.NORMALIZERS`.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def start(network: Network, mask: masks.Mask) -> State:
        network = network._replace(params=masks.apply(network.params, mask))
        never = jnp.asarray(NEVER, jnp.int32)
        worst = jnp.asarray(jnp.inf, jnp.float32)
        return State(
            network=network,
            opt=optimizer.init(network.params),
            loss_sum=jnp.zeros((), jnp.float32),
            nan_step=never,
            stopped_step=never,
            best=Best(never, worst, network if keep_best else None),
        )

    def loss_of(params: Any, network: Network, mask: masks.Mask, batch: Split, norms: Any):
        masked = network._replace(params=masks.apply(params, mask))
        logits, stats = model.apply(masked, normalize(jnp.asarray(batch.images), *norms), True)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        return jnp.mean(losses), stats

    def step_once(state: State, mask: masks.Mask, batch: Split, norms: Any, step: jax.Array):
        value_and_grad = jax.value_and_grad(loss_of, has_aux=True)
        (loss, stats), gradients = value_and_grad(
            state.network.params, state.network, mask, batch, norms
        )
        updates, opt = optimizer.update(gradients, state.opt, state.network.params, step=step)
        params = optax.apply_updates(state.network.params, updates)
        first_nan = (state.nan_step == NEVER) & ~jnp.isfinite(loss)
        return state._replace(
            network=Network(params, stats),
            opt=opt,
            loss_sum=state.loss_sum + loss,
            nan_step=jnp.where(first_nan, step, state.nan_step),
        )

    def advance(state: State, mask, dataset: Dataset, key, begin, end) -> State:
        train, norms = dataset.train, (dataset.mean, dataset.std)
        examples = train.labels.shape[0]
        per_epoch = examples // batch_size
        rows = train.images.reshape((examples, -1))  # gathering rows is a tenth faster on CPU

        def epoch(carry):
            step, state = carry
            first = step // per_epoch * per_epoch
            order = shuffled(keys.fold(key, step // per_epoch), examples)

            def one(step, state):
                at = jax.lax.dynamic_slice(order, ((step - first) * batch_size,), (batch_size,))
                images = rows[at].reshape((batch_size, *train.images.shape[1:]))
                batch = Split(images, train.labels[at])
                return step_once(state, mask, batch, norms, step)

            last = jnp.minimum(end, first + per_epoch)
            return last, jax.lax.fori_loop(step, last, one, state)

        begin, end = jnp.asarray(begin, jnp.int32), jnp.asarray(end, jnp.int32)
        _, after = jax.lax.while_loop(lambda carry: carry[0] < end, epoch, (begin, state))
        return choose(state.stopped_step != NEVER, state, after)

    def evaluate(network: Network, mask, split: Split, mean, std) -> Evaluation:
        masked = network._replace(params=masks.apply(network.params, mask))

        def sums(batch: Split):
            images = normalize(jnp.asarray(batch.images), mean, std)
            logits, _ = model.apply(masked, images, False)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
            return jnp.sum(losses), jnp.sum(jnp.argmax(logits, -1) == batch.labels)

        loss, right = over_batches(sums, split)
        # Behind the barrier, or XLA multiplies by 1 / count and 1.0 comes out as 0.99999994.
        count = jax.lax.optimization_barrier(jnp.float32(split.labels.shape[0]))
        return Evaluation(loss / count, right / count)

    def measure(state: State, mask, dataset: Dataset, step, since) -> tuple[State, Measured]:
        settings.require(
            dataset.validation is not None or (patience is None and not keep_best),
            "`patience` and `keep_best` need a validation split; the data set has none.",
        )
        norms = (dataset.mean, dataset.std)
        test = evaluate(state.network, mask, dataset.test, *norms)
        validation, broken = None, ~all_finite(state.network)
        if dataset.validation is not None:
            validation = evaluate(state.network, mask, dataset.validation, *norms)
            broken = broken | ~jnp.isfinite(validation.loss)
        measured = Measured(state.loss_sum / (step - since), validation, test)
        going = state.stopped_step == NEVER
        best = state.best
        if validation is not None:
            better = going & (validation.loss < best.validation_loss)
            network = state.network if keep_best else None
            now = Best(jnp.asarray(step), validation.loss, network)
            best = choose(better, now, best)
        # The last step may leave a network without a finite loss: no further one would tell.
        first = going & (state.nan_step == NEVER)
        nan_step = jnp.where(first & broken, step, state.nan_step)
        stop = nan_step != NEVER
        if patience is not None:
            stop = stop | (step - best.step >= patience)
        stopped = jnp.where(going & stop, step, state.stopped_step)
        state = state._replace(
            loss_sum=jnp.where(going, 0.0, state.loss_sum),
            nan_step=nan_step,
            stopped_step=stopped,
            best=best,
        )
        return state, measured

    def finish(state: State) -> Network:
        if not keep_best:
            return state.network
        return choose(state.best.step != NEVER, state.best.network, state.network)

    return Trainer(start, advance, measure, finish, evaluate)


def all_finite(tree: Any) -> jax.Array:
    """Return whether no number of a tree is NaN or infinite."""
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def choose(condition: jax.Array, yes: Any, no: Any) -> Any:
    """Return the tree `yes` where the scalar `condition` holds, else `no`."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def shuffled(key: jax.Array, count: int) -> jax.Array:
    """Return 0, ..., count - 1 in random order.

    One sort by 32 random bits: half the time of `jax.random.permutation`, which sorts twice; ties,
    one pair among 60,000 numbers in every other epoch, keep their order.
    """
    return jnp.argsort(jax.random.bits(key, (count,)))


def over_batches(sums: Callable[[Split], Any], split: Split) -> Any:
    """Return the sum of `sums` over batches of a split, the last one smaller."""
    count = split.labels.shape[0]
    whole = count // EVALUATION_BATCH
    cut = whole * EVALUATION_BATCH
    parts = []
    if whole:
        shaped = jax.tree.map(
            lambda a: a[:cut].reshape((whole, EVALUATION_BATCH, *a.shape[1:])), split
        )
        parts.append(jax.tree.map(lambda a: a.sum(0), jax.lax.map(sums, shaped)))
    if cut < count:
        parts.append(sums(jax.tree.map(lambda a: a[cut:], split)))
    return jax.tree.map(lambda *a: sum(a), *parts)
