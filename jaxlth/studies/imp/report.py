"""Summary, figures and tickets of iterative magnitude pruning."""

import math
import pathlib
from collections.abc import Mapping

import pandas as pd

from jaxlth import graphs, store, tickets
from jaxlth.report import figures, learning, sentences, tables
from jaxlth.report.figures import Figure
from jaxlth.settings import require
from jaxlth.studies import levels
from jaxlth.studies.run_info import setting, undilated
from jaxlth.studies.study import Figures, Summary


def summarize(frame: pd.DataFrame, path: pathlib.Path, *, tolerance: float, width: int) -> Summary:
    """Return the table of accuracies by level, and how far tickets and controls match."""
    summary = tables.summary(undilated(frame), tolerance=tolerance)
    rewinds = setting(path, "after_pruning") == "rewind"
    rewind_step = setting(path, "rewind_step") if rewinds else None
    return Summary(
        tables.render(summary, tolerance=tolerance, width=width),
        sentences.sentence(summary, tolerance=tolerance, rewind_step=rewind_step),
    )


def dilation(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...]) -> Figure:
    """Return the figure of the length of training that reaches the dense accuracy."""
    require(
        frame["dilation"].nunique() > 1,
        f"The run {path.name} has no dilations; `jaxlth imp --dilations 0.5 2` trains some.",
    )
    return figures.dilation(learning.least_dilations(frame))


def first_replicate(frame: pd.DataFrame, path: pathlib.Path) -> levels.PrunedNetwork:
    """Return the tickets of the first replicate, all outputs one task."""
    run = store.look(path)
    config, images = tickets.described(run, tickets.ImpConfig)
    shape, classes = images["shape"], images["classes"]
    pruning = tickets.pruning(config, **images)
    require(
        not pruning.model.convolutional,
        f"The kinds network and pixels draw perceptrons; the run {path.name} is of "
        f"{config.model.name}.",
    )
    rows = undilated(frame)
    rows = rows[
        (rows["control"] == tickets.TICKET) & (rows["replicate"] == rows["replicate"].min())
    ]
    replicate, job = int(rows["replicate"].iloc[0]), tickets.Job(pruning, run)
    masks = {level: job.mask(level, replicate) for level in sorted(rows["level"])}
    task = graphs.Task(tuple(range(math.prod(shape))), tuple(range(classes)))
    tasks = {config.data.name: task}
    return levels.PrunedNetwork(replicate, max(masks), pruning.like.params, masks, tasks, shape)


def _over_each_other(frames: Mapping[str, pd.DataFrame]) -> Figure:
    return figures.accuracy_of({name: undilated(frame) for name, frame in frames.items()})


FIGURES = Figures(
    kinds={
        "accuracy": lambda frame, _path, _levels: figures.accuracy(undilated(frame)),
        "train-accuracy": lambda frame, _path, _levels: figures.accuracy(
            undilated(frame), metric="train_accuracy"
        ),
        "training": levels.training,
        "early-stopping": lambda frame, _path, _levels: figures.early_stopping(undilated(frame)),
        "dilation": dilation,
        "network": levels.network(first_replicate),
        "pixels": levels.input_pixels(first_replicate),
    },
    last=lambda _frame: ("accuracy",),
    help="accuracy by density, on the test set (accuracy) or the training set (train-accuracy); "
    "test accuracy through training (training); step and accuracy of least validation loss "
    "(early-stopping); length of training that reaches the dense accuracy (dilation).",
    of_levels=levels.OF_LEVELS,
    of_several=dict.fromkeys(("accuracy", "train-accuracy"), _over_each_other),
)
