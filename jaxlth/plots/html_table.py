"""Tables for pages, from those that are printed on a terminal."""

import html
from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text


class HtmlTable(NamedTuple):
    """The text of a table."""

    head: list[str]
    rows: list[list[str]]
    marked: set[tuple[int, int]]  # (row, column) of cells that are green on a terminal
    caption: str


def from_rich(table: Table) -> HtmlTable:
    """Return the text of a table that is made for a terminal, its hyphenated heads joined."""
    head = [_plain(column.header).replace("-\n", "").replace("\n", " ") for column in table.columns]
    columns = [list(column.cells) for column in table.columns]
    cells = [list(row) for row in zip(*columns, strict=True)]
    marked = {
        (i, j)
        for i, row in enumerate(cells)
        for j, cell in enumerate(row)
        if "green" in str(cell)[:7] or "green" in str(table.rows[i].style or "")
    }
    caption = _plain(table.caption) if table.caption else ""
    return HtmlTable(head, [[_plain(cell) for cell in row] for row in cells], marked, caption)


def _plain(cell: object) -> str:
    return (cell if isinstance(cell, Text) else Text.from_markup(str(cell))).plain.strip()


def results(table: HtmlTable, name: str) -> str:
    """Return a table of results as HTML; a click on a head sorts by its column.

    Args:
      table: its text.
      name: of the table, for those who do not see it.
    """
    heads = "".join(
        '<th scope="col" aria-sort="none"><button type="button">'
        f"{html.escape(title) or '&nbsp;'}</button></th>"
        for title in table.head
    )
    rows = "\n".join(_row(table, i) for i in range(len(table.rows)))
    label = html.escape(name)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="results" aria-label="{label}"><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>"
        f'<p class="note">{html.escape(table.caption)}</p>'
    )


def _row(table: HtmlTable, i: int) -> str:
    """Return a row; its first cell is its head."""
    cells = []
    for j, text in enumerate(table.rows[i]):
        look = ' class="marked"' if (i, j) in table.marked else ""
        tag, scope = ("td", "") if j else ("th", ' scope="row"')
        cells.append(f"<{tag}{scope}{look}>{html.escape(text)}</{tag}>")
    return f"<tr>{''.join(cells)}</tr>"


def facts(runs: Sequence[str], rows: Sequence[tuple[str, Sequence[str], bool]]) -> str:
    """Return what was run as HTML: a column for each run, a row for each fact.

    Args:
      runs: names of the runs.
      rows: name of a fact, its text of each run, and whether it is a setting.
    """
    heads = "".join(f'<th scope="col">{html.escape(run)}</th>' for run in runs)
    head = f"<thead><tr><td></td>{heads}</tr></thead>\n" if len(runs) > 1 else ""
    lines = [_fact(*row) for row in rows]
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="What was run">'
        f'<table class="facts">{head}<tbody>{"".join(lines)}</tbody></table></div>'
    )


def _fact(name: str, texts: Sequence[str], is_setting: bool) -> str:
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in texts)
    kind = "setting" if is_setting else "fact"
    return f'<tr class="{kind}"><th scope="row">{html.escape(name)}</th>{cells}</tr>'
