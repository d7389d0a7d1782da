"""Trained masks as a job: what is stored, how it goes on, what the command says."""

import contextlib
import dataclasses
import functools
import json
import shutil
import types

import jax
import numpy as np
import pytest
import tiny
from tiny import printed, times

from jaxlth import (
    cli,
    data,
    graphs,
    keys,
    landscape,
    masks,
    models,
    settings,
    store,
    supermasks,
    trees,
)
from jaxlth.models import ModelConfig
from jaxlth.studies.config import run_label
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import for_reading
from jaxlth.studies.prunable import prunable_model
from jaxlth.studies.train_supermasks import report as train_supermasks_report
from jaxlth.studies.train_supermasks import run as train_supermasks
from jaxlth.studies.train_supermasks.config import FINETUNED, TrainSupermasksConfig, Wanted, units
from jaxlth.supermasks import SupermaskRule
from jaxlth.training import TrainingConfig, train

# The number of devices, or the first command of the process would take as many as there are cores.
SHORT = ["train-supermasks", "--model", "mlp", "--batch-size", "50", "--devices", "2"]
SHORT += ["--steps", "40", "--evaluate-every", "5"]
EDGE = ["--method", "edge-popup", "--density", "0.5"]
GEM = ["--method", "gem-miner", "--density", "0.3", "--prunings", "4", "--restore"]
# In this run trained weights stay what they start from, but for biases, which are next to 0 then.
STILL = ["--frozen-weights", "signed-constant", "--lr", "0.5", "--replicates", "2"]
STILL += ["--finetune", "1", "--finetune-optimizer", "sgd", "--finetune-lr", "1e-30"]
STILL += ["--controls", "reinitialized", "shuffled", "random-layerwise"]
STILL += ["--hidden", "12", "6", "--exclude", "Dense_2/*"]
MOVED = ["--finetune", "30", "--controls", "reinitialized"]
COMMANDS = {
    "edge-popup": [*SHORT, *EDGE, *STILL],
    "bernoulli": [*SHORT, "--rescale", "--hidden", "12", "--replicates", "1", *MOVED],
    "gem-miner": [*SHORT, *GEM, "--score-l2", "0.01", "--hidden", "12", "--replicates", "1"],
}
EDGE_POPUP, BERNOULLI = Wanted("edge-popup", 0.5), Wanted("bernoulli", None)
GEM_MINER, DENSE = Wanted("gem-miner", 0.3), Wanted("dense", 1.0, FINETUNED)


def change(of, **others):
    return dataclasses.replace(of, **others)


