"""Summary and figures of instability."""

import functools
import math
import pathlib

import pandas as pd
from rich.table import Table

from jaxlth import store
from jaxlth.plots.figures import Figure
from jaxlth.studies import metrics, run_info, tables
from jaxlth.studies.config import ENTROPIES
from jaxlth.studies.instability import figures as twins
from jaxlth.studies.instability import pages
from jaxlth.studies.instability import summary as instability
from jaxlth.studies.instability.summary import BY_ERROR, BY_LOSS, Measure
from jaxlth.studies.run_info import setting
from jaxlth.studies.study import TOLERANCE, Figures, Summary

FEW_STEPS = 1_000  # of a training that tells little of stability
_DEVIATIONS = ["test_loss_sd", "train_loss_sd"]
_NAMES = {BY_ERROR: "accuracy", BY_LOSS: "loss"}


def summarize(frame: pd.DataFrame, path: pathlib.Path, *, tolerance: float, width: int) -> Summary:
    """Return the table of barriers by step, and from which step on networks are stable."""
    del width
    threshold = setting(path, "threshold")
    summary = instability.summary(frame, threshold=threshold, tolerance=tolerance)
    loss = run_info.loss(path)
    has_error = loss in ENTROPIES or bool(store.about_run(path)["settings"].get("error"))
    unit = {"loss": loss, "token": run_info.token(path), "has_error": has_error}
    table = render(summary, threshold=threshold, tolerance=tolerance, **unit)
    images = setting(path, "training")["train_examples"]
    of_train = f"Values on the training set are of at most {images:,} of its examples."
    sentences = [instability.sentence(summary), *remarks(frame, summary), of_train]
    return Summary(table, " ".join(sentences))


