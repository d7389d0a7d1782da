import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax.contrib
import pytest
import tiny

from jaxlth import data, keys, masks, training, trees
from jaxlth.data import Dataset, Split, augment
from jaxlth.models import Model, Network
from jaxlth.training import OptimizerConfig, Plan, TrainingConfig, evaluation, optimizers, train
from jaxlth.training.states import NEVER

DATA = tiny.dataset()
KEY = keys.stream(0, 0, "order")
STEPS = 13  # three epochs of four steps, and a step


def is_bitwise_zero(array):
    return not any(np.asarray(array).tobytes())


@pytest.fixture(scope="module")
def built():
    return tiny.model()


@pytest.fixture(scope="module")
def network(built):
    return tiny.network(built)


@pytest.fixture(scope="module")
def trainer(built):
    """A training whose functions are compiled once for all tests."""
    return tiny.jitted(tiny.trainer(built, tiny.optimizer("adam", 0.01)))


# Masks.


@pytest.mark.parametrize("decay", [0.0, 1e-2])
@pytest.mark.parametrize("name", optimizers.RULES)
def test_pruned_weights_and_their_moments_stay_exactly_zero(built, network, name, decay):
    mask = tiny.half(network.params)
    made = tiny.trainer(built, tiny.optimizer(name, weight_decay=decay))
    before = made.start(network, mask)
    after = jax.jit(made.advance)(before, mask, DATA, KEY, 0, STEPS)
    before, after = jax.device_get((before, after))
    weights, moments = trees.named(after.network.params), trees.named(after.opt)
    for kernel, keep in trees.named(mask).items():
        assert is_bitwise_zero(weights[kernel][~keep])
        assert np.any(weights[kernel] != trees.named(before.network.params)[kernel])
        own = [moment for path, moment in moments.items() if path.endswith(kernel)]
        assert len(own) == {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2}[name]
        assert all(is_bitwise_zero(moment[~keep]) for moment in own)
        assert all(np.any(moment[keep]) for moment in own)


# Every optimiser of optax that is made from a learning rate alone; L-BFGS wants a line search.
OPTAX = [
    *("adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw"),
    *("adan", "amsgrad", "fromage", "lamb", "lars", "lion", "muon", "nadam", "nadamw", "noisy_sgd"),
    *("novograd", "optimistic_adam_v2", "radam", "rmsprop", "rprop", "sgd", "sign_sgd", "signum"),
    *("sm3", "yogi"),
]
MOVING = ("muon", "noisy_sgd", "yogi")  # move weights that have no gradient


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in MOVING else pytest.mark.slow) for name in OPTAX],
)
def test_pruned_weights_stay_exactly_zero_under_every_optimiser_of_optax(built, network, name):
    mask = tiny.half(network.params)
    make = optax.contrib.muon if name == "muon" else getattr(optax, name)
    optimizer = make(0.1, **({"key": 0} if name == "noisy_sgd" else {}))
    made = train.make(built, optimizer, batch_size=5)
    after = jax.jit(made.advance)(made.start(network, mask), mask, DATA, KEY, 0, STEPS)
    weights = trees.named(jax.device_get(after.network.params))
    for kernel, keep in trees.named(mask).items():
        assert is_bitwise_zero(weights[kernel][~keep])
        assert np.any(weights[kernel] != trees.named(network.params)[kernel])


def test_a_full_mask_changes_nothing(built, network):
    made = tiny.trainer(built, tiny.optimizer("adam", 0.01))
    # Optimised, the two programs are fused and so rounded differently, by 1e-7.
    options: dict[str, object] = {"xla_backend_optimization_level": 0}
    if jax.__version_info__[:2] == (0, 10):  # default tests do without them: see conftest.py
        options["xla_cpu_use_fusion_emitters"] = True
    advance = jax.jit(made.advance, compiler_options=options)
    dense = masks.dense(network.params)
    without = jax.tree.map(lambda keep: None, dense)
    trained = [
        advance(made.start(network, mask), mask, DATA, KEY, 0, STEPS) for mask in (dense, without)
    ]
    tiny.assert_same(*trained)


