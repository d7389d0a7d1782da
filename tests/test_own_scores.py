"""Scores of somebody's own: functions, and FILE.py:NAME, wherever a score has a name."""

import json

import jax
import jax.numpy as jnp
import pytest
import tiny

from jaxlth import cli, keys, masks, scores, store, studies
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.studies import own_scores, score_names, score_pruning, scoring
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.instability.config import InstabilityConfig
from jaxlth.studies.loading import load_experiment
from jaxlth.studies.parts import Parts
from jaxlth.studies.prune_early.config import PruneEarlyConfig
from jaxlth.training import TrainingConfig

WORDS = ["--model", "mlp", "--hidden", "8", "--steps", "4", "--batch-size", "50"]
WORDS += ["--replicates", "1", "--evaluate-every", "4", "--train-examples", "100"]
FILE = """
import random as python_random

import jax
from jaxlth import scores

def magnitude(apply_fn, params, mask, batch, key):
    return scores.magnitude(params)

def snip(apply_fn, params, mask, batch, key):
    return scores.snip(apply_fn, params, mask, batch)

def random(apply_fn, params, mask, batch, key):
    return scores.random(params, key=key)

def without_batch(apply_fn, params, mask, batch, key):
    assert batch is None
    return scores.magnitude(params)

number = 3

def four(apply_fn, params, mask, batch):
    return params

def lacking(apply_fn, params, mask, batch, key):
    return {"Dense_0": params["Dense_0"]}

def transposed(apply_fn, params, mask, batch, key):
    return jax.tree.map(lambda w: w.T, params)

def whole(apply_fn, params, mask, batch, key):
    return jax.tree.map(lambda w: w.astype(int), params)

def more(apply_fn, params, mask, batch, key):
    return params | {"Dense_9": params["Dense_0"]}

def infinite(apply_fn, params, mask, batch, key):
    return jax.tree.map(lambda w: w / 0, params)

def untraceable(apply_fn, params, mask, batch, key):
    return jax.tree.map(lambda w: w * float(w.sum()), params)

def fails(apply_fn, params, mask, batch, key):
    return params["nothing"]

def draws(apply_fn, params, mask, batch, key):
    return jax.tree.map(lambda w: w * python_random.random(), params)
"""


def magnitude(apply_fn, params, mask, batch, key):
    return scores.magnitude(params)


def snip(apply_fn, params, mask, batch, key):
    return scores.snip(apply_fn, params, mask, batch)


def random(apply_fn, params, mask, batch, key):
    return scores.random(params, key=key)


def minus_magnitude(apply_fn, params, mask, batch, key):
    return jax.tree.map(lambda w: -jnp.abs(w), params)


@pytest.fixture(scope="module")
def experiment():
    model = ModelConfig(name="mlp", hidden=(8,))
    training = TrainingConfig(steps=4, batch_size=50, evaluate_every=4, train_examples=100)
    return studies.Experiment(model=model, data="digits", training=training)


@pytest.fixture(scope="module")
def loaded(experiment):
    """Return the experiment with its data, for a study of all the scores here."""
    functions = {f"own:{each.__name__}": each for each in (magnitude, snip, random)}
    shared = {field: getattr(experiment.config, field) for field in ("model", "data", "training")}
    config = PruneEarlyConfig(scores=tuple(functions), **shared)
    return load_experiment(config, Parts(scores=functions))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("my scores") / "mine.py"
    path.write_text(FILE)
    return str(path)


def run(study, experiment, out, **fields):
    fields = {"replicates": 1} | fields
    return study(experiment, out=str(out), progress=False, **fields)


def mask_of(results, artifact):
    return store.open_readonly(results.path).load(artifact, "mask")


# The same masks as by name.


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("magnitude", "own:magnitude"),
        ("snip", "own:snip"),
        ("random", "own:random"),
        ("snip+magnitude", "own:snip+own:magnitude"),
        ("synflow+snip", "synflow+own:snip"),
    ],
)
def test_ones_own_score_prunes_what_its_name_prunes(loaded, name, own, inverted):
    network, dense = tiny.network(loaded.prunable.model), loaded.prunable.dense
    batch, key = loaded.examples(0, per_class=2), keys.stream(0, 0, "score")
    given = scoring.ScoreInputs(network, network.params, batch, key, loaded.mean, inverted)
    pruned = [
        score_pruning.pruned(
            loaded.score(score),
            score_names.parts(score),
            dense,
            given,
            keep={"Dense_0/kernel": 100, "Dense_1/kernel": 20},
            rounds=2,
            spacing="exponential",
        )
        for score in (name, own)
    ]
    tiny.assert_same(*pruned)
    assert masks.kept(pruned[0]) == 120