def remarks(frame: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """Return what "matches" and "stable" are to be read with: the dense value, too few steps."""
    by = _measure(summary)
    dense, steps = instability.reference(frame, by), frame["compared_step"].max()
    value = (
        f"reach an accuracy of {100 * dense:.2f} %"
        if by == BY_ERROR
        else f"reach a test loss of {dense:.4g}"
    )
    value = "diverged" if math.isnan(dense) else value
    lines = [f"Dense networks trained beside the twins {value}."]
    few = (
        f"Twins train for but {steps:,.0f} steps, which leaves them little time to part: this says"
        " little of longer trainings."
    )
    return lines + [few] * bool(steps < FEW_STEPS)


def _measure(summary: pd.DataFrame, *, has_error: bool = True) -> Measure:
    """Return what networks are compared by: by losses where only these are defined.

    Where all twins diverged the summary has neither, and `has_error` says it.
    """
    has_losses = summary["loss"].notna().any() or not has_error
    only_losses = summary["accuracy"].isna().all() and has_losses
    return BY_LOSS if only_losses else BY_ERROR


def render(
    summary: pd.DataFrame,
    *,
    threshold: float,
    tolerance: float,
    loss: str = "cross-entropy",
    token: str = "",
    has_error: bool = True,
) -> Table:
    """Return the summary as a table for a terminal: errors in percent, and below them losses.

    Args:
      summary: what `instability.summary` returned; without errors the table has but the losses,
        without losses, as of older runs, but the errors.
      threshold: instability below which a network is stable.
      tolerance: how far from dense still matches.
      loss: name of the loss.
      token: what a token of a language model is; "" for other networks.
      has_error: whether an error is defined beside the loss.
    """
    by = _measure(summary, has_error=has_error)
    losses_below = summary["loss"].notna().any() and by == BY_ERROR
    unit = " in nats" if loss in ENTROPIES else ""
    caption = _caption(summary, by, unit, token, threshold, tolerance)
    if losses_below:
        bits = f", in nats and in bits per {token}" if token else ""
        caption.insert(1, f"Below: mean loss barrier{unit}, and test loss{bits}.")
    table = tables.plain("\n".join(caption))
    several = summary["length"].nunique() > 1
    table.add_column("network", overflow="fold")
    titles = ["from step", "test", "train", _NAMES[by], "of mean"]
    for title in ["twins train"] * several + titles:
        table.add_column(title, justify="right", no_wrap=True)
    for _, row in summary.iterrows():
        cells = [str(row["network"]), *[str(row["length"])] * several, str(row["step_k"])]
        numbers = _numbers(row, by, token, stars=("*" * row["stable"], "*" * row["matches"]))
        if losses_below:
            below = _numbers(row.drop(_DEVIATIONS), BY_LOSS, token)  # to leave names their room
            numbers = map("\n".join, zip(numbers, below, strict=True))
        table.add_row(*cells, *numbers)
    return table


def _caption(
    summary: pd.DataFrame, by: Measure, unit: str, token: str, threshold: float, tolerance: float
) -> list[str]:
    """Return the lines below the table."""
    many, lost = tables.span(summary["n"]), int((summary["pairs"] - summary["n"]).sum())
    what, value = "Error barrier between twins in points", metrics.unit_of(by.metric, token).lower()
    stable = f"below {100 * threshold:g} points on the test set"
    if by == BY_LOSS:
        what, value = f"Loss barrier between twins{unit}", "test loss"
        stable = f"below {100 * threshold:g} % of the test loss, as no error is defined"
    over = {"": "of no pair", "1": "of 1 pair"}.get(many, f"mean ± sd of {many} pairs")
    lines = [
        f"{what}, {over}; {value}, of the twins, and of the mean of their weights.",
        f"* stable: {stable}.",
        f"* of {_NAMES[by]}: matches the dense network{metrics.within(tolerance, by.metric)}.",
    ]
    if summary["network"].str.endswith(instability.ANEW).any():
        lines.append(
            "Batch statistics are taken anew for the barriers and for the mean of the weights; the "
            f"{_NAMES[by]} of twins, like that of dense networks, is with those of their training."
        )
    return lines + [f"Left out because a twin diverged: {lost} pair{'s' * (lost > 1)}."] * bool(
        lost
    )


def _numbers(
    row: pd.Series, by: Measure, token: str, stars: tuple[str, str] = ("", "")
) -> list[str]:
    """Return barriers on both splits, and what the twins and the mean of their weights reach."""
    test, train = (_barrier(row, split, by) for split in ("test", "train"))
    name = _NAMES[by]
    twins, mean = (_reached(row[column], by, token) for column in (name, f"mean_{name}"))
    stable, matches = (star or " " for star in stars)
    return [test + stable, train, twins + matches, mean]


def _barrier(row: pd.Series, split: str, by: Measure) -> str:
    name = split if by == BY_ERROR else f"{split}_loss"
    mean, sd = row[f"{name}_mean"], row.get(f"{name}_sd")
    if pd.isna(mean):
        return "-"
    if by == BY_LOSS:
        return _loss(mean) + ("" if pd.isna(sd) else f" ± {_loss(sd)}")
    return f"{100 * mean:.2f}" + ("" if pd.isna(sd) else f" ± {100 * sd:.2f}")


def _loss(value: float) -> str:
    """Return a barrier of losses to three decimals, a small one to two digits."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.1e}"


def _reached(value: float, by: Measure, token: str) -> str:
    if pd.isna(value):
        return "-"
    return (
        metrics.loss_and_bits(value)
        if by == BY_LOSS and token
        else metrics.number(value, by.metric)
    )


def instability_figure(
    frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...]
) -> Figure | list[Figure]:
    """Return the figure of instability by the step that twins start from, or its pages."""
    draw = functools.partial(twins.instability, threshold=setting(path, "threshold"))
    return pages.in_pages(draw, frame, pages.by_size)


def onset(frame: pd.DataFrame, path: pathlib.Path, _levels: tuple[int, ...]) -> Figure:
    """Return the figure of the step from which networks are stable, by density."""
    return twins.onsets(frame, threshold=setting(path, "threshold"), tolerance=TOLERANCE)


FIGURES = Figures(
    kinds={
        "instability": instability_figure,
        "error": lambda frame, _path, _levels: pages.in_pages(twins.error, frame, pages.by_size),
        "interpolation": lambda frame, path, _levels: pages.in_pages(
            functools.partial(twins.interpolation, curves=store.curves([path])),
            frame,
            pages.by_network_and_step,
        ),
        "throughout": lambda frame, _path, _levels: pages.in_pages(
            twins.throughout, frame, pages.by_network
        ),
        "distances": lambda frame, _path, _levels: twins.distances(frame),
        "start": lambda frame, _path, _levels: pages.in_pages(
            twins.start, frame, pages.by_network, besides=1
        ),
        "onset": onset,
    },
    last=lambda _frame: ("instability",),
    help={
        "instability": "error barrier between twins, by the step that they start from",
        "error": "error of twins at the end of training, by the step that they start from",
        "interpolation": "error along the lines between twins",
        "throughout": "error barrier through training (--compare-every)",
        "distances": "other distances of twins, by the step that they start from",
        "start": "error of twins where they start, and distances from there",
        "onset": "step from which networks are stable, by density",
    },
)
