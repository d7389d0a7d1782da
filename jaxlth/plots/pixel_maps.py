"""Maps of the pixels that a network reads: their statistics, and how many weights leave them.

References:
  Burger 2024, section 4.3.2.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxlth.plots import axis_scales, theme

_BATCH = 4096  # images, so that a data set is never copied at once


def statistics(images: np.ndarray) -> Figure:
    """Return mean and variance of each pixel over images (Figures 4.22 and 4.23).

    Args:
      images: (images, height, width, channels) or (images, height, width), of any kind of number;
        channels are averaged.
    """
    images = np.asarray(images)
    if images.ndim not in (3, 4) or not images.size:
        raise ValueError(
            "`images` must be of shape (images, height, width, channels) or without channels; got "
            f"{images.shape}."
        )
    mean, variance = _moments(images.reshape(*images.shape[:3], -1))
    with theme.applied():
        figure, panels = theme.new_figure(panels=2)
        for axes, values, title in zip(panels, (mean, variance), ("Mean", "Variance"), strict=True):
            _heatmap(axes, values.mean(axis=-1), low=None)
            axes.set_title(title, loc="left")
        figure.set_size_inches(*theme.fitted(*_size(mean.shape, panels=2)))
    return figure


def connections(
    masks: Mapping[int, np.ndarray],
    shape: tuple[int, int, int],
    *,
    max_panels: int = 12,
    title: str = "",
    sets: Mapping[str, int] | None = None,
) -> Figure:
    """Return how many weights leave each pixel: a panel a level (Figures 4.24 to 4.26).

    Each panel has its own colours, from none to the most; a note says how many pixels have none.

    Args:
      masks: {level: (inputs, units) bool}, which weights of the first kernel are kept.
      shape: (height, width, channels) of an image, of which the inputs are the rows one after the
        other; the weights of a pixel's channels are added.
      max_panels: the largest number of levels to draw, evenly spaced up to the last one.
      title: text above all panels.
      sets: {name: columns} of the sets that lie side by side in an image.

    Raises:
      ValueError: there is no mask, or its inputs are not those of such an image.
    """
    if not masks:
        raise ValueError("`masks` must hold the mask of one level at least.")
    counts = {level: outgoing(masks[level], shape) for level in sorted(masks)}
    shown_levels = sorted(axis_scales.evenly_spaced([*counts][::-1], max_panels))
    with theme.applied():
        figure, panels = theme.new_figure(panels=len(shown_levels))
        for axes, level in zip(panels, shown_levels, strict=True):
            _heatmap(axes, counts[level], low=0, ticks=5 if shape[0] > shape[1] / 3 else 2)
            axes.set_title(f"Level {level}", loc="left")
            unconnected = int(np.sum(counts[level] == 0))
            theme.note(axes, f"{unconnected:,} of {counts[level].size:,} without a weight")
            _label_sets(axes, sets or {})
        figure.suptitle(", ".join(filter(None, [title, "weights that leave each pixel"])))
        width, height = _size(shape, panels=len(shown_levels))
        width, height = theme.fitted(width, height)
        figure.set_size_inches(width, height + 0.3)
    return figure


def outgoing(mask: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the number of weights that leave each pixel, (height, width).

    Args:
      mask: (inputs, units) bool, of the first kernel.
      shape: (height, width, channels) of an image.

    Example:
      >>> outgoing(np.array([[True, True], [False, False]]), (1, 2, 1)).tolist()
      [[2, 0]]
    """
    mask = np.asarray(mask, bool)
    if len(shape) != 3 or mask.ndim != 2 or mask.shape[0] != np.prod(shape):
        raise ValueError(
            "A mask must be of shape (inputs, units), its inputs the height x width x channels of "
            f"`shape` {tuple(shape)}; got {mask.shape}."
        )
    return mask.sum(axis=1).reshape(shape).sum(axis=-1)


def _moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of each pixel and channel, (height, width, channels)."""
    mean = images.mean(axis=0, dtype=np.float64)
    squares = np.zeros_like(mean)
    for start in range(0, len(images), _BATCH):
        squares += np.sum((images[start : start + _BATCH] - mean) ** 2, axis=0)
    return mean, squares / len(images)


def _heatmap(axes: Axes, values: np.ndarray, *, low: float | None, ticks: int = 5) -> None:
    """Draw a number for each pixel as its colour, with a colour bar."""
    high = None if low is None else max(float(values.max()), 1.0)
    options: dict[str, Any] = {"cmap": "viridis", "vmin": low, "vmax": high}
    image = axes.imshow(values, interpolation="nearest", **options)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    colorbar = axes.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.03)
    colorbar.outline.set_visible(False)
    colorbar.ax.tick_params(labelsize="small")
    if low is not None:
        colorbar.ax.yaxis.set_major_locator(MaxNLocator(nbins=ticks, integer=True))


def _label_sets(axes: Axes, sets: Mapping[str, int]) -> None:
    """Name the sets below their columns, with a line between them."""
    start = 0
    for name, columns in sets.items():
        axes.text(
            *(start + (columns - 1) / 2, -0.02, name),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="top",
            fontsize="small",
        )
        start += columns
        if start < sum(sets.values()):
            axes.axvline(start - 0.5, color="white", linewidth=1)


def _size(shape: tuple[int, ...], *, panels: int) -> tuple[float, float]:
    """Return the size of a figure of as many images, in inches."""
    rows = 1 if panels <= 3 else -(-panels // 3) if panels > 4 else 2
    columns = -(-panels // rows)
    width = 3.4 if shape[1] < 1.5 * shape[0] else 4.2
    return columns * width, rows * (0.82 * width * shape[0] / shape[1] + 0.35)
