"""Ranges and names of settings, declared beside kinds: `levels: Annotated[int, at_least(0)]`.

`check` compares the fields of a dataclass with their kinds and ranges; every class of settings
calls it first. A whole number has at most 32 bits unless its range says otherwise. A number that a
training computes with (`single`) has 32 bits there: it must not become 0 or infinite, nor an end
that does not belong to the range.
"""

import ctypes
import dataclasses
import functools
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple

Ends = Literal["[]", "[)", "(]", "()"]
LARGEST = 2**31 - 1  # whole number of 32 bits
LARGEST_SINGLE, LEAST_SINGLE = (2 - 2**-23) * 2.0**127, 2.0**-126  # normal numbers of 32 bits
WIDTH = 60  # characters of a value in a message


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers that a setting takes.

    Attributes:
      least: least number.
      most: largest number.
      ends: which of the two belong to the range.
      why: what sets `most`, where the meaning of the setting does not.
      single: whether the number is computed with in 32 bits.
    """

    least: float = -math.inf
    most: float = math.inf
    ends: Ends = "[]"
    why: str = ""
    single: bool = False

    def check(self, name: str, value: float) -> None:
        """Raise ValueError unless a number lies in the range.

        Args:
          name: of the setting.
          value: an int or a float.
        """
        if self.why and self.most < value < math.inf:
            raise ValueError(
                f"`{name}` must be at most {self.most} ({self.why}); got {shown(value)}."
            )
        if not (self._holds(value) and abs(value) <= sys.float_info.max):
            finite = " It must be finite." if abs(value) == math.inf else ""
            raise ValueError(f"`{name}` must {self._rule()}; got {shown(value)}.{finite}")
        if self.single:
            self._check_single(name, value)

    def _holds(self, value: float) -> bool:
        above = value >= self.least if self.ends[0] == "[" else value > self.least
        below = value <= self.most if self.ends[1] == "]" else value < self.most
        return above and below

    def _rule(self) -> str:
        """Return the range in words, to be read after "must".

        Example:
          >>> at_least(1)._rule(), between(0, 1)._rule(), between(0, 1, ends="[)")._rule()
          ('be at least 1', 'lie between 0 and 1', 'lie in [0, 1)')
        """
        if self.most < math.inf and not self.why:
            if self.ends == "()":
                return f"lie between {self.least} and {self.most}"
            if self.ends == "[]":
                return f"lie in {self.least}..{self.most}"
            return f"lie in {self.ends[0]}{self.least}, {self.most}{self.ends[1]}"
        if self.least == -math.inf:
            return "be finite"
        return f"be {'at least' if self.ends[0] == '[' else 'above'} {self.least}"

    def _check_single(self, name: str, value: float) -> None:
        """Raise ValueError where a number of 32 bits is none of the range, or 0 for another."""
        if abs(value) > LARGEST_SINGLE:
            limit = f"at most {LARGEST_SINGLE:.2g}"
        elif 0 < abs(value) < LEAST_SINGLE:
            limit = f"at least {LEAST_SINGLE:.2g}" + (" or 0" if self._holds(0) else "")
        elif not self._holds(single := ctypes.c_float(value).value):
            limit = f"further from {single:g}"
        else:
            return
        raise ValueError(
            f"`{name}` must be {limit}, as training computes in 32 bits; got {shown(value)}."
        )


def at_least(least: float, *, most: float = math.inf, why: str = "", single: bool = False) -> Range:
    """Return the range of numbers from `least` on.

    Args:
      least: it belongs to the range.
      most: likewise.
      why: what sets `most`; a message says it.
      single: see `Range`.

    Example:
      >>> at_least(0, most=9, why="a digit").check("place", 10)
      Traceback (most recent call last):
      ValueError: `place` must be at most 9 (a digit); got 10.
    """
    return Range(least=least, most=most, why=why, single=single)


def above(least: float, *, most: float = math.inf, why: str = "", single: bool = False) -> Range:
    """Return the range of numbers above `least`; see `at_least`."""
    return Range(least=least, most=most, ends="(]", why=why, single=single)


def between(least: float, most: float, *, ends: Ends = "()", single: bool = False) -> Range:
    """Return the range of numbers between two, which belong to it as `ends` says."""
    return Range(least=least, most=most, ends=ends, single=single)


@dataclasses.dataclass(frozen=True, eq=False)
class OneOf:
    """The names that a setting takes.

    Attributes:
      names: the names.
      empty: whether a tuple of them may be empty.
      once: whether each may stand only once in a tuple.
      others: tells whether another name is let through, such as FILE.py:NAME.
    """

    names: Collection[str]
    empty: bool = False
    once: bool = True
    others: Callable[[str], bool] = lambda name: False


def anything(name: str) -> bool:
    """Return True: any other name is let through, and the class of settings checks it."""
    del name
    return True


class _Field(NamedTuple):
    """A field of a class of settings."""

    name: str
    title: str  # what messages call it
    kind: Any
    range: Range | None
    names: OneOf | None


def check(config: Any) -> None:
    """Compare the fields of settings with their kinds and ranges.

    Args:
      config: an instance of a dataclass.

    Raises:
      TypeError: a value is of another kind than its field.
      ValueError: a number lies outside the range of its field.
    """
    for field in fields(type(config)):
        value = getattr(config, field.name)
        if not _is_of_kind(value, field.kind):
            raise TypeError(
                f"`{field.title}` must be of kind {kind_name(field.kind)}; got {shown(value)}."
            )
        if field.range is not None and value is not None:
            for number in value if isinstance(value, tuple | list) else (value,):
                field.range.check(field.title, number)


@functools.cache
def fields(cls: Any) -> tuple[_Field, ...]:
    """Return the fields of a class of settings, with their kinds and ranges."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple(_field(field.name, hints[field.name]) for field in dataclasses.fields(cls))


