"""The lines of results: a log of finished units while a run goes on. The records are the truth."""

import contextlib
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from jaxlth.store import files, units

RESULTS = "results.jsonl"


def append(path: pathlib.Path, unit: str, record: Mapping[str, Any]) -> None:
    """Add the line of a unit to the results of a run.

    Raises:
      StoreError: the file cannot be written.
    """
    with files.writing(path / RESULTS), open(path / RESULTS, "a", encoding="utf-8") as file:
        file.write(_line(unit, record))


def mend(path: pathlib.Path, finished: Iterable[str]) -> None:
    """Have one line for each finished unit, as a killed process may not have left it.

    Raises:
      StoreError: the file cannot be written, or the record of a unit without a line is damaged.
    """
    lines, finished = _lines(path), list(finished)
    if set(lines) == set(finished):
        return
    kept = [line for unit, line in lines.items() if unit in finished]
    missing = [unit for unit in finished if unit not in lines]
    added = [_line(unit, units.record(units.locate(path, unit))) for unit in missing]
    files.write_text(path / RESULTS, "".join(kept + added))


def _lines(path: pathlib.Path) -> dict[str, str]:
    """Return the lines of results by unit, without one that a killed process left torn."""
    try:
        text = (path / RESULTS).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    lines = {}
    for line in text.splitlines(keepends=True):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            lines[json.loads(line)["unit"]] = line if line.endswith("\n") else f"{line}\n"
    return lines


def _line(unit: str, record: Mapping[str, Any]) -> str:
    numbers = {key: value for key, value in record.items() if key != "curve"}
    plain = json.loads(files.to_json({"unit": unit} | numbers), parse_constant=lambda _: None)
    return files.to_json(plain) + "\n"  # NaN as null: other readers of JSON lines take nothing else
