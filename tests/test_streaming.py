"""Training on streamed data: the losses of data in memory, cut anywhere, on any devices."""

import copy
import multiprocessing
import socket
import subprocess
import sys

import jax
import numpy as np
import PIL.Image
import pytest
import tiny
from tiny import times

from jaxlth import cli, data, keys, models, store, training
from jaxlth.data import DataConfig, Split, StreamConfig, batches, crops
from jaxlth.models import BatchAxis, ModelConfig
from jaxlth.studies.imp import run as imp_run
from jaxlth.studies.imp.benchmarks import BENCHMARKS, scaled
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.lab import Lab
from jaxlth.studies.levels import keep_by_level
from jaxlth.studies.prunable import prunable_model
from jaxlth.training import TrainingConfig, execution, fit, streaming
from jaxlth.training.execution import Layout

SIZE, CLASSES, BATCH = 4, 3, 4
ORDER = keys.stream(0, 0, "order")
AS_STORED = StreamConfig(  # crops that are the images themselves
    image_size=SIZE, resize_to=SIZE, crop_area=(1, 1), crop_ratio=(1, 1), flip=False
)
CROPPED = StreamConfig(image_size=SIZE, resize_to=SIZE)
PLAN = training.Plan(
    steps=9, steps_per_epoch=4, evaluations=(5, 9), patience=None, milestones=(), warmup=0
)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
ONE, TWO = (Layout(tuple(jax.devices()[:n]), 1, split=n, looped=True) for n in (1, 2))


