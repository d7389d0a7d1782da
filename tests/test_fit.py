import copy
import math

import jax
import numpy as np
import pytest
import tiny

from jaxlth import data, keys, masks, models, training
from jaxlth.data import DataConfig, Split
from jaxlth.training import (
    OptimizerConfig,
    TrainingConfig,
    execution,
    fit,
    optimizers,
    train,
)
from jaxlth.training.execution import Layout
from jaxlth.training.states import NEVER

OVERFITTING, IMPROVING, EXPLODING = range(3)  # the networks of the group
PLAN = training.Plan(
    steps=60,
    steps_per_epoch=1,
    evaluations=tuple(range(4, 61, 4)),
    patience=8,
    milestones=(),
    warmup=0,
)


def confused():
    """Return data whose validation split swaps two classes: to fit the one is to miss the other."""
    images = np.random.default_rng(0).integers(0, 256, (24, *tiny.SHAPE), dtype=np.uint8)
    labels = np.repeat(np.arange(3, dtype=np.int32), [12, 6, 6])
    swapped = np.array([0, 2, 1], np.int32)[labels]
    return tiny.dataset()._replace(train=Split(images, labels), validation=Split(images, swapped))


def group_of(keep_best):
    """Return a function that makes groups of three networks, compiled once.

    One overfits. One has no weights and learns the shares of the classes, ever better. One is large
    enough for its loss to overflow.
    """
    built = tiny.model(16, 16)
    trainer = tiny.trainer(built, batch_size=24, patience=PLAN.patience, keep_best=keep_best)
    compiled = fit.compile(trainer, Layout((jax.devices()[0],), 3), train_examples=1000)
    first, second, third = (tiny.network(built, replicate) for replicate in range(3))
    full = jax.device_get(masks.dense(first.params))
    empty = jax.tree.map(np.logical_not, full)
    large = jax.tree.map(lambda leaf: leaf * np.float32(1e6), third)

    def group(*which):
        config = [[(first, full), (second, empty), (large, full)][at] for at in which]
        networks, group_masks = zip(*config, strict=True)
        order = [keys.stream(0, at, "order") for at in which]
        return tiny.Group(trainer, compiled, networks, group_masks, confused(), keys=order)

    return group


