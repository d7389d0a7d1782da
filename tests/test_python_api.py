"""Studies from Python: the same code, folder and bits as the command."""

import asyncio
import copy
import dataclasses
import inspect
import os
import pathlib
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import types

import buckets  # noqa: F401  # makes pail:// known
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import rich.console
import tiny
import train_twice
from matplotlib.figure import Figure

import jaxlth
from jaxlth import cli, masks, store, studies
from jaxlth.models import ModelConfig
from jaxlth.process import signals
from jaxlth.studies import STUDIES, functions, progress, running
from jaxlth.studies.imp import report
from jaxlth.supermasks import SupermaskRule
from jaxlth.training import OptimizerConfig, TrainingConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]
MLP = ModelConfig(name="mlp", hidden=(8,))
SHORT = {"model": MLP, "data": "digits", "steps": 20, "batch_size": 50}
EXPERIMENT = studies.Experiment(**SHORT)
FIELDS = {"levels": 2, "replicates": 1, "controls": []}
WORDS = [*tiny.COMMAND[:-1], "--levels", "2", "--controls"]  # the command of the same run
HANDLED = (*signals.SIGNALS, signal.SIGALRM)


def imp(out, experiment=EXPERIMENT, **fields):
    return studies.imp(experiment, out=str(out), **({"progress": False} | FIELDS | fields))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return imp(tmp_path_factory.mktemp("runs"))


def test_settings_of_settings_are_given_as_such():
    rule = SupermaskRule(method="edge-popup")
    fields = {"supermask": rule, "densities": [0.5]}
    config = functions.study_config(STUDIES["train-supermasks"], EXPERIMENT, fields)
    assert config.supermask == rule
    assert config.densities == (0.5,)


def assert_same_bits(one, other):
    tiny.assert_same(one.ticket(), other.ticket())
    tiny.assert_same(one.trained(), other.trained())


# ---- functions


def test_every_study_has_a_function_with_all_fields_of_its_config():
    for name, study in STUDIES.items():
        function = getattr(studies, name.replace("-", "_"))
        assert isinstance(function, types.FunctionType)
        fields = {field.name for field in dataclasses.fields(study.Config)}
        of_experiment = {"name", "data", "model", "training", "optimizer", "exclude", "seed"}
        of_experiment |= {"loss", "error", "initial", "initial_mask"}
        assert fields - of_experiment <= set(inspect.signature(function).parameters)
        assert all(f"  {field}: " in function.__doc__ for field in fields - of_experiment)
        assert "--" not in function.__doc__


def test_the_module_of_a_study_is_imported_beside_its_function():
    assert report.find.__module__ == "jaxlth.studies.imp.report"
    assert sys.modules["jaxlth.studies.imp"] is not studies.imp


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"lvels": 2}, ValueError, "no argument `lvels`. Did you mean `levels`?"),
        ({"data": "mnist"}, ValueError, "`data` is part of the experiment"),
        ({"levels": "many"}, TypeError, "`levels` must be of kind int; got 'many'."),
        ({"controls": ["randm"]}, ValueError, "Did you mean 'random'?"),
        ({"checkpoint_seconds": 0}, ValueError, "`checkpoint_seconds` must be above 0; got 0."),
        ({"devices": 7}, ValueError, "`devices` must be 2, as JAX is in use"),
    ],
)
def test_a_wrong_argument_is_named(tmp_path, fields, error, says):
    jax.devices()
    with pytest.raises(error, match=re.escape(says)) as raised:
        imp(tmp_path, **fields)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parts", "error", "says"),
    [
        (
            {"model": object()},
            TypeError,
            "`model` must be a name, a `ModelConfig`, a `models.Model`",
        ),
        ({"optimizer": "sgd"}, TypeError, "`optimizer` must be an `OptimizerConfig` or an `optax."),
        ({"model": "lenet"}, ValueError, "Did you mean 'lenet-300-100'?"),
        ({"epochs": 2}, ValueError, "give one."),
        ({"batch_size": 0}, ValueError, "`batch_size` must be above 0; got 0."),
    ],
)
def test_a_wrong_part_of_an_experiment_is_named(parts, error, says):
    with pytest.raises(error, match=re.escape(says)):
        studies.Experiment(**SHORT | parts)


