"""Every mistake of a user ends in one helpful line and exit code 2, without a traceback."""

import gzip
import json
import resource
import shutil

import pytest

from jaxlth import cli, store, tickets

TINY = ["imp", "--model", "mlp", "--hidden", "8", "--steps", "20", "--batch-size", "50"]
TINY += ["--levels", "1", "--replicates", "1", "--controls"]

MISTAKES = {  # arguments -> words that the message must hold
    "no command": ([], "imp"),
    "unknown command": (["imq"], "imp"),
    "unknown option": ([*TINY, "--replicate", "2"], "--replicates"),
    "unknown model": ([*TINY, "--model", "lenet-300"], "lenet-300-100"),
    "unknown data": ([*TINY, "--data", "mnis"], "Did you mean 'mnist'?"),
    "unknown optimizer": ([*TINY, "--optimizer", "adm"], "Did you mean 'adam'?"),
    "unknown control": ([*TINY, "--controls", "shuffle"], "Did you mean 'shuffled'?"),
    "not a number": ([*TINY, "--levels", "many"], "--levels"),
    "fraction out of range": ([*TINY, "--prune-fraction", "1.2"], "between 0 and 1; got 1.2"),
    "density out of range": ([*TINY, "--stop-density", "5"], "`stop_density`"),
    "rewind step past the end": ([*TINY, "--rewind-step", "20"], "0..19"),
    "more levels than weights": ([*TINY, "--levels", "300"], "levels"),
    "batch larger than the data": ([*TINY, "--batch-size", "5000"], "1294"),
    "no such level of controls": ([*TINY, "--control-levels", "7"], "1..1"),
    "no replicates": ([*TINY, "--replicates", "0"], "at least 1"),
    "no devices": ([*TINY, "--devices", "0"], "at least 1"),
    "validation of all": ([*TINY, "--validation", "1"], "[0, 1)"),
    "patience without validation": ([*TINY, "--validation", "0", "--patience", "1"], "validation"),
    "pattern that fits nothing": ([*TINY, "--leave-out", "Dens_1/*"], "closest is 'Dense_1"),
    "widths of LeNet": ([*TINY, "--model", "lenet-300-100"], "`hidden`"),
    "missing settings file": (["imp", "--settings", "none.toml"], "none.toml"),
    "missing data": ([*TINY, "--data", "mnist", "--data-dir", "nowhere"], "nowhere"),
    "no runs": (["results"], "jaxlth imp"),
    "unknown run": (["results", "some"], "run"),
    "no such data set of tfds": ([*TINY, "--data", "tfds:no_such_set"], "no_such_set"),
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JAXLTH_DATA", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


def complaint(arguments, capfd):
    """Return the one line that a mistaken command prints."""
    assert cli.main(arguments) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("jaxlth: ")
    return line


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_helpful_line(mistake, capfd, tmp_path):
    arguments, words = MISTAKES[mistake]
    assert words in complaint(arguments, capfd)
    assert not list(tmp_path.rglob("record.json"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("levls = 3", "`levels`"),
        ("[training]\nstep = 3", "`steps`"),
        ('levels = "three"', "`levels`"),
        ("levels = ", "not valid TOML"),
    ],
)
def test_a_wrong_settings_file_is_named(text, words, capfd, tmp_path):
    (tmp_path / "wrong.toml").write_text(text)
    assert words in complaint(["imp", "--settings", "wrong.toml"], capfd)


def test_a_file_in_the_way_of_the_runs_is_named(capfd, tmp_path):
    (tmp_path / "runs").write_text("")
    assert "runs" in complaint(TINY, capfd)


def test_a_truncated_data_file_is_named(capfd, tmp_path):
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            whole = gzip.compress(bytes(1000))
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(whole[: len(whole) // 2])
    line = complaint([*TINY, "--data", "mnist", "--data-dir", "data"], capfd)
    assert "-ubyte.gz" in line


def test_a_damaged_network_is_named_and_trained_again_alone(capfd):
    assert cli.main(TINY) == 0
    capfd.readouterr()
    (info,) = store.runs("runs")
    unit = info.path / tickets.unit(1, "ticket", 0)
    record = json.loads((unit / "record.json").read_text())
    other = (info.path / tickets.unit(0, "ticket", 0) / "record.json").read_bytes()
    files = [path for path in (unit / "arrays").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-20])

    deeper = [*TINY, "--levels", "2"]  # level 2 is pruned from level 1
    line = complaint(deeper, capfd)
    assert str(unit) in line
    assert "only this network" in line

    shutil.rmtree(unit)
    assert cli.main(deeper) == 0
    again = json.loads((unit / "record.json").read_text())
    assert _numbers(again) == _numbers(record)
    assert (info.path / tickets.unit(0, "ticket", 0) / "record.json").read_bytes() == other


def _numbers(record: dict) -> dict:
    return {name: value for name, value in record["content"]["record"].items() if name != "seconds"}


def test_unwritable_names_of_exports_are_refused(capfd):
    assert cli.main(TINY) == 0
    capfd.readouterr()
    assert ".npz" in complaint(["export", "ticket.pt"], capfd)
    assert "level_09" in complaint(["export", "ticket.npz", "--level", "9"], capfd)


def test_a_full_disk_is_named_and_costs_nothing_stored(capfd):
    assert cli.main([*TINY, "--levels", "0"]) == 0
    capfd.readouterr()
    (info,) = store.runs("runs")
    dense = info.path / tickets.unit(0, "ticket", 0)
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
    assert store.look(info.path).has(tickets.unit(1, "ticket", 0))