def test_imp_by_a_magnitude_of_ones_own_finds_the_tickets_of_magnitude(experiment, tmp_path):
    options = {"levels": 2, "controls": []}
    by_name = run(studies.imp, experiment, tmp_path, **options)
    own = run(studies.imp, experiment, tmp_path, score=magnitude, **options)
    assert by_name.path != own.path
    for level in (1, 2):
        tiny.assert_same(by_name.ticket(level=level), own.ticket(level=level))
    tiny.assert_same(by_name.trained(level=2), own.trained(level=2))
    assert masks.kept(own.ticket(level=2).mask) < masks.kept(own.ticket(level=1).mask)


def test_imp_by_a_score_prunes_trained_networks_by_that_score(experiment, tmp_path):
    imp = run(studies.imp, experiment, tmp_path, score=snip, levels=1, controls=[], per_class=3)
    options = {"schedules": ["after-rewind"], "densities": [0.8], "per_class": 3}
    early = run(studies.prune_early, experiment, tmp_path, scores=["snip"], **options)
    tiny.assert_same(imp.ticket(level=1), early.ticket(density=0.8))


def test_prune_early_by_ones_own_magnitude_finds_its_masks(experiment, tmp_path):
    schedules = ["before-once", "before-rounds", "iterative-once", "iterative-rounds"]
    results = run(
        studies.prune_early,
        experiment,
        tmp_path,
        scores=["magnitude", magnitude, ("snip", magnitude)],
        schedules=schedules,
        densities=[0.7],
        rounds=2,
        per_class=2,
    )
    for schedule in schedules:
        by_name, own = (
            mask_of(results, f"density_0.7/{score}-{schedule}/replicate_0")
            for score in ("magnitude", "own-magnitude")
        )
        tiny.assert_same(by_name, own)
    assert {"magnitude", "own-magnitude", "snip+own-magnitude"} <= set(results.table()["score"])
    assert "snip+own-magnitude-before-once" in results.summary()


@pytest.mark.slow
def test_instability_of_ones_own_score_is_that_of_its_name(experiment, tmp_path):
    results = run(
        studies.instability,
        experiment,
        tmp_path,
        networks=["magnitude", magnitude, snip],
        rewind_steps=[2],
        densities=[0.3],
        twins=2,
        points=3,
    )
    table = results.table().set_index(["control", "step_k", "kind"])["test_instability"]
    assert table["magnitude", 2, "pair"] == table["own-magnitude", 2, "pair"]
    twins = [
        mask_of(results, f"step_2/density_0.3/twin_0/{name}/replicate_0")
        for name in ("magnitude", "own-magnitude", "own-snip")
    ]
    assert tiny.same(*twins[:2])
    assert not tiny.same(*twins[1:])


@pytest.mark.slow
def test_separation_prunes_by_ones_own_score_which_sees_no_examples(tmp_path, file):
    words = ["separation", "--model", "mlp", "--hidden", "8", "8", "--epochs", "1", "--levels", "1"]
    words += ["--batch-size", "50", "--replicates", "1", "--stop", "never", "--prune-fraction"]
    words += ["0.5", "--out", str(tmp_path)]
    tiny.printed(*words, "--score", f"{file}:without_batch")
    own = tiny.only_run(tmp_path)
    params = own.load("level_00/ticket/replicate_0", "network")["params"]
    mask = own.load("level_01/ticket/replicate_0", "mask")
    opposite = jax.tree.map(lambda keep: None if keep is None else ~keep, mask)
    kept, pruned = (masks.kept_values(scores.magnitude(params), m) for m in (mask, opposite))
    assert kept.min() >= pruned.max()
    assert len(kept) == len(pruned)


def test_a_score_is_named_as_file_on_the_command_line(tmp_path, file):
    words = ["prune-early", *WORDS, "--out", str(tmp_path), "--score", "snip", f"{file}:snip"]
    text = tiny.printed(*words, f"magnitude+{file}:random")
    assert "magnitude+mine-random-before-once" in text
    by_name, own = (
        tiny.only_run(tmp_path).load(f"density_0.1/{name}-before-once/replicate_0", "mask")
        for name in ("snip", "mine-snip")
    )
    tiny.assert_same(by_name, own)


