"""Every mistake of a user ends in one helpful line and exit code 2, without a traceback."""

import gzip
import json
import os
import pathlib
import resource
import runpy
import shutil
import subprocess
import sys

import pytest
from tiny import COMMAND as TINY
from tiny import once

from jaxlth import cli, settings, store
from jaxlth.cli import parsing
from jaxlth.process import paths
from jaxlth.studies import level_artifacts
from jaxlth.studies.config import run_label
from jaxlth.studies.separation.config import SeparationConfig

MISTAKES = {  # arguments -> words that the message must hold
    "no command": ([], "imp"),
    "a command of the first edition": (["early"], "`jaxlth early` is now `jaxlth prune-early`."),
    "an option of the first edition": (
        [*TINY, "--leave-out", "a"],
        "--leave-out is now --exclude.",
    ),
    "unknown command": (["imq"], "Did you mean 'imp'?"),
    "unknown option of all": (["--verison"], "--help"),
    "unknown option": ([*TINY, "--replicate", "2"], "Did you mean --replicates?"),
    "unknown flag": ([*TINY, "--one-sht"], "Did you mean --one-shot?"),
    "option of another command": (["results", "--settings", "x.toml"], "`jaxlth imp` has."),
    "unknown option of results": (["results", "--formt", "csv"], "Did you mean --format?"),
    "two hyphens alone": (
        [*TINY, "--", "--lr", "0.1"],
        "Leave out `--`: no word after it would be",
    ),
    "a value of help": (["imp", "--help=1"], "The option --help takes no value; got '--help=1'."),
    "stray word": ([*TINY, "--levels", "1", "2"], "'2'"),
    "option without value": ([*TINY, "--out"], "`--out` needs a value."),
    "unknown choice": ([*TINY, "--scope", "globl"], "Did you mean 'global'?"),
    "unknown format": (["results", "--format", "jsn"], "Did you mean 'json'?"),
    "unknown kind": (["figure", "--kind", "acuracy"], "Did you mean 'accuracy'?"),
    "unknown model": ([*TINY, "--model", "lenet-300"], "lenet-300-100"),
    "unknown data": ([*TINY, "--data", "mnis"], "Did you mean 'mnist'"),
    "data that only tfds has": ([*TINY, "--data", "svhn_cropped"], "'tfds:svhn_cropped'?"),
    "unknown optimizer": ([*TINY, "--optimizer", "adm"], "Did you mean 'adam'?"),
    "unknown control": ([*TINY, "--controls", "shuffle"], "Did you mean 'shuffled'?"),
    "not a whole number": ([*TINY, "--levels", "many"], "`--levels` must be a whole number"),
    "not a number": ([*TINY, "--lr", "fast"], "`--lr` must be a number; got 'fast'."),
    "a number that becomes 0": ([*TINY, "--l1", "1e-400"], "1e-400 is too small: numbers of 64 bi"),
    "fraction out of range": ([*TINY, "--prune-fraction", "1.2"], "between 0 and 1; got 1.2"),
    "density out of range": ([*TINY, "--stop-density", "5"], "`stop_density`"),
    "tolerance out of range": ([*TINY, "--tolerance", "2"], "`tolerance` must be"),
    "tolerance of results": (["results", "--tolerance", "nan"], "`tolerance` must be"),
    "no time between checkpoints": ([*TINY, "--checkpoint-seconds", "0"], "`checkpoint_seconds`"),
    "rewind step past the end": ([*TINY, "--rewind-step", "20"], "0..19"),
    "more levels than weights": ([*TINY, "--levels", "300"], "levels"),
    "batch larger than the data": ([*TINY, "--batch-size", "5000"], "1294"),
    "no such level of controls": ([*TINY, "--control-levels", "7"], "1..1"),
    "no replicates": ([*TINY, "--replicates", "0"], "at least 1"),
    "no devices": ([*TINY, "--devices", "0"], "at least 1"),
    "validation of all": ([*TINY, "--validation", "1"], "[0, 1)"),
    "patience without validation": ([*TINY, "--validation", "0", "--patience", "1"], "validation"),
    "pattern that fits nothing": ([*TINY, "--exclude", "Dens_1/*"], "closest is 'Dense_1"),
    "widths of LeNet": ([*TINY, "--model", "lenet-300-100"], "`hidden`"),
    "no settings file": (["imp", "--settings"], "`--settings` needs"),
    "option as settings file": (["imp", "--settings", "--wait"], "`--settings` needs"),
    "missing settings file": (["imp", "--settings", "none.toml"], "none.toml: No such file"),
    "missing data": ([*TINY, "--data", "mnist", "--data-dir", "nowhere"], "nowhere"),
    "no runs": (["results"], "jaxlth imp"),
    "unknown run": (["results", "some"], "no folder 'some'"),
    "runs named besides all": (["results", "some", "--all"], "not both"),
    "curves as a summary": (["results", "--curves"], "--format json"),
    "file of another format": (["results", "--file", "a.csv", "--format", "json"], "--format"),
    "unknown ending of results": (["results", "--file", "a.xlsx"], ".csv, .json, .parquet"),
    "unknown ending of a figure": (["figure", "--file", "a.jpg"], ".png, .pdf or .svg"),
    "unknown ending of a page": (["report", "--file", "a.htm"], "must end in .html; got 'a.htm'"),
    "unknown ending of a ticket": (["export", "a.pt"], ".safetensors or .npz"),
    "no file to export to": (["export"], "FILE"),
    "several runs in one figure": (
        ["figure", "a", "b", "--kind", "training"],
        "accuracy and train-",
    ),
    "levels in another figure": (["figure", "--levels", "1"], "`levels`"),
    "runs in a bucket": ([*TINY, "--out", "gs://bucket/runs"], r"jaxlth[gcs]"),
    "results at an address": (
        ["results", "--file", "gs://b/a.csv"],
        "`--file` must be local or mou",
    ),
    "a figure at an address": (
        ["figure", "--file", "s3:/b/a.png"],
        "`--file` must be local or mou",
    ),
    "a ticket at an address": (
        ["export", "gs://b/a.npz"],
        "`FILE` must be local or mounted, and no",
    ),
    "weights at an address": (
        [*TINY, "--initial", "gs://b/a.npz"],
        "`--initial` must be local or ",
    ),
    "events at an address": (
        [*TINY, "--tensorboard", "gs://b/a"],
        "`tensorboard` must be local or",
    ),
    "no such data set of tfds": ([*TINY, "--data", "tfds:no_such_set"], "no_such_set"),
}
LONG = {  # messages of more than a line's 200 characters, and how long they may be
    "unknown command": 230,  # names all commands
    "unknown option of all": 230,  # likewise
    "missing data": 400,  # names the four files and where they are published
    "no such data set of tfds": 300,  # names the place it looked for and two remedies
}


