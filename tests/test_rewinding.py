"""What tickets restart from besides the weights: the optimiser's state and the schedule."""

import contextlib
import dataclasses
import re

import jax
import numpy as np
import optax
import pytest
import tiny
from tiny import only_run, printed, same

from jaxlth import cli, masks, store, trees
from jaxlth.studies import level_artifacts
from jaxlth.studies.controls import CONTROLS, NEW_WEIGHTS, TICKET, make
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.imp.run import ControlWarning, prepare, warn_of_controls
from jaxlth.studies.lab import Lab
from jaxlth.studies.train import Ticket, TrainRequest
from jaxlth.training import OptimizerConfig, TrainingConfig, optimizers, transformations

STEPS, REWIND_STEP = 30, 7
CONFIG = ImpConfig(
    model=dataclasses.replace(ImpConfig().model, name="mlp", hidden=(8,)),
    training=TrainingConfig(steps=STEPS, batch_size=50, evaluate_every=15, train_examples=100),
    rewind_step=REWIND_STEP,
    replicates=1,
)
WORDS = ["imp", "--model", "mlp", "--hidden", "8", "--steps", "30", "--batch-size", "50"]
WORDS += ["--levels", "1", "--replicates", "1", "--rewind-step", "7", "--evaluate-every", "15"]
CLIPPED = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(0.01, STEPS))
)
OPTIMIZERS = {  # the library's, by config, and anybody's
    "momentum": OptimizerConfig(optimizer="momentum", lr=0.1, schedule="one-cycle"),
    "adamw": OptimizerConfig(optimizer="adamw", lr=0.01, weight_decay=0.1, schedule="cosine"),
    "clipped adamw with a schedule": CLIPPED,
    "random numbers": optax.noisy_sgd(0.1, key=0),
    "batches in one": optax.MultiSteps(optax.adam(0.01), 4),
}
QUICK = ("momentum", "clipped adamw with a schedule")


@pytest.fixture(scope="module")
def experiment():
    return prepare(CONFIG)


@contextlib.contextmanager
def laboratory(experiment, out, **settings):
    with store.open_run(out, CONFIG, job="imp", label="test") as run:
        yield Lab(experiment, run, **settings)


def compiled_of(experiment, optimizer):
    """Return the training by one of `OPTIMIZERS`."""
    if isinstance(optimizer, OptimizerConfig):
        config = dataclasses.replace(CONFIG, optimizer=optimizer)
        prunable = dataclasses.replace(experiment.prunable, config=config)
        return dataclasses.replace(experiment, prunable=prunable).compile_training()
    made = transformations.optimizer(optimizer, experiment.prunable.like.params)
    return experiment.compile_training(change=lambda _: made)


def request(lab, artifact, network, mask=None, **more):
    return TrainRequest(
        artifact=artifact,
        start=lambda: Ticket(network, lab.dense_mask if mask is None else mask),
        key=lab.key("order", 0),
        record={},
        **{"start_step": 0, **more},
    )


def dense(lab):
    return request(lab, "dense", lab.init(0), snapshots={REWIND_STEP: "rewound"}, keeps_opt=True)


PARAMETERS = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in OPTIMIZERS
]


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_full_mask_rewound_with_its_optimizer_replays_the_dense_run(experiment, tmp_path, name):
    compiled = compiled_of(experiment, OPTIMIZERS[name])
    with laboratory(experiment, tmp_path) as lab:
        list(lab.train([dense(lab)], compiled))
        again = {"start_step": REWIND_STEP, "network": lab.load("rewound")}
        list(lab.train([request(lab, "again", **again, opt="rewound")], compiled))
        list(lab.train([request(lab, "fresh", **again)], compiled))
        trained = [lab.load(artifact) for artifact in ("dense", "again", "fresh")]
    assert same(trained[0], trained[1])
    assert not same(trained[0], trained[2])


@pytest.mark.parametrize("name", PARAMETERS)
def test_interrupted_a_training_goes_on_to_the_same_bits(experiment, tmp_path, name):
    compiled = compiled_of(experiment, OPTIMIZERS[name])
    with laboratory(experiment, tmp_path / "whole") as lab:
        mask = tiny.half(jax.device_get(lab.init(0)).params)
        list(lab.train([request(lab, "network", lab.init(0), mask)], compiled))
        whole = lab.load("network")
    for _ in range(2):
        with laboratory(experiment, tmp_path / "cut", checkpoint_seconds=0) as lab:
            events = lab.train([request(lab, "network", lab.init(0), mask)], compiled)
            for event in events:
                if event.step == 15 and not lab.run.latest_step("network"):
                    with pytest.raises(KeyboardInterrupt):
                        events.throw(KeyboardInterrupt())
                    break
    with laboratory(experiment, tmp_path / "cut") as lab:
        assert same(lab.load("network"), whole)


