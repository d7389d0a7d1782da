"""Separation: a network pruned with several tasks, what its record says, when it stops."""

import contextlib
import dataclasses
import functools
import itertools
import pathlib
import struct
import types
from typing import get_args

import jax
import networkx as nx
import numpy as np
import pytest
import tiny
from tiny import printed, same

from jaxlth import cli, data, graphs, masks, store, studies
from jaxlth.cli import parsing
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig, Network
from jaxlth.studies import STUDIES, all_alive, compaction, functions, level_artifacts
from jaxlth.studies.compaction import Compaction
from jaxlth.studies.config import run_label
from jaxlth.studies.controls import TICKET
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import TrainedNetwork
from jaxlth.studies.prunable import total_kept
from jaxlth.studies.separation import run as separation
from jaxlth.studies.separation.config import Coverage, SeparationConfig
from jaxlth.studies.separation.config import units as network_names
from jaxlth.studies.separation.measurement import Measurement, task_names
from jaxlth.studies.separation.pruning import keep_counts, prune_rule
from jaxlth.studies.separation.reading import find, look
from jaxlth.studies.train import Ticket
from jaxlth.training import OptimizerConfig, TrainingConfig

# Without hidden layers: pruned to its own two inputs for each moon it separates, and then degrades.
LINEAR = SeparationConfig(
    data=DataConfig(name="moons+moons", normalize="per-pixel", validation=0.2),
    model=ModelConfig(name="mlp"),
    training=TrainingConfig(epochs=2.0, batch_size=50, evaluate_every=1.0),
    optimizer=OptimizerConfig(optimizer="sgd", lr=0.5),
    counts=(6, 4, 3, 2),
    replicates=2,
)
DEEP = dataclasses.replace(
    LINEAR,
    data=DataConfig(name="moons+circles", normalize="per-pixel", validation=0.2),
    model=ModelConfig(name="mlp", hidden=(8, 8)),
    counts=(60, 30, 16, 6),
    stop="never",
)
COMMAND = ["separation", "--data", "moons+circles", "--model", "mlp", "--hidden", "8", "8"]
COMMAND += ["--epochs", "2", "--batch-size", "50", "--optimizer", "sgd", "--lr", "0.5"]
COMMAND += ["--counts", "60", "30", "16", "6", "--replicates", "2", "--stop", "never"]


def change(of, **others):
    return dataclasses.replace(of, **others)


def with_settings(experiment, config):
    """Return a problem on the same data, with settings that agree on these."""
    return change(experiment, prunable=change(experiment.prunable, config=config))


def on(config, name):
    return change(config, data=change(config.data, name=name))


def opened(out, config, experiment=None):
    """Return the problem of settings and a run of it, to be held."""
    label = run_label(config)
    run = store.open_run(out, config, job="separation", label=label)
    return experiment or separation.prepare(config), run


def finished_run(out, config, experiment=None):
    """Return the problem and the run of settings, all of it trained."""
    experiment, run = opened(out, config, experiment)
    with run:
        for _ in separation.separation(
            Lab(experiment, run, checkpoint_seconds=60), experiment.prunable.config
        ):
            pass
    return experiment, run


class Made:
    """How networks are pruned and measured that nobody has trained."""

    def __init__(self, lab):
        self.keep = keep_counts(lab.config, lab.dense_mask)
        self.measure = Measurement(lab.experiment)
        self._prune = prune_rule(lab)

    def pruned(self, network, mask, level, replicate):
        made_up = {"network": network, "mask": mask, "level": level - 1, "replicate": replicate}
        return self._prune(types.SimpleNamespace(**made_up), self.keep[level])


@contextlib.contextmanager
def job(out, config):
    """Give the experiment of a config, and how it prunes and measures."""
    experiment, run = opened(out, config)
    with run:
        yield experiment, Made(Lab(experiment, run))


def states(run, replicate=0):
    """Return the states of a network by level."""
    rows = [record for _, record in run.records() if record.get("replicate") == replicate]
    assert [row["level"] for row in rows] == list(range(len(rows)))
    return [row["state"] for row in rows]


def times(run):
    return {file: file.stat().st_mtime_ns for file in pathlib.Path(run.path).rglob("record.json")}


def within(sparser, denser):
    """Return whether all that a mask keeps is kept by another."""
    pairs = zip(jax.tree.leaves(sparser), jax.tree.leaves(denser), strict=True)
    return not any(np.any(a & ~b) for a, b in pairs)


