"""Streams: which examples come when, what is cropped from them, and what is said of bad data."""

import contextlib
import dataclasses
import functools
import io
import itertools
import math
import multiprocessing
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import types

import jax
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_data import write_prepared

from jaxlth import cli, data, keys, settings, store
from jaxlth.data import batches, crops, encoded, folders, streamed, workers
from jaxlth.process import signals
from jaxlth.studies.imp.config import ImpConfig

ORDER, CROPS = (keys.stream(0, 0, purpose) for purpose in ("order", "augmentation"))
SIZE = 6
CHOSEN = data.StreamConfig(image_size=SIZE, resize_to=8)


@pytest.fixture(autouse=True)
def no_directories(monkeypatch, tmp_path):
    """Keep what this machine has out of the tests."""
    monkeypatch.delenv("JAXLTH_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))


def jpeg(seed, *, size=(24, 20)):
    """Return smooth random content as a file."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(coarse).resize(size, PIL.Image.Resampling.BICUBIC).save(buffer, "jpeg")
    return buffer.getvalue()


def write_folders(root, *, train=(3, 4, 3), val=(2, 1, 2), inner=""):
    """Write class folders c0, c1, ... with so many images each; return `root`."""
    for split, counts in (("train", train), ("val", val)):
        for label, count in enumerate(counts):
            folder = root / split / f"c{label}" / inner
            folder.mkdir(parents=True)
            for number in range(count):
                content = jpeg(label * 100 + number + 50 * (split == "val"))
                (folder / f"{number}.JPEG").write_bytes(content)
    return root


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Ten training and five test images; nothing may change them."""
    return folders.read(
        str(write_folders(tmp_path_factory.mktemp("data") / "set").parent), name="set"
    )


def load(root, name="folder:set", *, validation=0, stream=CHOSEN, **config):
    config = data.DataConfig(
        name=name, data_dir=str(root), validation=validation, stream=stream, **config
    )
    return data.load(config, seed=0)


def stream(source, start_step=0, end=6, *, batch_size=4, config=CHOSEN, **how):
    how = {"order_key": ORDER, "crop_key": CROPS} | how
    batches_read = streamed.training(
        source, config, batch_size=batch_size, start_step=start_step, end=end, **how
    )
    return list(batches_read)


def assert_same(result, expected):
    for one, other in itertools.zip_longest(result, expected):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)


def numbered(count, classes=None):
    """Return a source whose labels are the numbers of its examples."""
    return encoded.Source(count, classes or count, lambda at: (jpeg(at), at), str)


def one_line(caught, *parts):
    assert "\n" not in str(caught.value)
    for part in parts:
        assert str(part) in str(caught.value)


# Order and draws


def test_batches_are_pixels_and_labels(pictures):
    for batch in stream(pictures[0]):
        assert batch.images.shape == (4, SIZE, SIZE, 3)
        assert batch.images.dtype == np.uint8
        assert batch.labels.shape == (4,)
        assert batch.labels.dtype == np.int32


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 6])
def test_a_stream_resumed_at_any_step_goes_on_with_the_same_bits(pictures, cut):
    whole = stream(pictures[0])
    assert_same(stream(pictures[0], 0, cut) + stream(pictures[0], cut), whole)


def test_workers_change_no_bit_and_end_with_the_stream(pictures):
    before = in_shared_memory()
    config = dataclasses.replace(CHOSEN, workers=2)
    assert_same(stream(pictures[0], 1, 7, config=config), stream(pictures[0], 1, 7))
    assert not multiprocessing.active_children()
    end = time.monotonic() + 5  # it is given back by a thread
    while in_shared_memory() - before and time.monotonic() < end:
        time.sleep(0.05)
    assert not in_shared_memory() - before


@pytest.mark.parametrize(("count", "started"), [(28, 0), (32, 2), (80, 2)])
def test_an_evaluation_of_a_few_batches_starts_no_workers(count, started, monkeypatch):
    """They take seconds to start, at every evaluation."""
    asked, make = [], workers.make

    def in_this_process(batch, start_step, end, *, workers):
        asked.append(workers)
        return make(batch, start_step, end, workers=0)

    monkeypatch.setattr(workers, "make", in_this_process)
    config = load_settings(workers=2)
    batches_read = list(streamed.evaluation(numbered(count), config, batch_size=4))
    assert asked == [started]
    assert sum(int((batch.labels != batches.PADDING).sum()) for batch in batches_read) == count


