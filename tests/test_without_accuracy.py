"""Reports of runs whose loss has no accuracy, and of language models, on tables made by hand."""

import dataclasses
import math
import types

import numpy as np
import pandas as pd
import pytest
import test_instability as of_twins
import test_report as by_hand

from jaxlth import store
from jaxlth.plots import figures, result_table
from jaxlth.studies import STUDIES, method_figures, method_summary, metrics, run_info, tables
from jaxlth.studies.config import check_accuracy
from jaxlth.studies.imp import learning, sentences
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.imp.run import lost_too_much
from jaxlth.studies.instability import comparison
from jaxlth.studies.instability import figures as twin_figures
from jaxlth.studies.instability import report as twin_report
from jaxlth.studies.instability import run as instability
from jaxlth.studies.instability import summary as twin_summary
from jaxlth.studies.separation.config import SeparationConfig
from jaxlth.studies.threshold_masks.config import ThresholdMasksConfig
from jaxlth.training import fit
from jaxlth.training.evaluation import Evaluation

SQUARED = {"ticket": [[4.0, 6.0], [5.004, 5.006], [7.0, 7.0]], "random": [None, [9.0, 9.0], [4.9]]}


def losses(values, **options):
    """Return results without accuracies, {control: losses as in `test_report.table`}."""
    frame = by_hand.table(values, **options)
    value = frame["test_accuracy"].astype(float)
    of_loss = {f"{name}_loss": value for name in ("test", "train", "best_test")}
    none = dict.fromkeys(("test_accuracy", "train_accuracy", "best_test_accuracy"))
    return frame.assign(**of_loss, **none, dilation=1.0)


def heights(axes, label):
    return by_hand.line(axes, label).get_ydata()


# ---- levels


def test_without_accuracy_a_level_matches_by_its_share_of_the_dense_loss():
    summary = tables.summary(losses(SQUARED), metric="test_loss", tolerance=0.002)
    assert list(summary["ticket_mean"]) == pytest.approx([5, 5.005, 7])
    assert list(summary["matches"]) == [True, True, False]
    assert list(summary["random_matches"])[1:] == [False, True]
    strict = tables.summary(losses(SQUARED), metric="test_loss", tolerance=0.0005)
    assert list(strict["matches"]) == [True, False, False]


def test_whether_a_loss_matches_does_not_depend_on_its_unit_or_sign():
    for unit in (1e-6, 1.0, 1e6):
        values = pd.Series([1.0019, 1.0021]) * unit
        matches = metrics.matching(values, unit, 0.002, "test_loss")
        assert matches.tolist() == [True, False]
    below_zero = metrics.matching(pd.Series([-9.99, -9.97]), -10.0, 0.002, "test_loss")
    assert below_zero.tolist() == [True, False]


def test_table_and_sentence_without_accuracy_say_losses_and_how_they_match():
    summary = tables.summary(losses(SQUARED), metric="test_loss", tolerance=0.002)
    rendered = by_hand.text(tables.render(summary, metric="test_loss", tolerance=0.002))
    assert "5.005* (5.004-5.006)" in rendered
    words = " ".join(rendered.split())
    assert "Test loss, as no accuracy is defined, mean (min-max) of 1 to 2 replicates." in words
    assert "* matches the dense network to within 0.2 % of its loss." in words
    assert "ercent" not in words
    told = sentences.sentence(summary, metric="test_loss", tolerance=0.002, rewind_step=0)
    assert told == (
        "Winning tickets match the dense network (loss 5.000) to within 0.2 % of its loss down to "
        "50 % of the weights; randomly pruned networks do so even down to 25 % (but not at 50 %)."
    )


def test_the_best_ticket_without_accuracy_is_that_of_least_loss():
    summary = tables.summary(
        losses({"ticket": [[1.0], [3.0], [2.0]]}), metric="test_loss", tolerance=0
    )
    told = sentences.sentence(summary, metric="test_loss", tolerance=0, rewind_step=0)
    assert told.endswith("the best, at 25 % of the weights, reaches loss 2.000.")


def test_a_run_whose_networks_all_diverged_has_no_accuracy_and_says_so():
    diverged = losses({"ticket": [[None, None]]}).assign(nan_step=3)
    assert result_table.metric(diverged, "test_accuracy") == "test_loss"
    summary = tables.summary(diverged, metric="test_loss", tolerance=0.002)
    text = sentences.sentence(summary, metric="test_loss", tolerance=0.002, rewind_step=0)
    assert text.startswith("The dense network did not train")
    figures.accuracy(diverged, metric="test_loss")


