import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxlth import keys
from jaxlth.training import Plan, execution, fit, side_by_side
from jaxlth.training.execution import Layout

Device = collections.namedtuple("Device", ["platform", "id"])
ONE, TWO = jax.devices()[:1], jax.devices()[:2]
LAYOUTS = {
    "one": Layout(tuple(ONE), 1),
    "vmapped": Layout(tuple(ONE), 3),
    "mapped": Layout(tuple(TWO), 1),
    "both": Layout(tuple(TWO), 2),
    "split": Layout(tuple(TWO), 1, split=2),
    "split and vmapped": Layout(tuple(TWO), 3, split=2),
    "looped": Layout(tuple(ONE), 1, looped=True),
    "looped and mapped": Layout(tuple(TWO), 1, looped=True),
}
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}  # of float32 after some twenty steps
PLAN = Plan(
    steps=11, steps_per_epoch=4, evaluations=(5, 11), patience=None, milestones=(), warmup=0
)


def devices(platform, count):
    return [Device(platform, at) for at in range(count)]


@pytest.mark.parametrize(
    ("networks", "available", "used", "per_device"),
    [
        (1, devices("cpu", 1), 1, 1),
        (5, devices("cpu", 1), 1, 1),
        (1, devices("cpu", 2), 1, 1),
        (5, devices("cpu", 2), 2, 1),
        (1, devices("gpu", 1), 1, 1),
        (5, devices("gpu", 1), 1, 5),
        (3, devices("tpu", 4), 3, 1),
        (4, devices("tpu", 4), 4, 1),
        (9, devices("tpu", 4), 4, 3),
    ],
)
def test_a_group_is_one_network_a_cpu_and_all_networks_on_accelerators(
    networks, available, used, per_device
):
    config = execution.layout(networks, devices=available)
    assert config == Layout(tuple(available[:used]), per_device)
    assert config.size == used * per_device


def test_an_accelerator_trains_no_more_side_by_side_than_is_told():
    config = execution.layout(100, devices=devices("tpu", 4), networks_per_device=16)
    assert (config.per_device, config.size) == (16, 64)
    assert execution.layout(5, devices=devices("tpu", 4), networks_per_device=16).per_device == 2


@pytest.mark.parametrize(
    ("networks", "batch_size", "asked", "split", "per_device"),
    [
        (1, 128, 1, 8, 1),
        (1, 60, 1, 4, 1),  # eight have no equal parts of 60
        (2, 128, 1, 4, 1),
        (3, 128, 1, 2, 1),
        (3, 125, 1, 1, 1),
        (5, 128, 1, 1, 1),  # four pairs would take one and a half times as long
        (5, 128, 2, 2, 2),  # all eight work already
        (8, 128, 1, 1, 1),
        (13, 128, 1, 1, 2),
    ],
)
def test_idle_accelerators_share_batches(networks, batch_size, asked, split, per_device):
    tpu = devices("tpu", 8)
    config = execution.layout(networks, devices=tpu, split=asked, batch_size=batch_size)
    assert (config.split, config.per_device) == (split, per_device)
    assert config.size >= networks
    not_shared = execution.layout(networks, devices=tpu, split=asked)
    assert not_shared.split == asked
    cores = execution.layout(networks, devices=devices("cpu", 8), batch_size=batch_size)
    assert cores.split == 1


