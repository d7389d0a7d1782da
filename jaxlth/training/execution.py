"""How many networks train at once, and on which devices: the one place that knows.

Networks of a group train in lockstep. On accelerators a group is all that is asked for: `vmap` on
each device, `pmap` over devices. On CPU a group is one network per device: more would only push
each other out of the caches, and a short group is what a checkpoint, a progress bar or Ctrl-C waits
for.
"""

import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

AXIS = "devices"
Device: TypeAlias = Any  # a `jax.Device`, which has no type that pyright sees


@dataclasses.dataclass(frozen=True)
class Layout:
    """A group of networks on devices: `per_device` on each.

    Example:
      >>> Layout(devices=(jax.devices()[0],), per_device=3).size
      3
    """

    devices: tuple[Device, ...]
    per_device: int

    @property
    def size(self) -> int:
        """Number of networks in a group."""
        return len(self.devices) * self.per_device

    def place(self, trees: Sequence[Any]) -> Any:
        """Return one tree of (devices, per_device, ...) arrays on the devices.

        Fewer trees than the group holds are filled up with copies of the last one.
        """
        full = [*trees, *[trees[-1]] * (self.size - len(trees))]

        def stack(*leaves: Any) -> Any:
            if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
                numbers = stack(*[jax.random.key_data(leaf) for leaf in leaves])
                return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaves[0]))
            stacked = np.stack([np.asarray(leaf) for leaf in leaves])
            shape = (len(self.devices), self.per_device, *stacked.shape[1:])
            return jax.device_put(stacked.reshape(shape), self._sharding(AXIS))

        return jax.tree.map(stack, *full)

    def share(self, tree: Any) -> Any:
        """Return a tree of arrays that every device holds whole."""
        return jax.device_put(tree, self._sharding())

    def take(self, tree: Any, count: int) -> list[Any]:
        """Return the first `count` networks' trees, in NumPy: the inverse of `place`."""
        host = jax.tree.map(lambda leaf: np.asarray(leaf).reshape((-1, *leaf.shape[2:])), tree)
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
        one = self.per_device == 1
        inner = _without_axis(function, axes) if one else jax.vmap(function, in_axes=axes)
        donated = (0,) if donate else ()
        if len(self.devices) == 1:
            return jax.jit(_without_axis(inner, axes), donate_argnums=donated)
        return jax.pmap(inner, AXIS, in_axes=axes, devices=self.devices, donate_argnums=donated)

    def _sharding(self, *axes: str) -> jax.sharding.Sharding:
        if len(self.devices) == 1:
            return jax.sharding.SingleDeviceSharding(self.devices[0])
        mesh = jax.sharding.Mesh(np.array(self.devices), (AXIS,))
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def layout(networks: int, *, devices: Sequence[Device] | None = None) -> Layout:
    """Return the layout for training so many networks.

    Args:
      networks: how many are to be trained, at least 1.
      devices: the local devices by default.
    """
    devices = jax.local_devices() if devices is None else devices
    used = tuple(devices[: max(1, min(len(devices), networks))])
    on_cpu = used[0].platform == "cpu"
    return Layout(used, 1 if on_cpu else -(-networks // len(used)))


def _without_axis(function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """Return `function` over arguments with a leading axis of length 1: cheaper than vmap's."""

    def mapped(*arguments: Any) -> Any:
        stripped = [
            argument if axis is None else jax.tree.map(lambda leaf: leaf[0], argument)
            for argument, axis in zip(arguments, axes, strict=True)
        ]
        return jax.tree.map(lambda leaf: leaf[None], function(*stripped))

    return mapped
