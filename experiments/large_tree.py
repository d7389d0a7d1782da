"""Selection among more weights than int32 counts.

Claim: `prune.global_topk`, `masks.kept` and `masks.density` are exact on trees of 2**31 weights and
more; about two bytes a weight are needed beside scores, mask and the new mask.

    python experiments/large_tree.py                  # 2.15e9 weights: minutes, 14 GB
    python experiments/large_tree.py --side 1000      # 3 million weights

Three square tensors of scores in bfloat16, of which a sixteenth is pruned already. NumPy counts how
often each of the 65,536 numbers occurs, and so knows the least score that is kept and how its ties
are shared out.
"""

import functools
import pathlib
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxlth import cli, masks, prune

NAMES = ("a", "b", "c")
ROWS = 2**22  # weights that NumPy looks at together


def main(side: int = 26800, density: float = 0.75) -> int:
    """Select, compare with NumPy and print.

    Args:
      side: rows and columns of each of the three tensors.
      density: share of the weights that is kept in the end.
    """
    weights = 3 * side**2
    needed = 6.1 * weights / 2**30 + 1  # scores 2, masks 1 and 1, and what selection takes
    if available() < needed:
        print(f"Left out: needs {needed:.1f} GiB of memory; {available():.1f} are free.")
        return 0
    scores, mask = jax.block_until_ready(trees(side))
    keep = round(density * weights)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock = time.perf_counter()
    pruned = jax.block_until_ready(prune.global_topk(scores, mask, keep=keep))
    seconds = time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with jax.enable_x64(True):
        kept = int(masks.kept(pruned))
    share = float(masks.density(pruned))
    expected = by_counts(scores, mask, keep)
    differing = sum(differences(scores[n], mask[n], pruned[n], *expected[n]) for n in NAMES)
    print(f"{weights} weights, {keep} asked for: {kept} kept, density {share:.7f}")
    print(f"weights that NumPy selects otherwise: {differing}")
    print(
        f"{seconds:.1f} s; {1024 * (peak - before) / weights:.2f} bytes a weight beside the input"
    )
    return int(kept != keep or differing > 0 or abs(share - keep / weights) > 1e-6)


def available() -> float:
    """Return the GiB of memory that are free."""
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("MemAvailable"))
    return int(line.split()[1]) / 2**20


def trees(side: int) -> tuple[dict[str, jax.Array], masks.Mask]:
    """Return scores with many ties, NaN and infinities among them, and a mask for them."""

    @functools.partial(jax.jit, static_argnames="side")
    def leaf(seed, side):
        position = jax.lax.iota(jnp.uint32, side * side).reshape(side, side)
        mixed = (position ^ seed) * jnp.uint32(2654435761)
        mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(2246822519)
        bits = (mixed >> 16).astype(jnp.uint16)
        return jax.lax.bitcast_convert_type(bits, jnp.bfloat16), mixed % 16 != 0

    leaves = {name: leaf(jnp.uint32(seed), side) for seed, name in enumerate(NAMES)}
    return {name: leaves[name][0] for name in NAMES}, {name: leaves[name][1] for name in NAMES}


def blocks(*arrays):
    """Yield equal parts of several arrays, in NumPy."""
    flat = [np.asarray(array).reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, ROWS):
        yield [array[start : start + ROWS] for array in flat]


def ranks() -> np.ndarray:
    """Return the place of each 16 bits among all numbers of bfloat16: NaN lowest, -0.0 as 0.0."""
    values = np.arange(2**16, dtype=np.uint16).view(jnp.bfloat16).astype(np.float32)
    numbers = np.unique(values[~np.isnan(values)])
    return np.where(np.isnan(values), 0, 1 + np.searchsorted(numbers, values))


def by_counts(scores, mask, keep: int) -> dict[str, tuple[int, int]]:
    """Return for each tensor the least place that is kept, and how many of its ties are."""
    place = ranks()
    counts = {name: np.zeros(2**16, np.int64) for name in NAMES}
    for name in NAMES:
        for values, among in blocks(scores[name], mask[name]):
            of_bits = np.bincount(values.view(np.uint16)[among], minlength=2**16)
            np.add.at(counts[name], place, of_bits)
    in_all = sum(counts.values())
    reaching = np.cumsum(in_all[::-1])[::-1]
    least = int(np.flatnonzero(reaching >= keep)[-1])
    left = keep - int(reaching[least] - in_all[least])
    shares = {}
    for name in NAMES:
        shares[name] = least, min(left, int(counts[name][least]))
        left -= shares[name][1]
    return shares


def differences(scores, mask, pruned, least: int, ties: int) -> int:
    """Return how many weights of a tensor are not selected as they should be."""
    place, wrong = ranks(), 0
    for values, among, selected in blocks(scores, mask, pruned):
        places = place[values.view(np.uint16)]
        tied = among & (places == least)
        first = tied & (np.cumsum(tied) <= ties)
        ties -= int(first.sum())
        wrong += int(np.sum(selected != ((among & (places > least)) | first)))
    return wrong


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
