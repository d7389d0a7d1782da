"""Find lottery tickets: train, prune, rewind, repeat, and train the controls beside them.

A ticket is a mask with the state it starts from, at one level; level 0 is the dense network. Each
trained network is a unit of the run's folder, "level_03/ticket/replicate_0", and is trained only if
the folder lacks it.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Literal

import jax
import numpy as np

from jaxlth import data, keys, masks, models, prune, scores, settings, store, training, trees, work
from jaxlth.data import DataSettings
from jaxlth.models import Model, ModelSettings, Network
from jaxlth.store import Run
from jaxlth.training import OptimizerSettings, TrainingSettings, optimizers, train
from jaxlth.work import Ask, Progress, Start

TICKET = "ticket"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImpSettings:
    """Iterative magnitude pruning: train, prune, rewind, repeat.

    References:
      Frankle 2023, Algorithms 1, 2 and 4; Renda et al. 2020 for learning-rate rewinding.
    """

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    levels: int = settings.outside(12)
    """Prunings; level 0 is the dense network."""
    prune_fraction: float = 0.2
    """Share of the surviving weights that each level prunes, in (0, 1)."""
    rewind_step: int = 0
    """Step of the dense training whose state tickets restart from; 0 is initialisation."""
    one_shot: bool = False
    """Prune the dense network to each level's density at once."""
    after_pruning: Literal["rewind", "learning-rate", "fine-tune"] = "rewind"
    """After pruning: rewind weights and learning rate, the learning rate only, or neither."""
    scope: Literal["global", "layerwise"] = "global"
    """Compare the weights of the whole network, or prune each layer alike."""
    leave_out: tuple[str, ...] = ()
    """Weights never to be pruned, by name or pattern such as "Dense_2/*"."""
    controls: tuple[str, ...] = settings.outside(("reinitialized", "random"))
    """Controls trained beside each ticket: reinitialized, shuffled, random, random-layerwise."""
    control_levels: tuple[int, ...] = settings.outside(())
    """Levels at which controls are trained; all of them if none is given."""
    dilations: tuple[float, ...] = settings.outside(())
    """Factors of the training's length at which networks train again until they match dense."""
    stop_density: float | None = settings.outside(None)
    """Stop after the first level of at most this density, in (0, 1)."""
    stop_lost_accuracy: float | None = settings.outside(None)
    """Stop after the first level whose tickets lose more accuracy on average, in (0, 1)."""
    replicates: int = settings.outside(3)
    """Repetitions, each with its own initialisation and data order."""
    seed: int = 0
    """Seed of every random stream."""

    def __post_init__(self) -> None:
        for control in self.controls:
            settings.known("controls", control, CONTROLS)
        _choice("after_pruning", self.after_pruning, ("rewind", "learning-rate", "fine-tune"))
        _choice("scope", self.scope, ("global", "layerwise"))
        _at_least("levels", self.levels, 0)
        _at_least("rewind_step", self.rewind_step, 0)
        _at_least("replicates", self.replicates, 1)
        settings.require(
            0 <= self.seed < 2**32, f"`seed` must lie in 0..{2**32 - 1}; got {self.seed}."
        )
        settings.require(
            len(set(self.controls)) == len(self.controls),
            f"`controls` must name each control once; got {' '.join(self.controls)}.",
        )
        settings.require(
            all(1 <= level <= self.levels for level in self.control_levels),
            f"`control_levels` must lie in 1..{self.levels}; got {list(self.control_levels)}.",
        )
        settings.require(
            0 < self.prune_fraction < 1,
            f"`prune_fraction` must lie between 0 and 1; got {self.prune_fraction}.",
        )
        for name in ("stop_density", "stop_lost_accuracy"):
            value = getattr(self, name)
            settings.require(
                value is None or 0 < value < 1, f"`{name}` must lie between 0 and 1; got {value}."
            )
        settings.require(
            all(factor > 0 for factor in self.dilations),
            f"`dilations` must be above 0; got {list(self.dilations)}.",
        )
        settings.require(
            not self.dilations or self.after_pruning != "fine-tune",
            "`dilations` stretch the schedule of training, which fine-tune does not follow; leave "
            "one of them out.",
        )
        settings.require(
            self.data.validation > 0
            or (self.training.patience is None and self.training.keep == "last"),
            "`patience` and `keep` best need a validation split; `validation` is 0.",
        )


def _choice(name: str, value: str, options: tuple[str, ...]) -> None:
    settings.known(name, value, options)


def _at_least(name: str, value: int, least: int) -> None:
    settings.require(value >= least, f"`{name}` must be at least {least}; got {value}.")


