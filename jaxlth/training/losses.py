"""Losses, which training lowers, and errors, which evaluations count.

An `Objective` holds the functions of outputs and labels that a training needs. Its loss is

* "cross-entropy": of the classes of one task or of several, see `cross_entropy`. The loss of an
  example is the sum over its tasks, its error the share of the tasks that are wrong.
* "next-token": of outputs (n, T, classes) and labels (n, T). The loss of an example is the mean
  cross-entropy of its tokens, its error the share of the tokens that are wrong. Tokens of a
  negative label count for nothing.
* "squared-error": of outputs and labels of one shape, a last axis of 1 aside. The loss of an
  example is the mean of the squared differences of its outputs. No error is defined.
* a function (outputs, labels) -> (n,) losses.

An error may be a function for any of them: (outputs, labels) -> (n,) in [0, 1], or bool. That its
numbers lie there is checked for the first training examples alone. Accuracy is 1 minus the mean
error. Examples of nothing but negative class numbers, or of nothing but NaN among labels that are
floats, fill up a batch, and count for nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxlth import settings, trees
from jaxlth.process import code
from jaxlth.training import cross_entropy
from jaxlth.training.cross_entropy import Tasks
from jaxlth.trees import programs

LabelFunction: TypeAlias = Callable[[Any, Any], jax.Array]  # (outputs, labels) -> (n,)


class LossError(ValueError):
    """A loss or an error does not fit outputs and labels, or returns something else."""


class Outcomes(NamedTuple):
    """What a network makes of examples; 0 of what counts for nothing."""

    losses: jax.Array  # (n,), or (n, tasks) of cross-entropies
    correct: jax.Array | None  # likewise, bool; or (n,) in [0, 1]; None where there is no error


class Objective(NamedTuple):
    """What training lowers and evaluations count, as functions of outputs and labels.

    per_example(outputs, labels) -> (n,) losses, float32; training lowers their mean
    error(outputs, labels) -> (n,) in [0, 1], or bool; None where none is defined
    outcomes(outputs, labels) -> Outcomes, which evaluations add up
    differences(outputs, other_outputs, labels) -> (n,) bool, or shares in [0, 1]: of labels that
      two networks predict differently; None where outputs predict no classes
    """

    name: str  # of the loss, "" of a function
    per_example: LabelFunction
    error: LabelFunction | None
    outcomes: Callable[[Any, Any], Outcomes]
    differences: Callable[[Any, Any, Any], jax.Array] | None
    class_labels: bool  # whether labels are class numbers
    tasks: Tasks = ()  # outputs of each task, () for a single one
    labels_per_example: int = 1  # that `outcomes` tells correct or not


def objective(
    loss: str | LabelFunction = "cross-entropy",
    error: LabelFunction | None = None,
    *,
    tasks: Tasks = (),
) -> Objective:
    """Return the objective of a loss, which is one of `LOSSES` or a function.

    Args:
      loss: its name, or (outputs, labels) -> (n,) losses.
      error: (outputs, labels) -> (n,) in [0, 1], or bool, in place of the loss's own error.
      tasks: outputs of each task, as `data.Info` says; () for one task with all outputs. Labels
        that a function takes are class numbers if they are given, and not (0,).

    Raises:
      ValueError: no loss has this name.
      TypeError: `loss` or `error` is no function.

    Example:
      >>> squared = objective("squared-error")
      >>> squared.per_example(jnp.array([[1.0], [3.0]]), jnp.array([1.0, 1.0])).tolist()
      [0.0, 4.0]
      >>> squared.error is None
      True
    """
    if isinstance(loss, str):
        made = LOSSES[settings.check_choice("loss", loss, LOSSES)](tasks)
    else:
        made = _without_error("", _checked("loss", loss), class_labels=any(tasks))
    return made if error is None else _with_error(made, _checked("error", error))


def check(objective: Objective, outputs: Any, labels: Any) -> None:
    """Raise unless loss and error are functions of outputs and labels such as these.

    Args:
      objective: what is checked.
      outputs: those of a network, of `jax.ShapeDtypeStruct`s.
      labels: likewise.

    Raises:
      LossError: the loss or the error raises, is not traceable, does not return (n,) numbers, or
        keeps state in Python; or the loss has no gradient. The message names `loss` or `error`.
    """

    def mean(outputs: Any, labels: Any) -> jax.Array:
        return jnp.mean(objective.per_example(outputs, labels))

    _trace("loss", jax.grad(mean, allow_int=True), outputs, labels)
    if objective.error is not None:
        _trace("error", objective.error, outputs, labels)


def _trace(name: str, function: Callable[..., Any], outputs: Any, labels: Any) -> None:
    """Raise LossError unless a function is traced, and does the same when it is called again."""

    def program() -> Any:
        return jax.make_jaxpr(lambda *arrays: function(*arrays))(outputs, labels)

    try:
        first, second = program(), program()
    except LossError:
        raise
    except (Exception, SystemExit) as error:
        raise LossError(
            f"`{name}` must be a JAX function{', with a gradient,' * (name == 'loss')} of outputs "
            f"{_shapes(outputs)} and labels {_shapes(labels)}; it raised "
            f"{code.error_text(error)}"
        ) from error
    if not programs.same(first, second):
        raise LossError(
            f"`{name}` must keep no state in Python, and draw no random numbers: two calls of it "
            "differ."
        )


def _shapes(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: f"{leaf.shape} {leaf.dtype}", tree))


def _cross_entropy(tasks: Tasks) -> Objective:
    """Return the objective "cross-entropy", whose outcomes are those of each label."""

    def entropies(outputs: jax.Array, labels: Any) -> jax.Array:
        _require_classes(outputs, labels, tasks)
        outputs = trees.at_least_float32(outputs)
        return cross_entropy.per_label(outputs, labels, tasks).astype(jnp.float32)

    def per_example(outputs: jax.Array, labels: Any) -> jax.Array:
        by_label = entropies(outputs, labels)
        return by_label if by_label.ndim == 1 else jnp.sum(by_label, axis=-1)

    def error(outputs: jax.Array, labels: Any) -> jax.Array:
        wrong = cross_entropy.predictions(outputs, tasks) != labels
        return wrong if wrong.ndim == 1 else jnp.mean(wrong, axis=-1, dtype=jnp.float32)

    def outcomes(outputs: jax.Array, labels: Any) -> Outcomes:
        counts = labels >= 0
        correct = counts & (cross_entropy.predictions(outputs, tasks) == labels)
        by_label = entropies(outputs, jnp.maximum(labels, 0))
        return Outcomes(jnp.where(counts, by_label, 0), correct)

    def differences(outputs: jax.Array, other_outputs: jax.Array, labels: Any) -> jax.Array:
        classes = cross_entropy.predictions(outputs, tasks)
        differ = (labels >= 0) & (classes != cross_entropy.predictions(other_outputs, tasks))
        return differ if differ.ndim == 1 else jnp.any(differ, axis=-1)

    functions = (per_example, error, outcomes, differences)
    return Objective("cross-entropy", *functions, True, tasks, max(1, len(tasks)))


def _require_classes(outputs: Any, labels: Any, tasks: Tasks) -> None:
    shapes = (outputs.shape[:1], (*outputs.shape[:1], max(1, len(tasks))))
    if outputs.ndim != 2 or labels.shape not in shapes[len(tasks) > 1 :]:
        hint = (
            " Of one-hot labels give labels.argmax(-1); tokens need `loss` next-token and a "
            "network of tokens, such as gpt-mini."
        )
        raise LossError(
            "`loss` cross-entropy needs outputs (n, classes) and labels (n,), or a label for each "
            f"task; got outputs {outputs.shape} and labels {labels.shape}."
            f"{_hint('next-token', outputs.ndim == 3)}"
            f"{hint * (labels.ndim == 2)}"
        )
    _require_whole("cross-entropy", labels)


def _require_whole(name: str, labels: Any) -> None:
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise LossError(f"`loss` {name} needs labels that are whole numbers; got {labels.dtype}.")


def _hint(name: str, condition: bool) -> str:
    return f" Did you mean {name!r}?" * condition


def _next_token(_tasks: Tasks) -> Objective:
    """Return the objective "next-token"."""

    def per_example(outputs: jax.Array, labels: Any) -> jax.Array:
        _require_tokens(outputs, labels)
        entropies = optax.softmax_cross_entropy_with_integer_labels(
            trees.at_least_float32(outputs), jnp.maximum(labels, 0)
        )
        return _token_mean(entropies, labels)

    def error(outputs: jax.Array, labels: Any) -> jax.Array:
        return _token_mean(cross_entropy.highest(outputs) != labels, labels)

    def differences(outputs: jax.Array, other_outputs: jax.Array, labels: Any) -> jax.Array:
        classes, other_classes = map(cross_entropy.highest, (outputs, other_outputs))
        return _token_mean(classes != other_classes, labels)

    made = _without_error("next-token", per_example, class_labels=True)
    return _with_error(made, error)._replace(differences=differences)


def _require_tokens(outputs: Any, labels: Any) -> None:
    if outputs.ndim != 3 or labels.shape != outputs.shape[:2]:
        raise LossError(
            "`loss` next-token needs outputs (n, T, classes) and labels (n, T); got outputs "
            f"{outputs.shape} and labels {labels.shape}."
        )
    _require_whole("next-token", labels)


def _token_mean(values: jax.Array, labels: Any) -> jax.Array:
    """Return the mean over the tokens of each example that have a label, (n,)."""
    counts = labels >= 0
    total = jnp.sum(jnp.where(counts, values.astype(jnp.float32), 0), axis=-1)
    return total / jnp.maximum(jnp.sum(counts, axis=-1), 1).astype(jnp.float32)


def _squared_error(_tasks: Tasks) -> Objective:
    """Return the objective "squared-error"."""

    def per_example(outputs: jax.Array, labels: Any) -> jax.Array:
        outputs, labels = (_without_last_1(jnp.asarray(each)) for each in (outputs, labels))
        if outputs.shape != labels.shape:
            raise LossError(
                "`loss` squared-error needs outputs and labels of one shape; got outputs "
                f"{outputs.shape} and labels {labels.shape}."
            )
        gaps = outputs.astype(jnp.float32) - labels.astype(jnp.float32)
        return jnp.mean(jnp.square(gaps).reshape(len(gaps), -1), axis=-1)

    return _without_error("squared-error", per_example, class_labels=False)


def _without_last_1(array: jax.Array) -> jax.Array:
    return array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array


LOSSES: dict[str, Callable[[Tasks], Objective]] = {
    "cross-entropy": _cross_entropy,
    "next-token": _next_token,
    "squared-error": _squared_error,
}


def _without_error(name: str, per_example: LabelFunction, *, class_labels: bool) -> Objective:
    """Return the objective of the losses of examples."""

    def outcomes(outputs: Any, labels: Any) -> Outcomes:
        losses = per_example(outputs, labels)
        return Outcomes(jnp.where(_counted(labels, class_labels), losses, 0), None)

    return Objective(name, per_example, None, outcomes, None, class_labels)


def _with_error(objective: Objective, error: LabelFunction) -> Objective:
    """Return an objective with another error."""

    def outcomes(outputs: Any, labels: Any) -> Outcomes:
        wrong = error(outputs, labels)
        correct = ~wrong if wrong.dtype == bool else 1 - wrong
        counts = _counted(labels, objective.class_labels)
        correct = jnp.where(counts, correct, jnp.zeros_like(correct))
        return objective.outcomes(outputs, labels)._replace(correct=correct)

    return objective._replace(error=error, outcomes=outcomes, labels_per_example=1)


def _counted(labels: Any, class_labels: bool) -> jax.Array:
    """Return whether each example counts, (n,): not those of negative classes, or of NaN alone."""
    rows = jnp.reshape(labels, (len(labels), -1))
    return jnp.any(rows >= 0 if class_labels else ~jnp.isnan(rows), axis=-1)


def _checked(name: str, function: Any) -> LabelFunction:
    """Return a user's function, whose result is compared with what a loss or an error is."""
    if not callable(function):
        raise TypeError(f"`{name}` must be a function (outputs, labels) -> (n,); got {function!r}.")

    def checked(outputs: Any, labels: Any) -> jax.Array:
        values: Any = function(outputs, labels)
        count, shape = len(labels), getattr(values, "shape", None)
        if shape != (count,):
            raise LossError(
                f"`{name}` must return one number for each of the {count} examples, of shape "
                f"({count},); got {type(values).__name__ if shape is None else f'shape {shape}'}."
            )
        kinds = (jnp.floating,) if name == "loss" else (jnp.floating, jnp.integer, jnp.bool_)
        if not any(jnp.issubdtype(values.dtype, kind) for kind in kinds):
            raise LossError(f"`{name}` must return real floats; got {values.dtype}.")
        return values if values.dtype == bool else values.astype(jnp.float32)

    return checked