@pytest.fixture(scope="module", autouse=True)
def _pieces():
    """Every evaluation is a moment, unless a test sweeps over several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "MULTI_EVAL_GAP", 0)
        yield


@pytest.fixture(scope="module")
def best_group():
    return group_of(keep_best=True)


@pytest.fixture(scope="module")
def group(best_group):
    return best_group(OVERFITTING, IMPROVING, EXPLODING)


@pytest.fixture(scope="module")
def history(group):
    """The states at every event, by step, and the rows at the end."""
    states = {}
    for event in group.fit(PLAN):
        states[event.step] = group.take(event.states)
    return states, event.rows


@pytest.fixture(scope="module")
def end(history):
    return history[0][PLAN.steps]


def stop_of(rows):
    """Return the steps of the least validation loss and of the stop, from a curve alone."""
    best = min(rows, key=lambda row: row["validation_loss"])
    stop = next((r["step"] for r in rows if r["step"] - best["step"] >= PLAN.patience), None)
    return best["step"], stop


# Early stopping.


def test_patience_stops_a_network_and_its_curve_where_the_curve_says(history, end):
    _, rows = history
    best, stop = stop_of(rows[OVERFITTING])
    assert PLAN.evaluations[0] < best < stop < PLAN.steps
    assert end[OVERFITTING].stopped_step == stop == rows[OVERFITTING][-1]["step"]
    assert end[IMPROVING].stopped_step == NEVER
    assert [row["step"] for row in rows[IMPROVING]] == list(PLAN.evaluations)
    assert stop_of(rows[IMPROVING]) == (PLAN.steps, None)


def test_a_stopped_network_stays_as_it_was_while_the_others_go_on(history, end):
    states, _ = history
    at_stop = states[int(end[OVERFITTING].stopped_step)]
    tiny.assert_same(end[OVERFITTING], at_stop[OVERFITTING])
    with pytest.raises(AssertionError):
        tiny.assert_same(end[IMPROVING].network, at_stop[IMPROVING].network)


@pytest.mark.parametrize("at", [OVERFITTING, IMPROVING])
def test_what_is_told_of_the_best_step_is_what_the_curve_says(history, end, at):
    _, rows = history
    best = end[at].best
    least = fit.row_at(stop_of(rows[at])[0], rows[at])
    assert best.step == least["step"]
    assert best.validation_loss == least["validation_loss"]


def test_the_best_network_is_kept_where_asked(group, history, end):
    states, rows = history
    kept, _ = group.finish(end)
    for at in (OVERFITTING, IMPROVING):
        best = int(end[at].best.step)
        tiny.assert_same(kept[at], states[best][at].network)
        assert fit.kept_row(end[at], rows[at]) is fit.row_at(best, rows[at])
    assert fit.kept_row(end[EXPLODING], rows[EXPLODING]) is rows[EXPLODING][-1]


def test_finished_networks_are_evaluated_on_evenly_spaced_training_examples(history):
    states, _ = history
    built, dataset = tiny.model(16, 16), confused()
    trainer = tiny.trainer(built)
    network = states[PLAN.steps][IMPROVING].network
    mask = masks.dense(network.params)
    examples = len(dataset.train.labels)
    for asked, rows in ((4, np.arange(4) * examples // 4), (10**6, np.arange(examples))):
        compiled = fit.compile(trainer, Layout((jax.devices()[0],), 1), train_examples=asked)
        group = tiny.Group(
            trainer, compiled, [network], [mask], dataset, keys=[keys.stream(0, 0, "order")]
        )
        _, [result] = group.finish(group.starts)
        some = jax.tree.map(lambda a, rows=rows: a[rows], dataset.train)
        wanted = trainer.evaluate(network, mask, some, dataset.mean, dataset.std)
        tiny.assert_close(result, jax.device_get(wanted), rtol=1e-6)


def test_the_network_of_the_stop_is_kept_otherwise():
    group = group_of(keep_best=False)(OVERFITTING, IMPROVING, EXPLODING)
    states, rows = group.train(PLAN)
    kept, _ = group.finish(states)
    for at in (OVERFITTING, IMPROVING):
        tiny.assert_same(kept[at], states[at].network)
        assert fit.kept_row(states[at], rows[at]) is rows[at][-1]
        assert states[at].best.step == stop_of(rows[at])[0]
        assert states[at].best.network is None
    assert states[OVERFITTING].stopped_step == stop_of(rows[OVERFITTING])[1]


# A loss that is not finite.


def test_a_loss_that_is_not_finite_stops_its_network_at_the_next_evaluation(history, end):
    _, rows = history
    exploded = end[EXPLODING]
    assert 0 < exploded.nan_step < PLAN.evaluations[0] == exploded.stopped_step
    assert [row["step"] for row in rows[EXPLODING]] == [PLAN.evaluations[0]]
    assert rows[EXPLODING][0]["train_loss"] is rows[EXPLODING][0]["test_loss"] is None
    assert exploded.best.step == NEVER


def test_a_network_does_not_feel_what_becomes_of_its_neighbours(best_group, history, end):
    states, rows = best_group(IMPROVING, IMPROVING, IMPROVING).train(PLAN)
    # Its place and its data order are those it has beside the others.
    tiny.assert_same(states[IMPROVING], end[IMPROVING])
    assert rows[IMPROVING] == history[1][IMPROVING]


# Chunks, save steps and resumption.


@pytest.mark.parametrize(("first", "seconds"), [(1, 0.0), (3, 1e6), (50, 1e6)])
def test_chunks_change_nothing(group, history, end, monkeypatch, first, seconds):
    monkeypatch.setattr(fit, "FIRST_CHUNK_STEPS", first)
    monkeypatch.setattr(fit, "CHUNK_SECONDS", seconds)
    events = [(event.step, event.rows) for event in group.fit(PLAN, save_steps=(0, 7, 60, 99))]
    steps = [step for step, _ in events]
    assert steps == sorted(set(steps))
    assert {7, *PLAN.evaluations} <= set(steps)
    assert (steps == list(range(1, 61))) == (seconds == 0.0)
    assert events[-1][1] == history[1]
    states, _ = group.train(PLAN, save_steps=(7,))
    tiny.assert_same(states, end)


@pytest.mark.parametrize("cut", [3, 4, 5, 22, 59])
def test_a_training_resumed_from_any_event_is_the_uninterrupted_one(
    group, history, end, monkeypatch, cut
):
    monkeypatch.setattr(fit, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(fit, "FIRST_CHUNK_STEPS", 1)
    event = next(event for event in group.fit(PLAN) if event.step == cut)
    saved, rows = group.take(event.states), copy.deepcopy(event.rows)
    last_eval_step = max((row[-1]["step"] for row in rows if row), default=0)
    states, rows = group.train(
        PLAN, states=saved, start_step=cut, last_eval_step=last_eval_step, rows=rows
    )
    tiny.assert_same(states, end)
    assert rows == history[1]


@pytest.mark.parametrize("cut", [None, 3, 17, 40])
def test_a_loop_over_evaluations_is_the_same_training(group, history, end, monkeypatch, cut):
    monkeypatch.setattr(fit, "MULTI_EVAL_GAP", train.MULTI_EVAL_COUNT)
    if cut is None:
        events = [(event.step, event.rows) for event in group.fit(PLAN, save_steps=(0, 7, 60, 99))]
        steps = [step for step, _ in events]
        assert steps == sorted(set(steps))
        assert {7, PLAN.steps} <= set(steps)
        assert len(steps) < len(PLAN.evaluations)
        assert events[-1][1] == history[1]
        states, rows = group.train(PLAN)
    else:
        event = next(event for event in group.fit(PLAN, save_steps=(cut,)) if event.step >= cut)
        saved, rows = group.take(event.states), copy.deepcopy(event.rows)
        last_eval_step = max((row[-1]["step"] for row in rows if row), default=0)
        states, rows = group.train(
            PLAN, states=saved, start_step=event.step, last_eval_step=last_eval_step, rows=rows
        )
    tiny.assert_same(states, end)
    assert rows == history[1]


def test_a_training_that_is_over_has_no_events(group, end):
    assert not list(group.fit(PLAN, states=end, start_step=PLAN.steps, last_eval_step=PLAN.steps))


def test_a_group_ends_as_soon_as_all_its_networks_have_stopped(best_group, history):
    stopping = best_group(OVERFITTING, EXPLODING, OVERFITTING)
    states, rows = stopping.train(PLAN)
    stop = max(int(state.stopped_step) for state in states)
    assert stop == rows[0][-1]["step"] < PLAN.steps
    assert not list(stopping.fit(PLAN, states=states, start_step=stop, last_eval_step=stop))


def test_the_states_of_an_event_are_gone_once_the_loop_goes_on(group):
    events = group.fit(PLAN)
    first = next(events)
    next(events)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first.states.network))


def test_everything_is_compiled_once(best_group, history):
    group = best_group(EXPLODING, IMPROVING, OVERFITTING)
    for start_step in (0, 17):
        states, _ = group.train(PLAN, start_step=start_step, last_eval_step=start_step)
        group.finish(states)
    for function in (group.compiled.advance, group.compiled.measure, group.compiled.finish):
        assert function._cache_size() == 1


@pytest.mark.parametrize(
    ("chunk", "steps", "seconds", "following"),
    [
        (50, 50, fit.CHUNK_SECONDS, 50),
        (50, 50, fit.CHUNK_SECONDS / 100, 100),  # at most twice as long
        (50, 50, fit.CHUNK_SECONDS * 5, 10),
        (50, 50, fit.CHUNK_SECONDS * 1000, 1),
        (50, 10, fit.CHUNK_SECONDS / 100, 50),  # cut short by an evaluation: no reason to grow
        (50, 10, fit.CHUNK_SECONDS * 5, 2),  # but one to shrink
        (1, 1, 0.0, 2),
    ],
)
def test_chunks_approach_their_length_in_seconds(chunk, steps, seconds, following):
    assert fit._next_chunk(chunk, steps, seconds) == following


def test_numbers_that_json_cannot_hold_are_none():
    assert fit.number(np.float32(0.5)) == 0.5
    assert [fit.number(value) for value in (math.nan, math.inf, -math.inf)] == [None] * 3


# The whole of it.


def test_an_mlp_learns_the_digits():
    info, dataset = data.load(DataConfig(name="digits", validation=0.0), seed=0)
    config = OptimizerConfig(optimizer="adam", lr=3e-3, schedule="cosine")
    plan = training.plan(
        TrainingConfig(steps=300, evaluate_every=100, batch_size=64), config, examples=info.train
    )
    built = models.build(
        models.ModelConfig(name="mlp", hidden=(32,)), shape=info.shape, classes=info.classes
    )
    rate = optimizers.schedule(config, steps=plan.steps)
    trainer = train.make(built, optimizers.build(config, rate), batch_size=64)
    network = tiny.network(built)
    group = tiny.Group(
        trainer,
        fit.compile(trainer, execution.layout(1), train_examples=10_000),
        [network],
        [masks.dense(network.params)],
        dataset,
        keys=[keys.stream(0, 0, "order")],
    )
    states, [rows] = group.train(plan)
    _, [on_train] = group.finish(states)
    assert on_train.accuracy > 0.95
    assert rows[-1]["test_accuracy"] > 0.9  # chance is 0.1
    assert [row["step"] for row in rows] == [100, 200, 300]
    assert rows[0]["train_loss"] > rows[1]["train_loss"] > rows[2]["train_loss"]
    assert all(row["validation_loss"] is row["validation_accuracy"] is None for row in rows)
    assert states[0].best.step == NEVER
