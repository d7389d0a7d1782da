"""Networks and masks that a training starts from in place of random ones, such as pretrained ones.

They come as trees from Python, or from a file: one of `jaxlth export`, or any safetensors or npz
file whose arrays are named as the parameters are.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxlth import masks, settings, store, trees
from jaxlth.models import Network
from jaxlth.process import code, paths
from jaxlth.studies.parts import Parts


def network(config: Any, parts: Parts, like: Network) -> Network | None:
    """Return the network that level 0 starts from; None for one drawn at random.

    Its statistics are None where only parameters are given.

    Args:
      config: of a study.
      parts: of its experiment, resolved.
      like: a network of `jax.ShapeDtypeStruct`s.

    Raises:
      ValueError: it differs from the network; the first leaf that does is named.
      StoreError: its file is missing or damaged.
    """
    given, stats = parts.initial, None
    if config.initial and not code.is_own(config.initial):
        content = _read("initial", config.initial, store.load_network)
        given, stats = content.params, content.stats or None
    elif isinstance(given, Network):
        given, stats = given.params, given.stats or None
    if given is None:
        return None
    params = _filled("initial", given, like.params)
    lost = [name for name, w in trees.named(params).items() if not np.isfinite(w).all()]
    settings.require(not lost, f"`initial` must be finite; {min(lost, default='')} is not.")
    return Network(params, stats and _filled("initial", stats, like.stats))


def mask(config: Any, parts: Parts, dense: masks.Mask) -> masks.Mask:
    """Return the mask of level 0: of all prunable weights, or what is given.

    Raises:
      ValueError: it differs from the mask of all weights; the first leaf that does is named.
      StoreError: its file is missing or damaged.
    """
    given = parts.initial_mask
    if config.initial_mask and not code.is_own(config.initial_mask):
        given = _read("initial_mask", config.initial_mask, store.load_ticket).mask
    if given is None:
        return dense
    mask = _filled("initial_mask", given, dense)
    settings.require(int(masks.kept(mask)) > 0, "`initial_mask` must keep a weight; it keeps none.")
    return mask


def _read(part: str, file: str, load: Callable[[str], Any]) -> Any:
    """Return what is in a file.

    Raises:
      StoreError: it is missing, damaged or of another kind.
      ValueError: it is no path.
    """
    path = paths.expand(file, setting=part)
    try:
        return load(path)
    except (store.StoreError, ValueError) as error:
        raise store.StoreError(f"`{part}`: {error}") from error


def _filled(part: str, given: Any, like: Any) -> Any:
    """Return a tree like another one, with the given arrays by their names.

    Raises:
      ValueError: a name is missing or too many, or an array has another shape or kind.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in trees.named(given).items()}
    wanted = trees.named(like)
    missing, more = wanted.keys() - arrays.keys(), arrays.keys() - wanted.keys()
    of_torch = any("." in name for name in arrays) and not any("/" in name for name in arrays)
    settings.require(
        not missing and not more,
        f"`{part}` must have the leaves of the network; it "
        + (f"lacks {min(missing)}." if missing else f"has {min(more, default='')} besides.")
        + " Give names of PyTorch to `models.load_torch`, and its network here." * of_torch,
    )
    for name, leaf in wanted.items():
        array = arrays[name]
        same_kind = np.result_type(array.dtype, leaf.dtype) == leaf.dtype
        settings.require(
            array.shape == leaf.shape and same_kind,
            f"`{part}`: {name} must be of shape {tuple(leaf.shape)} and type {leaf.dtype}; got "
            f"{array.shape} and {array.dtype}.",
        )
    leaves = [arrays[name].astype(leaf.dtype) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
