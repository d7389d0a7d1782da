"""Data sets side by side: each example is one of each set, and has a label for each.

Which examples are paired is drawn at random, for training and testing apart, by NumPy's legacy
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
    shapes = [each.train.images.shape[1:] for each in sets]
    for name, (height, width, channels) in zip(names, shapes, strict=True):
        first_height, first_width, first_channels = shapes[0]
        if (height, channels) != (first_height, first_channels):
            raise DataError(
                f"Images of {names[0]} ({first_height}x{first_width}x{first_channels}) and {name}"
                f" ({height}x{width}x{channels}) cannot lie side by side: their height and their"
                " channels must agree; choose sets of images that do."
            )
    draws = [np.random.RandomState(place) for place in range(len(sets))]
    return Published(
        train=_paired([each.train for each in sets], draws),
        test=_paired([each.test for each in sets], draws),
        classes=sum(each.classes for each in sets),
        tasks=tuple(each.classes for each in sets),
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
        (tuple(mine.ravel().tolist()), tuple(own.tolist()))
        for mine, own in zip(columns, outputs, strict=True)
    )


def _paired(splits: Sequence[Split], draws: Sequence[np.random.RandomState]) -> Split:
    count = min(len(split.labels) for split in splits)
    drawn = [
        draw.permutation(len(split.labels))[:count]
        for split, draw in zip(splits, draws, strict=True)
    ]
    pairs = list(zip(splits, drawn, strict=True))
    return Split(
        np.concatenate([split.images[rows] for split, rows in pairs], axis=2),
        np.stack([split.labels[rows] for split, rows in pairs], axis=1).astype(np.int32),
    )
