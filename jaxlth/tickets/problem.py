"""What is pruned, and on what it is trained: all that settings say before there is a run."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlth import data, keys, masks, models, prune, scores, settings, training, trees, work
from jaxlth.data import Dataset, Info, augment
from jaxlth.models import BatchAxis, Model, Network
from jaxlth.tickets import machine, scoring
from jaxlth.tickets.choices import ImpConfig
from jaxlth.training import execution, losses, optimizers, train
from jaxlth.training.evaluation import Seen

# The settings of a job, which have `data`, `model`, `training`, `optimizer`, `leave_out`, `seed`.
Chosen: TypeAlias = Any
Optimizer: TypeAlias = optax.GradientTransformationExtraArgs
Keep: TypeAlias = int | dict[str, int]  # weights kept, of the network or of each of its tensors


@dataclasses.dataclass(frozen=True)
class Subject:
    """The network that is pruned.

    Attributes:
      config: the settings.
      model: the network's functions.
      like: a `Network` of `jax.ShapeDtypeStruct`s.
      dense: the mask of level 0.
    """

    config: Chosen
    model: Model
    like: Network
    dense: masks.Mask

    @functools.cached_property
    def zeros(self) -> masks.Params:
        """Parameters of nothing but zeros, for those who need names and shapes in NumPy."""
        return _zeros(self.like)

    def keeping(self, density: float) -> Keep:
        """Return what a network of a density keeps: a count, or one for each of its tensors.

        Raises:
          ValueError: that is fewer weights than there are tensors, or none of a tensor.
        """
        sizes = {name: leaf.size for name, leaf in trees.named(self.dense).items()}
        size, total = sum(sizes.values()), round(density * sum(sizes.values()))
        settings.require(
            total >= len(sizes),
            f"`density` {density:g} keeps {total} of {size} weights, fewer than the network's "
            f"{len(sizes)} layers.",
        )
        if self.config.scope == "global":
            return total
        counts = {name: round(density * size) for name, size in sizes.items()}
        empty = [name for name, count in counts.items() if count == 0]
        settings.require(
            not empty, f"`density` {density:g} keeps no weight of the layer {' '.join(empty[:1])}."
        )
        return counts

    def by_magnitude(self, params: Any, mask: masks.Mask, keep: Any) -> masks.Mask:
        """Return what is left of a mask where the least magnitudes are pruned; may be jitted."""
        rule = prune.global_topk if self.config.scope == "global" else prune.layerwise_topk
        return rule(scores.magnitude(params), mask, keep=keep)

    def check_pruned(self, density: float) -> None:
        """Raise ValueError unless a density can be kept, and prunes something."""
        settings.require(
            total(self.keeping(density)) < masks.size(self.dense),
            f"`density` {density:g} prunes none of the {masks.size(self.dense)} weights.",
        )


def total(keep: Keep) -> int:
    """Return how many weights are kept over all tensors."""
    return keep if isinstance(keep, int) else sum(keep.values())


@dataclasses.dataclass(frozen=True)
class Pruning(Subject):
    """The network that is pruned, and how much of it each level keeps.

    Attributes:
      keep: what each level keeps, level 0 first: a count, or counts by layer.
    """

    config: ImpConfig
    keep: list[Any]

    @property
    def levels(self) -> int:
        """Number of prunings, cut at the density to stop at."""
        return len(self.keep) - 1


def subject(config: Chosen, *, shape: tuple[int, ...], classes: int) -> Subject:
    """Return the network that is pruned, for images of a shape (height, width, channels).

    Raises:
      ValueError: it has no weights that may be pruned, or the images are too small for it.
    """
    shared = batch_axis(config) if config.training.synchronized_statistics else None
    model = models.build(config.model, shape=shape, classes=classes, batch_axis=shared)
    like = jax.eval_shape(model.init, keys.stream(0, 0, ""))
    machine.check_weights(config, like)
    dense = masks.without(masks.dense(_zeros(like)), config.leave_out)
    settings.require(
        masks.size(dense) > 0,
        f"`leave_out` leaves no weight to prune; got {' '.join(config.leave_out)}.",
    )
    return Subject(config, model, like, dense)


def _zeros(like: Network) -> masks.Params:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like.params)


def pruning(config: ImpConfig, *, shape: tuple[int, ...], classes: int) -> Pruning:
    """Return what IMP prunes, for images of a shape (height, width, channels).

    Raises:
      ValueError: the network has fewer weights than levels, or none that may be pruned.
    """
    pruned = subject(config, shape=shape, classes=classes)
    keep = kept_by_level(config, pruned.dense)
    return Pruning(config, pruned.model, pruned.like, pruned.dense, keep)


def batch_axis(config: Chosen) -> BatchAxis | None:
    """Return the devices that share each batch; None where each has its own."""
    devices = jax.device_count() if config.data.streamed else config.training.batch_devices
    return None if devices == 1 else BatchAxis(execution.AXIS, devices)


S = TypeVar("S", bound=Subject)


@dataclasses.dataclass(frozen=True)
class Problem(Generic[S]):
    """What is pruned, with the data it is trained on."""

    subject: S
    info: Info
    placed: work.DeviceDataset

    @property
    def identity(self) -> data.Identity:
        """What tells the data from others of the same name."""
        return data.Identity(self.info.digest, data.directory(self.subject.config.data))

    def course(
        self,
        *,
        dilation: float = 1.0,
        fine_tune: bool = False,
        until: int | None = None,
        change: Callable[[Optimizer], Optimizer] = lambda optimizer: optimizer,
    ) -> work.CompiledTraining:
        """Return the training, as set or dilated; or fine-tuning, at its constant last rate.

        Args:
          dilation: factor on all times.
          fine_tune: whether the rate is the last one throughout.
          until: step to end at, of a schedule that would go on.
          change: what becomes of the optimiser.
        """
        config, plan = self.subject.config, self.plan(dilation)
        rate = optimizers.schedule(
            config.optimizer, steps=plan.steps, milestones=plan.milestones, warmup=plan.warmup
        )
        if fine_tune:
            rate = optimizers.held(rate, at=plan.steps - 1)
        trainer = train.make(
            self.subject.model,
            change(optimizers.build(config.optimizer, rate)),
            batch_size=config.training.batch_size,
            patience=plan.patience,
            keep_best=config.training.keep == "best",
            normalize=data.NORMALIZERS[config.data.normalize],
            augmentation=augment.AUGMENTATIONS[config.data.augment],
            batch_axis=batch_axis(config),
            tasks=self.info.tasks,
        )
        return work.CompiledTraining(
            trainer,
            plan if until is None else training.cut(plan, until),
            train_examples=config.training.train_examples,
            split=config.training.batch_devices,
            side_by_side=config.training.side_by_side,
            convolutional=self.subject.model.convolutional,
            stream=config.data.stream if config.data.streamed else None,
        )

    def check_steps(self, option: str, steps: tuple[int, ...]) -> None:
        """Raise ValueError unless all steps of an option lie before the end of training."""
        end = self.plan(1.0).steps
        settings.require(
            all(step < end for step in steps),
            f"`{option}` must lie in 0..{end - 1}, before the end of training; "
            f"got {' '.join(map(str, steps))}.",
        )

    def check_classes(self, what: str) -> None:
        """Raise ValueError unless each example has one label, and each class an output.

        Args:
          what: is done with the classes, as the beginning of the message.
        """
        settings.require(
            losses.one_of_classes(self.info.tasks),
            f"{what} one set with an output for each class, such as mnist; outputs of"
            f" {self.info.name}, task by task: {settings.in_a_row(self.info.tasks)}.",
        )

    @functools.cached_property
    def seen(self) -> Seen:
        """How evaluations see the network."""
        config = self.subject.config.data
        return Seen(self.subject.model, data.NORMALIZERS[config.normalize], self.info.tasks)

    def score(
        self, name: str, *, inverted: bool = False, chunk: int | None = None
    ) -> scoring.Score:
        """Return a score of networks such as the subject's; see `scoring.build`."""
        info, config = self.info, self.subject.config.model
        model, wide = (
            models.build(each, shape=info.shape, classes=info.classes)
            for each in (config, dataclasses.replace(config, dtype="float32"))
        )
        options = {"wide": wide, "inverted": inverted, "chunk": chunk}
        return scoring.build(name, model, info.shape, **options)

    @functools.cached_property
    def mean(self) -> np.ndarray:
        """The mean input of the training set, (1, height, width, channels); zeros for none."""
        dataset = self.placed.dataset
        if not isinstance(dataset, Dataset) or not len(dataset.train.labels):
            return np.zeros((1, *self.info.shape), np.float32)
        images = dataset.train.images
        return self._normalized(np.add.reduce(images, axis=0, dtype=float)[None] / len(images))

    def examples(self, replicate: int, *, per_class: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and labels of training examples of each class, drawn by the replicate.

        Of streamed data and of tasks that `check_classes` refuses, which scores cannot see, and of
        no data a single one of zeros.

        Raises:
          ValueError: a class has fewer examples.
        """
        dataset, several = self.placed.dataset, not losses.one_of_classes(self.info.tasks)
        if several or not isinstance(dataset, Dataset) or not len(dataset.train.labels):
            return self.mean, np.zeros(1, np.int32)
        key = keys.stream(self.subject.config.seed, replicate, "examples")
        least = int(np.bincount(dataset.train.labels, minlength=self.info.classes).min())
        settings.require(
            per_class <= least,
            f"`per_class` must be at most {least}, the training examples of the rarest class; got "
            f"{per_class}.",
        )
        drawn = data.of_each_class(dataset.train, per_class, key=key)
        return self._normalized(drawn.images), drawn.labels

    def _normalized(self, images: np.ndarray) -> np.ndarray:
        dataset = self.placed.dataset
        normalize = data.NORMALIZERS[self.subject.config.data.normalize]
        arrays = map(jnp.asarray, (images, dataset.mean, dataset.std))
        return jax.device_get(normalize(*arrays))

    def plan(self, dilation: float) -> training.Plan:
        """Return the times of a training in steps."""
        config = self.subject.config
        return training.plan(
            config.training,
            config.optimizer,
            examples=self.info.train,
            evaluated=self.info.validation + self.info.test,
            dilation=dilation,
        )


def prepare(config: ImpConfig) -> Problem[Pruning]:
    """Return the problem that settings describe, its data read.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    problem = posed(config, pruning)
    for dilation in (1.0, *config.dilations):
        steps = problem.plan(dilation).steps
        dilated = "" if dilation == 1 else f" dilated by {dilation:g}"
        settings.require(
            round(config.rewind_step * dilation) < steps,
            f"`rewind_step` must lie in 0..{steps - 1}, before the end of training{dilated}; "
            f"got {config.rewind_step}.",
        )
    _check_dilations(problem, config)
    return problem


def _check_dilations(problem: Problem[Pruning], config: ImpConfig) -> None:
    """Raise ValueError where two dilations make trainings of as many steps."""
    lengths: dict[int, float] = {}
    for dilation in sorted({1.0, *config.dilations}):
        steps = problem.plan(dilation).steps
        settings.require(
            steps not in lengths,
            f"`dilations` must differ by a step at least; {lengths.get(steps, 1):g} and "
            f"{dilation} both make {steps} steps.",
        )
        lengths[steps] = dilation


def posed(config: Chosen, pruned: Callable[..., S]) -> Problem[S]:
    """Return the problem of a job, its data read.

    What can be refused without the data is refused before they are read, and what does not fit
    into memory before any of it is taken.

    Args:
      config: its settings.
      pruned: (settings, shape=, classes=) -> what is pruned.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings do not fit the data or the network.
    """
    training.check_times(config.training, config.optimizer)
    machine.check_devices(config)
    devices, batch_size = jax.device_count(), config.training.batch_size
    settings.require(
        not config.data.streamed or batch_size % devices == 0,
        f"`batch_size` must be a multiple of the {devices} devices that share the batches of"
        f" streamed data; got {batch_size}.",
    )
    machine.check_stream(config)
    info, dataset = data.load(config.data, seed=config.seed)
    training.plan(config.training, config.optimizer, examples=info.train)
    any_width = config.model.name == "mlp"
    if any_width:  # before its mask is made; other networks are small, and slow to outline twice
        machine.check_memory(config, info, dataset)
    found = pruned(config, shape=info.shape, classes=info.classes)
    if not any_width:
        machine.check_memory(config, info, dataset, like=found.like)
    return Problem(found, info, work.DeviceDataset(dataset))


def kept_by_level(config: ImpConfig, dense: masks.Mask) -> list[Any]:
    """Return what each level of IMP keeps, level 0 first: a count, or counts by layer."""
    times = {"levels": config.levels, "fraction": config.prune_fraction}
    if config.scope == "global":
        keep: list[Any] = prune.keep_counts(masks.size(dense), **times)
    else:
        layers = trees.named(dense)
        counts = {name: prune.keep_counts(leaf.size, **times) for name, leaf in layers.items()}
        keep = [
            {name: count[level] for name, count in counts.items()}
            for level in range(config.levels + 1)
        ]
    return keep[: 1 + _last_level(keep, config.stop_density, size=masks.size(dense))]


def _last_level(keep: list[Any], least: float | None, *, size: int) -> int:
    """Return the first level whose density is at most `least`, or the last of all."""
    for level, each in enumerate(keep):
        kept = sum(each.values()) if isinstance(each, Mapping) else each
        if least is not None and kept / size <= least:
            return level
    return len(keep) - 1
