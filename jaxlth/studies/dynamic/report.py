"""Table, figures and tickets of dynamic sparse training."""

import pathlib
from typing import Any

import jax
import pandas as pd
from matplotlib.figure import Figure

from jaxlth import store
from jaxlth.plots import axis_scales, legends, result_table, theme
from jaxlth.studies import method_styles, method_summary, methods, metrics, reading, tables
from jaxlth.studies.dynamic import artifacts
from jaxlth.studies.dynamic.config import IMP, DynamicConfig
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.run_info import token
from jaxlth.studies.study import Figures, Summary, TicketName
from jaxlth.studies.train import Ticket

COST_LABEL = "Multiplications in training (dense = 1)"


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
    unit, many = metrics.unit_of(metric, token(path)), tables.span(rows["n"])
    over = f", mean of {many} replicates and range." if many not in ("", "1") else "."
    lines = [
        f"{unit}{over}",
        f"* matches the dense network{metrics.within(tolerance, metric)}.",
        "flops: multiplications of all trainings that a network takes, dense = 1.",
    ]
    of_tests = ["p"] * ("p" in rows)
    lines += ["p: of Welch's test against imp."] * len(of_tests)
    table = tables.plain("\n".join([*lines, *method_summary.left_out(rows)]))
    for name in ("weights", "method", "mean", "range", "flops", *of_tests):
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for row in rows.to_dict("records"):
        star = "*" if row["matches"] and not row["is_dense"] else " "
        low, mean, high = (metrics.number(row[name], metric) for name in ("min", "mean", "max"))
        cells = [
            f"{result_table.percent(row['density'])} %",
            row["control"],
            f"{mean}{star}" if row["n"] else "failed ",
            f"{low} to {high}" if row["n"] else "-",
            "-" if pd.isna(row["flops"]) else f"{row['flops']:.3g}",
        ]
        if of_tests:
            is_tested = pd.notna(row["p"]) and row["control"] != IMP
            cells.append(f"{row['p']:.2g}" if is_tested else "-")
        table.add_row(*cells)
    return Summary(table, method_summary.sentence(rows, metric=metric))


def costs(frame: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], pd.Series]:
    """Return what each method reaches at what cost, and what dense networks reach.

    A method has a row for each density, which is the index: flops, and mean, min and max of the
    accuracy, or loss, over the replicates; the cheapest first. Methods without a cost are left out.
    """
    metric = result_table.metric(frame, metrics.ACCURACY)
    rows = method_summary.tickets(frame)
    rows = rows.assign(
        value=result_table.survived(rows, metric), flops=pd.to_numeric(rows["flops"])
    )
    pruned, dense = rows[rows["level"] > 0], rows[rows["level"] == 0]
    priced = pruned[pruned["flops"].notna()]
    by_method = {}
    for method, of_method in priced.groupby("control", sort=False):
        by_density = of_method.groupby("density")
        points = by_density["value"].agg(["mean", "min", "max"])
        points = points.assign(flops=by_density["flops"].mean())
        by_method[str(method)] = points.sort_values("flops")
    return by_method, dense["value"]


def flops(frame: pd.DataFrame, _path: pathlib.Path, _levels: tuple[int, ...] = ()) -> Figure:
    """Return accuracy against the cost of all trainings that a network takes."""
    metric = result_table.metric(frame, metrics.ACCURACY)
    scale, _ = result_table.scale(metric)
    by_method, dense = costs(frame)
    drawn = pd.concat([points.dropna() for points in by_method.values()] or [pd.DataFrame()])
    if drawn.empty:
        raise ValueError(
            "`results` have no ticket yet whose cost is known and whose training did not diverge."
        )
    styles = method_styles.of_run(frame)
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        for method, points in by_method.items():
            look: dict[str, Any] = {"color": styles[method].color, "label": method}
            look["marker"] = styles[method].marker
            low, mean, high = (scale * points[name] for name in ("min", "mean", "max"))
            theme.plot_mean(axes, points["flops"], mean, (low, high), **look)
        axes.axhline(scale * dense.mean(), color=theme.GRAY, linestyle="--", label="dense")
        axis_scales.log_axis(axes, "x", drawn["flops"])
        axes.set(xlabel=COST_LABEL, ylabel=theme.AXIS_LABELS[metric])
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
    artifact = artifacts.network(row["density"], row["control"], name.replicate)
    lab = reading.lab(run, DynamicConfig, artifact, parts)
    step = lab.config.rewind_step if row["control"] == IMP else 0
    rewound = artifacts.state(step, name.replicate)
    network = lab.load(rewound) if step else jax.device_get(lab.init(name.replicate))
    return Ticket(network, lab.load_mask(artifact)), {"method": name.method}


FIGURES = Figures(
    kinds=methods.FIGURES | {"flops": flops},
    last=methods.last,
    help=methods.HELP | {"flops": "accuracy by the cost of all trainings that a network takes"},
)
