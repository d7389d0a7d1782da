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
    help="Of `jaxlth separation`, by level: accuracy of tasks and weights of each category "
    "(separation), inactive and zombie weights (unused), units of one task only (degrees); "
    "accuracy of tasks by available weights (tasks). Of `jaxlth separation`, and of `jaxlth imp` "
    "without convolutions: pictures of a network at its levels (network), weights that leave each "
    "pixel (pixels).",
    of_levels=level_figures.OF_LEVELS,
)
