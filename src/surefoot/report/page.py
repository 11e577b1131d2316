"""The report as one HTML page that needs no other file, no script and no network."""

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from surefoot.escape import visible
from surefoot.evaluation.certified_sets import is_set_valued
from surefoot.evaluation.record import Record, as_sequence
from surefoot.files import write_whole
from surefoot.report.bracket_chart import bracket_chart, comparison_chart
from surefoot.report.card import GUIDE, SETS_GUIDE
from surefoot.report.perturbations import perturbation_grid
from surefoot.report.rejection_chart import rejection_curve
from surefoot.report.set_charts import matrix_chart, set_chart
from surefoot.report.style import to_data_uri
from surefoot.report.tables import (
    accepted_right_only,
    by_attack,
    by_certified_set,
    by_class,
    by_radius,
    by_set_size,
    differences,
    headline,
    may_refuse,
    notes_of,
    warnings_of,
)
from surefoot.report.words import GLOSSARY, grounds, in_plain_words, meaning

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none';"
    " form-action 'none'"
)
"""Content security policy: own styles and figures within the page; no script, no network."""
_BEFORE_BRACKET = re.compile(r" (?=[\[(])")


def write_page(
    records: Record | Sequence[Record], path: Path | str, *, title: str = "Robustness report"
) -> Path:
    """Write the page, all or nothing.

    Args:
        records: one a classifier, in the order of the page; or a single one.
        path: of the HTML file; its folder is made if missing.
        title: at the head.

    Raises:
        ValueError: without records, or with one that has no rows.
    """
    records, path = as_sequence(records), Path(path)
    _check(records)
    text = render("template.html", title=title, guide=GUIDE, **_content(records))
    write_whole(path, text.encode())
    return path


def render(template: str, *, package: str = "surefoot.report", **values: Any) -> str:
    """Fill a template of a package: every value escaped, and nothing loaded from elsewhere."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    source = files(package).joinpath(template).read_text(encoding="utf-8")
    return environment.from_string(source).render(policy=POLICY, **values)


def _check(records: Sequence[Record]) -> None:
    if not records:
        raise ValueError("a report needs at least one record; found none")
    empty = [record.header.name for record in records if len(record) == 0]
    if empty:
        raise ValueError(f"a report needs examples; no rows in: {', '.join(empty)}")


def _content(records: Sequence[Record]) -> dict[str, Any]:
    found = differences(records)
    return {
        "warnings": warnings_of(records),
        "notes": notes_of(records),
        "differences": None if found is None else _table(found),
        "glossary": GLOSSARY,
        "headline": _table(headline(records), stacked=True),
        "refusals": any(map(may_refuse, records)),
        "comparison": to_data_uri(comparison_chart(records)) if len(records) > 1 else None,
        "sections": [_section(record, place) for place, record in enumerate(records, 1)],
    }


def _section(record: Record, place: int) -> dict[str, Any]:
    grid, costs = perturbation_grid(record), by_attack(record)
    return {
        "anchor": f"record-{place}",
        "name": record.header.name,
        "guarantee": record.header.guarantee_text(),
        "words": in_plain_words(record),
        "refuses": may_refuse(record),
        "bracket": to_data_uri(_bracket(record)),
        "rejection": to_data_uri(_figure(rejection_curve(record))),
        "grid": to_data_uri(grid) if grid else None,
        "by_radius": _table(by_radius(record), stacked=may_refuse(record)),
        "sets": _sets(record) if is_set_valued(record) else None,
        "checked": record.header.certificate is not None and bool(record.header.attack),
        "by_class": _table(by_class(record)),
        "grounds": grounds(record),
        "by_attack": None if costs is None else _table(costs),
        "command": record.header.command,
    }


def _sets(record: Record) -> dict[str, Any]:
    """Return everything about certified sets at once: relaxed VRA is never shown alone."""
    return {
        "guide": SETS_GUIDE,
        "chart": to_data_uri(set_chart(record)),
        "by_radius": _table(by_certified_set(record), stacked=True),
        "by_size": _table(by_set_size(record)),
        "matrix": to_data_uri(matrix_chart(record)),
    }


def _bracket(record: Record) -> "matplotlib.figure.Figure":
    """Draw the bracket; where refusals count as not wrong, the one without them beside it."""
    if not may_refuse(record):
        return _figure(bracket_chart(record))
    not_wrong = replace(record, header=replace(record.header, name="not wrong"))
    return comparison_chart([not_wrong, accepted_right_only(record)])


def _figure(ax: "matplotlib.axes.Axes") -> "matplotlib.figure.Figure":
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes belong to no figure")
    return figure


def _table(frame: pd.DataFrame, *, stacked: bool = False) -> dict[str, Any]:
    """Return column names and cells; each cell is a list of lines, one unless `stacked`."""
    cells = [[str(cell) for cell in row] for row in frame.to_numpy().tolist()]
    lines = [[_BEFORE_BRACKET.split(cell) if stacked else [cell] for cell in row] for row in cells]
    columns = [(str(name), meaning(str(name))) for name in frame.columns]
    return {"columns": columns, "rows": lines}
