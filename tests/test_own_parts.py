"""Networks, data, losses and optimizers of a user's own through the studies, end to end."""

import dataclasses
import functools
import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
import tiny
from flax import linen as nn
from sklearn.datasets import load_digits

from jaxlth import cli, data, masks, models, settings, store, studies, trees
from jaxlth.models import ModelConfig
from jaxlth.studies import fingerprint, run_info, running
from jaxlth.studies.controls import CONTROLS
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.loading import load_experiment
from jaxlth.supermasks import SupermaskRule
from jaxlth.training import TrainingConfig

KAIMING = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def digits():
    """Return the digits as a user has them, split as the library splits them."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(images))
    test, train = np.sort(order[:359]), np.sort(order[359:])
    images = images.reshape(-1, 8, 8, 1).astype(np.uint8)
    return (images[train], labels[train]), (images[test], labels[test])


class LeNet(nn.Module):
    """LeNet-300-100 as a user writes it."""

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        for width in (300, 100, 10):
            x = nn.Dense(width, kernel_init=KAIMING)(nn.relu(x) if width < 300 else x)
        return x


def quiet(study, experiment, out, **fields):
    return study(experiment, out=str(out), progress=False, **fields)


def test_a_network_of_the_library_given_as_ones_own_finds_the_same_masks(tmp_path):
    numbers = {"steps": 6, "batch_size": 50}
    train, test = digits()
    own = studies.Experiment(
        name="own",
        model=models.from_linen(LeNet(), np.zeros((1, 8, 8, 1), np.float32)),
        data=data.from_arrays(train, test, normalize="statistics"),
        **numbers,
    )
    by_name = studies.Experiment(model="lenet-300-100", data="digits", **numbers)
    fields = {"levels": 1, "rewind_step": 3, "replicates": 1, "controls": []}
    runs = [quiet(studies.imp, each, tmp_path, **fields) for each in (by_name, own)]
    tickets = [run.ticket(level=1) for run in runs]
    assert masks.density(tickets[1].mask) == pytest.approx(0.8, abs=1e-4)
    tiny.assert_same(*tickets)
    tiny.assert_same(*[run.trained(level=1) for run in runs])
    # Equal losses on it: the validation split is drawn the same way.
    losses = [run.table()[["validation_loss", "test_loss", "train_loss"]] for run in runs]
    assert losses[0].equals(losses[1])


# Resumed runs.


class Noisy(nn.Module):
    """A layer with dropout behind it."""

    width: int = 8
    gain: float = 1.0

    @nn.compact
    def __call__(self, x, train):
        x = self.gain * x
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(nn.Dense(self.width)(x)))
        return nn.Dense(3)(x)


def points(*, changed=False):
    """Return small arrays of a user's, with a byte changed if asked for."""
    images = tiny.split(52, seed=0).images.reshape(-1, 4).astype(np.float32) / 255
    labels = tiny.split(52, seed=0).labels
    images[0, 0] += changed / 255
    return data.from_arrays((images[:40], labels[:40]), (images[40:], labels[40:]))


def adam(rate=0.01):
    return optax.adam(optax.cosine_decay_schedule(rate, 20))


def focal(outputs, labels, power=2.0):
    entropies = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
    return (1 - jnp.exp(-entropies)) ** power * entropies


def shifted(inputs, *, key, size=0.1):
    return inputs + size * jax.random.normal(key, inputs.shape)


@functools.cache
def drawn(width):
    model = models.from_linen(Noisy(width), POINT)
    return jax.device_get(jax.jit(model.init)(jax.random.key(5)).params)


def start(scale=1.0, width=8):
    return jax.tree.map(lambda w: np.float32(scale) * w, drawn(width))


def first_mask(row=0, width=8):
    """Return a mask without one of the inputs."""
    mask = jax.tree.map(np.array, masks.dense(start(width=width)))
    mask["Dense_0"]["kernel"][row] = False
    return mask