def unit(level, replicate=0):
    return level_artifacts.network(level, TICKET, replicate)


def each(record, name):
    """Return a number of each task."""
    return [task[name] for task in record["tasks"].values()]


def owners(experiment):
    return [graphs.Task(*task) for task in data.tasks(experiment.info)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run by command, what it printed, the run and its problem."""
    out = tmp_path_factory.mktemp("finished")
    said = printed(*COMMAND, "--out", str(out))
    (info,) = store.runs(out)
    return out, said, store.open_readonly(info.path), separation.prepare(DEEP)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A problem whose networks are interconnected, separated and degraded by turns, and its run."""
    return finished_run(tmp_path_factory.mktemp("linear"), change(LINEAR, stop="never"))


# By command.


def test_a_command_prints_table_and_sentence(finished):
    _, said, run, _ = finished
    assert "networks separated" in said or "network separated" in said
    rows = [line.split() for line in said.splitlines()]
    kept = [row[3] for row in rows if row[:1] and row[0].isdigit()]
    assert kept == ["112", "60", "30", "16", "6"]
    assert (run.path / "separation.png").exists()


def test_called_again_it_computes_nothing(finished):
    out, said, run, _ = finished
    before = times(run)
    assert printed(*COMMAND, "--out", str(out)) == said
    assert times(run) == before
    config = change(DEEP, training=TrainingConfig(epochs=2.0, batch_size=50))
    complete = STUDIES["separation"].is_complete
    assert not complete(config, run.path / "nothing")
    assert complete(config, run.path)
    assert not complete(change(config, replicates=3), run.path)


# What the records say.


def test_records_agree_with_the_graph_in_networkx(finished):
    _, _, run, experiment = finished
    own = owners(experiment)
    for name, record in run.records():
        network, mask = run.load(name, "network"), run.load(name, "mask")
        graph = graphs.network(network["params"], mask)
        parts = graphs.subnetworks(graph)
        covered = graphs.coverage(parts, own)
        assert record["subnetworks"] == len(parts), name
        np.testing.assert_allclose(np.reshape(record["coverage"], covered.shape), covered)
        assert record["state"] == graphs.state(covered), name
        assert record["widths"] == [4, 8, 8, 2]
        for what, parts in (("weights", graph.edges), ("units", graph.nodes)):
            of = [part[-1] for part in parts(data="category")]
            assert record[what] == {
                category: of.count(category) for category in ("active", "inactive", "zombie")
            }, name
        assert sum(record["weights"].values()) == record["kept"], name


def test_records_say_how_far_each_layer_has_decided(finished):
    _, _, run, experiment = finished
    for name, record in run.records():
        mask = run.load(name, "mask")
        graph = graphs.network(mask, mask)
        active = graph.subgraph(
            [node for node, of in graph.nodes(data="category") if of == "active"]
        )
        for by, end, way in (("outputs", 3, nx.ancestors), ("inputs", 0, nx.descendants)):
            belongs = {
                node: {
                    number
                    for number, task in enumerate(owners(experiment))
                    for one in getattr(task, by)
                    if (end, one) in active
                    and (node == (end, one) or node in way(active, (end, one)))
                }
                for node in active
            }
            shares = [
                [len(tasks) == 1 for node, tasks in belongs.items() if node[0] == layer and tasks]
                for layer in range(4)
            ]
            expected = [round(np.mean(each), 6) if each else None for each in shares]
            assert record[f"decided_by_{by}"] == expected, name


def test_levels_keep_exact_counts_and_are_nested(finished):
    _, _, run, experiment = finished
    assert keep_counts(experiment.prunable.config, experiment.prunable.dense) == [
        112,
        60,
        30,
        16,
        6,
    ]
    for replicate in range(2):
        levels = [run.load(unit(level, replicate), "mask") for level in range(5)]
        assert [int(masks.kept(each)) for each in levels] == keep_counts(
            experiment.prunable.config, experiment.prunable.dense
        )
        assert all(within(*reversed(pair)) for pair in itertools.pairwise(levels))


def test_accuracies_of_tasks_are_those_of_numpy_and_average_to_the_whole(finished):
    _, _, run, experiment = finished
    dataset = experiment.device_data.dataset
    inputs = (dataset.test.images - dataset.mean) / dataset.std
    for name, record in run.records():
        network, mask = run.load(name, "network")["params"], run.load(name, "mask")
        values = inputs.reshape(len(inputs), -1)
        for layer in range(3):
            params = network[f"Dense_{layer}"]
            kernel = np.where(mask[f"Dense_{layer}"]["kernel"], params["kernel"], 0)
            values = values @ kernel + params["bias"]
            values = np.maximum(values, 0) if layer < 2 else values
        labels = dataset.test.labels
        right = np.mean((values > 0) == labels, axis=0)
        losses = np.mean(np.logaddexp(0, np.where(labels, -values, values)), axis=0)
        assert list(record["tasks"]) == ["moons", "circles"]
        for place, task in enumerate(record["tasks"].values()):
            assert task["test_accuracy"] == pytest.approx(right[place], abs=1e-6), name
            assert task["test_loss"] == pytest.approx(losses[place], rel=1e-4), name
        assert np.sum(each(record, "test_loss")) == pytest.approx(record["test_loss"], rel=1e-5)
        mean = np.mean(each(record, "test_accuracy"))
        assert mean == pytest.approx(record["test_accuracy"], abs=1e-6)


def test_what_is_looked_at_is_what_was_stored(finished):
    _, _, run, experiment = finished
    pruned = look(run.path, 1)
    assert list(pruned.tasks) == ["moons", "circles"]
    assert list(pruned.tasks.values()) == owners(experiment)
    assert pruned.shape == (1, 4, 1)
    assert list(pruned.levels) == [0, 1, 2, 3, 4]
    for level, start in pruned.levels.items():
        assert same(start.mask, run.load(unit(level, 1), "mask"))
        assert same(start.network.params, run.load(unit(level, 1), "network")["params"])
    with pytest.raises(ValueError, match="has no replicate 2"):
        look(run.path, 2)


def test_another_job_is_not_looked_at(tmp_path):
    config = ImpConfig()
    with store.open_run(tmp_path, config, job="imp", label="test") as run:
        pass
    with pytest.raises(ValueError, match="is not of `jaxlth separation`"):
        look(run.path, 0)


# When a replicate stops.


def test_a_network_is_pruned_until_its_state_says_stop(tmp_path, linear):
    """Another rule, and more replicates, extend the same run."""
    experiment, _ = linear
    known = {}
    for stop, replicates, levels in (
        ("separated", 1, ["interconnected", "interconnected", "separated"]),
        ("degraded", 1, ["interconnected", "interconnected", "separated", "degraded"]),
        ("never", 1, ["interconnected", "interconnected", "separated", "degraded", "degraded"]),
        ("separated", 2, ["interconnected", "interconnected", "separated"]),
    ):
        config = change(LINEAR, stop=stop, replicates=replicates)
        _, run = finished_run(tmp_path, config, with_settings(experiment, config))
        after = times(run)
        assert {file: after[file] for file in known} == known
        assert len(after) > len(known)
        assert states(run, replicates - 1) == levels
        known = after
    assert len(store.runs(tmp_path)) == 1


def test_networks_of_both_ways_are_the_same(tmp_path, linear):
    """Whatever was asked for before."""
    experiment, whole = linear
    config = change(LINEAR, stop="separated")
    _, run = finished_run(tmp_path, config, with_settings(experiment, config))
    assert all(
        same(run.load(name, "network"), whole.load(name, "network")) for name, _ in run.records()
    )


def test_a_network_that_diverges_is_pruned_no_further(tmp_path):
    sgd = OptimizerConfig(optimizer="sgd", lr=1e30)
    _, run = finished_run(tmp_path, change(DEEP, optimizer=sgd, replicates=1))
    ((name, record),) = run.records()
    assert name == unit(0)
    assert record["nan_step"] is not None
    assert record["state"] == "interconnected"


def test_interrupted_it_ends_with_the_same_bits(tmp_path, linear):
    experiment, whole = linear
    _, run = opened(tmp_path, experiment.prunable.config, experiment)
    cuts = 0
    with run:
        for last in (0, 2, 3):  # levels in whose training it is cut
            events = separation.separation(
                Lab(experiment, run, checkpoint_seconds=60), experiment.prunable.config
            )
            for event in events:
                if event.artifacts[0] == unit(last) and not event.finished:
                    with pytest.raises(KeyboardInterrupt):
                        events.throw(KeyboardInterrupt())
                    cuts += 1
                    break
        for _ in separation.separation(
            Lab(experiment, run, checkpoint_seconds=60), experiment.prunable.config
        ):
            pass
    assert cuts == 3
    assert [name for name, _ in run.records()] == [name for name, _ in whole.records()]
    timeless = {"seconds"}
    for name, record in whole.records():
        assert same(run.load(name, "network"), whole.load(name, "network")), name
        assert same(run.load(name, "mask"), whole.load(name, "mask")), name
        again = run.record(name)
        assert {key: again[key] for key in record if key not in timeless} == {
            key: record[key] for key in record if key not in timeless
        }


# How much each level keeps.


@pytest.mark.parametrize(
    ("kept", "counts"),
    [
        ({"counts": (100, 5)}, [112, 100, 5]),
        ({"levels": 3, "prune_fraction": 0.5}, [112, 56, 28, 14]),
        ({"levels": 4, "target": 7}, [112, 56, 28, 14, 7]),
        ({"levels": 2, "target": 28, "exclude": ("Dense_2/*",)}, [96, 51, 28]),
        ({"levels": 0}, [112]),
        (
            {"levels": 1, "prune_fraction": 0.5, "scope": "layerwise"},
            [
                {"Dense_0/kernel": 32, "Dense_1/kernel": 64, "Dense_2/kernel": 16},
                {"Dense_0/kernel": 16, "Dense_1/kernel": 32, "Dense_2/kernel": 8},
            ],
        ),
    ],
    ids=str,
)
def test_settings_say_how_much_each_level_keeps(kept, counts):
    experiment = separation.prepare(change(DEEP, **{"counts": ()} | kept))
    assert keep_counts(experiment.prunable.config, experiment.prunable.dense) == counts
    levels = {name.split("/")[0] for name in network_names(experiment.prunable.config)}
    assert len(levels) == len(counts)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"target": 4}, "`counts` and `target` both say how many weights are kept"),
        ({"levels": 3}, "`levels` has no effect where `counts` is given"),
        ({"prune_fraction": 0.5}, "`prune_fraction` has no effect where `counts` is given"),
        ({"counts": (), "target": 9, "prune_fraction": 0.5}, "effect where `target` is given"),
        ({"counts": (5, 5)}, "`counts` must fall from level to level and be above 0; got 5 5"),
        ({"counts": (5, 0)}, "`counts` must fall from level to level and be above 0; got 5 0"),
        ({"counts": (0,)}, "`counts` must fall from level to level and be above 0; got 0"),
        ({"scope": "layerwise"}, "`counts` and `target` are of the whole network"),
        ({"counts": (), "target": 0}, "`target` must be at least 1; got 0"),
        ({"counts": (), "target": 9, "levels": 0}, "by pruning; `levels` is 0"),
        ({"counts": (), "levels": -1}, "`levels` must be at least 0; got -1"),
        ({"counts": (), "prune_fraction": 1.0}, "`prune_fraction` must lie between 0 and 1"),
        ({"score": "snip"}, "`score` has no value 'snip'"),
        ({"score": "magnitud"}, "`score` has no value 'magnitud'. Did you mean 'magnitude'"),
        ({"stop": "late"}, "`stop` has no value 'late'"),
        ({"coverage": "all"}, "`coverage` has no value 'all'"),
        ({"rewind_step": -1}, "`rewind_step` must be at least 0; got -1"),
        ({"replicates": 0}, "`replicates` must be at least 1; got 0"),
        (
            {"compact": True, "optimizer": OptimizerConfig(l1=0.1)},
            "which `l1` changes too; leave out one of the two",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        change(DEEP, **config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"data": DataConfig(name="digits")}, "`data` must be sets side by side, such as"),
        ({"data": DataConfig(name="folder:a+b")}, "must be sets side by side.*got folder:a"),
        (
            {"data": DataConfig(name="digits+digits"), "model": ModelConfig(name="resnet-20")},
            "`model` must be mlp or lenet-300-100, whose inputs belong to tasks; got resnet-20",
        ),
        ({"counts": (112, 4)}, "`counts` must begin below the 112 weights of the network; got 112"),
        ({"counts": (), "target": 112}, r"`target` must be less than `size` \(112\); got 112"),
        ({"counts": (), "levels": 30}, "`levels` must be at most [0-9]* for a size of 112"),
        ({"rewind_step": 32}, r"`rewind_step` must lie in 0\.\.31, before the end of training"),
        ({"exclude": ("Dense_*",)}, "`exclude` leaves no weight to prune"),
    ],
)
def test_what_cannot_be_is_refused_before_training(config, message):
    with pytest.raises(ValueError, match=message):
        separation.prepare(change(DEEP, **config))