DIGITS = ["--model", "mlp", "--hidden", "8", "--steps", "20", "--batch-size", "50"]
EDGE_POPUP = ["train-supermasks", *DIGITS, "--method", "edge-popup", "--density", "0.5"]
IN_EPOCHS = [
    "imp",
    "--model",
    "mlp",
    "--hidden",
    "8",
    "--epochs",
    "2",
    "--levels",
    "0",
    "--controls",
]
FOLDER = ["imp", "--data", "folder:pictures"]
OUT_OF_BOUNDS = [  # arguments -> words that the message must hold, before anything is done
    ([*EDGE_POPUP, "--finetune", "inf"], "`finetune` must be at least 0; got inf. It must be fi"),
    ([*EDGE_POPUP, "--finetune", "0.4"], "`finetune` must be a whole number of steps, as the le"),
    ([*EDGE_POPUP, "--finetune", "1e39"], "`finetune` must be at most 2000000000 (a step count"),
    ([*EDGE_POPUP, "--finetune", "9", "--finetune-lr", "1e39"], "`finetune_lr` must be at most"),
    ([*EDGE_POPUP[:-1], "0.0001"], "0.0001 keeps none of the 80 weights of the layer Dense_1/ke"),
    ([*EDGE_POPUP[:-1], "1e-300"], "`density` 1e-300 keeps none of the 80 weights of the layer"),
    (["instability", *DIGITS, "--compare-every", "inf"], "`compare_every` must be above 0; got"),
    (["instability", *DIGITS, "--compare-every", "0.4"], "`compare_every` must be a whole number"),
    (["instability", *DIGITS, "--points", "1000000000"], "`points` must be at most 100000 (a n"),
    (["instability", *DIGITS, "--twins", "100000"], "`twins` must be at most 1000 (all pairs of"),
    (["instability", *DIGITS, "--steps", "1000000", "--compare-every", "1"], "a run holds 10000"),
    (
        ["prune-early", *DIGITS, "--density", "1e-300"],
        "`density` 1e-300 keeps 0 of 592 weights, fewer",
    ),
    (
        ["prune-early", *DIGITS, "--score", "synflow", "--rounds", "1000000"],
        "`rounds` must be at most",
    ),
    (
        ["prune-early", *DIGITS, "--schedule", "iterative-once", "--prune-fraction", "1e-12"],
        "too low for iterative-once and i",
    ),
    (
        ["threshold-masks", *DIGITS, "--thresholds", "1e308"],
        "`thresholds` must be at most 3.4e+38, as",
    ),
    (
        ["threshold-masks", *DIGITS, "--thresholds", "0.1", "0.1000000001"],
        "`thresholds` must be finite",
    ),
    (
        ["threshold-masks", *DIGITS, "--sizes", "99999999999"],
        "`sizes` must be widths of hidden layers",
    ),
    (
        ["threshold-masks", *DIGITS, "--sizes", "999999999"],
        "`sizes` must be smaller: weights, gradient",
    ),
    ([*TINY, "--dilations", "inf"], "`dilations` must be above 0; got inf. It must be finite."),
    ([*TINY, "--dilations", "1.001"], "`dilations` must differ by a step at least; 1 and 1.001"),
    ([*TINY, "--evaluate-every", "0.4"], "`evaluate_every` must be a whole number of steps"),
    ([*TINY, "--patience", "2.5"], "`patience` must be a whole number of steps, as the length of"),
    ([*TINY, "--warmup", "0.4"], "`warmup` must be a whole number of steps, as the length of trai"),
    ([*IN_EPOCHS, "--evaluate-every", "0.001"], "`evaluate_every` must make at least one step;"),
    ([*IN_EPOCHS, "--warmup", "0.001"], "`warmup` must make at least one step; got 0.001 epochs."),
    (["imp", "--epochs", "1e12"], "`epochs` must make at most 2000000000 steps (a step counter h"),
    (["imp", "--steps", "3000000000"], "`steps` must be at most 2000000000 (a step counter has 32"),
    (["imp", "--steps", "2000000000", "--evaluate-every", "1"], "at most 1000000 evaluations; got"),
    (["imp", "--train-examples", "9223372036854775808"], "`train_examples` must be at most 21474"),
    (["imp", "--levels", "1000000"], "`levels` must be at most 1000 (each level trains all netwo"),
    (["imp", "--replicates", "100000000"], "`replicates` must be smaller: 100000000 make 33000000"),
    (["imp", "--devices", "10000000000"], "`devices` must be at most 1024 (each has threads of i"),
    (["imp", "--model", "mlp", "--hidden", "100000000"], "`hidden` must be smaller: weights, grad"),
    (["imp", "--lr", "1e39"], "`lr` must be at most 3.4e+38, as training computes in 32 bits; got"),
    (["imp", "--lr", "1e-60"], "`lr` must be at least 1.2e-38, as training computes in 32 bits; g"),
    (["imp", "--batch-size", "90", "--data-parallel", "9"], "at most the number of devices, 2; g"),
    ([*FOLDER, "--resize-to", "1000000"], "`resize_to` must be at most 65535 (the side of a JPEG"),
    ([*FOLDER, "--image-size", "60000", "--resize-to", "60000"], "`image_size` must be smaller: "),
    ([*FOLDER, "--batch-size", "2000000000"], "`batch_size` must be smaller: batches of images t"),
    ([*FOLDER, "--workers", "100000"], "`workers` must be at most 1024 (processes of one host);"),
    ([*FOLDER, "--crop-ratio", "1", "1e308"], "`crop_ratio` must be at most 65535 (an image of o"),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JAXLTH_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


@pytest.fixture
def emptied(finished, tmp_path):
    """The folder of a run that has no finished network yet."""
    path = tmp_path / "runs" / finished.name
    shutil.copytree(finished, path, ignore=shutil.ignore_patterns("level_*"))
    return path


def complaint(arguments, capfd):
    """Return the one line that a mistaken command prints."""
    capfd.readouterr()
    assert cli.main(once(arguments)) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("jaxlth: ")
    return line


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_helpful_line(mistake, capfd, tmp_path):
    arguments, words = MISTAKES[mistake]
    line = complaint(arguments, capfd)
    assert words in line
    assert len(line.replace(str(tmp_path), "")) < LONG.get(mistake, 200), line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "words"), OUT_OF_BOUNDS)
