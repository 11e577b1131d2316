"""Progress bars with an estimate of the time left, on the error stream of a terminal only."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from surefoot.escape import one_line, visible

Item = TypeVar("Item")
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
    """Yield the items behind a progress bar; nothing is drawn inside another bar or a file."""
    global _drawing
    if _drawing or not sys.stderr.isatty():
        yield from items
        return
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
    _drawing = True
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield from bar.track(items, total=total, description=visible(description))
    finally:
        _drawing = False
