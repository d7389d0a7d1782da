"""What the library tells of besides results, such as damaged runs left out, as lines on stderr."""

import contextlib
import logging
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def printed() -> Iterator[None]:
    """Print what the library logs; a function with this decorator does so while it runs."""
    log, handler = logging.getLogger("jaxlth"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("jaxlth: %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