def test_numbers_given_besides_a_training_win_and_those_of_numpy_are_the_same_run():
    training = TrainingConfig(epochs=3, batch_size=5, patience=1)
    config = studies.Experiment(model=MLP, data="digits", training=training).config
    assert (config.training.epochs, config.training.batch_size) == (3.0, 5)
    shared = {"model": MLP, "data": "digits", "training": training}
    given = studies.Experiment(**shared, steps=np.int64(7), batch_size=np.int32(9)).config
    assert (given.training.steps, given.training.batch_size, given.training.patience) == (7, 9, 1)
    assert type(given.training.steps) is int


# ---- one run with the command


def test_python_and_the_command_have_one_folder_and_train_nothing_twice(tmp_path):
    results = imp(tmp_path, levels=1)
    before = tiny.times(tmp_path)
    tiny.printed(*WORDS, "--out", tmp_path)
    assert tiny.only_run(tmp_path).path == results.path
    assert before.items() <= tiny.times(tmp_path).items()
    assert len(tiny.times(tmp_path)) == len(before) + 1
    after = tiny.times(tmp_path)
    assert len(imp(tmp_path, levels=3).table()) == 4
    assert after.items() <= tiny.times(tmp_path).items()


def test_python_and_the_command_train_to_the_same_bits(results, tmp_path):
    tiny.printed(*WORDS, "--out", tmp_path)
    assert_same_bits(studies.open(tiny.only_run(tmp_path).path), results)


# ---- results


def test_results_read_the_run(results):
    table = results.table()
    pd.testing.assert_frame_equal(table, store.table([results.path]))
    assert list(table["level"]) == [0, 1, 2]
    assert set(results.curves()["unit"]) == set(table["unit"])
    assert tiny.printed("results", str(results.path)).split() == results.summary(width=80).split()
    assert "imp-digits-mlp-8" in repr(results)
    assert "3 rows" in repr(results)
    assert "64 %" in results._repr_html_()
    assert studies.open(str(results.path)) == results


def test_a_run_that_is_deleted_since_is_told_in_a_line(results, tmp_path):
    path = shutil.copytree(results.path, tmp_path / "run")
    opened = studies.open(path)
    shutil.rmtree(path)
    gone = f"There is no folder {path}, or none any more."
    assert repr(opened) == f"<Results of imp in {path}: {gone}>"
    assert f">{gone}</pre>" in opened._repr_html_()
    readers = (opened.table, opened.curves, opened.summary, opened.plot, opened.ticket)
    for read in (*readers, opened.trained, lambda: opened.report(tmp_path / "page.html")):
        with pytest.raises(store.StoreError, match=f"^{re.escape(gone)}$"):
            read()


def test_figures_are_drawn_by_kind(results):
    assert isinstance(results.plot(), Figure)
    assert isinstance(results.plot("training", levels=[0, 2]), Figure)
    with pytest.raises(ValueError, match="`kind` has no value 'acuracy'.*Known: accuracy, train"):
        results.plot("acuracy")
    with pytest.raises(ValueError, match="`levels` has no effect on the kind accuracy"):
        results.plot(levels=(1,))


def test_tickets_are_named_by_level_or_closest_density(results):
    last, named = results.ticket(), results.ticket(level=1)
    assert masks.kept(last.mask) < masks.kept(named.mask) < masks.size(named.mask)
    tiny.assert_same(results.ticket(density=0.82), named)
    tiny.assert_same(results.ticket(level=2), last)
    start = results.ticket(level=0).network.params["Dense_0"]["kernel"]
    np.testing.assert_array_equal(last.network.params["Dense_0"]["kernel"], start)
    trained = results.trained().params["Dense_0"]["kernel"]
    keep = last.mask["Dense_0"]["kernel"]
    assert np.all(trained[~keep] == 0)
    assert not np.array_equal(trained[keep], start[keep])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"density": 0.3}, "within a tenth of one of a level: 1, 0.801, 0.64; got 0.3."),
        ({"level": 9}, "There is no level 9 of the ticket"),
        ({"level": 1, "density": 0.8}, "`level` and `density` both say"),
        ({"control": "random"}, "`control` has no value 'random'"),
        ({"method": "snip"}, "its tickets are named by `level` and `control`."),
        ({"replicate": 3}, "There is no replicate 3"),
    ],
)
def test_a_ticket_that_there_is_not_is_refused(results, arguments, says):
    for read in (results.ticket, results.trained):
        with pytest.raises(ValueError, match=re.escape(says)):
            read(**arguments)


