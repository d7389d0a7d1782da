"""How many networks train at once, and on which devices: the one place that knows.

Networks of a group train in lockstep. On accelerators a group is all that is asked for: `vmap` on
each device, `shard_map` over devices, each of which runs the program of its own networks; or
several devices share the batches of each network. On CPU a group is one network per device: more
would only push each other out of the caches, and a short group is what a checkpoint, a progress bar
or Ctrl-C waits for. With convolutions it is one network, whose steps use all cores. On streamed
data a group is one network, whose batches all devices share: decoding images costs more than
anything else, and is done once for each batch.

With several processes each calls the same functions at the same time, and sees the networks that
its own devices hold; `Layout.take` gathers those of all.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxlth import distributed, settings
from jaxlth.models.layers import BATCH
from jaxlth.training import side_by_side

AXIS = "devices"
_LEADING = P((AXIS, BATCH))  # the leading axis of what each device has its own part of
Device: TypeAlias = Any  # a `jax.Device`, which has no type that pyright sees

# XLA's newer kernels for CPU are kept for sums and what is done number by number: its convolutions
# are faster without: with `models.convolution`, a training step takes a half to a sixth of the time
# (`experiments/cifar_speed.py`).
CONVOLUTIONS_ON_CPU = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_REDUCE,LIBRARY_FUSION_TYPE_ELTWISE"
    )
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """A group of networks on devices: `per_device` side by side on each `split` devices.

    Attributes:
      devices: those used, of all processes, each process's together.
      per_device: networks that are vmapped on one device.
      split: neighbouring devices that share each batch of the same networks.
      looped: whether steps are called from a loop in Python instead of being scanned; on CPU they
        are compiled for convolutions then.

    Example:
      >>> Layout(devices=(jax.devices()[0],), per_device=3).size
      3
    """

    devices: tuple[Device, ...]
    per_device: int
    split: int = 1
    looped: bool = False

    @property
    def size(self) -> int:
        """Number of networks in a group."""
        return len(self.devices) // self.split * self.per_device

    def place(self, trees: Sequence[Any]) -> Any:
        """Return one tree of (devices of this process, per_device, ...) arrays on the devices.

        Fewer trees than the group holds are filled up with copies of the last one.
        """
        full = [*trees, *[trees[-1]] * (self.size - len(trees))]
        local = set(self._local())
        at = [place for place, device in enumerate(self.devices) if device in local]
        local_trees = [
            full[place // self.split * self.per_device + inner]
            for place in at
            for inner in range(self.per_device)
        ]

        def stack(*leaves: Any) -> Any:
            if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
                numbers = stack(*[jax.random.key_data(leaf) for leaf in leaves])
                return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaves[0]))
            stacked = np.stack([np.asarray(leaf) for leaf in leaves])
            return self.put(stacked.reshape((len(at), self.per_device, *stacked.shape[1:])))

        return jax.tree.map(stack, *local_trees)

    def put(self, tree: Any) -> Any:
        """Return a tree of (devices of this process, per_device, ...) arrays on the devices."""
        return jax.device_put(tree, self._sharding(AXIS))

    def spread(self, tree: Any) -> Any:
        """Return this process's part of a batch, split over its devices.

        Args:
          tree: of (n, ...) arrays, n a multiple of the devices of this process.

        Returns:
          A tree of (devices of this process, per_device = 1, n / devices, ...) arrays on them.
        """
        count = len(self._local())
        return self.put(jax.tree.map(lambda a: a.reshape((count, 1, -1, *a.shape[1:])), tree))

    def share(self, tree: Any) -> Any:
        """Return a tree of arrays that every device holds whole."""
        return jax.device_put(tree, self._sharding())

    def take(self, tree: Any, count: int) -> list[Any]:
        """Return the first `count` networks' trees, in NumPy: the inverse of `place`.

        With several processes each of them gets all networks.
        """

        def flat(leaf: Any) -> np.ndarray:
            gathered = distributed.all_gather(np.asarray(leaf))[:: self.split]
            rows = math.prod(gathered.shape[:2])  # -1 is no number of rows without elements
            return gathered.reshape((rows, *gathered.shape[2:]))

        host = jax.tree.map(flat, tree)
        return [jax.tree.map(operator.itemgetter(at), host) for at in range(count)]

    def map(
        self, function: Callable[..., Any], axes: tuple[int | None, ...], *, donate: bool = False
    ) -> Callable[..., Any]:
        """Return `function` of one network, mapped over a group and compiled.

        Args:
          function: takes positional arguments only.
          axes: 0 for each argument that `place` made, None for each that is the same for all.
          donate: whether the memory of the first argument may be used again.
        """
        single = self.per_device == 1
        inner = _without_axis(function, axes) if single else jax.vmap(function, in_axes=axes)
        donated = (0,) if donate else ()
        if len(self.devices) == 1:
            mapped = _without_axis(inner, axes)
            options = compiler_options() if self.looped and _on_cpu(self.devices) else None
            return jax.jit(mapped, donate_argnums=donated, compiler_options=options)
        specs = tuple(P() if axis is None else _LEADING for axis in axes)
        sharded = jax.shard_map(
            _without_axis(inner, axes),
            mesh=self._mesh,
            in_specs=specs,
            out_specs=_LEADING,
            check_vma=False,
        )
        compiled = jax.jit(sharded, donate_argnums=donated)
        return compiled if distributed.count() == 1 else self._of_all_processes(compiled, specs)

    def _of_all_processes(
        self, compiled: Callable[..., Any], specs: tuple[P, ...]
    ) -> Callable[..., Any]:
        """Return a program over all processes as a function of the arrays of this one."""

        def joined(spec: P, leaf: Any) -> Any:
            if not isinstance(leaf, jax.Array):  # the same number in all processes
                return leaf
            rows = len(self.devices) if spec else leaf.shape[0] if leaf.ndim else 0
            shape = (rows, *leaf.shape[1:]) if leaf.ndim else ()
            return _reassembled(leaf, shape, jax.sharding.NamedSharding(self._mesh, spec))

        def local(leaf: Any) -> Any:
            shape = (len(self._local()), *leaf.shape[1:])
            return _reassembled(leaf, shape, self._sharding(AXIS))

        def call(*arguments: Any) -> Any:
            whole = [
                jax.tree.map(functools.partial(joined, spec), argument)
                for spec, argument in zip(specs, arguments, strict=True)
            ]
            return jax.tree.map(local, compiled(*whole))

        return call

    @property
    def _mesh(self) -> jax.sharding.Mesh:
        return jax.sharding.Mesh(np.array(self.devices).reshape(-1, self.split), (AXIS, BATCH))

    def _local(self) -> tuple[Device, ...]:
        process = jax.process_index()
        return tuple(device for device in self.devices if device.process_index == process)

    def _sharding(self, *axes: str) -> jax.sharding.Sharding:
        local = self._local()
        if len(local) == 1:
            return jax.sharding.SingleDeviceSharding(local[0])
        if len(local) == len(self.devices):
            return jax.sharding.NamedSharding(self._mesh, _LEADING if axes else P())
        return jax.sharding.NamedSharding(jax.sharding.Mesh(np.array(local), (AXIS,)), P(*axes))


def layout(
    networks: int,
    *,
    devices: Sequence[Device] | None = None,
    split: int = 1,
    networks_per_device: int | None = None,
    model: str = "",
    convolutional: bool = False,
    streamed: bool = False,
    batch_size: int | None = None,
) -> Layout:
    """Return the layout for training so many networks.

    Args:
      networks: how many are to be trained, at least 1.
      devices: those of all processes by default.
      split: devices that share each batch.
      networks_per_device: networks that an accelerator trains at once, at most; None for as many
        as `side_by_side` says.
      model: name of the network, which `side_by_side` knows some of.
      convolutional: whether the networks have convolutions: on CPU those are 4 to 15 times slower
        inside scan or vmap than in a function of their own.
      streamed: whether batches come from the host; all devices share each then.
      batch_size: of batches that more devices may share where accelerators would be idle, as there
        are fewer networks than devices, and all would be trained sooner by what `side_by_side`
        knows; None where they may not.

    Raises:
      ValueError: there are too few devices, or processes would get different numbers of them.
    """
    all_devices = jax.devices() if devices is None else devices
    several = distributed.count() > 1
    if several:
        all_devices = sorted(all_devices, key=lambda device: (device.process_index, device.id))
    if streamed:
        return Layout(devices=tuple(all_devices), per_device=1, split=len(all_devices), looped=True)
    settings.require(
        split <= len(all_devices),
        f"`data_parallel` must be at most the number of devices, {len(all_devices)}; got {split}.",
    )
    settings.require(
        not several or len(all_devices) % split == 0,
        f"`data_parallel` must divide the {len(all_devices)} devices of all processes; "
        f"got {split}.",
    )
    on_cpu = _on_cpu(all_devices)
    platform = all_devices[0].platform
    if batch_size is not None:
        step_time = functools.partial(side_by_side.step_time, platform, model)
        split = _soonest(networks, len(all_devices), split, batch_size, step_time)
    # Two replicates on two forced devices take 1.5 times as long as one after the other on all
    # cores, or twice: there steps are compiled without the options for convolutions.
    most_sets = 1 if on_cpu and convolutional and not several else len(all_devices) // split
    # Several processes all take part, or those without a network would not be waited for.
    sets = most_sets if several else max(1, min(most_sets, networks))
    per_device = 1 if on_cpu else -(-networks // sets)
    most = networks_per_device or side_by_side.most(platform, model)
    return Layout(
        devices=tuple(all_devices[: sets * split]),
        per_device=min(per_device, most),
        split=split,
        looped=on_cpu and convolutional,
    )


def _on_cpu(devices: Sequence[Device]) -> bool:
    return devices[0].platform == "cpu"


def _soonest(
    networks: int,
    devices: int,
    split: int,
    batch_size: int,
    step_time: Callable[[int], float],
) -> int:
    """Return how many devices share a batch for the networks to be trained soonest.

    Args:
      networks: how many are trained.
      devices: how many there are.
      split: devices that share each batch at least.
      batch_size: examples of a batch, whose parts are equal.
      step_time: how long a step takes by the number of devices that share its batch.

    Example:
      >>> [_soonest(n, 8, 1, 128, lambda shared: 0.5 + 0.5 / shared) for n in (1, 3, 5, 8)]
      [8, 2, 1, 1]
    """
    if networks * split >= devices:
        return split

    def of_all(shared: int) -> float:
        """Return how long it takes until each network has taken a step."""
        return -(-networks // (devices // shared)) * step_time(shared)

    candidates = range(split, devices + 1, split)
    whole = [each for each in candidates if devices % each == 0 and batch_size % each == 0]
    return min(whole, key=lambda shared: (of_all(shared), shared), default=split)


@functools.cache
def compiler_options() -> dict[str, str]:
    """Return the options for convolutions on CPU, none where XLA does not know them."""
    try:
        jax.jit(lambda: 0, compiler_options=CONVOLUTIONS_ON_CPU)()
    except jax.errors.JaxRuntimeError:
        return {}
    return CONVOLUTIONS_ON_CPU


def _reassembled(leaf: jax.Array, shape: tuple[int, ...], sharding: jax.sharding.Sharding) -> Any:
    """Return an array whose parts on the devices of this process are those of another one."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        numbers = jax.random.key_data(leaf)
        numbers = _reassembled(numbers, (*shape, *numbers.shape[leaf.ndim :]), sharding)
        return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))
    parts = [shard.data for shard in leaf.addressable_shards]
    return jax.make_array_from_single_device_arrays(shape, sharding, parts)


def _without_axis(function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """Return `function` over arguments with a leading axis of length 1: cheaper than vmap's."""

    def mapped(*arguments: Any) -> Any:
        stripped = [
            argument if axis is None else jax.tree.map(lambda leaf: leaf[0], argument)
            for argument, axis in zip(arguments, axes, strict=True)
        ]
        return jax.tree.map(lambda leaf: leaf[None], function(*stripped))

    return mapped
