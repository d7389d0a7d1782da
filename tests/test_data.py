"""Data sets: what is read, how it is split, and what is said of damaged or missing files."""

import gzip
import importlib.util
import io
import json
import os
import pathlib
import struct
import sys
import warnings
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from tiny import assert_same

from jaxlth import data, settings
from jaxlth.data import digits, lookup

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture(autouse=True)
def no_directories(monkeypatch, tmp_path):
    """Keep what this machine has out of the tests."""
    monkeypatch.delenv("JAXLTH_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))


def load(name="digits", data_dir=None, validation=0.1, seed=0):
    where = str(data_dir) if data_dir else None
    return data.load(data.DataConfig(name=name, data_dir=where, validation=validation), seed=seed)


# Settings


def test_settings_name_the_closest_known_data_set():
    with pytest.raises(ValueError, match=r"`data` has no value 'mnits'.*Did you mean 'mnist'"):
        data.DataConfig(name="mnits")


@pytest.mark.parametrize("name", ["tfds:", "tfds:NAME", "TFDS:cifar10"])
def test_settings_refuse_a_prefix_without_a_name(name):
    with pytest.raises(ValueError, match="`data`"):
        data.DataConfig(name=name)


@pytest.mark.parametrize("validation", [-0.1, 1.0, float("nan")])
def test_settings_refuse_a_share_outside_its_range(validation):
    with pytest.raises(ValueError, match=r"`validation`.*\[0, 1\)"):
        data.DataConfig(validation=validation)


def test_the_directory_stays_out_of_the_digest():
    assert settings.digest(data.DataConfig(data_dir="x")) == settings.digest(data.DataConfig())


# Splits and statistics


@pytest.mark.parametrize("validation", [0.0, 0.1, 0.5])
def test_splits_are_disjoint_and_together_the_whole_set(validation):
    info, dataset = load(validation=validation)
    assert info.train + info.validation + info.test == 1797
    assert info.validation == round(validation * 1438)
    assert (dataset.validation is None) == (validation == 0)
    splits = [
        split for split in (dataset.train, dataset.validation, dataset.test) if split is not None
    ]
    assert [len(split.labels) for split in splits] == [
        count for count in (info.train, info.validation, info.test) if count
    ]
    for split in splits:
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int32
        assert split.images.shape == (len(split.labels), *info.shape)
    images = np.concatenate([split.images for split in splits]).reshape(1797, -1)
    assert len(np.unique(images, axis=0)) == 1797  # scikit-learn's digits are all different


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    known = {image.tobytes(): label for image, label in zip(*_as_bytes(load_digits()), strict=True)}
    dataset = load(validation=0)[1]
    for split in (dataset.train, dataset.test):
        for image, label in zip(split.images, split.labels, strict=True):
            assert known[image.tobytes()] == label


def test_digits_are_read_without_scikit_learn_and_by_it_where_its_file_is_elsewhere(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn.datasets", None)  # importing it fails
        own = digits.read()
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda _: None)
    assert_same((own.train, own.test), (digits.read().train, digits.read().test))


def _as_bytes(digits):
    return digits.images.astype(np.uint8), digits.target


def test_the_test_part_of_digits_never_changes():
    test = load(seed=0)[1].test
    assert np.array_equal(test.images, load(seed=1, validation=0.5)[1].test.images)
    assert np.bincount(test.labels).tolist() == [27, 35, 36, 29, 30, 40, 44, 39, 38, 41]
    assert zlib.crc32(test.images.tobytes()) == 76216510


def test_the_validation_split_depends_on_the_seed_alone():
    one, again, other = (load(seed=seed)[1].validation for seed in (0, 0, 1))
    assert np.array_equal(one.images, again.images)
    assert not np.array_equal(one.images, other.images)


@pytest.mark.parametrize("validation", [1e-6, 1 - 1e-6])
def test_a_share_that_leaves_a_split_empty_is_an_error(validation):
    with pytest.raises(ValueError, match=r"`validation` = .* of the 1438 training images"):
        load(validation=validation)


def test_statistics_are_those_of_the_training_split_alone():
    dataset = load(validation=0.5)[1]
    values = dataset.train.images.astype(np.float64)
    np.testing.assert_allclose(dataset.mean, values.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(dataset.std, values.std(axis=(0, 1, 2)), rtol=1e-6)
    assert dataset.mean.dtype == dataset.std.dtype == np.float32


def test_normalized_training_images_have_mean_0_and_deviation_1():
    dataset = load()[1]
    images = jax.jit(data.normalize)(dataset.train.images, dataset.mean, dataset.std)
    assert images.dtype == jnp.float32
    np.testing.assert_allclose([images.mean(), images.std()], [0, 1], atol=1e-5)


def test_a_constant_channel_is_only_centred():
    images = np.full((2, 3, 3, 2), 7, np.uint8)
    images[0, ..., 1] = 9
    mean, std = images.mean((0, 1, 2)), images.std((0, 1, 2))
    normalized = data.normalize(jnp.asarray(images), mean, std)
    assert normalized[..., 0].tolist() == np.zeros((2, 3, 3)).tolist()
    assert np.isfinite(normalized).all()


# MNIST and Fashion-MNIST


def idx(array):
    """Return an array of bytes as an IDX file."""
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + bytes(array)
    )


def write_idx(folder, *, packed=True, train=20, test=5):
    """Write a small set with the file names of MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        images = random.integers(0, 256, (count, 4, 3), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            write(folder, f"{part}-{name}", idx(array), packed=packed)
    return folder


def write(folder, name, content, *, packed=True):
    if packed:
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    else:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("inside", [True, False])
def test_idx_files_are_read_plain_or_packed_from_either_directory(tmp_path, packed, name, inside):
    write_idx(tmp_path / name, packed=packed)
    info, dataset = load(name, tmp_path if inside else tmp_path / name, validation=0.25)
    assert info == data.Info(name=name, classes=10, shape=(4, 3, 1), train=15, validation=5, test=5)
    expected = np.random.default_rng(0).integers(0, 256, (20, 4, 3), dtype=np.uint8)
    both = np.concatenate([dataset.train.images, dataset.validation.images])[..., 0]
    assert sorted(map(bytes, both)) == sorted(map(bytes, expected))
    assert dataset.test.labels.tolist() == [0, 1, 2, 3, 4]


def test_images_and_labels_stay_together(tmp_path):
    images = np.repeat(np.arange(20, dtype=np.uint8), 4).reshape(20, 2, 2)
    folder = write_idx(tmp_path / "mnist")
    write(folder, IMAGES, idx(images))
    write(folder, LABELS, idx(images[:, 0, 0] % 10))
    write(folder, "t10k-images-idx3-ubyte", idx(images[:5]))
    dataset = load("mnist", tmp_path, validation=0.4)[1]
    for split in (dataset.train, dataset.validation):
        assert np.array_equal(split.images[:, 0, 0, 0] % 10, split.labels)


def test_the_environment_names_the_directory_and_the_setting_goes_first(tmp_path, monkeypatch):
    write_idx(tmp_path / "one" / "mnist", train=20)
    write_idx(tmp_path / "two" / "mnist", train=30)
    monkeypatch.setenv("JAXLTH_DATA", str(tmp_path / "one"))
    assert load("mnist", validation=0)[0].train == 20
    assert load("mnist", tmp_path / "two", validation=0)[0].train == 30


DAMAGES = {
    "truncated gzip": (lambda packed: packed[:-20], "no whole gzip file"),
    "no gzip": (lambda packed: b"<html>not found</html>", "no whole gzip file"),
    "wrong checksum": (
        lambda packed: packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:],
        "no whole gzip file",
    ),
    "flipped bits": (lambda packed: packed[:12] + b"\xff" * 8 + packed[20:], "no whole gzip file"),
    "empty file": (lambda packed: b"", "ends within its header"),
    "short header": (lambda packed: gzip.compress(b"\0\0\x08\x03\0"), "ends within its header"),
    "short": (lambda packed: gzip.compress(gzip.decompress(packed)[:-1]), "truncated: 239 bytes"),
    "long": (lambda packed: gzip.compress(gzip.decompress(packed) + b"x"), "too long: 241 bytes"),
    "labels": (lambda packed: gzip.compress(idx(np.zeros(9, np.uint8))), "starts with 00000801"),
    "no example": (lambda packed: gzip.compress(idx(np.zeros((0, 4, 3), np.uint8))), "is empty"),
    "huge": (
        lambda packed: gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12 + b"x"),
        "truncated: 1 bytes",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_in_one_line(tmp_path, damage):
    change, message = DAMAGES[damage]
    path = write_idx(tmp_path / "mnist") / f"{IMAGES}.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(data.DataError, match=message) as caught:
        load("mnist", tmp_path)
    assert str(path) in str(caught.value)
    assert "fetch" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_outside_the_classes_are_an_error(tmp_path):
    write(write_idx(tmp_path / "mnist"), LABELS, idx(np.array([*range(10), 10] * 2, np.uint8)[:20]))
    with pytest.raises(data.DataError, match=rf"{LABELS}.gz: label 10 of example 10 .* 0\.\.9"):
        load("mnist", tmp_path)


def test_as_many_labels_as_images(tmp_path):
    write(write_idx(tmp_path / "mnist"), LABELS, idx(np.zeros(19, np.uint8)))
    with pytest.raises(data.DataError, match=rf"{IMAGES}.gz holds 20 images but {LABELS}.gz .*19"):
        load("mnist", tmp_path)


def test_training_and_test_images_have_one_shape(tmp_path):
    images = np.zeros((5, 4, 4), np.uint8)
    write(write_idx(tmp_path / "mnist"), "t10k-images-idx3-ubyte", idx(images))
    with pytest.raises(data.DataError, match=r"\(4, 3, 1\) for training but \(4, 4, 1\)"):
        load("mnist", tmp_path)


def test_a_missing_directory_says_how_to_get_the_data(tmp_path):
    for where in (None, tmp_path / "nowhere", tmp_path):
        with pytest.raises(data.DataError, match="mnist") as caught:
            load("mnist", where)
        for part in ("--data-dir", "JAXLTH_DATA", f"{IMAGES}[.gz]", "MNIST database"):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)
        assert where is None or str(where) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    folder = write_idx(tmp_path / "mnist")
    (folder / f"{LABELS}.gz").unlink()
    with pytest.raises(data.DataError, match=f"has neither {LABELS} nor {LABELS}.gz"):
        load("mnist", tmp_path)


def test_the_folder_of_one_set_is_not_read_as_another(tmp_path):
    folder = write_idx(tmp_path / "mnist")
    with pytest.raises(data.DataError, match="No file of the data set `fashion_mnist`"):
        load("fashion_mnist", folder)


# tensorflow-datasets


def png(pixels):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels.squeeze()).save(buffer, "png")
    return buffer.getvalue()


def write_prepared(root, **change):
    """Prepare a small set as tensorflow-datasets does, without TensorFlow; return its directory.

    `change` may hold: folder, features, splits (name -> images), label (of all images), shift (of
    labels, which are 0, 1, 2, 0, ...), supervised, format.
    """
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module

    random = np.random.default_rng(0)
    splits = change.get("splits") or {
        "train": random.integers(0, 256, (20, 4, 3, 3), dtype=np.uint8),
        "test": random.integers(0, 256, (6, 4, 3, 3), dtype=np.uint8),
    }
    features = change.get("features") or {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(None, None, splits["train"][0].shape[-1])),
        "label": tfds.features.ClassLabel(num_classes=3),
    }
    folder = root / change.get("folder", "tiny/1.0.0")
    folder.mkdir(parents=True)
    tfds.features.FeaturesDict(features).save_config(str(folder))
    for split, images in splits.items():
        path = folder / f"tiny-{split}.array_record-00000-of-00001"
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for position, pixels in enumerate(images):
            label = change.get("label", (position + change.get("shift", 0)) % 3)
            writer.write(_record(id=b"one", image=png(pixels), label=label, coarse=label))
        writer.close()
    info = {
        "name": "tiny",
        "version": folder.name,
        "fileFormat": change.get("format", "array_record"),
        "splits": [
            {
                "name": split,
                "shardLengths": [str(len(images))],
                "numBytes": "1",
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
            for split, images in splits.items()
        ],
    }
    if "supervised" in change:
        items = [{"featureKey": key} for key in change["supervised"]]
        info["supervisedKeys"] = {"tuple": {"items": items}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def _record(**values):
    from tensorflow_datasets.proto import tf_example_pb2

    example = tf_example_pb2.Example()
    for key, value in values.items():
        kind = "bytes_list" if isinstance(value, bytes) else "int64_list"
        getattr(example.features.feature[key], kind).value.append(value)
    return example.SerializeToString()


def features(**change):
    import tensorflow_datasets as tfds

    kinds = tfds.features
    result = {"image": kinds.Image(shape=(4, 3, 3)), "label": kinds.ClassLabel(num_classes=3)}
    result |= {key: make(kinds) for key, make in change.items()}
    return result


@pytest.mark.parametrize("channels", [1, 3])
def test_a_prepared_set_is_read_without_tensorflow(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (26, 4, 3, channels), dtype=np.uint8)
    write_prepared(tmp_path, splits={"train": images[:20], "test": images[20:]})
    info, dataset = load("tfds:tiny", tmp_path, validation=0)
    assert info == data.Info(
        name="tfds:tiny", classes=3, shape=(4, 3, channels), train=20, validation=0, test=6
    )
    np.testing.assert_array_equal(dataset.train.images, images[:20])
    np.testing.assert_array_equal(dataset.test.images, images[20:])
    assert dataset.train.labels.tolist() == [position % 3 for position in range(20)]
    np.testing.assert_allclose(dataset.mean, images[:20].mean((0, 1, 2)), rtol=1e-6)


def test_prepared_sets_are_found_in_either_variable(tmp_path, monkeypatch):
    write_prepared(tmp_path / "one")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "one"))
    assert load("tfds:tiny")[0].test == 6
    monkeypatch.setenv("JAXLTH_DATA", str(tmp_path))
    with pytest.raises(data.DataError, match="no prepared data set tiny"):
        load("tfds:tiny")


def test_configs_and_versions_are_found_by_name(tmp_path):
    for folder in ("tiny/a/1.0.0", "tiny/a/1.10.0", "tiny/b/2.0.0", "tiny/a/1.9.0"):
        write_prepared(tmp_path, folder=folder)
    find = lookup.find
    assert find(tmp_path, "tiny/a") == tmp_path / "tiny/a/1.10.0"
    assert find(tmp_path, "tiny/a:1.0.0") == tmp_path / "tiny/a/1.0.0"
    assert find(tmp_path, "tiny/c") is None
    assert find(tmp_path, "other") is None
    with pytest.raises(data.DataError, match="choose one: tfds:tiny/a, tfds:tiny/b"):
        find(tmp_path, "tiny")
    (tmp_path / "tiny/.config").mkdir()
    (tmp_path / "tiny/.config/metadata.json").write_text('{"default_config_name": "b"}')
    assert find(tmp_path, "tiny") == tmp_path / "tiny/b/2.0.0"
    with pytest.raises(data.DataError, match="must have the form"):
        find(tmp_path, "../tiny")


def test_validation_serves_where_there_is_no_test_split(tmp_path):
    images = np.zeros((26, 4, 3, 3), np.uint8)
    write_prepared(tmp_path, splits={"train": images[:20], "validation": images[20:]})
    assert load("tfds:tiny", tmp_path)[0].test == 6


def test_a_set_without_test_split_is_an_error(tmp_path):
    write_prepared(tmp_path, splits={"train": np.zeros((20, 4, 3, 3), np.uint8)})
    with pytest.raises(data.DataError, match="has the splits train; needed"):
        load("tfds:tiny", tmp_path)


def test_the_set_says_which_of_two_labels_is_meant(tmp_path):
    two = features(coarse=lambda kinds: kinds.ClassLabel(num_classes=7))
    write_prepared(tmp_path / "one", features=two)
    with pytest.raises(data.DataError, match="coarse: ClassLabel, image: Image, label: ClassLabel"):
        load("tfds:tiny", tmp_path / "one")
    write_prepared(tmp_path / "two", features=two, supervised=("image", "coarse"))
    assert load("tfds:tiny", tmp_path / "two")[0].classes == 7


@pytest.mark.parametrize(
    "change",
    [
        {"label": lambda kinds: kinds.Scalar(np.int64)},
        {"image": lambda kinds: kinds.Text()},
        {"image": lambda kinds: kinds.Image(shape=(4, 3, 1), dtype=np.uint16)},
        {"image": lambda kinds: kinds.Tensor(shape=(4, 3, 3), dtype=np.uint8)},
    ],
)
def test_other_than_image_classification_is_refused_by_its_features(tmp_path, change):
    write_prepared(tmp_path, features=features(**change))
    with pytest.raises(data.DataError, match=r"its features are image: .*, label: ") as caught:
        load("tfds:tiny", tmp_path)
    assert "\n" not in str(caught.value)


def test_images_of_differing_sizes_are_refused(tmp_path):
    splits = {"train": [np.zeros((4, 3, 3), np.uint8), np.zeros((5, 3, 3), np.uint8)]}
    write_prepared(tmp_path, splits={**splits, "test": splits["train"]})
    with pytest.raises(data.DataError, match=r"differing sizes: \(4, 3, 3\) and \(5, 3, 3\)"):
        load("tfds:tiny", tmp_path)


def test_unlabelled_examples_are_refused(tmp_path):
    write_prepared(tmp_path, label=-1)
    with pytest.raises(data.DataError, match=r"\(train\): label -1 of example 0 .* 0\.\.2"):
        load("tfds:tiny", tmp_path)


def test_a_set_prepared_in_another_format_says_so(tmp_path):
    write_prepared(tmp_path, format="tfrecord")
    with pytest.raises(data.DataError, match="prepared as tfrecord, but only array_record"):
        load("tfds:tiny", tmp_path)


@pytest.mark.parametrize("name", ["tiny-train*", "features.json", "dataset_info.json"])
@pytest.mark.parametrize("damage", ["removed", "truncated", "zeros"])
def test_a_damaged_prepared_set_is_named_in_one_line(tmp_path, name, damage):
    folder = write_prepared(tmp_path)
    path = next(folder.glob(name))
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        half = len(content) // 2
        path.write_bytes(content[:half] + bytes(half if damage == "zeros" else 0))
    with pytest.raises(data.DataError, match=str(tmp_path / "tiny")) as caught:
        load("tfds:tiny", tmp_path)
    assert "prepare" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(bool(importlib.util.find_spec("tensorflow")), reason="TensorFlow is installed")
@pytest.mark.parametrize("name", ["cifar10", "cifar1O"])
def test_without_tensorflow_nothing_is_downloaded(tmp_path, name):
    with pytest.raises(data.DataError, match=f"no prepared data set {name}") as caught:
        load(f"tfds:{name}", tmp_path)
    for part in (str(tmp_path / name), "--data-dir", "jaxlth[tensorflow]"):
        assert part in str(caught.value)
    assert ("Did you mean tfds:cifar10?" in str(caught.value)) == (name == "cifar1O")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def buildable(monkeypatch, tmp_path):
    """Let TensorFlow look installed, and make every address unreachable."""
    (tmp_path / "packages" / "tensorflow").mkdir(parents=True)
    (tmp_path / "packages" / "tensorflow" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar10", "building it failed: https://.* cannot be reached"),
        ("cifar1O", r"cannot build cifar1O\. Did you mean tfds:cifar10"),
        ("cifar10/nosuch", "building it failed: .*nosuch"),
    ],
)
def test_a_set_that_cannot_be_built_says_so_at_once(tmp_path, buildable, name, message):
    with pytest.raises(data.DataError, match=message) as caught:
        load(f"tfds:{name}", tmp_path / "sets")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sets").exists()


# Real files


@pytest.fixture
def real(no_directories, request):
    return REAL or pytest.skip("$JAXLTH_DATA is not set")


REAL = os.environ.get("JAXLTH_DATA")


@pytest.mark.data
def test_real_mnist_is_the_published_set(real):
    info, dataset = load("mnist", real, validation=0)
    assert (info.train, info.test, info.shape, info.classes) == (60000, 10000, (28, 28, 1), 10)
    assert np.bincount(dataset.train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(dataset.test.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    np.testing.assert_allclose(dataset.mean, [255 * 0.1306604762738429], rtol=1e-6)
    np.testing.assert_allclose(dataset.std, [255 * 0.30810780385646264], rtol=1e-6)


@pytest.mark.data
def test_real_fashion_mnist_is_balanced(real):
    info, dataset = load("fashion_mnist", pathlib.Path(real), validation=0)
    assert (info.train, info.test, info.shape) == (60000, 10000, (28, 28, 1))
    assert np.bincount(dataset.train.labels).tolist() == [6000] * 10
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
    np.testing.assert_allclose(dataset.mean, [72.94035], rtol=1e-5)


def test_as_many_of_each_class_are_drawn_and_none_twice():
    labels = np.random.default_rng(0).integers(0, 5, 200).astype(np.int32)
    images = np.arange(200, dtype=np.uint8).reshape(-1, 1, 1, 1)
    split = data.Split(images, labels)
    examples = data.of_each_class(split, 10, key=jax.random.key(0))
    assert examples.labels.tolist() == [0, 1, 2, 3, 4] * 10  # so that any part has all classes
    numbers = examples.images.ravel()
    assert len(set(numbers.tolist())) == 50
    np.testing.assert_array_equal(labels[numbers], examples.labels)
    other = data.of_each_class(split, 10, key=jax.random.key(1))
    assert set(other.images.ravel().tolist()) != set(numbers.tolist())


def test_a_class_with_too_few_examples_is_named():
    split = data.Split(np.zeros((5, 1, 1, 1), np.uint8), np.array([0, 0, 7, 7, 7]))
    with pytest.raises(ValueError, match="at most 2, the examples of class 0; got 3"):
        data.of_each_class(split, 3, key=jax.random.key(0))
    with pytest.raises(ValueError, match="`count` must be at least 1"):
        data.of_each_class(split, 0, key=jax.random.key(0))


def test_examples_of_each_class_of_several_tasks_are_refused():
    split = data.Split(np.zeros((4, 1, 1, 1), np.uint8), np.zeros((4, 2), np.int32))
    with pytest.raises(
        ValueError, match=r"`split` must have one label .* shape \(4, 2\)"
    ) as caught:
        data.of_each_class(split, 1, key=jax.random.key(0))
    assert "\n" not in str(caught.value)


# One class


def one_class_of_mnist(root):
    write(write_idx(root / "mnist"), LABELS, idx(np.full(20, 7, np.uint8)))
    return {"name": "mnist", "data_dir": str(root)}


def one_class_of_a_prepared_set(root):
    write_prepared(root, label=2)
    return {"name": "tfds:tiny", "data_dir": str(root)}


def one_class_of_a_stream(root):
    write_prepared(root, label=2)
    stream = data.StreamConfig(image_size=3, resize_to=3)
    return {"name": "stream:tiny", "data_dir": str(root), "stream": stream}


ONE_CLASS = {
    "idx": (one_class_of_mnist, "all 20 training images of mnist are of class 7"),
    "idx beside another": (
        lambda root: one_class_of_mnist(root) | {"name": "fashion_mnist+mnist"},
        "all 20 training images of mnist of fashion_mnist.mnist are of class 7",
    ),
    "prepared": (one_class_of_a_prepared_set, "all 20 training images of tfds:tiny are of class 2"),
    "stream": (one_class_of_a_stream, "all 20 training images of stream:tiny are of class 2"),
    "points": (
        lambda root: {"name": "moons", "num_train_examples": 1},
        "all 1 training images of moons are of class",
    ),
    "points side by side": (
        lambda root: {"name": "moons+circles", "num_train_examples": 1},
        "all 1 training images of moons of moons.circles are of class",
    ),
    "few examples": (
        lambda root: {"name": "digits", "num_train_examples": 1},
        "all 1 training images of digits are of class",
    ),
    "few left": (
        lambda root: {"name": "digits", "validation": 1437 / 1438},
        "all 1 training images of digits are of class",
    ),
}


@pytest.mark.parametrize("kind", ONE_CLASS)
def test_training_images_of_one_class_are_refused_in_one_line(tmp_path, kind):
    make, message = ONE_CLASS[kind]
    write_idx(tmp_path / "fashion_mnist")
    settings = data.DataConfig(**{"validation": 0.0} | make(tmp_path))
    with pytest.raises(data.DataError, match=f"^`data`: {message}.*two or more") as caught:
        data.load(settings, seed=0)
    assert "\n" not in str(caught.value)


def test_two_classes_of_many_are_enough(tmp_path):
    write(write_idx(tmp_path / "mnist"), LABELS, idx(np.array([7] * 19 + [3], np.uint8)))
    assert set(load("mnist", tmp_path, validation=0)[1].train.labels.tolist()) == {3, 7}


@pytest.mark.parametrize("label", [2**32 + 1, 3, -(2**32)])
@pytest.mark.parametrize("name", ["tfds:tiny", "stream:tiny"])
def test_labels_of_prepared_sets_are_checked_before_they_are_shortened(tmp_path, name, label):
    write_prepared(tmp_path, label=label)
    settings = data.DataConfig(name=name, data_dir=str(tmp_path), validation=0)
    with pytest.raises(data.DataError, match=rf"label {label} .*lies outside 0\.\.2"):
        data.load(settings, seed=0)


VECTORS = np.arange(80, dtype=np.float32).reshape(20, 4)
CLASSES = np.arange(20) % 4
DOUBTFUL = {  # test labels, or inputs -> what is said of them
    "one class": ({"y_test": CLASSES * 0 + 2}, "all 20 test examples are of class 2, so that accu"),
    "unknown": ({"y_test": CLASSES + 4}, "20 of 20 test examples are of classes that no training"),
    "some unknown": ({"y_test": CLASSES + 1}, r"5 of 20 .* training example has \(4\), and no net"),
    "equal inputs": ({"x_train": VECTORS * 0}, "all 18 training examples have the same inputs"),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_data_of_which_little_can_be_learnt_warn(case, tmp_path):
    arrays, words = DOUBTFUL[case]
    whole = {"x_train": VECTORS, "y_train": CLASSES, "x_test": VECTORS, "y_test": CLASSES}
    np.savez(tmp_path / "a.npz", **whole | arrays)
    with pytest.warns(data.sources.DataWarning, match=f"^npz:a.npz: {words}"):
        load("npz:a.npz", tmp_path)


@pytest.mark.parametrize(("first", "count"), [(1, 60), (10, 60), (0, 60), (1, 36)])
def test_labels_that_do_not_begin_at_0_warn_where_examples_are_many(first, count, tmp_path):
    inputs, labels = np.arange(4.0 * count, dtype="f4").reshape(-1, 4), np.arange(count) % 4 + first
    np.savez(tmp_path / "a.npz", x_train=inputs, y_train=labels, x_test=inputs, y_test=labels)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        info, _ = load("npz:a.npz", tmp_path)
    assert info.classes == first + 4
    said = f"npz:a.npz: labels begin at {first}, and the network has an output for each number from"
    assert [str(each.message).startswith(said) for each in caught] == [True] * (
        first > 0 and count == 60
    )


def test_a_text_with_characters_0_is_none(tmp_path):
    (tmp_path / "a.txt").write_bytes(("ab c" * 900).encode("utf-16-le"))
    with pytest.raises(data.DataError, match=r"a\.txt is no text: it has characters 0, as UTF-16"):
        load("text:a.txt", tmp_path)


def test_characters_that_only_the_test_split_has_are_classes_too(tmp_path):
    (tmp_path / "a.txt").write_text("abbaa" * 360 + "cddcc" * 40)
    info, dataset = load("text:a.txt", tmp_path)
    assert info.classes == 4
    assert set(np.unique(dataset.train.labels)) == {0, 1}
    assert set(np.unique(dataset.test.labels)) == {2, 3}
