"""Load what a config describes: the network that is pruned, and the data it is trained on."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlth import data, keys, models, settings, training
from jaxlth.data import Dataset, Info, Split, augment, streamed
from jaxlth.process import memo
from jaxlth.studies import function_checks, initial, own_scores, score_examples, scoring
from jaxlth.studies import parts as parts_lib
from jaxlth.studies.compiled_training import CompiledTraining, DeviceDataset
from jaxlth.studies.config import StudyConfig, check_outputs, check_validation, watches_loss
from jaxlth.studies.machine import check_devices, check_memory, check_stream, shared_batch
from jaxlth.studies.parts import Parts
from jaxlth.studies.prunable import PrunableModel, prunable_model
from jaxlth.training import cross_entropy, losses, optimizers, train, transformations
from jaxlth.training.evaluation import Classifier
from jaxlth.training.losses import Objective

Optimizer: TypeAlias = optax.GradientTransformationExtraArgs


@dataclasses.dataclass(frozen=True)
class LoadedExperiment:
    """The network that is pruned, with the data that it is trained on.

    Attributes:
      prunable: the network.
      info: of the data.
      device_data: the data, sent to devices when they are needed there.
      parts: of the experiment that no setting says.
    """

    prunable: PrunableModel
    info: Info
    device_data: DeviceDataset
    parts: Parts = parts_lib.NONE

    @functools.cached_property
    def memo(self) -> memo.Memo:
        """What keeps the functions that are made from settings, with what JAX compiles of them."""
        return memo.Memo() if parts_lib.any_function(self.parts) else memo.shared

    @property
    def identity(self) -> data.Identity:
        """What tells the data from others of the same name."""
        return data.Identity(self.info.digest, data.directory(self.prunable.config.data))

    def compile_training(
        self,
        *,
        dilation: float = 1.0,
        fine_tune: bool = False,
        restart_step: int = 0,
        until: int | None = None,
        change: Callable[[Optimizer], Optimizer] = lambda optimizer: optimizer,
    ) -> CompiledTraining:
        """Return the training, as set or dilated; or fine-tuning, at its constant last rate.

        Args:
          dilation: factor on all times.
          fine_tune: whether the rate is the last one throughout.
          restart_step: step, dilated, at which the schedule begins, to run as a whole after it.
          until: step to end at, of a schedule that would go on.
          change: what becomes of the optimiser; nothing may change it between two calls.
        """
        config, model, plan = self.prunable.config, self.prunable.model, self.plan(dilation)
        times: dict[str, Any] = {"steps": 1}  # a constant rate is one program for all lengths
        if config.optimizer.varies:
            times = {"steps": plan.steps, "milestones": plan.milestones}
            times |= {"warmup": plan.warmup, "start": restart_step}
        rate = self.memo(optimizers.schedule, config.optimizer, **times)
        if fine_tune:
            rate = self.memo(optimizers.constant_at, rate, at=plan.steps - 1)
        trainer = self.memo(
            train.make,
            model,
            change(self._optimizer(rate)),
            batch_size=config.training.batch_size,
            patience=plan.patience,
            keep_best=config.training.checkpoint == "best",
            normalize=data.NORMALIZERS[config.data.normalize],
            augmentation=self.parts.augment or augment.AUGMENTATIONS[config.data.augment],
            objective=self.objective,
        )
        return CompiledTraining(
            trainer,
            plan if until is None else training.cut(plan, until),
            train_examples=config.training.train_examples,
            split=config.training.data_parallel,
            networks_per_device=config.training.networks_per_device,
            name=config.model.name,
            convolutional=model.convolutional,
            stream=config.data.stream if config.data.streamed else None,
            shared_batch=shared_batch(config, model, own=self.parts.model is not None),
            memo=self.memo,
        )

    def _optimizer(self, rate: optimizers.Schedule) -> Optimizer:
        """Return the optimizer, whose learning rate is its own where it is no setting."""
        if self.parts.optimizer is not None:
            return transformations.optimizer(self.parts.optimizer, self.prunable.like.params)
        return self.memo(optimizers.build, self.prunable.config.optimizer, rate)

    def check_steps(self, option: str, steps: tuple[int, ...], *, last: bool = False) -> None:
        """Raise ValueError unless all steps of an option lie in a training.

        Args:
          option: which steps these are.
          steps: the steps.
          last: whether the end of training is one, where the whole training follows.
        """
        end = self.plan(1.0).steps
        most, where = (end, "in training") if last else (end - 1, "before the end of training")
        settings.require(
            all(step <= most for step in steps),
            f"`{option}` must lie in 0..{most}, {where}; got {' '.join(map(str, steps))}.",
        )

    def check_classes(self, what: str) -> None:
        """Raise ValueError unless each example has one label, and each class an output.

        Args:
          what: is done with the classes, as the beginning of the message.
        """
        settings.require(
            cross_entropy.is_single_softmax(self.info.tasks),
            f"{what} one set with an output for each class, such as mnist; outputs of"
            f" {self.info.name}, task by task: {settings.in_a_row(self.info.tasks)}.",
        )

    @functools.cached_property
    def objective(self) -> Objective:
        """The loss that is trained on, and the error."""
        loss = self.prunable.config.loss if self.parts.loss is None else self.parts.loss
        return self.memo(losses.objective, loss, self.parts.error, tasks=self.info.tasks)

    @functools.cached_property
    def classifier(self) -> Classifier:
        """How evaluations see the network."""
        config = self.prunable.config.data
        return Classifier(self.prunable.model, data.NORMALIZERS[config.normalize], self.objective)

    def score(self, name: str, *, chunk: int | None = None) -> scoring.Score:
        """Return a score of networks of this experiment; see `scoring.build`."""
        info, config = self.info, self.prunable.config.model
        model = exact = self.prunable.model
        if self.parts.model is None:
            model, exact = (
                self.memo(models.build, each, shape=info.shape, classes=info.classes)
                for each in (config, dataclasses.replace(config, dtype="float32"))
            )
        options: dict[str, Any] = {"chunk": chunk, "has_examples": self.has_examples}
        if self.own_scores:  # which no memo keeps
            options["own"] = self.own_scores
        if self.prunable.config.loss != StudyConfig.loss:
            options["loss"] = self.objective.per_example
        return self.memo(scoring.build, name, model, info.example, full_precision=exact, **options)

    @functools.cached_property
    def own_scores(self) -> dict[str, own_scores.ScoreFunction]:
        """The user's own scores that the config names; they are loaded when asked for.

        Raises:
          ValueError, TypeError: as `own_scores.load`.
        """
        return own_scores.load(self.prunable.config.score_names(), self.parts)

    @property
    def has_examples(self) -> bool:
        """Whether there are training examples, each of one task, for scores to see."""
        dataset, tasks = self.device_data.dataset, self.info.tasks
        several = len(tasks) > 1 or tasks == (1,)
        gives, labels = self.prunable.config.data.gives_classes, dataset.train.labels
        return not several and gives and labels is not None and len(labels) > 0

    @functools.cached_property
    def mean(self) -> Any:
        """The mean input of the training set, (1, height, width, channels); zeros for none.

        Inputs that are several arrays, or whole numbers such as tokens, have none.
        """
        dataset = self.device_data.dataset
        if not scoring.is_real_array(self.info.example):
            return None
        if not isinstance(dataset, Dataset) or not len(dataset.train.labels):
            return np.zeros((1, *self.info.shape), np.float32)
        images = dataset.train.images
        return self._normalized(np.add.reduce(images, axis=0, dtype=float)[None] / len(images))

    def examples(self, replicate: int, *, per_class: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and labels of training examples of each class, examples by the replicate.

        Where examples have no class, as in a text or a regression, these are as many of all
        examples. Images of folders are as evaluation sees them. A single example of zeros stands
        for data that scores cannot see: other streamed data, tasks that `check_classes` refuses,
        and no data at all.

        Raises:
          ValueError: a class has fewer examples, or there are fewer in all.
        """
        if not self.has_examples:
            return self.mean, np.zeros(1, np.int32)
        train = self.device_data.dataset.train
        is_split = isinstance(train, Split)
        examples = score_examples.drawn(
            train if is_split else Split(np.arange(train.examples), np.asarray(train.labels)),
            per_class,
            classes=self.info.classes,
            has_gaps=self.parts.data is not None,  # class numbers of a user's own may have gaps
            key=keys.stream(self.prunable.config.seed, replicate, "examples"),
        )
        if not is_split:
            source, stream = streamed.part(train, examples.images), self.prunable.config.data.stream
            examples = streamed.first(source, source.examples, stream)
        return self._normalized(examples.images), examples.labels

    def first_examples(self, count: int) -> tuple[Any, Any, Any]:
        """Return the first training examples: as data, as inputs of the network, and labels."""
        dataset = self.device_data.dataset
        if isinstance(dataset, Dataset):
            images, labels = jax.tree.map(lambda array: array[:count], dataset.train)
        else:
            stream = self.prunable.config.data.stream
            images, labels = streamed.first(dataset.train, count, stream)
        return images, self._normalized(images), labels

    def _normalized(self, images: Any) -> Any:
        dataset = self.device_data.dataset
        normalize = data.NORMALIZERS[self.prunable.config.data.normalize]
        arrays = jax.tree.map(jnp.asarray, (images, dataset.mean, dataset.std))
        return jax.device_get(normalize(*arrays))

    def plan(self, dilation: float) -> training.Plan:
        """Return the times of a training in steps."""
        config = self.prunable.config
        return training.plan(
            config.training,
            config.optimizer,
            examples=self.info.train,
            evaluated=self.info.validation + self.info.test,
            dilation=dilation,
        )


