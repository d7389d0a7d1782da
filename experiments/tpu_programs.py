"""The programs of studies, compiled for TPUs that are not there.

    pip install 'jaxlth[tpu]'      # for the TPU's compiler, libtpu: no TPU is needed

An experiment here has the shapes of a data set and no examples. What a job would run is lowered
from these shapes, by the functions that the job calls, and compiled for one of SLICES.
"""

import contextlib
import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the compiler is asked for by name below
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no machine to ask what it is
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # several processes may compile

import hlo
import jax
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache

from jaxlth import data, keys, masks, supermasks
from jaxlth.data import Dataset, Info, Split
from jaxlth.studies import scoring
from jaxlth.studies.compiled_training import CompiledTraining, DeviceDataset
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.prunable import prunable_model
from jaxlth.training import evaluation, execution


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice of TPUs as the compiler knows it; numbers are of one device.

    A device is a chip; so it is on a v4, whose two cores work as one.
    """

    topology: str
    devices: int
    hertz: float  # of the clock that cycles are counted by
    flops: float  # peak, of bfloat16 products
    memory: int  # bytes
    options: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def chip(self) -> str:
        """The kind of chip, such as "v5e"."""
        return self.topology.partition(":")[0]


GIB = 2**30
SLICES = {
    "v5e-1": Slice("v5e:2x4", 1, 1.5e9, 197e12, 16 * GIB),
    "v5e-8": Slice("v5e:2x4", 8, 1.5e9, 197e12, 16 * GIB),
    "v5e-16": Slice("v5e:4x4", 16, 1.5e9, 197e12, 16 * GIB),
    "v4-8": Slice("v4:2x2x1", 4, 1.05e9, 275e12, 32 * GIB, {"chip_config_name": "megacore"}),
    "v6e-8": Slice("v6e:2x4", 8, 1.75e9, 918e12, 32 * GIB),
}

SHAPES = {"mnist": ((28, 28, 1), 60_000, 10_000), "cifar10": ((32, 32, 3), 50_000, 10_000)}
SHAPES["fashion_mnist"] = SHAPES["mnist"]
CLASSES = 10


def is_installed() -> bool:
    """Return whether the TPU's compiler is here."""
    return importlib.util.find_spec("libtpu") is not None


def devices(name: str) -> tuple[Any, ...]:
    """Return the devices of a slice."""
    config = SLICES[name]
    description = topologies.get_topology_desc(
        platform="tpu", topology_name=config.topology, **config.options
    )
    return tuple(description.devices[: config.devices])


def experiment(config: Any) -> LoadedExperiment:
    """Return the experiment of a config on data of the right shapes, which are no arrays.

    Data that are made here, such as points and the text of Python's help, are made for it.
    """
    if set(config.data.names) <= set(SHAPES):
        info, dataset = published(config.data)
    else:
        info, dataset = data.load(config.data, seed=config.seed)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dataset)
    with mock.patch("jax.default_backend", return_value="tpu"):  # by which networks are built
        network = prunable_model(config, shape=info.shape, classes=info.classes)
    return LoadedExperiment(network, info, DeviceDataset(shapes))


def published(config: data.DataConfig) -> tuple[Info, Dataset]:
    """Return sets of SHAPES, of which a network has one or several side by side, as shapes."""
    sets = len(config.names)
    (height, width, channels), train, test = SHAPES[config.names[0]]
    shape = height, sets * width, channels
    held_out = round(train * config.validation)
    counts = train - held_out, held_out, test

    def split(count: int) -> Split | None:
        if not count:
            return None
        images = jax.ShapeDtypeStruct((count, *shape), np.uint8)
        labels = jax.ShapeDtypeStruct((count, sets) if sets > 1 else (count,), np.int32)
        return Split(images, labels)  # type: ignore[arg-type]

    level = jax.ShapeDtypeStruct(
        shape if config.normalize == "per-pixel" else shape[-1:], np.float32
    )
    info = Info(
        name=config.name,
        classes=sets * CLASSES,
        shape=shape,
        train=counts[0],
        validation=counts[1],
        test=counts[2],
        tasks=(CLASSES,) * sets if sets > 1 else (),
        widths=(width,) * sets if sets > 1 else (),
        example=jax.ShapeDtypeStruct(shape, np.float32),
    )
    return info, Dataset(*map(split, counts), level, level)  # type: ignore[arg-type]


def with_supermask(loaded: LoadedExperiment, rule: supermasks.SupermaskConfig) -> LoadedExperiment:
    """Return an experiment with scores in place of weights, as `train_supermasks` trains them."""
    inner = loaded.prunable
    steps = loaded.plan(1.0).steps
    model = supermasks.wrap(inner.model, rule, steps=steps, prunable=masks.dense)
    like = jax.eval_shape(model.init, keys.stream(0, 0, ""))
    own = dataclasses.replace(inner, model=model, like=like, dense=masks.dense(like.params))
    return dataclasses.replace(loaded, prunable=own)