def test_studies_are_copied_and_those_of_the_table_pickled_by_name(results):
    own = copy.deepcopy(train_twice.STUDY)
    assert own is not train_twice.STUDY
    assert vars(own).keys() == vars(train_twice.STUDY).keys()
    assert own.Config is train_twice.STUDY.Config
    assert copy.copy(own).name == "train-twice"
    assert copy.deepcopy(results.study) is results.study


def test_results_are_pickled(results):
    again = pickle.loads(pickle.dumps(results))
    assert again.study is results.study
    assert again.path == results.path
    pd.testing.assert_frame_equal(again.table(), results.table())


@pytest.mark.parametrize("level", [1.0, "1", True])
def test_a_level_that_is_no_whole_number_is_refused(results, level):
    for read in (results.ticket, results.trained):
        with pytest.raises(TypeError, match=f"`level` must be a whole number; got {level!r}"):
            read(level=level)


def test_tickets_of_methods_are_named_by_method_and_density(tmp_path):
    settings = {"replicates": 1, "out": str(tmp_path), "progress": False}
    one = studies.prune_early(EXPERIMENT, scores=["magnitude"], densities=(0.5,), **settings)
    assert float(masks.density(one.ticket().mask)) == pytest.approx(0.5, abs=0.01)
    assert one.trained().params.keys() == one.ticket().network.params.keys()
    ticket, settings = one.ticket(), settings | {"densities": [0.5]}
    two = studies.prune_early(EXPERIMENT, scores=["magnitude", "random"], **settings)
    says = "`method` must be given: .* has magnitude-before-once, random-b"
    with pytest.raises(ValueError, match=says):
        two.ticket()
    tiny.assert_same(two.ticket(method="magnitude-before-once", density=0.5), ticket)


@pytest.mark.parametrize(
    ("study", "method", "fields"),
    [
        (studies.prune_early, "magnitude-before-once", {"scores": ["magnitude"]}),
        (studies.dynamic, "static", {"methods": ["static"]}),
        (studies.train_supermasks, "edge-popup", {"supermask": SupermaskRule(method="edge-popup")}),
    ],
)
@pytest.mark.parametrize("shown", [0.05, 0.013])  # no whole numbers of 592 weights
def test_tickets_are_named_by_the_density_that_tables_show(
    study, method, fields, shown, tmp_path, capsys
):
    fields = fields | {"densities": (shown,), "replicates": 2, "progress": False}
    made = study(EXPERIMENT, out=str(tmp_path), **fields)
    ticket = made.ticket(method=method, density=shown, replicate=1)
    kept = float(masks.density(ticket.mask))
    assert kept != shown
    assert kept == pytest.approx(shown, rel=0.05)
    tiny.assert_same(made.ticket(method=method, replicate=1), ticket)
    trained = made.trained(method=method, density=shown, replicate=1)
    tiny.assert_same(made.trained(method=method, replicate=1), trained)
    words = ["--run", str(made.path), "--method", method, "--density", f"{shown:g}"]
    for weights in ("start", "trained"):
        file = tmp_path / f"{weights}.npz"
        assert cli.main(["export", str(file), *words, "--weights", weights]) == 0
    exported = store.load_ticket(tmp_path / "trained.npz")
    tiny.assert_same(exported.params, made.trained(method=method, density=shown).params)
    capsys.readouterr()
    with pytest.raises(ValueError, match=f"There is no density 0.3 of {method} of .*{shown:g}"):
        made.trained(method=method, density=0.3)


def test_a_study_without_tickets_says_so(results):
    without = dataclasses.replace(results, study=STUDIES["instability"])
    for read in (without.ticket, without.trained):
        with pytest.raises(ValueError, match="^Runs of the study instability have no tickets.$"):
            read()


