"""Trained masks as a job: what is stored, how it goes on, what the command says."""

import contextlib
import functools
import io
import pathlib

import jax
import numpy as np
import pytest
import tiny

from jaxlth import (
    cli,
    data,
    graphs,
    keys,
    landscape,
    mask_training,
    masks,
    models,
    settings,
    store,
    supermasks,
    tickets,
    trees,
)
from jaxlth.mask_training import FINETUNED, MaskTrainingSettings, Wanted
from jaxlth.models import ModelSettings
from jaxlth.training import train

SIZES = {"Dense_0/kernel": 64 * 12, "Dense_1/kernel": 12 * 10}
MODEL = ["--model", "mlp", "--hidden", "12", "--batch-size", "50"]
SHORT = ["train-mask", *MODEL, "--steps", "40", "--evaluate-every", "5"]
METHODS = {
    "edge-popup": ["--density", "0.5", "--frozen-weights", "signed-constant", "--lr", "0.5"],
    "gem-miner": ["--density", "0.3", "--prunings", "4", "--score-l2", "0.01"],
    "bernoulli": ["--rescale", "--lr", "0.3"],
}
COMMANDS = {
    "edge-popup": ["--replicates", "2", "--finetune", "30", "--controls", "shuffled"],
    "gem-miner": ["--replicates", "1"],
    "bernoulli": ["--replicates", "1", "--finetune", "30"],
}
COMMANDS = {
    method: [*SHORT, "--method", method, *words, *METHODS[method]]
    for method, words in COMMANDS.items()
}
DENSITIES = {"edge-popup": 0.5, "gem-miner": 0.3, "bernoulli": None}

EDGE_POPUP = Wanted("edge-popup", 0.5)
each_method = pytest.mark.parametrize("method", COMMANDS)


def tuned(wanted, control="ticket"):
    return wanted._replace(schedule=FINETUNED, control=control)


