"""Masks: which weights of a network are kept.

A mask is a tree like the parameters. Where a tensor can be pruned its leaf is a boolean array of
the tensor's shape, `True` where the weight is kept; where it never is, its leaf is `None`.
Parameters come before the mask in `jax.tree.map(f, params, mask)`, so that `f` sees the `None`.
Everything here works on any pytree of arrays, and under jit and vmap unless it returns Python
numbers.
"""

import dataclasses
import difflib
import fnmatch
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import keys, trees
from jaxlth.trees import bisection, kernels, places, roles, topk

Params: TypeAlias = Any
Mask: TypeAlias = Any
IN_OUT, OUT_IN = roles.IN_OUT, roles.OUT_IN


def is_kernel(name: str, leaf: Any) -> bool:
    """Return whether a leaf holds weights of connections, by its name and number of dimensions.

    A leaf whose last name is "kernel", as Flax says, is prunable. One that is by its name a bias,
    the scale or offset of a norm, a table of embeddings, tokens or positions or a factor of LoRA is
    not, whatever its dimensions; `roles` has the words, those of Flax, Haiku and Equinox. Any other
    is prunable if it has two or more dimensions, so that {"w1": matrix, "b1": vector} needs no
    names to be agreed on. The name of a box that holds a single array, such as the "value" of
    `nnx.Param`, does not count.

    Where inputs and outputs lie does not matter, so there is no `axes` as elsewhere: a kernel is
    one in any order of its axes.

    Example:
      >>> is_kernel("Dense_0/kernel", jnp.ones((3, 2))), is_kernel("b1", jnp.ones(2))
      (True, False)
      >>> is_kernel("norm/weight", jnp.ones((3, 2))), is_kernel("norm/bias/value", jnp.ones((3, 2)))
      (False, False)
    """
    return _holds_connections(roles.role(name), leaf)


def _holds_connections(role: roles.Role | None, leaf: Any) -> bool:
    return role == "kernel" or (role is None and np.ndim(leaf) >= 2)


def dense(params: Params, *, prunable: Callable[[str, Any], bool] = is_kernel) -> Mask:
    """Return the mask that keeps every weight.

    Args:
      params: Parameters of any structure; leaves may be arrays or `jax.ShapeDtypeStruct`.
      prunable: (name of the leaf such as "Dense_0/kernel", leaf) -> whether it may be pruned. By
        default `is_kernel`; and where modules are containers, as in Equinox, the name of their
        class counts as well: the `weight` of a `LayerNorm` is none.

    Returns:
      A tree like `params`: all True where `prunable` holds, `None` elsewhere. The masks of arrays
      lie on their devices.

    Example:
      >>> dense({"w1": jnp.zeros((1, 2)), "b1": jnp.zeros(2)})
      {'b1': None, 'w1': Array([[ True,  True]], dtype=bool)}
    """
    names = {roles.unboxed(name) for name in trees.names(params)}

    def is_prunable(path: tuple[Any, ...], leaf: Any) -> bool:
        if prunable is not is_kernel:
            return prunable(trees.name(path), leaf)
        role = roles.role(trees.name(path), module=_module(params, path), beside=names)
        return _holds_connections(role, leaf)

    def leaf_mask(path: tuple[Any, ...], leaf: Any) -> jax.Array | None:
        if not is_prunable(path, leaf):
            return None
        # Spread over devices as the leaf is.
        is_array = isinstance(leaf, jax.Array)
        return jnp.ones_like(leaf, dtype=bool) if is_array else jnp.ones(np.shape(leaf), bool)

    return jax.tree_util.tree_map_with_path(leaf_mask, params)


def _module(params: Params, path: tuple[Any, ...]) -> str:
    """Return the name of the class that has a leaf, or a box around it, as its attribute."""
    nodes = trees.nodes(params, path)
    inner = [n for n, k in zip(nodes, path, strict=False) if trees.name((k,)) not in roles.BOXES]
    return type(inner[-1]).__name__ if inner else ""


