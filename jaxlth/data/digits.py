"""The handwritten digits that scikit-learn carries: 1797 images of 8x8 pixels, no download.

Pixels are whole numbers 0..16, kept as they are. scikit-learn publishes no test part; ours is one
fifth (359 images), the same for every seed: the first of a permutation by NumPy's legacy generator
with seed 0, whose stream NumPy has promised never to change.

References:
  Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Repository.
"""

import importlib.util
import pathlib

import numpy as np

from jaxlth.data import sources

CLASSES = 10
TEST_SHARE = 0.2


def read(data_dir: str | None = None) -> sources.Published:
    """Return the digits, 1438 for training and 359 for testing; `data_dir` is not looked at."""
    del data_dir
    images, labels = _images_and_labels()
    images, labels = images.astype(np.uint8).reshape(-1, 8, 8, 1), labels.astype(np.int32)
    order = np.random.RandomState(0).permutation(len(images))
    count = round(TEST_SHARE * len(images))
    test, train = np.sort(order[:count]), np.sort(order[count:])
    return sources.Published(
        train=sources.Split(images[train], labels[train]),
        test=sources.Split(images[test], labels[test]),
        classes=CLASSES,
    )


def _images_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """Return (1797, 64) pixels and (1797,) labels, from scikit-learn's file.

    The file is read without scikit-learn: its import takes a second, more than all the rest before
    training. Where it lies elsewhere, scikit-learn reads it.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        file = pathlib.Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            table = np.loadtxt(file, delimiter=",", dtype=np.int32)
            return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)
