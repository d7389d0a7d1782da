"""Train one network as pure functions; replicates are these functions mapped.

`start` puts a network under its mask, `advance` takes it from one step to another, `measure`
evaluates it. Training masks the network once, at its start, and then its gradients before the
optimiser and its weights after it: pruned weights stay exactly 0, and the forward pass needs no
mask. Data order, augmentation and the noise of a network, such as dropout, are functions of key and
step alone, so that a training cut anywhere goes on as it would have. A replicate that has stopped
is carried along unchanged.
"""

import dataclasses
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

MULTI_EVAL_COUNT = 64  # evaluations that one call of `advance_and_measure` makes at most
_SHARED = BatchAxis()  # the devices that share each batch, if several do


class Epoch(NamedTuple):
    """What is drawn for an epoch at its start."""

    order: jax.Array  # (examples,) int32
    draws: Any  # of the augmentation, (steps, ...)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Trainer:
    """The pure functions of a training of one network; `make` builds it.

    Where a loop in Python takes the place of a scan, it calls what `advance` and `measure` are made
    of: `draw_epoch`, `step` or `update`, `metric_sums` and `update_early_stopping`.
    """

    classifier: Classifier
    optimizer: optax.GradientTransformationExtraArgs
    batch_size: int
    patience: int | None
    keep_best: bool
    augmentation: augment.FlipCrop | augment.ByKey

    @property
    def objective(self) -> Objective:
        """The loss, and the error."""
        return self.classifier.objective

    def start(self, network: Network, mask: masks.Mask) -> State:
        """Return the state of a network before its first step."""
        network = network._replace(params=masks.apply(network.params, mask))
        never = jnp.asarray(NEVER, jnp.int32)
        worst = jnp.asarray(jnp.finfo(jnp.float32).max)  # no infinity, which `debug_infs` refuses
        return State(
            network=network,
            opt=self.optimizer.init(network.params),
            loss_sum=jnp.zeros((), jnp.float32),
            nan_step=never,
            stopped_step=never,
            best=Best(never, worst, network if self.keep_best else None),
        )

    def advance(
        self, state: State, mask: masks.Mask, dataset: Dataset, key: jax.Array, start_step, end
    ) -> State:
        """Return the state after the steps start_step, ..., end - 1."""
        train, mean_std = dataset.train, (dataset.mean, dataset.std)
        per_epoch = train.labels.shape[0] // self.batch_size

        def epoch(carry: tuple[jax.Array, State]) -> tuple[jax.Array, State]:
            step, state = carry
            drawn = self.draw_epoch(dataset, key, step)

            def one_step(step: jax.Array, state: State) -> State:
                batch = self._batch(train, drawn, step)
                return self._train_step(state, mask, batch, mean_std, key, step)

            last = jnp.minimum(end, (step // per_epoch + 1) * per_epoch)
            return last, jax.lax.fori_loop(step, last, one_step, state)

        start_step, end = jnp.asarray(start_step, jnp.int32), jnp.asarray(end, jnp.int32)
        _, after = jax.lax.while_loop(lambda carry: carry[0] < end, epoch, (start_step, state))
        return states.keep_if_stopped(state, after)

    def measure(
        self, state: State, mask: masks.Mask, dataset: Dataset, step, last_eval_step
    ) -> tuple[State, Measured]:
        """Return the state after an evaluation, and what it measured.

        A training that is out of patience, or whose loss is not finite, is stopped.
        """

        def on(split: Split) -> Evaluation:
            return self.evaluate(state.network, mask, split, dataset.mean, dataset.std)

        validation = None if dataset.validation is None else on(dataset.validation)
        return self.update_early_stopping(state, validation, on(dataset.test), step, last_eval_step)

    def advance_and_measure(
        self, state: State, mask: masks.Mask, dataset: Dataset, key, last_eval_step, ends, count
    ) -> tuple[State, Measured]:
        """Return the state after ends[1], ..., ends[count], and what was measured at each of them.

        It begins at ends[0]. Once training has stopped, it neither goes on nor measures.
        """

        def is_active(carry: Any) -> Any:
            at, state, _, _ = carry
            return (at < count) & (state.stopped_step == NEVER)

        def to_next_end(carry: Any) -> Any:
            at, state, last_eval_step, history = carry
            end = ends[at + 1]
            state = self.advance(state, mask, dataset, key, ends[at], end)
            state, measured = self.measure(state, mask, dataset, end, last_eval_step)
            history = jax.tree.map(lambda all, now: all.at[at].set(now), history, measured)
            return at + 1, state, end, history

        ends = jnp.asarray(ends)  # `debug_nans` calls this as it is, to tell where a NaN arose
        _, shapes = jax.eval_shape(self.measure, state, mask, dataset, ends[0], last_eval_step)
        history = jax.tree.map(
            lambda leaf: jnp.zeros((MULTI_EVAL_COUNT, *leaf.shape), leaf.dtype), shapes
        )
        _, state, _, history = jax.lax.while_loop(
            is_active, to_next_end, (0, state, last_eval_step, history)
        )
        return state, history

    def evaluate(
        self, network: Network, mask: masks.Mask, split: Split, mean: Any, std: Any
    ) -> Evaluation:
        """Return loss and accuracy on a split."""
        sums = evaluation.sum_over_devices(
            lambda batch: self.metric_sums(network, mask, batch, (mean, std)), split
        )
        labels = self.objective.labels_per_example
        return evaluation.mean(sums, split.labels.shape[0], labels=labels)

    def finish(self, state: State) -> Network:
        """Return the network that is kept: the last or the best, as the settings say."""
        if not self.keep_best:
            return state.network
        has_best = state.best.step != NEVER
        return states.where_tree(has_best, state.best.network, state.network)

    def draw_epoch(self, dataset: Dataset, key: jax.Array, step: jax.Array) -> Epoch:
        """Return what is drawn for the epoch of a step."""
        examples = dataset.train.labels.shape[0]
        steps = examples // self.batch_size
        epoch, own_key = step // steps, keys.substream(key, "augmentation")

        def draw(step: jax.Array) -> Any:
            return self.augmentation.draw(keys.fold(own_key, step), self.batch_size)

        draws = jax.vmap(draw)(epoch * steps + jnp.arange(steps, dtype=jnp.int32))
        return Epoch(shuffled(keys.fold(key, epoch), examples), draws)

    def step(
        self, state: State, mask: masks.Mask, dataset: Dataset, epoch: Epoch, key, step
    ) -> State:
        """Return the state after one step on a data set on the device."""
        batch = self._batch(dataset.train, epoch, step)
        return self.update(state, mask, batch, (dataset.mean, dataset.std), key, step)

    def update(
        self, state: State, mask: masks.Mask, batch: Split, mean_std: Any, key, step
    ) -> State:
        """Return the state after one step on a batch from elsewhere."""
        after = self._train_step(state, mask, batch, mean_std, key, step)
        return states.keep_if_stopped(state, after)

    def metric_sums(
        self, network: Network, mask: masks.Mask, batch: Split, mean_std: Any
    ) -> MetricSums:
        """Return the sums of a batch; see `evaluation.metric_sums`."""
        return evaluation.metric_sums(self.classifier, network, mask, batch, mean_std)

    def update_early_stopping(
        self, state: State, validation: Evaluation | None, test: Evaluation, step, last_eval_step
    ) -> tuple[State, Measured]:
        """Return the state after an evaluation; see `states.update_early_stopping`."""
        rules = {"patience": self.patience, "keep_best": self.keep_best}
        return states.update_early_stopping(state, validation, test, step, last_eval_step, **rules)

    def _batch(self, train: Split, epoch: Epoch, step: jax.Array) -> Split:
        """Return the batch of a step, augmented."""
        size = self.batch_size
        place = step % (train.labels.shape[0] // size)
        at = jax.lax.dynamic_slice(epoch.order, (place * size,), (size,))
        images = packing.unpack(jax.tree.map(lambda array: jnp.asarray(array)[at], train.images))
        # Whole batches are augmented, so that the images do not depend on how many devices share.
        draws = jax.tree.map(lambda drawn: drawn[place], epoch.draws)
        images = self.augmentation.apply(images, draws)
        return _SHARED.part(train._replace(images=images, labels=jnp.asarray(train.labels)[at]))

    def _train_step(
        self, state: State, mask: masks.Mask, batch: Split, mean_std: Any, key, step
    ) -> State:
        """Return the state after one step, whether it has stopped or not."""
        model, params, noise_key = self.classifier.model, state.network.params, None
        if model.noisy is not None:
            noise_key = _SHARED.device_key(keys.fold(keys.substream(key, "dropout"), step))
        value_and_grad = jax.value_and_grad(self._loss, has_aux=True)
        (loss, stats), grads = value_and_grad(params, state.network, batch, mean_std, noise_key)
        loss, grads = _SHARED.mean((loss, grads))
        grads = masks.apply(grads, mask)
        stats = model.shared(stats, _SHARED.mean)
        with jax.numpy_dtype_promotion("standard"):  # the optimiser is optax's, or anybody's
            updates, opt = self.optimizer.update(grads, state.opt, params, step=step, value=loss)
            params = optax.apply_updates(params, updates)
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

    def _loss(self, params: Any, network: Network, batch: Split, mean_std: Any, noise_key: Any):
        """Return the mean loss of a batch, and the batch statistics after it."""
        model, normalize, objective = self.classifier
        network = network._replace(params=params)
        inputs = normalize(packing.unpack(batch.images), *mean_std)

        def mean_loss(outputs: Any) -> jax.Array:
            return jnp.mean(objective.per_example(outputs, batch.labels))

        if model.auxiliary is not None:
            outputs, aux_outputs, stats = model.auxiliary(network, inputs)
            return mean_loss(outputs) + AUXILIARY_WEIGHT * mean_loss(aux_outputs), stats
        if model.noisy is None:
            outputs, stats = model.apply(network, inputs, True)
        else:
            outputs, stats = model.noisy(network, inputs, noise_key)
        return mean_loss(outputs), stats


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
      augmentation: (images, key=) -> images, such as one of `augment.AUGMENTATIONS`.
      objective: the loss, and the error; cross-entropy of one task if not given.
    """
    classifier = Classifier(model, normalize, objective or losses.objective())
    optimizer = optax.with_extra_args_support(optimizer)
    is_drawn = isinstance(augmentation, augment.FlipCrop)
    return Trainer(
        classifier=classifier,
        optimizer=optimizer,
        batch_size=batch_size,
        patience=patience,
        keep_best=keep_best,
        augmentation=augmentation if is_drawn else augment.ByKey(augmentation),
    )


def shuffled(key: jax.Array, count: int) -> jax.Array:
    """Return 0, ..., count - 1 in random order.

    One sort by 32 random bits: half the time of `jax.random.permutation`, which sorts twice; ties,
    one pair among 60,000 numbers in every other epoch, keep their order.
    """
    return jnp.argsort(jax.random.bits(key, (count,), jnp.uint32))
