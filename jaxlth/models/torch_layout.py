"""Networks in the layout of PyTorch: names and arrays of a `state_dict`.

"Conv2_1/Conv_0/kernel" is "Conv2_1.Conv_0.weight" there. Kernels are (outputs, inputs) and
(outputs, inputs, height, width), images (n, channels, height, width). The scale of a norm and a
table of embeddings are a "weight", the statistics of batch norm "running_mean" and "running_var". A
dense layer that reads flattened pixels, or those of a patch, has them channel by channel, the order
of `torch.flatten` and `torch.nn.functional.unfold`.
"""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import linen as nn

from jaxlth import keys, masks, settings, trees
from jaxlth.models.conv import CHANNELS, Conv
from jaxlth.models.mlp import MLP
from jaxlth.models.model import Model, Network
from jaxlth.models.transformer import ViT
from jaxlth.process import paths
from jaxlth.trees import attention, roles

WORDS = {"kernel": "weight", "w": "weight", "b": "bias", "scale": "weight", "offset": "bias"}
WORDS |= {"embedding": "weight", "embeddings": "weight"}
STATISTICS = {"mean": "running_mean", "var": "running_var"}
Flattened: TypeAlias = tuple[tuple[str, int], ...]
TRANSPOSED = re.compile("transpose|deconv", re.IGNORECASE)  # modules and their classes
WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and its kin, and of torch.compile
COUNTER = "num_batches_tracked"  # of a batch norm of PyTorch; it plays no part here


def to_torch(
    network: Network, *, flattened: Flattened | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return a network as the `state_dict` of a PyTorch module, and our name of each of its arrays.

    Args:
      network: of the library, or of Flax, Equinox or Haiku modules.
      flattened: see `Model`.

    Raises:
      ValueError: an array has no counterpart in PyTorch, or its counterpart is unknown, as that of
        stacked layers, of attention, or of a transposed convolution. One of Flax is known by its
        name alone: where that has no "transpose" or "deconv", it is taken for a convolution.

    Example:
      >>> state, names = to_torch(Network({"Dense_0": {"kernel": np.zeros((3, 2))}}, {}))
      >>> {name: array.shape for name, array in state.items()}, names
      ({'Dense_0.weight': (2, 3)}, {'Dense_0.weight': 'Dense_0/kernel'})
    """
    fits = hasattr(network, "params") and hasattr(network, "stats")
    settings.check_kind("network", network, fits, "a `models.Network`: parameters and statistics")
    names, channels = _names(network), _channels(network, flattened)
    leaves = trees.named(network.params) | trees.named(network.stats)
    flat = _biases_of_pixels(leaves)
    state = {
        name: np.asarray(leaves[ours]).ravel()
        if ours in flat
        else _to_torch(ours, np.asarray(leaves[ours]), channels.get(ours))
        for name, ours in names.items()
    }
    for name in [*state]:
        module, _, last = name.rpartition(".")
        if last == STATISTICS["mean"]:
            state[f"{module}.{COUNTER}"] = np.zeros((), np.int64)
    return state, names


def load_torch(
    path: str | os.PathLike[str], model: Model, *, names: Mapping[str, str] | None = None
) -> Network:
    """Return the network in a file of `safetensors.torch.save_file(module.state_dict(), path)`.

    Where every name in the file begins with "module." or "_orig_mod.", as DataParallel,
    DistributedDataParallel and torch.compile have it, these are left out, unless the network or
    `names` has them.

    Args:
      path: the file, of `jaxlth export --layout torch` or of anybody's PyTorch module.
      model: of the same network.
      names: {name in PyTorch: name of ours}, such as {"fc1.weight": "Dense_0/kernel"}, for a module
        whose names are not those of `jaxlth export`.

    Raises:
      TypeError: `names` is no map, or `model` no `Model`.
      ValueError: the path is a folder, the file is damaged, or its arrays, or `names`, are not
        those of the network; the message names the first that differs.
      OSError: it cannot be read.
    """
    settings.check_kind("model", model, isinstance(model, Model), "a `models.Model`")
    like = jax.eval_shape(model.init, keys.stream(0, 0, ""))
    leaves = trees.named(like.params) | trees.named(like.stats)
    names = _names(like) if names is None else names
    _check_map(names, leaves)
    state = _read(paths.given(path, setting="path"))
    while state and all(name.startswith(WRAPPERS) and name not in names for name in state):
        state = {name.partition(".")[2]: array for name, array in state.items()}
    channels = _channels(like, model.flattened)
    _check_names(path, set(state), set(names), set(leaves) - set(names.values()))
    for at, name in names.items():
        if name in _biases_of_pixels(leaves) and state[at].shape == (leaves[name].size,):
            state[at] = state[at].reshape(leaves[name].shape)
    ours = {
        name: _from_torch(at, state[at], leaves[name], channels.get(name), name)
        for at, name in names.items()
    }
    params, stats = (
        jax.tree.unflatten(jax.tree.structure(tree), [ours[name] for name in trees.names(tree)])
        for tree in like
    )
    return Network(params, stats)


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file that count, under their names in PyTorch.

    Raises:
      ValueError: it is a folder, or no file of safetensors.
      OSError: it cannot be read.
    """
    settings.require(
        not path.is_dir(), f"`path` must be a file of safetensors, but {path} is a folder."
    )
    try:
        arrays = safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is no file of safetensors, or is damaged ({error}). "
            "`safetensors.torch.save_file(module.state_dict(), path)` writes one."
        ) from error
    return {name: array for name, array in arrays.items() if not name.endswith(COUNTER)}