@pytest.mark.parametrize("model", ["lenet-300-100", "mlp"])
def test_idle_tpus_share_no_batches_of_a_network_that_loses_by_it(model):
    perceptron = {"model": model, "batch_size": 64}
    for networks, count in ((1, 8), (4, 8), (4, 16), (5, 16)):
        tpu = execution.layout(networks, devices=devices("tpu", count), **perceptron)
        assert (tpu.split, tpu.size) == (1, networks)
        gpu = execution.layout(networks, devices=devices("gpu", count), **perceptron)
        assert gpu.split == 2 ** int(np.log2(count // networks))


@pytest.mark.parametrize(
    ("networks", "count", "split"),
    [(1, 2, 1), (1, 4, 1), (1, 8, 8), (2, 8, 1), (5, 8, 1), (5, 16, 1)],
)
def test_tpus_share_batches_where_that_was_measured_to_be_faster(networks, count, split):
    # Two chips take longer for a batch of ResNet-20 than one, and eight less.
    resnet = {"model": "resnet-20", "batch_size": 128}
    assert execution.layout(networks, devices=devices("tpu", count), **resnet).split == split


@pytest.mark.parametrize("model", side_by_side.CYCLES_SHARED)
def test_a_measured_step_takes_what_was_measured(model):
    alone, _ = side_by_side.CYCLES[model]
    for shared, cycles in {1: alone, **side_by_side.CYCLES_SHARED[model]}.items():
        assert side_by_side.step_time("tpu", model, shared) == cycles / alone
        assert side_by_side.step_time("cpu", model, shared) == 1


def test_convolutions_use_all_cores_through_one_device_unless_asked_to_share_batches():
    cores = devices("cpu", 4)
    config = execution.layout(5, devices=cores, convolutional=True)
    assert config == Layout(tuple(cores[:1]), 1, looped=True)
    config = execution.layout(5, devices=cores, convolutional=True, split=2)
    assert config == Layout(tuple(cores[:2]), 1, split=2, looped=True)
    config = execution.layout(5, devices=devices("tpu", 4), convolutional=True)
    assert config == Layout(tuple(devices("tpu", 4)), 2)


def test_local_devices_are_the_default():
    assert execution.layout(5) == Layout(tuple(jax.local_devices()), 1)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_take_is_the_inverse_of_place_and_drops_what_fills_up(layout):
    trees = [
        {"a": np.full((2, 3), at, np.float32), "b": [None, np.int32(at), np.array([at > 0])]}
        for at in range(layout.size)
    ]
    for count in range(1, layout.size + 1):
        placed = layout.place(trees[:count])
        for leaf in jax.tree.leaves(placed):
            assert leaf.shape[:2] == (len(layout.devices), layout.per_device)
            assert leaf.devices() == set(layout.devices)
        filled = layout.take(placed, layout.size)
        tiny.assert_same(filled, trees[:count] + [trees[count - 1]] * (layout.size - count))
        taken = layout.take(placed, count)
        tiny.assert_same(taken, trees[:count])
        assert [leaf.dtype for leaf in jax.tree.leaves(taken[0])] == [
            leaf.dtype for leaf in jax.tree.leaves(trees[0])
        ]


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_typed_keys_are_placed_whatever_their_kind(layout, kind):
    wanted = [jax.random.key(at, impl=kind) for at in range(layout.size)]
    placed = layout.place(wanted)
    assert placed.dtype == wanted[0].dtype
    assert placed.shape == (len(layout.devices), layout.per_device)
    found = np.asarray(jax.random.key_data(placed))[:: layout.split].reshape(layout.size, -1)
    np.testing.assert_array_equal(found, [jax.random.key_data(key) for key in wanted])


def test_every_device_holds_what_is_shared_whole():
    shared = LAYOUTS["both"].share(tiny.dataset(validation=0))
    assert shared.validation is None
    assert shared.train.images.is_fully_replicated
    assert shared.train.images.devices() == set(TWO)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_mapped_function_sees_one_network_and_may_take_its_memory(layout):
    def shift(network, mask, by):
        moved = jax.tree.map(lambda w, keep: w if keep is None else w + by, network, mask)
        return moved, moved["w"].sum()

    networks = [{"w": np.full(3, at, np.float32), "b": np.ones(1)} for at in range(layout.size)]
    masks = [{"w": np.ones(3, bool), "b": None}] * layout.size
    placed = layout.place(networks)
    mapped = layout.map(shift, (0, 0, None), donate=True)
    moved, sums = mapped(placed, layout.place(masks), jnp.float32(2))
    assert layout.take(sums, layout.size) == [3 * (at + 2) for at in range(layout.size)]
    for at, network in enumerate(layout.take(moved, layout.size)):
        np.testing.assert_array_equal(network["w"], np.full(3, at + 2))
    assert placed["w"].is_deleted()


@pytest.fixture(scope="module")
def trained():
    """Return (layout, groups of replicates) -> states, rows, kept networks and evaluations."""
    built = tiny.model()

    def train(layout, groups):
        trainer = tiny.trainer(built, keep_best=True, batch_size=4)
        compiled = fit.compile(trainer, layout, train_examples=1000)
        results = []
        for replicates in groups:
            networks = [tiny.network(built, replicate) for replicate in replicates]
            masks = [tiny.half(network.params) for network in networks]
            order = [keys.stream(0, replicate, "order") for replicate in replicates]
            group = tiny.Group(trainer, compiled, networks, masks, tiny.dataset(), keys=order)
            states, rows = group.train(PLAN)
            results += zip(states, rows, *group.finish(states), strict=True)
        return results

    return train


@pytest.fixture(scope="module")
def alone(trained):
    """The results of three networks, trained one after another."""
    return trained(LAYOUTS["one"], [[0], [1], [2]])


@pytest.mark.parametrize(
    ("layout", "count"),
    [
        ("vmapped", 3),
        ("mapped", 2),
        ("both", 3),
        ("split", 1),
        ("split and vmapped", 3),
        ("looped", 1),
        ("looped and mapped", 2),
    ],
    ids=str,
)
def test_networks_train_alike_however_they_are_laid_out(alone, trained, layout, count):
    found = trained(LAYOUTS[layout], [range(count)])
    assert len(found) == count  # the copies that fill up `both` are gone
    tiny.assert_close(found, alone[:count], **TOLERANCE)


@pytest.fixture
def unknown_options(monkeypatch):
    """An XLA that does not know the options for convolutions."""
    monkeypatch.setattr(execution, "CONVOLUTIONS_ON_CPU", {"xla_cpu_no_such_option": "1"})
    execution.compiler_options.cache_clear()
    yield
    execution.compiler_options.cache_clear()


def test_convolutions_on_cpu_are_compiled_with_options(monkeypatch):
    seen = []
    monkeypatch.setattr(jax, "jit", lambda function, **given: seen.append(given) or function)
    execution.compiler_options.cache_clear()
    for name in ("looped", "one"):
        LAYOUTS[name].map(lambda x: x, (0,))
    execution.compiler_options.cache_clear()
    assert seen[0]["compiler_options"] == execution.CONVOLUTIONS_ON_CPU  # the trial
    assert [given["compiler_options"] for given in seen[1:]] == [
        execution.CONVOLUTIONS_ON_CPU,
        None,
    ]


@pytest.mark.usefixtures("unknown_options")
def test_options_that_xla_does_not_know_are_left_out():
    assert execution.compiler_options() == {}
    assert LAYOUTS["looped"].map(lambda x: x + 1, (0,))(jnp.zeros((1, 1))) == 1


@pytest.mark.parametrize("model", side_by_side.CYCLES)
def test_a_tpu_trains_networks_side_by_side_where_that_was_measured_to_be_faster(model):
    alone, of_five = side_by_side.CYCLES[model]
    config = execution.layout(13, devices=devices("tpu", 4), model=model)
    assert (config.per_device, config.size) == ((1, 4) if of_five > alone else (4, 16))
    asked = execution.layout(13, devices=devices("tpu", 4), model=model, networks_per_device=3)
    assert asked.per_device == 3
    assert execution.layout(13, devices=devices("gpu", 4), model=model).per_device == 4
    assert execution.layout(13, devices=devices("cpu", 2), model=model).per_device == 1


def test_at_most_32_networks_are_side_by_side_where_nothing_was_measured():
    assert execution.layout(500, devices=devices("tpu", 4), model="mine").per_device == 32
