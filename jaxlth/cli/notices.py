"""Warnings and log of the library on stderr, a line each."""

import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

UNKEPT = re.compile(r"Error (?:read|writ)ing persistent compilation cache entry for '.*?': (.*)")


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show warnings and log of the library in the form of its errors.

    Pillow's warning of images of many pixels is not shown: it does not name the image, and the
    library's own does. That JAX cannot keep a compiled program is told once, not of each program.
    """
    plain, told = warnings.formatwarning, []

    def formatted(
        message: Warning | str, category: type[Warning], *where: Any, **line: str | None
    ) -> str:
        if category.__name__ == "DecompressionBombWarning":
            return ""
        text = " ".join(str(message).split())
        if why := UNKEPT.match(text):
            told.append(text)
            text = f"compiled programs are not kept, so that later runs compile again: {why[1]}"
            return f"jaxlth: warning: {text}\n" if len(told) == 1 else ""
        if category.__module__.partition(".")[0] != __name__.partition(".")[0]:
            return plain(message, category, *where, **line)
        return f"jaxlth: warning: {text}\n"

    log, handler = logging.getLogger("jaxlth"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("jaxlth: %(message)s"))
    warnings.formatwarning = formatted  # unlike `showwarning`, it leaves recorded warnings alone
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        warnings.formatwarning = plain
