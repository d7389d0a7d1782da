"""Settings of JAX that a user may have made: nothing stops, and a mere check changes no bit."""

import contextlib
import io
import json
import os
import subprocess
import sys

import bits
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from jaxlth import cli, data, graphs, keys, landscape, masks, models, prune, scores, trees
from jaxlth.data import augment, inputs
from jaxlth.models import ModelConfig
from jaxlth.training import cross_entropy, losses

# What only looks: at ranks, types, keys, numbers that are not finite, tracers after their trace.
CHECKS = {
    "jax_numpy_rank_promotion": "raise",
    "jax_numpy_dtype_promotion": "strict",
    "jax_debug_infs": True,
    "jax_debug_nans": True,
    "jax_debug_key_reuse": True,
    "jax_legacy_prng_key": "error",
    "jax_enable_checks": True,
    "jax_check_tracer_leaks": True,
}
SLOW = ("jax_check_tracer_leaks", "jax_enable_checks")  # of much work each
AT_ONCE = {name: value for name, value in CHECKS.items() if name not in SLOW}
# What changes how numbers come about, but none of ours.
OTHERS = {
    "jax_enable_x64": True,
    "jax_default_matmul_precision": "highest",
    "jax_default_device": "cpu",
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 7,
    "jax_transfer_guard": "disallow",
}
# What users decide for their own code, functions of ours in it; a command has its own way.
OF_COMMANDS = {"jax_threefry_partitionable", "jax_transfer_guard"}


@contextlib.contextmanager
def under(settings):
    """Have JAX's settings for a while, for all threads as a user's are."""
    before = {name: getattr(jax.config, name) for name in settings}
    try:
        for name, value in settings.items():
            jax.config.update(name, value)
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


PARAMS = {
    "Dense_0": {"kernel": jnp.array([[-2.0, 1.0, 3.0], [0.5, -0.25, 4.0]]), "bias": jnp.ones(3)},
    "Dense_1": {"kernel": jnp.array([[1.0, -1.5], [2.0, 0.75], [-3.0, 1.0]]), "bias": jnp.zeros(2)},
}
OTHER = jax.tree.map(lambda leaf: 1 - leaf, PARAMS)  # some signs change
DENSE = masks.dense(PARAMS)
MASK = jax.tree.map(lambda leaf: leaf & (jnp.arange(leaf.size).reshape(leaf.shape) % 3 > 0), DENSE)
BATCH = jnp.array([[1.0, 0.5], [0.25, -1.0], [2.0, 0.0], [-1.0, 1.0]]), jnp.array([0, 1, 0, 1])
IMAGES = jnp.arange(2 * 8 * 8, dtype=jnp.uint8).reshape(2, 8, 8, 1)
HALVES = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
SHARES = jnp.array([0.25, 0.5, 0.125])


def key():
    """Return a key of its own: a check of JAX's refuses one that was used before."""
    return keys.stream(0, 0, "test")


def mlp(params, x):
    for name in ("Dense_0", "Dense_1"):
        x = jnp.tanh(x @ params[name]["kernel"] + params[name]["bias"][None])
    return x


def error(params):
    return jnp.mean(mlp(params, BATCH[0]))


def synflow(mask):
    return scores.synflow(mlp, PARAMS, mask, np.ones((1, 2), np.float32))


def magnitude(mask):
    return masks.apply(scores.magnitude(PARAMS), mask)


CUBIC = prune.Schedule(density=0.5, end=2)
CONSTANT = prune.Schedule(density=0.5, kind="constant", every=2, end=4)
IN_CHAIN = {"a": jnp.arange(18.0).reshape(3, 3, 1, 2), "b": jnp.arange(8.0).reshape(1, 1, 2, 4)}
CHAIN = [[((0,), "a")], [((1,), "b")]]  # each layer has one source


def updated(optimizer):
    """Return updates and state of two steps."""
    state, updates = optimizer.init(PARAMS), None
    for _ in range(2):
        updates, state = optimizer.update(OTHER, state, PARAMS)
    return updates, state


