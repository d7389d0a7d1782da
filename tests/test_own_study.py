"""A study in a user's file: from the command line, from Python, and its page in the docs."""

import dataclasses
import functools
import inspect
import json
import os
import pathlib
import re
import runpy
import shlex
import signal

import jax
import numpy as np
import pytest
import tiny
import train_twice

from jaxlth import cli, masks, store, studies
from jaxlth.models import ModelConfig
from jaxlth.process import code
from jaxlth.studies import STUDIES, Study

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "own_study.md").read_text()
TWICE = f"{ROOT / 'tests' / 'train_twice.py'}:STUDY"
EARLY_BIRD = f"{ROOT / 'experiments' / 'early_bird.py'}:STUDY"
WORDS = [TWICE, "--data", "moons", "--steps", "20"]
EARLY = ["--model", "mlp", "--hidden", "8", "--batch-size", "50", "--steps", "24"]
EARLY += ["--draw-every", "3", "--queue", "2", "--threshold", "0.2", "--replicates", "1"]
EARLY += ["--evaluate-every", "24", "--train-examples", "100"]


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """Return what the command of a study in a file prints, and the folder of its run."""
    out = tmp_path_factory.mktemp("runs")
    text = tiny.printed(*WORDS, "--out", out)
    return text, tiny.only_run(out).path


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """Return what the early-bird study prints, and the folder of its run."""
    out = tmp_path_factory.mktemp("early")
    text = tiny.printed(EARLY_BIRD, *EARLY, "--out", out)
    return text, tiny.only_run(out).path


@functools.cache
def early_bird():
    """Return the module of the early-bird study."""
    code.load(EARLY_BIRD, setting="study")
    return inspect.getmodule(code.load(EARLY_BIRD, setting="study").run)


# From the command line.


