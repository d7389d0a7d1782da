"""One-shot dynamic IMP, sparse from the start with one change of the mask: Frankle 2023, 6.2.2.

Claim: a network trained sparse from the first step, whose mask changes once midway, is as accurate
as what IMP finds by rewinding to an early step, and more so than the same mask throughout; the two
masks share little.

    python experiments/dynamic_imp.py --scale smoke                        # a minute
    python experiments/dynamic_imp.py --scale cpu --data-dir DIR           # ten minutes, two cores
    python experiments/dynamic_imp.py --scale cpu --levels 10 --ablations --data-dir DIR     # forty
    python experiments/dynamic_imp.py --scale cpu --network lenet --ablations --data-dir DIR
    python experiments/dynamic_imp.py --scale paper --data-dir DIR         # ResNet-20

Algorithm 5: between two changes a dense network is trained, pruned at once by magnitude, and its
sparse part trained again over the same steps; then what was pruned is drawn anew, and the next
dense network starts from there. Beside it: the dense network, and tickets of IMP, pruned in
--levels and rewound to step 0, to an early step as in the thesis, or to that of the change. --first
takes the first mask from the magnitudes at initialisation or at random instead. --ablations trains
the last sparse network in other ways: with a share of its mask within the one before (--overlaps),
with regrown weights drawn once more, or with what is regrown taken by the gradient of one batch,
as RigL does, or at random. Runs are kept in --out; networks that are there are not trained again.

Expected (no numbers are given): as said above; 80 % of the weights of each mask are not in the
other; a random first mask degrades the end only slightly, one of magnitudes at initialisation
hardly; more overlap degrades it, new draws of regrown weights do not; growth by the gradient is no
better than at random, and both far worse than by IMP.
"""

import dataclasses
import pathlib
import sys
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import tasks
from rich.console import Console

