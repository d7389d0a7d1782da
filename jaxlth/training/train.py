"""Train one network as pure functions; replicates are these functions mapped.

`start` puts a network under its mask, `advance` takes it from one step to another, `measure`
evaluates it. Training masks the network once, at its start, and then its gradients before the
optimiser and its weights after it: pruned weights stay exactly 0, and the forward pass needs no
mask. Data order and augmentation are functions of key and step alone, so that a training cut
anywhere goes on with the batches it would have had. A replicate that has stopped is carried along
unchanged.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlth import data, keys, masks
from jaxlth.data import Dataset, Split, augment
from jaxlth.models import AUXILIARY_WEIGHT, BatchAxis, Model, Network
from jaxlth.training import evaluation, losses, states
from jaxlth.training.evaluation import Evaluation
from jaxlth.training.losses import Tasks
from jaxlth.training.states import NEVER, Best, Measured, State, choose, unless_stopped


class Trainer(NamedTuple):
    """The pure functions of a training, each for one network.

    start(network, mask) -> State
    advance(state, mask, dataset, key, begin, end) -> State: steps begin, ..., end - 1
    measure(state, mask, dataset, step, since) -> (State, Measured): evaluates and judges
    evaluate(network, mask, split, mean, std) -> Evaluation
    finish(state) -> Network: the last or the best, as asked

    Where a loop in Python has to take the place of a scan, its parts:

    order(dataset, key, step) -> (examples,) int32: the order of examples in the step's epoch
    step(state, mask, dataset, order, key, step) -> State: one step of a data set on the device
    update(state, mask, batch, norms, step) -> State: one step on a batch that came from elsewhere
    tally(network, mask, batch, norms) -> Tally
    judge(state, validation, test, step, since) -> (State, Measured): stops a training that is out
      of patience or whose loss is not finite; since = step of the last evaluation
    """

    batch_size: int
    start: Callable[..., State]
    advance: Callable[..., State]
    measure: Callable[..., tuple[State, Measured]]
    evaluate: Callable[..., Evaluation]
    finish: Callable[[State], Network]
    order: Callable[..., jax.Array]
    step: Callable[..., State]
    update: Callable[..., State]
    tally: Callable[..., evaluation.Tally]
    judge: Callable[..., tuple[State, Measured]]


def make(
    model: Model,
    optimizer: optax.GradientTransformationExtraArgs,
    *,
    batch_size: int,
    patience: int | None = None,
    keep_best: bool = False,
    normalize: Callable[..., jax.Array] = data.normalize,
    augmentation: Callable[..., jax.Array] = augment.none,
    batch_axis: BatchAxis | None = None,
    tasks: Tasks = (),
) -> Trainer:
    """Return the training of `model` by `optimizer` as pure functions.

    Args:
      model: the network.
      optimizer: its update takes `step=`; see `optimizers.build`.
      batch_size: examples per step.
      patience: steps without a lower validation loss before a replicate stops.
      keep_best: whether `finish` gives the network of least validation loss instead of the last.
      normalize: (images, mean, std) -> inputs of the network; one of `data.NORMALIZERS`.
      augmentation: (images, key=) -> images; one of `augment.AUGMENTATIONS`.
      batch_axis: the devices that share each batch, if several do.
      tasks: outputs of each task, as `data.Info` says; () for one task with all outputs.
    """
    optimizer = optax.with_extra_args_support(optimizer)
    seen = evaluation.Seen(model, normalize, tasks)
    judge = functools.partial(states.judge, patience=patience, keep_best=keep_best)
    share = batch_axis or BatchAxis("", 1)

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

    def loss_of(params: Any, network: Network, batch: Split, norms: Any):
        network = network._replace(params=params)
        inputs = normalize(jnp.asarray(batch.images), *norms)
        if model.auxiliary is None:
            logits, stats = model.apply(network, inputs, True)
            return losses.mean(logits, batch.labels, tasks), stats
        logits, aside, stats = model.auxiliary(network, inputs)
        loss, beside = (losses.mean(each, batch.labels, tasks) for each in (logits, aside))
        return loss + AUXILIARY_WEIGHT * beside, stats

    def changed(state: State, mask: masks.Mask, batch: Split, norms: Any, step: jax.Array):
        value_and_grad = jax.value_and_grad(loss_of, has_aux=True)
        found = value_and_grad(state.network.params, state.network, batch, norms)
        (loss, stats), gradients = found
        loss, gradients = share.mean((loss, gradients))
        gradients = masks.apply(gradients, mask)
        stats = model.shared(stats, share.mean)
        with jax.numpy_dtype_promotion("standard"):  # the optimiser is optax's, or anybody's
            updates, opt = optimizer.update(gradients, state.opt, state.network.params, step=step)
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

    def order(dataset: Dataset, key: jax.Array, step: jax.Array) -> jax.Array:
        examples = dataset.train.labels.shape[0]
        return shuffled(keys.fold(key, step // (examples // batch_size)), examples)

    def batch_at(train: Split, order: jax.Array, key: jax.Array, step: jax.Array) -> Split:
        examples = train.labels.shape[0]
        rows = jnp.reshape(train.images, (examples, -1))  # gathering rows is a tenth faster on CPU
        first = step % (examples // batch_size) * batch_size
        at = jax.lax.dynamic_slice(order, (first,), (batch_size,))
        images = jnp.reshape(rows[at], (batch_size, *train.images.shape[1:]))
        # Whole batches are augmented, so that the images do not depend on how many devices share.
        images = augmentation(images, key=keys.fold(keys.substream(key, "augmentation"), step))
        return share.part(train._replace(images=images, labels=jnp.asarray(train.labels)[at]))

    def advance(state: State, mask, dataset: Dataset, key, begin, end) -> State:
        train, norms = dataset.train, (dataset.mean, dataset.std)
        per_epoch = train.labels.shape[0] // batch_size

        def epoch(carry):
            step, state = carry
            shuffled_rows = order(dataset, key, step)

            def one(step, state):
                batch = batch_at(train, shuffled_rows, key, step)
                return changed(state, mask, batch, norms, step)

            last = jnp.minimum(end, (step // per_epoch + 1) * per_epoch)
            return last, jax.lax.fori_loop(step, last, one, state)

        begin, end = jnp.asarray(begin, jnp.int32), jnp.asarray(end, jnp.int32)
        _, after = jax.lax.while_loop(lambda carry: carry[0] < end, epoch, (begin, state))
        return unless_stopped(state, after)

    def step(state: State, mask, dataset: Dataset, order, key, step) -> State:
        batch = batch_at(dataset.train, order, key, step)
        return update(state, mask, batch, (dataset.mean, dataset.std), step)

    def update(state: State, mask, batch: Split, norms, step) -> State:
        return unless_stopped(state, changed(state, mask, batch, norms, step))

    def tally(network: Network, mask, batch: Split, norms) -> evaluation.Tally:
        return evaluation.tally(seen, network, mask, batch, norms)

    def evaluate(network: Network, mask, split: Split, mean, std) -> Evaluation:
        sums = evaluation.scanned(lambda batch: tally(network, mask, batch, (mean, std)), split)
        count, each = split.labels.shape[0], evaluation.labels_each(split)
        return evaluation.mean(sums, count, tasks=each)

    def measure(state: State, mask, dataset: Dataset, step, since) -> tuple[State, Measured]:
        def on(split: Split) -> Evaluation:
            return evaluate(state.network, mask, split, dataset.mean, dataset.std)

        held = dataset.validation
        return judge(state, None if held is None else on(held), on(dataset.test), step, since)

    def finish(state: State) -> Network:
        if not keep_best:
            return state.network
        return choose(state.best.step != NEVER, state.best.network, state.network)

    return Trainer(
        batch_size=batch_size,
        start=start,
        advance=advance,
        measure=measure,
        evaluate=evaluate,
        finish=finish,
        order=order,
        step=step,
        update=update,
        tally=tally,
        judge=judge,
    )


def shuffled(key: jax.Array, count: int) -> jax.Array:
    """Return 0, ..., count - 1 in random order.

    One sort by 32 random bits: half the time of `jax.random.permutation`, which sorts twice; ties,
    one pair among 60,000 numbers in every other epoch, keep their order.
    """
    return jnp.argsort(jax.random.bits(key, (count,), jnp.uint32))
