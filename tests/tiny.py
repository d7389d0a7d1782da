"""Tiny data, networks and groups of them, so that tests of training compile fast."""

import contextlib
import io
import pathlib

import jax
import networkx as nx
import numpy as np

from jaxlth import cli, graphs, keys, masks, models, store
from jaxlth.data import Dataset, Split
from jaxlth.training import OptimizerConfig, fit, optimizers, train

SHAPE, CLASSES = (2, 2, 1), 3

# A run of two networks, in a second: words of the command line, to be followed by controls.
COMMAND = ["imp", "--model", "mlp", "--hidden", "8", "--steps", "20", "--batch-size", "50"]
COMMAND += ["--levels", "1", "--replicates", "1", "--controls"]


def once(words):
    """Return the words of a command line, of an option that comes twice with the last values."""
    groups = []
    for word in words:
        if word.startswith("--") or not groups:
            groups.append([word])
        else:
            groups[-1].append(word)
    last = {group[0].partition("=")[0]: group for group in groups}
    return [word for group in groups if last[group[0].partition("=")[0]] is group for word in group]


def split(count, *, seed, shape=SHAPE):
    """Return images of noise whose label is the brightest of the first three pixels."""
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = images.reshape(count, -1)[:, :CLASSES].argmax(1).astype(np.int32)
    return Split(images, labels)


def dataset(*, train=23, validation=10, test=12):
    """Return a data set; no split is a multiple of the batches in use."""
    held = split(validation, seed=1) if validation else None
    mean, std = np.array([127.5], np.float32), np.array([74.0], np.float32)
    return Dataset(split(train, seed=0), held, split(test, seed=2), mean, std)


def model(*hidden, **config):
    """Return an mlp for the data."""
    settings = models.ModelConfig(name="mlp", hidden=hidden or (8,), **config)
    return models.build(settings, shape=SHAPE, classes=CLASSES)


def optimizer(name="sgd", lr=0.1, **config):
    """Return an optimiser at a constant rate."""
    settings = OptimizerConfig(optimizer=name, lr=lr, **config)
    return optimizers.build(settings, optimizers.schedule(settings, steps=1))


def network(built, replicate=0):
    """Return the network that a replicate starts from, in NumPy."""
    return jax.device_get(jax.jit(built.init)(keys.stream(0, replicate, "initialization")))


def half(params):
    """Return a random mask that keeps about half of each kernel, in NumPy."""
    random = np.random.default_rng(7)
    return jax.tree.map(lambda keep: random.random(keep.shape) < 0.5, masks.dense(params))


def trainer(built, config=None, *, batch_size=5, **stopping):
    """Return a training of the network, in four steps an epoch."""
    return train.make(built, config or optimizer(), batch_size=batch_size, **stopping)


def jitted(trainer):
    """Return the training, whose steps and evaluations are compiled once from now on."""
    for name in ("advance", "measure"):
        object.__setattr__(trainer, name, jax.jit(getattr(trainer, name)))
    return trainer


class Group:
    """Networks trained together, started and advanced as a job does it."""

    def __init__(self, trainer, compiled, networks, group_masks, data, *, keys):
        self.compiled, self.layout, self.count = compiled, compiled.layout, len(networks)
        self.data = self.layout.share(data)
        self.masks = self.layout.place(group_masks)
        self.keys = self.layout.place(keys)
        self.starts = [
            jax.device_get(trainer.start(network, mask))
            for network, mask in zip(networks, group_masks, strict=True)
        ]

    def fit(self, plan, *, states=None, start_step=0, last_eval_step=0, rows=None, save_steps=()):
        """Yield the events of a training; from its beginning unless told otherwise."""
        states = self.layout.place(self.starts if states is None else states)
        rows = [[] for _ in range(self.count)] if rows is None else rows
        times = {
            "start_step": start_step,
            "last_eval_step": last_eval_step,
            "plan": plan,
            "save_steps": save_steps,
        }
        arrays = (states, self.masks, self.data, self.keys)
        return fit.fit(self.compiled, *arrays, rows=rows, **times)

    def train(self, plan, **how):
        """Return the last states and the rows of a whole training."""
        *_, last = self.fit(plan, **how)
        return self.take(last.states), last.rows

    def finish(self, states):
        """Return for each network the one that is kept, and its evaluation in training."""
        kept, on_train = self.compiled.finish(self.layout.place(states), self.masks, self.data)
        return self.take(kept), self.take(on_train)

    def take(self, placed):
        return self.layout.take(placed, self.count)


def printed(*words):
    """Return the output of a command that must succeed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(once([str(word) for word in words])) == 0
    return out.getvalue()


def only_run(out, job=None):
    """Return the one run in a folder, or the one of a job, for reading."""
    (info,) = [info for info in store.runs(out) if job in (None, info.job)]
    return store.open_readonly(info.path)


def times(path):
    """Return when each artifact of the runs in a folder was stored."""
    return {file: file.stat().st_mtime_ns for file in pathlib.Path(path).rglob("record.json")}


def same(a, b):
    """Return whether two trees have the same leaves, bit by bit."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def assert_same(a, b):
    """Assert that two trees are the same, bit by bit; NaN equals NaN."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a, b, **tolerance):
    """Assert that two trees are the same up to a tolerance."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def assert_categories(graph):
    """Check the categories of a `networkx.DiGraph` of a network against its paths."""
    last = len(graph.graph["widths"]) - 1
    for node, attributes in graph.nodes(data=True):
        reaches_outputs = any(layer == last for layer, _ in nx.descendants(graph, node) | {node})
        is_reached = any(layer == 0 for layer, _ in nx.ancestors(graph, node) | {node})
        expected = ("active" if is_reached else "zombie") if reaches_outputs else "inactive"
        assert attributes["category"] == expected
    for source, target, category in graph.edges(data="category"):
        ends = graph.nodes[source]["category"], graph.nodes[target]["category"]
        assert category == min(ends, key=graphs.CATEGORIES.index)
