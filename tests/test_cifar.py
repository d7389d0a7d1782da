"""CIFAR-10 and CIFAR-100: both published versions, packed or not, whole or damaged."""

import gzip
import io
import os
import pathlib
import pickle
import tarfile
import warnings

import numpy as np
import pytest

from jaxlth import data
from jaxlth.data import cifar, pickles

IMAGES = 8  # in a file here; 10,000 as published
CASES = [(name, version) for name, kind in cifar.SETS.items() for version in kind.versions]
NAMES = [version.folder for _, version in CASES]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Read files of a few images."""
    monkeypatch.setattr(cifar, "IMAGES_PER_PART", IMAGES)


def load(name, data_dir, **config):
    where = None if data_dir is None else str(data_dir)
    return data.load(data.DataConfig(name=name, data_dir=where, validation=0, **config), seed=0)


def examples(count, *, classes, seed):
    """Return images (n, 32, 32, 3) and labels (n,)."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return images, random.integers(0, classes, count).astype(np.uint8)


def encoded(images, labels, *, name, version, protocol=2):
    """Return a file as its publisher writes it."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    coarse = labels // 5
    if version.folder.endswith(("-py", "-python")):
        if name == "cifar10":
            result = {b"labels": labels.tolist()}
        else:
            result = {b"fine_labels": labels.tolist(), b"coarse_labels": coarse.tolist()}
        return pickle.dumps({b"batch_label": b"1 of 5", b"data": planes, **result}, protocol)
    before = [labels] if name == "cifar10" else [coarse, labels]
    return np.column_stack([*before, planes]).tobytes()


def content(name, version):
    """Return all files of a set as {name: content}, and the images and labels in them."""
    kind = cifar.SETS[name]
    files, parts = {}, []
    for seed, file in enumerate((*version.train, version.test)):
        count = IMAGES * (1 if file == version.test else kind.parts_per_file)
        part = examples(count, classes=kind.classes, seed=seed)
        files[file] = encoded(*part, name=name, version=version)
        parts.append(part)
    train = [np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True)]
    return files, train, parts[-1]


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, each in files.items():
        (folder / name).write_bytes(each)
    return folder


def pack(path, files, *, folder):
    """Write an archive with its files in a folder, the way they are published."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, each in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(each)
            tar.addfile(member, io.BytesIO(each))
    return path


def one_line(caught, *parts):
    assert "\n" not in str(caught.value)
    for part in parts:
        assert str(part) in str(caught.value)


PLACES = {
    "folder in DIR": lambda root, name, version: root / version.folder,
    "files in DIR": lambda root, name, version: root,
    "files in DIR/NAME": lambda root, name, version: root / name,
    "folder in DIR/NAME": lambda root, name, version: root / name / version.folder,
    "archive in DIR": lambda root, name, version: root / version.archive,
    "archive in DIR/NAME": lambda root, name, version: root / name / version.archive,
}


@pytest.mark.parametrize(("name", "version"), CASES, ids=NAMES)
@pytest.mark.parametrize("place", PLACES)
def test_every_version_is_read_from_every_place(tmp_path, name, version, place):
    files, train, test = content(name, version)
    path = PLACES[place](tmp_path, name, version)
    if path.suffix == ".gz":
        pack(path, files, folder=version.folder)
    else:
        write(path, files)
    info, dataset = load(name, tmp_path)
    assert (info.classes, info.shape) == (cifar.SETS[name].classes, (32, 32, 3))
    assert (info.train, info.test) == (5 * IMAGES, IMAGES)
    for split, (images, labels) in ((dataset.train, train), (dataset.test, test)):
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int32
        assert split.images.flags.c_contiguous


