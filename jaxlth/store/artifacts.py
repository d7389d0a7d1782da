"""Artifacts of a run folder: put there whole, read back with their checksums tested.

New content is written to a folder of the run, `.unfinished`, and moved into place when it is whole,
its record last. What a killed process left there is removed by the next one. Processes that share
a run have such a folder each, see `stage_of`.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from jaxlth.settings import require
from jaxlth.store import arrays, atomic, checkpointer, tensor_files

RECORD = "record.json"
ARRAYS = "arrays"
UNFINISHED = ".unfinished"
RETRAIN = "Delete the folder {folder} and run the same command: only this network is trained again."
RESTART = "Delete the folder {folder} and run the same command: only this network starts again."


class Checkpoint(NamedTuple):
    """The state inside an artifact that is not finished."""

    step: int
    state: Any  # as it was given to `Run.checkpoint`, with NumPy arrays
    notes: dict[str, Any]


def locate(run: pathlib.Path, name: str) -> pathlib.Path:
    """Return the folder of an artifact.

    Raises:
      ValueError: `name` is not a plain relative path.
    """
    parts = str(name).split("/")
    require(
        all(re.fullmatch(r"\w[\w.=+-]*", part) and part != ARRAYS for part in parts),
        f"`artifact` must be a relative path of letters, digits and any of _.=+-; got {name!r}.",
    )
    return run.joinpath(*parts)


def finished(run: pathlib.Path) -> list[str]:
    """Return the names of the finished artifacts in a run folder, replicate 2 before 10."""
    artifacts = []
    for root, folders, names in os.walk(run):
        folders[:] = [
            name for name in folders if _may_hold_records(name) and not is_checkpoint(name)
        ]
        if RECORD in names:
            artifacts.append(pathlib.Path(root).relative_to(run).as_posix())
    return sorted(artifacts, key=_natural)


def stage_of(run: pathlib.Path, replicates: tuple[int, ...] | None) -> pathlib.Path:
    """Return the folder in which new content is written by who has these replicates."""
    return run / (UNFINISHED if replicates is None else f"{UNFINISHED}_{min(replicates)}")


def put(
    stage: pathlib.Path,
    folder: pathlib.Path,
    trees: Mapping[str, Any],
    record: Mapping[str, Any],
    *,
    save: arrays.Save = tensor_files.save,
) -> None:
    """Store trees and record in a folder, whole or not at all; what it held is replaced.

    Args:
      stage: where the content is written first; see `stage_of`.
      folder: its place.
      trees: trees of arrays by name.
      record: what JSON can hold.
      save: what writes the arrays.

    Raises:
      StoreError: the disk is full or the folder unwritable; nothing stored before has changed.
    """
    atomic.remove(stage)
    try:
        with atomic.writing(stage):
            stage.mkdir(parents=True)
        described = arrays.write(stage / ARRAYS, trees, save=save)
        content = {
            "record": record,
            "trees": described,
            "files": arrays.fingerprint(stage / ARRAYS),
        }
        atomic.write_checked(stage / RECORD, content)
        settle(stage, folder)
    finally:
        with contextlib.suppress(atomic.StoreError):  # a full disk was reported already
            atomic.remove(stage)


def settle(stage: pathlib.Path, folder: pathlib.Path) -> None:
    """Move arrays and record from a stage to a folder; what it held is replaced.

    Raises:
      StoreError: the folder cannot be written.
    """
    with atomic.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).unlink(missing_ok=True)
        atomic.remove(folder / ARRAYS)
        if (stage / ARRAYS).exists():
            atomic.sync(stage / ARRAYS)  # orbax has synced the folders below
            os.rename(stage / ARRAYS, folder / ARRAYS)
        atomic.sync_one(stage / RECORD)
        os.rename(stage / RECORD, folder / RECORD)
        atomic.sync_one(folder)


def raw_records(run: pathlib.Path, under: str = "") -> dict[str, bytes]:
    """Return the bytes of the record of each artifact and checkpoint, by its folder within the run.

    Two of one name are the same if their records are: these hold checksums of all files.

    Args:
      run: the run folder.
      under: an artifact; only this one, its checkpoints and the artifacts below it are looked for.
    """
    contents = {}
    for root, folders, names in os.walk(run / under):
        folders[:] = [name for name in folders if _may_hold_records(name)]
        if RECORD in names:
            folder = pathlib.Path(root)
            contents[folder.relative_to(run).as_posix()] = (folder / RECORD).read_bytes()
    return contents


def superseded(names: Iterable[str]) -> set[str]:
    """Return the record folders that nobody needs: checkpoints that are not an artifact's last.

    Example:
      >>> sorted(superseded(["a", "a/checkpoint_000001", "b/checkpoint_000001"]))
      ['a/checkpoint_000001']
    """
    names = set(names)
    checkpoints = sorted(filter(is_checkpoint, names), key=lambda name: _number(pathlib.Path(name)))
    last = {_artifact_of(name): name for name in checkpoints}
    return {
        name
        for name in checkpoints
        if last[_artifact_of(name)] != name or _artifact_of(name) in names
    }


def clear(run: pathlib.Path, replicates: tuple[int, ...] | None = None) -> None:
    """Remove what a killed process left half written, of these replicates or of all."""
    if replicates is None:
        stages = list(run.glob(f"{UNFINISHED}*"))
    else:
        stages = [stage_of(run, (replicate,)) for replicate in replicates]
    for stage in stages:
        atomic.remove(stage)


def _may_hold_records(folder: str) -> bool:
    return folder != ARRAYS and not folder.startswith(UNFINISHED)


def record(folder: pathlib.Path, *, remedy: str = RETRAIN) -> dict[str, Any]:
    """Return the record stored in a folder.

    Raises:
      StoreError: it is missing or damaged.
    """
    return _read(folder, remedy)["record"]


def records(run: pathlib.Path) -> list[tuple[str, dict[str, Any]]]:
    """Return name and record of each finished artifact of a run, sorted by name.

    Raises:
      StoreError: a record is damaged.
    """
    return [(artifact, record(run / artifact)) for artifact in finished(run)]


def load(folder: pathlib.Path, name: str, like: Any, *, remedy: str = RETRAIN) -> Any:
    """Return one tree stored in a folder, in the structure of `like`.

    Raises:
      StoreError: it is missing or damaged.
      ValueError: the artifact has no tree of this name, or it differs from `like`.
    """
    content = _read(folder, remedy)
    descriptions, remedy = content["trees"], remedy.format(folder=folder)
    if name not in descriptions:
        raise ValueError(
            f"{folder} has no tree {name!r}; it has {', '.join(descriptions) or 'none'}."
        )
    arrays.check_files(folder / ARRAYS, content["files"], remedy=remedy)
    leaves = arrays.read(folder / ARRAYS, name, descriptions[name], remedy=remedy)
    return arrays.rebuild(leaves, like, description=descriptions[name], name=name)


def put_checkpoint(
    stage: pathlib.Path, folder: pathlib.Path, step: int, state: Any, notes: Mapping[str, Any]
) -> None:
    """Store the state inside an artifact, then remove older ones.

    Raises:
      StoreError: it cannot be written; the checkpoint before it is still there.
    """
    old = _checkpoints(folder)
    number = _number(old[-1]) + 1 if old else 0
    put(
        stage,
        folder / f"checkpoint_{number:06d}",
        {"state": state},
        {"step": step, "notes": dict(notes)},
        save=checkpointer.save,
    )
    for path in old:
        atomic.remove(path)


def latest(folder: pathlib.Path, like: Any, noted: Mapping[str, str]) -> Checkpoint | None:
    """Return the newest complete checkpoint of an artifact, or None; also None without these notes.

    Raises:
      StoreError: it is damaged, or its state differs from `like`.
    """
    newest = _newest(folder)
    if newest is None or not _has_notes(newest, noted):
        return None
    saved = record(newest, remedy=RESTART)
    try:
        state = load(newest, "state", like, remedy=RESTART)
    except ValueError as error:
        remedy = RESTART.format(folder=newest)
        raise atomic.StoreError(f"{newest} is of another training: {error} {remedy}") from error
    return Checkpoint(saved["step"], state, saved["notes"])


def latest_step(folder: pathlib.Path, noted: Mapping[str, str]) -> int | None:
    """Return the step of the newest complete checkpoint of an artifact, or None; see `latest`.

    Raises:
      StoreError: it is damaged.
    """
    newest = _newest(folder)
    if newest is None or not _has_notes(newest, noted):
        return None
    return record(newest, remedy=RESTART)["step"]


def _has_notes(checkpoint: pathlib.Path, noted: Mapping[str, str]) -> bool:
    """Return whether a checkpoint has these notes; one that it lacks is empty."""
    notes = record(checkpoint, remedy=RESTART)["notes"]
    return all(notes.get(name, "") == value for name, value in noted.items())


def drop_checkpoints(folder: pathlib.Path) -> None:
    """Remove all checkpoints of an artifact."""
    for path in _checkpoints(folder):
        atomic.remove(path)


def is_checkpoint(name: str) -> bool:
    """Return whether a folder, by its name or its path, is that of a checkpoint."""
    return re.fullmatch(r"checkpoint_\d{6,}", name.rpartition("/")[2]) is not None


def _read(folder: pathlib.Path, remedy: str) -> dict[str, Any]:
    return atomic.read_checked(folder / RECORD, remedy=remedy.format(folder=folder))


def _newest(folder: pathlib.Path) -> pathlib.Path | None:
    complete = [path for path in _checkpoints(folder) if (path / RECORD).exists()]
    return complete[-1] if complete else None


def _checkpoints(folder: pathlib.Path) -> list[pathlib.Path]:
    checkpoints = [path for path in _entries(folder) if is_checkpoint(path.name)]
    return sorted(checkpoints, key=_number)


def _number(checkpoint: pathlib.Path) -> int:
    return int(checkpoint.name.rpartition("_")[2])


def _entries(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _artifact_of(checkpoint: str) -> str:
    return checkpoint.rpartition("/")[0]


def _natural(artifact: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers within text by their value."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", artifact)
    ]