def test_what_no_machine_can_do_is_refused_before_anything_is_done(
    arguments, words, capfd, tmp_path
):
    line = complaint(arguments, capfd)
    assert words in line
    assert len(line) < 200, line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 5000 + "]" * 5000, "nested"),
        ("seed = " + "9" * 5000, "digits"),
        ("[optimizer]\nlr = " + "9" * 400, "`optimizer.lr` must be at most 1.8e308; got 999"),
        (
            "[training]\nepochs = inf",
            "`training.epochs` must be above 0; got inf. It must be finite.",
        ),
        ("[training]\nsteps = 20\nevaluate_every = 0.4", "whole number of steps"),
        ("[training]\nsteps = 20\nepochs = 2.0", "leave out one of them"),
        ("levls = 3", "`levels`"),
        ("[training]\nstep = 3", "`steps`"),
        ("[optimizer]\nl1 = 1e-400", "1e-400 is too small: numbers of 64 bits begin at"),
        ("steps = 3", "There is no setting `steps`. Did you mean `training.steps`?"),
        ("[data]\nworkers = 3", "There is no setting `data.workers`. Did you mean `data.stream.wo"),
        ('levels = "three"', "`levels`"),
        ('scope = "globl"', "Did you mean 'global'?"),
        ("[optimizer]\nlr = -1.0", "`optimizer.lr`"),
        ("levels = ", "not valid TOML"),
    ],
)
def test_a_wrong_settings_file_is_named(text, words, capfd, tmp_path):
    (tmp_path / "wrong.toml").write_text(text)
    for arguments in (["--settings", "wrong.toml"], ["--levels", "1", "--settings=wrong.toml"]):
        line = complaint(["imp", *arguments], capfd)
        assert words in line
        assert "wrong.toml" in line


