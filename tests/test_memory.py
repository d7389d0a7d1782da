"""What a training needs is estimated before anything is allocated."""

import jax
import jax.numpy as jnp
import pytest
import tiny

from jaxlth import keys, models
from jaxlth.data import DataConfig, StreamConfig
from jaxlth.models import ModelConfig
from jaxlth.studies.imp import run as imp
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.prunable import prunable_model
from jaxlth.training import OptimizerConfig, TrainingConfig, execution, memory

GB = 10**9


def needs_of(*, hidden=(8,), optimizer="adam", devices=1, split=1, networks=1, **training):
    """Return what a training of the tiny network needs: {option: bytes}."""
    model = tiny.model(*hidden)
    memory_needed = memory.of_training(
        "hidden",
        model,
        jax.eval_shape(model.init, keys.stream(0, 0, "")),
        TrainingConfig(**{"batch_size": 6, **training}),
        OptimizerConfig(optimizer=optimizer),
        execution.layout(networks, devices=jax.devices()[:devices], split=split),
        example=jax.ShapeDtypeStruct(tiny.SHAPE, jnp.float32),
        arrays=(jnp.zeros(5, jnp.uint8),),
    )
    return {need.option: need.size for need in memory_needed}


def test_weights_count_with_their_gradients_their_mask_and_what_the_optimiser_keeps_of_them():
    weights = 4 * 8 + 8 + 8 * 3 + 3
    sgd, adam = (needs_of(optimizer=name)["hidden"] for name in ("sgd", "adam"))
    assert sgd == weights * (2 * 4 + 4 + 1)  # on the host and in training, gradient, mask
    assert adam - sgd == 2 * (2 * 4 * weights + 4)  # two moments and a count of steps
    assert needs_of(optimizer="sgd", checkpoint="best")["hidden"] - sgd == 2 * 4 * weights


def test_networks_that_train_together_count_together():
    assert needs_of(devices=2, networks=2)["hidden"] == 2 * needs_of()["hidden"]
    assert needs_of(devices=2, networks=1) == needs_of()


def test_activations_are_what_goes_into_each_layer():
    assert needs_of(batch_size=6)["batch_size"] == 4 * 6 * (4 + 8)
    assert needs_of(batch_size=6, hidden=(8, 5))["batch_size"] == 4 * 6 * (4 + 8 + 5)
    halved = needs_of(batch_size=6, data_parallel=2, devices=2, split=2)["batch_size"]
    assert halved == 2 * 4 * 3 * (4 + 8)  # two devices of the host, half of a batch each


def test_activations_of_convolutions_count_where_batches_are_large():
    model = models.build(ModelConfig(name="conv-2"), shape=(32, 32, 3), classes=10)
    like = jax.eval_shape(model.init, keys.stream(0, 0, ""))
    layout = execution.layout(1, devices=jax.devices()[:1])
    for batch, expected in (
        (60, 0),
        (2000, 4 * 2000 * (32 * 32 * (3 + 64) + 16 * 16 * 64 + 2 * 256)),
    ):
        memory_needed = memory.of_training(
            "model",
            model,
            like,
            TrainingConfig(batch_size=batch),
            OptimizerConfig(),
            layout,
            example=jax.ShapeDtypeStruct((32, 32, 3), jnp.float32),
            arrays=(),
        )
        assert {need.option: need.size for need in memory_needed}["batch_size"] == expected


def test_what_does_not_fit_names_the_largest_part_and_what_there_is():
    needs = [memory.Need("hidden", "weights", 2 * GB), memory.Need("data", "its arrays", GB)]
    memory.check(needs, 3 * GB)
    memory.check(needs, None)
    message = (
        r"^`hidden` must be smaller: weights take 2 GB, and the whole training 3 GB; of memory "
    )
    with pytest.raises(ValueError, match=message + r"there is 2\.5 GB in all\.$"):
        memory.check(needs, 5 * GB // 2)


def test_this_machine_has_memory():
    assert 10**8 < memory.host() < 10**15


@pytest.mark.parametrize(
    ("stream", "training", "option"),
    [
        ({"image_size": 60_000, "resize_to": 60_000}, {}, "image_size"),
        ({}, {"batch_size": 2 * 10**9}, "batch_size"),
        ({"prefetch": 1000}, {"batch_size": 600_000}, "batch_size"),
        (
            {"prefetch": 1000, "image_size": 2000, "resize_to": 2000},
            {"batch_size": 6000},
            "prefetch",
        ),
    ],
)
def test_streams_name_the_option_that_is_furthest_from_its_default(stream, training, option):
    needs = memory.of_stream(StreamConfig(**stream), TrainingConfig(**training))
    with pytest.raises(ValueError, match=f"`{option}` must be smaller: batches of images take"):
        memory.check(needs, 25 * GB)


def test_streams_of_the_published_sizes_fit():
    memory.check(memory.of_stream(StreamConfig(), TrainingConfig(batch_size=1024)), 8 * GB)


@pytest.mark.parametrize("change", [{"hidden": (10**8,)}, {"hidden": (2**31 - 1,) * 3}])
def test_a_network_that_no_machine_holds_is_refused_before_it_is_made(change):
    config = ImpConfig(data=DataConfig(name="digits"), model=ModelConfig(name="mlp", **change))
    with pytest.raises(ValueError, match=r"`hidden` must be smaller: .* of memory there is"):
        imp.prepare(config)
    with pytest.raises(ValueError, match=r"`hidden` must be smaller: its weights and their mask"):
        prunable_model(config, shape=(8, 8, 1), classes=10)
