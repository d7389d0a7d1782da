"""One-shot dynamic IMP, sparse from the start with one change of the mask: Frankle 2023, 6.2.2.

Claim: a network trained sparse from the first step, whose mask changes once midway, is as accurate
as what IMP finds by rewinding to an early step, and more so than the same mask throughout; the two
masks share little.

    python experiments/dynamic_imp.py --scale smoke                        # a minute
    python experiments/dynamic_imp.py --scale cpu --data-dir DIR           # ten minutes, two cores
    python experiments/dynamic_imp.py --scale paper --data-dir DIR         # ResNet-20

Algorithm 5: between two changes a dense network is trained, pruned at once by magnitude, and its
sparse part trained again over the same steps; then what was pruned is drawn anew, and the next
dense network starts from there. Beside it: the dense network, and its ticket, pruned at once and
rewound to step 0 or to the step of the change. `--first` takes the first mask from the magnitudes
at initialisation or at random instead. Runs are kept in --out; networks that are there are not
trained again.

Expected (no numbers are given): as said above; 80 % of the weights of each mask are not in the
other; a random first mask degrades the end only slightly, one of magnitudes at initialisation
hardly.
"""

import dataclasses
import pathlib
import sys
from typing import Any, Literal

import jax
import jax.numpy as jnp
import pandas as pd
import tasks

from jaxlth import cli, keys, masks, prune, scores, store
from jaxlth.models import Network
from jaxlth.settings import not_hashed, require
from jaxlth.store import Run
from jaxlth.studies.config import StudyConfig, run_label
from jaxlth.studies.imp.benchmarks import BENCHMARKS
from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import LoadedExperiment, load_experiment
from jaxlth.studies.train import Ticket, TrainRequest

First = Literal["imp", "magnitude", "random"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynamicConfig(StudyConfig):
    """One-shot dynamic IMP: on what, how sparse, and when the mask changes."""

    density: float = 0.1
    changes: tuple[int, ...] = ()  # steps
    first: First = "imp"
    scope: str = "global"
    replicates: int = not_hashed(2)

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = self.training.steps or 0
        require(0 < self.density < 1, f"`density` must lie between 0 and 1; got {self.density:g}.")
        require(
            all(0 < step < steps for step in self.changes),
            f"`change` must lie within the {steps} steps of training; got {list(self.changes)}.",
        )


def main(
    scale: Literal["smoke", "cpu", "paper"] = "smoke",
    density: float = 0.1,
    change: float = 0.5,
    first: tuple[First, ...] = ("imp",),
    replicates: int | None = None,
    data_dir: str | None = None,
    out: str = "runs",
    results: pathlib.Path = pathlib.Path("experiments/results/dynamic_imp"),
) -> int:
    """Run the study and write its table.

    Args:
      scale: how much of the study: smoke, cpu or paper.
      density: share of the weights that are kept.
      change: when the mask changes, as a share of the training's length.
      first: what the first mask is found by: imp, magnitude at initialisation, or random.
      replicates: repetitions; those of the scale by default.
      data_dir: directory of the CIFAR-10 files; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for the table.
    """
    rows = []
    for each in first:
        config = settings(scale, density=density, change=change, first=each, data_dir=data_dir)
        config = dataclasses.replace(config, replicates=replicates or config.replicates)
        experiment = load_experiment(config)
        experiment.prunable.check_pruned(density)
        label = run_label(config)
        data = experiment.identity
        with store.open_run(out, config, job="dynamic", label=label, data=data) as run:
            for replicate in range(config.replicates):
                print(f"== first mask by {each}, replicate {replicate}", flush=True)
                rows += Dynamic(experiment, run, replicate).all()
            Lab(experiment, run).expect(())
    folder = results / scale
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows)
    frame.to_csv(folder / "networks.csv", index=False)
    by = frame.groupby(["first", "network"], sort=False)[["accuracy", "shared_with_last"]]
    print((100 * by.mean()).round(2).to_string())
    print(f"table: {folder / 'networks.csv'}")
    return 0


def settings(
    scale: str, *, density: float, change: float, first: First, data_dir: str | None
) -> DynamicConfig:
    """Return ResNet-20 as in Table 4.1, or the MLP that two cores can train."""
    if scale == "paper":
        config: Any = BENCHMARKS["cifar_resnet20"]
    else:
        config = tasks.mlp_cifar(scale)
    return DynamicConfig(
        data=dataclasses.replace(config.data, data_dir=data_dir),
        model=config.model,
        training=config.training,
        optimizer=config.optimizer,
        density=density,
        changes=(round(change * config.training.steps),),
        first=first,
        replicates=3 if scale == "paper" else config.replicates,
    )


