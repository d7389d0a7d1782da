"""Table, figures and tickets of dynamic sparse training."""

import pathlib
from typing import Any

import jax
import pandas as pd
from matplotlib.figure import Figure

from jaxlth import store
from jaxlth.plots import legends, result_table, theme
from jaxlth.studies import method_styles, method_summary, methods, metrics, tables
from jaxlth.studies.dynamic import artifacts
from jaxlth.studies.dynamic.config import IMP, DynamicConfig
from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import for_reading
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.run_info import read_config, require_artifact, token
from jaxlth.studies.study import Figures, Summary, TicketName
from jaxlth.studies.train import Ticket


def summary(frame: pd.DataFrame, *, tolerance: float) -> pd.DataFrame:
    """Return a row for each method and density: that of `method_summary`, with p and flops.

    p is of Welch's test against imp at the same density; flops the mean cost of all trainings that
    a network took, as a share of the dense network's.
    """
    baseline = IMP if IMP in set(frame["control"]) else None
    table = method_summary.summary(frame, tolerance=tolerance, baseline=baseline)
    rows = method_summary.tickets(frame)
    flops = pd.to_numeric(rows["flops"]).groupby([rows["control"], rows["density"]]).mean()
    return table.join(flops.rename("flops"), on=["control", "density"])


def summarize(frame: pd.DataFrame, path: pathlib.Path, *, tolerance: float, width: int) -> Summary:
    """Return the table of methods by density with what they cost, and its sentence."""
    del width
    metric = result_table.metric(frame, metrics.ACCURACY)
    rows = summary(frame, tolerance=tolerance)
    rows = rows.sort_values("density", ascending=False, kind="stable")
    unit, n = metrics.unit_of(metric, token(path)), int(rows["n"].max())
    within = metrics.within(tolerance, metric)
    table = tables.plain(
        f"{unit}, mean of {n} replicates and range.\n"
        f"* matches the dense network{within}.\n"
        "flops: multiplications of all trainings that a network takes, dense = 1.\n"
        "p: of Welch's test against imp."
    )
    for name in ("weights", "method", "mean", "range", "flops", "p"):
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for row in rows.to_dict("records"):
        star = "*" if row["density"] != 1 and row["matches"] else " "
        p = row.get("p")
        table.add_row(
            f"{result_table.percent(row['density'])} %",
            row["control"],
            f"{metrics.number(row['mean'], metric)}{star}",
            f"{metrics.number(row['min'], metric)} to {metrics.number(row['max'], metric)}",
            "-" if pd.isna(row["flops"]) else f"{row['flops']:.3g}",
            "-" if p is None or pd.isna(p) or row["control"] == IMP else f"{p:.2g}",
        )
    return Summary(table, method_summary.sentence(rows, metric=metric))


def flops(frame: pd.DataFrame, _path: pathlib.Path, _levels: tuple[int, ...] = ()) -> Figure:
    """Return accuracy against the cost of all trainings that a network takes."""
    metric = result_table.metric(frame, metrics.ACCURACY)
    label, scale = ("Test loss", 1) if result_table.is_loss(metric) else ("Test accuracy (%)", 100)
    rows = method_summary.tickets(frame)
    rows = rows.assign(
        value=scale * result_table.survived(rows, metric), flops=pd.to_numeric(rows["flops"])
    )
    pruned, dense = rows[rows["level"] > 0], rows[rows["level"] == 0]
    if pruned.empty or pruned["flops"].isna().all():
        raise ValueError("`results` have no ticket yet whose cost is known.")
    styles = method_styles.line_styles(list(dict.fromkeys(pruned["control"])))
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        for method, (color, marker) in styles.items():
            of_method = pruned[pruned["control"] == method]
            points = of_method.groupby("density")[["flops", "value"]].agg(["mean", "min", "max"])
            points = points.sort_values(("flops", "mean"))
            line: dict[str, Any] = {"marker": marker, "label": method}
            band = (points["value", "min"], points["value", "max"])
            theme.plot_mean(
                axes, points["flops", "mean"], points["value", "mean"], band, color=color, **line
            )
        axes.axhline(dense["value"].mean(), color=theme.GRAY, linestyle="--", label="dense")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set(xlabel="Multiplications in training (dense = 1)", ylabel=label)
        legends.below_panel(axes)
    return figure


def ticket(
    name: TicketName, path: pathlib.Path, parts: Parts = NONE
) -> tuple[Ticket, dict[str, Any]]:
    """Return the mask that a network ends with and the weights it starts from, and its method.

    Of static and imp that is what was trained. set and rigl start with another mask; dynamic-imp
    draws weights anew.
    """
    row = methods.ticket_row(name, path)
    run = store.open_readonly(path)
    config, images = read_config(run, DynamicConfig)
    artifact = artifacts.network(row["density"], row["control"], name.replicate)
    require_artifact(run, artifact)
    lab = Lab(for_reading(config, parts, **images), run)
    step = config.rewind_step if row["control"] == IMP else 0
    rewound = artifacts.state(step, name.replicate)
    network = lab.load(rewound) if step else jax.device_get(lab.init(name.replicate))
    return Ticket(network, lab.load_mask(artifact)), {"method": name.method}


FIGURES = Figures(
    kinds=methods.FIGURES | {"flops": flops},
    last=methods.last,
    help=methods.HELP | {"flops": "accuracy by the cost of all trainings that a network takes"},
)
