"""Networks, data, losses and optimizers of a user's own through the studies, end to end."""

import numpy as np
import pytest
import tiny
from flax import linen as nn
from sklearn.datasets import load_digits

from jaxlth import data, masks, models, studies

KAIMING = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def digits():
    """Return the digits as a user has them, split as the library splits them."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(images))
    test, train = np.sort(order[:359]), np.sort(order[359:])
    images = images.reshape(-1, 8, 8, 1).astype(np.uint8)
    return (images[train], labels[train]), (images[test], labels[test])


class LeNet(nn.Module):
    """LeNet-300-100 as a user writes it."""

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        for width in (300, 100, 10):
            x = nn.Dense(width, kernel_init=KAIMING)(nn.relu(x) if width < 300 else x)
        return x


def quiet(study, experiment, out, **fields):
    return study(experiment, out=str(out), progress=False, **fields)


def test_a_network_of_the_library_given_as_ones_own_finds_the_same_masks(tmp_path):
    numbers = {"steps": 6, "batch_size": 50}
    train, test = digits()
    own = studies.Experiment(
        name="own",
        model=models.from_linen(LeNet(), np.zeros((1, 8, 8, 1), np.float32)),
        data=data.from_arrays(train, test, normalize="statistics"),
        **numbers,
    )
    by_name = studies.Experiment(model="lenet-300-100", data="digits", **numbers)
    fields = {"levels": 1, "rewind_step": 3, "replicates": 1, "controls": []}
    runs = [quiet(studies.imp, each, tmp_path, **fields) for each in (by_name, own)]
    tickets = [run.ticket(level=1) for run in runs]
    assert masks.density(tickets[1].mask) == pytest.approx(0.8, abs=1e-4)
    tiny.assert_same(*tickets)
    tiny.assert_same(*[run.trained(level=1) for run in runs])
    # Equal losses on it: the validation split is drawn the same way.
    losses = [run.table()[["validation_loss", "test_loss", "train_loss"]] for run in runs]
    assert losses[0].equals(losses[1])
