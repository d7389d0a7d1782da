"""Checks that functions of a user's own can take what they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxlth import data, keys, settings, trees
from jaxlth.data import Dataset, Streamed, input_warnings, sources
from jaxlth.models import Model, Network
from jaxlth.process import code
from jaxlth.training import labels as label_values
from jaxlth.training import losses
from jaxlth.training.losses import Objective
from jaxlth.trees import programs

if TYPE_CHECKING:
    from jaxlth.studies.loading import LoadedExperiment


def check(experiment: LoadedExperiment) -> None:
    """Raise ValueError unless loss, error and augmentation can take what they are given."""
    prunable, info, objective = experiment.prunable, experiment.info, experiment.objective
    dataset, parts = experiment.device_data.dataset, experiment.parts
    labels = getattr(dataset.train, "labels", None)
    # A loss of somebody's own may make anything of labels, the same for all as well.
    names_classes = objective.name and objective.class_labels and info.classes
    if names_classes and parts.data is not None and labels is not None:
        sources.check_several_classes(labels.reshape(-1), name=info.name)
    if parts.loss is not None and objective.class_labels:
        _check_no_padding(dataset)
    if parts.augment is not None:
        images, batch_size = experiment.first_examples(1)[0], prunable.config.training.batch_size
        _check_augment(parts.augment, images, batch_size=batch_size)
    _check_objective(objective, prunable.model, prunable.like, info.example, dataset)
    if names_classes and parts.data is not None and objective.name == "cross-entropy":
        test_labels = np.asarray(dataset.test.labels)
        input_warnings.of_classes(np.asarray(labels), test_labels, name=info.name)


def _check_no_padding(dataset: Dataset | Streamed) -> None:
    """Raise ValueError where an example would count as one that only fills up a batch."""
    for part in ("train", "validation", "test"):
        labels = getattr(getattr(dataset, part), "labels", None)
        if labels is None or np.ndim(labels) < 2 or not np.issubdtype(labels.dtype, np.integer):
            continue
        empty = np.all(np.reshape(labels, (len(labels), -1)) < 0, axis=-1)
        settings.require(
            not empty.any(),
            f"`data`: {part} labels of {int(empty.sum())} examples are all negative, which stands "
            "for no label: the loss would leave them out. Give real numbers (astype(np.float32)), "
            "or 0 and 1.",
        )


def _check_augment(augment: Callable[..., Any], images: Any, *, batch_size: int) -> None:
    """Raise ValueError unless a function makes inputs of inputs, by its key alone.

    It is traced twice, and nothing is computed.

    Args:
      augment: (inputs, key=) -> inputs.
      images: examples as they are stored, a tree of arrays.
      batch_size: examples of a batch.
    """
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), leaf.dtype), images
    )
    (first, shapes), (second, _) = (_traced(augment, like) for _ in range(2))
    settings.require(
        _shapes(shapes) == _shapes(like),
        f"`augment` must return inputs of the shapes that it is given, {_shapes(like)}; got "
        f"{_shapes(shapes)}.",
    )
    settings.require(
        programs.same(first, second),
        "`augment` must keep no state in Python, and draw random numbers from its key alone: two "
        "calls of it differ.",
    )


def _check_objective(
    objective: Objective,
    model: Model,
    like: Network,
    example: Any,
    dataset: Dataset | Streamed,
) -> None:
    """Raise ValueError unless loss and error can take the outputs of a network, and the labels.

    Args:
      objective: the loss and the error.
      model: the network's.
      like: shapes of the network.
      example: shape of an input, a tree.
      dataset: whose labels they are.
    """
    inputs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype), example)

    def evaluate(network: Network, inputs: Any) -> Any:
        return model.apply(network, inputs, False)[0]

    outputs = jax.eval_shape(evaluate, like, inputs)
    for split in (dataset.train, dataset.validation, dataset.test):
        labels = getattr(split, "labels", None)
        if labels is not None and len(labels):
            dtype = data.label_type(labels.dtype)
            pair = jax.ShapeDtypeStruct((2, *labels.shape[1:]), dtype)
            losses.check(objective, outputs, pair)
            label_values.check(objective, labels, outputs)


def _traced(augment: Callable[..., Any], like: Any) -> tuple[Any, Any]:
    """Return the program of an augmentation, and the shapes of what it returns."""
    program = jax.make_jaxpr(lambda images, key: augment(images, key=key), return_shape=True)
    try:
        return program(like, keys.stream(0, 0, "augmentation"))
    except Exception as error:  # of anybody's code
        raise ValueError(
            f"`augment` must be a JAX function (inputs, key=) -> inputs, of inputs "
            f"{_shapes(like)}; it raised {code.error_text(error)}"
        ) from error


def _shapes(tree: Any) -> str:
    named = trees.named(tree)
    shapes = [f"{name} {list(np.shape(leaf))}".strip() for name, leaf in named.items()]
    return ", ".join(shapes) or "nothing"