def _field(name: str, hint: Any) -> _Field:
    extras = getattr(hint, "__metadata__", ())
    kind = typing.get_args(hint)[0] if extras else hint
    option = next((extra.name for extra in extras if getattr(extra, "name", None)), name)
    title = name if option.endswith(name) else option  # of --score-l1 it is the field that is wrong
    own_range = next((extra for extra in extras if isinstance(extra, Range)), None)
    if own_range is not None and own_range.most == math.inf and _is_whole(kind):
        own_range = dataclasses.replace(own_range, most=LARGEST, why="a whole number of 32 bits")
    return _Field(name, title, kind, own_range, names_of(hint))


def names_of(hint: Any) -> OneOf | None:
    """Return the names of the annotation of a field, or those of its `Literal`, if it has some."""
    extras = getattr(hint, "__metadata__", ())
    kind = typing.get_args(hint)[0] if extras else hint
    given = next((extra for extra in extras if isinstance(extra, OneOf)), None)
    if typing.get_origin(kind) is tuple:
        kind = typing.get_args(kind)[0]
    is_literal = typing.get_origin(kind) is Literal
    literal = OneOf(typing.get_args(kind), empty=True, once=False) if is_literal else None
    return given or literal


class TooSmall(ValueError):
    """A number is nearer to 0 than any other of 64 bits."""


def read_float(text: str) -> float:
    """Return the number that a text says, but none for which 64 bits have nothing but 0.

    Raises:
      TooSmall: it is nearer to 0 than any other of 64 bits.
      ValueError: it is no number.

    Example:
      >>> read_float("1e-3"), read_float("0e5")
      (0.001, 0.0)
      >>> try:
      ...     read_float("1e-400")
      ... except TooSmall as error:
      ...     print(error)
      1e-400 is too small: numbers of 64 bits begin at 4.9e-324, or are 0
    """
    number = float(text)
    if number == 0 and any(digit in "123456789" for digit in text.lower().partition("e")[0]):
        raise TooSmall(
            f"{shown(text)[1:-1]} is too small: numbers of 64 bits begin at 4.9e-324, or are 0"
        )
    return number


def kind_name(kind: Any) -> str:
    """Return a kind in words, for messages.

    Example:
      >>> kind_name(float | None), kind_name(tuple[int, ...])
      ('float or NoneType', 'tuple of int')
    """
    if _is_union(kind):
        return " or ".join(map(kind_name, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple:
        return f"tuple of {kind_name(typing.get_args(kind)[0])}"
    if typing.get_origin(kind) is Literal:
        return "str"
    return getattr(kind, "__name__", str(kind))


def shown(value: Any) -> str:
    """Return a value as messages show it, cut where it is long.

    Example:
      >>> shown("adam"), shown(10**5000)
      ("'adam'", 'a number of more than 4300 digits')
    """
    try:
        text = re.sub(r"\s*\n\s*", " ", repr(value))  # arrays have lines
    except ValueError:  # Python refuses to write them out
        return "a number of more than 4300 digits"
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}... ({len(text)} characters)"


def _is_of_kind(value: Any, kind: Any) -> bool:
    """Return whether a value is of a field's kind: whole numbers serve as floats, lists as tuples.

    Names are left to `settings.check_fields`, which says what there is.
    """
    if _is_union(kind):
        return any(_is_of_kind(value, option) for option in typing.get_args(kind))
    if typing.get_origin(kind) is Literal:
        return isinstance(value, str)
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return isinstance(value, tuple | list) and all(_is_of_kind(item, inner) for item in value)
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _is_whole(kind: Any) -> bool:
    inner = typing.get_args(kind) or (kind,)
    return int in inner


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)
