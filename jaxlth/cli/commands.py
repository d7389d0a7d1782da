"""The commands and their options; the docstring of a field is the help of its option."""

import dataclasses
import math
import pathlib
from typing import Annotated, Literal

import tyro

from jaxlth import ranges
from jaxlth.early import EarlySettings
from jaxlth.instability import InstabilitySettings
from jaxlth.mask_training import MaskTrainingSettings
from jaxlth.report import formats
from jaxlth.separation import SeparationSettings
from jaxlth.settings import effective, known, require
from jaxlth.supermask import SupermaskSettings
from jaxlth.tickets import BENCHMARKS, ImpSettings

TOLERANCE = 0.002  # the one default of --tolerance

Scale = Literal["smoke", "cpu", "paper"]
Format = Literal["table", "json", "csv"]
Kind = Literal[
    "accuracy",
    "train-accuracy",
    "training",
    "early-stopping",
    "dilation",
    "layers",
    "units",
    "overlap",
    "weights",
    "steps",
    "instability",
    "error",
    "interpolation",
    "throughout",
    "distances",
    "start",
    "onset",
    "separation",
    "tasks",
    "degrees",
    "unused",
    "network",
    "pixels",
    "supermask",
    "stopping",
    "thresholds",
    "sizes",
]
OF_SEVERAL = ("accuracy", "train-accuracy")  # kinds of figures that lay runs over each other
OF_LEVELS = ("training", "network", "pixels")  # kinds of figures of which one may choose levels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What every command that trains networks takes."""

    out: str = "runs"
    """Folder of all runs; also gs://BUCKET/FOLDER, with jaxlth[gcs]."""
    settings: str | None = None
    """TOML file of settings, such as settings.toml in a run's folder; options given besides win."""
    benchmark: str | None = None
    """Settings of a benchmark of the papers, by name; options given besides win."""
    scale: Scale = "paper"
    """How much of the benchmark: as published (paper), shortened to hours (cpu) or minutes
    (smoke)."""
    wait: bool = False
    """Wait while another process works on the same run."""
    devices: Annotated[
        int | None, ranges.at_least(1, most=1024, why="each has threads of its own")
    ] = None
    """Number of devices to train on; on CPU, of networks trained side by side (convolutional ones
    train one after another, on all cores). All devices, or all cores, if not given."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints within a network's training, above 0."""
    keep_programs: bool = True
    """Keep compiled programs in the user's cache folder (jaxlth, at most 1 GB), so that later runs
    start sooner. $JAX_COMPILATION_CACHE_DIR, where it is set, is used instead."""
    tensorboard: str | None = None
    """Folder for TensorBoard event files of all training curves; needs jaxlth[tensorboard]."""
    distributed: bool = False
    """Work together with the same command on the other hosts of a TPU slice or Slurm job.
    Elsewhere $JAX_COORDINATOR_ADDRESS (HOST:PORT of the first process), $JAXLTH_PROCESSES (their
    number) and $JAXLTH_PROCESS (from 0) say who takes part."""
    tolerance: float = TOLERANCE
    """A ticket matches if it loses at most this much of the dense accuracy, in [0, 1]."""

    def __post_init__(self) -> None:
        _check_tolerance(self.tolerance)
        if self.benchmark is not None:
            known("benchmark", self.benchmark, BENCHMARKS)
        require(
            self.benchmark is None or self.settings is None,
            "Give `--benchmark` or `--settings`, not both.",
        )
        require(
            self.benchmark is not None or self.scale == "paper",
            f"`--scale` {self.scale} needs `--benchmark`, which it shortens.",
        )
        effective(
            self,
            "tolerance",
            not isinstance(self, Separation | Supermask),
            "on `jaxlth separation` and `supermask`, whose sentences have none",
        )
        require(
            self.checkpoint_seconds > 0,
            f"`checkpoint_seconds` must be above 0; got {self.checkpoint_seconds:g}.",
        )
        ranges.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imp(Training):
    """Find lottery tickets by iterative magnitude pruning with rewinding.

    Trains a dense network, prunes it, rewinds the surviving weights and trains again, level by
    level, with controls beside every ticket. What is in the run's folder already is not computed
    again: asking for more levels, replicates or controls extends a run.
    """

    job: Annotated[ImpSettings, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=ImpSettings
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Early(Training):
    """Prune before, early in, or between trainings, by any score, and train what is left.

    Combines each score with each schedule, ablation, initial weights, step and density. What is in
    the run's folder already is not computed again: asking for more of them extends a run.
    """

    job: Annotated[EarlySettings, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=EarlySettings
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instability(Training):
    """Tell from which step on training finds the same minimum whatever its SGD noise.

    From steps of a dense training, twins are trained with other data orders and augmentations: of
    the dense network, of tickets that IMP finds there, of their controls, of what a score prunes.
    Errors on the line between them say whether they share a minimum. What is in the run's folder
    already is not computed again: asking for more steps, networks or twins extends a run.
    """

    job: Annotated[InstabilitySettings, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=InstabilitySettings
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Separation(Training):
    """Tell whether a network that learns several tasks falls apart along them when it is pruned.

    Prunes as `jaxlth imp` does, and looks at the network as a graph at each level: interconnected,
    separated into a network for each task, or degraded, which ends a replicate. What is in the
    run's folder already is not computed again: asking for more replicates extends a run.
    """

    job: Annotated[SeparationSettings, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=SeparationSettings
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supermask(Training):
    """Choose what to prune by how good the masked network is before it is trained.

    Trains a network to its least validation loss and keeps of its initial weights those that
    training made large without changing their sign: beyond the threshold at which the network,
    masked and untrained, is most accurate. Trains that ticket beside dense networks of its size and
    of others. What is in the run's folder already is not computed again: asking for more sizes or
    replicates extends a run.
    """

    job: Annotated[SupermaskSettings, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=SupermaskSettings
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainMask(Training):
    """Train which weights of a network to keep, and not the weights.

    Supermasks: masks drawn with trained probabilities (bernoulli), or of trained scores
    (edge-popup, gem-miner). --optimizer, --lr and the training's length are those of the masks;
    --finetune trains the weights that they keep afterwards, beside controls and dense networks.
    What is in the run's folder already is not computed again: asking for more densities, controls
    or replicates extends a run.
    """

    job: Annotated[MaskTrainingSettings, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=MaskTrainingSettings
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Print the table of results: of the newest run, of the runs named, or of all."""

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Folders or names of runs; the newest one if none is given."""
    out: str = "runs"
    """Folder of all runs; also gs://BUCKET/FOLDER, with jaxlth[gcs]."""
    all: bool = False
    """Take every run in the folder."""
    format: Format = "table"
    """What to print: a summary by level (table), or a row for each network (json, csv)."""
    file: str | None = None
    """File to write the rows of all networks to, in the format of its ending: .csv, .json or
    .parquet, which needs jaxlth[parquet]. Its name is printed then, and no table."""
    curves: bool = False
    """With json, csv or --file: a row for each evaluation during training instead."""
    tolerance: float = TOLERANCE
    """A ticket matches if it loses at most this much of the dense accuracy, in [0, 1]."""
    baseline: str | None = None
    """A method of `jaxlth early` or `train-mask`, such as snip-ums: also print p of Welch's t-test
    of each method against it."""

    def __post_init__(self) -> None:
        _check_tolerance(self.tolerance)
        require(
            self.baseline is None or (self.format == "table" and self.file is None),
            "`--baseline` belongs to the table; leave out --format and --file.",
        )
        effective(
            self,
            "tolerance",
            self.format == "table" and self.file is None,
            "but in the table; leave out --format and --file",
        )
        require(not (self.all and self.runs), "Name runs or give --all, not both.")
        require(
            not self.curves or self.file is not None or self.format != "table",
            "`--curves` needs --format json, --format csv or --file.",
        )
        if self.file is not None:
            formats.check(self.file)
            ending = pathlib.Path(self.file).suffix
            require(
                self.format == "table" or ending == f".{self.format}",
                f"`--format` {self.format} and a `--file` that ends in {ending} contradict each "
                "other; leave out --format.",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """Draw a figure from stored results."""

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Folders or names of runs; the newest one if none is given. The kinds accuracy and
    train-accuracy draw the tickets of several over each other."""
    out: str = "runs"
    """Folder of all runs; also gs://BUCKET/FOLDER, with jaxlth[gcs]."""
    kind: Kind = "accuracy"
    """What to draw: accuracy by density, on the test set (accuracy) or the training set
    (train-accuracy); test accuracy through training (training); step and accuracy of least
    validation loss (early-stopping); length of training that reaches the dense accuracy
    (dilation). Of `jaxlth early` and `train-mask`: what is kept of each layer (layers), how sparse
    units are (units), what masks share (overlap); of `jaxlth early`, the sparsest tickets' weights
    before and after training (weights), accuracy by the step that is pruned at (steps). Of `jaxlth
    instability`, by the step that twins start from: error barrier between them (instability), their
    error (error), other distances (distances), where they start (start); the error along the lines
    (interpolation), the barrier through training (throughout); the step from which networks are
    stable, by density (onset). Of `jaxlth separation`, by level: accuracy of tasks and weights of
    each category (separation), inactive and zombie weights (unused), units of one task only
    (degrees); accuracy of tasks by available weights (tasks). Of `jaxlth separation`, and of
    `jaxlth imp` without convolutions: pictures of a network at its levels (network), weights that
    leave each pixel (pixels). Of `jaxlth supermask`: the accuracy of untrained masked networks by
    threshold, and the loss of tickets in training (supermask); the loss of the long training and of
    the one that stops (stopping); size and accuracy by threshold (thresholds); loss and size of
    tickets and of all dense networks (sizes)."""
    levels: tuple[int, ...] = ()
    """Levels to draw in the kinds training, network and pixels; about six if none is given."""
    file: str | None = None
    """PNG, PDF or SVG file; KIND.png in the run's folder if not given."""

    def __post_init__(self) -> None:
        require(
            len(self.runs) <= 1 or self.kind in OF_SEVERAL,
            f"The kind {self.kind} draws one run, but {len(self.runs)} are named; the kinds that "
            f"draw several are {' and '.join(OF_SEVERAL)}.",
        )
        require(
            not self.levels or self.kind in OF_LEVELS,
            f"`levels` belongs to the kinds {', '.join(OF_LEVELS)}; the kind {self.kind} draws "
            "all.",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """List runs with their state, progress and size."""

    out: str = "runs"
    """Folder of all runs; also gs://BUCKET/FOLDER, with jaxlth[gcs]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """Write a ticket, mask and weights, to a file that other frameworks read."""

    file: tyro.conf.Positional[str]
    """File to write: .safetensors or .npz."""
    run: str | None = None
    """Folder or name of a run; the newest one if not given."""
    out: str = "runs"
    """Folder of all runs; also gs://BUCKET/FOLDER, with jaxlth[gcs]."""
    replicate: int = 0
    """Repetition, counted from 0."""
    level: int | None = None
    """Number of prunings, of a run of `jaxlth imp`; 1 if not given."""
    control: str | None = None
    """The ticket itself (ticket, if not given) or one of its controls, of a run of `jaxlth imp`."""
    density: float | None = None
    """Share of the weights that the ticket keeps, of a run of `jaxlth early` or `train-mask`."""
    method: str | None = None
    """Score, schedule and what was done to the ticket, such as snip-ums or snip-ums-shuffled, of a
    run of `jaxlth early`; such as edge-popup, of `train-mask`; `jaxlth results` lists them."""


COMMANDS = {
    "imp": Imp,
    "early": Early,
    "instability": Instability,
    "separation": Separation,
    "supermask": Supermask,
    "train-mask": TrainMask,
    "results": Results,
    "figure": Figure,
    "list": List,
    "export": Export,
}


def _check_tolerance(tolerance: float) -> None:
    require(
        0 <= tolerance <= 1 and not math.isnan(tolerance),
        f"`tolerance` must be an accuracy in [0, 1]; got {tolerance:g}.",
    )
