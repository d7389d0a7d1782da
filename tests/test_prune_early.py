"""Pruning early: what each method keeps, what a run trains, what the command says."""

import dataclasses
import itertools
import json

import composite_figures as comparisons
import jax
import meta_figures as meta_report
import numpy as np
import pandas as pd
import pytest
import tiny
from scipy import special
from tiny import printed, same

from jaxlth import cli, keys, masks, models, prune, scores, store, trees
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig
from jaxlth.models.resnet import ResNet
from jaxlth.plots import mask_plots
from jaxlth.store import metadata
from jaxlth.studies import (
    STUDIES,
    method_figures,
    method_summary,
    score_names,
    score_pruning,
    scoring,
)
from jaxlth.studies.lab import Lab
from jaxlth.studies.prunable import total_kept
from jaxlth.studies.prune_early import artifacts, initial, meta
from jaxlth.studies.prune_early import report as prune_early_report
from jaxlth.studies.prune_early import run as prune_early
from jaxlth.studies.prune_early.config import (
    CONTROLS,
    ITERATIVE,
    TRAINED,
    WEIGHTS,
    Method,
    PruneEarlyConfig,
    all_methods,
)
from jaxlth.studies.prune_early.networks import EarlyNetworks
from jaxlth.training import TrainingConfig

TINY = ["prune-early", "--model", "mlp", "--hidden", "8", "--steps", "20", "--batch-size", "50"]
TINY += ["--replicates", "1"]
SCHEDULES = (
    "before-once",
    "before-rounds",
    "iterative-once",
    "iterative-rounds",
    "after",
    "after-rounds",
    "after-rewind",
)
FOUR = ("magnitude", "snip", "grasp", "synflow")
REPEATED = ("snip", "grasp", "synflow", "synflow+snip")  # other scores once weights are pruned
BY_SHAPE = ("erdos-renyi", "erdos-renyi-kernel")  # smart-ratio is for convolutions
NOT_UPFRONT = (*score_names.BEFORE_AND_AFTER, *score_names.AT_RANDOM)
UPFRONT = [score for score in score_names.SCORES if score not in NOT_UPFRONT]


def config(**others):
    """Return settings for an mlp on the digits, or what is asked for."""
    common = {
        "model": ModelConfig(name="mlp", hidden=(8,)),
        "training": TrainingConfig(steps=20, batch_size=50),
        "densities": (0.6, 0.3, 0.1),
        "prune_fraction": 0.5,
        "replicates": 1,
        "rounds": 3,
    }
    return PruneEarlyConfig(**(common | others))


class Kept:
    """What a run's folder keeps, as far as a job looks at it, in memory: written in no time."""

    replicates = None  # all of them

    def __init__(self):
        self.units = {}

    def save(self, unit, arrays, record):
        self.units[unit] = arrays, record

    def has(self, unit):
        return unit in self.units

    def record(self, unit):
        return self.units[unit][1]

    def load(self, unit, name, _like=None):
        return self.units[unit][0][name]


def job(settings):
    """Return the job of a run whose dense networks and links are made up, not trained.

    Each is its initial network with noise added, and links keep what chance gave them: so it shows,
    for every score, from which network and within which mask a ticket is pruned.
    """
    experiment, run = prune_early.prepare(settings), Kept()
    made = EarlyNetworks(Lab(experiment, run))
    rng = np.random.default_rng(0)

    def trained(weights, replicate):
        return jax.tree.map(
            lambda w: (w + 0.3 * rng.standard_normal(w.shape) * w.std()).astype(w.dtype),
            made.initial(weights, replicate),
        )

    record = {"nan_step": None}
    for which in artifacts.dense_networks(settings):
        run.save(artifacts.dense(*which), {"network": trained(*which)}, record)
    chains = [m for m in all_methods(settings) if m.schedule in ITERATIVE]
    chains = [method for method in chains if method == method.source]
    for method, replicate in itertools.product(chains, range(settings.replicates)):
        chance = jax.tree.map(lambda w: rng.random(w.shape), made.initial("standard", 0).params)
        links = {artifacts.link(n, method, replicate): keep for n, keep in enumerate(made.links())}
        asked = {
            artifacts.ticket(d, method, replicate): made.keep(d, method) for d in settings.densities
        }
        for unit, keep in (links | asked).items():
            select = prune.global_topk if isinstance(keep, int) else prune.layerwise_topk
            mask = select(chance, experiment.prunable.dense, keep=keep)
            network = trained(method.weights, replicate)
            run.save(unit, {"network": network, "mask": mask}, record)
    return made


def counts(mask):
    return {name: int(np.sum(leaf)) for name, leaf in trees.named(mask).items()}


def check_contract(made, settings, methods):
    """Check what all methods keep: exact counts, of what was kept before, changed as told."""
    for method in methods:
        before = None
        for density in sorted(settings.densities, reverse=True):
            keep = made.keep(density, method)
            start = made.start(keep, method, 0)
            kept = counts(start.mask)
            if isinstance(keep, dict):
                assert kept == keep, method
            else:
                assert sum(kept.values()) == keep, method
            assert sum(kept.values()) == round(density * masks.size(start.mask)), method
            own = made.start(keep, method._replace(control="none"), 0)
            assert (method.control == "none") == same(start, own), method
            if method.control == "shuffled":
                assert kept == counts(own.mask), method
                assert not same(start.mask, own.mask), method
                assert same(start.network, own.network), method
            elif method.control == "reinitialized":
                assert same(start.mask, own.mask), method
                assert not same(start.network, own.network), method
            elif method.control == "inverted":
                assert same(start.network, own.network), method
                overlap = float(masks.jaccard(start.mask, own.mask))
                # Of two masks by chance density / (2 - density) is shared.
                assert overlap < density / (2 - density) + 0.1, method
            if method.control == "shuffled":
                continue
            if method.schedule in ITERATIVE:
                assert inside(start.mask, kept_before(made, made.place(keep, method), method))
            elif (
                not method.schedule.endswith("-rounds")
                and method.score not in score_names.AT_RANDOM
            ):
                assert before is None or inside(start.mask, before), method
            before = start.mask


def kept_before(made, number, method):
    """Return the mask that the `number`th network of a chain is pruned from."""
    return made.run.load(made.request_link(number - 1, method.source, 0).artifact, "mask")


def inside(inner, outer):
    """Return whether one mask keeps nothing that the other has pruned."""
    outer = trees.named(outer)
    return all(not np.any(leaf & ~outer[name]) for name, leaf in trees.named(inner).items())


@pytest.mark.parametrize(
    ("scope", "scores"),
    [
        pytest.param(
            "global", (*UPFRONT, "grasp+magnitude", "synflow+snip"), marks=pytest.mark.slow
        ),
        ("layerwise", ("random", "snip", "synflow")),
    ],
    ids=["global", "layerwise"],
)
def test_every_score_schedule_and_control_keeps_what_it_promises(scope, scores):
    settings = config(
        scores=scores,
        densities=(0.3, 0.1),
        schedules=SCHEDULES,
        controls=CONTROLS,
        scope=scope,
    )
    check_contract(job(settings), settings, all_methods(settings))


