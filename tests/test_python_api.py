"""Studies from Python: the same code and the same runs as the command line, in any process."""

import asyncio
import inspect
import json
import os
import pathlib
import re
import signal
import sys
import threading
import types

import buckets
import jax
import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
import train_twice
from rich.console import Console
from tiny import printed, same, times

import jaxlth
from jaxlth import masks, store, studies
from jaxlth.models import ModelConfig
from jaxlth.studies import progress, running
from jaxlth.studies.train import Progress
from jaxlth.training import TrainingConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = studies.Experiment(
    model=ModelConfig(name="mlp", hidden=(8,)), data="digits", steps=20, batch_size=50
)
WORDS = ["imp", "--model", "mlp", "--hidden", "8", "--steps", "20", "--batch-size", "50"]
WORDS += ["--replicates", "1"]
FEW = {"levels": 2, "replicates": 1, "controls": ["random"]}


def imp(out, experiment=TINY, **fields):
    return studies.imp(experiment, out=str(out), progress=False, **FEW | fields)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return imp(tmp_path_factory.mktemp("runs"))


# One run for both.


def test_a_command_continues_what_python_began_and_the_other_way_round(tmp_path):
    begun = imp(tmp_path, levels=1)
    before = times(tmp_path)
    printed(*WORDS, "--levels", "2", "--controls", "random", "--out", tmp_path)
    between = times(tmp_path)
    assert before.items() < between.items()
    whole = imp(tmp_path, levels=3)
    assert between.items() < times(tmp_path).items()
    assert whole.path == begun.path
    assert sorted(set(whole.table()["level"])) == [0, 1, 2, 3]


def test_the_summary_is_what_the_command_prints(results):
    text = printed("results", results.path)
    assert results.summary(width=80).split() == text.split()


def test_every_study_has_a_function_with_the_fields_of_its_config():
    for study in studies.STUDIES.values():
        function = getattr(studies, study.name.replace("-", "_"))
        parameters = inspect.signature(function).parameters
        own = {field.name for field in study.Config.__dataclass_fields__.values()}
        own -= {field.name for field in TINY.config.__dataclass_fields__.values()} - {"replicates"}
        assert own <= parameters.keys()
        assert all(f"\n  {name}: " in function.__doc__ for name in own)
    assert inspect.signature(studies.imp).parameters["levels"].default == 12
    from jaxlth.studies.imp import report  # the module is still there

    assert inspect.ismodule(report)
    assert callable(studies.imp)


@pytest.mark.parametrize(
    ("name", "fields", "rows"),
    [
        ("prune_early", {"densities": [0.2], "replicates": 1}, 2),
        ("instability", {"twins": 2, "points": 3, "replicates": 1}, 5),
        ("train_supermasks", {"replicates": 1}, 1),
    ],
)
def test_other_studies_are_called_alike(tmp_path, name, fields, rows):
    found = getattr(studies, name)(TINY, out=tmp_path, progress=False, **fields)
    assert len(found.table()) == rows
    assert found.summary().endswith(".")


# Any process.