def write(root, *, train=18, val=7, size=SIZE):
    """Write class folders of PNGs, whose colour says their class; return `root`."""
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            label = number % CLASSES
            folder = root / split / f"c{label}"
            folder.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng([split == "val", number])
            pixels = random.integers(0, 128, (size, size, 3), dtype=np.uint8)
            pixels[..., label] += 100
            PIL.Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of data sets; nothing may change it."""
    return write(tmp_path_factory.mktemp("data") / "set").parent


@pytest.fixture(scope="module")
def image_set(root):
    config = DataConfig(name="folder:set", data_dir=str(root), stream=AS_STORED)
    return data.load(config, seed=0)[1]


def in_memory(source):
    """Return all examples of a source as arrays."""
    read = [source.read(at) for at in range(source.examples)]
    images = np.stack([np.asarray(crops.decode(content)) for content, _ in read])
    return Split(images, np.array([label for _, label in read], np.int32))


class Group(tiny.Group):
    """A network trained on a stream."""

    def __init__(self, image_set, layout, config=AS_STORED, **model):
        wanted = ModelConfig(**({"name": "mlp", "hidden": (8,)} | model))
        built = models.build(wanted, shape=(SIZE, SIZE, 3), classes=CLASSES, batch_axis=BatchAxis())
        trainer = tiny.trainer(built, batch_size=BATCH)
        compiled = fit.compile(trainer, layout, train_examples=5, stream=config)
        network = tiny.network(built)
        mean, std = layout.share((image_set.mean, image_set.std))
        # The sources are functions and stay on the host.
        self.compiled, self.layout, self.count, self.trainer = compiled, layout, 1, trainer
        self.data = image_set._replace(mean=mean, std=std)
        self.masks = layout.place([tiny.half(network.params)])
        self.keys = layout.place([ORDER])
        self.starts = [jax.device_get(trainer.start(network, tiny.half(network.params)))]


@pytest.fixture(scope="module")
def group(image_set):
    return Group(image_set, ONE)


@pytest.fixture(scope="module")
def history(group):
    """The states at every event, by step, and the rows at the end."""
    states = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "CHUNK_SECONDS", 0.0)  # an event at every step
        for event in group.fit(PLAN):
            states[event.step] = group.take(event.states)
    return states, event.rows


@pytest.fixture(scope="module")
def end(history):
    return history[0][PLAN.steps]


# Numbers


def test_streamed_and_in_memory_training_give_the_same_losses(image_set, group, history, end):
    dataset = data.Dataset(*map(in_memory, image_set[:3]), image_set.mean, image_set.std)
    trainer, mean_std, train = group.trainer, (image_set.mean, image_set.std), dataset.train
    state, mask = group.starts[0], tiny.half(group.starts[0].network.params)
    update, measure = jax.jit(trainer.update), jax.jit(trainer.measure)
    order_key = tuple(jax.random.key_data(ORDER).tolist())
    count, last_eval_step = len(train.labels), 0
    for step in range(PLAN.steps):
        epoch, at = divmod(step, count // BATCH)
        rows = batches.order(order_key, epoch, count)[at * BATCH : (at + 1) * BATCH]
        batch = Split(train.images[rows], train.labels[rows])
        state = update(state, mask, batch, mean_std, ORDER, np.int32(step))
        if step + 1 in PLAN.evaluations:
            state, measured = measure(state, mask, dataset, step + 1, last_eval_step)
            last_eval_step = step + 1
            tiny.assert_close(
                fit.row_at(last_eval_step, history[1][0]),
                fit._row(last_eval_step, measured),
                **TOLERANCE,
            )
    tiny.assert_close(end[0], jax.device_get(state), **TOLERANCE)
    kept, [on_train] = group.finish(end)
    tiny.assert_same(kept[0], end[0].network)
    some = np.arange(5) * count // 5
    few = Split(train.images[some], train.labels[some])
    wanted = trainer.evaluate(state.network, mask, few, *mean_std)
    tiny.assert_close(on_train, jax.device_get(wanted), **TOLERANCE)


def test_one_and_two_devices_agree(image_set, group, history, end):
    two = Group(image_set, TWO)
    states, rows = two.train(PLAN)
    tiny.assert_close(states, end, **TOLERANCE)
    tiny.assert_close(rows, history[1], **TOLERANCE)
    tiny.assert_close(two.finish(states), group.finish(end), **TOLERANCE)


@pytest.mark.slow
def test_one_and_two_devices_agree_with_batch_norm(image_set):
    plan = training.Plan(
        steps=1, steps_per_epoch=4, evaluations=(1,), patience=None, milestones=(), warmup=0
    )
    groups = (Group(image_set, layout, name="resnet-20", hidden=()) for layout in (ONE, TWO))
    (one, rows), (two, others) = (group.train(plan) for group in groups)
    tiny.assert_close(one[0].network.stats, two[0].network.stats, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows[0][0]["train_loss"], others[0][0]["train_loss"], rtol=1e-4)


# Pieces and resumption


@pytest.mark.parametrize("cut", [1, 4, 5, 8])
def test_a_training_resumed_from_any_event_is_the_uninterrupted_one(group, history, end, cut):
    states, whole = history
    rows = [copy.deepcopy([row for row in whole[0] if row["step"] <= cut])]
    last_eval_step = max((row["step"] for row in rows[0]), default=0)
    resumed, rows = group.train(
        PLAN, states=states[cut], start_step=cut, last_eval_step=last_eval_step, rows=rows
    )
    tiny.assert_same(resumed, end)
    assert rows == whole


def test_chunks_and_how_far_ahead_batches_are_sent_change_nothing(image_set, history, end):
    config = StreamConfig(**(vars(AS_STORED) | {"prefetch": 0}))
    states, rows = Group(image_set, ONE, config).train(PLAN)
    tiny.assert_same(states, end)
    assert rows == history[1]


def test_a_training_that_is_over_reads_nothing(group, end):
    gone = group.data.train._replace(read=None)
    over = copy.copy(group)
    over.data = group.data._replace(train=gone)
    assert not list(over.fit(PLAN, states=end, start_step=PLAN.steps, last_eval_step=PLAN.steps))


class Opened:
    """Batches that are numbers, and a book of what was opened and closed."""

    def __init__(self):
        self.book = []

    def __call__(self, start_step):
        self.book.append(("open", start_step))
        try:
            yield from range(start_step, 100)
        finally:
            self.book.append(("close", start_step))


def test_a_feed_is_opened_once_for_chunks_that_follow_each_other():
    opened = Opened()
    feed = streaming.Feed(opened, put=str, depth=2)
    assert opened.book == []
    image_set = [pair for chunk in ((3, 5), (5, 6), (6, 9)) for pair in feed.batches(*chunk)]
    assert image_set == [(step, str(step)) for step in range(3, 9)]
    assert opened.book == [("open", 3)]
    assert list(feed.batches(4, 5)) == [(4, "4")]
    assert opened.book == [("open", 3), ("close", 3), ("open", 4)]
    feed.close()
    assert opened.book[3:] == [("close", 4)]
    assert list(feed.batches(5, 6)) == [(5, "5")]
    feed.close()


def test_a_feed_that_failed_begins_anew():
    def broken(start_step):
        yield start_step
        raise data.DataError("broken")

    feed = streaming.Feed(broken, put=str, depth=0)
    with pytest.raises(data.DataError, match="broken"):
        list(feed.batches(0, 2))
    feed.close()
    assert list(feed.batches(1, 2)) == [(1, "1")]
    feed.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["to its end", "left"])
def test_workers_serve_a_training_from_its_beginning_and_end_with_it(image_set, history, end, how):
    config = StreamConfig(**(vars(AS_STORED) | {"workers": 2}))
    events = Group(image_set, ONE, config).fit(PLAN)
    next(events)
    first = {child.pid for child in multiprocessing.active_children()}
    assert len(first) == 2
    if how == "left":
        events.close()
    else:
        *_, last = events
        assert last.rows == history[1]
        tiny.assert_same(ONE.take(last.states, 1), end)
    assert not multiprocessing.active_children()


# Layouts


def test_one_network_trains_on_all_devices():
    assert execution.layout(5, streamed=True) == TWO
    assert execution.layout(5, streamed=True, devices=jax.devices()[:1], convolutional=True) == ONE
    assert TWO.size == 1


def test_a_batch_is_spread_over_devices_in_its_order():
    batch = {"images": np.arange(24).reshape(4, 2, 3), "labels": np.arange(4)}
    spread = TWO.spread(batch)
    assert spread["images"].shape == (2, 1, 2, 2, 3)
    assert spread["labels"].devices() == set(TWO.devices)
    np.testing.assert_array_equal(np.asarray(spread["labels"]).ravel(), batch["labels"])


# Jobs


def imp_settings(root, **config):
    config = {
        "data": DataConfig(name="folder:set", data_dir=str(root), stream=CROPPED),
        "model": ModelConfig(name="mlp", hidden=(8,)),
        "training": TrainingConfig(steps=6, batch_size=BATCH, evaluate_every=3),
        "levels": 1,
        "replicates": 1,
        "controls": (),
        "rewind_step": 2,
    } | config
    return ImpConfig(**config)


def networks(run):
    return [
        (unit, run.load(unit, "network"), {**record, "seconds": 0})
        for unit, record in run.records()
    ]


def imp(config, out, *, stop_at=None):
    """Find tickets, or be interrupted at an event; return the steps of the events."""
    events = []
    with store.open_run(out, config, job="imp", label="test") as run:
        job = imp_run.imp(Lab(imp_run.prepare(config), run, checkpoint_seconds=1000), config)
        for event in job:
            events.append(event)
            if len(events) == stop_at:
                with pytest.raises(KeyboardInterrupt):
                    job.throw(KeyboardInterrupt())
                break
        return events, networks(run)


@pytest.mark.parametrize(
    "share", [0.4, *(pytest.param(share, marks=pytest.mark.slow) for share in (0, 0.2, 0.7, 1))]
)
def test_a_run_interrupted_anywhere_ends_with_the_same_bits(root, tmp_path, monkeypatch, share):
    config = imp_settings(root)
    monkeypatch.setattr(fit, "CHUNK_SECONDS", 0.0)
    events, whole = imp(config, tmp_path / "whole")
    assert len(whole) == 3  # the dense network, the state that is rewound to, the ticket
    stops = [at for at, event in enumerate(events, 1) if not event.finished]
    cut, _ = imp(config, tmp_path / "cut", stop_at=stops[round(share * (len(stops) - 1))])
    rest, image_set = imp(config, tmp_path / "cut")
    assert len(cut) + len(rest) == len(events)
    for one, other in zip(image_set, whole, strict=True):
        tiny.assert_same(one[1], other[1])
        assert one[0] == other[0]
        assert one[2] == other[2]


TINY = ["imp", "--data", "folder:set", "--image-size", "4", "--resize-to", "5", "--levels", "1"]
TINY += ["--crop-area", "0.5", "1", "--statistics-images", "5", "--model", "mlp", "--hidden", "8"]
TINY += ["--steps", "6", "--batch-size", "4", "--replicates", "1", "--controls"]


def command(root, out, *more):
    return cli.main(tiny.once([*TINY, "--data-dir", str(root), "--out", str(out), *more]))


def test_the_command_finds_tickets_and_the_second_time_computes_nothing(root, tmp_path, capsys):
    assert command(root, tmp_path) == 0
    first, files = capsys.readouterr().out, times(tmp_path)
    assert len(files) == 2
    assert command(root, tmp_path, "--workers", "3", "--data-dir", "nowhere") == 0
    assert capsys.readouterr().out == first
    assert times(tmp_path) == files
    (info,) = store.runs(tmp_path)
    assert info.path.name.startswith("imp-folder-set-mlp-8")


@pytest.mark.slow
def test_the_command_trains_a_convolutional_network(tmp_path):
    root = write(tmp_path / "data" / "set", size=20).parent
    words = ["--model", "conv-2", "--hidden", "--image-size", "16", "--resize-to", "18"]
    assert command(root, tmp_path / "runs", *words, "--statistics-images", "100") == 0
    files = times(tmp_path / "runs")
    assert len(files) == 2
    assert command(root, tmp_path / "runs", *words, "--statistics-images", "100") == 0
    assert times(tmp_path / "runs") == files


def test_a_broken_image_is_named_in_one_line_or_skipped(tmp_path, capsys):
    root = write(tmp_path / "set").parent
    path = root / "set/train/c1/04.png"
    path.write_bytes(path.read_bytes()[:40])
    assert command(root, tmp_path / "runs") == cli.MISTAKEN
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith(f"jaxlth: {path} is broken: ")
    assert line.endswith("or let `skip_broken` take the next image instead.")
    assert len(line.replace(str(root), "")) < 200
    with pytest.warns(UserWarning, match=f"{path} is broken; in its place comes"):
        assert command(root, tmp_path / "runs", "--skip-broken") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-size", "5"], "`batch_size` must be a multiple of the 2 devices that share"),
        (["--data-parallel", "2"], "`data_parallel` has no effect on streamed data"),
        (["--augment", "flip-crop"], "`augment` has no effect on folder:set"),
        (["--crop-area", "0.5"], "`crop_area` must be two shares"),
        (["--data", "digits"], "`image_size` has no effect on digits"),
        (["--resize-to", "3"], "`image_size` must be at least 1 and at most `resize_to`"),
        (["--batch-size", "50"], "`batch_size` must be at most the number of training examples"),
        (["--data", "folder:sett"], "There is no folder"),
        (["--validation", "0.001"], "`validation` = 0.001 takes 0 of the 18 training images"),
        (["--workers", "two"], "`--workers` must be a whole number"),
    ],
)
def test_a_mistake_is_one_helpful_line(root, tmp_path, capsys, words, message):
    assert command(root, tmp_path / "runs", *words) == cli.MISTAKEN
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert len(line.replace(str(root), "")) < 200
    assert not (tmp_path / "runs").exists()


# Benchmarks


INCEPTION = pytest.param("imagenet_inceptionv3", 171 * 1251, 6 * 1251, marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "rewind_step"), [("imagenet_resnet50", 90 * 1251, 5 * 1251), INCEPTION]
)
def test_benchmarks_of_imagenet_are_those_of_the_paper(name, steps, rewind_step):
    config = BENCHMARKS[name]
    assert scaled(config, "paper") == config
    plan = training.plan(config.training, config.optimizer, examples=1_281_167)
    assert (plan.steps, config.rewind_step) == (steps, rewind_step)
    shape = (config.data.stream.image_size,) * 2 + (3,)
    first, last = keep_by_level(config, prunable_model(config, shape=shape, classes=1000).dense)
    assert abs(last / first - 0.3) < 1e-6


@pytest.mark.parametrize("name", ["imagenet_resnet50", "imagenet_inceptionv3"])
@pytest.mark.parametrize("scale", ["smoke", "cpu"])
def test_benchmarks_in_epochs_are_shortened_with_their_schedule(name, scale):
    config = BENCHMARKS[name]
    short = scaled(config, scale)
    assert short.data.streamed == (scale == "cpu")
    assert short.training.batch_size == 16
    plan = training.plan(short.training, short.optimizer, examples=1_000_000)
    assert plan.steps == short.training.steps == {"smoke": 8, "cpu": 1000}[scale]
    whole = training.plan(config.training, config.optimizer, examples=1_281_167)
    for one, other in zip(plan.milestones, whole.milestones, strict=True):
        assert abs(one / plan.steps - other / whole.steps) <= 0.5 / plan.steps
    assert abs(plan.warmup / plan.steps - whole.warmup / whole.steps) <= 0.5 / plan.steps
    assert (short.levels, short.prune_fraction) == (1, pytest.approx(0.7))


@pytest.mark.slow
def test_enlarged_images_are_large_enough_for_inception():
    config = scaled(BENCHMARKS["imagenet_inceptionv3"], "smoke")
    info, image_set = data.load(config.data, seed=0)
    assert (info.shape, info.train, info.test) == ((320, 320, 3), 180, 20)
    assert (image_set.train.images[:, ::10, ::10] == image_set.train.images[:, 9::10, 3::10]).all()
    dense = prunable_model(config, shape=info.shape, classes=info.classes).dense
    assert len(keep_by_level(config, dense)) == 2


# Processes


PROCESS = """
import sys
import jax

