"""Summary and figures of network separation."""

import pathlib

import pandas as pd

from jaxlth.studies import level_figures
from jaxlth.studies.separation import figures as plots
from jaxlth.studies.separation import summary as outcomes
from jaxlth.studies.separation.reading import look
from jaxlth.studies.study import Figures, Summary


def summarize(frame: pd.DataFrame, _path: pathlib.Path, *, tolerance: float, width: int) -> Summary:
    """Return the table of replicates, and how many of them separated."""
    del tolerance, width
    return Summary(outcomes.render(outcomes.summary(frame)), outcomes.sentence(frame))


def example(frame: pd.DataFrame, path: pathlib.Path) -> level_figures.PrunedNetwork:
    """Return the network that is shown as an example, with the level at which it separated."""
    replicate = outcomes.example(frame)
    tasks, shape, columns, networks = look(path, replicate)
    row = outcomes.outcomes(frame).set_index("replicate").loc[replicate]
    last = int(max(networks) if pd.isna(row["level"]) else row["level"])
    masks = {level: start.mask for level, start in networks.items()}
    return level_figures.PrunedNetwork(
        replicate, last, networks[0].network.params, masks, tasks, shape, columns
    )


FIGURES = Figures(
    kinds={
        "separation": lambda frame, _path, _levels: plots.overview(frame),
        "accuracy": lambda frame, _path, _levels: plots.performance(frame),
        "tasks": lambda frame, _path, _levels: plots.performance_of_tasks(frame),
        "unused": lambda frame, _path, _levels: plots.unused(frame),
        "degrees": lambda frame, _path, _levels: plots.degrees(frame, outcomes.example(frame)),
        "training": level_figures.training,
        "network": level_figures.network(example),
        "pixels": level_figures.input_pixels(example),
    },
    last=lambda _frame: ("separation",),
    help={
        "separation": "accuracy of tasks, and weights of each category, by level",
        "accuracy": "test accuracy by available weights, a line for each replicate",
        "tasks": "test accuracy of each task by available weights",
        "unused": "inactive and zombie weights by level",
        "degrees": "units of each layer that belong to one task only, by level",
        "training": "test accuracy through training, a line for each level",
        "network": "drawing of the network, level by level, in the colours of its tasks",
        "pixels": "weights that leave each input pixel, level by level",
    },
    of_levels=level_figures.OF_LEVELS,
)