def test_a_study_in_a_file_is_a_command_with_its_help(capsys):
    with pytest.raises(SystemExit):
        cli.main([TWICE, "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert text.startswith(f"usage: jaxlth {TWICE}"[:60])
    assert "Train a network twice in different data orders, and compare." in text
    assert "--orders [NAME ...] Names of the two data orders, each a random stream. One of:" in text
    assert "--batch-size" in text


def test_a_study_in_a_file_prints_its_table_and_draws_its_figure(twice):
    text, path = twice
    assert "Two orders lead 0.006 apart." in text
    assert path.name.startswith("train-twice-moons-mlp-8")
    assert (path / "order-distances.png").stat().st_size > 1000
    assert "train-twice" not in STUDIES


def test_a_study_in_a_file_computes_nothing_a_second_time(twice):
    text, path = twice
    before = tiny.times(path)
    assert tiny.printed(*WORDS, "--out", path.parent) == text
    assert tiny.times(path) == before


def test_commands_that_read_runs_take_the_study(twice, tmp_path):
    _, path = twice
    words = [str(path), "--study", TWICE]
    assert "Two orders lead" in tiny.printed("results", *words)
    file = tmp_path / "distances.png"
    tiny.printed("figure", *words, "--kind", "order-distances", "--file", file)
    assert file.stat().st_size > 1000
    file = tmp_path / "ticket.npz"
    tiny.printed("export", file, "--run", *words)
    assert store.load_ticket(file).metadata["orders"] == "a b"
    assert "train-twice" in tiny.printed("list", "--out", path.parent)
    rows = json.loads(tiny.printed("results", path, "--format", "json"))
    assert {row["job"] for row in rows} == {"train-twice"}


@pytest.mark.parametrize(
    "words", [["results"], ["figure"], ["report"], ["export", "a.npz", "--run"]]
)
def test_a_study_that_is_not_known_is_asked_for_in_one_line(words, twice, capfd):
    assert cli.main([*words, str(twice[1])]) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert "is a run of the study train-twice, which is none of the library's: give it by" in line
    assert "`--study FILE.py:NAME`" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.py:STUDY"], "`study`: there is no file nothing.py."),
        ([TWICE.replace("STUDY", "STUDIES")], "has no STUDIES."),
        ([TWICE.replace("STUDY", "TwiceConfig")], "must be a `studies.Study`; got <class"),
        ([TWICE.removesuffix(":STUDY")], "A study of your own is FILE.py:NAME, such as "),
        ([*WORDS, "--ordes", "a", "b"], "has no option --ordes. Did you mean --orders?"),
        ([*WORDS, "--orders", "a", "a"], "`orders` must name two; got a a."),
        (["results", "--study", "train-twice"], "`--study` must name a study as FILE.py:NAME; "),
    ],
)
def test_a_mistake_about_a_study_is_one_line(words, message, tmp_path, capfd):
    assert cli.main([*words, "--out", str(tmp_path)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line


def test_a_file_that_is_no_python_is_named_with_its_line(tmp_path, capfd):
    file = tmp_path / "mine.py"
    file.write_text("import jaxlth\n1 / 0\n")
    assert cli.main([f"{file}:STUDY"]) == 2
    assert "mine.py:2 raises ZeroDivisionError: division by zero." in capfd.readouterr().err


def test_a_study_of_a_name_that_is_taken_is_refused(tmp_path, capfd):
    file = tmp_path / "mine.py"
    file.write_text(
        "import dataclasses\nfrom jaxlth.studies.imp import STUDY as IMP\n"
        "STUDY = dataclasses.replace(IMP)\nLIST = dataclasses.replace(IMP, name='list')\n"
    )
    assert cli.main([f"{file}:STUDY"]) == 2
    assert cli.main([f"{file}:LIST"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "jaxlth: Two studies have the name imp; rename one."
    assert lines[1] == "jaxlth: A study has the name list, which is another command's."
    assert "list" not in STUDIES


def test_an_error_of_a_study_is_its_own_and_what_was_stored_is_kept(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import dataclasses\nfrom jaxlth.studies.imp import STUDY as IMP\n"
        "def run(lab, config):\n    yield from IMP.run(lab, config)\n    {}['nothing']\n"
        "STUDY = dataclasses.replace(IMP, name='mine', run=run)\n"
    )
    words = ["--model", "mlp", "--hidden", "8", "--steps", "20", "--batch-size", "50"]
    words += ["--levels", "0", "--replicates", "1", "--out", str(tmp_path / "runs")]
    with pytest.raises(KeyError, match="nothing") as caught:
        cli.main([f"{file}:STUDY", *words])
    assert caught.value.__notes__ == [f"{file}:5 raised this; what was stored before it is kept."]
    assert tiny.only_run(tmp_path / "runs").has("level_00/ticket/replicate_0")


# From Python.


def twice_from_python(out, **fields):
    model = ModelConfig(name="mlp", hidden=(8,))
    experiment = studies.Experiment(model=model, data="moons", steps=20, batch_size=50)
    return studies.function(train_twice.STUDY)(
        experiment, out=str(out), progress=False, replicates=1, **fields
    )


def test_a_study_is_a_function_like_those_of_the_library(twice, tmp_path):
    _, path = twice
    function = studies.function(train_twice.STUDY)
    assert function.__name__ == "train_twice"
    assert "orders" in inspect.signature(function).parameters
    assert "Names of the two data orders" in function.__doc__
    results = twice_from_python(tmp_path)
    assert results.path.name == path.name
    assert "Two orders lead" in results.summary()
    assert results.plot().axes
    opened = studies.open(results.path, study=train_twice.STUDY)
    assert opened.summary() == results.summary()
    network = "order_b/network/replicate_0"
    runs = [store.open_readonly(each) for each in (path, results.path)]
    tiny.assert_same(*(run.load(network, "network") for run in runs))


def test_mistakes_about_a_study_in_python_say_what_is_expected(twice):
    with pytest.raises(TypeError, match="^`study` must be a `studies.Study`; got 'imp'"):
        studies.function("imp")
    with pytest.raises(ValueError, match=r"`--study FILE.py:NAME`, or studies.open\(path, study="):
        studies.open(twice[1])
    with pytest.raises(ValueError, match="is a run of the study train-twice; `study` is imp"):
        studies.open(twice[1], study=STUDIES["imp"])
    with pytest.raises(ValueError, match="^`train_twice` has no argument `order`. Did you mean"):
        twice_from_python("runs", order=("a", "b"))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"name": "Mine"}, ValueError, "A study's `name` must be small letters and digits, with"),
        ({"name": "a/b"}, ValueError, "got 'a/b'"),
        (
            {"Config": dict},
            TypeError,
            "must be a class on `studies.StudyConfig`; got <class 'dict'",
        ),
        ({"Config": None}, TypeError, "got None"),
    ],
)
def test_a_study_of_wrong_parts_is_refused(changed, error, message):
    parts = {field.name: getattr(train_twice.STUDY, field.name) for field in fields(Study)}
    with pytest.raises(error, match=re.escape(message)):
        Study(**(parts | changed))


def fields(cls):
    return dataclasses.fields(cls)


# Early-bird tickets.


