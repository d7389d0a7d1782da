"""Images as files that are decoded when they are needed: what a stream reads from.

A source says how many examples there are and reads one by its number. It travels to other
processes, so its functions are those of modules, with `functools.partial` for what they know.
"""

import functools
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import PIL.Image

from jaxlth.data import brightness, crops, sources

T = TypeVar("T")


class Source(NamedTuple):
    """Examples by their number, from 0."""

    examples: int  # how many
    classes: int
    read: Callable[[int], tuple[bytes, int]]  # number -> (an image's file, label)
    where: Callable[[int], str]  # number -> what a message calls the example
    listing: Callable[[], bytes] = bytes  # what is known of all examples and files, parts aside
    labels: np.ndarray | None = None  # (examples,), where they are known before any is read


def part(source: Source, rows: np.ndarray) -> Source:
    """Return the examples of a source at `rows`, in that order.

    Example:
      >>> letters = Source(3, 3, lambda at: (b"abc"[at : at + 1], at), str)
      >>> part(letters, np.array([2, 0])).read(0)
      (b'c', 2)
    """
    return source._replace(
        examples=len(rows),
        read=functools.partial(_at, source.read, rows),
        where=functools.partial(_at, source.where, rows),
        labels=None if source.labels is None else source.labels[rows],
    )


def check_several_classes(source: Source, *, name: str) -> None:
    """Check that examples are of two classes or more; the first two that differ suffice.

    Raises:
      DataError: all are of one class, or a label is none of the classes.
    """
    first = _read(source, 0)[1]
    # From the end, since folders are in the order of their classes.
    if all(_read(source, number)[1] == first for number in range(source.examples - 1, 0, -1)):
        labels = np.full(source.examples, first)
        sources.check_several_classes(labels, name=name)


def load(
    source: Source,
    number: int,
    crop: Callable[[crops.Image], np.ndarray],
    *,
    skip_broken: bool,
) -> tuple[np.ndarray, int]:
    """Return one example: its image, decoded and cropped, and its label.

    Args:
      source: where it is read from.
      number: of the example.
      crop: what is done with the decoded image.
      skip_broken: take the next example, with a warning, in place of one whose image cannot be
        decoded.

    Raises:
      DataError: the example cannot be read, its label is none of the classes, or its image is
        broken; the message names it.
    """
    reason = ""
    for at in range(number, number + (source.examples if skip_broken else 1)):
        content, label = _read(source, at % source.examples)
        try:
            image = crops.decode(content)
            pixels = crop(image)
        except brightness.UnsupportedError as error:
            reason = f"is not read: {error}"
            continue
        except ValueError as error:
            reason = f"is broken: {error}; fetch it again"
            continue
        _warn_large(image, source.where(at % source.examples))
        if at != number:
            kind = reason.partition(":")[0]
            warnings.warn(
                f"{source.where(number)} {kind}; in its place comes"
                f" {source.where(at % source.examples)}.",
                sources.DataWarning,
                stacklevel=2,
            )
        return pixels, label
    if skip_broken:
        raise sources.DataError(
            f"None of {source.examples} images can be decoded: the last one {reason}."
        )
    raise sources.DataError(
        f"{source.where(number)} {reason}, or let `skip_broken` take the next image instead."
    )


def _read(source: Source, number: int) -> tuple[bytes, int]:
    """Return an image's file and its label, which is checked."""
    content, label = source.read(number)
    if not 0 <= label < source.classes:
        raise sources.DataError(
            f"{source.where(number)}: label {label} lies outside 0..{source.classes - 1}; the data"
            " are damaged or unlabelled."
        )
    return content, label


def _warn_large(image: crops.Image, where: str) -> None:
    """Warn of an image of which Pillow warns, but with its name."""
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        warnings.warn(
            f"{where} has {image.width} x {image.height} pixels, more than the {limit} of"
            " `PIL.Image.MAX_IMAGE_PIXELS`; it is read, slowly: make it smaller.",
            sources.DataWarning,
            stacklevel=3,
        )


def _at(function: Callable[[int], T], rows: np.ndarray, number: int) -> T:
    return function(int(rows[number]))
