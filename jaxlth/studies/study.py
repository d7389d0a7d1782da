"""The object that describes a study: commands, functions, reports and tests derive from it."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import sys
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from jaxlth.settings import check_choice, require
from jaxlth.studies.config import StudyConfig
from jaxlth.studies.loading import LoadedExperiment, load_experiment
from jaxlth.studies.parts import Parts
from jaxlth.studies.run_info import has_artifacts
from jaxlth.studies.train import Progress, Ticket

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from jaxlth.plots.charts import Chart
    from jaxlth.plots.figures import Figure

TOLERANCE = 0.002  # the one default of `tolerance`
_MISSING: Any = object()  # stands for a part that a study must have

# (table of results, folder of the run, levels to draw or () for the default ones) -> figure, or
# several pages of it
Draw: TypeAlias = "Callable[..., Figure | list[Figure]]"


class Figures(NamedTuple):
    """The figures that a study can draw."""

    kinds: Mapping[str, Draw]  # by the name of the kind
    last: Callable[[pd.DataFrame], Sequence[str]]  # table -> kinds drawn when a run ends
    help: Mapping[str, str] = {}  # a line for each kind, for the help of `jaxlth figure`
    of_levels: Sequence[str] = ()  # kinds that draw the levels asked for
    of_several: Mapping[str, Callable[[Mapping[str, pd.DataFrame]], Figure]] = {}
    # kinds that draw several runs over each other: (name of the run -> its table) -> figure
    of_parts: Collection[str] = ()
    # kinds that also take `parts=`, those of the experiment that no run stores: they draw networks


def styled(style: str, draw: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Return the figure, or pages, that a function draws, in a style of `plots.theme.STYLES`.

    Raises:
      ValueError: there is no such style.
    """
    from jaxlth.plots import figures, theme

    check_choice("style", style, theme.STYLES)
    with theme.style(style):
        drawn = draw(*arguments, **named)
    for page in figures.pages(drawn):
        theme.wrap_labels(page)
    return drawn


class Summary(NamedTuple):
    """What is printed of a run."""

    table: Table
    sentence: str