def test_a_file_in_the_way_of_the_runs_is_named(capfd, tmp_path):
    (tmp_path / "runs").write_text("")
    assert "runs" in complaint(TINY, capfd)


def test_a_link_to_nowhere_in_the_way_of_the_runs_is_named(capfd, tmp_path):
    (tmp_path / "runs").symlink_to("nowhere")
    assert "`out` must be a folder, but runs is a link to none." in complaint(TINY, capfd)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["figure", "--file", "way/new.png"], "way/new.png: Not a directory."),
        (["results", "--file", "way/new.csv"], "way/new.csv: Not a directory."),
        (
            ["export", "way/new.npz", "--run"],
            "way/new.npz cannot be written: Not a directory. M",
        ),
    ],
    ids=lambda words: words[0],
)
def test_a_link_to_nowhere_in_the_place_of_a_folder_is_named(
    words, message, finished, capfd, tmp_path
):
    (tmp_path / "way").symlink_to("nowhere")
    assert message in complaint([*words, str(finished)], capfd)


@pytest.mark.parametrize("words", [TINY, ["list"], ["export", "new.npz"]])
def test_a_current_folder_that_is_gone_is_named(words, finished, capfd, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    runs = ["--out", str(finished.parent)] if words[0] == "export" else []
    line = complaint([*words, *runs], capfd)
    assert line.endswith(" The current folder is gone: change to another.")


def test_a_whole_path_needs_no_current_folder(finished, capfd, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert paths.relative(finished) == str(finished)
    assert cli.main(["results", str(finished)]) == 0


def test_a_truncated_data_file_is_named(capfd, tmp_path):
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            whole = gzip.compress(bytes(1000))
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(whole[: len(whole) // 2])
    line = complaint([*TINY, "--data", "mnist", "--data-dir", "data"], capfd)
    assert "-ubyte.gz" in line


@pytest.mark.slow
def test_a_damaged_network_is_named_and_trained_again_alone(capfd):
    assert cli.main(TINY) == 0
    capfd.readouterr()
    (info,) = store.runs("runs")
    unit = info.path / level_artifacts.network(1, "ticket", 0)
    record = json.loads((unit / "record.json").read_text())
    other = (info.path / level_artifacts.network(0, "ticket", 0) / "record.json").read_bytes()
    files = [path for path in (unit / "arrays").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-20])

    deeper = [*TINY, "--levels", "2"]  # level 2 is pruned from level 1
    line = complaint(deeper, capfd)
    assert str(unit) in line
    assert "only this network" in line

    shutil.rmtree(unit)
    assert cli.main(once(deeper)) == 0
    again = json.loads((unit / "record.json").read_text())
    assert _numbers(again) == _numbers(record)
    assert (
        info.path / level_artifacts.network(0, "ticket", 0) / "record.json"
    ).read_bytes() == other


def _numbers(record: dict) -> dict:
    return {name: value for name, value in record["content"]["record"].items() if name != "seconds"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--level", "9"], "There is no level 9 of the ticket of imp-"),
        (["--level", "9"], "trained: 0, 1."),
        (["--replicate", "4"], "There is no replicate 4 of the ticket of imp-"),
        (["--control", "tickt"], "Did you mean 'ticket'?"),
        (["--control", "shuffled"], "`control` has no value 'shuffled'. Known: ticket."),
        (["--run", "imp-digits-mlp-9"], "Did you mean 'imp-digits-mlp-8-"),
    ],
)
def test_what_is_not_there_to_export_is_answered_with_what_is(
    options, words, finished, capfd, tmp_path
):
    arguments = ["export", "ticket.npz", "--out", str(finished.parent), *options]
    assert words in complaint(arguments, capfd)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["results", "figure", "report"])
def test_an_unknown_run_is_answered_with_the_closest(command, finished, capfd):
    wrong = finished.name.replace("digits", "digit")
    line = complaint([command, wrong, "--out", str(finished.parent)], capfd)
    assert f"Did you mean '{finished.name}'?" in line


@pytest.mark.parametrize(
    "arguments",
    [["results"], ["figure"], ["figure", "--kind", "dilation"], ["report"], ["export", "a.npz"]],
)
def test_a_run_without_a_finished_network_says_so(arguments, emptied, capfd):
    before = sorted(emptied.rglob("*"))
    line = complaint([*arguments, "--out", str(emptied.parent)], capfd)
    assert f"{emptied.name} has no finished network yet" in line
    assert sorted(emptied.rglob("*")) == before


def test_a_figure_of_dilations_needs_some(finished, capfd):
    line = complaint(["figure", "--kind", "dilation", "--out", str(finished.parent)], capfd)
    assert f"{finished.name} has no dilations" in line
    assert "--dilations" in line


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("tensorboardX", [*TINY, "--tensorboard", "events"], "jaxlth[tensorboard]"),
        ("pyarrow", ["results", "--file", "a.parquet"], "jaxlth[parquet]"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_done(
    package, arguments, extra, capfd, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    assert extra in complaint(arguments, capfd)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_event_files_is_named_before_anything_is_done(capfd, tmp_path):
    (tmp_path / "events").write_text("")
    line = complaint([*TINY, "--tensorboard", "events"], capfd)
    assert "`tensorboard` must be a folder, but events is a file" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that takes no files")
@pytest.mark.parametrize("option", ["--tensorboard", "--profile"])
def test_a_folder_that_takes_no_files_is_named_before_anything_is_done(option, capfd, tmp_path):
    line = complaint([*TINY, option, "/proc/self/events/new"], capfd)
    assert f"`{option[2:]}` must be a folder that can be written to; of /proc/self/ev" in line
    assert list(tmp_path.iterdir()) == []
    paths.check_folder("profile", "new/folder", writable=True)
    assert list(tmp_path.iterdir()) == []  # looking makes none


def test_missing_files_of_mnist_are_named_with_their_place(capfd, tmp_path):
    (tmp_path / "data").mkdir()
    line = complaint([*TINY, "--data", "mnist", "--data-dir", "data"], capfd)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        assert f"{part}-ubyte" in line
    assert "data/mnist" in line
    assert "MNIST database" in line


STUDY = pathlib.Path(__file__).parents[1] / "experiments" / "lenet_mnist.py"


def test_a_mistake_in_a_study_ends_its_process(tmp_path):
    arguments = ["--results", str(tmp_path / "results"), "--scale", "cpu", "--data-dir", "nowhere"]
    done = subprocess.run(
        [sys.executable, str(STUDY), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(STUDY.parents[1])},
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("jaxlth: ")
    assert "nowhere" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--scale", "smal"], "'smoke'"), (["--scal", "smoke"], "Did you mean --scale?")],
)
def test_a_mistake_in_a_study_is_one_line_and_leaves_nothing(
    arguments, words, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    command = [str(STUDY), "--results", str(tmp_path / "results"), *arguments]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(STUDY), run_name="__main__")
    assert ended.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("jaxlth: ")
    assert words in line
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_and_costs_nothing_stored(capfd):
    assert cli.main(once([*TINY, "--levels", "0"])) == 0
    capfd.readouterr()
    (info,) = store.runs("runs")
    dense = info.path / level_artifacts.network(0, "ticket", 0)
    before = {path: path.read_bytes() for path in dense.rglob("*") if path.is_file()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))  # no file may grow beyond
    try:
        line = complaint(TINY, capfd)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(info.path.name) in line
    assert "Free disk space" in line
    assert before == {path: path.read_bytes() for path in dense.rglob("*") if path.is_file()}
    assert cli.main(TINY) == 0  # once there is room again
    assert store.open_readonly(info.path).has(level_artifacts.network(1, "ticket", 0))


# ---- options that come twice


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["imp", "--settings", "a.toml", "--settings", "b.toml"], "--settings"),
        (["imp", "--settings=a.toml", "--settings", "a.toml"], "--settings"),
        (["prune-early", "--benchmark", "mnist_lenet_300_100", "--benchmark=x"], "--benchmark"),
        (["imp", "--checkpoint", "stream:nope", "--checkpoint", "last"], "--checkpoint"),
        (["separation", "--lr", "1", "--lr=2"], "--lr"),
        (["threshold-masks", "--batch_size", "5", "--batch-size", "6"], "--batch-size"),
        (["instability", "--one-shot", "--no-one-shot"], "--one-shot"),
        (["train-supermasks", "--hidden", "8", "--epochs", "1", "--hidden", "6"], "--hidden"),
        (["results", "--all", "--all"], "--all"),
        (["figure", "--kind", "training", "--kind", "layers"], "--kind"),
        (["list", "--out", "a", "--out=b"], "--out"),
        (["export", "a.npz", "--level", "1", "--level", "2"], "--level"),
    ],
)
def test_an_option_that_comes_twice_is_refused(arguments, option, capfd):
    assert cli.main(arguments) == 2
    told = capfd.readouterr().err
    assert told == f"jaxlth: `{option}` is given 2 times; give it once.\n"