# What a score is given.


def test_a_score_is_given_the_network_its_mask_and_examples_of_each_class(experiment, tmp_path):
    seen = []

    def score(apply_fn, params, mask, batch, key):
        inputs, labels = batch
        seen.append((apply_fn(params, inputs).shape, inputs.shape, labels.shape, key.shape))
        assert jax.tree.structure(mask) == jax.tree.structure(masks.dense(params))
        return scores.magnitude(params)

    run(studies.prune_early, experiment, tmp_path, scores=[score], per_class=3)
    assert set(seen) == {((30, 10), (30, 8, 8, 1), (30,), ())}


def test_scores_know_which_of_their_names_stand_for_examples():
    assert score_names.batch_readers(["magnitude", "synflow", "snip", "own:f"]) == ["snip", "own:f"]
    for config in (
        ImpConfig(score="own:f", per_class=3),
        PruneEarlyConfig(scores=("own:f",), per_class=3),
        InstabilityConfig(networks=("own:f",), densities=(0.1,), per_class=3),
    ):
        config.check_effects()
    with pytest.raises(ValueError, match=r"`per_class` 3 has no effect on the score magnitude"):
        ImpConfig(per_class=3).check_effects()
    with pytest.raises(ValueError, match=r"`chunk` 3 has no effect on the scores own:f"):
        PruneEarlyConfig(scores=("own:f",), chunk=3).check_effects()


# Names.


@pytest.mark.parametrize(
    ("score", "parts", "label"),
    [
        ("a/b.py:f", ("a/b.py:f",), "b-f"),
        ("snip+a/b.py:f", ("snip", "a/b.py:f"), "snip+b-f"),
        ("a+b.py:f", ("a+b.py:f",), "a-b-f"),
        ("./snip+b.py:f", ("./snip+b.py:f",), "snip-b-f"),
        ("x.py:f+y.py:g", ("x.py:f", "y.py:g"), "x-f+y-g"),
        ("own:f+magnitude", ("own:f", "magnitude"), "own-f+magnitude"),
        (f"{80 * 'x'}.py:f", (f"{80 * 'x'}.py:f",), f"{58 * 'x'}-f"),
    ],
)
def test_a_name_may_be_a_stack_of_ones_own_scores(score, parts, label):
    assert score_names.parts(score) == parts
    assert score_names.label(score) == score_names.label(label) == label
    assert PruneEarlyConfig(scores=(score,)).score_names() == parts


@pytest.mark.parametrize("score", ["own:", "own:f g", "mine.py", "mine.py:", "snip+mine", "f+snip"])
def test_a_name_that_is_none_is_refused(score):
    with pytest.raises(ValueError, match="^`score` has no value "):
        ImpConfig(score=score)


def test_two_scores_of_one_label_are_refused():
    taken = (
        r"^`score` b/f\.py:g and a/f\.py:g would both be called f-g in tables; rename one of them"
    )
    with pytest.raises(ValueError, match=taken):
        PruneEarlyConfig(scores=("a/f.py:g", "snip+b/f.py:g"))
    with pytest.raises(ValueError, match=r"grasp\.py:lowest and grasp-lowest would both"):
        ImpConfig(score="grasp.py:lowest")
    with pytest.raises(ValueError, match=r"^`networks` random\.py:layerwise and random-layerwise"):
        InstabilityConfig(networks=("random.py:layerwise",), densities=(0.1,))
    assert PruneEarlyConfig(scores=("own:f", "own:f+own:f")).score_names() == ("own:f",)


def test_functions_need_names_of_their_own(experiment, tmp_path):
    def other():
        def magnitude(apply_fn, params, mask, batch, key):
            return params

        return magnitude

    with pytest.raises(ValueError, match="^`score` must be a function that has a name, as `def`"):
        run(studies.imp, experiment, tmp_path, score=lambda *given: given[1])
    with pytest.raises(ValueError, match="^`score` is given two functions of the name magnitude;"):
        run(studies.prune_early, experiment, tmp_path, scores=[magnitude, other()])
    assert not list(tmp_path.iterdir())


