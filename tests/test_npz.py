"""Arrays of a NumPy file as a data set: what is read, what is refused, and in which words."""

import io
import pathlib
import pickle
import re
import zipfile

import numpy as np
import pytest
import tiny

from jaxlth import cli, data
from jaxlth.data import DataConfig, sources

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
LABELS = np.arange(60) % 3
WHOLE = {
    "x_train": IMAGES,
    "y_train": LABELS,
    "x_test": IMAGES[:20],
    "y_test": LABELS[:20],
}
ONE_HOT = np.eye(3, dtype=np.int32)[LABELS]
OBJECTS = np.array([None] * 60)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JAXLTH_DATA", raising=False)


def load(**arrays):
    np.savez("a.npz", **WHOLE | arrays)
    return data.load(DataConfig(name="npz:a.npz"), seed=0)


def both(labels):
    return {"y_train": labels, "y_test": labels[:20]}


def trained(*words):
    command = [*tiny.COMMAND, "--data", "npz:a.npz", "--batch-size", "10", *words]
    return cli.main(tiny.once(command))


@pytest.mark.parametrize("kind", ["uint64", "int8", ">i8", "bool"])
def test_labels_of_any_whole_numbers_are_the_same_classes(kind):
    labels = LABELS % 2
    info, dataset = load(**both(labels.astype(kind)))
    assert info.classes == 2
    assert dataset.train.labels.dtype == np.int32
    np.testing.assert_array_equal(dataset.test.labels, labels[:20])


def test_grey_images_get_a_channel_and_other_arrays_are_as_they_are():
    assert load()[0].shape == (4, 4, 1)
    arrays = {f"x_{part}": WHOLE[f"x_{part}"].astype(np.float32) for part in ("train", "test")}
    assert load(**arrays)[0].shape == (4, 4)


SIDE = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("images", "warning"),
    [
        (SIDE.astype("f"), "inputs (n, 8, 8) are taken for 8 places of 8 channels each"),
        (np.stack([SIDE] * 3, 1), "inputs (n, 3, 8, 8) look as if channels came first"),
    ],
)
def test_images_whose_last_axis_is_none_of_channels_are_warned_of(images, warning):
    with pytest.warns(sources.DataWarning, match=re.escape(warning)):
        load(x_train=images, x_test=images[:20])


@pytest.mark.parametrize(
    "images", [SIDE, SIDE[..., None], np.stack([SIDE] * 3, -1), SIDE[:, :, :3].astype("f")]
)
def test_images_with_channels_last_are_not_warned_of(images):
    load(x_train=images, x_test=images[:20])


@pytest.mark.parametrize("dtype", ["f", "u1"])
def test_splits_of_other_ranges_are_warned_of(dtype):
    train, test = SIDE[..., None], SIDE[:20, ..., None] / 255
    expected = "training inputs lie in 0 to 255, test inputs in 0 to 1, of a sample: is one of th"
    with pytest.warns(sources.DataWarning, match=re.escape(expected)):
        load(x_train=train.astype(dtype), x_test=test.round().astype(dtype))


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (
            SIDE[..., None] / np.float32(255),
            "--normalize unit-range",
            "inputs lie in 0 to 1.",
        ),
        (SIDE[..., None] * np.float32(257), "--normalize unit-range", "lie in 0 to 6.554e+04."),
        (SIDE[..., None] - np.float32(128), "--normalize unit-range", "lie in -128 to 127."),
        (SIDE.reshape(60, 64), "--augment flip-crop", "got inputs of shape (54, 64)."),
        (SIDE.astype("f"), "--augment flip-crop --normalize none", "of shape (54, 8, 8)."),
    ],
)
def test_inputs_that_a_setting_cannot_take_are_one_line(images, options, message, capfd):
    np.savez("a.npz", **WHOLE | {"x_train": images, "x_test": images[:20]})
    assert trained(*options.split()) == cli.MISTAKEN
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(message)


def test_whole_numbers_of_other_types_in_0_to_255_are_brought_to_0_to_1():
    images = SIDE[..., None].astype(np.uint16)
    np.savez("a.npz", **WHOLE | {"x_train": images, "x_test": images[:20]})
    info, dataset = data.load(DataConfig(name="npz:a.npz", normalize="unit-range"), seed=0)
    assert info.shape == (8, 8, 1)
    assert dataset.train.images.max() == 255


def test_arrays_that_are_not_read_are_named_in_a_warning():
    with pytest.warns(data.sources.DataWarning) as caught:
        load(x_val=IMAGES, y_val=LABELS)
    (warning,) = caught
    assert str(warning.message) == (
        "a.npz: 2 arrays are not read (x_val, y_val); read are x_train, y_train, x_test, y_test."
    )