def test_an_error_that_is_none_at_an_evaluation_ends_the_training():
    for wrong in (float("nan"), 4.75, -0.5):
        accuracy = np.float32(1 - wrong)
        with pytest.raises(
            ValueError, match=rf"^`error` must return numbers in \[0, 1\].*got {wrong}"
        ):
            fit._accuracy(Evaluation(np.float32(2.0), accuracy))
    assert fit._accuracy(Evaluation(np.float32(2.0), np.float32(0.25))) == 0.25
    assert fit._accuracy(Evaluation(np.float32(np.nan), np.float32(np.nan))) is None  # it diverged
    assert fit._accuracy(Evaluation(np.float32(2.0), None)) is None


def test_accuracy_is_used_where_there_is_one_though_losses_are_there_too():
    frame = by_hand.table({"ticket": [[0.9]]}).assign(test_loss=0.3)
    assert result_table.metric(frame, "test_accuracy") == "test_accuracy"
    assert result_table.metric(losses(SQUARED), "train_accuracy") == "train_loss"
    assert tables.ends(losses(SQUARED))["mean"].tolist() == [5, 4.9, 7]


def test_figures_without_accuracy_draw_losses():
    frame = losses(SQUARED)
    (axes,) = figures.accuracy(frame).axes
    assert axes.get_ylabel() == "Test loss"
    np.testing.assert_allclose(heights(axes, "ticket"), [5, 5.005, 7])
    (axes,) = figures.accuracy(frame, metric="train_accuracy").axes
    assert axes.get_ylabel() == "Train loss"
    several = figures.accuracy_of({"one": frame, "other": frame}).axes
    assert [axes.get_ylabel() for axes in several] == ["Test loss", "Train loss"]
    _, right = figures.early_stopping(frame).axes
    assert right.get_ylabel() == "Test loss at that step"
    np.testing.assert_allclose(heights(right, "ticket"), [5, 5.005, 7])


def test_one_bad_loss_does_not_squeeze_the_others_together():
    frame = losses({"ticket": [[1.0], [1.1], [1.2]], "random": [None, [1.2], [500.0]]})
    (axes,) = figures.accuracy(frame).axes
    low, high = axes.get_ylim()
    assert low < 1
    assert 1.2 < high < 10
    assert "1 point above the axis" in axes.get_title(loc="right")


def test_training_without_accuracy_draws_the_loss():
    rows = [
        {"step": step, "level": 0, "control": "ticket", "replicate": 0, "test_loss": 1 / (1 + step)}
        for step in range(20)
    ]
    curves = pd.DataFrame(rows).assign(test_accuracy=None)
    (axes,) = figures.training(curves).axes
    assert axes.get_ylabel() == "Test loss"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 1 / np.arange(1, 21))
    assert 0 < axes.get_ylim()[1] < 0.5


def test_the_least_dilation_without_accuracy_reaches_the_dense_loss():
    frame = losses({"ticket": [[1.0], [1.5]]})
    longer = losses({"ticket": [[0.9], [0.95]]}).assign(dilation=2.0)
    dilations = learning.least_dilations(pd.concat([frame, longer], ignore_index=True))
    assert dilations["d_star"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("share", "stops"), [(0.09, True), (0.11, False)])
def test_levels_stop_at_a_share_of_the_dense_loss(share, stops):
    def record(loss):
        return {"test_accuracy": None, "test_loss": loss, "nan_step": None}

    records = {"level_00/ticket/replicate_0": record(50.0)}
    records["level_01/ticket/replicate_0"] = record(55.0)
    run = types.SimpleNamespace(has=records.__contains__, record=records.__getitem__)
    config = ImpConfig(replicates=1, stop_lost_accuracy=share)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, validation=0))
    assert lost_too_much(types.SimpleNamespace(run=run), config, 1) is stops


# ---- methods


def methods():
    """Return results of two methods at two densities, without accuracies."""
    rows = [("dense", 1.0, 0, 2.0), ("snip-before-once", 0.5, 1, 2.001)]
    rows += [("snip-before-once", 0.1, 1, 3.0), ("random-before-once", 0.1, 1, 4.0)]
    return pd.DataFrame(
        {
            **{"control": control, "density": density, "level": level, "link": False},
            "unit": f"density_{density:g}/{control}",
            "score": control.partition("-")[0] if level else "none",
            **{"schedule": "before-once" if level else "none", "ablation": "none"},
            **{"weights": "standard", "prune_step": 0, "replicate": replicate, "nan_step": None},
            **{"test_accuracy": None, "train_accuracy": None, "test_loss": loss + replicate / 1e4},
            "train_loss": loss,
        }
        for control, density, level, loss in rows
        for replicate in (0, 1)
    )


