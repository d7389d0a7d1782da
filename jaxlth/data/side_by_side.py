"""Data sets side by side: each example is one of each set, and has a label for each.

The pairs of examples are random, for training and testing apart, by NumPy's legacy
generator with the place of a set as its seed: the same for every seed of a run. There are as many
pairs as the smallest set has examples.

References:
  Burger 2024, section 4.1: data sets of independent tasks.
"""

from collections.abc import Sequence

import numpy as np

from jaxlth.data.sources import DataError, Info, Published, Split


def joined(names: Sequence[str], sets: Sequence[Published]) -> Published:
    """Return sets as one, images next to each other along the width.

    Args:
      names: of the sets, for the message.
      sets: as their sources give them, two or more.

    Raises:
      DataError: the images of two sets differ in height or channels.
    """
    shapes = [published.train.images.shape[1:] for published in sets]
    for name, (height, width, channels) in zip(names, shapes, strict=True):
        first_height, first_width, first_channels = shapes[0]
        if (height, channels) != (first_height, first_channels):
            raise DataError(
                f"Images of {names[0]} ({first_height}x{first_width}x{first_channels}) and {name}"
                f" ({height}x{width}x{channels}) cannot lie side by side: their height and their"
                " channels must agree; choose sets of images that do."
            )
    generators = [np.random.RandomState(place) for place in range(len(sets))]
    return Published(
        train=_paired([published.train for published in sets], generators),
        test=_paired([published.test for published in sets], generators),
        classes=sum(published.classes for published in sets),
        tasks=tuple(published.classes for published in sets),
        widths=tuple(width for _, width, _ in shapes),
    )


def tasks(info: Info) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Return the inputs and the outputs that each task of a data set has to itself.

    Returns:
      A pair for each task: places in the flattened image (row, column, channel), increasing, and
      places among the outputs.

    Example:
      >>> tasks(Info(name="", classes=3, shape=(1, 4, 1), train=1, validation=0, test=1,
      ...            tasks=(1, 2), widths=(2, 2)))
      (((0, 1), (0,)), ((2, 3), (1, 2)))
    """
    inputs = np.arange(np.prod(info.shape)).reshape(info.shape)
    columns = np.split(inputs, np.cumsum(info.widths)[:-1], axis=1)
    outputs = np.split(np.arange(info.classes), np.cumsum(info.tasks)[:-1])
    return tuple(
        (tuple(task_inputs.ravel().tolist()), tuple(task_outputs.tolist()))
        for task_inputs, task_outputs in zip(columns, outputs, strict=True)
    )


def _paired(splits: Sequence[Split], generators: Sequence[np.random.RandomState]) -> Split:
    count = min(len(split.labels) for split in splits)
    rows_of_sets = [
        generator.permutation(len(split.labels))[:count]
        for split, generator in zip(splits, generators, strict=True)
    ]
    pairs = list(zip(splits, rows_of_sets, strict=True))
    return Split(
        np.concatenate([split.images[rows] for split, rows in pairs], axis=2),
        np.stack([split.labels[rows] for split, rows in pairs], axis=1).astype(np.int32),
    )
