"""Warnings and log of the library on stderr, a line each."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show warnings and log of the library in the form of its errors.

    Pillow's warning of images of many pixels is not shown: it does not name the image, and the
    library's own does.
    """
    plain = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], *where: Any, **line: str | None
    ) -> str:
        if category.__name__ == "DecompressionBombWarning":
            return ""
        if category.__module__.partition(".")[0] != __name__.partition(".")[0]:
            return plain(message, category, *where, **line)
        return f"jaxlth: warning: {' '.join(str(message).split())}\n"

    log, handler = logging.getLogger("jaxlth"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("jaxlth: %(message)s"))
    warnings.formatwarning = formatted  # unlike `showwarning`, it leaves recorded warnings alone
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        warnings.formatwarning = plain