def test_without_progress_nothing_is_printed(tmp_path, capfd):
    imp(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_on_stderr(tmp_path, capfd):
    studies.imp(TINY, out=tmp_path, **FEW)
    out, err = capfd.readouterr()
    assert out == ""
    assert "level 2 done" in err


def test_a_study_runs_within_an_event_loop_and_from_a_thread(tmp_path, results):
    async def within():
        return imp(tmp_path / "loop")

    made = [asyncio.run(within())]
    thread = threading.Thread(target=lambda: made.append(imp(tmp_path / "thread")))
    handler = signal.getsignal(signal.SIGINT)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is handler
    for other in made:
        assert same(other.trained().params, results.trained().params)


def test_what_else_a_process_does_with_jax_changes_nothing(tmp_path, results):
    with jax.enable_x64(True), jax.default_matmul_precision("bfloat16"):
        before = jax.numpy.ones(3, float).dtype
        other = imp(tmp_path)
        assert jax.numpy.ones(3, float).dtype == before == np.float64
    assert same(other.trained().params, results.trained().params)


def test_a_study_may_call_another_one(tmp_path, monkeypatch):
    """What runs in the middle of a study has its own run, signals and settings."""
    inner = []
    tell = running._tell_failures

    def with_a_study_within(*arguments):
        if not inner:
            inner.append(None)
            inner[0] = imp(tmp_path / "inner", levels=0)
        return tell(*arguments)

    monkeypatch.setattr(running, "_tell_failures", with_a_study_within)
    outer = imp(tmp_path / "outer", levels=1)
    assert len(inner[0].table()) == 1
    assert len(outer.table()) == 3


def test_ctrl_c_saves_and_the_same_call_goes_on_to_the_same_bits(tmp_path, monkeypatch, results):
    tell, sent = running._tell_failures, []

    def interrupted(event, *rest):
        if event.step > 0 and not event.finished and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGINT))
        return tell(event, *rest)

    monkeypatch.setattr(running, "_tell_failures", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    longer = {"evaluate_every": 5}
    experiment = studies.Experiment(
        model=TINY.model, data="digits", training=TrainingConfig(steps=20, batch_size=50, **longer)
    )
    with pytest.raises(KeyboardInterrupt, match="the same call goes on from there"):
        imp(tmp_path / "cut", experiment)
    assert sent
    assert signal.getsignal(signal.SIGINT) is handler
    gone_on, whole = (imp(tmp_path / name, experiment) for name in ("cut", "whole"))
    assert same(gone_on.trained().params, whole.trained().params)


def test_a_study_that_raises_in_the_middle_loses_nothing_stored(tmp_path, monkeypatch):
    monkeypatch.setitem(studies.STUDIES, "train-twice", train_twice.STUDY)
    train = studies.of_study(train_twice.STUDY)
    monkeypatch.setattr(train_twice, "comparison", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(TINY, out=tmp_path, progress=False)
    stored = times(tmp_path)
    assert len(stored) == 2
    monkeypatch.undo()
    monkeypatch.setitem(studies.STUDIES, "train-twice", train_twice.STUDY)
    found = train(TINY, out=tmp_path, progress=False)
    assert stored.items() < times(tmp_path).items()
    assert len(found.table()) == 3


def test_a_notebook_shows_a_bar_and_what_is_left(monkeypatch):
    shown = []
    output = types.SimpleNamespace(update=shown.append)
    module = types.ModuleType("IPython.display")
    module.display = lambda cell, display_id: shown.append(cell) or output
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    console = Console(force_jupyter=True)
    name = ("level_01/ticket/replicate_0",)
    with progress.shown(console, finished=1) as show:
        show(Progress(name, 10, 20, 10, (), 3))
        show(Progress(name, 20, 20, 0, ({},), 2))
    assert [cell.text.split(",")[0] for cell in shown] == [
        *("compiling", "1/4 networks", "2/4 networks", "2/4 networks")
    ]
    assert "<progress" in shown[1]._repr_html_()
    assert "<progress" not in shown[-1]._repr_html_()


# Results.


def test_results_read_tables_figures_and_networks(results):
    table, curves = results.table(), results.curves()
    assert isinstance(table, pd.DataFrame)
    assert table.groupby(["level", "control"]).size().to_dict() == {
        **{(0, "ticket"): 1, (1, "random"): 1, (1, "ticket"): 1},
        **{(2, "random"): 1, (2, "ticket"): 1},
    }
    assert set(curves["unit"]) == set(table["unit"])
    for kind in (None, "accuracy", "train-accuracy"):
        assert isinstance(results.plot(kind), matplotlib.figure.Figure)
    assert "imp" in repr(results)
    assert results.path.name in results._repr_html_()


def test_a_ticket_is_named_by_level_or_by_the_closest_density(results):
    last, named = results.ticket(), results.ticket(level=2)
    close = results.ticket(density=0.66)
    assert same(last, named)
    assert same(close, named)
    assert float(masks.density(named.mask)) == pytest.approx(0.64, abs=0.01)
    control = results.ticket(level=2, control="random")
    assert not same(control.mask, named.mask)
    run = store.open_readonly(results.path)
    stored = run.load("level_02/ticket/replicate_0", "network")
    assert same(results.trained(level=2).params, stored["params"])
    assert same(run.load("level_02/random/replicate_0", "mask"), control.mask)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.ticket(density=0.5), "`density` must be within a tenth of one of a level: 1,"),
        (lambda r: r.ticket(level=7), "7"),
        (lambda r: r.ticket(level=1, density=0.8), "give one"),
        (lambda r: r.ticket(control="rand"), "Did you mean 'random'?"),
        (lambda r: r.ticket(method="snip"), "`method` does not go with"),
        (lambda r: r.trained(replicate=3), "trained: 0"),
        (lambda r: r.plot("acuracy"), "Did you mean 'accuracy'?"),
        (lambda r: r.plot("accuracy", levels=[1]), "`levels` has no effect"),
        (lambda r: r.summary(tolerance=2), "`tolerance` must lie in"),
    ],
)
def test_what_a_run_does_not_have_is_refused_with_what_it_has(results, call, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        call(results)
    assert "\n" not in str(refused.value)


def test_runs_are_opened_wherever_they_are(results, tmp_path, monkeypatch):
    by_path, by_text = studies.open(results.path), studies.open(str(results.path))
    assert by_path.summary() == by_text.summary() == results.summary()
    monkeypatch.setenv("PAIL", str(tmp_path))
    assert buckets.Pail.protocol == "pail"
    with pytest.raises(store.StoreError):
        studies.open(tmp_path / "nothing")


def test_a_run_of_the_first_edition_is_told_from_others(tmp_path):
    with store.open_run(tmp_path, TINY.config, job="early", label="digits") as run:
        path = run.path
    with pytest.raises(ValueError, match="is a run of the first edition, which this one does not"):
        studies.open(path)


def test_studies_without_tickets_say_so(tmp_path):
    found = studies.instability(TINY, out=tmp_path, progress=False, twins=2, points=3, replicates=1)
    with pytest.raises(ValueError, match=r"^Runs of the study instability have no tickets\.$"):
        found.ticket()


# Arguments.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"levls": 3}, "`studies.imp` has no argument `levls`. Did you mean `levels`?"),
        ({"seed": 3}, "`seed` is part of the experiment: give it to `studies.Experiment`"),
        ({"levels": -1}, "`levels` must be at least 0"),
        ({"controls": ["randm"]}, "Did you mean 'random'?"),
        ({"checkpoint_seconds": 0}, "`checkpoint_seconds` must be above 0"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(tmp_path, fields, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        studies.imp(TINY, out=tmp_path, progress=False, **fields)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_an_experiment_takes_what_the_library_has():
    with pytest.raises(ValueError, match="Did you mean 'lenet-300-100'"):
        studies.Experiment(model="lenet", data="mnist")
    with pytest.raises(TypeError, match="`model` must be a name or a `ModelConfig`"):
        studies.Experiment(model=lambda x: x, data="mnist")
    with pytest.raises(TypeError, match="`experiment` must be a `studies.Experiment`"):
        studies.imp("mnist")
    with pytest.raises(ValueError, match="`steps` and `epochs` both"):
        studies.Experiment(model="lenet-300-100", data="mnist", steps=3, epochs=2)
    with pytest.raises(ValueError, match="`name` must be letters, digits"):
        studies.Experiment(model="lenet-300-100", data="mnist", name="first try")


def test_numbers_of_numpy_and_lists_make_the_same_run(tmp_path):
    plain = imp(tmp_path, levels=1)
    numpy = imp(tmp_path, levels=np.int64(1), controls=("random",))
    assert plain.path == numpy.path


def test_a_name_makes_another_run(tmp_path):
    named = studies.Experiment(model=TINY.model, data="digits", steps=20, batch_size=50, name="a-1")
    found = imp(tmp_path, named, levels=0)
    assert found.path.name.startswith("imp-a-1-")
    assert json.loads((found.path / "run.json").read_text())["settings"]["name"] == "a-1"


def test_public_modules_are_attributes_of_the_package():
    assert {"masks", "scores", "prune", "studies", "models", "data"} <= set(dir(jaxlth))
    assert jaxlth.studies is studies
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = jaxlth.nothing


# The example of README.


def example() -> str:
    (block,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        if "studies.Experiment" in block
    ]
    return block


def run_example(code, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "The ticket" in out or "ticket" in out
    assert re.search(r"3[23]\.\d % of the weights are kept", out)
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
    assert names["again"].path == names["results"].path


def test_the_example_of_readme_has_twelve_lines_and_runs(monkeypatch, tmp_path, capsys):
    code = example()
    assert len([line for line in code.splitlines() if line]) == 12
    assert '"mnist", steps=1000' in code
    short = code.replace('"mnist", steps=1000', '"digits", steps=20')
    run_example(short, monkeypatch, tmp_path, capsys)


@pytest.mark.data
def test_the_example_of_readme_runs_on_mnist(monkeypatch, tmp_path, capsys):
    run_example(example().replace("1000", "100"), monkeypatch, tmp_path, capsys)
