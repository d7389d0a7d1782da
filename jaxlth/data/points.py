"""Two classes of points in a plane: moons and circles, as scikit-learn makes them, no download.

Each of the 2000 points is an image of one row, two columns and one channel: its two coordinates,
real numbers. One output of a network suffices for two classes. The points come in random order, by
NumPy's legacy generator with a seed of each set; half are for training and half for testing, the
same for every seed of a run.

References:
  Burger 2024, section 4.1.1: noise, radius and split.
"""

import numpy as np

from jaxlth.data import sources

COUNT, NOISE = 2000, 0.1
INNER = 0.35  # radius of the inner circle; that of the outer one is 1
NAMES = ("moons", "circles")  # the place of a name is the seed of its generator


def read(data_dir: str | None = None, *, name: str) -> sources.Published:
    """Return 1000 points for training and 1000 for testing.

    Args:
      data_dir: not used; here so that all sources are called alike.
      name: "moons" or "circles".
    """
    del data_dir
    from sklearn import datasets  # takes seconds to import, and only few sets need it

    options = {"n_samples": COUNT, "noise": NOISE, "random_state": NAMES.index(name)}
    if name == "moons":
        points, labels = datasets.make_moons(**options)
    else:
        points, labels = datasets.make_circles(factor=INNER, **options)
    images = np.asarray(points, np.float32).reshape(COUNT, 1, 2, 1)
    labels = np.asarray(labels, np.int32)
    half = COUNT // 2
    return sources.Published(
        train=sources.Split(images[:half], labels[:half]),
        test=sources.Split(images[half:], labels[half:]),
        classes=1,
    )
