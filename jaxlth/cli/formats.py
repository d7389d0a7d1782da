"""Tables as JSON, CSV and parquet."""

import json
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any

import pandas as pd

from jaxlth.process import paths

_INTEGER_COLUMNS = [  # pandas turns them into floats where a value is missing
    *("replicate", "level", "kept", "prunable", "step", "steps"),
    *("start_step", "best_step", "stopped_step", "nan_step"),
]


def to_json(frame: pd.DataFrame) -> str:
    r"""Return a table as a JSON list of objects, one a row; NaN and infinity become null.

    Example:
      >>> to_json(pd.DataFrame({"level": [3], "best_step": [float("nan")]}))
      '[\n{"level": 3, "best_step": null}\n]'
    """
    records = _with_integers(frame).astype(object).to_dict("records")
    rows = [json.dumps({key: _plain(value) for key, value in row.items()}) for row in records]
    return "[\n" + ",\n".join(rows) + "\n]"


def to_csv(frame: pd.DataFrame) -> str:
    r"""Return a table as CSV text with a header; what is missing is empty.

    Example:
      >>> to_csv(pd.DataFrame({"level": [3], "best_step": [float("nan")]}))
      'level,best_step\n3,\n'
    """
    return _with_integers(frame).to_csv(index=False, lineterminator="\n")


def check(path: str | os.PathLike[str]) -> None:
    """Raise unless `write` knows the format and has what it needs for it; reads no table.

    Raises:
      ValueError: the suffix is none of `WRITERS`, or the package that writes it is missing.
    """
    suffix = pathlib.Path(path).suffix
    if suffix not in WRITERS:
        raise ValueError(
            f"A file of results must end in {', '.join(WRITERS)}; got {os.fspath(path)!r}."
        )
    if suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ValueError(
                "Parquet files need pyarrow: run `pip install 'jaxlth[parquet]'`."
            ) from error


def write(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table to a file, whole or not at all, in the format of its suffix.

    Folders are made where they are missing.

    Raises:
      ValueError: as `check` says.
      OSError: the file cannot be written; the error names it.
    """
    check(path)
    path = pathlib.Path(path)
    with paths.replacing(path) as part:
        WRITERS[path.suffix](frame, part)


def _write_csv(frame: pd.DataFrame, path: pathlib.Path) -> None:
    path.write_text(to_csv(frame), encoding="utf-8")


def _write_json(frame: pd.DataFrame, path: pathlib.Path) -> None:
    path.write_text(to_json(frame) + "\n", encoding="utf-8")


def _write_parquet(frame: pd.DataFrame, path: pathlib.Path) -> None:
    _with_integers(frame).to_parquet(path, engine="pyarrow", index=False)


WRITERS: dict[str, Callable[[pd.DataFrame, pathlib.Path], None]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".parquet": _write_parquet,
}


def _with_integers(frame: pd.DataFrame) -> pd.DataFrame:
    present = [column for column in _INTEGER_COLUMNS if column in frame.columns]
    return frame.astype(dict.fromkeys(present, float)).astype(dict.fromkeys(present, "Int64"))


def _plain(value: Any) -> Any:
    """Return a cell as JSON has it: null where there is none, or an infinity."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if pd.isna(value) or (isinstance(value, float) and math.isinf(value)):
        return None
    return value
