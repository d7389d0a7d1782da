"""Images as files that are decoded when they are needed: what a stream reads from.

A source says how many examples there are and reads one by its number. It travels to other
processes, so its functions are those of modules, with `functools.partial` for what they know.
"""

import functools
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from jaxlth.data import crops, sources

T = TypeVar("T")


class Source(NamedTuple):
    """Examples by their number, from 0."""

    examples: int  # how many
    classes: int
    read: Callable[[int], tuple[bytes, int]]  # number -> (an image's file, label)
    where: Callable[[int], str]  # number -> what a message calls the example
    listing: Callable[[], bytes] = bytes  # what is known of all examples and files, parts aside


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
    )


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
        content, label = source.read(at % source.examples)
        if not 0 <= label < source.classes:
            raise sources.DataError(
                f"{source.where(at % source.examples)}: label {label} lies outside"
                f" 0..{source.classes - 1}; the data are damaged or unlabelled."
            )
        try:
            pixels = crop(crops.decode(content))
        except ValueError as error:
            reason = str(error)
            continue
        if at != number:
            warnings.warn(
                f"{source.where(number)} is broken; in its place comes"
                f" {source.where(at % source.examples)}.",
                stacklevel=2,
            )
        return pixels, label
    if skip_broken:
        raise sources.DataError(f"None of {source.examples} images can be decoded: {reason}.")
    raise sources.DataError(
        f"{source.where(number)} is broken: {reason}; fetch it again, or let `skip_broken` take the"
        " next image instead."
    )


def _at(function: Callable[[int], T], rows: np.ndarray, number: int) -> T:
    return function(int(rows[number]))
