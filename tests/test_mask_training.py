"""Trained masks as a job: what is stored, how it goes on, what the command says."""

import contextlib
import functools
import io
import shutil

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
AFTER = ["--finetune", "30", "--controls", "shuffled", "reinitialized"]
MORE = {  # what is asked for beside
    "edge-popup": ["--replicates", "2", *AFTER],
    "gem-miner": ["--replicates", "1"],
    "bernoulli": ["--replicates", "1", *AFTER],
}
COMMANDS = {
    method: [*SHORT, "--method", method, *words, *MORE[method]] for method, words in METHODS.items()
}
AFTERS = ("", "-finetuned", "-finetuned-shuffled", "-finetuned-reinitialized")
DENSITIES = {"edge-popup": 0.5, "gem-miner": 0.3, "bernoulli": None}

EDGE_POPUP = Wanted("edge-popup", 0.5)
each_method = pytest.mark.parametrize("method", COMMANDS)


def change(of, **others):
    return dataclasses.replace(of, **others)


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
def plain(name="mlp", hidden=(12,)):
    """Return the network without a mask, as other jobs build it."""
    chosen = ModelSettings(name=name, hidden=hidden)
    return models.build(chosen, shape=(8, 8, 1), classes=10)


def initial(replicate, **which):
    """Return the weights that any job draws for a replicate, by name."""
    return trees.named(tiny.network(plain(**which), replicate).params)


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


def contents(path):
    """Return the bytes of all that a run keeps of its networks, by file."""
    files = [file for file in path.glob("density_*/**/*") if file.is_file()]
    return {file.relative_to(path): file.read_bytes() for file in files}


def times(path):
    return {file: file.stat().st_mtime_ns for file in path.rglob("record.json")}


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
    before, mask = mask_training.find(run, EDGE_POPUP, 0)
    after = run.load(tuned(EDGE_POPUP).unit(0), "network", before)
    masks.check(before.params, mask)
    found = graphs.categories(before.params, mask)
    counts = graphs.count(found.weights)
    assert sum(counts) == 888
    assert counts.pruned == 444
    assert graphs.components(found).number >= 1
    middle = trees.named(landscape.interpolate(before, after, 0.5).params)
    one, other = (trees.named(masks.apply(each.params, mask)) for each in (before, after))
    for name, keep in trees.named(mask).items():
        between = (one[name] + other[name]) / 2
        np.testing.assert_allclose(middle[name][keep], between[keep], rtol=1e-6)
    distance = landscape.l2_distance(before.params, after.params, mask=mask)
    expected = np.sqrt(sum(np.sum(np.square(one[name] - other[name])) for name in one))
    assert float(distance) == pytest.approx(float(expected), rel=1e-5)


