"""Which published set files are of: by their labels, and by the folder they lie in."""

import gzip
import hashlib

import numpy as np
import pytest
import test_cifar
from test_data import idx, write, write_idx

from jaxlth import data
from jaxlth.data import cifar, published, sources

TRAIN, TEST = (f"{part}-labels-idx1-ubyte" for part in ("train", "t10k"))
LABELS = {  # of the small sets here, training and test
    "mnist": (np.arange(20) % 10, np.arange(5)),
    "fashion_mnist": (np.arange(20)[::-1] % 10, np.arange(5)[::-1]),
}


def load(name, data_dir):
    settings = data.DataConfig(name=name, data_dir=str(data_dir), validation=0)
    return data.load(settings, seed=0)


def files(folder, name="mnist", *, test=None):
    """Write a small set with the labels of `name`, those of the test part of `test`."""
    write_idx(folder)
    write(folder, TRAIN, idx(LABELS[name][0].astype(np.uint8)))
    write(folder, TEST, idx(LABELS[test or name][1].astype(np.uint8)))
    return folder


@pytest.fixture
def known(monkeypatch):
    """Let the small sets be the published ones."""
    table = []
    for name, parts in LABELS.items():
        for labels in parts:
            digest = hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest()
            table.append(published._File(name, len(labels), len(labels), digest[:16]))
    monkeypatch.setattr(published, "FILES", tuple(table))


ELSEWHERE = [
    ("mnist", "FashionMNIST/raw", "Fashion-MNIST"),
    ("mnist", "fashion-mnist/data/raw", "Fashion-MNIST"),
    ("mnist", "KMNIST/raw", "KMNIST"),
    ("mnist", "kuzushiji_mnist", "KMNIST"),
    ("mnist", "EMNIST/raw", "EMNIST"),
    ("mnist", "QMNIST/raw", "QMNIST"),
    ("mnist", "notMNIST", "notMNIST"),
    ("fashion_mnist", "MNIST/raw", "MNIST"),
    ("fashion_mnist", "KMNIST/raw", "KMNIST"),
]


@pytest.mark.parametrize(("name", "folder", "title"), ELSEWHERE)
def test_unknown_files_in_the_folder_of_another_set_are_refused(tmp_path, name, folder, title):
    write_idx(tmp_path / folder)
    with pytest.raises(data.DataError, match=f"lies in a folder of {title}, ") as caught:
        load(name, tmp_path / folder)
    for part in (tmp_path / folder / TRAIN, published.TITLES[name], f"directory of `{name}`"):
        assert str(part) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_closest_folder_with_the_name_of_a_set_says_whose_files_are(tmp_path):
    write_idx(tmp_path / "FashionMNIST/mnist")
    assert load("mnist", tmp_path / "FashionMNIST")[0].train == 20
    write_idx(tmp_path / "my-kmnist-project/data")
    assert load("mnist", tmp_path / "my-kmnist-project/data")[0].train == 20


def test_a_link_has_the_name_of_the_folder_that_it_leads_to(tmp_path):
    write_idx(tmp_path / "KMNIST/raw")
    (tmp_path / "mnist").symlink_to(tmp_path / "KMNIST/raw")
    with pytest.raises(data.DataError, match="lies in a folder of KMNIST"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("folder", ["mnist", "FashionMNIST/raw", "unnamed"])
def test_files_with_the_labels_of_their_set_are_read_from_any_folder(tmp_path, known, folder):
    files(tmp_path / folder)
    info, dataset = load("mnist", tmp_path / folder)
    assert (info.train, info.test) == (20, 5)
    np.testing.assert_array_equal(dataset.train.labels, LABELS["mnist"][0])


@pytest.mark.parametrize(
    ("name", "other", "test", "wrong"),
    [
        ("mnist", "fashion_mnist", None, TRAIN),
        ("fashion_mnist", "mnist", None, TRAIN),
        ("mnist", "mnist", "fashion_mnist", TEST),
    ],
)
def test_the_labels_of_another_set_are_refused_whatever_the_folder(
    tmp_path, known, name, other, test, wrong
):
    files(tmp_path / name, other, test=test)
    with pytest.raises(data.DataError, match="holds the labels of") as caught:
        load(name, tmp_path)
    actual = test or other
    for part in (tmp_path / name / wrong, published.TITLES[name], published.TITLES[actual]):
        assert str(part) in str(caught.value)
    assert f"read it as `{actual}`" in str(caught.value)


def test_unknown_labels_as_many_as_published_warn_once(tmp_path, known):
    write_idx(tmp_path / "mnist")
    labels = np.roll(LABELS["mnist"][0], 1).astype(np.uint8)
    write(tmp_path / "mnist", TRAIN, idx(labels))
    words = f"{TRAIN}.gz: labels are not those of MNIST as published, so that results are not"
    with pytest.warns(sources.DataWarning, match=words) as caught:
        _, dataset = load("mnist", tmp_path)
    assert len(caught) == 1
    np.testing.assert_array_equal(dataset.train.labels, labels)


def test_a_set_of_another_size_is_told_in_the_log_once(tmp_path, caplog):
    write_idx(tmp_path / "mnist")
    for _ in range(2):
        load("mnist", tmp_path)
    lines = [record.getMessage() for record in caplog.records if record.name == "jaxlth"]
    path = tmp_path / "mnist" / f"{TRAIN}.gz"
    assert lines == [
        f"{path} and 1 more: labels are not those of MNIST as published, so that results are not"
        " comparable with those on MNIST."
    ]


@pytest.mark.parametrize(("name", "version"), test_cifar.CASES, ids=test_cifar.NAMES)
def test_cifar_in_the_folder_of_the_other_cifar_is_refused(tmp_path, monkeypatch, name, version):
    monkeypatch.setattr(cifar, "IMAGES_PER_PART", test_cifar.IMAGES)
    other = {"cifar10": "cifar100", "cifar100": "CIFAR-10"}[name]
    test_cifar.write(tmp_path / other, test_cifar.content(name, version)[0])
    with pytest.raises(data.DataError, match="lies in a folder of CIFAR-10") as caught:
        load(name, tmp_path / other)
    assert version.train[0] in str(caught.value)


def test_every_known_digest_is_of_one_set():
    digests = [file.digest for file in published.FILES]
    assert len(set(digests)) == len(digests)
    assert {file.name for file in published.FILES} <= set(published.TITLES)


# Real files


@pytest.mark.data
def test_real_fashion_mnist_is_not_read_as_mnist(tmp_path, real_data):
    (tmp_path / "mnist").mkdir()
    for path in (real_data / "fashion_mnist").iterdir():
        (tmp_path / "mnist" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(data.DataError, match="holds the labels of Fashion-MNIST, not those of MN"):
        load("mnist", tmp_path)
    folder = tmp_path / "FashionMNIST"
    (tmp_path / "mnist").rename(folder)
    assert load("fashion_mnist", folder)[0].train == 60000


@pytest.mark.data
def test_real_mnist_with_other_labels_is_read_with_a_warning(tmp_path, real_data):
    (tmp_path / "mnist").mkdir()
    for path in (real_data / "mnist").iterdir():
        (tmp_path / "mnist" / path.name).symlink_to(path)
    path = tmp_path / "mnist" / f"{TEST}.gz"
    whole = bytearray(gzip.decompress(path.read_bytes()))
    whole[-1] = (whole[-1] + 1) % 10
    path.unlink()
    path.write_bytes(gzip.compress(bytes(whole)))
    with pytest.warns(sources.DataWarning, match=f"{TEST}.gz: labels are not those of MNIST"):
        load("mnist", tmp_path)
