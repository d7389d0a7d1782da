"""Modules that are imported when they are first used, so that `import jaxlth.studies` is quick.

Reports need pandas and matplotlib, which training does not.
"""

import importlib
from typing import Any


class Lazy:
    """A module, or a function or table of one, that is imported when it is first used.

    Example:
      >>> math = Lazy("math")
      >>> math.sqrt(4.0)
      2.0
    """

    def __init__(self, module: str, name: str = "") -> None:
        self._module, self._name = module, name

    def __getattr__(self, name: str) -> Any:
        """Return something of the module, not imported yet, or an attribute of it."""
        if name.startswith("__"):  # what Python asks of any object imports nothing
            raise AttributeError(name)
        return getattr(self._value(), name) if self._name else Lazy(self._module, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._value()(*args, **kwargs)

    def _value(self) -> Any:
        return getattr(importlib.import_module(self._module), self._name)