def test_a_mistake_is_one_line(tmp_path, capsys):
    words = [*COMMAND, "--data", "digits", "--out", str(tmp_path)]
    assert cli.main(tiny.once(words)) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said == ["jaxlth: `data` must be sets side by side, such as moons+circles; got digits."]
    assert not list(tmp_path.iterdir())


# What is pruned.


def drawn(experiment, seed=0):
    """Return a network as if trained: drawn anew."""
    return jax.device_get(experiment.prunable.draw(jax.random.key(seed)))


def measured(made, experiment, mask):
    """Return what the record of a network says of its graph."""
    return made.measure(Ticket(drawn(experiment), mask))


@pytest.mark.parametrize(
    ("scores", "scoped"),
    [
        (("magnitude", "random", "synflow", "small-final"), {}),
        (
            ("magnitude", "synflow"),
            {"counts": (), "levels": 2, "prune_fraction": 0.5, "scope": "layerwise"},
        ),
    ],
    ids=["global", "layerwise"],
)
def test_each_score_prunes_by_its_own_measure_to_exact_counts(tmp_path, scores, scoped):
    result = {}
    for score in scores:
        with job(tmp_path, change(DEEP, score=score, **scoped)) as (experiment, made):
            trained = drawn(experiment)
            first = made.pruned(trained, experiment.prunable.dense, 1, 0)
            second = made.pruned(trained, first, 2, 0)
        for mask, level in ((first, 1), (second, 2)):
            keep = made.keep[level]
            assert int(masks.kept(mask)) == total_kept(keep), score
            if isinstance(keep, dict):
                assert masks.layer_densities(mask) == dict.fromkeys(keep, 0.5**level)
        assert within(second, first)
        result[score] = second
    for one, other in itertools.combinations(result, 2):
        assert not same(result[one], result[other]), (one, other)


