"""`jaxlth figure`: draw stored runs."""

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd

from jaxlth import store, studies
from jaxlth.cli import results
from jaxlth.cli.commands import Figure
from jaxlth.plots import figures
from jaxlth.settings import require
from jaxlth.studies import STUDIES, run_info
from jaxlth.studies.study import styled


def figure(command: Figure) -> int:
    """Draw a figure."""
    if command.file is not None:
        figures.check(command.file)
    paths = results.run_folders(command.runs, command.out)
    _check_kind(command, paths)
    frames = dict(store.damage.skip_damaged(paths, _with_table, errors=(ValueError,)))
    file = pathlib.Path(command.file or next(iter(frames)) / f"{command.kind}.png")
    for page in figures.save_pages(_draw(command, frames), file):
        print(page)
    for path in frames:
        if lacking := run_info.unfinished(path):
            print(lacking, file=sys.stderr)
    return 0


def _with_table(path: pathlib.Path) -> tuple[pathlib.Path, pd.DataFrame]:
    return path, run_info.results(path)


def _check_kind(command: Figure, paths: list[pathlib.Path]) -> None:
    """Raise ValueError unless runs of these studies, and so many, are drawn by the kind."""
    of_runs = [studies.of_run(path) for path in paths]
    for study in of_runs:
        kinds = study.figures.kinds
        others = [name for name, other in STUDIES.items() if command.kind in other.figures.kinds]
        require(
            command.kind in kinds,
            f"The kind {command.kind} draws runs of `jaxlth {', '.join(others)}`; of "
            f"`jaxlth {study.name}` there are {', '.join(kinds)}.",
        )
    alone = [study.name for study in of_runs if command.kind not in study.figures.of_several]
    require(
        len(paths) == 1 or not alone,
        f"Runs of `jaxlth {' '.join(alone[:1])}` are drawn one at a time.",
    )


def _draw(command: Figure, frames: Mapping[pathlib.Path, pd.DataFrame]) -> Any:
    path, frame = next(iter(frames.items()))
    study = studies.of_run(path)
    if len(frames) == 1:
        return study.draw(command.kind, frame, path, command.levels, style=command.style)
    tables = dict(zip(store.table_names(list(frames)), frames.values(), strict=True))
    return styled(command.style, study.figures.of_several[command.kind], tables)