# Whatever a user may call on arrays, as it is: `jax.jit` would hide what is done step by step.
FUNCTIONS = {
    "data.normalize": lambda: data.normalize(IMAGES, jnp.ones(1), jnp.zeros(1)),
    "data.normalize, per pixel": lambda: data.normalize(IMAGES, IMAGES[0] / 2, IMAGES[1]),
    "data.normalize, NumPy": lambda: data.normalize(np.asarray(IMAGES), np.ones(1), np.ones(1)),
    "data.unit_norm": lambda: data.unit_norm(IMAGES, None, None),
    "inputs.unit_range": lambda: inputs.unit_range(IMAGES, None, None),
    "augment.FlipCrop": lambda: augment.FlipCrop()(IMAGES, key=key()),
    "keys.uniform": lambda: keys.uniform(PARAMS, key=key()),
    "keys.stream": lambda: jax.random.key_data(keys.stream(3, 1, "a")),
    "trees.stack": lambda: trees.unstack(trees.stack([PARAMS, OTHER])),
    "masks.dense": lambda: masks.dense(PARAMS),
    "masks.without": lambda: masks.without(MASK, ["Dense_1/*"]),
    "masks.apply": lambda: masks.apply(PARAMS, MASK),
    "masks.kept": lambda: masks.kept(MASK),
    "masks.density": lambda: masks.density(MASK),
    "masks.layer_densities": lambda: masks.layer_densities(MASK),
    "masks.unit_densities": lambda: masks.unit_densities(MASK),
    "masks.kept_values": lambda: masks.kept_values(PARAMS, MASK),
    "masks.shuffle": lambda: masks.shuffle(MASK, key=key()),
    "masks.random": lambda: masks.random(MASK, key=key()),
    "masks.jaccard": lambda: masks.jaccard(MASK, DENSE),
    "scores.random": lambda: scores.random(PARAMS, key=key()),
    "scores.snip": lambda: scores.snip(mlp, PARAMS, MASK, BATCH, chunk=2),
    "scores.grasp": lambda: scores.grasp(mlp, PARAMS, MASK, BATCH, chunk=2),
    "scores.synflow": lambda: synflow(MASK),
    **{
        f"criteria, {name}": lambda score=score: score(PARAMS, OTHER)
        for name, score in scores.criteria.CRITERIA.items()
    },
    "prune.global_topk": lambda: prune.global_topk(scores.magnitude(PARAMS), MASK, keep=5),
    "prune.global_topk, float64": lambda: prune.global_topk(synflow(MASK), MASK, keep=3),
    "prune.global_topk, two types": lambda: prune.global_topk(
        {**PARAMS, "Dense_1": HALVES["Dense_1"]}, MASK, keep=5
    ),
    "prune.global_topk, infinities": lambda: prune.global_topk(
        scores.criteria.large_final_same_sign(PARAMS, OTHER), MASK, keep=5
    ),
    "prune.layerwise_topk": lambda: prune.layerwise_topk(PARAMS, MASK, keep=0.5),
    "prune.in_rounds": lambda: prune.in_rounds(synflow, MASK, keeps=[5, 3]),
    "prune.in_rounds, jitted": lambda: jax.jit(
        lambda mask: prune.in_rounds(magnitude, mask, keeps=[5, 3])
    )(MASK),
    "prune.erdos_renyi": lambda: prune.erdos_renyi(MASK, keep=5),
    "prune.n_of_m": lambda: prune.n_of_m(PARAMS, MASK, n=1, m=2),
    "prune.per_unit_topk": lambda: prune.per_unit_topk(PARAMS, MASK, density=0.5),
    "prune.per_unit_topk, long rows": lambda: prune.per_unit_topk(
        {"w": jnp.arange(40.0)[:, None] % 7}, {"w": jnp.ones((40, 1), bool)}, density=0.4
    ),
    **{
        f"prune.units, {reduce}": lambda reduce=reduce: prune.units(
            PARAMS, MASK, keep=3, reduce=reduce
        )
        for reduce in ("l1", "l2", "mean")
    },
    "prune.units, wiring": lambda: prune.units(
        IN_CHAIN, masks.dense(IN_CHAIN), keep=3, wiring=CHAIN
    ),
    "prune.blocks": lambda: prune.blocks(PARAMS, MASK, keep=2, shape=(2, 2)),
    **{
        f"prune.drop_and_grow, {scope}": lambda scope=scope: prune.drop_and_grow(
            PARAMS, MASK, OTHER, fraction=0.3, scope=scope
        )
        for scope in ("layer", "global")
    },
    "prune.keep_at": lambda: prune.keep_at(jnp.int32(3), CUBIC, size=100),
    "prune.masked": lambda: updated(prune.masked(optax.sgd(0.5), MASK)),
    "prune.sparsify": lambda: updated(prune.sparsify(optax.sgd(0.5, 0.5), schedule=CUBIC)),
    "prune.sparsify, movement": lambda: updated(
        prune.sparsify(optax.sgd(0.5, 0.5), schedule=CUBIC, score="movement", scope="layer")
    ),
    **{
        f"prune.sparsify, {growth}": lambda growth=growth, scope=scope: updated(
            prune.sparsify(
                optax.sgd(0.5, 0.5), schedule=CONSTANT, growth=growth, scope=scope, key=key()
            )
        )
        for growth, scope in (("random", "layer"), ("gradient", "global"))
    },
    "masks.pack": lambda: masks.unpack(masks.pack(MASK)),
    "masks.straight_through": lambda: masks.straight_through(PARAMS, MASK),
    "scores.taylor": lambda: scores.taylor(PARAMS, OTHER),
    "scores.movement": lambda: scores.movement(PARAMS, OTHER, PARAMS),
    "scores.fisher": lambda: scores.fisher(mlp, PARAMS, MASK, BATCH, chunk=2),
    "scores.wanda": lambda: scores.wanda(mlp, PARAMS, MASK, BATCH[0]),
    "landscape.interpolate": lambda: landscape.interpolate(PARAMS, OTHER, 0.3),
    "landscape.errors_along": lambda: landscape.errors_along(
        error, PARAMS, OTHER, points=5, batch_size=2
    ),
    "landscape.barrier": lambda: landscape.barrier(SHARES),
    "landscape.average": lambda: landscape.average([PARAMS, OTHER]),
    "landscape.l2_distance": lambda: landscape.l2_distance(PARAMS, OTHER, mask=MASK),
    "landscape.cosine_distance": lambda: landscape.cosine_distance(PARAMS, OTHER, mask=MASK),
    "landscape.classification_differences": lambda: landscape.classification_differences(
        BATCH[0], BATCH[0][::-1]
    ),
    "landscape.loss_l2_distance": lambda: landscape.loss_l2_distance(SHARES, SHARES[::-1]),
    "graphs.categories": lambda: graphs.categories(PARAMS, MASK)[:2],
    "graphs.compact": lambda: tuple(graphs.compact(PARAMS, MASK, fold=True)),
    "cross-entropy": lambda: losses.objective(tasks=(1, 1)).outcomes(
        BATCH[0], BATCH[1][:, None].repeat(2, 1) % 1
    ),
    "next-token": lambda: losses.objective("next-token").outcomes(BATCH[0][None], BATCH[1][None]),
    "squared-error": lambda: losses.objective("squared-error").outcomes(BATCH[0], BATCH[0][::-1]),
    "cross_entropy.predictions": lambda: cross_entropy.predictions(BATCH[0], (1, 1)),
}


