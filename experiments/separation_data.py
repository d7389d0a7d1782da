"""Figures of the data that networks separate along: Burger 2024, Figures 4.1 to 4.3."""

import numpy as np
from matplotlib.figure import Figure

from jaxlth.data import Split
from jaxlth.plots import legends, outcome_plots, theme

SHOWN = 7  # images side by side, as in the thesis


def points(split: Split, names: list[str], *, labels_of_others: bool = False) -> Figure:
    """Return the points of each task, coloured by its labels or by those of the other task.

    Args:
      split: images (n, 1, 2 x tasks, 1), labels (n, tasks).
      names: of the tasks.
      labels_of_others: whether colours are those of the next task (4.2) and not its own (4.1).
    """
    rows = np.asarray(split.images, float).reshape(len(split.images), -1)
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    with theme.applied():
        figure, panels = theme.new_figure(panels=len(names))
        for task, axes in enumerate(panels):
            owner = (task + labels_of_others) % len(names)
            for label in (0, 1):
                x, y = rows[split.labels[:, owner] == label, 2 * task : 2 * task + 2].T
                color = outcome_plots.task_style(label).color
                axes.scatter(x, y, s=5, color=color, linewidths=0, label=f"class {label}")
            axes.set_aspect("equal")
            axes.set_title(f"{names[task]}, labels of {names[owner]}", loc="left")
        legends.below_figure(figure)
    return figure


def pictures(split: Split) -> Figure:
    """Return some examples, the sets one below the other (4.3)."""
    halves = np.split(np.asarray(split.images[:SHOWN])[..., 0], 2, axis=2)
    shown = np.concatenate(np.concatenate(halves, axis=1), axis=1)
    with theme.applied():
        figure, (axes,) = theme.new_figure(panels=1)
        axes.imshow(shown, cmap="gray")
        axes.set_axis_off()
        figure.set_size_inches(7, 2.1)
    return figure
