"""Pickles of data, read without running what they say.

A pickle is a program that may call any function. Here nothing is called: what is not a number,
text, bytes, a list, a tuple, a dictionary or an array of bytes is refused by name, and an array is
made from its bytes once the pickle is read.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np


def read(content: bytes) -> dict[Any, Any]:
    """Return the dictionary of a pickle, its arrays of bytes as NumPy arrays of uint8.

    Text of Python 2 comes back as bytes.

    Raises:
      ValueError: it is damaged, no dictionary, or asks for anything but arrays of bytes.

    Example:
      >>> read(pickle.dumps({"data": np.zeros((1, 2), np.uint8), "labels": [3]}, protocol=2))
      {'data': array([[0, 0]], dtype=uint8), 'labels': [3]}
      >>> read(pickle.dumps(print, protocol=2))
      Traceback (most recent call last):
      ValueError: it asks for __builtin__.print, which no data need
    """
    try:
        contents = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        return {
            key: value.array() if isinstance(value, _Array) else value
            for key, value in contents.items()
        }
    except Exception as error:  # a damaged pickle may raise any
        text = str(error).strip() or type(error).__name__
        raise ValueError(text.splitlines()[0]) from error


class _Array:
    """Stands in for an array while it is unpickled."""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.kind, self.fortran, self.values = state

    def array(self) -> np.ndarray:
        """Return the array."""
        if self.kind not in (["u1"], [b"u1"]) or not isinstance(self.values, bytes):
            raise pickle.UnpicklingError("its array is not of bytes")
        order = "F" if self.fortran else "C"
        return np.frombuffer(self.values, np.uint8).reshape(self.shape, order=order)


def _from_buffer(values: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """Return the array that protocol 5 writes as its bytes."""
    array = _Array()
    array.shape, array.kind, array.fortran, array.values = shape, kind, order == "F", bytes(values)
    return array


class _Kind(list):
    """Stands in for an array's type while it is unpickled."""

    def __setstate__(self, state: Any) -> None:
        del state  # order of bytes and the like, without a meaning for single ones


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = module.removeprefix("numpy.core.").removeprefix("numpy._core.")
        # New functions each time, since a pickle may set attributes of what it gets.
        parts: dict[str, Callable[..., Any] | None] = {
            "multiarray._reconstruct": lambda *_: _Array(),
            "numeric._frombuffer": _from_buffer,
            "numpy.ndarray": None,
            "numpy.dtype": lambda kind, *_: _Kind([kind]),
            "_codecs.encode": lambda text, _: text.encode("latin1"),
        }
        if f"{module}.{name}" not in parts:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data need")
        return parts[f"{module}.{name}"]
