"""Paths as they are typed: `~` and `$VARIABLES` are replaced, and what is no path is refused.

The rule is the same for every path that a person gives: options, settings files, environment
variables.
"""

import contextlib
import errno
import os
import pathlib
import re
import tempfile
import unicodedata
from collections.abc import Iterator

from jaxlth.settings import require

VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
NO_TEXT = ("Cc", "Cs")  # Unicode categories: control characters, bytes that are not UTF-8


def expand(path: str | os.PathLike[str], *, setting: str) -> str:
    """Return a path whose `~`, `~user`, `$NAME` and `${NAME}` are replaced; an address stays.

    Args:
      path: as it is typed.
      setting: its name, for the message.

    Raises:
      TypeError: it is no text and no path.
      ValueError: it is empty or holds control characters, a variable is not set, or there is no
        home directory.

    Example:
      >>> expand("~/runs", setting="out") == os.path.join(os.path.expanduser("~"), "runs")
      True
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"`{setting}` must be a path; got {path!r}.")
    text = os.fspath(path)
    require(text.strip() != "", f"`{setting}` must be a path; got {text!r}.")
    require(
        not any(unicodedata.category(letter) in NO_TEXT for letter in text),
        f"`{setting}` must be a path in UTF-8 without control characters; got {text!r}."
        f"{locale_hint(text)}",
    )
    return _with_home(_with_variables(text, setting), setting)


def locale_hint(text: str) -> str:
    r"""Return a remedy for a text in UTF-8 that the locale could not decode; "" for another text.

    Example:
      >>> locale_hint("r\udcc3\udcbcns"), locale_hint("r\udcffns")
      (' The locale of this process lacks its letters: set $PYTHONUTF8=1.', '')
    """
    with contextlib.suppress(UnicodeError):
        if os.fsencode(text).decode() != text:
            return " The locale of this process lacks its letters: set $PYTHONUTF8=1."
    return ""


def given(path: str | os.PathLike[str], *, setting: str) -> pathlib.Path:
    """Return a path of this machine that Python code gives, as `expand` does.

    A whole `pathlib.Path` of what is there, as programs hand it on, may have any name.

    Args:
      path: as it is given.
      setting: its name, for the message.

    Raises:
      ValueError: as `expand`; or it is an address.
      TypeError: it is no path.
    """
    if isinstance(path, os.PathLike) and os.path.isabs(path) and os.path.lexists(path):
        return pathlib.Path(os.fsdecode(path))
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"`{setting}` must be a path; got {path!r}.")
    text = expand(path, setting=setting)
    check_local(text, setting=setting)
    return pathlib.Path(text)


def check_local(path: str, *, setting: str) -> None:
    """Raise ValueError for an address, also one whose slash was forgotten, such as gs:/bucket.

    Example:
      >>> check_local("C:/runs", setting="out")
      >>> check_local("gs:/bucket/runs", setting="file")
      Traceback (most recent call last):
      ValueError: `file` must be local or mounted, and not an address; got 'gs:/bucket/runs'.
    """
    require(
        ADDRESS.match(path) is None,
        f"`{setting}` must be local or mounted, and not an address; got {path!r}.",
    )


def _with_variables(text: str, setting: str) -> str:
    names = [match[1] or match[2] for match in VARIABLE.finditer(text)]
    missing = [f"${name}" for name in names if name not in os.environ]
    require(not missing, f"`{setting}` is {text}, but {' '.join(missing[:1])} is not set.")
    return os.path.expandvars(text)


def _with_home(text: str, setting: str) -> str:
    """Return a path whose beginning `~` or `~user` is replaced by a home directory."""
    user, slash, rest = text.partition("/")
    if not user.startswith("~"):
        return text
    nowhere = user == "~" and os.environ.get("HOME") == ""  # Python would take the root folder
    home = user if nowhere else os.path.expanduser(user)
    who = "this user has no" if user == "~" else f"there is no user {user[1:]} with a"
    require(
        home != user,
        f"`{setting}` is {text}, but {who} home directory: set $HOME, or give `{setting}` a path "
        "without ~.",
    )
    return home + slash + rest


def relative(path: str | os.PathLike[str]) -> str:
    """Return a path as one types it here."""
    path = pathlib.Path(path)
    with contextlib.suppress(FileNotFoundError):  # the current folder is gone
        here = pathlib.Path.cwd()
        path = path.relative_to(here) if path.is_relative_to(here) else path
    return str(path)


def current_folder_is_gone() -> bool:
    """Return whether the current folder is gone, so that no relative path leads anywhere."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


@contextlib.contextmanager
def replacing(path: pathlib.Path, *, make_folders: bool = True) -> Iterator[pathlib.Path]:
    """Give the path of a new file, which then takes the place of another: at once and when whole.

    Args:
      path: of the file to replace, or to make; it stays as it is where this fails.
      make_folders: whether folders are made where they are missing.

    Raises:
      OSError: the file cannot be written; the error names it.
    """
    # A fixed name: leftovers of a killed process are overwritten by the next one.
    part = path.with_name(f".{path.name}.part")
    try:
        if make_folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except FileExistsError as error:  # in the place of a folder
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def check_folder(option: str, folder: str, *, writable: bool = False) -> None:
    """Raise ValueError where a folder to write to is none, or lies on no mounted disk.

    Args:
      option: that names it.
      folder: it need not exist, and stays as it is.
      writable: whether to try whether a file can be written there, too.
    """
    check_local(folder, setting=option)
    path = pathlib.Path(folder).absolute()
    for place in (path, *path.parents):
        require(
            place.is_dir() or not os.path.lexists(place),
            f"`{option}` must be a folder, but {relative(place)} is a {not_a_folder(place)}.",
        )
    if writable:
        _try_to_write(option, path)


def not_a_folder(path: pathlib.Path) -> str:
    """Return the words for what is in the place of a folder: a file, or a link to no folder."""
    return "link to none" if path.is_symlink() else "file"


def _try_to_write(option: str, folder: pathlib.Path) -> None:
    """Raise ValueError where no file can be written to a folder, which stays as it is."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"`{option}` must be a folder that can be written to; of {relative(folder)} the system "
            f"says: {error.strerror or error}."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            for place in missing:
                place.rmdir()