def test_random_masks_are_of_their_replicate_and_level(tmp_path):
    with job(tmp_path, change(DEEP, score="random")) as (experiment, made):
        trained, dense = drawn(experiment), experiment.prunable.dense
        masks_drawn = [made.pruned(trained, dense, level, each) for level, each in ((1, 0), (1, 1))]
        again = made.pruned(drawn(experiment, 1), dense, 1, 0)
    assert not same(*masks_drawn)
    assert same(masks_drawn[0], again)


def test_defaults_are_those_of_the_data_and_the_model_that_are_named(tmp_path):
    def config(*arguments):
        return parsing.parse(["separation", *arguments]).config

    assert config().coverage == config("--data", "moons+moons").coverage == "total"
    assert config("--data", "mnist+fashion_mnist").coverage == "output"
    assert config("--data", "mnist+fashion_mnist", "--coverage", "total").coverage == "total"
    assert config("--model", "lenet-300-100").model == ModelConfig()
    assert config("--model", "mlp").model.hidden == (57, 57)
    experiment = studies.Experiment(data="mnist+fashion_mnist", model="lenet-300-100")
    assert functions.study_config(STUDIES["separation"], experiment, {}).coverage == "output"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"scope": "layerwise", "counts": (), "levels": 2, "prune_fraction": 0.3},
        {"exclude": ("Dense_0/*",), "counts": (40, 9)},
        {"score": "synflow"},
    ],
    ids=["global", "layerwise", "a layer that is never pruned", "by synflow"],
)
def test_all_alive_pruning_keeps_its_count_of_active_weights_and_what_zombies_add(tmp_path, config):
    model = ModelConfig(name="mlp", hidden=(8, 8), initializer="pytorch")
    inputs = np.random.default_rng(0).normal(size=(20, 4))
    with job(tmp_path, change(DEEP, model=model, **config)) as (experiment, made):
        dense = experiment.prunable.dense
        for seed, level in itertools.product(range(3), (1, 2)):
            network = drawn(experiment, seed)

            def rule(keep, level=level, network=network):
                made.keep[level] = keep
                return made.pruned(network, dense, level, 0)

            keep = made.keep[level]
            before, after = all_alive.pruned(rule, network.params, dense, keep)
            made.keep[level] = keep
            assert same(graphs.without_dead(network.params, after), after)
            assert within(after, before)
            assert int(masks.kept(after)) == total_kept(keep)
            alive = graphs.without_dead(network.params, before)
            passed = all_alive.passed_on(network, before, alive)
            np.testing.assert_allclose(
                perceptron(masks.apply(passed.params, alive), inputs),
                perceptron(masks.apply(network.params, before), inputs),
                atol=1e-6,
            )