def without(mask: Mask, leave_out: Sequence[str]) -> Mask:
    """Return the mask with the tensors left out, never to be pruned, that match a pattern.

    Args:
      mask: A mask.
      leave_out: Shell patterns over whole names of leaves: "Dense_2/kernel", "Conv_0/*", "*/out/*".
        Case counts, and "*" runs over slashes. A tensor left out already may be named again.

    Returns:
      The mask with `None` at the leaves that match.

    Raises:
      ValueError: a pattern matches no leaf; the message names the closest one.
      TypeError: `leave_out` is a single string.

    Example:
      >>> mask = dense({"in": {"kernel": jnp.zeros((1, 2))}, "out": {"kernel": jnp.zeros((2, 1))}})
      >>> layer_densities(without(mask, ["out/*"]))
      {'in/kernel': 1.0}
    """
    if isinstance(leave_out, str):
        raise TypeError(f"`leave_out` must be a sequence of patterns; got the text {leave_out!r}.")
    names = trees.names_with_none(mask)
    for pattern in leave_out:
        if not fnmatch.filter(names, pattern):
            prunable = list(trees.named(mask)) or names
            close = difflib.get_close_matches(pattern, prunable, n=1, cutoff=0.0)
            hint = f"; the closest is {close[0]!r}" if close else ""
            raise ValueError(f"`leave_out` has {pattern!r}, which matches no leaf{hint}.")

    def leaf_mask(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array | None:
        name = trees.name(path)
        return None if any(fnmatch.fnmatchcase(name, pattern) for pattern in leave_out) else leaf

    return jax.tree_util.tree_map_with_path(leaf_mask, mask)


def apply(params: Params, mask: Mask) -> Params:
    """Return the parameters with exactly 0 where the mask is False.

    This is the only place where a mask acts. The gradient through it is exactly zero at pruned
    weights, whatever their values, NaN included. Optimizers that move weights without a gradient
    need `prune.masked` besides.

    Args:
      params: Parameters.
      mask: A mask for them.

    Raises:
      ValueError: the trees do not fit; the message names the first leaf that does not.
      TypeError: a leaf of the mask is not boolean.

    Example:
      >>> apply({"w": jnp.array([[1.0, 2.0]])}, {"w": jnp.array([[True, False]])})
      {'w': Array([[1., 0.]], dtype=float32)}
    """
    check(params, mask, name="params")
    return jax.tree.map(lambda w, keep: w if keep is None else jnp.where(keep, w, 0), params, mask)


def straight_through(params: Params, mask: Mask) -> Params:
    """Return the parameters with exactly 0 where the mask is False, and a dense gradient.

    The values are those of `apply`; the gradient of each pruned weight is that of the 0 in its
    place, so it goes on learning, and RigL sees what it would bring. Forward and reverse mode work.

    Args:
      params: Parameters.
      mask: A mask for them.

    Raises:
      ValueError: the trees do not fit; the message names the first leaf that does not.
      TypeError: a leaf of the mask is not boolean.

    Example:
      >>> mask = {"w": jnp.array([True, False])}
      >>> def loss(params):
      ...     return jnp.sum(3 * straight_through(params, mask)["w"])
      >>> jax.value_and_grad(loss)({"w": jnp.array([1.0, 2.0])})
      (Array(3., dtype=float32), {'w': Array([3., 3.], dtype=float32)})

    References:
      Bengio et al. 2013, Estimating or Propagating Gradients Through Stochastic Neurons.
    """
    check(params, mask, name="params")
    return jax.tree.map(
        lambda w, keep: w if keep is None else _straight_through(w, keep), params, mask
    )


@jax.custom_jvp
def _straight_through(weights: jax.Array, keep: jax.Array) -> jax.Array:
    return jnp.where(keep, weights, 0)


@_straight_through.defjvp
def _straight_through_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return _straight_through(*primals), tangents[0]


def prunable(tree: Any, mask: Mask, *, name: str = "tree") -> Any:
    """Return the part of a tree that may be pruned: `None` where the mask has `None`.

    Args:
      tree: A tree like the parameters: scores, say.
      mask: A mask for it.
      name: What messages call `tree`.

    Raises:
      ValueError: the trees do not fit; the message names the first leaf that does not.
      TypeError: a leaf of the mask is not boolean.

    Example:
      >>> prunable({"w": 1.0, "b": 2.0}, {"w": True, "b": None})
      {'b': None, 'w': 1.0}
    """
    check(tree, mask, name=name)
    return jax.tree.map(lambda leaf, keep: None if keep is None else leaf, tree, mask)


def check(tree: Any, mask: Mask, *, name: str = "tree") -> None:
    """Raise unless `mask` is a mask for `tree`: same structure, boolean leaves of the same shapes.

    Where the mask has `None` the tree may have anything, `None` included.

    Raises:
      ValueError: the trees do not fit; the message names the first leaf that does not.
      TypeError: a leaf of the mask is not boolean.
    """
    tree_names, mask_names = (dict.fromkeys(trees.names_with_none(part)) for part in (tree, mask))
    for leaf in [*tree_names, *mask_names]:
        if leaf not in tree_names or leaf not in mask_names:
            has, lacks = (name, "mask") if leaf in tree_names else ("mask", name)
            raise ValueError(f"`{has}` has a leaf {leaf!r} that `{lacks}` lacks.")
    values = trees.named(tree)
    for leaf, keep in trees.named(mask).items():
        if leaf not in values:
            raise ValueError(f"`mask` has a leaf {leaf!r} that is None in `{name}`.")
        if np.shape(values[leaf]) != np.shape(keep):
            raise ValueError(
                f"Leaf {leaf!r} has shape {np.shape(values[leaf])} in `{name}` "
                f"but {np.shape(keep)} in `mask`."
            )
        if not jnp.issubdtype(jnp.result_type(keep), jnp.bool_):
            raise TypeError(
                f"Leaf {leaf!r} of `mask` must be boolean; got {jnp.result_type(keep)}."
            )
    trees.check_containers(tree, mask, a_name=name, b_name="mask")


def size(mask: Mask) -> int:
    """Return the number of prunable weights, kept or not.

    Example:
      >>> size({"w": jnp.array([[True, False]]), "b": None})
      2
    """
    return trees.size(mask)


def kept(mask: Mask) -> jax.Array:
    """Return the number of weights kept, an int32 scalar; int64 in JAX's x64 mode if need be.

    Raises:
      ValueError: there are 2**31 prunable weights or more, and no int64.

    Example:
      >>> int(kept({"w": jnp.array([[True, False]]), "b": None}))
      1
    """
    weights, dtype = size(mask), jnp.int32
    if weights >= 2**31:
        if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(
                f"int32 cannot count the kept of {weights} weights; call it within "
                "`jax.enable_x64(True)`, or use `masks.density`."
            )
        dtype = jnp.int64
    leaves = jax.tree.leaves(mask)
    if all(map(places.is_on_host, leaves)):
        return jnp.asarray(_count(leaves), dtype)
    counts = [jnp.sum(leaf, dtype=dtype) for leaf in leaves]
    return sum(counts, start=jnp.zeros((), dtype))


def density(mask: Mask) -> jax.Array:
    """Return kept / prunable, a float32 scalar in [0, 1].

    Raises:
      ValueError: nothing in the mask is prunable.

    Example:
      >>> float(density({"w": jnp.array([[True, False]]), "b": None}))
      0.5
    """
    if size(mask) == 0:
        raise ValueError("`mask` has no prunable weight, so it has no density.")
    if size(mask) < 2**31:
        return kept(mask).astype(jnp.float32) / size(mask)
    count = bisection.total(jax.tree.leaves(mask))
    return (count.high * jnp.float32(2**16) + count.low) / jnp.float32(size(mask))


def layer_densities(mask: Mask) -> dict[str, float]:
    """Return kept / prunable of each prunable tensor, by name; needs concrete arrays.

    A tensor without elements has no density and is left out.

    Example:
      >>> layer_densities({"w": jnp.array([[True, False]]), "b": None})
      {'w': 0.5}
    """
    named = trees.named(mask).items()
    return {name: int(np.sum(leaf)) / np.size(leaf) for name, leaf in named if np.size(leaf)}


def unit_densities(mask: Mask, *, axes: roles.Axes | None = None) -> dict[str, np.ndarray]:
    """Return kept / prunable of the weights into each unit, by tensor; needs concrete arrays.

    Units are the neurons of a dense layer, the channels of a convolution, the features of all heads
    of an attention. A tensor without elements is left out.

    Args:
      mask: a mask.
      axes: of the inputs and the outputs of each tensor: `masks.IN_OUT`, Flax's and Haiku's
        (..., inputs, outputs), or `masks.OUT_IN`, Equinox's and PyTorch's (outputs, inputs, ...).
        If not given, those of a tensor called "weight", as in Equinox and PyTorch, are OUT_IN, of
        any other IN_OUT. Kernels of Flax's attention, (inputs, heads, features) in "query", "key"
        and "value", (heads, features, outputs) in "out", are then known by names and shapes.

    Returns:
      {name of tensor: (units,) float64}, the features of the first head first.

    Raises:
      ValueError: a tensor has not these axes; or none are given, and names and shapes do not tell
        where those of a tensor of three dimensions lie.

    Example:
      >>> unit_densities({"w": jnp.array([[True, False], [False, False]]), "b": None})
      {'w': array([0.5, 0. ])}

    References:
      Frankle 2023, Figure 5-6.
    """
    densities, leaves = {}, trees.named(mask)
    for name, view in kernels.views(leaves, axes).items():
        kernel = np.asarray(leaves[name], np.float64).reshape(view.shape)
        if kernel.size:
            _, outputs = view.axes
            by_unit = np.moveaxis(kernel, outputs, -1)
            densities[name] = by_unit.reshape(-1, by_unit.shape[-1]).mean(axis=0)
    return densities


def kept_values(tree: Any, mask: Mask) -> np.ndarray:
    """Return a tree's numbers where a mask keeps, one tensor's after the other's; concrete only.

    Args:
      tree: parameters or scores; what is never pruned is left out.
      mask: which of them.

    Returns:
      (kept(mask),), in the order of `jax.tree.leaves`; float32 where nothing is prunable.

    Raises:
      ValueError: the trees do not fit; the message names the first leaf that does not.
      TypeError: a leaf of the mask is not boolean.

    Example:
      >>> mask = {"w": jnp.array([[True, False]]), "b": None}
      >>> kept_values({"w": jnp.array([[3.0, 4.0]]), "b": jnp.array([5.0])}, mask)
      array([3.], dtype=float32)
    """
    leaves = jax.tree.leaves(prunable(tree, mask))
    values = [
        np.asarray(x)[np.asarray(k)] for x, k in zip(leaves, jax.tree.leaves(mask), strict=True)
    ]
    return np.concatenate(values) if values else np.zeros(0, np.float32)


def shuffle(mask: Mask, *, key: jax.Array) -> Mask:
    """Return a random mask that keeps as many weights in each tensor as `mask` does.

    Example:
      >>> mask = {"w": jnp.array([[True, False, False]])}
      >>> int(kept(shuffle(mask, key=jax.random.key(0))))
      1

    References:
      Frankle 2023, The Lottery Ticket Hypothesis: On Sparse, Trainable Neural Networks,
      section 5.7.1.
    """
    leaves, structure = jax.tree.flatten(mask)
    draws = keys.uniform(leaves, key=keys.substream(key, "shuffle"))
    shuffled = [_anywhere([draw], [leaf])[0] for draw, leaf in zip(draws, leaves, strict=True)]
    return jax.tree.unflatten(structure, shuffled)


def random(mask: Mask, *, key: jax.Array) -> Mask:
    """Return a random mask that keeps as many weights in all as `mask` does, anywhere.

    Example:
      >>> mask = {"w1": jnp.array([[True, True]]), "w2": jnp.array([[False], [False]])}
      >>> int(kept(random(mask, key=jax.random.key(0))))
      2
    """
    leaves, structure = jax.tree.flatten(mask)
    draws = keys.uniform(leaves, key=keys.substream(key, "random mask"))
    return jax.tree.unflatten(structure, _anywhere(draws, leaves))


def _count(leaves: Sequence[Any]) -> int:
    """Return how many elements of arrays on the host are True; NumPy compiles nothing."""
    return sum(int(np.count_nonzero(np.asarray(leaf))) for leaf in leaves)


def _anywhere(draws: Sequence[jax.Array], leaves: Sequence[jax.Array]) -> list[jax.Array]:
    """Return where the largest draws are, as many as the leaves keep, on the devices of these."""
    placed = [places.beside(draw, leaf) for draw, leaf in zip(draws, leaves, strict=True)]
    if all(map(places.is_on_host, leaves)):
        full: list[Any] = [np.ones(np.shape(leaf), bool) for leaf in leaves]
        return topk.largest(placed, full, _count(leaves))
    return topk.largest(placed, [jnp.ones_like(leaf) for leaf in leaves], bisection.total(leaves))


def jaccard(a: Mask, b: Mask) -> jax.Array:
    """Return the overlap of two masks: weights kept in both / weights kept in either.

    Returns:
      A float32 scalar in [0, 1]; 1 if neither mask keeps anything.

    Raises:
      ValueError: the masks differ in structure or shapes.

    Example:
      >>> float(jaccard({"w": jnp.array([True, True])}, {"w": jnp.array([True, False])}))
      0.5
    """
    trees.check_same(a, b)
    both = kept(jax.tree.map(jnp.logical_and, a, b))
    either = kept(jax.tree.map(jnp.logical_or, a, b))
    share = both.astype(jnp.float32) / jnp.maximum(either, 1).astype(jnp.float32)
    return jnp.where(either == 0, 1.0, share)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PackedLeaf:
    """A tensor of a mask, eight weights a byte."""

    bits: jax.Array  # (ceil(size / 8),) uint8, in row-major order, the first weight highest
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})


def pack(mask: Mask) -> Any:
    """Return a mask with eight weights a byte, to store or send; see `unpack`.

    Each tensor becomes a `PackedLeaf`; `None` stays. Works under jit and vmap.

    Example:
      >>> packed = pack({"w": jnp.array([[True, False, True]]), "b": None})
      >>> packed["w"].bits.tolist(), packed["w"].shape
      ([160], (1, 3))
    """
    return jax.tree.map(lambda leaf: PackedLeaf(jnp.packbits(leaf), np.shape(leaf)), mask)


def unpack(packed: Any) -> Mask:
    """Return the mask that `pack` packed, bit by bit.

    Example:
      >>> unpack(pack({"w": jnp.array([[True, False, True]])}))["w"].tolist()
      [[True, False, True]]
    """

    def leaf_mask(leaf: PackedLeaf) -> jax.Array:
        bits = jnp.unpackbits(leaf.bits, count=math.prod(leaf.shape))
        return bits.astype(bool).reshape(leaf.shape)

    return jax.tree.map(leaf_mask, packed, is_leaf=lambda node: isinstance(node, PackedLeaf))