POINT = np.zeros((1, 4), np.float32)
TRAINING = TrainingConfig(steps=20, batch_size=10, evaluate_every=5)
OWN = {
    "name": "noisy",
    "model": models.from_linen(Noisy(), POINT),
    "data": points(),
    "optimizer": adam(),
    "loss": focal,
    "augment": shifted,
    "initial": start(),
    "initial_mask": first_mask(),
    "training": TRAINING,
}
FILE = """
import sys

sys.path[:0] = [{here!r}]
import test_own_parts as parts


def network(input_shape, classes):
    assert (input_shape, classes) == ((4,), 3)
    return parts.Noisy(gain={gain})


points, adam, focal, shifted = parts.points, parts.adam, parts.focal, parts.shifted
"""
COMMAND = ["imp", "--name", "noisy", "--model", "mine.py:network", "--data", "mine.py:points"]
COMMAND += ["--optimizer", "mine.py:adam", "--loss", "mine.py:focal", "--augment"]
COMMAND += ["mine.py:shifted", "--steps", "20", "--batch-size", "10", "--evaluate-every", "5"]
COMMAND += ["--levels", "1", "--rewind-step", "5", "--replicates", "1", "--controls"]
COMMAND += ["--initial", "start.npz", "--initial-mask", "mask.npz"]


def imp(out, **changes):
    experiment = studies.Experiment(**OWN | changes)
    fields = {"levels": 1, "rewind_step": 5, "replicates": 1, "controls": []}
    return quiet(studies.imp, experiment, out, **fields)


def interrupt(monkeypatch, at):
    """Send Ctrl-C to this process once, at a step of a training or the next one that it tells."""
    tell, sent = running._tell_failures, []

    def interrupted(event, *rest):
        if event.step >= at and not event.finished and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGINT))
        return tell(event, *rest)

    monkeypatch.setattr(running, "_tell_failures", interrupted)
    return sent


