"""The network that is pruned: its functions, the outline of its weights, and what it may keep."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from jaxlth import keys, masks, models, prune, scores, settings, trees
from jaxlth.models import BatchAxis, Model, Network
from jaxlth.process import memo
from jaxlth.studies.machine import check_weights

_magnitude = jax.jit(scores.magnitude)  # without, a program for each shape would be compiled

KeepCount: TypeAlias = int | dict[str, int]  # weights kept, of the network or of each tensor


@dataclasses.dataclass(frozen=True)
class PrunableModel:
    """The network that is pruned.

    Attributes:
      config: the settings.
      model: the network's functions.
      like: a `Network` of `jax.ShapeDtypeStruct`s.
      dense: the mask of level 0.
      initial: the network of level 0 at its start, its statistics None where those of a random one
        do; None where all is drawn.
    """

    config: Any
    model: Model
    like: Network
    dense: masks.Mask
    initial: Network | None = None

    @functools.cached_property
    def draw(self) -> Callable[[jax.Array], Network]:
        """The function key -> network at initialisation, compiled."""
        return jax.jit(self.model.init, compiler_options=_compiles_fast())

    @functools.cached_property
    def zeros(self) -> masks.Params:
        """Parameters of nothing but zeros, for those who need names and shapes in NumPy."""
        return _zeros(self.like)

    @functools.cached_property
    def left(self) -> dict[str, int]:
        """Weights that the mask of level 0 keeps of each tensor."""
        return {name: int(np.sum(leaf)) for name, leaf in trees.named(self.dense).items()}

    def keeping(self, density: float) -> KeepCount:
        """Return how many weights a network of a density keeps: a count, or one for each tensor.

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
        """Return the mask without the weights of least magnitude; may be jitted."""
        rule = prune.global_topk if self.config.scope == "global" else prune.layerwise_topk
        return rule(_magnitude(params), mask, keep=keep)

    def check_pruned(self, density: float, keep: KeepCount | None = None) -> None:
        """Raise ValueError unless a density can be kept, and prunes something.

        Args:
          density: share of all weights.
          keep: what it keeps; see `keeping`.
        """
        keep = self.keeping(density) if keep is None else keep
        settings.require(
            total_kept(keep) < sum(self.left.values()),
            f"`density` {density:g} prunes none of the {sum(self.left.values())} weights.",
        )
        for name, count in ({} if isinstance(keep, int) else keep).items():
            settings.require(
                count <= self.left[name],
                f"`density` {density:g} keeps {count} weights of the layer {name}, of which "
                f"`initial_mask` keeps {self.left[name]}.",
            )


def _compiles_fast() -> dict[str, int]:
    """Return compiler options for a program that runs once.

    Most of the time of the first network is the compilation of its random numbers. On CPUs the
    second level of optimisation takes a third of it, for the same bits.
    """
    return {"xla_backend_optimization_level": 2} if jax.default_backend() == "cpu" else {}


def total_kept(keep: KeepCount) -> int:
    """Return how many weights are kept over all tensors."""
    return keep if isinstance(keep, int) else sum(keep.values())


def prunable_model(
    config: Any, *, shape: tuple[int, ...] = (), classes: int = 0, model: Model | None = None
) -> PrunableModel:
    """Return the network that is pruned.

    Args:
      config: of a study.
      shape: of an input, such as (height, width, channels) of an image.
      classes: number of outputs.
      model: the network, where it is none of the library's; shape and classes are not read then.

    Raises:
      ValueError: it has no weights that may be pruned, or the images are too small for it.
    """
    if model is None:
        axis = batch_axis(config)
        model = memo.shared(
            models.build, config.model, shape=shape, classes=classes, batch_axis=axis
        )
    like = jax.eval_shape(model.init, keys.stream(0, 0, ""))
    check_weights(config, like)
    dense = excluding(masks.dense(_zeros(like)), config.exclude)
    settings.require(
        masks.size(dense) > 0,
        f"`exclude` leaves no weight to prune; got {' '.join(config.exclude)}.",
    )
    return PrunableModel(config, model, like, dense)


def excluding(mask: masks.Mask, exclude: Sequence[str]) -> masks.Mask:
    """Return a mask in which the weights of these names or patterns are never pruned.

    Raises:
      ValueError: a pattern matches no weight.
    """
    with settings.renamed({"leave_out": "exclude"}):
        return masks.without(mask, exclude)


def _zeros(like: Network) -> masks.Params:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like.params)


def batch_axis(config: Any) -> BatchAxis:
    """Return the devices that share each batch, and over how many of its parts statistics go."""
    if config.training.synchronized_statistics:
        return BatchAxis()
    devices = jax.device_count() if config.data.streamed else config.training.data_parallel
    return BatchAxis(parts=devices)
