"""The docstrings of settings and of their fields, for the help of commands and of functions."""

import ast
import dataclasses
import functools
import inspect
import itertools
from typing import Any

NO_TEXT = "(Python's option -OO leaves out what is said here.)"


def docstring(cls: Any) -> str:
    """Return the docstring of a dataclass, which makes one up of its fields where it has none.

    Example:
      >>> docstring(dataclasses.make_dataclass("List", ["out"]))
      "(Python's option -OO leaves out what is said here.)"
    """
    made_up = (cls.__doc__ or "").startswith(f"{cls.__name__}(")
    return NO_TEXT if made_up else cls.__doc__ or ""


@functools.cache
def field_docs(cls: type) -> dict[str, str]:
    """Return the docstring of each field, its own and those it inherits, as one paragraph."""
    docs = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            docs |= _own_docs(base)
    return docs


def _own_docs(cls: type) -> dict[str, str]:
    try:
        source = inspect.getsource(cls)
    except OSError:  # of the command of a study, which has no text of its own
        return {}
    (tree,) = ast.parse(inspect.cleandoc(source)).body
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    docs = {}
    for field, text in itertools.pairwise(body):
        named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if named and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            docs[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[union-attr]
    return docs