def tuned(wanted, control="ticket"):
    return wanted._replace(schedule=FINETUNED, control=control)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Give method -> the run of its command and what that printed."""

    @functools.cache
    def by(method):
        out = tmp_path_factory.mktemp(method)
        text = printed(*COMMANDS[method], "--out", out)
        (info,) = store.runs(out)
        return store.open_readonly(info.path), text

    return by


def chosen_of(run):
    return settings.from_dict(TrainSupermasksConfig, store.about_run(run.path)["settings"])


@contextlib.contextmanager
def opened(config, out):
    """Give the problem, and a run of these settings that is held."""
    experiment = train_supermasks.prepare(config)
    label = run_label(config)
    with store.open_run(out, config, job="train-supermasks", label=label) as run:
        yield experiment, run


def trained(experiment, run):
    return list(
        train_supermasks.train_supermasks(
            Lab(experiment, run, checkpoint_seconds=60), experiment.prunable.config
        )
    )


def made(config, out):
    """Return the run of settings, made in full."""
    with opened(config, out) as (experiment, run):
        trained(experiment, run)
    return store.open_readonly(run.path)


@functools.cache
def initial(replicate, *hidden, name="mlp"):
    """Return the weights that IMP starts from, by name."""
    config = ImpConfig(model=ModelConfig(name=name, hidden=hidden))
    whole = types.SimpleNamespace(replicates=None)  # of a run without a folder
    lab = Lab(for_reading(config, shape=(8, 8, 1), classes=10), whole)
    return trees.named(jax.device_get(lab.init(replicate).params))


def parts(run, wanted, replicate=0):
    """Return the stored weights and mask of a network, by name."""
    subject = prunable_model(chosen_of(run), shape=(8, 8, 1), classes=10)
    unit = wanted.artifact(replicate)
    network = run.load(unit, "network", subject.like)
    return trees.named(network.params), trees.named(run.load(unit, "mask", subject.dense))


def kept(mask):
    return {name: int(np.sum(leaf)) for name, leaf in mask.items()}


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a.keys() | b.keys())


def differing(a, b):
    """Return of how many weights two masks differ."""
    return sum(int(np.sum(a[name] != b[name])) for name in a.keys() | b.keys())


def contents(path):
    """Return the bytes of all that a run keeps of its networks, by file."""
    files = [file for file in path.glob("density_*/**/*") if file.is_file()]
    return {file.relative_to(path): file.read_bytes() for file in files}


# What is found.


def test_frozen_weights_are_those_that_imp_starts_from(done):
    run, _ = done("gem-miner")
    params, _ = parts(run, GEM_MINER)
    assert same(params, initial(0, 12))


@pytest.mark.slow
def test_signed_constant_weights_have_one_magnitude_a_layer_and_the_signs_of_the_drawn(done):
    run, _ = done("edge-popup")
    for replicate in range(2):
        params, _ = parts(run, EDGE_POPUP, replicate)
        for name, drawn in initial(replicate, 12, 6).items():
            if name.endswith("kernel"):
                assert np.unique(np.abs(params[name])).size == 1
                assert np.array_equal(params[name] < 0, drawn < 0)
                assert np.abs(params[name]).max() == pytest.approx(np.sqrt(np.mean(drawn**2)))
            else:
                assert not params[name].any()


@pytest.mark.slow
def test_rescaled_weights_are_the_drawn_ones_times_size_over_kept_of_their_layer(done):
    run, _ = done("bernoulli")
    params, mask = parts(run, BERNOULLI)
    for name, drawn in initial(0, 12).items():
        factor = drawn.size / np.sum(mask[name]) if name in mask else 1
        np.testing.assert_allclose(params[name], drawn * factor, rtol=1e-6)


def test_densities_are_exact_by_layer_over_the_network_or_the_methods_own(done):
    counts = {}
    for wanted in (EDGE_POPUP, BERNOULLI, GEM_MINER):
        run, _ = done(wanted.method)
        record, (_, mask) = run.record(wanted.artifact(0)), parts(run, wanted)
        counts[wanted.method] = kept(mask)
        assert record["kept"] == sum(kept(mask).values())
        assert record["prunable"] == sum(keep.size for keep in mask.values())
        assert record["density"] == record["kept"] / record["prunable"]
        shares = {name: count / mask[name].size for name, count in kept(mask).items()}
        assert record["layer_densities"] == pytest.approx(shares)
    assert counts["edge-popup"] == {"Dense_0/kernel": 384, "Dense_1/kernel": 36}
    assert sum(counts["gem-miner"].values()) == round(0.3 * 888)
    assert 0.2 < sum(counts["bernoulli"].values()) / 888 < 0.8


def assert_evaluated(run, wanted):
    """Assert that a record has what an evaluation of its network under its mask gives."""
    experiment = train_supermasks.prepare(chosen_of(run))
    digits, evaluate = (
        experiment.device_data.dataset,
        jax.jit(experiment.compile_training().trainer.evaluate),
    )
    unit = wanted.artifact(0)
    network = run.load(unit, "network", experiment.prunable.like)
    mask = run.load(unit, "mask", experiment.prunable.dense)
    record, result = run.record(unit), evaluate(network, mask, digits.test, digits.mean, digits.std)
    assert record["test_accuracy"] == pytest.approx(float(result.accuracy), abs=1e-6)
    assert record["test_loss"] == pytest.approx(float(result.loss), rel=1e-5)


@pytest.mark.parametrize("wanted", [EDGE_POPUP, BERNOULLI, GEM_MINER, tuned(BERNOULLI)], ids=str)
def test_stored_accuracies_are_those_of_the_stored_network_under_the_stored_mask(done, wanted):
    run, _ = done(wanted.method)
    assert_evaluated(run, wanted)


@pytest.mark.slow
def test_without_restoring_gem_miner_stores_what_evaluations_saw(done, tmp_path):
    restored, _ = done("gem-miner")
    config = chosen_of(restored)
    run = made(change(config, supermask=change(config.supermask, restore=False)), tmp_path)
    assert_evaluated(run, GEM_MINER)
    (_, fewer), (_, mask) = (parts(each, GEM_MINER) for each in (run, restored))
    assert sum(kept(fewer).values()) < sum(kept(mask).values())
    assert all(np.all(mask[name] | ~keep) for name, keep in fewer.items())


@pytest.mark.slow
def test_training_by_hand_finds_the_mask_of_the_job(done):
    run, _ = done("gem-miner")
    config = chosen_of(run)
    rule = config.supermask.at(0.3)
    _, digits = data.load(config.data, seed=0)
    plain = models.build(config.model, shape=(8, 8, 1), classes=10)
    model = supermasks.wrap(plain, rule, steps=40)
    optimizer = supermasks.optimizer(rule, tiny.optimizer("adam", lr=0.1))
    trainer = train.make(model, optimizer, batch_size=50)

    @jax.jit
    def result(digits):
        network = model.init(keys.stream(0, 0, "initialization"))
        mask = masks.dense(network.params)
        order = keys.stream(0, 0, "order")
        state = trainer.advance(trainer.start(network, mask), mask, digits, order, 0, 40)
        return supermasks.mask_of(state.network, rule)

    assert differing(trees.named(result(digits)), parts(run, GEM_MINER)[1]) <= 4


def test_what_is_found_is_an_ordinary_mask_of_an_ordinary_network(done):
    run, _ = done("bernoulli")
    before, mask = train_supermasks_report.find(run, BERNOULLI, 0)
    after = run.load(tuned(BERNOULLI).artifact(0), "network", before)
    masks.check(before.params, mask)
    categorized = graphs.categories(before.params, mask)
    counts = graphs.count(categorized.weights)
    assert counts.pruned == 888 - int(masks.kept(mask)) == 888 - sum(counts[1:])
    assert graphs.components(categorized).number >= 1
    middle = trees.named(landscape.interpolate(before, after, 0.5).params)
    one, other = (trees.named(masks.apply(each.params, mask)) for each in (before, after))
    for name, keep in trees.named(mask).items():
        between = (one[name] + other[name]) / 2
        np.testing.assert_allclose(middle[name][keep], between[keep], rtol=1e-6)
    distance = landscape.l2_distance(before.params, after.params, mask=mask)
    expected = np.sqrt(sum(np.sum(np.square(one[name] - other[name])) for name in one))
    assert float(distance) == pytest.approx(float(expected), rel=1e-5)


# What weights are trained from.


def under(params, mask):
    return {name: np.where(mask.get(name, True), leaf, 0) for name, leaf in params.items()}


def assert_still(params, expected):
    """Assert that weights are the expected ones."""
    assert params.keys() == expected.keys()
    for name, leaf in params.items():
        np.testing.assert_allclose(leaf, expected[name], rtol=0, atol=1e-25)


def test_weights_are_trained_from_the_frozen_ones_under_the_mask_found(done):
    run, _ = done("edge-popup")
    for replicate in range(2):
        before, mask = parts(run, EDGE_POPUP, replicate)
        after, kept_mask = parts(run, tuned(EDGE_POPUP), replicate)
        assert same(kept_mask, mask)
        assert_still(after, under(before, mask))


def test_dense_networks_start_from_the_weights_as_drawn(done):
    run, _ = done("edge-popup")
    for replicate in range(2):
        params, mask = parts(run, DENSE, replicate)
        assert all(leaf.all() for leaf in mask.values())
        assert_still(params, initial(replicate, 12, 6))


def test_a_layer_left_out_has_no_mask_and_stays_whole(done):
    run, _ = done("edge-popup")
    signs = initial(0, 12, 6)["Dense_2/kernel"] < 0
    for wanted in (EDGE_POPUP, tuned(EDGE_POPUP), tuned(EDGE_POPUP, "shuffled")):
        params, mask = parts(run, wanted)
        assert mask.keys() == {"Dense_0/kernel", "Dense_1/kernel"}
        assert np.unique(np.abs(params["Dense_2/kernel"])).size == 1
        assert np.array_equal(params["Dense_2/kernel"] < 0, signs)


def test_controls_change_the_mask_or_the_weights_and_keep_the_counts(done):
    run, _ = done("edge-popup")
    for replicate in range(2):
        before, mask = parts(run, EDGE_POPUP, replicate)
        for name in ("reinitialized", "shuffled", "random-layerwise"):
            params, other = parts(run, tuned(EDGE_POPUP, name), replicate)
            assert same(other, mask) == (name == "reinitialized"), name
            assert kept(other) == kept(mask), name
            assert same(params, under(params, other)), name
            if name == "shuffled":
                assert_still(params, under(before, other))


def test_controls_with_new_weights_have_them_made_as_the_frozen_ones_are(done):
    run, _ = done("edge-popup")
    before, _ = parts(run, EDGE_POPUP)
    for name in ("reinitialized", "random-layerwise"):
        params, mask = parts(run, tuned(EDGE_POPUP, name))
        for layer in ("Dense_0/kernel", "Dense_1/kernel", "Dense_2/kernel"):
            keep = mask.get(layer, np.ones(before[layer].shape, bool))
            magnitude = np.unique(np.abs(params[layer][keep]))
            assert magnitude.size == 1, (name, layer)
            assert magnitude[0] == pytest.approx(np.abs(before[layer]).max(), rel=0.4)
        signs = [np.sign(leaf["Dense_2/kernel"]) for leaf in (params, before)]
        assert 0.2 < np.mean(signs[0] == signs[1]) < 0.8, name
    run, _ = done("bernoulli")
    start = train_supermasks_report.find(run, tuned(BERNOULLI, "reinitialized"), 0)
    own = train_supermasks_report.find(run, BERNOULLI, 0)
    new, old = (trees.named(each.network.params) for each in (start, own))
    for name in ("Dense_0/kernel", "Dense_1/kernel"):  # rescaled, by about 2
        assert np.std(new[name]) == pytest.approx(np.std(old[name]), rel=0.2)
        assert abs(np.corrcoef(np.ravel(new[name]), np.ravel(old[name]))[0, 1]) < 0.3


def test_what_is_found_of_a_run_is_what_its_networks_started_from(done, monkeypatch):
    run, _ = done("edge-popup")
    monkeypatch.setattr("jaxlth.data.load", None)
    controls = ("ticket", "reinitialized", "shuffled", "random-layerwise")
    for wanted in (DENSE, *(tuned(EDGE_POPUP, name) for name in controls)):
        start = train_supermasks_report.find(run, wanted, 1)
        params, mask = parts(run, wanted, 1)
        assert same(trees.named(start.mask), mask)
        assert_still(params, under(trees.named(start.network.params), mask))
    with pytest.raises(ValueError, match="has no density_0.5/edge-popup/replicate_2; `jaxlth"):
        train_supermasks_report.find(run, EDGE_POPUP, 2)


def test_training_changes_weights_that_are_kept_and_no_others(done):
    run, _ = done("bernoulli")
    before, mask = parts(run, BERNOULLI)
    after, kept_mask = parts(run, tuned(BERNOULLI))
    assert same(kept_mask, mask)
    assert same(after, under(after, mask))
    for name, keep in mask.items():
        assert np.all(before[name][~keep])  # frozen weights are stored whole
        assert np.mean(after[name][keep] != before[name][keep]) > 0.2  # some pixels are never lit
    record = run.record(tuned(BERNOULLI).artifact(0))
    assert record["steps"] == record["curve"]["step"][-1] == 30


# Runs that go on.


def test_the_same_command_trains_nothing_and_says_the_same(done):
    for method, words in COMMANDS.items():
        run, text = done(method)
        before = times(run.path)
        assert printed(*words, "--out", run.path.parent) == text
        assert times(run.path) == before


def test_a_run_has_what_was_asked_for_and_tells_so_without_the_data(done, monkeypatch):
    run, _ = done("edge-popup")
    monkeypatch.setattr("jaxlth.data.load", None)
    config = chosen_of(run)
    assert train_supermasks.complete(config, run.path)
    assert train_supermasks.complete(change(config, controls=(), replicates=1), run.path)
    assert not train_supermasks.complete(config, run.path / "none")
    more = {"densities": (0.5, 0.2), "replicates": 3, "controls": ("random",)}
    for name, value in more.items():
        asked = change(config, **{name: value})
        assert not train_supermasks.complete(asked, run.path), name
        assert store.folder("runs", asked, job="train-supermasks", label="a") == store.folder(
            "runs", config, job="train-supermasks", label="a"
        )


def assert_extended(run, out, **more):
    """Assert that asking for more, in a copy of a run, adds it and changes no bit of the rest."""
    out = out / "runs"
    shutil.copytree(run.path.parent, out)
    before = contents(out / run.path.name)
    config = change(chosen_of(run), **more)
    with opened(config, out) as (experiment, extended):
        events = trained(experiment, extended)
    after = contents(out / run.path.name)
    assert before.items() <= after.items()
    assert {name for name, _ in extended.records()} == {
        *(name for name, _ in run.records()),
        *units(config),
    }
    left = [event.num_pending for event in events if event.finished]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    added = len(extended.records()) - len(run.records())
    assert sum(len(event.finished) for event in events) == added > 0
    return extended


def test_asking_for_more_adds_to_a_run_and_leaves_the_rest_alone(done, tmp_path):
    run, _ = done("edge-popup")
    extended = assert_extended(run, tmp_path, controls=("random",), replicates=3)
    assert_still(parts(extended, DENSE, 2)[0], initial(2, 12, 6))
    counts = [kept(parts(extended, tuned(EDGE_POPUP, "random"), each)[1]) for each in range(3)]
    assert [sum(each.values()) for each in counts] == [384 + 36] * 3
    assert any(each["Dense_1/kernel"] != 36 for each in counts)


@pytest.mark.slow
def test_more_densities_extend_a_run(done, tmp_path):
    run, _ = done("edge-popup")
    extended = assert_extended(run, tmp_path, densities=(0.2,))
    sparser = Wanted("edge-popup", 0.2)
    assert kept(parts(extended, sparser)[1]) == {"Dense_0/kernel": 154, "Dense_1/kernel": 14}
    start = train_supermasks_report.find(extended, tuned(sparser), 1)
    assert same(trees.named(start.mask), parts(extended, sparser, 1)[1])


@pytest.mark.parametrize("wanted", [GEM_MINER, BERNOULLI], ids=str)
def test_a_mask_in_training_interrupted_and_resumed_has_the_same_bits(done, tmp_path, wanted):
    expected, _ = done(wanted.method)
    config, unit = change(chosen_of(expected), finetune=0.0, controls=()), wanted.artifact(0)
    with opened(config, tmp_path) as (experiment, run):
        job = train_supermasks.train_supermasks(
            Lab(experiment, run, checkpoint_seconds=60), experiment.prunable.config
        )
        event = next(job)
        while event.step < 10:  # gem-miner has frozen weights out by then
            event = next(job)
        assert event.step < event.steps == 40
        with pytest.raises(KeyboardInterrupt):
            job.throw(KeyboardInterrupt())
        assert run.latest_step(unit, {}) == event.step
        assert not train_supermasks.complete(config, run.path)
        first, *_ = trained(experiment, run)
        assert first.step > event.step
        assert run.record(unit)["curve"] == expected.record(unit)["curve"]
        assert all(map(same, parts(run, wanted), parts(expected, wanted)))


def test_weights_under_a_mask_whose_training_diverged_are_not_trained(done, tmp_path):
    config = change(chosen_of(done("edge-popup")[0]), controls=())
    units = [EDGE_POPUP.artifact(replicate) for replicate in range(2)]
    with opened(config, tmp_path) as (experiment, run):
        subject = experiment.prunable
        made_up = {"network": tiny.network(subject.model), "mask": subject.dense}
        for unit, step in zip(units, (None, 3), strict=True):
            run.save(unit, made_up, {"nan_step": step})
        trained(experiment, run)
        names = {name for name, _ in run.records()} - set(units)
    assert names == {tuned(EDGE_POPUP).artifact(0), DENSE.artifact(0), DENSE.artifact(1)}
    assert train_supermasks.complete(config, run.path)


# The command line.


def test_the_command_prints_table_and_sentence_and_draws_its_figure(done):
    run, text = done("edge-popup")
    lines = text.splitlines()
    named = [str(tuned(EDGE_POPUP, name)) for name in ("ticket", "shuffled", "random-layerwise")]
    for row in ("dense", "edge-popup", *named):
        assert sum(line.startswith(f"{row} ") for line in lines) == 1, row
    header = next(line for line in lines if line.startswith("method"))
    assert header.split() == ["method", "100", "%", "50", "%"]
    assert "The dense network reaches " in text
    assert "Best at 50 %: edge-popup" in text
    assert (run.path / "accuracy.png").stat().st_size > 10_000


@pytest.mark.parametrize("method", COMMANDS)
def test_results_have_a_row_for_each_network(done, method):
    run, _ = done(method)
    rows = json.loads(printed("results", run.path, "--format", "json"))
    assert {row["unit"] for row in rows} == set(units(chosen_of(run)))
    for row in rows:
        record, dense = run.record(row["unit"]), row["control"] == "dense"
        assert row["test_accuracy"] == record["test_accuracy"]
        assert row["control"] == row["unit"].split("/")[1]
        assert row["score"] == ("none" if dense else method)
        assert row["level"] == (0 if dense else 1)
        assert (row["kept"] == row["prunable"]) == dense


@pytest.mark.parametrize("kind", ["accuracy", "train-accuracy", "layers", "units", "overlap"])
def test_figures_are_drawn_from_the_stored_run(done, tmp_path, kind):
    for method in COMMANDS:
        run, _ = done(method)
        file = tmp_path / f"{method}.png"
        printed("figure", run.path, "--kind", kind, "--file", file)
        assert file.stat().st_size > 10_000


@pytest.mark.parametrize(
    "wanted",
    [EDGE_POPUP, tuned(EDGE_POPUP), tuned(EDGE_POPUP, "shuffled"), GEM_MINER],
    ids=str,
)
def test_an_exported_ticket_is_what_the_run_says_it_starts_from(done, tmp_path, wanted):
    run, _ = done(wanted.method)
    file = tmp_path / "ticket.npz"
    words = ["--method", wanted, "--density", wanted.density, "--run", run.path]
    assert printed("export", file, *words) == f"{file}\n"
    loaded = store.load_ticket(file)
    params, _ = parts(run, wanted._replace(schedule="untrained", control="ticket"))
    _, mask = parts(run, wanted)
    assert same(trees.named(loaded.mask), mask)
    assert same(trees.named(loaded.params), params)
    assert loaded.metadata["method"] == str(wanted)
    assert loaded.metadata["kept"] == sum(kept(mask).values())


@pytest.mark.parametrize("method", ["bernoulli", "bernoulli-finetuned"])
def test_a_ticket_of_bernoulli_is_exported_by_the_density_in_the_table(done, tmp_path, method):
    run, text = done("bernoulli")
    header = next(line for line in text.splitlines() if line.startswith("method"))
    density = f"{float(header.split()[-2]) / 100:.4g}"
    file = tmp_path / "ticket.safetensors"
    printed("export", file, "--method", method, "--density", density, "--run", run.path)
    loaded = store.load_ticket(file)
    params, mask = parts(run, BERNOULLI)
    assert same(trees.named(loaded.mask), mask)
    assert same(trees.named(loaded.params), params)
    printed("export", file, "--method", method, "--run", run.path)  # no density was asked of it
    assert same(trees.named(store.load_ticket(file).mask), mask)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--density", "0.5"], "is named by `density` and `method`"),
        (["--method", "edge-popup"], "is named by `density` and `method`"),
        (["--method", "edge-pop", "--density", "0.5"], "Did you mean 'edge-popup'?"),
        (["--method", "dense", "--density", "1"], "`method` has no value 'dense'"),
        (["--method", "edge-popup", "--density", "0.4"], "Did you mean 0.5? Trained: 0.5."),
        (["--method", "edge-popup", "--density", "0.5", "--replicate", "2"], "trained: 0, 1."),
        (["--level", "1"], "its tickets are named by `density` and `method`"),
    ],
)
def test_what_is_not_there_to_export_is_answered_in_one_line(done, words, said, tmp_path, capsys):
    run, _ = done("edge-popup")
    file = tmp_path / "a.npz"
    assert cli.main(["export", str(file), *words, "--run", str(run.path)]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not file.exists()


def test_figures_of_other_jobs_are_refused(done, capsys):
    run, _ = done("gem-miner")
    assert cli.main(["figure", str(run.path), "--kind", "training"]) == 2
    message = capsys.readouterr().err
    assert (
        "of `jaxlth train-supermasks` there are accuracy, train-accuracy, layers, units, overlap."
        in message
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--density", "0.5"], "`density` must be given for edge-popup and gem-miner, and only"),
        (["--method", "edge-popup"], "only for them; got none with edge-popup."),
        (["--method", "edge"], "Did you mean 'edge-popup'?"),
        ([*EDGE, "0.5"], "`density` must name something, each once; got 0.5 0.5."),
        ([*EDGE, "0"], "`density` must lie in (0, 1]; got 0.0."),
        ([*EDGE, "1.5"], "`density` must lie in (0, 1]; got 1.5."),
        ([*EDGE, "--rescale"], "`rescale` belongs to the method bernoulli"),
        ([*EDGE, "--score-l2", "0.1"], "belongs to the method gem-miner"),
        (["--frozen-weights", "scaled"], "needs a `density`"),
        ([*EDGE, "--controls", "shuffled"], "`controls` has no effect without `finetune`."),
        ([*EDGE, "--finetune-lr", "0.1"], "`finetune_lr` has no effect without `finetune`."),
        ([*EDGE, "--finetune", "-1"], "`finetune` must be at least 0; got -1."),
        ([*EDGE, "--finetune", "9", "--finetune-lr", "-1"], "must be above 0; got -1"),
        (
            [*EDGE, "--finetune", "9", "--controls", "shufled"],
            "`controls` has no value 'shufled'. Did you mean 'shuffled'?",
        ),
        ([*EDGE, "--finetune", "9", "--finetune-optimizer", "adm"], "Did you mean 'adam'?"),
        (GEM[:-3], "`steps` must be above the number of `prunings`, 29; got 20."),
        ([*GEM, "--patience", "9"], "`patience` would end gem-miner"),
        ([*GEM, "--checkpoint", "best"], "`checkpoint` best would take gem-miner as it was before"),
        ([*EDGE, "--exclude", "*"], "`exclude` leaves no weight to prune; got *."),
        ([*EDGE, "--replicates", "0"], "`replicates` must be at least 1"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(words, said, tmp_path, capsys):
    words = [*SHORT, "--hidden", "12", "--steps", "20", *words, "--out", str(tmp_path)]
    assert cli.main(tiny.once(words)) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_finetuning_of_less_than_a_step_is_refused_before_masks_are_trained(tmp_path, capsys):
    words = ["train-supermasks", "--devices", "2", "--epochs", "1", *EDGE, "--finetune", "0.001"]
    assert cli.main([*words, "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message == "jaxlth: `finetune` must make at least one step; got 0.001 epochs.\n"
    assert not list(tmp_path.iterdir())


def test_settings_of_a_run_or_a_benchmark_are_taken_over(done, tmp_path, capsys):
    run, text = done("edge-popup")
    again = ["--settings", run.path / "settings.toml", "--out", run.path.parent]
    assert printed("train-supermasks", *again) == text
    missing = ["--data-dir", str(tmp_path / "data"), "--out", str(tmp_path)]
    assert cli.main(["train-supermasks", "--benchmark", "mnist_lenet_300_100", *missing]) == 2
    assert "mnist" in capsys.readouterr().err


# Other layouts and networks.


@pytest.mark.slow
def test_two_devices_that_share_batches_find_the_mask_of_one(done, tmp_path):
    alone, _ = done("gem-miner")
    config = chosen_of(alone)
    run = made(change(config, training=change(config.training, data_parallel=2)), tmp_path)
    (params, mask), (own, expected) = (parts(each, GEM_MINER) for each in (run, alone))
    assert same(params, own)
    assert sum(kept(mask).values()) == round(0.3 * 888)
    assert differing(mask, expected) <= 6


@pytest.mark.slow
def test_a_network_with_convolutions_trains_masks_and_then_weights(tmp_path):
    config = TrainSupermasksConfig(
        model=ModelConfig(name="conv-2"),
        supermask=SupermaskRule(method="gem-miner", prunings=2, restore=True),
        training=TrainingConfig(steps=6, batch_size=10),
        densities=(0.2,),
        finetune=2,
        replicates=1,
    )
    run = made(config, tmp_path)
    wanted = Wanted("gem-miner", 0.2)
    before, mask = parts(run, wanted)
    drawn = initial(0, name="conv-2")
    assert same(before, drawn)
    size = sum(leaf.size for leaf in mask.values())
    assert sum(kept(mask).values()) == round(0.2 * size)
    assert {name for name in drawn if name.endswith("kernel")} == mask.keys()
    after, _ = parts(run, tuned(wanted))
    assert same(after, under(after, mask))


def test_accuracies_that_are_not_of_the_stored_masks_are_said_to_be_so(tmp_path):
    note = "bernoulli is evaluated by weights times their probabilities, not by the stored masks."
    short = [*SHORT[:-4], "--hidden", "8", "--steps", "5", "--replicates", "1", "--out", tmp_path]
    assert note in printed(*short, "--at-test", "expected")
    assert note not in printed(*short)