def study(scale: str = "smoke", out: str = "runs", *, draw: bool = False) -> int:
    """Do a study.

    Args:
      scale: how much.
      out: where.
      draw: whether to draw.
    """
    print(scale, out, draw)
    return 0


def call(monkeypatch, *words):
    """Return the exit code of a program that is called with the words of a command line."""
    monkeypatch.setattr(sys, "argv", ["study.py", *words])
    return cli.guarded(lambda: cli.call(study))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "a", "--scale", "b"], "`--scale` is given 2 times"),
        (["--draw", "--no-draw"], "`--draw` is given 2 times"),
        (["--out", "~nobody-of-that-name"], "`--out` is ~nobody-of-that-name, but"),
        (["--out="], "`--out` must be a path; got ''."),
        (["--SCALE", "cpu"], "Did you mean --scale?"),
    ],
)
def test_a_program_answers_as_a_command_does(words, message, monkeypatch, capfd):
    assert call(monkeypatch, *words) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert message in line


def test_a_program_gets_paths_as_they_are_meant_and_tells_its_version(monkeypatch, capfd):
    monkeypatch.setenv("SCRATCH", "/scratch")
    assert call(monkeypatch, "--out", "$SCRATCH/a", "--draw") == 0
    assert capfd.readouterr().out == "smoke /scratch/a True\n"
    assert call(monkeypatch, "--draw", "--version") == 0
    assert capfd.readouterr().out.startswith("jaxlth ")


