"""What `--help` prints besides the boxes of tyro: less common options, kinds of figures, hints."""

import codecs
import contextlib
import inspect
import io
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from jaxlth.cli import commands, options
from jaxlth.studies import STUDIES
from jaxlth.studies.field_docs import docstring

HELP, ALL = ("-h", "--help"), "--help-all"
FOOT = (
    "`jaxlth COMMAND --help` lists the options of a command, `--help-all` the less common ones "
    "too. `jaxlth --version` prints the version. `jaxlth --tyro-write-completion bash FILE` writes "
    "completions for a shell: bash, zsh or fish."
)


def asked(words: Iterable[str]) -> str | None:
    """Return which help a command line asks for, "--help" or "--help-all"; None for no help."""
    words = list(words)
    return ALL if ALL in words else HELP[1] if any(word in HELP for word in words) else None


def plain(words: Iterable[str]) -> list[str]:
    """Return a command line with --help in place of --help-all, which tyro does not know."""
    return [HELP[1] if word == ALL else word for word in words]


def is_short(kind: type | None, help_asked: str | None) -> bool:
    """Return whether the help of a command leaves out its less common options."""
    return kind is not None and help_asked == HELP[1] and any(options.rare(kind))


def description(kind: type, *, short: bool) -> str:
    """Return what the help says of a command: all of its text, or the first line."""
    text = inspect.cleandoc(docstring(kind))
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return paragraphs[0] if short else "\n\n".join(paragraphs)


@contextlib.contextmanager
def printed(name: str, kind: type | None, help_asked: str | None) -> Iterator[None]:
    """Print the help that is written within, if one is asked for, with what belongs to it.

    Args:
      name: of the command, "" for none.
      kind: its class.
      help_asked: "--help" or "--help-all"; None where no help is asked for.
    """
    if help_asked is None:
        yield
        return
    width, page = shutil.get_terminal_size().columns, _Page(sys.stdout)
    try:
        with contextlib.redirect_stdout(page):
            yield
    finally:
        if text := page.getvalue():
            lines = (_wrapped(line, width) for line in text.rstrip().split("\n"))
            print("\n".join(lines))
            _print_more(name, kind, help_asked, width)


class _Page(io.TextIOWrapper):
    """Text in memory, with the colours and letters that a stream can show."""

    def __init__(self, stream: Any) -> None:
        self._bytes, self._stream = io.BytesIO(), stream
        encoding = codecs.lookup(getattr(stream, "encoding", None) or "utf-8").name
        super().__init__(self._bytes, encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def getvalue(self) -> str:
        """Return what was written."""
        return self._bytes.getvalue().decode(self.encoding)


def _wrapped(line: str, width: int) -> str:
    """Return a line of plain text with breaks; boxes, and lines with colours, stay."""
    is_text = line[:1].isalnum() and "\x1b" not in line
    return textwrap.fill(line, width) if is_text else line


def _print_more(name: str, kind: type | None, help_asked: str, width: int) -> None:
    """Print what follows the boxes of a command's help."""
    console = Console(highlight=False, width=width)
    if kind is None:
        console.print(FOOT, markup=False)
    elif kind is commands.Figure:
        console.print(_kinds())
    elif help_asked != ALL and (groups := _rare_by_group(kind)):
        console.print(_rare(name, groups))


def _rare_by_group(kind: Any) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for group, option in options.rare(kind):
        groups.setdefault(group, []).append(option)
    return dict(sorted(groups.items(), key=lambda group: group[0] != ""))


def _rare(name: str, groups: dict[str, list[str]]) -> Panel:
    rows = [(group or "general", " ".join(names)) for group, names in groups.items()]
    hint = f"`jaxlth {name} {ALL}` explains them, and says more of the others."
    return _panel("less common options", hint, rows)


def _kinds() -> Panel:
    """Return the kinds of figures of each study, a line each."""
    rows: list[tuple[str, str]] = []
    for study in STUDIES.values():
        lines = study.figures.help
        rows += [(study.name, ""), *((f"  {k}", lines.get(k, "")) for k in study.figures.kinds)]
    return _panel("kinds of figures, by study", "", rows)


def _panel(title: str, hint: str, rows: Sequence[tuple[str, str]]) -> Panel:
    """Return a box as those of tyro."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for left, right in rows:
        table.add_row(Text(left), Text(right))
    content: Any = table
    if hint:
        whole = Table.grid()
        whole.add_row(Text(hint))
        whole.add_row(table)
        content = whole
    return Panel(content, title=title, title_align="left", box=box.ROUNDED, border_style="dim")
