"""Frozen settings, as text and as a digest.

Settings are nested frozen dataclasses that check themselves on construction. Their text is TOML;
their digest is taken over the fields that differ from their defaults, so that a new field with a
default leaves the digests of old runs alone. Fields made with `not_hashed` (levels, replicates,
paths, hardware) never enter the digest: asking for more of them extends a run instead of starting
another.
"""

import codecs
import contextlib
import dataclasses
import difflib
import json
import pathlib
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from jaxlth.settings import ranges
from jaxlth.settings.digests import bounded, changed, default, differences, digest, file_name

__all__ = [
    "RARE",
    "bounded",
    "changed",
    "check_choice",
    "check_fields",
    "check_unique",
    "closest",
    "default",
    "differences",
    "digest",
    "effective",
    "file_name",
    "flat",
    "from_dict",
    "in_a_row",
    "not_hashed",
    "read_toml",
    "renamed",
    "require",
    "to_dict",
    "to_toml",
    "without_none",
]

S = TypeVar("S")
# Mark of a field that few people set, in its annotation: `--help` of a command only names it.
RARE = "rare"
LARGEST = 1_000_000  # bytes of a file of settings
MISTYPED = 0.75  # likeness of a mistyped name; a shortened one may be less like what is meant


def not_hashed(default: Any = dataclasses.MISSING, **kwargs: Any) -> Any:
    """Return a dataclass field that stays out of the digest."""
    return dataclasses.field(default=default, metadata={"not_hashed": True}, **kwargs)


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


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
        f"`{setting}` has no value {ranges.shown(value)}.{hint} Known: {_listed(options)}."
    )


def check_fields(config: Any) -> None:
    """Compare the fields of a config with their kinds, their ranges and the names they can have.

    Raises:
      TypeError: a value is of another kind than its field.
      ValueError: a number lies outside the range of its field, or a name is none of its `Literal`.
    """
    ranges.check(config)
    for field in ranges.fields(type(config)):
        value = getattr(config, field.name)
        several = typing.get_origin(field.kind) is tuple
        kind = typing.get_args(field.kind)[0] if several else field.kind
        if typing.get_origin(kind) is typing.Literal:
            for name in value if several else (value,):
                check_choice(field.title, name, typing.get_args(kind))


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


def to_dict(settings: Any) -> dict[str, Any]:
    """Return settings as nested dictionaries of what JSON can hold; tuples become lists."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def from_dict(cls: type[S], mapping: Mapping[str, Any], *, within: str = "") -> S:
    """Return settings of class `cls` from nested dictionaries; what is missing has its default.

    Raises:
      ValueError: a key is not a field of its class; the message names the closest one.
      TypeError: a value is of another kind than its field.
    """
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    values = {}
    for key, value in mapping.items():
        where = f"{within}{key}"
        if key not in names:
            tables = [name for name in names if _has_field(hints[name], key)]
            close = f"{within}{tables[0]}.{key}" if tables else closest(key, names)
            hint = f" Did you mean `{close}`?" if close else f" Known: {_listed(names)}."
            raise ValueError(f"There is no setting `{where}`.{hint}")
        kind = hints[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise TypeError(
                    f"`{where}` must be a table of settings; got {ranges.shown(value)}."
                )
            values[key] = from_dict(kind, value, within=f"{where}.")  # type: ignore[arg-type]
        else:
            values[key] = _as_kind(where, kind, value)
    with renamed({name: f"{within}{name}" for name in names}):
        return cls(**values)


def _has_field(kind: Any, name: str) -> bool:
    """Return whether a kind is a class of settings that has a field of this name."""
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return any(field.init and field.name == name for field in fields)


def to_toml(settings: Any) -> str:
    """Return settings as TOML text; what is None is left out."""
    import tomli_w  # late: what the command imports before it answers signals is Python's own

    return tomli_w.dumps(without_none(to_dict(settings)))


def read_toml(cls: type[S], path: str | pathlib.Path) -> S:
    """Return settings of class `cls` from a TOML file, which may begin with a byte-order mark.

    Raises:
      ValueError: the file is not TOML, or holds settings that `from_dict` refuses.
      TypeError: a value is of another kind than its field.
      OSError: the file cannot be read.
    """
    text = _text(pathlib.Path(path))
    try:
        return from_dict(cls, tomllib.loads(text, parse_float=ranges.read_float))
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply for a file of settings.") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from error
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{path}: {error}") from error


def _text(path: pathlib.Path) -> str:
    """Return the text of a file of settings; of a larger file no more is read than is allowed."""
    require(
        not path.is_dir(), f"{path} is a folder; a run has its settings in settings.toml there."
    )
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:  # whose name is lost while it is read
        raise OSError(error.errno, error.strerror, str(path)) from error
    require(
        len(content) <= LARGEST,
        f"{path} is no file of settings, which has at most {LARGEST:,} bytes.",
    )
    utf16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    require(not content.startswith(utf16), f"{path} is written in UTF-16; save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not valid TOML, whose text is UTF-8: {error}.") from error


def _listed(names: list[str], *, width: int = 100) -> str:
    """Return names in a row, those that fit and how many more there are."""
    fitting = [
        name for index, name in enumerate(names) if len(", ".join(names[: index + 1])) <= width
    ]
    more = len(names) - len(fitting)
    return ", ".join(fitting) + (f" and {more} more" if more else "")


def flat(nested: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Return a nested mapping, such as settings, by whole names.

    Args:
      nested: names to values or mappings.
      within: put before each name.

    Example:
      >>> flat({"seed": 0, "optimizer": {"lr": 0.1}})
      {'seed': 0, 'optimizer.lr': 0.1}
    """
    result: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{within}{name}.")
        else:
            result[f"{within}{name}"] = value
    return result


def without_none(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings less those that are None, which TOML cannot say."""
    return {
        key: without_none(value) if isinstance(value, Mapping) else value
        for key, value in mapping.items()
        if value is not None
    }


def _as_kind(where: str, kind: Any, value: Any) -> Any:
    """Return `value` as its field's kind: whole numbers serve as floats, lists as tuples."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    options = typing.get_args(kind) if _is_union(kind) else (kind,)
    for option in options:
        origin = typing.get_origin(option) or option
        if origin is typing.Literal and isinstance(value, str):
            return check_choice(where, value, typing.get_args(option))
        if origin is tuple and isinstance(value, list | tuple):
            inner = typing.get_args(option)[0]
            return tuple(_as_kind(where, inner, item) for item in value)
        if origin is float and isinstance(value, int) and not isinstance(value, bool):
            return _as_float(where, value)
        if isinstance(origin, type) and isinstance(value, origin):
            if origin is int and isinstance(value, bool):
                continue
            return value
    named = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise TypeError(f"`{where}` must be of kind {named}; got {ranges.shown(value)}.")


def _as_float(where: str, value: int) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(
            f"`{where}` must be at most 1.8e308; got {ranges.shown(value)}."
        ) from error


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)