@pytest.mark.parametrize(
    "name",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("momentum", "adam")), "adamw"],
)
def test_pruned_weights_and_their_moments_start_and_stay_exactly_zero(experiment, tmp_path, name):
    decay = 0.1 if name == "adamw" else 0.0
    compiled = compiled_of(experiment, OptimizerConfig(optimizer=name, lr=0.01, weight_decay=decay))
    with laboratory(experiment, tmp_path) as lab:
        list(lab.train([dense(lab)], compiled))
        rewound = lab.load("rewound")
        mask = tiny.half(rewound.params)
        again = {"start_step": REWIND_STEP, "network": rewound, "mask": mask, "opt": "rewound"}
        list(lab.train([request(lab, "again", **again)], compiled))
        like = jax.eval_shape(compiled.trainer.start, rewound, mask).opt
        opt = lab.run.load("rewound", "opt", like)
        trained = trees.named(lab.load("again").params)
    moments = trees.named(optimizers.masked_state(opt, mask))
    for kernel, keep in trees.named(mask).items():
        assert not any(trained[kernel][~keep].tobytes())
        names = [moment for moment in moments if moment.endswith(kernel)]
        assert len(names) == (1 if name == "momentum" else 2)
        for moment in names:
            assert not any(moments[moment][~keep].tobytes())
            np.testing.assert_array_equal(moments[moment][keep], trees.named(opt)[moment][keep])
            assert np.any(moments[moment])
    for moment, value in moments.items():
        if not any(moment.endswith(kernel) for kernel in trees.named(mask)):
            np.testing.assert_array_equal(value, trees.named(opt)[moment])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run with every control that rewinds weights alone."""
    out = tmp_path_factory.mktemp("plain")
    printed(*WORDS, "--lr-schedule", "cosine", "--controls", *CONTROLS, "--out", str(out))
    return only_run(out)


def trained(run, kind, level=1):
    return run.load(level_artifacts.network(level, kind, 0), "network")


def test_tickets_and_controls_with_their_weights_get_their_optimizer_back(plain, tmp_path):
    words = [*WORDS, "--lr-schedule", "cosine", "--rewind-optimizer", "--out", str(tmp_path)]
    printed(*words, "--controls", *CONTROLS)
    run, before = only_run(tmp_path), tiny.times(tmp_path)
    assert run.path.name != plain.path.name
    assert same(trained(run, TICKET, level=0), trained(plain, TICKET, level=0))
    for kind in (TICKET, *CONTROLS):
        assert same(trained(run, kind), trained(plain, kind)) is (kind in NEW_WEIGHTS)
    assert store.about_run(run.path)["settings"]["rewind_optimizer"] is True
    printed(*words, "--controls", *CONTROLS)
    assert tiny.times(tmp_path) == before


def test_controls_with_new_weights_are_known(experiment):
    ticket = jax.device_get(
        Ticket(experiment.prunable.model.init(jax.random.key(0)), experiment.prunable.dense)
    )
    options = {"within": ticket.mask, "seed": 0, "replicate": 0, "level": 1}
    made = {
        kind: make(ticket, kind, experiment.prunable.model.init, **options)
        for kind in (TICKET, *CONTROLS)
    }
    new = {kind for kind, control in made.items() if not same(control.network, ticket.network)}
    assert new == set(NEW_WEIGHTS) == {"reinitialized", "random", "random-layerwise"}


@pytest.mark.slow
def test_a_restarted_schedule_runs_as_a_whole_in_the_steps_of_each_ticket(
    plain, experiment, tmp_path
):
    words = [*WORDS, "--lr-schedule", "cosine", "--restart-schedule", "--controls"]
    printed(*words, "--dilations", "0.5", "--out", str(tmp_path))
    run = only_run(tmp_path)
    assert same(trained(run, TICKET, level=0), trained(plain, TICKET, level=0))
    assert not same(trained(run, TICKET), trained(plain, TICKET))
    cosine = OptimizerConfig(schedule="cosine")
    rate = optimizers.schedule(cosine, steps=STEPS - REWIND_STEP)
    restarted = optimizers.build(cosine, lambda step: rate(step - REWIND_STEP))
    compiled = experiment.compile_training(change=lambda _: restarted)
    with laboratory(experiment, tmp_path / "alone") as lab:
        ticket = {
            "network": run.load(level_artifacts.rewound(0), "network", experiment.prunable.like),
            "mask": run.load(
                level_artifacts.network(1, TICKET, 0), "mask", experiment.prunable.dense
            ),
            "start_step": REWIND_STEP,
        }
        alone = request(lab, "alone", **ticket)._replace(key=lab.key("order", 0, 1))
        list(lab.train([alone], compiled))
        assert same(lab.load("alone"), trained(run, TICKET))
    shorter = level_artifacts.dilated(level_artifacts.network(1, TICKET, 0), 0.5)
    assert run.record(shorter)["steps"] == STEPS // 2
    assert run.record(shorter)["start_step"] == round(REWIND_STEP / 2)


COSINE = {"optimizer": OptimizerConfig(schedule="cosine")}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            COSINE | {"restart_schedule": True},
            "`restart_schedule` has no effect at `rewind_step` 0.",
        ),
        ({"rewind_optimizer": True}, "`rewind_optimizer` has no effect at `rewind_step` 0."),
        (
            {"restart_schedule": True, "rewind_step": 5},
            "`restart_schedule` has no effect on a constant learning rate without warmup.",
        ),
        (
            COSINE | {"restart_schedule": True, "rewind_step": 5, "after_pruning": "fine-tune"},
            "`restart_schedule` has no effect with `after_pruning` fine-tune, which trains at the"
            " last learning rate.",
        ),
        *(
            (
                {"rewind_optimizer": True, "rewind_step": 5, "after_pruning": after},
                f"`rewind_optimizer` has no effect with `after_pruning` {after}, which rewinds no"
                " weights.",
            )
            for after in ("learning-rate", "fine-tune")
        ),
        (
            {
                "rewind_optimizer": True,
                "rewind_step": 5,
                "optimizer": OptimizerConfig(optimizer="sgd"),
            },
            "`rewind_optimizer` has no effect on the optimizer sgd, which has no state.",
        ),
        (
            {"rewind_optimizer": True, "rewind_step": 5, "compact": True},
            "`compact` leaves out weights that get no gradient, which `rewind_optimizer` moves too;"
            " leave out one of the two.",
        ),
    ],
)
def test_a_part_of_rewinding_that_changes_nothing_is_refused(config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ImpConfig(**config)


def test_the_schedule_restarts_with_learning_rate_rewinding_too():
    config = ImpConfig(
        **COSINE, restart_schedule=True, rewind_step=5, after_pruning="learning-rate"
    )
    assert config.restart_schedule


def test_the_command_line_answers_in_one_line(capfd, tmp_path):
    words = [*WORDS, "--rewind-step", "0", "--rewind-optimizer", "--out", str(tmp_path)]
    assert cli.main(tiny.once(words)) == 2
    told = capfd.readouterr().err.strip()
    assert told.endswith("`rewind_optimizer` has no effect at `rewind_step` 0.")
    assert "\n" not in told


def test_a_masked_state_keeps_what_has_another_shape():
    params = {"a": {"kernel": np.ones((2, 3), np.float32)}, "kernel": np.ones(2, np.float32)}
    state = optax.adafactor(0.1, min_dim_size_to_factor=2).init(params)
    state = jax.tree.map(lambda leaf: np.asarray(leaf) + 1, state)
    mask = jax.tree.map(lambda leaf: np.zeros(leaf.shape, bool), params)
    masked, whole = (trees.named(each) for each in (optimizers.masked_state(state, mask), state))
    changed = {name for name in masked if not np.array_equal(masked[name], whole[name])}
    assert {name.split("/", 1)[1] for name in changed} == {"v/kernel"}
    assert all(int(masks.kept(mask)) == 0 for mask in [mask])


@pytest.mark.parametrize(
    ("controls", "after", "schedule", "warned"),
    [
        (("reinitialized", "shuffled"), "fine-tune", COSINE["optimizer"], "reinitialized"),
        (("random", "random-layerwise"), "fine-tune", COSINE["optimizer"], "random random-layer"),
        (("shuffled", "shuffled-globally"), "fine-tune", COSINE["optimizer"], None),
        (("reinitialized",), "fine-tune", OptimizerConfig(), None),
        (("reinitialized",), "learning-rate", COSINE["optimizer"], None),
    ],
)
def test_fine_tuning_of_new_weights_at_the_last_rate_is_warned_of(
    controls, after, schedule, warned
):
    config = ImpConfig(controls=controls, after_pruning=after, optimizer=schedule)
    if warned is None:
        warn_of_controls(config)  # warnings are errors here
    else:
        with pytest.warns(ControlWarning, match=f"`controls` {warned}"):
            warn_of_controls(config)
