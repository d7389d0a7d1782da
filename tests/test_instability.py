"""Instability analysis: what twins are, how they compare, what a run trains, what it says."""

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import tiny
from tiny import printed, same, times

from jaxlth import cli, data, landscape, masks, store
from jaxlth import settings as settings_lib
from jaxlth.data import DataConfig, packing
from jaxlth.models import ModelConfig
from jaxlth.studies import level_artifacts, method_styles
from jaxlth.studies.config import StudyConfig
from jaxlth.studies.controls import CONTROLS
from jaxlth.studies.instability import artifacts, charts, pages
from jaxlth.studies.instability import config as instability_config
from jaxlth.studies.instability import figures as twins
from jaxlth.studies.instability import report as tables_of_twins
from jaxlth.studies.instability import run as instability
from jaxlth.studies.instability import summary as report
from jaxlth.studies.instability.comparison import LineEvaluator
from jaxlth.studies.instability.config import (
    NETWORKS as KNOWN,
)
from jaxlth.studies.instability.config import (
    InstabilityConfig,
    NetworkSpec,
    network_specs,
)
from jaxlth.studies.instability.networks import InstabilityNetworks
from jaxlth.studies.lab import Lab
from jaxlth.studies.separation import config as separation_config
from jaxlth.studies.separation.config import SeparationConfig
from jaxlth.training import OptimizerConfig, TrainingConfig

NET = ["--model", "mlp", "--hidden", "8", "--steps", "30", "--batch-size", "50"]
TINY = ["instability", *NET, "--replicates", "2", "--twins", "2", "--points", "5"]
NETWORKS = ["--networks", "dense", "ticket", "reinitialized", "synflow-mean", "snip"]
NETWORKS += ["--levels", "2", "--density", "0.2", "--rounds", "3", "--per-class", "2"]


only_run = functools.partial(tiny.only_run, job="instability")


def config(**others):
    """Return settings of a tiny analysis."""
    defaults = {
        "model": ModelConfig(name="mlp", hidden=(8,)),
        "training": TrainingConfig(steps=30, batch_size=50),
        "replicates": 1,
        "twins": 2,
        "points": 5,
    }
    return InstabilityConfig(**defaults | others)


@contextlib.contextmanager
def opened(settings, out):
    """Give the problem, and a run of these settings that is held."""
    experiment = instability.prepare(settings)
    with store.open_run(out, settings, job="instability", label="tiny") as run:
        yield experiment, run


