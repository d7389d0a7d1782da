"""Speed of selection among the weights of a VGG-16, beside NumPy's partition of the same numbers.

Claim: `prune.global_topk` takes at most a few times what `np.partition` does, which finds the least
score that is kept, but neither the mask nor what to do with ties; under jit it takes longer.

    python experiments/selection_speed.py                  # a minute on two cores

Scores are magnitudes of normal numbers, a fifth is kept. Variants take turns within one process;
printed are medians of the rounds.
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
from timing import interleaved

from jaxlth import cli, masks, prune, scores

VGG16 = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256), (512, 256)]
VGG16 += [(512, 512)] * 5
PARTITION = "np.partition of the scores"


def main(rounds: int = 21, divide: int = 1) -> int:
    """Measure and print.

    Args:
      rounds: how often the variants take turns.
      divide: the channels of every layer, for a smaller network.
    """
    random = np.random.default_rng(0)
    shapes = [(3, 3, -(-inputs // divide), outputs // divide) for outputs, inputs in VGG16]
    params = {f"conv_{n:02}": random.standard_normal(s, np.float32) for n, s in enumerate(shapes)}
    params = jax.tree.map(jnp.asarray, params)
    variants = compared(scores.magnitude(params), masks.dense(params))
    medians = interleaved(variants, rounds)
    print(f"| {masks.size(masks.dense(params))} weights | ms | of np.partition |\n|---|---|---|")
    for name, seconds in medians.items():
        print(f"| {name} | {1000 * seconds:.0f} | {seconds / medians[PARTITION]:.2f} |")
    return 0


def compared(magnitudes, mask):
    """Return what is compared, by name."""
    keep = masks.size(mask) // 5
    flat = np.concatenate([np.ravel(leaf) for leaf in magnitudes.values()])
    narrow = {name: leaf.astype(jnp.bfloat16) for name, leaf in magnitudes.items()}
    select = functools.partial(prune.global_topk, keep=keep)
    return {
        PARTITION: lambda: np.partition(flat, flat.size - keep),
        "global_topk": lambda: select(magnitudes, mask),
        "global_topk, bfloat16": lambda: select(narrow, mask),
        "global_topk under jit": functools.partial(jax.jit(select), magnitudes, mask),
        "layerwise_topk": lambda: prune.layerwise_topk(magnitudes, mask, keep=0.2),
        "n_of_m, 2 of 4": functools.partial(prune.n_of_m, magnitudes, mask),
    }


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
