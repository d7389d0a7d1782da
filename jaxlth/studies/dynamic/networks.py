"""Networks of dynamic sparse training: what each starts from, how it is trained, its cost."""

import functools
import math
from typing import Any

import jax
import optax

from jaxlth import keys, masks, prune, settings, trees
from jaxlth.models import Network
from jaxlth.studies.compiled_training import CompiledTraining
from jaxlth.studies.dynamic import artifacts, cost
from jaxlth.studies.dynamic.config import DENSE, DYNAMIC_IMP, IMP, DynamicConfig
from jaxlth.studies.dynamic.phases import Phases
from jaxlth.studies.lab import Lab
from jaxlth.studies.loading import LoadedExperiment
from jaxlth.studies.prunable import KeepCount, total_kept
from jaxlth.studies.train import Ticket, TrainRequest

GROWTH: dict[str, Any] = {"set": "random", "rigl": "gradient"}
SCOPES: dict[str, Any] = {"uniform": "layer"}  # names in `prune.sparsify` that differ


def change_steps(config: DynamicConfig, steps: int) -> list[int]:
    """Return the steps at which dynamic-imp changes its mask."""
    return [round(share * steps) for share in config.changes]


def levels(experiment: LoadedExperiment) -> list[float]:
    """Return the densities at which imp trains, dense and the tickets' aside, the densest first.

    Raises:
      ValueError: there are more levels than the weights allow.
    """
    config: DynamicConfig = experiment.prunable.config
    return sorted({*config.densities, *between(config)}, reverse=True)


def between(config: DynamicConfig) -> list[float]:
    """Return the densities that imp passes on its way to the lowest one asked for.

    One that equals a requested one up to rounding (0.8 * 0.8 and 0.64) is returned as requested.
    """
    density, between = 1.0, []
    while True:
        density *= 1 - config.prune_fraction
        asked = [each for each in config.densities if math.isclose(each, density)]
        between += asked[:1] or [density]
        if between[-1] <= min(config.densities):
            return between[:-1]
        settings.require(
            len(between) <= 1000,
            f"`prune_fraction` {config.prune_fraction:g} takes more than 1000 trainings to "
            f"density {min(config.densities):g}.",
        )


