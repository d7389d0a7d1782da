"""A page of results: one HTML file that holds its charts, their data and the library that draws.

plotly.js lies in the page compressed, and the browser unpacks it: 2.0 MB instead of 4.8 MB, most of
the page. Nothing is loaded from elsewhere, and the page forbids it by its security policy.
"""

import base64
import functools
import gzip
import html
import importlib.resources
import string
from collections.abc import Sequence
from typing import NamedTuple

from jaxlth.plots import charts, html_table, plotly_json
from jaxlth.plots.charts import Chart
from jaxlth.plots.html_table import HtmlTable

LACKING = "A report page needs plotly: run `pip install 'jaxlth[report]'`."


class Section(NamedTuple):
    """What a page says of the runs of one study; runs have their names everywhere."""

    title: str
    runs: list[str]
    findings: dict[str, str]  # {run: its sentence}
    notices: list[str]  # what is missing
    facts: list[tuple[str, list[str], bool]]  # what was run, see `html_table.facts`
    charts: list[Chart]
    tables: dict[str, HtmlTable]  # {run: its table}
    pictures: dict[str, bytes]  # {title: SVG}, of what no chart draws


def check() -> None:
    """Raise ValueError where plotly, whose library draws the charts, is not installed."""
    try:
        import plotly.offline  # noqa: F401
    except ImportError as error:
        raise ValueError(LACKING) from error


def render(title: str, sections: Sequence[Section]) -> str:
    """Return a page. The same sections always give the same text.

    Raises:
      ValueError: plotly is not installed.
    """
    check()
    return string.Template(_file("report.html")).substitute(
        title=html.escape(title),
        style=_file("report.css"),
        sections="\n".join(map(_section, sections)),
        library=_library(),
        script=_file("report.js"),
    )


def _file(name: str) -> str:
    return importlib.resources.files("jaxlth.plots").joinpath("page", name).read_text("utf-8")


@functools.cache
def _library() -> str:
    """Return plotly.js, compressed and as text."""
    from plotly.offline import get_plotlyjs

    packed = gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode()


def _section(section: Section) -> str:
    first, *others = map(_chart, section.charts) if section.charts else [""]
    parts = [
        f"<section><h2>{html.escape(section.title)}</h2>",
        *(_finding(section, run, text) for run, text in section.findings.items()),
        *(f'<p class="notice">{html.escape(text)}</p>' for text in section.notices),
        f'<div class="charts">{first}{"".join(_picture(*p) for p in section.pictures.items())}',
        f'<div class="card"><h3>What was run</h3>{html_table.facts(section.runs, section.facts)}',
        "</div></div>",
        *(_table(section, run, table) for run, table in section.tables.items()),
        f'<div class="charts">{"".join(others)}</div></section>',
    ]
    return "\n".join(parts)


def _finding(section: Section, run: str, text: str) -> str:
    of_run = f"<b>{html.escape(run)}:</b> " if len(section.runs) > 1 else ""
    return f'<p class="finding">{of_run}{html.escape(text)}</p>'


def _table(section: Section, run: str, table: HtmlTable) -> str:
    title = f"Results, {run}" if len(section.runs) > 1 else "Results"
    heading = f"<h3>{html.escape(title)}</h3>"
    return f'<div class="card">{heading}{html_table.results(table, title)}</div>'


def _chart(chart: Chart) -> str:
    """Return a chart: its title, its place, its legend, its data."""
    title, label = html.escape(chart.title), html.escape(charts.sentence(chart))
    note = f"<figcaption>{html.escape(chart.note)}</figcaption>" if chart.note else ""
    return (
        f'<figure class="interactive"><h3>{title}</h3>'
        f'<div class="chart" role="img" aria-label="{label}"></div>'
        f'<div class="legend" role="group" aria-label="Lines of: {title}"></div>{note}'
        f'<script type="application/json">{plotly_json.text(chart)}</script></figure>\n'
    )


def _picture(title: str, svg: bytes) -> str:
    """Return a figure that does not change, on white."""
    data, name = base64.b64encode(svg).decode(), html.escape(title)
    return (
        f'<figure><h3>{name}</h3><div class="picture">'
        f'<img alt="Figure: {name}" src="data:image/svg+xml;base64,{data}"></div></figure>\n'
    )
