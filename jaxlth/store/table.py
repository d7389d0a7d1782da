"""The tidy table of results: one row for each network trained, over any number of runs."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxlth import settings
from jaxlth.store import artifacts, atomic, damage, metadata, remote

if TYPE_CHECKING:
    import pandas as pd

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def table(paths: Paths) -> pd.DataFrame:
    """Return one row for each finished artifact of the runs, snapshots within a training aside.

    Columns are `run` (see `table_names`), `unit`, the record's in their order without `curve` (a
    table in it is spread, "layer_densities.Dense_0/kernel"), and then each setting that is changed
    from its default in one of the runs, as "optimizer.lr". A setting that has the name of a number
    of the record is called "settings.NAME". Whole numbers stay whole where some are missing
    (`Int64`); missing real numbers are NaN.

    Args:
      paths: One run folder or several. Of several, those in which something is damaged are left
        out, and named in the log.

    Raises:
      StoreError: every folder is no run, or something in it is damaged.
    """
    runs = _read(paths)
    named = table_names([run.folder for run in runs])
    changed = dict.fromkeys(name for run in runs for name in settings.flat(run.info["changed"]))
    rows, columns = [], dict.fromkeys(["run", "unit"])
    for run, (_, info, records) in zip(named, runs, strict=True):
        values = settings.flat(info["settings"])
        settings_columns = {name: _text(values.get(name)) for name in changed}
        for artifact, record in records:
            if record.get("snapshot"):
                continue
            numbers = settings.flat({key: value for key, value in record.items() if key != "curve"})
            columns |= dict.fromkeys(numbers)
            rows.append(({"run": run, "unit": artifact} | numbers, settings_columns))
    names = {name: f"settings.{name}" if name in columns else name for name in changed}
    full = [
        row | {names[name]: value for name, value in settings_columns.items()}
        for row, settings_columns in rows
    ]
    return _frame(full, [*columns, *names.values()])


def curves(paths: Paths) -> pd.DataFrame:
    """Return one row for each evaluation during training of each finished artifact of the runs.

    Columns are `run`, `unit`, `replicate`, `level`, `control`, `dilation` where a record has one,
    `step`, and then the metrics.

    Args:
      paths: One run folder or several; see `table`.

    Raises:
      StoreError: every folder is no run, or something in it is damaged.
    """
    runs = _read(paths)
    named = table_names([run.folder for run in runs])
    keys = ["replicate", "level", "control"]
    if any("dilation" in record for run in runs for _, record in run.records):
        keys.append("dilation")
    rows, columns = [], dict.fromkeys(["run", "unit", *keys, "step"])
    for run, (_, _, records) in zip(named, runs, strict=True):
        for artifact, record in records:
            curve = record.get("curve") or {}
            columns |= dict.fromkeys(curve)
            network = {"run": run, "unit": artifact} | {key: record.get(key) for key in keys}
            rows += [network | point for point in points(curve)]
    return _frame(rows, list(columns))


def table_names(paths: Sequence[pathlib.Path]) -> list[str]:
    """Return a name for each run: its folder's, with as many of those above as tell all apart.

    Example:
      >>> table_names([pathlib.Path("/lab/a/run"), pathlib.Path("/lab/b/run")])
      ['a/run', 'b/run']
    """
    folders = [path.resolve().parts for path in paths]
    depth = 1
    while len({parts[-depth:] for parts in folders}) < len(set(folders)):
        depth += 1
    return ["/".join(parts[-depth:]) for parts in folders]


def points(curve: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Return a curve as one dictionary for each step; a metric without values is left out."""
    metrics = {name: values for name, values in curve.items() if values}
    return [
        dict(zip(metrics, values, strict=True)) for values in zip(*metrics.values(), strict=True)
    ]


def export_results(path: str | os.PathLike[str]) -> pathlib.Path:
    """Write the table of one run to its file `results.csv`, and return where that is.

    Raises:
      StoreError: the folder is no run, is damaged, or cannot be written.
    """
    target = remote.local(path) / "results.csv"
    atomic.write_text(target, table(path).to_csv(index=False))
    return target


class _Run(NamedTuple):
    """A run as it was read."""

    folder: pathlib.Path
    info: dict[str, Any]  # what it says of itself
    records: list[tuple[str, dict[str, Any]]]  # name and record of each artifact


def _read(paths: Paths) -> list[_Run]:
    several = paths if isinstance(paths, Iterable) and not isinstance(paths, str) else [paths]
    return damage.skip_damaged(several, _read_run)


def _read_run(path: str | os.PathLike[str]) -> _Run:
    folder = remote.local(path)
    return _Run(folder, metadata.read(folder), artifacts.records(folder))


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in columns})


def _column(values: list[Any]) -> pd.Series:
    """Return values as the narrowest kind of column that holds them and what is missing."""
    import pandas as pd

    kinds = {type(value) for value in values if value is not None}
    has_missing = None in values
    if kinds == {int}:
        return pd.Series(values, dtype="Int64" if has_missing else "int64")
    if kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean" if has_missing else "bool")
    return pd.Series(values, dtype="object")


def _text(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