def test_biases_take_over_what_zombies_add():
    # Of three hidden units the second has no input, and the third neither, and a bias below 0.
    first = {"kernel": np.array([[2.0, 0.0, 0.0]]), "bias": np.array([0.0, 0.5, -1.0])}
    params = {"Dense_0": first, "Dense_1": {"kernel": np.full((3, 1), 4.0), "bias": np.ones(1)}}
    mask = {"Dense_0": {"kernel": first["kernel"] > 0, "bias": None}}
    mask["Dense_1"] = {"kernel": np.ones((3, 1), bool), "bias": None}
    alive = graphs.without_dead(params, mask)
    assert alive["Dense_1"]["kernel"].tolist() == [[True], [False], [False]]
    passed = all_alive.passed_on(Network(params, {}), mask, alive).params
    assert passed["Dense_1"]["bias"].tolist() == [1 + 0.5 * 4]
    assert same(passed["Dense_0"], first)


def test_where_no_count_is_alive_fewer_weights_are_left():
    # Two paths of two weights each: of three none can be alive without the fourth.
    params = {"w1": np.array([[4.0, 0.0], [0.0, 3.0]]), "w2": np.array([[2.0, 0.0], [0.0, 1.0]])}
    mask = {name: kernel > 0 for name, kernel in params.items()}
    least = graphs.without_least(params, mask, {"": 1})
    assert same(least, {name: kernel == kernel.max() for name, kernel in params.items()})


