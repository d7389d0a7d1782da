"""What tickets of `jaxlth early` and `train-mask` look like: figures of their masks and weights.

Of the sparsest tickets of the first replicate that has some.
"""

import pathlib
from typing import Any

import numpy as np
import pandas as pd

from jaxlth import early, masks, store, trees
from jaxlth.cli import stored
from jaxlth.report import views


def units(frame: pd.DataFrame, path: pathlib.Path) -> Any:
    """Return the figure of the sparsity of units."""
    found = {
        name: np.concatenate(list(masks.unit_densities(mask).values()))
        for name, mask in _masks(frame, path).items()
    }
    return views.units(found)


def overlap(frame: pd.DataFrame, path: pathlib.Path) -> Any:
    """Return the figure of what masks share."""
    kept = {
        name: [np.asarray(leaf) for leaf in trees.named(mask).values()]
        for name, mask in _masks(frame, path).items()
    }
    return views.similarity(views.jaccard(kept))


def weights(frame: pd.DataFrame, path: pathlib.Path) -> Any:
    """Return the figure of the weights of tickets of `jaxlth early` before and after training."""
    run, found = store.look(path), {}
    for _, row in _sparsest(frame, path).iterrows():
        start = early.find(run, row["density"], stored.method(row), int(row["replicate"]))
        trained = run.load(row["unit"], "network")["params"]
        found[row["control"]] = (
            masks.kept_values(start.network.params, start.mask),
            masks.kept_values(trained, start.mask),
        )
    return views.histograms(found)


def _masks(frame: pd.DataFrame, path: pathlib.Path) -> dict[str, masks.Mask]:
    run, rows = store.look(path), _sparsest(frame, path)
    pairs = zip(rows["control"], rows["unit"], strict=True)
    return {control: run.load(unit, "mask") for control, unit in pairs}


def _sparsest(frame: pd.DataFrame, path: pathlib.Path) -> pd.DataFrame:
    rows = stored.pruned(frame, path)
    rows = rows[rows["density"] == rows["density"].min()]
    rows = rows[rows["replicate"] == rows["replicate"].min()]
    return rows.sort_values("control")
