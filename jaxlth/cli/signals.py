"""How a command answers Ctrl-C and SIGTERM, as KeyboardInterrupt: at once, or when it is ready."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def obeyed() -> contextlib.AbstractContextManager[None]:
    """Return a context in which the first signal raises KeyboardInterrupt."""
    return _handled(lambda *_: _stop())


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """Give a list of the signals received; a second one raises KeyboardInterrupt."""
    received: list[int] = []

    def note(number: int, _frame: Any) -> None:
        if received:
            _stop()
        received.append(number)

    with _handled(note):
        yield received


def _stop() -> NoReturn:
    """Raise KeyboardInterrupt; what then is left to do takes a moment and is not disturbed."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextlib.contextmanager
def _handled(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python has no handlers there
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
