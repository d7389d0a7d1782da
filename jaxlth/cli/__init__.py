"""The command `jaxlth`: settings -> job -> progress, table, figure.

A mistake of the user ends in one line and exit code 2, an interruption in one line and 130;
$JAXLTH_TRACEBACK=1 shows where a mistake arose. What takes seconds to import is imported by the
command that needs it, within `guarded`, so that Ctrl-C is answered from the first moment.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jaxlth import __version__
from jaxlth.cli import signals, warning_lines

if TYPE_CHECKING:
    from jaxlth.cli.commands import (
        COMMANDS,
        TOLERANCE,
        Early,
        Imp,
        Instability,
        Separation,
        Supermask,
        TrainMask,
    )
    from jaxlth.cli.find import staged, trained
    from jaxlth.cli.parsing import call

__all__ = [
    "COMMANDS",
    "INTERRUPTED",
    "MISTAKEN",
    "TOLERANCE",
    "Early",
    "Imp",
    "Instability",
    "Separation",
    "Supermask",
    "TrainMask",
    "call",
    "guarded",
    "main",
    "staged",
    "trained",
    "unhindered",
]

MISTAKEN = 2
INTERRUPTED = 130
_PUBLIC = {
    "commands": (
        *("COMMANDS", "TOLERANCE"),
        *("Early", "Imp", "Instability", "Separation", "Supermask", "TrainMask"),
    ),
    "find": ("staged", "trained"),
    "parsing": ("call",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for a mistake, 130 when interrupted.

    Args:
      arguments: words of a command line; if None, those of this process, which ends at once when
        interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"jaxlth {__version__}")
        return 0
    code = guarded(lambda: _run(words))
    return code if arguments is not None else unhindered(code)


def unhindered(code: int) -> int:
    """Return an exit code, or end the process with it at once after an interruption.

    Python's own end waits for threads of JAX that still compile, for minutes at times, or crashes.
    """
    if code == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def guarded(function: Callable[[], int]) -> int:
    """Call a program and return its exit code; its mistakes and interruptions are one line.

    Args:
      function: what to run, without arguments; it returns an exit code. A KeyboardInterrupt, which
        SIGTERM raises here as well, may carry the words to say.

    Returns:
      The exit code of the function, 2 after a mistake, 130 after an interruption.
    """
    with warning_lines.shown(), signals.obeyed():
        try:
            return function()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
            return 0
        except KeyboardInterrupt as stop:
            signals.ignore()
            _tell(str(stop) or "interrupted.")
            return INTERRUPTED
        except Exception as error:
            if os.environ.get("JAXLTH_TRACEBACK") or not _is_mistake(error):
                raise
            _tell(_in_words(error))
            return MISTAKEN


def __getattr__(name: str) -> Any:
    """Return a public name whose module takes long to import."""
    for module, names in _PUBLIC.items():
        if name in names:
            return getattr(importlib.import_module(f"jaxlth.cli.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _run(arguments: list[str]) -> int:
    from jaxlth.cli import commands, drawn, exported, find, parsing, stored

    command = parsing.parse(arguments)
    run: dict[type, Callable[[Any], int]] = {
        commands.Imp: find.trained,
        commands.Early: find.trained,
        commands.Instability: find.trained,
        commands.Separation: find.trained,
        commands.Supermask: find.trained,
        commands.TrainMask: find.trained,
        commands.Results: stored.results,
        commands.Figure: drawn.figure,
        commands.List: stored.list_runs,
        commands.Export: exported.export,
    }
    return run[type(command)](command)


def _is_mistake(error: Exception) -> bool:
    from jaxlth.store import StoreError

    return isinstance(error, (ValueError, TypeError, OSError, StoreError))


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}."
    return " ".join(str(error).split())


def _tell(words: str) -> None:
    print(f"jaxlth: {words}", file=sys.stderr)
