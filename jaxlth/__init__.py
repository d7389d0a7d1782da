"""Find and study lottery tickets in JAX.

A lottery ticket is a sparse part of a network that trains, from an early state of it, to the
accuracy of the whole. The functional modules work on anybody's parameters; they import no Flax and
touch no disk:

* `jaxlth.masks`: which weights are kept, and the one place where a mask acts.
* `jaxlth.scores`: how much each weight is worth keeping.
* `jaxlth.prune`: from scores to masks, with exact counts.
* `jaxlth.landscape`: errors and barriers on the line between two networks.
* `jaxlth.graphs`: networks as graphs, and what of them matters.

`jaxlth.studies` runs whole studies on the networks of `jaxlth.models` and the data sets of
`jaxlth.data`. So does the command `jaxlth`; `jaxlth --help` lists them. Each module is imported
when it is first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = ("masks", "scores", "prune", "landscape", "graphs", "models", "data", "studies")


def __getattr__(name: str) -> Any:
    """Return a public module, which is imported now."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the public modules, and what a module has besides."""
    return sorted({*globals(), *_MODULES})
