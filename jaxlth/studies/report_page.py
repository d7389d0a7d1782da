"""The report page: one HTML file that shows runs, whatever studies they are of.

It is derived from the object of each study: its summary, its charts, its settings. Runs of one
study are laid over each other; studies come one below the other, in the order in which they are
first named.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from jaxlth import settings, store
from jaxlth.plots import charts, figures, html_page, html_table, result_table, table_charts
from jaxlth.plots.charts import Chart
from jaxlth.plots.html_page import Section
from jaxlth.process import paths
from jaxlth.settings import require
from jaxlth.store import atomic
from jaxlth.studies import method_styles, metrics, run_facts, run_info
from jaxlth.studies.study import Study

_WIDTH = 1000  # characters: no column of a table is broken
_NAMED = 5  # missing artifacts that are named
_WITHOUT_CURVES = (
    "No curves of training: networks were evaluated once, at the end. `--evaluate-every` sets how "
    "often."
)


class StoredRun(NamedTuple):
    """One run, as it is stored."""

    path: pathlib.Path
    study: Study
    about: dict[str, Any]
    frame: pd.DataFrame
    curves: pd.DataFrame


def write(
    runs: Sequence[tuple[pathlib.Path, Study]], file: str | pathlib.Path, *, tolerance: float
) -> pathlib.Path:
    """Write the page of some runs, whole or not at all, and return its file.

    Args:
      runs: folder and study of each; one study or several.
      file: its name ends in .html; folders are made where they are missing.
      tolerance: of the summaries, see `Results.summary`.

    Raises:
      ValueError: a run has no finished network yet, or plotly is missing.
      StoreError: a run is damaged, or the file cannot be written.
    """
    file = paths.given(file, setting="path")
    check(file)
    text = render([read(*run) for run in runs], tolerance=tolerance)
    with atomic.writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(file, text)
    return file


def check(file: str | pathlib.Path) -> None:
    """Raise ValueError unless a page can be written to a file of this name."""
    name = pathlib.Path(file).name
    require(name.endswith(".html"), f"The file of a report must end in .html; got {name!r}.")
    html_page.check()


def read(path: pathlib.Path, study: Study) -> StoredRun:
    """Return a run.

    Raises:
      ValueError: it has no finished network yet.
    """
    frame = run_info.results(path)
    return StoredRun(path, study, store.about_run(path), frame, store.curves([path]))


def render(runs: Sequence[StoredRun], *, tolerance: float) -> str:
    """Return the page as text. The same runs always give the same text."""
    by_study: dict[str, list[StoredRun]] = {}
    for run in runs:
        by_study.setdefault(run.study.name, []).append(run)
    sections = [_section(of_study, tolerance) for of_study in by_study.values()]
    title = runs[0].path.name if len(runs) == 1 else f"{len(runs)} runs of jaxlth"
    return html_page.render(title, sections)


def _section(runs: Sequence[StoredRun], tolerance: float) -> Section:
    """Return what is told of the runs of one study."""
    methods = [name for run in runs for name in method_styles.of_run(_principal(run.frame))]
    with method_styles.shared(methods):
        return _section_of(runs, tolerance)


def _section_of(runs: Sequence[StoredRun], tolerance: float) -> Section:
    """Return the section, in the styles of its context."""
    names = run_facts.names([(run.path, run.about) for run in runs])
    notices, findings, tables, drawn = [], {}, {}, {}
    for name, run in zip(names, runs, strict=True):
        prefix = f"{name}: " if len(runs) > 1 else ""
        summary = _finding(run, tolerance)
        if isinstance(summary, str):
            notices.append(prefix + summary)
        else:
            tables[name], findings[name] = summary
        drawn[name], lacking = _charts(run)
        notices += [prefix + text for text in [*_missing(run), *lacking]]
    return Section(
        title=f"jaxlth {runs[0].study.name}",
        runs=names,
        findings=findings,
        notices=notices,
        facts=run_facts.rows([(run.path, run.study, run.about, run.frame) for run in runs]),
        charts=charts.overlaid(drawn),
        tables=tables,
        pictures=_pictures(names, runs),
    )


def _finding(run: StoredRun, tolerance: float) -> tuple[html_table.HtmlTable, str] | str:
    """Return table and sentence of a run, or why an unfinished one has none yet."""
    summarize = run.study.summarize
    try:
        summary = summarize(run.frame, run.path, tolerance=tolerance, width=_WIDTH)
    except ValueError as error:
        return f"There is no table yet: {error}"
    return html_table.from_rich(summary.table), summary.sentence


def _missing(run: StoredRun) -> list[str]:
    """Return what an unfinished run lacks, in sentences; nothing for a finished one."""
    stored = {name for name, _ in store.open_readonly(run.path).records()}
    planned = run.about["planned"]
    if planned is None or len(stored) >= planned:
        return []
    with store.understood(run.path) as about:
        config = settings.from_dict(run.study.Config, about["settings"])
    names = [name for name in run.study.artifacts(config) if name not in stored]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    missing = f" Missing: {', '.join(names[:_NAMED])}{more}." if names else ""
    text = f"Unfinished: {len(stored)} of {planned} results are stored.{missing}"
    goes_on = "The command that made the run goes on with it."
    return [f"{text} {goes_on}", *filter(None, [run_info.unfinished(run.path)])]


def _charts(run: StoredRun) -> tuple[list[Chart], list[str]]:
    """Return the charts of a run: those of its study, then those of all; and what is not drawn."""
    frame = _principal(run.frame)
    curves, lacking, first = run.curves, [], []
    looks = method_styles.of_run(frame)
    if "dilation" in curves:
        curves = curves[curves["unit"].isin(frame["unit"])]
    try:
        if run.study.charts is not None:
            first = list(run.study.charts(frame, curves, run.path))
        elif (chart := table_charts.accuracy(frame, looks)) is not None:
            first = [chart]
    except ValueError as error:
        lacking = [f"Not drawn yet: {error}"]
    styles = {name: look.color for name, look in looks.items()}
    measured = dict.fromkeys([result_table.metric(curves, metrics.ACCURACY), "train_loss"])
    others = [table_charts.training(frame, curves, metric, styles) for metric in measured]
    if others[-1] is None and "train_loss" in curves:
        lacking.append(_WITHOUT_CURVES)
    others.append(table_charts.layers(frame, styles))
    return first + [chart for chart in others if chart is not None], lacking


def _principal(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of networks that were asked for, trained as long as the settings say."""
    if "dilation" in frame:
        frame = run_info.undilated(frame)
    return frame[~frame["link"].astype(bool)] if "link" in frame else frame


def _pictures(names: Sequence[str], runs: Sequence[StoredRun]) -> dict[str, bytes]:
    """Return the figures with which runs end, where a study has no chart of its own."""
    pictures = {}
    for name, run in zip(names, runs, strict=True):
        is_charted = run.study.charts is not None or table_charts.accuracy(run.frame) is not None
        for kind in () if is_charted else run.study.figures.last(run.frame):
            title = f"{name}: {kind}" if len(runs) > 1 else kind
            pages = figures.pages(run.study.draw(kind, run.frame, run.path))
            for number, page in enumerate(pages, start=1):
                named = f"{title}, page {number}" if len(pages) > 1 else title
                pictures[named] = figures.to_svg(page)
    return pictures