def test_tickets_pruned_after_training_in_rounds_keep_trained_weights():
    settings = config(scores=("synflow",), schedules=("after", "after-rounds"), densities=(0.1,))
    made = job(settings)
    once, rounds = (Method("synflow", schedule) for schedule in settings.schedules)
    keep = made.keep(0.1, once)
    start, trained = (
        made.start(keep, rounds, 0),
        made.run.load("density_1/dense/replicate_0", "network"),
    )
    assert same(start.network, trained)
    assert not same(start.mask, made.start(keep, once, 0).mask)
    # In rounds by the functions of the library, from the trained weights.
    experiment, dense = prune_early.prepare(settings), masks.dense(trained.params)

    def score(mask, params):
        def apply_fn(params, inputs):
            return experiment.prunable.model.apply(trained._replace(params=params), inputs, False)[
                0
            ]

        return scores.synflow(apply_fn, params, mask, np.ones((1, 8, 8, 1), np.float32))

    keeps = prune.round_counts(masks.size(dense), keep=keep, rounds=3)
    pruned = prune.in_rounds(score, dense, keeps=keeps, args=(trained.params,))
    assert same(start.mask, pruned)


@pytest.mark.slow
def test_the_last_step_of_training_may_be_pruned_at_and_is_after_training(tmp_path):
    words = ["--score", "magnitude", "--schedule", "before-once", "after", "--density", "0.3"]
    printed(*TINY, *words, "--rewind-steps", "20", "--out", str(tmp_path))
    (info,) = store.runs(tmp_path)
    rows = store.table([info.path]).set_index("control")
    last, after = (rows.loc[f"magnitude-{name}"] for name in ("before-once-at-20", "after"))
    assert last["test_loss"] == after["test_loss"]
    assert last["prune_step"] == 20


def test_no_step_beyond_the_training_may_be_pruned_at():
    prune_early.prepare(config(rewind_steps=(20,)))
    with pytest.raises(
        ValueError, match=r"`rewind_steps` must lie in 0\.\.20, in training; got 21"
    ):
        prune_early.prepare(config(rewind_steps=(21,)))


def test_criteria_of_zhou_score_what_training_changed():
    # Where fewer weights change their sign than are kept, the first are kept too, inverted or not.
    names = [name for name in score_names.BEFORE_AND_AFTER if not name.endswith("diff-sign")]
    settings = config(
        scores=tuple(names),
        schedules=TRAINED,
        controls=CONTROLS,
        densities=(0.3, 0.1),
    )
    made = job(settings)
    check_contract(made, settings, all_methods(settings))
    first, last = Method("large-initial", "after-rewind"), Method("magnitude", "before-once")
    result = [made.start(made.keep(0.3, m), m, 0).mask for m in (first, last)]
    assert same(*result)


def test_layers_by_shape_are_random_within_and_exact():
    # Inverted is the other end of the same random numbers: other weights, as many of each layer.
    settings = config(scores=BY_SHAPE, controls=CONTROLS)
    check_contract(job(settings), settings, all_methods(settings))


@pytest.mark.slow
def test_every_stack_of_two_scores_keeps_what_it_promises():
    pairs = list(itertools.product(FOUR, FOUR))
    settings = config(
        scores=(*FOUR, *(f"{first}+{second}" for first, second in pairs)),
        densities=(0.3, 0.1),
        schedules=("before-once", "before-rounds"),
        controls=("shuffled",),
    )
    # Of magnitudes in the place of weights both see what they saw of the weights.
    alike = {("magnitude", "magnitude"), ("magnitude", "synflow")}
    made = job(settings)
    check_contract(made, settings, all_methods(settings))
    for first, second in pairs:
        both, last = Method(f"{first}+{second}", "before-once"), Method(second, "before-once")
        result = [made.start(made.keep(0.3, method), method, 0).mask for method in (both, last)]
        assert same(*result) == ((first, second) in alike), both


def test_tickets_of_all_initial_weights_keep_what_is_promised():
    settings = config(
        scores=("snip", "magnitude"),
        weights=WEIGHTS,
        densities=(0.3, 0.1),
        schedules=("before-rounds", "iterative-once", "after-rewind"),
        controls=CONTROLS,
    )
    made = job(settings)
    check_contract(made, settings, all_methods(settings))
    for weights in initial.FROM_SCORES:  # anew are scores too
        anew = Method("snip", "before-rounds", "reinitialized", weights)
        drawn = made.start(made.keep(0.1, anew), anew, 0).network.params
        assert max(np.abs(leaf["kernel"]).max() for leaf in drawn.values()) == 1


@pytest.mark.parametrize("scope", ["global", "layerwise"])
def test_every_link_is_pruned_from_the_network_before_it(scope):
    scores = ("magnitude", "snip", "grasp", "synflow", "synflow+snip")
    settings = config(scores=scores, schedules=ITERATIVE, scope=scope)
    made = job(settings)
    links = made.links()
    assert len(links) > 3
    for method, number in itertools.product(all_methods(settings), range(1, len(links))):
        mask = made.request_link(number, method, 0).start().mask
        before = kept_before(made, number, method)
        assert total_kept(counts(mask)) == total_kept(links[number]), method
        assert scope == "global" or counts(mask) == links[number], method
        assert inside(mask, before), method
        assert masks.kept(mask) < masks.kept(before), method


@pytest.mark.parametrize("schedule", ITERATIVE)
def test_magnitude_between_trainings_is_imp(schedule):
    made = job(config(scores=("magnitude",), schedules=(schedule,)))
    method = Method("magnitude", schedule)
    for number in range(2, len(made.links())):
        request, before = (made.request_link(each, method, 0) for each in (number, number - 1))
        mask = trees.named(made.run.load(before.artifact, "mask"))
        params = trees.named(made.run.load(before.artifact, "network").params)
        left = np.concatenate([np.abs(params[name])[mask[name]] for name in mask])
        least = np.sort(left)[-made.links()[number]]
        kept = trees.named(request.start().mask)
        for name in mask:
            assert np.array_equal(kept[name], mask[name] & (np.abs(params[name]) >= least))


@pytest.mark.parametrize("scope", ["global", "layerwise"])
@pytest.mark.parametrize("name", ["magnitude", *REPEATED])
def test_each_round_scores_and_prunes_what_the_round_before_left(name, scope):
    settings = config(
        scores=(name,), schedules=("before-once", "before-rounds"), rounds=4, scope=scope
    )
    made = job(settings)
    experiment, seen = prune_early.prepare(settings), []
    score = scoring.build(name, experiment.prunable.model, experiment.info.example, chunk=None)

    def watched(mask, known):
        jax.debug.callback(seen.append, mask, ordered=True)
        return score(mask, known)

    network, batch = made.initial("standard", 0), experiment.examples(0, per_class=10)
    key = keys.stream(settings.seed, 0, "score")
    last = score_pruning.pruned(
        watched,
        score_names.parts(name),
        experiment.prunable.dense,
        scoring.ScoreInputs(network, network.params, batch, key),
        keep=made.keep(0.1, Method(name, "before-rounds")),
        rounds=settings.rounds,
        spacing=settings.spacing,
    )
    jax.effects_barrier()
    methods = Method(name, "before-once"), Method(name, "before-rounds")
    at_once, rounds = (made.start(made.keep(0.1, m), m, 0).mask for m in methods)
    shares = {float(masks.kept(mask) / masks.size(mask)): mask for mask in (*seen, last)}
    assert list(shares) == pytest.approx([0.1 ** (n / 4) for n in range(5)], abs=0.01)
    for before, after in itertools.pairwise(shares.values()):
        assert inside(after, before)
    assert same(rounds, last)
    assert same(rounds, at_once) == (name not in REPEATED)


