"""Folders of images: every image is read in a fixed order, and what is left out is told."""

import dataclasses
import itertools
import os
import unicodedata
import warnings

import numpy as np
import PIL.Image
import pytest

from jaxlth import cli, data
from jaxlth.data import folders, image_files, sources
from jaxlth.models import ModelConfig
from jaxlth.studies.prune_early import run as prune_early
from jaxlth.studies.prune_early.config import PruneEarlyConfig
from jaxlth.training import TrainingConfig

CROPPED = data.StreamConfig(image_size=4, resize_to=4)


def image(path, level=0):
    """Write a small image in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    form = PIL.Image.registered_extensions()[path.suffix.lower()]
    PIL.Image.new("RGB", (6, 5), (level, level, level)).save(path, form)
    return path


@pytest.fixture
def root(tmp_path):
    """A set of two classes, a and b, with an image each for training and testing."""
    for split, label in itertools.product(("train", "val"), "ab"):
        image(tmp_path / "set" / split / label / "0.png")
    return tmp_path / "set"


def read(root):
    """Return the paths of training and test images with their labels, as they are read."""
    pair = folders.read(str(root.parent), name=root.name)
    return [
        [(os.path.relpath(each.where(at), root), each.read(at)[1]) for at in range(each.examples)]
        for each in pair
    ]


def told(root):
    """Return what is read, and the one warning, "" where there is none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pair = read(root)
    assert len(caught) <= 1
    assert all(warning.category is sources.DataWarning for warning in caught)
    words = "".join(str(warning.message) for warning in caught)
    assert "\n" not in words
    return pair, words


PLAIN = [("train/a/0.png", 0), ("train/b/0.png", 1)]


# Images


@pytest.mark.parametrize(
    "suffix",
    [
        *(".bmp", ".gif", ".ico", ".jfif", ".jp2", ".jpeg", ".jpg", ".JPG", ".pcx"),
        *(".pgm", ".PnG", ".ppm", ".qoi", ".tga", ".tif", ".TIFF", ".webp"),
    ],
)
def test_files_that_pillow_decodes_are_images_whatever_their_suffix(root, suffix):
    image(root / f"train/b/1{suffix}")
    pair, words = told(root)
    assert pair[0] == [*PLAIN, (f"train/b/1{suffix}", 1)]
    assert words == ""


def test_images_in_subfolders_and_beside_them_are_read_in_a_fixed_order(root):
    for path in ("images/1.png", "images/0.png", "2021/1/0.png", "2021/3.png", "5.png", "10.png"):
        image(root / "train/a" / path)
    inside = ["0.png", "10.png", "5.png", "2021/3.png", "2021/1/0.png", "images/0.png"]
    expected = [(f"train/a/{path}", 0) for path in [*inside, "images/1.png"]]
    pair, words = told(root)
    assert pair[0] == [*expected, ("train/b/0.png", 1)]
    assert words == ""


def test_scores_see_images_of_each_class_as_they_are_shown_in_evaluation(root):
    for number in range(1, 5):
        image(root / f"train/b/{number}.png", level=50 * number)
    settings = data.DataConfig(
        name="folder:set", data_dir=str(root.parent), validation=0, stream=CROPPED
    )
    config = PruneEarlyConfig(
        data=settings,
        model=ModelConfig(name="mlp", hidden=(2,)),
        training=TrainingConfig(steps=2, batch_size=2),
        per_class=1,
    )
    experiment = prune_early.prepare(config)
    mean, std = experiment.device_data.dataset.mean, experiment.device_data.dataset.std
    levels = set()
    for replicate in range(6):
        inputs, labels = experiment.examples(replicate, per_class=1)
        assert labels.tolist() == [0, 1]
        levels |= set(np.round(inputs[1] * std + mean).ravel().tolist())
        np.testing.assert_allclose(inputs[0] * std + mean, 0, atol=1e-4)
    assert levels <= {0, 50, 100, 150, 200}
    assert len(levels) > 1
    with pytest.raises(ValueError, match="`per_class` must be at most 1, the training examples"):
        prune_early.prepare(dataclasses.replace(config, per_class=2))