# ticket, newly drawn network, key -> control. Random masks get new weights (Frankle 2023, notes 7
# and 10); shuffled keeps those of the ticket, as the random pruning of chapter 4 does.
CONTROLS: dict[str, Callable[[Start, Network, jax.Array], Start]] = {
    "reinitialized": lambda ticket, new, key: Start(new, ticket.mask),
    "shuffled": lambda ticket, new, key: Start(ticket.network, masks.shuffle(ticket.mask, key=key)),
    "random": lambda ticket, new, key: Start(new, masks.random(ticket.mask, key=key)),
    "random-layerwise": lambda ticket, new, key: Start(new, masks.shuffle(ticket.mask, key=key)),
}


def imp(
    chosen: ImpSettings, run: Run, *, checkpoint_seconds: float
) -> Generator[Progress, None, None]:
    """Find tickets and train their controls, as far as the run lacks them.

    Args:
      chosen: what is wanted.
      run: where results are looked for and stored.
      checkpoint_seconds: time between checkpoints within a network's training.

    Yields:
      Progress, about once a second.

    Raises:
      ValueError: the settings do not fit the data or the network.
    """
    if _complete(chosen, run):
        return
    job = Job(chosen, run)
    _plan(run, job.first_asked())
    course = job.course()
    later = job.course(fine_tune=True) if chosen.after_pruning == "fine-tune" else course
    for level in range(job.levels + 1):
        asks = [
            job.ask(level, control, replicate)
            for control in trained_at(level, chosen)
            for replicate in range(chosen.replicates)
            if not job.diverged_before(level, replicate)
        ]
        yield from work.train(
            run,
            asks,
            later if level else course,
            job.placed,
            later=job.missing_after(level),
            checkpoint_seconds=checkpoint_seconds,
        )
        if job.lost_too_much(level):
            break
    yield from _dilate(job, checkpoint_seconds)
    _plan(run, ())


def check(chosen: ImpSettings, path: pathlib.Path) -> None:
    """Raise ValueError unless the settings fit data and network: before a run's folder is touched.

    Args:
      chosen: what is wanted.
      path: folder of the run, which need not exist; where it has everything, no data are needed.
    """
    run = Run(path, -1)
    if not _complete(chosen, run):
        Job(chosen, run)


def _plan(run: Run, asked: Iterable[str]) -> None:
    """Tell the run how many units it is to hold: those asked for and those it has."""
    run.plan(len({*asked, *(name for name, _ in run.records())}))


def _complete(chosen: ImpSettings, run: Run) -> bool:
    """Return whether the run has all networks, as far as that is known without the data."""
    if chosen.dilations or chosen.stop_density or chosen.stop_lost_accuracy:
        return False
    return all(run.has(name) for name in units(chosen, levels=chosen.levels))


def _dilate(job: "Job", checkpoint_seconds: float) -> Iterator[Progress]:
    """Train every network for ever longer, until it reaches the dense accuracy.

    References:
      Frankle 2023, section 3.3.6: the least dilation is that network's learning speed.
    """
    dense = job.mean_accuracy(0, "test_accuracy")  # NaN, which nothing matches, if none trained
    waiting = [
        (level, control, replicate)
        for level in range(job.levels + 1)
        for control in trained_at(level, job.chosen)
        for replicate in range(job.chosen.replicates)
        if job.run.has(unit(level, control, replicate))
    ]
    for dilation in sorted(job.chosen.dilations):
        asks = [job.ask(*which, dilation=dilation) for which in waiting]
        _plan(job.run, (ask.unit for ask in asks))
        yield from work.train(
            job.run,
            asks,
            job.course(dilation=dilation),
            job.placed,
            later=0,  # how many networks go on to the next dilation shows only then
            checkpoint_seconds=checkpoint_seconds,
        )
        accuracies = [job.run.record(ask.unit)["test_accuracy"] for ask in asks]
        waiting = [
            which
            for which, accuracy in zip(waiting, accuracies, strict=True)
            if not accuracy >= dense
        ]


