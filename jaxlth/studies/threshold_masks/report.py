"""Summary, figures and tickets of supermasks by threshold."""

import pathlib
from collections.abc import Sequence
from typing import Any

import pandas as pd

from jaxlth import store
from jaxlth.plots.figures import Figure
from jaxlth.store import Run
from jaxlth.studies import reading, ticket_rows
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.run_info import setting
from jaxlth.studies.study import Draw, Figures, Summary, TicketName
from jaxlth.studies.threshold_masks import artifacts
from jaxlth.studies.threshold_masks import figures as threshold_figures
from jaxlth.studies.threshold_masks import summary as plots
from jaxlth.studies.threshold_masks.config import ThresholdMasksConfig
from jaxlth.studies.threshold_masks.networks import ThresholdNetworks
from jaxlth.studies.threshold_masks.run import prunable
from jaxlth.studies.train import Ticket

LAST = ("accuracies", "training")  # panels of the figure that a run ends with


def summarize(frame: pd.DataFrame, path: pathlib.Path, *, tolerance: float, width: int) -> Summary:
    """Return the table of tickets and dense networks, and its sentence."""
    del tolerance, width
    curves, split = store.curves([path]), setting(path, "choose_on")
    summary = plots.summary(frame, curves, split=split)
    table = plots.render(summary, curves, split=split)
    return Summary(table, plots.sentence(frame, summary))


def ticket(
    name: TicketName, path: pathlib.Path, parts: Parts = NONE
) -> tuple[Ticket, dict[str, Any]]:
    """Return the ticket of a replicate; its file says nothing else of it."""
    ticket_rows.refuse((), path, name)
    return find(store.open_readonly(path), name.replicate, parts), {}


def find(run: Run, replicate: int, parts: Parts = NONE) -> Ticket:
    """Return a ticket of a run: its mask and the network that it starts from.

    Raises:
      ValueError: the run has no such ticket.
    """
    artifact = artifacts.ticket(replicate)
    lab = reading.lab(run, ThresholdMasksConfig, artifact, parts, prunable=prunable)
    return ThresholdNetworks(lab).ticket(replicate)


def panels(*names: str) -> Draw:
    """Return the function that draws panels in a row, those of them that a run has."""

    def draw(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...]) -> Figure:
        split, drawable = setting(path, "choose_on"), threshold_figures.drawable(frame)
        drawn = [name for name in names if name in drawable]
        return threshold_figures.figure(frame, store.curves([path]), *drawn or names, split=split)

    return draw


def last(frame: pd.DataFrame) -> Sequence[str]:
    """Return the kinds of figures that a run ends with; none where no panel can be drawn."""
    return ("threshold-masks",) if set(LAST) & set(threshold_figures.drawable(frame)) else ()


FIGURES = Figures(
    kinds={
        "threshold-masks": panels(*LAST),
        "stopping": panels("long", "short"),
        "thresholds": panels("densities", "accuracies"),
        "sizes": panels("training", "sizes"),
    },
    last=last,
    help={
        "threshold-masks": "accuracy of untrained masked networks by threshold; loss in training",
        "stopping": "validation loss of the long training, and of the one that stops",
        "thresholds": "weights kept, and accuracy of untrained networks, by threshold",
        "sizes": "loss and size of tickets and of dense networks",
    },
)
