"""Scores by name as jobs take them: where they are computed, and what they refuse to prune by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlth import masks, store, trees
from jaxlth.data import DataConfig
from jaxlth.models import Model, ModelConfig, Network
from jaxlth.studies import score_names, score_pruning, scoring
from jaxlth.studies.lab import Lab
from jaxlth.studies.prune_early import run as prune_early
from jaxlth.studies.prune_early.config import PruneEarlyConfig
from jaxlth.training import OptimizerConfig, TrainingConfig

PARAMS = {"kernel": np.array([[3.0, -1.0], [0.5, 2.0]], np.float32)}
DENSE = masks.dense(PARAMS)
KNOWN = scoring.ScoreInputs(Network(PARAMS, {}), PARAMS, None, jax.random.key(0))


def config(**others):
    common = {
        "model": ModelConfig(name="mlp", hidden=(8,)),
        "training": TrainingConfig(steps=20, batch_size=50),
        "replicates": 1,
        "rounds": 3,
    }
    return PruneEarlyConfig(**common | others)


def pruned(result, names=("snip",), keep=2):
    def score(mask, given):
        return {"kernel": jnp.asarray(result, given.network.params["kernel"].dtype)}

    options = {"keep": keep, "rounds": 1, "spacing": "exponential"}
    return score_pruning.pruned(score, names, DENSE, KNOWN, **options)["kernel"].tolist()


def mask_of(experiment, score, given):
    made = experiment.score(score)
    dense = experiment.prunable.dense
    options = {"keep": 100, "rounds": 3, "spacing": "exponential"}
    return score_pruning.pruned(made, (score,), dense, given, **options)


def known_of(experiment):
    network = jax.device_get(experiment.prunable.draw(jax.random.key(1)))
    batch = experiment.examples(0, per_class=2)
    return scoring.ScoreInputs(network, network.params, batch, jax.random.key(0), experiment.mean)


def test_snip_in_float64_is_snip_to_the_rounding_of_float32():
    experiment = prune_early.prepare(config(per_class=2, scores=("snip-float64",)))
    given, dense = known_of(experiment), experiment.prunable.dense
    results = {}
    for name in ("snip", "snip-float64"):
        with scoring.precision((name,)):
            results[name] = scoring.evaluated(experiment.score(name), dense, given)
    single, double = (trees.named(results[name]) for name in ("snip", "snip-float64"))
    for name, leaf in double.items():
        assert leaf.dtype == np.float64
        np.testing.assert_allclose(leaf, single[name], rtol=1e-4, atol=1e-7)
    kernel = double["Dense_0/kernel"]
    assert not np.array_equal(kernel, kernel.astype(np.float32))  # computed so, not converted
    weights = given.network.params["Dense_0"]["kernel"]
    moved = given.network.params["Dense_0"] | {"kernel": weights.astype(np.float64)}
    by_hand = _loss_change(experiment, given, moved)
    np.testing.assert_allclose(kernel[3, 2], by_hand, rtol=1e-6)


def _loss_change(experiment, given, layer):
    """|dL/dw w| of a weight by central differences, in NumPy's float64."""
    (inputs, labels), params = given.batch, given.network.params

    def loss(step):
        kernel = layer["kernel"].copy()
        kernel[3, 2] += step
        hidden = inputs.reshape(len(inputs), -1).astype(np.float64) @ kernel + layer["bias"]
        last = params["Dense_1"]
        logits = np.maximum(hidden, 0) @ last["kernel"].astype(np.float64) + last["bias"]
        highest = logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
        return np.mean(total - logits[np.arange(len(labels)), labels])

    return abs((loss(1e-5) - loss(-1e-5)) / 2e-5 * layer["kernel"][3, 2])


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="snip is not a number for 1 of 4 weights") as caught:
        pruned([[1.0, np.nan], [2.0, 3.0]])
    assert "weights here" not in str(caught.value)
    with pytest.raises(ValueError, match="synflow.snip is not a number.* of synflow may be too"):
        pruned([[1.0, np.nan], [2.0, 3.0]], ("synflow", "snip"))


@pytest.mark.parametrize("value", [0.0, np.inf])
def test_a_stack_that_scores_all_weights_alike_is_refused(value):
    with pytest.raises(ValueError, match=f"synflow.grasp is {value:g} for all 4 weights"):
        pruned(np.full((2, 2), value), ("synflow", "grasp"))


def test_where_a_single_score_is_the_same_for_all_the_first_weights_are_kept():
    assert pruned(np.zeros((2, 2))) == [[True, True], [False, False]]


@pytest.mark.parametrize(
    ("model", "stack"), [("conv-4", "synflow+snip"), ("resnet-20", "synflow+synflow")]
)
@pytest.mark.slow
def test_stacks_of_scores_too_large_to_be_weights_are_refused(model, stack):
    data = DataConfig(name="synthetic", num_train_examples=200)
    settings = config(model=ModelConfig(name=model), data=data, scores=(stack,))
    experiment = prune_early.prepare(settings)
    dense, given = experiment.prunable.dense, known_of(experiment)
    options = {"keep": 100, "rounds": 1, "spacing": "linear"}
    with pytest.raises(ValueError, match="may be too large"):
        score_pruning.pruned(
            experiment.score(stack), score_names.parts(stack), dense, given, **options
        )


