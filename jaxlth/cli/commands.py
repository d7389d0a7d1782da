"""The commands and their options; the docstring of a field is the help of its option."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import tyro

from jaxlth.cli import formats
from jaxlth.settings import RARE, check_choice, effective, ranges, require
from jaxlth.store import share
from jaxlth.studies import STUDIES, TOLERANCE, Study, figure_kinds
from jaxlth.studies.controls import CONTROLS, TICKET
from jaxlth.studies.imp.benchmarks import BENCHMARKS
from jaxlth.studies.running import MOST_DEVICES

Scale = Literal["smoke", "cpu", "paper"]
Format = Literal["table", "json", "csv"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What every command that trains networks takes."""

    out: str = "runs"
    """Folder of all runs; also gs://BUCKET/FOLDER, with jaxlth[gcs]."""
    settings: str | None = None
    """TOML file of settings, such as a run's settings.toml; options given besides win."""
    benchmark: Annotated[str | None, ranges.OneOf(BENCHMARKS, others=ranges.anything)] = None
    """Settings of a benchmark of the papers, by name; options given besides win."""
    scale: Scale = "paper"
    """How much of the benchmark: paper (as published), cpu (shortened to hours) or smoke (to
    minutes)."""
    wait: Annotated[bool, RARE] = False
    """Wait while another process works on the same run."""
    share: Annotated[str | None, RARE] = None
    """I/N, such as 2/5: do the I-th of N shares of the replicates, beside processes on this or
    other machines that do the others, in the same folder or bucket."""
    devices: Annotated[
        int | None, ranges.at_least(1, most=MOST_DEVICES, why="each has threads of its own")
    ] = None
    """Number of devices to train on; on CPU, of networks trained side by side (convolutional ones
    train one after another, on all cores). All devices, or all cores, if not given."""
    checkpoint_seconds: Annotated[float, RARE] = 60.0
    """Seconds between checkpoints within a network's training, above 0."""
    keep_programs: Annotated[bool, RARE] = True
    """Keep compiled programs in the user's cache folder (jaxlth, at most 1 GB), so that later runs
    start sooner. $JAX_COMPILATION_CACHE_DIR, where it is set, is used instead."""
    tensorboard: Annotated[str | None, RARE] = None
    """Folder for TensorBoard event files of all training curves; needs jaxlth[tensorboard]."""
    profile: Annotated[str | None, RARE] = None
    """Folder for a trace of JAX of a part of the training, from its second evaluation or checkpoint
    to the third: where the time goes, for Perfetto and TensorBoard's profile plugin."""
    distributed: Annotated[bool, RARE] = False
    """Work together with the same command on the other hosts of a TPU slice or Slurm job.
    Elsewhere $JAX_COORDINATOR_ADDRESS (HOST:PORT of the first process), $JAXLTH_PROCESSES (their
    number) and $JAXLTH_PROCESS (from 0) say who takes part."""
    tolerance: Annotated[float, RARE] = TOLERANCE
    """A ticket matches if it loses at most this much of the dense accuracy, in [0, 1]."""

    study: ClassVar[Study]  # that the command runs; each has a class of its own, see `of_study`
    config: Any  # of the study

    def __post_init__(self) -> None:
        _check_tolerance(self.tolerance)
        if self.benchmark is not None:
            check_choice("benchmark", self.benchmark, BENCHMARKS)
        require(
            self.benchmark is None or self.settings is None,
            "Give `--benchmark` or `--settings`, not both.",
        )
        require(
            self.benchmark is not None or self.scale == "paper",
            f"`--scale` {self.scale} needs `--benchmark`, which it shortens.",
        )
        without = [study.name for study in STUDIES.values() if not study.tolerance]
        effective(
            self,
            "tolerance",
            self.study.tolerance,
            f"on {in_words(without)}, whose sentences have none",
        )
        if self.share is not None:
            share.parse(self.share)
        require(
            self.checkpoint_seconds > 0,
            f"`checkpoint_seconds` must be above 0; got {self.checkpoint_seconds:g}.",
        )
        ranges.check(self)


