"""What commands print: tables on the terminal, from records."""

from collections.abc import Iterable, Sequence

from surefoot.cli.say import say
from surefoot.escape import visible
from surefoot.evaluation import metrics
from surefoot.evaluation.record import Record
from surefoot.wording import NONE, percent, with_interval


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; the first column is left, the others right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table()
    for place, column in enumerate(columns):
        head = Text(visible(column))
        drawn.add_column(head, justify="left" if place == 0 else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*(Text(visible(cell)) for cell in row))
    console = Console()
    # A pipe has no width: never fold a table there.
    console.width = console.width if console.is_terminal else 200
    console.print(Text(visible(title), style="bold"))
    console.print(drawn)


def show_record(record: Record) -> None:
    """Print the figures of one record by radius, and its warnings."""
    header = record.header
    rows = []
    for radius in header.radii:
        limit = header.limit_at(radius)
        attacked = metrics.attacked_accuracy(record, radius) if header.attack else None
        rows.append(
            (
                header.radius_text(radius),
                with_interval(metrics.certified_accuracy(record, radius)),
                with_interval(attacked),
                percent(metrics.ceiling(record, radius)) if header.ceiling else NONE,
                limit.text() if limit else NONE,
            )
        )
    clean = with_interval(metrics.clean_accuracy(record))
    table(
        f"{header.name}: {header.guarantee.name} on {len(record)} images of {header.data.name},"
        f" clean {clean}, accepted {with_interval(metrics.coverage(record))}",
        (f"{header.norm} radius", "certified", "attacked", "ceiling (proven)", "limit (estimate)"),
        rows,
    )
    for warning in header.warnings:
        say(f"warning: {warning}")
    for text in header.notes:
        say(f"note: {text}")
