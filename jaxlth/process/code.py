"""Objects that a setting names as FILE.py:NAME: somebody's own network, data, loss or score."""

import hashlib
import importlib.util
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

from jaxlth import settings
from jaxlth.process import paths

OWN = "own"  # in the place of a name, where the object is given in Python
SPEC = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)")
_modules: dict[tuple[str, int], Any] = {}  # (absolute path, time of its last change) -> module


def is_spec(text: str) -> bool:
    """Return whether a text has the form FILE.py:NAME.

    Example:
      >>> is_spec("nets/mine.py:Net"), is_spec("tfds:mnist")
      (True, False)
    """
    return SPEC.fullmatch(text) is not None


def is_own(text: str) -> bool:
    """Return whether a setting stands for an object: given in Python, or in a file."""
    return text == OWN or is_spec(text)


def label(spec: str) -> str:
    """Return a short name of an object, for names of folders.

    Example:
      >>> label("nets/mine.py:Net")
      'mine-Net'
    """
    file, _, name = spec.rpartition(":")
    return f"{pathlib.PurePath(file).stem}-{name}"


def is_loaded(file: str) -> bool:
    """Return whether a file has been run by `load`."""
    return any(file == path for path, _ in _modules)


def load(spec: str, *, setting: str) -> Any:
    """Return the object that FILE.py:NAME names; each file runs once in a process.

    Args:
      spec: FILE.py:NAME.
      setting: which names it, for messages.

    Raises:
      ValueError: the file is missing, raises when it runs, or has no such name.
    """
    file, _, name = spec.rpartition(":")
    path = pathlib.Path(paths.expand(file, setting=setting)).absolute()
    settings.require(path.is_file(), f"`{setting}`: there is no file {file}.")
    module = _module(path, file, setting)
    names = [each for each in vars(module) if not each.startswith("_")]
    close = settings.closest(name, names)
    hint = f" Did you mean {close}?" if close else ""
    settings.require(hasattr(module, name), f"`{setting}`: {file} has no {name}.{hint}")
    return getattr(module, name)


def call(function: Callable[..., Any], *arguments: Any, setting: str) -> Any:
    """Return what somebody's function makes of arguments.

    Args:
      function: of a part of an experiment.
      *arguments: of the function.
      setting: whose part it makes, for messages.

    Raises:
      ValueError: it raises; the last line in its file is named.
    """
    try:
        return function(*arguments)
    except Exception as error:
        file = getattr(getattr(function, "__code__", None), "co_filename", "")
        name = getattr(function, "__name__", type(function).__name__)
        where = f"{pathlib.Path(file).name}:{_line(error, file)}" if file else name
        raise ValueError(f"`{setting}`: {where} raises {_text(error)}.") from error


def _line(error: Exception, file: str) -> int | None:
    """Return the last line of a file in the traceback of an error, or that of a syntax error."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return frames[-1].lineno if frames else getattr(error, "lineno", None)


def _text(error: Exception) -> str:
    first_line = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


def _module(path: pathlib.Path, file: str, setting: str) -> Any:
    """Return the module of a file.

    Raises:
      ValueError: it raises when it runs; the line in it is named.
    """
    key = str(path), os.stat(path).st_mtime_ns
    if key in _modules:
        return _modules[key]
    module_name = f"jaxlth_file_{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look for it there
    sys.path.insert(0, str(path.parent))  # so that it can import its neighbours
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        line = _line(error, str(path))
        where = f"{file}:{line}" if line else file
        raise ValueError(f"`{setting}`: {where} raises {_text(error)}.") from error
    finally:
        sys.path.remove(str(path.parent))
    _modules[key] = module
    return module