def test_methods_without_accuracy_are_compared_by_loss():
    summary = method_summary.summary(
        methods(), tolerance=0.002, baseline="random-before-once", losses=False
    )
    assert summary["control"].tolist() == ["dense", "random-before-once", *["snip-before-once"] * 2]
    assert summary["matches"].tolist() == [True, False, True, False]
    assert summary["p"].iloc[3] < 1e-6
    rendered = by_hand.text(method_summary.render(summary, metric="test_loss", tolerance=0.002))
    assert "2.001*" in rendered
    words = " ".join(rendered.split())
    assert "Test loss, as no accuracy is defined, mean of 2 replicates." in words
    told = method_summary.sentence(summary, metric="test_loss")
    assert told.startswith("The dense network reaches loss 2.000. Best at 50 %: snip-before-once")
    assert told.endswith("at 10 %: snip-before-once (loss 3.000).")


def test_figures_of_methods_without_accuracy_draw_losses():
    (axes,) = method_figures.accuracy(methods()).axes
    assert axes.get_ylabel() == "Test loss"
    np.testing.assert_allclose(heights(axes, "snip"), [2.00105, 3.00005])
    later = methods().assign(prune_step=5)
    (axes, *_) = method_figures.steps(later).axes
    assert axes.get_ylabel().startswith("Test loss, ")


# ---- language models


def test_language_models_show_loss_and_bits_beside_the_accuracy():
    frame = by_hand.table({"ticket": [[0.5], [0.25]], "random": [None, [0.125]]})
    frame = frame.assign(test_loss=[math.log(4), math.log(8), math.log(16)])
    summary = tables.summary(frame, tolerance=0.0, losses=True)
    rendered = by_hand.text(tables.render(summary, tolerance=0.0, token="character"))
    assert "Accuracy per character in percent" in rendered
    assert "Below: loss in nats, and bits, per character." in rendered
    for cell in ("50.00", "1.386 2.000", "2.079 3.000", "2.773 4.000"):
        assert cell in rendered
    pruned = methods().assign(test_accuracy=0.5, test_loss=math.log(2))
    summary = method_summary.summary(pruned, tolerance=0.0, losses=True)
    rendered = by_hand.text(method_summary.render(summary, tolerance=0.0, token="token"))
    assert rendered.count("0.693 1.000") == 4
    assert "Accuracy per token in percent" in rendered


@pytest.mark.parametrize(
    ("name", "token"), [("text", "character"), ("text:book.txt", "character"), ("own", "token")]
)
def test_the_summary_of_a_run_knows_its_language_model(name, token, tmp_path, monkeypatch):
    about = {"settings": {"data": {"name": name}, "loss": "next-token"}}
    monkeypatch.setattr(store, "about_run", lambda _: about)
    assert run_info.token(tmp_path) == token
    del about["settings"]["loss"]  # as of a run that is older than other losses
    assert (run_info.loss(tmp_path), run_info.token(tmp_path)) == ("cross-entropy", "")


# ---- twins


def twins(*, errors):
    """Return the table of `test_instability` with losses, and without errors if so asked."""
    frame = of_twins.table(of_twins.BY_HAND)
    frame = frame.assign(
        test_loss_barrier=2 * frame["test_instability"],
        train_loss_barrier=frame["test_instability"],
        test_loss=10 * frame["test_error"].fillna(0.1),
        train_loss=frame["test_error"],
    )
    if errors:
        return frame
    none = ("test_instability", "train_instability", "test_error", "train_error", "test_accuracy")
    return frame.assign(**dict.fromkeys(none))


def test_the_loss_barrier_stands_below_the_error_barrier():
    summary = twin_summary.summary(twins(errors=True), threshold=0.02, tolerance=0.002)
    before = twin_summary.summary(of_twins.table(of_twins.BY_HAND), threshold=0.02, tolerance=0.002)
    same = ["test_mean", "test_sd", "accuracy", "stable", "matches", "n"]
    pd.testing.assert_frame_equal(summary[same], before[same])
    assert summary["test_loss_mean"].tolist() == pytest.approx([0.7, 0.3, 0.03, 0.3, 0.01, 0.0])
    old, new = (
        by_hand.text(twin_report.render(table, threshold=0.02, tolerance=0.002)).splitlines()
        for table in (before, summary)
    )
    assert [line.rstrip() for line in new if "Below" in line] == [
        "Below: mean loss barrier in nats, and test loss."
    ]
    assert [line.split() for line in new[2:14:2]] == [line.split() for line in old[2:8]]
    assert new[3].split() == ["0.700", "0.350", "1.000", "-"]


def test_the_table_of_older_runs_has_no_losses():
    summary = twin_summary.summary(
        of_twins.table(of_twins.BY_HAND), threshold=0.02, tolerance=0.002
    )
    assert "loss" not in by_hand.text(twin_report.render(summary, threshold=0.02, tolerance=0.002))