# What weights are trained from.


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A run whose weights are trained so slowly that they stay what they start from."""
    rule = SupermaskRule(method="edge-popup", weights="signed-constant")
    chosen = MaskTrainingSettings(
        model=ModelSettings(name="mlp", hidden=(12, 6)),
        supermask=rule,
        training=TrainingSettings(steps=10, batch_size=50),
        densities=(0.5,),
        finetune=1,
        finetune_optimizer="sgd",
        finetune_lr=1e-30,
        controls=tuple(tickets.CONTROLS),
        leave_out=("Dense_2/*",),
        replicates=1,
    )
    return made(chosen, tmp_path_factory.mktemp("still"))


def under(params, mask):
    return {name: np.where(mask.get(name, True), leaf, 0) for name, leaf in params.items()}


def assert_still(params, expected):
    """Assert that weights are the expected ones; biases may have moved, from 0 to next to 0."""
    assert params.keys() == expected.keys()
    for name, leaf in params.items():
        np.testing.assert_allclose(leaf, expected[name], rtol=0, atol=1e-25)


def test_weights_are_trained_from_the_frozen_ones_under_the_mask_found(still):
    before, mask = parts(still, EDGE_POPUP)
    after, kept_mask = parts(still, tuned(EDGE_POPUP))
    assert same(kept_mask, mask)
    assert_still(after, under(before, mask))


def test_dense_networks_start_from_the_weights_as_drawn(still):
    params, mask = parts(still, tuned(Wanted("dense", 1.0)))
    assert all(leaf.all() for leaf in mask.values())
    assert_still(params, initial(0, hidden=(12, 6)))


def test_a_layer_left_out_has_no_mask_and_stays_whole(still):
    drawn = initial(0, hidden=(12, 6))["Dense_2/kernel"]
    for wanted in (EDGE_POPUP, tuned(EDGE_POPUP), tuned(EDGE_POPUP, "shuffled")):
        params, mask = parts(still, wanted)
        assert kept(mask) == {"Dense_0/kernel": 384, "Dense_1/kernel": 36}
        assert np.unique(np.abs(params["Dense_2/kernel"])).size == 1
        assert np.array_equal(params["Dense_2/kernel"] < 0, drawn < 0)
        assert still.record(wanted.unit(0))["prunable"] == 768 + 72


def test_controls_change_the_mask_or_the_weights_and_keep_the_counts(still):
    before, mask = parts(still, EDGE_POPUP)
    found = {name: parts(still, tuned(EDGE_POPUP, name)) for name in tickets.CONTROLS}
    for name, (params, other) in found.items():
        assert same(other, mask) == (name == "reinitialized"), name
        assert sum(kept(other).values()) == 384 + 36, name
        assert (kept(other) == kept(mask)) == (name != "random"), name
        assert_still(params, under(params, other))
    assert_still(found["shuffled"][0], under(before, found["shuffled"][1]))


def test_controls_with_new_weights_have_them_made_as_the_frozen_ones_are(still, done):
    before, _ = parts(still, EDGE_POPUP)
    for name in ("reinitialized", "random", "random-layerwise"):
        params, mask = parts(still, tuned(EDGE_POPUP, name))
        for layer in ("Dense_0/kernel", "Dense_1/kernel", "Dense_2/kernel"):
            keep = mask.get(layer, np.ones(before[layer].shape, bool))
            magnitude = np.unique(np.abs(params[layer][keep]))
            assert magnitude.size == 1, (name, layer)
            assert magnitude[0] == pytest.approx(np.abs(before[layer]).max(), rel=0.4)
            agreeing = np.mean((params[layer] < 0)[keep] == (before[layer] < 0)[keep])
            assert 0.2 < agreeing < 0.8, (name, layer)
    run, _ = done("bernoulli")
    wanted = Wanted("bernoulli", None)
    start = mask_training.find(run, tuned(wanted, "reinitialized"), 0)
    own = mask_training.find(run, wanted, 0)
    new, old = (trees.named(each.network.params) for each in (start, own))
    for name in SIZES:
        assert np.std(new[name]) == pytest.approx(np.std(old[name]), rel=0.2)
        assert abs(np.corrcoef(np.ravel(new[name]), np.ravel(old[name]))[0, 1]) < 0.3


def test_what_is_found_of_a_run_is_what_its_networks_started_from(still, monkeypatch):
    monkeypatch.setattr("jaxlth.data.load", None)
    for control in ("ticket", *tickets.CONTROLS):
        wanted = tuned(EDGE_POPUP, control)
        start = mask_training.find(still, wanted, 0)
        params, mask = parts(still, wanted)
        assert same(trees.named(start.mask), mask)
        assert_still(params, under(trees.named(start.network.params), mask))
    with pytest.raises(ValueError, match="has no density_0.5/edge-popup/replicate_1; it has"):
        mask_training.find(still, EDGE_POPUP, 1)


@pytest.mark.parametrize("method", ["edge-popup", "bernoulli"])
def test_training_changes_weights_that_are_kept_and_no_others(done, method):
    run, _ = done(method)
    wanted = Wanted(method, DENSITIES[method])
    before, mask = parts(run, wanted)
    assert all(np.any(before[name][~keep]) for name, keep in mask.items())
    after, kept_mask = parts(run, tuned(wanted))
    assert same(kept_mask, mask)
    assert same(after, under(after, mask))
    for name, keep in mask.items():
        assert np.mean(after[name][keep] != before[name][keep]) > 0.5
    record = run.record(tuned(wanted).unit(0))
    assert record["steps"] == record["curve"]["step"][-1] == 30


def test_tickets_and_dense_networks_see_the_same_batches_in_another_order_than_masks(done):
    run, _ = done("edge-popup")
    problem = mask_training.prepare(chosen_of(run))
    subject = problem.subject
    asks = [
        mask_training._ask_weights(subject, run, tuned(wanted), 0)
        for wanted in (EDGE_POPUP, Wanted("dense", 1.0))
    ]
    order = jax.random.key_data(keys.stream(0, 0, "order"))
    found = [jax.random.key_data(ask.key) for ask in asks]
    assert np.array_equal(*found)
    assert not np.array_equal(found[0], order)


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
    chosen = chosen_of(run)
    assert mask_training.complete(chosen, run.path)
    assert mask_training.complete(change(chosen, controls=(), replicates=1), run.path)
    assert not mask_training.complete(chosen, run.path / "none")
    more = {"densities": (0.5, 0.2), "replicates": 3, "controls": ("shuffled", "random")}
    for name, value in more.items():
        asked = change(chosen, **{name: value})
        assert not mask_training.complete(asked, run.path), name
        assert store.folder("", asked, job="train-mask", label="a") == store.folder(
            "", chosen, job="train-mask", label="a"
        )


def test_asking_for_more_adds_to_a_run_and_leaves_the_rest_alone(done, tmp_path):
    run, _ = done("edge-popup")
    out = tmp_path / "runs"
    shutil.copytree(run.path.parent, out)
    words = [*SHORT, "--method", "edge-popup", *METHODS["edge-popup"], *MORE["edge-popup"]]
    before = contents(out / run.path.name)
    printed(*words, "random", "--density", "0.5", "0.2", "--out", out)
    after = contents(out / run.path.name)
    assert before.items() <= after.items()
    added = {file.parent for file in after.keys() - before.keys() if file.name == "record.json"}
    assert {str(unit) for unit in added} == {
        *(f"density_0.5/edge-popup-finetuned-random/replicate_{n}" for n in range(2)),
        *(f"density_0.2/edge-popup{after}/replicate_{n}" for after in AFTERS for n in range(2)),
    }
    extended = store.look(out / run.path.name)
    _, mask = parts(extended, Wanted("edge-popup", 0.2))
    assert kept(mask) == {"Dense_0/kernel": 154, "Dense_1/kernel": 24}


@pytest.mark.parametrize("method", ["gem-miner", "bernoulli"])
def test_a_mask_in_training_interrupted_and_resumed_has_the_same_bits(done, tmp_path, method):
    expected, _ = done(method)
    chosen = change(chosen_of(expected), finetune=0.0, controls=())
    unit = Wanted(method, DENSITIES[method]).unit(0)
    with opened(chosen, tmp_path) as (problem, run):
        job = mask_training.train_masks(problem, run, checkpoint_seconds=60)
        event = next(job)
        while event.step < 10:  # gem-miner has frozen weights out by then
            event = next(job)
        assert event.step < event.steps == 40
        with pytest.raises(KeyboardInterrupt):
            job.throw(KeyboardInterrupt())
        assert run.reached(unit) == event.step
        assert not mask_training.complete(chosen, run.path)
        first, *_ = trained(problem, run)
        assert first.step > event.step
        again = parts(run, Wanted(method, DENSITIES[method]))
        assert run.record(unit)["curve"] == expected.record(unit)["curve"]
    assert all(map(same, again, parts(expected, Wanted(method, DENSITIES[method]))))


def test_weights_under_a_mask_whose_training_diverged_are_not_trained(still, tmp_path):
    chosen = change(chosen_of(still), controls=())
    with opened(chosen, tmp_path) as (problem, run):
        subject = problem.subject
        made_up = {"network": tiny.network(subject.model), "mask": subject.dense}
        run.save(EDGE_POPUP.unit(0), made_up, {"nan_step": 3})
        trained(problem, run)
        names = {name for name, _ in run.records()}
    assert names == {EDGE_POPUP.unit(0), tuned(Wanted("dense", 1.0)).unit(0)}
    assert mask_training.complete(chosen, run.path)


def test_progress_counts_down_to_nothing(still, tmp_path):
    with opened(chosen_of(still), tmp_path) as (problem, run):
        events = trained(problem, run)
    left = [event.left for event in events if event.finished]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    assert sum(len(event.finished) for event in events) == 1 + 1 + 5


# The command line.


def test_the_command_prints_table_and_sentence_and_draws_its_figure(done):
    run, text = done("edge-popup")
    lines = text.splitlines()
    for row in ("dense", *(f"edge-popup{after}" for after in AFTERS)):
        assert sum(line.startswith(f"{row} ") for line in lines) == 1, row
    header = next(line for line in lines if line.startswith("method"))
    assert header.split() == ["method", "100", "%", "50", "%"]
    assert "The dense network reaches " in text
    assert "Best at 50 %: edge-popup" in text
    assert (run.path / "accuracy.png").stat().st_size > 10_000


@each_method
def test_results_have_a_row_for_each_network(done, method):
    run, _ = done(method)
    rows = json.loads(printed("results", run.path, "--format", "json"))
    assert {row["unit"] for row in rows} == set(mask_training.units(chosen_of(run)))
    for row in rows:
        record = run.record(row["unit"])
        assert row["test_accuracy"] == record["test_accuracy"]
        assert row["control"] == row["unit"].split("/")[1]
        dense = row["control"] == "dense"
        assert row["score"] == ("none" if dense else method)
        assert row["level"] == (0 if dense else 1)
        assert row["kept"] == 888 if dense else row["kept"] < 888


@pytest.mark.parametrize("kind", ["accuracy", "train-accuracy", "layers"])
def test_figures_are_drawn_from_the_stored_run(done, tmp_path, kind):
    for method in COMMANDS:
        run, _ = done(method)
        file = tmp_path / f"{method}.png"
        printed("figure", run.path, "--kind", kind, "--file", file)
        assert file.stat().st_size > 10_000


@pytest.mark.parametrize(
    "wanted",
    [EDGE_POPUP, tuned(EDGE_POPUP), tuned(EDGE_POPUP, "shuffled"), Wanted("gem-miner", 0.3)],
    ids=str,
)
def test_an_exported_ticket_is_what_the_run_says_it_starts_from(done, tmp_path, wanted):
    run, _ = done(wanted.method)
    file = tmp_path / "ticket.npz"
    words = ["--method", wanted, "--density", wanted.density, "--run", run.path]
    assert printed("export", file, *words) == f"{file}\n"
    found = store.load_ticket(file)
    params, _ = parts(run, wanted._replace(schedule="untrained", control="ticket"))
    _, mask = parts(run, wanted)
    assert same(trees.named(found.mask), mask)
    assert same(trees.named(found.params), params)
    assert found.metadata["method"] == str(wanted)
    assert found.metadata["kept"] == sum(kept(mask).values())


@pytest.mark.parametrize("method", ["bernoulli", "bernoulli-finetuned"])
def test_a_ticket_of_bernoulli_is_exported_by_the_density_in_the_table(done, tmp_path, method):
    run, text = done("bernoulli")
    header = next(line for line in text.splitlines() if line.startswith("method"))
    density = f"{float(header.split()[-2]) / 100:.4g}"
    file = tmp_path / "ticket.safetensors"
    printed("export", file, "--method", method, "--density", density, "--run", run.path)
    found = store.load_ticket(file)
    params, mask = parts(run, Wanted("bernoulli", None))
    assert same(trees.named(found.mask), mask)
    assert same(trees.named(found.params), params)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--density", "0.5"], "is named by --density and --method"),
        (["--method", "edge-popup"], "is named by --density and --method"),
        (["--method", "edge-pop", "--density", "0.5"], "Did you mean 'edge-popup'?"),
        (["--method", "dense", "--density", "1"], "`method` has no value 'dense'"),
        (["--method", "edge-popup", "--density", "0.4"], "Did you mean 0.5? Trained: 0.5."),
        (["--method", "edge-popup", "--density", "0.5", "--replicate", "2"], "trained: 0, 1."),
        (["--level", "1"], "its tickets are named by --density and --method"),
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
    assert "of `jaxlth train-mask` there are accuracy, train-accuracy, layers." in message


EDGE = ["--method", "edge-popup", "--density", "0.5"]
GEM = ["--method", "gem-miner", "--density", "0.5"]


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
        (GEM[:4], "`steps` must be above the number of `prunings`, 29; got 20."),
        ([*GEM, "--prunings", "4", "--patience", "9"], "`patience` would end gem-miner"),
        ([*EDGE, "--leave-out", "*"], "`leave_out` leaves no weight to prune; got *."),
        ([*EDGE, "--replicates", "0"], "`replicates` must be at least 1"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(words, said, tmp_path, capsys):
    words = ["train-mask", *MODEL, "--steps", "20", *words, "--out", str(tmp_path)]
    assert cli.main(words) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not list(tmp_path.iterdir())


# Other layouts and networks.


def test_two_devices_that_share_batches_find_the_mask_of_one(done, tmp_path):
    alone, _ = done("gem-miner")
    chosen = chosen_of(alone)
    shared = change(chosen, training=change(chosen.training, batch_devices=2))
    run = made(shared, tmp_path)
    (params, mask), (own, expected) = (
        parts(each, Wanted("gem-miner", 0.3)) for each in (run, alone)
    )
    assert same(params, own)
    assert sum(kept(mask).values()) == round(0.3 * 888)
    assert sum(np.sum(mask[name] != expected[name]) for name in SIZES) <= 6


@pytest.mark.slow
def test_a_network_with_convolutions_trains_masks_and_then_weights(tmp_path):
    chosen = MaskTrainingSettings(
        model=ModelSettings(name="conv-2"),
        supermask=SupermaskRule(method="gem-miner", prunings=2),
        training=TrainingSettings(steps=6, batch_size=10),
        densities=(0.2,),
        finetune=2,
        replicates=1,
    )
    run = made(chosen, tmp_path)
    wanted = Wanted("gem-miner", 0.2)
    before, mask = parts(run, wanted)
    drawn = initial(0, name="conv-2", hidden=())
    assert same(before, drawn)
    size = sum(leaf.size for leaf in mask.values())
    assert sum(kept(mask).values()) == round(0.2 * size)
    assert {name for name in drawn if name.endswith("kernel")} == mask.keys()
    after, _ = parts(run, tuned(wanted))
    assert same(after, under(after, mask))