# ---- options without effect, over all commands

NOWHERE = ["--data", "mnist", "--data-dir", "nowhere"]  # where what is accepted ends
IDLE = [  # a command, the words without effect, the words at which they have one
    ("prune-early", ["--meta-density", "0.1"], None),
    ("prune-early", ["--meta-replicates", "1"], None),
    ("prune-early", ["--meta-weights", "9"], None),
    ("prune-early", ["--rounds", "5"], ["--schedule", "before-once", "before-rounds"]),
    ("prune-early", ["--rounds", "5"], ["--schedule", "iterative-rounds"]),
    ("prune-early", ["--spacing", "linear"], ["--schedule", "before-rounds"]),
    ("prune-early", ["--prune-fraction", "0.5"], ["--schedule", "iterative-once"]),
    (
        "prune-early",
        ["--schedule", "after", "--rewind-steps", "5"],
        ["--references", "after-rewind"],
    ),
    ("prune-early", ["--score", "magnitude", "--per-class", "3"], ["--weights", "snip"]),
    ("prune-early", ["--score", "synflow-mean", "--chunk", "2"], ["--score", "synflow", "grasp"]),
    ("prune-early", ["--score", "synflow-image", "--per-class", "3"], ["--score", "synflow+snip"]),
    ("prune-early", ["--score", "smart-ratio", "--scope", "layerwise"], ["--references", "after"]),
    ("instability", ["--one-shot"], ["--networks", "ticket", "--levels", "1"]),
    ("instability", ["--prune-fraction", "0.5"], ["--networks", "random", "--levels", "1"]),
    ("instability", ["--scope", "layerwise"], ["--networks", "synflow", "--density", "0.1"]),
    ("instability", ["--exclude", "*/x"], ["--networks", "synflow", "--density", "0.1"]),
    ("instability", ["--per-class", "3"], ["--networks", "snip", "--density", "0.1"]),
    ("instability", ["--lengths", "whole"], ["--rewind-steps", "0", "9"]),
    ("imp", ["--control-levels", "3", "--controls"], ["--controls", "random"]),
    ("imp", ["--no-synchronized-statistics"], ["--model", "resnet-20"]),
    ("train-supermasks", ["--no-synchronized-statistics"], ["--model", "resnet-20"]),
    ("threshold-masks", ["--no-synchronized-statistics"], ["--model", "resnet-20", "--hidden"]),
    ("separation", ["--no-synchronized-statistics"], None),
    ("separation", ["--tolerance", "0.1"], None),
    ("threshold-masks", ["--tolerance", "0.1"], None),
]


@pytest.mark.parametrize(("command", "words", "more"), IDLE)
def test_an_option_without_effect_is_refused_and_with_effect_accepted(command, words, more, capfd):
    place = ["--data-dir", "nowhere"] if command == "separation" else NOWHERE
    line = complaint([command, *words, *place], capfd)
    assert " has no effect " in line
    assert len(line) < 150
    if more is not None:
        line = complaint([command, *words, *more, *NOWHERE], capfd)
        assert "There is no data directory nowhere" in line


def test_settings_of_a_stream_without_effect_are_refused(capfd):
    words = ["imp", "--data", "folder:x", "--statistics-images", "5"]
    assert "no folder" in complaint(words, capfd)
    line = complaint([*words, "--normalize", "unit-range"], capfd)
    assert "`statistics_images` 5 has no effect with `normalize` unit-range" in line


def test_a_setting_without_effect_that_names_a_run_extends_it(capfd):
    words = ["prune-early", "--rounds", "2", *NOWHERE]
    assert "`rounds` 2 has no effect on the schedules before-once." in complaint(words, capfd)
    job = parsing.parse([*words, "--schedule", "before-rounds"]).config
    with store.open_run("runs", job, job="prune-early", label=run_label(job)):
        pass
    assert "There is no data directory nowhere" in complaint(words, capfd)


@pytest.mark.parametrize("more", [["--format", "csv"], ["--file", "a.csv"]])
def test_a_tolerance_without_a_table_is_refused(more, capfd):
    assert "`tolerance` 0.1 has no effect" in complaint(
        ["results", "--tolerance", "0.1", *more], capfd
    )


