"""Data sets side by side, each a task: how they are joined, normalised, trained and evaluated."""

import contextlib
import io
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxlth import cli, data, graphs, masks, models, settings, store
from jaxlth.data import DataConfig, DataError, Split, memory, side_by_side, sources
from jaxlth.studies import level_artifacts
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.training import cross_entropy, evaluation, execution, fit, losses

TASKS = {"binary": (1, 1), "one": (3,), "ten": (10, 10), "one binary": (1,), "mixed": (3, 1, 2)}


def load(name, *, seed=0, **config):
    return data.load(DataConfig(name=name, **config), seed=seed)


def rows(images):
    """Return each image as bytes, to be found again."""
    return [image.tobytes() for image in np.ascontiguousarray(images)]


def labelled(tasks, count, *, seed=0):
    """Return logits and labels of tasks, at random."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (count, sum(tasks))).astype(np.float32)
    labels = np.stack([random.integers(0, max(2, width), count) for width in tasks], axis=1)
    return logits, (labels if len(tasks) > 1 else labels[:, 0]).astype(np.int32)


def expected(logits, labels, tasks):
    """Return cross-entropy and success of each label, (n, tasks) each, in plain NumPy."""
    logits, columns = logits.astype(np.float64), labels.reshape(len(logits), -1)
    entropies, right, first = [], [], 0
    for width, own in zip(tasks, columns.T, strict=True):
        part = logits[:, first : first + width]
        first += width
        if width == 1:  # the same as a softmax of the output and 0
            part = np.concatenate([np.zeros_like(part), part], axis=1)
        chances = np.exp(part) / np.exp(part).sum(1, keepdims=True)
        entropies.append(-np.log(chances[np.arange(len(own)), own]))
        right.append(part.argmax(1) == own)
    return np.stack(entropies, 1), np.stack(right, 1)


# Points in a plane


@pytest.mark.parametrize("name", ["moons", "circles"])
def test_points_are_images_of_two_numbers_and_two_classes_of_one_output(name):
    info, dataset = load(name, validation=0)
    assert (info.train, info.test, info.classes, info.tasks) == (1000, 1000, 1, (1,))
    assert dataset.train.images.shape == (1000, 1, 2, 1)
    assert dataset.train.images.dtype == np.float32
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    assert np.bincount(labels).tolist() == [1000, 1000]
    assert 450 < np.sum(dataset.train.labels) < 550
    assert not set(rows(dataset.train.images)) & set(rows(dataset.test.images))


def test_circles_are_told_apart_by_their_radius():
    _, dataset = load("circles", validation=0)
    radius = np.linalg.norm(dataset.train.images.reshape(-1, 2), axis=1)
    means = [radius[dataset.train.labels == label].mean() for label in (0, 1)]
    np.testing.assert_allclose(means, [1, 0.35], atol=0.03)
    assert np.mean((radius < 0.67) == dataset.train.labels) > 0.98


def test_points_are_the_same_for_every_seed_of_a_run():
    one, other = (load("moons+circles", seed=seed, validation=0)[1] for seed in (0, 1))
    tiny.assert_same(one, other)


# Joining


def test_each_example_is_one_of_each_set():
    info, dataset = load("moons+circles", validation=0)
    assert (info.classes, info.shape, info.tasks, info.widths) == (2, (1, 4, 1), (1, 1), (2, 2))
    assert dataset.train.labels.shape == (1000, 2)
    assert dataset.train.labels.dtype == np.int32
    for place, name in enumerate(("moons", "circles")):
        alone = load(name, validation=0)[1]
        for joined, whole in ((dataset.train, alone.train), (dataset.test, alone.test)):
            own = joined.images[:, :, 2 * place : 2 * place + 2]
            labels = dict(zip(rows(whole.images), whole.labels.tolist(), strict=True))
            assert sorted(rows(own)) == sorted(labels)  # each once, none of the other split
            assert [labels[row] for row in rows(own)] == joined.labels[:, place].tolist()


def test_pairs_are_drawn_at_random():
    _, dataset = load("digits+digits", validation=0)
    left, right = dataset.train.labels.T
    assert 0.05 < np.mean(left == right) < 0.15  # as if each were drawn by itself
    _, alone = load("digits", validation=0)
    assert not np.array_equal(left, alone.train.labels)


def test_there_are_as_many_pairs_as_the_smallest_set_has():
    def of(count, first):
        images = np.arange(first, first + count, dtype=np.uint8).reshape(-1, 1, 1, 1)
        return Split(images, images.ravel().astype(np.int32))

    sets = [sources.Published(of(9, 0), of(2, 10), 12), sources.Published(of(5, 20), of(3, 30), 33)]
    joined = side_by_side.joined(["a", "b"], sets)
    assert (joined.classes, joined.tasks, joined.widths) == (45, (12, 33), (1, 1))
    np.testing.assert_array_equal(joined.train.images[:, 0, :, 0], joined.train.labels)
    left, right = joined.train.labels.T.tolist()
    assert sorted(right) == list(range(20, 25))
    assert len(set(left)) == 5
    assert max(left) < 9
    assert joined.test.labels.shape == (2, 2)


def test_three_sets_are_joined_and_tasks_share_out_inputs_and_outputs():
    info, dataset = load("digits+digits+digits")
    assert dataset.train.images.shape == (info.train, 8, 24, 1)
    assert info.tasks == (10, 10, 10)
    shares = [graphs.Task(*each) for each in data.tasks(info)]
    graphs.tasks.check_tasks(shares, inputs=8 * 24, outputs=30)
    assert [len(each.inputs) for each in shares] == [64] * 3
    marked = np.zeros((8, 24, 1), bool)
    marked.flat[list(shares[1].inputs)] = True
    assert marked[:, 8:16].all()
    assert marked.sum() == 64
    assert shares[2].outputs == tuple(range(20, 30))


def test_a_single_set_is_one_task_with_all_inputs_and_outputs():
    info, _ = load("digits")
    ((inputs, outputs),) = data.tasks(info)
    assert (inputs, outputs) == (tuple(range(64)), tuple(range(10)))
    assert info.tasks == (10,)


def test_tasks_must_share_out_everything():
    parts = {"train": 1, "validation": 0, "test": 1, "classes": 3, "shape": (1, 4, 1)}
    with pytest.raises(ValueError, match=r"the 3 outputs and 4 columns .* \(1, 1\) and \(2, 2\)"):
        data.Info(name="x", tasks=(1, 1), widths=(2, 2), **parts)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "moon+circles"}, "`data` has no value 'moon'. Did you mean 'moons'"),
        ({"name": "moons+"}, "on either side of '+', as in moons+circles; got 'moons+'"),
        ({"name": "moons+tfds:"}, "`data` has no value 'tfds:'"),
        ({"name": "mnist+folder:x"}, "folder:x is streamed; only sets in memory"),
        ({"name": "mnist+mnist", "augment": "flip-crop"}, "flip-crop would mix inputs"),
        ({"name": "moons", "normalize": "unit-norm"}, "unit-norm would mix inputs of moons"),
        ({"name": "folder:x", "normalize": "per-pixel"}, "per-pixel needs all images in memory"),
    ],
)
def test_settings_that_cannot_be_are_refused(config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        DataConfig(**config)


def test_sets_of_different_heights_are_refused():
    with pytest.raises(DataError, match=r"digits \(8x8x1\) and moons \(1x2x1\) cannot lie side"):
        load("digits+moons")


def test_a_folder_may_have_a_plus_in_its_name():
    assert DataConfig(name="folder:c++").names == ("folder:c++",)


# Normalisation


@pytest.mark.parametrize("name", ["digits", "moons+circles"])
def test_statistics_per_pixel_are_those_of_numpy(name):
    _, dataset = load(name, normalize="per-pixel")
    images = dataset.train.images.astype(np.float64)
    assert dataset.mean.shape == dataset.std.shape == images.shape[1:]
    np.testing.assert_allclose(dataset.mean, images.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(dataset.std, images.std(0), rtol=1e-6, atol=1e-6)
    inputs = data.NORMALIZERS["per-pixel"](*map(jnp.asarray, (images, dataset.mean, dataset.std)))
    np.testing.assert_allclose(inputs.mean(0), 0, atol=1e-5)
    varies = images.std(0) > 0
    np.testing.assert_allclose(np.asarray(inputs).std(0)[varies], 1, rtol=1e-3)
    assert np.all(np.isfinite(inputs))


def test_statistics_per_channel_of_real_numbers_are_those_of_numpy():
    images = np.random.default_rng(0).normal(3, 2, (2500, 2, 3, 2)).astype(np.float32)
    mean, std = memory.statistics(images, per_pixel=False)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2), dtype=float), rtol=1e-6)
    np.testing.assert_allclose(std, images.std((0, 1, 2), dtype=float), rtol=1e-6)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_constant_pixel_has_no_deviation(kind):
    images = np.full((1500, 1, 2, 1), 0.1 if kind is np.float32 else 200, kind)
    images[0, 0, 1] = 0
    mean, std = memory.statistics(images, per_pixel=True)
    assert mean[0, 0, 0] == images[1, 0, 0, 0]
    assert std.ravel()[0] == 0 < std.ravel()[1]


def test_the_new_normalisation_leaves_digests_alone():
    assert settings.changed(DataConfig()) == {}
    assert settings.changed(DataConfig(normalize="per-pixel")) == {"normalize": "per-pixel"}


# Losses


@pytest.mark.parametrize("tasks", TASKS.values(), ids=TASKS)
def test_the_loss_is_the_sum_of_the_cross_entropies_of_tasks(tasks):
    logits, labels = labelled(tasks, 40)
    entropies, right = expected(logits, labels, tasks)
    result = cross_entropy.per_label(jnp.asarray(logits), labels, tasks)
    assert result.shape == labels.shape
    np.testing.assert_allclose(np.reshape(result, entropies.shape), entropies, rtol=1e-4, atol=1e-6)
    mean = losses.objective(tasks=tasks).per_example(jnp.asarray(logits), labels).mean()
    np.testing.assert_allclose(mean, entropies.sum(1).mean(), rtol=1e-5)
    predictions = cross_entropy.predictions(jnp.asarray(logits), tasks)
    np.testing.assert_array_equal(np.reshape(predictions == labels, right.shape), right)


def test_a_task_changes_no_output_of_another():
    logits, labels = labelled((3, 1, 2), 5)

    def of(place):
        return lambda logits: cross_entropy.per_label(logits, labels, (3, 1, 2))[:, place].sum()

    for place, own in enumerate((slice(0, 3), slice(3, 4), slice(4, 6))):
        gradient = np.array(jax.grad(of(place))(jnp.asarray(logits)))
        assert np.all(gradient[:, own] != 0)
        gradient[:, own] = 0
        assert np.all(gradient == 0)


def test_tasks_must_have_the_outputs_of_the_network():
    with pytest.raises(ValueError, match=r"share out the 5 outputs of the network; got \(2, 1\)"):
        losses.objective(tasks=(2, 1)).per_example(jnp.zeros((1, 5)), jnp.zeros((1, 2), int))


# Evaluation


def outputs_as_inputs(tasks, count):
    """Return a model whose outputs are its inputs, its network and mask, and labelled inputs."""

    def apply(network, inputs, train):
        return inputs.reshape(len(inputs), -1) + network.params["bias"], network.stats

    logits, labels = labelled(tasks, count)
    model = models.Model(init=None, apply=apply, auxiliary=None, convolutional=False)
    network = models.Network({"bias": jnp.zeros(sum(tasks))}, {})
    return model, network, {"bias": None}, Split(logits.reshape(count, 1, -1, 1), labels)


NORMS = (np.zeros(1, np.float32), np.ones(1, np.float32))


@pytest.mark.parametrize("tasks", TASKS.values(), ids=TASKS)
def test_sums_by_task_are_those_of_numpy_and_add_up(tasks):
    model, network, mask, split = outputs_as_inputs(tasks, 25)
    entropies, right = expected(split.images.reshape(25, -1), split.labels, tasks)
    classifier = evaluation.Classifier(model, data.normalize, losses.objective(tasks=tasks))
    whole = evaluation.metric_sums(classifier, network, mask, split, NORMS)
    np.testing.assert_allclose(whole.loss, entropies.sum(), rtol=1e-5)
    assert whole.correct == right.sum()
    by_task = evaluation.sum_over_split(
        lambda batch: evaluation.metric_sums_by_task(classifier, network, mask, batch, NORMS),
        split,
        size=10,
    )
    np.testing.assert_allclose(by_task.loss, entropies.sum(0), rtol=1e-5)
    np.testing.assert_array_equal(by_task.correct, right.sum(0))
    for result in (evaluation.mean, evaluation.mean_numpy):
        measured = result(whole, 25, labels=len(tasks))
        np.testing.assert_allclose(measured.loss, entropies.sum(1).mean(), rtol=1e-5)
        np.testing.assert_allclose(measured.accuracy, right.mean(), rtol=1e-6)


def test_examples_that_fill_up_a_batch_count_for_nothing():
    model, network, mask, split = outputs_as_inputs((3, 1), 6)
    filled = split._replace(labels=np.where(np.arange(6)[:, None] < 4, split.labels, -1))
    first = Split(*(array[:4] for array in split))
    classifier = evaluation.Classifier(model, data.normalize, losses.objective(tasks=(3, 1)))
    for sums in (evaluation.metric_sums, evaluation.metric_sums_by_task):
        a, b = (sums(classifier, network, mask, each, NORMS) for each in (filled, first))
        tiny.assert_close(a, b, rtol=1e-6)


def test_networks_disagree_where_they_differ_in_any_task():
    model, network, mask, split = outputs_as_inputs((1, 2), 30)
    other = network._replace(params={"bias": jnp.array([5.0, 0.0, 0.0])})
    pair, tasks = (network, other), (1, 2)
    classifier = evaluation.Classifier(model, data.normalize, losses.objective(tasks=tasks))
    differences = evaluation.disagreement(classifier, pair, mask, split, NORMS)
    logits = split.images.reshape(30, -1)
    moved = logits + np.array([5, 0, 0])
    gaps = [expected(each, split.labels, tasks)[0].sum(1) for each in (logits, moved)]
    assert differences.classes == np.sum((logits[:, 0] > 0) != (moved[:, 0] > 0)) > 0
    np.testing.assert_allclose(differences.losses, np.sum((gaps[0] - gaps[1]) ** 2), rtol=1e-4)


@pytest.mark.parametrize("looped", [False, True])
def test_a_group_sums_by_task_and_measures_means_over_tasks(looped):
    tasks = (1, 2)
    base = tiny.dataset()
    both = {
        name: split._replace(labels=np.stack([split.labels > 0, split.labels > 1], 1).astype(int))
        for name, split in base._asdict().items()
        if isinstance(split, Split)
    }
    dataset = base._replace(**both)
    model = tiny.model()
    network = tiny.network(model)
    mask = masks.dense(network.params)
    trainer = tiny.trainer(model, objective=losses.objective(tasks=tasks))
    layout = execution.Layout(devices=(jax.devices()[0],), per_device=1, looped=looped)
    compiled = fit.compile(trainer, layout, train_examples=100)
    shared = layout.share(dataset)
    sums = compiled.make_sums(
        lambda trees, batch, mean_std: evaluation.metric_sums_by_task(
            evaluation.Classifier(model, data.normalize, losses.objective(tasks=tasks)),
            *trees,
            batch,
            mean_std,
        )
    )
    trees = (layout.place([network]), layout.place([mask]))
    mean_std = (shared.mean, shared.std)
    (stats,) = layout.take(sums(trees, shared.test, mean_std), 1)
    assert stats.loss.shape == stats.correct.shape == (2,)
    state = layout.place([jax.device_get(trainer.start(network, mask))])
    _, measured = compiled.measure(state, trees[1], shared, np.int32(1), np.int32(0))
    (measured,) = layout.take(measured, 1)
    count = len(dataset.test.labels)
    np.testing.assert_allclose(measured.test.loss, stats.loss.sum() / count, rtol=1e-5)
    np.testing.assert_allclose(measured.test.accuracy, stats.correct.sum() / (2 * count), rtol=1e-6)


def test_one_task_of_classes_trains_as_without_tasks():
    model, dataset = tiny.model(), tiny.dataset()
    network = tiny.network(model)
    mask = masks.dense(network.params)

    def program(**config):
        trainer = tiny.trainer(model, **config)
        state = trainer.start(network, mask)
        key = jax.random.key(0)
        return jax.jit(trainer.advance).lower(state, mask, dataset, key, 0, 4).as_text()

    assert program() == program(objective=losses.objective(tasks=(tiny.CLASSES,)))


# What needs one set of classes


@pytest.mark.parametrize("name", ["moons", "moons+circles"])
def test_scores_of_examples_and_comparisons_of_twins_are_refused(tmp_path, capsys, name):
    tiny_mlp = ["--data", name, "--model", "mlp", "--hidden", "4", "--steps", "2"]
    tiny_mlp += ["--replicates", "1", "--out", str(tmp_path)]
    early = ["prune-early", "--score", "snip", "--density", "0.5"]
    for command in (early, ["instability", "--rewind-steps", "0"]):
        assert cli.main([*command, *tiny_mlp]) == 2
        assert f"such as mnist; outputs of {name}, task by task: 1" in capsys.readouterr().err


def test_examples_of_several_tasks_are_those_of_streams():
    info, dataset = load("moons+circles")
    config = ImpConfig(data=DataConfig(name="moons+circles"))
    subject = types.SimpleNamespace(config=config)
    experiment = LoadedExperiment(subject, info, types.SimpleNamespace(dataset=dataset))
    inputs, labels = experiment.examples(0, per_class=1)
    assert inputs.shape == (1, 1, 4, 1)
    assert labels.tolist() == [0]


# Whole runs


def imp(out, *arguments):
    words = ["imp", "--out", str(out), "--replicates", "1", *arguments, "--controls"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(words) == 0
    (info,) = store.runs(out)
    return store.open_readonly(info.path)


def test_imp_learns_moons_and_circles(tmp_path):
    words = ["--data", "moons+circles", "--normalize", "per-pixel", "--model", "mlp", "--hidden"]
    words += ["12", "--optimizer", "adam", "--lr", "0.02", "--steps", "400", "--levels", "1"]
    run = imp(tmp_path, *words)
    assert run.path.name.startswith("imp-moons-circles-mlp-12")
    for level in (0, 1):
        record = run.record(level_artifacts.network(level, "ticket", 0))
        assert record["test_accuracy"] > 0.93
        first, *_, last = record["curve"]["train_loss"]
        assert last < first < 2 * np.log(2) + 0.1


@pytest.mark.slow
def test_a_single_binary_set_is_learned(tmp_path):
    words = ["--data", "circles", "--model", "mlp", "--hidden", "8", "--optimizer", "adam"]
    run = imp(tmp_path, *words, "--lr", "0.03", "--steps", "300", "--levels", "1")
    assert run.record(level_artifacts.network(0, "ticket", 0))["test_accuracy"] > 0.95


@pytest.mark.data
def test_real_mnist_and_fashion_mnist_lie_side_by_side(real_data):
    config = {"data_dir": str(real_data), "validation": 0}
    info, dataset = load("mnist+fashion_mnist", normalize="per-pixel", **config)
    assert (info.shape, info.tasks, info.classes) == ((28, 56, 1), (10, 10), 20)
    assert (info.train, info.test) == (60000, 10000)
    assert dataset.train.images.dtype == np.uint8
    assert dataset.mean.shape == (28, 56, 1)
    assert np.bincount(dataset.train.labels[:, 1]).tolist() == [6000] * 10
    assert np.bincount(dataset.test.labels[:, 0])[0] == 980
    alone = load("mnist", **config)[1]
    np.testing.assert_array_equal(
        np.sort(dataset.test.images[:, :, :28].sum((1, 2, 3))),
        np.sort(alone.test.images.sum((1, 2, 3))),
    )
    own = dataset.mean[:, :28, 0]
    np.testing.assert_allclose(own, alone.train.images.mean(0)[..., 0], rtol=1e-5)