def test_learned_scores_keep_what_is_promised():
    learned = ("meta-linear", "meta-sgd", "meta-tree", "meta-forest", "meta-linear-10")
    settings = config(
        scores=("synflow", *learned),
        schedules=("before-once", "iterative-rounds"),
        controls=CONTROLS,
        densities=(0.3, 0.1),
        meta_density=0.3,
        meta_replicates=1,
        replicates=2,
    )
    made = job(settings)
    check_contract(made, settings, [m for m in all_methods(settings) if m.score in learned])


def small_resnet(config, classes, layers):
    """Return a ResNet of one block with 364 weights, which compiles in seconds."""
    return ResNet((1,), 4, classes, layers)


@pytest.mark.slow
def test_networks_with_batch_norm_keep_what_is_promised(monkeypatch):
    monkeypatch.setitem(models.MODELS, "resnet-small", small_resnet)
    settings = config(
        model=ModelConfig(name="resnet-small"),
        scores=(*FOUR, "grasp-magnitude", "random"),
        densities=(0.2,),
        schedules=SCHEDULES,
        controls=CONTROLS,
    )
    by_shape = dataclasses.replace(
        settings, scores=score_names.AT_RANDOM, schedules=("before-once",)
    )
    methods = [*all_methods(settings), *all_methods(by_shape)]
    check_contract(job(settings), settings, methods)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "by_shape"),
    [
        ("conv-2", "erdos-renyi-kernel"),
        ("resnet-20", "smart-ratio"),
        ("vgg-11", "erdos-renyi-kernel"),
    ],
)
def test_networks_with_convolutions_keep_what_is_promised(model, by_shape, narrow):
    settings = config(
        model=ModelConfig(name=model),
        data=DataConfig(name="synthetic", num_train_examples=500),
        scores=("magnitude", "snip", "grasp", "synflow", "synflow+magnitude", by_shape),
        controls=CONTROLS,
        densities=(0.3, 0.05),
    )
    made = job(settings)
    # At 30 % layers by shape are so full that both ends of the same numbers share much.
    full = Method(by_shape, "before-once", "inverted")
    check_contract(made, settings, [each for each in all_methods(settings) if each != full])
    check_contract(made, dataclasses.replace(settings, densities=(0.05,)), [full])
    for score in ("snip", "synflow"):
        inverted, plain = Method(score, "before-once", "inverted"), Method(score, "before-once")
        keep = made.keep(0.05, inverted)
        result = [made.start(keep, method, 0).mask for method in (inverted, plain)]
        assert float(masks.jaccard(*result)) < 0.05


def test_batch_norm_is_in_training_mode_for_scores_that_see_data():
    seen = []

    class Watched:
        def init(self, key):
            return network

        def apply(self, network, inputs, train):
            seen.append(train)
            return inputs.reshape(len(inputs), -1) @ network.params["w"], {}

    params = {"w": np.ones((4, 2), np.float32)}
    batch = np.ones((2, 2, 2, 1), np.float32), np.array([0, 1])
    network = tiny.network(tiny.model())._replace(params=params)
    known = scoring.ScoreInputs(network, params, batch, jax.random.key(0))
    for name in ("snip", "grasp", "synflow"):
        seen.clear()
        example = jax.ShapeDtypeStruct((2, 2, 1), np.float32)
        score = scoring.build(name, Watched(), example, chunk=None)
        score(masks.dense(params), known)
        assert set(seen) == {name != "synflow"}


def test_a_stack_scores_the_first_scores_and_ends_on_the_weights():
    settings = config(scores=("grasp+magnitude", "grasp-magnitude", "snip", "snip+magnitude"))
    made = job(settings)
    result = {
        score: made.start(made.keep(0.1, m), m, 0)
        for score in settings.scores
        for m in [Method(score, "before-once")]
    }
    # The magnitude of what is at least 0 changes nothing; that of GraSP is another score.
    assert same(result["snip"].mask, result["snip+magnitude"].mask)
    assert same(result["grasp+magnitude"].mask, result["grasp-magnitude"].mask)
    assert same(result["grasp+magnitude"].network, result["snip"].network)


def test_rounds_change_nothing_where_scores_stay_what_they_are():
    scores = ("magnitude", "magnitude-unit-variance", "random")
    settings = config(
        scores=scores, schedules=("before-once", "before-rounds"), controls=("inverted",)
    )
    made = job(settings)
    for score, control in itertools.product(scores, ("none", *settings.controls)):
        at_once, rounds = (Method(score, each, control) for each in settings.schedules)
        for density in settings.densities:
            keep = made.keep(density, at_once)
            assert same(made.start(keep, at_once, 0), made.start(keep, rounds, 0)), score


def test_magnitude_at_unit_variance_prunes_all_layers_alike():
    settings = config(scores=("magnitude", "magnitude-unit-variance"), densities=(0.2,))
    made = job(settings)
    densities = {
        score: masks.layer_densities(made.start(made.keep(0.2, m), m, 0).mask)
        for score in settings.scores
        for m in [Method(score, "before-once")]
    }
    plain, unit = (list(densities[score].values()) for score in settings.scores)
    assert plain[1] > 2 * plain[0]
    assert unit == pytest.approx([0.2, 0.2], abs=0.06)


def test_scores_as_weights_keep_signs_and_lie_within_one():
    settings = config(weights=WEIGHTS)
    made = job(settings)
    standard = made.initial("standard", 0).params["Dense_0"]
    for weights in initial.FROM_SCORES:
        params = made.initial(weights, 0).params
        largest = max(np.abs(leaf["kernel"]).max() for leaf in params.values())
        assert largest == 1
        drawn = params["Dense_0"]["kernel"]
        set_ = drawn != 0
        assert set_.any()
        assert np.array_equal(np.sign(drawn)[set_], np.sign(standard["kernel"])[set_])
        assert np.array_equal(params["Dense_0"]["bias"], standard["bias"])
    two = made.initial("bimodal", 0).params["Dense_0"]["kernel"]
    assert two.std() == pytest.approx(standard["kernel"].std(), rel=0.1)
    middle = np.abs(two) < 0.3 * two.std()
    assert middle.mean() < 0.12 < (np.abs(standard["kernel"]) < 0.3 * two.std()).mean()


def test_examples_are_of_each_class_and_differ_by_replicate():
    made = job(config(per_class=3, replicates=2))
    images, labels = made._drawn(0)
    assert np.bincount(labels).tolist() == [3] * 10
    assert images.shape == (30, 8, 8, 1)
    assert not np.array_equal(images, made._drawn(1)[0])


def test_chunks_give_the_scores_of_the_whole_batch():
    result = []
    for chunk in (None, 5):
        made = job(config(chunk=chunk, scores=("grasp",)))
        method = Method("grasp", "before-once")
        result.append(made.start(made.keep(0.3, method), method, 0).mask)
    assert float(masks.jaccard(*result)) > 0.97