def test_streamed_data_have_no_examples_for_scores_of_the_library():
    data = DataConfig(name="stream:images")
    assert not data.gives_classes
    ImpConfig(data=DataConfig(name="folder:images"), score="snip")
    with pytest.raises(ValueError, match="`score` snip sees examples of each class, which streame"):
        ImpConfig(data=data, score="snip")
    assert ImpConfig(data=data, score="own:f").data == data


def test_the_help_of_a_study_says_where_functions_are_taken():
    for study in (studies.imp, studies.prune_early, studies.instability, studies.separation):
        text = " ".join(study.__doc__.split())
        assert text.count("The function itself does as well.") == 1
        assert "(apply_fn, params, mask, batch, key) -> tree of floats like params" in text


# Mistakes, before anything is trained.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("number", "must be a function (apply_fn, params, mask, batch, key) -> tree of floats l"),
        ("four", "got four(apply_fn, params, mask, batch)."),
        ("lacking", "must return a tree of floats like the parameters; it has no Dense_1/bias."),
        ("transposed", "its Dense_0/kernel has shape (8, 64), not (64, 8)."),
        ("whole", "its Dense_0/bias has type int32."),
        ("more", "it has Dense_9/bias, which the parameters have not."),
        ("infinite", "is NaN or infinite for 592 of 592 weights, before any training."),
        ("untraceable", "must be a function that jax.jit can trace"),
        ("fails", "fails: KeyError: 'nothing'"),
        ("draws", "draw no random numbers but by its key: two calls of it differ."),
        ("absent", "has no absent."),
    ],
)
def test_a_score_that_is_none_is_one_line(name, message, file, tmp_path, capfd):
    score = f"{file}:{name}"
    assert cli.main(["imp", *WORDS, "--score", score, "--out", str(tmp_path)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("jaxlth: `score`")
    assert message in line
    assert not list(tmp_path.rglob("record.json"))


def test_a_file_that_is_missing_is_one_line(tmp_path, capfd):
    words = ["prune-early", *WORDS, "--score", "snip+nothing.py:f", "--out", str(tmp_path)]
    assert cli.main(words) == 2
    assert capfd.readouterr().err == "jaxlth: `score`: there is no file nothing.py.\n"


# Identity.


def test_a_changed_score_is_refused_under_its_old_name(experiment, tmp_path):
    def magnitude(apply_fn, params, mask, batch, key):
        return jax.tree.map(jnp.square, params)

    options = {"levels": 0, "controls": []}
    results = run(studies.imp, experiment, tmp_path, score=globals()["magnitude"], **options)
    before = tiny.times(results.path)
    with pytest.raises(store.StoreError, match=r"another `score` .* score own-magnitude differs"):
        run(studies.imp, experiment, tmp_path, score=magnitude, **options)
    run(studies.imp, experiment, tmp_path, score=globals()["magnitude"], **options)
    assert tiny.times(results.path) == before


def test_a_run_takes_more_scores_and_keeps_what_it_knows_of_each(experiment, tmp_path, monkeypatch):
    results = run(studies.prune_early, experiment, tmp_path, scores=["snip"])
    for names in ([magnitude], ["snip"], [magnitude, snip]):
        assert run(studies.prune_early, experiment, tmp_path, scores=names).path == results.path
    about = json.loads((results.path / "run.json").read_text())
    known = about["facts"]["fingerprint"]
    assert {"score own-magnitude", "score own-snip"} <= set(known)
    monkeypatch.setattr(minus_magnitude, "__name__", "snip")
    with pytest.raises(store.StoreError, match="its score own-snip differs"):
        run(studies.prune_early, experiment, tmp_path, scores=[minus_magnitude])


def test_a_run_is_read_without_its_score_and_goes_on_only_with_it(experiment, tmp_path):
    made = run(studies.imp, experiment, tmp_path, score=magnitude, levels=1, controls=[])
    results = studies.open(made.path)
    tiny.assert_same(results.ticket(level=1), made.ticket(level=1))
    assert "level" in results.summary()
    with pytest.raises(ValueError, match=r"^`score` magnitude is a function of your own, which no"):
        run(studies.imp, experiment, tmp_path, score="own:magnitude", levels=2, controls=[])


def test_default_scores_leave_the_folders_of_runs_alone():
    assert store.folder("runs", ImpConfig(), job="imp", label="a").name == "imp-a-44136fa3"
    assert own_scores.label("snip") == "snip"
