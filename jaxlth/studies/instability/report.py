"""Summary and figures of instability."""

import pathlib

import pandas as pd

from jaxlth import store
from jaxlth.plots.figures import Figure
from jaxlth.studies.instability import figures as twins
from jaxlth.studies.instability import summary as instability
from jaxlth.studies.run_info import setting
from jaxlth.studies.study import TOLERANCE, Figures, Summary


def summarize(frame: pd.DataFrame, path: pathlib.Path, *, tolerance: float, width: int) -> Summary:
    """Return the table of barriers by step, and from which step on networks are stable."""
    del width
    threshold = setting(path, "threshold")
    summary = instability.summary(frame, threshold=threshold, tolerance=tolerance)
    table = instability.render(summary, threshold=threshold, tolerance=tolerance)
    return Summary(table, instability.sentence(summary))


def onset(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...]) -> Figure:
    """Return the figure of the step from which networks are stable, by density."""
    return twins.onsets(frame, threshold=setting(path, "threshold"), tolerance=TOLERANCE)


FIGURES = Figures(
    kinds={
        "instability": lambda frame, _path, _levels: twins.instability(frame),
        "error": lambda frame, _path, _levels: twins.error(frame),
        "interpolation": lambda frame, path, _levels: twins.interpolation(
            frame, store.curves([path])
        ),
        "throughout": lambda frame, _path, _levels: twins.throughout(frame),
        "distances": lambda frame, _path, _levels: twins.distances(frame),
        "start": lambda frame, _path, _levels: twins.start(frame),
        "onset": onset,
    },
    last=lambda _frame: ("instability",),
    help="Of `jaxlth instability`, by the step that twins start from: error barrier between them "
    "(instability), their error (error), other distances (distances), where they start (start); "
    "the error along the lines (interpolation), the barrier through training (throughout); the "
    "step from which networks are stable, by density (onset).",
)
