"""Settings as nested dictionaries, and as TOML."""

import codecs
import dataclasses
import json
import pathlib
import tomllib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from jaxlth.settings import ranges
from jaxlth.settings.checks import check_choice, closest, listed, renamed, require

S = TypeVar("S")
LARGEST = 1_000_000  # bytes of a file of settings


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
            hint = f" Did you mean `{close}`?" if close else f" Known: {listed(names)}."
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
    named = ranges.kind_name(kind).replace("tuple of", "list of")  # as TOML and JSON have it
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