count, place, port, data_dir, out = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
jax.config.update("jax_num_cpu_devices", 2 // count)
if count > 1:
    jax.distributed.initialize(f"localhost:{port}", count, place)
from jaxlth import store
from jaxlth.data import DataConfig, StreamConfig
from jaxlth.models import ModelConfig
from jaxlth.studies.imp import run as imp
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.lab import Lab
from jaxlth.training import TrainingConfig

config = ImpConfig(
    data=DataConfig(
        name="folder:set", data_dir=data_dir, stream=StreamConfig(image_size=4, resize_to=4)
    ),
    model=ModelConfig(name="mlp", hidden=(8,)),
    training=TrainingConfig(steps=9, batch_size=4, evaluate_every=3),
    levels=1, replicates=1, controls=(),
)
with store.open_run(out, config, job="imp", label="test") as run:
    for event in imp.imp(Lab(imp.prepare(config), run, checkpoint_seconds=0.01), config):
        pass
"""


def by_processes(count, root, out):
    """Return the networks that so many processes find, which together have two devices."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    words = [[str(count), str(place), port, str(root), str(out)] for place in range(count)]
    started = [subprocess.Popen([sys.executable, "-c", PROCESS, *each]) for each in words]
    assert [process.wait(300) for process in started] == [0] * count
    (info,) = store.runs(out)
    return networks(store.open_readonly(info.path))


@pytest.mark.slow
def test_two_processes_find_what_one_finds(root, tmp_path):
    one, two = (by_processes(count, root, tmp_path / str(count)) for count in (1, 2))
    assert len(one) == len(two) == 2
    for (unit, network, record), (other, also, again) in zip(one, two, strict=True):
        assert unit == other
        tiny.assert_close(network, also, **TOLERANCE)
        tiny.assert_close(record["curve"], again["curve"], **TOLERANCE)