def arrays_of(path):
    """Return all that a run has stored: artifact -> arrays."""
    run = store.open_readonly(path)
    return {name: run.load(name, part) for name, _ in run.records() for part in ("network",)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return imp(tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
def test_a_run_of_ones_own_parts_that_was_interrupted_goes_on_to_the_same_bits(
    whole, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        sent = interrupt(patch, 10)
        with pytest.raises(KeyboardInterrupt, match="saved in .* the same call goes on from there"):
            imp(tmp_path)
    assert sent
    resumed = imp(tmp_path)
    tiny.assert_same(arrays_of(resumed.path), arrays_of(whole.path))
    assert len(arrays_of(whole.path)) == 3
    losses = [run.curves()[["step", "test_loss", "validation_loss"]] for run in (resumed, whole)]
    assert losses[0].equals(losses[1])


CHANGES = {
    "width": (
        {"model": Noisy(9), "initial": start(width=9), "initial_mask": first_mask(width=9)},
        "`model` .*its model parameters differ",
    ),
    "network": ({"model": Noisy(gain=1.01)}, "`model` .*its model outputs differ"),
    "loss": ({"loss": functools.partial(focal, power=2.01)}, "`loss` .*its loss differs"),
    "data byte": ({"data": points(changed=True)}, "was made with the data of digest .* but"),
    "optimizer": ({"optimizer": adam(0.0101)}, "`optimizer` .*its optimizer differs"),
    "augment": ({"augment": functools.partial(shifted, size=0.11)}, "`augment` .*its augment"),
    "initial": ({"initial": start(1.001)}, "`initial` .*its initial differs"),
    "initial mask": ({"initial_mask": first_mask(1)}, "`initial_mask` .*its initial_mask differs"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_part_under_the_name_of_a_run_is_refused_in_one_line(whole, change):
    parts, message = CHANGES[change]
    before = tiny.times(whole.path)
    with pytest.raises(store.StoreError, match=message) as refused:
        imp(whole.path.parent, **parts)
    assert "\n" not in str(refused.value)
    assert "another `name`" in str(refused.value) or change == "data byte"
    assert tiny.times(whole.path) == before


def test_the_same_parts_made_again_go_on_with_a_run(whole):
    before = tiny.times(whole.path)
    again = {"model": Noisy(), "data": points(), "optimizer": adam(), "initial": start()}
    assert imp(whole.path.parent, **again).path == whole.path
    assert tiny.times(whole.path) == before


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the files that the command names, to work in."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


def write(folder, gain=1.0):
    """Write the files that the command names."""
    (folder / "mine.py").write_text(FILE.format(here=os.path.dirname(__file__), gain=gain))
    np.savez(folder / "start.npz", **trees.named(start()))
    store.export_ticket(folder / "mask.npz", start(), first_mask(), metadata={})


@pytest.mark.slow
def test_a_command_on_ones_own_parts_goes_on_to_the_bits_of_the_call(
    whole, place, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        interrupt(patch, 10)
        assert cli.main(COMMAND) == cli.INTERRUPTED
    assert "saved in" in capsys.readouterr().err
    write(place)  # the same again
    assert cli.main(COMMAND) == 0
    (run,) = store.runs("runs")
    tiny.assert_same(arrays_of(run.path), arrays_of(whole.path))
    capsys.readouterr()
    write(place, gain=1.01)
    assert cli.main(COMMAND) == cli.MISTAKEN
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "was made with another `model`" in told
    write(place)
    np.savez("start.npz", **trees.named(start(1.001)))
    assert cli.main(COMMAND) == cli.MISTAKEN
    assert "was made with another `initial`" in capsys.readouterr().err


@pytest.mark.slow
def test_another_process_goes_on_with_ones_own_parts(whole, place, monkeypatch):
    interrupt(monkeypatch, 10)
    assert cli.main(COMMAND) == cli.INTERRUPTED
    command = [sys.executable, "-m", "jaxlth", *COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = store.runs("runs")
    tiny.assert_same(arrays_of(run.path), arrays_of(whole.path))


# Runs are read with the parts that made them.

NETWORK = """
import jax
from flax import linen as nn


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(4, kernel_init=jax.nn.initializers.normal({scale}))(x))
        return nn.Dense(10)(x)


network = Network()
"""
SHORT = ["--steps", "4", "--batch-size", "50", "--train-examples", "100", "--replicates", "1"]
READ = {  # a study -> its options, and those that name a ticket which starts at initialisation
    "imp": ("--levels 1 --controls reinitialized", "--control reinitialized"),
    "prune-early": (
        "--score magnitude --density 0.5",
        "--density 0.5 --method magnitude-before-once",
    ),
    "dynamic": ("--methods static --density 0.5", "--density 0.5 --method static"),
}


@pytest.mark.parametrize("study", sorted(READ))
def test_a_network_that_was_changed_after_a_run_exports_no_ticket_of_it(
    study, tmp_path, monkeypatch, capsys
):
    """Its weights would be others than those that the run began with, beside the run's mask."""
    monkeypatch.chdir(tmp_path)
    options, ticket = READ[study]
    (tmp_path / "net.py").write_text(NETWORK.format(scale=0.1))
    assert cli.main([study, "--model", "net.py:network", *options.split(), *SHORT]) == 0
    assert cli.main(["export", "a.npz", *ticket.split()]) == 0
    kernel = store.load_ticket("a.npz").params["Dense_0"]["kernel"]
    assert np.std(kernel) < 0.11
    capsys.readouterr()
    (tmp_path / "net.py").write_text(NETWORK.format(scale=5.0))
    assert cli.main(["export", "b.npz", *ticket.split()]) == cli.MISTAKEN
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "was made with another `model` than is given now" in told
    assert not (tmp_path / "b.npz").exists()


def study_with_two_tickets():
    """Return the words of a study, two of whose tickets are written here, 0.npz and 1.npz."""
    study = ["imp", "--model", "mlp", "--hidden", "8", "--levels", "1", *SHORT, "--controls"]
    for seed in ("0", "1"):
        assert cli.main([*study, "--seed", seed, "--out", f"seed {seed}"]) == 0
        assert cli.main(["export", f"{seed}.npz", "--out", f"seed {seed}"]) == 0
    return study


@pytest.mark.parametrize(
    ("option", "part"), [("--initial", "initial"), ("--initial-mask", "initial_mask")]
)
def test_a_file_that_was_changed_after_a_run_exports_no_ticket_of_it(
    option, part, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    study = study_with_two_tickets()
    (tmp_path / "w.npz").write_bytes((tmp_path / "0.npz").read_bytes())
    assert cli.main([*study, option, "w.npz"]) == 0
    export = ["--level", "0"]
    assert cli.main(["export", "a.npz", *export]) == 0
    (tmp_path / "w.npz").write_bytes((tmp_path / "1.npz").read_bytes())
    capsys.readouterr()
    assert cli.main(["export", "b.npz", *export]) == cli.MISTAKEN
    assert f"was made with another `{part}` than is given now" in capsys.readouterr().err
    if part == "initial":  # the drawing has no weights
        (tmp_path / "w.npz").unlink()
        words = ["figure", "--kind", "network", "--file", "network.svg"]
        assert cli.main(words) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "part"), [("--initial", "initial"), ("--initial-mask", "initial_mask")]
)
def test_relative_paths_of_a_run_lead_from_where_it_began(
    option, part, tmp_path, monkeypatch, capsys
):
    begun, other = tmp_path / "begun", tmp_path / "other"
    begun.mkdir()
    other.mkdir()
    monkeypatch.chdir(begun)
    study = study_with_two_tickets()
    (begun / "w.npz").write_bytes((begun / "0.npz").read_bytes())
    assert cli.main([*study, option, "w.npz"]) == 0
    (run,) = (info.path for info in store.runs("runs"))
    ticket = studies.open(run).ticket(level=0)
    monkeypatch.chdir(other)
    again = ["imp", "--settings", f"{run}/settings.toml", "--out", str(run.parent)]
    for name in ("", "w.npz"):  # here is no such file, and then another one
        if name:
            (other / name).write_bytes((begun / "1.npz").read_bytes())
        tiny.assert_same(studies.open(run).ticket(level=0), ticket)
        capsys.readouterr()
        assert cli.main(again) == (cli.MISTAKEN if name else 0)  # a typed path means the file here
        told = f"was made with another `{part}` than is given now"
        assert (told in capsys.readouterr().err) == bool(name)
    assert [info.path for info in store.runs(run.parent)] == [run]
    (begun / "w.npz").unlink()  # as where all of it was moved here
    (other / "w.npz").write_bytes((begun / "0.npz").read_bytes())
    tiny.assert_same(studies.open(run).ticket(level=0), ticket)


@pytest.mark.slow
def test_parts_in_files_of_a_run_are_those_where_it_began(place, tmp_path, monkeypatch, capsys):
    assert cli.main(COMMAND) == 0
    (run,) = (info.path for info in store.runs("runs"))
    ticket = studies.open(run).ticket(level=1)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    again = ["imp", "--settings", f"{run}/settings.toml", "--out", str(run.parent)]
    tiny.assert_same(studies.open(run).ticket(level=1), ticket)
    assert cli.main(again) == 0
    write(other, gain=1.5)  # a typed path means the file here
    tiny.assert_same(studies.open(run).ticket(level=1), ticket)
    capsys.readouterr()
    assert cli.main(again) == cli.MISTAKEN
    assert "was made with another `model` than is given now" in capsys.readouterr().err
    assert [info.path for info in store.runs(run.parent)] == [run]


@pytest.mark.parametrize("here_first", [False, True])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("npz:a.npz", "a.npz"),
        ("text:in/a.txt", "in/a.txt"),
        ("folder:images", "images/train"),
        ("mine.py:points", "mine.py"),
    ],
)
def test_data_of_a_run_are_those_where_it_began(name, file, here_first, tmp_path, monkeypatch):
    monkeypatch.delenv("JAXLTH_DATA", raising=False)
    begun, other = tmp_path / "begun", tmp_path / "other"
    (begun / file).parent.mkdir(parents=True)
    other.mkdir()
    (begun / file).touch()
    monkeypatch.chdir(begun)
    context = {"context": 8} if name.startswith("text") else {}
    config = ImpConfig(data=data.DataConfig(name=name, **context))
    with store.open_run("runs", config, job="imp", label="") as run:
        path = run.path
    monkeypatch.chdir(other)
    prefix, _, rest = name.rpartition(":")
    absolute = f"{begun}/{name}" if prefix == "mine.py" else f"{prefix}:{begun}/{rest}"
    located = functools.partial(run_info.located, config, begun / path, here_first=here_first)
    assert located().data.name == absolute
    (other / file).parent.mkdir(exist_ok=True)
    (other / file).touch()
    assert located().data.name == (name if here_first else absolute)
    (begun / file).unlink()
    if name != "folder:images":  # whose folder is there
        assert located().data.name == name


def test_a_run_is_read_with_no_other_experiment_than_its_own(whole):
    own = studies.Experiment(**OWN | {"model": Noisy()})
    assert studies.open(whole.path, experiment=own).ticket(level=1).mask is not None
    slower = studies.Experiment(**OWN | {"optimizer": optax.sgd(1e-3)})  # of no ticket's start
    tiny.assert_same(
        studies.open(whole.path, experiment=slower).ticket(level=1).network,
        studies.open(whole.path, experiment=own).ticket(level=1).network,
    )
    other = studies.Experiment(**OWN | {"model": Noisy(gain=1.5)})
    with pytest.raises(store.StoreError, match="was made with another `model`"):
        studies.open(whole.path, experiment=other).ticket(level=1)


# Given weights and masks.


def test_level_0_starts_from_the_given_weights_and_levels_prune_what_the_mask_keeps(whole):
    dense, ticket = (whole.ticket(level=level) for level in (0, 1))
    tiny.assert_same(dense.network.params, start())
    tiny.assert_same(dense.mask, first_mask())
    assert list(whole.table()["kept"]) == [48, 38]  # 56 weights without the 8 of an input
    assert masks.kept(tiny.jax.tree.map(np.logical_and, ticket.mask, first_mask())) == 38


def given(out, study=studies.imp, **parts):
    fields = parts.pop("fields", {})
    training = TrainingConfig(steps=2, batch_size=10)
    experiment = studies.Experiment(**OWN | {"training": training} | parts)
    return quiet(study, experiment, out, **{"replicates": 1} | fields)


def test_a_given_mask_is_part_of_every_density_of_early_pruning(tmp_path):
    fields = {"scores": ["magnitude", "random"], "densities": [0.5]}
    fields["schedules"] = ["before-once", "iterative-once"]
    run = given(tmp_path, studies.prune_early, fields=fields)
    table = run.table()[["unit", "kept"]].set_index("unit")["kept"]
    assert table["density_1/dense/replicate_0"] == 48
    assert table["link_01/magnitude-iterative-once/replicate_0"] == 38
    assert set(table[table.index.str.startswith("density_0.5/")]) == {28}
    for method in ("magnitude-before-once", "random-iterative-once"):
        mask = run.ticket(method=method, density=0.5).mask
        assert not mask["Dense_0"]["kernel"][0].any()


def test_controls_are_drawn_of_what_a_given_mask_keeps(tmp_path):
    """A random part of another network than the one that was pruned is no control of a ticket."""
    fields = {"levels": 1, "controls": list(CONTROLS)}
    run = given(tmp_path, fields=fields)
    counts = {}
    for control in CONTROLS:
        mask = run.ticket(level=1, control=control).mask
        assert not mask["Dense_0"]["kernel"][0].any(), control
        counts[control] = {name: int(leaf.sum()) for name, leaf in trees.named(mask).items()}
        assert sum(counts[control].values()) == 38
    for layerwise in ("shuffled", "random-layerwise"):
        assert counts[layerwise] == counts["reinitialized"]
    early = {"scores": ["magnitude"], "densities": [0.5], "controls": ["shuffled"]}
    run = given(tmp_path, studies.prune_early, fields=early | {"schedules": ["before-once"]})
    shuffled = run.ticket(method="magnitude-before-once-shuffled", density=0.5).mask
    assert not shuffled["Dense_0"]["kernel"][0].any()
    assert int(masks.kept(shuffled)) == 28


@pytest.mark.slow
def test_thresholds_count_all_weights_beside_a_given_mask(tmp_path):
    table = given(tmp_path, studies.threshold_masks, error=wrong).table()
    assert set(table["prunable"]) == {56}
    assert set((table["density"] * 56).round()) == set(table["kept"])


def late(outputs, labels):
    """Return errors that are none from the ninth example on; the first eight are looked at."""
    return jnp.where(jnp.arange(len(labels)) < 8, 0.5, 5.0)


def test_an_error_that_is_none_at_an_evaluation_ends_the_run_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"`error` must return numbers in \[0, 1\], .*; got [1-5]"):
        given(tmp_path, error=late, fields={"levels": 0, "controls": []})


def wrong(outputs, labels):
    return outputs.argmax(-1) != labels


def changed(leaf):
    return jax.tree.map(leaf, start())


NO_PRUNING = {"fields": {"scores": ["magnitude"], "densities": [0.9]}}
GIVEN = {
    "a shape": (
        {"initial": start(width=9)},
        r"`initial`: Dense_0/bias must be of shape \(8,\) and type float32; got \(9,\) and float32",
    ),
    "float64": (
        {"initial": changed(lambda w: np.asarray(w, float))},
        "`initial`: Dense_0/bias must be of .* type float32; got .* float64",
    ),
    "a name": ({"initial": {"Dense_0": {}}}, "`initial` must have .*; it lacks Dense_0/bias"),
    "another name": ({"initial": start() | {"more": POINT}}, "`initial` .* it has more besides"),
    "names of PyTorch": (
        {"initial": {"module.fc.weight": POINT}},
        "it lacks Dense_0/bias. Give names of PyTorch to `models.load_torch`, and its network here",
    ),
    "no tree": ({"initial": 3}, "`initial` must have the leaves of the network; it lacks Dense_0"),
    "NaN": ({"initial": changed(lambda w: w * np.nan)}, "`initial` must be finite; Dense_0/bias"),
    "a mask of floats": (
        {"initial_mask": jax.tree.map(np.float32, first_mask())},
        "`initial_mask`: Dense_0/kernel must be of .* type bool; got .* float32",
    ),
    "an empty mask": (
        {"initial_mask": jax.tree.map(np.zeros_like, first_mask())},
        "`initial_mask` must keep a weight; it keeps none",
    ),
    "no file": ({"initial": "none.npz"}, "`initial`: none.npz does not exist"),
    "no file of a mask": ({"initial_mask": "none.npz"}, "`initial_mask`: none.npz does not exist"),
    "no such file": ({"initial": "none.txt"}, "`initial`: .*must end in .safetensors or .npz"),
    "no file of code": ({"initial": "none.py:start"}, "`initial`: there is no file none.py"),
    "no part": ({"initial_mask": "own"}, "`initial_mask` is a part of your own, which no run"),
    "a density": (
        {"study": studies.prune_early} | NO_PRUNING,
        "`density` 0.9 prunes none of the 48 weights",
    ),
    "supermasks": (
        {"study": studies.train_supermasks},
        "`initial` own has no effect on train-supermasks",
    ),
}


@pytest.mark.parametrize("case", GIVEN)
def test_weights_and_masks_that_do_not_fit_are_refused_in_one_line(case, place):
    parts, message = GIVEN[case]
    with pytest.raises((ValueError, store.StoreError), match=message) as refused:
        given("runs", **parts)
    assert "\n" not in str(refused.value)
    assert not store.runs("runs")


def test_a_file_is_the_same_wherever_it_lies():
    def digest(**names):
        model, score = ModelConfig(name=names["model"]), names["score"]
        return settings.digest(ImpConfig(model=model, score=score))

    here = digest(model="mine.py:net", score="snip+mine.py:rank")
    assert here == digest(model="../nets/mine.py:net", score="snip+/nets/mine.py:rank")
    assert here != digest(model="mine.py:other", score="snip+mine.py:rank")
    assert here != digest(model="his.py:net", score="snip+mine.py:rank")


# ---- what no settings say of a user's own parts, and studies ask


def experiment_of(name, **changed):
    """Return an experiment of a small network of one's own on digits."""

    def init(key):
        return {
            "hidden": {"kernel": jax.random.normal(key, (64, 8)) / 8},
            "out": {"kernel": jax.random.normal(key, (8, 10)) / 3},
        }

    def apply(params, inputs):
        flat = inputs.reshape(len(inputs), -1)
        return jax.nn.relu(flat @ params["hidden"]["kernel"]) @ params["out"]["kernel"]

    shared = {"model": models.from_functions(init, apply), "data": "digits", "steps": 20}
    shared |= {"optimizer": optax.sgd(0.1), "batch_size": 50}
    return studies.Experiment(name=name, **shared | changed)


class NoisyInTraining(nn.Module):
    rate: float = 0.1
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(8)(x.reshape(len(x), -1))
        x = nn.BatchNorm(use_running_average=not train, momentum=self.momentum)(x)
        return nn.Dense(10)(nn.Dropout(self.rate, deterministic=not train)(nn.relu(x)))


def drops_at(step):
    return optax.sgd(optax.piecewise_constant_schedule(0.2, {step: 0.01}))


def on_plateau(**options):
    return optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(factor=0.5, **options))


def huber(delta):
    def loss(outputs, labels):
        return optax.huber_loss(outputs, jax.nn.one_hot(labels, 10), delta=delta).sum(-1)

    return loss


def far(limit):
    return lambda outputs, labels: jnp.abs(outputs[:, 0]) > limit


CHANGED_IN_TRAINING = {
    "dropout": (
        {"model": NoisyInTraining()},
        {"model": NoisyInTraining(rate=0.9)},
        "model outputs in training",
    ),
    "momentum": (
        {"model": NoisyInTraining()},
        {"model": NoisyInTraining(momentum=0.999)},
        "model outputs in training",
    ),
    "milestone": (
        {"optimizer": drops_at(36), "steps": 90},
        {"optimizer": drops_at(38), "steps": 90},
        "optimizer over the training",
    ),
    "late milestone": (
        {"optimizer": drops_at(50_000), "steps": 90_000},
        {"optimizer": drops_at(51_000), "steps": 90_000},
        "optimizer over the training",
    ),
    "gradients collected": (
        {"optimizer": optax.MultiSteps(optax.adam(0.01), 11)},
        {"optimizer": optax.MultiSteps(optax.adam(0.01), 14)},
        "optimizer over the training",
    ),
    "patience": (
        {"optimizer": on_plateau(patience=5), "steps": 90},
        {"optimizer": on_plateau(patience=6), "steps": 90},
        "optimizer by the loss",
    ),
    "tolerance": (
        {"optimizer": on_plateau(patience=5), "steps": 90},
        {"optimizer": on_plateau(patience=5, rtol=0.1), "steps": 90},
        "optimizer by the loss",
    ),
    "limit of a loss": (
        {"loss": huber(8.0)},
        {"loss": huber(9.0)},
        "loss at outputs of size 10",
    ),
    "high limit of a loss": (
        {"loss": huber(200.0)},
        {"loss": huber(210.0)},
        "loss at outputs of size 1000",
    ),
    "limit of an error": (
        {"loss": huber(3.0), "error": far(30.0)},
        {"loss": huber(3.0), "error": far(60.0)},
        "error at outputs of size 10",
    ),
}


@pytest.mark.parametrize("case", CHANGED_IN_TRAINING)
def test_a_part_that_differs_in_training_alone_is_another(case):
    one, other, part = CHANGED_IN_TRAINING[case]
    prints = []
    for changed in (one, one, other):
        parts = experiment_of("a", **changed)
        config = ImpConfig(
            **{f.name: getattr(parts.config, f.name) for f in dataclasses.fields(parts.config)}
        )
        prints.append(fingerprint.of_experiment(load_experiment(config, parts.parts)))
    same, again, differs = (store.facts.of_parts(each) for each in prints)
    store.facts.joined("run", same, again)
    with pytest.raises(store.StoreError, match=f"its {part} differ"):
        store.facts.joined("run", same, differs)
    earlier = {name: value for name, value in prints[0].items() if name not in store.facts.ADDED}
    store.facts.joined("run", store.facts.of_parts(earlier), same)  # of an earlier version


def arrays(labels=lambda labels: labels, **given):
    digits = load_digits()
    inputs = (digits.images[..., None] / 16).astype(np.float32)
    parts = [(inputs[at], labels(digits.target[at])) for at in (slice(1000), slice(1000, 1400))]
    return data.from_arrays(*parts, **given)


def test_levels_stop_by_the_validation_split_that_the_data_have(tmp_path):
    chance = (np.zeros((40, 8, 8, 1), np.float32), np.arange(40) % 10)
    levels = {}
    for name, given in {"pair": {"validation": chance}, "none": {"validation": 0.0}}.items():
        results = studies.imp(
            experiment_of(name, data=arrays(**given), steps=200), levels=3, prune_fraction=0.8,
            replicates=1, controls=[], stop_lost_accuracy=0.1, out=tmp_path, progress=False,
        )  # fmt: skip
        levels[name] = results.table()
    # Of examples that are all alike no network tells the classes: nothing is lost there.
    assert len(levels["pair"]) == 4
    assert len(levels["none"]) < 4


def test_thresholds_are_chosen_on_the_validation_split_that_the_data_have(tmp_path):
    ask = functools.partial(
        studies.threshold_masks, thresholds=[0.0, 0.05], replicates=1, out=tmp_path, progress=False
    )
    rng = np.random.default_rng(1)
    pair = (rng.normal(size=(40, 8, 8, 1)).astype(np.float32), np.arange(40) % 10)
    table = ask(experiment_of("pair", data=arrays(validation=pair))).table()
    assert table["validation_accuracy"].notna().all()
    with pytest.raises(ValueError, match="`choose_on` validation needs a validation split"):
        ask(experiment_of("none", data=arrays(validation=0.0)))


def test_kernels_that_are_excluded_cost_as_much_as_in_the_dense_network(tmp_path):
    results = studies.dynamic(
        experiment_of("cost", exclude=["hidden/*"]), methods=["static"], densities=[0.5],
        replicates=1, out=tmp_path, progress=False,
    )  # fmt: skip
    costs = results.table().set_index("control")["flops"]
    assert costs["static"] == pytest.approx((64 * 8 + 40) / (64 * 8 + 80))
    assert costs["dense"] == 1


def test_lengths_do_not_go_with_an_optimizer_of_ones_own(tmp_path):
    with pytest.raises(ValueError, match="`lengths` stretch the learning rate, which an optimizer"):
        studies.dynamic(experiment_of("a"), methods=["set"], lengths=[2.0], out=tmp_path)


def test_compact_does_not_go_with_an_optimizer_of_ones_own(tmp_path):
    mlp = models.ModelConfig(name="mlp", hidden=(8,))
    with pytest.raises(ValueError, match="`compact` leaves out weights .* optimizer of your own"):
        studies.imp(experiment_of("a", model=mlp), compact=True, out=tmp_path)


def test_the_trained_network_of_a_supermask_is_that_of_its_row(tmp_path):
    results = studies.train_supermasks(
        experiment_of("supermask", data=arrays()), supermask=SupermaskRule(method="edge-popup"),
        densities=[0.5], finetune=20, replicates=1, out=tmp_path, progress=False,
    )  # fmt: skip
    rows, source = results.table().set_index("control"), arrays()
    for method in ("edge-popup", "edge-popup-finetuned"):
        params, test = results.trained(method=method).params, source.published.test
        hidden = np.maximum(test.images.reshape(400, -1) @ params["hidden"]["kernel"], 0)
        accuracy = np.mean((hidden @ params["out"]["kernel"]).argmax(-1) == test.labels)
        assert accuracy == pytest.approx(rows["test_accuracy"][method], abs=1e-6)


def test_labels_that_stand_for_no_label_are_refused_with_a_loss_of_ones_own(tmp_path):
    def hinge(outputs, labels):
        return jnp.mean(jnp.maximum(0, 1 - outputs[:, :2] * labels), -1)

    def signs(kind):
        return lambda labels: np.stack([labels % 2, labels < 5], -1).astype(kind) * 2 - 1

    ask = functools.partial(
        studies.imp, levels=0, replicates=1, controls=[], out=tmp_path, progress=False
    )
    with pytest.raises(ValueError, match="train labels of .* examples are all negative"):
        ask(experiment_of("whole", loss=hinge, data=arrays(signs(np.int32))))
    table = ask(experiment_of("real", loss=hinge, data=arrays(signs(np.float32)))).table()
    assert np.isfinite(table["test_loss"]).all()