EVERYTHING = [
    *TINY,
    "--score",
    "snip",
    "synflow",
    "--schedule",
    "before-rounds",
    "iterative-once",
    "--density",
    "0.5",
]
EVERYTHING += ["0.2", "--controls", "shuffled", "--references", "after", "after-rewind"]
EVERYTHING += ["--rewind-steps", "0", "5", "--prune-fraction", "0.5", "--rounds", "3"]
STORED = {  # the same as settings
    **{
        "densities": (0.5, 0.2),
        "scores": ("snip", "synflow"),
        "schedules": ("before-rounds", "iterative-once"),
    },
    **{"rewind_steps": (0, 5), "references": ("after", "after-rewind"), "controls": ("shuffled",)},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a run with all kinds of tickets, and what the command printed."""
    out = tmp_path_factory.mktemp("early")
    text = printed(*EVERYTHING, "--out", str(out))
    (info,) = store.runs(out)
    return info.path, text


def test_a_run_has_every_ticket_once_with_its_columns(done):
    path, text = done
    frame = store.table([path])
    asked = method_summary.tickets(frame)
    pruned = asked[asked["level"] > 0]
    # Pruned after training there is nothing that depends on the step.
    each_step = 2 * 2 * 2 * 2 + 2 * 2
    assert len(pruned) == 2 * (each_step + 2 * 1)
    assert not pruned.duplicated(["control", "density"]).any()
    kept = (pruned["density"] * pruned["prunable"]).round()
    assert (pruned["kept"] == kept).all()
    assert set(pruned["start_step"]) == {0}
    assert pruned["nan_step"].isna().all()
    assert "Best at 50 %" in text
    assert (path / "accuracy.png").stat().st_size > 10_000


def test_iterative_tickets_come_from_the_network_before_and_are_nested(done):
    run = store.open_readonly(done[0])
    method = Method("snip", "iterative-once")
    larger, narrow = (run.load(artifacts.ticket(d, method, 0), "mask") for d in (0.5, 0.2))
    between = run.load(artifacts.link(2, method, 0), "mask")
    for outer, inner in ((larger, between), (between, narrow)):
        assert inside(inner, outer)
    assert not run.has(artifacts.link(1, method, 0))  # at 50 % the ticket is the link


def test_weights_start_from_the_step_that_is_asked_for(done):
    path = done[0]
    run = store.open_readonly(path)
    settings = config(**STORED | {"controls": ()})
    made = EarlyNetworks(Lab(prune_early.prepare(settings), run))
    at_five = run.load(artifacts.snapshot(5, "standard", 0), "network")
    for score, schedule in (
        ("snip", "before-rounds"),
        ("snip", "iterative-once"),
        ("magnitude", "after-rewind"),
    ):
        method = Method(score, schedule, step=5)
        start = made.start(made.keep(0.5, method), method, 0)
        assert same(start.network.params, at_five["params"])
    trained = run.load(artifacts.dense("standard", 0), "network")
    after, rewound = (Method("magnitude", schedule) for schedule in ("after", "after-rewind"))
    keep = made.keep(0.2, after)
    assert same(made.start(keep, after, 0).network.params, trained["params"])
    assert same(made.start(keep, after, 0).mask, made.start(keep, rewound, 0).mask)


def test_the_same_command_computes_nothing_and_more_extends(done):
    path, text = done
    again = printed(*EVERYTHING, "--out", str(path.parent))
    assert again == text
    before = {file: file.stat().st_mtime_ns for file in path.rglob("record.json")}
    same = ["--rounds", "3", "--prune-fraction", "0.5", "--out", str(path.parent)]
    printed(*TINY, "--score", "magnitude", *same)
    after = {file: file.stat().st_mtime_ns for file in path.rglob("record.json")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


def test_results_and_figures_of_a_run(done, tmp_path):
    path = done[0]
    assert "snip-before-rounds-shuffled-at-5" in printed("results", str(path))
    for kind in ("accuracy", "layers", "units", "overlap", "weights", "steps"):
        file = tmp_path / f"{kind}.png"
        printed("figure", str(path), "--kind", kind, "--file", str(file))
        assert file.stat().st_size > 10_000


def test_figures_of_tickets_are_of_what_the_run_stored(done, monkeypatch):
    path = done[0]
    run, frame, seen = store.open_readonly(path), store.table([path]), {}
    frame = frame[~frame["unit"].str.startswith("density_0.1/")]  # which another test adds
    for name in ("unit_sparsities", "similarity", "weight_pages"):
        monkeypatch.setattr(
            mask_plots, name, lambda result, *_, name=name: seen.update({name: result})
        )
    for kind in ("units", "overlap", "weights"):
        STUDIES["prune-early"].figures.kinds[kind](frame, path, ())
    sparsest = {row.control: row.unit for row in frame.itertuples() if "density_0.2/" in row.unit}
    assert all(set(result) == set(sparsest) for result in seen.values())
    for control, unit in sparsest.items():
        mask = trees.named(run.load(unit, "mask"))
        columns = np.concatenate([leaf.mean(axis=0) for leaf in mask.values()])
        assert np.allclose(seen["unit_sparsities"][control], columns)
        before, after = seen["weight_pages"][control]
        trained = trees.named(run.load(unit, "network")["params"])
        assert np.array_equal(after, np.concatenate([trained[name][mask[name]] for name in mask]))
        assert before.shape == after.shape
        assert not np.array_equal(before, after)
    one, other = "snip-before-rounds", "magnitude-after-rewind"
    shared = float(masks.jaccard(*(run.load(sparsest[each], "mask") for each in (one, other))))
    assert seen["similarity"].loc[one, other] == pytest.approx(shared)


def test_methods_are_tested_against_a_baseline(tmp_path):
    printed(
        *TINY[:-1], "3", "--score", "snip", "random", "--density", "0.5", "--out", str(tmp_path)
    )
    (info,) = store.runs(tmp_path)
    values = method_summary.test_accuracies(store.table([info.path]))
    p = method_summary.welch(values["random-before-once", 0.5], values["snip-before-once", 0.5])
    text = printed("results", str(info.path), "--baseline", "snip-before-once")
    tests = text[text.rindex("method") :]
    assert "against snip-before-once" in tests
    assert f"random-before-once {p:.2g}" in " ".join(tests.split())
    assert "dense" not in tests


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--baseline", "snip"], "Did you mean 'snip-"),
        (["--baseline", "snip-before-rounds", "--format", "csv"], "leave out --format"),
    ],
)
def test_a_baseline_that_is_none_is_one_line(done, words, said, capsys):
    assert cli.main(["results", str(done[0]), *words]) == 2
    printed_before, message = capsys.readouterr()
    assert said in message
    assert message.count("\n") == 1
    assert not printed_before


def test_steps_are_not_drawn_of_tickets_of_initialisation_only(tmp_path, capsys):
    printed(*TINY, "--density", "0.5", "--out", str(tmp_path))
    assert cli.main(["figure", "--out", str(tmp_path), "--kind", "steps"]) == 2
    assert "--rewind-steps 0 100" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--score", "snpi"], "Did you mean 'snip'?"),
        (["--score", "snip+random"], "`score` has no value 'random'"),
        (["--score", "movement"], "no training before it"),
        (
            ["--score", "erdos-renyi", "--schedule", "before-rounds"],
            "goes with the schedule before-once",
        ),
        (["--score", "snip", "snip"], "each once"),
        (["--schedule", "constant"], "`schedule` has no value 'constant'"),
        (
            ["--score", "meta-mlp"],
            "--score synflow and --schedule before-once iterative-rounds too",
        ),
        (
            ["--score", "synflow", "meta-sgd", "--schedule", "before-once", "iterative-rounds"],
            "2 other replicates",
        ),
        (["--density", "0"], "between 0 and 1"),
        (["--density", "0.9999"], "prunes none of the 592 weights"),
        (
            ["--density", "0.04", "--scope", "layerwise", "--schedule", "iterative-once"],
            "too low for iterative-once",
        ),
        (["--density", "0.001"], "fewer than the network's 2 layers"),
        (["--density", "0.003", "--scope", "layerwise"], "no weight of the layer Dense_1"),
        (["--rounds", "0"], "`rounds` must be at least 1"),
        (["--per-class", "1000"], "`per_class` must be at most"),
        (["--rewind-steps", "21"], "0..20"),
        (["--chunk", "7"], "`chunk` must divide the 100 examples"),
        (["--levels", "3"], "`jaxlth imp` has."),
    ],
)
def test_a_mistake_is_one_line(words, said, tmp_path, capsys):
    assert cli.main(tiny.once([*TINY, *words, "--out", str(tmp_path)])) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not list(tmp_path.rglob("record.json"))  # told before anything is trained


def test_runs_of_early_refuse_figures_of_imp(done, capsys):
    assert cli.main(["figure", str(done[0]), "--kind", "training"]) == 2
    assert "accuracy, train-accuracy, layers" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_an_exported_ticket_has_the_mask_and_the_weights_it_started_from(done, ending, tmp_path):
    file, run = tmp_path / f"ticket{ending}", store.open_readonly(done[0])
    name = ["--density", "0.2", "--method", "snip-before-rounds-at-5", "--run", str(done[0])]
    assert printed("export", str(file), *name) == f"{file}\n"
    loaded = store.load_ticket(file)
    unit = artifacts.ticket(0.2, Method("snip", "before-rounds", step=5), 0)
    assert same(loaded.mask, run.load(unit, "mask"))
    at_five = run.load(artifacts.snapshot(5, "standard", 0), "network")
    assert same(loaded.params, at_five["params"])
    assert loaded.metadata["method"] == "snip-before-rounds-at-5"
    assert loaded.metadata["kept"] == int(masks.kept(loaded.mask))


def test_every_ticket_of_a_run_is_found_as_it_was_trained_without_the_data(done, monkeypatch):
    run = store.open_readonly(done[0])
    settings = config(**STORED)
    made = EarlyNetworks(Lab(prune_early.prepare(settings), run))
    monkeypatch.setattr("jaxlth.data.load", None)
    for method in all_methods(settings):
        start = made.start(made.keep(0.2, method), method, 0)
        assert same(prune_early_report.find(run, 0.2, method, 0), start), method


def test_a_ticket_on_scores_as_weights_is_found_with_the_data_and_else_says_so(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("JAXLTH_DATA", raising=False)
    weights = ["--weights", "bimodal", "snip", "synflow", "--controls", "reinitialized"]
    printed(*TINY, *weights, "--out", str(tmp_path))
    (info,) = store.runs(tmp_path)
    run = store.open_readonly(info.path)
    settings = config(weights=("bimodal", "snip", "synflow"))
    made = EarlyNetworks(Lab(prune_early.prepare(settings), run))
    methods = [Method("snip", "before-once", weights=weights) for weights in settings.weights]
    for method in methods:
        assert same(
            prune_early_report.find(run, 0.1, method, 0).network, made.initial(method.weights, 0)
        )
    changed = methods[1]._replace(control="reinitialized")
    start = made.start(made.keep(0.1, changed), changed, 0)
    assert same(prune_early_report.find(run, 0.1, changed, 0), start)
    story = json.dumps(metadata.read(info.path)).replace('"digits"', '"mnist"')
    metadata.write(info.path, json.loads(story))
    prune_early_report.find(run, 0.1, methods[2], 0)
    with pytest.raises(
        ValueError, match="snip-before-once-on-snip start from scores of training examples"
    ):
        prune_early_report.find(run, 0.1, methods[1], 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "snip-before-rounds"], "is named by `density` and `method`"),
        (["--density", "0.2"], "is named by `density` and `method`"),
        (["--density", "0.2", "--method", "snip-usm"], "Did you mean 'snip-before-rounds'?"),
        (["--density", "0.2", "--method", "dense"], "`method` has no value 'dense'"),
        (
            ["--density", "0.25", "--method", "snip-before-rounds"],
            "Did you mean 0.2? Trained: 0.5, 0.2.",
        ),
        (["--density", "0.2", "--method", "snip-before-rounds", "--replicate", "3"], "trained: 0."),
        (["--level", "2"], "`level` does not go with prune-early-"),
        (["--control", "shuffled"], "named by `density` and `method`."),
    ],
)
def test_what_is_not_there_to_export_is_answered_with_what_is(done, words, said, capsys, tmp_path):
    file = tmp_path / "a.npz"
    assert cli.main(["export", str(file), *words, "--run", str(done[0])]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not file.exists()


def test_tickets_of_imp_are_not_named_by_density_and_method(tmp_path, capsys):
    printed("imp", *TINY[1:9], "--levels", "1", "--controls", "--out", str(tmp_path))
    file = tmp_path / "a.npz"
    printed("export", str(file), "--out", str(tmp_path))
    assert store.load_ticket(file).metadata["level"] == 1
    for words in (["--density", "0.2"], ["--method", "snip-before-rounds"]):
        assert cli.main(["export", str(file), *words, "--out", str(tmp_path)]) == 2
        message = capsys.readouterr().err
        assert f"`{words[0][2:]}` does not go with imp-digits-mlp" in message
        assert "its tickets are named by `level` and `control`." in message


LEARNED = [*TINY[:-2], "--replicates", "3", "--score", "synflow", "meta-linear", "meta-mlp-10"]
LEARNED += [
    "--schedule",
    "before-once",
    "iterative-rounds",
    "--density",
    "0.3",
    "--meta-density",
    "0.3",
]
LEARNED += ["--rounds", "3"]


@pytest.mark.slow
def test_meta_models_learn_from_other_replicates_and_prune_by_what_they_predict(tmp_path):
    printed(*LEARNED, "--out", str(tmp_path))
    (info,) = store.runs(tmp_path)
    run = store.open_readonly(info.path)
    settings = config(
        scores=("synflow", "meta-linear", "meta-mlp-10"),
        **{
            "schedules": ("before-once", "iterative-rounds"),
            "densities": (0.3,),
            "meta_density": 0.3,
        },
        **{"replicates": 3, "prune_fraction": 0.2},
    )
    made, method = (
        EarlyNetworks(Lab(prune_early.prepare(settings), run)),
        Method("meta-linear", "before-once"),
    )
    examples = [made.learned_from(replicate, method, False) for replicate in range(3)]
    ticket = run.load(artifacts.ticket(0.3, Method("synflow", "iterative-rounds"), 1), "mask")
    kept = meta.flat(ticket, ticket).astype(bool)
    assert np.all(examples[1][1][~kept] == 0)
    assert np.mean(examples[1][1][kept] > 0) > 0.9
    # Least squares on the two others, solved here.
    inputs = np.concatenate([examples[0][0], examples[2][0]]).astype(float)
    targets = np.concatenate([examples[0][1], examples[2][1]])
    with_one = np.column_stack([inputs, np.ones(len(inputs))])
    solved = np.linalg.lstsq(with_one, targets, rcond=None)[0]
    predicted = examples[1][0] @ solved[:-1] + solved[-1]
    stored = run.load(artifacts.learned(method, 1), "scores")
    mask = run.load(artifacts.ticket(0.3, method, 1), "mask")
    np.testing.assert_allclose(meta.flat(stored, mask), predicted, atol=1e-4)
    least = np.sort(predicted)[-int(meta.flat(mask, mask).sum())]
    assert np.mean((predicted >= least) == meta.flat(mask, mask)) > 0.99
    quality = run.record(artifacts.learned(Method("meta-mlp-10", "before-once"), 0))
    assert quality["mse_test"] > 0
    assert 1 < len(quality["losses"]) <= meta.EPOCHS
    assert "losses" not in run.record(artifacts.learned(method, 0))
    assert not store.table([info.path])["unit"].str.startswith("meta/").any()


def test_the_mlp_learns_until_its_loss_hardly_falls():
    random = np.random.default_rng(0)
    inputs = random.random((640, 4), np.float32)
    targets = random.random(640, np.float32)  # nothing to be learned but their mean
    losses = meta.MLP(1).fit(inputs, targets).losses
    before = losses[-1 - meta.PATIENCE]
    assert meta.PATIENCE < len(losses) < meta.EPOCHS
    assert losses[-1] >= (1 - meta.IMPROVEMENT) * before


def test_the_mlp_learns_what_can_be_learned(monkeypatch):
    monkeypatch.setattr(meta, "EPOCHS", 10)
    random = np.random.default_rng(0)
    inputs = random.random((20_000, 4), np.float32)
    targets = 0.1 + 0.2 * inputs[:, 0]
    fitted = meta.fit("mlp", inputs, targets, (inputs, targets), seed=1)
    assert fitted.quality["mse_train"] == fitted.quality["mse_test"]
    start = np.mean((0.5 - targets) ** 2)  # what a sigmoid of about 0 is off at first
    assert fitted.quality["mse_train"] < 0.9 * start
    assert fitted.losses == sorted(fitted.losses, reverse=True)
    assert fitted.quality["mse_train"] < fitted.losses[-1] < fitted.losses[0] < 1.1 * start
    again = meta.MLP(1).fit(inputs, targets)
    assert np.array_equal(again.predict(inputs), fitted.model.predict(inputs))


def test_further_features_are_those_of_the_units_at_both_ends():
    network = tiny.network(tiny.model(3, 2))
    mask = masks.dense(network.params)
    images = np.random.default_rng(0).random((5, *tiny.SHAPE)).astype(np.float32)
    features = meta.surroundings(network.params, mask, images)
    first, second = (network.params[f"Dense_{place}"] for place in range(2))
    hidden = np.maximum(images.reshape(5, -1) @ first["kernel"] + first["bias"], 0)
    hidden2 = np.maximum(hidden @ second["kernel"] + second["bias"], 0)
    at = first["kernel"].size + 1 * 2 + 0  # the weight from hidden unit 1 to unit 0 above it
    raw = {2: hidden[:, 1].max(), 3: hidden[:, 1].mean(), 4: hidden2[:, 0].max()}
    all_max_in = np.concatenate([images.reshape(5, -1).max(0), hidden.max(0), hidden2.max(0)])
    span = all_max_in.max() - all_max_in.min()
    assert features.shape == (masks.size(mask), 6)
    assert features.min() == 0
    assert features.max() == 1
    assert features[at, 2] == pytest.approx((raw[2] - all_max_in.min()) / span, abs=1e-5)
    with pytest.raises(ValueError, match="need an mlp"):
        meta.surroundings({"Conv_0": {"kernel": np.ones((3, 3, 1, 2))}}, mask, images)


def test_scores_lie_flat_and_back():
    params = {"a": {"bias": np.zeros(2), "kernel": np.arange(6.0).reshape(3, 2)}, "b": np.ones(3)}
    mask = masks.dense(params)
    values = meta.flat(params, mask)
    back = meta.unflat(values, params, mask)
    assert np.array_equal(back["a"]["kernel"], params["a"]["kernel"])
    assert not back["b"].any()


def rows(values):
    """Return a table of results from {(method, density): accuracies}."""
    result = []
    for (control, density), accuracies in values.items():
        for replicate, accuracy in enumerate(accuracies):
            score, _, schedule = control.partition("-")
            result.append(
                {
                    **{"unit": f"density_{density}/{control}/replicate_{replicate}"},
                    **{"replicate": replicate, "control": control, "level": int(density < 1)},
                    **{"score": score, "schedule": schedule or "none", "ablation": "none"},
                    **{"weights": "standard", "prune_step": 0, "density": density},
                    **{"test_accuracy": accuracy, "nan_step": None, "link": False},
                }
            )
    return pd.DataFrame(result)


def test_a_summary_has_means_and_welchs_p_against_the_baseline():
    values = {
        ("dense", 1): [0.98, 0.982],
        ("snip-before-rounds", 0.1): [0.90, 0.92, 0.91],
        ("grasp-before-rounds", 0.1): [0.93, 0.95, 0.97],
        ("random-before-once", 0.1): [0.98, 0.98, 0.979],
    }
    result = method_summary.summary(
        rows(values), tolerance=0.002, baseline="snip-before-rounds"
    ).set_index("control")
    assert result.loc["snip-before-rounds", "mean"] == pytest.approx(0.91)
    a, b = 0.02**2 / 3, 0.01**2 / 3  # variances of the two means
    t, freedom = 0.04 / (a + b) ** 0.5, (a + b) ** 2 / (a**2 / 2 + b**2 / 2)
    p = special.betainc(freedom / 2, 0.5, freedom / (freedom + t**2))
    assert result.loc["grasp-before-rounds", "p"] == pytest.approx(p)
    assert result.loc["snip-before-rounds", "p"] == pytest.approx(1)
    assert result.loc["random-before-once", "matches"]
    assert not result.loc["grasp-before-rounds", "matches"]
    assert np.isnan(result.loc["dense", "p"])
    assert list(result.index) == [
        "dense",
        "random-before-once",
        "grasp-before-rounds",
        "snip-before-rounds",
    ]
    with pytest.raises(ValueError, match="must be a method of the results"):
        method_summary.summary(rows(values), tolerance=0.002, baseline="synflow-before-rounds")
    apart = {("snip-before-rounds", 0.1): [0.9, 0.92], ("random-before-once", 0.5): [0.9, 0.8]}
    table = method_summary.render_tests(
        method_summary.summary(rows(apart), tolerance=0, baseline="snip-before-rounds"),
        "snip-before-rounds",
    )
    assert table.caption.startswith("No method has two replicates at a density at which snip-")


def told(values, *, diverged=()):
    """Return the printed table and the sentence of results; some replicates have diverged."""
    results = rows(values)
    results["level"] = (results["control"] != "dense").astype(int)
    results["nan_step"] = [7 if key in diverged else None for key in results["unit"]]
    summary = method_summary.summary(results, tolerance=0.01)
    table = method_summary.render(summary, tolerance=0.01)
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    return cells, table.caption, method_summary.sentence(summary)


def test_networks_that_diverged_are_counted_and_left_out():
    values = {("dense", 1): [0.9] * 3, ("snip-before-once", 0.5): [0.1, 0.8, 0.8]}
    values |= {("random-before-once", 0.5): [0.1] * 3}
    units = {f"density_0.5/random-before-once/replicate_{replicate}" for replicate in range(3)}
    units |= {"density_0.5/snip-before-once/replicate_0"}
    cells, caption, sentence = told(values, diverged=units)
    assert cells[-1] == ["- ", "failed ", "80.00 "]
    assert caption.endswith(
        "Left out because they diverged: 3 of 3 random-before-once at 50 %, 1 of 3 "
        "snip-before-once at 50 %."
    )
    assert (
        sentence == "The dense network reaches 90.00 %. Best at 50 %: snip-before-once (80.00 %)."
    )
    dense = {f"density_1/dense/replicate_{replicate}" for replicate in range(3)}
    _, _, sentence = told(values, diverged=units | dense)
    assert sentence == "The dense network diverged. Best at 50 %: snip-before-once (80.00 %)."
    _, _, sentence = told(values, diverged={*rows(values)["unit"]})
    assert sentence == "The dense network diverged. All tickets diverged."


@pytest.mark.parametrize(
    ("counts", "caption"),
    [
        ((4, 4), "Accuracy in percent, mean of 4 replicates."),
        ((2, 4), "Accuracy in percent, mean of 2 to 4 replicates."),
        ((1, 1), "Accuracy in percent."),
        ((0, 3), "Accuracy in percent, mean of 3 replicates."),
    ],
)
def test_the_caption_of_means_says_of_how_many_replicates_the_least_and_the_most_are(
    counts, caption
):
    values = {("dense", 1): [0.9] * 4, ("snip-before-once", 0.5): [0.8] * 4}
    results = rows(values)
    too_many = [
        number
        for control, count in zip(("dense", "snip-before-once"), counts, strict=True)
        for number in results.index[results["control"] == control][count:]
    ]
    results.loc[too_many, "nan_step"] = 7
    table = method_summary.render(method_summary.summary(results, tolerance=0), tolerance=0)
    assert str(table.caption).splitlines()[0] == caption


def test_the_best_methods_are_tickets_and_may_be_several():
    tied = {("snip-before-once", 0.5): [0.8], ("random-before-once", 0.5): [0.8]}
    _, _, sentence = told(tied | {("dense", 1): [0.9]})
    assert sentence.endswith("Best at 50 %: random-before-once and snip-before-once (80.00 %).")
    own = {("dense", 1): [0.9], ("densenet-score", 0.5): [0.8], ("random-before-once", 0.5): [0.7]}
    _, _, sentence = told(own)  # a score of densenet.py
    assert sentence.endswith("Best at 50 %: densenet-score (80.00 %).")
    masked = {("dense", 0.5): [0.9], ("snip-before-once", 0.25): [0.8]}  # by an initial mask
    cells, _, sentence = told(masked)
    assert cells[1:] == [["90.00 ", "- "], ["- ", "80.00 "]]
    assert (
        sentence == "The dense network reaches 90.00 %. Best at 25 %: snip-before-once (80.00 %)."
    )
    _, _, sentence = told({("dense", 1): [0.9], ("edge-popup", 1.0): [0.2]})
    assert sentence == "The dense network reaches 90.00 %. Best at 100 %: edge-popup (20.00 %)."


def test_a_figure_has_a_panel_for_each_schedule_and_a_line_for_each_score():
    values = {("dense", 1): [0.98, 0.982]}
    names = itertools.product(("snip", "random"), ("before-once", "iterative-rounds"), (0.5, 0.1))
    for score, schedule, density in names:
        values[f"{score}-{schedule}", density] = [0.9 + density / 100, 0.91]
    figure = method_figures.accuracy(rows(values))
    assert len(figure.axes) == 2
    (legend,) = figure.legends  # of both panels
    assert [t.get_text() for t in legend.get_texts()] == ["snip", "random", "dense"]
    settings = dataclasses.replace(
        config(), scores=("snip", "random"), schedules=("before-once", "iterative-rounds")
    )
    assert [str(m) for m in all_methods(settings)] == [
        *(
            "snip-before-once",
            "snip-iterative-rounds",
            "random-before-once",
            "random-iterative-rounds",
        )
    ]


def test_mask_plots_show_units_weights_and_what_masks_share():
    figure = mask_plots.unit_sparsities({"snip": np.array([0.0, 0.5, 1.0, 1.0])})
    (line,) = figure.axes[0].get_lines()
    shares = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert [shares[0], shares[0.5], shares[50], shares[100]] == [100, 50, 50, 25]
    shared = mask_plots.jaccard({"a": [np.array([True, True])], "b": [np.array([True, False])]})
    assert shared.loc["a"].tolist() == [1, 0.5]
    texts = [text.get_text() for text in mask_plots.similarity(shared).axes[0].texts]
    assert texts == ["1.00", "0.50", "0.50", "1.00"]
    drawn = mask_plots.weight_histograms({"snip": (np.array([0.1, 0.2]), np.array([0.3, -0.2]))})
    assert [axes.get_title(loc="left") for axes in drawn.axes] == ["snip"]


def test_a_figure_leaves_out_what_diverged_and_compares_with_the_standard_dense():
    values = {
        ("dense-on-bimodal", 1): [0.5],
        ("dense", 1): [0.98],
        ("snip-before-once", 0.1): [0.9],
    }
    values["grasp-before-once", 0.1] = [float("nan")]
    frame = rows(values)
    frame.loc[frame["control"] == "grasp-before-once", "nan_step"] = 3
    frame.loc[frame["control"] == "dense-on-bimodal", "weights"] = "bimodal"
    (axes,) = method_figures.accuracy(frame).axes
    dense = next(line for line in axes.get_lines() if line.get_label() == "dense")
    assert dense.get_ydata()[0] == pytest.approx(98)
    assert "diverged" in axes.get_title(loc="right")
    summary = method_summary.summary(frame, tolerance=0.1)
    assert summary.set_index("control")["matches"].to_dict() == {
        **{
            "dense": True,
            "dense-on-bimodal": False,
            "snip-before-once": True,
            "grasp-before-once": False,
        }
    }
    assert method_summary.sentence(summary).startswith("The dense network reaches 98.00 %.")


def test_of_many_methods_the_best_are_drawn():
    values = {(f"s{n:02d}-before-once", 0.1): [n / 100] for n in range(20)}
    frame = rows({("dense", 1): [0.98]} | values)
    frame.loc[frame.index[-1], "nan_step"] = 3
    (axes,) = method_figures.accuracy(frame).axes
    labels = [line.get_label() for line in axes.get_lines()]
    assert [label for label in labels if label != "dense"] == [f"s{n:02d}" for n in range(7, 19)]
    notes = axes.get_title(loc="right").splitlines()
    assert notes[0].endswith("1 of 20 networks diverged")
    assert notes[1].startswith("8 methods")


def test_steps_and_layers_are_drawn_of_what_was_pruned():
    values = {
        ("dense", 1): [0.98],
        ("snip-before-once", 0.1): [0.9],
        ("grasp-before-once", 0.1): [0.8],
    }
    frame = rows(values).assign(**{"layer_densities.Dense_0/kernel": 0.05})
    figure = method_figures.layers(frame)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["snip-before-once", "grasp-before-once"]
    with pytest.raises(ValueError, match="no ticket pruned after initialisation"):
        method_figures.steps(frame)
    later = frame[frame["control"] == "snip-before-once"].assign(prune_step=50, test_accuracy=0.95)
    (axes,) = method_figures.steps(pd.concat([frame, later])).axes
    assert axes.get_lines()[0].get_ydata().tolist() == [90, 95]
    random = frame.assign(control="random-before-once", score="random", test_accuracy=0.5)
    of_random = [random[random["level"] > 0].assign(prune_step=step) for step in (0, 50)]
    (axes,) = method_figures.steps(pd.concat([frame, later, *of_random]), line="method").axes
    assert axes.get_title(loc="right") == "random: 50.0 to 50.0"
    assert 80 < axes.get_ylim()[0] < 90  # of the scores that are compared
    assert len(axes.get_lines()) == 2


def test_changes_compare_with_the_network_of_the_same_replicate_and_density():
    nan = float("nan")
    values = {
        ("dense", 1): [0.98, 0.98, 0.98],
        ("snip-before-once", 0.1): [0.90, 0.92, 0.80],
        ("snip-before-rounds", 0.1): [0.93, 0.94, nan],
        ("snip-before-rounds", 0.05): [0.50, 0.50, 0.50],
    }
    frame = rows(values)
    frame.loc[frame["test_accuracy"].isna(), "nan_step"] = 3
    against = {"snip-before-rounds": "snip-before-once"}
    changes = comparisons.changes(frame, against)
    assert set(changes["control"]) == {"snip-before-rounds"}
    at_ten = changes[changes["density"] == 0.1]["change"]
    assert at_ten.tolist() == pytest.approx([0.03, 0.02, nan], nan_ok=True)
    assert changes[changes["density"] == 0.05]["change"].isna().all()
    (axes,) = comparisons.change(frame, against, line="schedule").axes
    line = axes.get_lines()[0]
    assert line.get_label() == "before-rounds"
    assert line.get_ydata().tolist() == pytest.approx([2.5, nan], nan_ok=True)
    assert axes.get_title(loc="right") == "dashed: snip-before-once"
    both = against | {"magnitude-before-rounds": "magnitude-iterative-once"}
    lacking = rows({("magnitude-before-rounds", 0.1): [0.9]})  # and no panel without a line
    assert len(comparisons.change(pd.concat([frame, lacking]), both, line="schedule").axes) == 1
    with pytest.raises(ValueError, match="together with its reference"):
        comparisons.change(
            frame, {"snip-before-rounds": "magnitude-iterative-once"}, line="schedule"
        )


def test_the_overlap_of_schedules_is_drawn_beside_that_by_chance():
    columns = ["schedules", "score", "density", "replicate", "jaccard"]
    result = [
        ("before-once and iterative-once", "snip", 0.5, 0, 0.7),
        ("before-once and iterative-once", "snip", 0.5, 1, 0.9),
    ]
    result += [
        ("before-once and iterative-once", "snip", 0.1, 0, 0.2),
        ("before-rounds and iterative-rounds", "grasp", 0.1, 0, 0.3),
    ]
    first, second = comparisons.overlap(pd.DataFrame(result, columns=columns)).axes
    lines = {line.get_label(): line for line in first.get_lines()}
    heights = dict(zip(*lines["snip"].get_data(), strict=True))
    assert heights == pytest.approx({50: 0.8, 10: 0.2})
    chance = dict(zip(*lines["by chance"].get_data(), strict=True))
    assert chance == pytest.approx({50: 1 / 3, 10: 1 / 19})
    assert [axes.get_title(loc="left") for axes in (first, second)] == [
        *("before-once and iterative-once", "before-rounds and iterative-rounds")
    ]


def test_a_ranking_shows_the_best_at_the_least_density_with_stars():
    values = {
        ("dense", 1): [0.98, 0.982],
        ("snip-before-rounds", 0.5): [0.97, 0.972],
        ("snip-before-rounds", 0.1): [0.90, 0.92],
        ("snip-before-rounds", 0.01): [0.80, 0.82],
        ("grasp-before-rounds", 0.1): [0.95, 0.951],
        ("grasp-before-rounds", 0.01): [0.60, 0.61],
        ("synflow-before-rounds", 0.1): [0.91, 0.92],
        ("synflow-before-rounds", 0.01): [0.85, 0.86],
        ("random-before-rounds", 0.01): [0.10, 0.12],
    }
    summary = method_summary.summary(rows(values), tolerance=0, baseline="snip-before-rounds")
    figure = comparisons.ranking(summary, most=3, against="snip-before-rounds")
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["synflow-before-rounds", "snip-before-rounds", "grasp-before-rounds"]
    densities = [text.get_text() for text in axes.get_xticklabels()]
    assert densities == ["10", "1"]  # at 50 % most have nothing
    texts = np.reshape([text.get_text() for text in axes.texts], (3, 2))
    assert texts.tolist() == [["91.50", "85.50"], ["91.00", "81.00"], ["95.05", "60.50*"]]
    assert axes.get_title(loc="right") == "* p < 0.05 against snip-before-rounds"
    with pytest.raises(ValueError, match="only dense networks"):
        comparisons.ranking(summary[summary["density"] == 1])


def test_what_meta_models_learn_from_is_drawn_by_share():
    columns = {"snip": np.array([0.0, 0.01, 0.5, 0.99]), "target": np.array([0.0, 0.0, 0.0, 1.0])}
    first, second = meta_report.examples(columns).axes
    everyone, kept = (patch.get_data().values for patch in first.patches)
    assert [everyone[0], everyone[12], everyone[-1]] == [50, 25, 25]
    assert kept.sum() == kept[-1] == 100
    assert second.patches[0].get_data().values[0] == 75
    correlations = pd.DataFrame(columns).corr()
    texts = [
        text.get_text() for text in mask_plots.similarity(correlations, darkest=-1).axes[0].texts
    ]
    shared = f"{correlations.loc['snip', 'target']:.2f}"
    assert texts == ["1.00", shared, shared, "1.00"]


def test_the_learning_curve_is_a_mean_over_replicates_beside_other_models():
    losses = {"meta-mlp": [[0.4, 0.2], [0.2, 0.1]]}
    (axes,) = meta_report.learning(losses, {"meta-linear": 1e-3, "meta-tree": 0}).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    assert lines["meta-mlp"] == pytest.approx([0.3, 0.15])
    assert lines["meta-linear"][0] == 1e-3
    assert "meta-tree" not in lines


@pytest.mark.parametrize(("kept", "told"), [(0.0101, 0.01), (0.0034, 0.0034), (0.034, 0.034)])
def test_the_density_that_is_kept_is_told_where_another_was_asked_for(kept, told):
    unit = "density_0.01/edge-popup/replicate_0"
    row = {"unit": [unit], "control": ["edge-popup"], "density": [kept], "link": [False]}
    assert method_summary.tickets(pd.DataFrame(row))["density"].tolist() == [told]