def flattened(module: nn.Module, shape: tuple[int, ...]) -> Flattened:
    """Return kernel and channels of each dense layer of a library's network that reads pixels."""
    match module:
        case MLP() if len(shape) == 3:
            return (("Dense_0/kernel", shape[-1]),)
        case Conv():
            return (("Dense_0/kernel", CHANNELS * 2 ** (module.pairs - 1)),)
        case ViT():
            return (("PatchEmbedding/kernel", shape[-1]),)
        case _:
            return ()


def _names(network: Network) -> dict[str, str]:
    """Return our name of each array by its name in PyTorch."""
    _check_kernels(network.params)
    words = dict.fromkeys(trees.names(network.params), WORDS)
    words |= dict.fromkeys(trees.names(network.stats), STATISTICS)
    names = {}
    for name, table in words.items():
        *modules, last = roles.unboxed(name).split("/")
        if table is STATISTICS and last not in table:
            raise ValueError(
                f"{name!r} has no place in PyTorch, where statistics are mean and var."
            )
        names[".".join([*modules, table.get(last, last)])] = name
    if len(names) < len(words):
        raise ValueError("`network` has two arrays of one name in PyTorch; rename its modules.")
    return names


def _check_kernels(params: Any) -> None:
    """Raise ValueError where kernels are of transposed convolutions, stacked layers or attention.

    PyTorch turns the kernel of a transposed convolution around, Equinox does not, and Flax as it is
    told; modules and names say which it is. Of the others names do, and the shape of the bias.
    """
    leaves = trees.named(params)
    of_attention = attention.matrices(leaves, roles.IN_OUT)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name, shape = trees.name(path), np.shape(leaf)
        classes = [type(node).__name__ for node in trees.nodes(params, path)]
        if len(shape) > 2 and TRANSPOSED.search(" ".join([name, *classes])):
            raise ValueError(
                f"{name!r} is of a transposed convolution, whose layout in PyTorch is not known "
                "here."
            )
        if len(shape) < 2:
            continue
        bias = np.shape(leaves.get(_bias_beside(name, leaves), 0))
        outputs = shape[roles.axes(name, leaf)[1]]
        is_other = name in of_attention or attention.is_no_convolution(name)
        if len(shape) > 3 and is_other and not bias:
            raise ValueError(
                f"{name!r} of shape {shape} is no convolution by its name: it is of stacked layers "
                "or of heads, whose layout in PyTorch is not known here."
            )
        # A norm has a bias like its scale.
        if bias not in ((), shape, (outputs,), (outputs, *[1] * (len(shape) - 2))):
            raise ValueError(
                f"{name!r} of shape {shape} has a bias of shape {bias}, not ({outputs},): it is of "
                "stacked layers or of several axes of outputs, whose layout in PyTorch is not "
                "known here."
            )


def _bias_beside(name: str, leaves: Mapping[str, Any]) -> str:
    """Return the name of the bias of a layer whose kernel has a name; "" for other arrays."""
    module, slash, last = roles.unboxed(name).rpartition("/")
    if last not in attention.KERNELS:
        return ""
    biases = [f"{module}{slash}{word}" for word in ("bias", "b")]
    return next((each for each in leaves if roles.unboxed(each) in biases), "")


