"""Speed of sparse training in a plain loop of optax: `prune.masked` and `prune.sparsify`.

Claim: a step at which the mask does not change costs little more than the plain step; exchanging
weights on ResNet-20, as RigL does, less than 50 ms beside its gradient.

    python experiments/sparsify_speed.py                        # six minutes on two cores
    PYTHONPATH=CLONE python experiments/sparsify_speed.py       # if jaxpruner is to take part

Random images, LeNet-300-100 and ResNet-20, batch 64, Adam. Variants take turns within one process;
printed are medians of the rounds. CLONE is one of jaxpruner, which has no release; it needs chex
and ml-collections.
"""

import functools
import importlib
import importlib.util
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import interleaved

from jaxlth import cli, masks, models, prune, scores
from jaxlth.models import ModelConfig

jaxpruner: Any = None
if importlib.util.find_spec("jaxpruner"):
    # Its code of April 2024 calls this function of JAX, which treated None as a leaf.
    jax.tree_map = lambda function, tree, *others: jax.tree.map(
        lambda leaf, *rest: None if leaf is None else function(leaf, *rest),
        tree,
        *others,
        is_leaf=lambda node: node is None,
    )
    jaxpruner = importlib.import_module("jaxpruner")

NEVER = 10**9
ADAM = optax.adam(1e-3)
SHAPES = {"lenet-300-100": (28, 28, 1), "resnet-20": (32, 32, 3)}


def main(steps: int = 10, rounds: int = 101, batch: int = 64) -> int:
    """Measure and print.

    Args:
      steps: steps of each turn of LeNet; ResNet-20 takes one.
      rounds: how often the variants of LeNet take turns; those of ResNet-20 an eighth of it.
      batch: images in a batch.
    """
    compare("lenet-300-100", batch, steps, rounds)
    compare("resnet-20", batch, 1, max(1, rounds // 8))
    print("\n| an exchange of weights | ms |\n|---|---|")
    exchanges = {}
    for name in SHAPES:
        params = build(name)[0].params
        exchanges[name] = exchange(params)
        if jaxpruner:
            exchanges[f"{name}, RigL of jaxpruner"] = exchange_of_jaxpruner(params)
    for name, seconds in interleaved(exchanges, rounds).items():
        print(f"| {name} | {1000 * seconds:.1f} |")
    return 0


def compare(name: str, batch: int, steps: int, rounds: int) -> None:
    """Print the time of a step of a network under each optimizer."""
    network, model = build(name)
    images = np.random.default_rng(0).random((batch, *SHAPES[name])).astype(np.float32)
    labels = np.arange(batch) % 10

    def loss(params):
        outputs, _ = model.apply(network._replace(params=params), images, True)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()

    made = optimizers(network.params)
    variants = {kind: loop(loss, network.params, made[kind], steps) for kind in made}
    for kind, updater in updaters().items() if jaxpruner else ():
        variants[f"{kind} of jaxpruner, no change due"] = loop(
            loss, network.params, updater.wrap_optax(ADAM), steps, updater.post_gradient_update
        )
    medians = interleaved(variants, rounds)
    busy = interleaved(variants, rounds, time.process_time)
    print(f"| a step of {name} | ms | of plain | of its processor time |\n|---|---|---|---|")
    for kind, seconds in medians.items():
        shares = f"{seconds / medians['plain']:.2f} | {busy[kind] / busy['plain']:.2f}"
        print(f"| {kind} | {1000 * seconds / steps:.2f} | {shares} |", flush=True)


def build(name: str):
    """Return the initial network and the model of a name."""
    model = models.build(ModelConfig(name=name), shape=SHAPES[name], classes=10)
    return model.init(jax.random.key(0)), model


def random_tenth(params: masks.Params) -> masks.Mask:
    """Return a random mask that keeps a tenth of the weights."""
    dense = masks.dense(params)
    random_scores = scores.random(params, key=jax.random.key(0))
    return prune.global_topk(random_scores, dense, keep=masks.size(dense) // 10)


def optimizers(params: masks.Params) -> dict[str, optax.GradientTransformation]:
    """Return the optimizers that are compared."""
    mask = random_tenth(params)
    growing = functools.partial(
        prune.sparsify, ADAM, scope="erdos-renyi-kernel", growth="gradient", key=jax.random.key(0)
    )
    once = prune.Schedule(density=0.1, kind="one-shot", begin=NEVER)
    never = prune.Schedule(density=0.1, kind="constant", begin=NEVER, end=NEVER)
    return {
        "plain": ADAM,
        "masked": prune.masked(ADAM, mask),
        "sparsify, no change due": prune.sparsify(ADAM, schedule=once),
        "sparsify with growth, no change due": growing(schedule=never),
    }


def updaters() -> dict[str, Any]:
    """Return methods of jaxpruner that change no mask before step `NEVER`, with a tenth kept."""
    periodic = jaxpruner.sparsity_schedules.PeriodicSchedule(
        update_freq=100, update_start_step=NEVER, update_end_step=NEVER
    )
    layers = functools.partial(jaxpruner.sparsity_distributions.erk, sparsity=0.9)
    methods = {"magnitude": jaxpruner.MagnitudePruning, "RigL": jaxpruner.RigL}
    return {
        name: method(scheduler=periodic, sparsity_distribution_fn=layers)
        for name, method in methods.items()
    }


def loop(
    loss,
    params: masks.Params,
    optimizer: optax.GradientTransformation,
    steps: int,
    masked=lambda params, state: params,
):
    """Return a function that does so many steps from the start, compiled one by one.

    Args:
      loss: of parameters.
      params: where it starts.
      optimizer: makes the updates.
      steps: how many.
      masked: (params, state) -> params, after each update.
    """

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return masked(optax.apply_updates(params, updates), state), state

    state = jax.jit(optimizer.init)(params)

    def run():
        now = params, state
        for _ in range(steps):
            now = step(*now)
        return now

    return run


def exchange(params: masks.Params):
    """Return a function that exchanges a third of the weights of a sparse network."""
    mask = random_tenth(params)
    params, growth = masks.apply(params, mask), scores.random(params, key=jax.random.key(1))
    return functools.partial(
        jax.jit(prune.drop_and_grow), params, mask, growth, fraction=jnp.float32(0.3)
    )


def exchange_of_jaxpruner(params: masks.Params):
    """Return a function that exchanges a share of the weights as jaxpruner's RigL does."""
    updater = updaters()["RigL"]
    state = updater.wrap_optax(ADAM).init(params)
    growth = scores.random(params, key=jax.random.key(1))
    params = updater.post_gradient_update(params, state)
    return functools.partial(jax.jit(updater.update_state), state, params, growth)


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