class Programs:
    """The programs of a training.

    Args:
      loaded: the experiment, of shapes.
      training: how its networks are trained.
      layout: where they train, on devices such as those of a slice.
    """

    def __init__(
        self, loaded: LoadedExperiment, training: CompiledTraining, layout: execution.Layout
    ) -> None:
        self.experiment, self.layout = loaded, layout
        self._compiled = training.compiled(self.layout)
        network = loaded.prunable.like
        mask = loaded.prunable.dense
        state = jax.eval_shape(training.trainer.start, network, mask)
        self.state_leaves = len(jax.tree.leaves(state))
        self._placed = self._shapes((state, mask, _key()), placed=True)
        sent = lambda dataset: DeviceDataset(dataset).packed  # noqa: E731
        dataset = jax.eval_shape(sent, loaded.device_data.dataset)
        self.dataset = self._shapes(dataset)
        self._step = self._shapes(jax.ShapeDtypeStruct((), np.int32))

    def advance(self) -> Any:
        """Return the program that trains, compiled."""
        state, mask, key = self._placed
        program = self._compiled.advance
        return _compiled(program, state, mask, self.dataset, key, self._step, self._step)

    def measure(self) -> Any:
        """Return the program that evaluates in the course of training, compiled."""
        state, mask, _ = self._placed
        program = self._compiled.measure
        return _compiled(program, state, mask, self.dataset, self._step, self._step)

    def line(self) -> Any:
        """Return the program that evaluates points of a line on the test split, compiled."""
        classifier = self.experiment.classifier

        def sums(trees: Any, batch: Any, mean_std: Any) -> Any:
            return evaluation.metric_sums(classifier, *trees, batch, mean_std)

        state, mask, _ = self._placed
        mean_std = self.dataset.mean, self.dataset.std
        program = self._compiled.make_sums(sums)
        return _compiled(program, (state.network, mask), self.dataset.test, mean_std)

    def _shapes(self, tree: Any, *, placed: bool = False) -> Any:
        """Return shapes as arguments of a program: of each network if placed, else shared."""
        on = self.layout.devices
        leading = (len(on), self.layout.per_device) if placed else ()
        return on_device(tree, on[0] if len(on) == 1 else None, leading)


def selection(loaded: LoadedExperiment, device: Any) -> Any:
    """Return the program that prunes the least weights of a network, compiled."""
    tree = on_device((loaded.prunable.like.params, loaded.prunable.dense), device)
    keep = on_device(jax.ShapeDtypeStruct((), np.int32), device)

    def select(params: Any, mask: Any, keep: Any) -> Any:
        return loaded.prunable.by_magnitude(params, mask, keep)

    return _compiled(jax.jit(select), *tree, keep)


def score(loaded: LoadedExperiment, name: str, device: Any, *, per_class: int = 10) -> Any:
    """Return the program of a score of weights by gradients, compiled."""
    network, count = loaded.prunable.like, per_class * CLASSES
    example = loaded.info.example
    batch = (
        jax.ShapeDtypeStruct((count, *example.shape), example.dtype),
        jax.ShapeDtypeStruct((count,), np.int32),
    )
    mean = jax.ShapeDtypeStruct((1, *example.shape), example.dtype)
    given = scoring.ScoreInputs(network, network.params, batch, _key(), mean, np.False_)
    tree = on_device((loaded.prunable.dense, given), device)
    return _compiled(jax.jit(loaded.score(name)), *tree)


def on_device(tree: Any, device: Any, leading: tuple[int, ...] = ()) -> Any:
    """Return shapes of arrays on a device, or on none in particular."""
    sharding = None if device is None else jax.sharding.SingleDeviceSharding(device)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*leading, *leaf.shape), leaf.dtype, sharding=sharding),
        tree,
    )


def text_of(compiled: Any) -> hlo.Program:
    """Return what the compiler says of a program."""
    return hlo.Program(compiled.as_text())


def _key() -> Any:
    return jax.eval_shape(lambda: keys.stream(0, 0, "order"))


def _compiled(program: Callable[..., Any], *arguments: Any) -> Any:
    lowered = program.lower(*arguments)  # type: ignore[attr-defined]
    with uncached():
        return lowered.compile()


@contextlib.contextmanager
def uncached() -> Iterator[None]:
    """Compile without JAX's cache on disk, which writes programs for TPUs and cannot read them."""
    enabled = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    try:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()
