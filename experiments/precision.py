"""What less precise products of matrices, as on a TPU, change in a study.

Claim: the default of a TPU, which rounds the factors of each float32 product to bfloat16, changes
accuracies and barriers no more than another seed does, but more than a tenth of the weights that
SNIP and GraSP keep on networks with batch norm.

    python experiments/precision.py                         # half an hour on two cores
    python experiments/precision.py --networks lenet-300-100 --steps 20

No TPU is needed: each float32 factor of a product or convolution is rounded where programs are
compiled, so gradients, scores and evaluations are computed as there. The variants:

* highest: nothing is rounded.
* high: factors have 16 bits, about what three passes of bfloat16 give.
* default: factors have the 8 bits of bfloat16; sums are in float32.
* bfloat16: `--dtype bfloat16`, in which activations are rounded as well.

Printed are test accuracy at the end of training and the barrier between twins, each with their
spread over replicates; the same barrier where only the lines are computed so, between the twins of
"highest"; and how much of the masks by each score is the same as with "highest" (Jaccard).
"""

import contextlib
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from jax._src.interpreters import mlir  # no public name for the rule that a primitive has
from jax.extend.core import primitives
from jax.extend.mlir.dialects import stablehlo

from jaxlth import cli, masks, studies
from jaxlth.data import DataConfig
from jaxlth.models import ModelConfig

DENSITY, EXPONENT = 0.05, 8
SCORES = ("magnitude", "snip", "grasp", "synflow")


class Variant(NamedTuple):
    """How products are taken."""

    bits: int | None  # of the mantissa of factors, the leading one not counted; None for all
    dtype: str


HIGHEST = "highest"
VARIANTS = {
    HIGHEST: Variant(None, "float32"),
    "high": Variant(15, "float32"),
    "default": Variant(7, "float32"),
    "bfloat16": Variant(None, "bfloat16"),
}


@contextlib.contextmanager
def rounded_factors(bits: int | None) -> Iterator[None]:
    """Compile programs whose float32 products and convolutions round their factors.

    Args:
      bits: of the mantissa, the leading one not counted; None to round nothing.
    """
    rules = mlir._platform_specific_lowerings["cpu"]
    usual = {p: rules[p] for p in (primitives.dot_general_p, primitives.conv_general_dilated_p)}
    jax.clear_caches()
    for primitive in usual if bits is not None else ():
        mlir.register_lowering(primitive, _rounding(usual[primitive].rule, bits), platform="cpu")
    try:
        yield
    finally:
        rules.update(usual)
        jax.clear_caches()


def _rounding(rule: Any, bits: int) -> Any:
    """Return the rule of a primitive with factors that are rounded before."""

    def lower(context: Any, *factors: Any, **params: Any) -> Any:
        factors = tuple(
            stablehlo.reduce_precision(factor, EXPONENT, bits)
            if kind.dtype == "float32"
            else factor
            for factor, kind in zip(factors, context.avals_in, strict=True)
        )
        return rule(context, *factors, **params)

    return lower


def main(
    data_dir: str | None = None,
    data: str = "digits",
    num_train_examples: int | None = None,
    networks: tuple[str, ...] = ("lenet-300-100", "conv-2", "resnet-20"),
    variants: tuple[str, ...] = tuple(VARIANTS),
    scores: tuple[str, ...] = SCORES,
    steps: int = 200,
    split_step: int = 20,
    replicates: int = 3,
    out: str = "runs/precision",
) -> int:
    """Measure and print.

    Args:
      data_dir: directory of the data set; $JAXLTH_DATA by default.
      data: data set.
      num_train_examples: examples of it that are trained on; all if not given.
      networks: which networks.
      variants: how products are taken, besides "highest".
      scores: whose masks are compared.
      steps: length of training.
      split_step: step from which twins differ.
      replicates: of each.
      out: folder of the runs, of which those that are there are not computed again.
    """
    config = DataConfig(name=data, data_dir=data_dir, num_train_examples=num_train_examples)
    rows = []
    for network in networks:
        runs = {
            name: _measured(network, name, config, scores, steps, split_step, replicates, out)
            for name in dict.fromkeys([HIGHEST, *variants])
        }
        rows += [_row(network, name, scores, runs) for name in runs]
    print(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(row.values())} |")
    return 0


