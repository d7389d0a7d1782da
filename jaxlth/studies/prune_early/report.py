"""Figures and tickets of pruning before, early in, or between trainings."""

import pathlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from jaxlth import masks, store
from jaxlth.data import DataError
from jaxlth.plots import mask_plots
from jaxlth.plots.figures import Figure
from jaxlth.settings import require
from jaxlth.store import Run, StoreError
from jaxlth.studies import method_figures, methods, reading, score_names
from jaxlth.studies.lab import Lab
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.prune_early import artifacts
from jaxlth.studies.prune_early.config import Method, PruneEarlyConfig
from jaxlth.studies.prune_early.networks import EarlyNetworks
from jaxlth.studies.prune_early.run import prepare
from jaxlth.studies.run_info import read_config, require_artifact
from jaxlth.studies.study import Figures, TicketName
from jaxlth.studies.train import Ticket
from jaxlth.training.precision import products


def ticket(
    name: TicketName, path: pathlib.Path, parts: Parts = NONE
) -> tuple[Ticket, dict[str, Any]]:
    """Return a ticket, and what its file says of it."""
    row = methods.ticket_row(name, path)
    start = find(store.open_readonly(path), row["density"], _method(row), name.replicate, parts)
    return start, {"method": name.method}


def find(run: Run, density: float, method: Method, replicate: int, parts: Parts = NONE) -> Ticket:
    """Return a ticket of a run: its mask and the network that it starts from.

    The data are read only where that network's weights are scores of training examples.

    Raises:
      DataError: the data are needed, and missing, damaged, or others than those of the run.
      ValueError: the run has no such ticket.
    """
    name = artifacts.ticket(density, method, replicate)
    lab = _lab(run, name, method, parts)
    networks = EarlyNetworks(lab)
    with products(lab.config.training.matmul_precision):
        network = networks.network(networks.keep(density, method), method, replicate)
    return Ticket(network, lab.load_mask(name))


def _lab(run: Run, artifact: str, method: Method, parts: Parts) -> Lab:
    """Return a run with its experiment; with data if a method's tickets start from their scores.

    Raises:
      DataError: the data are needed and missing or damaged.
    """
    if method.weights not in score_names.SEES_DATA:
        return reading.lab(run, PruneEarlyConfig, artifact, parts)
    config, _ = read_config(run, PruneEarlyConfig)
    require_artifact(run, artifact)
    try:
        experiment = prepare(config, parts)
        reading.check_same(run, experiment)
    except (DataError, StoreError) as error:
        raise DataError(
            f"The tickets of {method} start from scores of training examples. {error}"
        ) from error
    return Lab(experiment, run)


def weights(
    frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...] = (), *, parts: Parts = NONE
) -> list[Figure]:
    """Return the figures of the sparsest tickets' weights before and after training."""
    run, values = store.open_readonly(path), {}
    for _, row in methods.sparsest(frame, path).iterrows():
        start = find(run, row["density"], _method(row), int(row["replicate"]), parts)
        trained = run.load(row["unit"], "network")["params"]
        values[row["control"]] = (
            masks.kept_values(start.network.params, start.mask),
            masks.kept_values(trained, start.mask),
        )
    return mask_plots.weight_pages(values)


def steps(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...]) -> Figure:
    """Return the figure of accuracy by the step that is pruned at."""
    require(
        bool((frame["prune_step"] > 0).any()),
        f"The run {path.name} has no ticket pruned after initialisation; `jaxlth prune-early "
        "--rewind-steps 0 100` trains some.",
    )
    return method_figures.steps(frame)


def _method(row: Mapping[Any, Any]) -> Method:
    """Return the method of a ticket, a row of the table of results."""
    names = ("score", "schedule", "ablation", "weights")
    return Method(*(row[name] for name in names), step=int(row["prune_step"]))


FIGURES = Figures(
    kinds=methods.FIGURES | {"weights": weights, "steps": steps},
    last=methods.last,
    help=methods.HELP
    | {
        "weights": "weights of the sparsest tickets before and after training",
        "steps": "accuracy by the step that is pruned at (--rewind-steps)",
    },
    of_parts=("weights",),
)
