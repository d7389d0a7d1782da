"""How many bytes of memory a training needs at least, and how many there are.

Nothing is allocated: sizes follow from shapes. They are lower bounds, so that what is refused would
not have fitted.
"""

import os
import pathlib
import resource
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax

from jaxlth.data import StreamConfig
from jaxlth.models import Model, Network
from jaxlth.training import optimizers
from jaxlth.training.config import TrainingConfig
from jaxlth.training.execution import Layout
from jaxlth.training.optimizers import OptimizerConfig

PRODUCTS = ("dot_general", "conv_general_dilated")  # the gradient of these needs their inputs
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
WIDEST = 1000  # networks with convolutions keep less than so many times their input
SMALL = 4 * 10**9  # bytes that any machine has


class Need(NamedTuple):
    """Memory that a training needs."""

    option: str  # that it grows with
    purpose: str  # it is needed for
    size: int  # bytes


def check(needs: Sequence[Need], available: int | None) -> None:
    """Raise ValueError where a training needs more memory than there is.

    Args:
      needs: all of them.
      available: bytes; None where that is not known.

    Example:
      >>> check([Need("hidden", "weights", 2 * 10**9), Need("data", "images", 10**6)], 10**9)
      Traceback (most recent call last):
      ValueError: `hidden` must be smaller: weights take 2 GB; of memory there is 1 GB in all.
    """
    total, largest = sum(need.size for need in needs), max(needs, key=lambda need: need.size)
    if available is None or total <= available:
        return
    in_all = "" if largest.size > available else f", and the whole training {_bytes(total)}"
    raise ValueError(
        f"`{largest.option}` must be smaller: {largest.purpose} take {_bytes(largest.size)}"
        f"{in_all}; of memory there is {_bytes(available)} in all."
    )


def of_weights(option: str, like: Network) -> Need:
    """Return the memory that the weights of one network and its mask need.

    Args:
      option: that their number grows with.
      like: a network of `jax.ShapeDtypeStruct`s.
    """
    return Need(option, "its weights and their mask", _size(like) + _count(like.params))


def of_training(
    option: str,
    model: Model,
    like: Network,
    training: TrainingConfig,
    optimizer: OptimizerConfig,
    layout: Layout,
    *,
    example: Any,
    arrays: Any,
) -> list[Need]:
    """Return the memory that a training needs on one device, or on the host where that is it.

    Args:
      option: that the number of weights grows with.
      model: the network.
      like: a network of `jax.ShapeDtypeStruct`s.
      training: the batch, and what is kept.
      optimizer: whose state is kept.
      layout: of the networks that train together.
      example: `jax.ShapeDtypeStruct` of one example as the network takes it, or a tree of them.
      arrays: of the data set, a tree.
    """
    on_host = layout.devices[0].platform == "cpu"
    networks = layout.per_device * (len(layout.devices) if on_host else 1)
    state = _state(like, training, optimizer) * (2 if on_host else 1)  # the host keeps the first
    weights = state + _size(like.params) + _count(like.params)
    batch = training.batch_size // layout.split
    return [
        Need(option, "weights, gradients and optimiser", networks * weights),
        Need("batch_size", "its activations", networks * _activations(model, like, example, batch)),
        Need("data", "its arrays", _size(arrays)),
    ]


def of_stream(config: StreamConfig, training: TrainingConfig) -> list[Need]:
    """Return the memory that streamed images need on the host: 3 bytes a pixel.

    The option that batches grow with is the one that is the most times its default.
    """
    image, batch = 3 * config.image_size**2, training.batch_size
    times = {
        "image_size": (config.image_size / StreamConfig.image_size) ** 2,
        "batch_size": batch / TrainingConfig.batch_size,
        "prefetch": config.prefetch / StreamConfig.prefetch,
    }
    option = max(times, key=lambda name: times[name])
    return [
        Need("resize_to", "a resized image", 3 * config.resize_to**2),
        Need(option, "batches of images", (1 + config.prefetch) * batch * image),
    ]


def host() -> int | None:
    """Return the bytes of memory of this machine, or what a container or limit leaves of them."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(pathlib.Path, LIMITS):
        if path.is_file() and (text := path.read_text().strip()).isdecimal():
            limits.append(int(text))
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min([*limits, limit] if limit != resource.RLIM_INFINITY else limits)


def device() -> int | None:
    """Return the bytes of memory of a device; None where it does not say."""
    first = jax.local_devices()[0]
    if first.platform == "cpu":
        return host()
    return (first.memory_stats() or {}).get("bytes_limit")


def _state(like: Network, training: TrainingConfig, optimizer: OptimizerConfig) -> int:
    """Return the bytes of the weights and the optimiser's state of one network."""
    copies = 2 if training.checkpoint == "best" else 1
    if optimizer.is_own:
        return copies * _size(like)  # and its own state, which is not known here
    rule = optimizers.build(optimizer, optimizers.schedule(optimizer, steps=1))
    return copies * _size(like) + _size(jax.eval_shape(rule.init, like.params))


def _activations(model: Model, like: Network, example: Any, batch: int) -> int:
    """Return the bytes that layers must keep for the gradient: what goes into their kernels.

    0 for a batch so small that it is not worth the time to go through large networks.
    """
    inputs = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape), leaf.dtype), example
    )
    if model.convolutional and _size(inputs) * WIDEST < SMALL:
        return 0
    program = jax.make_jaxpr(lambda network, inputs: model.apply(network, inputs, True))
    return _size(list(_inputs(program(like, inputs).jaxpr)))


def _inputs(program: Any) -> Iterator[Any]:
    """Yield the inputs of products in a program, and in the programs that it calls.

    The branches of a choice are left out: which one is taken is not known.
    """
    for equation in program.eqns:
        if equation.primitive.name in PRODUCTS:
            yield equation.invars[0].aval
        called = (
            getattr(value, "jaxpr", value)
            for value in equation.params.values()
            if not isinstance(value, tuple)
        )
        for inner in called:
            if hasattr(inner, "eqns"):
                yield from _inputs(inner)


def _size(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _count(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _bytes(size: int) -> str:
    """Return a number of bytes in words.

    Example:
      >>> _bytes(25_300_000_000), _bytes(3 * 10**12)
      ('25.3 GB', '3 TB')
    """
    return f"{size / 1e12:.3g} TB" if size >= 1e12 else f"{size / 1e9:.3g} GB"
