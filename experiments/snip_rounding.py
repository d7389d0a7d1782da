"""Whether SNIP's mask in many rounds depends on rounding: LeNet-300-100 on MNIST.

Claim: at once SNIP finds the same mask in float32 and in float64. In 100 rounds it often does not,
and weights moved by a ten-millionth, relatively, lead to another mask in float64 too: where scores
of a round nearly tie, all later rounds follow from how that is decided.

    python experiments/snip_rounding.py --data-dir DIR    # five minutes on two cores

Nothing is trained. `rounding.csv` of --results has the Jaccard similarity of masks by replicate and
density: of float32 and float64, and of weights as drawn and moved, in each of them.
"""

import dataclasses
import itertools
import pathlib
import sys

import jax
import numpy as np
import pandas as pd
from composite_pruning import DENSITIES, lenet

from jaxlth import cli, keys, masks
from jaxlth.models import Network
from jaxlth.studies import score_pruning, scoring
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.prune_early import run as prune_early

MOVED = 1e-7  # of a weight, times a normal deviate: about a rounding of float32


def main(
    densities: tuple[float, ...] = DENSITIES,
    replicates: int = 10,
    rounds: int = 100,
    data_dir: str | None = None,
    results: pathlib.Path = pathlib.Path("experiments/results/snip_rounding"),
) -> int:
    """Prune by SNIP in float32 and float64, and from weights that are moved, and compare masks.

    Args:
      densities: shares of the weights kept.
      replicates: networks and batches, those of `composite_pruning.py`.
      rounds: of scoring and pruning; once is compared too.
      data_dir: directory of the MNIST files; $JAXLTH_DATA by default.
      results: folder for the table.
    """
    config = dataclasses.replace(
        lenet("cpu", data_dir=data_dir), scores=("snip", "snip-float64"), replicates=replicates
    )
    experiment, rows = prune_early.prepare(config), []
    scores = {name: experiment.score(name) for name in config.scores}
    for replicate, density in itertools.product(range(replicates), densities):
        row = compared(experiment, scores, replicate, density, rounds)
        rows.append({"replicate": replicate, "density": density} | row)
    table = pd.DataFrame(rows)
    results.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(results / "rounding.csv", index=False)
    print(table.groupby("density").mean().round(3).to_string())
    print(f"table: {results}")
    return 0


def compared(
    experiment: LoadedExperiment,
    scores: dict[str, scoring.Score],
    replicate: int,
    density: float,
    rounds: int,
) -> dict[str, float]:
    """Return the Jaccard similarities of masks that differ by rounding."""
    config, dense = experiment.prunable.config, experiment.prunable.dense
    key = keys.stream(config.seed, replicate, "initialization")
    network = jax.device_get(experiment.prunable.draw(key))
    batch = experiment.examples(replicate, per_class=config.per_class)

    def mask(name: str, network: Network, rounds: int) -> masks.Mask:
        given = scoring.ScoreInputs(network, network.params, batch, key)
        keep = round(density * masks.size(dense))
        options = {"keep": keep, "rounds": rounds, "spacing": "exponential"}
        return score_pruning.pruned(scores[name], (name,), dense, given, **options)

    nudged = moved(network, seed=replicate)
    single, double = (mask(name, network, rounds) for name in ("snip", "snip-float64"))
    pairs = {
        "once": (mask("snip", network, 1), mask("snip-float64", network, 1)),
        "rounds": (single, double),
        "moved_float32": (single, mask("snip", nudged, rounds)),
        "moved_float64": (double, mask("snip-float64", nudged, rounds)),
    }
    return {name: float(masks.jaccard(*pair)) for name, pair in pairs.items()}


def moved(network: Network, *, seed: int) -> Network:
    """Return a network whose weights are moved by about a rounding of float32."""
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda w: (w * (1 + MOVED * rng.standard_normal(w.shape))).astype(w.dtype), network.params
    )
    return network._replace(params=params)


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
