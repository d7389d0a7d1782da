"""Whether what a study asks for fits the machine: its devices and its memory."""

from typing import Any

import jax

from jaxlth import keys, models
from jaxlth.data import Dataset, Info, Streamed
from jaxlth.models import Model, Network
from jaxlth.process import memo
from jaxlth.training import execution, memory


def check_devices(config: Any) -> None:
    """Raise ValueError where a batch is to be shared by more devices than there are."""
    _layout(config)


def check_stream(config: Any) -> None:
    """Raise ValueError where reading streamed images needs more memory than the host has."""
    if config.data.streamed:
        memory.check(memory.of_stream(config.data.stream, config.training), memory.host())


def check_weights(config: Any, like: Network) -> None:
    """Raise ValueError where one network needs more memory than the host has."""
    memory.check([memory.of_weights(_grows_with(config), like)], memory.host())


def check_memory(
    config: Any,
    info: Info,
    dataset: Dataset | Streamed,
    *,
    model: Model | None = None,
    example: Any = None,
    like: Network | None = None,
    option: str = "",
) -> None:
    """Raise ValueError where a training needs more memory than a device has.

    Args:
      config: config of a study.
      info: of the data.
      dataset: the data.
      model: the network, where it is none of the library's.
      example: of one input of that, a tree of `jax.ShapeDtypeStruct`s.
      like: the network, of `jax.ShapeDtypeStruct`s, where it is there already.
      option: that the number of weights grows with, where it is not that of the network.
    """
    own = model is not None
    if model is None:
        model = memo.shared(models.build, config.model, shape=info.shape, classes=info.classes)
    needs = memory.of_training(
        option or _grows_with(config),
        model,
        like or jax.eval_shape(model.init, keys.stream(0, 0, "")),
        config.training,
        config.optimizer,
        _layout(config, model, own=own),
        example=models.example(config.model.name, info.shape) if example is None else example,
        arrays=dataset if isinstance(dataset, Dataset) else (),
    )
    memory.check(needs, memory.device())


def shared_batch(config: Any, model: Model, *, own: bool) -> int | None:
    """Return the size of batches that idle devices may share, None where they may not.

    Numbers would change by more than rounding where a network draws random numbers, or where batch
    statistics are those of a model that knows nothing of devices.

    Args:
      config: of a study.
      model: the network.
      own: whether it is none of the library's.
    """
    if model.noisy is not None:
        return None
    if own and jax.tree.leaves(jax.eval_shape(model.init, keys.stream(0, 0, "")).stats):
        return None
    return config.training.batch_size


def _layout(config: Any, model: Model | None = None, *, own: bool = False) -> execution.Layout:
    """Return the layout for the replicates of a study.

    Raises:
      ValueError: there are too few devices.
    """
    convolutional = models.is_convolutional(config.model.name)
    if model is not None:
        convolutional = bool(model.convolutional)
    return execution.layout(
        config.replicates,
        split=config.training.data_parallel,
        networks_per_device=config.training.networks_per_device,
        model=config.model.name,
        convolutional=convolutional,
        streamed=config.data.streamed,
        batch_size=None if model is None else shared_batch(config, model, own=own),
    )


def _grows_with(config: Any) -> str:
    """Return the option that the number of a network's weights grows with."""
    return "hidden" if config.model.name == "mlp" else "model"
