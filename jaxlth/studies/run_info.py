"""What studies read of a finished run: its study, its settings, its table of results."""

import pathlib
from typing import Any

import pandas as pd

from jaxlth import store
from jaxlth.settings import require


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


def undilated(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the networks that were trained as long as the settings say."""
    return frame[frame["dilation"] == 1]