def test_pickles_of_python_2_are_read_as_they_are_published():
    # Written by hand: protocol 2, text of one byte each, NumPy's old module, C order.
    text = [
        b"\x80\x02}(U\x04data" + b"cnumpy.core.multiarray\n_reconstruct\n",
        b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01K\x03\x86",
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
        b"\x89U\x03\x01\xff\x03tbU\x06labels](K\x02eu.",
    ]
    unpickled = pickles.read(b"".join(text))
    assert unpickled[b"labels"] == [2]
    assert unpickled[b"data"].tolist() == [[1, 255, 3]]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_pickles_of_any_protocol_keep_their_values(protocol, order):
    array = np.array(np.arange(6, dtype=np.uint8).reshape(2, 3), order=order)
    unpickled = pickles.read(pickle.dumps({"data": array, "names": ["a"]}, protocol))
    np.testing.assert_array_equal(unpickled["data"], array)
    assert unpickled["names"] == ["a"]


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.mkdir, ("harm",)),
        (eval, ("__import__('os').mkdir('harm')",)),
        (getattr, (os, "mkdir")),
        (np.frombuffer, (b"1",)),
        (pathlib.Path, ("harm",)),
    ],
)
def test_a_pickle_that_would_run_something_is_refused_and_does_not(
    tmp_path, monkeypatch, function, arguments, protocol
):
    monkeypatch.chdir(tmp_path)
    if function is getattr:
        text = b"c__builtin__\ngetattr\n(cos\nmkdir\nS'__call__'\ntR(S'harm'\ntR."
    else:
        text = pickle.dumps({"data": Calls(function, *arguments)}, protocol)
    with pytest.raises(ValueError, match=r"it asks for \S+, which no data need"):
        pickles.read(text)
    name, version = CASES[1]
    files = content(name, version)[0]
    write(tmp_path / "set", {**files, version.train[2]: text})
    with pytest.raises(data.DataError, match="asks for") as caught:
        load(name, tmp_path / "set")
    one_line(caught, tmp_path / "set" / version.train[2], "fetch")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "result",
    [
        [1],
        {b"data": 3, b"labels": [1]},
        {b"data": np.zeros((1, 3072), np.float32), b"labels": [1]},
        {b"data": np.zeros((1, 3071), np.uint8), b"labels": [1]},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": [1, 2]},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": [300]},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": 1},
        {b"data": np.zeros((1, 3072), np.uint8)},
        {b"data": np.array([b"x", None], object), b"labels": [1]},
    ],
    ids=str,
)
def test_a_pickle_of_other_data_is_refused(result):
    with pytest.raises(ValueError, match="it (is no pickle of images|holds)"):
        cifar.pickled(pickle.dumps(result, 2), label=b"labels")


PICKLED = [case for case in CASES if case[1].folder.endswith(("-py", "-python"))]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(("name", "version"), PICKLED, ids=["cifar10", "cifar100"])
def test_pickles_of_python_3_with_text_keys_are_read(tmp_path, name, version, protocol):
    files, train, test = content(name, version)
    as_text = {
        file: pickle.dumps(
            {key.decode(): value for key, value in pickles.read(whole).items()}, protocol
        )
        for file, whole in files.items()
    }
    write(tmp_path, as_text)
    _, dataset = load(name, tmp_path)
    for split, (images, labels) in ((dataset.train, train), (dataset.test, test)):
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)


@pytest.mark.parametrize("label", [-1, 10, 256, 2**40])
def test_a_pickle_with_a_label_outside_the_classes_is_named_with_both(tmp_path, label):
    name, version = PICKLED[0]
    files = content(name, version)[0]
    images, labels = examples(IMAGES, classes=10, seed=0)
    planes = images.transpose(0, 3, 1, 2).reshape(IMAGES, -1)
    result = {b"data": planes, b"labels": [*labels.tolist()[:-1], label]}
    file = version.train[1]
    write(tmp_path, {**files, file: pickle.dumps(result, 2)})
    message = rf"holds label {label} of example {IMAGES - 1}, outside 0\.\.9"
    with pytest.raises(data.DataError, match=message) as caught:
        load(name, tmp_path)
    one_line(caught, tmp_path / file)


def test_a_pickle_whose_labels_are_no_whole_numbers_is_refused():
    result = {b"data": np.zeros((1, 3072), np.uint8), b"labels": [1.5]}
    with pytest.raises(ValueError, match="it holds labels of type float64, not whole numbers"):
        cifar.pickled(pickle.dumps(result, 2), label=b"labels")


@pytest.mark.parametrize(("name", "version"), CASES, ids=NAMES)
def test_cifar_of_one_class_is_refused(tmp_path, name, version):
    files = content(name, version)[0]
    kind = cifar.SETS[name]
    images, _ = examples(IMAGES * kind.parts_per_file, classes=2, seed=0)
    part = encoded(images, np.full(len(images), 4, np.uint8), name=name, version=version)
    write(tmp_path, {**files, **dict.fromkeys(version.train, part)})
    with pytest.raises(data.DataError, match=f"all 40 training images of {name} are of class 4"):
        load(name, tmp_path)


# Damaged files


DAMAGES = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "too long": lambda content: content + b"x" * (len(content) // 2),
    "a page of the web": lambda content: b"<html>not found</html>",
}