def in_shared_memory():
    return set(map(str, pathlib.Path("/dev/shm").glob("psm_*")))


def test_an_epoch_has_whole_batches_of_different_examples_in_its_own_order():
    batches_read = stream(numbered(11), 0, 4, batch_size=5)  # two epochs of two steps
    epochs = [
        np.concatenate([batch.labels for batch in batches_read[at : at + 2]]) for at in (0, 2)
    ]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 10
    assert epochs[0].tolist() != epochs[1].tolist()


@given(st.integers(0, 2**32 - 1), st.integers(0, 1000), st.integers(1, 300))
def test_an_order_is_a_permutation(seed, epoch, count):
    order = batches.order((seed, 7), epoch, count)
    assert sorted(order.tolist()) == list(range(count))


def test_every_position_is_equally_likely():
    firsts = [batches.order((0, seed), epoch, 5)[0] for seed in range(40) for epoch in range(50)]
    counts = np.bincount(firsts)
    assert ((counts - 400) ** 2 / 400).sum() < 18.5  # 4 degrees of freedom: one in a thousand


def test_keys_of_replicates_give_other_orders_and_other_crops(pictures):
    other = keys.stream(0, 1, "order")
    order = [batch.labels.tolist() for batch in stream(numbered(8))]
    assert order != [batch.labels.tolist() for batch in stream(numbered(8), order_key=other)]
    one, two = stream(pictures[0]), stream(pictures[0], crop_key=other)
    for batch, changed in zip(one, two, strict=True):
        np.testing.assert_array_equal(batch.labels, changed.labels)
        assert not np.array_equal(batch.images, changed.images)