def called():
    return {name: jax.device_get(function()) for name, function in FUNCTIONS.items()}


@pytest.fixture(scope="module")
def usual():
    """What the functions return under JAX's own settings."""
    return called()


def assert_equal(result, wanted, err_msg):
    np.testing.assert_array_equal(result, wanted, err_msg, strict=True)  # of one type, too


def assert_same(result, wanted, assert_array=assert_equal):
    assert jax.tree.structure(result) == jax.tree.structure(wanted)
    for name, value in trees.named(result).items():
        assert_array(value, trees.named(wanted)[name], err_msg=name)


@pytest.mark.slow
def test_functions_give_the_same_bits_under_all_checks_at_once(usual):
    with under(AT_ONCE):
        assert_same(called(), usual)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_functions_give_the_same_bits_under_a_check_of_much_work(name, usual):
    with under({name: CHECKS[name]}):
        assert_same(called(), usual)


@pytest.mark.slow
def test_functions_give_the_same_bits_under_all_other_settings_at_once(usual):
    with under({name: value for name, value in OTHERS.items() if name not in OF_COMMANDS}):
        assert_same(called(), usual)


@pytest.mark.slow
def test_functions_work_under_all_checks_and_x64_at_once(usual):
    with under({**AT_ONCE, "jax_enable_x64": True}):
        assert_same(called(), usual)


