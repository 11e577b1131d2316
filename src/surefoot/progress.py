"""Progress with an estimate of the time left: a bar on a terminal, else a line every 30 seconds."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from surefoot.escape import one_line, visible

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")
Tell = Callable[[int, str], None]
"""Takes how much of a total is done, and a remark."""
EVERY = 30.0
"""Seconds between two lines where there is no terminal."""
_drawing = False
_shown: "Progress | None" = None
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
        with gauge(description, total) as tell:
            for done, item in enumerate(items):
                tell(done, "")
                yield item
    finally:
        _drawing = False


@contextmanager
def gauge(description: str, total: int) -> Iterator[Tell]:
    """Show how far a long work is that has no list of items; inside another one on its own line."""
    with (_bar if sys.stderr.isatty() else _lines)(description, total) as tell:
        yield tell


def span(seconds: float) -> str:
    """Write a time as hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def _lines(description: str, total: int) -> Iterator[Tell]:
    """Print a line every 30 seconds: into a log there is no bar to draw."""
    began = told = time.monotonic()

    def tell(done: int, remark: str) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < EVERY:
            return
        told, spent = now, now - began
        left = f", about {span(spent / done * (total - done))} left" if done else ""
        note(f"{description}: {done} of {total}, {span(spent)}{left}{remark}")

    yield tell


@contextmanager
def _bar(description: str, total: int) -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    global _shown
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    outer = _shown
    bar = outer or Progress(*columns, console=Console(stderr=True), transient=True)
    with nullcontext() if outer else bar:
        _shown, task = bar, bar.add_task(visible(description), total=total)
        try:
            yield lambda done, remark: bar.update(
                task, completed=done, description=visible(description + remark)
            )
        finally:
            bar.remove_task(task)
            _shown = outer
