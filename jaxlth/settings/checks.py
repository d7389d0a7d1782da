"""Checks of settings, whose errors say what was meant."""

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxlth.settings import ranges

WIDTH = 100  # characters of names in a row
MISTYPED = 0.75  # likeness of a mistyped name; a shortened one may be less like what is meant


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def check_kind(name: str, value: Any, fits: bool, wanted: str) -> None:
    """Raise TypeError for an argument of another kind than a function wants.

    Args:
      name: of the argument.
      value: that is given.
      fits: whether it is of the kind.
      wanted: the kind, in words.

    Example:
      >>> check_kind("config", "lenet", False, "a `ModelConfig`")
      Traceback (most recent call last):
      TypeError: `config` must be a `ModelConfig`; got 'lenet'.
    """
    if not fits:
        raise TypeError(f"`{name}` must be {wanted}; got {ranges.shown(value)}.")


def check_choice(setting: str, value: str, options: Iterable[str]) -> str:
    """Return `value` if it is one of `options`.

    An option such as "tfds:NAME" stands for every name after its colon; the first of such options
    is offered for a value that may be such a name, and is none itself.

    Raises:
      ValueError: it is not; the message names the closest option and, as far as they fit into a
        line, all of them.
    """
    options = list(options)
    if value in options:
        return value
    prefixes = [option.removesuffix("NAME") for option in options if option.endswith(":NAME")]
    closest_option = closest(value, options)
    suggestions = [closest_option] if closest_option else []
    suggestions += [f"{prefix}{value}" for prefix in prefixes[:1] if str(value).isidentifier()]
    hint = f" Did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else ""
    if re.search(r"\.py:?$", str(value)):
        hint = f" What a file has is named FILE.py:NAME, as in {str(value).rstrip(':')}:NAME."
    raise ValueError(
        f"`{setting}` has no value {ranges.shown(value)}.{hint} Known: {listed(options)}."
    )


def check_fields(config: Any) -> None:
    """Compare the fields of a config with their kinds, their ranges and the names they can have.

    Raises:
      TypeError: a value is of another kind than its field.
      ValueError: a number lies outside the range of its field, a name is none of its names, or a
        name is given twice.
    """
    ranges.check(config)
    for field in ranges.fields(type(config)):
        names, value = field.names, getattr(config, field.name)
        if names is None or value is None:
            continue
        several = isinstance(value, tuple | list)
        for name in value if several else (value,):
            if not names.others(name):
                check_choice(field.title, name, names.names)
        if several and names.once:
            check_unique(field.title, value, empty=names.empty)


def effective(settings: Any, name: str, condition: bool, where: str) -> None:
    """Raise ValueError where a setting differs from its default though nothing reads it.

    Such a setting would give the same results another name. Where what reads it lies outside the
    digest, and may be asked for later, classes of settings check that in `check_effects`, which the
    command line calls for a new run, and not on construction.

    Args:
      settings: a class of settings.
      name: of the setting.
      condition: whether something reads it.
      where: where it has no effect, as the end of the message.
    """
    value = getattr(settings, name)
    shown = in_a_row(value) if isinstance(value, tuple) else value
    require(
        condition or value == getattr(type(settings), name),
        f"`{name}`{'' if isinstance(value, bool) else f' {shown}'} has no effect {where}.",
    )


@contextlib.contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Give settings the names that a person knows them by, in the errors raised within.

    Args:
      names: a setting as messages have it in backticks -> its other name.

    Example:
      >>> with renamed({"lr": "finetune_lr"}):
      ...     require(False, "`lr` must be above 0.")
      Traceback (most recent call last):
      ...
      ValueError: `finetune_lr` must be above 0.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        kind = type(error) if type(error) in (ValueError, TypeError) else ValueError
        text = re.sub(r"`(\w+)`", lambda word: f"`{names.get(word[1], word[1])}`", str(error))
        raise kind(text) from error


def check_unique(setting: str, values: Iterable[object], *, empty: bool = False) -> None:
    """Raise ValueError unless no value comes twice, and there is one unless `empty` allows none."""
    values = tuple(values)
    require(
        len(set(values)) == len(values) and (len(values) > 0 or empty),
        f"`{setting}` must name something, each once; got {in_a_row(values) or 'nothing'}.",
    )


def in_a_row(values: Iterable[object]) -> str:
    """Return values as they are typed one after another.

    Example:
      >>> in_a_row((0.1, "snip"))
      '0.1 snip'
    """
    return " ".join(map(str, values))


def closest(value: Any, options: Iterable[str], *, cutoff: float = 0.5) -> str | None:
    """Return the option that a mistyped or shortened value is closest to, None where none is.

    Args:
      value: what was typed.
      options: what there is.
      cutoff: least likeness, in [0, 1], of what counts as close.

    Example:
      >>> closest("levls", ["levels", "replicates"])
      'levels'
      >>> closest("snip", ["magnitude-after-rewind", "snip-before-rounds"])
      'snip-before-rounds'
    """
    lowered = {option.casefold(): option for option in reversed(list(options))}
    typed = str(value).casefold()
    mistyped = difflib.get_close_matches(typed, lowered, n=1, cutoff=max(cutoff, MISTYPED))
    longer = [option for option in lowered if option.startswith(f"{typed}-")]
    similar = difflib.get_close_matches(typed, lowered, n=1, cutoff=cutoff)
    close = [*mistyped, *sorted(longer, key=len), *similar]
    return lowered[close[0]] if close else None


def listed(names: list[str]) -> str:
    """Return names in a row, those that fit and how many more there are."""
    fitting = [
        name for index, name in enumerate(names) if len(", ".join(names[: index + 1])) <= WIDTH
    ]
    more = len(names) - len(fitting)
    return ", ".join(fitting) + (f" and {more} more" if more else "")