def test_the_early_bird_is_the_first_mask_that_has_settled(early):
    text, path = early
    run = store.open_readonly(path)
    for replicate in range(1):
        step = run.record(f"level_00/masks/replicate_{replicate}")["ticket_step"]
        ticket = f"level_01/ticket/replicate_{replicate}"
        assert run.record(ticket)["start_step"] == step
        networks = {
            s: run.load(f"step_{s}/state/replicate_{replicate}", "network") for s in range(3, 24, 3)
        }
        by_step = {s: largest(network["params"]) for s, network in networks.items()}
        gaps = {s: differing(by_step[s], by_step[s - 3]) for s in list(by_step)[1:]}
        settled = [s for s in list(gaps)[1:] if max(gaps[s], gaps[s - 3]) < 0.2]
        assert step == settled[0]
        assert tiny.same(run.load(ticket, "mask"), by_step[step])
        end = run.load(f"level_00/ticket/replicate_{replicate}", "network")["params"]
        last = run.load(f"level_01/last-mask/replicate_{replicate}", "mask")
        assert tiny.same(last, largest(end))
        stored = run.load(f"level_00/masks/replicate_{replicate}", "distances")
        np.testing.assert_allclose(np.diagonal(stored["distances"], 1), list(gaps.values()))
    assert "The mask settles (distances below 0.2) in 1 of 1 trainings" in text
    assert "early-bird ticket" in text


def largest(params):
    """Return the mask of the 30 % of the weights that are largest."""
    dense = masks.dense(params)
    values = masks.kept_values(jax.tree.map(np.abs, params), dense)
    least = np.sort(values)[-round(0.3 * len(values))]
    return jax.tree.map(lambda w, keep: None if keep is None else np.abs(w) >= least, params, dense)


def differing(a, b):
    different = [x != y for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]
    return sum(map(np.sum, different)) / sum(map(np.size, different))


def test_the_tickets_of_the_early_bird_are_read_and_exported(early, tmp_path):
    _, path = early
    study = code.load(EARLY_BIRD, setting="study")
    results = studies.open(path, study=study)
    ticket, control = results.ticket(), results.ticket(control="last-mask")
    assert masks.density(ticket.mask) == pytest.approx(0.3, abs=1e-3)
    tiny.assert_same(ticket.network, control.network)
    tiny.assert_same(results.ticket(level=0).mask, masks.dense(ticket.network.params))
    assert results.trained().params.keys() == ticket.network.params.keys()
    assert {"mask-distance", "mask-pairs"} == set(study.figures.kinds)
    assert all(results.plot(kind).axes for kind in study.figures.kinds)
    file = tmp_path / "ticket.safetensors"
    tiny.printed("export", file, "--run", path, "--study", EARLY_BIRD)
    tiny.assert_same(store.load_ticket(file).mask, ticket.mask)


def test_without_a_settled_mask_there_is_no_ticket(tmp_path):
    text = tiny.printed(EARLY_BIRD, *EARLY, "--threshold", "1e-6", "--out", tmp_path)
    assert "The mask settles (distances below 1e-06) in 0 of 1 trainings." in text
    assert not list(tmp_path.rglob("level_01"))


def test_a_killed_study_goes_on_to_the_same_bits(early, tmp_path, monkeypatch, capfd):
    _, path = early
    stop = iter([True])

    def save(self, artifact, *rest, saved=store.Run.save):
        saved(self, artifact, *rest)
        if artifact.startswith("step_12/") and next(stop, False):
            os.kill(os.getpid(), signal.SIGTERM)

    words = [EARLY_BIRD, *EARLY, "--out", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(store.Run, "save", save)
        assert cli.main(words) == 130
    assert "the same command goes on from there." in capfd.readouterr().err
    assert not tiny.only_run(tmp_path).has("level_00/ticket/replicate_0")
    assert list(tmp_path.rglob("step_12"))
    assert not list(tmp_path.rglob("step_21"))
    tiny.printed(*words)
    assert content(tiny.only_run(tmp_path)) == content(store.open_readonly(path))


def content(run):
    """Return records and weights of a run, which are compared bit by bit."""
    records = {name: json.dumps(record | {"seconds": 0}) for name, record in run.records()}
    trees = {
        name: [leaf.tobytes() for leaf in jax.tree.leaves(run.load(name, "network"))]
        for name in records
        if "/masks/" not in name
    }
    return records, trees


# The page.


def test_the_page_shows_what_the_example_has():
    text = (ROOT / "experiments" / "early_bird.py").read_text()
    blocks = re.findall(r"```python file=experiments/early_bird.py\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) > 3
    assert all(block in text for block in blocks)


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.syspath_prepend(str(tmp_path))
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines():
        assert cli.main(shlex.split(line)[1:]) == 0
    before = tiny.times(tmp_path / "runs")
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "page.py").write_text(block)
    names = runpy.run_path(str(tmp_path / "page.py"))
    assert names["ticket"].mask
    assert tiny.times(tmp_path / "runs") == before  # the same run as the command's
    assert "early-bird ticket" in capsys.readouterr().out
    assert store.load_ticket(tmp_path / "ticket.safetensors").metadata["level"] == 1
