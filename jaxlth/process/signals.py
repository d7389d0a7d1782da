"""How a study answers Ctrl-C, SIGTERM and SIGHUP: with KeyboardInterrupt, at once or when ready.

SIGHUP comes from a terminal that closes, twice as a rule: from the shell and from the system. Where
it is ignored, as `nohup` has it, it stays so.

An exception that a handler raises may get lost: JAX's hook of the garbage collector swallows it,
and modules in C that are just being imported turn it into an ImportError or worse. So none is
raised during an import, and it is raised again until it has arrived.

Handlers are set in the main thread only, as Python allows, and the ones before come back. A timer
of the program stays as it is unless an exception has to be raised again.
"""

import contextlib
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SOON, AGAIN = 0.01, 1.0  # seconds: an import may be over then; an exception must have arrived


def obeyed() -> contextlib.AbstractContextManager[None]:
    """Return a context in which the first signal raises KeyboardInterrupt."""
    return _handled(_stop)


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """Give a list of the signals received; a second one raises KeyboardInterrupt, if no SIGHUP."""
    received: list[int] = []

    def note(number: int, frame: types.FrameType | None) -> None:
        if received and number != signal.SIGHUP:
            _stop(number, frame)
        received.append(number)

    with _handled(note):
        yield received


def ignore() -> None:
    """Be disturbed no more, once the exception has arrived; the context gives handlers back."""
    arrived()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _stop(_number: int, frame: types.FrameType | None) -> None:
    """Raise KeyboardInterrupt, or see to it that it is raised soon."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    importing = _is_importing(frame)
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, SOON if importing else AGAIN)
    if not importing:
        raise KeyboardInterrupt


def arrived() -> None:
    """Raise the exception no more: it has arrived. A timer of the program goes on."""
    if signal.getsignal(signal.SIGALRM) is _stop:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _is_importing(frame: types.FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def _handled(handler: Callable[[int, types.FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python has no handlers there
        yield
        return
    # A handler that is none of Python's is None, and could not be given back: it stays.
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}
    before = {number: old for number, old in before.items() if old is not None}
    tell, sys.unraisablehook = sys.unraisablehook, _but_interruptions(sys.unraisablehook)
    try:
        for number in SIGNALS:
            is_nohup = number == signal.SIGHUP and before.get(number) is signal.SIG_IGN
            if number in before and not is_nohup:
                signal.signal(number, handler)
        yield
    finally:
        arrived()
        sys.unraisablehook = tell
        for number, old in before.items():
            signal.signal(number, old)


def _but_interruptions(tell: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a hook for lost exceptions that keeps quiet about ours, which comes again."""

    def hook(lost: Any) -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            tell(lost)

    return hook