def test_a_network_starts_under_its_mask(network, trainer):
    mask = tiny.half(network.params)
    started = trainer.start(network, mask)
    tiny.assert_same(started.network.params, masks.apply(network.params, mask))


# Cuts and the order of the data.


@pytest.mark.parametrize(
    "cuts", [(1,), (4,), (6,), (4, 8, 12), (3, 5), (2, 3, 9, 10), range(1, 13)]
)
def test_a_training_cut_anywhere_is_the_uncut_one(network, trainer, cuts):
    mask = masks.dense(network.params)
    start = trainer.start(network, mask)
    whole = trainer.advance(start, mask, DATA, KEY, 0, STEPS)
    state = start
    for begin, end in zip((0, *cuts), (*cuts, STEPS), strict=True):
        state = trainer.advance(state, mask, DATA, KEY, begin, end)
    tiny.assert_same(state, whole)
    assert not np.array_equal(state.loss_sum, start.loss_sum)


@pytest.fixture(scope="module", params=[20, 23], ids=["whole batches", "with a remainder"])
def batches(request):
    """Return (key, step, before) -> the examples of one step of five, in four steps an epoch.

    Each example has a weight of its own, which only the steps that see the example change.
    `before` is the step of a training that comes first.
    """
    count = request.param

    def apply(network, inputs, train):
        own = network.params["own"][inputs[:, 0, 0, 0].astype(jnp.int32)]
        return jnp.stack([own, jnp.zeros_like(own)], axis=1), network.stats

    numbers = Split(
        np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), np.zeros(count, np.int32)
    )
    dataset = Dataset(numbers, None, numbers, np.zeros(1, np.float32), np.ones(1, np.float32))
    made = tiny.trainer(Model(init=lambda key: Network({}, {}), apply=apply))
    advance, mask = jax.jit(made.advance), {"own": None}

    def seen(key, step, before=None):
        state = made.start(Network({"own": jnp.zeros(count)}, {}), mask)
        if before is not None:
            state = advance(state, mask, dataset, key, before, step)
        after = advance(state, mask, dataset, key, step, step + 1)
        changed = after.network.params["own"] != state.network.params["own"]
        return np.flatnonzero(changed).tolist()

    return seen


def test_an_epoch_sees_every_example_of_whole_batches_once(batches):
    for first in (0, 4, 8):
        found = [example for step in range(first, first + 4) for example in batches(KEY, step)]
        assert len(found) == len(set(found)) == 20


def test_epochs_and_keys_have_orders_of_their_own(batches):
    other = keys.stream(0, 1, "order")
    orders = [
        [batches(key, first + step) for step in range(4)]
        for key in (KEY, other)
        for first in (0, 4)
    ]
    assert all(a != b for at, a in enumerate(orders) for b in orders[:at])


@pytest.mark.parametrize("before", [0, 3, 5])
def test_the_batch_of_a_step_does_not_depend_on_the_steps_before_it(batches, before):
    assert batches(KEY, 6, before) == batches(KEY, 6)


