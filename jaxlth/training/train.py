"""Train one network as pure functions; replicates are these functions mapped.

`start` puts a network under its mask, `advance` takes it from one step to another, `measure`
evaluates it. Training masks the network once, at its start, and then its gradients before the
optimiser and its weights after it: pruned weights stay exactly 0, and the forward pass needs no
mask. Data order, augmentation and the noise of a network, such as dropout, are functions of key and
step alone, so that a training cut anywhere goes on as it would have. A replicate that has stopped
is carried along unchanged.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlth import data, keys, masks
from jaxlth.data import Dataset, Split, augment, packing
from jaxlth.models import AUXILIARY_WEIGHT, BatchAxis, Model, Network
from jaxlth.training import evaluation, losses, states
from jaxlth.training.evaluation import Classifier, Evaluation, MetricSums
from jaxlth.training.losses import Objective
from jaxlth.training.states import NEVER, Best, Measured, State

_SHARED = BatchAxis()  # the devices that share each batch, if several do


class Trainer(NamedTuple):
    """The pure functions of a training, each for one network.

    start(network, mask) -> State
    advance(state, mask, dataset, key, start_step, end) -> State: steps start_step, ..., end - 1
    measure(state, mask, dataset, step, last_eval_step) -> (State, Measured): evaluates, and stops
      a training that is out of patience or whose loss is not finite
    evaluate(network, mask, split, mean, std) -> Evaluation
    finish(state) -> Network: the last or the best, as the settings say

    Where a loop in Python has to take the place of a scan, its parts:

    order(dataset, key, step) -> (examples,) int32: the order of examples in the step's epoch
    step(state, mask, dataset, order, key, step) -> State: one step of a data set on the device
    update(state, mask, batch, mean_std, key, step) -> State: one step on a batch from elsewhere
    metric_sums(network, mask, batch, mean_std) -> MetricSums
    update_early_stopping(state, validation, test, step, last_eval_step) -> (State, Measured)
    """

    batch_size: int
    objective: Objective
    start: Callable[..., State]
    advance: Callable[..., State]
    measure: Callable[..., tuple[State, Measured]]
    evaluate: Callable[..., Evaluation]
    finish: Callable[[State], Network]
    order: Callable[..., jax.Array]
    step: Callable[..., State]
    update: Callable[..., State]
    metric_sums: Callable[..., MetricSums]
    update_early_stopping: Callable[..., tuple[State, Measured]]


def make(
    model: Model,
    optimizer: optax.GradientTransformationExtraArgs,
    *,
    batch_size: int,
    patience: int | None = None,
    keep_best: bool = False,
    normalize: Callable[..., jax.Array] = data.normalize,
    augmentation: Callable[..., jax.Array] = augment.none,
    objective: Objective | None = None,
) -> Trainer:
    """Return the training of `model` by `optimizer` as pure functions.

    Args:
      model: the network.
      optimizer: its update takes `step=`, and may take `value=`, the loss; see
        `optimizers.build` and `transformations.optimizer`.
      batch_size: examples per step.
      patience: steps without a lower validation loss before a replicate stops.
      keep_best: whether `finish` gives the network of least validation loss instead of the last.
      normalize: (images, mean, std) -> inputs of the network; one of `data.NORMALIZERS`.
      augmentation: (images, key=) -> images; one of `augment.AUGMENTATIONS`.
      objective: the loss, and the error; cross-entropy of one task if not given.
    """
    optimizer = optax.with_extra_args_support(optimizer)
    classifier = Classifier(model, normalize, objective or losses.objective())
    train_step = _make_train_step(classifier, optimizer)
    order, batch_at = _make_batches(batch_size, augmentation)
    step, update = _make_single_steps(train_step, batch_at)
    update_early_stopping = functools.partial(
        states.update_early_stopping, patience=patience, keep_best=keep_best
    )

    def metric_sums(network: Network, mask, batch: Split, mean_std) -> MetricSums:
        return evaluation.metric_sums(classifier, network, mask, batch, mean_std)

    def finish(state: State) -> Network:
        if not keep_best:
            return state.network
        has_best = state.best.step != NEVER
        return states.where_tree(has_best, state.best.network, state.network)

    evaluate = _make_evaluate(metric_sums, classifier.objective.labels_per_example)
    return Trainer(
        batch_size=batch_size,
        objective=classifier.objective,
        start=_make_start(optimizer, keep_best),
        advance=_make_advance(train_step, order, batch_at, batch_size),
        measure=_make_measure(evaluate, update_early_stopping),
        evaluate=evaluate,
        finish=finish,
        order=order,
        step=step,
        update=update,
        metric_sums=metric_sums,
        update_early_stopping=update_early_stopping,
    )


def _make_start(
    optimizer: optax.GradientTransformationExtraArgs, keep_best: bool
) -> Callable[..., State]:
    """Return the function `start` of a `Trainer`."""

    def start(network: Network, mask: masks.Mask) -> State:
        network = network._replace(params=masks.apply(network.params, mask))
        never = jnp.asarray(NEVER, jnp.int32)
        worst = jnp.asarray(jnp.finfo(jnp.float32).max)  # no infinity, which `debug_infs` refuses
        return State(
            network=network,
            opt=optimizer.init(network.params),
            loss_sum=jnp.zeros((), jnp.float32),
            nan_step=never,
            stopped_step=never,
            best=Best(never, worst, network if keep_best else None),
        )

    return start


def _make_loss(classifier: Classifier) -> Callable[..., tuple[jax.Array, Any]]:
    """Return (params, network, batch, mean_std, noise_key) -> (mean loss, batch statistics)."""
    model, normalize, objective = classifier

    def mean_loss(outputs: Any, labels: Any) -> jax.Array:
        return jnp.mean(objective.per_example(outputs, labels))

    def loss_of(params: Any, network: Network, batch: Split, mean_std: Any, noise_key: Any):
        network = network._replace(params=params)
        inputs = normalize(packing.unpack(batch.images), *mean_std)
        if model.auxiliary is None:
            if model.noisy is None:
                outputs, stats = model.apply(network, inputs, True)
            else:
                outputs, stats = model.noisy(network, inputs, noise_key)
            return mean_loss(outputs, batch.labels), stats
        outputs, aux_outputs, stats = model.auxiliary(network, inputs)
        loss, aux_loss = (mean_loss(each, batch.labels) for each in (outputs, aux_outputs))
        return loss + AUXILIARY_WEIGHT * aux_loss, stats

    return loss_of


def _make_train_step(
    classifier: Classifier,
    optimizer: optax.GradientTransformationExtraArgs,
) -> Callable[..., State]:
    """Return (state, mask, batch, mean_std, key, step) -> the state after one step."""
    value_and_grad = jax.value_and_grad(_make_loss(classifier), has_aux=True)

    def train_step(state: State, mask: masks.Mask, batch: Split, mean_std: Any, key, step):
        noise_key = None
        if classifier.model.noisy is not None:
            noise_key = _SHARED.device_key(keys.fold(keys.substream(key, "dropout"), step))
        (loss, stats), grads = value_and_grad(
            state.network.params, state.network, batch, mean_std, noise_key
        )
        loss, grads = _SHARED.mean((loss, grads))
        grads = masks.apply(grads, mask)
        stats = classifier.model.shared(stats, _SHARED.mean)
        with jax.numpy_dtype_promotion("standard"):  # the optimiser is optax's, or anybody's
            updates, opt = optimizer.update(
                grads, state.opt, state.network.params, step=step, value=loss
            )
            params = optax.apply_updates(state.network.params, updates)
        # Some optimisers, such as Muon, move weights that have no gradient. Masked before they are
        # added, updates would round in another way.
        params = masks.apply(params, mask)
        first_nan = (state.nan_step == NEVER) & ~jnp.isfinite(loss)
        return state._replace(
            network=Network(params, stats),
            opt=opt,
            loss_sum=state.loss_sum + loss,
            nan_step=jnp.where(first_nan, step, state.nan_step),
        )

    return train_step


def _make_batches(
    batch_size: int, augmentation: Callable[..., jax.Array]
) -> tuple[Callable[..., jax.Array], Callable[..., Split]]:
    """Return the function `order` of a `Trainer`, and (split, order, key, step) -> the batch."""

    def order(dataset: Dataset, key: jax.Array, step: jax.Array) -> jax.Array:
        examples = dataset.train.labels.shape[0]
        return shuffled(keys.fold(key, step // (examples // batch_size)), examples)

    def batch_at(train: Split, order: jax.Array, key: jax.Array, step: jax.Array) -> Split:
        examples = train.labels.shape[0]
        first = step % (examples // batch_size) * batch_size
        at = jax.lax.dynamic_slice(order, (first,), (batch_size,))
        images = packing.unpack(jax.tree.map(lambda array: jnp.asarray(array)[at], train.images))
        # Whole batches are augmented, so that the images do not depend on how many devices share.
        images = augmentation(images, key=keys.fold(keys.substream(key, "augmentation"), step))
        return _SHARED.part(train._replace(images=images, labels=jnp.asarray(train.labels)[at]))

    return order, batch_at


def _make_advance(
    train_step: Callable[..., State],
    order: Callable[..., jax.Array],
    batch_at: Callable[..., Split],
    batch_size: int,
) -> Callable[..., State]:
    """Return the function `advance` of a `Trainer`: a loop of steps in a loop of epochs."""

    def advance(state: State, mask, dataset: Dataset, key, start_step, end) -> State:
        train, mean_std = dataset.train, (dataset.mean, dataset.std)
        per_epoch = train.labels.shape[0] // batch_size

        def epoch(carry):
            step, state = carry
            shuffled_rows = order(dataset, key, step)

            def one_step(step, state):
                batch = batch_at(train, shuffled_rows, key, step)
                return train_step(state, mask, batch, mean_std, key, step)

            last = jnp.minimum(end, (step // per_epoch + 1) * per_epoch)
            return last, jax.lax.fori_loop(step, last, one_step, state)

        start_step, end = jnp.asarray(start_step, jnp.int32), jnp.asarray(end, jnp.int32)
        _, after = jax.lax.while_loop(lambda carry: carry[0] < end, epoch, (start_step, state))
        return states.keep_if_stopped(state, after)

    return advance


def _make_single_steps(
    train_step: Callable[..., State], batch_at: Callable[..., Split]
) -> tuple[Callable[..., State], Callable[..., State]]:
    """Return the functions `step` and `update` of a `Trainer`."""

    def step(state: State, mask, dataset: Dataset, order, key, step) -> State:
        batch = batch_at(dataset.train, order, key, step)
        return update(state, mask, batch, (dataset.mean, dataset.std), key, step)

    def update(state: State, mask, batch: Split, mean_std, key, step) -> State:
        return states.keep_if_stopped(state, train_step(state, mask, batch, mean_std, key, step))

    return step, update


def _make_evaluate(
    metric_sums: Callable[..., MetricSums], labels_per_example: int
) -> Callable[..., Evaluation]:
    """Return the function `evaluate` of a `Trainer`."""

    def evaluate(network: Network, mask, split: Split, mean, std) -> Evaluation:
        sums = evaluation.sum_over_devices(
            lambda batch: metric_sums(network, mask, batch, (mean, std)), split
        )
        return evaluation.mean(sums, split.labels.shape[0], labels=labels_per_example)

    return evaluate


def _make_measure(
    evaluate: Callable[..., Evaluation],
    update_early_stopping: Callable[..., tuple[State, Measured]],
) -> Callable[..., tuple[State, Measured]]:
    """Return the function `measure` of a `Trainer`."""

    def measure(state: State, mask, dataset: Dataset, step, last_eval_step):
        def on(split: Split) -> Evaluation:
            return evaluate(state.network, mask, split, dataset.mean, dataset.std)

        validation = None if dataset.validation is None else on(dataset.validation)
        return update_early_stopping(state, validation, on(dataset.test), step, last_eval_step)

    return measure


def shuffled(key: jax.Array, count: int) -> jax.Array:
    """Return 0, ..., count - 1 in random order.

    One sort by 32 random bits: half the time of `jax.random.permutation`, which sorts twice; ties,
    one pair among 60,000 numbers in every other epoch, keep their order.
    """
    return jnp.argsort(jax.random.bits(key, (count,), jnp.uint32))
