"""Speed of the library against the barest code for the same arithmetic, and its own overheads.

Claim: training LeNet-300-100 on MNIST (batch 60, Adam, half of the weights kept) through the
library runs at no less than 0.9 of the steps per second of a bare jitted scan that masks gradients;
what a level costs besides training is under half a second; selecting among the 14.7 million weights
of a VGG-16 takes under a second; so does SNIP on LeNet, and 100 rounds of SynFlow on ResNet-20
take under ten, compiling included. The transformers, on random images and tokens, run at no less
than 0.95 of the bare scan, and of a bare loop of jitted steps, of the same network.

    python experiments/speed.py --data-dir DIR           # about four minutes on two cores
    python experiments/speed.py --data-dir DIR --whole   # and a whole run: ten minutes more
    python experiments/speed.py --model vit-tiny --steps 20 --rounds 5      # two minutes
    python experiments/speed.py --model gpt-mini --steps 30 --rounds 5      # two minutes

Variants take turns within one process; printed are medians of the rounds and ratios of medians.
The whole run is `jaxlth imp` with 15 levels, 5 replicates and 5000 steps, in a process of its own.
"""

import dataclasses
import itertools
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import interleaved

from jaxlth import cli, data, keys, masks, models, prune, scores, store, training
from jaxlth.data import DataConfig, Dataset, Split
from jaxlth.models import ModelConfig
from jaxlth.studies.imp import run as imp
from jaxlth.studies.imp.config import ImpConfig
from jaxlth.studies.lab import Lab
from jaxlth.training import (
    OptimizerConfig,
    TrainingConfig,
    execution,
    fit,
    losses,
    optimizers,
    train,
)

BATCH, LR = 60, 12e-4
SHAPES = {"vit-tiny": (32, 32, 3), "gpt-mini": (64,)}
EXAMPLES, TOKENS = 1200, 65  # of random data
BASE = "bare scan, mask on the gradients"
LEVELS, REPLICATES, STEPS = 15, 5, 5000  # of the whole run
VGG16 = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256), (512, 256)]
VGG16 += [(512, 512)] * 5


def main(
    data_dir: str | None = None,
    steps: int = 1000,
    rounds: int = 7,
    whole: bool = False,
    model: Literal["lenet-300-100", "vit-tiny", "gpt-mini"] = "lenet-300-100",
) -> int:
    """Measure and print.

    Args:
      data_dir: directory of the MNIST files; $JAXLTH_DATA by default.
      steps: steps of each training measured.
      rounds: how often the variants take turns.
      whole: also time a whole run of `jaxlth imp`, and its peak memory.
      model: that is trained; of a transformer the training alone is timed.
    """
    if model != "lenet-300-100":
        built, trainer, dataset = transformer(model)
        compare(
            built,
            trainer,
            dataset,
            steps,
            rounds,
            lambda params, inputs: built.apply(models.Network(params, {}), inputs, True)[0],
        )
        return 0
    info, dataset = data.load(DataConfig(name="mnist", data_dir=data_dir), seed=0)
    lenet = models.build(ModelConfig(), shape=info.shape, classes=info.classes)
    trainer = train.make(lenet, optimizer(), batch_size=BATCH)
    network, mask = compare(lenet, trainer, dataset, steps, rounds, lenet_logits)

    print("\n| part of a level, one network | median |\n|---|---|")
    for name, seconds in interleaved(level_parts(trainer, network, mask, dataset), rounds).items():
        print(f"| {name} | {1000 * seconds:.0f} ms |", flush=True)
    for name, seconds in interleaved(early_pruning(network, mask, dataset), rounds).items():
        print(f"| {name} | {1000 * seconds:.0f} ms |", flush=True)
    seconds = framework_seconds(data_dir, rounds)
    print(f"| a level of `jaxlth imp` besides training | {1000 * seconds:.0f} ms |", flush=True)
    if whole:
        print(f"\n{whole_run(data_dir)}")
    return 0