def test_without_errors_twins_are_stable_by_the_loss_barrier_as_a_share_of_their_loss():
    summary = twin_summary.summary(twins(errors=False), threshold=0.02, tolerance=0.002)
    assert summary["loss"].tolist() == pytest.approx([1.0, 1.0, 1.0, 1.3, 0.9, 1.0])
    assert summary["stable"].tolist() == [False, False, False, False, True, True]
    looser = twin_summary.summary(twins(errors=False), threshold=0.031, tolerance=0.002)
    assert looser["stable"].tolist() == [False, False, True, False, True, True]
    assert summary["matches"].tolist() == [True, True, True, False, True, True]
    assert summary["n"].tolist() == [2] * 6
    rendered = by_hand.text(
        twin_report.render(summary, threshold=0.02, tolerance=0.002, loss="squared-error")
    )
    assert "0.700" in rendered
    words = " ".join(rendered.split())
    assert "Loss barrier between twins, mean ± sd of 2 pairs; test loss," in words
    assert "* stable: below 2 % of the test loss, as no error is defined." in words
    assert "* of loss: matches the dense network to within 0.2 % of its loss." in words


def test_figures_of_twins_without_errors_draw_losses():
    frame = twins(errors=False)
    (axes,) = twin_figures.instability(frame).axes
    assert axes.get_ylabel() == "Loss barrier between twins"
    np.testing.assert_allclose(heights(axes, "dense, test"), [0.7, 0.3, 0.03])
    (axes,) = twin_figures.error(frame).axes
    assert axes.get_ylabel() == "Loss at the end of training"
    np.testing.assert_allclose(heights(axes, "ticket at 10 %, test"), [1.3, 0.9, 1.0])
    (axes,) = twin_figures.onsets(frame, threshold=0.02, tolerance=0.002).axes
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    # One pair is stable from step 10 on, the other (0.02 above 2 % of 0.9) from step 50 on.
    assert lines == {"ticket, stable": [30.0], "ticket, matches": [10.0]}
    assert len(twin_figures.distances(frame).axes) == len(twin_figures.DISTANCES) - 2
    assert twin_figures.start(frame).axes[0].get_ylabel() == "Test loss at step k"


@pytest.mark.slow
def test_a_run_without_errors_is_compared_and_searched_by_losses(tmp_path, monkeypatch):
    """The comparison of a loss that counts nothing as right or wrong."""
    evaluation = comparison.evaluation
    without = types.SimpleNamespace(
        metric_sums=lambda *args: evaluation.metric_sums(*args)._replace(correct=None),
        disagreement=lambda *args: evaluation.disagreement(*args)._replace(classes=None),
        batch_stats_sums=evaluation.batch_stats_sums,
    )
    monkeypatch.setattr(comparison, "evaluation", without)
    settings = of_twins.config(rewind_steps=(0, 10), search="first", threshold=0.99)
    with of_twins.opened(settings, tmp_path) as (experiment, run):
        of_twins.whole(experiment, run)
        assert instability.complete(settings, run.path)
        table, curves = store.table([run.path]), store.curves([run.path])
        tight = dataclasses.replace(settings, threshold=1e-9)
        assert instability.stable(run, settings, 0)
        assert not instability.stable(run, tight, 0)
    pairs = twin_summary.pairs(table)
    assert set(pairs["step_k"]) == {0}  # it is stable there
    assert pairs["test_instability"].isna().all()
    line = curves[curves["unit"] == pairs["unit"].iloc[0]]["test_loss"].to_numpy()
    barrier = line.max() - (line[0] + line[-1]) / 2
    assert pairs["test_loss_barrier"].iloc[0] == pytest.approx(barrier, abs=1e-6)
    table = table.assign(test_accuracy=None)
    summary = twin_summary.summary(table, threshold=0.99, tolerance=0.002)
    assert summary["stable"].all()
    assert summary["mean_loss"].notna().all()
    (axes,) = twin_figures.interpolation(table, curves).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), line)


# ---- what needs an accuracy


@pytest.mark.parametrize(
    ("prepare", "config"),
    [
        (STUDIES["separation"].prepare, SeparationConfig),
        (STUDIES["threshold-masks"].prepare, ThresholdMasksConfig),
    ],
)
def test_studies_of_accuracies_refuse_a_loss_without_one(prepare, config):
    def of(loss, error=""):
        config_with_loss = config()
        object.__setattr__(config_with_loss, "loss", loss)  # until configs have the fields
        object.__setattr__(config_with_loss, "error", error)
        return config_with_loss

    with pytest.raises(ValueError, match="`loss` must have an accuracy, or `error` be given"):
        prepare(of("squared-error"))
    check_accuracy(of("squared-error", error="own"), "")
    check_accuracy(of("cross-entropy"), "")
    check_accuracy(config(), "")