def whole(experiment, run):
    list(
        instability.instability(
            Lab(experiment, run, checkpoint_seconds=60), experiment.prunable.config
        )
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with networks of each kind from two steps, and what the command printed."""
    out = tmp_path_factory.mktemp("finished")
    return out, printed(*TINY, *NETWORKS, "--rewind-steps", "0,10", "--out", str(out))


def test_it_prints_a_row_for_each_network_and_step(finished):
    out, said = finished
    lines = [line.split() for line in said.splitlines()]
    rows = {
        (network, step): [line for line in lines if line[:1] == [network] and step in line]
        for network in ("dense", "ticket", "reinitialised", "synflow-mean", "snip")
        for step in ("0", "10")
    }
    assert all(len(result) == 1 for result in rows.values()), rows
    assert "dense is stable from step" in said
    assert (only_run(out).path / "instability.png").exists()
    assert "on the training set are of at most 10,000 of its examples" in " ".join(said.split())


def test_called_again_it_computes_nothing_and_asked_for_more_only_that(finished, tmp_path):
    out, said = finished
    before = times(out)
    assert printed(*TINY, *NETWORKS, "--rewind-steps", "0", "10", "--out", str(out)) == said
    assert times(out) == before
    small = ["--networks", "dense", "--out", str(tmp_path)]
    printed(*TINY, *small)
    before = times(tmp_path)
    printed(*TINY, *small, "--twins", "3")
    after = times(tmp_path)
    assert {file: after[file] for file in before} == before
    new = [str(file.parent) for file in after if file not in before]
    # For each replicate a twin, two pairs, and the mean of three.
    assert len(new) == 2 * (1 + 2 + 1)


def test_the_table_has_every_twin_and_pair(finished):
    table = store.table([only_run(finished[0]).path])
    groups = 5 * 2 * 2  # networks, steps, replicates
    counts = table["kind"].value_counts()
    assert counts["twin"] == 2 * groups
    assert counts["pair"] == counts["average"] == groups
    assert counts["dense"] == 2
    assert counts["found"] == 2 * 2  # level 1, for two steps and replicates
    assert set(report.pairs(table)["compared_step"]) == {30}


def test_twins_of_one_order_are_equal_to_the_bit_and_of_others_not(tmp_path):
    with opened(config(), tmp_path) as (experiment, run):
        whole(experiment, run)
        again = InstabilityNetworks(Lab(experiment, run)).request_twin(
            NetworkSpec(0, "dense"), 0, "remaining", 0, []
        )
        again = again._replace(artifact="step_0/again/dense/replicate_0")
        list(Lab(experiment, run).train([again]))
        first, second, third = (
            run.load(unit, "network")
            for unit in (
                again.artifact,
                artifacts.twin(NetworkSpec(0, "dense"), 0, "remaining", 0),
                artifacts.twin(NetworkSpec(0, "dense"), 1, "remaining", 0),
            )
        )
    assert same(first, second)
    assert not same(second, third)


def problem_of(run):
    """Return the problem of a stored run."""
    return instability.prepare(
        settings_lib.from_dict(InstabilityConfig, store.about_run(run.path)["settings"])
    )


@pytest.mark.slow
def test_the_state_of_a_step_is_that_of_a_training_which_ends_there(tmp_path):
    """Also where the step is asked for after the dense training has ended."""
    short = config(training=TrainingConfig(steps=10, batch_size=50))
    with opened(short, tmp_path / "short") as (experiment, run):
        whole(experiment, run)
        expected = run.load(artifacts.dense(0), "network")
    with opened(config(), tmp_path / "long") as (experiment, run):
        whole(experiment, run)
    later = config(rewind_steps=(0, 10))
    before = times(tmp_path / "long")
    with opened(later, tmp_path / "long") as (experiment, run):
        whole(experiment, run)
        dataset = run.load(artifacts.snapshot(10, 0), "network")
    assert same(dataset, expected)
    after = times(tmp_path / "long")
    assert {file: after[file] for file in before} == before


def test_twins_start_where_the_dense_training_was(finished):
    """From step 10: the way to there, and the way on, are those of the stored networks."""
    run = only_run(finished[0])
    state = run.load(artifacts.snapshot(10, 1), "network")["params"]
    pair = artifacts.pair(
        InstabilityConfig(points=5), NetworkSpec(10, "dense"), (0, 1), "remaining", 1
    )
    twins = [
        run.load(artifacts.twin(NetworkSpec(10, "dense"), number, "remaining", 1), "network")[
            "params"
        ]
        for number in (0, 1)
    ]
    record = run.record(pair)
    on = np.mean([float(landscape.l2_distance(state, twin)) for twin in twins])
    assert record["l2_to_end"] == pytest.approx(on, rel=1e-5)
    assert record["l2_distance"] == pytest.approx(float(landscape.l2_distance(*twins)), rel=1e-5)
    first = InstabilityNetworks(Lab(problem_of(run), run)).state(0, 1).params
    way = float(landscape.l2_distance(first, state))
    assert record["l2_from_initialization"] == pytest.approx(way, rel=1e-5) != 0
    from_0 = run.record(
        artifacts.pair(InstabilityConfig(points=5), NetworkSpec(0, "dense"), (0, 1), "remaining", 1)
    )
    assert from_0["l2_from_initialization"] == 0.0


@pytest.mark.parametrize(
    "subject", [NetworkSpec(10, "ticket", level=2), NetworkSpec(0, "snip", density=0.2)]
)
def test_sparse_twins_and_all_between_them_stay_masked(finished, subject):
    run = only_run(finished[0])
    units = [artifacts.twin(subject, number, "remaining", 0) for number in (0, 1)]
    a, b = (run.load(unit, "network")["params"] for unit in units)
    mask = run.load(units[0], "mask")
    assert same(mask, run.load(units[1], "mask"))
    assert 0 < float(masks.density(mask)) < 1
    for alpha in landscape.alphas(5):
        point = landscape.interpolate(a, b, alpha)
        assert same(point, masks.apply(point, mask))


def test_a_pair_agrees_with_a_plain_numpy_evaluation(finished):
    out, _ = finished
    run, subject = only_run(out), NetworkSpec(0, "ticket", level=2)
    record = run.record(
        artifacts.pair(InstabilityConfig(points=5), subject, (0, 1), "remaining", 0)
    )
    a, b = (
        run.load(artifacts.twin(subject, number, "remaining", 0), "network")["params"]
        for number in (0, 1)
    )
    _, digits = data.load(DataConfig(), seed=0)
    images = ((digits.test.images - digits.mean) / digits.std).reshape(len(digits.test.labels), -1)

    def logits(params):
        hidden = np.maximum(images @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
        return hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]

    errors = []
    for alpha in np.linspace(0, 1, 5):
        point = jax.tree.map(lambda x, y, at=alpha: (1 - at) * x + at * y, a, b)
        errors.append(np.mean(logits(point).argmax(1) != digits.test.labels))
    assert record["curve"]["test_error"] == pytest.approx(errors, abs=1e-6)
    barrier = max(errors) - (errors[0] + errors[-1]) / 2
    assert record["test_instability"] == pytest.approx(barrier, abs=1e-6)
    differing = np.sum(logits(a).argmax(1) != logits(b).argmax(1))
    assert record["test_differences"] == differing

    def losses(params):
        outputs = logits(params)
        top = np.log(np.exp(outputs - outputs.max(1, keepdims=True)).sum(1)) + outputs.max(1)
        return top - outputs[np.arange(len(outputs)), digits.test.labels]

    apart = np.linalg.norm(losses(a) - losses(b))
    assert record["test_loss_l2"] == pytest.approx(apart, rel=1e-3)


def test_the_average_of_twins_is_evaluated_beside_them(finished):
    run = only_run(finished[0])
    settings = InstabilityConfig(twins=2, points=5)
    for record in (
        run.record(artifacts.averaged(settings, NetworkSpec(step, "dense"), "remaining", 0))
        for step in (0, 10)
    ):
        assert 0 <= record["test_error"] <= 1
        assert record["twins_test_error"] > 0


@pytest.mark.slow
def test_tickets_and_the_dense_network_are_those_of_imp(tmp_path):
    """Found by either command they are the same, and what imp has trained is taken over."""
    imp = ["imp", *NET, "--levels", "1", "--controls", "--rewind-step", "10", "--replicates", "1"]
    own, taken = tmp_path / "own", tmp_path / "taken"
    request = [*TINY[:-2], "--points", "3", "--replicates", "1", "--networks", "ticket"]
    request += ["--levels", "2", "--rewind-steps", "10"]
    printed(*request, "--out", str(own))
    printed(*imp, "--out", str(taken))
    result = only_run(taken, job="imp")
    printed(*request, "--out", str(taken))
    level = artifacts.level(10, 1, 0)
    assert "adopted" in only_run(taken).record(level)
    assert "adopted" not in only_run(own).record(level)
    ticket = result.load(level_artifacts.network(1, "ticket", 0), "network")
    assert same(only_run(own).load(level, "network"), ticket)
    dense = artifacts.dense(0)
    assert "adopted" in only_run(taken).record(dense)
    assert same(
        only_run(own).load(dense, "network"),
        only_run(taken).load(dense, "network"),
    )
    state = artifacts.snapshot(10, 0)
    assert "adopted" in only_run(taken).record(state)
    assert same(
        only_run(own).load(state, "network"),
        only_run(taken).load(state, "network"),
    )
    file = taken / "figure.png"
    run = str(only_run(taken).path)
    printed("figure", run, "--kind", "distances", "--file", str(file))
    assert file.exists()
    assert same(only_run(taken).load(level, "network"), ticket)


BRIER = """
import jax
import jax.numpy as jnp

def brier(outputs, labels):
    return {factor} * jnp.sum((jax.nn.softmax(outputs) - jax.nn.one_hot(labels, 10)) ** 2, axis=-1)
"""


@pytest.mark.parametrize(
    ("words", "factor", "adopts"),
    [(["--loss", "own.py:brier"], 1, True), (["--loss", "own.py:brier"], 2, False), ([], 1, False)],
)
def test_networks_of_imp_with_another_loss_are_not_taken_over(
    words, factor, adopts, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(BRIER.format(factor=factor))
    shared = [*NET, "--replicates", "1", "--name", "n", "--out", "runs"]
    printed("imp", *shared, "--levels", "0", "--controls", *words)
    (tmp_path / "own.py").write_text(BRIER.format(factor=1))
    printed("instability", *shared, "--twins", "2", "--points", "3", "--loss", "own.py:brier")
    record = only_run(tmp_path / "runs").record(artifacts.dense(0))
    assert ("adopted" in record) == adopts
    assert record["test_loss"] < 2  # a Brier score


@pytest.mark.parametrize("study", ["instability", "separation"])
def test_settings_of_imp_are_those_of_the_study_that_it_stands_for(study):
    given = {
        "name": "n",
        "loss": "squared-error",
        "error": "own.py:error",
        "initial": "own.npz",
        "initial_mask": "mask.npz",
        "exclude": ("Dense_0",),
        "choose_on": "test",
        "replicates": 2,
        "seed": 3,
        "data": DataConfig(name="digits", validation=0.25),
        "model": ModelConfig(name="mlp", hidden=(5,)),
        "training": TrainingConfig(steps=9, patience=3),
        "optimizer": OptimizerConfig(lr=0.3),
    }
    assert given.keys() == {field.name for field in dataclasses.fields(StudyConfig)}
    if study == "instability":
        config = instability_config.imp(InstabilityConfig(**given), 4)
    else:
        config = separation_config.imp(SeparationConfig(**given))
    assert {name: getattr(config, name) for name in given} == given
    assert (config.score, config.controls) == ("magnitude", ())


@pytest.mark.slow
@pytest.mark.parametrize("content", ["{", None])
def test_a_damaged_run_of_imp_is_named_and_its_networks_are_trained_here(content, tmp_path, caplog):
    request = [*TINY[:-2], "--points", "3", "--replicates", "1", "--networks", "dense"]
    imp = ["imp", *NET, "--levels", "0", "--controls", "--replicates", "1"]
    printed(*request, "--out", str(tmp_path / "own"))
    printed(*imp, "--out", str(tmp_path / "beside"))
    file = only_run(tmp_path / "beside", job="imp").path / "run.json"
    file.unlink()
    if content is not None:  # else as a process leaves it that is killed at its very start
        file.write_text(content)
    printed(*request, "--out", str(tmp_path / "beside"))
    warnings = [line for line in caplog.messages if line.startswith(f"left out: {file} is damaged")]
    assert bool(warnings) == (content is not None)
    own, beside = (only_run(tmp_path / name) for name in ("own", "beside"))
    dense = artifacts.dense(0)
    assert "adopted" not in beside.record(dense)
    assert same(own.load(dense, "network"), beside.load(dense, "network"))


def test_twins_trained_for_all_steps_start_the_schedule_anew(tmp_path):
    settings = config(rewind_steps=(10,), lengths=("remaining", "whole"))
    with opened(settings, tmp_path) as (experiment, run):
        whole(experiment, run)
        steps = {
            length: run.record(artifacts.twin(NetworkSpec(10, "dense"), 0, length, 0))["start_step"]
            for length in settings.lengths
        }
        table = store.table([run.path])
        networks = {
            length: run.load(artifacts.twin(NetworkSpec(10, "dense"), 0, length, 0), "network")
            for length in settings.lengths
        }
    way = report.pairs(table)["l2_from_initialization"].unique()
    assert steps == {"remaining": 10, "whole": 0}
    assert not same(networks["remaining"], networks["whole"])
    assert len(way) == 1  # both start from the state of step 10
    assert way[0] > 0
    summary = report.summary(table, threshold=0.02, tolerance=0.002)
    assert set(summary["length"]) == {"remaining", "whole"}
    assert list(report.onset(summary, "stable")) == ["dense"]


def test_twins_are_compared_in_training_too(tmp_path):
    settings = config(rewind_steps=(0, 10), compare_every=8)
    with opened(settings, tmp_path) as (experiment, run):
        whole(experiment, run)
        pairs = report.pairs(store.table([run.path]), at_end=False)
    by = pairs.groupby("step_k")["compared_step"].apply(list)
    assert by[0] == [8, 16, 24, 30]
    assert by[10] == [16, 24, 30]
    assert (pairs["l2_distance"] > 0).all()


@pytest.mark.parametrize(
    ("how", "onset", "expected"),
    [
        ("first", 5, [0, 5]),
        ("first", 99, [0, 5, 10, 20]),
        ("bisection", 5, [10, 5, 0]),
        ("bisection", 99, [10, 20]),
        ("bisection", 0, [10, 5, 0]),
    ],
)
def test_a_search_visits_the_steps_that_it_needs(how, onset, expected):
    visited = list(instability.search([0, 5, 10, 20], how, lambda step: step >= onset))
    assert visited == expected


def test_a_search_ends_at_the_first_stable_step_and_is_complete(tmp_path):
    """A threshold of nearly 1 makes every network stable, of nearly 0 none."""
    asked = {"rewind_steps": (0, 5, 10), "search": "first"}
    for threshold, steps in ((0.99, {0}), (1e-9, {0, 5, 10})):
        settings, out = config(**asked, threshold=threshold), tmp_path / str(threshold)
        with opened(settings, out) as (experiment, run):
            assert not instability.complete(settings, run.path)
            whole(experiment, run)
            assert set(report.pairs(store.table([run.path]))["step_k"]) == steps
            assert instability.complete(settings, run.path)


@pytest.mark.slow
def test_interrupted_it_ends_with_the_same_bits(tmp_path):
    settings = config(rewind_steps=(0, 10))
    with opened(settings, tmp_path / "whole") as (experiment, run):
        whole(experiment, run)
        expected = {unit: run.record(unit) for unit, _ in run.records()}
        networks = {unit: run.load(unit, "network") for unit in expected if "twin_" in unit}
    with opened(settings, tmp_path / "cut") as (experiment, run):
        for events in range(2, 400, 3):  # cut ever later
            job, done = (
                instability.instability(
                    Lab(experiment, run, checkpoint_seconds=60), experiment.prunable.config
                ),
                False,
            )
            for _ in range(events):
                if next(job, None) is None:
                    done = True
                    break
            if done:
                break
            with pytest.raises(KeyboardInterrupt):
                job.throw(KeyboardInterrupt())
        result = {unit: run.record(unit) for unit, _ in run.records()}
        assert done
        assert all(same(run.load(unit, "network"), net) for unit, net in networks.items())
    assert set(result) == set(expected)
    for unit, record in expected.items():
        if "pair" in unit:
            assert result[unit] == record


def test_a_pair_of_which_a_twin_diverged_is_told_and_left_out(tmp_path):
    settings = config(optimizer=OptimizerConfig(optimizer="sgd", lr=1e30))
    with opened(settings, tmp_path) as (experiment, run):
        whole(experiment, run)
        table = store.table([run.path])
    pairs = report.pairs(table)
    assert pairs["test_instability"].isna().all()
    assert pairs["diverged_step"].notna().all()
    summary = report.summary(table, threshold=0.02, tolerance=0.002)
    assert (summary["n"] == 0).all()
    assert not summary["stable"].any()
    for draw in (twins.instability, twins.error, twins.distances, twins.start):
        draw(table)
    with pytest.raises(ValueError, match="did not diverge"):
        twins.interpolation(table, store.curves([run.path]))


def test_twins_that_diverge_count_as_lost_in_training_too(tmp_path):
    sgd = OptimizerConfig(optimizer="sgd", lr=1e30)
    with opened(config(optimizer=sgd, compare_every=8), tmp_path) as (experiment, run):
        whole(experiment, run)
        pairs = report.pairs(store.table([run.path]), at_end=False)
    assert set(pairs["compared_step"]) == {8, 16, 24, 30}
    assert pairs["test_instability"].isna().all()


def test_a_replicate_whose_dense_network_diverged_has_no_tickets_and_ends_the_run(tmp_path):
    sgd = OptimizerConfig(optimizer="sgd", lr=1e30)
    settings = config(optimizer=sgd, networks=("ticket", "dense"), levels=(1,), rewind_steps=(0, 5))
    with opened(settings, tmp_path) as (experiment, run):
        whole(experiment, run)
        assert instability.complete(settings, run.path)
        pairs = report.pairs(store.table([run.path]))
    assert set(pairs["control"]) == {"dense"}


def test_a_network_is_stable_only_if_no_pair_was_lost():
    frame = table([("dense", 1.0, 0, (0.0, None), 0.1), ("dense", 1.0, 9, (0.0, 0.01), 0.1)])
    summary = report.summary(frame, threshold=0.02, tolerance=0.002)
    assert summary["stable"].tolist() == [False, True]
    assert summary["n"].tolist() == [1, 2]


@pytest.mark.slow
def test_estimated_statistics_are_those_of_training_examples():
    """Of a network with batch norm: those of one batch of all examples, to rounding."""
    settings = InstabilityConfig(
        data=DataConfig(name="digits"),
        model=ModelConfig(name="resnet-20"),
        training=TrainingConfig(steps=1, batch_size=50, train_examples=100),
        estimate_statistics=True,
        points=2,
    )
    experiment = instability.prepare(settings)
    line = LineEvaluator(experiment, experiment.compile_training(), points=2, estimate=True)
    network = jax.device_get(experiment.prunable.draw(jax.random.key(0)))
    group = line._single
    placed = group.layout.place([network]), group.layout.place([experiment.prunable.dense])
    (stats,) = group.layout.take(group.estimated(*placed).stats, 1)
    some = group._splits["train"]
    dataset = experiment.device_data.dataset
    inputs = data.normalize(packing.unpack(some.images), dataset.mean, dataset.std)
    zeros = jax.tree.map(jnp.zeros_like, network.stats)
    _, after = experiment.prunable.model.apply(network._replace(stats=zeros), inputs, True)
    expected = jax.tree.map(lambda leaf: leaf / 0.1, after)  # a new batch counts a tenth
    tiny.assert_close(stats, jax.device_get(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--rewind-steps", "30"],
            "`rewind_steps` must lie in 0..29, before the end of training; got 30.",
        ),
        (["--rewind-steps", "-1"], "`rewind_steps` must be at least 0; got -1."),
        (["--twins", "1"], "`twins` must be at least 2; got 1."),
        (["--points", "1"], "`points` must be at least 2; got 1."),
        (["--networks", "tickets", "--levels", "1"], "Did you mean 'ticket'?"),
        (["--networks", "ticket"], "`levels` must say how much the networks ticket keep"),
        (["--networks", "snip"], "`density` must say how much the networks snip keep"),
        (["--levels", "2"], "`levels` 2 has no effect on the networks dense."),
        (["--networks", "snip", "--density", "0.001"], "fewer than the network's 2 layers"),
        (["--networks", "snip", "--density", "0.2", "--per-class", "999"], "`per_class` must be"),
        (["--rounds", "5"], "`rounds` 5 has no effect on the networks dense."),
        (["--estimate-statistics"], "no effect on a network without batch norm"),
        (["--search", "second"], "`--search` has no value 'second'."),
        (["--threshold", "2"], "`threshold` must lie between 0 and 1; got 2.0."),
        (["--compare-every", "0"], "`compare_every` must be above 0"),
        (["--rewind-steps", "0,x"], "`--rewind-steps` must be a whole number; got 'x'."),
    ],
)
def test_mistakes_are_one_line(words, message, tmp_path, capsys):
    assert cli.main(tiny.once([*TINY, *words, "--out", str(tmp_path)])) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


# The report, on a table made by hand.


def table(rows):
    """Return a table of results of a dense network and of (network, density, step, barriers)."""
    result = [{"kind": "dense", "test_accuracy": 0.9, "nan_step": None, "control": "dense"}]
    for network, density, step, barriers, error in rows:
        for replicate, barrier in enumerate(barriers):
            result.append(
                {
                    "kind": "pair",
                    "control": network,
                    "level": 0 if network == "dense" else 1,
                    "density": density,
                    "length": "remaining",
                    "step_k": step,
                    "compared_step": 100,
                    "asked_density": None,
                    "points": 30,
                    "estimated": False,
                    "replicate": replicate,
                    "twins": "0-1",
                    "test_instability": barrier,
                    "train_instability": None if barrier is None else barrier / 2,
                    "test_error": error,
                    "train_error": error,
                }
            )
    return pd.DataFrame(result)


BY_HAND = [
    ("ticket", 0.1, 0, (0.10, 0.20), 0.13),
    ("dense", 1.0, 0, (0.30, 0.40), 0.10),
    ("dense", 1.0, 50, (0.01, 0.02), 0.10),
    ("ticket", 0.1, 10, (0.00, 0.01), 0.09),
    ("dense", 1.0, 10, (0.20, 0.10), 0.10),
    ("ticket", 0.1, 50, (0.00, 0.00), 0.10),
]


def test_the_summary_is_in_order_and_counts_from_the_dense_accuracy():
    summary = report.summary(table(BY_HAND), threshold=0.02, tolerance=0.002)
    assert summary["network"].tolist() == ["dense"] * 3 + ["ticket at 10 %"] * 3
    assert summary["step_k"].tolist() == [0, 10, 50] * 2
    assert summary["test_mean"].tolist() == pytest.approx([0.35, 0.15, 0.015, 0.15, 0.005, 0.0])
    assert summary["stable"].tolist() == [False, False, True, False, True, True]
    assert summary["matches"].tolist() == [True, True, True, False, True, True]
    assert report.onset(summary, "stable") == {"dense": 50, "ticket at 10 %": 10}
    assert report.onset(summary, "matches") == {"dense": 0, "ticket at 10 %": 10}


def test_a_network_that_becomes_unstable_again_is_stable_only_after_that():
    rows = [("dense", 1.0, step, (value,), 0.1) for step, value in enumerate((0.0, 0.5, 0.0))]
    summary = report.summary(table(rows), threshold=0.02, tolerance=0.002)
    assert report.onset(summary, "stable") == {"dense": 2}
    assert report.onset(summary, "stable", to_end=False) == {"dense": 0}
    said = report.sentence(summary)
    assert "dense is stable from step 2 on (first at step 0), and matches from step 0 on" in said


def test_a_network_that_is_stable_at_first_only_is_said_to_be_so():
    rows = [("dense", 1.0, step, (value,), 0.1) for step, value in enumerate((0.5, 0.0, 0.5))]
    summary = report.summary(table(rows), threshold=0.02, tolerance=0.002)
    said = report.sentence(summary)
    assert "dense is stable first at step 1, but not at all later ones" in said


def both_lengths():
    """Return results of twins of both lengths, those of step 0 stored under one of them."""
    rows = [("dense", 1.0, step, (value,), 0.1) for step, value in enumerate((0.01, 0.01, 0.01))]
    remaining = table(rows)
    whole = remaining[remaining["kind"] == "pair"].assign(length="whole", test_instability=0.4)
    whole.loc[whole["step_k"] == 0, "test_instability"] = 0.01
    keep = (remaining["step_k"] != 0) | (remaining["kind"] == "dense")
    return pd.concat([remaining[keep], whole], ignore_index=True)


def test_step_0_counts_for_both_lengths_of_training():
    summary = report.summary(both_lengths(), threshold=0.02, tolerance=0.002)
    assert report.onset(summary, "stable") == {"dense": 0}
    said = report.sentence(summary)
    assert said == (
        "Twins trained for the remaining steps: dense is stable from step 0 on, and matches from "
        "step 0 on."
    )
    assert sorted(report.principal(report.pairs(both_lengths()))["step_k"]) == [0, 1, 2]


def barriers(results, monkeypatch):
    """Return the chart of barriers by step on the report page of a run."""
    monkeypatch.setattr(charts, "setting", lambda path, name: 0.02)
    monkeypatch.setattr(charts, "_on_lines", lambda *_: None)  # there are no curves
    chart, _ = charts.charts(results, pd.DataFrame(), None)
    return chart


def test_pairs_of_step_0_that_are_stored_under_both_lengths_count_once():
    results = both_lengths()
    stored = results[(results["length"] == "whole") & (results["step_k"] == 0)]
    results = pd.concat([results, stored.assign(length="remaining")], ignore_index=True)
    assert sorted(report.principal(report.pairs(results))["step_k"]) == [0, 1, 2]


def test_the_page_has_a_line_for_each_length_of_training(monkeypatch):
    chart = barriers(both_lengths(), monkeypatch)
    lines = {line.name: line.points["y"].tolist() for line in chart.lines}
    assert lines["dense, remaining, test"] == pytest.approx([1, 1, 1])
    assert lines["dense, whole, test"] == pytest.approx([1, 40, 40])
    assert len({line.dash for line in chart.lines if line.name.endswith("test")}) == 2


def test_a_band_of_deviations_is_said_to_be_one(monkeypatch):
    chart = barriers(table([("dense", 1.0, 0, (0.1, 0.3), 0.1)]), monkeypatch)
    hover = chart.lines[0].points["hover"][0]
    assert hover.endswith("<br>20 points<br>standard deviation 14.142 points")


def test_densities_that_print_alike_are_networks_of_their_own():
    close = [
        ("magnitude", density, 0, (value,), 0.1) for density, value in ((0.062, 0.1), (0.0616, 0.2))
    ]
    summary = report.summary(table(close), threshold=0.02, tolerance=0.002)
    assert summary["network"].tolist() == ["magnitude at 6.2 %", "magnitude at 6.16 %"]
    assert summary["test_mean"].tolist() == [0.1, 0.2]
    # The mean of the weights of one of them is known: it keeps its name beside the other.
    mean = {"kind": "average", "control": "magnitude", "density": 0.062, "length": "remaining"}
    mean |= {"step_k": 0, "twins": 2, "test_error": 0.25}
    both = pd.concat([table(close), pd.DataFrame([mean])], ignore_index=True)
    summary = report.summary(both, threshold=0.02, tolerance=0.002)
    assert summary["mean_accuracy"].fillna(0).tolist() == [0.75, 0]


def test_where_all_twins_diverged_that_is_said():
    lost = table([("dense", 1.0, 0, (None,), None)]).assign(test_loss=None, test_loss_barrier=None)
    lost.loc[0, ["nan_step", "test_accuracy"]] = [3, 0.1]
    summary = report.summary(lost, threshold=0.02, tolerance=0.002)
    rendered = tables_of_twins.render(summary, threshold=0.02, tolerance=0.002)
    assert "Error barrier between twins in points, of no pair; accuracy" in rendered.caption
    assert (
        tables_of_twins.remarks(lost, summary)[0]
        == "Dense networks trained beside the twins diverged."
    )


def test_where_all_twins_diverged_under_a_loss_of_ones_own_the_caption_speaks_of_losses():
    lost = table([("dense", 1.0, 0, (None,), None)]).assign(test_loss=None, test_loss_barrier=None)
    lost.loc[0, ["nan_step", "test_accuracy"]] = [3, None]
    summary = report.summary(lost, threshold=0.02, tolerance=0.002)
    how = {"threshold": 0.02, "tolerance": 0.002, "loss": "squared-error", "has_error": False}
    caption = tables_of_twins.render(summary, **how).caption
    assert "Loss barrier between twins, of no pair; test loss" in caption
    assert "* stable: below 2 % of the test loss, as no error is defined." in caption
    assert "accuracy" not in caption
    with_error = tables_of_twins.render(summary, **how | {"has_error": True}).caption
    assert "Error barrier between twins in points, of no pair; accuracy" in with_error


def test_one_pair_is_a_pair():
    summary = report.summary(
        table([("dense", 1.0, 0, (0.0,), 0.1)]), threshold=0.02, tolerance=0.002
    )
    rendered = tables_of_twins.render(summary, threshold=0.02, tolerance=0.002)
    assert "of 1 pair;" in rendered.caption
    rows = [("dense", 1.0, 0, (0.0,) * 3, 0.1), ("dense", 1.0, 5, (0.0,) * 2, 0.1)]
    summary = report.summary(table(rows), threshold=0.02, tolerance=0.002)
    rendered = tables_of_twins.render(summary, threshold=0.02, tolerance=0.002)
    assert "mean ± sd of 2 to 3 pairs;" in str(rendered.caption)


def test_it_says_how_good_dense_networks_are_and_when_steps_are_few():
    frame = table(BY_HAND)
    summary = report.summary(frame, threshold=0.02, tolerance=0.002)
    assert tables_of_twins.remarks(frame, summary) == [
        "Dense networks trained beside the twins reach an accuracy of 90.00 %.",
        "Twins train for but 100 steps, which leaves them little time to part: this says little of"
        " longer trainings.",
    ]
    assert len(tables_of_twins.remarks(frame.assign(compared_step=2_000), summary)) == 1


def test_networks_drawn_anew_have_no_distance_from_an_initialisation_that_is_not_theirs():
    names = ("dense", "ticket", *CONTROLS)
    frame = table([(name, 0.1, 10, (0.0,), 0.1) for name in names])
    frame = frame.assign(l2_from_initialization=1.0)
    rows = report.pairs(frame[frame["kind"] == "pair"])
    measured = set(rows[rows["l2_from_initialization"].notna()]["control"])
    assert measured == {"dense", "ticket", "shuffled", "shuffled-globally"}


def test_twins_on_a_line_with_statistics_anew_match_by_what_they_were_trained_with():
    plain = table([("ticket", 0.1, 0, (0.0, 0.0), 0.1)])
    pairs = plain.iloc[1:].assign(estimated=True, test_error=0.3)  # of the ends, statistics anew
    trained = [
        pairs.assign(kind="twin", twins=str(twin), compared_step=None, test_accuracy=accuracy)
        for twin, accuracy in ((0, 0.88), (1, 0.94))
    ]
    frame = pd.concat([plain.iloc[:1], pairs, *trained])
    (row,) = report.summary(frame, threshold=0.02, tolerance=0.0).to_dict("records")
    assert row["network"] == "ticket at 10 %, statistics anew"
    assert row["accuracy"] == pytest.approx(0.91)
    assert row["matches"]
    rendered = tables_of_twins.render(pd.DataFrame([row]), threshold=0.02, tolerance=0.0)
    assert "accuracy of twins, like that of dense networks, is with those of their training" in str(
        rendered.caption
    )


SIZES = [0.9 * 0.8**n for n in range(12)]
MANY = {"dense": [1.0], "ticket": SIZES, "synflow": SIZES, "magnitude": SIZES, "snip": SIZES}


def test_figures_of_many_networks_drop_no_panel_and_give_each_method_a_colour_of_its_own():
    rows = [
        (network, density, step, (0.01 * step,), 0.1)
        for network, densities in MANY.items()
        for density in densities
        for step in (0, 10)
    ]
    frame = table(rows).assign(unit=lambda rows: rows.index.astype(str))
    frame["level"] = frame.groupby("control")["density"].rank(method="dense")
    drawn = pages.in_pages(twins.instability, frame, pages.by_size)
    assert [len(page.axes) for page in drawn] == [10, 2]
    titles = [axes.get_title(loc="left") for page in drawn for axes in page.axes]
    assert len(set(titles)) == len(SIZES)
    colors = {}
    for page in drawn:
        assert not any(axes.get_legend() for axes in page.axes)  # it would cover the lines
        for axes in page.axes:
            for line in axes.get_lines():
                colors.setdefault(str(line.get_label()).split(",")[0], set()).add(line.get_color())
    assert set(colors) == set(MANY)
    assert all(len(of_method) == 1 for of_method in colors.values())
    assert len(set.union(*colors.values())) == len(MANY)
    (alone,) = [pages.in_pages(twins.instability, frame[frame["density"] > 0.5], pages.by_size)]
    assert len(alone.axes) == 3


def test_no_score_has_the_colour_of_another_or_of_a_control():
    styles = method_styles.line_styles([*method_styles.LINE_STYLES, *"abcdefgh"])
    assert styles["none"] == styles["imp"] == styles["ticket"]  # the same networks
    del styles["none"], styles["imp"]
    assert len({style.color for style in styles.values()}) == len(styles)


def test_the_step_from_which_networks_are_stable_shows_at_step_0():
    frame = table([("ticket", 0.1, step, (0.0,), 0.1) for step in (0, 10, 100)])
    (axes,) = twins.onsets(frame, threshold=0.02, tolerance=0.002).axes
    assert axes.get_lines()[0].get_ydata().tolist() == [0]
    assert axes.get_ylim()[0] < 0
    assert axes.get_yscale() == "symlog"


def test_pairs_at_most_points_count_and_those_with_statistics_anew_are_apart():
    few = table([("dense", 1.0, 0, (0.1,), 0.1)]).assign(points=3)
    anew = table([("dense", 1.0, 0, (0.4,), 0.1)]).iloc[1:].assign(estimated=True)
    many = table([("dense", 1.0, 0, (0.3,), 0.1)]).iloc[1:]
    summary = report.summary(pd.concat([few, many, anew]), threshold=0.02, tolerance=0.0)
    by = dict(zip(summary["network"], summary["test_mean"], strict=True))
    assert by == {"dense": 0.3, "dense, statistics anew": 0.4}


def test_figures_draw_the_numbers_of_the_table():
    frame = table(BY_HAND)
    (axes,) = twins.instability(frame).axes
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["dense, test"].get_xdata(), [0, 10, 50])
    np.testing.assert_allclose(lines["dense, test"].get_ydata(), [35, 15, 1.5])
    np.testing.assert_allclose(lines["ticket at 10 %, train"].get_ydata(), [7.5, 0.25, 0])
    (axes,) = twins.error(frame).axes
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["ticket at 10 %, test"].get_ydata(), [13, 9, 10])
    (axes,) = twins.onsets(frame, threshold=0.02, tolerance=0.002).axes
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert lines == {"ticket, stable": [10.0], "ticket, matches": [10.0]}


def test_figures_of_instability_and_error_show_threshold_and_dense_networks():
    frame = table(BY_HAND)
    second = frame.iloc[[0]].assign(test_accuracy=0.8)
    (axes,) = twins.instability(frame, threshold=0.02).axes
    assert axes.lines[-1].get_ydata() == [2, 2]
    (axes,) = twins.error(pd.concat([frame, second])).axes
    (band,) = axes.patches
    deviation = 100 * np.std([0.1, 0.2], ddof=1)
    assert (band.get_y(), band.get_height()) == pytest.approx((15 - deviation, 2 * deviation))


def test_the_band_of_dense_networks_lies_within_every_panel_and_has_a_name():
    frame = table([("ticket", share, 0, (0.0,), 0.8) for share in (0.1, 0.01)])
    for accuracies in ([0.7, 0.8], [0.05], []):  # beside twins of 20 %
        dense = pd.DataFrame({"kind": "dense", "control": "dense", "test_accuracy": accuracies})
        twins_only = frame[frame["kind"] == "pair"]
        figure = twins.error(pd.concat([dense.assign(nan_step=None), twins_only]))
        for axes in figure.axes:
            low, high = axes.get_ylim()
            ends = [
                end
                for band in axes.patches
                for end in (band.get_y(), band.get_y() + band.get_height())
            ]
            assert len(ends) == 2 * bool(accuracies)
            assert all(low < end < high for end in ends)
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert ("dense networks" in names) == bool(accuracies)


def test_all_panels_of_a_figure_of_lines_or_errors_have_one_scale():
    frame = table([*BY_HAND, ("ticket", 0.01, 0, (0.5, 0.5), 0.4)])
    frame = frame.assign(unit=range(len(frame)))
    ends = [frame.assign(alpha=alpha)[["unit", "alpha", "test_error"]] for alpha in (0.0, 1.0)]
    lines = pd.concat(ends).assign(train_error=0.1)
    for figure in (twins.error(frame), twins.interpolation(frame, lines)):
        assert len(figure.axes) > 1
        assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert twins.error(frame).axes[0].get_ylim()[0] > 0


@pytest.mark.parametrize("kind", ["instability", "error", "interpolation", "distances", "start"])
def test_each_kind_of_figure_is_drawn_by_command(finished, kind, tmp_path):
    file = tmp_path / f"{kind}.png"
    run = only_run(finished[0]).path
    assert str(file) in printed("figure", str(run), "--kind", kind, "--file", str(file))
    assert file.stat().st_size > 10_000


def test_a_figure_that_needs_more_says_what(finished, capsys):
    run = str(only_run(finished[0]).path)
    assert cli.main(["figure", run, "--kind", "throughout"]) == 2
    assert "ask for --compare-every" in capsys.readouterr().err
    assert cli.main(["figure", run, "--kind", "layers"]) == 2
    assert (
        "draws runs of `jaxlth prune-early, dynamic, train-supermasks`" in capsys.readouterr().err
    )


def test_random_networks_are_the_control_of_tickets_and_need_levels_only():
    asked = config(networks=("random",), levels=(1,))
    assert network_specs(asked, 0) == [NetworkSpec(0, "random", level=1)]
    assert len(set(KNOWN)) == len(KNOWN)


def test_settings_that_are_asked_for_later_extend_the_run():
    asked = config()
    more = dataclasses.replace(asked, rewind_steps=(0, 9), twins=3, points=7, replicates=2)
    assert store.folder("o", asked, job="j", label="l") == store.folder(
        "o", more, job="j", label="l"
    )
