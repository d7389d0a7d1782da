"""The networks of a stored run, for those who look at them."""

import os
from typing import NamedTuple

from jaxlth import data, graphs, settings, store
from jaxlth.data import Info
from jaxlth.store import Run
from jaxlth.studies import level_artifacts, reading
from jaxlth.studies.controls import TICKET
from jaxlth.studies.levels import Levels
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.prunable import prunable_model
from jaxlth.studies.run_info import read_config
from jaxlth.studies.separation.config import SeparationConfig, imp
from jaxlth.studies.separation.measurement import task_names
from jaxlth.studies.separation.pruning import keep_counts, prune_rule
from jaxlth.studies.train import Ticket


class Pruned(NamedTuple):
    """One network through all its levels."""

    tasks: dict[str, graphs.Task]  # by name, in the order of inputs and outputs
    shape: tuple[int, int, int]  # height, width, channels of an image
    columns: dict[str, int]  # of an image that each task has, in their order
    levels: dict[int, Ticket]  # the trained network of each level with its mask, in NumPy


def find(run: Run, level: int, control: str, replicate: int, parts: Parts = NONE) -> Ticket:
    """Return a ticket of a run: its mask and the state that it starts from.

    Args:
      run: of `jaxlth separation`.
      level: of the ticket.
      control: "ticket"; a run of this study has nothing else.
      replicate: of the ticket.
      parts: of the experiment that no setting says.

    Raises:
      ValueError: the run has no such network.
    """
    artifact = level_artifacts.network(level, control, replicate)
    lab = reading.lab(run, SeparationConfig, artifact, parts)
    levels = Levels(lab, imp(lab.config), keep_counts(lab.config, lab.dense_mask))
    return levels.start(level, control, replicate, prune_rule(lab))()


def look(path: str | os.PathLike[str], replicate: int) -> Pruned:
    """Return a network of the run in a folder or at a bucket, as far as it is trained.

    Raises:
      StoreError: it is no run folder, or something in it is damaged.
      ValueError: the run is of another study, or has no such replicate.
    """
    about, run = store.about_run(path), store.open_readonly(path)
    settings.require(
        about["job"] == "separation", f"The run {about['label']} is not of `jaxlth separation`."
    )
    config, images = read_config(run, SeparationConfig)
    with store.understood(run.path) as about:
        parts, widths = (tuple(about["facts"][name]) for name in ("tasks", "widths"))
        whole = {"name": config.data.name, **images, "tasks": parts, "widths": widths}
        info = Info(**whole, train=0, validation=0, test=0)
        owners = [graphs.Task(*task) for task in data.tasks(info)]
        tasks = dict(zip(task_names(info.name), owners, strict=True))
    prunable = prunable_model(config, **images)
    units = [name for name, _ in run.records()]
    levels, level = {}, 0
    while (artifact := level_artifacts.network(level, TICKET, replicate)) in units:
        network = run.load(artifact, "network", prunable.like)
        levels[level] = Ticket(network, run.load(artifact, "mask", prunable.dense))
        level += 1
    settings.require(bool(levels), f"The run {run.path.name} has no replicate {replicate}.")
    height, width, channels = info.shape
    columns = dict(zip(tasks, info.widths, strict=True))
    return Pruned(tasks, (height, width, channels), columns, levels)
