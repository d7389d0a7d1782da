"""What studies of methods share: each combines scores, schedules and densities in one table."""

import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.table import Table

from jaxlth import masks, store, trees
from jaxlth.plots import density_lines, mask_plots, result_table, table_charts
from jaxlth.plots.charts import Chart
from jaxlth.plots.density_lines import DensityLine
from jaxlth.plots.figures import Figure
from jaxlth.settings import check_choice, require
from jaxlth.studies import (
    method_figures,
    method_styles,
    method_summary,
    metrics,
    run_info,
    ticket_rows,
)
from jaxlth.studies.study import Draw, Summary, TicketName


def summarize(frame: pd.DataFrame, path: pathlib.Path, *, tolerance: float, width: int) -> Summary:
    """Return the table of mean accuracies by method and density, and its sentence."""
    del width
    metric, token = result_table.metric(frame, metrics.ACCURACY), run_info.token(path)
    methods = method_summary.summary(frame, tolerance=tolerance, losses=bool(token))
    return Summary(
        method_summary.render(methods, metric=metric, tolerance=tolerance, token=token),
        method_summary.sentence(methods, metric=metric),
    )


def baseline(frame: pd.DataFrame, method: str) -> Table:
    """Return Welch's tests of each method against one of them."""
    check_choice("baseline", method, sorted(set(frame["control"])))
    return method_summary.render_tests(
        method_summary.summary(frame, tolerance=0, baseline=method), method
    )


def last(frame: pd.DataFrame) -> Sequence[str]:
    """Return the kinds of figures that a run ends with; none of a run without tickets."""
    return ("accuracy",) if (frame["level"] > 0).any() else ()


def charts(frame: pd.DataFrame, _curves: pd.DataFrame, _path: pathlib.Path) -> list[Chart]:
    """Return accuracy, or loss, by density.

    Raises:
      ValueError: only dense networks are there.
    """
    metric = result_table.metric(frame, metrics.ACCURACY)
    rows = method_summary.tickets(frame)
    dense, pruned = rows[rows["level"] == 0], rows[rows["level"] > 0]
    require(not pruned.empty, "There is no ticket yet, only dense networks.")
    lines = [
        DensityLine(name, style, density_lines.statistics(of, metric), False)
        for name, style in method_styles.of_run(frame).items()
        if len(of := pruned[pruned["control"] == name])
    ]
    reference = result_table.survived(method_summary.reference(dense), metric).dropna()
    return [table_charts.by_density(lines, reference, metric)]


def pruned(frame: pd.DataFrame, path: pathlib.Path) -> pd.DataFrame:
    """Return the rows of the tickets of a run.

    Raises:
      ValueError: there are none.
    """
    rows = method_summary.tickets(frame)
    rows = rows[rows["level"] > 0]
    require(not rows.empty, f"The run {path.name} has no ticket yet, only dense networks.")
    return rows


def ticket_row(name: TicketName, path: pathlib.Path) -> pd.Series:
    """Return the row of a ticket that is named by density and method.

    Masks that no density is asked of, as those of bernoulli, need none to be named.

    Raises:
      ValueError: the run has no such ticket.
    """
    ticket_rows.refuse(ticket_rows.BY_METHOD, path, name)
    has_densities = bool(run_info.setting(path, "densities"))
    if name.method is None or (name.density is None and has_densities):
        raise ValueError(
            f"A ticket of {path.name}, a run of `jaxlth {run_info.study_name(path)}`, is named by "
            "`density` and `method`; `jaxlth results` lists them."
        )
    rows = pruned(run_info.results(path), path)
    return ticket_rows.find(ticket_rows.BY_METHOD, rows, path, name)


def sparsest(frame: pd.DataFrame, path: pathlib.Path) -> pd.DataFrame:
    """Return the rows of the sparsest tickets of the first replicate that has some."""
    rows = pruned(frame, path)
    rows = rows[rows["density"] == rows["density"].min()]
    rows = rows[rows["replicate"] == rows["replicate"].min()]
    return rows.sort_values("control")


def units(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...] = ()) -> Figure:
    """Return the figure of the sparsity of units, of the sparsest tickets."""
    densities = {
        method: np.concatenate(list(masks.unit_densities(mask).values()))
        for method, mask in _masks(frame, path).items()
    }
    return mask_plots.unit_sparsities(densities, method_styles.of_run(frame))


def overlap(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...] = ()) -> Figure:
    """Return the figure of what masks share, of the sparsest tickets."""
    kept = {
        method: [np.asarray(leaf) for leaf in trees.named(mask).values()]
        for method, mask in _masks(frame, path).items()
    }
    return mask_plots.similarity(mask_plots.jaccard(kept))


def _masks(frame: pd.DataFrame, path: pathlib.Path) -> dict[str, masks.Mask]:
    run, rows = store.open_readonly(path), sparsest(frame, path)
    pairs = zip(rows["control"], rows["unit"], strict=True)
    return {method: run.load(artifact, "mask") for method, artifact in pairs}


FIGURES: dict[str, Draw] = {
    "accuracy": lambda frame, _path, _levels: method_figures.accuracy(frame),
    "train-accuracy": lambda frame, *_: method_figures.accuracy(frame, metric="train_accuracy"),
    "layers": lambda frame, _path, _levels: method_figures.layers(frame),
    "units": units,
    "overlap": overlap,
}
HELP = {  # a line for each
    "accuracy": "test accuracy by density, a panel for each schedule",
    "train-accuracy": "the same on the training set",
    "layers": "weights that masks keep of each layer",
    "units": "how sparse the units of masks are",
    "overlap": "weights that pairs of masks share",
}