@pytest.mark.slow
def test_functions_give_what_they_should_without_jit(usual):
    def close(result, wanted, err_msg):
        np.testing.assert_allclose(result, wanted, rtol=1e-5, err_msg=err_msg)

    with jax.disable_jit():
        assert_same(called(), usual, close)


# Each model that has other layers, in each type.
MODELS = ("mlp", "conv-2", "vgg-11", "resnet-20", "inception-v3", "vit-tiny", "gpt-mini")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "mlp" else pytest.mark.slow) for name in MODELS],
)
def test_networks_are_differentiated_under_all_checks_of_types(name, dtype):
    side = models.LEAST_SIDES.get(name, 8)
    config = ModelConfig(name=name, dtype=dtype, hidden=(4,) if name == "mlp" else ())
    shape, positions = ((6,), (6,)) if name == "gpt-mini" else ((side, side, 3), ())
    model = models.build(config, shape=shape, classes=4)
    images = jax.ShapeDtypeStruct((2, *shape), models.example(name, shape).dtype)
    labels = jax.ShapeDtypeStruct((2, *positions), jnp.int32)
    objective = losses.objective("next-token" if positions else "cross-entropy")

    def loss(params, network, images, labels):
        logits, *_, stats = (model.auxiliary or model.apply)(
            network._replace(params=params), images, *(() if model.auxiliary else (True,))
        )
        return objective.per_example(logits, labels).mean(), stats

    def step(network, images, labels):
        gradients = jax.grad(loss, has_aux=True)(network.params, network, images, labels)
        return gradients, model.apply(network, images, False)

    with under(AT_ONCE):
        network = jax.eval_shape(model.init, key())
        (gradients, stats), (logits, _) = jax.eval_shape(step, network, images, labels)
    assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, network.params)
    assert jax.tree.map(jnp.shape, stats) == jax.tree.map(jnp.shape, network.stats)
    assert logits.dtype == jnp.float32


SHORT = "--steps 4 --batch-size 50 --evaluate-every 2 --train-examples 100 --replicates 1"
MLP = f"--model mlp --hidden 8 {SHORT}"
COMMANDS = {
    "imp": f"imp --data moons {MLP} --levels 1 --checkpoint best",
    "convolutions": "imp --model resnet-8 --augment flip-crop --levels 1 --controls --steps 2"
    " --batch-size 8 --train-examples 20 --replicates 1",
    "prune-early": f"prune-early {MLP} --score snip grasp synflow"
    " --schedule before-rounds --rounds 2"
    " --density 0.2",
    "dynamic": f"dynamic {MLP} --density 0.2 --update-every 1 --prune-fraction 0.5",
    "instability": f"instability {MLP} --twins 2 --points 3 --levels 1 --networks dense ticket",
    "separation": "separation --data moons+circles --model mlp --hidden 8 8 --epochs 1"
    " --batch-size 50 --counts 60 30 --stop never --replicates 1",
    "threshold-masks": "threshold-masks --hidden 12 6 --sizes 5 --thresholds 0 0.1 50 --lr 0.03"
    f" {SHORT}",
    "train-supermasks": f"train-supermasks {MLP} --method bernoulli --finetune 4"
    " --controls shuffled",
}