@functools.cache
def of_study(study: Study) -> type[Training]:
    """Return the class of the command that runs a study: its settings are the field `config`."""
    config = Annotated[study.Config, tyro.conf.arg(name="")]
    return dataclasses.make_dataclass(
        study.name.title().replace("-", ""),
        [("config", config, dataclasses.field(default_factory=study.Config))],
        bases=(Training,),
        namespace={"study": study, "__doc__": study.help, "__module__": __name__},
        frozen=True,
        kw_only=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Print the results of runs, or write them to a file."""

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
    study: str | None = None
    """Study of your own that the runs are of, as FILE.py:NAME."""
    baseline: str | None = None
    """A method of `jaxlth prune-early` or `train-supermasks`, such as
    snip-before-rounds: also print p of Welch's t-test of each method against it."""

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
    kind: str = "accuracy"
    """What to draw: a kind of figure that the study of the run has."""
    levels: tuple[int, ...] = ()
    """Levels to draw in the kinds training, network and pixels; about six if none is given."""
    file: str | None = None
    """PNG, PDF or SVG file; KIND.png in the run's folder if not given."""
    style: Literal["screen", "paper"] = "screen"
    """For reports and web pages (screen), or for a column of a paper, 3.25 inches wide, with serif
    fonts (paper)."""
    study: str | None = None
    """Study of your own that the runs are of, as FILE.py:NAME."""

    def __post_init__(self) -> None:
        of_several, of_levels = figure_kinds("of_several"), figure_kinds("of_levels")
        require(
            len(self.runs) <= 1 or self.kind in of_several,
            f"The kind {self.kind} draws one run, but {len(self.runs)} are named; the kinds that "
            f"draw several are {' and '.join(of_several)}.",
        )
        require(
            not self.levels or self.kind in of_levels,
            f"`levels` belongs to the kinds {', '.join(of_levels)}; the kind {self.kind} draws "
            "all.",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Write a page of runs for the browser, with charts.

    It needs jaxlth[report].
    """

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Folders or names of runs; the newest one if none is given. Those of one study are laid over
    each other, other studies come below."""
    out: str = "runs"
    """Folder of all runs; also gs://BUCKET/FOLDER, with jaxlth[gcs]."""
    file: str | None = None
    """File to write, which ends in .html; report.html in the first run's folder if not given."""
    tolerance: float = TOLERANCE
    """A ticket matches if it loses at most this much of the dense accuracy, in [0, 1]."""
    study: str | None = None
    """Study of your own that the runs are of, as FILE.py:NAME."""

    def __post_init__(self) -> None:
        _check_tolerance(self.tolerance)


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """List runs with their state, progress and size."""

    out: str = "runs"
    """Folder of all runs; also gs://BUCKET/FOLDER, with jaxlth[gcs]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """Write a ticket to a file that other frameworks read."""

    file: tyro.conf.Positional[str]
    """File to write: .safetensors or .npz."""
    run: str | None = None
    """Folder or name of a run; the newest one if not given."""
    out: str = "runs"
    """Folder of all runs; also gs://BUCKET/FOLDER, with jaxlth[gcs]."""
    study: str | None = None
    """Study of your own that the run is of, as FILE.py:NAME."""
    weights: Literal["start", "trained"] = "start"
    """The weights that the ticket starts from, or those that it has become in training."""
    layout: Literal["jaxlth", "torch"] = "jaxlth"
    """torch: a .safetensors file that `load_state_dict` of a PyTorch module takes, pruned weights
    zero; `models.load_torch` reads it."""
    replicate: int = 0
    """Repetition, counted from 0."""
    level: int | None = None
    """Number of prunings, of a run of `jaxlth imp`; 1 if not given."""
    control: Annotated[str | None, ranges.OneOf((TICKET, *CONTROLS), others=ranges.anything)] = None
    """The ticket itself (ticket, if not given) or one of its controls, of a run of `jaxlth imp`."""
    density: float | None = None
    """Share of the weights that the ticket keeps, of a run of `jaxlth prune-early` or
    `train-supermasks`; not needed where masks were trained without a density."""
    method: str | None = None
    """Score, schedule and control, such as snip-before-rounds or snip-before-rounds-shuffled, of a
    run of `jaxlth prune-early`; such as edge-popup, of `train-supermasks`; `jaxlth results` lists
    them."""


READING = {"results": Results, "figure": Figure, "report": Report, "list": List, "export": Export}


def by_name() -> dict[str, type]:
    """Return the class of each command by its name: of the studies, and of what reads runs."""
    for name in READING:
        require(name not in STUDIES, f"A study has the name {name}, which is another command's.")
    return {name: of_study(study) for name, study in STUDIES.items()} | READING


def in_words(names: Sequence[str]) -> str:
    """Return commands as a sentence lists them.

    Example:
      >>> in_words(["imp", "prune-early", "separation"])
      '`jaxlth imp`, `prune-early` and `separation`'
    """
    words = [f"`jaxlth {name}`" for name in names[:1]] + [f"`{name}`" for name in names[1:]]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _check_tolerance(tolerance: float) -> None:
    require(
        0 <= tolerance <= 1 and not math.isnan(tolerance),
        f"`tolerance` must be an accuracy in [0, 1]; got {tolerance:g}.",
    )