class Job:
    """IMP with its data and network at hand: what each unit of the run is made of."""

    def __init__(self, chosen: ImpSettings, run: Run) -> None:
        self.chosen = chosen
        self.run = run
        self.info, dataset = data.load(chosen.data, seed=chosen.seed)
        self.placed = work.Placed(dataset)
        self.model: Model = models.build(
            chosen.model, shape=self.info.shape, classes=self.info.classes
        )
        self._init = jax.jit(self.model.init)
        template = jax.eval_shape(self.model.init, keys.stream(0, 0, ""))
        self._network_like = template
        self.dense = masks.without(masks.dense(_zeros(template.params)), chosen.leave_out)
        self._keep = self._keeps()
        self.levels = self._levels()
        self._select = jax.jit(self._pruned)
        for dilation in (1.0, *chosen.dilations):
            self._check_length(dilation)
        self.mask = functools.lru_cache(maxsize=2 * chosen.replicates)(self._mask)

    def course(self, *, dilation: float = 1.0, fine_tune: bool = False) -> work.Course:
        """Return the training, as set or dilated; or fine-tuning, at its constant last rate."""
        chosen, plan = self.chosen, self._plan(dilation)
        rate = optimizers.schedule(
            chosen.optimizer, steps=plan.steps, milestones=plan.milestones, warmup=plan.warmup
        )
        if fine_tune:
            rate = optimizers.held(rate, at=plan.steps - 1)
        trainer = train.make(
            self.model,
            optimizers.build(chosen.optimizer, rate),
            batch_size=chosen.training.batch_size,
            patience=plan.patience,
            keep_best=chosen.training.keep == "best",
            normalize=data.NORMALIZERS[chosen.data.normalize],
        )
        return work.Course(trainer, plan, train_examples=chosen.training.train_examples)

    def ask(self, level: int, control: str, replicate: int, *, dilation: float = 1.0) -> Ask:
        """Return the ask for one network; a dilation of 1 is the network itself."""
        name = unit(level, control, replicate)
        rewind_step = round(self.chosen.rewind_step * dilation)
        keeps_rewound = level == 0 and rewind_step > 0 and dilation == 1
        return Ask(
            unit=dilated(name, dilation),
            start=functools.partial(self.start, level, control, replicate),
            key=keys.fold(keys.stream(self.chosen.seed, replicate, "order"), level),
            begin=rewind_step if level else 0,
            record={
                "job": "imp",
                "replicate": replicate,
                "level": level,
                "control": control,
                "dilation": dilation,
            },
            snapshots={rewind_step: rewound(replicate)} if keeps_rewound else {},
        )

    def start(self, level: int, control: str, replicate: int) -> Start:
        """Return what a network starts from."""
        mask = self.mask(level, replicate)
        ticket = Start(self._ticket_network(level, replicate), mask)
        if control == TICKET:
            return ticket
        stream = keys.stream(self.chosen.seed, replicate, f"control/{control}")
        key = keys.fold(stream, level)
        new = self._init(keys.fold(key, 0))
        return CONTROLS[control](ticket, new, keys.fold(key, 1))

    def first_asked(self) -> list[str]:
        """Return the units that the settings ask for, as far as that is known beforehand."""
        networks = units(self.chosen, levels=self.levels)
        snapshots = self.chosen.replicates if self.chosen.rewind_step else 0
        again = sorted(self.chosen.dilations)[:1]
        return [
            *networks,
            *(rewound(replicate) for replicate in range(snapshots)),
            *(dilated(name, dilation) for dilation in again for name in networks),
        ]

    def missing_after(self, level: int) -> int:
        """Return how many networks of the later levels the run lacks."""
        before = set(units(self.chosen, levels=level))
        asked = set(units(self.chosen, levels=self.levels))
        return sum(not self.run.has(name) for name in asked - before)

    def diverged_before(self, level: int, replicate: int) -> bool:
        """Return whether the network that a level prunes did not train: there is no ticket then."""
        if level == 0:
            return False
        before = unit(self._pruned_level(level), TICKET, replicate)
        return not self.run.has(before) or self.run.record(before)["nan_step"] is not None

    def lost_too_much(self, level: int) -> bool:
        """Return whether the tickets of a level lose more accuracy than the settings allow.

        Judged on the validation split where there is one.
        """
        if self.chosen.stop_lost_accuracy is None:
            return False
        split = "test_accuracy" if self.chosen.data.validation == 0 else "validation_accuracy"
        lost = self.mean_accuracy(0, split) - self.mean_accuracy(level, split)
        return lost > self.chosen.stop_lost_accuracy

    def mean_accuracy(self, level: int, split: str) -> float:
        """Return the mean accuracy of a level's tickets that did not diverge; NaN if all did."""
        names = [unit(level, TICKET, replicate) for replicate in range(self.chosen.replicates)]
        records = [self.run.record(name) for name in names if self.run.has(name)]
        trained = [record[split] for record in records if record["nan_step"] is None]
        return float(np.mean(trained)) if trained else float("nan")

    def _ticket_network(self, level: int, replicate: int) -> Network:
        if level > 0 and self.chosen.after_pruning != "rewind":
            return self._trained(level - 1, replicate)
        if level > 0 and self.chosen.rewind_step > 0:
            return self.run.load(rewound(replicate), "network", self._network_like)
        return self._init(keys.stream(self.chosen.seed, replicate, "initialization"))

    def _mask(self, level: int, replicate: int) -> masks.Mask:
        """Return the mask of a ticket, from the trained network before it."""
        if level == 0:
            return self.dense
        before = self._pruned_level(level)
        trained = self._trained(before, replicate)
        mask = self.run.load(unit(before, TICKET, replicate), "mask", self.dense)
        return jax.device_get(self._select(trained.params, mask, self._keep[level]))

    def _pruned_level(self, level: int) -> int:
        """Return the level whose trained network a level prunes."""
        return 0 if self.chosen.one_shot else level - 1

    def _plan(self, dilation: float) -> training.Plan:
        chosen, examples = self.chosen, self.info.train
        return training.plan(
            chosen.training, chosen.optimizer, examples=examples, dilation=dilation
        )

    def _check_length(self, dilation: float) -> None:
        chosen, steps = self.chosen, self._plan(dilation).steps
        dilated = "" if dilation == 1 else f" dilated by {dilation:g}"
        settings.require(
            round(chosen.rewind_step * dilation) < steps,
            f"`rewind_step` must lie in 0..{steps - 1}, before the end of training{dilated}; "
            f"got {chosen.rewind_step}.",
        )

    def _trained(self, level: int, replicate: int) -> Network:
        return self.run.load(unit(level, TICKET, replicate), "network", self._network_like)

    def _pruned(self, params: Any, mask: masks.Mask, keep: Any) -> masks.Mask:
        rule = prune.global_topk if self.chosen.scope == "global" else prune.layerwise_topk
        return rule(scores.magnitude(params), mask, keep=keep)

    def _keeps(self) -> list[Any]:
        """Return what each level keeps: a count, or counts by layer."""
        times = {"levels": self.chosen.levels, "fraction": self.chosen.prune_fraction}
        if self.chosen.scope == "global":
            return prune.keep_counts(masks.size(self.dense), **times)
        layers = trees.named(self.dense)
        counts = {name: prune.keep_counts(np.size(leaf), **times) for name, leaf in layers.items()}
        return [
            {name: count[level] for name, count in counts.items()}
            for level in range(self.chosen.levels + 1)
        ]

    def _levels(self) -> int:
        """Return the number of prunings, cut at the density to stop at."""
        least = self.chosen.stop_density
        size = masks.size(self.dense)
        for level, keep in enumerate(self._keep):
            kept = sum(keep.values()) if isinstance(keep, Mapping) else keep
            if least is not None and kept / size <= least:
                return level
        return self.chosen.levels


