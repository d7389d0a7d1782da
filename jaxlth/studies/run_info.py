"""What studies read of a finished run: its study, its settings, its table of results."""

from __future__ import annotations

import collections
import dataclasses
import operator
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from jaxlth import distributed, settings, store
from jaxlth.data.config import AND, FILES
from jaxlth.process import code, paths
from jaxlth.settings import require
from jaxlth.store import Run

if TYPE_CHECKING:
    import pandas as pd

C = TypeVar("C")

# Studies of the first edition, and what they are called now.
RENAMED_STUDIES = {
    "early": "prune-early",
    "supermask": "threshold-masks",
    "train-mask": "train-supermasks",
}


def study_name(path: pathlib.Path) -> str:
    """Return the name of the study of the run in a folder."""
    return store.about_run(path)["job"]


def setting(path: pathlib.Path, name: str) -> Any:
    """Return a setting of the run in a folder.

    Raises:
      StoreError: the run does not have it, as one of another version may not.
    """
    with store.understood(path) as about:
        return about["settings"][name]


def loss(path: pathlib.Path) -> str:
    """Return the loss that networks of a run are trained on; older runs have but one."""
    return store.about_run(path)["settings"].get("loss", "cross-entropy")


def token(path: pathlib.Path) -> str:
    """Return what the language model of a run predicts, "character" or "token"; else ""."""
    settings = store.about_run(path)["settings"]
    if settings.get("loss") != "next-token":
        return ""
    name = settings["data"]["name"]
    return "character" if name.partition(":")[0] == "text" else "token"


def results(path: pathlib.Path) -> pd.DataFrame:
    """Return the table of results of a run.

    Raises:
      ValueError: the table is empty.
    """
    frame = store.table([path])
    require(
        not frame.empty,
        f"The run {path.name} has no finished network yet; the command that made it goes on.",
    )
    return frame


def unfinished(path: pathlib.Path) -> str:
    """Return a sentence that names the replicates that a run still lacks networks of; "" for none.

    It keeps readers from taking a mean over some replicates for the mean over all.
    """
    about = store.about_run(path)
    names = [name for name, _ in store.open_readonly(path).records()]
    replicates = about["settings"].get("replicates", 0)
    if about["planned"] is None or len(names) >= about["planned"]:
        return ""
    owners = collections.Counter(store.share.replicate_of(name) for name in names)
    counts = {replicate: owners[replicate] for replicate in range(replicates)}
    most = max(counts.values(), default=0)
    lacking = [f"{r} ({count} of {most})" for r, count in counts.items() if count < most]
    if not lacking:
        return ""
    who = f"replicate {lacking[0]} lacks"
    if len(lacking) > 1:
        who = f"replicates {', '.join(lacking)} lack"
    return f"Unfinished: {who} networks that others have. Means there are over fewer replicates."


def undilated(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the networks that were trained as long as the settings say."""
    return frame[frame["dilation"] == 1]


def has_artifacts(path: pathlib.Path, enough: Callable[[Run], bool]) -> bool:
    """Return whether the run in a folder has enough artifacts; the main process looks for all.

    Args:
      path: folder of the run, which need not exist.
      enough: whether a run has all that is wanted.
    """
    return distributed.on_main(lambda: store.is_run(path) and enough(store.open_readonly(path)))


def require_artifact(run: Run, artifact: str) -> None:
    """Check that a run has an artifact.

    Raises:
      ValueError: the run has no such artifact.
      TypeError: `run` is a name or a path.
    """
    _check_run(run)
    message = f"The run {run.path.name} has no {artifact}; `jaxlth results` shows what it has."
    settings.require(run.has(artifact), message)


def _check_run(run: Run) -> None:
    if not isinstance(run, Run):
        raise TypeError(
            f"`run` must be an opened run; got {run!r}. For the tickets of a folder, call "
            "`jaxlth.studies.open(folder).ticket(...)`."
        )


def located(config: C, path: pathlib.Path, *, here_first: bool = False) -> C:
    """Return a config whose relative paths lead from the directory in which its run began.

    Those are files of weights and masks, the data directory, files and folders of data, and files
    of parts of one's own, FILE.py:NAME; but not of scores, by whose names records are called. The
    run keeps the paths as they were typed, as its folder's name depends on them. Where the file is
    not there any more, or the run does not say its directory, a path leads from the working
    directory.

    Args:
      config: of a study.
      path: folder of the run.
      here_first: whether files of the working directory go before, as for a path just typed.
    """
    directory = store.about_run(path).get("directory")

    def absolute(given: str | None) -> str | None:
        if not given or given == code.OWN or not isinstance(directory, str):
            return given
        if code.is_spec(given):
            file, _, name = given.rpartition(":")
            return f"{absolute(file)}:{name}"
        here = paths.expand(given, setting="path")
        there = os.path.join(directory, here)
        is_there = os.path.exists(there) and not (here_first and os.path.exists(here))
        return there if is_there else given

    def part(name: str) -> str:  # a name of the library's may be that of a file, too
        return absolute(name) or "" if code.is_spec(name) else name

    values: Any = config
    files = {name: absolute(getattr(values, name)) for name in ("initial", "initial_mask")}
    parts = {name: part(getattr(values, name)) for name in ("loss", "error")}
    prefix, colon, name = values.data.name.partition(":")
    has_path = prefix + colon in FILES or (prefix == "folder" and values.data.directory is None)
    source = f"{prefix}:{absolute(name)}" if has_path else part(values.data.name)
    data = dataclasses.replace(
        values.data,
        name=values.data.name if AND in source else source,  # in which sets lie side by side
        augment=part(values.data.augment),
        data_dir=absolute(values.data.data_dir),
    )
    model = dataclasses.replace(values.model, name=part(values.model.name))
    optimizer = dataclasses.replace(values.optimizer, optimizer=part(values.optimizer.optimizer))
    return dataclasses.replace(
        values, data=data, model=model, optimizer=optimizer, **parts, **files
    )


def read_config(run: Run, kind: type[C]) -> tuple[C, dict[str, Any]]:
    """Return the settings of a run, `located`, and `shape` and `classes` of its images.

    Args:
      run: of the job whose settings these are.
      kind: class of the settings.

    Raises:
      StoreError: the run does not say so, or has settings that this version does not know.
    """
    _check_run(run)
    with store.understood(run.path) as about:
        facts = about["facts"]
        shape = tuple(map(operator.index, facts["shape"]))
        images = {"shape": shape, "classes": operator.index(facts["classes"])}
        return located(settings.from_dict(kind, about["settings"]), run.path), images
