"""How errors are shown: one line for a mistake or trouble outside, a traceback for a defect.

For a mistake of the user the line is the message of the exception. So it is for errors that other
packages, files and devices raise. Any other exception is a defect of jaxlth, and its traceback is
needed to mend it.
"""

import concurrent.futures
import contextlib
import dis
import lzma
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import sysconfig
import tarfile
import traceback
import types
import zipfile
import zlib
from collections.abc import Iterator
from importlib import machinery
from typing import Any

from jaxlth.cli import backends
from jaxlth.process import code, paths

REPORT = "This is a defect of jaxlth: please report it, with these lines and the command."
CALLBACK = "CpuCallback error"  # of JAX, around an error of Python code that a program calls
SHOWN = "($JAXLTH_TRACEBACK=1 shows where.)"
LONGEST, WORD = 900, 300  # characters of a line, of a word in it
OUTPUT = "standard output"
OUTSIDE = (  # exceptions of damaged files, of numbers too large, of machines too small
    *(RecursionError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(struct.error, pickle.PickleError, OverflowError),
    *(subprocess.SubprocessError, concurrent.futures.BrokenExecutor),
)
PACKAGE = pathlib.Path(__file__).resolve().parents[1]
PYTHON = os.path.join(sysconfig.get_path("stdlib"), "")
INSTALLED = ("site-packages", "dist-packages")  # folders of other packages


def message(error: Exception) -> str | None:
    """Return the line that tells of an error; None where its traceback is needed."""
    text = _text(error)
    if is_of_files(error):
        return None
    if isinstance(error.__cause__ or error, FileNotFoundError) and paths.current_folder_is_gone():
        return f"{text} The current folder is gone: change to another."
    if type(error).__module__.partition(".")[0] == PACKAGE.name:
        return text
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return f"There is not enough memory for this: {text} {SHOWN}"
    if isinstance(error, FloatingPointError):  # of JAX, whose settings ask for it
        return f"jax_debug_nans or jax_debug_infs ended this: {text} {SHOWN}"
    if isinstance(error, ValueError | TypeError | OSError):
        return text if _is_raised_here(error) or isinstance(error, OSError) else f"{text} {SHOWN}"
    if shadow := _shadow(error):
        kind = type(error).__name__
        return f"{shadow} hides another module of that name: rename it. {kind}: {text}"
    if words := backends.complaint(error):
        return words
    if package := _package(error):
        return f"{package}: {type(error).__name__}: {text} {SHOWN}"
    return None


def is_of_files(error: Exception) -> bool:
    """Return whether code of a user's own raised an error, such as a network in FILE.py."""
    files = [frame.tb_frame.f_code.co_filename for frame in _frames(error)]
    return CALLBACK in str(error) or any(map(code.is_loaded, files))


def report(error: Exception) -> str:
    """Return what is to be done about an error that is shown with its traceback."""
    if not is_of_files(error):
        return REPORT
    at = next(iter(_frames(error)), None)
    file = "" if at is None else at.tb_frame.f_code.co_filename
    where = f"{file}:{at.tb_lineno}" if at and code.is_loaded(file) else "Code of your own"
    return f"{where} raised this; what was stored before it is kept."


def tell(words: str) -> None:
    """Print one line on stderr, of bounded length, whatever the words hold."""
    words = _cut(" ".join(_cut(word, WORD) for word in words.split()), LONGEST)
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in words)
    print(f"jaxlth: {line}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def streams() -> Iterator[None]:
    """Replace Python's standard streams, within this context, by `Stream`s."""
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:  # for a process that was started without
        sys.stdout = Stream(sys.stdout or nowhere, name=OUTPUT)
        sys.stderr = Stream(sys.stderr or nowhere, name=None)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class Stream:
    """A standard stream whose failures are known as such.

    Attributes:
      stream: where to write; other methods and attributes are its own.
      name: of the stream, for its errors; None drops what cannot be written, so that no training
        ends because its progress cannot be printed. What is written to a closed pipe, whose reader
        has enough, is dropped in any case: what else a command has to do is done.
    """

    def __init__(self, stream: Any, *, name: str | None) -> None:
        """Take the place of a stream."""
        self.stream, self.name = stream, name

    def write(self, text: str) -> int:
        """Write text, in the letters that the stream has."""
        with self._named():
            try:
                self.stream.write(text)
            except UnicodeEncodeError as error:  # where the locale is not in UTF-8
                plain = text.replace("\N{PLUS-MINUS SIGN}", "+-")
                self.stream.write(plain.encode(error.encoding, "replace").decode(error.encoding))
        return len(text)

    def flush(self) -> None:
        """Write out what is buffered."""
        with self._named():
            self.stream.flush()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._close()
            if self.name is not None and not isinstance(error, BrokenPipeError):
                raise OSError(error.errno, error.strerror, self.name) from error

    def _close(self) -> None:
        """Redirect the stream to nowhere, so that Python can end without another failure."""
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        """Return what the stream has under a name."""
        return getattr(self.stream, name)


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return " ".join(f"{error.filename}: {error.strerror}.".split())  # a name may have two lines
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    return " ".join(str(error).split()) or type(error).__name__


def _cut(text: str, longest: int) -> str:
    """Return a text without its middle, if it is too long."""
    half = longest // 3
    return text if len(text) <= longest else f"{text[:half]}...{text[-half:]}"


def _frames(error: Exception) -> list[types.TracebackType]:
    """Return the traceback, the place where the error was raised first, Python's own aside."""
    frames, at = [], error.__traceback__
    while at is not None:
        frames.append(at)
        at = at.tb_next
    return [frame for frame in reversed(frames) if _place(frame) is not None]


def _place(at: types.TracebackType) -> str | None:
    """Return the package of a line of a traceback, "" for a program; None for Python itself."""
    file = pathlib.Path(at.tb_frame.f_code.co_filename)
    top = at.tb_frame.f_globals.get("__name__", "").partition(".")[0]
    if file.is_relative_to(PACKAGE):
        return PACKAGE.name
    if _is_installed(file):
        return top
    return None if top in sys.stdlib_module_names and top != "__main__" else ""


def _package(error: Exception) -> str | None:
    """Return what other package raised an error, "Python" for its own; None of a defect."""
    owner = type(error).__module__.partition(".")[0]
    if isinstance(error, ImportError):
        return None if (error.name or "").startswith(PACKAGE.name) else error.name or "import"
    if owner not in ("builtins", "__main__") and owner not in sys.stdlib_module_names:
        return owner
    place = next(map(_place, _frames(error)), "")
    if place in ("", PACKAGE.name):
        return "Python" if isinstance(error, OUTSIDE) else None
    return place


def _shadow(error: Exception) -> str | None:
    """Return the file of a module that hides one of Python or of an installed package, if any."""
    folders = [entry for entry in sys.path if _is_installed(entry)]
    places = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    for frame, _ in traceback.walk_tb(error.__traceback__):  # a module that raises is gone by now
        places.setdefault(frame.f_globals.get("__name__", ""), frame.f_code.co_filename)
    for name, file in places.items():
        if "." in name or not file or _is_installed(file) or file.startswith(PYTHON):
            continue
        if name in sys.stdlib_module_names or machinery.PathFinder.find_spec(name, folders):
            return file
    return None


def _is_installed(path: str | pathlib.Path) -> bool:
    return not set(INSTALLED).isdisjoint(pathlib.Path(path).parts)


def _is_raised_here(error: Exception) -> bool:
    """Return whether an error was raised on purpose, by a statement of jaxlth or of a program."""
    at = next(iter(_frames(error)), None)
    if at is None or at.tb_next is not None or _place(at) not in ("", PACKAGE.name):
        return False
    return at.tb_frame.f_code.co_code[at.tb_lasti] == dis.opmap["RAISE_VARARGS"]
