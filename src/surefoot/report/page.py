"""The report as one HTML page that needs no other file, no script and no network."""

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from surefoot.escape import visible
from surefoot.evaluation.certified_sets import is_set_valued
from surefoot.evaluation.record import Record, as_sequence
from surefoot.files import write_whole
from surefoot.report.alt_texts import of_bracket, of_gallery, of_grid, of_rejection, of_sets
from surefoot.report.bracket_chart import bracket_chart, draw_bracket
from surefoot.report.card import GUIDE, SETS_GUIDE
from surefoot.report.gallery import certified_gallery
from surefoot.report.perturbations import perturbation_grid
from surefoot.report.rejection_chart import rejection_curve
from surefoot.report.set_charts import class_pairs, class_sets, set_composition, set_curves
from surefoot.report.steps import extent
from surefoot.report.style import new_figure, short, sign, to_data_uri
from surefoot.report.tables import (
    accepted_right_only,
    against_ood,
    by_attack,
    by_certified_set,
    by_class,
    by_coverage,
    by_radius,
    by_set_size,
    costs,
    differences,
    headline,
    may_refuse,
    notes_of,
    warnings_of,
)
from surefoot.report.words import GLOSSARY, grounds, in_plain_words, meaning

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none';"
    " form-action 'none'"
)
"""Content security policy: own styles and figures within the page; no script, no network."""
KINDS = {
    "certified": "certified (lower bound)",
    "attacked": "attacked (upper bound)",
    "unknown": "unknown",
    "clean": "clean",
    "limit": "limit of the data (estimated)",
    "ceiling": "ceiling of these rows (proven)",
}
"""The legend of the small brackets: class of the key -> words."""
_BEFORE_BRACKET = re.compile(r" (?=[\[(])")


def write_page(
    records: Record | Sequence[Record],
    path: Path | str,
    *,
    title: str = "Robustness report",
    ood: Sequence[Record] = (),
) -> Path:
    """Write the page, all or nothing.

    Args:
        records: one a classifier, in the order of the page; or a single one.
        path: of the HTML file; its folder is made if missing.
        title: at the head.
        ood: records of the same models on data of another kind, whose scores are compared.

    Raises:
        ValueError: without records, or with one that has no rows; or a record of `ood` is of
            another model.
    """
    records, path = as_sequence(records), Path(path)
    _check(records)
    text = render("template.html", title=title, guide=GUIDE, **_content(records, ood))
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


def _content(records: Sequence[Record], ood: Sequence[Record]) -> dict[str, Any]:
    found = differences(records)
    return {
        "warnings": warnings_of(records),
        "notes": notes_of(records),
        "differences": None if found is None else _table(found, stacked=True),
        "glossary": GLOSSARY,
        "headline": _table(headline(records), stacked=True),
        "refusals": any(map(may_refuse, records)),
        "panels": _panels(records) if len(records) > 1 else [],
        "kinds": _kinds(records),
        "ood": _table(against_ood(records, ood), stacked=True) if ood else None,
        "costs": _table(costs(records)),
        "sections": [_section(record, place) for place, record in enumerate(records, 1)],
    }


def _section(record: Record, place: int) -> dict[str, Any]:
    grid, work = perturbation_grid(record), by_attack(record)
    return {
        "anchor": f"record-{place}",
        "name": record.header.name,
        "guarantee": record.header.guarantee_text(),
        "words": in_plain_words(record),
        "refuses": may_refuse(record),
        "brackets": _brackets(record),
        "rejection": (_drawn(rejection_curve, record), of_rejection(record)),
        "by_coverage": _table(by_coverage(record), stacked=True),
        "grid": (to_data_uri(grid), of_grid(record)) if grid else None,
        "by_radius": _table(by_radius(record), stacked=True),
        "sets": _sets(record) if is_set_valued(record) else None,
        "checked": record.header.certificate is not None and bool(record.header.attack),
        "by_class": _table(by_class(record), stacked=True),
        "classes": record.rows["label"].nunique(),
        "grounds": grounds(record),
        "by_attack": None if work is None else _table(work),
        "command": record.header.command,
    }


def _sets(record: Record) -> dict[str, Any]:
    """Return everything about certified sets at once: relaxed VRA is never shown alone."""
    charts = (set_curves, set_composition)
    words = (
        "Which classes stand together in certified sets",
        "Which classes the set of a label has",
    )
    gallery = certified_gallery(record)
    return {
        "guide": SETS_GUIDE,
        "gallery": (to_data_uri(gallery), of_gallery(record)) if gallery else None,
        "charts": [
            (_drawn(chart, record, 4.8, 4.5), text)
            for chart, text in zip(charts, of_sets(record), strict=True)
        ],
        "by_radius": _table(by_certified_set(record), stacked=True),
        "by_size": _table(by_set_size(record)),
        "matrices": [
            (_drawn(chart, record, 4.8, 5.0), text)
            for chart, text in zip((class_pairs, class_sets), words, strict=True)
        ],
    }


def _brackets(record: Record) -> list[tuple[str, str]]:
    """Draw the bracket; where rejections count as not wrong, the one without them beside it."""
    if not may_refuse(record):
        return [(_drawn(bracket_chart, record), of_bracket(record))]
    named = replace(record, header=replace(record.header, name="not wrong"))
    both = (named, accepted_right_only(record))
    return [(_drawn(bracket_chart, one), of_bracket(one)) for one in both]


def _panels(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Draw a small bracket a record, on common axes where the norms agree."""
    panels = []
    for record in records:
        figure = new_figure(4.6, 3.0)
        alike = [one for one in records if one.header.unit() == record.header.unit()]
        title = f"{short(record.header.name, 32)} (n = {len(record)})"
        draw_bracket(record, figure.add_subplot(), extent(alike), title)
        panels.append((to_data_uri(figure), of_bracket(record)))
    return panels


def _kinds(records: Sequence[Record]) -> dict[str, str]:
    """Return the legend of the small brackets: what is drawn in one of them at least."""
    headers = [record.header for record in records]
    drawn = {
        "certified": any(header.certificate for header in headers),
        "attacked": any(header.attack for header in headers),
        "limit": any(part.valid for header in headers for part in header.limit),
        "ceiling": any(part.value < 1 for header in headers for part in header.ceiling),
    }
    return {kind: words for kind, words in KINDS.items() if drawn.get(kind, True)}


def _drawn(chart: Any, record: Record, width: float = 6.4, height: float = 4.6) -> str:
    """Draw a chart of a record and sign it."""
    figure = new_figure(width, height)
    chart(record, figure.add_subplot())
    sign(figure, [record])
    return to_data_uri(figure)


def _table(frame: pd.DataFrame, *, stacked: bool = False) -> dict[str, Any]:
    """Return column names and cells; each cell is a list of lines, one unless `stacked`."""
    cells = [[str(cell) for cell in row] for row in frame.to_numpy().tolist()]
    lines = [[_BEFORE_BRACKET.split(cell) if stacked else [cell] for cell in row] for row in cells]
    columns = [(str(name), meaning(str(name))) for name in frame.columns]
    return {"columns": columns, "rows": lines}
