"""The list of runs, for a terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from jaxlth.store import RunInfo


def render(runs: Sequence[RunInfo]) -> Table:
    """Return a table of runs with state, networks trained of those asked for, size and time."""
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "networks", "size", "created (UTC)"):
        table.add_column(heading, overflow="fold")
    for run in runs:
        requested = "?" if run.expected is None else run.expected
        networks, created = f"{run.finished}/{requested}", run.created[:16].replace("T", " ")
        name = Text(run.path.name)  # which may hold brackets
        table.add_row(name, run.state, networks, _size(run.bytes), created)
    return table


def _size(count: int) -> str:
    """Return a number of bytes as people say it.

    Example:
      >>> _size(900), _size(52_400_000)
      ('900 B', '52.4 MB')
    """
    value, suffix = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, suffix = value / 1000, larger
    return f"{value:.0f} B" if suffix == "B" else f"{value:.1f} {suffix}"