def test_a_crop_depends_on_epoch_and_example_alone():
    source = numbered(8)

    def seen(batch_size):
        batches_read = stream(source, 0, 16 // batch_size, batch_size=batch_size)
        labels = np.concatenate([batch.labels for batch in batches_read]).reshape(2, 8)
        images = np.concatenate([batch.images for batch in batches_read]).reshape(2, 8, -1)
        return np.stack([images[at][np.argsort(labels[at])] for at in range(2)])

    whole = seen(8)
    np.testing.assert_array_equal(whole, seen(2))
    assert not np.array_equal(whole[0], whole[1])  # the next epoch has other crops


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_together_see_the_batches_of_one(pictures, hosts):
    whole = stream(pictures[0])
    parts = [stream(pictures[0], shard=batches.Shard(host, hosts)) for host in range(hosts)]
    joined = [
        jax.tree.map(lambda *a: np.concatenate(a), *each) for each in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)


def test_hosts_with_unequal_shares_are_an_error(pictures):
    with pytest.raises(ValueError, match="`batch_size` must be a multiple of the 3 hosts.*got 4"):
        stream(pictures[0], shard=batches.Shard(0, 3))


def test_hosts_with_different_files_are_an_error():
    streamed.check_hosts(np.array([[10, 5], [10, 5]]))
    with pytest.raises(data.DataError, match="Host 0 has 10 training and 5 .* host 2 9 and 5"):
        streamed.check_hosts(np.array([[10, 5], [10, 5], [9, 5]]))


def test_too_few_images_for_a_batch_are_an_error(pictures):
    with pytest.raises(data.DataError, match="`batch_size` = 16 is more than the 10 training"):
        stream(pictures[0], batch_size=16)


# Evaluation


@pytest.mark.parametrize(("batch_size", "hosts"), [(2, 1), (2, 2), (4, 2), (5, 1), (12, 2)])
def test_evaluation_sees_every_example_once_and_fills_up(pictures, batch_size, hosts):
    shards = [batches.Shard(host, hosts) for host in range(hosts)]
    result = [
        list(streamed.evaluation(pictures[1], CHOSEN, batch_size=batch_size, shard=shard))
        for shard in shards
    ]
    assert {len(each) for each in result} == {math.ceil(5 / batch_size)}
    labels = np.concatenate([batch.labels for each in zip(*result, strict=True) for batch in each])
    images = np.concatenate([batch.images for each in zip(*result, strict=True) for batch in each])
    assert labels.tolist() == [0, 0, 1, 2, 2] + [batches.PADDING] * (len(labels) - 5)
    assert (images[5:] == 0).all()
    for number in range(5):
        whole = crops.decode(pictures[1].read(number)[0])
        np.testing.assert_array_equal(images[number], crops.center_crop(whole, size=6, shorter=8))


def test_statistics_are_those_of_the_sample_cropped_for_testing(pictures):
    config = dataclasses.replace(CHOSEN, statistics_images=5)
    mean, std = streamed.statistics(pictures[0], config)
    result = [crops.decode(pictures[0].read(number)[0]) for number in range(0, 10, 2)]
    pixels = np.stack([crops.center_crop(image, size=6, shorter=8) for image in result])
    np.testing.assert_allclose(mean, pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, pixels.std((0, 1, 2)), rtol=1e-6)


# Crops


def gradient(width, height):
    """Return an image whose red is the column and whose green is the row."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
    return PIL.Image.fromarray(pixels)


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=41, max_size=41),
)
def test_a_random_crop_lies_within_the_image(width, height, draws):
    ratio = (3 / 4, 4 / 3)
    left, top, right, bottom = crops._box(
        (width, height), np.array(draws), scale=(0.08, 1), ratio=ratio
    )
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_areas_and_shapes_of_random_crops_are_those_asked_for():
    random = np.random.default_rng(0)
    boxes = [
        crops._box((400, 400), random.random(crops.DRAWS), scale=(0.08, 0.5), ratio=(0.75, 4 / 3))
        for _ in range(2000)
    ]
    sides = np.array([(right - left, bottom - top) for left, top, right, bottom in boxes])
    areas, log_ratios = sides.prod(1) / 400**2, np.log(sides[:, 0] / sides[:, 1])
    assert areas.min() > 0.078
    assert areas.max() < 0.505
    assert abs(areas.mean() - 0.29) < 0.01
    assert abs(log_ratios.mean()) < 0.02
    assert abs(log_ratios.std() - math.log(4 / 3) / math.sqrt(3)) < 0.01


def test_an_image_too_narrow_for_any_crop_gives_its_middle():
    box = crops._box((300, 10), np.full(crops.DRAWS, 0.9), scale=(0.9, 1.0), ratio=(0.75, 4 / 3))
    assert box == (143, 0, 156, 10)


def test_half_of_the_crops_are_mirrored():
    draws = np.full(crops.DRAWS, 0.5)
    whole = {"size": 8, "scale": (1, 1), "ratio": (1, 1)}
    cut = functools.partial(crops.random_crop, gradient(60, 60), **whole, flip=True)
    plain = cut(draws)
    assert (np.diff(plain[0, :, 0].astype(int)) > 0).all()
    draws[-1] = 0.49
    np.testing.assert_array_equal(cut(draws), plain[:, ::-1])
    np.testing.assert_array_equal(cut(draws, flip=False), plain)


def test_a_crop_that_needs_no_resizing_keeps_the_pixels():
    image = gradient(20, 12)
    middle = crops.center_crop(image, size=10, shorter=12)
    np.testing.assert_array_equal(middle, np.asarray(image)[1:11, 5:15])


@pytest.mark.parametrize("size", [(20, 12), (12, 20), (3, 200), (1, 1)])
def test_a_center_crop_of_any_image_has_the_size(size):
    cropped = crops.center_crop(gradient(*size), size=7, shorter=8)
    assert cropped.shape == (7, 7, 3)


@pytest.mark.parametrize("size", [(1, 20000), (20000, 1), (2, 9000)])
def test_a_center_crop_of_a_thin_image_is_of_its_middle(size):
    """The whole image, resized, would take gigabytes."""
    shown = tuple(slice(length // 2 - min(200, length // 2), length // 2 + 200) for length in size)
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[shown[1], shown[0]] = 200
    image = PIL.Image.fromarray(pixels)
    cropped = crops.center_crop(image, size=256, shorter=256)
    assert cropped.shape == (256, 256, 3)
    assert (cropped == 200).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P", "1", "I;16"])
def test_images_of_any_mode_become_rgb(mode):
    buffer = io.BytesIO()
    form = "tiff" if mode in ("CMYK", "I;16") else "png"
    PIL.Image.new(mode, (3, 2)).save(buffer, form)
    assert np.asarray(crops.decode(buffer.getvalue())).shape == (2, 3, 3)


# Sending ahead


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_batches_are_sent_so_many_ahead_and_in_order(depth):
    sent = []
    prefetched = workers.prefetch(range(5), put=lambda at: sent.append(at) or at, depth=depth)
    assert next(prefetched) == 0
    assert len(sent) == 1 + depth
    assert list(prefetched) == [1, 2, 3, 4]


def test_what_is_sent_keeps_its_values(pictures):
    sent = workers.prefetch(iter(stream(pictures[0])), put=jax.device_put, depth=3)
    assert_same(list(sent), stream(pictures[0]))


# Folders


def test_class_folders_are_numbered_by_name(pictures):
    train, test = pictures
    assert (train.examples, train.classes, test.examples, test.classes) == (10, 3, 5, 3)
    assert [train.read(at)[1] for at in range(10)] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert train.where(3).endswith("set/train/c1/0.JPEG")
    assert train.read(3)[0] == jpeg(100)


def test_tiny_imagenet_is_read_as_it_is_published(tmp_path):
    root = write_folders(tmp_path / "set", inner="images")
    for label in range(3):
        (root / "train" / f"c{label}" / f"c{label}_boxes.txt").write_text("0.JPEG\t0\t0\t9\t9\n")
    (root / "val").rename(root / "unused")
    (root / "val" / "images").mkdir(parents=True)
    for number in range(4):
        (root / "val" / "images" / f"val_{number}.JPEG").write_bytes(jpeg(number))
    lines = [f"val_{number}.JPEG\tc{number % 3}\t0\t32\t44\t62" for number in (3, 1, 0, 2)]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    train, test = folders.read(str(tmp_path), name="set")
    assert train.examples == 10
    assert train.where(0).endswith("train/c0/images/0.JPEG")
    assert [test.read(at)[1] for at in range(4)] == [0, 1, 0, 2]
    assert test.read(0)[0] == jpeg(3)


def test_a_set_is_loaded_with_validation_and_statistics(tmp_path):
    info, dataset = load(write_folders(tmp_path / "set").parent, validation=0.3)
    assert info == data.Info(
        name="folder:set", classes=3, shape=(6, 6, 3), train=7, validation=3, test=5
    )
    seen = [
        source.where(at)
        for source in (dataset.train, dataset.validation)
        for at in range(source.examples)
    ]
    assert len(set(seen)) == 10
    mean, std = streamed.statistics(dataset.train, CHOSEN)
    np.testing.assert_array_equal((dataset.mean, dataset.std), (mean, std))
    with pytest.raises(ValueError, match="`validation` = 0.01 takes 0 of the 10"):
        load(tmp_path, validation=0.01)


def test_the_directory_may_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXLTH_DATA", str(write_folders(tmp_path / "set").parent))
    config = data.DataConfig(name="folder:set", validation=0, stream=CHOSEN)
    assert data.load(config, seed=0)[1].validation is None


BAD_FOLDERS = {
    "no such set": (lambda root: root.rename(root.parent / "other"), "no folder .*set;"),
    "no val": (lambda root: (root / "val").rename(root / "test"), "no folder .*set/val;"),
    "no train": (lambda root: (root / "train").rename(root / "test"), "no folder .*set/train;"),
    "no class": (
        lambda root: [(root / "train" / f"c{n}").rename(root / f"c{n}") for n in range(3)],
        "set/train holds no folder",
    ),
    "class without images": (
        lambda root: [each.unlink() for each in (root / "train/c1").iterdir()],
        "set/train/c1 holds no image",
    ),
    "class without test images": (
        lambda root: [
            each.rename(each.with_suffix(".txt")) for each in (root / "val/c1").iterdir()
        ],
        "set/val/c1 holds no image",
    ),
    "unknown class": (
        lambda root: (root / "val/c1").rename(root / "val/d"),
        "set/val/d is the folder of a class that .*set/train lacks",
    ),
    "annotations without classes": (
        lambda root: (root / "val/val_annotations.txt").write_text("a.JPEG\n"),
        "val_annotations.txt, line 1: 'a.JPEG' is not",
    ),
    "annotations that lead elsewhere": (
        lambda root: (root / "val/val_annotations.txt").write_text("../a.JPEG\tc0\n"),
        "val_annotations.txt, line 1",
    ),
    "empty annotations": (
        lambda root: (root / "val/val_annotations.txt").write_text("\n"),
        "val_annotations.txt names no image",
    ),
}


@pytest.mark.parametrize("bad", BAD_FOLDERS)
def test_bad_folders_are_named_in_one_line(tmp_path, bad):
    change, message = BAD_FOLDERS[bad]
    change(write_folders(tmp_path / "set"))
    with pytest.raises(data.DataError, match=message) as caught:
        load(tmp_path)
    one_line(caught, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("path", ["train/c1", "train/c0/1.JPEG"])
def test_what_may_not_be_read_is_named(tmp_path, path):
    target = write_folders(tmp_path / "set") / path
    target.chmod(0)
    with pytest.raises(data.DataError, match=f"{target} cannot be read: Permission denied"):
        load(tmp_path)
    target.chmod(0o700)


# Broken examples


BROKEN = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "no image": lambda content: b"<html>not found</html>",
    "header only": lambda content: content[:20],
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_image_is_named_or_replaced_by_the_next(tmp_path, damage):
    root = write_folders(tmp_path / "set")
    source = folders.read(str(tmp_path), name="set")[0]
    good = next(streamed.evaluation(source, CHOSEN, batch_size=10))
    path = root / "train/c0/2.JPEG"
    path.write_bytes(BROKEN[damage](path.read_bytes()))
    with pytest.raises(data.DataError, match="is broken: .*`skip_broken`") as caught:
        list(streamed.evaluation(source, CHOSEN, batch_size=10))
    one_line(caught, path)
    skipping = dataclasses.replace(CHOSEN, skip_broken=True)
    with pytest.warns(UserWarning, match=f"{path} is broken; in its place comes .*c1/0.JPEG"):
        result = next(streamed.evaluation(source, skipping, batch_size=10))
    rows = [0, 1, 3, 3, 4, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(result.images, good.images[rows])
    np.testing.assert_array_equal(result.labels, good.labels[rows])
    with pytest.warns(UserWarning, match="is broken"):
        resumed, whole = stream(source, 2, config=skipping), stream(source, config=skipping)
    assert_same(resumed, whole[2:])


def test_when_every_image_is_broken_skipping_ends():
    source = encoded.Source(4, 4, lambda at: (b"", at), str)
    with pytest.raises(data.DataError, match="None of 4 images can be decoded"):
        stream(source, config=dataclasses.replace(CHOSEN, skip_broken=True))


def test_an_image_that_vanishes_is_named_and_never_skipped(tmp_path):
    root = write_folders(tmp_path / "set")
    source = folders.read(str(tmp_path), name="set")[0]
    (root / "train/c0/2.JPEG").unlink()
    skipping = dataclasses.replace(CHOSEN, skip_broken=True)
    with pytest.raises(data.DataError, match=r"c0/2.JPEG cannot be read: No such file"):
        list(streamed.evaluation(source, skipping, batch_size=10))


def test_labels_outside_the_classes_are_an_error():
    with pytest.raises(data.DataError, match=r"^\d: label \d lies outside 0\.\.2"):
        stream(numbered(8, classes=3), 0, 2)


# Prepared sets


def test_a_prepared_set_is_streamed_as_it_is_read_into_memory(tmp_path):
    write_prepared(tmp_path)
    small = load_settings(image_size=3, resize_to=3)
    info, dataset = load(tmp_path, name="stream:tiny", stream=small)
    assert (info.train, info.test, info.classes, info.shape) == (20, 6, 3, (3, 3, 3))
    whole = data.load(
        data.DataConfig(name="tfds:tiny", data_dir=str(tmp_path), validation=0), seed=0
    )[1]
    batch = next(streamed.evaluation(dataset.test, small, batch_size=6))
    np.testing.assert_array_equal(batch.labels, whole.test.labels)
    expected = whole.test.images  # (4, 3): the shorter side fits already
    np.testing.assert_array_equal(batch.images, expected[:, :3])


def load_settings(**change):
    return dataclasses.replace(CHOSEN, **change)


def test_a_prepared_test_split_without_labels_gives_way_to_validation(tmp_path):
    images = np.zeros((26, 4, 3, 3), np.uint8)
    splits = {"train": images[:20], "validation": images[20:24], "test": images[24:]}
    write_prepared(tmp_path, splits=splits)
    assert load(tmp_path, name="stream:tiny")[0].test == 2
    write_prepared(tmp_path / "unlabelled", splits=splits, label=-1)
    from jaxlth.data import records

    assert records.read(str(tmp_path / "unlabelled"), name="tiny")[1].examples == 4


def test_a_missing_file_of_a_prepared_set_is_named(tmp_path):
    folder = write_prepared(tmp_path)
    path = next(folder.glob("tiny-train*"))
    path.unlink()
    with pytest.raises(data.DataError, match="is missing: prepare the set again") as caught:
        load(tmp_path, name="stream:tiny")
    one_line(caught, path)


def test_a_damaged_file_of_a_prepared_set_is_named_in_one_line(tmp_path):
    folder = write_prepared(tmp_path)
    path = next(folder.glob("tiny-train*"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(data.DataError, match="cannot be read") as caught:
        load(tmp_path, name="stream:tiny")
    one_line(caught, folder)


# Settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image_size": 9},
            "`image_size` must be at least 1 and at most `resize_to`.* got 9 and 8",
        ),
        ({"crop_area": (0.0, 1.0)}, "`crop_area`.*; got 0 1."),
        ({"crop_area": (0.5, 0.4)}, "`crop_area`"),
        ({"crop_area": (0.5, 1.1)}, "`crop_area`"),
        ({"crop_area": (0.5,)}, "`crop_area`.*two shares.*; got 0.5."),
        ({"crop_ratio": (2.0, 1.0)}, "`crop_ratio`"),
        ({"statistics_images": 0}, "`statistics_images` must be at least 1; got 0"),
        ({"workers": -1}, "`workers` must be at least 0; got -1"),
        ({"prefetch": -1}, "`prefetch` must be at least 0"),
    ],
)
def test_settings_outside_their_range_are_errors(change, message):
    with pytest.raises(ValueError, match=message):
        load_settings(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "foldr:x"}, "`data` has no value 'foldr:x'.*Did you mean 'folder:NAME'"),
        ({"name": "folder:"}, "`data` has no value 'folder:'.*Did you mean 'folder:NAME'"),
        ({"name": "folder:NAME"}, "`data`: put the name of a data set after 'folder:'"),
        ({"name": "folder:x", "augment": "flip-crop"}, "`augment` has no effect on folder:x"),
        ({"stream": load_settings()}, "`image_size` has no effect on digits, which memory"),
        ({"stream": data.StreamConfig(workers=1)}, "`workers` has no effect on digits"),
        ({"stream": data.StreamConfig(skip_broken=True)}, "`skip_broken` has no effect"),
    ],
)
def test_settings_without_effect_and_unknown_names_are_errors(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        data.DataConfig(**change)
    one_line(caught)
    assert len(str(caught.value)) < 190


def test_workers_and_directory_stay_out_of_the_digest():
    plain = data.DataConfig(name="folder:set", stream=CHOSEN)
    other = dataclasses.replace(plain, data_dir="x", stream=load_settings(workers=3, prefetch=5))
    assert settings.digest(other) == settings.digest(plain)
    assert settings.from_dict(data.DataConfig, settings.to_dict(other)) == other


def test_examples_and_test_images_are_drawn_as_they_are_in_memory(tmp_path):
    write_prepared(tmp_path)
    shares = {"validation": 0.2, "held_out_test": 0.3, "num_train_examples": 5}
    _, dataset = load(
        tmp_path, name="stream:tiny", stream=load_settings(image_size=3, resize_to=3), **shares
    )
    config = data.DataConfig(name="tfds:tiny", data_dir=str(tmp_path), **shares)
    _, whole = data.load(config, seed=0)
    for source, split in zip(dataset[:3], whole[:3], strict=True):
        labels = [source.read(at)[1] for at in range(source.examples)]
        assert labels == split.labels.tolist()
    assert len(labels) == 6


# Processes


@pytest.mark.slow
def test_what_a_worker_finds_wrong_is_said_in_one_line(tmp_path):
    root = write_folders(tmp_path / "set")
    source = folders.read(str(tmp_path), name="set")[0]
    (root / "train/c0/2.JPEG").write_bytes(b"x")
    with pytest.raises(data.DataError, match="is broken") as caught:
        stream(source, 0, 2, batch_size=10, config=load_settings(workers=2))
    one_line(caught, root / "train/c0/2.JPEG")
    assert not multiprocessing.active_children()


def killed(number):
    """Return a batch, or end as a worker does that is killed, by the number's signal."""
    if number:
        os.kill(os.getpid(), number)
    return data.Split(np.zeros((2, 2)), np.zeros(2))


KILLED = {
    signal.SIGKILL: ("by SIGKILL", "memory runs out", "`--workers`", "`--batch-size`"),
    signal.SIGBUS: ("shared memory", "/dev/shm", "--shm-size", "`--workers`"),
    signal.SIGSEGV: ("by SIGSEGV", "`--workers 0`"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", KILLED)
def test_a_worker_that_is_killed_is_told_in_one_line(how):
    batches_of = workers.make(functools.partial(_times, how, killed), 0, 4, workers=2)
    with pytest.raises(data.DataError) as caught:
        list(batches_of)
    one_line(caught, *KILLED[how])


FAILS = """
from jaxlth import data
from jaxlth.data import workers
import numpy as np


def batch(step):
    if step == 5:
        raise data.DataError("image 5 is broken")
    return data.Split(np.zeros((20, 64, 64, 3), np.uint8), np.zeros(20, np.int32))


def train():
    for images, _ in workers.make(batch, 0, 40, workers=3):
        assert images.any() == 0


if __name__ == "__main__":
    try:
        train()
    except data.DataError as error:
        print(str(error).splitlines()[0])
"""


@pytest.mark.slow
def test_a_batch_that_fails_in_a_worker_is_told_by_its_own_words(tmp_path):
    (tmp_path / "fails.py").write_text(FAILS)
    command = [sys.executable, str(tmp_path / "fails.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "image 5 is broken\n"
    assert "Traceback" not in done.stderr  # Python may warn there of memory that a worker left


def _times(factor, function, number):
    return function(factor * (number == 1))


@pytest.mark.parametrize("how", KILLED)
def test_each_signal_is_explained_with_its_remedy(how):
    for part in KILLED[how]:
        assert part in workers.explained(-how)


def test_a_worker_without_room_in_shared_memory_says_so(tmp_path):
    workers.check_room(1, folder=str(tmp_path))
    workers.check_room(10**18, folder=str(tmp_path / "nothing"))  # as where there is no /dev/shm
    with pytest.raises(data.DataError, match=r"no room for a batch of 10+\.0 MB in") as caught:
        workers.check_room(10**18, folder=str(tmp_path))
    one_line(caught, tmp_path, "MB left of", "--shm-size", "`--workers`")


UNGUARDED = """
import sys
from jaxlth import data, keys
from jaxlth.data import streamed

stream = data.StreamConfig(image_size=6, resize_to=8, workers=2)
chosen = data.DataConfig(name="folder:set", data_dir=sys.argv[1], validation=0, stream=stream)
try:
    _, dataset = data.load(chosen, seed=0)
    streams = {"order_key": keys.stream(0, 0, "order"), "crop_key": keys.stream(0, 0, "crops")}
    options = {"batch_size": 2, "start_step": 0, "end": 100}
    next(streamed.training(dataset.train, stream, **streams, **options))
except data.DataError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_to_have_one(tmp_path):
    write_folders(tmp_path / "set")
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("Workers import the main script, and it began its work anew in them: ")
    assert f"""{tmp_path / "script.py"} behind `if __name__ == "__main__":`""" in line


@pytest.mark.parametrize(
    "begin",
    [
        lambda out: workers.end_if_unguarded(),
        lambda out: next(workers.make(killed, 0, 1, workers=0)),
        lambda out: store.open_run(out, ImpConfig(), job="imp", label="x"),
        lambda out: cli.main(["imp", "--out", out]),
    ],
)
def test_a_worker_that_imports_the_main_script_ends_where_work_begins(begin, monkeypatch, tmp_path):
    class Ended(BaseException):
        pass

    def end(code):
        raise Ended(code)

    process = types.SimpleNamespace(name="grain-process-prefetch 0", _inheriting=True)
    monkeypatch.setattr(multiprocessing, "current_process", lambda: process)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(Ended, match=str(workers.UNGUARDED)):
        begin(str(tmp_path))
    assert not list(tmp_path.iterdir())
    process.name = "MainProcess"  # of somebody else's
    workers.end_if_unguarded()
    process.name, process._inheriting = "grain-process-prefetch 0", False
    workers.end_if_unguarded()


def test_a_program_that_is_no_file_is_told_to_be_one(monkeypatch):
    main = types.ModuleType("__main__")
    main.__file__ = "<stdin>"
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(data.DataError, match="<stdin> is no file: write the program to one, or"):
        next(workers.make(killed, 0, 1, workers=1))


@pytest.mark.slow
def test_a_stream_that_is_left_early_ends_its_workers(pictures):
    batches_read = streamed.training(
        pictures[0],
        load_settings(workers=2),
        batch_size=4,
        start_step=0,
        end=10**6,
        order_key=ORDER,
        crop_key=CROPS,
    )
    next(batches_read)
    assert multiprocessing.active_children()
    batches_read.close()
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_prepared_sets_are_read_by_workers(tmp_path):
    write_prepared(tmp_path)
    dataset = load(tmp_path, name="stream:tiny")[1]
    assert_same(stream(dataset.train, config=load_settings(workers=2)), stream(dataset.train))


HOST = """
import sys
import jax, numpy as np

jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
from jaxlth import data, keys
from jaxlth.data import streamed

stream = data.StreamConfig(image_size=6, resize_to=8)
chosen = data.DataConfig(
    name="folder:set", data_dir=sys.argv[3], validation=0, stream=stream
)
try:
    info, images = data.load(chosen, seed=0)
    batch = next(streamed.training(
        images.train, stream, batch_size=4, start_step=2, end=3,
        order_key=keys.stream(0, 0, "order"), crop_key=keys.stream(0, 0, "augmentation"),
    ))
    print(batch.images.shape[0], *batch.labels.tolist(), batch.images.sum())
except data.DataError as error:
    print(error)
"""


def on_two_hosts(*data_dirs):
    """Return what each of two processes prints."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, port, str(host), str(where)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for host, where in enumerate(data_dirs)
    ]
    return [host.communicate(timeout=120)[0].splitlines()[-1] for host in hosts]


@pytest.mark.slow
def test_two_hosts_take_the_halves_of_a_batch_and_compare_their_files(tmp_path):
    root = write_folders(tmp_path / "one/set").parent
    (batch,) = stream(folders.read(str(root), name="set")[0], 2, 3)
    halves = (slice(0, 2), slice(2, 4))
    assert on_two_hosts(root, root) == [
        " ".join(map(str, [2, *batch.labels[rows], batch.images[rows].sum()])) for rows in halves
    ]
    other = write_folders(tmp_path / "two/set", train=(3, 4, 2)).parent
    for line in on_two_hosts(root, other):
        assert line.startswith("Host 0 has 10 training and 5 test images, but host 1 9 and 5")
    changed = write_folders(tmp_path / "three/set").parent
    (changed / "set/train/c0/0.JPEG").write_bytes(jpeg(9))
    for line in on_two_hosts(root, changed):
        assert line.startswith("Host 0 has read data of digest ")
        assert line.endswith("; give all hosts the same files.")


PROGRAM = """
import multiprocessing, signal, sys
from jaxlth import data, keys
from jaxlth.data import folders, streamed

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a shell's foreground
    chosen = data.StreamConfig(image_size=6, resize_to=8, workers=2)
    events = streamed.training(
        folders.read(sys.argv[1], name="set")[0], chosen, batch_size=4, start_step=0, end=10**6,
        order_key=keys.stream(0, 0, "order"), crop_key=keys.stream(0, 0, "augmentation"),
    )
    next(events)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    for batch in events:
        pass
"""


@pytest.mark.slow
def test_workers_leave_signals_to_their_parent(tmp_path):
    write_folders(tmp_path / "set")
    few = PROGRAM.replace("pass", "if sys.stdin.readline() == 'end': break")
    (tmp_path / "program.py").write_text(f"{few}\n    print('whole')\n")
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as parent:
        try:
            pids = [int(pid) for pid in parent.stdout.readline().split()]
            for number in signals.SIGNALS:
                for pid in pids:
                    os.kill(pid, number)
            told, _ = parent.communicate("\n" * 20 + "end", timeout=60)
        finally:
            parent.kill()
    assert told == "whole\n"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent_however_it_ends(tmp_path, how):
    write_folders(tmp_path / "set")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        try:
            for _ in range(5):  # an exception may get lost in JAX's hook of the garbage collector
                parent.send_signal(how)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    parent.wait(15)
            assert parent.poll() is not None
        finally:
            parent.kill()
    end = time.monotonic() + 20
    while (alive := [pid for pid in pids if running(pid)]) and time.monotonic() < end:
        time.sleep(0.1)
    assert not alive


def running(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
