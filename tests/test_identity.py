"""A run belongs to its data: other data under the same settings are refused, copies are not."""

import contextlib
import json
import shutil

import numpy as np
import PIL.Image
import pytest
import tiny
from test_data import write_idx, write_prepared

from jaxlth import cli, data, store
from jaxlth.cli.parsing import parse
from jaxlth.data import cifar, identity
from jaxlth.studies.config import run_label
from jaxlth.studies.imp import run as imp
from jaxlth.studies.instability import artifacts as instability_artifacts
from jaxlth.studies.instability import run as instability
from jaxlth.studies.instability.analysis import Analysis
from jaxlth.studies.lab import Lab
from jaxlth.studies.prune_early import artifacts
from jaxlth.studies.prune_early import report as prune_early_report
from jaxlth.studies.prune_early.config import all_methods

SIDE = ["--model", "mlp", "--hidden", "4", "--steps", "2", "--batch-size", "4", "--devices", "1"]
SIDE += ["--replicates", "1"]
IMP = ["imp", *SIDE, "--data", "mnist", "--controls"]
FIRST, MORE = [*IMP, "--levels", "0"], [*IMP, "--levels", "1"]


@pytest.fixture(autouse=True)
def no_directories(monkeypatch, tmp_path):
    """Keep what this machine has out of the tests."""
    monkeypatch.delenv("JAXLTH_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))


def settings(name, root, **change):
    return data.DataConfig(name=name, data_dir=None if root is None else str(root), **change)


def digest(name, root, **change):
    return data.identify(settings(name, root, **change)).digest


# Sources. Each writer makes a small set in a directory; `change` alters one number of it.


def write_mnist(root, *, change=None, name="mnist"):
    write_idx(root / name, packed=False)
    parts = {"image": "train-images-idx3-ubyte", "label": "t10k-labels-idx1-ubyte"}
    _flip(root / name / parts.get(change, ""), 20 if change == "image" else 8)


def _flip(path, at):
    """Change one bit of a file, if it is one."""
    if path.is_file():
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)


