"""The table of studies: all that the command line knows of a study comes from its entry there."""

import dataclasses
import json
import os
import signal
import subprocess
import sys

import bits
import kills
import numpy as np
import pytest
import test_damage
import train_twice
from tiny import printed

from jaxlth import cli, masks, settings, store, studies
from jaxlth.cli import commands, options
from jaxlth.studies import STUDIES, Study
from jaxlth.studies.lazy import Lazy

WORDS = ["train-twice", "--data", "moons", "--steps", "20"]
PARTS = [field.name for field in dataclasses.fields(Study) if field.name != "name"]
OPTIONAL = ("prepare", "complete", "ticket", "named_by", "baseline", "values", "tolerance")
OPTIONAL += ("across_replicates", "may_skip", "for_data", "charts")
OWN = tuple(STUDIES)  # the studies of the package


@pytest.fixture(scope="module", autouse=True)
def one_more_study():
    """Add the study of the tests to the table: one entry, and nothing else."""
    STUDIES["train-twice"] = train_twice.STUDY
    yield
    del STUDIES["train-twice"]


@pytest.fixture(scope="module")
def twice(one_more_study, tmp_path_factory):
    """Return what the command of the new study prints, and the folder of its run."""
    out = tmp_path_factory.mktemp("runs")
    text = printed(*WORDS, "--out", str(out))
    (info,) = store.runs(out)
    return text, info.path


@pytest.mark.parametrize("name", STUDIES)
def test_the_name_in_the_table_is_that_of_the_study(name):
    study = STUDIES[name]
    assert study.name == name
    assert commands.by_name()[name]().config == study.Config()


@pytest.mark.parametrize("name", STUDIES)
def test_settings_of_every_study_are_written_and_read_back(name, tmp_path):
    config = STUDIES[name].Config()
    file = tmp_path / "own.toml"
    file.write_text(settings.to_toml(config))
    assert settings.read_toml(type(config), file) == config


@pytest.mark.parametrize("name", STUDIES)
def test_every_part_of_a_study_that_is_imported_late_exists(name):
    study = STUDIES[name]
    parts = [*vars(study).values(), *getattr(study.ticket, "keywords", {}).values()]
    late = [part for part in parts if isinstance(part, Lazy)]
    assert late
    assert all(part._value() for part in late)


@pytest.mark.parametrize("table", [test_damage.JOBS, kills.JOBS])
def test_damage_and_kills_are_tried_of_every_study(table):
    assert set(table) == set(OWN)


def test_what_every_study_stores_is_compared_to_the_bit():
    assert {words.split()[0] for words in bits.CASES.values()} == set(OWN)


@pytest.mark.parametrize("part", [part for part in PARTS if part not in OPTIONAL])
def test_an_incomplete_study_is_refused_with_its_name_and_the_missing_part(part):
    parts = {name: getattr(train_twice.STUDY, name) for name in ("name", *PARTS) if name != part}
    with pytest.raises(ValueError, match=f"^The study train-twice .* no `{part}`\\.$"):
        Study(**parts)
    if part == "help":  # of a module without a docstring
        with pytest.raises(ValueError, match="no `help`"):
            Study(**parts, help=None)


@pytest.mark.slow
def test_without_docstrings_studies_have_no_help_and_are_whole():
    program = "from jaxlth.studies import STUDIES; print({s.help for s in STUDIES.values()})"
    assert subprocess.check_output([sys.executable, "-OO", "-c", program]) == b"{None}\n"


def test_two_studies_of_one_name_are_refused():
    again = dataclasses.replace(train_twice.STUDY, name="imp")
    with pytest.raises(ValueError, match=r"^Two studies have the name imp; rename one\.$"):
        studies.by_name((*STUDIES.values(), again))


def test_a_study_with_the_name_of_another_command_is_refused(monkeypatch):
    monkeypatch.setitem(STUDIES, "list", dataclasses.replace(train_twice.STUDY, name="list"))
    with pytest.raises(ValueError, match="name list, which is another command's"):
        commands.by_name()