def _sparsified(
    optimizer: optax.GradientTransformation,
    *,
    names: frozenset[str],
    key: jax.Array | None = None,
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer that exchanges weights of some names.

    Args:
      optimizer: how weights are trained.
      names: of the tensors whose weights are exchanged.
      key: of the first mask and of growth; None where the state is given others.
      **options: of `prune.sparsify`.
    """
    return prune.sparsify(
        optimizer,
        prunable=lambda name, _: name in names,
        key=keys.stream(0, 0, "") if key is None else key,
        **options,
    )


class DynamicNetworks:
    """The networks of a run: what each starts from, and how it is trained."""

    def __init__(self, lab: Lab) -> None:
        self.config: DynamicConfig = lab.config
        self._lab, self._experiment = lab, lab.experiment
        self._dense = lab.dense_mask
        self._steps = lab.experiment.plan(1.0).steps
        self._counts = cost.multiplications(lab.experiment)
        self._changes = change_steps(self.config, self._steps)

    def expected(self) -> list[str]:
        """Return the names of all networks, those on the way to others included."""
        config, names = self.config, artifacts.networks(self.config)
        if DYNAMIC_IMP in config.methods:
            names += [name for density in config.densities for name in self.phases(density).names()]
        if IMP in config.methods:
            numbers = range(1, len(levels(self._experiment)) + 1)
            names += [self._level(n, r) for n in numbers for r in range(config.replicates)]
        return list(dict.fromkeys(names))

    def phases(self, density: float) -> Phases:
        """Return the networks of dynamic IMP that lead to those of a density."""
        ends = [*self._changes, self._steps]
        given = {"counts": self._counts, "finite": self._finite, "largest": self._largest}
        return Phases(self._lab, ends, density, **given)

    # Dense networks.

    def request_dense(self, replicate: int) -> TrainRequest:
        """Return the request for a dense network, which keeps the states that others need."""
        steps = {self.config.rewind_step} if IMP in self.config.methods else set()
        steps |= set(self._changes[:1]) if DYNAMIC_IMP in self.config.methods else set()
        return TrainRequest(
            artifact=artifacts.dense(replicate),
            start=lambda: Ticket(self._lab.init(replicate), self._dense),
            key=self._lab.key("order", replicate),
            start_step=0,
            record=artifacts.record(replicate, DENSE),
            snapshots={step: artifacts.state(step, replicate) for step in sorted(steps - {0})},
            measure=lambda _: {"flops": 1.0},
        )

    # Sparse from the first step to the last.

    def compile_sparse(self, method: str, density: float, length: float) -> CompiledTraining:
        """Return a training whose optimizer moves the mask, where the method does."""
        change = self._sparsify(method, density, length)
        if method not in GROWTH:
            return self._experiment.compile_training(dilation=length)
        return self._experiment.compile_training(dilation=length, change=change)

    def request_sparse(
        self, name: str, method: str, density: float, length: float, replicate: int
    ) -> TrainRequest:
        """Return the request for a network that is sparse throughout."""
        steps = self._experiment.plan(length).steps
        first = functools.partial(self._first_mask, density, length, replicate)
        grows = method in GROWTH

        def start() -> Ticket:
            network, mask = self._lab.init(replicate), first()
            network = network._replace(params=masks.apply(network.params, mask))
            return Ticket(jax.device_get(network), self._dense if grows else mask)

        def first_opt(opt: Any) -> Any:
            key = jax.random.key_data(self._mask_key(replicate))
            return opt._replace(mask=first(), key=key)

        def cost_of(share: float) -> float:
            schedule = self._schedule(density, steps)
            dense = method == "rigl"
            return length * (
                cost.of_growth(share, schedule, steps=steps, dense=dense) if grows else share
            )

        return TrainRequest(
            artifact=artifacts.network(density, name, replicate),
            start=start,
            key=self._lab.key("order", replicate),
            start_step=0,
            record=artifacts.record(replicate, name),
            measure=lambda ticket: cost.record(self._counts, ticket.mask, cost_of),
            first_opt=first_opt if grows else None,
            mask_of=prune.current_mask if grows else None,
        )

    def _schedule(self, density: float, steps: int) -> prune.Schedule:
        config = self.config
        return prune.Schedule(
            density=density,
            kind="constant",
            every=config.update_every,
            end=int(config.update_until * steps),
            fraction=config.update_fraction,
        )

    def _sparsify(self, method: str, density: float, length: float) -> Any:
        """Return what makes an optimizer one of SET or RigL."""
        distribution = self.config.distribution
        return functools.partial(
            self._experiment.memo,
            _sparsified,
            schedule=self._schedule(density, self._experiment.plan(length).steps),
            scope=SCOPES.get(distribution, distribution),
            names=frozenset(trees.names(self._dense)),
            growth=GROWTH.get(method, "random"),
        )

    def _first_mask(self, density: float, length: float, replicate: int) -> masks.Mask:
        """Return the random mask of a replicate, the same for all of these methods."""
        sparsify = self._sparsify("set", density, length)
        optimizer = sparsify(optax.sgd(0.0), key=self._mask_key(replicate))
        return jax.device_get(prune.current_mask(optimizer.init(self._experiment.prunable.zeros)))

    def _mask_key(self, replicate: int) -> jax.Array:
        return self._lab.key("dynamic mask", replicate)

    # Tickets.

    def requests_imp(self, number: int) -> list[TrainRequest]:
        """Return the requests for the networks of a level of IMP whose level before is there."""
        densities = levels(self._experiment)
        density = densities[number - 1]
        of_chain = [d for d in between(self.config) if d > density]
        before = densities.index(of_chain[-1]) + 1 if of_chain else 0
        source = functools.partial(self._level, before)
        return [
            TrainRequest(
                artifact=self._level(number, replicate),
                start=functools.partial(self._ticket, density, source(replicate), replicate),
                key=self._lab.key("order", replicate),
                start_step=self.config.rewind_step,
                record=artifacts.record(
                    replicate, IMP, on_the_way=density not in self.config.densities
                ),
                measure=functools.partial(self._of_imp, source(replicate)),
            )
            for replicate in self._finite(source)
        ]

    def _level(self, number: int, replicate: int) -> str:
        if number == 0:
            return artifacts.dense(replicate)
        density = levels(self._experiment)[number - 1]
        if density in self.config.densities:
            return artifacts.network(density, IMP, replicate)
        return artifacts.level(number, replicate)

    def _ticket(self, density: float, source: str, replicate: int) -> Ticket:
        before = (
            self._dense if source == artifacts.dense(replicate) else self._lab.load_mask(source)
        )
        return Ticket(self._rewound(replicate), self._largest(source, before, density))

    def _rewound(self, replicate: int) -> Network:
        step = self.config.rewind_step
        return (
            self._lab.load(artifacts.state(step, replicate)) if step else self._lab.init(replicate)
        )

    def _of_imp(self, source: str, ticket: Ticket) -> dict[str, float | None]:
        """Return the costs of a level with those of all levels before."""
        before = self._lab.run.record(source)["flops"]
        part = 1 - self.config.rewind_step / self._steps
        return cost.record(self._counts, ticket.mask, lambda share: before + part * share)

    # What they share.

    def _finite(self, artifact: Any) -> list[int]:
        """Return the replicates of a kind of network that are there and did not diverge."""
        run = self._lab.run
        names = {replicate: artifact(replicate) for replicate in self._lab.replicates}
        return [r for r, name in names.items() if run.has(name) and not self._lab.diverged(name)]

    def _largest(self, artifact: str, mask: masks.Mask, density: float) -> masks.Mask:
        """Return the mask of the largest weights of a stored network."""
        keep: KeepCount = self._experiment.prunable.keeping(density)
        params = self._lab.load(artifact).params
        settings.require(
            total_kept(keep) <= int(masks.kept(mask)),
            f"`density` {density:g} keeps more weights than the level before it.",
        )
        return self._lab.by_magnitude(params, mask, keep)
