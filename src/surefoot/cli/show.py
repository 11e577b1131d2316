"""What commands print: tables on the terminal, from records."""

from collections.abc import Iterable, Sequence

from surefoot.cli.say import say
from surefoot.escape import visible
from surefoot.evaluation import metrics
from surefoot.evaluation.record import Record
from surefoot.stats import Interval


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


def percent(value: Interval | None) -> str:
    """Write a fraction with its interval: "93.2 % [90.1, 95.6]"."""
    if value is None:
        return "-"
    return f"{100 * value.value:.1f} % [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def show_record(record: Record) -> None:
    """Print the figures of one record by radius, and its warnings."""
    header = record.header
    limits = {entry["radius"]: entry for entry in header["limit"]}
    rows = []
    for radius in header["radii"]:
        found = limits.get(radius, {}).get("robustness")
        rows.append(
            (
                f"{radius:g}",
                percent(metrics.certified_accuracy(record, radius)),
                percent(metrics.attacked_accuracy(record, radius) if header["attack"] else None),
                f"{100 * metrics.ceiling(record, radius):.1f} %" if header.get("ceiling") else "-",
                percent(Interval(**found) if found else None),
            )
        )
    norm, guarantee = header["threat"]["norm"], header["guarantee"]["name"]
    clean = percent(metrics.clean_accuracy(record))
    table(
        f"{header['name']}: {guarantee} on {len(record)} images of {header['data']['name']},"
        f" clean {clean}, accepted {percent(metrics.coverage(record))}",
        (f"{norm} radius", "certified", "attacked", "ceiling (proven)", "limit (estimate)"),
        rows,
    )
    for warning in header["warnings"]:
        say(f"warning: {warning}")
