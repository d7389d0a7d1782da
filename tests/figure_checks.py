"""What may be wrong with a figure that a reader sees: covered data, missing labels, cut texts."""

import itertools

import numpy as np
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Bbox

LEAST = 5.9  # points of a text
SLACK = 2.0  # pixels


def faults(figure):
    """Return a sentence for each fault of a figure."""
    figure.draw_without_rendering()
    found = [*_cut(figure), *_small(figure)]
    for axes in figure.axes:
        if not hasattr(axes, "_colorbar"):
            found += [*_unlabelled(axes), *_crowded(axes)]
    return found + _covered(figure)


def _covered(figure):
    """Say which legends lie over the data of a panel."""
    legends = [*figure.legends, *figure.findobj(Legend)]
    boxes = [legend.get_window_extent() for legend in dict.fromkeys(legends)]
    panels = [axes.get_window_extent() for axes in figure.axes]
    pairs = itertools.product(boxes, panels)
    return [f"a legend covers a panel: {a} {b}" for a, b in pairs if _overlap(a, b)]


def _unlabelled(axes):
    """Say which axes have numbers and do not say of what."""
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        texts = [label.get_text() for label in axis.get_ticklabels() if label.get_visible()]
        is_of_numbers = any(_is_number(text) for text in texts)
        if is_of_numbers and not axis.label.get_text():
            yield f"the {name} axis has no label: {texts}"


def _crowded(axes):
    """Say which labels of ticks lie over each other."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        labels = [
            tick.label1
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            if low <= tick.get_loc() <= high and tick.label1.get_text()
        ]
        boxes = [(label.get_text(), label.get_window_extent()) for label in labels]
        for (one, a), (other, b) in itertools.combinations(boxes, 2):
            if _overlap(a, b):
                yield f"the labels {one!r} and {other!r} of ticks overlap"


def _cut(figure):
    """Say whether something lies beyond the figure."""
    (left, bottom, right, top) = figure.get_tightbbox().extents * figure.dpi
    width, height = figure.get_size_inches() * figure.dpi
    beyond = max(-left, -bottom, right - width, top - height)
    if beyond > SLACK:
        yield f"{beyond:.0f} pixels lie beyond the figure"


def _small(figure):
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text() and text.get_fontsize() < LEAST:
            yield f"{text.get_text()!r} has {text.get_fontsize():.1f} points"


def _overlap(a, b):
    shared = Bbox.intersection(a, b)
    return shared is not None and min(shared.width, shared.height) > SLACK


def _is_number(text):
    try:
        return bool(np.isfinite(float(text.replace(",", "").replace("\N{MINUS SIGN}", "-"))))
    except ValueError:
        return False
