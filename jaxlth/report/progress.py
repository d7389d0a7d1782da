"""Progress of a job on the terminal: a bar, or one plain line a level where there is no terminal."""

import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from jaxlth.work import Progress as Event

SHORTEST = 2.0  # seconds of work before a rate or a time left is worth telling


def watched(
    events: Iterable[Event], console: Console, *, asked: int, finished: int
) -> Iterator[Event]:
    """Pass on the events of a job while showing them.

    Args:
      events: what the job yields.
      console: where it is shown; a bar on a terminal, else a line for each level finished.
      asked: networks that the settings ask for.
      finished: how many of them were there before.
    """
    if console.is_terminal:
        yield from _with_bar(events, console, asked=asked, finished=finished)
    else:
        yield from _with_lines(events, console, asked=asked, finished=finished)


class _Pace:
    """Steps trained so far, and how many are to come."""

    def __init__(self, asked: int, finished: int) -> None:
        self.asked, self.finished = asked, finished
        self.trained = 0
        self.clock = time.perf_counter()

    def see(self, event: Event) -> None:
        self.trained += event.trained
        self.finished += len(event.finished)

    def networks(self, event: Event) -> float:
        """Return the networks trained, those in training counted in part."""
        part = 0 if event.finished else len(event.units) * event.step / event.steps
        return min(self.finished + part, self.asked)

    def text(self, event: Event) -> str:
        seconds = time.perf_counter() - self.clock
        if seconds < SHORTEST or not self.trained:
            return ""
        rate = self.trained / seconds
        left = (self.asked - self.networks(event)) * event.steps / rate
        return f"{rate:,.0f} steps/s, {_duration(left)} left"


def _with_bar(
    events: Iterable[Event], console: Console, *, asked: int, finished: int
) -> Iterator[Event]:
    pace = _Pace(asked, finished)
    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("compiling", total=asked, completed=finished)
        for event in events:
            pace.see(event)
            where = _where(event.units)
            text = f"{pace.finished}/{asked} networks  {where}  {pace.text(event)}"
            bar.update(task, total=asked, completed=pace.networks(event), description=text)
            yield event


def _with_lines(
    events: Iterable[Event], console: Console, *, asked: int, finished: int
) -> Iterator[Event]:
    pace = _Pace(asked, finished)
    stage = ""
    last = None
    for event in events:
        if last is not None and _stage(event.units) != stage:
            _line(console, stage, pace, last)
        pace.see(event)
        stage, last = _stage(event.units), event
        yield event
    if last is not None:
        _line(console, stage, pace, last)


def _line(console: Console, stage: str, pace: _Pace, event: Event) -> None:
    text = f"{stage} done, {pace.finished}/{pace.asked} networks, {pace.text(event)}"
    console.print(text.rstrip(", "), highlight=False)


def _stage(units: tuple[str, ...]) -> str:
    """Return the level that units belong to, "level 3"."""
    stage = units[0].rsplit("/", 2)[0]
    return stage.replace("_0", " ").replace("_", " ")


def _where(units: tuple[str, ...]) -> str:
    """Return level, kind and replicates of a group, "level 3 ticket 0, 1"."""
    _, control, _ = units[0].rsplit("/", 2)
    same = [unit.rsplit("_", 1)[1] for unit in units if f"/{control}/" in unit]
    return f"{_stage(units)} {control} {', '.join(same)}"


def _duration(seconds: float) -> str:
    """Return a time as people say it.

    Example:
      >>> _duration(45), _duration(200), _duration(9000)
      ('45 s', '3 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
