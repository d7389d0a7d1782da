"""The lines of results: a log of finished artifacts while a run goes on. The records are the truth.

Each line holds its own checksum. A line without it is torn, damaged or of an older version, and is
made again from the record of its artifact when the run is opened.
"""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from jaxlth.store import artifacts, atomic

RESULTS = "results.jsonl"
REMEDY = "Delete this file: the next command on this run makes it again."


def append(path: pathlib.Path, artifact: str, record: Mapping[str, Any]) -> None:
    """Add the line of an artifact to the results of a run.

    Raises:
      StoreError: the file cannot be written.
    """
    with atomic.writing(path / RESULTS), open(path / RESULTS, "a", encoding="utf-8") as file:
        file.write(_line(artifact, record))


def has(path: pathlib.Path, artifact: str) -> bool:
    """Return whether there is an intact line of an artifact."""
    return any(name == artifact for name, _ in _lines(path))


def repair(path: pathlib.Path, finished: Iterable[str]) -> None:
    """Have one intact line for each finished artifact, as far as possible in the order of the file.

    Raises:
      StoreError: the file cannot be read or written, or the record of an artifact without an intact
        line is damaged.
    """
    lines, finished = _lines(path), list(finished)
    intact = {artifact: line for artifact, line in lines if artifact in finished}
    if set(intact) == set(finished) and len(intact) == len(lines):
        return
    missing = iter([artifact for artifact in finished if artifact not in intact])
    places = dict.fromkeys(
        artifact if artifact in intact else next(missing, None) for artifact, _ in lines
    )
    order = [artifact for artifact in [*places, *missing] if artifact is not None]
    remade = {
        artifact: _line(artifact, _record(path, artifact))
        for artifact in order
        if artifact not in intact
    }
    atomic.write_text(path / RESULTS, "".join((intact | remade)[artifact] for artifact in order))


def _lines(path: pathlib.Path) -> list[tuple[str | None, str]]:
    """Return the artifact of each line of results and the line; None for one that is damaged."""
    if not (path / RESULTS).exists():
        return []
    content = atomic.read_bytes(path / RESULTS, remedy=REMEDY)
    lines = content.decode("utf-8", errors="replace").splitlines(keepends=True)
    return [(_artifact_of(line), line) for line in lines]


def _artifact_of(line: str) -> str | None:
    try:
        content = json.loads(line)
        is_intact = (
            atomic.CHECKSUM in content
            and atomic.has_valid_checksum(content)
            and line.endswith("\n")
        )
        return content["unit"] if is_intact else None
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return None


def _record(path: pathlib.Path, artifact: str) -> dict[str, Any]:
    return artifacts.record(artifacts.locate(path, artifact))


def _line(artifact: str, record: Mapping[str, Any]) -> str:
    numbers = {key: value for key, value in record.items() if key != "curve"}
    plain = json.loads(atomic.to_json({"unit": artifact} | numbers), parse_constant=lambda _: None)
    # NaN is null now: other readers of JSON lines take nothing else.
    return atomic.to_json(atomic.with_checksum(plain)) + "\n"