# ---- names as they are typed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train-supermasks", "--score-l1", "1"], "`--score-l1` belongs to the method gem-miner"),
        (["train-supermasks", "--score-l2", "1"], "`--score-l2` belongs to the method gem-miner"),
        (["train-supermasks", "--frozen-weights", "scaled"], "`--frozen-weights` scaled needs"),
        (
            ["train-supermasks", "--finetune", "1", "--finetune-optimizer", "adm"],
            "`finetune_optimizer` has no value 'adm'. Did you mean 'adam'?",
        ),
        (
            ["train-supermasks", "--finetune", "1", "--finetune-lr", "-1"],
            "`finetune_lr` must be above",
        ),
        (["imp", "--lr-schedule", "cosin"], "`--lr-schedule` has no value 'cosin'. Did you mean"),
        (["imp", "--l1", "-1"], "`l1` must be at least 0"),
        (["prune-early", "--schedule", "cosin"], "`schedule` has no value 'cosin'."),
        (["IMP"], "Did you mean 'imp'?"),
        (["version"], "Did you mean '--version'?"),
        (["--lr", "1", "imp"], "Give a command before the option --lr."),
        (["imp", "--LR", "1"], "Did you mean --lr?"),
        (["imp", "-lr", "1"], "Did you mean --lr?"),
        (["imp", "\N{EM DASH}lr", "1"], "Options begin with two hyphens: --lr; got"),
        (["imp", "--optimizer", "SGD"], "Did you mean 'sgd'?"),
        (["imp", "--scope", "GLOBAL"], "Did you mean 'global'?"),
        (["results", "--format", "JSON"], "Did you mean 'json'?"),
        (["imp", "--controls", "none", "random"], "`--controls` none stands for no value; got"),
        (
            ["imp", "--dilations", "1", "None"],
            "`--dilations` none stands for no value; got 1 None.",
        ),
        (["imp", "--tensorboard", ""], "`--tensorboard` must be a path; got ''."),
        (["imp", "--tensorboard="], "`--tensorboard` must be a path; got ''."),
        (["export", ""], "`FILE` must be a path; got ''."),
        (["results", ""], "`RUN` must be a path; got ''."),
        (["list", "--out", "$NO_SUCH_NAME"], "$NO_SUCH_NAME is not set."),
        (["imp", "--data", "a\n\x1b[31mb"], r"`data` has no value 'a\n\x1b[31mb'."),
        (["imp", "--data", "\udcff"], r"'\udcff' is not text in UTF-8."),
        (["list", "--out", "r\udcc3\udcbcns"], "lacks its letters: set $PYTHONUTF8=1."),
    ],
)
def test_a_message_has_the_name_that_was_typed(arguments, words, capfd):
    assert words in complaint(arguments, capfd)


@pytest.mark.parametrize(
    "arguments",
    [
        ["{}"],
        ["imp", "{}"],
        ["imp", "--{}"],
        ["imp", "--lr", "{}"],
        ["imp", "--data", "{}"],
        ["imp", "--settings", "{}"],
        ["list", "--out", "{}"],
        ["results", "{}"],
    ],
)
@pytest.mark.parametrize("long", ["x" * 1_000_000, "x " * 500_000], ids=["word", "words"])
def test_a_value_of_a_million_characters_is_not_echoed_whole(arguments, long, capfd):
    line = complaint([word.format(long) for word in arguments], capfd)
    assert len(line) < 1000
    assert "xxx" in line or "x x" in line


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--controls", "none"], "controls", ()),
        (["--controls", "None"], "controls", ()),
        (["--dilations", "none"], "dilations", ()),
        (["--exclude", "none"], "exclude", ()),
        (["--controls", "random"], "controls", ("random",)),
    ],
)
def test_none_stands_for_an_empty_list(words, name, value):
    assert getattr(parsing.parse(["imp", *words]).config, name) == value


def test_controls_of_early_pruning_come_beside_the_tickets():
    assert parsing.parse(["prune-early", "--controls", "none"]).config.controls == ()
    assert parsing.parse(["prune-early", "--controls", "shuffled"]).config.controls == ("shuffled",)


