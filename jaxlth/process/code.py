"""Objects that a setting names as FILE.py:NAME: a user's own network, data, loss or score."""

import hashlib
import importlib
import importlib.util
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from jaxlth import settings
from jaxlth.process import paths

OWN = "own"  # in the place of a name, where the object is given in Python
SPEC = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)")
Times: TypeAlias = dict[str, int]  # path of a file -> time of its last change


class Loaded(NamedTuple):
    """A file that has been run."""

    module: Any
    times: Times  # of the file and the neighbours that it imported, as they were


_loaded: dict[str, Loaded] = {}  # by absolute path
_neighbours: dict[str, str] = {}  # name of a module that a file imported from its folder -> file
_seen: Times = {}  # when neighbours were changed last as they were imported


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
    return file in _loaded


def load(spec: str, *, setting: str) -> Any:
    """Return the object that FILE.py:NAME names.

    A file runs once in a process, and again after it, or a neighbour that it imports, has changed.

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
    """Return the result of a user's function for some arguments.

    Args:
      function: of a part of an experiment.
      *arguments: of the function.
      setting: whose part it makes, for messages.

    Raises:
      ValueError: it raises; the last line in its file is named.
    """
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        file = getattr(getattr(function, "__code__", None), "co_filename", "")
        name = getattr(function, "__name__", type(function).__name__)
        where = f"{pathlib.Path(file).name}:{_line(error, file)}" if file else name
        raise ValueError(f"`{setting}`: {where} raises {error_text(error).rstrip('.')}.") from error


def _line(error: BaseException, file: str) -> int | None:
    """Return the last line of a file in the traceback of an error, or that of a syntax error."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return frames[-1].lineno if frames else getattr(error, "lineno", None)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says; "" of one that says nothing."""
    return str(error).strip().partition("\n")[0]


def error_text(error: BaseException) -> str:
    """Return kind and first line of an error in a user's code.

    Example:
      >>> error_text(ValueError("no such luck")), error_text(KeyError())
      ('ValueError: no such luck', 'KeyError')
    """
    kind, line = type(error).__name__, first_line(error)
    return f"{kind}: {line}" if line else kind


def _module(path: pathlib.Path, file: str, setting: str) -> Any:
    """Return the module of a file.

    Raises:
      ValueError: it raises when it runs; the line in it is named.
    """
    loaded = _loaded.get(str(path))
    if loaded is not None and loaded.times == _times(loaded.times):
        return loaded.module
    key = str(path), os.stat(path).st_mtime_ns
    module_name = f"jaxlth_file_{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _forget_neighbours(path.parent)
    before = set(sys.modules)
    sys.modules[module_name] = module  # dataclasses and pickle look for it there
    sys.path.insert(0, str(path.parent))  # so that it can import its neighbours
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    # Bytecode is told from that of a text of the same second and length by nothing.
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a file may call sys.exit, as a program
        del sys.modules[module_name]
        line = _line(error, str(path))
        where = f"{file}:{line}" if line else file
        raise ValueError(f"`{setting}`: {where} raises {error_text(error).rstrip('.')}.") from error
    finally:
        sys.dont_write_bytecode = writes_bytecode
        sys.path.remove(str(path.parent))
        _notice_neighbours(path.parent, set(sys.modules) - before)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for what its functions import when they are called
    _loaded[str(path)] = Loaded(module, _times([str(path), *_neighbours.values()]))
    return module


def _times(files: Iterable[str]) -> Times:
    """Return when files were changed last; -1 for those that are gone."""
    return {file: os.stat(file).st_mtime_ns if os.path.exists(file) else -1 for file in files}


def _notice_neighbours(folder: pathlib.Path, names: Iterable[str]) -> None:
    """Remember which of some new modules lie in a folder, other packages aside."""
    for name in names:
        first, file = name.partition(".")[0], getattr(sys.modules[name], "__file__", None)
        place = folder.joinpath(*name.split("."))
        is_new = first in names or first in _neighbours  # jaxlth may lie in the folder as well
        if is_new and file in (f"{place}.py", str(place / "__init__.py")):
            _neighbours[name] = file
    _seen.update(_times(_neighbours.values()))


def _forget_neighbours(folder: pathlib.Path) -> None:
    """Have neighbours imported anew that have changed, or for a file of another folder.

    Another folder may have others of the same names.
    """
    files = _neighbours.values()
    elsewhere = any(folder not in pathlib.Path(file).parents for file in files)
    if elsewhere or _times(files) != _seen:
        for name in _neighbours:
            sys.modules.pop(name, None)
        _neighbours.clear()
        _seen.clear()
    importlib.invalidate_caches()  # files may be younger than what Python knows of folders