def write_cifar(root, *, change=None):
    records = np.random.default_rng(0).integers(0, 256, (10, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(10)
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        (folder / name).write_bytes(records.tobytes())
    _flip(folder / {"image": "data_batch_3.bin"}.get(change, ""), 40)
    _flip(folder / {"label": "data_batch_1.bin"}.get(change, ""), 3073)


def write_tfds(root, *, change=None):
    images = np.random.default_rng(0).integers(0, 256, (26, 4, 3, 3), dtype=np.uint8)
    images[3, 0, 0, 0] ^= change == "image"
    splits = {"train": images[:20], "test": images[20:]}
    write_prepared(root, splits=splits, shift=int(change == "label"))


def write_folder(root, *, change=None):
    """Images whose files are all of one size, as those of one shape without compression are."""
    for split, label, number in np.ndindex(2, 2, 3):
        color = 100 * label + 10 * number + split + (change == "image" and number == 2)
        folder = root / "set" / ("train", "val")[split] / "ab"[label]
        folder.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (6, 6), (int(color), 0, 0)).save(folder / f"{number}.bmp")
    if change == "label":
        shutil.move(root / "set/train/a/2.bmp", root / "set/train/b/3.bmp")


def write_two(root, *, change=None):
    write_mnist(root)
    write_mnist(root, name="fashion_mnist", change=change)


SOURCES = {
    "mnist": write_mnist,
    "cifar10": write_cifar,
    "tfds:tiny": write_tfds,
    "stream:tiny": write_tfds,
    "folder:set": write_folder,
    "mnist+fashion_mnist": write_two,
}


@pytest.fixture
def small_files(monkeypatch):
    """Let files of CIFAR-10 hold ten images, not ten thousand."""
    monkeypatch.setattr(cifar, "IMAGES_PER_PART", 10)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.usefixtures("small_files")
def test_the_digest_is_of_the_bytes_and_of_no_directory(name, tmp_path):
    for place, change in (("one", None), ("copy", None), ("image", "image"), ("label", "label")):
        SOURCES[name](tmp_path / place, change=change)
    digests = {place: digest(name, tmp_path / place) for place in ("one", "copy", "image", "label")}
    assert digests["copy"] == digests["one"]
    assert len(set(digests.values())) == 3
    assert all(len(bytes.fromhex(each)) == 8 for each in digests.values())
    info, _ = data.load(settings(name, tmp_path / "one", validation=0.25), seed=3)
    assert info.digest == digests["one"]
    where = data.identify(settings(name, tmp_path / "one")).directory
    assert where == str(tmp_path / "one" / ("set" if name == "folder:set" else ""))


def test_packed_files_are_the_data_that_they_hold(tmp_path):
    write_idx(tmp_path / "packed/mnist", packed=True)
    write_idx(tmp_path / "plain/mnist", packed=False)
    assert digest("mnist", tmp_path / "packed") == digest("mnist", tmp_path / "plain")


def test_the_order_of_images_and_the_share_of_splits_count():
    images = np.arange(12, dtype=np.uint8).reshape(6, 2, 1, 1)
    labels = np.zeros(6, np.int32)

    def of(*cuts):
        rows = np.split(np.arange(6), cuts)
        return identity.of_arrays([data.Split(images[r], labels[r]) for r in rows], classes=2)

    assert of(2) == of(2) != of(3)
    turned = data.Split(images[::-1], labels)
    same = data.Split(np.ascontiguousarray(images[::-1]), labels)
    whole = data.Split(images, labels)
    result = [identity.of_arrays([each], classes=2) for each in (turned, same, whole)]
    assert result[0] == result[1] != result[2]
    assert identity.of_arrays([whole], classes=3) != result[2]


@pytest.mark.parametrize("name", ["mnist", "folder:set"])
def test_published_test_images_count_unless_others_are_held_out(name, tmp_path):
    for place in ("one", "other"):
        SOURCES[name](tmp_path / place)
    if name == "mnist":
        _flip(tmp_path / "other/mnist/t10k-images-idx3-ubyte", 20)
    else:
        PIL.Image.new("RGB", (6, 6)).save(tmp_path / "other/set/val/b/0.bmp")
    for share, same in ((0.0, False), (0.5, True)):
        result = [digest(name, tmp_path / place, held_out_test=share) for place in ("one", "other")]
        assert (result[0] == result[1]) == same


def test_a_file_of_a_stream_beyond_the_sample_counts_by_its_name_and_size(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "SAMPLE", 1)
    for place in ("one", "longer", "renamed"):
        write_folder(tmp_path / place)
    path = tmp_path / "longer/set/train/b/1.bmp"
    path.write_bytes(path.read_bytes() + b"0")
    shutil.move(tmp_path / "renamed/set/train/b/2.bmp", tmp_path / "renamed/set/train/b/3.bmp")
    result = {digest("folder:set", tmp_path / place) for place in ("one", "longer", "renamed")}
    assert len(result) == 3


@pytest.mark.parametrize("change", [{"name": "folder:s\udcff"}, {"data_dir": "s\udcff"}])
def test_a_directory_that_settings_cannot_name_is_refused(change):
    with pytest.raises(ValueError, match=r"must be a name in UTF-8.*s\\udcff'\. Rename"):
        data.DataConfig(**change)


@pytest.mark.parametrize("name", ["digits", "moons", "moons+circles"])
def test_sets_made_on_the_fly_have_a_digest_and_no_directory(name):
    result = data.identify(settings(name, None))
    info, _ = data.load(settings(name, None), seed=1)
    assert result == data.Identity(info.digest, None)
    assert info.digest != digest("circles", None)


def test_identifying_builds_nothing(tmp_path):
    for name in ("tfds:tiny", "stream:tiny"):
        with pytest.raises(data.DataError, match=r"no prepared data set tiny in .*nothing\.$"):
            digest(name, tmp_path / "nothing")


def test_hosts_with_other_data_are_named():
    own = digest("moons", None)
    assert identity.of_hosts(own) == [own]
    identity.check_hosts([own, own])
    with pytest.raises(data.DataError, match=f"Host 0 .* digest {own}, but host 2 of 0123; give"):
        identity.check_hosts([own, own, "0123"])


# Runs


@contextlib.contextmanager
def opened(words, root, out, *, job):
    """Open the run that a command line would open, on the data in `root`, and train nothing."""
    config = parse([*words, "--data-dir", str(root), "--out", str(out)]).config
    known = data.identify(config.data)
    label = run_label(config)
    with store.open_run(out, config, job=job, label=label, data=known) as run:
        yield run


def complaint(words, root, out, capfd):
    """Return what a command that is refused says, and see that it stores nothing."""
    before = contents(out)
    assert cli.main([*words, "--data-dir", str(root), "--out", str(out)]) == cli.MISTAKEN
    printed = capfd.readouterr()
    assert printed.out == ""
    assert contents(out) == before
    (line,) = [line for line in printed.err.splitlines() if "as published" not in line]
    return line


def contents(out):
    """Return what a folder of runs holds, except who worked there last."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "lock")
    return {str(path): path.read_bytes() for path in files}


TWO = ["--data", "mnist+fashion_mnist"]
COMMANDS = {
    "imp": MORE,
    "prune-early": [
        "prune-early",
        *SIDE,
        "--data",
        "mnist",
        "--density",
        "0.5",
        "--per-class",
        "1",
    ],
    "dynamic": ["dynamic", *SIDE, "--data", "mnist", "--density", "0.5"],
    "instability": ["instability", *SIDE, "--data", "mnist", "--rewind-steps", "0"],
    "separation": ["separation", *SIDE[:4], *SIDE[6:], *TWO, "--epochs", "1"],
    "threshold-masks": ["threshold-masks", *SIDE, "--data", "mnist", "--sizes"],
    "train-supermasks": ["train-supermasks", *SIDE, "--data", "mnist"],
}


@pytest.mark.parametrize("job", COMMANDS)
def test_every_command_refuses_other_data_before_it_trains(job, tmp_path, capfd):
    for place, change in (("one", None), ("other", "image")):
        write_two(tmp_path / place, change=change)
        write_mnist(tmp_path / place, change=change)
    words = COMMANDS[job]
    with opened(words, tmp_path / "one", tmp_path / "runs", job=job) as run:
        pass
    line = complaint(words, tmp_path / "other", tmp_path / "runs", capfd)
    name = words[words.index("--data") + 1]
    for place in ("one", "other"):
        assert f"in {tmp_path / place} (digest {digest(name, tmp_path / place)})" in line
    assert line.startswith(f"jaxlth: {run.path} was made with the data in")
    assert line.endswith("Use another `--out`, or give the data of the run.")


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.usefixtures("small_files")
def test_data_of_every_kind_are_refused_where_others_were_before(name, tmp_path, capfd):
    for place, change in (("one", None), ("other", "label")):
        SOURCES[name](tmp_path / place, change=change)
    words = tiny.once([*IMP, "--data", name, "--levels", "0"])
    if ":" in name:
        words += ["--validation", "0"]
    if data.DataConfig(name=name).streamed:
        words += ["--image-size", "4", "--resize-to", "4"]
    with opened(words, tmp_path / "one", tmp_path / "runs", job="imp"):
        pass
    line = complaint(words, tmp_path / "other", tmp_path / "runs", capfd)
    assert "was made with the data in" in line


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with two data sets, and runs of the first one."""
    root = tmp_path_factory.mktemp("identity")
    write_mnist(root / "one")
    write_mnist(root / "copy")
    write_mnist(root / "other", change="image")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAXLTH_DATA", raising=False)
        assert ran(root, "one", root / "runs") == 0
    return root


def ran(root, place, out):
    return cli.main([*FIRST, "--data-dir", str(root / place), "--out", str(out)])


def runs(trained, tmp_path):
    """Return a copy of the runs, to be changed."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def forget(path):
    """Leave the digest out of what a run says of itself, as earlier versions did."""
    about = store.about_run(path)
    del about["facts"]["data"]
    (path / "run.json").write_text(json.dumps(about))


def test_a_finished_run_refuses_other_data_and_takes_copies(trained, tmp_path, capfd):
    out = runs(trained, tmp_path)
    line = complaint(FIRST, trained / "other", out, capfd)
    assert f"in {trained / 'one'} (digest" in line
    assert f"in {trained / 'other'} (digest" in line
    line = complaint(MORE, trained / "other", out, capfd)
    assert "was made with the data in" in line
    assert ran(trained, "copy", out) == 0
    (info,) = store.runs(out)
    assert store.about_run(info.path)["settings"]["data"]["data_dir"] == str(trained / "copy")
    assert info.path.name == "imp-mnist-mlp-4-" + info.path.name[-8:]


def test_the_folder_of_a_run_has_the_name_that_it_had(trained):
    (info,) = store.runs(trained / "runs")
    config = parse([*IMP, "--data-dir", "x"]).config
    assert info.path == store.folder(trained / "runs", config, job="imp", label="mnist-mlp-4")


def test_a_run_says_which_data_it_is_of(trained):
    (info,) = store.runs(trained / "runs")
    assert store.about_run(info.path)["facts"] == {
        "shape": [4, 3, 1],
        "classes": 10,
        "data": {
            "digest": digest("mnist", trained / "one"),
            "directory": str(trained / "one"),
        },
    }


def test_a_finished_run_is_shown_without_its_data_and_says_so(trained, tmp_path, capfd):
    out = runs(trained, tmp_path)
    assert ran(trained, "nowhere", out) == 0
    printed = capfd.readouterr()
    assert "100 %" in printed.out
    assert "The run is finished; whether these are its data was not looked at" in printed.err
    assert store.about_run(store.runs(out)[0].path)["facts"]["data"]["digest"]


def test_a_run_of_a_version_without_digests_takes_that_of_the_next_data(trained, tmp_path, capfd):
    out = runs(trained, tmp_path)
    (info,) = store.runs(out)
    forget(info.path)
    assert ran(trained, "copy", out) == 0
    capfd.readouterr()
    known = store.about_run(info.path)["facts"]["data"]
    assert known == {
        "digest": digest("mnist", trained / "one"),
        "directory": str(trained / "copy"),
    }
    complaint(FIRST, trained / "other", out, capfd)


def test_jobs_called_from_python_refuse_other_data_too(trained, tmp_path):
    """Whoever opens a run without naming its data is refused where the job begins."""
    out = runs(trained, tmp_path)
    config = parse([*MORE, "--data-dir", str(trained / "other")]).config
    with store.open_run(out, config, job="imp", label=run_label(config)) as run:
        events = imp.imp(Lab(imp.prepare(config), run, checkpoint_seconds=60), config)
        with pytest.raises(store.StoreError, match="was made with the data in"):
            next(events)
        assert [name for name, _ in run.records()] == ["level_00/ticket/replicate_0"]


@pytest.mark.parametrize("place", ["copy", "other", "unknown"])
def test_instability_takes_over_networks_of_the_same_data_only(trained, tmp_path, place):
    out = runs(trained, tmp_path)
    if place == "unknown":
        forget(store.runs(out)[0].path)
    words = ["instability", *SIDE, "--data", "mnist", "--rewind-steps", "0"]
    root = trained / ("other" if place == "other" else "copy")
    with opened(words, root, out, job="instability") as run:
        experiment = instability.prepare(parse([*words, "--data-dir", str(root)]).config)
        Lab(experiment, run).begin(())
        Analysis(Lab(experiment, run))._adopt_dense(0, 0)
        assert run.has(instability_artifacts.dense(0)) == (place == "copy")


def test_a_ticket_whose_start_needs_data_is_not_made_of_others(tmp_path):
    for place, change in (("one", None), ("other", "image")):
        write_mnist(tmp_path / place, change=change)
    words = ["prune-early", *SIDE, "--data", "mnist", "--density", "0.5", "--weights", "snip"]
    words += ["--per-class", "1"]
    config = parse([*words, "--data-dir", str(tmp_path / "one")]).config
    known = data.identify(config.data)
    method = all_methods(config)[0]
    with store.open_run(tmp_path, config, job="prune-early", label="x", data=known) as run:
        run.add_facts({"shape": [4, 3, 1], "classes": 10})
        run.save(artifacts.ticket(0.5, method, 0), {"mask": {}}, {})
    write_mnist(tmp_path / "one", change="image")
    with pytest.raises(data.DataError, match="start from scores .* was made with the data in"):
        prune_early_report.find(run, 0.5, method, 0)