from jaxlth import cli, keys, masks, prune, scores, store
from jaxlth.models import Network
from jaxlth.settings import not_hashed, require
from jaxlth.store import Run
from jaxlth.studies import progress
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
    levels: int = not_hashed(1)  # in which IMP prunes the tickets
    rewind_steps: tuple[int, ...] = not_hashed((0,))  # of tickets, beside the changes
    ablations: bool = not_hashed(False)
    overlaps: tuple[float, ...] = not_hashed((0.8, 1.0))
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
    network: Literal["mlp-cifar", "lenet"] = "mlp-cifar",
    levels: int = 1,
    rewind: float = 0.03,
    ablations: bool = False,
    overlaps: tuple[float, ...] = (0.8, 1.0),
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
      network: mlp-cifar, or lenet on MNIST; at the scale paper it is ResNet-20 on CIFAR-10.
      levels: in which IMP prunes the tickets that are compared; 1 for at once.
      rewind: how early these are rewound to, beside step 0, as a share of the training's length.
      ablations: whether to train the last sparse network in other ways too.
      overlaps: shares of its mask that ablations take from the mask before, where it is more.
      replicates: repetitions; those of the scale by default.
      data_dir: directory of the data; $JAXLTH_DATA by default.
      out: folder of the runs, or gs://BUCKET/FOLDER.
      results: folder for the table.
    """
    rows = []
    for each in first:
        config = settings(scale, network, density=density, change=change, first=each)
        config = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, data_dir=data_dir),
            replicates=replicates or config.replicates,
            levels=levels,
            rewind_steps=(0, max(1, round(rewind * (config.training.steps or 0)))),
            ablations=ablations,
            overlaps=overlaps,
        )
        experiment = load_experiment(config)
        experiment.prunable.check_pruned(density)
        label = run_label(config)
        data = experiment.identity
        with store.open_run(out, config, job="dynamic", label=label, data=data) as run:
            for replicate in range(config.replicates):
                print(f"== first mask by {each}, replicate {replicate}", flush=True)
                rows += Dynamic(experiment, run, replicate).all()
            Lab(experiment, run).expect(())
    folder = results / (scale if network == "mlp-cifar" else f"{scale}-{network}")
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows)
    frame.to_csv(folder / "networks.csv", index=False)
    by = frame.groupby(["first", "network"], sort=False)[["accuracy", "shared_with_last"]]
    print((100 * by.mean()).round(2).to_string())
    print(f"table: {folder / 'networks.csv'}")
    return 0


def settings(
    scale: str, network: str, *, density: float, change: float, first: First
) -> DynamicConfig:
    """Return ResNet-20 as in Table 4.1, or a network that two cores can train."""
    if scale == "paper":
        config: Any = BENCHMARKS["cifar_resnet20"]
    elif network == "lenet":
        config = lenet(scale)
    else:
        config = tasks.mlp_cifar(scale)
    return DynamicConfig(
        data=config.data,
        model=config.model,
        training=config.training,
        optimizer=config.optimizer,
        density=density,
        changes=(round(change * config.training.steps),),
        first=first,
        replicates=3 if scale == "paper" else config.replicates,
    )


def lenet(scale: str) -> Any:
    """Return LeNet on MNIST as in Table 4.1, trained for a part of the steps."""
    config = BENCHMARKS["mnist_lenet_300_100"]
    steps = 30 if scale == "smoke" else 2_000
    training = dataclasses.replace(config.training, steps=steps)
    return dataclasses.replace(config, training=training, replicates=2)


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
        self._trained("whole/dense", Ticket(initial, self._dense), 0, self._steps)
        before, start, begin, phase_masks = initial, initial, 0, []
        for phase, end in enumerate(ends):
            mask = self._mask_of(phase, start, begin, end)
            sparse = self._trained(f"phase_{phase}/sparse", Ticket(start, mask), begin, end)
            phase_masks.append(mask)
            if end < self._steps:
                before, start, begin = sparse, self._regrown(sparse, mask, f"regrown {phase}"), end
        rows = [
            self._row("dynamic", f"phase_{len(ends) - 1}/sparse", phase_masks[0], phase_masks[-1]),
            self._row("dense", "whole/dense"),
        ]
        for step in sorted({*self.config.rewind_steps, *self.config.changes}):
            unit, mask = self._ticket(step)
            rows.append(self._row(f"ticket, rewound to {step}", unit, mask, phase_masks[-1]))
        if self.config.ablations and self.config.changes:
            rows += self._ablated(before, start, *phase_masks[-2:])
        self._trained("whole/first", Ticket(initial, phase_masks[0]), 0, self._steps)
        rows.append(
            self._row("first mask throughout", "whole/first", phase_masks[0], phase_masks[-1])
        )
        return rows

    def _ticket(self, step: int) -> tuple[str, masks.Mask]:
        """Train what IMP finds by rewinding to a step, in several levels; return name and mask."""
        size, levels = masks.size(self._dense), self.config.levels
        trained, mask, unit = self._load("whole/dense"), self._dense, ""
        for level in range(1, levels + 1):
            keep = round(size * self.config.density ** (level / levels))
            mask = self._kept(scores.magnitude(trained.params), mask, keep)
            of_level = "" if levels == 1 else f"level_{level}_of_{levels}/"
            unit = f"{of_level}rewound_{step}/ticket"
            trained = self._trained(unit, Ticket(self._state(step), mask), step, self._steps)
        return unit, mask

    def _ablated(
        self, before: Network, start: Network, first: masks.Mask, last: masks.Mask
    ) -> list[dict[str, Any]]:
        """Train the last sparse network in other ways, and return a row for each.

        Args:
          before: the sparse network at the last change.
          start: the same with what was pruned drawn anew.
          first: the mask before the change.
          last: the mask after it.
        """
        begin, phase = self.config.changes[-1], len(self.config.changes)
        size = int(masks.kept(last))
        both = jax.tree.map(np.logical_and, first, last)
        unused = jax.tree.map(np.logical_not, first)
        dense = scores.magnitude(self._load(f"phase_{phase}/dense").params)
        grown_by = {
            "the gradient": scores.magnitude(self._gradient(before, first)),
            "chance": scores.random(start.params, key=self._key("growth")),
        }
        tickets = {}
        for share in self.config.overlaps:
            shared = max(int(masks.kept(both)), round(share * size))
            halves = self._kept(dense, first, shared), self._kept(dense, unused, size - shared)
            mask = jax.tree.map(np.logical_or, *halves)
            tickets[f"at least {100 * share:g} % of the mask shared"] = Ticket(start, mask)
        new = self._regrown(before, first, f"regrown {phase - 1} again")
        tickets["regrown weights drawn again"] = Ticket(new, last)
        for name, growth_scores in grown_by.items():
            grown = self._kept(growth_scores, unused, size - int(masks.kept(both)))
            tickets[f"grown by {name}"] = Ticket(start, jax.tree.map(np.logical_or, both, grown))
        rows = []
        for name, ticket in tickets.items():
            unit = f"phase_{phase}/{name.replace(' ', '-').replace('%', 'percent')}"
            self._trained(unit, ticket, begin, self._steps)
            rows.append(self._row(name, unit, first, ticket.mask))
        return rows

    def _gradient(self, network: Network, mask: masks.Mask) -> Any:
        """Return the gradient of all weights, pruned ones too, on ten examples of each class."""
        model = self._experiment.prunable.model
        inputs, labels = self._experiment.examples(self._replicate, per_class=10)

        def loss(params: Any) -> jax.Array:
            outputs, _ = model.apply(network._replace(params=params), inputs, True)
            return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()

        return jax.device_get(jax.grad(loss)(masks.apply(network.params, mask)))

    def _mask_of(self, phase: int, start: Network, begin: int, end: int) -> masks.Mask:
        """Return the mask of a phase: what a dense network keeps that is trained through it."""
        if phase == 0 and self.config.first == "imp":  # on the way to the dense network
            return self._largest(self._state(end))
        if phase == 0:
            random = scores.random(start.params, key=self._key("first mask"))
            of = random if self.config.first == "random" else scores.magnitude(start.params)
            return self._kept(of)
        dense = self._trained(f"phase_{phase}/dense", Ticket(start, self._dense), begin, end)
        return self._largest(dense)

    def _largest(self, network: Network) -> masks.Mask:
        return self._kept(scores.magnitude(network.params))

    def _kept(
        self, weight_scores: Any, mask: masks.Mask | None = None, keep: int | None = None
    ) -> masks.Mask:
        """Return the weights of the highest scores, of a mask if one is given."""
        mask = self._dense if mask is None else mask
        least: Any = self._experiment.prunable.keeping(self.config.density)
        counts = least if keep is None else keep
        return jax.device_get(prune.global_topk(weight_scores, mask, keep=counts))

    def _regrown(self, sparse: Network, mask: masks.Mask, purpose: str) -> Network:
        """Return the sparse network with what was pruned drawn anew."""
        new = self._drawn(purpose).params
        params = jax.tree.map(
            lambda w, v, keep: w if keep is None else jnp.where(keep, w, v),
            sparse.params,
            new,
            mask,
        )
        return jax.device_get(sparse._replace(params=params))

    def _drawn(self, purpose: str) -> Network:
        return jax.device_get(self._experiment.prunable.draw(self._key(purpose)))

    def _key(self, purpose: str) -> jax.Array:
        return keys.stream(self.config.seed, self._replicate, purpose)

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
            key=self._key("order"),
            start_step=begin,
            record={"job": "dynamic", "replicate": self._replicate, "level": 0, "control": unit},
            snapshots={
                step: self._unit(f"step_{step}/dense")
                for step in (*self.config.changes, *self.config.rewind_steps)
                if step and whole
            },
        )
        training = self._experiment.compile_training(until=end)
        console = Console(stderr=True, quiet=not sys.stderr.isatty())
        with progress.shown(console, finished=0) as show:
            for event in Lab(self._experiment, self._run).train([request], training):
                show(event)
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