def test_the_images_of_a_set_are_those_of_all_its_subfolders(root):
    for number in range(5):
        image(root / f"train/a/2021/{number}.png", level=10 * number)
    settings = data.DataConfig(
        name="folder:set", data_dir=str(root.parent), validation=0, stream=CROPPED
    )
    info, dataset = data.load(settings, seed=0)
    assert info.train == 7
    np.testing.assert_allclose(dataset.mean, [100 / 7] * 3)


def test_the_link_of_an_image_or_a_folder_is_what_it_leads_to(root):
    other = image(root.parent / "elsewhere/c.png")
    (root / "train/a/1.png").symlink_to(other)
    (root / "train/b/more").symlink_to(other.parent)
    pair, words = told(root)
    assert [path for path, _ in pair[0]] == [
        "train/a/0.png", "train/a/1.png", "train/b/0.png", "train/b/more/c.png",
    ]  # fmt: skip
    assert words == ""


# What is left out


LEFT_OUT = {
    "a hidden image": (lambda root: image(root / "train/a/.1.png"), "hidden: train/a/.1.png"),
    "a hidden folder": (
        lambda root: image(root / "train/.ipynb_checkpoints/1.png"),
        "hidden: train/.ipynb_checkpoints/1.png",
    ),
    "a folder hidden in a class": (
        lambda root: image(root / "val/b/.thumbs/deep/1.png"),
        "hidden: val/b/.thumbs/deep/1.png",
    ),
    "a dangling link": (
        lambda root: (root / "train/a/1.png").symlink_to("nowhere.png"),
        "links to nothing: train/a/1.png",
    ),
    "a link to itself": (
        lambda root: (root / "train/a/1.png").symlink_to("1.png"),
        "links to nothing: train/a/1.png",
    ),
    "a link to a folder around it": (
        lambda root: (root / "train/a/again").symlink_to(root / "train"),
        "links to a folder around them: train/a/again",
    ),
    "a pipe": (lambda root: os.mkfifo(root / "val/a/1.png"), "no regular files: val/a/1.png"),
    "another suffix": (
        lambda root: (root / "train/a/1.npy").touch(),
        "suffixes that Pillow does not decode: train/a/1.npy",
    ),
    "no suffix": (
        lambda root: (root / "train/a/1").touch(),
        "suffixes that Pillow does not decode: train/a/1",
    ),
    "a file beside the classes": (
        lambda root: image(root / "train/1.png"),
        "beside the folders of classes: train/1.png",
    ),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_is_left_out_is_counted_and_named(root, kind):
    make, words = LEFT_OUT[kind]
    make(root)
    pair, message = told(root)
    assert pair[0] == PLAIN
    assert len(pair[1]) == 2
    assert message == f"{root}: 1 file is left out ({words})."


def test_one_warning_tells_all_that_is_left_out(root):
    for number in range(5):
        (root / f"train/a/{number}.txt").touch()
        image(root / f"val/b/.{number}.png")
    assert told(root)[1] == (
        f"{root}: 10 files are left out (hidden: val/b/.0.png, val/b/.1.png, val/b/.2.png and 2"
        " more; suffixes that Pillow does not decode: train/a/0.txt, train/a/1.txt, train/a/2.txt"
        " and 2 more)."
    )


def test_what_file_managers_leave_behind_is_no_image(root):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (root / "train" / name).touch()
        (root / "train/a" / name).touch()
    assert told(root)[1] == ""


def test_the_command_line_shows_a_warning_of_the_library_in_one_line(capsys):
    def warn():
        for kind in (sources.DataWarning, PIL.Image.DecompressionBombWarning, FutureWarning):
            print(warnings.formatwarning("some\nwords", kind, "file.py", 7), end="")
        return 0

    plain = warnings.formatwarning
    assert cli.guarded(warn) == 0
    assert warnings.formatwarning is plain
    others = plain("some\nwords", FutureWarning, "file.py", 7)
    assert capsys.readouterr().out == f"jaxlth: warning: some words\n{others}"


# Annotations


def annotate(root, *lines):
    (root / "val/a").rename(root / "val/images")
    (root / "val/b/0.png").rename(root / "val/images/1.png")
    (root / "val/b").rmdir()
    (root / "val/val_annotations.txt").write_text("".join(f"{line}\n" for line in lines))


def test_images_that_annotations_do_not_name_are_told(root):
    annotate(root, "1.png\tb")
    pair, words = told(root)
    assert pair[1] == [("val/images/1.png", 1)]
    assert "1 file is left out (not in val_annotations.txt: val/images/0.png); val has no" in words
    assert "no image of 1 of 2 classes (a), of which accuracies say nothing" in words


def test_an_image_that_annotations_name_and_that_is_not_there_is_an_error(root):
    annotate(root, "1.png\tb", "2.png\ta")
    with pytest.raises(data.DataError, match=r"line 2: there is no file .*val/images/2.png"):
        read(root)


# Classes


def test_a_class_without_images_says_what_it_holds_instead(root):
    (root / "train/b/0.png").rename(root / "train/b/0.txt")
    with pytest.raises(data.DataError, match=r"train/b holds no image \(1 file is left out \(suf"):
        read(root)
    (root / "train/b/0.txt").unlink()
    with pytest.raises(data.DataError, match="train/b holds no image; fetch the class again"):
        read(root)


def test_classes_without_test_images_are_told(root):
    image(root / "train/c/0.png")
    pair, words = told(root)
    assert [label for _, label in pair[0]] == [0, 1, 2]
    assert words.endswith(
        "val has no image of 1 of 3 classes (c), of which accuracies say nothing."
    )


COMPOSED = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def test_one_class_in_two_unicode_forms_is_refused(root):
    image(root / "train" / COMPOSED / "0.png")
    image(root / "train" / DECOMPOSED / "0.png")
    with pytest.raises(data.DataError, match="two folders of the class") as caught:
        read(root)
    assert r"'cafe\u0301' and 'caf\xe9'" in str(caught.value)


def test_training_and_test_images_may_name_a_class_in_different_unicode_forms(root):
    image(root / "train" / COMPOSED / "0.png")
    image(root / "val" / DECOMPOSED / "0.png")
    pair, words = told(root)
    assert [label for _, label in pair[0]] == [label for _, label in pair[1]] == [0, 1, 2]
    assert words == ""


def test_classes_that_differ_only_in_case_are_told(root):
    for split in ("train", "val"):
        image(root / split / "A" / "0.png")
    pair, words = told(root)
    assert [label for _, label in pair[0]] == [0, 1, 2]
    assert words == f"{root}: classes differ only in the case of their names (A and a)."


def test_a_test_class_of_another_case_is_refused_with_the_name_that_is_meant(root):
    (root / "val/b").rename(root / "val/B")
    with pytest.raises(data.DataError, match=r"train lacks \(it has b\)"):
        read(root)


@pytest.mark.parametrize("labels", [("a",), ("b",)])
def test_a_folder_of_one_class_is_refused(tmp_path, labels):
    for split, label in itertools.product(("train", "val"), labels):
        for number in range(4):
            image(tmp_path / "set" / split / label / f"{number}.png")
    settings = data.DataConfig(
        name="folder:set", data_dir=str(tmp_path), validation=0, stream=CROPPED
    )
    message = "all 4 training images of folder:set are of class 0"
    with pytest.raises(data.DataError, match=message):
        data.load(settings, seed=0)


def test_every_file_is_either_an_image_or_left_out(root):
    for path in ("a/x.txt", "a/.y.png", "q.png", "b/deep/.deeper/z.jpg", "b/deep/u.jpg"):
        (root / "train" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "train" / path).touch()
    listing = image_files.below(root / "train")
    there = {str(p.relative_to(root / "train")) for p in root.glob("train/**/*") if p.is_file()}
    assert {*listing.images, *(each.path for each in listing.left_out)} == there
    assert len(listing.images) + len(listing.left_out) == len(there)