@pytest.mark.slow
def test_biases_of_all_alive_tickets_have_what_zombies_added(tmp_path):
    model = ModelConfig(name="mlp", hidden=(16, 16), initializer="pytorch")
    config = change(DEEP, model=model, counts=(40, 12), replicates=1)
    config = change(config, score="random", alive=True)
    experiment, run = finished_run(tmp_path, config)
    lab = Lab(experiment, run)
    initial, inputs = lab.init(0).params, np.random.default_rng(0).normal(size=(20, 4))
    for level in (1, 2):
        ticket, trained = find(run, level, TICKET, 0), TrainedNetwork(lab, level - 1, 0)
        rule = functools.partial(prune_rule(lab), trained)
        keep = keep_counts(config, lab.dense_mask)[level]
        before, after = all_alive.pruned(rule, trained.network.params, trained.mask, keep)
        assert same(after, ticket.mask)
        alive = graphs.without_dead(initial, before)
        np.testing.assert_allclose(
            perceptron(masks.apply(ticket.network.params, alive), inputs),
            perceptron(masks.apply(initial, before), inputs),
            atol=1e-6,
        )
    assert not same(ticket.network.params, initial)


def perceptron(params, outputs):
    """Return what a perceptron of three layers makes of inputs, in NumPy."""
    for place in range(3):
        outputs = outputs if place == 0 else np.maximum(outputs, 0)
        outputs = outputs @ np.asarray(params[f"Dense_{place}"]["kernel"])
        outputs = outputs + np.asarray(params[f"Dense_{place}"]["bias"])
    return outputs


def test_counts_add_up_to_what_is_kept_where_a_layer_is_left_out(tmp_path):
    with job(tmp_path, change(DEEP, exclude=("Dense_0/*",), counts=(20,))) as (experiment, made):
        mask = made.pruned(drawn(experiment), experiment.prunable.dense, 1, 0)
        record = measured(made, experiment, mask)
    assert sum(record["weights"].values()) == 20


@pytest.mark.parametrize("score", ["synflow", "magnitude-increase"])
def test_a_run_by_another_score_keeps_exact_counts(tmp_path, linear, score):
    config = change(LINEAR, score=score, alive=True, counts=(6, 3), replicates=1, stop="never")
    _, run = finished_run(tmp_path, config)
    assert [record["kept"] for _, record in run.records()] == [8, 6, 3]
    assert same(run.load(unit(0), "network"), linear[1].load(unit(0), "network"))