def printed(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main([str(word) for word in words]) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Give method -> the run of its command and what that printed."""

    @functools.cache
    def by(method):
        out = tmp_path_factory.mktemp(method)
        text = printed(*COMMANDS[method], "--out", out)
        (info,) = store.runs(out)
        return store.look(info.path), text

    return by


def chosen_of(run):
    return settings.from_dict(MaskTrainingSettings, store.about_run(run.path)["settings"])


@contextlib.contextmanager
def opened(chosen, out):
    """Give the problem, and a run of these settings that is held."""
    problem = mask_training.prepare(chosen)
    label = mask_training.label(chosen)
    with store.open_run(out, chosen, job="train-mask", label=label) as run:
        yield problem, run


def trained(problem, run):
    return list(mask_training.train_masks(problem, run, checkpoint_seconds=60))


def made(chosen, out):
    """Return the run of settings, made in full."""
    with opened(chosen, out) as (problem, run):
        trained(problem, run)
    return store.look(run.path)


@functools.cache
def plain(name="mlp"):
    """Return the network without a mask, as other jobs build it."""
    chosen = ModelSettings(name=name, hidden=(12,) if name == "mlp" else ())
    return models.build(chosen, shape=(8, 8, 1), classes=10)


def initial(replicate, name="mlp"):
    """Return the weights that any job draws for a replicate, by name."""
    key = keys.stream(0, replicate, "initialization")
    return trees.named(jax.device_get(jax.jit(plain(name).init)(key)).params)


def parts(run, wanted, replicate=0):
    """Return the stored weights and mask of a network, by name."""
    subject = tickets.subject(chosen_of(run), shape=(8, 8, 1), classes=10)
    unit = wanted.unit(replicate)
    network = run.load(unit, "network", subject.like)
    return trees.named(network.params), trees.named(run.load(unit, "mask", subject.dense))


def kept(mask):
    return {name: int(np.sum(leaf)) for name, leaf in mask.items()}


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a.keys() | b.keys())


def times(path):
    return {file: file.stat().st_mtime_ns for file in pathlib.Path(path).rglob("record.json")}


# What is found.


def test_frozen_weights_are_the_ones_that_other_jobs_start_from(done):
    run, _ = done("gem-miner")
    params, _ = parts(run, Wanted("gem-miner", 0.3))
    assert same(params, initial(0))


def test_signed_constant_weights_have_one_magnitude_a_layer_and_the_signs_of_the_drawn(done):
    run, _ = done("edge-popup")
    for replicate in range(2):
        params, _ = parts(run, EDGE_POPUP, replicate)
        for name, drawn in initial(replicate).items():
            if name in SIZES:
                assert np.unique(np.abs(params[name])).size == 1
                assert np.array_equal(params[name] < 0, drawn < 0)
                assert np.abs(params[name]).max() == pytest.approx(np.sqrt(np.mean(drawn**2)))
            else:
                assert not params[name].any()


def test_rescaled_weights_are_the_drawn_ones_times_size_over_kept_of_their_layer(done):
    run, _ = done("bernoulli")
    params, mask = parts(run, Wanted("bernoulli", None))
    for name, drawn in initial(0).items():
        factor = np.size(drawn) / np.sum(mask[name]) if name in SIZES else 1
        np.testing.assert_allclose(params[name], drawn * factor, rtol=1e-6)


def test_densities_are_exact_by_layer_over_the_network_or_the_methods_own(done):
    counts = {}
    for method, density in DENSITIES.items():
        run, _ = done(method)
        unit = Wanted(method, density)
        _, mask = parts(run, unit)
        record = run.record(unit.unit(0))
        counts[method] = kept(mask)
        assert record["kept"] == sum(counts[method].values())
        assert record["density"] == record["kept"] / 888
        assert record["layer_densities"] == pytest.approx(
            {name: count / SIZES[name] for name, count in counts[method].items()}
        )
    assert counts["edge-popup"] == {"Dense_0/kernel": 384, "Dense_1/kernel": 60}
    assert sum(counts["gem-miner"].values()) == round(0.3 * 888)
    assert 0.2 < sum(counts["bernoulli"].values()) / 888 < 0.8


@each_method
def test_stored_accuracies_are_those_of_the_stored_network_under_the_stored_mask(done, method):
    run, _ = done(method)
    problem = mask_training.prepare(chosen_of(run))
    digits, evaluate = problem.placed.dataset, jax.jit(problem.course().trainer.evaluate)
    wanted = Wanted(method, DENSITIES[method])
    for each in (wanted, tuned(wanted)):
        if not run.has(each.unit(0)):
            continue
        like = problem.subject.like, problem.subject.dense
        network, mask = (
            run.load(each.unit(0), name, part)
            for name, part in zip(("network", "mask"), like, strict=True)
        )
        record = run.record(each.unit(0))
        for name, split in (("test", digits.test), ("validation", digits.validation)):
            found = evaluate(network, mask, split, digits.mean, digits.std)
            assert record[f"{name}_accuracy"] == pytest.approx(float(found.accuracy), abs=1e-6)
            assert record[f"{name}_loss"] == pytest.approx(float(found.loss), rel=1e-5)


def test_training_by_hand_finds_the_mask_of_the_job(done):
    run, _ = done("gem-miner")
    chosen = chosen_of(run)
    rule = chosen.supermask.at(0.3)
    _, digits = data.load(chosen.data, seed=0)
    model = supermasks.wrap(plain(), rule, steps=40)
    optimizer = supermasks.optimizer(rule, tiny.optimizer("adam", lr=0.1))
    trainer = train.make(model, optimizer, batch_size=50)

    @jax.jit
    def found(digits):
        network = model.init(keys.stream(0, 0, "initialization"))
        mask = masks.dense(network.params)
        order = keys.stream(0, 0, "order")
        state = trainer.advance(trainer.start(network, mask), mask, digits, order, 0, 40)
        return supermasks.found(state.network, rule)

    _, mask = parts(run, Wanted("gem-miner", 0.3))
    by_hand = trees.named(found(digits))
    assert sum(np.sum(mask[name] != by_hand[name]) for name in SIZES) <= 4


def test_what_is_found_is_an_ordinary_mask_of_an_ordinary_network(done):
    run, _ = done("edge-popup")
    before = mask_training.find(run, EDGE_POPUP, 0)
    after = run.load(tuned(EDGE_POPUP).unit(0), "network", before.network)
    masks.check(before.network.params, before.mask)
    found = graphs.categories(before.network.params, before.mask)
    assert sum(graphs.count(found.weights)) == 888
    assert graphs.count(found.weights).pruned == 444
    assert graphs.components(found).number >= 1
    middle = landscape.interpolate(before.network, after, 0.5).params["Dense_0"]["kernel"]
    ends = [each.params["Dense_0"]["kernel"] for each in (before.network, after)]
    np.testing.assert_allclose(middle, sum(ends) / 2, rtol=1e-6)
    gaps = [
        (b - a)[keep] if keep is not None else b - a
        for (a, b), keep in zip(
            zip(*(trees.named(each.params).values() for each in (before.network, after))),
            _with_none(before),
            strict=True,
        )
    ]
    expected = np.sqrt(sum(np.sum(np.square(gap)) for gap in gaps))
    found = landscape.l2_distance(before.network.params, after.params, mask=before.mask)
    assert float(found) == pytest.approx(expected, rel=1e-5)
