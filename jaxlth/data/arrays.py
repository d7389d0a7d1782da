"""Data of a user's own, as arrays: what a data set must be, checked before anything is trained.

Inputs are an array with a leading axis of examples, or a tree of such arrays. Labels are

* class numbers 0, 1, ..., of shape (n,); (n, 1) is read so as well;
* class numbers of tokens, (n, tokens), where -1 is a token without a label;
* real numbers, (n,) or (n, k), of which no class is known.

Arrays are used as they are and must not be changed afterwards. Whole numbers of 64 bits become
numbers of 32, as JAX holds them. Real numbers of 64 bits are refused unless JAX's x64 mode is on:
they would lose half of their digits. Arrays that lie on the disk, `np.memmap`, are streamed: a
batch is read when it is needed. `np.array(memmap)` is an array in memory.
"""

import dataclasses
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import settings
from jaxlth.data import memmaps, sources
from jaxlth.data.config import OWN, OWN_MAPPED, DataConfig
from jaxlth.data.inputs import NONE, NORMALIZERS
from jaxlth.data.sources import PADDING, Published, Split


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ArraySource:
    """Checked arrays, and how they are split and shown; made by `from_arrays`."""

    published: Published
    name: str
    normalize: str
    validation: float  # share of the training examples

    @property
    def streamed(self) -> bool:
        """Whether inputs lie on the disk, and batches are read when they are needed."""
        return memmaps.is_mapped([split.images for split in _splits(self.published)])

    def config(self, config: DataConfig) -> DataConfig:
        """Return settings of data with this source as the data set."""
        return dataclasses.replace(
            config,
            name=OWN_MAPPED if self.streamed else OWN,
            validation=self.validation,
            normalize=self.normalize,
        )


def from_arrays(
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    *,
    validation: float | tuple[Any, Any] = 0.1,
    name: str = "arrays",
    normalize: str | None = None,
) -> ArraySource:
    """Return a data set of arrays: NumPy's, JAX's, or anything that NumPy reads as one.

    Args:
      train: (inputs, labels), see the module's text.
      test: likewise, of the same tree, shapes and types.
      validation: share of `train` for validation, in [0, 1); or (inputs, labels).
      name: of the data set, in messages and results.
      normalize: one of `data.NORMALIZERS`, for inputs that are one array; None for inputs as they
        are. "statistics" are those of the last axis: of channels, or of the numbers of a vector.

    Raises:
      TypeError: an argument, or an array, is of another kind.
      ValueError: arrays do not fit together; the message names both.

    Example:
      >>> vectors, labels = np.ones((6, 3), np.float32), np.array([0, 1, 2, 0, 1, 2])
      >>> source = from_arrays((vectors[:4], labels[:4]), (vectors[4:], labels[4:]))
      >>> source.published.classes
      3
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"`data`: `name` must be a text; got {name!r}.")
    splits = {"train": _split("train", train), "test": _split("test", test)}
    share = _share(validation)
    if share is None:
        splits["validation"] = _split("validation", validation)
    for part in list(splits)[1:]:
        _check_alike(splits["train"], splits[part], part)
    settings.require(
        share is None or 0 <= share < 1,
        f"`validation` must be a share in [0, 1), or a pair (inputs, labels); got {share}.",
    )
    _check_normalize(splits["train"].images, normalize)
    return ArraySource(
        published=Published(
            train=splits["train"],
            test=splits["test"],
            classes=max(_classes(part, split.labels) for part, split in splits.items()),
            validation=splits.get("validation"),
        ),
        name=name,
        normalize=normalize or NONE,
        validation=share or 0.0,
    )


def _splits(published: Published) -> list[Split]:
    splits = (published.train, published.test, published.validation)
    return [split for split in splits if split is not None]


def _share(validation: Any) -> float | None:
    """Return the share of the training examples for validation, None for examples of their own."""
    is_number = isinstance(validation, numbers.Real) and not isinstance(validation, bool)
    return float(validation) if is_number else None


def _split(part: str, pair: Any) -> Split:
    """Return a pair of inputs and labels as arrays that fit together."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        size = f" of {len(pair)}" if isinstance(pair, (tuple, list)) else ""
        raise TypeError(
            f"`data`: `{part}` must be a pair (inputs, labels)"
            f"{', or a share of the training set' * (part == 'validation')}; got"
            f" {type(pair).__name__}{size}."
        )
    leaves, tree = jax.tree_util.tree_flatten_with_path(pair[0])
    inputs = {_title(part, path): _array(_title(part, path), leaf) for path, leaf in leaves}
    settings.require(bool(inputs), f"`data`: {part} inputs must be arrays; got none.")
    title = f"{part} labels"
    labels = _labels(title, pair[1])
    if not memmaps.is_mapped(inputs):
        labels = np.asarray(labels).astype(memmaps.label_type(labels.dtype), copy=False)
    first = next(iter(inputs))
    for other, array in {**inputs, title: labels}.items():
        settings.require(
            len(array) == len(inputs[first]),
            f"`data`: {first} and {other} must hold as many examples; got {len(inputs[first])} and"
            f" {len(array)}.",
        )
    return Split(jax.tree.unflatten(tree, inputs.values()), labels)


def _title(part: str, path: Any) -> str:
    return f"{part} inputs{jax.tree_util.keystr(path)}"