ARRAYS = {
    "objects": ({"y_train": OBJECTS}, "Object arrays cannot be loaded"),
    "text": (both(LABELS.astype(str)), "train labels must be real numbers; got an array of <U21"),
    "NaN": (
        {f"x_{part}": np.full((20, 2), np.nan, np.float32) for part in ("train", "test")},
        "train inputs must be finite",
    ),
    "lengths": ({"y_train": LABELS[:50]}, "must hold as many examples; got 60 and 50"),
    "negative": ({"y_train": LABELS - 1}, "must be class numbers 0, 1, ...; got numbers in -1..1"),
    "beyond int32": (
        {"y_train": LABELS.astype(np.uint64) + np.uint64(2**63)},
        "must fit into uint32",
    ),
    "float64": (both(LABELS.astype(float)), r"give array.astype(np.float32), of class numbers .as"),
    "shapes": ({"x_test": IMAGES[:20, :3]}, "train and test inputs must be alike"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_no_data_are_refused_with_the_file(case):
    arrays, words = ARRAYS[case]
    with pytest.raises(data.DataError) as caught:
        load(**arrays)
    assert str(caught.value).startswith("a.npz")
    assert words in str(caught.value)


def archive(method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as members:
        for name, array in WHOLE.items():
            content = io.BytesIO()
            np.save(content, array)
            members.writestr(f"{name}.npy", content.getvalue())
    return file.getvalue()


def with_heads(content, local, central, value):
    """Return an archive with a byte of all its heads changed."""
    changed = bytearray(content)
    for mark, place in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        at = content.find(mark)
        while at >= 0:
            changed[at + place] = value
            at = content.find(mark, at + 1)
    return bytes(changed)


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


FILES = {
    "empty": b"",
    "text": b"a,b\n1,2\n",
    "a pickle": pickle.dumps(WHOLE),
    "cut": archive()[:-300],
    "encrypted": with_heads(archive(), 6, 8, 1),
    "packed otherwise": with_heads(archive(), 8, 10, 9),
    "damaged": flipped(archive(zipfile.ZIP_DEFLATED), 100),
    "damaged LZMA": flipped(archive(zipfile.ZIP_LZMA), 90),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_none_is_named_in_one_line(case, tmp_path):
    (tmp_path / "a.npz").write_bytes(FILES[case])
    with pytest.raises(data.DataError, match=r"^a\.npz [^\n]*\.$") as caught:
        data.load(DataConfig(name="npz:a.npz"), seed=0)
    assert "is no NumPy file of arrays" in str(caught.value)


COMMANDS = {  # what fits each other and no network of the library, and the words that say so
    "floats": (
        both(LABELS.astype(np.float32)),
        "labels of npz:a.npz are float32: give class numbers as whole numbers, labels.astype(int);",
    ),
    "one-hot": (
        both(ONE_HOT),
        "Of one-hot labels give labels.argmax(-1); tokens",
    ),
    "one-hot bool": (
        both(ONE_HOT > 0),
        "Of one-hot labels give labels.argmax(-1); tokens",
    ),
    "one-hot floats": (
        both(ONE_HOT.astype(np.float32)),
        "labels.astype(int), of one-hot ones labels.argmax(-1);",
    ),
    "identifiers": (
        both(LABELS * 10**6),
        "class numbers of npz:a.npz run to 2000000, more than its 80 examples",
    ),
    "inputs of one number each": (
        {f"x_{part}": np.arange(n, dtype=np.float32) for part, n in (("train", 60), ("test", 20))},
        "`normalize` statistics needs inputs of shape (n, ...); got (",
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_labels_that_fit_no_network_are_one_line_before_any_training(case, tmp_path, capfd):
    arrays, words = COMMANDS[case]
    np.savez("a.npz", **WHOLE | arrays)
    assert trained() == cli.MISTAKEN
    (line,) = capfd.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "runs").exists()


def test_of_two_files_of_one_name_none_is_taken_without_a_word(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    config = DataConfig(name="npz:a.npz", data_dir=str(folder))
    np.savez(folder / "a.npz", **WHOLE)
    pathlib.Path("a.npz").mkdir()  # a folder of the name is no file
    assert data.load(config, seed=0)[0].test == 20
    pathlib.Path("a.npz").rmdir()
    np.savez("a.npz", **WHOLE)
    with pytest.raises(data.DataError, match=r"^There are two files a\.npz, here and in "):
        data.load(config, seed=0)
    here = DataConfig(name="npz:a.npz", data_dir=".")
    assert data.load(here, seed=0)[0].test == 20
