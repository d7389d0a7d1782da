"""The lines of results: a log of finished units while a run goes on. The records are the truth.

Each line holds its own checksum. A line without it is torn, damaged or of an older version, and is
made again from the record of its unit when the run is opened.
"""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from jaxlth.store import artifacts, atomic

RESULTS = "results.jsonl"
REMEDY = "Delete this file: the next command on this run makes it again."


def append(path: pathlib.Path, unit: str, record: Mapping[str, Any]) -> None:
    """Add the line of a unit to the results of a run.

    Raises:
      StoreError: the file cannot be written.
    """
    with atomic.writing(path / RESULTS), open(path / RESULTS, "a", encoding="utf-8") as file:
        file.write(_line(unit, record))


def mend(path: pathlib.Path, finished: Iterable[str]) -> None:
    """Have one whole line for each finished unit, as far as possible in the order of the file.

    Raises:
      StoreError: the file cannot be read or written, or the record of a unit without a whole line
        is damaged.
    """
    lines, finished = _lines(path), list(finished)
    whole = {unit: line for unit, line in lines if unit in finished}
    if set(whole) == set(finished) and len(whole) == len(lines):
        return
    missing = iter([unit for unit in finished if unit not in whole])
    places = dict.fromkeys(unit if unit in whole else next(missing, None) for unit, _ in lines)
    order = [unit for unit in [*places, *missing] if unit is not None]
    made = {unit: _line(unit, _record(path, unit)) for unit in order if unit not in whole}
    atomic.write_text(path / RESULTS, "".join((whole | made)[unit] for unit in order))


def _lines(path: pathlib.Path) -> list[tuple[str | None, str]]:
    """Return the unit of each line of results and the line; None for one that is not whole."""
    if not (path / RESULTS).exists():
        return []
    content = atomic.read_bytes(path / RESULTS, remedy=REMEDY)
    lines = content.decode("utf-8", errors="replace").splitlines(keepends=True)
    return [(_unit(line), line) for line in lines]


def _unit(line: str) -> str | None:
    try:
        found = json.loads(line)
        whole = atomic.CHECKSUM in found and atomic.is_whole(found) and line.endswith("\n")
        return found["unit"] if whole else None
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return None


def _record(path: pathlib.Path, unit: str) -> dict[str, Any]:
    return artifacts.record(artifacts.locate(path, unit))


def _line(unit: str, record: Mapping[str, Any]) -> str:
    numbers = {key: value for key, value in record.items() if key != "curve"}
    plain = json.loads(atomic.to_json({"unit": unit} | numbers), parse_constant=lambda _: None)
    # NaN is null now: other readers of JSON lines take nothing else.
    return atomic.to_json(atomic.sealed(plain)) + "\n"
