"""Scores from gradients: SNIP, GraSP, Fisher and SynFlow, each on a network as it is masked now.

All take `apply_fn(params, inputs) -> logits (n, classes)`, which may be anybody's, and score what
the mask allows to be pruned; pruned weights and tensors that are never pruned get 0. All but
SynFlow take any other outputs and labels as well, with a loss of their own for them; SNIP and GraSP
also take a function params -> loss, a scalar, in the place of `apply_fn`, and then no batch. Batch
norm is the business of `apply_fn`: SNIP and GraSP are published with the statistics of the batch
(training mode), SynFlow's code with running statistics, which change nothing at initialisation.

A complex weight counts as its two real parts together, and its score is real. Types narrower than
float32 are multiplied in it. Labels outside 0..classes-1 are refused where their values are known:
within a `jax.jit` of your own they are not, and JAX drops such examples or wraps around there.

References:
  Lee et al. 2019, SNIP; Wang et al. 2020, Picking Winning Tickets Before Training by Preserving
  Gradient Flow; Tanaka et al. 2020, Pruning neural networks without any data by iteratively
  conserving synaptic flow; as in Frankle 2023, sections 5.3 to 5.5.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxlth import masks, settings, trees
from jaxlth.scores import labels as label_values
from jaxlth.trees import floats

ApplyFn: TypeAlias = Callable[[Any, jax.Array], jax.Array]  # (params, inputs) -> logits
Batch: TypeAlias = tuple[Any, Any]  # inputs (n, ...), labels (n,) whole numbers
Loss: TypeAlias = Callable[[Any, Any], jax.Array]  # (outputs, labels) -> (n,) losses


def snip(
    apply_fn: Callable[..., jax.Array],
    params: Any,
    mask: masks.Mask,
    batch: Batch | None = None,
    *,
    chunk: int | None = None,
    loss: Loss | None = None,
) -> Any:
    """Return |dL/dw * w|, L the mean loss: to first order, what the weight is to it.

    Args:
      apply_fn: the network; without a batch, params -> loss, a scalar.
      params: its parameters.
      mask: what is kept so far.
      batch: inputs and labels; the papers take ten of each class.
      chunk: examples whose gradient is taken at once, in a scan, to save memory; a divisor of n.
        The scores are those of the whole batch if `apply_fn` treats examples apart; with batch
        statistics each chunk has its own.
      loss: (outputs, labels) -> (n,) losses; softmax cross-entropy if not given.

    Returns:
      A tree like `params`.

    Raises:
      ValueError: `chunk` does not divide the batch, a label is no class, `loss` does not return a
        number for each example, or a loss of the parameters none at all; or shapes or trees do not
        fit.
      TypeError: a leaf of `params` is not of floats.

    Example:
      >>> params = {"w": jnp.array([[1.0, -1.0]])}
      >>> batch = jnp.ones((1, 1)), jnp.array([0])
      >>> snip(lambda p, x: x @ p["w"], params, masks.dense(params), batch)["w"].round(3).tolist()
      [[0.11900000274181366, 0.11900000274181366]]
    """
    _check_floats(params)
    mean_loss, batch = _loss_of(apply_fn, mask, batch, loss, chunk)
    grad_fn = jax.grad(mean_loss)
    grads = _mean(lambda chunk_batch: grad_fn(params, chunk_batch), batch, chunk)
    return jax.tree.map(lambda w, g: jnp.abs(product(g, w)), params, grads)


def grasp(
    apply_fn: Callable[..., jax.Array],
    params: Any,
    mask: masks.Mask,
    batch: Batch | None = None,
    *,
    temperature: float = 200.0,
    chunk: int | None = None,
    loss: Loss | None = None,
) -> Any:
    """Return w * (H g): half of what the gradient's squared norm loses with the weight, at first.

    This is minus the published score, whose highest are pruned. Frankle 2023, section 5.7, tries
    two other readings: keep the lowest, `jax.tree.map(jnp.negative, score)`, and keep the largest
    in magnitude, `magnitude(score)`.

    Args:
      apply_fn: the network; without a batch, params -> loss, a scalar.
      params: its parameters.
      mask: what is kept so far.
      batch: inputs and labels; the papers take ten of each class.
      temperature: divides the logits, as in the published code; not the outputs that a loss of
        your own takes.
      chunk: as in `snip`.
      loss: as in `snip`.

    Returns:
      A tree like `params`; signed.

    Raises:
      ValueError: as of `snip`.
    """
    _check_floats(params)
    mean_loss, batch = _loss_of(apply_fn, mask, batch, loss, chunk, temperature)
    grad_fn = jax.grad(mean_loss)
    grads = _mean(lambda chunk_batch: grad_fn(params, chunk_batch), batch, chunk)
    uphill = jax.tree.map(jnp.conj, grads)  # what JAX calls gradient is its conjugate

    def hessian_product(chunk_batch: Batch) -> Any:
        return jax.jvp(lambda params_at: grad_fn(params_at, chunk_batch), (params,), (uphill,))[1]

    return jax.tree.map(product, params, _mean(hessian_product, batch, chunk))


def fisher(
    apply_fn: ApplyFn,
    params: Any,
    mask: masks.Mask,
    batch: Batch,
    *,
    chunk: int | None = None,
    loss: Loss | None = None,
) -> Any:
    """Return w**2 F / 2, F the mean squared gradient of an example: the saliency of OBD.

    To second order that is what the loss of a trained network gains without the weight, the
    diagonal of its Hessian being taken for that of the empirical Fisher matrix.

    Args:
      apply_fn: the network; it sees one example at a time, so batch norm must not be in training.
      params: its parameters.
      mask: what is kept so far.
      batch: inputs and labels.
      chunk: examples whose gradients are kept at once; all if not given. A divisor of n.
      loss: as in `snip`.

    Returns:
      A tree like `params`. Squares below 1e-38, of w * dL/dw below 1e-19, are 0 in float32: for
      losses that small take a `loss` times a power of two, whose scores rank alike.

    Raises:
      ValueError: as of `snip`.

    Example:
      >>> params = {"w": jnp.array([[1.0, -1.0]])}
      >>> batch = jnp.ones((1, 1)), jnp.array([0])
      >>> fisher(lambda p, x: x @ p["w"], params, masks.dense(params), batch)["w"].round(4).tolist()
      [[0.0071000000461936, 0.0071000000461936]]

    References:
      LeCun et al. 1989, Optimal Brain Damage, equation 5; Theis et al. 2018, Faster gaze prediction
      with dense networks and Fisher pruning, equation 8.
    """
    _check_floats(params)
    mean_loss, examples = _loss_of(apply_fn, mask, batch, loss, chunk)

    def squares(params: Any, example: Batch) -> Any:
        grads = jax.grad(mean_loss)(params, jax.tree.map(lambda leaf: leaf[None], example))
        return jax.tree.map(lambda w, g: product(g, w) ** 2 / 2, params, grads)

    def mean_squares(chunk_batch: Batch) -> Any:
        each_example = jax.vmap(squares, in_axes=(None, 0))(params, chunk_batch)
        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), each_example)

    return _mean(mean_squares, examples, chunk)


def synflow(apply_fn: ApplyFn, params: Any, mask: masks.Mask, inputs: Any) -> Any:
    """Return |dR/dw * w|, R being the sum of logits of the network whose parameters are all |w|.

    Without biases this is the sum, over the paths that run through a weight, of the products of the
    magnitudes on them; so what flows into a unit flows out of it. Computed in float64, whatever
    JAX's mode is: in float32 deep networks overflow. `prune.global_topk` compares it as such. A TPU
    has no such numbers: there both are done on the host (`jax.default_device`). Under a `jax.jit`
    of your own, networks with max-pooling need the call within `jax.enable_x64(True)`, because JAX
    compiles them after this function has returned; `prune.in_rounds` sees to that.

    Args:
      apply_fn: the network, which must compute in what its parameters are.
      params: its parameters; all of them are replaced by their magnitudes.
      mask: what is kept so far.
      inputs: (1, ...), one input of ones as published.

    Returns:
      A tree like `params`, float64.

    Raises:
      TypeError: `apply_fn` computes logits that are not float64, from parameters and inputs that
        are.
      ValueError: the trees do not fit, or the device is a TPU.

    Example:
      >>> params = {"w": jnp.array([[2.0, -3.0]])}
      >>> mask = masks.dense(params)
      >>> synflow(lambda p, x: x @ p["w"], params, mask, jnp.ones((1, 1)))["w"].tolist()
      [[2.0, 3.0]]
    """
    trees.check_numbers(params, name="params")
    with floats.float64():
        params64 = jax.tree.map(lambda w: jnp.abs(jnp.asarray(w)).astype(jnp.float64), params)
        ones = jnp.asarray(inputs).astype(jnp.float64)

        def flow(params_at: Any) -> jax.Array:
            logits = apply_fn(_pruned(params_at, mask), ones)
            if logits.dtype != jnp.float64:
                raise TypeError(
                    "`apply_fn` must compute in float64 where parameters and inputs are float64; "
                    f"its logits are {logits.dtype}."
                )
            return jnp.sum(logits)

        return jax.tree.map(lambda w, g: jnp.abs(g * w), params64, jax.grad(flow)(params64))


def _check_floats(params: Any) -> None:
    """Raise TypeError unless all leaves are arrays of floats, which have gradients."""
    trees.check_numbers(params, name="params")
    for name, leaf in trees.named(params).items():
        kind = jnp.result_type(leaf)
        if not jnp.issubdtype(kind, jnp.inexact):
            raise TypeError(
                f"`params` has the leaf {name!r} of {kind}, which has no gradient: take it out, as "
                "`eqx.partition(module, eqx.is_inexact_array)` does."
            )


def _pruned(params: Any, mask: masks.Mask) -> Any:
    """Return the masked parameters; there is no gradient to what is never pruned."""
    masked = masks.apply(params, mask)
    return jax.tree.map(
        lambda w, keep: jax.lax.stop_gradient(w) if keep is None else w, masked, mask
    )


def product(grad: jax.Array, weight: jax.Array) -> jax.Array:
    """Return the first-order change by a step along a weight, real if the weight is not."""
    return jnp.real(trees.at_least_float32(grad) * trees.at_least_float32(weight))


def _loss_of(
    apply_fn: Callable[..., jax.Array],
    mask: masks.Mask,
    batch: Batch | None,
    loss: Loss | None,
    chunk: int | None,
    temperature: float = 1.0,
) -> tuple[Callable[[Any, Any], jax.Array], Batch | None]:
    """Return (params, batch) -> mean loss of the masked network, and the batch, checked."""
    settings.check_kind("apply_fn", apply_fn, callable(apply_fn), "a function (params, inputs)")
    if batch is not None:
        batch = _checked(batch, classes=loss is None)
        return _mean_loss(apply_fn, mask, loss or _cross_entropy(batch[1], temperature)), batch
    if loss is not None or chunk is not None:
        raise ValueError("`loss` and `chunk` need a `batch`; a loss of the parameters has none.")

    def masked_loss(params: Any, _batch: None) -> jax.Array:
        value = apply_fn(_pruned(params, mask))
        if jnp.shape(value) != ():
            raise ValueError(
                "Without a `batch` the first argument must be a function params -> loss, a scalar; "
                f"it returned shape {jnp.shape(value)}."
            )
        return value

    return masked_loss, None


def _mean_loss(
    apply_fn: ApplyFn, mask: masks.Mask, loss: Loss
) -> Callable[[Any, Batch], jax.Array]:
    """Return (params, batch) -> mean loss."""

    def mean_loss(params: Any, batch: Batch) -> jax.Array:
        inputs, labels = batch
        losses = loss(apply_fn(_pruned(params, mask), inputs), labels)
        if jnp.shape(losses) != labels.shape[:1]:
            raise ValueError(
                f"`loss` must return a number for each of the {len(labels)} examples; got shape "
                f"{jnp.shape(losses)}."
            )
        return jnp.mean(losses)

    return mean_loss


def _cross_entropy(labels: jax.Array, temperature: float) -> Loss:
    """Return (logits, labels) -> cross-entropies; `labels` are those of all batches."""
    known_labels = labels if isinstance(labels, jax.core.Tracer) else np.asarray(labels)

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        label_values.check(known_labels, logits.shape[-1], argument="batch[1]")
        # Of bfloat16 logits divided by 200 little would be left.
        logits_wide = logits.astype(floats.widest([logits]))
        likelihoods = jax.nn.log_softmax(logits_wide / temperature)
        return -jnp.take_along_axis(likelihoods, labels[:, None], axis=-1)[:, 0]

    return loss


def _checked(batch: Batch, *, classes: bool) -> Batch:
    """Return a batch of arrays with as many labels as inputs, of whole numbers for `classes`."""
    pair = isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) == 2
    settings.check_kind("batch", batch, pair, "inputs and labels")
    inputs, labels = jax.tree.map(jnp.asarray, batch[0]), label_values.as_array(batch[1])
    count = next((len(leaf) for leaf in jax.tree.leaves(inputs) if np.ndim(leaf)), 0)
    shape = labels.shape if classes else labels.shape[:1]
    is_whole = jnp.issubdtype(labels.dtype, jnp.integer)
    if shape != (count,) or not count or (classes and not is_whole):
        raise ValueError(
            f"`batch` must be inputs and as many{' whole-numbered' * classes} labels; got {count} "
            f"inputs and labels of shape {labels.shape}, {labels.dtype}."
        )
    return inputs, labels


def _mean(function: Callable[[Any], Any], batch: Batch | None, chunk: int | None) -> Any:
    """Return the mean over chunks of a batch of what a function returns, chunk after chunk."""
    if batch is None or chunk in (None, len(batch[1])):
        return function(batch)
    count = len(batch[1])
    if chunk < 1 or count % chunk:
        raise ValueError(f"`chunk` must divide the {count} examples of the batch; got {chunk}.")
    chunks = jax.tree.map(lambda a: a.reshape(count // chunk, chunk, *a.shape[1:]), batch)
    first = jax.tree.map(lambda a: a[0], chunks)
    zero = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, first)
    )

    def add(total: Any, chunk_batch: Batch) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(chunk_batch)), None

    total, _ = jax.lax.scan(add, zero, chunks)
    return jax.tree.map(lambda leaf: leaf / (count // chunk), total)
