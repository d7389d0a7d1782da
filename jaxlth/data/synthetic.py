"""Images made on the fly, for smoke tests of networks whose data sets are not at hand.

Each class has a pattern of 4x4 coloured fields; an image is its class's pattern, moved by up to
four pixels and buried in noise. Small networks learn them within a hundred steps. No download; the
same for every seed, by NumPy's legacy generator, whose stream NumPy has promised never to change.
"""

import numpy as np

from jaxlth.data import sources

CLASSES, SIDE, FIELDS, MOVE = 10, 32, 4, 4
TRAIN, TEST = 2000, 500
NOISE = 60.0  # standard deviation, in units of 0..255


def read(data_dir: str | None = None, *, enlarged: int = 1) -> sources.Published:
    """Return 2000 images of 32x32x3 pixels for training and 500 for testing, in ten classes.

    Args:
      data_dir: not used; here so that all sources are called alike.
      enlarged: side of the square that each pixel becomes, for networks that need larger images;
        there are as many times fewer images.
    """
    del data_dir
    random = np.random.RandomState(0)
    fields = random.uniform(0, 255, (CLASSES, FIELDS, FIELDS, 3))
    patterns = fields.repeat(SIDE // FIELDS, axis=1).repeat(SIDE // FIELDS, axis=2)
    labels = random.permutation(np.arange(TRAIN + TEST) % CLASSES).astype(np.int32)
    moves = random.randint(-MOVE, MOVE + 1, (TRAIN + TEST, 2))
    moved = [
        np.roll(patterns[label], tuple(move), axis=(0, 1))
        for label, move in zip(labels, moves, strict=True)
    ]
    noisy = np.stack(moved) + random.normal(0, NOISE, (TRAIN + TEST, SIDE, SIDE, 3))
    images = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

    def split(rows: slice) -> sources.Split:
        large = images[rows].repeat(enlarged, axis=1).repeat(enlarged, axis=2)
        return sources.Split(large, labels[rows])

    train, test = TRAIN // enlarged, TEST // enlarged
    return sources.Published(
        train=split(slice(train)), test=split(slice(TRAIN, TRAIN + test)), classes=CLASSES
    )