def test_runs_at_a_bucket_are_opened_by_address(tmp_path, monkeypatch):
    monkeypatch.setenv("PAIL", str(tmp_path / "pail"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = imp("pail://bucket/runs", levels=1)
    assert_same_bits(studies.open(f"pail://bucket/runs/{made.path.name}"), made)


def test_a_run_of_the_first_edition_is_told_from_others(tmp_path):
    with store.open_run(tmp_path, EXPERIMENT.config, job="early", label="digits") as run:
        path = run.path
    with pytest.raises(ValueError, match="is a run of the first edition, which this one does not"):
        studies.open(path)


@pytest.mark.parametrize(
    ("name", "fields", "rows"),
    [
        ("instability", {"twins": 2, "points": 3, "replicates": 1}, 5),
        pytest.param("train_supermasks", {"replicates": 1}, 1, marks=pytest.mark.slow),
    ],
)
def test_other_studies_are_called_alike(tmp_path, name, fields, rows):
    made = getattr(studies, name)(EXPERIMENT, out=tmp_path, progress=False, **fields)
    assert len(made.table()) == rows
    assert made.summary().endswith(".")


def test_a_name_makes_another_run_and_must_be_one_of_a_folder(tmp_path):
    made = imp(tmp_path, studies.Experiment(**SHORT, name="a-1"), levels=0)
    assert made.path.name.startswith("imp-a-1-")
    with pytest.raises(ValueError, match="`name` must be letters, digits"):
        studies.Experiment(**SHORT, name="first try")


# ---- beside other work in the process


def test_a_thread_an_event_loop_and_other_settings_of_jax_change_no_bit(results, tmp_path):
    made = []
    thread = threading.Thread(target=lambda: made.append(imp(tmp_path / "thread")))
    thread.start()
    thread.join()

    async def within():
        return imp(tmp_path / "loop")

    made.append(asyncio.run(within()))
    changed = {"jax_enable_x64": True, "jax_default_matmul_precision": "bfloat16"}
    before = {name: getattr(jax.config, name) for name in changed}
    try:
        for name, value in changed.items():
            jax.config.update(name, value)
        made.append(imp(tmp_path / "x64"))
        assert_same_bits(made[-1], results)  # reads and draws under them
        assert jnp.ones(1).dtype == np.float64
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    for other in made:
        assert_same_bits(other, results)


def test_without_progress_nothing_is_printed(tmp_path, capfd):
    imp(tmp_path, levels=1)
    imp(tmp_path, levels=1)
    diverging = studies.Experiment(**SHORT, optimizer=OptimizerConfig(optimizer="sgd", lr=1e30))
    imp(tmp_path, diverging, levels=0)
    assert capfd.readouterr() == ("", "")
    imp(tmp_path, levels=2, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("level 2 done, 3/3 networks")


def test_ctrl_c_within_a_level_saves_and_the_next_call_goes_on_to_the_same_bits(
    tmp_path, monkeypatch
):
    before = [signal.getsignal(number) for number in HANDLED]
    tell, sent = running._tell_failures, []

    def interrupted(event, *rest):
        if event.step > 0 and not event.finished and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGINT))
        return tell(event, *rest)

    training = TrainingConfig(steps=20, batch_size=50, evaluate_every=5)
    experiment = studies.Experiment(model=MLP, data="digits", training=training)
    with monkeypatch.context() as patch:
        patch.setattr(running, "_tell_failures", interrupted)
        with pytest.raises(KeyboardInterrupt, match="saved in .* the same call goes on from there"):
            imp(tmp_path / "cut", experiment, levels=1)
    assert sent
    assert [signal.getsignal(number) for number in HANDLED] == before
    cut, whole = (imp(tmp_path / name, experiment, levels=1) for name in ("cut", "whole"))
    assert_same_bits(cut, whole)


def test_a_timer_of_the_program_goes_on(tmp_path):
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        imp(tmp_path, levels=0)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 500
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def failing(study, call):
    """Return a study that calls a function once its first network is stored."""

    def run(lab, config):
        for event in study.run(lab, config):
            yield event
            if event.finished:
                call()

    return studies.function(dataclasses.replace(study, run=run))


def test_a_study_that_raises_loses_nothing_stored(results, tmp_path):
    def fail():
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        failing(STUDIES["imp"], fail)(EXPERIMENT, out=str(tmp_path), progress=False, **FIELDS)
    stored = tiny.times(tmp_path)
    assert len(stored) == 1
    assert_same_bits(imp(tmp_path), results)
    assert stored.items() <= tiny.times(tmp_path).items()


def test_a_study_may_be_called_inside_a_running_one(results, tmp_path):
    inner = []
    nested = failing(STUDIES["imp"], lambda: inner.append(imp(tmp_path / "inner")))
    outer = nested(EXPERIMENT, out=str(tmp_path / "outer"), progress=False, **FIELDS)
    for other in (outer, inner[-1]):
        assert_same_bits(other, results)


def test_a_notebook_shows_a_bar_without_ipywidgets(monkeypatch):
    shown = []
    output = types.SimpleNamespace(update=shown.append)
    display = types.SimpleNamespace(display=lambda cell, display_id: shown.append(cell) or output)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    event = progress.Event(("level_01/ticket/replicate_0",), 10, 20, 10, (), 2)
    console = rich.console.Console(force_jupyter=True)
    with progress.shown(console, finished=1) as show:
        show(event)
    assert repr(shown[1]) == "1/3 networks, level 1 ticket 0"
    assert '<progress value="0.500">' in shown[1]._repr_html_()
    assert "<progress" not in shown[-1]._repr_html_()


def test_progress_of_a_study_that_may_skip_networks_tells_bounds(monkeypatch):
    seconds = iter((1.0, 61.0))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(seconds))
    pace = progress._Pace(0, may_skip=True)
    pace.see(progress.Event(("step_9/twin_0/dense/replicate_0",), 0, 100, 0, (), 4))
    pace.see(progress.Event(("step_9/twin_0/dense/replicate_0",), 100, 100, 100, ({},), 3))
    assert pace.text() == "1 of at most 4 networks, 2 steps/s, at most 3 min left"
    skips = {name: study.may_skip(study.Config()) for name, study in STUDIES.items()}
    assert [name for name, may_skip in skips.items() if may_skip] == ["separation"]
    imp_config = STUDIES["imp"].Config
    assert STUDIES["imp"].may_skip(imp_config(dilations=(0.5,)))
    assert STUDIES["imp"].may_skip(imp_config(stop_lost_accuracy=0.1))
    assert STUDIES["instability"].may_skip(STUDIES["instability"].Config(search="first"))