@pytest.mark.parametrize("own", [False, True], ids=["the library's", "one's own function"])
def test_a_step_is_augmented_by_its_own_key_wherever_its_epoch_is_drawn_from(built, own):
    change = augment.FlipCrop(pad=1)
    function = (lambda images, *, key: change(images, key=key)) if own else change
    made = tiny.trainer(built, augmentation=function)
    steps, key = 4, keys.substream(KEY, "augmentation")
    for step in (0, 3, 6):
        batch = made._batch(DATA.train, made.draw_epoch(DATA, KEY, step), step)
        order = train.shuffled(keys.fold(KEY, step // steps), len(DATA.train.labels))
        at = np.asarray(order)[step % steps * 5 :][:5]
        alone = change(DATA.train.images[at], key=keys.fold(key, step))
        np.testing.assert_array_equal(batch.images, alone)
        assert not np.array_equal(batch.images, DATA.train.images[at])


def test_shuffled_numbers_are_a_permutation():
    order = np.asarray(train.shuffled(KEY, 1000))
    assert sorted(order) == list(range(1000))
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1


# Evaluation.


def reference(params, split, mean, std):
    """Return loss and accuracy of an mlp in NumPy, in double precision."""
    values = (split.images.astype(np.float64) - mean) / np.where(std == 0, 1, std)
    values = values.reshape(len(values), -1)
    for at in range(len(params)):
        layer = {name: np.asarray(leaf) for name, leaf in params[f"Dense_{at}"].items()}
        values = values @ layer["kernel"] + layer["bias"]
        values = np.maximum(values, 0) if at + 1 < len(params) else values
    values = values - values.max(1, keepdims=True)
    losses = np.log(np.exp(values).sum(1)) - values[np.arange(len(values)), split.labels]
    return losses.mean(), (values.argmax(1) == split.labels).mean()


@pytest.mark.parametrize("batch", [7, 23, 100], ids=["remainder", "one batch", "less than one"])
def test_evaluation_equals_numpy_however_it_is_cut(network, trainer, monkeypatch, batch):
    monkeypatch.setattr(evaluation, "SCANNED_BATCH", batch)
    mask = tiny.half(network.params)
    mean, std = np.array([100.0], np.float32), np.array([50.0], np.float32)
    found = jax.jit(lambda *arrays: trainer.evaluate(*arrays))(network, mask, DATA.train, mean, std)
    loss, accuracy = reference(masks.apply(network.params, mask), DATA.train, mean, std)
    assert float(found.loss) == pytest.approx(loss, rel=1e-5)
    assert float(found.accuracy) == pytest.approx(accuracy, rel=1e-6)


def test_a_network_that_is_always_right_has_an_accuracy_of_exactly_one(built, network, trainer):
    mask = masks.dense(network.params)
    images = np.concatenate([DATA.train.images] * 3)[:41]  # 41 * (1 / 41) < 1 in float32
    logits, _ = built.apply(network, data.normalize(images, DATA.mean, DATA.std), False)
    split = Split(images, np.array(logits).argmax(1).astype(np.int32))
    for right in (41, 40):
        found = jax.jit(trainer.evaluate)(network, mask, split, DATA.mean, DATA.std)
        assert float(found.accuracy) == pytest.approx(right / 41, rel=1e-7)
        assert (found.accuracy == 1) == (right == 41)
        split.labels[0] = (split.labels[0] + 1) % tiny.CLASSES


def test_measure_tells_the_mean_training_loss_and_the_splits(network, trainer):
    mask = masks.dense(network.params)
    state = trainer.start(network, mask)
    state, _ = trainer.measure(trainer.advance(state, mask, DATA, KEY, 0, 3), mask, DATA, 3, 0)
    losses, single = [], state
    for step in (3, 4, 5, 6):
        before = single._replace(loss_sum=jnp.zeros(()))
        single = trainer.advance(before, mask, DATA, KEY, step, step + 1)
        losses.append(float(single.loss_sum))
    state, measured = trainer.measure(
        trainer.advance(state, mask, DATA, KEY, 3, 7), mask, DATA, 7, 3
    )
    assert float(measured.train_loss) == pytest.approx(np.mean(losses), rel=1e-6)
    for split in ("validation", "test"):
        loss, accuracy = reference(state.network.params, getattr(DATA, split), DATA.mean, DATA.std)
        assert float(getattr(measured, split).loss) == pytest.approx(loss, rel=1e-5)
        assert float(getattr(measured, split).accuracy) == pytest.approx(accuracy, rel=1e-6)
    assert state.loss_sum == 0


@pytest.mark.parametrize("stopping", [{"patience": 3}, {"keep_best": True}])
def test_stopping_by_validation_loss_needs_a_validation_split(built, network, stopping):
    made = tiny.trainer(built, **stopping)
    mask = masks.dense(network.params)
    without = DATA._replace(validation=None)
    with pytest.raises(ValueError, match="`patience` and `keep_best` need a validation split"):
        made.measure(made.start(network, mask), mask, without, 1, 0)


# A loss that is not finite.


@pytest.fixture(scope="module")
def exploding():
    """Weights of 1e6 in three layers, and the step whose loss is not finite any more."""
    built = tiny.model(8, 8)
    made = tiny.jitted(tiny.trainer(built))
    network = jax.tree.map(lambda leaf: leaf * 1e6, tiny.network(built))
    mask = masks.dense(network.params)
    state = made.start(network, mask)
    for step in range(STEPS):
        state = made.advance(state, mask, DATA, KEY, step, step + 1)
        if not math.isfinite(state.loss_sum):
            return made, network, mask, step
    raise AssertionError("the loss stayed finite")


def test_the_first_step_whose_loss_is_not_finite_is_told(exploding):
    made, network, mask, first = exploding
    assert 0 < first < STEPS - 2
    start = made.start(network, mask)
    assert made.advance(start, mask, DATA, KEY, 0, first).nan_step == NEVER
    for end in (first + 1, first + 2, STEPS):
        assert made.advance(start, mask, DATA, KEY, 0, end).nan_step == first
    state = made.advance(start, mask, DATA, KEY, 0, STEPS)
    state, _ = made.measure(state, mask, DATA, STEPS, 0)
    assert (state.nan_step, state.stopped_step) == (first, STEPS)


def test_an_evaluation_tells_what_the_next_training_step_would(exploding):
    made, network, mask, first = exploding
    state = made.advance(made.start(network, mask), mask, DATA, KEY, 0, first)
    state, measured = made.measure(state, mask, DATA, first, 0)
    assert not np.isfinite(measured.test.loss)
    assert (state.nan_step, state.stopped_step) == (first, first)
    assert state.best.step == NEVER


def test_a_network_that_is_not_finite_from_the_start_stops_at_step_0(exploding):
    made, network, mask, _ = exploding
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.inf), network)
    assert made.advance(made.start(broken, mask), mask, DATA, KEY, 0, 3).nan_step == 0


