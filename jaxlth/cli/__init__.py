"""The command `jaxlth`: settings -> job -> progress, table, figure.

A mistake of the user ends in one line and exit code 2, an interruption in one line and 130;
$JAXLTH_TRACEBACK=1 shows where a mistake arose. Modules that take seconds to import are imported by
the command that needs them, within `guarded`. So Ctrl-C works from the first moment.
"""

import contextlib
import importlib
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jaxlth import __version__
from jaxlth.cli import backends, errors, notices, words
from jaxlth.process import signals

if TYPE_CHECKING:
    from jaxlth.cli.parsing import call
    from jaxlth.cli.train import run_study, staged, trained
    from jaxlth.studies import TOLERANCE

__all__ = [
    "INTERRUPTED",
    "MISTAKEN",
    "TOLERANCE",
    "call",
    "guarded",
    "main",
    "run_study",
    "staged",
    "trained",
    "unhindered",
]

MISTAKEN = 2
INTERRUPTED = 130
NARROWEST, WIDEST = 40, 1000  # columns
OLD_NEWS = ("temporary cache directory", "mkdir -p failed", "is not a writable directory")
_ONE_AT_A_TIME = threading.RLock()  # commands of several threads: the process has one stdout
_PUBLIC = {
    "call": "jaxlth.cli.parsing",
    **dict.fromkeys(("run_study", "staged", "trained"), "jaxlth.cli.train"),
    "TOLERANCE": "jaxlth.studies",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for a mistake, 130 when interrupted.

    Args:
      arguments: words of a command line; if None, those of this process, which ends at once when
        interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    alone = arguments is None
    with _ONE_AT_A_TIME:
        code = guarded(lambda: _run(given, alone=alone))
    return unhindered(code) if alone else code


def unhindered(code: int) -> int:
    """Return an exit code, or end the process with it at once: interrupted, or one of several.

    Python's own end waits for threads of JAX that still compile, for minutes at times, or crashes;
    and after an error JAX waits there for the other processes.
    """
    distributed = sys.modules.get("jaxlth.distributed")
    if code == INTERRUPTED or (code and distributed and distributed.is_joined()):
        with contextlib.suppress(OSError):  # nobody reads
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code


def guarded(function: Callable[[], int]) -> int:
    """Call a program and return its exit code; its mistakes and interruptions are one line.

    Args:
      function: what to run, without arguments; it returns an exit code. A KeyboardInterrupt, which
        SIGTERM and SIGHUP raise here as well, may carry the words to say.

    Returns:
      The exit code of the function, 2 after a mistake, 130 after an interruption.
    """
    _fit_width()
    logging.getLogger("matplotlib").addFilter(_is_news)
    with errors.streams(), notices.shown(), signals.obeyed():
        try:
            backends.check_flags()
            return _finished(function)
        except KeyboardInterrupt as stop:
            return _interrupted(stop)
        except Exception as error:
            # Python 3.11 makes an error of what is raised while a class is made.
            if isinstance(error, RuntimeError) and isinstance(error.__cause__, KeyboardInterrupt):
                return _interrupted(error.__cause__)
            return _answered(error)


def __getattr__(name: str) -> Any:
    """Return a public name whose module takes long to import."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _run(arguments: list[str], *, alone: bool) -> int:
    """Run a command.

    Args:
      arguments: words of the command line.
      alone: whether this process does nothing else.
    """
    if words.asks_version(arguments):
        print(f"jaxlth {__version__}")
        return 0
    if alone:  # no window is opened; another value, if wrong, would end any command
        os.environ["MPLBACKEND"] = "agg"
    from jaxlth.cli import commands, export, figure, parsing, report, results, train
    from jaxlth.studies import running

    if alone and arguments and arguments[0] in commands.READING:
        backends.use_cpu()
    with parsing.own_study(arguments):
        command = parsing.parse(arguments)
        if isinstance(command, commands.Training):
            return train.trained(command, strict=True)
        run: dict[type, Callable[[Any], int]] = {
            commands.Results: results.results,
            commands.Figure: figure.figure,
            commands.Report: report.report,
            commands.List: results.list_runs,
            commands.Export: export.export,
        }
        with running.jax_settings():
            return run[type(command)](command)


def _finished(function: Callable[[], int]) -> int:
    """Return the exit code of a function, once what it printed is written out."""
    try:
        code = function()
    except SystemExit:  # of the help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _interrupted(stop: KeyboardInterrupt) -> int:
    """Tell of an interruption, after which signals are ignored, and return the exit code."""
    signals.ignore()
    errors.tell(str(stop) or "interrupted.")
    return INTERRUPTED


def _answered(error: Exception) -> int:
    """Tell of an error and return the exit code.

    Raises:
      Exception: the error, where its traceback is asked for or needed.
    """
    line = errors.message(error)
    if line is None:
        error.add_note(errors.report(error))
    if line is None or os.environ.get("JAXLTH_TRACEBACK", "") not in ("", "0"):
        raise error
    errors.tell(line)
    return MISTAKEN


def _is_news(record: logging.LogRecord) -> bool:
    """Return False for what matplotlib says of a folder that cannot be its cache, else True."""
    return not any(words in record.getMessage() for words in OLD_NEWS)


def _fit_width() -> None:
    """Bound the width of what is printed: with $COLUMNS=0 nothing would be visible."""
    columns = shutil.get_terminal_size().columns  # of the terminal, where $COLUMNS is no width
    fitting = min(max(columns, NARROWEST), WIDEST)
    if "COLUMNS" in os.environ or fitting != columns:
        os.environ["COLUMNS"] = str(fitting)
