"""What is pruned, and on what it is trained: all that settings say before there is a run."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

import jax
import numpy as np

from jaxlth import data, keys, masks, models, prune, settings, training, trees, work
from jaxlth.data import Info, augment
from jaxlth.models import BatchAxis, Model, Network
from jaxlth.tickets.choices import ImpSettings
from jaxlth.training import execution, optimizers, train

# The settings of a job, which have `data`, `model`, `training`, `optimizer`, `leave_out`, `seed`.
Chosen: TypeAlias = Any


@dataclasses.dataclass(frozen=True)
class Subject:
    """The network that is pruned.

    Attributes:
      chosen: the settings.
      model: the network's functions.
      like: a `Network` of `jax.ShapeDtypeStruct`s.
      dense: the mask of level 0.
    """

    chosen: Chosen
    model: Model
    like: Network
    dense: masks.Mask


@dataclasses.dataclass(frozen=True)
class Pruning(Subject):
    """The network that is pruned, and how much of it each level keeps.

    Attributes:
      keep: what each level keeps, level 0 first: a count, or counts by layer.
    """

    chosen: ImpSettings
    keep: list[Any]

    @property
    def levels(self) -> int:
        """Number of prunings, cut at the density to stop at."""
        return len(self.keep) - 1


def subject(chosen: Chosen, *, shape: tuple[int, ...], classes: int) -> Subject:
    """Return the network that is pruned, for images of a shape (height, width, channels).

    Raises:
      ValueError: it has no weights that may be pruned, or the images are too small for it.
    """
    shared = batch_axis(chosen) if chosen.training.synchronized_statistics else None
    model = models.build(chosen.model, shape=shape, classes=classes, batch_axis=shared)
    like = jax.eval_shape(model.init, keys.stream(0, 0, ""))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like.params)
    dense = masks.without(masks.dense(zeros), chosen.leave_out)
    settings.require(
        masks.size(dense) > 0,
        f"`leave_out` leaves no weight to prune; got {' '.join(chosen.leave_out)}.",
    )
    return Subject(chosen, model, like, dense)


def pruning(chosen: ImpSettings, *, shape: tuple[int, ...], classes: int) -> Pruning:
    """Return what IMP prunes, for images of a shape (height, width, channels).

    Raises:
      ValueError: the network has fewer weights than levels, or none that may be pruned.
    """
    pruned = subject(chosen, shape=shape, classes=classes)
    keep = _keep(chosen, pruned.dense)
    return Pruning(chosen, pruned.model, pruned.like, pruned.dense, keep)


def batch_axis(chosen: Chosen) -> BatchAxis | None:
    """Return the devices that share each batch; None where each has its own."""
    devices = jax.device_count() if chosen.data.streamed else chosen.training.batch_devices
    return None if devices == 1 else BatchAxis(execution.AXIS, devices)


S = TypeVar("S", bound=Subject)


@dataclasses.dataclass(frozen=True)
class Problem(Generic[S]):
    """What is pruned, with the data it is trained on."""

    subject: S
    info: Info
    placed: work.Placed

    def course(self, *, dilation: float = 1.0, fine_tune: bool = False) -> work.Course:
        """Return the training, as set or dilated; or fine-tuning, at its constant last rate."""
        chosen, plan = self.subject.chosen, self.plan(dilation)
        rate = optimizers.schedule(
            chosen.optimizer, steps=plan.steps, milestones=plan.milestones, warmup=plan.warmup
        )
        if fine_tune:
            rate = optimizers.held(rate, at=plan.steps - 1)
        trainer = train.make(
            self.subject.model,
            optimizers.build(chosen.optimizer, rate),
            batch_size=chosen.training.batch_size,
            patience=plan.patience,
            keep_best=chosen.training.keep == "best",
            normalize=data.NORMALIZERS[chosen.data.normalize],
            augmentation=augment.AUGMENTATIONS[chosen.data.augment],
            batch_axis=batch_axis(chosen),
        )
        return work.Course(
            trainer,
            plan,
            train_examples=chosen.training.train_examples,
            split=chosen.training.batch_devices,
            side_by_side=chosen.training.side_by_side,
            convolutional=self.subject.model.convolutional,
            stream=chosen.data.stream if chosen.data.streamed else None,
        )

    def plan(self, dilation: float) -> training.Plan:
        """Return the times of a training in steps."""
        chosen = self.subject.chosen
        return training.plan(
            chosen.training, chosen.optimizer, examples=self.info.train, dilation=dilation
        )


def prepare(chosen: ImpSettings) -> Problem[Pruning]:
    """Return the problem that settings describe, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    problem = posed(chosen, pruning)
    for dilation in (1.0, *chosen.dilations):
        steps = problem.plan(dilation).steps
        dilated = "" if dilation == 1 else f" dilated by {dilation:g}"
        settings.require(
            round(chosen.rewind_step * dilation) < steps,
            f"`rewind_step` must lie in 0..{steps - 1}, before the end of training{dilated}; "
            f"got {chosen.rewind_step}.",
        )
    return problem


def posed(chosen: Chosen, pruned: Callable[..., S]) -> Problem[S]:
    """Return the problem of a job, its data read.

    Args:
      chosen: its settings.
      pruned: (settings, shape=, classes=) -> what is pruned.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    devices, batch_size = jax.device_count(), chosen.training.batch_size
    settings.require(
        not chosen.data.streamed or batch_size % devices == 0,
        f"`batch_size` must be a multiple of the {devices} devices that share the batches of"
        f" streamed data; got {batch_size}.",
    )
    info, dataset = data.load(chosen.data, seed=chosen.seed)
    found = pruned(chosen, shape=info.shape, classes=info.classes)
    return Problem(found, info, work.Placed(dataset))


def _keep(chosen: ImpSettings, dense: masks.Mask) -> list[Any]:
    times = {"levels": chosen.levels, "fraction": chosen.prune_fraction}
    if chosen.scope == "global":
        keep: list[Any] = prune.keep_counts(masks.size(dense), **times)
    else:
        layers = trees.named(dense)
        counts = {name: prune.keep_counts(leaf.size, **times) for name, leaf in layers.items()}
        keep = [
            {name: count[level] for name, count in counts.items()}
            for level in range(chosen.levels + 1)
        ]
    return keep[: 1 + _last_level(keep, chosen.stop_density, size=masks.size(dense))]


def _last_level(keep: list[Any], least: float | None, *, size: int) -> int:
    """Return the first level whose density is at most `least`, or the last of all."""
    for level, each in enumerate(keep):
        kept = sum(each.values()) if isinstance(each, Mapping) else each
        if least is not None and kept / size <= least:
            return level
    return len(keep) - 1
