"""Whether what a job asks for fits the machine: its devices and its memory."""

from typing import Any

import jax

from jaxlth import keys, models
from jaxlth.data import Dataset, Info, Streamed
from jaxlth.models import Network
from jaxlth.tickets.choices import PERCEPTRONS
from jaxlth.training import execution, memory


def check_devices(chosen: Any) -> None:
    """Raise ValueError where a batch is to be shared by more devices than there are."""
    _layout(chosen)


def check_stream(chosen: Any) -> None:
    """Raise ValueError where reading streamed images needs more memory than the host has."""
    if chosen.data.streamed:
        memory.check(memory.of_stream(chosen.data.stream, chosen.training), memory.host())


def check_weights(chosen: Any, like: Network) -> None:
    """Raise ValueError where one network needs more memory than the host has."""
    memory.check([memory.of_weights(_grows_with(chosen), like)], memory.host())


def check_memory(
    chosen: Any,
    info: Info,
    dataset: Dataset | Streamed,
    *,
    like: Network | None = None,
    option: str = "",
) -> None:
    """Raise ValueError where a training needs more memory than a device has.

    Args:
      chosen: settings of a job.
      info: of the data.
      dataset: the data.
      like: the network, of `jax.ShapeDtypeStruct`s, where it is there already.
      option: that the number of weights grows with, where it is not that of the network.
    """
    model = models.build(chosen.model, shape=info.shape, classes=info.classes)
    needs = memory.of_training(
        option or _grows_with(chosen),
        model,
        like or jax.eval_shape(model.init, keys.stream(0, 0, "")),
        chosen.training,
        chosen.optimizer,
        _layout(chosen),
        shape=info.shape,
        arrays=dataset if isinstance(dataset, Dataset) else (),
    )
    memory.check(needs, memory.device())


def _layout(chosen: Any) -> execution.Layout:
    """Return the layout for the replicates of a job.

    Raises:
      ValueError: there are too few devices.
    """
    return execution.layout(
        chosen.replicates,
        split=chosen.training.batch_devices,
        side_by_side=chosen.training.side_by_side,
        convolutional=chosen.model.name not in PERCEPTRONS,
        streamed=chosen.data.streamed,
    )


def _grows_with(chosen: Any) -> str:
    """Return the option that the number of a network's weights grows with."""
    return "hidden" if chosen.model.name == "mlp" else "model"