def _measured(
    network: str,
    variant: str,
    data: DataConfig,
    scores: tuple[str, ...],
    steps: int,
    split_step: int,
    replicates: int,
    out: str,
) -> dict[str, Any]:
    """Return the results of the studies in one variant: of twins, of lines alone, of scores."""
    bits, dtype = VARIANTS[variant]
    model = ModelConfig(name=network, dtype=dtype)
    experiment = studies.Experiment(model=model, data=data, steps=steps, batch_size=50)
    twins = {"rewind_steps": (split_step,), "twins": 2, "replicates": replicates}
    pruned = {"scores": scores, "densities": (DENSITY,), "controls": ()}
    short = studies.Experiment(model=model, data=data, steps=1, batch_size=50)
    folder = pathlib.Path(out, variant)
    with rounded_factors(bits):
        kept = {"progress": False, "keep_programs": False}
        result: dict[str, Any] = {
            "twins": studies.instability(experiment, out=str(folder), **twins, **kept),
            "scores": studies.prune_early(
                short, out=str(folder), replicates=replicates, **pruned, **kept
            ),
        }
        if dtype == "float32":
            lines = pathlib.Path(out, f"{variant}-lines")
            _without_lines(pathlib.Path(out, HIGHEST), lines)
            result["lines"] = studies.instability(experiment, out=str(lines), **twins, **kept)
    return result


def _without_lines(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy runs of twins less what is computed on lines, unless that was done before."""
    for run in source.glob("instability-*"):
        if not (target / run.name).exists():
            left_out = shutil.ignore_patterns("pair_*", "mean_of_*")
            shutil.copytree(run, target / run.name, ignore=left_out)


def _row(
    network: str, variant: str, scores: tuple[str, ...], runs: dict[str, dict[str, Any]]
) -> dict[str, str]:
    """Return a row of the table."""
    run = runs[variant]
    table = run["twins"].table()
    pairs, twins = table[table["kind"] == "pair"], table[table["kind"] == "twin"]
    accuracies = twins.groupby("replicate")["test_accuracy"].mean()
    row = {
        "network": network,
        "products": variant,
        "accuracy": _spread(accuracies),
        "barrier": _spread(pairs["test_instability"]),
        "on the line alone": _line(run, runs),
    }
    for score in scores:
        same = [_same(run["scores"], runs[HIGHEST]["scores"], score, r) for r in range(len(pairs))]
        row[f"mask by {score}"] = f"{np.mean(same):.3f}"
    return row


def _line(run: dict[str, Any], runs: dict[str, dict[str, Any]]) -> str:
    """Return the greatest change of a barrier where only lines are computed in a variant."""
    if "lines" not in run:
        return ""
    barriers = [
        table[table["kind"] == "pair"].set_index("unit")["test_instability"]
        for table in (run["lines"].table(), runs[HIGHEST]["twins"].table())
    ]
    return f"{100 * (barriers[0] - barriers[1]).abs().max():.2f}"


def _same(run: Any, other: Any, score: str, replicate: int) -> float:
    """Return the Jaccard index of the masks by a score in two runs."""
    method = f"{score}-before-once"
    tickets = [
        each.ticket(method=method, density=DENSITY, replicate=replicate) for each in (run, other)
    ]
    return float(masks.jaccard(*(ticket.mask for ticket in tickets)))


def _spread(values: pd.Series) -> str:
    """Return a mean in percent with the least and the greatest of the values."""
    return f"{100 * values.mean():.2f} ({100 * values.min():.2f}-{100 * values.max():.2f})"


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
