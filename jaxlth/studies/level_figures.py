"""Figures of one network through the levels of a run."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from jaxlth import graphs, masks, store
from jaxlth.graphs.categories import PRUNED
from jaxlth.plots import figures, network_drawings, pixel_maps
from jaxlth.plots.figures import Figure
from jaxlth.settings import require
from jaxlth.studies import run_info
from jaxlth.studies.study import Draw

OF_LEVELS = ("training", "network", "pixels")  # kinds of figures that draw chosen levels


class PrunedNetwork(NamedTuple):
    """One network of a run through its levels."""

    replicate: int
    last: int  # the last level to draw by default
    params: Any  # its parameters, or their shapes
    masks: dict[int, masks.Mask]  # by level
    tasks: dict[str, graphs.Task]
    shape: tuple[int, int, int]  # of an image
    columns: Mapping[str, int] | None = None  # of an image that each task has, in their order


Load = Callable[[pd.DataFrame, pathlib.Path], PrunedNetwork]  # (table of results, folder)


def training(frame: pd.DataFrame, path: pathlib.Path, levels: tuple[int, ...]) -> Figure:
    """Return the figure of test accuracy through training."""
    rows, curves = run_info.undilated(frame), store.curves([path])
    densities = rows.groupby("level")["density"].first().to_dict()
    curves = curves[curves["unit"].isin(rows["unit"])]
    return figures.training(curves, levels=levels or None, densities=densities)


def network(load: Load) -> Draw:
    """Return the function that draws pictures of a network at its levels."""

    def draw(frame: pd.DataFrame, path: pathlib.Path, levels: tuple[int, ...]) -> Figure:
        pruned = load(frame, path)
        by_level = _masks(pruned, levels)
        if not levels:
            until = {level: mask for level, mask in by_level.items() if level <= pruned.last}
            readable = network_drawings.drawable_levels(pruned.params, until) or [pruned.last]
            by_level = {level: by_level[level] for level in readable}
        title = f"Replicate {pruned.replicate}"
        return network_drawings.network_at_levels(
            pruned.params, by_level, tasks=pruned.tasks, title=title
        )

    return draw


def input_pixels(load: Load) -> Draw:
    """Return the function that draws how many weights leave each pixel."""

    def draw(frame: pd.DataFrame, path: pathlib.Path, levels: tuple[int, ...]) -> Figure:
        pruned = load(frame, path)
        kept = {
            level: graphs.categories(pruned.params, mask).weights[0] != PRUNED
            for level, mask in _masks(pruned, levels).items()
        }
        title = f"Replicate {pruned.replicate}"
        return pixel_maps.connections(kept, pruned.shape, title=title, sets=pruned.columns)

    return draw


def _masks(pruned: PrunedNetwork, levels: tuple[int, ...]) -> dict[int, masks.Mask]:
    """Return the masks of the levels asked for, of all if none are."""
    for level in levels:
        require(
            level in pruned.masks,
            f"`levels` must be among those of replicate {pruned.replicate}, "
            f"0..{max(pruned.masks)}; got {level}.",
        )
    return {level: pruned.masks[level] for level in levels or pruned.masks}