def _array(title: str, leaf: Any) -> np.ndarray:
    """Return an array of numbers as JAX holds them; one on the disk as it is."""
    if not hasattr(leaf, "__array__") or isinstance(leaf, (np.generic, np.ma.MaskedArray)):
        hint = ": give np.asarray(...)" * isinstance(leaf, numbers.Number)  # of a list
        raise TypeError(f"`data`: {title} must be an array; got {type(leaf).__name__}{hint}.")
    if isinstance(leaf, jax.Array):
        _check_type(title, leaf.dtype)  # of random keys NumPy knows nothing
    array = leaf if isinstance(leaf, np.memmap) else np.asarray(leaf)
    _check_type(title, array.dtype)
    settings.require(
        array.ndim > 0, f"`data`: {title} must have a leading axis of examples; got one number."
    )
    settings.require(
        array.size > 0, f"`data`: {title} must hold numbers; got an array of shape {array.shape}."
    )
    if not isinstance(array, np.memmap):  # of inputs on the disk a pass may take hours
        _check_finite(title, array)
    dtype = memmaps.native(array.dtype)
    if dtype == array.dtype:
        return array
    if dtype.itemsize < array.dtype.itemsize:
        low, high = _ends(array)
        settings.require(
            np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max,
            f"`data`: {title} must fit into {dtype}, in which JAX holds whole numbers; got numbers"
            f" in {low}..{high}.",
        )
    return array if isinstance(array, np.memmap) else array.astype(dtype)


def _check_finite(title: str, array: np.ndarray) -> None:
    """Raise ValueError unless all real numbers of an array are finite, read in blocks."""
    for block in sources.blocks(array) if jnp.issubdtype(array.dtype, np.floating) else ():
        settings.require(
            bool(np.isfinite(block).all()), f"`data`: {title} must be finite; got NaN or infinity."
        )


def _check_type(title: str, dtype: Any) -> None:
    """Raise TypeError unless JAX holds numbers of a type, without loss."""
    kinds = (jnp.bool_, jnp.integer, jnp.floating)
    if not any(jnp.issubdtype(dtype, kind) for kind in kinds):
        raise TypeError(f"`data`: {title} must be real numbers; got an array of {dtype}.")
    is_labels = title.endswith("labels")
    if jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize > _widest():
        raise TypeError(
            f"`data`: {title} must be of float32 or narrower; got {dtype}, which JAX does not hold"
            f"{' without its x64 mode' if dtype.itemsize == 8 else ''}: give"
            f" array.astype(np.float32){', of class numbers .astype(int)' * is_labels}."
        )


def _widest() -> int:
    """Return the most bytes of a real number that JAX holds."""
    return jax.dtypes.canonicalize_dtype(np.float64).itemsize


def _labels(title: str, labels: Any) -> np.ndarray:
    """Return labels of one of the shapes that training knows."""
    if isinstance(labels, (list, tuple)):
        try:
            labels = np.asarray(labels)
        except ValueError as error:
            raise TypeError(f"`data`: {title} must be an array; got rows that differ.") from error
        if jnp.issubdtype(labels.dtype, np.floating):
            labels = labels.astype(memmaps.native(np.dtype(float)))  # Python's own numbers
    array = _array(title, labels)
    if array.ndim == 2 and array.shape[1] == 1 and not jnp.issubdtype(array.dtype, np.floating):
        array = array[:, 0]
    settings.require(
        array.ndim <= 2,
        f"`data`: {title} must be of shape (n,) or (n, k); got {array.shape}.",
    )
    _check_finite(title, array)  # labels on the disk too
    return array


def _classes(part: str, labels: np.ndarray) -> int:
    """Return how many classes labels are of, 0 where they are no class numbers."""
    if jnp.issubdtype(labels.dtype, np.floating):
        return 0
    low, high = _ends(labels)
    least = 0 if labels.ndim == 1 else PADDING
    tokens = "" if labels.ndim == 1 else ", or -1 for a token without one"
    floats = ". Labels that are no classes are given as floats"
    settings.require(
        low >= least and high < np.iinfo(np.int32).max,
        f"`data`: {part} labels must be class numbers 0, 1, ...{tokens}; got numbers in"
        f" {low}..{high}{floats}.",
    )
    return high + 1


def _ends(array: np.ndarray) -> tuple[int, int]:
    """Return the least and the largest of whole numbers, read in blocks."""
    ends = [(int(block.min()), int(block.max())) for block in sources.blocks(array)]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _check_alike(train: Split, other: Split, part: str) -> None:
    """Raise ValueError unless examples of another split are like those of training."""
    trees = [jax.tree.structure(split.images) for split in (train, other)]
    settings.require(
        trees[0] == trees[1],
        f"`data`: train and {part} inputs must be the same tree of arrays; got {trees[0]} and"
        f" {trees[1]}.",
    )
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(train.images),
        jax.tree.leaves(other.images),
        strict=True,
    )
    named = {f"inputs{jax.tree_util.keystr(path)}": (a, b) for (path, a), b in pairs}
    for title, arrays in {**named, "labels": (train.labels, other.labels)}.items():
        dtype_of = memmaps.label_type if title == "labels" else memmaps.native
        kinds = [f"{dtype_of(array.dtype)} of shape (n{_more(array)})" for array in arrays]
        settings.require(
            kinds[0] == kinds[1],
            f"`data`: train and {part} {title} must be alike; got {kinds[0]} and {kinds[1]}.",
        )


def _more(array: np.ndarray) -> str:
    return "".join(f", {size}" for size in array.shape[1:])


def _check_normalize(images: Any, normalize: str | None) -> None:
    """Raise ValueError unless inputs can be normalised so."""
    if normalize is None or settings.check_choice("normalize", normalize, NORMALIZERS) == NONE:
        return
    settings.require(
        isinstance(images, np.ndarray) and images.ndim > 1,
        f"`normalize` {normalize} needs inputs that are one array of shape (n, ...); None leaves"
        " inputs as they are.",
    )
    settings.require(
        images.ndim != 3 or images.dtype != np.uint8,
        f"`normalize` {normalize} needs images (n, height, width, channels); got"
        f" {images.shape}: give inputs[..., None].",
    )