def load_experiment(
    config: Any,
    parts: Parts = parts_lib.NONE,
    *,
    prunable: Callable[..., PrunableModel] = prunable_model,
) -> LoadedExperiment:
    """Return the experiment that a config describes, with its data.

    What is wrong whatever the data is refused before they are read. What does not fit into memory
    is refused before any memory is taken.

    Args:
      config: of a study.
      parts: of the experiment that no setting says.
      prunable: (config, shape=, classes=, model=) -> the network that is pruned.

    Raises:
      DataError: the data are missing or damaged.
      ValueError: the settings or parts do not fit the data or the network.
      TypeError: a part is of another kind.
    """
    training.check_times(config.training, config.optimizer)
    check_devices(config)
    devices, batch_size = jax.device_count(), config.training.batch_size
    settings.require(
        not config.data.streamed or batch_size % devices == 0,
        f"`batch_size` must be a multiple of the {devices} devices that share the batches of"
        f" streamed data; got {batch_size}.",
    )
    check_stream(config)
    parts = parts_lib.resolve(config, parts)
    if parts.data is not None:
        config = dataclasses.replace(config, data=parts.data.config(config.data))
    info, dataset = data.load(config.data, seed=config.seed, source=parts.data)
    check_validation(config, has_split=info.validation > 0)
    if config.choose_on == "test" and watches_loss(config):
        dataset = dataset._replace(validation=dataset.test)
    if parts.model is None:
        check_outputs(config, info, getattr(dataset.train, "labels", None))
    training.plan(config.training, config.optimizer, examples=info.train)
    any_width = config.model.name == "mlp"
    if any_width:  # before its mask is made; other networks are small, and slow to outline twice
        check_memory(config, info, dataset)
    model = parts_lib.own_model(config, parts, info)
    network = prunable(config, shape=info.shape, classes=info.classes, model=model)
    if not any_width:
        example = None if model is None else info.example
        check_memory(config, info, dataset, model=model, example=example, like=network.like)
    network = dataclasses.replace(
        network,
        initial=initial.network(config, parts, network.like),
        dense=initial.mask(config, parts, network.dense),
    )
    experiment = LoadedExperiment(network, info, DeviceDataset(dataset), parts)
    labels_may_be_any = config.data.is_text or config.data.is_npz
    if parts_lib.any_of(config, parts) or labels_may_be_any or config.loss != StudyConfig.loss:
        function_checks.check(experiment)
    return experiment