class TicketName(NamedTuple):
    """What names a ticket of a run; a study reads some of these and refuses the others."""

    level: int | None = None  # number of prunings
    control: str | None = None  # "ticket", or a control of it
    density: float | None = None  # share of the weights that it keeps, in (0, 1]
    method: str | None = None  # score, schedule and control, as tables name it
    replicate: int = 0  # repetition, counted from 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """The description of a study: its settings, its run, its results and its figures.

    Raises:
      ValueError: a part is missing, or the name is none; the message names study and part.
      TypeError: `Config` is no class of settings.
    """

    name: str
    """Name of the command, and of the study in the names of run folders."""
    help: str | None = _MISSING
    """Text of the command's help, the docstring of the study; its first line says what it does."""
    Config: type[Any] = _MISSING
    """Class of the settings, a frozen dataclass with a default for each field."""
    run: Callable[..., Generator[Progress, None, None]] = _MISSING
    """(lab, config) -> progress; it computes what the run of the lab lacks."""
    artifacts: Callable[[Any], Sequence[str]] = _MISSING
    """Config -> names of the artifacts that a run is to hold, as far as they are known before."""
    summarize: Callable[..., Summary] = _MISSING
    """(table of results, folder, tolerance=, width=) -> what is printed of the run."""
    figures: Figures = _MISSING
    charts: Callable[[pd.DataFrame, pd.DataFrame, pathlib.Path], Sequence[Chart]] | None = None
    """(table of results, table of curves, folder) -> the charts that come first on the page of
    `jaxlth report`; None: accuracy by density, if the table has it, else the last figures. Curves
    of training and densities of layers follow in every study."""
    prepare: Callable[[Any, Parts], LoadedExperiment] = load_experiment
    """(config, parts) -> the experiment, its data read; ValueError where what is asked for cannot
    be."""
    complete: Callable[[Any, pathlib.Path], bool] | None = None
    """(config, folder) -> whether the run there lacks nothing, told without the data; None where
    `artifacts` says it."""
    ticket: Callable[[TicketName, pathlib.Path, Parts], tuple[Ticket, dict[str, Any]]] | None = None
    """(name, folder, parts) -> a ticket, and what its file says of it; None: none is exported."""
    named_by: Sequence[str] = ()
    """What names a ticket besides its replicate: level and control, or density and method."""
    baseline: Callable[[pd.DataFrame, str], Table] | None = None
    """(table of results, method) -> Welch's tests against the method; None where none apply."""
    for_data: Callable[[str], Mapping[str, Any]] = lambda data: {}
    """Name of the data -> fields of the config whose defaults are others for it."""
    across_replicates: Callable[[Any], Sequence[str]] | None = None
    """Config -> settings by which replicates depend on each other; None where `run` does not keep
    to `lab.replicates`: then no processes share a run."""
    may_skip: Callable[[Any], bool] = lambda config: False
    """Config -> whether results decide which networks are left out; progress tells bounds then."""
    tolerance: bool = True
    """Whether the summary depends on the tolerance."""

    def check_share(self, config: Any) -> None:
        """Raise ValueError where processes cannot share a run by its replicates."""
        require(
            self.across_replicates is not None,
            f"`share` is not for the study {self.name}, which does not keep to `lab.replicates`; "
            "one that does says so by `across_replicates`.",
        )
        settings = [] if self.across_replicates is None else self.across_replicates(config)
        require(
            not settings,
            f"`share` does not go with `{'`, `'.join(settings)}`, by which replicates depend on "
            "each other.",
        )

    def draw(
        self,
        kind: str,
        frame: pd.DataFrame,
        path: pathlib.Path,
        levels: tuple[int, ...] = (),
        *,
        style: str = "screen",
        **parts: Any,
    ) -> Figure | list[Figure]:
        """Return a figure of a run, or its pages.

        Args:
          kind: one of `figures.kinds`.
          frame: the table of results of the run.
          path: folder of the run.
          levels: to draw; () for the default ones.
          style: one of `plots.theme.STYLES`.
          **parts: of the experiment, for the kinds `figures.of_parts`.
        """
        return styled(style, self.figures.kinds[kind], frame, path, levels, **parts)

    def is_complete(self, config: Any, path: pathlib.Path) -> bool:
        """Return whether the run in a folder, which need not exist, lacks nothing."""
        if self.complete is not None:
            return self.complete(config, path)
        names = self.artifacts(config)
        return has_artifacts(path, lambda run: all(map(run.has, names)))

    def __reduce__(self) -> Any:
        """Return what pickle stores: of a study of the table its name, as lambdas have none."""
        from jaxlth.studies import STUDIES  # the table imports this module

        if STUDIES.get(self.name) is self:
            return _of_table, (self.name,)
        return _of_fields, (dict(vars(self)),)

    def __post_init__(self) -> None:
        missing = [part for part, value in vars(self).items() if value is _MISSING]
        if self.help is None and sys.flags.optimize < 2:  # python -OO leaves out all docstrings
            missing.append("help")
        require(
            not missing,
            f"The study {self.name} is incomplete: it has no `{'`, `'.join(missing)}`.",
        )
        require(
            re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", self.name) is not None,
            f"A study's `name` must be small letters and digits, with single hyphens between them; "
            f"got {self.name!r}.",
        )
        if not (isinstance(self.Config, type) and issubclass(self.Config, StudyConfig)):
            raise TypeError(
                f"The `Config` of the study {self.name} must be a class on `studies.StudyConfig`; "
                f"got {self.Config!r}."
            )


def _of_table(name: str) -> Study:
    from jaxlth.studies import STUDIES

    return STUDIES[name]


def _of_fields(fields: dict[str, Any]) -> Study:
    study = object.__new__(Study)
    vars(study).update(fields)
    return study
