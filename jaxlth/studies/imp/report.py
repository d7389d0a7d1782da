"""Summary, figures and tickets of iterative magnitude pruning."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping

import pandas as pd

from jaxlth import graphs, store
from jaxlth.plots import figures, result_table, theme
from jaxlth.plots.figures import Figure
from jaxlth.settings import check_choice, require
from jaxlth.store import Run
from jaxlth.studies import level_artifacts, level_figures, metrics, reading, run_info, tables
from jaxlth.studies.config import PERCEPTRONS
from jaxlth.studies.controls import CONTROLS, TICKET
from jaxlth.studies.imp import learning, sentences
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.imp.pruning import prune_rule
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import Levels, TrainedNetwork, keep_by_level
from jaxlth.studies.loading import for_reading
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.run_info import read_config, setting, undilated
from jaxlth.studies.study import Figures, Summary
from jaxlth.studies.train import Ticket


def summarize(frame: pd.DataFrame, path: pathlib.Path, *, tolerance: float, width: int) -> Summary:
    """Return the table of accuracies by level, and how far tickets and controls match."""
    rows, token = undilated(frame), run_info.token(path)
    metric = result_table.metric(rows, metrics.ACCURACY)
    summary = tables.summary(rows, metric=metric, tolerance=tolerance, losses=bool(token))
    rewinds = setting(path, "after_pruning") == "rewind"
    rewind_step = setting(path, "rewind_step") if rewinds else None
    return Summary(
        tables.render(summary, metric=metric, tolerance=tolerance, width=width, token=token),
        sentences.sentence(summary, metric=metric, tolerance=tolerance, rewind_step=rewind_step),
    )


def find(run: Run, level: int, control: str, replicate: int, parts: Parts = NONE) -> Ticket:
    """Return a ticket or control of a run: its mask and the state that it starts from.

    Raises:
      ValueError: the run has no such network.
    """
    check_choice("control", control, (TICKET, *CONTROLS))
    artifact = level_artifacts.network(level, control, replicate)
    lab = reading.lab(run, ImpConfig, artifact, parts)
    levels = Levels(lab, lab.config, keep_by_level(lab.config, lab.dense_mask))
    return levels.start(level, control, replicate, prune_rule(lab))()


def dilation(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...]) -> Figure:
    """Return the figure of the length of training that reaches the dense accuracy."""
    require(
        frame["dilation"].nunique() > 1,
        f"The run {path.name} has no dilations; `jaxlth imp --dilations 0.5 2` trains some.",
    )
    least = learning.least_dilations(frame, setting(path, "dilations"))
    drawn, missing = learning.without_unknown(least, frame)
    require(not drawn.empty, f"No network of the run {path.name} was trained long enough yet.")
    figure = figures.dilation(drawn)
    if missing:
        points = "1 point is" if missing == 1 else f"{missing} points are"
        theme.note(figure.axes[0], f"{points} not drawn: networks are still to be trained longer")
    return figure


def first_replicate(frame: pd.DataFrame, path: pathlib.Path) -> level_figures.PrunedNetwork:
    """Return the tickets of the first replicate, all outputs one task."""
    run = store.open_readonly(path)
    config, images = read_config(run, ImpConfig)
    require(
        config.model.name in PERCEPTRONS,
        f"The kinds network and pixels draw perceptrons; the run {path.name} is of "
        f"{config.model.name}.",
    )
    shape, classes = images["shape"], images["classes"]
    # What weights a network starts from is not drawn, so their file may be gone.
    lab = Lab(for_reading(dataclasses.replace(config, initial=""), **images), run)
    prunable = lab.experiment.prunable
    rows = undilated(frame)
    rows = rows[(rows["control"] == TICKET) & (rows["replicate"] == rows["replicate"].min())]
    replicate = int(rows["replicate"].iloc[0])
    masks = {level: TrainedNetwork(lab, level, replicate).mask for level in sorted(rows["level"])}
    task = graphs.Task(tuple(range(math.prod(shape))), tuple(range(classes)))
    tasks = {config.data.name: task}
    return level_figures.PrunedNetwork(
        replicate, max(masks), prunable.like.params, masks, tasks, shape
    )


def _over_each_other(frames: Mapping[str, pd.DataFrame]) -> Figure:
    return figures.accuracy_of({name: undilated(frame) for name, frame in frames.items()})


FIGURES = Figures(
    kinds={
        "accuracy": lambda frame, _path, _levels: figures.accuracy(undilated(frame)),
        "train-accuracy": lambda frame, _path, _levels: figures.accuracy(
            undilated(frame), metric="train_accuracy"
        ),
        "training": level_figures.training,
        "early-stopping": lambda frame, _path, _levels: figures.early_stopping(undilated(frame)),
        "dilation": dilation,
        "network": level_figures.network(first_replicate),
        "pixels": level_figures.input_pixels(first_replicate),
    },
    last=lambda _frame: ("accuracy",),
    help={
        "accuracy": "test accuracy by density, of tickets and controls",
        "train-accuracy": "the same on the training set",
        "training": "test accuracy through training, a line for each level",
        "early-stopping": "step of least validation loss, and test accuracy there, by density",
        "dilation": "length of training that reaches the dense accuracy (--dilations), by density",
        "network": "drawing of a network without convolutions, level by level",
        "pixels": "weights that leave each input pixel, level by level",
    },
    of_levels=level_figures.OF_LEVELS,
    of_several=dict.fromkeys(("accuracy", "train-accuracy"), _over_each_other),
)