class Dynamic:
    """Algorithm 5 in one replicate, with what it is compared to."""

    def __init__(self, experiment: LoadedExperiment, run: Run, replicate: int) -> None:
        self.config: DynamicConfig = experiment.prunable.config
        self._experiment, self._run, self._replicate = experiment, run, replicate
        self._dense = experiment.prunable.dense
        self._steps = experiment.plan(1.0).steps

    def all(self) -> list[dict[str, Any]]:
        """Return a row for each network at the end of training."""
        ends = (*self.config.changes, self._steps)
        initial = self._drawn("initialization")
        last = self._trained("whole/dense", Ticket(initial, self._dense), 0, self._steps)
        start, begin, phase_masks = initial, 0, []
        for phase, end in enumerate(ends):
            mask = self._mask_of(phase, start, begin, end)
            sparse = self._trained(f"phase_{phase}/sparse", Ticket(start, mask), begin, end)
            phase_masks.append(mask)
            start, begin = self._regrown(sparse, mask, phase), end
        rows = [
            self._row("dynamic", f"phase_{len(ends) - 1}/sparse", phase_masks[0], phase_masks[-1]),
            self._row("dense", "whole/dense"),
        ]
        mask = self._largest(last)
        for step in (0, *self.config.changes):
            unit = f"rewound_{step}/ticket"
            self._trained(unit, Ticket(self._state(step), mask), step, self._steps)
            rows.append(self._row(f"ticket, rewound to {step}", unit, mask, phase_masks[-1]))
        self._trained("whole/first", Ticket(initial, phase_masks[0]), 0, self._steps)
        rows.append(
            self._row("first mask throughout", "whole/first", phase_masks[0], phase_masks[-1])
        )
        return rows

    def _mask_of(self, phase: int, start: Network, begin: int, end: int) -> masks.Mask:
        """Return the mask of a phase: what a dense network keeps that is trained through it."""
        if phase == 0 and self.config.first == "imp":  # on the way to the dense network
            return self._largest(self._state(end))
        if phase == 0:
            key = keys.stream(self.config.seed, self._replicate, "first mask")
            random = scores.random(start.params, key=key)
            of = random if self.config.first == "random" else scores.magnitude(start.params)
            return self._kept(of)
        dense = self._trained(f"phase_{phase}/dense", Ticket(start, self._dense), begin, end)
        return self._largest(dense)

    def _largest(self, network: Network) -> masks.Mask:
        return self._kept(scores.magnitude(network.params))

    def _kept(self, weight_scores: Any) -> masks.Mask:
        keep = self._experiment.prunable.keeping(self.config.density)
        return jax.device_get(prune.global_topk(weight_scores, self._dense, keep=keep))

    def _regrown(self, sparse: Network, mask: masks.Mask, phase: int) -> Network:
        """Return the sparse network with what was pruned drawn anew."""
        new = self._drawn(f"regrown {phase}").params
        params = jax.tree.map(
            lambda w, v, keep: w if keep is None else jnp.where(keep, w, v),
            sparse.params,
            new,
            mask,
        )
        return jax.device_get(sparse._replace(params=params))

    def _drawn(self, purpose: str) -> Network:
        key = keys.stream(self.config.seed, self._replicate, purpose)
        return jax.device_get(self._experiment.prunable.draw(key))

    def _state(self, step: int) -> Network:
        """Return the dense network at a step of its training."""
        if step == 0:
            return self._drawn("initialization")
        return self._load(f"step_{step}/dense")

    def _trained(self, unit: str, start: Ticket, begin: int, end: int) -> Network:
        """Return a network trained from one step to another, if it is not there already."""
        whole = unit == "whole/dense"
        request = TrainRequest(
            artifact=self._unit(unit),
            start=lambda: start,
            key=keys.stream(self.config.seed, self._replicate, "order"),
            start_step=begin,
            record={"job": "dynamic", "replicate": self._replicate, "level": 0, "control": unit},
            snapshots={
                step: self._unit(f"step_{step}/dense") for step in self.config.changes if whole
            },
        )
        training = self._experiment.compile_training(until=end)
        for event in Lab(self._experiment, self._run).train([request], training):
            for record in event.finished:
                accuracy = record["test_accuracy"]
                told = "diverged" if accuracy is None else f"{100 * accuracy:.2f} %"
                print(f"{request.artifact}: {told}", flush=True)
        return self._load(unit)

    def _load(self, unit: str) -> Network:
        return self._run.load(self._unit(unit), "network", self._experiment.prunable.like)

    def _unit(self, name: str) -> str:
        return f"{name}/replicate_{self._replicate}"

    def _row(
        self,
        network: str,
        unit: str,
        mask: masks.Mask | None = None,
        last: masks.Mask | None = None,
    ) -> dict[str, Any]:
        """Return what the table has of a network; share of its mask that is in the last one."""
        shared = None
        if mask is not None:
            both = jax.tree.map(jnp.logical_and, mask, last)
            shared = float(masks.kept(both)) / float(masks.kept(mask))
        record = self._run.record(self._unit(unit))
        return {
            "first": self.config.first,
            "network": network,
            "replicate": self._replicate,
            "density": record["density"],
            "accuracy": record["test_accuracy"],
            "shared_with_last": shared,
        }


if __name__ == "__main__":
    sys.exit(cli.unhindered(cli.guarded(lambda: cli.call(main))))
