"""The results of a study, read from the folder of its run."""

from __future__ import annotations

import dataclasses
import html
import io
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax
from rich.console import Console

from jaxlth import store
from jaxlth.models import Network
from jaxlth.process import paths
from jaxlth.settings import check_choice, check_kind, require
from jaxlth.studies import run_info, running
from jaxlth.studies.lazy import Lazy
from jaxlth.studies.parts import NONE, Parts
from jaxlth.studies.study import TOLERANCE, Study, TicketName
from jaxlth.studies.ticket_rows import completed, is_number, is_whole, trained_network
from jaxlth.studies.train import Ticket

if TYPE_CHECKING:
    import pandas as pd

    from jaxlth.plots.figures import Figure

_report_page: Any = Lazy("jaxlth.studies.report_page")


@dataclasses.dataclass(frozen=True)
class Results:
    """The results of one run, which are read when they are asked for.

    Attributes:
      path: folder of the run.
      study: which study it is a run of.
      parts: of the experiment that no setting says; a ticket may start from what they draw.
    """

    path: pathlib.Path
    study: Study = dataclasses.field(repr=False)
    parts: Parts = dataclasses.field(default=NONE, repr=False, compare=False)

    def table(self) -> pd.DataFrame:
        """Return a row for each trained network or comparison."""
        return store.table([self.path])

    def curves(self) -> pd.DataFrame:
        """Return a row for each evaluation during the training of each network."""
        return store.curves([self.path])

    def summary(self, *, tolerance: float = TOLERANCE, width: int = 100) -> str:
        """Return the summary that the command prints: a table and a sentence.

        Args:
          tolerance: a ticket matches if it loses at most this much of the dense accuracy; without
            an accuracy, if its loss exceeds the dense one by at most this share of it.
          width: of the text, in characters.

        Raises:
          ValueError: the run has no finished network yet.
        """
        _check_tolerance(tolerance)
        check_kind("width", width, is_whole(width), "a whole number")
        require(width > 0, f"`width` must be above 0; got {width}.")
        frame = run_info.results(self.path)
        text = self.study.summarize(frame, self.path, tolerance=tolerance, width=width)
        lines = io.StringIO()
        Console(
            file=lines,
            width=width,
            color_system=None,
            force_terminal=False,
            force_jupyter=False,
        ).print(text.table)
        sentences = filter(None, [text.sentence, run_info.unfinished(self.path)])
        return lines.getvalue() + "\n".join(sentences)

    def plot(
        self, kind: str | None = None, *, levels: Iterable[int] = (), style: str = "screen"
    ) -> Figure | list[Figure]:
        """Return a figure, or several where it has more than ten panels.

        Args:
          kind: what is drawn; accuracy, if not given, or else the first kind of the study.
          levels: to draw, in kinds that draw several; about six if none is given.
          style: "screen", or "paper" for a column of a paper: 3.25 inches wide, serif fonts.

        Raises:
          ValueError: the study has no such kind, there is no such style, or the run lacks what the
            kind draws.
        """
        check_kind("levels", levels, isinstance(levels, Iterable), "a list of levels")
        figures, levels = self.study.figures, tuple(levels)
        if kind is None:
            kind = "accuracy" if "accuracy" in figures.kinds else next(iter(figures.kinds))
        check_choice("kind", kind, figures.kinds)
        require(
            not levels or kind in figures.of_levels,
            f"`levels` has no effect on the kind {kind}, which draws all.",
        )
        _show_in_notebooks()
        parts = {"parts": self.parts} if kind in figures.of_parts else {}
        with running.jax_settings():
            frame = run_info.results(self.path)
            return self.study.draw(kind, frame, self.path, levels, style=style, **parts)

    def report(
        self,
        path: str | pathlib.Path,
        *,
        others: Sequence[Results] = (),
        tolerance: float = TOLERANCE,
    ) -> pathlib.Path:
        """Write a page that shows the run, one HTML file, and return its path.

        It has what was run, the summary, interactive charts and the table, and needs no network.

        Args:
          path: its file, which ends in .html.
          others: results of other runs for the same page: those of one study are laid over each
            other, other studies come below.
          tolerance: see `summary`.

        Raises:
          ValueError: a run has no finished network yet, or plotly is missing, which
            `pip install 'jaxlth[report]'` brings.
          StoreError: the file cannot be written.
        """
        _check_tolerance(tolerance)
        is_list = isinstance(others, Sequence) and not isinstance(others, str)
        fits = is_list and all(isinstance(results, Results) for results in others)
        check_kind("others", others, fits, "a list of results")
        runs = [(results.path, results.study) for results in (self, *others)]
        with running.jax_settings():
            return _report_page.write(runs, path, tolerance=tolerance)

    def ticket(
        self,
        *,
        level: int | None = None,
        density: float | None = None,
        control: str = "ticket",
        method: str | None = None,
        replicate: int = 0,
    ) -> Ticket:
        """Return a ticket: the network that its training starts from, and its mask, in NumPy.

        Args:
          level: number of prunings, in runs of studies that prune by level; the last one, if
            neither it nor `density` is given.
          density: share of the weights that the ticket keeps; the level whose density is closest,
            in runs of studies that prune by level.
          control: the ticket itself, or one of its controls.
          method: score and schedule, such as snip-before-rounds, of studies that have methods.
          replicate: counted from 0.

        Raises:
          ValueError: the run has no such ticket, or its study none at all.
        """
        study, frame = self._with_tickets()
        given = TicketName(level, control, density, method, replicate)
        name = completed(study.named_by, frame, self.path, given)
        assert study.ticket is not None
        with running.jax_settings():
            ticket, _ = study.ticket(name, self.path, self.parts)
            return jax.device_get(ticket)

    def trained(
        self,
        *,
        level: int | None = None,
        density: float | None = None,
        control: str = "ticket",
        method: str | None = None,
        replicate: int = 0,
    ) -> Network:
        """Return the network that a ticket has become in training, in NumPy.

        Args:
          level: see `ticket`.
          density: see `ticket`.
          control: see `ticket`.
          method: see `ticket`.
          replicate: see `ticket`.

        Raises:
          ValueError: the run has no such network, or its study no tickets.
        """
        study, frame = self._with_tickets()
        given = TicketName(level, control, density, method, replicate)
        name = completed(study.named_by, frame, self.path, given)
        return trained_network(study.named_by, frame, self.path, name)

    def _with_tickets(self) -> tuple[Study, pd.DataFrame]:
        """Return the study and the table of results.

        Raises:
          ValueError: the study has no tickets, or the run no network yet.
        """
        study = self.study
        require(study.ticket is not None, f"Runs of the study {study.name} have no tickets.")
        return study, run_info.results(self.path)

    def __repr__(self) -> str:
        """Return study, folder and number of networks."""
        try:
            rows = f"{len(self.table())} rows"
        except store.StoreError as error:  # it was deleted since, for instance
            rows = str(error)
        return f"<Results of {self.study.name} in {paths.relative(self.path)}: {rows}>"

    def _repr_html_(self) -> str:
        """Return the summary, for notebooks."""
        try:
            text = self.summary()
        except (ValueError, store.StoreError) as error:  # no network yet, or none any more
            text = str(error)
        style = "line-height: 1.2; white-space: pre; overflow-x: auto"
        where = html.escape(paths.relative(self.path))
        return f'<pre style="{style}">{html.escape(text)}</pre><p><code>{where}</code></p>'


def _show_in_notebooks() -> None:
    """Have a notebook show figures as images; by itself it does so for those of pyplot alone."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if shell is not None:
        from matplotlib.figure import Figure

        images = shell.display_formatter.formatters["image/png"]
        if Figure not in images.type_printers:
            images.for_type(Figure, _png)


def _check_tolerance(tolerance: float) -> None:
    """Raise TypeError or ValueError unless a tolerance is a share."""
    check_kind("tolerance", tolerance, is_number(tolerance), "a number")
    require(0 <= tolerance <= 1, f"`tolerance` must lie in [0, 1]; got {tolerance}.")


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()
