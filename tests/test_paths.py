"""One rule for every path that a person types."""

import os
import pathlib
import pwd
import shutil

import numpy as np
import pytest

from jaxlth import cli, data, store, studies
from jaxlth.data import lookup
from jaxlth.process import paths
from jaxlth.studies.imp.config import ImpConfig

PATHS = {  # as typed -> as used, where HOME is /home/me and SCRATCH is /scratch
    "runs": "runs",
    "~": "/home/me",
    "~/runs": "/home/me/runs",
    "$SCRATCH/runs": "/scratch/runs",
    "${SCRATCH}2/a": "/scratch2/a",
    "~/$NAMED": "/home/me/~/x",  # what a variable holds is not read again but at the beginning
    "$NAMED": "/home/me/x",
    "a~/b~": "a~/b~",
    "./~": "./~",
    "a$/$$": "a$/$$",
    "gs://bucket/runs": "gs://bucket/runs",
}


@pytest.fixture(autouse=True)
def home(monkeypatch):
    for name, value in {"HOME": "/home/me", "SCRATCH": "/scratch", "NAMED": "~/x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NOTHING", raising=False)


@pytest.mark.parametrize("typed", PATHS)
def test_a_path_is_used_with_its_home_and_variables(typed):
    assert paths.expand(typed, setting="out") == PATHS[typed]
    assert paths.expand(pathlib.Path(typed), setting="out") == os.path.expanduser(
        os.path.expandvars(pathlib.Path(typed))
    )


def test_the_home_of_another_user_is_known():
    root = pwd.getpwuid(0)
    assert paths.expand(f"~{root.pw_name}/x", setting="out") == f"{root.pw_dir}/x"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "`out` must be a path; got ''."),
        (" ", "`out` must be a path; got ' '."),
        ("a\nb", r"without control characters; got 'a\nb'"),
        ("a\0b", r"without control characters; got 'a\x00b'"),
        ("a\udcffb", r"in UTF-8 without control characters; got 'a\udcffb'."),
        ("r\udcc3\udcbcns", r"got 'r\udcc3\udcbcns'. The locale of this process lacks its letters"),
        ("$NOTHING/x", "`out` is $NOTHING/x, but $NOTHING is not set."),
        ("~nobody-of-that-name/x", "there is no user nobody-of-that-name with a home directory"),
    ],
)
def test_what_is_no_path_is_refused_by_name(typed, words):
    with pytest.raises(ValueError, match="`out`") as caught:
        paths.expand(typed, setting="out")
    assert words in str(caught.value)


@pytest.fixture(params=["no HOME", "empty HOME"])
def homeless(monkeypatch, request):
    """A user without a home directory, as in a container that is started for another user."""

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME")
    if request.param == "empty HOME":
        monkeypatch.setenv("HOME", "")
    for name in ("JAXLTH_DATA", "TFDS_DATA_DIR", "XDG_CACHE_HOME", "JAXLTH_CACHE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["imp", "--data", "tfds:cifar10"], "--data-dir"),
        (["imp", "--data", "stream:cifar10"], "--data-dir"),
        (["imp", "--data", "mnist", "--data-dir", "~/data"], "--data-dir"),
        (["imp", "--out", "~/runs"], "--out"),
        (["list", "--out=~"], "--out"),
        (["imp", "--settings", "~/mine.toml"], "--settings"),
        (["results", "~/runs/one"], "RUN"),
    ],
)
def test_without_a_home_a_line_asks_for_it_or_for_the_option(
    homeless, words, option, capfd, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert f"this user has no home directory: set $HOME, or give `{option}` a path" in line
    assert list(tmp_path.iterdir()) == []


def test_what_needs_no_home_does_not_ask_for_one(homeless, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["list"]) == 0
    assert data.load(data.DataConfig(name="digits"), seed=0)
    assert capfd.readouterr() == ("No runs in runs.\n", "")


@pytest.mark.parametrize(
    "words", [["list"], ["results"], ["report"], ["figure", "accuracy"], ["export", "a.npz"]]
)
def test_a_file_as_the_folder_of_all_runs_is_named_as_such(words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    assert cli.main([*words, "--out", "notes.txt"]) == 2
    says = "jaxlth: `out` must be a folder, but notes.txt is a file.\n"
    assert capfd.readouterr() == ("", says)


def test_data_are_read_from_the_place_that_is_meant(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    with pytest.raises(data.DataError, match=f"no data directory {tmp_path}/nowhere"):
        data.load(data.DataConfig(name="mnist", data_dir="$SCRATCH/nowhere"), seed=0)
    with pytest.raises(data.DataError, match=f"no folder {tmp_path}/set;"):
        data.load(data.DataConfig(name="folder:$SCRATCH/set", data_dir="elsewhere"), seed=0)
    (tmp_path / "a" / "1.0.0").mkdir(parents=True)
    (tmp_path / "a" / "1.0.0" / "dataset_info.json").write_text('{"fileFormat": "array_record"}')
    assert lookup.locate("$SCRATCH", name="a") == tmp_path / "a" / "1.0.0"
    with pytest.raises(ValueError, match="`data_dir` must be a path; got ''"):
        data.DataConfig(data_dir="")


PARAMS = {"w": np.ones((2, 2), np.float32)}


@pytest.fixture
def scratch(finished, monkeypatch, tmp_path):
    """A folder that is both $HOME and $SCRATCH, with the runs of `finished` in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "scratch" / "runs" / finished.name)
    for name in ("HOME", "SCRATCH"):
        monkeypatch.setenv(name, str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.mark.parametrize("typed", ["~/{}", "$SCRATCH/{}", "${{SCRATCH}}/{}"])
@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_functions_take_paths_as_commands_do(typed, kind, scratch, finished):
    def path(name):
        return kind(typed.format(name))

    run, mask = f"runs/{finished.name}", {"w": np.ones((2, 2), bool)}
    (info,) = store.runs(path("runs"))
    assert info.path == scratch / run
    assert store.open_readonly(path(run)).path == studies.open(path(run)).path == scratch / run
    assert len(store.table(path(run))) == len(store.table([path(run)])) == 2
    assert len(store.curves(path(run))) == len(store.curves([scratch / run])) > 0
    assert store.export_results(path(run)) == scratch / run / "results.csv"
    store.export_ticket(path("t.npz"), PARAMS, mask, metadata={"level": 3})
    assert store.load_ticket(path("t.npz")).metadata == {"level": 3}
    store.export_arrays(path("a.safetensors"), PARAMS, metadata={})
    assert store.load_network(scratch / "a.safetensors").params.keys() == PARAMS.keys()
    page = studies.open(path(run)).report(path("page.html"))
    assert page == scratch / "page.html"
    assert page.exists()
    assert store.folder(path("new"), ImpConfig(), job="imp", label="a").parent == scratch / "new"
    assert sorted(scratch.parent.iterdir()) == [scratch]


def test_a_whole_path_of_what_is_there_may_have_any_name(finished, tmp_path):
    run = tmp_path / "$NOTHING" / finished.name
    shutil.copytree(finished, run)
    assert studies.open(run).path == run
    assert [info.path for info in store.runs(run.parent)] == [run]
    with pytest.raises(ValueError, match=r"\$NOTHING is not set"):
        studies.open(str(run))
    for wrong in (3, None):
        with pytest.raises(TypeError, match="must be a path|expected str"):
            store.load_ticket(wrong)