# Times.

PLANS = {  # name -> (training, optimizer, examples, dilation, expected fields)
    "steps": (
        {"steps": 100, "batch_size": 60},
        {},
        {"examples": 125},
        {"steps": 100, "steps_per_epoch": 2, "evaluations": tuple(range(5, 101, 5))},
    ),
    "epochs": (
        {"epochs": 1.5, "batch_size": 10},
        {},
        {"examples": 45},
        {"steps": 6, "steps_per_epoch": 4, "evaluations": (1, 2, 3, 4, 5, 6)},
    ),
    "steps in place of epochs": (
        {"steps": 3, "batch_size": 10},
        {},
        {"examples": 45},
        {"steps": 3, "steps_per_epoch": 4, "evaluations": (1, 2, 3)},
    ),
    "all times are in the unit of the length": (
        {"epochs": 2.0, "batch_size": 10, "evaluate_every": 0.5, "patience": 1.0},
        {"schedule": "milestones", "milestones": (1.0, 1.5), "warmup": 0.5},
        {"examples": 45},
        {
            "steps": 8,
            "steps_per_epoch": 4,
            "evaluations": (2, 4, 6, 8),
            "patience": 4,
            "milestones": (4, 6),
            "warmup": 2,
        },
    ),
    "the last evaluation is at the end": (
        {"steps": 10, "evaluate_every": 4, "batch_size": 10},
        {},
        {"examples": 10},
        {"steps": 10, "steps_per_epoch": 1, "evaluations": (4, 8, 10)},
    ),
    "evaluations further apart than the training": (
        {"steps": 10, "evaluate_every": 100, "batch_size": 10},
        {},
        {"examples": 10},
        {"steps": 10, "steps_per_epoch": 1, "evaluations": (10,)},
    ),
    "evaluations of many examples are few": (
        {"steps": 40, "batch_size": 10},
        {},
        {"examples": 40, "evaluated": 75},
        {"steps": 40, "steps_per_epoch": 4, "evaluations": (10, 20, 30, 40)},
    ),
    "evaluations of few examples are twenty": (
        {"steps": 40, "batch_size": 10},
        {},
        {"examples": 40, "evaluated": 2},
        {"steps": 40, "steps_per_epoch": 4, "evaluations": tuple(range(2, 41, 2))},
    ),
    "dilation stretches every time": (
        {"steps": 10, "evaluate_every": 4, "patience": 3, "batch_size": 10},
        {"schedule": "milestones", "milestones": (3.0,), "warmup": 2.0},
        {"examples": 20, "dilation": 2.0},
        {
            "steps": 20,
            "steps_per_epoch": 2,
            "evaluations": (8, 16, 20),
            "patience": 6,
            "milestones": (6,),
            "warmup": 4,
        },
    ),
    "lengths are rounded to the nearest step": (
        {"epochs": 0.4, "evaluate_every": 0.3, "patience": 0.25, "batch_size": 10},
        {"warmup": 0.1},
        {"examples": 75},
        {"steps": 3, "steps_per_epoch": 7, "evaluations": (2, 3), "patience": 2, "warmup": 1},
    ),
    "no dilation makes a time between evaluations or patience of no step": (
        {"steps": 10, "evaluate_every": 4, "patience": 3, "batch_size": 10},
        {},
        {"examples": 20, "dilation": 0.1},
        {"steps": 1, "steps_per_epoch": 2, "evaluations": (1,), "patience": 1},
    ),
}