def test_a_new_study_is_a_command_with_its_help(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train-twice", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Train a network twice in different data orders, and compare. Only a test." in text
    assert (
        "--orders [NAME ...] Names of the two data orders, each a random stream. One of: a, b, c."
        in text
    )
    assert "(default: a b)" in text
    shared = {"--out", "--wait", "--batch-size", "--lr", "--data", "--hidden"}
    assert shared <= set(options.names(commands.by_name()["train-twice"]))


def test_a_new_study_prints_its_results_and_draws_its_figure(twice):
    text, path = twice
    frame = store.table([path])
    distance = float(frame.loc[frame["control"] == "distance", "l2_distance"].iloc[0])
    assert distance > 0
    assert f"Two orders lead {distance:.3f} apart." in text
    assert "figure: " in text
    assert (path / "order-distances.png").stat().st_size > 1000
    assert path.name.startswith("train-twice-moons-mlp-8")
    assert f"{distance:.3f}" in printed("results", str(path))
    assert "train-twice" in printed("list", "--out", str(path.parent))
    assert "3/3" in printed("list", "--out", str(path.parent))


def test_a_new_study_computes_nothing_a_second_time(twice, monkeypatch):
    text, path = twice
    before = {file: file.stat().st_mtime_ns for file in path.rglob("record.json")}
    monkeypatch.setattr(store.Run, "save", lambda *_: pytest.fail("it computes again"))
    assert printed(*WORDS, "--out", str(path.parent)) == text
    assert {file: file.stat().st_mtime_ns for file in path.rglob("record.json")} == before


def test_a_new_study_is_drawn_by_figure_and_by_no_kind_of_others(twice, tmp_path, capfd):
    _, path = twice
    file = tmp_path / "distances.png"
    printed("figure", str(path), "--kind", "order-distances", "--file", str(file))
    assert file.stat().st_size > 1000
    assert cli.main(["figure", str(path), "--kind", "accuracy"]) == 2
    assert "of `jaxlth train-twice` there are order-distances." in capfd.readouterr().err


def test_a_ticket_of_a_new_study_is_exported(twice, tmp_path):
    file = tmp_path / "ticket.npz"
    printed("export", str(file), "--run", str(twice[1]))
    ticket = store.load_ticket(file)
    assert ticket.metadata["orders"] == "a b"
    assert masks.density(ticket.mask) == 1


def test_export_names_the_studies_that_have_tickets(twice, tmp_path, monkeypatch, capfd):
    without = dataclasses.replace(train_twice.STUDY, ticket=None)
    monkeypatch.setitem(STUDIES, "train-twice", without)
    assert cli.main(["export", str(tmp_path / "a.npz"), "--run", str(twice[1])]) == 2
    assert (
        "is a run of `jaxlth train-twice`; tickets of `jaxlth imp`, `prune-early`, `dynamic`, "
        "`separation`, `threshold-masks` and `train-supermasks` are exported."
        in capfd.readouterr().err
    )


def test_mistakes_in_the_settings_of_a_new_study_are_one_line(tmp_path, capfd):
    out = ["--out", str(tmp_path)]
    assert cli.main([*WORDS, *out, "--orders", "a", "a"]) == 2
    assert cli.main([*WORDS, *out, "--tolerance", "0.1"]) == 2
    assert cli.main(["train-twise"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "jaxlth: `orders` must name two; got a a."
    assert (
        "no effect on `jaxlth separation`, `threshold-masks` and `train-twice`, whose" in lines[1]
    )
    assert lines[2].startswith("jaxlth: There is no command 'train-twise'. Did you mean 'train-tw")


def test_a_settings_file_of_a_new_study_gives_its_options(twice):
    text, path = twice
    words = ["train-twice", "--settings", str(path / "settings.toml")]
    assert printed(*words, "--out", str(path.parent)) == text


def test_a_new_study_goes_on_where_a_signal_stopped_it(tmp_path, capfd, monkeypatch):
    out = ["--out", str(tmp_path)]
    plan = store.Run.set_expected_count

    def planned(self, total):
        plan(self, total)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(store.Run, "set_expected_count", planned)
        assert cli.main([*WORDS, "--seed", "1", *out]) == 130
    assert "the same command goes on from there." in capfd.readouterr().err
    assert not list(tmp_path.rglob("comparison/**/record.json"))
    printed(*WORDS, "--seed", "1", *out)
    printed(*WORDS, "--seed", "1", "--out", str(tmp_path / "whole"))
    assert _content(tmp_path) == _content(tmp_path / "whole")


def test_what_was_stored_before_a_study_raises_is_kept(tmp_path, capfd, monkeypatch):
    def fails(*_):
        raise ValueError("`orders` cannot be compared.")

    monkeypatch.setattr(train_twice, "comparison", fails)
    assert cli.main([*WORDS, "--out", str(tmp_path)]) == 2
    assert capfd.readouterr().err.splitlines()[-1] == "jaxlth: `orders` cannot be compared."
    (info,) = store.runs(tmp_path)
    assert [name for name, _ in store.open_readonly(info.path).records()] == [
        "order_a/network/replicate_0",
        "order_b/network/replicate_0",
    ]


def _content(out):
    """Return records and weights of the one run in a folder."""
    (info,) = store.runs(out)
    run = store.open_readonly(info.path)
    records = {name: json.dumps(record | {"seconds": 0}) for name, record in run.records()}
    networks = [name for name in records if name.startswith("order_")]
    weights = [run.load(name, "network")["params"]["Dense_0"]["kernel"] for name in networks]
    return records, np.stack(weights).tolist()