# Where a level starts.


@pytest.mark.parametrize(
    ("config", "source"),
    [
        ({"rewind_step": 10}, level_artifacts.rewound(0)),
        ({"after_pruning": "learning-rate"}, unit(0)),
        pytest.param({"after_pruning": "fine-tune"}, unit(0), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_tickets_start_where_the_settings_say(tmp_path, linear, config, source):
    asked = change(LINEAR, counts=(6,), replicates=1, **config)
    _, run = finished_run(tmp_path, asked)
    started = find(run, 1, TICKET, 0)
    assert same(started.network, run.load(source, "network"))
    assert same(started.mask, run.load(unit(1), "mask"))
    assert run.record(unit(1))["start_step"] == asked.rewind_step
    assert same(run.load(unit(0), "network"), linear[1].load(unit(0), "network"))
    assert not same(run.load(unit(1), "network"), linear[1].load(unit(1), "network"))


# Several tasks, and unequal ones.


def test_early_stopping_watches_the_split_that_is_chosen(tmp_path):
    data = change(DEEP.data, validation=0.0)
    training = change(DEEP.training, epochs=8.0, patience=1.0)
    optimizer = OptimizerConfig(optimizer="sgd", lr=8.0)  # at which the loss soon rises
    config = change(DEEP, data=data, training=training, optimizer=optimizer, choose_on="test")
    _, run = finished_run(tmp_path, change(config, counts=(), levels=0, replicates=1))
    curve = run.record(unit(0))["curve"]
    assert curve["validation_loss"] == curve["test_loss"]
    assert len(curve["step"]) - 2 == int(np.nanargmin(curve["test_loss"])) < 6


@pytest.mark.slow
def test_three_tasks_fall_apart(tmp_path):
    config = change(on(LINEAR, "moons+moons+moons"), counts=(6, 5), replicates=1)
    experiment, run = finished_run(tmp_path, config)
    assert states(run) == ["interconnected", "separated", "degraded"]
    record = run.record(unit(1))
    assert list(record["tasks"]) == ["moons", "moons_2", "moons_3"]
    assert record["subnetworks"] == 3
    assert sorted(record["coverage"]) == [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    assert record["decided_by_inputs"] == record["decided_by_outputs"] == [1.0, 1.0]
    assert np.mean(each(record, "test_accuracy")) == pytest.approx(
        record["test_accuracy"], abs=1e-6
    )
    assert experiment.info.tasks == (1, 1, 1)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("moons+circles+moons", ["moons", "circles", "moons_2"]),
        ("mnist+mnist+mnist", ["mnist", "mnist_2", "mnist_3"]),
    ],
)
def test_tasks_have_names_of_their_own(dataset, expected):
    assert task_names(dataset) == expected


@pytest.mark.slow
def test_tasks_of_other_sizes_have_inputs_and_outputs_of_their_own(tmp_path):
    """A moon beside images of three pixels in ten classes, by which of them is the brightest."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, count in (("train", 400), ("t10k", 200)):
        images = random.integers(0, 256, (count, 1, 3), dtype=np.uint8)
        labels = images.argmax(2).ravel().astype(np.uint8)
        for end, of in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, of.ndim]) + struct.pack(f">{of.ndim}I", *of.shape)
            (folder / f"{name}-{end}-ubyte").write_bytes(header + of.tobytes())
    config = on(LINEAR, "moons+mnist")
    config = change(config, data=change(config.data, data_dir=str(tmp_path)), replicates=1)
    experiment, run = finished_run(tmp_path / "runs", change(config, counts=(9,)))
    assert (experiment.info.tasks, experiment.info.widths) == ((1, 10), (2, 3))
    assert owners(experiment) == [
        graphs.Task((0, 1), (0,)),
        graphs.Task((2, 3, 4), tuple(range(1, 11))),
    ]
    for name, record in run.records():
        graph = graphs.network(run.load(name, "network")["params"], run.load(name, "mask"))
        covered = graphs.coverage(graphs.subnetworks(graph), owners(experiment))
        np.testing.assert_allclose(record["coverage"], covered, atol=1e-6)
        assert record["state"] == graphs.state(covered)
        assert np.mean(each(record, "test_accuracy")) == pytest.approx(
            record["test_accuracy"], abs=1e-6
        )
    assert run.record(unit(0))["tasks"]["moons"]["test_accuracy"] > 0.7
    assert run.record(unit(0))["tasks"]["mnist"]["test_accuracy"] > 0.5
    assert run.record(unit(1))["state"] == "degraded"


def state_of(out, config, kernel):
    """Return the state in the record of the network without hidden layers that a mask leaves."""
    with job(out, config) as (experiment, made):
        mask = {"Dense_0": {"kernel": np.array(kernel, bool), "bias": None}}
        return measured(made, experiment, mask)["state"]


@pytest.mark.parametrize(
    ("kernel", "expected"),  # rows are inputs, of tasks 0 0 1 1; columns outputs, of tasks 0 1
    [
        ([[1, 0], [1, 0], [0, 1], [0, 1]], ("separated", "separated", "separated")),
        ([[1, 0], [0, 0], [0, 1], [0, 1]], ("degraded", "degraded", "separated")),
        # A subnetwork with inputs of two tasks and outputs of one: outputs alone do not see it.
        ([[1, 0], [0, 0], [1, 0], [0, 1]], ("degraded", "degraded", "separated")),
        ([[1, 0], [1, 0], [1, 0], [0, 1]], ("degraded", "interconnected", "separated")),
        ([[1, 0], [1, 0], [1, 0], [1, 0]], ("degraded", "interconnected", "degraded")),
        ([[1, 1], [1, 0], [0, 1], [0, 1]], ("interconnected",) * 3),
        ([[0, 0], [0, 0], [0, 0], [0, 0]], ("degraded",) * 3),
    ],
)
def test_coverage_says_what_is_degraded(tmp_path, kernel, expected):
    result = tuple(
        state_of(tmp_path, change(LINEAR, coverage=by), kernel) for by in get_args(Coverage)
    )
    assert result == expected


@pytest.mark.parametrize("by", get_args(Coverage))
def test_coverage_is_the_same_in_arrays_and_in_networkx(by):
    random = np.random.default_rng(3)
    widths = (7, 6, 5, 6)
    tasks = [graphs.Task((0, 1), (5,)), graphs.Task((2, 3, 4), (0, 1)), graphs.Task((6,), (2, 3))]
    seen = set()
    for _ in range(60):
        share = random.uniform(0.08, 0.6)
        mask = {
            f"Dense_{place}": random.random(shape) < share
            for place, shape in enumerate(itertools.pairwise(widths))
        }
        params = {name: np.ones(leaf.shape) for name, leaf in mask.items()}
        arrays = graphs.components(graphs.categories(params, mask))
        coverage = graphs.coverage(arrays, tasks, by=by)
        parts = graphs.subnetworks(graphs.network(params, mask))
        np.testing.assert_array_equal(coverage, graphs.coverage(parts, tasks, by=by))
        assert len(parts) == arrays.number
        seen.add(graphs.state(coverage))
    assert "degraded" in seen


# Smaller networks.


@pytest.mark.slow
def test_compact_finds_the_same_masks(tmp_path, monkeypatch):
    sizes, made = [], Compaction._made
    monkeypatch.setattr(compaction, "WORTHWHILE", 1)
    monkeypatch.setattr(compaction, "SHARE", 0.0)
    monkeypatch.setattr(
        Compaction, "_made", lambda self, each: sizes.append(each) or made(self, each)
    )
    momentum = OptimizerConfig(optimizer="momentum", lr=0.05)
    config = change(DEEP, optimizer=momentum, counts=(24, 10), replicates=1)
    experiment, whole = finished_run(tmp_path, config)
    assert sizes == []
    smaller = change(config, compact=True)
    _, run = finished_run(tmp_path, smaller, with_settings(experiment, smaller))
    assert sizes
    names = [name for name, _ in whole.records()]
    assert names == [name for name, _ in run.records()]
    for name in names:
        masked, compact = whole.record(name), run.record(name)
        assert same(whole.load(name, "mask"), run.load(name, "mask")), name
        assert compact["test_loss"] == pytest.approx(masked["test_loss"], rel=1e-3), name
        for exact in ("state", "subnetworks", "weights", "units", "widths", "coverage"):
            assert compact[exact] == masked[exact], name
        for task, values in compact["tasks"].items():
            assert values == pytest.approx(masked["tasks"][task], rel=1e-2), name