@pytest.mark.parametrize(("name", "version"), CASES, ids=NAMES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_training_file_is_named_in_one_line(tmp_path, name, version, damage):
    if damage == "too long" and version.folder.endswith(("-py", "-python")):
        pytest.skip("a pickle says where it ends")
    files = content(name, version)[0]
    file = version.train[-1]
    folder = write(tmp_path / version.folder, {**files, file: DAMAGES[damage](files[file])})
    with pytest.raises(data.DataError, match="is damaged") as caught:
        load(name, tmp_path)
    one_line(caught, folder / file, "fetch it again")


@pytest.mark.parametrize(("name", "version"), CASES, ids=NAMES)
def test_a_file_with_images_missing_is_damaged(tmp_path, name, version):
    kind = cifar.SETS[name]
    files = content(name, version)[0]
    part = examples(IMAGES * kind.parts_per_file - 1, classes=10, seed=0)
    file = version.train[0]
    write(tmp_path, {**files, file: encoded(*part, name=name, version=version)})
    with pytest.raises(data.DataError, match=rf"holds {len(part[1])} images, not"):
        load(name, tmp_path)


@pytest.mark.parametrize(("name", "version"), CASES, ids=NAMES)
def test_a_missing_file_is_named_with_what_to_fetch(tmp_path, name, version):
    files = content(name, version)[0]
    del files[version.test]
    for place in (tmp_path / "plain", tmp_path / "packed" / version.archive):
        if place.suffix == ".gz":
            pack(place, files, folder=version.folder)
        else:
            write(place, files)
        root = place.parent if place.suffix else place
        with pytest.raises(data.DataError, match=f"lacks {version.test}, a part") as caught:
            load(name, root)
        one_line(caught, place, version.archive, "Krizhevsky 2009")


def test_labels_outside_the_classes_are_an_error(tmp_path):
    name, version = CASES[0]
    files = content(name, version)[0]
    images, labels = examples(IMAGES, classes=10, seed=0)
    labels[3] = 10
    file = version.train[1]
    write(tmp_path, {**files, file: encoded(images, labels, name=name, version=version)})
    with pytest.raises(data.DataError, match=rf"{file}: label 10 of example 3 .* 0\.\.9"):
        load(name, tmp_path)


@pytest.mark.parametrize(("name", "version"), CASES, ids=NAMES)
def test_a_damaged_archive_is_named_in_one_line(tmp_path, name, version):
    path = pack(tmp_path / version.archive, content(name, version)[0], folder=version.folder)
    whole = path.read_bytes()
    damages = {
        "truncated": whole[: len(whole) // 2],
        "no checksum": whole[:-8],
        "wrong checksum": whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:],
        "no gzip": b"<html>",
        "no tar": gzip.compress(b"x" * 2000),
        "flipped bits": whole[:200] + b"\xff" * 8 + whole[208:],
        "empty": b"",
    }
    for damaged in damages.values():
        path.write_bytes(damaged)
        with pytest.raises(data.DataError, match="is damaged|lacks") as caught:
            load(name, tmp_path)
        one_line(caught, path, "fetch")


def test_members_of_an_archive_are_taken_by_name_and_never_unpacked(tmp_path):
    name, version = CASES[0]
    path = pack(tmp_path / version.archive, content(name, version)[0], folder="../../elsewhere")
    assert load(name, tmp_path)[0].train == 5 * IMAGES
    assert list(tmp_path.iterdir()) == [path]


def test_a_short_binary_test_file_is_read_with_a_warning(tmp_path):
    name, version = CASES[0]
    files, _, (images, labels) = content(name, version)
    files[version.test] = encoded(images[:3], labels[:3], name=name, version=version)
    write(tmp_path, files)
    with pytest.warns(UserWarning, match=f"{version.test} holds 3 of the {IMAGES} test images"):
        info, dataset = load(name, tmp_path)
    assert info.test == 3
    np.testing.assert_array_equal(dataset.test.images, images[:3])
    files[version.test] = files[version.test][:-1]
    write(tmp_path, files)
    with pytest.raises(data.DataError, match="3072 bytes follow image 2"):
        load(name, tmp_path)


@pytest.mark.parametrize("name", cifar.SETS)
def test_a_missing_directory_says_how_to_get_the_data(tmp_path, monkeypatch, name):
    monkeypatch.delenv("JAXLTH_DATA", raising=False)
    for where in (None, tmp_path / "nowhere", tmp_path):
        with pytest.raises(data.DataError, match=name) as caught:
            load(name, where)
        one_line(caught, "--data-dir", "JAXLTH_DATA", "Krizhevsky 2009", "binary version")
        one_line(caught, *(version.folder for version in cifar.SETS[name].versions))
        assert where is None or str(where) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_says_so(tmp_path):
    name, version = CASES[0]
    path = write(tmp_path, content(name, version)[0]) / version.train[0]
    path.chmod(0)
    with pytest.raises(data.DataError, match=f"{path} cannot be read: Permission denied"):
        load(name, tmp_path)


def test_a_directory_in_place_of_a_file_is_missing(tmp_path):
    name, version = CASES[0]
    files = content(name, version)[0]
    del files[version.train[0]]
    (write(tmp_path, files) / version.train[0]).mkdir()
    with pytest.raises(data.DataError, match=f"lacks {version.train[0]}"):
        load(name, tmp_path)


# Real files


@pytest.mark.data
def test_real_cifar10_is_the_published_set(real_data, monkeypatch):
    monkeypatch.setattr(cifar, "IMAGES_PER_PART", 10_000)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*test images of CIFAR-10")  # where it is short
        info, dataset = load("cifar10", real_data)
    assert (info.train, info.shape, info.classes) == (50000, (32, 32, 3), 10)
    assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
    np.testing.assert_allclose(dataset.mean / 255, [0.4914, 0.4822, 0.4465], atol=1e-4)
    np.testing.assert_allclose(dataset.std / 255, [0.2470, 0.2435, 0.2616], atol=1e-4)
