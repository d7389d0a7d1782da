"""Figures of threshold masks: tickets and dense networks in training, by threshold, by size.

References:
  Rolfs, Achieving results with untrained neural networks using Supermasks, Figures 1 to 6.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxlth.plots import control_styles, legends, theme
from jaxlth.settings import require
from jaxlth.studies.threshold_masks.summary import (
    by_threshold,
    check,
    networks,
    untrained,
)

_SEVERAL = 4  # sizes from which on they are drawn in three groups
Groups = Mapping[str, Sequence[str]]  # {title: sizes}


def figure(
    results: pd.DataFrame,
    curves: pd.DataFrame,
    *parts: str,
    split: str,
    groups: Groups | None = None,
) -> Figure:
    """Return a figure with a panel for each part.

    Args:
      results: the table of results of one run.
      curves: its long table of curves.
      *parts: names of `PARTS`, in their order Rolfs's Figures 1 to 6.
      split: "validation" or "test", of which losses and accuracies are.
      groups: sizes that are drawn as one, under a title each; by default each by itself, from four
        sizes on in three groups by their loss, and the baseline by itself.

    Raises:
      ValueError: the run has no network yet of which a part tells.
    """
    drawn = drawable(results)
    for part in parts:
        require(
            part in drawn,
            f"`results` have no network of the kind {' or '.join(sorted(_OF[part]))} yet that did "
            f"not diverge; the panel {part} draws those.",
        )
    data = _PlotData(networks(results, curves, split=split), curves, split, groups)
    with theme.applied():
        made, panels = theme.new_figure(panels=len(parts))
        for axes, part in zip(panels, parts, strict=True):
            PARTS[part](axes, data)
    return made


def drawable(results: pd.DataFrame) -> list[str]:
    """Return the names of the parts that can be drawn: of which some network did not diverge."""
    check(results)
    there = set(results.loc[results["nan_step"].isna(), "kind"])
    return [part for part, kinds in _OF.items() if kinds & there]


class _PlotData(NamedTuple):
    """The data of a figure."""

    networks: pd.DataFrame
    curves: pd.DataFrame
    split: str
    groups: Groups | None

    def losses(self, names: Sequence[str]) -> pd.DataFrame:
        """Return the losses in training of networks, (step, unit); missing once one has ended."""
        rows = self.networks[self.networks["network"].isin(names)]
        whole = rows[rows["nan_step"].isna() & (rows["kind"] != "thresholds")]
        curves = self.curves[self.curves["unit"].isin(whole["unit"])]
        if curves.empty:
            raise ValueError(f"`results` have no trained network {' or '.join(names)} yet.")
        return curves.pivot(index="step", columns="unit", values=f"{self.split}_loss").astype(float)

    def shown(self) -> dict[str, tuple[str, ...]]:
        """Return the sizes that are drawn as one, by title; those of least loss first."""
        rows = self.networks[self.networks["nan_step"].isna()]
        kinds = rows[rows["kind"].isin(("baseline", "size"))]
        losses = kinds.groupby("network")["final_loss"].mean().sort_values()
        if self.groups is not None:
            there = {k: tuple(n for n in v if n in losses.index) for k, v in self.groups.items()}
            return {title: names for title, names in there.items() if names}
        own = tuple(rows.loc[rows["kind"] == "baseline", "network"].unique())
        others = [str(name) for name in losses.index if name not in own]
        groups = {f"{name} (baseline)": (name,) for name in own}
        if len(others) < _SEVERAL:
            return groups | {name: (name,) for name in others}
        parts = np.array_split(np.array(others), 3)
        return groups | {", ".join(part): tuple(part) for part in parts}


def _long(axes: Axes, data: _PlotData) -> None:
    """Draw the loss of the long training."""
    losses = data.losses(["long"])
    _band(axes, losses.dropna(), theme.LineStyle(theme.BLUE, ""), "mean and deviation")
    mean = losses.mean(axis=1)
    axes.axvline(mean.idxmin(), color=theme.GRAY, linestyle=":", linewidth=1)
    theme.note(axes, f"dotted: least mean loss, step {mean.idxmin()}")
    _loss_axes(axes, data, losses)


def _short(axes: Axes, data: _PlotData) -> None:
    """Draw the loss of the training that stops, the mean until the first replicate does."""
    losses = data.losses(["short"])
    for _, column in losses.items():
        each = column.dropna()
        axes.plot(each.index, each, color=theme.GRAY, alpha=0.35, linewidth=0.6)
        axes.plot(each.index[-1], each.iloc[-1], "o", color=theme.ORANGE, zorder=4)
    axes.plot([], [], "o", color=theme.ORANGE, label="end of a replicate")
    _band(axes, losses.dropna(), theme.LineStyle(theme.BLUE, ""), "mean and deviation")
    legends.below_panel(axes, by_end=False)
    _loss_axes(axes, data, losses)


def _densities(axes: Axes, data: _PlotData) -> None:
    """Draw what masks keep by threshold; dots are the thresholds chosen."""
    curve = by_threshold(data.curves, split=data.split)
    _bands(axes, curve, "density", theme.BLUE)
    _plot_thresholds(axes, data, "density")
    _threshold_axes(axes, curve)
    axes.set_ylabel("Weights kept (%)")
    legends.below_panel(axes, by_end=False)


def _accuracies(axes: Axes, data: _PlotData) -> None:
    """Draw the accuracy of untrained networks by threshold; dots are the thresholds chosen."""
    curve, rows = by_threshold(data.curves, split=data.split), untrained(data.curves)
    name = f"{data.split}_accuracy"
    for _, each in rows.groupby("replicate"):
        axes.plot(each["threshold"], 100 * each[name], color=theme.GRAY, alpha=0.35, linewidth=0.6)
    _bands(axes, curve, "accuracy", theme.BLUE)
    _plot_thresholds(axes, data, name)
    _threshold_axes(axes, curve)
    axes.set_ylabel(f"{theme.AXIS_LABELS[name]}, untrained")
    legends.below_panel(axes, by_end=False)


def _training(axes: Axes, data: _PlotData) -> None:
    """Draw the loss in training of tickets and of dense networks."""
    lines = _lines(data)
    drawn = [data.losses(names) for _, names, _ in lines]
    for (title, _, style), losses in zip(lines, drawn, strict=True):
        _band(axes, losses, style, title, mark=True)
    _loss_axes(axes, data, *drawn)
    legends.below_panel(axes, by_end=False)


def _sizes(axes: Axes, data: _PlotData) -> None:
    """Draw what tickets keep, and the sizes of dense networks."""
    for place, (_, names, style) in enumerate(_lines(data)):
        rows = data.networks[data.networks["network"].isin(names)]
        sizes = 100 * rows.loc[rows["nan_step"].isna(), "density"]
        axes.barh(place, sizes.mean(), color=style.color, height=0.62)
        if sizes.std() > 0:
            axes.errorbar(sizes.mean(), place, xerr=sizes.std(), color=theme.BLACK, capsize=3)
    titles = [title.replace(", ", ",\n") for title, _, _ in _lines(data)]
    axes.set_yticks(range(len(titles)), titles)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(left=0)
    axes.set_xlabel("Weights, of those of the baseline (%)")


PARTS: dict[str, Callable[[Axes, _PlotData], None]] = {
    "long": _long,
    "short": _short,
    "densities": _densities,
    "accuracies": _accuracies,
    "training": _training,
    "sizes": _sizes,
}


_OF = {  # kinds of networks that a part draws
    "long": {"long"},
    "short": {"short"},
    "densities": {"thresholds"},
    "accuracies": {"thresholds"},
    "training": {"baseline", "size"},
    "sizes": {"baseline", "size"},
}


def _lines(data: _PlotData) -> list[tuple[str, tuple[str, ...], theme.LineStyle]]:
    """Return title, networks and look of the ticket, if there is one, and of each group."""
    groups = [(title, names) for title, names in data.shown().items()]
    if ((data.networks["kind"] == "ticket") & data.networks["nan_step"].isna()).any():
        groups.insert(0, ("ticket", ("ticket",)))
    looks = [control_styles.line_style("ticket"), *theme.STYLE_CYCLE[1:]]
    return [(*each, looks[place % len(looks)]) for place, each in enumerate(groups)]


def _band(
    axes: Axes, losses: pd.DataFrame, style: theme.LineStyle, title: str, *, mark: bool = False
) -> None:
    """Draw the mean over columns, and one deviation to either side where there are several."""
    mean, spread = losses.mean(axis=1), losses.std(axis=1).fillna(0)
    every = max(1, len(mean) // 10)
    look: dict[str, Any] = {"marker": style.marker, "markevery": every} if mark else {}
    line: dict[str, Any] = {"color": style.color, "label": title, "zorder": 3}
    theme.plot_mean(axes, mean.index, mean, (mean - spread, mean + spread), **line, **look)


def _bands(axes: Axes, curve: pd.DataFrame, name: str, color: str) -> None:
    """Draw mean and deviation by threshold, in percent."""
    mean, spread = 100 * curve[f"{name}_mean"], 100 * curve[f"{name}_sd"].fillna(0)
    line: dict[str, Any] = {"color": color, "marker": "o", "label": "mean and deviation"}
    theme.plot_mean(axes, curve["threshold"], mean, (mean - spread, mean + spread), **line)


def _plot_thresholds(axes: Axes, data: _PlotData, name: str) -> None:
    """Draw a dot for each replicate at the threshold that it chose."""
    best = data.networks[data.networks["kind"] == "thresholds"].dropna(subset=["threshold"])
    if best.empty:
        return
    rows = untrained(data.curves).merge(best[["replicate", "threshold"]])
    look: dict[str, Any] = {"color": theme.ORANGE, "linestyle": "", "marker": "D", "zorder": 5}
    axes.plot(rows["threshold"], 100 * rows[name], label="chosen by a replicate", **look)


def _threshold_axes(axes: Axes, curve: pd.DataFrame) -> None:
    """Label the axes; thresholds that empty a layer lie on gray."""
    axes.set_xlabel("Threshold")
    axes.set_ylim(bottom=0)
    empty = curve.loc[curve["emptied"] > 0, "threshold"]
    if len(empty):
        left, right = axes.get_xlim()
        axes.axvspan(empty.min(), right, color=theme.GRAY, alpha=0.15, linewidth=0)
        axes.set_xlim(left, right)
        theme.note(axes, "gray: empties a layer of some replicate")


def _loss_axes(axes: Axes, data: _PlotData, *drawn: pd.DataFrame) -> None:
    """Label the axes, and show what comes after the first twentieth of training."""
    axes.set_xlabel("Training step")
    axes.set_ylabel(f"{data.split.capitalize()} loss")
    axes.set_xlim(left=0)
    late = [each[each.index >= 0.05 * each.index.max()] for each in drawn]
    tops = [each.mean(axis=1) + each.std(axis=1).fillna(0) for each in late]
    axes.set_ylim(0, 1.05 * max(top.max() for top in tops))
