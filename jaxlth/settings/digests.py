"""Digests of settings, and the names of files that have them."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

FOLDER_OF_FILE = re.compile(r"[^+]*[/\\](?=[^/\\+]+\.py:[^\W\d]\w*(\+|$))")
LONGEST_NAME = 255  # bytes of a file's name that Linux and most file systems allow


def not_hashed(default: Any = dataclasses.MISSING, **kwargs: Any) -> Any:
    """Return a dataclass field that stays out of the digest."""
    return dataclasses.field(default=default, metadata={"not_hashed": True}, **kwargs)


def default(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field that has one."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def changed(settings: Any) -> dict[str, Any]:
    """Return the settings that count and differ from their defaults, nested as they are."""
    result = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.metadata.get("not_hashed"):
            continue
        if dataclasses.is_dataclass(value):
            if inner := changed(value):
                result[field.name] = inner
        elif value != default(field):
            result[field.name] = _without_folders(value)
    return result


def _without_folders(value: Any) -> Any:
    """Return a setting that counts, with FILE.py:NAME for the same file wherever it lies.

    A number that is minus zero is zero.

    Example:
      >>> _without_folders("~/nets/mine.py:net"), _without_folders(("snip+../mine.py:f", -0.0))
      ('mine.py:net', ['snip+mine.py:f', 0.0])
    """
    if isinstance(value, tuple | list):
        return [_without_folders(each) for each in value]
    if isinstance(value, float):
        return value + 0.0  # -0.0 has another text
    return FOLDER_OF_FILE.sub("", value) if isinstance(value, str) else value


def digest(settings: Any) -> str:
    """Return eight hexadecimal digits that name these settings.

    Example:
      >>> import dataclasses
      >>> from jaxlth.settings import not_hashed
      >>> @dataclasses.dataclass(frozen=True)
      ... class Tea:
      ...     minutes: int = 3
      ...     cups: int = not_hashed(1)
      >>> digest(Tea(cups=5)) == digest(Tea()) != digest(Tea(minutes=4))
      True
    """
    text = json.dumps(changed(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def file_name(name: str, digest: str) -> str:
    """Return a name of a file or folder, "NAME-MARKED", with NAME cut where it is too long.

    Args:
      name: the readable part.
      digest: a digest that tells files apart, whatever is cut.

    Example:
      >>> file_name("digits-mlp", "0123abcd"), len(file_name(300 * "é", "0123abcd").encode())
      ('digits-mlp-0123abcd', 255)
    """
    longest = LONGEST_NAME - 1 - len(digest.encode())
    # What is left of a character that the cut goes through is left out.
    return f"{name.encode()[:longest].decode(errors='ignore')}-{digest}"


def bounded(name: str) -> str:
    """Return a name that a file or folder can have: the name itself, or its beginning and a digest.

    Example:
      >>> bounded("size_8-6"), bounded("size_" + "-".join(200 * ["10"]))[-12:]
      ('size_8-6', '0-1-1f639acb')
    """
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return file_name(name, hashlib.sha256(name.encode()).hexdigest()[:8])


def differences(old_settings: Mapping[str, Any], config: Any, *, within: str = "") -> list[str]:
    """Return "field: stored value, not wanted value" for each field in the digest that differs."""
    messages = []
    for field in dataclasses.fields(config):
        if field.metadata.get("not_hashed") or field.name not in old_settings:
            continue
        value, old_value, where = (
            getattr(config, field.name),
            old_settings[field.name],
            within + field.name,
        )
        if dataclasses.is_dataclass(value) and isinstance(old_value, Mapping):
            messages += differences(old_value, value, within=f"{where}.")
        elif _without_folders(old_value) != _without_folders(value):
            messages.append(f"`{where}`: {old_value!r}, not {value!r}")
    return messages