def test_the_devices_that_a_program_has_chosen_stay(monkeypatch):
    updates = []
    monkeypatch.setattr(jax.config, "update", lambda *change: updates.append(change))
    running._use_cores(None)  # two, of `conftest`
    assert updates == []
    running._use_cores(3)
    assert updates == [("jax_num_cpu_devices", 3)]


def test_a_fork_of_a_process_that_runs_studies_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_started_in", {os.getpid() + 1})
    with pytest.raises(ValueError, match=r'a fork .* start it by .*get_context\("spawn"\)'):
        imp(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_more_devices_than_a_machine_can_start_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="`devices` must be at most 1024, .*; got 1025"):
        running._use_cores(1025)
    monkeypatch.setattr(running, "MOST_DEVICES", 1)  # two, of `conftest`
    with pytest.raises(ValueError, match=r"\$JAX_NUM_CPU_DEVICES must be at most 1, .*; got 2"):
        running._use_cores(None)


# ---- the package


def test_public_modules_are_attributes_and_imported_late():
    program = (
        "import sys, jaxlth; before = 'jax' in sys.modules; "
        "print(before, {name for name in dir(jaxlth)} >= set(jaxlth._MODULES), "
        "jaxlth.masks.__name__, jaxlth.studies.imp.__name__)"
    )
    told = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert told.split() == ["False", "True", "jaxlth.masks", "imp"]
    with pytest.raises(AttributeError, match="no attribute 'mask'"):
        jaxlth.mask  # noqa: B018


WRONG_KINDS = {
    "density": (lambda results: results.trained(density="0.2"), "`density` must be a number"),
    "levels": (lambda results: results.plot("training", levels=1), "`levels` must be a list of"),
    "tolerance": (lambda results: results.summary(tolerance="a"), "`tolerance` must be a number"),
    "width": (lambda results: results.summary(width="80"), "`width` must be a whole number"),
    "others": (lambda results: results.report("a.html", others=results), "`others` must be a list"),
    "other": (lambda results: results.report("a.html", others=["a"]), "`others` must be a list"),
}


@pytest.mark.parametrize("case", WRONG_KINDS)
def test_arguments_of_results_of_another_kind_are_told_in_a_line(case, finished):
    call, words = WRONG_KINDS[case]
    results = studies.open(finished)
    with pytest.raises(TypeError, match=words):
        call(results)
    with pytest.raises(ValueError, match="`width` must be above 0; got 0"):
        results.summary(width=0)
