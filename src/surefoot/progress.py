"""Progress with an estimate of the time left: a bar on a terminal, else a line every 30 seconds."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

from surefoot.escape import one_line, visible

Item = TypeVar("Item")
EVERY = 30.0
"""Seconds between two lines where there is no terminal."""
_drawing = False
_reached = ""


def note(line: str) -> None:
    """Print a line about the run itself, which is no result, on the error stream."""
    print(f"surefoot: {one_line(line)}", file=sys.stderr)


def reach(kept: int, total: int, unit: str) -> None:
    """Note how much of the work in progress is kept, should the run be stopped now."""
    global _reached
    _reached = f"{kept} of {total} {unit}"


def reached() -> str:
    """Return what `reach` noted last: "250 of 500 rows"; "" if nothing was."""
    return _reached


def track(items: Sequence[Item] | Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yield the items with their progress on the error stream; nothing inside another one."""
    global _drawing
    if _drawing:
        yield from items
        return
    _drawing = True
    try:
        yield from (_bar if sys.stderr.isatty() else _lines)(items, description, total)
    finally:
        _drawing = False


def _lines(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Print a line every 30 seconds: into a log there is no bar to draw."""
    began = told = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - told >= EVERY:
            told, spent = now, now - began
            left = spent / done * (total - done)
            note(f"{description}: {done} of {total}, {_span(spent)}, about {_span(left)} left")
        yield item


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _bar(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=visible(description))
