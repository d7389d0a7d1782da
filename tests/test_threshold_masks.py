"""Supermask tickets: what a threshold keeps, which one is chosen, what is trained."""

import contextlib
import dataclasses
import io
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest
from tiny import same, times

from jaxlth import cli, data, masks, store
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.studies.config import run_label
from jaxlth.studies.lab import Lab
from jaxlth.studies.threshold_masks import artifacts, masking
from jaxlth.studies.threshold_masks import figures as threshold_figures
from jaxlth.studies.threshold_masks import report as threshold_masks_report
from jaxlth.studies.threshold_masks import run as threshold_masks
from jaxlth.studies.threshold_masks import summary as report
from jaxlth.studies.threshold_masks.config import ThresholdMasksConfig
from jaxlth.studies.threshold_masks.masking import best_threshold, keeping
from jaxlth.studies.threshold_masks.networks import ThresholdNetworks, least
from jaxlth.studies.train import Ticket
from jaxlth.training import OptimizerConfig, TrainingConfig, execution

# At this rate the loss on the test set is least before the end of the long training.
TINY = ThresholdMasksConfig(
    model=ModelConfig(name="mlp", hidden=(12, 6)),
    training=TrainingConfig(steps=60, batch_size=50, evaluate_every=5),
    optimizer=OptimizerConfig(lr=0.03),
    thresholds=(0.0, 0.1, 0.5, 50.0),
    sizes=("5",),
    replicates=2,
)
COMMAND = ["threshold-masks", "--hidden", "12", "6", "--steps", "60", "--batch-size", "50"]
COMMAND += ["--evaluate-every", "5", "--lr", "0.03", "--thresholds", "0", "0.1", "0.5", "50"]
COMMAND += ["--sizes", "5", "--replicates", "2"]


def change(of, **others):
    return dataclasses.replace(of, **others)


@contextlib.contextmanager
def opened(config, out):
    """Give the problem, and a run of these settings that is held."""
    experiment = threshold_masks.prepare(config)
    label = run_label(config)
    with store.open_run(out, config, job="threshold-masks", label=label) as run:
        yield experiment, run


def whole(experiment, run):
    return list(
        threshold_masks.threshold_masks(
            Lab(experiment, run, checkpoint_seconds=60), experiment.prunable.config
        )
    )


def made(config, out):
    """Return the run of settings, made in full."""
    with opened(config, out) as (experiment, run):
        whole(experiment, run)
    return store.open_readonly(run.path)