def test_paths_are_used_as_they_are_meant(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.toml").write_text("\ufefflevels = 5\n", encoding="utf-8")
    asked = ["--out=~/a", "--data-dir", "$HOME/b", "--tensorboard", "~/c"]
    command = parsing.parse(["imp", "--settings=~/mine.toml", *asked])
    assert command.config.levels == 5
    assert command.settings == f"{tmp_path}/mine.toml"
    assert (command.out, command.config.data.data_dir) == (f"{tmp_path}/a", f"{tmp_path}/b")
    assert command.tensorboard == f"{tmp_path}/c"
    assert parsing.parse(["results", "~/d"]).runs == (f"{tmp_path}/d",)
    assert parsing.parse(["figure", "--file", "~/e.png"]).file == f"{tmp_path}/e.png"
    assert parsing.parse(["export", "~/f.npz", "--run", "~/g"]).file == f"{tmp_path}/f.npz"
    assert parsing.parse(["export", "~/f.npz", "--run", "~/g"]).run == f"{tmp_path}/g"


# One of the two that give the length of training replaces the default of the other.


def training_of(*words):
    command = parsing.parse(list(words))
    return command.config.training.steps, command.config.training.epochs


@pytest.mark.parametrize(
    "command", ["imp", "prune-early", "instability", "separation", "threshold-masks"]
)
def test_steps_and_epochs_replace_each_other_in_every_command(command):
    assert training_of(command, "--steps", "60") == (60, 40.0)
    assert training_of(command, "--epochs", "2.5") == (None, 2.5)
    assert training_of(command, "--epochs=40") == (None, 40.0)
    assert training_of(command, "--steps", "none", "--epochs", "3") == (None, 3.0)


@pytest.mark.parametrize("benchmark", ["mnist_lenet_300_100", "cifar_vgg16_low"])
def test_epochs_replace_the_steps_of_a_benchmark(benchmark):
    assert training_of("imp", "--benchmark", benchmark, "--epochs", "40") == (None, 40.0)
    assert training_of("imp", "--benchmark", benchmark, "--steps", "9") == (9, 40.0)
    assert training_of("prune-early", "--benchmark", benchmark, "--epochs", "2") == (None, 2.0)


def test_steps_replace_the_epochs_of_a_settings_file_and_the_other_way_round(tmp_path):
    (tmp_path / "epochs.toml").write_text("[training]\nepochs = 7.0\nbatch_size = 9")
    (tmp_path / "steps.toml").write_text("[training]\nsteps = 70")
    assert training_of("imp", "--settings", "epochs.toml", "--steps", "5") == (5, 40.0)
    assert training_of("imp", "--settings", "steps.toml", "--epochs", "5") == (None, 5.0)
    assert training_of("separation", "--settings", "steps.toml") == (70, 40.0)
    assert training_of("separation", "--settings", "epochs.toml") == (None, 7.0)
    kept = parsing.parse(["imp", "--settings", "epochs.toml", "--steps", "5"]).config.training
    assert kept.batch_size == 9


def test_steps_and_epochs_together_are_refused(capfd):
    for words in (["--steps", "60", "--epochs", "3000"], ["--epochs=40", "--steps=60"]):
        line = complaint(["separation", *words], capfd)
        assert "`--steps` and `--epochs` both give the length of training; give one." in line


def test_a_run_of_steps_and_one_of_epochs_keep_their_folders():
    config = parsing.parse(["separation", "--steps", "60"]).config
    assert settings.changed(config)["training"] == {
        "steps": 60,
        "batch_size": 64,
        "evaluate_every": 1,
        "patience": 30,
    }
    assert settings.digest(parsing.parse(["separation"]).config) == settings.digest(
        SeparationConfig()
    )


def test_times_in_the_unit_of_a_benchmark_are_named_where_the_length_has_another(capfd):
    line = complaint(["imp", "--benchmark", "cifar_vgg16_low", "--epochs", "2"], capfd)
    assert "`milestones` must come before the end of training, 2; got 32000." in line
    assert "Times are in epochs, as the length is." in line


def test_times_of_a_file_do_not_change_their_unit_without_a_word(tmp_path, capfd):
    (tmp_path / "epochs.toml").write_text(
        '[training]\nepochs = 20.0\nevaluate_every = 1.0\n[optimizer]\nschedule = "milestones"\n'
        "milestones = [10.0, 15.0]"
    )
    (tmp_path / "steps.toml").write_text("[training]\nsteps = 200\n[optimizer]\nwarmup = 5")
    words = ["imp", "--settings", "epochs.toml", "--steps", "431"]
    line = complaint(words, capfd)
    assert "`--evaluate-every` must be given beside `--steps`: 1.0 is in epochs, and" in line
    line = complaint([*words, "--evaluate-every", "20"], capfd)
    assert "`--milestones` must be given beside `--steps`: 10.0 15.0 is in epochs" in line
    asked = parsing.parse([*words, "--evaluate-every", "20", "--milestones", "215", "323"]).config
    assert (asked.training.evaluate_every, asked.optimizer.milestones) == (20, (215, 323))
    line = complaint(["imp", "--settings", "steps.toml", "--epochs", "20"], capfd)
    assert "`--warmup` must be given beside `--epochs`: 5.0 is in steps" in line
    line = complaint(["imp", "--benchmark", "imagenet_resnet50", "--steps", "112590"], capfd)
    assert "`--milestones` must be given beside `--steps`: 30 60 80 is in epochs" in line
    same = parsing.parse(["imp", "--settings", "epochs.toml", "--epochs", "30"]).config
    assert (same.training.epochs, same.optimizer.milestones) == (30, (10, 15))


@pytest.mark.parametrize("option", ["--initial", "--initial-mask", "--error", "--name"])
def test_none_takes_back_what_a_settings_file_names(option, tmp_path):
    name = option.removeprefix("--").replace("-", "_")
    value = "a.py:error" if name == "error" else "a.npz"
    (tmp_path / "file.toml").write_text(f'{name} = "{value}"')
    config = parsing.parse(["imp", "--settings", "file.toml", option, "none"]).config
    assert getattr(config, name) == ""