def for_reading(
    config: Any,
    parts: Parts = parts_lib.NONE,
    *,
    shape: tuple[int, ...],
    classes: int,
    prunable: Callable[..., PrunableModel] = prunable_model,
) -> LoadedExperiment:
    """Return the experiment that a config describes, to read its runs.

    The data set has no examples. Only where the experiment has parts of a user's own are the data
    read, as its network may depend on them.

    Args:
      config: of a study.
      parts: of the experiment that no setting says.
      shape: of an input, such as (height, width, channels) of an image.
      classes: number of outputs.
      prunable: (config, shape=, classes=, model=) -> the network that is pruned.

    Raises:
      ValueError, TypeError, DataError: as `load_experiment`, for an experiment with own parts.
    """
    if parts_lib.any_of(config, parts):
        return load_experiment(config, parts, prunable=prunable)
    nothing = Split(np.zeros((0, *shape), np.uint8), np.zeros(0, np.int32))
    level = np.ones(shape[-1], np.float32)
    device_data = DeviceDataset(Dataset(nothing, None, nothing, level, level))
    info = Info(
        name=config.data.name,
        classes=classes,
        shape=shape,
        train=0,
        validation=0,
        test=0,
        example=models.example(config.model.name, shape),
    )
    return LoadedExperiment(prunable(config, shape=shape, classes=classes), info, device_data)