def test_synflow_is_computed_on_the_host_of_a_tpu(monkeypatch):
    experiment = prune_early.prepare(config(scores=("synflow",)))
    given = known_of(experiment)
    wanted = mask_of(experiment, "synflow", given)
    devices, places = jax.local_devices, []

    def local_devices(*, backend=None):
        places.append(backend)
        return devices(backend=backend)

    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(jax, "devices", lambda: [type("Device", (), {"platform": "tpu"})()])
    monkeypatch.setattr(jax, "local_devices", local_devices)
    mask = mask_of(experiment, "synflow", given)
    assert places == ["cpu"]
    assert jax.tree.all(jax.tree.map(np.array_equal, mask, wanted))
    places.clear()
    mask_of(experiment, "snip", given)
    assert places == []


def test_a_hidden_host_is_told_of(monkeypatch):
    def none(*, backend):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(jax, "local_devices", none)
    with pytest.raises(ValueError, match="JAX_PLATFORMS hides"), scoring.precision(("synflow",)):
        pass


def test_synflow_of_a_network_in_bfloat16_is_that_of_its_weights():
    problems = [
        prune_early.prepare(config(model=ModelConfig(name="mlp", hidden=(8,), dtype=dtype)))
        for dtype in ("bfloat16", "float32")
    ]
    given = known_of(problems[1])
    result = [mask_of(experiment, "synflow", given) for experiment in problems]
    assert jax.tree.all(jax.tree.map(np.array_equal, *result))
    snip = [
        jax.jit(experiment.score("snip"))(experiment.prunable.dense, given)["Dense_0"]["kernel"]
        for experiment in problems
    ]
    assert not np.array_equal(*snip)  # of what is trained, in bfloat16


def test_a_class_without_examples_is_refused_whichever_it_is():
    data = DataConfig(name="digits", num_train_examples=30)
    experiment = prune_early.prepare(
        config(
            data=data,
            seed=117,
            scores=("magnitude",),
            training=TrainingConfig(steps=1, batch_size=5),
        )
    )
    assert (
        9 not in experiment.device_data.dataset.train.labels
    )  # the highest: nothing counts up to it
    with pytest.raises(ValueError, match="`per_class` must be at most 0"):
        experiment.examples(0, per_class=1)


def test_nothing_is_pruned_from_a_state_after_training_diverged(tmp_path):
    settings = config(
        optimizer=OptimizerConfig(optimizer="sgd", lr=1e30), rewind_steps=(0, 15), densities=(0.3,)
    )
    experiment = prune_early.prepare(settings)
    with store.open_run(tmp_path, settings, job="prune-early", label="test") as run:
        for _ in prune_early.prune_early(
            Lab(experiment, run, checkpoint_seconds=60), experiment.prunable.config
        ):
            pass
        (dense,) = (
            record for unit, record in run.records() if "/dense/" in unit and "density" in unit
        )
        assert 0 < dense["nan_step"] <= 15
        units = [unit for unit, _ in run.records()]
        assert "density_0.3/snip-before-once/replicate_0" in units
        assert not any("at-15" in unit for unit in units)


@pytest.mark.parametrize("scope", ["global", "layerwise"])
def test_densities_too_low_for_the_trainings_before_them_are_told_as_such(scope):
    settings = config(
        schedules=("iterative-once",), densities=(0.3,), prune_fraction=1e-4, scope=scope
    )
    with pytest.raises(
        ValueError, match="`density` 0.3 is too low for iterative-once and iterative-rounds, which"
    ):
        prune_early.prepare(settings)


def test_synflow_as_published_takes_magnitudes_of_running_means_too():
    def apply(network, inputs, train):
        hidden = jnp.maximum(inputs.sum((1, 2)) @ network.params["a"] - network.stats["mean"], 0)
        return hidden @ network.params["b"], network.stats

    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=(4, 2))}
    stats = {"mean": np.array([-1.0, -0.1, 0.2, 0.4])}
    network, dense = Network(params, stats), masks.dense(params, prunable=lambda path, leaf: True)
    model = Model(init=lambda key: network, apply=apply)
    example = jax.ShapeDtypeStruct((1, 1, 3), jnp.float32)

    def scored(name, stats):
        given = KNOWN._replace(network=network._replace(stats=stats))
        with scoring.precision((name,)):
            score = scoring.build(name, model, example, chunk=None)
            return scoring.evaluated(score, dense, given)

    a, b = np.abs(params["a"]), np.abs(params["b"])
    for name, mean in (
        ("synflow", stats["mean"]),
        ("synflow-published", np.abs(stats["mean"])),
    ):
        hidden = a.sum(0) - mean
        result = scored(name, stats)
        np.testing.assert_allclose(result["a"], a * (hidden > 0) * b.sum(1), rtol=1e-12)
        np.testing.assert_allclose(result["b"], np.maximum(hidden, 0)[:, None] * b, rtol=1e-12)
    assert not np.allclose(scored("synflow", stats)["b"], result["b"])


def test_each_synflow_has_a_published_form_that_looks_at_the_same_data():
    for name in score_names.FLOWS:
        published = f"{name}-published"
        assert published in score_names.SCORES
        assert (published in score_names.SEES_DATA) is (name in score_names.SEES_DATA)
        assert score_names.published_rounds(published) == 100