def job_of(config, run):
    return ThresholdNetworks(Lab(threshold_masks.prepare(config), run))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of TINY, made by the command, and what that printed."""
    out = tmp_path_factory.mktemp("finished")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.main([*COMMAND, "--out", str(out)]) == 0
    (info,) = store.runs(out)
    return store.open_readonly(info.path), said.getvalue()


# Masks and the choice among them.


def test_a_threshold_keeps_large_weights_that_kept_their_sign():
    initial = {"w": np.array([[0.1, 0.2, -0.3, -0.1, 0.0]], np.float32), "b": np.zeros(1)}
    trained = {"w": np.array([[-0.2, 0.05, -0.3, 0.0, 9.0]], np.float32), "b": np.ones(1)}
    mask = masks.dense(initial)
    at_0 = keeping(initial, trained, mask, 0.0)
    assert at_0["b"] is None
    assert np.asarray(at_0["w"]).tolist() == [[False, True, True, True, True]]
    assert np.all(keeping(initial, trained, mask, -0.25)["w"])  # of which 0.2 is turned over
    at_a_tenth = keeping(initial, trained, mask, 0.1)
    assert np.asarray(at_a_tenth["w"]).tolist() == [[False, False, True, False, False]]


def test_what_is_left_out_or_pruned_before_stays_so():
    initial = {"w": np.ones((1, 2), np.float32), "v": np.ones((1, 2), np.float32)}
    mask = {"w": np.array([[True, False]]), "v": None}
    result = keeping(initial, initial, mask, 0.5)
    assert result["v"] is None
    assert np.asarray(result["w"]).tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("accuracies", "emptied", "expected"),
    [
        ([0.1, 0.4, 0.3], ["", "", ""], 1),
        ([0.1, 0.4, 0.4], ["", "", ""], 2),  # of equals the one that keeps the fewest weights
        ([0.1, 0.4, 0.9], ["", "", "Dense_0/kernel"], 1),
        ([0.1, 0.4, 0.9], ["a", "a", "a b"], None),
    ],
)
def test_the_most_accurate_threshold_that_empties_no_layer_is_chosen(accuracies, emptied, expected):
    curve = {"validation_accuracy": accuracies, "emptied": emptied}
    assert best_threshold(curve, "validation") == expected


# What is trained.


def test_masks_are_those_of_the_formula_on_the_stored_networks(finished):
    run, _ = finished
    for replicate in range(2):
        w0 = job_of(TINY, run).initial(replicate).params
        wt = run.load(artifacts.short(replicate), "network")["params"]
        curve = run.record(artifacts.thresholds(replicate))["curve"]
        threshold = run.record(artifacts.thresholds(replicate))["threshold"]
        mask = run.load(artifacts.ticket(replicate), "mask")
        for layer, kept in mask.items():
            expected = np.sign(w0[layer]["kernel"]) * wt[layer]["kernel"] >= np.float32(threshold)
            assert np.array_equal(kept["kernel"], expected)
            shares = [
                np.mean(np.sign(w0[layer]["kernel"]) * wt[layer]["kernel"] >= np.float32(t))
                for t in TINY.thresholds
            ]
            assert curve[f"layer_densities.{layer}/kernel"] == pytest.approx(shares)
        assert curve["emptied"][:2] == ["", ""]
        assert set(curve["emptied"][-1].split()) == {f"Dense_{n}/kernel" for n in range(3)}


def test_the_short_training_is_the_beginning_of_the_long_one(finished):
    run, _ = finished
    for replicate in range(2):
        long, short = (run.record(name(replicate)) for name in (artifacts.long, artifacts.short))
        losses = long["curve"]["validation_loss"]
        step = long["curve"]["step"][int(np.argmin(losses))]
        assert short["steps"] == step == least(long["curve"], "validation")
        count = len(short["curve"]["step"])
        assert short["curve"]["validation_loss"] == losses[:count]
        assert short["validation_loss"] == min(losses)


def test_untrained_accuracies_are_those_of_a_plain_numpy_evaluation(finished):
    run, _ = finished
    _, digits = data.load(DataConfig(), seed=0)
    job = job_of(TINY, run)
    curve = run.record(artifacts.thresholds(1))["curve"]
    for name, split in (("validation", digits.validation), ("test", digits.test)):
        images = (split.images - digits.mean) / digits.std
        for place, threshold in enumerate(TINY.thresholds):
            params = masks.apply(job.initial(1).params, job.mask(1, threshold))
            x = images.reshape(len(images), -1)
            for layer in range(3):
                own = params[f"Dense_{layer}"]
                x = np.maximum(x, 0) if layer else x
                x = x @ np.asarray(own["kernel"]) + np.asarray(own["bias"])
            right = np.mean(x.argmax(1) == split.labels)
            assert curve[f"{name}_accuracy"][place] == pytest.approx(right, abs=1e-6)
            top = x - x.max(1, keepdims=True)
            picked = top[np.arange(len(x)), split.labels]
            loss = np.mean(np.log(np.exp(top).sum(1)) - picked)
            assert curve[f"{name}_loss"][place] == pytest.approx(loss, rel=1e-4)


def test_a_ticket_starts_from_the_initial_weights_and_its_zeros_stay(finished):
    run, _ = finished
    start = threshold_masks_report.find(run, 1)
    record = run.record(artifacts.thresholds(1))
    assert int(masks.kept(start.mask)) == record["kept"] < record["prunable"]
    assert same(start.network, job_of(TINY, run).initial(1))
    trained = run.load(artifacts.ticket(1), "network")["params"]
    assert same(trained, masks.apply(trained, run.load(artifacts.ticket(1), "mask")))
    assert run.record(artifacts.ticket(1))["threshold"] == record["threshold"]
    curve = record["curve"]
    place = TINY.thresholds.index(record["threshold"])
    whole = [
        a for a, e in zip(curve["validation_accuracy"], curve["emptied"], strict=True) if not e
    ]
    assert curve["validation_accuracy"][place] == max(whole) == record["validation_accuracy"]


def test_tickets_and_all_sizes_are_trained_for_a_quarter_of_the_steps(finished):
    run, _ = finished
    frame = store.table([run.path])
    compared = frame[frame["kind"].isin(("ticket", "baseline", "size"))]
    assert set(compared["steps"]) == {15}
    sizes = compared.groupby("control")["prunable"].first().to_dict()
    own = 64 * 12 + 12 * 6 + 6 * 10
    assert sizes == {
        "ticket": own,
        "12-6": own,
        "5": 64 * 5 + 5 * 10,
    }
    longer = threshold_masks.prepare(change(TINY, ticket_steps=40))
    assert threshold_masks.ticket_steps(longer) == 40


def test_networks_of_other_replicates_and_sizes_start_apart(finished):
    run, _ = finished
    job, experiment = job_of(TINY, run), threshold_masks.prepare(TINY)
    own = [job.initial(replicate) for replicate in range(2)]
    other = [
        job.request_size("12-6", experiment.prunable, each).start().network for each in range(2)
    ]
    assert not any(same(a, b) for a, b in itertools.combinations([*own, *other], 2))


def test_curves_and_table_have_every_threshold_and_network(finished):
    run, _ = finished
    curves = store.curves([run.path])
    tried = report.untrained(curves)
    assert tried["threshold"].tolist() == [*TINY.thresholds] * 2
    assert all(each["density"].is_monotonic_decreasing for _, each in tried.groupby("replicate"))
    counts = store.table([run.path])["kind"].value_counts().to_dict()
    assert counts == {
        **dict.fromkeys(("long", "short", "thresholds", "ticket", "baseline"), 2),
        "size": 2,
    }


def test_all_networks_at_once_give_what_each_gives_alone():
    """On an accelerator all go through one program side by side."""
    experiment, compiled_training = (
        threshold_masks.prepare(TINY),
        threshold_masks.prepare(TINY).compile_training(),
    )
    init = jax.device_get(experiment.prunable.draw(jax.random.key(0)))
    starts = [
        Ticket(init, keeping(init.params, init.params, experiment.prunable.dense, t))
        for t in (0.0, 0.1, 0.2)
    ]
    alone = list(masking.Untrained(experiment, compiled_training, 1).evaluations(starts))
    device = jax.devices()[0]
    compiled_training.layout = lambda count: execution.Layout(devices=(device,), per_device=count)
    together = list(masking.Untrained(experiment, compiled_training, 3).evaluations(starts))
    for a, b in zip(alone, together, strict=True):
        for split in ("validation", "test"):
            assert float(a[split].accuracy) == pytest.approx(float(b[split].accuracy), abs=1e-6)
            assert float(a[split].loss) == pytest.approx(float(b[split].loss), rel=1e-5)


# What is not found, and what is refused.


def test_where_every_threshold_empties_a_layer_there_is_no_ticket(tmp_path):
    config = change(TINY, thresholds=(50.0, 60.0), sizes=())
    run = made(config, tmp_path)
    record = run.record(artifacts.thresholds(0))
    assert record["threshold"] is None
    assert record["emptied"] == 2
    assert not run.has(artifacts.ticket(0))
    assert threshold_masks.complete(config, run.path)
    frame, curves = store.table([run.path]), store.curves([run.path])
    summary = report.summary(frame, curves, split="validation")
    assert report.sentence(frame, summary) == (
        "2 of 2 replicates have no ticket: every threshold empties a layer."
    )
    report.render(summary, curves, split="validation")
    for part in threshold_figures.drawable(frame):
        threshold_figures.figure(frame, curves, part, split="validation")
    with pytest.raises(ValueError, match="has no training_ticket/ticket/replicate_0;"):
        threshold_masks_report.find(run, 0)


def test_a_network_that_diverges_has_no_ticket_and_ends_the_run(tmp_path):
    sgd = OptimizerConfig(optimizer="sgd", lr=1e30)
    model = ModelConfig(name="mlp", hidden=(8,))
    config = change(TINY, model=model, optimizer=sgd, replicates=1, sizes=())
    run = made(config, tmp_path)
    assert {name for name, _ in run.records()} == {artifacts.long(0), artifacts.size("8", 0)}
    assert threshold_masks.complete(config, run.path)
    frame, curves = store.table([run.path]), store.curves([run.path])
    summary = report.summary(frame, curves, split="validation")
    assert report.sentence(frame, summary).startswith("No network was masked")
    report.render(summary, curves, split="validation")
    assert threshold_figures.drawable(frame) == []


def test_the_test_set_serves_for_choosing_where_that_is_asked_for(tmp_path):
    own = DataConfig(validation=0.0)
    config = change(TINY, data=own, choose_on="test", replicates=1, sizes=())
    run = made(config, tmp_path)
    long = run.record(artifacts.long(0))["curve"]
    assert run.record(artifacts.short(0))["steps"] == least(long, "test")
    record = run.record(artifacts.thresholds(0))
    best = best_threshold(record["curve"], "test")
    assert record["threshold"] == TINY.thresholds[best]
    assert record["validation_accuracy"] is None
    frame, curves = store.table([run.path]), store.curves([run.path])
    summary = report.summary(frame, curves, split="test")
    assert "chosen on the test set" in str(report.render(summary, curves, split="test").caption)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"thresholds": (0.1, 0.0)}, "`thresholds` must be finite numbers that increase"),
        ({"thresholds": (0.1, 0.1)}, "`thresholds` must be finite numbers that increase"),
        ({"thresholds": (-0.1, -0.2)}, "that increase; got -0.1 -0.2"),
        ({"thresholds": (float("inf"),)}, "`thresholds` must be finite"),
        ({"thresholds": ()}, "got nothing"),
        ({"data": DataConfig(validation=0.0)}, "`choose_on` validation needs a validation split"),
        ({"data": DataConfig(name="folder:pictures")}, "`data` must be a set that memory holds"),
        ({"choose_on": "train"}, "`choose_on` has no value 'train'"),
        ({"ticket_steps": 0}, "`ticket_steps` must be at least 1; got 0"),
        ({"sizes": ("8-4", "8-4")}, "`sizes` must name something, each once"),
        ({"sizes": ("8x4",)}, "joined by -, such as 100-15; got '8x4'"),
        ({"sizes": ("0-4",)}, "got '0-4'"),
        ({"sizes": ("12-6",)}, "`sizes` must differ from 12-6"),
        ({"model": ModelConfig(name="conv-2")}, "`model` must be lenet-300-100 or mlp"),
        ({"replicates": 0}, "`replicates` must be at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        change(TINY, **changed)


def test_tickets_follow_the_schedule_of_the_training_no_further_than_it_goes():
    with pytest.raises(ValueError, match="`ticket_steps` must be at most the 60 steps"):
        threshold_masks.prepare(change(TINY, ticket_steps=61))
    assert (
        threshold_masks.ticket_steps(threshold_masks.prepare(change(TINY, ticket_steps=60))) == 60
    )


def test_sizes_and_replicates_extend_a_run_and_thresholds_make_another():
    digest = {
        store.folder("out", each, job="threshold-masks", label="tiny").name
        for each in (TINY, change(TINY, sizes=()), change(TINY, replicates=5))
    }
    assert len(digest) == 1
    other = change(TINY, thresholds=(0.0,))
    assert store.folder("out", other, job="threshold-masks", label="tiny").name not in digest


# Runs.


def test_interrupted_anywhere_it_ends_with_the_same_bits(finished, tmp_path):
    expected, _ = finished
    with opened(change(TINY, sizes=()), tmp_path) as (experiment, run):
        for events in (2, 4, 9):  # in the long training, the short one, the search
            job = threshold_masks.threshold_masks(
                Lab(experiment, run, checkpoint_seconds=60), experiment.prunable.config
            )
            for _ in range(events):
                assert next(job, None) is not None
            with pytest.raises(KeyboardInterrupt):
                job.throw(KeyboardInterrupt())
            assert not threshold_masks.complete(TINY, run.path)
        whole(experiment, run)
        for unit, record in run.records():
            assert record["curve"] == expected.record(unit)["curve"]
            if record["kind"] != "thresholds":
                assert same(run.load(unit, "network"), expected.load(unit, "network"))
    assert threshold_masks.complete(change(TINY, sizes=()), run.path)


def test_progress_counts_down_to_nothing(tmp_path):
    with opened(change(TINY, sizes=()), tmp_path) as (experiment, run):
        events = whole(experiment, run)
    left = [event.num_pending for event in events if event.finished]
    assert left[-1] == 0
    assert left == sorted(left, reverse=True)
    assert sum(len(event.finished) for event in events) == 2 * 5


NUMBERS = [
    f"{name}_{of}"
    for name in ("density", "final_loss", "least_loss", "least_step", "test_accuracy")
    for of in ("mean", "sd")
]  # columns of a summary


@pytest.mark.parametrize(
    ("emptied", "told"),
    [
        ({(0, 0.6), (0, 0.8), (1, 0.6), (1, 0.8)}, "from 0.6 upwards (4 of 6 masks)."),
        (
            {(0, 0.6), (0, 0.8), (1, 0.8)},
            "from 0.6 upwards in one replicate, from 0.8 in another (3 of 6 masks).",
        ),
    ],
)
def test_thresholds_that_empty_a_layer_are_told_of_each_replicate(emptied, told):
    tried = [
        {"control": "untrained", "replicate": replicate, "threshold": threshold}
        | {"emptied": "Dense_0" * ((replicate, threshold) in emptied)}
        for replicate in (0, 1)
        for threshold in (0.2, 0.6, 0.8)
    ]
    summary = pd.DataFrame({"n": [2], "failed": [0], "kind": ["ticket"], "network": ["ticket"]})
    caption = report.render(
        summary.assign(**dict.fromkeys(NUMBERS, 1.0)), pd.DataFrame(tried), split="validation"
    ).caption
    assert f"Thresholds that empty a layer are never chosen: {told}" in caption
    assert "standard deviation of 2 replicates." in caption


@pytest.mark.parametrize(
    ("counts", "told"),
    [((2, 4), "mean ± standard deviation of 2 to 4 replicates."), ((1, 0), "of one replicate.")],
)
def test_the_caption_says_of_how_many_replicates_means_are(counts, told):
    summary = pd.DataFrame({"n": counts, "failed": 0, "kind": "size", "network": ["4", "8"]})
    tried = pd.DataFrame(columns=["control", "emptied"])
    numbers = dict.fromkeys(NUMBERS, 1.0)
    table = report.render(summary.assign(**numbers), tried, split="validation")
    assert str(table.caption).splitlines()[0].endswith(told)


def test_the_command_prints_its_table_draws_its_figure_and_computes_nothing_twice(finished):
    run, said = finished
    for network in ("ticket", "untrained", "12-6", "5", "short", "long"):
        assert sum(line.startswith(f"{network} ") for line in said.splitlines()) == 1, network
    assert "At the best threshold" in said
    assert "Thresholds that empty a layer are never chosen: from " in said
    assert (run.path / "threshold-masks.png").exists()
    assert threshold_masks.complete(TINY, run.path)
    before = times(run.path)
    again = io.StringIO()
    with contextlib.redirect_stdout(again):
        assert cli.main([*COMMAND, "--out", str(run.path.parent)]) == 0
    assert again.getvalue() == said
    assert times(run.path) == before


@pytest.mark.parametrize("kind", ["threshold-masks", "stopping", "thresholds", "sizes"])
def test_each_kind_of_figure_is_drawn_from_the_stored_run(finished, tmp_path, kind):
    run, _ = finished
    file = tmp_path / "figure.png"
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(["figure", str(run.path), "--kind", kind, "--file", str(file)]) == 0
    assert file.exists()


def test_the_summary_has_means_and_deviations_over_replicates(finished):
    run, _ = finished
    frame, curves = store.table([run.path]), store.curves([run.path])
    result = report.summary(frame, curves, split="validation").set_index("network")
    tickets = frame[frame["kind"] == "ticket"]
    assert result.loc["ticket", "final_loss_mean"] == pytest.approx(
        tickets["validation_loss"].mean()
    )
    assert result.loc["ticket", "final_loss_sd"] == pytest.approx(tickets["validation_loss"].std())
    assert result.loc["5", "density_mean"] == pytest.approx((64 * 5 + 50) / 900)
    assert result.loc["untrained", "density_mean"] == result.loc["ticket", "density_mean"]
    assert (result["n"] == 2).all()
    long = frame[frame["kind"] == "long"]
    assert result.loc["long", "least_step_mean"] == pytest.approx(long["best_step"].mean())
    assert result.loc["long", "least_loss_mean"] == pytest.approx(
        long["best_validation_loss"].mean()
    )


def test_sizes_are_drawn_in_the_groups_asked_for(finished):
    run, _ = finished
    frame, curves = store.table([run.path]), store.curves([run.path])
    groups = {"large": ("12-6",), "small": ("5",), "none": ("99",)}
    made = threshold_figures.figure(frame, curves, "training", split="validation", groups=groups)
    titles = [text.get_text() for text in made.axes[0].get_legend().get_texts()]
    assert titles == ["ticket", "large", "small"]


@pytest.mark.slow
def test_the_study_writes_its_tables_and_figures_and_draws_them_again(tmp_path):
    study = pathlib.Path(__file__).resolve().parents[1] / "experiments" / "supermask_tickets.py"
    command = [sys.executable, "-W", "error", str(study), "--replicates", "1"]
    environment = os.environ | {"PYTHONPATH": str(study.parents[1])}
    for more in ((), ("--draw",)):
        subprocess.run([*command, *more], cwd=tmp_path, env=environment, check=True)
        folder = tmp_path / "experiments/results/supermask_tickets/smoke/validation"
        names = {file.name for file in folder.iterdir()}
        assert names == {
            *(f"figure_{number}.png" for number in range(1, 7)),
            *("table_1.csv", "thresholds.csv", "numbers.csv"),
        }
        assert len(pd.read_csv(folder / "thresholds.csv")) == 15
    assert len(times(tmp_path / "runs")) == 4 + 3


@pytest.mark.data
@pytest.mark.slow
def test_on_mnist_masked_networks_are_better_than_chance(tmp_path):
    config = ThresholdMasksConfig(
        data=DataConfig(name="mnist"),
        training=TrainingConfig(steps=2_000, evaluate_every=500),
        thresholds=(0.0, 0.05, 0.1),
        replicates=1,
    )
    record = made(config, tmp_path).record(artifacts.thresholds(0))
    assert record["test_accuracy"] > 0.2
    assert 0.6 < record["curve"]["density"][0] < 0.95


def test_biases_are_masked_where_asked_and_empty_no_layer(tmp_path):
    run = made(change(TINY, mask_biases=True, sizes=(), replicates=1), tmp_path)
    curve = run.record(artifacts.thresholds(0))["curve"]
    for name in ("Dense_0", "Dense_1", "Dense_2"):
        assert curve[f"layer_densities.{name}/bias"] == [1, 0, 0, 0]  # they are 0 before training
    assert curve["emptied"][:2] == ["", ""]
    assert curve["emptied"][-1] == "Dense_0/kernel Dense_1/kernel Dense_2/kernel"
    mask = run.load(artifacts.ticket(0), "mask")
    assert masks.size(mask) == 64 * 12 + 12 + 12 * 6 + 6 + 6 * 10 + 10
    assert same(threshold_masks_report.find(run, 0).mask, mask)


def test_a_unit_of_many_layers_has_a_name_that_a_folder_can_have():
    size = "-".join(200 * ["10"])
    config = change(TINY, model=ModelConfig(name="mlp", hidden=200 * (10,)), sizes=())
    (name,) = {unit.split("/")[0] for unit in artifacts.units(config) if "size_10-10" in unit}
    assert len(name) == 255
    assert name.startswith(f"size_{size[:200]}")


# What is drawn of an interrupted run.


def interrupted(run, tmp_path, *kinds):
    """Return the folder of a copy of a run in which only units of these kinds are finished."""
    path = tmp_path / run.path.name
    shutil.copytree(run.path, path)
    for unit, record in run.records():
        if record["kind"] not in kinds:
            (path / unit / "record.json").unlink()
    return path


@pytest.mark.parametrize(
    ("kinds", "drawn", "lacking"),
    [
        (["long"], [], "accuracies"),
        (["long", "short"], ["stopping"], "accuracies"),
        (
            ["long", "short", "thresholds"],
            ["stopping", "thresholds", "threshold-masks"],
            "training",
        ),
        (["baseline"], ["threshold-masks", "sizes"], "long"),
    ],
)
def test_an_interrupted_run_is_drawn_as_far_as_it_goes(
    finished, kinds, drawn, lacking, tmp_path, capfd
):
    path = interrupted(finished[0], tmp_path, *kinds)
    for kind in ("threshold-masks", "stopping", "thresholds", "sizes"):
        file = tmp_path / f"{kind}.svg"
        code = cli.main(["figure", str(path), "--kind", kind, "--file", str(file)])
        said = capfd.readouterr().err
        if kind in drawn:
            assert (code, said) == (0, "")
            assert file.exists()
        elif kind != "stopping":
            assert code == 2
            assert re.fullmatch("jaxlth: `results` have no network of the kind .* yet .*\n", said)
            assert not file.exists()
    frame, curves = store.table([path]), store.curves([path])
    with pytest.raises(ValueError, match=f"the panel {lacking} draws"):
        threshold_figures.figure(frame, curves, lacking, split="validation")