@pytest.mark.parametrize(("config", "optimizer", "times", "expected"), PLANS.values(), ids=PLANS)
def test_plans_are_in_steps(config, optimizer, times, expected):
    found = training.plan(TrainingConfig(**config), OptimizerConfig(**optimizer), **times)
    assert found == Plan(**{"patience": None, "milestones": (), "warmup": 0} | expected)


@pytest.mark.parametrize(
    ("config", "times", "message"),
    [
        (
            {"batch_size": 21},
            {"examples": 20},
            "`batch_size` must be at most the number of training examples, 20; got 21.",
        ),
        ({}, {"examples": 60, "dilation": 0.0}, "`dilation` must be above 0; got 0.0."),
        (
            {"epochs": 0.01},
            {"examples": 60},
            "`epochs` must make at least one step; got 0.01, dilated by 1.",
        ),
        (
            {"steps": 10},
            {"examples": 60, "dilation": 0.01},
            "`steps` must make at least one step; got 10, dilated by 0.01.",
        ),
    ],
)
def test_plans_name_what_does_not_fit(config, times, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        training.plan(TrainingConfig(**config), OptimizerConfig(), **times)


@pytest.mark.parametrize(
    ("late", "message"),
    [
        ({"warmup": 10.0}, "`warmup` must come before the end of training, 10; got 10."),
        (
            {"schedule": "milestones", "milestones": (5.0, 12.0)},
            "`milestones` must come before the end of training, 10; got 12.",
        ),
        (
            {"schedule": "linear", "cycles": 4, "warmup": 3.0},
            "`warmup` must come before the end of each of the 4 cycles, 2.5; got 3.",
        ),
        (
            {"schedule": "linear", "cycles": 11},
            "`cycles` must be at most the steps of the training, 10; got 11.",
        ),
    ],
)
def test_times_of_the_schedule_come_before_the_end(late, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        training.plan(TrainingConfig(steps=10), OptimizerConfig(**late), examples=60)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"steps": 0}, "`steps` must be above 0; got 0."),
        ({"epochs": -1.0}, "`epochs` must be above 0; got -1.0."),
        ({"epochs": math.inf}, "`epochs` must be above 0; got inf."),
        ({"batch_size": 0}, "`batch_size` must be above 0; got 0."),
        ({"evaluate_every": 0.0}, "`evaluate_every` must be above 0; got 0.0."),
        ({"patience": math.nan}, "`patience` must be above 0; got nan."),
        ({"checkpoint": "first"}, "`checkpoint` has no value 'first'."),
        ({"train_examples": 0}, "`train_examples` must be above 0; got 0."),
        ({"steps": 3, "epochs": 9.0}, "`steps` and `epochs` both give the length of training"),
    ],
)
def test_settings_of_training_name_what_is_wrong(config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TrainingConfig(**config)
