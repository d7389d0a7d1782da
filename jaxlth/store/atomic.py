"""Small files, written whole or not at all, and what to say when the disk does not cooperate."""

import contextlib
import datetime
import errno
import json
import os
import pathlib
import shutil
import stat
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from jaxlth.process import paths

LARGEST = 2**30  # bytes of a file of JSON: a record with long curves has some millions
DEEPEST = 50  # tables and lists within each other in such a file, of which we write ten at most
CHECKSUM = "crc32"  # the entry of an object that holds the checksum of the others


class StoreError(Exception):
    """Something stored cannot be written, read or used; the message says where and what to do."""


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an error of the operating system while writing to `path` into a StoreError."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        remedy = "Move away what is in the place of a folder: a file, or a link to none"
        raise unwritable(path, os.strerror(errno.ENOTDIR), remedy) from error
    except OSError as error:
        raise unwritable(path, error.strerror or str(error)) from error


def unwritable(
    path: str | os.PathLike[str],
    why: str,
    remedy: str = "Free disk space or make the folder writable",
) -> StoreError:
    """Return the error that `path` cannot be written."""
    return StoreError(
        f"{path} cannot be written: {why}. {remedy}, then run the same command again; what was "
        "stored before is whole."
    )


def unreadable(path: str | os.PathLike[str], why: str) -> StoreError:
    """Return the error that `path` cannot be read, though it may well be whole."""
    return StoreError(
        f"{path} cannot be read: {why}. It may well be whole: make it readable, then run the same "
        "command again."
    )


def write_text(path: pathlib.Path, text: str) -> None:
    """Put a file in its place at once, so that it is never seen half written.

    Raises:
      StoreError: the file cannot be written; what was there before remains.
    """
    with (
        writing(path),
        paths.replacing(path, make_folders=False) as part,
        open(part, "w", encoding="utf-8") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def to_json(value: Any, **options: Any) -> str:
    """Return JSON text; arrays and numbers of NumPy or JAX become lists and plain numbers."""
    return json.dumps(value, default=_plain, **options)


def read_bytes(path: pathlib.Path, *, remedy: str, largest: int = LARGEST) -> bytes:
    """Return the content of a file. Pipes, which may never end, and huge files are not read.

    Raises:
      StoreError: it is missing, no file, too large or cannot be read; the message ends with
        `remedy`.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{path} is damaged (it is no file). {remedy}")
        if status.st_size > largest:
            sizes = f"{status.st_size:,} bytes where {largest:,} are the most"
            raise StoreError(f"{path} is damaged ({sizes}). {remedy}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing. {remedy}") from error
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from error


def read_json(path: pathlib.Path, *, remedy: str, largest: int = LARGEST) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
      StoreError: the file is missing or damaged; the message ends with `remedy`.
    """
    raw = read_bytes(path, remedy=remedy, largest=largest)
    try:
        content = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged (it is not valid JSON). {remedy}") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} is damaged (it holds no JSON object). {remedy}")
    if not _is_flat(content, DEEPEST):
        raise StoreError(f"{path} is damaged (it is nested too deep). {remedy}")
    return content


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with a last entry that holds the checksum of the others.

    Example:
      >>> with_checksum({"steps": 60})
      {'steps': 60, 'crc32': 2312521579}
      >>> entries = with_checksum({"steps": 60})
      >>> has_valid_checksum(entries), has_valid_checksum(entries | {"steps": 20})
      (True, False)
    """
    plain = json.loads(to_json(without_checksum(content)))
    return plain | {CHECKSUM: _checksum(to_json(plain))}


def without_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object without the entry that `with_checksum` adds."""
    return {name: value for name, value in content.items() if name != CHECKSUM}


def has_valid_checksum(content: Mapping[str, Any]) -> bool:
    """Return whether a JSON object has the checksum that `with_checksum` gave it, or none.

    Objects without a checksum are of versions before there was one, and are taken as they are.
    """
    return CHECKSUM not in content or content[CHECKSUM] == _checksum(
        to_json(without_checksum(content))
    )


def write_checked(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object together with its checksum, in one go; see `read_checked`."""
    text = to_json(content)
    with writing(path):
        path.write_text(f'{{"crc32": {_checksum(text)}, "content": {text}}}\n', encoding="utf-8")


def read_checked(path: pathlib.Path, *, remedy: str) -> dict[str, Any]:
    """Return the object that `write_checked` wrote.

    Raises:
      StoreError: the file is missing, damaged or changed; the message ends with `remedy`.
    """
    checked = read_json(path, remedy=remedy)
    content = checked.get("content")
    if not isinstance(content, dict) or checked.get("crc32") != _checksum(to_json(content)):
        raise StoreError(f"{path} is damaged (its checksum does not match). {remedy}")
    return content


def now() -> str:
    """Return the time as ISO 8601 text in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def remove(path: pathlib.Path) -> None:
    """Remove a folder and all in it, if it exists."""
    with writing(path), contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def sync(folder: pathlib.Path) -> None:
    """Have the disk hold what was written to the files in `folder`, and their names."""
    for path in folder.iterdir():
        if path.is_file():
            sync_one(path)
    sync_one(folder)


def sync_one(path: pathlib.Path) -> None:
    """Have the disk hold what was written to one file, or the names in one folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(text: str) -> int:
    return zlib.crc32(text.encode())


def _is_flat(value: Any, deepest: int) -> bool:
    """Return whether a value has at most so many tables and lists within each other."""
    if not isinstance(value, dict | list):
        return True
    inside = value.values() if isinstance(value, dict) else value
    return deepest > 0 and all(_is_flat(part, deepest - 1) for part in inside)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"A record holds numbers, text, lists and tables; got {type(value).__name__}.")