def compare(
    model: models.Model,
    trainer: train.Trainer,
    dataset: Dataset,
    steps: int,
    rounds: int,
    logits: Callable[[Any, jax.Array], jax.Array],
) -> tuple[models.Network, Any]:
    """Print the speed of the library beside bare scans; return the network and its mask."""
    network = model.init(keys.stream(0, 0, "initialization"))
    dense = masks.dense(network.params)
    mask = prune.global_topk(scores.magnitude(network.params), dense, keep=masks.size(dense) // 2)
    print("| what | median | of the bare scan |\n|---|---|---|")
    same = logits, network, mask, dataset, steps
    variants = {
        "bare scan, no mask": bare_scan(*same, masked="nothing"),
        "bare scan, mask in the forward pass": bare_scan(*same, masked="weights"),
        BASE: bare_scan(*same, masked="gradients"),
        "bare loop of jitted steps, mask on the gradients": bare_scan(
            *same, masked="gradients", looped=True
        ),
        "library, pure function": pure(trainer, network, mask, dataset, steps),
        "library, a job's loop": watched(trainer, network, mask, dataset, steps),
    }
    taken = interleaved(variants, rounds)
    for name, seconds in taken.items():
        ratio = taken[BASE] / seconds
        print(f"| {name} | {steps / seconds:.3g} steps/s | {ratio:.2f} |", flush=True)
    return network, mask


def transformer(name: str) -> tuple[models.Model, train.Trainer, Dataset]:
    """Return a transformer, its training, and random data for it."""
    shape, random = SHAPES[name], np.random.default_rng(0)
    of_tokens = models.example(name, shape).dtype == jnp.int32
    classes, kind = (TOKENS, np.int32) if of_tokens else (10, np.uint8)
    inputs = random.integers(0, classes if of_tokens else 256, (EXAMPLES, *shape)).astype(kind)
    labels = random.integers(0, classes, (EXAMPLES, *(shape if of_tokens else ()))).astype(np.int32)
    split, level = Split(inputs, labels), np.ones(1, np.float32)
    model = models.build(ModelConfig(name=name), shape=shape, classes=classes)
    normalize = (lambda tokens, *_: tokens) if of_tokens else data.normalize
    loss = losses.objective("next-token" if of_tokens else "cross-entropy")
    trainer = train.make(model, optimizer(), batch_size=BATCH, normalize=normalize, objective=loss)
    return model, trainer, Dataset(split, None, split, level, level)


def optimizer() -> optax.GradientTransformationExtraArgs:
    """Return Adam as the library builds it."""
    config = OptimizerConfig(optimizer="adam", lr=LR)
    return optimizers.build(config, optimizers.schedule(config, steps=1))


def lenet_logits(params: Any, inputs: jax.Array) -> jax.Array:
    """Return the outputs of LeNet-300-100, in the fewest words."""
    inputs = inputs.reshape(len(inputs), -1)
    for name in ("Dense_0", "Dense_1"):
        inputs = jax.nn.relu(inputs @ params[name]["kernel"] + params[name]["bias"])
    return inputs @ params["Dense_2"]["kernel"] + params["Dense_2"]["bias"]


def bare_scan(
    logits: Callable[[Any, jax.Array], jax.Array],
    network: Any,
    mask: Any,
    dataset: data.Dataset,
    steps: int,
    *,
    masked: str,
    looped: bool = False,
) -> Callable[[], Any]:
    """Return the shortest code for the same arithmetic: a scan over rows of a shuffled order.

    The mask is an argument of the program: one that it closes over may be folded away.

    Args:
      logits: (parameters, inputs) -> outputs.
      network: to be trained.
      mask: of its weights.
      dataset: to train on.
      steps: length of the training.
      masked: "nothing", the "weights" in the forward pass, or the "gradients".
      looped: whether a loop in Python calls a jitted step, in place of the scan.
    """
    shape = dataset.train.images.shape[1:]
    rows = jnp.asarray(dataset.train.images.reshape(len(dataset.train.images), -1))
    labels = jnp.asarray(dataset.train.labels)
    mean, std = jnp.asarray(dataset.mean), jnp.asarray(dataset.std)
    adam = optax.adam(LR)

    def loss_of(params, mask, at):
        kept = masks.apply(params, mask) if masked == "weights" else params
        inputs = rows[at].reshape(BATCH, *shape)
        if labels.ndim == 1:  # images, not tokens
            inputs = (inputs.astype(jnp.float32) - mean) / std
        entropies = optax.softmax_cross_entropy_with_integer_labels(
            logits(kept, inputs), labels[at]
        )
        return entropies.mean()

    def step(carry, mask, at):
        params, opt = carry
        loss, gradients = jax.value_and_grad(loss_of)(params, mask, at)
        if masked == "gradients":
            gradients = masks.apply(gradients, mask)
        updates, opt = adam.update(gradients, opt)
        return (optax.apply_updates(params, updates), opt), loss

    def order(key):
        return jnp.resize(jax.random.permutation(key, len(labels)), (steps, BATCH))

    @jax.jit
    def scan(params, mask, key):
        start = params, adam.init(params)
        return jax.lax.scan(lambda carry, at: step(carry, mask, at), start, order(key))

    step_of_loop = jax.jit(
        lambda carry, mask, rows, number: step(carry, mask, rows[number]), donate_argnums=0
    )

    def loop(params, mask, key):
        params = jax.tree.map(jnp.copy, params)  # those that are donated
        carry, rows, loss = (params, adam.init(params)), jax.jit(order)(key), None
        for number in range(steps):
            carry, loss = step_of_loop(carry, mask, rows, number)
        return carry, loss

    params, run = masks.apply(network.params, mask), loop if looped else scan
    return lambda: run(params, mask, jax.random.key(0))


def pure(
    trainer: train.Trainer, network: Any, mask: Any, dataset: data.Dataset, steps: int
) -> Callable[[], Any]:
    """Return the library's pure function, jitted by a user."""
    advance = jax.jit(trainer.advance)
    dataset = jax.device_put(dataset)
    state = trainer.start(network, mask)
    return lambda: advance(state, mask, dataset, jax.random.key(0), np.int32(0), np.int32(steps))


def watched(
    trainer: train.Trainer, network: Any, mask: Any, dataset: data.Dataset, steps: int
) -> Callable[[], Any]:
    """Return what a job runs: in pieces that can be watched and saved, on one device.

    Without evaluations, which the bare scan has not either: a job's 20 are timed apart.
    """
    settings = TrainingConfig(steps=steps, batch_size=BATCH)
    plan = training.plan(settings, OptimizerConfig(), examples=len(dataset.train.labels))
    plan = dataclasses.replace(plan, evaluations=())
    layout = execution.layout(1, devices=jax.local_devices()[:1])
    compiled = fit.compile(trainer, layout, train_examples=TrainingConfig().train_examples)
    shared = layout.share(dataset)
    group = layout.place([mask]), layout.place([jax.random.key(0)])
    state = trainer.start(network, mask)

    def run() -> Any:
        events = fit.fit(
            compiled,
            layout.place([state]),
            group[0],
            shared,
            group[1],
            start_step=0,
            plan=plan,
            save_steps=(steps,),
            last_eval_step=0,
            rows=[[]],
        )
        return [event.step for event in events]

    return run


def level_parts(
    trainer: train.Trainer, network: Any, mask: Any, dataset: data.Dataset
) -> dict[str, Callable[[], Any]]:
    """Return what a level does besides training: prune, evaluate, store, load."""
    keep = prune.keep_counts(masks.size(mask), levels=1, fraction=0.2)[1]
    select = jax.jit(
        lambda params, keep: prune.global_topk(scores.magnitude(params), mask, keep=keep)
    )
    evaluate = jax.jit(trainer.evaluate)
    folder = pathlib.Path(tempfile.mkdtemp())
    run = store.open_run(folder, ImpConfig(), job="speed", label="level")
    arrays = jax.device_get({"network": network, "mask": mask})
    numbers = iter(range(10**6))
    sizes = [(3, 3, inputs, outputs) for outputs, inputs in VGG16] + [(512, 10)]
    vgg = {f"layer_{i}": jax.random.normal(jax.random.key(i), size) for i, size in enumerate(sizes)}
    vgg_mask = masks.dense(vgg)
    select_vgg = jax.jit(lambda keep: prune.global_topk(vgg, vgg_mask, keep=keep))
    run.save("loaded", arrays, {})
    return {
        "prune": lambda: select(network.params, keep),
        "evaluate on 10,000 test images": lambda: evaluate(
            network, mask, dataset.test, dataset.mean, dataset.std
        ),
        "store network and mask": lambda: run.save(f"unit_{next(numbers)}", arrays, {}),
        "load a network": lambda: run.load("loaded", "network", network),
        "select among the 14.7 million weights of a VGG-16": lambda: select_vgg(
            next(numbers) + 1_000_000
        ),
    }


def early_pruning(network: Any, mask: Any, dataset: data.Dataset) -> dict[str, Callable[[], Any]]:
    """Return pruning at initialisation, everything compiled anew: as a job does it, once."""
    model = models.build(ModelConfig(), shape=dataset.train.images.shape[1:], classes=10)
    images = data.normalize(dataset.train.images[:100], dataset.mean, dataset.std)
    batch = images, dataset.train.labels[:100]
    resnet = models.build(ModelConfig(name="resnet-20"), shape=(32, 32, 3), classes=10)
    large = resnet.init(keys.stream(0, 0, "initialization"))
    dense = masks.dense(large.params)
    counts = prune.round_counts(masks.size(dense), keep=masks.size(dense) // 100, rounds=100)

    def snip() -> Any:
        jax.clear_caches()

        def score(mask: Any) -> Any:
            return scores.snip(
                lambda params, x: model.apply(network._replace(params=params), x, True)[0],
                network.params,
                mask,
                batch,
            )

        return prune.in_rounds(score, mask, keeps=[masks.size(mask) // 100])

    def synflow() -> Any:
        jax.clear_caches()

        def score(mask: Any) -> Any:
            return scores.synflow(
                lambda params, x: resnet.apply(large._replace(params=params), x, False)[0],
                large.params,
                mask,
                np.ones((1, 32, 32, 3)),
            )

        return prune.in_rounds(score, dense, keeps=counts)

    return {
        "SNIP on LeNet, 100 examples, compiling included": snip,
        "SynFlow, 100 rounds on ResNet-20, compiling included": synflow,
    }


def framework_seconds(data_dir: str | None, rounds: int) -> float:
    """Return the median seconds that a level takes whose training is a single step.

    One network is trained, evaluated on the test images and on 10,000 training images, stored, and
    pruned for the next level.
    """
    config = ImpConfig(
        data=DataConfig(name="mnist", data_dir=data_dir),
        training=TrainingConfig(steps=1),
        levels=rounds + 1,
        controls=(),
        replicates=1,
    )
    folder = pathlib.Path(tempfile.mkdtemp())
    clocks = [time.perf_counter()]
    with store.open_run(folder, config, job="imp", label="framework") as run:
        for event in imp.imp(Lab(imp.prepare(config), run, checkpoint_seconds=60), config):
            if event.finished:
                clocks.append(time.perf_counter())
    taken = [after - before for before, after in itertools.pairwise(clocks)]
    return statistics.median(taken[2:])  # the first two levels compile


# The peak of the run's own memory; what `resource` says counts this process's from before the exec.
RUN = """
import pathlib, re, sys
from jaxlth import cli
code = cli.main(sys.argv[1:])
told = re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())
print("peak kB", told[1] if told else 0)
sys.exit(code)
"""


def whole_run(data_dir: str | None) -> str:
    """Return in a sentence what a whole run of `jaxlth imp` takes; its peak memory on Linux."""
    command = [sys.executable, "-c", RUN, "imp", "--data", "mnist", "--controls"]
    command += ["--levels", str(LEVELS), "--replicates", str(REPLICATES), "--steps", str(STEPS)]
    command += ["--data-dir", data_dir] if data_dir else []
    command += ["--out", tempfile.mkdtemp()]
    clock = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - clock
    steps = (LEVELS + 1) * REPLICATES * STEPS
    memory = int(done.stdout.split()[-1]) / 1e6
    return (
        f"{LEVELS} levels, {REPLICATES} replicates, {STEPS} steps: {seconds / 60:.1f} minutes, "
        f"{steps / seconds:.0f} steps/s with everything, peak memory {memory:.2f} GB"
    )


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
