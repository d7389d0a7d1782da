"""What the command line shows of warnings: those of the library are one line, as its errors are."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show what the library warns of without the line of code that does.

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

    warnings.formatwarning = formatted  # unlike `showwarning`, it leaves recorded warnings alone
    try:
        yield
    finally:
        warnings.formatwarning = plain