def find(run: Run, level: int, control: str, replicate: int) -> Start:
    """Return a ticket or control of a run: its mask and the state that it starts from.

    Raises:
      ValueError: the run has no such network.
    """
    chosen = settings.from_dict(ImpSettings, store.about_run(run.path)["settings"])
    name = unit(level, control, replicate)
    settings.require(
        run.has(name),
        f"The run {run.path.name} has no {name}; it has levels and replicates as "
        "`jaxlth results` shows them.",
    )
    return Job(chosen, run).start(level, control, replicate)


def trained_at(level: int, chosen: ImpSettings) -> tuple[str, ...]:
    """Return what is trained at a level: the ticket and, once it is pruned, its controls."""
    wanted = level > 0 and (not chosen.control_levels or level in chosen.control_levels)
    return (TICKET, *chosen.controls) if wanted else (TICKET,)


def units(chosen: ImpSettings, *, levels: int) -> list[str]:
    """Return the names of all networks that the settings ask for, dilations aside."""
    return [
        unit(level, control, replicate)
        for level in range(levels + 1)
        for control in trained_at(level, chosen)
        for replicate in range(chosen.replicates)
    ]


def unit(level: int, control: str, replicate: int) -> str:
    """Return the name of a network's unit in the run's folder."""
    return f"level_{level:02d}/{control}/replicate_{replicate}"


def rewound(replicate: int) -> str:
    """Return the name of the unit that keeps the state tickets restart from."""
    return f"rewound/replicate_{replicate}"


def dilated(name: str, dilation: float) -> str:
    """Return the name of a network's unit where it is trained longer or shorter."""
    return name if dilation == 1 else f"dilation_{dilation:g}/{name}"


def label(chosen: ImpSettings) -> str:
    """Return the readable part of a run folder's name.

    Example:
      >>> label(ImpSettings())
      'digits-lenet-300-100'
    """
    return f"{chosen.data.name.replace(':', '-')}-{models.label(chosen.model)}"


def _zeros(like: Any) -> Any:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
