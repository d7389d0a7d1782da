"""Tickets trained in smaller networks: the same training, up to rounding, at full size."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from jaxlth import masks, store, studies
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.studies import compaction, level_artifacts
from jaxlth.studies.compaction import Compaction
from jaxlth.studies.controls import TICKET
from jaxlth.studies.imp import report as imp_report
from jaxlth.studies.imp import run as imp
from jaxlth.studies.imp.config import ImpConfig, network_names
from jaxlth.studies.lab import Lab
from jaxlth.training import OptimizerConfig, TrainingConfig

CHOSEN = ImpConfig(
    data=DataConfig(name="digits"),
    model=ModelConfig(name="mlp", hidden=(40, 30)),
    training=TrainingConfig(steps=60, batch_size=50),
    optimizer=OptimizerConfig(optimizer="momentum", lr=0.02),
    levels=4,
    prune_fraction=0.7,
    controls=("random",),
    replicates=2,
)


def finished_run(out, config):
    """Return the run of settings, all of it trained."""
    experiment = imp.prepare(config)
    run = store.open_run(out, config, job="imp", label="test")
    with run:
        for _ in imp.imp(Lab(experiment, run, checkpoint_seconds=60), experiment.prunable.config):
            pass
    return run, experiment


@pytest.fixture
def worthwhile(monkeypatch):
    """Smaller networks, however little they save; how wide they were."""
    widths = []
    made = Compaction._made
    monkeypatch.setattr(compaction, "WORTHWHILE", 1)
    monkeypatch.setattr(compaction, "SHARE", 0.0)
    monkeypatch.setattr(
        Compaction, "_made", lambda self, each: widths.append(each) or made(self, each)
    )
    return widths


@pytest.mark.slow
def test_compact_and_masked_follow_the_same_path(tmp_path, worthwhile):
    whole, experiment = finished_run(tmp_path, CHOSEN)
    assert worthwhile == []
    smaller, _ = finished_run(tmp_path, dataclasses.replace(CHOSEN, compact=True))
    assert len(worthwhile) >= 2
    assert all(inputs < 64 and first < 40 for inputs, first, _, _ in worthwhile[-1:])
    like, dense = experiment.prunable.like, experiment.prunable.dense
    for unit in network_names(CHOSEN, levels=4):
        masked, compact = whole.record(unit), smaller.record(unit)
        assert compact["kept"] == masked["kept"], unit
        assert compact["test_loss"] == pytest.approx(masked["test_loss"], rel=1e-3), unit
        assert jax.tree.all(
            jax.tree.map(
                np.array_equal, whole.load(unit, "mask", dense), smaller.load(unit, "mask", dense)
            )
        ), unit
        for one, other in zip(
            jax.tree.leaves(whole.load(unit, "network", like)),
            jax.tree.leaves(smaller.load(unit, "network", like)),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, atol=2e-4, err_msg=unit)


@pytest.mark.slow
def test_a_smaller_network_keeps_what_is_left_out_as_it_was_drawn(tmp_path, worthwhile):
    config = dataclasses.replace(CHOSEN, compact=True, controls=(), replicates=1)
    run, experiment = finished_run(tmp_path, config)
    unit = level_artifacts.network(4, TICKET, 0)
    start = jax.device_get(imp_report.find(run, 4, TICKET, 0))
    trained = run.load(unit, "network", experiment.prunable.like).params
    alive = Compaction(
        experiment, experiment.compile_training(), lambda each: each.compile_training()
    )._alive(start.mask)
    first = np.setdiff1d(np.arange(40), alive[1])
    assert len(first) > 0
    drawn = masks.apply(start.network.params, start.mask)
    for layer, which in (("kernel", np.s_[:, first]), ("bias", first)):
        before, after = drawn["Dense_0"][layer][which], trained["Dense_0"][layer][which]
        np.testing.assert_array_equal(before, after)


@pytest.mark.slow
def test_an_interrupted_compact_training_goes_on_to_the_same_bits(tmp_path, worthwhile):
    config = dataclasses.replace(CHOSEN, compact=True, controls=(), levels=2)
    whole, experiment = finished_run(tmp_path / "whole", config)
    run = store.open_run(tmp_path / "cut", config, job="imp", label="test")
    with run:
        events = imp.imp(Lab(experiment, run, checkpoint_seconds=0), experiment.prunable.config)
        cut = False
        for event in events:
            if run.has(level_artifacts.network(1, TICKET, 1)) and 0 < event.step < 60:
                with pytest.raises(KeyboardInterrupt):
                    events.throw(KeyboardInterrupt())
                cut = True
                break
        assert cut
        for _ in imp.imp(Lab(imp.prepare(config), run, checkpoint_seconds=60), config):
            pass
    unit, like = level_artifacts.network(2, TICKET, 1), experiment.prunable.like
    for one, other in zip(
        jax.tree.leaves(whole.load(unit, "network", like)),
        jax.tree.leaves(run.load(unit, "network", like)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_of_other_units_is_of_no_use_but_does_no_harm(tmp_path, worthwhile):
    config = dataclasses.replace(CHOSEN, compact=True, controls=(), levels=2)
    run = store.open_run(tmp_path / "cut", config, job="imp", label="test")
    with run:
        events = imp.imp(Lab(imp.prepare(config), run, checkpoint_seconds=0), config)
        for event in events:
            if run.has(level_artifacts.network(1, TICKET, 1)) and 0 < event.step < 60:
                with pytest.raises(KeyboardInterrupt):
                    events.throw(KeyboardInterrupt())
                break
        more = dataclasses.replace(config, replicates=4)
        for _ in imp.imp(Lab(imp.prepare(more), run, checkpoint_seconds=60), more):
            pass
    assert all(run.has(level_artifacts.network(2, TICKET, each)) for each in range(4))


def test_inputs_that_an_initial_mask_leaves_dead_are_left_out_too(tmp_path, worthwhile):
    kept = {
        "Dense_0": {"kernel": np.ones((64, 24), bool), "bias": None},
        "Dense_1": {"kernel": np.ones((24, 10), bool), "bias": None},
    }
    kept["Dense_0"]["kernel"][:20] = False
    experiment = studies.Experiment(
        model=ModelConfig(name="mlp", hidden=(24,)), data="digits", steps=20, initial_mask=kept,
        name="dead",
    )  # fmt: skip
    ask = functools.partial(
        studies.imp, experiment, levels=2, prune_fraction=0.6, replicates=1, controls=[],
        progress=False,
    )  # fmt: skip
    smaller = ask(compact=True, out=tmp_path / "smaller").trained(level=2).params
    whole = ask(out=tmp_path / "whole").trained(level=2).params
    close = functools.partial(np.testing.assert_allclose, atol=2e-4)
    jax.tree.map(close, smaller, whole)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"model": ModelConfig(name="conv-2")}, "`compact` has no effect on conv-2"),
        ({"model": ModelConfig(name="conv-2"), "alive": True}, "`alive` is for lenet-300-100 and"),
        ({"optimizer": OptimizerConfig(weight_decay=1e-4)}, "which `weight_decay` changes too"),
        ({"optimizer": OptimizerConfig(l1=1e-4)}, "which `l1` changes too"),
        (
            {"data": DataConfig(name="folder:x"), "model": ModelConfig()},
            "`compact` needs images that memory holds",
        ),
    ],
)
def test_what_would_be_another_training_is_refused(changed, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(CHOSEN, compact=True, **changed)