@pytest.fixture(autouse=True)
def resnet_8():
    """A network with batch norm that compiles fast."""
    with bits.resnet_8():
        yield


def ran(name, out):
    """Return what a command stores of each network: numbers, and checksums of all arrays."""
    words = [*COMMANDS[name].split(), "--devices", "2", "--out", str(out)]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(words) == 0
    return {
        str(path.relative_to(out)): contents(json.loads(path.read_text())["content"])
        for path in sorted(out.rglob("record.json"))
    }


def contents(record):
    return {"record": {**record["record"], "seconds": None}, "trees": record["trees"]}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Function: the name of a command -> what it stores under JAX's own settings."""
    known = {}

    def of(name):
        if name not in known:
            known[name] = ran(name, tmp_path_factory.mktemp(name))
        return known[name]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_store_the_same_bits_under_all_checks_at_once(name, stored, tmp_path):
    wanted = stored(name)
    assert wanted
    with under(AT_ONCE):
        assert ran(name, tmp_path) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_store_the_same_bits_under_all_other_settings_at_once(name, stored, tmp_path):
    wanted = stored(name)
    with under(OTHERS):
        assert ran(name, tmp_path) == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("jax_enable_checks", "imp"),
        ("jax_check_tracer_leaks", "imp"),
        ("jax_check_tracer_leaks", "train-supermasks"),
    ],
)
def test_a_command_stores_the_same_bits_under_a_check_of_much_work(setting, name, stored, tmp_path):
    wanted = stored(name)
    with under({setting: True}):
        assert ran(name, tmp_path) == wanted


def test_an_exported_ticket_is_the_same_under_all_other_settings(tmp_path):
    words = [*tiny.COMMAND, "random", "--out", str(tmp_path)]
    tiny.printed(*words)
    file, again = tmp_path / "ticket.npz", tmp_path / "again.npz"
    named = ["--control", "random", "--out", str(tmp_path)]
    tiny.printed("export", file, *named)
    with under(OTHERS):
        tiny.printed("export", again, *named)
    before, after = np.load(file), np.load(again)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imp", "train-supermasks"])
def test_commands_train_the_same_networks_without_jit(name, stored, tmp_path):
    wanted = stored(name)
    with under({"jax_disable_jit": True}):
        result = ran(name, tmp_path)
    assert result.keys() == wanted.keys()
    for unit, content in result.items():
        record = content["record"]
        assert record["kept"] == wanted[unit]["record"]["kept"]
        loss = wanted[unit]["record"]["test_loss"]
        assert record["test_loss"] == pytest.approx(loss, rel=1e-3)


@pytest.mark.slow
def test_a_command_stands_the_settings_of_the_environment(tmp_path):
    code = "import sys; from jaxlth.cli import main; sys.exit(main())"
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            code,
            *COMMANDS["imp"].split(),
            "--out",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {name.upper(): str(value) for name, value in AT_ONCE.items()},
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("record.json"))) == 4


@pytest.mark.slow
def test_a_training_that_diverges_under_a_check_of_nan_ends_in_one_line(tmp_path, capsys):
    words = [*COMMANDS["imp"].split(), "--devices", "2", "--lr", "1e38", "--optimizer", "sgd"]
    with under({"jax_debug_nans": True}):
        assert cli.main([*words, "--out", str(tmp_path)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(
        "jaxlth: jax_debug_nans or jax_debug_infs ended this: invalid value (nan)"
    )