def _biases_of_pixels(leaves: Mapping[str, Any]) -> set[str]:
    """Return the names of biases with an axis of 1 for each of pixels, as Equinox has them."""
    names = {_bias_beside(name, leaves): np.ndim(leaf) for name, leaf in leaves.items()}
    names.pop("", None)
    return {
        name
        for name, dimensions in names.items()
        if 1 < np.ndim(leaves[name]) == dimensions - 1 and set(np.shape(leaves[name])[1:]) == {1}
    }


def _channels(network: Network, flattened: Flattened | None) -> dict[str, int]:
    """Return the channels of what each dense layer that reads flattened pixels reads.

    Raises:
      ValueError: it is unknown, in a network that has convolutions and dense layers.
    """
    kernels = {
        name: np.ndim(leaf)
        for name, leaf in trees.named(network.params).items()
        if _is_turned(name, leaf)
    }
    if flattened is None and len(set(kernels.values())) > 1:
        dense = next(name for name, dimensions in kernels.items() if dimensions == 2)
        raise ValueError(
            f"Whether {dense!r} reads flattened pixels, whose order differs in PyTorch, does not "
            f"follow from shapes. Say so by `flattened=(({dense!r}, CHANNELS),)`, or `()` if no "
            "layer does; of a model by dataclasses.replace(model, flattened=...)."
        )
    return dict(flattened or ())


def _is_turned(name: str, array: Any) -> bool:
    """Return whether an array is a kernel whose axes are others in PyTorch.

    Raises:
      ValueError: it is one of attention or of a convolution in one dimension, of which shapes do
        not say.
    """
    if not masks.is_kernel(name, array) or roles.axes(name, array) == roles.OUT_IN:
        return False
    if np.ndim(array) not in (2, 4, 5):
        raise ValueError(
            f"{name!r} has {np.ndim(array)} dimensions; PyTorch's layout is known for kernels of "
            "2, 4 and 5, those of dense layers and convolutions of images and volumes."
        )
    return True


def _to_torch(name: str, array: np.ndarray, channels: int | None) -> np.ndarray:
    if not _is_turned(name, array):
        return array
    if channels:
        inputs, outputs = array.shape
        array = array.reshape(-1, channels, outputs).swapaxes(0, 1).reshape(inputs, outputs)
    return np.moveaxis(array, roles.IN_OUT, roles.OUT_IN)


def _from_torch(at: str, array: np.ndarray, like: Any, channels: int | None, name: str) -> Any:
    """Return an array of PyTorch in our layout.

    Raises:
      ValueError: shape or type differ from those of the network.
    """
    turned = _is_turned(name, like)
    if turned and array.ndim == like.ndim:
        array = np.moveaxis(array, roles.OUT_IN, roles.IN_OUT)
    is_float = jnp.issubdtype(array.dtype, jnp.floating)
    is_narrower = is_float and np.result_type(array.dtype, like.dtype) == like.dtype
    if array.shape != like.shape or not (array.dtype == like.dtype or is_narrower):
        raise ValueError(
            f"{at!r} must become {name!r} of shape {tuple(like.shape)} and type {like.dtype}; got "
            f"{array.shape} and {array.dtype}, with the axes of ours."
        )
    if turned and channels:
        inputs, outputs = array.shape
        array = array.reshape(channels, -1, outputs).swapaxes(0, 1).reshape(inputs, outputs)
    return array.astype(like.dtype)


def _check_map(names: Any, leaves: Mapping[str, Any]) -> None:
    """Raise unless `names` maps names in PyTorch to arrays of the network, each once."""
    if not isinstance(names, Mapping):
        raise TypeError(f"`names` must map names in PyTorch to ours; got {names!r}.")
    ours = list(names.values())
    if unknown := [name for name in ours if name not in leaves]:
        raise ValueError(
            f"`names` has {unknown[0]!r}, which is no array of the network; it has "
            f"{', '.join(leaves)}."
        )
    if twice := [name for name in ours if ours.count(name) > 1]:
        raise ValueError(f"`names` has two arrays in PyTorch for {twice[0]!r}.")


def _check_names(path: Any, has: set[str], wanted: set[str], unnamed: set[str]) -> None:
    """Raise ValueError unless a file has the arrays of the network and no others."""
    hint = "`names` says which array is which."
    if lacking := sorted(wanted - has):
        raise ValueError(f"{path} lacks {lacking[0]!r} of the network. {hint}")
    if more := sorted(has - wanted):
        raise ValueError(f"{path} has {more[0]!r}, which is none of the network's. {hint}")
    if unnamed:
        raise ValueError(f"`names` must name all arrays of the network; it lacks {min(unnamed)!r}.")
