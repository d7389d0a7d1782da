"""Progress of a study: a bar on a terminal and in a notebook, a plain line a level elsewhere."""

import contextlib
import html
import importlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from jaxlth.studies.train import Progress as Event

SHORTEST = 2.0  # seconds of work before a rate or a time left is worth telling

_WITHIN_STAGE = (
    "twin_",
    "pair_",
    "mean_",
    "found",
)  # parts of names that make no line of their own

See = Callable[[Event], None]


def shown(
    console: Console, *, finished: int, may_skip: bool = False
) -> contextlib.AbstractContextManager[See]:
    """Return a context that gives a function which shows each event it is called with.

    Args:
      console: where it is shown; a bar on a terminal and in a notebook, else, as where $TERM is
        dumb, a line for each level finished.
      finished: networks that were there before.
      may_skip: whether some networks may be left out; totals and times are told as bounds then.
    """
    pace = _Pace(finished, may_skip)
    if console.is_jupyter and not console.quiet:
        return _notebook(pace)
    redraws = console.is_terminal and not console.is_dumb_terminal
    return (_bar if redraws else _lines)(console, pace)


class _Pace:
    """Networks and steps trained so far, and how many are to come."""

    def __init__(self, finished: int, may_skip: bool = False) -> None:
        self.finished, self.may_skip = finished, may_skip
        self.event: Event | None = None
        self.trained = 0  # steps since the clock was started
        self.clock: float | None = None
        self.first = 0.0  # networks when the clock was started

    def see(self, event: Event) -> None:
        self.event = event
        self.finished += len(event.finished)
        if self.clock is None:  # what comes before the first event is mostly compilation
            self.clock, self.first = time.perf_counter(), self.networks
        else:
            self.trained += event.trained

    @property
    def expected(self) -> int:
        return self.finished + (self.event.num_pending if self.event else 0)

    @property
    def networks(self) -> float:
        """Networks trained, those in training counted in part."""
        event = self.event
        if event is None or event.finished:
            return self.finished
        return self.finished + len(event.artifacts) * event.step / event.steps

    def text(self) -> str:
        at_most = "at most " if self.may_skip and self.finished < self.expected else ""
        between = f" of {at_most}" if at_most else "/"
        count = f"{self.finished}{between}{self.expected} networks"
        seconds = time.perf_counter() - self.clock if self.clock else 0.0
        if self.event is None or seconds < SHORTEST or not self.trained:
            return count
        rate, done = self.trained / seconds, self.networks - self.first
        text = f"{count}, {rate:,.0f} steps/s"
        left = (self.expected - self.networks) * seconds / done if done > 0 else None
        return text if left is None else f"{text}, {at_most}{duration(left)} left"


@contextlib.contextmanager
def _bar(console: Console, pace: _Pace) -> Iterator[See]:
    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("compiling", total=None)

        def see(event: Event) -> None:
            pace.see(event)
            text = f"{pace.text()}, {_where(event.artifacts)}"
            bar.update(task, total=pace.expected, completed=pace.networks, description=text)

        yield see


@contextlib.contextmanager
def _notebook(pace: _Pace) -> Iterator[See]:
    """Show a bar in the output of a cell; that of rich needs ipywidgets."""
    # IPython is there in a notebook, and is no need of ours.
    output = importlib.import_module("IPython.display").display(
        _Cell("compiling", None), display_id=True
    )

    def see(event: Event) -> None:
        pace.see(event)
        share = pace.networks / max(pace.expected, 1)
        output.update(_Cell(f"{pace.text()}, {_where(event.artifacts)}", share))

    try:
        yield see
    finally:
        output.update(_Cell(f"{pace.text() if pace.event else 'ended'}", None))


class _Cell(NamedTuple):
    """What the output of a notebook's cell shows, as text and as HTML."""

    text: str
    share: float | None  # done, in [0, 1]; None shows no bar

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        bar = "" if self.share is None else f'<progress value="{self.share:.3f}"></progress> '
        return f"<div>{bar}{html.escape(self.text)}</div>"


@contextlib.contextmanager
def _lines(console: Console, pace: _Pace) -> Iterator[See]:
    def see(event: Event) -> None:
        if pace.event is not None and _stage(event.artifacts) != _stage(pace.event.artifacts):
            tell(pace.event)
        pace.see(event)

    def tell(event: Event) -> None:
        console.print(f"{_stage(event.artifacts)} done, {pace.text()}", highlight=False)

    yield see
    if pace.event is not None and pace.event.finished:  # else the job was interrupted
        tell(pace.event)


def _stage(artifacts: tuple[str, ...]) -> str:
    """Return what artifacts belong to.

    Example:
      >>> _stage(("level_03/ticket/replicate_0",))
      'level 3'
      >>> _stage(("dilation_0.5/level_10/random/replicate_0",))
      'dilation 0.5, level 10'
      >>> _stage(("density_0.05/snip-before-rounds/replicate_0",))
      'density 0.05'
      >>> _stage(("step_500/level_03/twin_1/ticket/replicate_0",))
      'step 500, level 3'
    """
    *parts, _, _ = artifacts[0].split("/")
    named = [part.partition("_")[::2] for part in parts if not part.startswith(_WITHIN_STAGE)]
    return ", ".join(f"{word} {int(n) if n.isdecimal() else n}" for word, n in named)


def _where(artifacts: tuple[str, ...]) -> str:
    """Return level, kind and replicates of a group, "level 3 ticket 0, 1"."""
    control = artifacts[0].split("/")[-2]
    same = [name.rsplit("_", 1)[1] for name in artifacts if f"/{control}/" in name]
    return f"{_stage(artifacts)} {control} {', '.join(same)}"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    Example:
      >>> duration(45), duration(200), duration(9000)
      ('45 s', '3 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
